//! What was read, as types in which "unknown" can never be taken for "nobody".

use crate::ids::{OktaId, PersonId};
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::Error;
use std::collections::{BTreeMap, BTreeSet};

/// A reading older than this proves nothing about now.
const FRESH: TimeDelta = TimeDelta::minutes(2);

/// What has become of a binding's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The document is good and followed.
    Followed,
    /// The document is bad: shifts end, grants by hand end, revokes by hand hold, and nothing else changes.
    Refused,
    /// There is no document any more: everybody leaves at the recorded end.
    Abandoned,
}

/// What a binding's source says.
#[derive(Clone, Debug)]
pub(crate) enum Reading {
    /// All of it was read, and understood.
    Known {
        /// Everybody who has a shift about now. Empty: nobody is on call, a gap.
        shifts: Vec<Shift>,
        /// When it was read.
        read_at: DateTime<Utc>,
    },
    /// A part of it was not.
    Unknown { why: Error },
}

impl Reading {
    /// The shifts, and when they were read, if that is not long ago.
    pub(crate) fn fresh(&self, now: DateTime<Utc>) -> Option<(&[Shift], DateTime<Utc>)> {
        match self {
            Self::Known { shifts, read_at } if (now - *read_at).abs() <= FRESH => Some((shifts, *read_at)),
            _ => None,
        }
    }
}

/// Somebody's time on call: `start <= now < end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) person: PersonId,
    pub(crate) okta: Identity,
    /// `None`: always.
    pub(crate) start: Option<DateTime<Utc>>,
    /// `None`: for good.
    pub(crate) end: Option<DateTime<Utc>>,
}

impl Shift {
    #[must_use]
    pub(crate) fn covers(&self, now: DateTime<Utc>) -> bool {
        covers(self.start, self.end, now)
    }
}

/// Half-open: whoever hands over at noon is not on call at noon any more.
#[must_use]
pub(crate) fn covers(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    start.is_none_or(|start| start <= now) && end.is_none_or(|end| now < end)
}

/// Who a person of the on-call source is at Okta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Known(OktaId),
    /// Nobody can be named with certainty, for this reason.
    Unresolved(String),
}

/// Who is in the group.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    /// These, and nobody else: every page was read.
    Complete(BTreeMap<OktaId, Member>),
    /// A page was not read.
    Unknown { why: Error },
}

/// Somebody in the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Whether they keep what they have: Okta lets them in, or will as soon as they have a new password, or have waited.
    pub(crate) may_stay: bool,
    /// Their login and address, for people to read.
    pub(crate) login: String,
    pub(crate) email: String,
}

/// Who may be granted at all.
#[derive(Clone, Debug)]
pub(crate) enum Eligible {
    /// Whoever is on call: the binding names no group of eligible people.
    Everyone,
    Only(BTreeSet<OktaId>),
    /// The group of eligible people could not be read.
    Unknown {
        why: Error,
    },
}

impl Eligible {
    /// Whether a user surely is.
    #[must_use]
    pub(crate) fn admits(&self, okta: &OktaId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(people) => people.contains(okta),
            Self::Unknown { .. } => false,
        }
    }

    /// Whether a user surely is not.
    #[must_use]
    pub(crate) fn excludes(&self, okta: &OktaId) -> bool {
        matches!(self, Self::Only(people) if !people.contains(okta))
    }
}
