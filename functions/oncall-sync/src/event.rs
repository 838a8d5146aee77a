//! The events that the function takes.

use chrono::TimeDelta;
use keyturn::Error;
use keyturn::codes::Code as Core;
use keyturn::ids::BindingId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use strum::IntoStaticStr;

/// The action of a tick.
pub(crate) const SYNC: &str = "sync";
/// The longest grant by hand.
const MOST_MINUTES: i64 = 8 * 60;

#[derive(Clone, Debug, Deserialize, IntoStaticStr, PartialEq, Eq)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Event {
    /// A tick: bring every group in line with who is on call.
    Sync {},
    /// Print what a tick would do; change nothing.
    Plan {},
    /// Say what the days to come bring; change nothing.
    Forecast {},
    /// Add a person to a group until a set time.
    Grant {
        binding: BindingId,
        /// An Okta login or id.
        user: Line,
        #[serde(rename = "minutes", deserialize_with = "minutes")]
        lasts: TimeDelta,
        reason: Line,
    },
    /// Remove a person from a group, and keep the person out until the shift ends.
    Revoke {
        binding: BindingId,
        /// An Okta login or id.
        user: Line,
        reason: Line,
    },
    /// Prove that everything the function needs is there.
    Doctor {},
}

/// One line of 1 to 200 characters, without control characters: it goes into logs, alerts and the ledger.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct Line(pub(crate) String);

impl TryFrom<String> for Line {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let length = text.trim().chars().count();
        let is_line = (1..=200).contains(&length) && !text.chars().any(char::is_control);
        is_line.then(|| Self(text.trim().to_owned())).ok_or("user and reason are one line of 1 to 200 characters")
    }
}

fn minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeDelta, D::Error> {
    let minutes = i64::deserialize(deserializer)?;
    let lasts = (1..=MOST_MINUTES).contains(&minutes).then(|| TimeDelta::minutes(minutes));
    lasts.ok_or_else(|| D::Error::custom(format!("minutes is 1 to {MOST_MINUTES}")))
}

impl Event {
    /// As the event's `"action"` has it; the schedule's own event asks for `sync`.
    pub(crate) fn action(&self) -> &'static str {
        self.into()
    }

    /// Reads an event: EventBridge's own envelope, what EventBridge Scheduler was told to send (`{}` if nothing), or an action.
    ///
    /// # Errors
    /// `EVENT_INVALID`.
    pub(crate) fn parse(event: &Value) -> keyturn::Result<Self> {
        let scheduled = event["source"] == "aws.events" && event["detail-type"] == "Scheduled Event";
        if scheduled || event.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(Self::Sync {});
        }
        Self::deserialize(event).map_err(|error| invalid(&error.to_string()))
    }
}

fn invalid(problem: &str) -> Error {
    // serde quotes what it did not expect; a control character in it must not reach a log.
    let problem: String = problem.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    Error::new(
        Core::EventInvalid,
        format!("The event is none of this function's: {problem}."),
        "Send a scheduled event, or {\"action\": \"sync\" | \"plan\" | \"forecast\" | \"doctor\"}, {\"action\": \"grant\", \"binding\", \"user\", \"minutes\", \"reason\"}, {\"action\": \"revoke\", \"binding\", \"user\", \"reason\"}.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_the_tick_in_every_form_aws_sends_it() {
        for event in [
            json!({}),
            json!({"action": "sync"}),
            json!({"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "time": "2020-01-01T00:00:00Z", "detail": {}}),
        ] {
            assert_eq!(Event::parse(&event).unwrap(), Event::Sync {}, "{event}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_fully_understand() {
        let grant =
            json!({"action": "grant", "binding": "shop", "user": "ann@example.com", "minutes": 60, "reason": "INC-42"});
        assert!(matches!(Event::parse(&grant).unwrap(), Event::Grant { lasts, .. } if lasts == TimeDelta::hours(1)));
        let changed = |key: &str, value: Value| {
            let mut event = grant.clone();
            event[key] = value;
            event
        };
        for event in [
            json!(null),
            json!([]),
            json!("sync"),
            json!({"action": "Sync"}),
            json!({"action": "sync", "force": true}),
            json!({"source": "aws.events"}),
            changed("minutes", json!(0)),
            changed("minutes", json!(481)),
            changed("minutes", json!("60")),
            changed("reason", json!(" ")),
            changed("reason", json!("a\nb")),
            changed("reason", json!("x".repeat(201))),
            changed("user", json!("")),
            changed("binding", json!("../shop")),
            changed("until", json!("tomorrow")),
        ] {
            let error = Event::parse(&event).unwrap_err();
            assert_eq!(error.code(), "EVENT_INVALID", "{event}");
            assert!(!error.to_string().contains('\n'), "{error:?}");
        }
    }
}
