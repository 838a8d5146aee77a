//! PagerDuty, as far as a reader of on-call shifts sees it: schedules of both kinds, on-calls, users, and the token
//! endpoint for apps. One account with state behind two listeners, the REST API and the identity host.
//!
//! The facts are those of PagerDuty's developer documentation (REST API, "App OAuth Token", "Schedules API: v2 to v3
//! Upgrade Guide"); where it is silent, the source stands beside the code.

mod account;
mod api;
mod identity;
mod oncalls;
mod request;
mod schedules;
#[cfg(test)]
mod tests;
mod timeline;

use std::iter::repeat_n;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use keyturn::clock::Clock;
use rand::distr::{Alphanumeric, SampleString as _};

pub use account::Departed;

use account::{Account, App, Kind, Policy, SUBDOMAIN, Schedule, Target, User, ZONES};
use api::Api;
use identity::Identity;
use timeline::Slot;

use super::{Call, Front, Reply, Vendor as _, lock};
use crate::aws_json::uuid;
use crate::faults::Faults;

/// What an app gets a token with.
#[derive(Clone)]
pub struct OauthApp {
    pub client_id: String,
    pub client_secret: String,
    /// The account's name; its region is `us`.
    pub subdomain: String,
}

/// The emulator. Ids are the same in every run, credentials are not.
pub struct PagerDuty {
    account: Arc<Mutex<Account>>,
    clock: Clock,
    api: Front<Api>,
    identity: Front<Identity>,
}

impl PagerDuty {
    /// Starts it with an empty account. Its calls are `PagerDuty ...` and `PagerDuty identity ...` in fault plans.
    pub async fn start(clock: Clock, faults: Faults) -> anyhow::Result<Self> {
        let account = Arc::new(Mutex::new(Account::new(Alphanumeric.sample_string(&mut rand::rng(), 20))));
        let api = Api { account: Arc::clone(&account), clock: clock.clone() };
        let identity = Identity { account: Arc::clone(&account), clock: clock.clone() };
        let api = Front::start(api, clock.clone(), faults.clone()).await?;
        let identity = Front::start(identity, clock.clone(), faults).await?;
        Ok(Self { account, clock, api, identity })
    }

    /// Where the REST API is: `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        self.api.url()
    }

    /// Where the identity host is: `http://127.0.0.1:port`.
    #[must_use]
    pub fn identity_url(&self) -> String {
        self.identity.url()
    }

    /// Every request so far: those to the API, then those to the identity host.
    #[must_use]
    pub fn seen(&self) -> Vec<Call> {
        [self.api.seen(), self.identity.seen()].concat()
    }

    pub fn forget(&self) {
        self.api.forget();
        self.identity.forget();
    }

    /// How many requests to the API were under way at the same time, at most, since they were forgotten.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.api.most_at_once()
    }

    /// What no correct client would have sent, to either host.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        [self.api.violations(), self.identity.violations()].concat()
    }

    /// Answers the next `times` requests of this name (`GET /schedules/P1`, `POST /oauth/token`) with `reply` instead.
    pub fn replace(&self, call: &str, times: usize, reply: Reply) {
        if call.contains("/oauth/") {
            self.identity.replace(call, times, reply);
        } else {
            self.api.replace(call, times, reply);
        }
    }

    /// The account's API key, which may do everything; empty once revoked.
    #[must_use]
    pub fn token(&self) -> String {
        lock(&self.account).token.clone().unwrap_or_default()
    }

    /// From now on the API key is a wrong one.
    pub fn revoke_token(&self) {
        lock(&self.account).token = None;
    }

    /// Registers an app that is granted these scopes and no others, whatever it asks for.
    #[must_use]
    pub fn oauth_app(&self, scopes: &[&str]) -> OauthApp {
        let (client_id, client_secret) = (uuid(), Alphanumeric.sample_string(&mut rand::rng(), 43));
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let app = App { client_id: client_id.clone(), client_secret: client_secret.clone(), scopes };
        lock(&self.account).apps.push(app);
        OauthApp { client_id, client_secret, subdomain: SUBDOMAIN.to_owned() }
    }

    /// Every access token issued so far has expired.
    pub fn expire_tokens(&self) {
        let now = self.clock.now();
        lock(&self.account).issued.values_mut().for_each(|issued| issued.expires = now);
    }

    /// The account turns out to live in the EU: this API answers every call with 401.
    pub fn wrong_region(&self) {
        lock(&self.account).abroad = true;
    }

    /// Adds a user; the id comes back.
    #[must_use]
    pub fn user(&self, name: &str, email: &str) -> String {
        self.add_user(name, Some(email))
    }

    /// Adds a user whose email is null; the id comes back.
    #[must_use]
    pub fn user_without_email(&self, name: &str) -> String {
        self.add_user(name, None)
    }

    fn add_user(&self, name: &str, email: Option<&str>) -> String {
        let mut account = lock(&self.account);
        let id = account.id();
        let user = User { name: name.to_owned(), email: email.map(str::to_owned), departed: None };
        account.users.insert(id.clone(), user);
        id
    }

    pub fn set_email(&self, user: &str, email: &str) {
        self.edit_user(user, |user| user.email = Some(email.to_owned()));
    }

    /// Deletes a user. Schedules still name them, in this form; `/users` does not.
    pub fn delete_user(&self, user: &str, shown: Departed) {
        let now = self.clock.now();
        self.edit_user(user, |user| user.departed = Some((shown, now)));
    }

    fn edit_user(&self, id: &str, change: impl FnOnce(&mut User)) {
        let found = lock(&self.account).users.get_mut(id).map(change);
        assert!(found.is_some(), "the test names an unknown user {id}");
    }

    /// Adds a layer-based (v2) schedule without shifts; the id comes back. Time zones take turns.
    #[must_use]
    pub fn schedule(&self, name: &str) -> String {
        self.add_schedule(name, Kind::Layers)
    }

    /// Adds a shift-based (v3) schedule without shifts; the id comes back.
    #[must_use]
    pub fn schedule_v3(&self, name: &str) -> String {
        self.add_schedule(name, Kind::Shifts)
    }

    fn add_schedule(&self, name: &str, kind: Kind) -> String {
        let mut account = lock(&self.account);
        let id = account.id();
        let zone = ZONES[account.schedules.len() % ZONES.len()];
        let schedule = Schedule { name: name.to_owned(), kind, zone, shifts: Vec::new(), overrides: Vec::new() };
        account.schedules.insert(id.clone(), schedule);
        id
    }

    /// Upgrades a schedule from v2 to v3. It keeps its id.
    pub fn upgrade(&self, schedule: &str) {
        self.edit_schedule(schedule, |schedule| schedule.kind = Kind::Shifts);
    }

    /// Puts a user on a schedule. In v2 a later shift covers an earlier one, in v3 both stand.
    pub fn shift(&self, schedule: &str, user: &str, start: DateTime<Utc>, end: DateTime<Utc>) {
        let slot = Slot::new(start, end, Some(user));
        self.edit_schedule(schedule, |schedule| schedule.shifts.push(slot));
    }

    /// A shift in a rotation beside the first; rotations are counted from 0.
    pub fn rotation_shift(&self, schedule: &str, number: usize, user: &str, start: DateTime<Utc>, end: DateTime<Utc>) {
        let slot = Slot { rotation: Some(number), ..Slot::new(start, end, Some(user)) };
        self.edit_schedule(schedule, |schedule| schedule.shifts.push(slot));
    }

    /// The id of one of a schedule's rotations.
    #[must_use]
    pub fn rotation(&self, schedule: &str, number: usize) -> String {
        schedules::rotation(schedule, number)
    }

    /// A shift beside all rotations.
    pub fn custom_shift(&self, schedule: &str, user: &str, start: DateTime<Utc>, end: DateTime<Utc>) {
        let slot = Slot { rotation: None, ..Slot::new(start, end, Some(user)) };
        self.edit_schedule(schedule, |schedule| schedule.shifts.push(slot));
    }

    /// A shift that is nobody's: an `empty_member` in v3, no entry in v2.
    pub fn empty_shift(&self, schedule: &str, start: DateTime<Utc>, end: DateTime<Utc>) {
        let slot = Slot::new(start, end, None);
        self.edit_schedule(schedule, |schedule| schedule.shifts.push(slot));
    }

    /// Overrides whoever is on the schedule in this time; a later override covers an earlier one.
    pub fn override_shift(&self, schedule: &str, user: &str, start: DateTime<Utc>, end: DateTime<Utc>) {
        let slot = Slot { overriding: true, ..Slot::new(start, end, Some(user)) };
        self.edit_schedule(schedule, |schedule| schedule.overrides.push(slot));
    }

    /// Overrides one person of those who share a rotation's shift; `None` puts nobody in their place.
    pub fn override_one(&self, schedule: &str, whom: &str, by: Option<&str>, start: DateTime<Utc>, end: DateTime<Utc>) {
        let slot = Slot { overriding: true, in_place_of: Some(whom.to_owned()), ..Slot::new(start, end, by) };
        self.edit_schedule(schedule, |schedule| schedule.overrides.push(slot));
    }

    /// Takes every shift and override off a schedule.
    pub fn clear(&self, schedule: &str) {
        self.edit_schedule(schedule, |schedule| {
            schedule.shifts.clear();
            schedule.overrides.clear();
        });
    }

    fn edit_schedule(&self, id: &str, change: impl FnOnce(&mut Schedule)) {
        let found = lock(&self.account).schedules.get_mut(id).map(change);
        assert!(found.is_some(), "the test names an unknown schedule {id}");
    }

    /// Adds an escalation policy without levels; the id comes back.
    #[must_use]
    pub fn policy(&self, name: &str) -> String {
        let mut account = lock(&self.account);
        let id = account.id();
        account.policies.push(Policy { id: id.clone(), name: name.to_owned(), levels: Vec::new() });
        id
    }

    /// A level (from 1) calls a user, for good: start and end are null in `/oncalls`.
    pub fn policy_level_user(&self, policy: &str, level: u32, user: &str) {
        self.add_level(policy, level, Target::User(user.to_owned()));
    }

    /// A level (from 1) calls whoever is on a schedule.
    pub fn policy_level_schedule(&self, policy: &str, level: u32, schedule: &str) {
        self.add_level(policy, level, Target::Schedule(schedule.to_owned()));
    }

    fn add_level(&self, policy: &str, level: u32, target: Target) {
        let account = &mut *lock(&self.account);
        let found = account.policies.iter_mut().find(|known| known.id == policy);
        let added = found.map(|policy| policy.levels.push((level, target)));
        assert!(added.is_some(), "the test names an unknown policy {policy}");
    }

    /// Lists have no more rows than this to a page, whatever `limit` asks; the reply's `limit` says so.
    pub fn page_size(&self, rows: usize) {
        lock(&self.account).page_size = rows;
    }

    /// Lists say `more: true` for ever; the pages after the last row are empty.
    pub fn endless(&self) {
        lock(&self.account).endless = true;
    }

    /// The API's next calls are over the rate limit, which resets in one second.
    pub fn limit(&self, calls: usize) {
        let reply = self.api.vendor().refusal(429);
        lock(&self.account).limits.extend(repeat_n(reply, calls));
    }

    /// The same without the rate limit's headers and body, as happens.
    pub fn limit_without_headers(&self, calls: usize) {
        lock(&self.account).limits.extend(repeat_n(Reply::empty(429), calls));
    }
}
