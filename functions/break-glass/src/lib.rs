//! Gives whoever is on call a database login of their own, for minutes, that ends by itself.
//!
//! `actions` has what it can be asked for, `systems` the databases in which logins are made, `store` everything that is
//! remembered. Who is on call is read from `oncall-sync`'s ledgers (`grant`).

mod actions;
mod answer;
mod caller;
pub mod codes;
mod document;
mod event;
mod grant;
mod login;
mod report;
pub mod settings;
mod store;
mod systems;
mod telemetry;

use answer::Answer;
use chrono::{DateTime, Utc};
use document::DatabaseName;
use event::Event;
use keyturn::alert::{Channels, Conditions};
use keyturn::clock::Clock;
use keyturn::lambda::{Invocation, Start};
use keyturn::logs::Logs;
use keyturn::parameters::Parameters;
use keyturn::secrets::Secrets;
use keyturn::vendor::Clients;
use keyturn::{Deadline, Error, Result, Vars, defect, http};
use serde_json::Value;
use settings::Settings;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use store::Store;
use systems::Systems;
use telemetry::audit;

/// This function's name: the metrics' dimension.
const NAME: &str = "break-glass";

/// The function, with everything it keeps from one event to the next.
pub struct BreakGlass {
    settings: Settings,
    store: Store,
    secrets: Secrets,
    logs: Logs,
    systems: Systems,
    channels: Channels,
    /// What the last sweep found wrong.
    conditions: Conditions,
    /// When logins without a record were looked for last.
    strays_looked_for: Cell<Option<DateTime<Utc>>>,
    /// What was found then, by database.
    strays: RefCell<BTreeMap<DatabaseName, BTreeMap<String, Error>>>,
    clock: Clock,
}

/// The handler of events, with the settings and clients of this process.
///
/// # Errors
/// `CONFIGURATION_INVALID`, with everything that is wrong.
pub fn build(start: Start) -> Result<impl AsyncFn(&Value, Invocation) -> Result<Answer>> {
    let (secrets, parameters, logs) = (start.secrets(), start.parameters(), start.logs());
    let function = BreakGlass::new(start.vars, &secrets, parameters, logs, Clock::system())?;
    Ok(async move |event: &Value, invocation: Invocation| {
        function.handle(event, &invocation.invoked_arn, invocation.deadline).await
    })
}

impl BreakGlass {
    /// The function that the environment's settings ask for. Calls nobody yet.
    ///
    /// # Errors
    /// `CONFIGURATION_INVALID`, with everything that is wrong.
    pub fn new(mut vars: Vars, secrets: &Secrets, parameters: Parameters, logs: Logs, clock: Clock) -> Result<Self> {
        let settings = Settings::read(&mut vars);
        vars.finish()?;
        let clients = Clients { secrets: secrets.clone(), http: http::client()?, clock: clock.clone() };
        let (datadog, slack) = (settings.datadog_secret.as_deref(), settings.slack_secret.as_deref());
        let channels = Channels::new(datadog, settings.datadog_api.as_ref(), slack, &clients);
        Ok(Self {
            store: Store::new(parameters, &settings),
            secrets: secrets.clone(),
            logs,
            systems: Systems::new(&settings, &clients.http)?,
            channels,
            conditions: Conditions::default(),
            strays_looked_for: Cell::default(),
            strays: RefCell::default(),
            clock,
            settings,
        })
    }

    /// Answers an event. `arn` is the function as it was invoked: its alias decides what is believed. What a person asks is
    /// always answered as HTTP, refusals included.
    ///
    /// # Errors
    /// Of what the schedule and operators ask: what stopped the whole of it, `INTERNAL_DEFECT` included; logged and counted here.
    pub async fn handle(&self, event: &Value, arn: &str, deadline: Deadline) -> Result<Answer> {
        match defect::caught(async { Event::parse(event, arn, &self.settings) }).await {
            Ok(Event::Url(event)) => Ok(Box::pin(self.answer_person(&event, arn, deadline)).await),
            Ok(Event::Operation(operation)) => {
                let work = Box::pin(defect::caught(self.operate(&operation, deadline)));
                work.await.inspect_err(|error| audit::failed(operation.name(), error))
            }
            Err(error) => {
                audit::failed("", &error);
                Err(error)
            }
        }
    }
}
