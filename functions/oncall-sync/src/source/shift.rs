//! Who is on call, as an on-call source says it, whatever vendor that is.

use chrono::{DateTime, Utc};
use keyturn::ids::{PersonId, RotationId};
use std::collections::BTreeSet;

/// A shift from `start` (inclusive) to `end` (exclusive); `None`: for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) who: Who,
    pub(crate) start: Option<DateTime<Utc>>,
    pub(crate) end: Option<DateTime<Utc>>,
}

/// Shifts, each with its level of an escalation policy.
pub(crate) type Levels = Vec<(u32, Shift)>;

/// A schedule's rotations, and its shifts, each with the part that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) rotations: BTreeSet<RotationId>,
    pub(crate) shifts: Vec<(Part, Shift)>,
}

/// The part of a schedule that a shift comes from. An override is of the part whose shift it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Rotation(RotationId),
    /// A shift of its own, beside the rotations.
    CustomShift,
    /// The schedule has no parts.
    Whole,
    /// The answer names no part.
    NotSaid,
}

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
    /// The answer does not say: [`crate::source::pagerduty::PagerDuty::email`] asks for it.
    NotSaid,
    /// The person has none.
    Without,
}
