//! Who is on call, as an on-call source says it, whatever vendor that is.

use crate::ids::PersonId;
use chrono::{DateTime, Utc};

/// A shift from `start` (inclusive) to `end` (exclusive); `None`: for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) who: Who,
    pub(crate) start: Option<DateTime<Utc>>,
    pub(crate) end: Option<DateTime<Utc>>,
}

/// Shifts, each with its level of an escalation policy.
pub(crate) type Levels = Vec<(u32, Shift)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A hole in the schedule, or the shift of a person who was deleted.
    Nobody,
    Person {
        id: PersonId,
        /// For people to read.
        name: Option<String>,
        email: Email,
    },
}

impl Who {
    /// Whether it is the same person. One answer may say more about them than another.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Person { id, .. }, Self::Person { id: other, .. }) => id == other,
            _ => self == other,
        }
    }
}

/// What an answer says of a person's email address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Email {
    Known(String),
    /// The answer does not say: [`crate::source::OnCallSource::email`] asks for it.
    NotSaid,
    /// The person has none.
    Without,
}
