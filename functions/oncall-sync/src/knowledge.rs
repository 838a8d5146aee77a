//! What was read, as types in which "unknown" can never be taken for "nobody".

use chrono::{DateTime, TimeDelta, Utc};
use keyturn::Error;
use keyturn::ids::{OktaId, PersonId};
use std::collections::{BTreeMap, BTreeSet};

/// A reading older than this proves nothing about now.
const FRESH: TimeDelta = TimeDelta::minutes(2);

/// Whether a binding's document is followed.
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
    /// They could not be looked up. Nobody is named either; at another time it may be otherwise.
    Unknown(Error),
}

/// Who is in the group.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    /// These, and nobody else: every page was read.
    Complete(BTreeMap<OktaId, Member>),
    /// A page was not read.
    Unknown { why: Error },
}

impl Members {
    /// Everybody in the group, if all of them were read.
    pub(crate) fn listed(&self) -> Option<&BTreeMap<OktaId, Member>> {
        match self {
            Self::Complete(members) => Some(members),
            Self::Unknown { .. } => None,
        }
    }
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

/// The members of a binding's `eligible_group` among the people on call, in its group, or in its ledger.
#[derive(Clone, Debug)]
pub(crate) enum Eligible {
    /// Whoever is on call: the binding names no group of eligible people.
    Everyone,
    /// Okta was asked for each of them: these are, and the others are not.
    Only(BTreeSet<OktaId>),
    /// Not all of them could be asked for.
    Unknown {
        why: Error,
        /// Those who could, and whether they are.
        known: BTreeMap<OktaId, bool>,
    },
}

impl Eligible {
    /// Whether a user surely is.
    #[must_use]
    pub(crate) fn admits(&self, okta: &OktaId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(people) => people.contains(okta),
            Self::Unknown { known, .. } => known.get(okta) == Some(&true),
        }
    }

    /// Whether a user surely is not.
    #[must_use]
    pub(crate) fn excludes(&self, okta: &OktaId) -> bool {
        match self {
            Self::Everyone => false,
            Self::Only(people) => !people.contains(okta),
            Self::Unknown { known, .. } => known.get(okta) == Some(&false),
        }
    }

    /// Takes in what Okta says of one person more.
    pub(crate) fn learn(&mut self, okta: &OktaId, is_eligible: bool) {
        match self {
            Self::Everyone => {}
            Self::Only(people) if is_eligible => _ = people.insert(okta.clone()),
            Self::Only(people) => _ = people.remove(okta),
            Self::Unknown { known, .. } => _ = known.insert(okta.clone(), is_eligible),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Code;

    #[test]
    fn whoever_could_not_be_asked_for_is_neither_admitted_nor_excluded() {
        let [ann, bob, cid] = ["00u1", "00u2", "00u3"].map(|id| OktaId::try_from(id).unwrap());
        let why = Error::new(Code::OktaCallFailed, "500.", "Wait.");
        let known = BTreeMap::from([(ann.clone(), true), (bob.clone(), false)]);
        let mut eligible = Eligible::Unknown { why, known };
        let says =
            |eligible: &Eligible| [&ann, &bob, &cid].map(|okta| (eligible.admits(okta), eligible.excludes(okta)));
        assert_eq!(says(&eligible), [(true, false), (false, true), (false, false)]);
        eligible.learn(&cid, true);
        assert_eq!(says(&eligible)[2], (true, false));
        let mut eligible = Eligible::Only(BTreeSet::from([ann.clone()]));
        assert_eq!(says(&eligible), [(true, false), (false, true), (false, true)]);
        eligible.learn(&ann, false);
        eligible.learn(&cid, true);
        assert_eq!(says(&eligible), [(false, true), (false, true), (true, false)]);
        assert_eq!(says(&Eligible::Everyone), [(true, false); 3]);
    }
}
