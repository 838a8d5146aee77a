//! Hands break-glass database admin to whoever is on call in PagerDuty, through an Okta group, and takes it back.
//!
//! [`planner::plan`] decides, without I/O and without a clock. Everything else finds out what it needs to know
//! (`look`), and does what it says (`apply`).

mod alerts;
mod apply;
mod audit;
pub mod binding;
mod by_hand;
mod doctor;
mod event;
mod group;
pub mod ids;
mod kept;
pub mod knowledge;
pub mod ledger;
mod look;
mod memory;
pub mod okta;
pub mod pagerduty;
mod people;
pub mod planner;
pub mod report;
pub mod settings;
mod sync;

use alerts::Channels;
use event::Event;
use kept::{Kept, Means};
use keyturn::alert::{Datadog, Slack};
use keyturn::clock::Clock;
use keyturn::parameters::Parameters;
use keyturn::secrets::Secrets;
use keyturn::{Deadline, Result, Vars, http};
use memory::Memory;
use okta::Okta;
use pagerduty::PagerDuty;
use people::People;
use report::Report;
use serde_json::Value;
use settings::Settings;

/// This function's name: the metrics' dimension.
pub const NAME: &str = "oncall-sync";

/// The function, with everything it keeps from one event to the next.
pub struct OncallSync {
    settings: Settings,
    parameters: Parameters,
    pagerduty: PagerDuty,
    okta: Okta,
    channels: Channels,
    people: People,
    groups_checked: group::Checked,
    memory: Memory,
    clock: Clock,
}

impl OncallSync {
    /// The function that the environment's settings ask for. Calls nobody yet.
    ///
    /// # Errors
    /// `CONFIGURATION_INVALID`, with everything that is wrong.
    pub fn new(mut vars: Vars, secrets: &Secrets, parameters: Parameters, clock: Clock) -> Result<Self> {
        let settings = Settings::read(&mut vars);
        vars.finish().inspect_err(audit::settings_refused)?;
        let means = Means { secrets: secrets.clone(), client: http::client()?, clock: clock.clone() };
        let places =
            pagerduty::Places { api: settings.pagerduty_api.clone(), identity: settings.pagerduty_identity.clone() };
        let pagerduty = Kept::new(&means, &settings.pagerduty_secret, move |text, client, clock| {
            pagerduty::Account::parse(text, &places, client, clock)
        });
        let org = settings.okta_org.clone();
        let okta = Kept::new(&means, &settings.okta_secret, move |text, client, clock| {
            okta::Account::parse(text, org.as_ref(), client, clock)
        });
        let place = settings.datadog_api.clone();
        let datadog = settings.datadog_secret.as_ref().map(|id| {
            Kept::new(&means, id, move |text, client, clock| Datadog::parse(text, place.as_ref(), client, clock))
        });
        let slack = settings.slack_secret.as_ref().map(|id| Kept::new(&means, id, Slack::parse));
        Ok(Self {
            settings,
            parameters,
            pagerduty: PagerDuty::new(pagerduty),
            okta: Okta::new(okta),
            channels: Channels { datadog, slack },
            people: People::new(clock.clone()),
            groups_checked: group::Checked::new(clock.clone()),
            memory: Memory::default(),
            clock,
        })
    }

    /// Answers an event. Only the wall clock counts: an event that waited in a queue is as good as a new one.
    ///
    /// # Errors
    /// Whatever stopped the whole of it, logged once here.
    pub async fn handle(&self, event: &Value, deadline: Deadline) -> Result<Report> {
        let event = Event::parse(event).inspect_err(|error| audit::failed("", error))?;
        let (action, result) = match &event {
            Event::Sync => ("sync", Box::pin(self.sync(deadline)).await),
            Event::Plan => ("plan", Box::pin(self.plan(deadline)).await),
            Event::Grant { binding, user, lasts, reason } => {
                ("grant", Box::pin(self.grant_by_hand(binding, user, *lasts, reason, deadline)).await)
            }
            Event::Revoke { binding, user, reason } => {
                ("revoke", Box::pin(self.revoke_by_hand(binding, user, reason, deadline)).await)
            }
            Event::Doctor => ("doctor", Box::pin(self.examine(deadline)).await),
        };
        result.inspect_err(|error| audit::failed(action, error))
    }
}
