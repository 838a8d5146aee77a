//! Which of the two users is next, from names alone.

use crate::codes::Code;
use keyturn::alternation::{base_of, twin_of};
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::{Error, Result};

/// PostgreSQL's limit for names, in bytes (`NAMEDATALEN` - 1). It cuts longer ones off without a word, so that the clone of a
/// name this long would be the name itself.
const LONGEST_NAME: usize = 63;

/// How the two alternating users of a secret are named and what they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Two named logins; everything they make belongs to `owner`.
    Owner { users: [String; 2], owner: String },
    /// `app` and `app_clone`; everything they make belongs to `app`.
    Clone,
    /// Two named logins, each with its own objects; nothing is created or granted.
    Pair { users: [String; 2] },
}

impl Layout {
    /// The layout a secret asks for by its keys `usernames` and `owner`.
    ///
    /// Errors: `SECRET_KEY_INVALID`.
    pub(crate) fn of(credential: &Credential) -> Result<Self> {
        match (credential.usernames(), credential.owner()) {
            // An `owner` without `usernames` is a note of the team's own: secrets made for AWS's function may hold any key.
            (None, _) => Ok(Self::Clone),
            (Some([a, b]), None) => Ok(Self::Pair { users: [a.clone(), b.clone()] }),
            (Some([a, b]), Some(owner)) if owner != a && owner != b => {
                Ok(Self::Owner { users: [a.clone(), b.clone()], owner: owner.to_owned() })
            }
            _ => Err(Error::new(
                Core::SecretKeyInvalid,
                "The secret's keys \"usernames\" and \"owner\" do not make a layout.",
                "Either none of them (clone layout), or \"usernames\": [\"app_a\", \"app_b\"] with \"owner\": \"app\" (a third role that owns the objects), or \"usernames\" alone (pair layout).",
            )),
        }
    }

    /// Every name that may have to be looked at in the database before it is known who comes after `current`.
    pub(crate) fn names(&self, current: &str) -> Vec<String> {
        match self {
            Self::Owner { users: [a, b], owner } => vec![a.clone(), b.clone(), owner.clone(), current.to_owned()],
            Self::Pair { users: [a, b] } => vec![a.clone(), b.clone()],
            Self::Clone => [Some(current.to_owned()), Some(twin_of(current)), base_of(current).map(str::to_owned)]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    /// The base to judge rights by while it is not known yet whether `current` is a clone.
    pub(crate) fn likely_base<'n>(&'n self, current: &'n str) -> Option<&'n str> {
        match self {
            Self::Owner { owner, .. } => Some(owner),
            Self::Clone => Some(current),
            Self::Pair { .. } => None,
        }
    }

    /// The turn after `current`. `is_clone_of` tells whether a login really is a member of the role it is named after.
    ///
    /// Errors: `USER_NOT_IN_PAIR`, `NAME_TOO_LONG`.
    pub(crate) fn after(&self, current: &str, is_clone_of: impl Fn(&str, &str) -> bool) -> Result<Turn> {
        let pending = match self {
            Self::Clone => match base_of(current) {
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
            Self::Clone if base_of(current) == Some(pending) => Base::Pending,
            Self::Clone if base_of(pending) == Some(current) => Base::Current,
            Self::Pair { .. } => Base::None,
            Self::Clone => return Err(not_in_pair(current, &format!("{pending:?} is neither its clone nor its base"))),
        };
        if let Self::Owner { users, .. } | Self::Pair { users } = self
            && self.other(users, current)? != pending
        {
            return Err(not_in_pair(pending, "it is not the other one of \"usernames\""));
        }
        for name in [current, pending] {
            if name.len() > LONGEST_NAME {
                return Err(Error::new(
                    Code::NameTooLong,
                    format!(
                        "User name {name:?} has {} bytes; PostgreSQL cuts names off after {LONGEST_NAME}.",
                        name.len()
                    ),
                    "Name both users yourself: \"usernames\": [\"app_a\", \"app_b\"] and \"owner\" in the secret.",
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
            _ => Err(not_in_pair(current, "\"usernames\" does not name it")),
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
    /// The role that owns what the users make; `None` in pair layout.
    pub(crate) fn base(&self) -> Option<&str> {
        match &self.base {
            Base::Owner(owner) => Some(owner),
            Base::Current => Some(&self.current),
            Base::Pending => Some(&self.pending),
            Base::None => None,
        }
    }

    /// One lock for both directions of the turn.
    pub(crate) fn lock_name(&self) -> &str {
        self.base().unwrap_or_else(|| (&self.current).min(&self.pending))
    }
}

fn not_in_pair(user: &str, why: &str) -> Error {
    Error::new(
        Code::UserNotInPair,
        format!("User {user:?} does not belong to this secret's pair of users: {why}."),
        "Let \"usernames\" name the current user and the one to alternate with.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
    use proptest::prelude::*;

    fn owner() -> Layout {
        Layout::Owner { users: ["app_a".into(), "app_b".into()], owner: "app".into() }
    }

    fn pair() -> Layout {
        Layout::Pair { users: ["x".into(), "y".into()] }
    }

    #[test]
    fn the_example_of_each_layout_is_one() {
        let users = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        for (text, layout) in [
            (
                include_str!("../../../infra/examples/secrets/rotate-postgres/owner.json"),
                Layout::Owner { users: users("orders_a", "orders_b"), owner: "orders".to_owned() },
            ),
            (include_str!("../../../infra/examples/secrets/rotate-postgres/clone.json"), Layout::Clone),
            (
                include_str!("../../../infra/examples/secrets/rotate-postgres/pair.json"),
                Layout::Pair { users: users("orders_red", "orders_blue") },
            ),
        ] {
            let credential = Credential::parse(text.to_owned().into(), "the example").unwrap();
            assert_eq!(Layout::of(&credential).unwrap(), layout);
            let admin = include_str!("../../../infra/examples/secrets/rotate-postgres/admin.json");
            let admin = Credential::parse(admin.to_owned().into(), "the admin's example").unwrap();
            let address = |credential| Place::of(credential, "the example").unwrap().address;
            assert_eq!(address(&credential), address(&admin), "{layout:?}");
            assert!(credential.master_arn().is_some(), "{layout:?}");
        }
    }

    #[test]
    fn users_take_turns() {
        let table: [(Layout, &str, bool, &str, Option<&str>); 9] = [
            (Layout::Clone, "app", false, "app_clone", Some("app")),
            (Layout::Clone, "app_clone", true, "app", Some("app")),
            (Layout::Clone, "app_clone", false, "app_clone_clone", Some("app_clone")),
            (Layout::Clone, "_clone", true, "_clone_clone", Some("_clone")),
            (owner(), "app_a", false, "app_b", Some("app")),
            (owner(), "app_b", false, "app_a", Some("app")),
            (owner(), "app", false, "app_a", Some("app")),
            (pair(), "x", false, "y", None),
            (pair(), "y", false, "x", None),
        ];
        for (layout, current, is_clone, pending, base) in table {
            let turn = layout.after(current, |_, _| is_clone).unwrap();
            assert_eq!((turn.pending.as_str(), turn.base()), (pending, base), "{layout:?} {current}");
        }
    }

    #[test]
    fn a_stranger_is_refused() {
        for (layout, current, pending) in [
            (Layout::Clone, "app", "victim"),
            (Layout::Clone, "app", "victim_clone"),
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
            Layout::Clone.after(
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
        fn two_turns_lead_back_under_the_same_lock(name in "[a-z_\"% Ü]{1,20}") {
            let there = Layout::Clone.after(&name, |_, _| false).unwrap();
            let back = Layout::Clone.after(&there.pending, |_, _| true).unwrap();
            prop_assert_eq!(&back.pending, &name);
            prop_assert_eq!(back.lock_name(), there.lock_name());
        }
    }
}
