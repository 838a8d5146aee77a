//! Ids, each of a type of its own, so that none is taken for another.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text: letters, digits, `-` and `_` only, so that it needs no escaping anywhere.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if (1..=64).contains(&text.len()) && text.chars().all(fine) {
                    Ok(Self(text))
                } else {
                    Err(format!("{text:?} is no {}", $what))
                }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = String;
            fn try_from(text: &str) -> Result<Self, String> {
                Self::try_from(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id! {
    /// A binding: the last segment of its parameter's name.
    BindingId, "id of a binding (letters, digits, - and _)"
}
id! {
    /// A schedule at the on-call source.
    ScheduleId, "id of a schedule"
}
id! {
    /// A rotation of a schedule at the on-call source.
    RotationId, "id of a rotation"
}
id! {
    /// An escalation policy at the on-call source.
    PolicyId, "id of an escalation policy"
}
id! {
    /// A person at the on-call source: a PagerDuty user.
    PersonId, "id of a person at the on-call source"
}
id! {
    /// An Okta user.
    OktaId, "id of an Okta user"
}
id! {
    /// An Okta group.
    GroupId, "id of an Okta group"
}
