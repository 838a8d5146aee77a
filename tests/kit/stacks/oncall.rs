//! Everything around `oncall-sync`: PagerDuty, Okta, Datadog, Slack and AWS, with one clock whose hands the test turns.
//!
//! The function runs inside this process, on that clock, or as the real bootstrap on the machine's.

use crate::aws::{Aws, function_config};
use crate::faults::Faults;
use crate::lambda::Lambda;
use crate::rotator::built;
use crate::vendors::datadog::Datadog;
use crate::vendors::okta::Okta;
use crate::vendors::pagerduty::PagerDuty;
use crate::vendors::slack::Slack;
use crate::vendors::{Call, TestClock};
use anyhow::{Context as _, Result};
use chrono::{DateTime, Duration, NaiveTime, Utc};
use keyturn::clock::Clock;
use keyturn::codes::Code;
use keyturn::parameters::Parameters;
use keyturn::secrets::Secrets;
use keyturn::{Deadline, Vars};
use oncall_sync::OncallSync;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

pub const CONFIG_PATH: &str = "/keyturn/test/oncall";
pub const LEDGER_PATH: &str = "/keyturn/test/oncall-ledger";
/// What Lambda gives an invocation of this function (the SAM template says so), less the second to report in.
pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(50);

/// How the function proves to Okta who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OktaAccess {
    #[default]
    Token,
    /// As a service app: `private_key_jwt` and DPoP.
    ServiceApp,
}

/// How it proves to PagerDuty who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagerDutyAccess {
    #[default]
    Token,
    /// As a scoped OAuth app.
    App,
}

/// A running stack. Dropped, all of it is gone.
pub struct Oncall {
    pub aws: Aws,
    pub pagerduty: PagerDuty,
    /// Who is in which group.
    pub okta: Okta,
    pub datadog: Datadog,
    pub slack: Slack,
    pub faults: Faults,
    /// The clock of everything in this process.
    pub clock: TestClock,
    variables: Vec<(String, String)>,
    function: Option<OncallSync>,
}

/// Somebody with an account at PagerDuty and one at Okta.
#[derive(Clone, Debug)]
pub struct Engineer {
    /// Their email address, and Okta login.
    pub email: String,
    pub pagerduty: String,
    pub okta: String,
}

/// A schedule, a group, and the document that binds them.
#[derive(Clone, Debug)]
pub struct Bound {
    pub id: String,
    pub schedule: String,
    pub group: String,
}

impl Bound {
    /// The name of the parameter that holds the ledger.
    #[must_use]
    pub fn ledger_name(&self) -> String {
        format!("{LEDGER_PATH}/{}.{}", self.id, self.group)
    }
}

/// A stack to be started.
#[must_use]
pub struct Builder {
    okta: OktaAccess,
    pagerduty: PagerDutyAccess,
    clock: Option<Clock>,
    variables: Vec<(String, String)>,
}

impl Oncall {
    /// A stack on a Monday morning, 2026-03-02T09:00:00Z, with API tokens and both channels.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// A stack with choices of its own.
    pub fn builder() -> Builder {
        Builder { okta: OktaAccess::Token, pagerduty: PagerDutyAccess::Token, clock: None, variables: Vec::new() }
    }

    pub fn engineer(&self, name: &str) -> Result<Engineer> {
        let email = format!("{name}@corp.example");
        Ok(Engineer { pagerduty: self.pagerduty.user(name, &email), okta: self.okta.user(&email, &email)?, email })
    }

    /// A new schedule in a policy of its own, and a new group, bound to each other; the document's further keys are
    /// `more`.
    #[must_use]
    pub fn bind(&self, id: &str, more: &Value) -> Bound {
        let bound = self.bind_alone(id, more);
        let policy = self.pagerduty.policy(id);
        self.pagerduty.policy_level_schedule(&policy, 1, &bound.schedule);
        bound
    }

    /// The same with a schedule that is in no policy, so that only its own reading shows it.
    #[must_use]
    pub fn bind_alone(&self, id: &str, more: &Value) -> Bound {
        let bound = Bound {
            id: id.to_owned(),
            schedule: self.pagerduty.schedule(id),
            group: self.okta.group(&format!("break-glass-{id}")),
        };
        self.write_binding(&bound, more);
        bound
    }

    /// Writes the document of a binding anew.
    pub fn write_binding(&self, bound: &Bound, more: &Value) {
        let mut document = json!({
            "schedules": [bound.schedule], "okta_group": bound.group, "group_name": format!("break-glass-{}", bound.id),
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        self.write_document(&bound.id, &document.to_string());
    }

    /// Writes a document as it is.
    pub fn write_document(&self, id: &str, text: &str) {
        self.aws.parameters.put(&format!("{CONFIG_PATH}/{id}"), text);
    }

    /// Today at this time (`"17:30"`).
    #[must_use]
    pub fn today(&self, time: &str) -> DateTime<Utc> {
        let time = NaiveTime::parse_from_str(time, "%H:%M").unwrap_or_default();
        self.clock.now().date_naive().and_time(time).and_utc()
    }

    /// Puts somebody on call today, from one time to another.
    pub fn on_call(&self, bound: &Bound, who: &Engineer, from: &str, to: &str) {
        self.pagerduty.shift(&bound.schedule, &who.pagerduty, self.today(from), self.today(to));
    }

    /// Turns the clock on to a time of today.
    pub fn at(&self, time: &str) {
        let by = self.today(time) - self.clock.now();
        self.clock.advance(by);
    }

    /// Turns the clock on by some minutes.
    pub fn minutes_later(&self, minutes: i64) {
        self.clock.advance(Duration::minutes(minutes));
    }

    /// Has the function do what an event asks for, here and now.
    pub async fn event(&self, event: &Value) -> keyturn::Result<Value> {
        let Some(function) = &self.function else {
            return Err(keyturn::Error::new(
                Code::InternalDefect,
                "This stack has no function of its own.",
                "Start one.",
            ));
        };
        let report = function.handle(event, Deadline::after(TIMEOUT)).await?;
        Ok(json!(report))
    }

    pub async fn tick(&self) -> keyturn::Result<Value> {
        self.event(&json!({"action": "sync"})).await
    }

    /// Forgets everything that a warm function remembers, as a cold start does.
    pub fn recycle(&mut self) -> Result<()> {
        let config = function_config(&self.aws.url());
        let secrets = Secrets::new(aws_sdk_secretsmanager::Client::new(&config));
        let parameters = Parameters::new(aws_sdk_ssm::Client::new(&config));
        let vars = Vars::from_pairs(self.variables.clone());
        self.function = Some(OncallSync::new(vars, &secrets, parameters, self.clock.clock())?);
        Ok(())
    }

    /// Who is in a binding's group, by their email addresses' names (`ann`), in order.
    #[must_use]
    pub fn members(&self, bound: &Bound, people: &[&Engineer]) -> Vec<String> {
        let members: BTreeSet<String> = self.okta.members(&bound.group);
        let name = |id: &String| {
            let who = people.iter().find(|who| who.okta == *id);
            who.map_or_else(|| id.clone(), |who| who.email.split('@').next().unwrap_or_default().to_owned())
        };
        let mut names: Vec<String> = members.iter().map(name).collect();
        names.sort();
        names
    }

    /// A binding's ledger, as it is stored.
    pub fn ledger(&self, bound: &Bound) -> Result<Value> {
        let text = self.aws.parameters.value(&bound.ledger_name()).context("there is no ledger")?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The states of the people in a binding's ledger, by their Okta ids.
    ///
    /// # Errors
    /// If there is no ledger.
    pub fn states(&self, bound: &Bound) -> Result<Vec<(String, Value)>> {
        let ledger = self.ledger(bound)?;
        let people = ledger["people"].as_object().context("a ledger of another form")?;
        Ok(people.iter().map(|(okta, person)| (okta.clone(), person["state"].clone())).collect())
    }

    /// The titles of all events at Datadog, in order.
    #[must_use]
    pub fn alerts(&self) -> Vec<String> {
        self.datadog.events().iter().map(|event| event["title"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Every request to PagerDuty and Okta since they were forgotten.
    #[must_use]
    pub fn requests(&self) -> Vec<Call> {
        let mut calls = self.pagerduty.seen();
        calls.extend(self.okta.seen());
        calls
    }

    pub fn forget_requests(&self) {
        self.pagerduty.forget();
        self.okta.forget();
        self.datadog.forget();
        self.slack.forget();
    }

    /// Every request so far that no correct client would have sent. Empty at the end of a good test.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut all = self.aws.violations();
        all.extend(self.pagerduty.violations());
        all.extend(self.okta.violations());
        all.extend(self.datadog.violations());
        all.extend(self.slack.violations());
        all
    }

    /// The function's environment in this stack.
    #[must_use]
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// The real bootstrap (`path`, or the one built beside the running program) on this stack. Its clock is the machine's.
    pub async fn lambda(&self, path: Option<PathBuf>) -> Result<Lambda> {
        let bootstrap = path.map_or_else(|| built("oncall-sync"), Ok)?;
        let lambda = Lambda::start("oncall-sync", bootstrap, self.variables.clone(), self.faults.clone()).await?;
        lambda.set_timeout(TIMEOUT);
        Ok(lambda)
    }
}

impl Builder {
    /// How the function is known at Okta.
    pub fn okta(mut self, access: OktaAccess) -> Self {
        self.okta = access;
        self
    }

    /// How it is known at PagerDuty.
    pub fn pagerduty(mut self, access: PagerDutyAccess) -> Self {
        self.pagerduty = access;
        self
    }

    /// Lets the vendors go by the machine's clock, as the real bootstrap does.
    pub fn on_the_machines_clock(mut self) -> Self {
        self.clock = Some(Clock::system());
        self
    }

    /// Sets a variable of the function's environment; an empty value unsets it.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub async fn start(self) -> Result<Oncall> {
        let faults = Faults::none();
        let hands = TestClock::at("2026-03-02T09:00:00Z");
        if let Some(machine) = &self.clock {
            hands.advance(machine.now() - hands.now());
        }
        let clock = self.clock.unwrap_or_else(|| hands.clock());
        let (aws, pagerduty, okta, datadog, slack) = tokio::try_join!(
            Aws::start(faults.clone()),
            PagerDuty::start(clock.clone(), faults.clone()),
            Okta::start(clock.clone(), faults.clone()),
            Datadog::start(clock.clone(), faults.clone()),
            Slack::start(clock.clone(), faults.clone()),
        )?;
        let okta_secret = match self.okta {
            OktaAccess::Token => json!({"org_url": okta.url(), "token": okta.ssws_token()}),
            OktaAccess::ServiceApp => {
                let app = okta.service_app(&["okta.groups.manage", "okta.groups.read", "okta.users.read"])?;
                json!({"org_url": okta.url(), "client_id": app.client_id, "private_key": app.jwk})
            }
        };
        let pagerduty_secret = match self.pagerduty {
            PagerDutyAccess::Token => json!({"token": pagerduty.token()}),
            PagerDutyAccess::App => {
                let app = pagerduty.oauth_app(&["schedules.read", "oncalls.read", "users.read"]);
                json!({
                    "client_id": app.client_id, "client_secret": app.client_secret,
                    "subdomain": app.subdomain, "region": "us",
                })
            }
        };
        let secrets = [
            ("PAGERDUTY_SECRET_ID", "keyturn/pagerduty", pagerduty_secret),
            ("OKTA_SECRET_ID", "keyturn/okta", okta_secret),
            ("DATADOG_SECRET_ID", "keyturn/datadog", json!({"api_key": datadog.api_key(), "site": "datadoghq.eu"})),
            ("SLACK_SECRET_ID", "keyturn/slack", json!({"webhook_url": slack.webhook_url()})),
        ];
        let mut variables = vec![
            ("AWS_ENDPOINT_URL".to_owned(), aws.url()),
            ("CONFIG_PATH".to_owned(), CONFIG_PATH.to_owned()),
            ("LEDGER_PATH".to_owned(), LEDGER_PATH.to_owned()),
            ("PAGERDUTY_API_URL".to_owned(), pagerduty.url()),
            ("PAGERDUTY_IDENTITY_URL".to_owned(), pagerduty.identity_url()),
            ("DATADOG_API_URL".to_owned(), datadog.url()),
        ];
        for (variable, name, value) in secrets {
            aws.secrets.create(name, &value.to_string())?;
            variables.push((variable.to_owned(), name.to_owned()));
        }
        variables.retain(|(name, _)| self.variables.iter().all(|(other, _)| other != name));
        variables.extend(self.variables);
        let mut oncall =
            Oncall { aws, pagerduty, okta, datadog, slack, faults, clock: hands, variables, function: None };
        oncall.recycle()?;
        Ok(oncall)
    }
}
