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
use chrono::{DateTime, Utc};
use keyturn::{Deadline, Result};
use pagerduty::PagerDuty;
use shift::Shift;

pub(crate) enum OnCallSource {
    PagerDuty(PagerDuty),
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

    /// The shifts of a schedule about `now`, with everybody who stands in for others.
    ///
    /// # Errors
    /// Whatever is not exactly what the vendor documents, so that it can never be taken for "nobody is on call".
    pub(crate) async fn schedule(&self, id: &ScheduleId, now: DateTime<Utc>, deadline: Deadline) -> Result<Vec<Shift>> {
        match self {
            Self::PagerDuty(client) => client.schedule(id, now, deadline).await,
        }
    }

    /// Who is on call for an escalation policy now, each with the level.
    ///
    /// # Errors
    /// As for [`OnCallSource::schedule`], and where the policy names nobody at any level.
    pub(crate) async fn policy(
        &self,
        id: &PolicyId,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Vec<(u32, Shift)>> {
        match self {
            Self::PagerDuty(client) => client.policy(id, now, deadline).await,
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
