//! The on-call source: the one place that knows which vendors there are. Bindings, planner and ledger speak of schedules,
//! policies and persons, whoever keeps them.
//!
//! Another vendor is one more client beside `pagerduty` and one more variant of [`OnCallSource`], chosen by the setting that
//! names its secret.

pub mod pagerduty;
pub(crate) mod shift;

use crate::ids::{PersonId, PolicyId, ScheduleId};
use crate::settings::Settings;
use crate::vendor::Clients;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::{Deadline, Error, Result};
use pagerduty::PagerDuty;
use shift::{Levels, Parts, Shift};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) enum OnCallSource {
    PagerDuty(PagerDuty),
}

/// What to ask for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) schedules: BTreeSet<ScheduleId>,
    /// Schedules of which not every part counts.
    pub(crate) by_part: BTreeSet<ScheduleId>,
    pub(crate) policies: BTreeSet<PolicyId>,
}

/// The time that is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) now: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    /// A policy that names nobody until then is unknown, as if it could not be seen.
    pub(crate) named_until: DateTime<Utc>,
}

impl Window {
    /// For a tick: the source has to name somebody at `now`, or a policy counts as one that cannot be seen.
    pub(crate) fn now(now: DateTime<Utc>, horizon: TimeDelta) -> Self {
        Self { now, until: now + horizon, named_until: now }
    }

    /// For a forecast: a policy that names somebody at any time in the window can be seen.
    pub(crate) fn ahead(now: DateTime<Utc>, horizon: TimeDelta) -> Self {
        Self { now, until: now + horizon, named_until: now + horizon }
    }
}

impl Asked {
    fn is_empty(&self) -> bool {
        self.schedules.is_empty() && self.by_part.is_empty() && self.policies.is_empty()
    }
}

/// Who is on call, by the id that was asked for.
#[derive(Default)]
pub(crate) struct OnCall {
    pub(crate) schedules: BTreeMap<ScheduleId, Result<Vec<Shift>>>,
    pub(crate) by_part: BTreeMap<ScheduleId, Result<Parts>>,
    pub(crate) policies: BTreeMap<PolicyId, Result<Levels>>,
}

impl OnCallSource {
    /// The source that the settings ask for.
    pub(crate) fn new(settings: &Settings, clients: &Clients) -> Self {
        Self::PagerDuty(PagerDuty::new(settings, clients))
    }

    /// The vendor, for people to read.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::PagerDuty(_) => "PagerDuty",
        }
    }

    /// Reads all shifts in the window, overrides included, of the schedules and policies in `asked`.
    ///
    /// Whatever is not exactly what the vendor documents is an error, so that it can never be taken for "nobody is on
    /// call". So is a policy that names nobody at any level.
    pub(crate) async fn on_call(&self, asked: &Asked, window: Window, deadline: Deadline) -> OnCall {
        match self {
            Self::PagerDuty(client) => client.on_call(asked, window, deadline).await,
        }
    }

    /// Why the credential in use is not the one in the secret, where it is not.
    pub(crate) async fn problem(&self) -> Option<Error> {
        match self {
            Self::PagerDuty(client) => client.problem().await,
        }
    }

    /// A person's email address. `None`: the person is gone, or has none.
    pub(crate) async fn email(&self, id: &PersonId, deadline: Deadline) -> Result<Option<String>> {
        match self {
            Self::PagerDuty(client) => client.email(id, deadline).await,
        }
    }

    /// Makes sure that the credential may read people, which is how the doctor tries it.
    pub(crate) async fn check_users(&self, deadline: Deadline) -> Result<()> {
        match self {
            Self::PagerDuty(client) => client.check_users(deadline).await,
        }
    }
}
