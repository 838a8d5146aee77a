//! Finding people in Okta: by id, by login, by email; never by a guess.

use super::errors::Permission;
use super::{ACTIVE, Call, Okta};
use keyturn::ids::{GroupId, OktaId};
use keyturn::{Deadline, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::collections::BTreeSet;

/// What may stand in a URL as it is (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What else than letters and digits a name may hold to be asked for in a path.
const IN_PATHS: &str = "-._~@+'";
/// No email is longer (RFC 5321).
const LONGEST_EMAIL: usize = 254;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: OktaId,
    /// No two users share one.
    pub(crate) login: String,
    /// The primary email; several users may share one.
    pub(crate) email: String,
    pub(crate) status: Status,
}

/// Whether Okta lets a user in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    /// Not before the user has a new password, or has waited: `PASSWORD_EXPIRED`, `LOCKED_OUT`, `RECOVERY`. That happens to
    /// anybody in the middle of a shift, and passes.
    Interrupted,
    /// Not as things are: `SUSPENDED`, `STAGED`, `PROVISIONED`, `DEPROVISIONED`, or a status that is not known.
    Barred,
}

impl Status {
    pub(super) fn of(text: &str) -> Self {
        match text {
            ACTIVE => Self::Active,
            "PASSWORD_EXPIRED" | "LOCKED_OUT" | "RECOVERY" => Self::Interrupted,
            _ => Self::Barred,
        }
    }

    /// Whether a user keeps what they were granted.
    #[must_use]
    pub(crate) fn may_stay(self) -> bool {
        self != Self::Barred
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The one it can only be.
    One(User),
    Nobody,
    /// It is not known who is meant.
    Several,
}

impl Okta {
    /// The user of this id; `None` where there is none.
    ///
    /// # Errors
    /// The `OKTA_*` codes, and those of reading the secret; so for every call here.
    pub(crate) async fn user(&self, id: &OktaId, deadline: Deadline) -> Result<Option<User>> {
        let call = Call::get(format!("/api/v1/users/{id}"), Permission::ReadUsers);
        let user: Option<WireUser> = self.read_one(&call, deadline).await?;
        // Okta takes logins in that place too.
        Ok(user.map(User::from).filter(|user| user.id == *id))
    }

    /// The groups that a user is in, of those that the credential may see.
    ///
    /// # Errors
    /// As for [`Okta::user`], and `OKTA_PAGING_STRANGE`; also where there is no such user, or none that it may see.
    pub(crate) async fn groups_of(&self, id: &OktaId, deadline: Deadline) -> Result<BTreeSet<GroupId>> {
        let call = Call::get(format!("/api/v1/users/{id}/groups?limit=200"), Permission::ReadUsers);
        let groups: Vec<WithId<GroupId>> = self.read_all(call, deadline).await?;
        Ok(groups.into_iter().map(|group| group.id).collect())
    }

    /// The user with this email: the one who also signs in with it, or the only one who has it.
    ///
    /// # Errors
    /// As for [`Okta::user`], and `OKTA_PAGING_STRANGE`.
    pub(crate) async fn find(&self, email: &str, deadline: Deadline) -> Result<Found> {
        if !is_email(email) {
            return Ok(Found::Nobody);
        }
        match self.named(email, deadline).await? {
            Some(user) if same(&user.login, email) && same(&user.email, email) => Ok(Found::One(user)),
            _ => self.search(email, deadline).await,
        }
    }

    /// The user whom a person names by Okta id, full login or email.
    ///
    /// # Errors
    /// As for [`Okta::find`].
    pub(crate) async fn by_login_or_id(&self, text: &str, deadline: Deadline) -> Result<Found> {
        if !is_email(text) && OktaId::try_from(text).is_err() {
            return Ok(Found::Nobody);
        }
        match self.named(text, deadline).await? {
            Some(user) if user.id.as_str() == text || same(&user.login, text) => Ok(Found::One(user)),
            _ if is_email(text) => self.search(text, deadline).await,
            _ => Ok(Found::Nobody),
        }
    }

    /// One of the org's users who is not among `members`, if the first page of users has one: to remove that one from the
    /// group changes nothing, and needs the permission to change it.
    ///
    /// # Errors
    /// As for [`Okta::user`].
    pub(crate) async fn somebody_not_in(
        &self,
        members: &BTreeSet<OktaId>,
        deadline: Deadline,
    ) -> Result<Option<OktaId>> {
        let call = Call::get("/api/v1/users?limit=200", Permission::ReadUsers);
        let people: Vec<WithId<OktaId>> = call.read(&self.send(&call, deadline).await?)?;
        Ok(people.into_iter().map(|person| person.id).find(|id| !members.contains(id)))
    }

    /// A member of a group, if it has any.
    ///
    /// # Errors
    /// As for [`Okta::user`]; also where there is no such group.
    pub(crate) async fn a_member(&self, group: &GroupId, deadline: Deadline) -> Result<Option<OktaId>> {
        let call = Call::get(format!("/api/v1/groups/{group}/users?limit=1"), Permission::ReadGroups);
        let people: Vec<WithId<OktaId>> = call.read(&self.send(&call, deadline).await?)?;
        Ok(people.into_iter().map(|person| person.id).next())
    }

    /// The user whom Okta finds by this id or login. It also takes the part before the @ for a login, so the caller compares.
    async fn named(&self, name: &str, deadline: Deadline) -> Result<Option<User>> {
        // Okta does not take every character in a path, however it is encoded (okta-sdk-java pull request 1526).
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || IN_PATHS.contains(c)) {
            return Ok(None);
        }
        let mut call = Call::get(format!("/api/v1/users/{}", encoded(name)), Permission::ReadUsers);
        "GET /api/v1/users/{login}".clone_into(&mut call.name);
        call.request = call.request.shown_as("/api/v1/users/{login}");
        let user: Option<WireUser> = self.read_one(&call, deadline).await?;
        Ok(user.map(User::from))
    }

    async fn search(&self, email: &str, deadline: Deadline) -> Result<Found> {
        let path = format!("/api/v1/users?search={}&limit=2", encoded(&by_email(email)));
        let people: Vec<WireUser> = self.read_all(Call::get(path, Permission::ReadUsers), deadline).await?;
        // A user who left for good keeps the address, and a search shows those too.
        let people: Vec<WireUser> = people.into_iter().filter(|user| user.status != "DEPROVISIONED").collect();
        let [person] = people.as_slice() else {
            return Ok(if people.is_empty() { Found::Nobody } else { Found::Several });
        };
        // The search index is behind the truth by seconds.
        let user = self.user(&person.id, deadline).await?.filter(|user| same(&user.email, email));
        Ok(user.map_or(Found::Nobody, Found::One))
    }
}

/// Okta's search expression for an email.
fn by_email(email: &str) -> String {
    format!("profile.email eq \"{}\"", email.replace('\\', "\\\\").replace('"', "\\\""))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The same login or email: upper and lower case do not count, all else does.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn is_email(text: &str) -> bool {
    let parts = text.rsplit_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
    parts && text.len() <= LONGEST_EMAIL && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

#[derive(Deserialize)]
struct WithId<T> {
    id: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireUser {
    id: OktaId,
    pub(super) status: String,
    /// Okta is changing `status` to this one (Okta's `User`).
    transitioning_to_status: Option<String>,
    profile: Profile,
}

#[derive(Deserialize)]
struct Profile {
    login: String,
    email: Option<String>,
}

impl From<WireUser> for User {
    fn from(user: WireUser) -> Self {
        let is_leaving = user.transitioning_to_status.as_deref() == Some("DEPROVISIONED");
        let status = if is_leaving { Status::Barred } else { Status::of(&user.status) };
        Self { id: user.id, login: user.profile.login, email: user.profile.email.unwrap_or_default(), status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_search_means_the_email_and_nothing_else() {
        assert_eq!(by_email("ann@acme.com"), r#"profile.email eq "ann@acme.com""#);
        assert_eq!(by_email(r#""a b"@c"#), r#"profile.email eq "\"a b\"@c""#);
        assert_eq!(by_email(r#"a\"@c" or id pr"#), r#"profile.email eq "a\\\"@c\" or id pr""#);
        assert_eq!(encoded("ann+1@acme.com/?#&%é"), "ann%2B1%40acme.com%2F%3F%23%26%25%C3%A9");
    }

    #[test]
    fn only_case_may_differ() {
        assert!(same("Ann@ACME.com", "ann@acme.com"));
        assert!(!same("ann+1@acme.com", "ann@acme.com"));
        assert!(!same("ann@acme.com ", "ann@acme.com"));
    }

    #[test]
    fn only_active_users_are_let_in_and_only_what_passes_lets_the_others_stay() {
        assert_eq!(Status::of("ACTIVE"), Status::Active);
        for status in ["PASSWORD_EXPIRED", "LOCKED_OUT", "RECOVERY"] {
            assert_eq!(Status::of(status), Status::Interrupted, "{status}");
        }
        for status in ["SUSPENDED", "STAGED", "PROVISIONED", "DEPROVISIONED", "active", "NEW", ""] {
            assert!(!Status::of(status).may_stay(), "{status}");
        }
    }

    #[test]
    fn knows_an_email() {
        for text in ["a@b", "ann+x@acme.com", "o'hara@acme.com", "zoë@acme.com"] {
            assert!(is_email(text), "{text}");
        }
        let long = format!("{}@acme.com", "a".repeat(250));
        for text in ["", "@", "ann", "ann@", "@acme.com", "a@b\n", "a b@c", "a\u{0}@b", "a@b\u{85}", &long] {
            assert!(!is_email(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_ends_the_quotes_early(email in "[\\\\\"a@ ]{0,12}|\\PC{0,40}") {
            let expression = by_email(&email);
            let quoted = expression.strip_prefix("profile.email eq \"").unwrap().strip_suffix('"').unwrap();
            let (mut back, mut characters) = (String::new(), quoted.chars());
            while let Some(c) = characters.next() {
                prop_assert_ne!(c, '"');
                back.push(if c == '\\' { characters.next().unwrap() } else { c });
            }
            prop_assert_eq!(back, email);
        }
    }
}
