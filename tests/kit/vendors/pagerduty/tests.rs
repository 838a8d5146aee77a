mod lists;
mod oauth;
mod strictness;
mod timetable;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::PagerDuty;
use crate::faults::Faults;
use crate::vendors::TestClock;

const NOON: &str = "2026-06-01T12:00:00Z";

/// An empty account at noon.
async fn pagerduty() -> PagerDuty {
    PagerDuty::start(TestClock::at(NOON).clock(), Faults::none()).await.unwrap()
}

/// An hour of the first of June.
fn hour(hour: u32) -> DateTime<Utc> {
    format!("2026-06-01T{hour:02}:00:00Z").parse().unwrap()
}

fn client() -> reqwest::Client {
    keyturn::http::client().unwrap()
}

/// A request as it must be, but for its credential.
fn request(pagerduty: &PagerDuty, path: &str) -> reqwest::RequestBuilder {
    let request = client().get(format!("{}{path}", pagerduty.url()));
    request.header("accept", "application/vnd.pagerduty+json;version=2").header("content-type", "application/json")
}

/// Status and body of a request with the API key.
async fn get(pagerduty: &PagerDuty, path: &str) -> (u16, Value) {
    let key = format!("Token token={}", pagerduty.token());
    let reply = request(pagerduty, path).header("authorization", key).send().await.unwrap();
    (reply.status().as_u16(), serde_json::from_str(&reply.text().await.unwrap()).unwrap_or_default())
}

/// The query for some hours of the first of June, escaped.
fn hours(since: u32, until: u32) -> String {
    format!("since=2026-06-01T{since:02}:00:00%2B00:00&until=2026-06-01T{until:02}:00:00Z")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("null")
}
