//! Datadog, as far as a sender of alerts sees it: v1 events, and the check of an API key.

use std::ops::Deref;
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta};
use keyturn::clock::Clock;
use serde_json::{Map, Value, json};

use super::{Call, Front, Reply, Requests, Vendor, lock};
use crate::aws_json::uuid;
use crate::faults::Faults;

/// What an event may say of itself ("Post an event" in Datadog's API reference).
const ALERT_TYPES: [&str; 7] = ["error", "warning", "info", "success", "user_update", "recommendation", "snapshot"];

/// Events are refused when older than this.
const OLDEST: TimeDelta = TimeDelta::hours(18);

pub struct Datadog(Front<Events>);

impl Datadog {
    /// Starts it without events. Its calls are `Datadog ...` in fault plans.
    pub async fn start(clock: Clock, faults: Faults) -> anyhow::Result<Self> {
        let vendor = Events { api_key: uuid().replace('-', ""), clock: clock.clone(), accepted: Mutex::default() };
        Ok(Self(Front::start(vendor, clock, faults).await?))
    }

    /// The one good API key.
    #[must_use]
    pub fn api_key(&self) -> String {
        self.0.vendor().api_key.clone()
    }

    /// The events that were accepted, as they were posted.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        lock(&self.0.vendor().accepted).clone()
    }
}

impl Deref for Datadog {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.0
    }
}

struct Events {
    api_key: String,
    clock: Clock,
    accepted: Mutex<Vec<Value>>,
}

impl Vendor for Events {
    const NAME: &'static str = "Datadog";

    fn answer(&self, call: &Call) -> Result<Reply, (String, Reply)> {
        if !call.query.is_empty() {
            return Err(("a query, where a key would be logged".to_owned(), errors(400, "Bad Request")));
        }
        match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/api/v1/events") => self.post(call),
            ("GET", "/api/v1/validate") => Ok(self.unknown_key(call).unwrap_or_else(valid)),
            _ => Err(("unknown method or path".to_owned(), errors(404, "Not found"))),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        match status {
            403 => errors(403, "Forbidden"),
            429 => errors(429, "Rate limit of 1 requests in 60 seconds reached. Please try again later.")
                .with("x-ratelimit-limit", "1")
                .with("x-ratelimit-period", "60")
                .with("x-ratelimit-remaining", "0")
                .with("x-ratelimit-reset", "1"),
            _ => errors(status, "Internal Error"),
        }
    }
}

impl Events {
    fn post(&self, call: &Call) -> Result<Reply, (String, Reply)> {
        let wrong = |why: String| (why.clone(), errors(400, &why));
        if call.header("content-type") != "application/json" {
            return Err(wrong(format!("Content-Type is `{}`", call.header("content-type"))));
        }
        let event: Map<String, Value> =
            serde_json::from_slice(&call.body).map_err(|_| wrong("the body is no JSON object".to_owned()))?;
        self.check(&event).map_err(wrong)?;
        if let Some(refused) = self.unknown_key(call) {
            return Ok(refused);
        }
        let mut accepted = lock(&self.accepted);
        accepted.push(Value::Object(event.clone()));
        let mut shown = event;
        shown.insert("id".to_owned(), json!(accepted.len()));
        Ok(Reply::json(202, &json!({"status": "ok", "event": shown})))
    }

    /// 403 for any other key, or none.
    fn unknown_key(&self, call: &Call) -> Option<Reply> {
        (call.header("dd-api-key") != self.api_key).then(|| errors(403, "Forbidden"))
    }

    fn check(&self, event: &Map<String, Value>) -> Result<(), String> {
        for name in ["title", "text"] {
            event.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
        }
        event.iter().try_for_each(|(name, value)| {
            if self.fits(name, value) { Ok(()) } else { Err(format!("`{name}` cannot be {value}")) }
        })
    }

    fn fits(&self, name: &str, value: &Value) -> bool {
        let text = |most: usize| value.as_str().is_some_and(|text| (1..=most).contains(&text.chars().count()));
        let one_of = |known: &[&str]| value.as_str().is_some_and(|text| known.contains(&text));
        match name {
            "title" | "aggregation_key" | "source_type_name" => text(100),
            "text" => text(4000),
            "host" => text(255),
            "alert_type" => one_of(&ALERT_TYPES),
            "priority" => one_of(&["normal", "low"]),
            "tags" => value.as_array().is_some_and(|tags| tags.iter().all(is_tag)),
            "date_happened" => value.as_i64().is_some_and(|seconds| self.is_recent(seconds)),
            _ => false,
        }
    }

    fn is_recent(&self, seconds: i64) -> bool {
        let happened = DateTime::from_timestamp(seconds, 0);
        happened.is_some_and(|happened| self.clock.now() - happened <= OLDEST)
    }
}

/// `key:value`, at most 200 characters, beginning with a letter.
fn is_tag(tag: &Value) -> bool {
    let Some((key, value)) = tag.as_str().and_then(|tag| tag.split_once(':')) else { return false };
    let short = key.chars().count() + value.chars().count() < 200;
    short && !value.is_empty() && key.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn valid() -> Reply {
    Reply::json(200, &json!({"valid": true}))
}

fn errors(status: u16, why: &str) -> Reply {
    Reply::json(status, &json!({"errors": [why]}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendors::TestClock;

    fn client() -> reqwest::Client {
        keyturn::http::client().unwrap()
    }

    async fn datadog() -> Datadog {
        Datadog::start(TestClock::at("2026-06-01T12:00:00Z").clock(), Faults::none()).await.unwrap()
    }

    async fn post(datadog: &Datadog, key: &str, event: &Value) -> (u16, Value) {
        let request = client().post(format!("{}/api/v1/events", datadog.url())).json(event);
        let reply = request.header("DD-API-KEY", key).send().await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap())
    }

    fn event_with(name: &str, value: Value) -> Value {
        let mut event = json!({"title": "Left", "text": "Ana left the group"});
        event[name] = value;
        event
    }

    #[tokio::test]
    async fn a_wrong_key_is_refused_and_no_violation() {
        let datadog = datadog().await;
        let refused = (403, json!({"errors": ["Forbidden"]}));
        assert_eq!(post(&datadog, "wrong", &event_with("host", json!("a"))).await, refused);
        let validate = || client().get(format!("{}/api/v1/validate", datadog.url()));
        assert_eq!(validate().send().await.unwrap().status(), 403);
        let good = validate().header("DD-API-KEY", datadog.api_key()).send().await.unwrap();
        assert_eq!(good.json::<Value>().await.unwrap(), json!({"valid": true}));
        assert_eq!((datadog.events().len(), datadog.violations()), (0, Vec::new()));
    }

    #[tokio::test]
    async fn every_field_is_checked() {
        let too_old = json!(1_780_315_200 - 18 * 3600 - 1);
        let wrong = [
            ("title", json!("t".repeat(101))),
            ("title", Value::Null),
            ("text", json!("")),
            ("text", json!("x".repeat(4001))),
            ("alert_type", json!("critical")),
            ("priority", json!("P1")),
            ("aggregation_key", json!("k".repeat(101))),
            ("tags", json!("binding:db")),
            ("tags", json!(["binding"])),
            ("tags", json!([":db"])),
            ("date_happened", json!("1780315200")),
            ("date_happened", too_old),
            ("severity", json!("high")),
        ];
        let datadog = datadog().await;
        for (name, value) in &wrong {
            let (status, _) = post(&datadog, &datadog.api_key(), &event_with(name, value.clone())).await;
            assert_eq!(status, 400, "{name} {value}");
        }
        assert_eq!(post(&datadog, &datadog.api_key(), &json!({"title": "t"})).await.0, 400);
        assert_eq!((datadog.events().len(), datadog.violations().len()), (0, wrong.len() + 1));
    }

    #[tokio::test]
    async fn other_requests_are_violations() {
        let datadog = datadog().await;
        let client = client();
        let url = datadog.url();
        let requests = [
            client.get(format!("{url}/api/v1/events")),
            client.post(format!("{url}/api/v2/events")),
            client.get(format!("{url}/api/v1/validate?api_key=1")),
            client.post(format!("{url}/api/v1/events")).body("{}"),
        ];
        for request in requests {
            request.header("DD-API-KEY", datadog.api_key()).send().await.unwrap();
        }
        assert_eq!(datadog.violations().len(), 4);
    }
}
