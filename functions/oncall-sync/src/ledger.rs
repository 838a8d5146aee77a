//! What is remembered of the grants that were made, with the instant each one ends: one parameter per binding and group.

use crate::ids::{GroupId, OktaId, PersonId};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Why a person has a row.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// They are on call.
    Oncall,
    /// Somebody granted it by hand.
    Manual,
    /// They were in the group when there was no ledger and nobody could say who was on call.
    Adopted,
}

/// One grant.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    #[serde(rename = "okta_id")]
    pub(crate) okta: OktaId,
    /// Who they are at the on-call source, where that was the reason.
    #[serde(rename = "pagerduty_id", default, skip_serializing_if = "Option::is_none")]
    pub(crate) person: Option<PersonId>,
    pub(crate) source: Origin,
    pub(crate) granted_at: DateTime<Utc>,
    /// When the shift ends, as the source said last; absent where it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shift_end: Option<DateTime<Utc>>,
    /// When it ends whatever happens, unless a later reading confirms it.
    pub(crate) expires_at: DateTime<Utc>,
    /// The reason given for a grant by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// The grant was planned, and the group has not shown the person yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) intended: bool,
}

impl Row {
    /// Whether the grant has ended.
    #[must_use]
    pub(crate) fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.expires_at <= now
    }
}

/// Readings that found nobody on call.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gap {
    /// How many in a row.
    pub(crate) readings: u32,
    /// The last of them: one reading counts once, however often it is planned with.
    pub(crate) last: DateTime<Utc>,
}

/// Somebody was revoked by hand, and must not be put back by the next tick.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// Until their shift ends; absent where no end is known: until the source does not name them any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Which alert about a person was sent.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    Grant,
    Revoke,
}

/// Everything remembered of one binding's group.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    pub(crate) group: GroupId,
    /// The last reading of the source that was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confirmed_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
    /// Readings that found nobody on call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gap: Option<Gap>,
    /// Revoked by hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) holds: BTreeMap<OktaId, Hold>,
    /// In the group before the ledger began: the binding's `adoption` judges them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) tolerated: BTreeSet<OktaId>,
    /// About to be removed, and perhaps still in the group.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) leaving: BTreeSet<OktaId>,
    /// Unfinished changes whose alert was sent: it is not sent again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) told: BTreeMap<OktaId, Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    Known(Ledger),
    /// There is no ledger, or none that can be read: the first run, or it was lost.
    Lost,
}

impl Ledger {
    #[must_use]
    pub(crate) fn new(group: GroupId) -> Self {
        Self {
            group,
            confirmed_at: None,
            rows: Vec::new(),
            gap: None,
            holds: BTreeMap::new(),
            tolerated: BTreeSet::new(),
            leaving: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn rows_of<'a>(&'a self, okta: &'a OktaId) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.okta == *okta)
    }

    /// Whether somebody is here only because they were in the group when there was no ledger.
    pub(crate) fn is_adopted(&self, okta: &OktaId) -> bool {
        self.rows_of(okta).all(|row| row.source == Origin::Adopted)
    }

    /// The same, without what moves on with every reading.
    fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        lasting.confirmed_at = None;
        for row in &mut lasting.rows {
            row.expires_at = row.granted_at;
        }
        lasting
    }

    /// Whether `next` has to be stored in place of this: something changed, or people in it live on a confirmation that
    /// was stored longer than `refresh` ago.
    #[must_use]
    pub(crate) fn is_outdated_by(&self, next: &Self, refresh: TimeDelta) -> bool {
        let old = match (self.confirmed_at, next.confirmed_at) {
            (Some(stored), Some(read)) => read - stored >= refresh,
            (stored, read) => stored != read,
        };
        // Somebody who is named again after a while has an old end stored, however young the last confirmation is.
        let later = |row: &Row| {
            let mut stored = self.rows_of(&row.okta).filter(|stored| stored.source == row.source);
            stored.any(|stored| row.expires_at - stored.expires_at >= refresh)
        };
        self.lasting() != next.lasting() || (old && !next.rows.is_empty()) || next.rows.iter().any(later)
    }
}
