//! What is remembered of the grants that were made, with the instant each one ends: one parameter per binding and group.

use crate::ids::{GroupId, OktaId, PagerDutyId};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Why somebody has a row.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
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
pub struct Row {
    /// Whose.
    #[serde(rename = "okta_id")]
    pub okta: OktaId,
    /// Who they are at PagerDuty, where that was the reason.
    #[serde(rename = "pagerduty_id", default, skip_serializing_if = "Option::is_none")]
    pub pagerduty: Option<PagerDutyId>,
    /// Why.
    pub source: Origin,
    /// Since when.
    pub granted_at: DateTime<Utc>,
    /// When the shift ends, as the source said last; absent where it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_end: Option<DateTime<Utc>>,
    /// When it ends whatever happens, unless a later reading confirms it.
    pub expires_at: DateTime<Utc>,
    /// What was given as the reason of a grant by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// It was meant to be made, and nothing shows yet that it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub intended: bool,
}

impl Row {
    /// Whether its time is up.
    #[must_use]
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.expires_at <= now
    }
}

/// Readings that found nobody on call.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// So many in a row.
    pub readings: u32,
    /// The last of them: one reading counts once, however often it is planned with.
    pub last: DateTime<Utc>,
}

/// Somebody was revoked by hand, and must not be put back by the next tick.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Until their shift ends; absent where no end is known: until the source does not name them any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// What people were told of somebody.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// That they come in.
    Grant,
    /// That they leave.
    Revoke,
}

/// Everything remembered of one binding's group.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The group it speaks of.
    pub group: GroupId,
    /// When the source was last read and that was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The grants.
    #[serde(default)]
    pub rows: Vec<Row>,
    /// Nobody on call, so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Revoked by hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub holds: BTreeMap<OktaId, Hold>,
    /// In the group before the ledger began: the binding's `adoption` judges them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tolerated: BTreeSet<OktaId>,
    /// About to be taken out, and perhaps not out yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leaving: BTreeSet<OktaId>,
    /// Changes that are not finished, and that people were told of: they are not told again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<OktaId, Told>,
}

/// What is remembered, or that it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// This.
    Known(Ledger),
    /// There is no ledger, or none that can be read: the first run, or it was lost.
    Lost,
}

impl Ledger {
    /// One in which nothing stands yet.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
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

    /// The rows of one person.
    pub fn rows_of<'a>(&'a self, okta: &'a OktaId) -> impl Iterator<Item = &'a Row> {
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
    pub fn is_outdated_by(&self, next: &Self, refresh: TimeDelta) -> bool {
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
