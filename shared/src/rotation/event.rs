//! The event Secrets Manager sends, read strictly.

use crate::codes::Code;
use crate::{Error, Result};
use secrecy::SecretString;
use serde_json::Value;
use std::fmt;

/// One of the four steps of a rotation. Secrets Manager calls them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the new value and store it as AWSPENDING.
    Create,
    /// Give the database the new password.
    Set,
    /// Prove that the new value works.
    Test,
    /// Move AWSCURRENT to it.
    Finish,
}

impl Step {
    pub const ALL: [Self; 4] = [Self::Create, Self::Set, Self::Test, Self::Finish];

    /// As the event spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "createSecret",
            Self::Set => "setSecret",
            Self::Test => "testSecret",
            Self::Finish => "finishSecret",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rotation event ("Lambda rotation functions", AWS Secrets Manager User Guide).
///
/// `aws_lambda_events` has a type for it too, with a free string for the step and no `RotationToken`.
#[derive(Clone, Debug)]
pub struct RotationEvent {
    pub step: Step,
    /// The ARN of the secret to rotate.
    pub secret: String,
    /// The version id the rotation makes (`ClientRequestToken`).
    pub token: String,
    /// Comes with cross-account rotation, and goes back with the new value. Never logged.
    pub rotation_token: Option<SecretString>,
}

impl RotationEvent {
    /// Reads an event. Fields it does not know are let be: the service may add some.
    ///
    /// # Errors
    /// `EVENT_INVALID` (a field missing, empty, not a string, or holding a control character) and `EVENT_UNKNOWN_STEP`.
    pub fn parse(event: &Value) -> Result<Self> {
        let step = field(event, "Step")?.ok_or_else(|| invalid("Step", "is missing"))?;
        let secret = field(event, "SecretId")?.ok_or_else(|| invalid("SecretId", "is missing"))?;
        let token = field(event, "ClientRequestToken")?.ok_or_else(|| invalid("ClientRequestToken", "is missing"))?;
        let step = Step::ALL.into_iter().find(|s| s.name() == step).ok_or_else(|| {
            Error::new(
                Code::EventUnknownStep,
                format!("The event's Step is {step:?}."),
                "It must be one of createSecret, setSecret, testSecret, finishSecret.",
            )
        })?;
        let rotation_token = field(event, "RotationToken")?.map(SecretString::from);
        Ok(Self { step, secret: secret.to_owned(), token: token.to_owned(), rotation_token })
    }
}

/// A field of an event: a string that is short, and fit for a log. `None` where it is absent or null.
///
/// # Errors
/// `EVENT_INVALID`.
pub fn field<'e>(event: &'e Value, name: &str) -> Result<Option<&'e str>> {
    let text = match event.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err(invalid(name, "is not a string")),
    };
    if text.is_empty() {
        return Err(invalid(name, "is empty"));
    }
    // A line break in a field would write lines of its own into logs and error pages.
    if text.chars().any(char::is_control) {
        return Err(invalid(name, "holds a control character"));
    }
    // Longer than any ARN (2048) or token (256) the service knows.
    if text.len() > 2048 {
        return Err(invalid(name, "is longer than 2048 bytes"));
    }
    Ok(Some(text))
}

fn invalid(name: &str, problem: &str) -> Error {
    Error::new(
        Code::EventInvalid,
        format!("The event is not one that this function takes: {name} {problem}."),
        "A rotation's has the strings Step, SecretId and ClientRequestToken, as Secrets Manager sends them; events/ has examples of every kind.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lambda_events::event::secretsmanager::SecretsManagerSecretRotationEvent;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    fn event() -> Value {
        json!({"Step": "setSecret", "SecretId": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-abc123",
               "ClientRequestToken": "5f6c2f1e-0000-4000-8000-000000000001", "RotationToken": "r-1"})
    }

    #[test]
    fn reads_what_the_event_crate_reads_and_the_rotation_token() {
        let ours = RotationEvent::parse(&event()).unwrap();
        let theirs: SecretsManagerSecretRotationEvent = serde_json::from_value(event()).unwrap();
        assert_eq!(ours.step.name(), theirs.step);
        assert_eq!(ours.secret, theirs.secret_id);
        assert_eq!(ours.token, theirs.client_request_token);
        assert_eq!(ours.rotation_token.as_ref().unwrap().expose_secret(), "r-1");
        assert!(!format!("{ours:?}").contains("r-1"));
    }

    #[test]
    fn every_malformed_event_gives_one_clear_error() {
        let with = |name: &str, value: Value| {
            let mut event = event();
            event[name] = value;
            event
        };
        for (event, code, says) in [
            (json!(null), "EVENT_INVALID", "Step is missing"),
            (json!([]), "EVENT_INVALID", "Step is missing"),
            (json!("setSecret"), "EVENT_INVALID", "Step is missing"),
            (json!({}), "EVENT_INVALID", "Step is missing"),
            (with("Step", json!(null)), "EVENT_INVALID", "Step is missing"),
            (with("Step", json!(1)), "EVENT_INVALID", "Step is not a string"),
            (
                with("Step", json!("set_secret")),
                "EVENT_UNKNOWN_STEP",
                "createSecret, setSecret, testSecret, finishSecret",
            ),
            (with("Step", json!("SetSecret")), "EVENT_UNKNOWN_STEP", "\"SetSecret\""),
            (with("SecretId", json!("")), "EVENT_INVALID", "SecretId is empty"),
            (with("SecretId", json!("arn\nfake log line")), "EVENT_INVALID", "SecretId holds a control character"),
            (with("SecretId", json!("a\u{0}b")), "EVENT_INVALID", "SecretId holds a control character"),
            (with("SecretId", json!("x".repeat(2049))), "EVENT_INVALID", "longer than 2048"),
            (with("ClientRequestToken", json!(["t"])), "EVENT_INVALID", "ClientRequestToken is not a string"),
            (with("RotationToken", json!("a\u{1b}[0m")), "EVENT_INVALID", "RotationToken holds a control character"),
        ] {
            let error = RotationEvent::parse(&event).unwrap_err();
            assert_eq!(error.code(), code, "{event}");
            assert!(error.to_string().contains(says), "{event}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_strings_are_read_or_refused_without_a_panic(step in ".*", secret in ".*", token in ".*") {
            let _ = RotationEvent::parse(&json!({"Step": step, "SecretId": secret, "ClientRequestToken": token}));
        }
    }
}
