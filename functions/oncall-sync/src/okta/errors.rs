//! What went wrong with a call to Okta, for a person: the call, what came back, and what mends it.

use crate::codes::Code;
use keyturn::Error;
use keyturn::http::header::WWW_AUTHENTICATE;
use keyturn::http::{Answer, Failure, StatusCode, is_code};
use serde::Deserialize;
use strum::IntoStaticStr;

/// "You do not have permission to access the feature": a 401, although the credential is good. It stands for one call alone.
const NO_SUCH_FEATURE: &str = "E0000015";

/// The members of a custom admin role that the calls need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub(super) enum Permission {
    #[strum(serialize = "okta.groups.members.manage")]
    ManageMembers,
    #[strum(serialize = "okta.groups.read")]
    ReadGroups,
    #[strum(serialize = "okta.users.read")]
    ReadUsers,
}

/// A call that brought no usable answer; `call` is its method and path, without names of people.
pub(super) fn unanswered(call: &str, failure: &Failure) -> Error {
    let code = match failure {
        Failure::NotSent(_) | Failure::NoAnswer(_) | Failure::OutOfTime => Code::OktaUnreachable,
        Failure::Redirected | Failure::Strange(_) => Code::OktaAnswerStrange,
        Failure::RateLimited => Code::OktaThrottled,
    };
    Error::of(code, format!("{call} at Okta: {failure}."))
}

/// An answer that is not what Okta sends; `why` quotes nothing of it.
pub(super) fn strange(call: &str, why: &str) -> Error {
    Error::of(Code::OktaAnswerStrange, format!("{call} at Okta: {why}."))
}

/// A list whose pages cannot be followed to the end.
pub(super) fn endless(call: &str, why: &str) -> Error {
    Error::of(Code::OktaPagingStrange, format!("{call} at Okta: {why}; a list that may be incomplete is not used."))
}

/// The credential was refused.
pub(super) fn refused(call: &str, answer: &Answer) -> Error {
    Error::of(Code::OktaCredentialRefused, format!("{call} at Okta: the credential was refused ({}).", told(answer)))
}

/// The service app was not given all it asked for.
pub(super) fn scopes_missing(missing: &[&str]) -> Error {
    let missing = missing.join(" ");
    Error::new(
        Code::OktaScopeMissing,
        format!("Okta gave the service app a token without the scopes {missing}."),
        format!("Grant them in Okta: Applications > the service app > Okta API Scopes > Grant: {missing}."),
    )
}

/// An answer of the API with an error status.
pub(super) fn status(call: &str, permission: Permission, answer: &Answer) -> Error {
    match answer.status {
        StatusCode::UNAUTHORIZED if said(answer).code.as_deref() != Some(NO_SUCH_FEATURE) => refused(call, answer),
        StatusCode::FORBIDDEN => {
            let name: &str = permission.into();
            let remedy = format!(
                "Give the service app (or the token's owner) a custom admin role with {name}, on a resource set that holds this group; where that is so, add the people who may come into it to that set (infra/okta has the calls)."
            );
            failed(Code::OktaForbidden, call, answer).with_remedy(remedy)
        }
        StatusCode::CONFLICT => failed(Code::OktaConflict, call, answer),
        _ => failed(Code::OktaCallFailed, call, answer),
    }
}

/// An answer that says no, for a reason that this code names.
pub(super) fn failed(code: Code, call: &str, answer: &Answer) -> Error {
    Error::of(code, format!("{call} at Okta failed: {}.", told(answer)))
}

/// What an error answer says of itself: status, code and id, never its prose, which may name people.
fn told(answer: &Answer) -> String {
    let said = said(answer);
    let status = answer.status.as_u16().to_string();
    let code = said.code.or(said.error).or_else(|| challenge(answer)).filter(|code| is_code(code));
    let id = said.id.filter(|id| is_code(id)).map(|id| format!("error id {id}"));
    [Some(status), code, id].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The `error` of a `WWW-Authenticate` header: some refusals of an access token have no body.
fn challenge(answer: &Answer) -> Option<String> {
    let (_, rest) = answer.header(&WWW_AUTHENTICATE).split_once("error=\"")?;
    rest.split('"').next().map(str::to_owned)
}

/// The API's error, or the token endpoint's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    #[serde(rename = "errorCode")]
    code: Option<String>,
    #[serde(rename = "errorId")]
    id: Option<String>,
    error: Option<String>,
}

fn said(answer: &Answer) -> Said {
    answer.json().unwrap_or_default()
}

/// The token endpoint's `error`, or nothing.
pub(super) fn oauth_error(answer: &Answer) -> String {
    said(answer).error.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_code() {
        let text = || "x".to_owned();
        for (failure, code) in [
            (Failure::NotSent(text()), "OKTA_UNREACHABLE"),
            (Failure::NoAnswer(text()), "OKTA_UNREACHABLE"),
            (Failure::OutOfTime, "OKTA_UNREACHABLE"),
            (Failure::Redirected, "OKTA_ANSWER_STRANGE"),
            (Failure::Strange(text()), "OKTA_ANSWER_STRANGE"),
            (Failure::RateLimited, "OKTA_THROTTLED"),
        ] {
            let error = unanswered("GET /api/v1/groups/00g1", &failure);
            assert_eq!(error.code(), code);
            assert!(error.message().starts_with("GET /api/v1/groups/00g1 at Okta: "), "{error}");
        }
    }
}
