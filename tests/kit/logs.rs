//! CloudWatch Logs: an emulator of `FilterLogEvents` with state. It is served over HTTP by [`crate::aws::Aws`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws_json::{Failure, Request};

/// The service gives at most so many events at a time.
const MOST: usize = 10_000;
/// So many events are searched for one page, unless a test says otherwise.
const SEARCHED: usize = 1000;

struct Event {
    /// Milliseconds since 1970.
    at: i64,
    /// Counts all events, so that no two have the same id.
    number: usize,
    message: String,
}

struct State {
    /// The events of each group, in the order of their time.
    groups: BTreeMap<String, Vec<Event>>,
    logged: usize,
    searched: usize,
}

/// A handle to the emulator. Clones are handles to the same one.
#[derive(Clone)]
pub struct LogGroups(Arc<Mutex<State>>);

impl Default for LogGroups {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { groups: BTreeMap::new(), logged: 0, searched: SEARCHED })))
    }
}

impl LogGroups {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a log group, unless it exists.
    pub fn create(&self, group: &str) {
        self.state().groups.entry(group.to_owned()).or_default();
    }

    /// Adds a line to a log group, which is made if need be.
    pub fn log(&self, group: &str, at: DateTime<Utc>, message: &str) {
        let mut state = self.state();
        state.logged += 1;
        let event = Event { at: at.timestamp_millis(), number: state.logged, message: message.to_owned() };
        let events = state.groups.entry(group.to_owned()).or_default();
        let place = events.partition_point(|other| other.at <= event.at);
        events.insert(place, event);
    }

    /// Searches so many events for each page: a page with no match among them is empty, and has another after it.
    pub fn search_at_a_time(&self, events: usize) {
        self.state().searched = events.max(1);
    }

    pub(crate) fn answer(&self, request: Request) -> Result<Value, Failure> {
        match request.action.as_str() {
            "FilterLogEvents" => filter(&self.state(), &request.fields()?),
            _ => Err(request.unknown_action()),
        }
    }

    /// A request's name in the fault plan: action and log group.
    pub(crate) fn call_name(request: &Request) -> String {
        format!("{} {}", request.action, request.body["logGroupName"].as_str().unwrap_or_default())
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new("InvalidParameterException", message)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FilterLogEvents {
    log_group_name: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

/// The token of the next page is the number of events in the period that have been searched.
fn filter(state: &State, request: &FilterLogEvents) -> Result<Value, Failure> {
    let events = state
        .groups
        .get(&request.log_group_name)
        .ok_or_else(|| Failure::new("ResourceNotFoundException", "The specified log group does not exist."))?;
    let limit = request.limit.unwrap_or(MOST);
    if !(1..=MOST).contains(&limit) {
        return Err(invalid(format!("limit is 1 to {MOST}.")));
    }
    let (start, end) = (request.start_time.unwrap_or(0), request.end_time.unwrap_or(i64::MAX));
    if start < 0 || end < start {
        return Err(invalid("The start of the period is before 1970, or after its end."));
    }
    let pattern = Pattern::read(request.filter_pattern.as_deref().unwrap_or_default())?;
    let searched = match &request.next_token {
        None => 0,
        Some(token) => token.parse::<usize>().map_err(|_| invalid("The specified nextToken is invalid."))?,
    };
    let in_period: Vec<&Event> = events.iter().filter(|event| (start..=end).contains(&event.at)).collect();
    let mut found = Vec::new();
    let mut next = searched;
    for event in in_period.iter().skip(searched).take(state.searched) {
        if found.len() == limit {
            break;
        }
        next += 1;
        if pattern.matches(&event.message) {
            found.push(json!({
                "eventId": format!("{:056}", event.number),
                "logStreamName": "2026/11/29/[$LATEST]0123456789abcdef0123456789abcdef",
                "timestamp": event.at,
                "ingestionTime": event.at,
                "message": event.message,
            }));
        }
    }
    let mut reply = json!({"events": found, "searchedLogStreams": []});
    if next < in_period.len() {
        reply["nextToken"] = json!(next.to_string());
    }
    Ok(reply)
}

/// A filter pattern: nothing, or `{ ($.field = "value") || ... }`, each comparison in its own parentheses. The service knows
/// more; a pattern of another form is refused here as one that it cannot read.
enum Pattern {
    Everything,
    AnyOf(Vec<(String, String)>),
}

impl Pattern {
    fn read(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self::Everything);
        }
        let refused = || invalid("Invalid filter pattern");
        if text.len() > 1024 {
            return Err(refused());
        }
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(refused)?;
        let terms: Option<Vec<_>> = inner.split("||").map(comparison).collect();
        terms.map(Self::AnyOf).ok_or_else(refused)
    }

    fn matches(&self, message: &str) -> bool {
        let Self::AnyOf(terms) = self else { return true };
        let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(message) else { return false };
        terms.iter().any(|(field, value)| fields.get(field).and_then(Value::as_str) == Some(value))
    }
}

fn comparison(term: &str) -> Option<(String, String)> {
    let inner = term.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (field, value) = inner.split_once('=')?;
    let field = field.trim().strip_prefix("$.")?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_plain(field) && is_plain(value)).then(|| (field.to_owned(), value.to_owned()))
}
