//! The events that the function takes: what a person asks through the function URL, and what the schedule and operators ask.
//! Which of the two is believed depends on the alias that was invoked.

use crate::caller::{Caller, Iam};
use crate::codes::Code;
use crate::document::DatabaseName;
use crate::login::LoginName;
use crate::settings::Settings;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::alert::is_unseen;
use keyturn::codes::Code as Core;
use keyturn::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest body that is read.
const MOST_BODY: usize = 4096;

/// What the schedule or an operator asks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Operation {
    /// End every login whose time or grant is over.
    Sweep {},
    /// Say who held what, when, and who holds what now; change nothing.
    Report { since: DateTime<Utc>, until: Option<DateTime<Utc>> },
    /// Prove that every database can be opened; change nothing.
    Check {},
}

impl Operation {
    /// As the event's `"action"` has it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sweep {} => "sweep",
            Self::Report { .. } => "report",
            Self::Check {} => "check",
        }
    }
}

/// What a person asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) caller: Caller,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Open {
        database: DatabaseName,
        lasts: TimeDelta,
        reason: String,
    },
    /// Close one login, or all that the caller has open there.
    Close {
        database: DatabaseName,
        login: Option<LoginName>,
    },
    List,
}

/// An event, by the alias that was invoked.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Still to be read, as [`UrlEvent`]: what is wrong with it is told to who asks.
    Url(Value),
    Operation(Operation),
}

impl Event {
    /// Reads an event. `arn` is the function as it was invoked.
    ///
    /// # Errors
    /// `EVENT_INVALID`, `ALIAS_REFUSED`.
    pub(crate) fn parse(event: &Value, arn: &str, settings: &Settings) -> Result<Self> {
        let alias = arn.split(':').nth(7).unwrap_or_default();
        let is_url = event.get("requestContext").is_some();
        if is_url && alias == settings.url_alias {
            return Ok(Self::Url(event.clone()));
        }
        if !is_url && alias == settings.ops_alias {
            return operation(event).map(Self::Operation);
        }
        Err(Error::new(
            Code::AliasRefused,
            format!(
                "{} on {} is not taken.",
                if is_url { "An event of a function URL" } else { "An event without a caller" },
                if alias.is_empty() { "no alias".to_owned() } else { format!("the alias {alias:?}") }
            ),
            "People ask by the function URL, which stands on the alias URL_ALIAS; the schedule and operators invoke the alias OPS_ALIAS.",
        ))
    }
}

/// EventBridge's own envelope, what EventBridge Scheduler was told to send (`{}` if nothing), or an action.
fn operation(event: &Value) -> Result<Operation> {
    let scheduled = event["source"] == "aws.events" && event["detail-type"] == "Scheduled Event";
    if scheduled || event.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(Operation::Sweep {});
    }
    Operation::deserialize(event).map_err(|error| invalid(&error.to_string()))
}

/// The event of a function URL (payload format 2.0), as far as it is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UrlEvent {
    raw_path: String,
    #[serde(default)]
    query_string_parameters: Option<BTreeMap<String, String>>,
    request_context: RequestContext,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct RequestContext {
    #[serde(default)]
    authorizer: Authorizer,
    http: Http,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Authorizer {
    #[serde(default)]
    iam: Iam,
}

#[derive(Clone, Debug, Deserialize)]
struct Http {
    method: String,
}

/// The body of an opening.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    minutes: i64,
    reason: String,
}

impl UrlEvent {
    /// Who asks what. Whoever is not known is told nothing else.
    ///
    /// # Errors
    /// `CALLER_REFUSED`, `EVENT_INVALID`.
    pub(crate) fn parse(event: &Value, arn: &str, settings: &Settings) -> Result<Request> {
        Self::deserialize(event).map_err(|error| invalid(&error.to_string()))?.request(arn, settings)
    }

    fn request(&self, arn: &str, settings: &Settings) -> Result<Request> {
        let iam = &self.request_context.authorizer.iam;
        let caller = Caller::identify(iam, arn, &settings.permission_sets)?;
        let database = || {
            let name = self.raw_path.strip_prefix('/').unwrap_or_default();
            DatabaseName::try_from(name.to_owned()).map_err(|why| invalid(&format!("the path is no database: {why}")))
        };
        let ask = match self.request_context.http.method.as_str() {
            "POST" => {
                let Opening { minutes, reason } = self.opening()?;
                // The document says how many are too many; this only keeps the arithmetic in bounds.
                let lasts = TimeDelta::try_minutes(minutes).filter(|lasts| *lasts >= TimeDelta::minutes(1));
                let lasts = lasts.ok_or_else(|| invalid("minutes is 1 or more"))?;
                Ask::Open { database: database()?, lasts, reason: line(&reason)? }
            }
            "DELETE" => {
                let login = self
                    .query_string_parameters
                    .as_ref()
                    .and_then(|query| query.get("login"))
                    .map(|name| LoginName::try_from(name.clone()));
                Ask::Close { database: database()?, login: login.transpose().map_err(|why| invalid(&why))? }
            }
            "GET" if self.raw_path == "/" => Ask::List,
            _ => return Err(invalid("it is none of POST /<database>, DELETE /<database>, GET /")),
        };
        Ok(Request { caller, ask })
    }

    fn opening(&self) -> Result<Opening> {
        let body = self.body.as_deref().unwrap_or_default();
        let body = if self.is_base64_encoded {
            STANDARD.decode(body).map_err(|_| invalid("the body is no base64"))?
        } else {
            body.as_bytes().to_vec()
        };
        if body.len() > MOST_BODY {
            return Err(invalid("the body is too long"));
        }
        serde_json::from_slice(&body).map_err(|error| invalid(&format!("the body: {error}")))
    }
}

/// One line of 3 to 200 characters without control characters or characters that hide others: it goes into logs, alerts and
/// the database's comment.
fn line(text: &str) -> Result<String> {
    let text = text.trim();
    let length = text.chars().count();
    if (3..=200).contains(&length) && !text.chars().any(is_unseen) {
        Ok(text.to_owned())
    } else {
        Err(invalid("reason is one line of 3 to 200 characters"))
    }
}

fn invalid(problem: &str) -> Error {
    // serde quotes what it did not expect; a control character in it must not reach a log.
    let problem: String = problem.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    Error::new(
        Core::EventInvalid,
        format!("The event is none of this function's: {problem}."),
        "By the function URL: POST /<database> with {\"minutes\": 60, \"reason\": \"INC-42\"}, DELETE /<database>, GET /. On the alias for operators: a scheduled event, {\"action\": \"sweep\" | \"check\"}, {\"action\": \"report\", \"since\": \"2026-01-01T00:00:00Z\"}.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:break-glass";

    fn settings() -> Settings {
        Settings {
            url_alias: "url".to_owned(),
            ops_alias: "ops".to_owned(),
            permission_sets: crate::caller::PermissionSet::list("DBA:AROAEXAMPLEID1234567").unwrap(),
            ..Settings::default()
        }
    }

    fn of_url(method: &str, path: &str, body: &Value) -> Value {
        let arn = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_DBA_0123456789abcdef/ann@corp.example";
        let iam =
            json!({"accountId": "123456789012", "callerId": "AROAEXAMPLEID1234567:ann@corp.example", "userArn": arn});
        json!({
            "version": "2.0", "rawPath": path, "body": body.to_string(), "isBase64Encoded": false,
            "requestContext": {"authorizer": {"iam": iam}, "http": {"method": method, "path": path}},
        })
    }

    fn asked(event: &Value) -> Result<Ask> {
        match Event::parse(event, &format!("{ARN}:url"), &settings())? {
            Event::Url(event) => UrlEvent::parse(&event, &format!("{ARN}:url"), &settings()).map(|request| request.ask),
            Event::Operation(operation) => panic!("{operation:?}"),
        }
    }

    #[test]
    fn a_person_asks_by_the_url() {
        let open = of_url("POST", "/shop", &json!({"minutes": 60, "reason": " INC-42 "}));
        let database: DatabaseName = "shop".to_owned().try_into().unwrap();
        let expected =
            Ask::Open { database: database.clone(), lasts: TimeDelta::hours(1), reason: "INC-42".to_owned() };
        assert_eq!(asked(&open), Ok(expected.clone()));
        let mut encoded = open;
        encoded["body"] = STANDARD.encode(encoded["body"].as_str().unwrap()).into();
        encoded["isBase64Encoded"] = true.into();
        assert_eq!(asked(&encoded), Ok(expected));
        assert_eq!(asked(&of_url("DELETE", "/shop", &json!(null))), Ok(Ask::Close { database, login: None }));
        assert_eq!(asked(&of_url("GET", "/", &json!(null))), Ok(Ask::List));
    }

    #[test]
    fn a_request_that_is_not_fully_understood_is_refused() {
        let good = json!({"minutes": 60, "reason": "INC-42"});
        let with = |key: &str, value: Value| {
            let mut body = good.clone();
            body[key] = value;
            of_url("POST", "/shop", &body)
        };
        for event in [
            of_url("PUT", "/shop", &good),
            of_url("POST", "/", &good),
            of_url("POST", "/shop/x", &good),
            of_url("POST", "/../shop", &good),
            of_url("GET", "/shop", &good),
            of_url("POST", "/shop", &json!({"minutes": 60})),
            with("minutes", json!(0)),
            with("minutes", json!(-5)),
            with("minutes", json!(i64::MAX)),
            with("minutes", json!("60")),
            with("reason", json!(" x ")),
            with("reason", json!("a\nb c")),
            with("reason", json!("INC\u{202e}42")),
            with("reason", json!("x".repeat(201))),
            with("person", json!("bob@corp.example")),
        ] {
            let error = asked(&event).unwrap_err();
            assert!(error.code() == "EVENT_INVALID" && !error.to_string().contains('\n'), "{event}: {error}");
        }
    }

    #[test]
    fn each_alias_takes_its_own_events_and_no_alias_takes_any() {
        let url = of_url("GET", "/", &json!(null));
        let refused = |event: &Value, arn: &str| Event::parse(event, arn, &settings()).err().map(|error| error.code());
        for event in
            [json!({}), json!({"action": "sweep"}), json!({"source": "aws.events", "detail-type": "Scheduled Event"})]
        {
            assert_eq!(refused(&event, &format!("{ARN}:ops")), None, "{event}");
            assert_eq!(refused(&event, &format!("{ARN}:url")), Some("ALIAS_REFUSED"), "{event}");
            assert_eq!(refused(&event, ARN), Some("ALIAS_REFUSED"), "{event}");
        }
        for arn in [ARN.to_owned(), format!("{ARN}:ops"), format!("{ARN}:$LATEST"), String::new()] {
            assert_eq!(refused(&url, &arn), Some("ALIAS_REFUSED"), "{arn}");
        }
        assert_eq!(refused(&json!({"action": "open"}), &format!("{ARN}:ops")), Some("EVENT_INVALID"));
    }
}
