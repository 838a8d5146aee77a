//! One call to PagerDuty, and the words for each way in which it fails. Never a body, a token or a query in them.

use crate::codes::Code;
use keyturn::http::{Answer, Failure, Request, StatusCode, is_code};
use keyturn::ids::{PolicyId, ScheduleId};
use keyturn::{Error, Result};
use serde_json::Value;
use url::form_urlencoded::Serializer;

/// A request, and what errors call it.
pub(super) struct Call {
    name: String,
    pub(super) request: Request,
}

impl Call {
    pub(super) fn new(path: &str) -> Self {
        Self { name: format!("GET {path}"), request: Request::get(path) }
    }

    pub(super) fn with_query(path: &str, fields: &[(&str, &str)]) -> Self {
        let query = Serializer::for_suffix(String::from("?"), 1).extend_pairs(fields).finish();
        Self { request: Request::get(format!("{path}{query}")), ..Self::new(path) }
    }

    pub(super) fn post_form(path: &str, fields: &[(&str, &str)]) -> Self {
        Self { name: format!("POST {path}"), request: Request::post_form(path, fields) }
    }

    /// The answer as JSON.
    pub(super) fn json(&self, answer: &Answer) -> Result<Value> {
        answer.json().map_err(|failure| self.failed(&failure))
    }

    /// No usable answer came.
    pub(super) fn failed(&self, failure: &Failure) -> Error {
        let code = match failure {
            Failure::NotSent(_) | Failure::NoAnswer(_) | Failure::OutOfTime => Code::PagerdutyUnreachable,
            Failure::Strange(_) | Failure::Redirected => Code::PagerdutyAnswerStrange,
            Failure::RateLimited => Code::PagerdutyThrottled,
        };
        Error::of(code, format!("{} at PagerDuty failed: {failure}.", self.name))
    }

    /// The answer is JSON, but not what PagerDuty documents.
    pub(super) fn strange(&self, why: &str) -> Error {
        self.failed(&Failure::Strange(why.to_owned()))
    }

    /// The answer says no.
    pub(super) fn refused(&self, answer: &Answer) -> Error {
        let status = answer.status;
        let said = error_code(answer).map(|code| format!(", error {code}")).unwrap_or_default();
        let code = match status {
            StatusCode::UNAUTHORIZED => Code::PagerdutyCredentialRefused,
            StatusCode::FORBIDDEN => Code::PagerdutyForbidden,
            StatusCode::NOT_FOUND => Code::PagerdutyNotFound,
            _ => Code::PagerdutyCallFailed,
        };
        Error::of(code, format!("PagerDuty answered {} with {status}{said}.", self.name))
    }
}

/// Says that the value of this key of PagerDuty's secret has characters that it cannot have.
pub(super) fn unfit(key: &str) -> String {
    format!("{key:?} holds characters that it cannot hold")
}

/// Neither API has the schedule.
pub(super) fn no_schedule(id: &ScheduleId) -> Error {
    Error::of(
        Code::PagerdutyNotFound,
        format!("PagerDuty has no schedule {id}: neither /schedules nor /v3/schedules knows it."),
    )
}

/// Nobody is on call for the policy at any level.
pub(super) fn empty_policy(id: &PolicyId) -> Error {
    Error::of(
        Code::PagerdutyPolicyEmpty,
        format!(
            "PagerDuty names nobody at any level of the escalation policy {id}: it does not exist, is empty, or may not be seen."
        ),
    )
}

/// Whether this is PagerDuty's own way of saying no (`{"error": {...}}`), and not a proxy's.
pub(super) fn is_own_refusal(answer: &Answer) -> bool {
    answer.json::<Value>().is_ok_and(|body| body["error"].is_object())
}

/// PagerDuty's error code: a number in v2, a word in v3.
fn error_code(answer: &Answer) -> Option<String> {
    let body: Value = answer.json().ok()?;
    match &body["error"]["code"] {
        Value::Number(number) => Some(number.to_string()),
        Value::String(word) => is_code(word).then(|| word.clone()),
        _ => None,
    }
}
