//! What every request must be like, and how PagerDuty says no.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::timeline::Window;
use crate::vendors::{Call, Reply};

/// Why no correct client sends this, and the reply it gets.
pub(super) type Refused = (String, Reply);

/// The error reply with this status. The codes are those of PagerDuty's page on errors.
pub(super) fn error(status: u16) -> Reply {
    let (code, message) = match status {
        400 => (2001, "Invalid Input Provided"),
        401 => (2006, "Authentication failed"),
        403 => (2010, "Access Denied"),
        404 => (2100, "Not Found"),
        429 => return rate_limited(),
        _ => (2000, "An internal error has occurred. PagerDuty team has been notified."),
    };
    let reply = Reply::json(status, &json!({"error": {"message": message, "code": code}}));
    match status {
        // a 401 is not announced as JSON (go-pagerduty issue 469)
        401 => Reply { headers: Vec::new(), ..reply }.with("content-type", "text/plain; charset=utf-8"),
        _ => reply,
    }
}

/// 960 requests a minute are spent; `ratelimit-reset` is in seconds remaining.
fn rate_limited() -> Reply {
    Reply::json(429, &json!({"error": {"message": "Rate Limit Exceeded", "code": 2020}}))
        .with("ratelimit-limit", "960")
        .with("ratelimit-remaining", "0")
        .with("ratelimit-reset", "1")
}

/// A 400 with its details; v2 gives a list of them, v3 a map.
pub(super) fn invalid(details: &Value) -> Reply {
    let message = "Invalid Input Provided";
    Reply::json(400, &json!({"error": {"message": message, "code": 2001, "errors": details}}))
}

/// A mistake of the client.
pub(super) fn wrong(why: impl Into<String>) -> Refused {
    let why = why.into();
    let reply = invalid(&json!([why]));
    (why, reply)
}

/// The headers that PagerDuty documents as required for every call.
pub(super) fn check_headers(call: &Call) -> Result<(), Refused> {
    if call.method != "GET" {
        return Err(("only GETs are used".to_owned(), error(405)));
    }
    if call.header("accept") != "application/vnd.pagerduty+json;version=2" {
        return Err(wrong(format!("Accept is `{}`", call.header("accept"))));
    }
    if call.header("content-type") != "application/json" {
        return Err(wrong(format!("Content-Type is `{}`", call.header("content-type"))));
    }
    if !call.body.is_empty() {
        return Err(wrong("a GET with a body"));
    }
    Ok(())
}

/// Only these query names, the first ones once, the others as often as their values differ.
pub(super) fn check_names(call: &Call, once: &[&str], lists: &[&str]) -> Result<(), Refused> {
    for (at, (name, value)) in call.query.iter().enumerate() {
        let before = &call.query[..at];
        let repeated = if once.contains(&name.as_str()) {
            before.iter().any(|(other, _)| other == name)
        } else if lists.contains(&name.as_str()) {
            before.contains(&(name.clone(), value.clone()))
        } else {
            return Err(wrong(format!("unknown query name `{name}`")));
        };
        if repeated {
            return Err(wrong(format!("`{name}` is given twice")));
        }
    }
    Ok(())
}

/// Every value of a list parameter.
pub(super) fn values<'a>(call: &'a Call, name: &str) -> Vec<&'a str> {
    call.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
}

/// `true`, `false` or nothing.
pub(super) fn flag(call: &Call, name: &str) -> Result<bool, Refused> {
    match call.query(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(wrong(format!("`{name}` is `{other}`"))),
    }
}

/// A number from `least` to `most`.
pub(super) fn number(call: &Call, name: &str, default: usize, least: usize, most: usize) -> Result<usize, Refused> {
    let Some(text) = call.query(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| wrong(format!("`{name}` is `{text}`, not {least} to {most}")))
}

/// An instant with its offset. (An unescaped `+` arrives as a space, and is none.)
pub(super) fn instant(call: &Call, name: &str) -> Result<Option<DateTime<Utc>>, Refused> {
    let Some(text) = call.query(name) else { return Ok(None) };
    let parsed = DateTime::parse_from_rfc3339(text).ok().filter(|_| !text.contains(' '));
    let parsed = parsed.ok_or_else(|| wrong(format!("`{name}` is `{text}`, no ISO 8601 time with an offset")))?;
    Ok(Some(parsed.to_utc()))
}

/// `since` and `until`, both or neither.
pub(super) fn window(call: &Call) -> Result<Option<Window>, Refused> {
    match (instant(call, "since")?, instant(call, "until")?) {
        (None, None) => Ok(None),
        (Some(since), Some(until)) if since < until => Ok(Some(Window { since, until })),
        (Some(_), Some(_)) => Err(wrong("`until` is not after `since`")),
        _ => Err(wrong("one of `since` and `until` without the other")),
    }
}
