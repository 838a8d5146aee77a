//! The actions that an operator invokes directly, beside the steps of a rotation.
//!
//! `check` says what a rotation would do; `explain` says where a rotation stands, and the one command that frees it. They read,
//! and write nothing. `revoke` makes a leaked password useless; `repair-ownership` gives what the users own to their owner.

mod check;
mod explain;
mod repair;
mod revoke;

use crate::codes::Code;
use crate::postgres::Postgres;
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::rotation::{Job, Report, field};
use keyturn::secrets::Description;
use keyturn::{Deadline, Error, Result, defect};
use serde::Serialize;
use serde_json::Value;
use tracing::Instrument as _;

/// The answer to an invocation.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Step(Report),
    Check(check::Check),
    Explanation(explain::Explanation),
    Revocation(revoke::Revocation),
    Repair(repair::Repair),
}

/// Something that an operator should know, or that stops a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The command or change that mends it.
    pub(crate) remedy: String,
}

impl From<&Error> for Finding {
    fn from(error: &Error) -> Self {
        Self { code: error.code(), message: error.message().to_owned(), remedy: error.remedy().to_owned() }
    }
}

/// A finding in sentences, for people.
fn told(what: &str, error: &Error) -> [String; 2] {
    [format!("{what} {}: {}", error.code(), error.message()), format!("To do: {}", error.remedy())]
}

/// Answers `{"action": "check" | "explain" | "revoke" | "repair-ownership", "secret": "<name or ARN>"}`. IAM decides who may ask.
///
/// # Errors
/// `EVENT_INVALID`, and what reading the secret's labels can say. What is wrong with the secret itself is the answer.
pub(crate) async fn handle(postgres: &Postgres, event: &Value, deadline: Deadline) -> Result<Answer> {
    let answer = Box::pin(defect::caught(answer(postgres, event, deadline))).await;
    match &answer {
        Ok(Answer::Revocation(_) | Answer::Repair(_)) => tracing::info!(code = Code::Answered.name(), "Answered."),
        Ok(_) => tracing::info!(code = Code::Answered.name(), "Answered; nothing was changed."),
        Err(error) => tracing::error!(code = error.code(), remedy = error.remedy(), "{}", error.message()),
    }
    answer
}

async fn answer(postgres: &Postgres, event: &Value, deadline: Deadline) -> Result<Answer> {
    let action = field(event, "action")?.unwrap_or_default();
    let secret = field(event, "secret")?.ok_or_else(|| event_invalid("\"secret\" is missing"))?;
    let span = tracing::info_span!("action", action, secret);
    let asked = async {
        let description = postgres.secrets.describe(secret, deadline).await?;
        let job = Job::of_described(description.clone(), deadline);
        match action {
            "check" => Box::pin(check::check(postgres, &description, &job)).await.map(Answer::Check),
            "explain" => Box::pin(explain::explain(postgres, &description, &job)).await.map(Answer::Explanation),
            "revoke" => {
                let asked = revoke::Asked { version: field(event, "version")?, force: flag(event, "force")? };
                Box::pin(revoke::revoke(postgres, &description, &job, &asked)).await.map(Answer::Revocation)
            }
            "repair-ownership" => {
                Box::pin(repair::repair(postgres, &job, flag(event, "apply")?)).await.map(Answer::Repair)
            }
            _ => Err(event_invalid("\"action\" is none of check, explain, revoke, repair-ownership")),
        }
    };
    Box::pin(asked.instrument(span)).await
}

/// A field of an event that is true or false; false where it is absent.
fn flag(event: &Value, name: &str) -> Result<bool> {
    match event.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(flag) => flag.as_bool().ok_or_else(|| event_invalid(&format!("{name:?} is neither true nor false"))),
    }
}

fn event_invalid(problem: &str) -> Error {
    Error::new(
        Core::EventInvalid,
        format!("The event is not one that this function takes: {problem}."),
        "Ask like this: {\"action\": \"check\", \"secret\": \"/prod/platform/orders\"}",
    )
}

/// The version that carries a label.
fn version_with<'d>(description: &'d Description, label: &str) -> Option<&'d str> {
    let mut versions = description.versions.iter();
    versions.find(|(_, labels)| labels.iter().any(|other| other == label)).map(|(id, _)| id.as_str())
}
