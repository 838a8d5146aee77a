//! Hands break-glass database admin to whoever is on call, through an Okta group, and takes it back.
//!
//! `actions` has what it can be asked for. `observe` reads, `planner` decides, without I/O and without a clock, and `apply`
//! alone changes anything.

mod actions;
mod apply;
pub mod binding;
pub mod codes;
mod event;
mod knowledge;
mod observe;
pub mod okta;
mod planner;
pub mod report;
pub mod settings;
mod source;
mod telemetry;
mod turns;

use apply::Applier;
use event::Event;
use keyturn::alert::{Channels, Conditions};
use keyturn::clock::Clock;
use keyturn::defect::lock;
use keyturn::lambda::{Invocation, Start};
use keyturn::parameters::Parameters;
use keyturn::secrets::Secrets;
use keyturn::vendor::Clients;
use keyturn::{Deadline, Result, Vars, defect, http};
use observe::Observer;
use okta::{Membership, Okta};
use report::Report;
use serde_json::Value;
use settings::Settings;
pub use source::pagerduty;
use std::cell::Cell;
use std::sync::Arc;
use telemetry::audit;

/// This function's name: the metrics' dimension.
const NAME: &str = "oncall-sync";

/// The function, with everything it keeps from one event to the next.
pub struct OncallSync {
    observer: Arc<Observer>,
    applier: Applier,
    /// What the last tick found wrong.
    conditions: Conditions,
    /// What the last forecast warned of.
    warnings: Conditions,
    /// Whether ticks end what a grant by hand begins.
    is_scheduled: bool,
    clock: Clock,
}

/// The handler of events, with the settings and clients of this process.
///
/// # Errors
/// `CONFIGURATION_INVALID`, with everything that is wrong.
pub fn build(start: Start) -> Result<impl AsyncFn(&Value, Invocation) -> Result<Report>> {
    let (secrets, parameters) = (start.secrets(), start.parameters());
    let function = OncallSync::new(start.vars, &secrets, parameters, Clock::system())?;
    Ok(async move |event: &Value, invocation: Invocation| function.handle(event, invocation.deadline).await)
}

impl OncallSync {
    /// The function that the environment's settings ask for. Calls nobody yet.
    ///
    /// # Errors
    /// `CONFIGURATION_INVALID`, with everything that is wrong.
    pub fn new(mut vars: Vars, secrets: &Secrets, parameters: Parameters, clock: Clock) -> Result<Self> {
        let settings = Settings::read(&mut vars);
        vars.finish()?;
        let clients = Clients { secrets: secrets.clone(), http: http::client()?, clock: clock.clone() };
        let okta = Arc::new(Okta::new(&settings, &clients));
        let observer = Arc::new(Observer::new(&settings, &clients, parameters.clone(), Arc::clone(&okta)));
        let channels = Channels::new(
            settings.datadog_secret.as_deref(),
            settings.datadog_api.as_ref(),
            settings.slack_secret.as_deref(),
            &clients,
        );
        let is_scheduled = settings.is_scheduled;
        let applier = Applier {
            ledger_path: settings.ledger_path,
            parameters,
            membership: Membership(okta),
            channels,
            observer: Arc::clone(&observer),
            clock: clock.clone(),
        };
        let (conditions, warnings) = (Conditions::default(), Conditions::default());
        Ok(Self { observer, applier, conditions, warnings, is_scheduled, clock })
    }

    /// Answers an event. Only the wall clock counts: an event that waited in a queue is as good as a new one.
    ///
    /// # Errors
    /// What stopped the whole of it, `INTERNAL_DEFECT` included; logged and counted here.
    pub async fn handle(&self, event: &Value, deadline: Deadline) -> Result<Report> {
        let action = Cell::new("");
        let work = async {
            let event = Event::parse(event)?;
            action.set(event.action());
            self.answer(&event, deadline).await
        };
        defect::caught(work).await.inspect_err(|error| audit::failed(action.get(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_secretsmanager::config::BehaviorVersion;
    use keyturn::metrics;
    use serde_json::json;
    use std::sync::Mutex;
    use std::time::Duration;

    /// The function, at a clock that panics as soon as it is looked at.
    fn broken() -> OncallSync {
        let vars = Vars::of([
            ("CONFIG_PATH", "/oncall"),
            ("LEDGER_PATH", "/ledgers"),
            ("PAGERDUTY_SECRET_ID", "p"),
            ("OKTA_SECRET_ID", "o"),
        ]);
        let version = BehaviorVersion::v2026_01_12;
        let config = aws_sdk_secretsmanager::Config::builder().behavior_version(version()).build();
        let secrets = Secrets::new(aws_sdk_secretsmanager::Client::from_conf(config));
        let config = aws_sdk_ssm::Config::builder().behavior_version(version()).build();
        let parameters = Parameters::new(aws_sdk_ssm::Client::from_conf(config));
        OncallSync::new(vars, &secrets, parameters, Clock::of(|| panic!("hunter2"))).unwrap()
    }

    #[tokio::test]
    async fn a_tick_that_panics_is_answered_and_counted_as_one_that_failed() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        metrics::hand_to(move |line| kept.lock().unwrap().push(line.clone()));
        let function = broken();
        for (event, ticks) in [(json!({}), 1), (json!({"action": "plan"}), 0)] {
            let error = function.handle(&event, Deadline::after(Duration::from_secs(5))).await.unwrap_err();
            assert_eq!(error.code(), "INTERNAL_DEFECT");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            let counted: Vec<Value> = std::mem::take(&mut *lines.lock().unwrap());
            assert_eq!(counted.iter().filter(|line| line["RunsOk"] == 0).count(), ticks, "{event}: {counted:?}");
        }
    }
}
