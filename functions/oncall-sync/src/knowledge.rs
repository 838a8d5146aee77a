//! What was found out, as types in which "unknown" can never be taken for "nobody".

use crate::ids::{OktaId, PagerDutyId};
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::Error;
use std::collections::{BTreeMap, BTreeSet};

/// A reading older than this proves nothing about now.
const FRESH: TimeDelta = TimeDelta::minutes(2);

/// What a binding's source says.
#[derive(Clone, Debug)]
pub enum Reading {
    /// All of it was read, and understood.
    Known {
        /// Everybody who has a shift about now. Empty: nobody is on call, a gap.
        shifts: Vec<Shift>,
        /// When it was read.
        read_at: DateTime<Utc>,
    },
    /// Any part of it was not.
    Unknown {
        /// What went wrong.
        why: Error,
    },
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
pub struct Shift {
    /// Who, at PagerDuty.
    pub pagerduty: PagerDutyId,
    /// Who that is at Okta.
    pub okta: Identity,
    /// Since when; `None`: always.
    pub start: Option<DateTime<Utc>>,
    /// Until when; `None`: for ever.
    pub end: Option<DateTime<Utc>>,
}

impl Shift {
    /// Whether it is going on.
    #[must_use]
    pub fn covers(&self, now: DateTime<Utc>) -> bool {
        covers(self.start, self.end, now)
    }
}

/// Half-open: whoever hands over at noon is not on call at noon any more.
#[must_use]
pub fn covers(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    start.is_none_or(|start| start <= now) && end.is_none_or(|end| now < end)
}

/// Who somebody of PagerDuty is at Okta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// This user.
    Known(OktaId),
    /// Nobody can be named with certainty, for this reason.
    Unresolved(String),
}

/// Who is in the group.
#[derive(Clone, Debug)]
pub enum Members {
    /// These, and nobody else: every page was read.
    Complete(BTreeMap<OktaId, Member>),
    /// Any page was not.
    Unknown {
        /// What went wrong.
        why: Error,
    },
}

/// Somebody in the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whether Okta lets them in at all (`ACTIVE`).
    pub active: bool,
    /// Their login, for people to read.
    pub login: String,
}

/// Who may be granted at all.
#[derive(Clone, Debug)]
pub enum Eligible {
    /// Whoever is on call: the binding names no group of eligible people.
    Everyone,
    /// These.
    Only(BTreeSet<OktaId>),
    /// The group of eligible people could not be read.
    Unknown {
        /// What went wrong.
        why: Error,
    },
}

impl Eligible {
    /// Whether somebody surely may.
    #[must_use]
    pub fn admits(&self, okta: &OktaId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(people) => people.contains(okta),
            Self::Unknown { .. } => false,
        }
    }

    /// Whether somebody surely may not.
    #[must_use]
    pub fn excludes(&self, okta: &OktaId) -> bool {
        matches!(self, Self::Only(people) if !people.contains(okta))
    }
}
