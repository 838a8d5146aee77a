//! Who and what is meant: ids that cannot be taken for one another.

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
    /// A PagerDuty schedule.
    ScheduleId, "id of a PagerDuty schedule"
}
id! {
    /// A PagerDuty escalation policy.
    PolicyId, "id of a PagerDuty escalation policy"
}
id! {
    /// A PagerDuty user.
    PagerDutyId, "id of a PagerDuty user"
}
id! {
    /// An Okta user.
    OktaId, "id of an Okta user"
}
id! {
    /// An Okta group.
    GroupId, "id of an Okta group"
}
