//! The answers of the function: HTTP to people, JSON to operators and the schedule.

use crate::codes::Code;
use crate::document::{DatabaseName, Document, Engine};
use crate::login::{LoginName, Record};
use keyturn::clock::instant;
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

/// The answer to an event.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To what a person asks by the function URL.
    Http(Http),
    Swept(Swept),
    Checked(Checked),
    Reported(crate::actions::report::Report),
}

/// As function URLs take it (payload format 2.0).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    status_code: u16,
    headers: Headers,
    body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Headers {
    content_type: &'static str,
    cache_control: &'static str,
}

/// A sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Swept {
    pub(crate) open: usize,
    pub(crate) closed: Vec<LoginName>,
    /// Logins past their end that are still there.
    pub(crate) overstaying: Vec<LoginName>,
    /// How many errors a person has to look at.
    pub(crate) unresolved: usize,
}

/// Whether each database can be opened.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Whether every check is ok.
    pub(crate) healthy: bool,
    pub(crate) checks: Vec<Check>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    #[serde(rename = "check")]
    pub(crate) what: String,
    pub(crate) ok: bool,
    /// The finding, or the error and its remedy.
    pub(crate) detail: String,
}

impl Check {
    pub(crate) fn of(what: String, result: Result<()>, fine: &str) -> Self {
        match result {
            Ok(()) => Self { what, ok: true, detail: fine.to_owned() },
            Err(error) => Self { what, ok: false, detail: format!("{}: {error}", error.code()) },
        }
    }
}

impl Http {
    fn new(status_code: u16, body: &Value) -> Self {
        // The answer may hold a password: nothing between may keep it.
        let headers = Headers { content_type: "application/json", cache_control: "no-store" };
        Self { status_code, headers, body: format!("{body}\n") }
    }

    /// Address, login and password for a client. The password is in this answer alone: it is stored nowhere.
    pub(crate) fn opened(document: &Document, record: &Record, password: &SecretString, ready: bool) -> Self {
        let mut body = json!({
            "database": record.database,
            "engine": document.engine.name(),
            "username": record.login,
            "password": password.expose_secret(),
            "until": instant(record.until),
            "ready": ready,
        });
        let place = match &document.engine {
            Engine::Postgres(engine) => json!({"host": engine.host, "port": engine.port, "dbname": engine.database}),
            Engine::Atlas(engine) => json!({"host": engine.host}),
            Engine::Mongodb(engine) => json!({"hosts": engine.hosts, "replica_set": engine.replica_set}),
        };
        if let (Value::Object(body), Value::Object(place)) = (&mut body, place) {
            body.extend(place);
        }
        Self::new(200, &body)
    }

    pub(crate) fn closed(logins: &[LoginName]) -> Self {
        Self::new(200, &json!({ "closed": logins }))
    }

    /// The names of the databases that the caller may ask for, and what is open.
    pub(crate) fn open(databases: &[&DatabaseName], records: &[Record]) -> Self {
        let entry = |record: &Record| {
            json!({
                "database": record.database,
                "login": record.login,
                "person": record.person,
                "reason": record.reason,
                "opened_at": instant(record.opened_at),
                "until": instant(record.until),
            })
        };
        let open: Vec<Value> = records.iter().map(entry).collect();
        Self::new(200, &json!({ "databases": databases, "open": open }))
    }

    pub(crate) fn refused(error: &Error) -> Self {
        let body = json!({"code": error.code(), "message": error.message(), "remedy": error.remedy()});
        Self::new(status(error), &body)
    }
}

fn status(error: &Error) -> u16 {
    let table = [
        (Core::EventInvalid.name(), 400),
        (Code::TooLong.name(), 400),
        (Code::CallerRefused.name(), 403),
        (Code::NotGranted.name(), 403),
        (Code::NotScheduled.name(), 403),
        (Code::DatabaseUnknown.name(), 404),
        (Code::NothingOpen.name(), 404),
        (Code::TooManyOpen.name(), 409),
    ];
    // Every other code is a fault of the database, of AWS or of the set-up: the caller can only ask again.
    table.into_iter().find(|(code, _)| *code == error.code()).map_or(503, |(_, status)| status)
}
