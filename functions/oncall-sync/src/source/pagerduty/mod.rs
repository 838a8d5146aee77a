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

pub use account::{Account, Places};

use crate::codes::Code;
use crate::lock;
use crate::settings::Settings;
use crate::source::Window;
use crate::source::shift::{Parts, Who};
use crate::turns::Turns;
use chrono::TimeDelta;
use errors::Call;
use keyturn::http::{Answer, StatusCode};
use keyturn::ids::{PersonId, ScheduleId};
use keyturn::vendor::{Clients, Vendor};
use keyturn::{Deadline, Error, Result};
use schedule::{Found, Version};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Mutex;

/// How far ahead a schedule is read alone at least, so that an empty answer, which both APIs are asked about, is rare.
const LEAST: TimeDelta = TimeDelta::hours(24);

/// The client of one PagerDuty account.
pub(crate) struct PagerDuty {
    vendor: Vendor<Account>,
    /// Which API has each schedule, as the last reading found.
    versions: Mutex<HashMap<ScheduleId, Version>>,
    /// When each schedule and policy was asked for alone.
    turns: Turns,
}

impl PagerDuty {
    /// The vendor, for people to read.
    pub(crate) const NAME: &str = "PagerDuty";

    /// The client of the account that the settings name.
    pub(crate) fn new(settings: &Settings, clients: &Clients) -> Self {
        let places = Places { api: settings.pagerduty_api.clone(), identity: settings.pagerduty_identity.clone() };
        let vendor = Vendor::new(clients, &settings.pagerduty_secret, move |text, client, clock| {
            Account::parse(text, &places, client, clock)
        });
        Self { vendor, versions: Mutex::default(), turns: Turns::default() }
    }

    /// The final schedule, overrides and all.
    ///
    /// Layer-based schedules are read over v2, shift-based ones over v3, which knows which is which: it answers 400 for
    /// the former. What was found is remembered, so that a schedule costs one request. The other API is asked as well
    /// when the remembered one does not have the schedule any more (it was upgraded), and when v2 says that nobody at
    /// all is on call, as it might of an upgraded one. Where v3 is forbidden, v2 counts if it names somebody.
    ///
    /// # Errors
    /// `PAGERDUTY_NOT_FOUND` where neither API has it, `PAGERDUTY_ANSWER_STRANGE` where v2 says that v3 has it and v3 has it
    /// not, and the codes of every call.
    async fn schedule(&self, id: &ScheduleId, window: Window, deadline: Deadline) -> Result<Parts> {
        let known = lock(&self.versions).get(id).copied();
        let first = known.unwrap_or(Version::Shifts);
        let found = match self.read(id, first, window, deadline).await {
            Err(why) if known.is_none() && Code::is_forbidden(&why) => Found::Forbidden(why),
            found => found?,
        };
        let is_done = match &found {
            Found::Here(parts) => first == Version::Shifts || !parts.shifts.is_empty(),
            Found::Upgraded | Found::Nowhere | Found::Forbidden(_) | Found::Unsaid => false,
        };
        let other = if is_done { Found::Nowhere } else { self.read(id, first.other(), window, deadline).await? };
        let (version, parts) = match (found, other) {
            (Found::Forbidden(why), Found::Here(parts)) if names_nobody(&parts) => return Err(why),
            (_, Found::Here(parts)) => (first.other(), parts),
            (Found::Forbidden(why), _) | (_, Found::Forbidden(why)) => return Err(why),
            (Found::Unsaid, _) | (_, Found::Unsaid) => {
                return Err(Call::new(&format!("/schedules/{id}")).strange("neither entries nor their coverage"));
            }
            (Found::Here(parts), _) => (first, parts),
            (Found::Nowhere, Found::Nowhere) => return Err(errors::no_schedule(id)),
            (Found::Upgraded, _) | (_, Found::Upgraded) => {
                return Err(Call::new(&format!("/v3/schedules/{id}")).strange("no schedule, where v2 says that it is"));
            }
        };
        lock(&self.versions).insert(id.clone(), version);
        Ok(parts)
    }

    /// Why the credential in use is not the one in the secret, where it is not.
    pub(crate) async fn problem(&self) -> Option<Error> {
        self.vendor.problem().await
    }

    /// A user's email address. `None`: the user is gone, or has none.
    ///
    /// # Errors
    /// The codes of every call.
    pub(crate) async fn email(&self, id: &PersonId, deadline: Deadline) -> Result<Option<String>> {
        let call = Call::new(&format!("/users/{id}"));
        let answer = self.ask(&call, deadline).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            _ => shape::read_email(call.json(&answer)?, id).map_err(|why| call.strange(&why)),
        }
    }

    /// Makes sure that there is a credential to ask with: what is wrong with that is wrong for every request.
    ///
    /// # Errors
    /// What reading the secret can say, and the codes of the request for a token.
    async fn authorize(&self, deadline: Deadline) -> Result<()> {
        if !self.vendor.account(deadline).await?.asks_for_tokens() {
            return Ok(());
        }
        let authorize = async |account: &Account| account.authorization(deadline).await;
        self.vendor.call(deadline, Code::proof, authorize).await.map(drop)
    }

    /// Makes sure that the credential may read users, which is how the doctor tries it.
    ///
    /// # Errors
    /// The codes of every call.
    pub(crate) async fn check_users(&self, deadline: Deadline) -> Result<()> {
        let call = Call::with_query("/users", &[("limit", "1")]);
        let answer =
            self.vendor.check(deadline, Code::proof, async |account: &Account| account.ask(&call, deadline).await);
        let answer = found(&call, &answer.await?)?;
        shape::check_users(answer).map_err(|why| call.strange(&why))
    }

    /// What this API says of the schedule.
    async fn read(&self, id: &ScheduleId, version: Version, window: Window, deadline: Deadline) -> Result<Found> {
        let call = version.call(id, window.now, window.until.max(window.now + LEAST));
        let answer = self.ask(&call, deadline).await?;
        if !answer.status.is_success() {
            return Ok(Found::Nowhere);
        }
        version.read(call.json(&answer)?, id).map_err(|why| call.strange(&why))
    }

    async fn ask(&self, call: &Call, deadline: Deadline) -> Result<Answer> {
        self.vendor.call(deadline, Code::proof, async |account: &Account| account.ask(call, deadline).await).await
    }
}

fn names_nobody(parts: &Parts) -> bool {
    parts.shifts.iter().all(|(_, shift)| shift.who == Who::Nobody)
}

/// The JSON of an answer that must be there.
fn found(call: &Call, answer: &Answer) -> Result<Value> {
    if answer.status.is_success() { call.json(answer) } else { Err(call.refused(answer)) }
}
