//! Everything around `break-glass`: a PostgreSQL server (or none), AWS, Datadog and Slack, with one clock whose hands the test
//! turns, and `oncall-sync`'s ledgers as it writes them.
//!
//! The function runs inside this process, on that clock, or as the real bootstrap on the machine's.

use crate::aws::{Aws, function_config};
use crate::certificates::Certificates;
use crate::faults::Faults;
use crate::lambda::Lambda;
use crate::postgres::proxy::{Logins, PostgresProxy};
use crate::postgres::{self, Postgres};
use crate::relay::Relay;
use crate::rotator::built;
use crate::stacks::postgres::Latency;
use crate::vendors::TestClock;
use crate::vendors::datadog::Datadog;
use crate::vendors::slack::Slack;
use anyhow::{Context as _, Result};
use break_glass::BreakGlass;
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use keyturn::clock;
use keyturn::logs::Logs;
use keyturn::parameters::Parameters;
use keyturn::secrets::Secrets;
use keyturn::{Deadline, Vars};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio_postgres::Client;

pub const CONFIG_PATH: &str = "/keyturn/test/databases";
pub const STATE_PATH: &str = "/keyturn/test/logins";
pub const LEDGER_PATH: &str = "/keyturn/test/oncall-ledger";
/// The role that makes logins: no superuser, but `CREATEROLE`, as on RDS.
pub const ADMIN: &str = "break_glass_admin";
/// The binding and group that open every database of [`Stack::database`].
pub const BINDING: &str = "shop";
pub const GROUP: &str = "00g1";
/// What Lambda gives an invocation (the template says so), less the second to report in.
pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(50);

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:break-glass";
const ROLE_ID: &str = "AROAEXAMPLEID1234567";
const ROLE: &str = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_DBA_0123456789abcdef";

/// A running stack. Dropped, all of it is gone.
pub struct Stack {
    pub aws: Aws,
    postgres: Option<Postgres>,
    pub datadog: Datadog,
    pub slack: Slack,
    pub faults: Faults,
    /// The clock of the function in this process; the database goes by the machine's.
    pub clock: TestClock,
    pub variables: Vec<(String, String)>,
    admin_arn: String,
    proxy: Option<PostgresProxy>,
    relay: Option<Relay>,
    function: BreakGlass,
    /// People by their state in the one ledger, and how often it was written.
    ledger: Mutex<(Map<String, Value>, u64)>,
}

/// A stack to be started.
#[must_use]
pub struct Builder {
    postgres: Option<postgres::Builder>,
    variables: Vec<(String, String)>,
    through_proxy: bool,
    through_relay: bool,
}

/// An answer of the function URL.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u64,
    pub body: Value,
}

impl Answer {
    /// Reads what the function has answered.
    pub fn read(answer: &Value) -> Result<Self> {
        let body = answer["body"].as_str().with_context(|| format!("no HTTP answer: {answer}"))?;
        Ok(Self { status: answer["statusCode"].as_u64().unwrap_or_default(), body: serde_json::from_str(body)? })
    }

    /// The code of a refusal; empty of anything else.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    #[must_use]
    pub fn text(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_default().to_owned()
    }
}

impl Stack {
    /// Starts a stack on this major version of PostgreSQL, with the database `shop`.
    pub async fn start(major: u32) -> Result<Self> {
        let stack = Self::builder(major).start().await?;
        stack.database("shop", &json!({})).await?;
        Ok(stack)
    }

    /// A stack with choices of its own, and no database yet.
    pub fn builder(major: u32) -> Builder {
        Builder { postgres: Some(Postgres::builder(major)), ..Self::without_postgres() }
    }

    /// A stack without PostgreSQL.
    pub fn without_postgres() -> Builder {
        Builder { postgres: None, variables: Vec::new(), through_proxy: false, through_relay: false }
    }

    /// # Panics
    /// On a stack without one.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that asks for it has started one")]
    pub fn postgres(&self) -> &Postgres {
        self.postgres.as_ref().expect("a stack without PostgreSQL")
    }

    /// A database whose role `<name>_admin` people on call act as, and its document; the document's further keys are `more`.
    pub async fn database(&self, name: &str, more: &Value) -> Result<()> {
        let postgres = self.postgres();
        let access = format!("{name}_admin");
        let (database, role) = (escape_identifier(name), escape_identifier(&access));
        postgres.execute(&format!("CREATE ROLE {role} NOLOGIN")).await?;
        let with = if postgres.major() >= 16 { "ADMIN TRUE, INHERIT TRUE, SET TRUE" } else { "ADMIN OPTION" };
        postgres.execute(&format!("GRANT {role} TO {ADMIN} WITH {with}")).await?;
        postgres.execute(&format!("CREATE DATABASE {database} OWNER {role}")).await?;
        let mut document = json!({
            "engine": "postgres", "host": "localhost", "port": self.database_port(), "dbname": name, "access": access,
            "admin_secret": self.admin_arn, "max_minutes": 60, "bindings": [{"binding": BINDING, "group": GROUP}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            match value {
                Value::Null => drop(document.as_object_mut().and_then(|document| document.remove(key))),
                value => document[key] = value.clone(),
            }
        }
        self.document(name, &document);
        Ok(())
    }

    pub fn document(&self, name: &str, document: &Value) {
        self.aws.parameters.put(&format!("{CONFIG_PATH}/{name}"), &document.to_string());
    }

    /// The port that documents name: that of what stands in between, if anything does.
    #[must_use]
    pub fn database_port(&self) -> u16 {
        let between = self.proxy.as_ref().map(PostgresProxy::port).or(self.relay.as_ref().map(Relay::port));
        between.unwrap_or_else(|| self.postgres().port())
    }

    /// Puts AWS and the database this far away from now on. The database can only be moved on a stack with a relay.
    pub fn set_latency(&self, latency: Latency) {
        self.aws.set_latency(latency.aws);
        if let Some(relay) = &self.relay {
            relay.set_round_trip(latency.database);
        }
    }

    /// The ARN of the admin's secret.
    #[must_use]
    pub fn admin_arn(&self) -> &str {
        &self.admin_arn
    }

    /// Has `oncall-sync` grant somebody for these minutes; 0 or less: the grant is over.
    pub fn grant(&self, person: &str, minutes: i64) {
        let (since, until) = (self.clock.now() - Duration::hours(1), self.clock.now() + Duration::minutes(minutes));
        let claim = json!({"person": "P1", "shift_end": instant(until), "until": instant(until)});
        self.put_state(person, &json!({"granted": {"since": instant(since), "on_call": claim, "shown": true}}));
    }

    /// Has an operator revoke somebody by hand.
    pub fn hold(&self, person: &str) {
        self.put_state(
            person,
            &json!({"held": {"since": instant(self.clock.now()), "out": true, "reason": "left laptop"}}),
        );
    }

    /// Gives somebody a state in the ledger.
    pub fn put_state(&self, person: &str, state: &Value) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (people, version) = &mut *ledger;
        *version += 1;
        let id: String = person.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
        people.insert(format!("00u{id}"), json!({"login": login(person), "state": state}));
        let text = json!({"format": 2, "group": GROUP, "serial": *version, "version": *version, "people": people});
        self.aws.parameters.put(&self.ledger_name(), &text.to_string());
    }

    #[must_use]
    pub fn ledger_name(&self) -> String {
        format!("{LEDGER_PATH}/{BINDING}.{GROUP}")
    }

    /// The event of the function URL for what a person asks.
    #[must_use]
    pub fn url_event(&self, person: &str, method: &str, path: &str, body: Option<&Value>) -> Value {
        let session = login(person);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "queryStringParameters": query,
            "headers": {"content-type": "application/json", "host": "abc.lambda-url.eu-west-1.on.aws"},
            "requestContext": {
                "accountId": "123456789012", "apiId": "abc", "stage": "$default", "requestId": "1", "timeEpoch": 1,
                "authentication": null,
                "authorizer": {"iam": {
                    "accessKey": "ASIAEXAMPLE", "accountId": "123456789012", "callerId": format!("{ROLE_ID}:{session}"),
                    "cognitoIdentity": null, "principalOrgId": "aws:PrincipalOrgID",
                    "userArn": format!("{ROLE}/{session}"), "userId": format!("{ROLE_ID}:{session}"),
                }},
                "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "curl"},
            },
            "body": body.map(Value::to_string), "isBase64Encoded": false,
        })
    }

    /// What a person (`ann`) asks by the function URL.
    pub async fn ask(&self, person: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        Answer::read(&self.event("url", &self.url_event(person, method, path, body)).await?)
    }

    /// A person opens a database for some minutes.
    pub async fn open(&self, person: &str, database: &str, minutes: i64) -> Result<Answer> {
        let body = json!({"minutes": minutes, "reason": "INC-42"});
        self.ask(person, "POST", &format!("/{database}"), Some(&body)).await
    }

    pub async fn sweep(&self) -> keyturn::Result<Value> {
        self.event("ops", &json!({"action": "sweep"})).await
    }

    /// An event, on an alias of the function; "": on none.
    pub async fn event(&self, alias: &str, event: &Value) -> keyturn::Result<Value> {
        let arn = if alias.is_empty() { ARN.to_owned() } else { format!("{ARN}:{alias}") };
        Ok(json!(self.function.handle(event, &arn, Deadline::after(TIMEOUT)).await?))
    }

    /// Logs in as an answer says, past the proxy.
    pub async fn log_in(&self, answer: &Answer) -> Result<Client> {
        self.postgres().client(&answer.text("username"), &answer.text("password"), &answer.text("dbname")).await
    }

    /// The same with options for the session, in a task of its own.
    pub fn slow_log_in(&self, answer: &Answer, options: &str) -> tokio::task::JoinHandle<Result<Client>> {
        let (certificates, port) = (self.postgres().certificates().clone(), self.postgres().port());
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user(answer.text("username")).password(answer.text("password"));
        config.dbname(answer.text("dbname")).options(options).ssl_mode(tokio_postgres::config::SslMode::Require);
        tokio::spawn(async move {
            let tls = postgres_native_tls::MakeTlsConnector::new(certificates.connector());
            let (client, connection) = config.connect(tls).await?;
            tokio::spawn(connection); // ends with the client
            client.simple_query("SELECT 1").await?;
            Ok(client)
        })
    }

    /// The roles in PostgreSQL that begin like the function's.
    pub async fn roles(&self) -> Result<Vec<String>> {
        let sql = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'bg\\_%' ORDER BY 1";
        let rows = self.postgres().admin_client().await?.query(sql, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// How many sessions of a role are open.
    pub async fn sessions(&self, role: &str) -> Result<i64> {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = {}", escape_literal(role));
        Ok(self.postgres().admin_client().await?.query_one(&sql, &[]).await?.get(0))
    }

    /// The records of logins that are kept.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        let records = self.aws.parameters.below(STATE_PATH);
        records.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).collect()
    }

    pub fn minutes_later(&self, minutes: i64) {
        self.clock.advance(Duration::minutes(minutes));
    }

    /// The titles of all events at Datadog, in order.
    #[must_use]
    pub fn alerts(&self) -> Vec<String> {
        self.datadog.events().iter().map(|event| event["title"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Every request so far that no correct client would have sent. Empty at the end of a good test.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        [self.aws.violations(), self.datadog.violations(), self.slack.violations()].concat()
    }

    /// The real bootstrap (`path`, or the one built beside the running program) on this stack. Its clock is the machine's.
    pub async fn lambda(&self, path: Option<PathBuf>) -> Result<Lambda> {
        let bootstrap = path.map_or_else(|| built("break-glass"), Ok)?;
        let lambda = Lambda::start("break-glass", bootstrap, self.variables.clone(), self.faults.clone()).await?;
        lambda.set_timeout(TIMEOUT);
        Ok(lambda)
    }

    /// Forgets everything that a warm function remembers, as a cold start does.
    pub fn recycle(&mut self) -> Result<()> {
        self.function = function(&self.aws, &self.variables, &self.clock)?;
        Ok(())
    }
}

impl Builder {
    /// Sets a variable of the function's environment; an empty value unsets it.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes the server before it starts.
    pub fn postgres(mut self, change: impl FnOnce(postgres::Builder) -> postgres::Builder) -> Self {
        self.postgres = self.postgres.map(change);
        self
    }

    /// Lets every connection of the function pass the proxy that records statements and carries out faults.
    pub fn through_proxy(mut self) -> Self {
        self.through_proxy = true;
        self
    }

    /// Lets every connection of the function pass a relay, which can put the database further away.
    pub fn through_relay(mut self) -> Self {
        self.through_relay = true;
        self
    }

    pub async fn start(self) -> Result<Stack> {
        let faults = Faults::none();
        // The database's own dates are the machine's, so that the test's clock begins there.
        let hands = TestClock::at("2026-03-02T09:00:00Z");
        hands.advance(clock::now() - hands.now());
        let (aws, datadog, slack) = tokio::try_join!(
            Aws::start(faults.clone()),
            Datadog::start(hands.clock(), faults.clone()),
            Slack::start(hands.clock(), faults.clone()),
        )?;
        let postgres = match self.postgres {
            Some(builder) => Some(builder.start().await?),
            None => None,
        };
        let mut variables = vec![
            ("AWS_ENDPOINT_URL".to_owned(), aws.url()),
            ("CONFIG_PATH".to_owned(), CONFIG_PATH.to_owned()),
            ("STATE_PATH".to_owned(), STATE_PATH.to_owned()),
            ("LEDGER_PATH".to_owned(), LEDGER_PATH.to_owned()),
            ("PERMISSION_SETS".to_owned(), format!("DBA:{ROLE_ID}")),
            ("DATADOG_API_URL".to_owned(), datadog.url()),
        ];
        let (mut proxy, mut relay, mut admin_arn) = (None, None, String::new());
        if let Some(postgres) = &postgres {
            let password = postgres.make_admin(ADMIN).await?;
            if postgres.major() < 16 {
                postgres.execute(&format!("GRANT pg_signal_backend TO {ADMIN}")).await?;
            }
            let admin = json!({"username": ADMIN, "password": password});
            admin_arn = aws.secrets.create("admin", &admin.to_string())?;
            let certificates: &Certificates = postgres.certificates();
            variables.push(("DATABASE_CA_FILE".to_owned(), certificates.ca_file().display().to_string()));
            if self.through_proxy {
                let started =
                    PostgresProxy::start(postgres.port(), certificates, faults.clone(), Logins::PassedOn).await?;
                proxy = Some(started);
            } else if self.through_relay {
                relay = Some(Relay::start(postgres.port()).await?);
            }
        }
        for (variable, name, value) in [
            ("DATADOG_SECRET_ID", "keyturn/datadog", json!({"api_key": datadog.api_key(), "site": "datadoghq.eu"})),
            ("SLACK_SECRET_ID", "keyturn/slack", json!({"webhook_url": slack.webhook_url()})),
        ] {
            aws.secrets.create(name, &value.to_string())?;
            variables.push((variable.to_owned(), name.to_owned()));
        }
        variables.retain(|(name, _)| self.variables.iter().all(|(other, _)| other != name));
        variables.extend(self.variables);
        let function = function(&aws, &variables, &hands)?;
        let (clock, ledger) = (hands, Mutex::default());
        Ok(Stack { aws, postgres, datadog, slack, faults, clock, variables, admin_arn, proxy, relay, function, ledger })
    }
}

fn function(aws: &Aws, variables: &[(String, String)], hands: &TestClock) -> Result<BreakGlass> {
    let config = function_config(&aws.url());
    let secrets = Secrets::new(aws_sdk_secretsmanager::Client::new(&config));
    let parameters = Parameters::new(aws_sdk_ssm::Client::new(&config));
    let logs = Logs::new(aws_sdk_cloudwatchlogs::Client::new(&config));
    Ok(BreakGlass::new(Vars::from_pairs(variables.to_vec()), &secrets, parameters, logs, hands.clock())?)
}

/// A person's login at Okta, and user name in Identity Center.
fn login(person: &str) -> String {
    if person.contains('@') { person.to_owned() } else { format!("{person}@corp.example") }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
