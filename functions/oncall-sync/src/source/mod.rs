//! The on-call source: the one place that knows the vendor. Bindings, planner and ledger speak of schedules, policies and
//! persons, whoever keeps them. Another vendor is one more client beside `pagerduty`, with the same calls.

pub mod pagerduty;
pub(crate) mod shift;

use chrono::{DateTime, TimeDelta, Utc};
use keyturn::Result;
use keyturn::ids::{PolicyId, ScheduleId};
use shift::{Levels, Parts};
use std::collections::{BTreeMap, BTreeSet};

/// What to ask for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) schedules: BTreeSet<ScheduleId>,
    /// Those of which not every part counts for every binding.
    pub(crate) by_part: BTreeSet<ScheduleId>,
    pub(crate) policies: BTreeSet<PolicyId>,
}

/// The time that is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) now: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    /// PagerDuty may hide a policy or schedule that names nobody until then: the policy is unknown, and the schedule is read alone.
    pub(crate) named_until: DateTime<Utc>,
}

impl Window {
    /// For a tick: the source has to name somebody at `now`.
    pub(crate) fn now(now: DateTime<Utc>, horizon: TimeDelta) -> Self {
        Self { now, until: now + horizon, named_until: now }
    }

    /// For a forecast: the source has to name somebody at any time in the window.
    pub(crate) fn ahead(now: DateTime<Utc>, horizon: TimeDelta) -> Self {
        Self { now, until: now + horizon, named_until: now + horizon }
    }
}

/// Who is on call, by the id that was asked for.
#[derive(Default)]
pub(crate) struct OnCall {
    pub(crate) schedules: BTreeMap<ScheduleId, Result<Parts>>,
    pub(crate) policies: BTreeMap<PolicyId, Result<Levels>>,
}
