//! Ledgers as Keyturn wrote them first: rows, holds and lists beside each other, without a `format`.

use super::{Gap, Granted, HandClaim, Hold, Leaving, Ledger, Reason, ShiftClaim, State};
use crate::ids::{GroupId, OktaId, PersonId};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct FirstFormat {
    group: GroupId,
    confirmed_at: Option<DateTime<Utc>>,
    #[serde(default)]
    rows: Vec<Row>,
    gap: Option<Gap>,
    #[serde(default)]
    holds: BTreeMap<OktaId, Held>,
    #[serde(default)]
    tolerated: BTreeSet<OktaId>,
    #[serde(default)]
    leaving: BTreeSet<OktaId>,
}

#[derive(Deserialize)]
struct Row {
    okta_id: OktaId,
    pagerduty_id: Option<PersonId>,
    source: Origin,
    granted_at: DateTime<Utc>,
    shift_end: Option<DateTime<Utc>>,
    expires_at: DateTime<Utc>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    intended: bool,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Origin {
    Oncall,
    Manual,
    Adopted,
}

#[derive(Deserialize)]
struct Held {
    until: Option<DateTime<Utc>>,
}

/// The same, one state a person. A hold is stronger than a row, and a row stronger than a place in a list.
pub(super) fn read(value: Value) -> serde_json::Result<Ledger> {
    let old = FirstFormat::deserialize(value)?;
    let mut ledger = Ledger::new(old.group);
    ledger.confirmed_at = old.confirmed_at;
    ledger.gap = old.gap;
    for okta in &old.tolerated {
        ledger.put(okta, State::Tolerated);
    }
    let decided = old.confirmed_at.unwrap_or_default();
    for okta in &old.leaving {
        ledger.put(okta, State::Leaving(Leaving { reason: Reason::OutOfBand, since: decided, due: None }));
    }
    for row in old.rows {
        add(&mut ledger, row);
    }
    for (okta, held) in old.holds {
        let out = !old.leaving.contains(&okta);
        let hold = Hold { since: decided, until: held.until, person: None, out, reason: String::new() };
        ledger.put(&okta, State::Held(hold));
    }
    Ok(ledger)
}

fn add(ledger: &mut Ledger, row: Row) {
    let okta = row.okta_id;
    let mut granted = match ledger.state(&okta) {
        Some(State::Granted(granted)) => granted.clone(),
        _ => Granted { since: row.granted_at, on_call: None, by_hand: None, shown: false },
    };
    match (row.source, row.pagerduty_id) {
        (Origin::Oncall, Some(person)) => {
            granted.on_call = Some(ShiftClaim { person, shift_end: row.shift_end, until: row.expires_at });
        }
        (Origin::Manual, _) => granted.by_hand = Some(HandClaim { until: row.expires_at, reason: row.reason }),
        (Origin::Adopted | Origin::Oncall, _) => {
            if !matches!(ledger.state(&okta), Some(State::Granted(_))) {
                ledger.put(&okta, State::Adopted { until: row.expires_at });
            }
            return;
        }
    }
    granted.shown |= !row.intended;
    ledger.put(&okta, State::Granted(granted));
}
