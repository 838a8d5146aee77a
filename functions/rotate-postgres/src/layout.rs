//! Which of the two users is next, from names alone.

use crate::codes::Code;
use crate::settings::Tag;
use keyturn::alternation::{base_of, twin_of};
use keyturn::rotation::Job;
use keyturn::{Error, Result};
use strum::IntoStaticStr;

/// PostgreSQL's limit for names, in bytes (`NAMEDATALEN` - 1). It cuts longer ones off without a word, so that the clone of a
/// name this long would be the name itself.
const LONGEST_NAME: usize = 63;

/// How the two alternating users of a secret are named and what they share. The secret's tags choose it, never its value:
/// whoever writes the value must not say whose password changes.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Layout {
    /// Two named logins; everything they make belongs to `owner`.
    Owner { users: [String; 2], owner: String },
    /// `app` and `app_clone`; everything they make belongs to `app`. The base is pinned, or told by the catalog.
    Clone { base: Option<String> },
    /// Two named logins, each with its own objects; nothing is created or granted.
    Pair { users: [String; 2] },
}

impl Layout {
    /// The layout that the secret's tags choose. Tags take few characters, so that names stand apart by spaces.
    ///
    /// Errors: `TAG_INVALID`.
    pub(crate) fn of(job: &Job) -> Result<Self> {
        let owner = job.tag(Tag::Owner);
        let Some(usernames) = job.tag(Tag::Usernames) else {
            return match owner {
                Some(_) => Err(job.bad_tag(Tag::Usernames, "not set, though keyturn:owner is")),
                None => Ok(Self::Clone { base: job.tag(Tag::Username).map(str::to_owned) }),
            };
        };
        if job.tag(Tag::Username).is_some() {
            return Err(
                job.bad_tag(Tag::Username, "set beside keyturn:usernames, which names both users; take one away")
            );
        }
        let names: Vec<&str> = usernames.split([' ', ',']).filter(|name| !name.is_empty()).collect();
        let [a, b] = names.as_slice() else {
            return Err(job.bad_tag(Tag::Usernames, "not two names with a space between"));
        };
        if a == b || owner.is_some_and(|owner| owner == *a || owner == *b) {
            return Err(job.bad_tag(Tag::Usernames, "not two users, each another role than the other and the owner"));
        }
        let users = [(*a).to_owned(), (*b).to_owned()];
        Ok(match owner {
            Some(owner) => Self::Owner { users, owner: owner.to_owned() },
            None => Self::Pair { users },
        })
    }

    pub(crate) fn is_clone(&self) -> bool {
        matches!(self, Self::Clone { .. })
    }

    /// The role whose rights a user of this name is to have besides its own.
    pub(crate) fn base_of<'n>(&'n self, user: &'n str) -> Option<&'n str> {
        match self {
            Self::Owner { owner, .. } => Some(owner),
            Self::Clone { .. } => base_of(user),
            Self::Pair { .. } => None,
        }
    }

    /// Every name that may have to be looked at in the database before it is known who comes after `current`.
    pub(crate) fn names(&self, current: &str) -> Vec<String> {
        match self {
            Self::Owner { users: [a, b], owner } => vec![a.clone(), b.clone(), owner.clone(), current.to_owned()],
            Self::Pair { users: [a, b] } => vec![a.clone(), b.clone()],
            Self::Clone { .. } => {
                [Some(current.to_owned()), Some(twin_of(current)), base_of(current).map(str::to_owned)]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        }
    }

    /// The turn after `current`. `is_clone_of` tells whether a login really is a member of the role it is named after.
    ///
    /// Errors: `USER_NOT_IN_PAIR`, `NAME_TOO_LONG`.
    pub(crate) fn after(&self, current: &str, is_clone_of: impl Fn(&str, &str) -> bool) -> Result<Turn> {
        let pending = match self {
            Self::Clone { base: Some(base) } if current == base => twin_of(base),
            Self::Clone { base: Some(base) } if current == twin_of(base) => base.clone(),
            Self::Clone { base: Some(base) } => return Err(not_in_pair(current, &not_the_pinned(base))),
            Self::Clone { base: None } => match base_of(current) {
                // A name that merely ends like a clone's is a base of its own: AWS's function resets a stranger's password here.
                Some(base) if is_clone_of(current, base) => base.to_owned(),
                _ => twin_of(current),
            },
            Self::Owner { users, .. } | Self::Pair { users } => self.other(users, current)?.to_owned(),
        };
        self.turn(current, &pending)
    }

    /// Refuses a name after which there can be no turn, whether it is a clone's or not.
    ///
    /// Errors: those of [`Layout::after`].
    pub(crate) fn check_name(&self, current: &str) -> Result<()> {
        self.after(current, |_, _| true).or_else(|_| self.after(current, |_, _| false)).map(drop)
    }

    /// The turn from `current` to `pending`, as two stored values name them.
    ///
    /// Errors: `USER_NOT_IN_PAIR`, `NAME_TOO_LONG`.
    pub(crate) fn turn(&self, current: &str, pending: &str) -> Result<Turn> {
        let base = match self {
            Self::Owner { owner, .. } => Base::Owner(owner.clone()),
            Self::Clone { base } if base_of(current) == Some(pending) && is_or_free(base.as_ref(), pending) => {
                Base::Pending
            }
            Self::Clone { base } if base_of(pending) == Some(current) && is_or_free(base.as_ref(), current) => {
                Base::Current
            }
            Self::Clone { base: Some(base) } => return Err(not_in_pair(current, &not_the_pinned(base))),
            Self::Pair { .. } => Base::None,
            Self::Clone { .. } => {
                return Err(not_in_pair(current, &format!("{pending:?} is neither its clone nor its base")));
            }
        };
        if let Self::Owner { users, .. } | Self::Pair { users } = self
            && self.other(users, current)? != pending
        {
            return Err(not_in_pair(pending, "it is not the other one of keyturn:usernames"));
        }
        for name in [current, pending] {
            if name.len() > LONGEST_NAME {
                return Err(Error::new(
                    Code::NameTooLong,
                    format!(
                        "User name {name:?} has {} bytes; PostgreSQL cuts names off after {LONGEST_NAME}.",
                        name.len()
                    ),
                    "Name both users yourself, with the secret's tags: keyturn:usernames = app_a app_b, keyturn:owner = app.",
                ));
            }
        }
        Ok(Turn { current: current.to_owned(), pending: pending.to_owned(), base })
    }

    fn other<'u>(&self, users: &'u [String; 2], current: &str) -> Result<&'u str> {
        let [a, b] = users;
        match self {
            _ if current == a => Ok(b),
            _ if current == b => Ok(a),
            // The first rotation of a team that has used the owner itself as its login until now.
            Self::Owner { owner, .. } if current == owner => Ok(a),
            _ => Err(not_in_pair(current, "its tag keyturn:usernames does not name it")),
        }
    }
}

/// What the users of a turn have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// A third role.
    Owner(String),
    /// The pending user is the clone of the current one.
    Current,
    /// The current user is the clone of the pending one.
    Pending,
    /// Nothing.
    None,
}

/// One rotation's users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Who is in use, and stays untouched.
    pub(crate) current: String,
    /// Who gets a new password.
    pub(crate) pending: String,
    /// What they share.
    pub(crate) base: Base,
}

impl Turn {
    /// Everybody in it.
    pub(crate) fn names(&self) -> Vec<String> {
        [Some(self.current.as_str()), Some(&self.pending), self.base()]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect()
    }

    /// Whether the pending user is made like the current one: its limits, its memberships.
    pub(crate) fn copies(&self) -> bool {
        matches!(self.base, Base::Owner(_) | Base::Current)
    }

    /// The role that owns what the users make; `None` in pair layout.
    pub(crate) fn base(&self) -> Option<&str> {
        match &self.base {
            Base::Owner(owner) => Some(owner),
            Base::Current => Some(&self.current),
            Base::Pending => Some(&self.pending),
            Base::None => None,
        }
    }
}

fn not_in_pair(user: &str, why: &str) -> Error {
    Error::new(
        Code::UserNotInPair,
        format!("User {user:?} does not belong to this secret's pair of users: {why}."),
        "Correct the user in the secret's value, or the secret's tags: keyturn:usernames names both users, keyturn:username the base of a clone.",
    )
}

/// Whether a base that names alone tell is the pinned one, where there is one.
fn is_or_free(pinned: Option<&String>, base: &str) -> bool {
    pinned.is_none_or(|pinned| pinned == base)
}

fn not_the_pinned(base: &str) -> String {
    format!("the secret's tag keyturn:username pins it to {base:?} and its clone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place;
    use keyturn::credential::Credential;
    use proptest::prelude::*;

    fn owner() -> Layout {
        Layout::Owner { users: ["app_a".into(), "app_b".into()], owner: "app".into() }
    }

    fn pair() -> Layout {
        Layout::Pair { users: ["x".into(), "y".into()] }
    }

    fn clone() -> Layout {
        Layout::Clone { base: None }
    }

    fn pinned() -> Layout {
        Layout::Clone { base: Some("app_clone".into()) }
    }

    #[test]
    fn the_examples_of_a_secret_and_of_its_admins_are_for_one_server() {
        let text = include_str!("../../../infra/examples/secrets/rotate-postgres/application.json");
        let credential = Credential::parse(text.to_owned().into(), "the example").unwrap();
        let admin = include_str!("../../../infra/examples/secrets/rotate-postgres/admin.json");
        let admin = Credential::parse(admin.to_owned().into(), "the admin's example").unwrap();
        let address = |credential| place::of(credential, "the example").unwrap().address;
        assert_eq!(address(&credential), address(&admin));
        assert!(credential.master_arn().is_some());
    }

    #[test]
    fn users_take_turns() {
        let table: [(Layout, &str, bool, &str, Option<&str>); 11] = [
            (clone(), "app", false, "app_clone", Some("app")),
            (clone(), "app_clone", true, "app", Some("app")),
            (clone(), "app_clone", false, "app_clone_clone", Some("app_clone")),
            (clone(), "_clone", true, "_clone_clone", Some("_clone")),
            (owner(), "app_a", false, "app_b", Some("app")),
            (owner(), "app_b", false, "app_a", Some("app")),
            (owner(), "app", false, "app_a", Some("app")),
            (pair(), "x", false, "y", None),
            (pair(), "y", false, "x", None),
            (pinned(), "app_clone", true, "app_clone_clone", Some("app_clone")),
            (pinned(), "app_clone_clone", false, "app_clone", Some("app_clone")),
        ];
        for (layout, current, is_clone, pending, base) in table {
            let turn = layout.after(current, |_, _| is_clone).unwrap();
            assert_eq!((turn.pending.as_str(), turn.base()), (pending, base), "{layout:?} {current}");
        }
    }

    #[test]
    fn a_stranger_is_refused() {
        for (layout, current, pending) in [
            (clone(), "app", "victim"),
            (clone(), "app", "victim_clone"),
            (pinned(), "app", "app_clone"),
            (pinned(), "victim", "victim_clone"),
            (owner(), "victim", "app_a"),
            (owner(), "app_a", "victim"),
            (owner(), "app_a", "app"),
            (pair(), "x", "victim"),
            (pair(), "x", "x"),
        ] {
            assert_eq!(layout.turn(current, pending).unwrap_err().code(), "USER_NOT_IN_PAIR", "{current} {pending}");
        }
    }

    #[test]
    fn the_clone_of_a_58_byte_name_is_refused_and_of_57_is_not() {
        let after = |length: usize| {
            clone().after(
                &"ü".repeat(length / 2).chars().chain("x".repeat(length % 2).chars()).collect::<String>(),
                |_, _| false,
            )
        };
        assert_eq!(after(57).unwrap().pending.len(), 63);
        assert_eq!(after(58).unwrap_err().code(), "NAME_TOO_LONG");
        assert_eq!(after(64).unwrap_err().code(), "NAME_TOO_LONG");
    }

    proptest! {
        #[test]
        fn two_turns_lead_back_and_share_their_base(name in "[a-z_\"% Ü]{1,20}") {
            let there = clone().after(&name, |_, _| false).unwrap();
            let back = clone().after(&there.pending, |_, _| true).unwrap();
            prop_assert_eq!(&back.pending, &name);
            prop_assert_eq!(back.base(), there.base());
        }
    }
}
