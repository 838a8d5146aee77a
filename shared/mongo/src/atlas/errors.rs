//! What went wrong with a call to Atlas, for a person: the call, what came back, and what mends it.

use crate::codes::Code;
use keyturn::Error;
use keyturn::failure::words;
use keyturn::http::{Answer, Failure, StatusCode, is_code};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::net::IpAddr;

const PROXY: &str = "Check that ATLAS_API_URL, if it is set, is Atlas's own address (https://cloud.mongodb.com), and that no proxy answers in its place.";
/// A text that shares this many characters in a row with a password is not shown: Atlas takes none that is shorter.
const TELLING: usize = 8;

/// Atlas's code for a call that the credential's roles do not allow.
pub(super) const ROLE_MISSING: &str = "USER_UNAUTHORIZED";

/// What the credential must be allowed to do for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Read and change database users.
    Users,
    /// Read clusters.
    Clusters,
}

/// What messages say that depends on the function which calls.
#[derive(Clone, Copy, Debug)]
pub struct Remedies {
    /// How to store a credential that can be used, without a full stop.
    pub credential: &'static str,
    /// What to do where the project takes no further user.
    pub quota: &'static str,
    /// What to do where Atlas failed by its own fault.
    pub failure: &'static str,
}

/// The secret is not what it should be.
pub(super) fn secret_invalid(why: &str, remedies: &Remedies) -> Error {
    Error::new(Code::AtlasSecretInvalid, format!("Atlas's secret cannot be used: {why}."), remedies.credential)
}

fn project_missing(what: String) -> Error {
    let remedy = "Give the project's id, not its name: it stands in the address of its pages (cloud.mongodb.com/v2/<id>) and in `atlas projects list`; and check that the credential belongs to its organization.";
    Error::new(Code::AtlasProjectNotFound, what, remedy)
}

/// A call that cannot even be made; `why` quotes no value.
pub(super) fn unmade(why: &str) -> Error {
    Error::new(
        Code::AtlasCallFailed,
        format!("A call to Atlas cannot be made: {why}."),
        "Check the names of users and clusters in the secret, its tags and the function's environment.",
    )
}

/// A call that brought no usable answer; `call` is its method and path.
pub(super) fn unanswered(call: &str, failure: &Failure) -> Error {
    match failure {
        Failure::NotSent(_) | Failure::NoAnswer(_) | Failure::OutOfTime => {
            Error::of(Code::AtlasUnreachable, format!("{call} at Atlas: {failure}."))
        }
        Failure::Redirected | Failure::Strange(_) => strange(call, &failure.to_string()),
        Failure::RateLimited => Error::of(Code::AtlasThrottled, format!("{call} at Atlas: {failure}.")),
    }
}

/// An answer that is not what Atlas sends; `why` quotes nothing of it.
pub(super) fn strange(call: &str, why: &str) -> Error {
    Error::new(Code::AtlasAnswerStrange, format!("{call} at Atlas: {why}."), PROXY)
}

/// The project takes no further user; `why` says how that is known.
pub(super) fn full(call: &str, why: &str, remedies: &Remedies) -> Error {
    Error::new(
        Code::AtlasUserQuota,
        format!("{call} at Atlas: the project takes no further database user ({why})."),
        remedies.quota,
    )
}

/// The token endpoint said no.
pub(super) fn no_token(call: &str, answer: &Answer, remedies: &Remedies) -> Error {
    let said = Said::of(answer);
    match (answer.status, said.oauth()) {
        (StatusCode::FORBIDDEN, "access_denied") => Error::new(
            Code::AtlasTokenLimit,
            format!(
                "{call} at Atlas failed: 403, access_denied: too many access tokens of this service account are alive."
            ),
            "Wait: each ends an hour after it was made, and 100 may live at a time. Give this function a service account of its own, or find out what else asks for tokens with it.",
        ),
        (StatusCode::UNAUTHORIZED, _) | (StatusCode::BAD_REQUEST, "invalid_client") => refused(call, answer, remedies),
        _ => status(call, Needs::Users, answer, None, remedies),
    }
}

/// What an answer means that is not what the call is for. Nothing is shown that holds a piece of the password `hidden`.
pub(super) fn status(
    call: &str,
    needs: Needs,
    answer: &Answer,
    hidden: Option<&SecretString>,
    remedies: &Remedies,
) -> Error {
    let said = Said::of(answer);
    let what = format!("{call} at Atlas failed: {}.", told(answer, hidden));
    // Flex clusters, in Atlas for Government.
    let has_no_such_list = needs == Needs::Clusters && said.code() == "RESOURCE_NOT_FOUND";
    match (answer.status, said.code()) {
        // Atlas says 401 where other APIs say 403.
        (StatusCode::UNAUTHORIZED, ROLE_MISSING) => permission_missing(what, needs),
        (StatusCode::UNAUTHORIZED, _) => refused(call, answer, remedies),
        _ if !said.0.is_object() => {
            strange(call, &format!("the answer is not the vendor's ({}, no JSON)", answer.status))
        }
        (StatusCode::FORBIDDEN, code) if code.contains("ACCESS_LIST") => address_refused(call, &said),
        (_, "GROUP_USERS_LIMIT_EXCEEDED") => full(call, "GROUP_USERS_LIMIT_EXCEEDED", remedies),
        (StatusCode::FORBIDDEN, _) => permission_missing(what, needs),
        (StatusCode::NOT_FOUND, "GROUP_NOT_FOUND") => project_missing(what),
        _ if has_no_such_list || matches!(answer.status, StatusCode::GONE | StatusCode::NOT_ACCEPTABLE) => Error::new(
            Code::AtlasApiVersionGone,
            what,
            "Deploy a newer version of this function: Atlas has ended the revision of this resource that it speaks, or has no such resource here (https://www.mongodb.com/docs/atlas/admin-api-changelog).",
        ),
        _ => Error::new(
            Code::AtlasCallFailed,
            what,
            format!(
                "Look the error code up at https://www.mongodb.com/docs/atlas/api/api-errors. {}",
                remedies.failure
            ),
        ),
    }
}

fn refused(call: &str, answer: &Answer, remedies: &Remedies) -> Error {
    Error::new(
        Code::AtlasCredentialRefused,
        format!("{call} at Atlas: the credential was refused ({}).", told(answer, None)),
        format!("{}. A service account's secret ends on the day that Atlas shows beside it.", remedies.credential),
    )
}

fn permission_missing(what: String, needs: Needs) -> Error {
    let role = match needs {
        Needs::Users => "GROUP_DATABASE_ACCESS_ADMIN (Project Database Access Admin)",
        Needs::Clusters => "GROUP_READ_ONLY (Project Read Only) beside GROUP_DATABASE_ACCESS_ADMIN",
    };
    let remedy = format!(
        "Give the service account (or the API key) the role {role} on this very project: in Atlas, Project Identity & Access, Applications."
    );
    Error::new(Code::AtlasPermissionMissing, what, remedy)
}

fn address_refused(call: &str, said: &Said) -> Error {
    let address =
        said.0["parameters"].as_array().into_iter().flatten().find_map(|value| value.as_str()?.parse::<IpAddr>().ok());
    let address = address.map_or_else(|| "the function's address".to_owned(), |address| address.to_string());
    Error::new(
        Code::AtlasIpNotAllowed,
        format!("{call} at Atlas: {address} is not on the credential's API access list ({}).", said.code()),
        "Add it: in Atlas, Organization Identity & Access, Applications, the service account (or API key), API Access List. A function outside a VPC has no fixed address: put it into one, and give the address of its NAT gateway.",
    )
}

/// Atlas's error code; empty where the answer is not an error of Atlas's.
#[must_use]
pub fn code(answer: &Answer) -> String {
    Said::of(answer).code().to_owned()
}

/// What an error answer says of itself: status, code, and its sentence where that gives nothing away.
fn told(answer: &Answer, hidden: Option<&SecretString>) -> String {
    let said = Said::of(answer);
    let code = [said.code(), said.oauth()].into_iter().find(|code| !code.is_empty());
    let detail = said.text("detail").filter(|detail| !hidden.is_some_and(|hidden| gives_away(detail, hidden)));
    let detail = detail.map(words).filter(|detail| !detail.is_empty());
    let head = [Some(answer.status.as_str()), code].into_iter().flatten().collect::<Vec<_>>().join(", ");
    [Some(head), detail].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// Whether a text has as many characters in a row from a password as would tell something.
fn gives_away(text: &str, password: &SecretString) -> bool {
    let characters: Vec<char> = password.expose_secret().chars().collect();
    let length = characters.len().clamp(1, TELLING);
    characters.windows(length).any(|piece| text.contains(&piece.iter().collect::<String>()))
}

/// The API's error, or the token endpoint's: every member may be missing, or be something else than it should. `Null` where it is
/// no JSON.
struct Said(Value);

impl Said {
    fn of(answer: &Answer) -> Self {
        Self(answer.json().unwrap_or_default())
    }

    fn code(&self) -> &str {
        self.text("errorCode").filter(|code| is_code(code)).unwrap_or_default()
    }

    /// The token endpoint's `error`; the API's is a number.
    fn oauth(&self) -> &str {
        self.text("error").filter(|error| is_code(error)).unwrap_or_default()
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.0[member].as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_code() {
        let text = || "x".to_owned();
        for (failure, code) in [
            (Failure::NotSent(text()), "ATLAS_UNREACHABLE"),
            (Failure::NoAnswer(text()), "ATLAS_UNREACHABLE"),
            (Failure::OutOfTime, "ATLAS_UNREACHABLE"),
            (Failure::Redirected, "ATLAS_ANSWER_STRANGE"),
            (Failure::Strange(text()), "ATLAS_ANSWER_STRANGE"),
            (Failure::RateLimited, "ATLAS_THROTTLED"),
        ] {
            let error = unanswered("GET /api/atlas/v2/groups/1", &failure);
            assert_eq!(error.code(), code);
            assert!(error.message().starts_with("GET /api/atlas/v2/groups/1 at Atlas: "), "{error}");
        }
    }

    #[test]
    fn a_text_with_a_piece_of_the_password_gives_it_away() {
        for (text, password, telling) in [
            ("Password hunter2hunter2 is weak", "hunter2hunter2", true),
            ("Password hunter2h... is weak", "hunter2hunter2", true),
            ("Password hunter2... is weak", "hunter2hunter2", false),
            ("Password \"abc\" is short", "abc", true),
            ("Password is short", "", false),
            (
                "Passwort \u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
                "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
                true,
            ),
        ] {
            assert_eq!(gives_away(text, &password.into()), telling, "{text}");
        }
    }
}
