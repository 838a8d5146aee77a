//! PagerDuty's REST API: a client that only reads who is on call.
//!
//! Whatever is not exactly what PagerDuty documents is an error, so that it can never be taken for "nobody is on call".
//! Sources: "REST API", "Schedules API: v2 to v3 Upgrade Guide" and "Obtaining an App OAuth Token" at
//! developer.pagerduty.com.

mod account;
mod batch;
mod errors;
mod oncalls;
mod schedule;
mod shape;
#[cfg(test)]
mod tests;
mod token;
mod user;

pub use account::{Account, Places};

use crate::codes::Code;
use crate::ids::{PersonId, ScheduleId};
use crate::settings::Settings;
use crate::source::shift::Parts;
use crate::vendor::{Clients, Vendor};
use batch::Window;
use chrono::{DateTime, TimeDelta, Utc};
use errors::Call;
use keyturn::http::{Answer, StatusCode};
use keyturn::{Deadline, Result};
use schedule::Version;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How far ahead a schedule is read alone at least, so that an empty answer, which both APIs are asked about, is rare.
const LEAST: TimeDelta = TimeDelta::hours(24);

/// The client of one PagerDuty account.
pub(crate) struct PagerDuty {
    vendor: Vendor<Account>,
    /// Which API has each schedule, as the last reading found.
    versions: Mutex<HashMap<ScheduleId, Version>>,
    /// When each schedule and policy was asked for alone.
    last_asked: Mutex<HashMap<String, DateTime<Utc>>>,
}

impl PagerDuty {
    /// The client of the account that the settings name.
    pub(crate) fn new(settings: &Settings, clients: &Clients) -> Self {
        let places = Places { api: settings.pagerduty_api.clone(), identity: settings.pagerduty_identity.clone() };
        let vendor = Vendor::new(clients, &settings.pagerduty_secret, move |text, client, clock| {
            Account::parse(text, &places, client, clock)
        });
        Self { vendor, versions: Mutex::default(), last_asked: Mutex::default() }
    }

    /// The final schedule, overrides and all.
    ///
    /// Layer-based schedules are read over v2, shift-based ones over v3, which knows which is which: it answers 400 for
    /// the former. What was found is remembered, so that a schedule costs one request. The other API is asked as well
    /// when the remembered one does not have the schedule any more (it was upgraded), and when v2 says that nobody at
    /// all is on call, as it might of an upgraded one.
    ///
    /// # Errors
    /// `PAGERDUTY_NOT_FOUND` where neither API has it, and the codes of every call.
    async fn schedule(&self, id: &ScheduleId, window: Window, deadline: Deadline) -> Result<Parts> {
        let first = self.version(id).unwrap_or(Version::Shifts);
        let found = match self.read(id, first, window, deadline).await? {
            Some(parts) if first == Version::Layers && parts.shifts.is_empty() => self
                .read(id, Version::Shifts, window, deadline)
                .await?
                .map(|parts| (Version::Shifts, parts))
                .or(Some((first, parts))),
            Some(parts) => Some((first, parts)),
            None => self.read(id, first.other(), window, deadline).await?.map(|parts| (first.other(), parts)),
        };
        let Some((version, parts)) = found else { return Err(errors::no_schedule(id)) };
        self.remember(id, version);
        Ok(parts)
    }

    /// A user's email address. `None`: the user is gone, or has none.
    ///
    /// # Errors
    /// The codes of every call.
    pub(crate) async fn email(&self, id: &PersonId, deadline: Deadline) -> Result<Option<String>> {
        let call = Call::new(format!("/users/{id}"));
        let answer = self.ask(&call, deadline).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            _ => user::read_email(call.json(&answer)?, id).map_err(|why| call.strange(&why)),
        }
    }

    /// Makes sure that the credential may read users, which is how the doctor tries it.
    ///
    /// # Errors
    /// The codes of every call.
    pub(crate) async fn check_users(&self, deadline: Deadline) -> Result<()> {
        self.vendor.check(deadline).await?;
        let call = Call::with_query("/users", &[("limit", "1")]);
        let answer = self.found(&call, deadline).await?;
        user::check_list(answer).map_err(|why| call.strange(&why))
    }

    /// What the schedule says, if this API has it.
    async fn read(
        &self,
        id: &ScheduleId,
        version: Version,
        window: Window,
        deadline: Deadline,
    ) -> Result<Option<Parts>> {
        let call = version.call(id, window.now, window.until.max(window.now + LEAST));
        let answer = self.ask(&call, deadline).await?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        version.read(call.json(&answer)?, id).map_err(|why| call.strange(&why))
    }

    /// The JSON of an answer that must be there.
    async fn found(&self, call: &Call, deadline: Deadline) -> Result<Value> {
        let answer = self.ask(call, deadline).await?;
        if answer.status.is_success() { call.json(&answer) } else { Err(call.refused(&answer)) }
    }

    async fn ask(&self, call: &Call, deadline: Deadline) -> Result<Answer> {
        let is_refused =
            |outcome: &Result<Answer>| matches!(outcome, Err(error) if error.is(Code::PagerdutyCredentialRefused));
        self.vendor.call(deadline, is_refused, async |account: &Account| account.ask(call, deadline).await).await
    }

    fn version(&self, id: &ScheduleId) -> Option<Version> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    fn remember(&self, id: &ScheduleId, version: Version) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), version);
    }
}
