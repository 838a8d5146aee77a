//! Metrics, in CloudWatch's embedded metric format (EMF): a JSON line on standard output that CloudWatch turns into
//! metrics of namespace `Keyturn`, dimension `Function` (its name in Lambda). Format: "Embedded metric format specification", Amazon CloudWatch.

use crate::clock;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// The metrics there are, each with its unit: one list for the code, and for the test that compares alarms with it.
macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $name:ident: $unit:literal,)*) => {
        /// One measurement. The names are the alarms' names: `infra/` uses exactly these.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Metric {
            $($(#[doc = $doc])* $name(u64),)*
        }

        impl Metric {
            /// The names of all metrics.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            fn parts(self) -> (&'static str, &'static str, u64) {
                match self {
                    $(Self::$name(value) => (stringify!($name), $unit, value),)*
                }
            }
        }
    };
}

metrics! {
    /// Steps that ended well.
    StepSucceeded: "Count",
    /// Steps that ended with an error.
    StepFailed: "Count",
    /// How long a step took, in milliseconds.
    StepDuration: "Milliseconds",
    /// Rotations that reached their end: the new password is current.
    RotationFinished: "Count",
    /// Sessions of the user whose password a rotation is about to replace: of clients that missed the turn before.
    StaleSessions: "Count",
    /// A tick or sweep read everything and did everything (1), or not (0).
    RunsOk: "Count",
    /// How old what is known of a binding's source is, in seconds.
    SourceAgeSeconds: "Seconds",
    /// How many people are in a binding's group.
    Members: "Count",
    /// Grants that were made.
    Grants: "Count",
    /// Revokes that were made.
    Revokes: "Count",
    /// How much longer than their shift somebody was in the group, or a login could be used, in seconds.
    OverstaySeconds: "Seconds",
    /// Database logins that people on call were given.
    LoginsOpened: "Count",
    /// Of these, those that are gone.
    LoginsClosed: "Count",
    /// Requests for a login that were refused, or could not be carried out.
    OpenRefused: "Count",
    /// What a person has to look at: people on call without a grant, outsiders, refused documents, changes not verified, logins
    /// that nobody knows or that cannot be dropped.
    Unresolved: "Count",
    /// More people were on call, or would have been granted, than the binding allows (1), or not (0).
    BrakePulled: "Count",
    /// Alerts that a channel did not take.
    AlertFailed: "Count",
}

/// Takes the lines instead of standard output.
type Taker = Box<dyn Fn(&Value) + Send + Sync>;

static TAKER: OnceLock<Taker> = OnceLock::new();

/// The function's name where it is deployed.
static DEPLOYED: OnceLock<String> = OnceLock::new();

/// Names the function in every line as Lambda calls it, so that two deployments in one account do not add up. The first
/// call counts.
pub fn deployed_as(name: String) {
    let _ = DEPLOYED.set(name); // the first one stays
}

/// Hands every line to `taker` from now on, in a program that runs a function inside itself and prints other things. The
/// first call counts, as for the log.
pub fn hand_to(taker: impl Fn(&Value) + Send + Sync + 'static) {
    let _ = TAKER.set(Box::new(taker)); // the first one stays
}

/// Writes these measurements of `function` (or of what it is deployed as).
pub fn emit(function: &str, metrics: &[Metric]) {
    write(&render(name_of(function), metrics, clock::now().timestamp_millis()));
}

/// The same, with the binding they are about beside them: to be searched for, not a dimension (which would be billed for each).
pub fn emit_of_binding(function: &str, binding: &str, metrics: &[Metric]) {
    let mut line = render(name_of(function), metrics, clock::now().timestamp_millis());
    line["Binding"] = binding.into();
    write(&line);
}

fn name_of(function: &str) -> &str {
    DEPLOYED.get().map_or(function, String::as_str)
}

fn write(line: &Value) {
    match TAKER.get() {
        Some(taker) => taker(line),
        None => println!("{line}"),
    }
}

fn render(function: &str, metrics: &[Metric], at_ms: i64) -> Value {
    let definitions: Vec<Value> = metrics.iter().map(|m| json!({"Name": m.parts().0, "Unit": m.parts().1})).collect();
    let mut line = Map::new();
    line.insert(
        "_aws".into(),
        json!({
            "Timestamp": at_ms,
            "CloudWatchMetrics": [{"Namespace": "Keyturn", "Dimensions": [["Function"]], "Metrics": definitions}],
        }),
    );
    line.insert("Function".into(), function.into());
    line.extend(metrics.iter().map(|m| (m.parts().0.to_owned(), m.parts().2.into())));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_defines_and_carries_each_metric() {
        let line = render("rotate-postgres", &[Metric::StepFailed(1), Metric::StepDuration(12)], 1_700_000_000_000);
        assert_eq!(
            line,
            json!({
                "_aws": {"Timestamp": 1_700_000_000_000_i64, "CloudWatchMetrics": [{
                    "Namespace": "Keyturn", "Dimensions": [["Function"]],
                    "Metrics": [{"Name": "StepFailed", "Unit": "Count"}, {"Name": "StepDuration", "Unit": "Milliseconds"}],
                }]},
                "Function": "rotate-postgres", "StepFailed": 1, "StepDuration": 12,
            })
        );
    }
}
