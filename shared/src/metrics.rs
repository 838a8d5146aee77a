//! Metrics, in CloudWatch's embedded metric format (EMF): a JSON line on standard output that CloudWatch turns into
//! metrics of namespace `Keyturn`, dimension `Function`. Format: "Embedded metric format specification", Amazon CloudWatch.

use crate::clock;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// One measurement. The names are the alarms' names: `infra/` uses exactly these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// A step ended well.
    StepSucceeded,
    /// A step ended with an error.
    StepFailed,
    /// How long a step took, in milliseconds.
    StepDuration(u64),
    /// A rotation reached its end: the new password is current.
    RotationFinished,
    /// A tick read everything and did everything (1), or not (0).
    RunsOk(u64),
    /// How old what is known of a binding's source is, in seconds.
    SourceAgeSeconds(u64),
    /// How many people are in a binding's group.
    Members(u64),
    /// Grants that were made.
    Grants(u64),
    /// Revokes that were made.
    Revokes(u64),
    /// How much longer than their shift somebody was in the group, in seconds.
    OverstaySeconds(u64),
    /// What a person has to look at: people on call without a grant, outsiders, refused bindings, changes not verified.
    Unresolved(u64),
    /// Alerts that a channel did not take.
    AlertFailed(u64),
}

impl Metric {
    fn parts(self) -> (&'static str, &'static str, u64) {
        match self {
            Self::StepSucceeded => ("StepSucceeded", "Count", 1),
            Self::StepFailed => ("StepFailed", "Count", 1),
            Self::StepDuration(milliseconds) => ("StepDuration", "Milliseconds", milliseconds),
            Self::RotationFinished => ("RotationFinished", "Count", 1),
            Self::RunsOk(count) => ("RunsOk", "Count", count),
            Self::SourceAgeSeconds(seconds) => ("SourceAgeSeconds", "Seconds", seconds),
            Self::Members(count) => ("Members", "Count", count),
            Self::Grants(count) => ("Grants", "Count", count),
            Self::Revokes(count) => ("Revokes", "Count", count),
            Self::OverstaySeconds(seconds) => ("OverstaySeconds", "Seconds", seconds),
            Self::Unresolved(count) => ("Unresolved", "Count", count),
            Self::AlertFailed(count) => ("AlertFailed", "Count", count),
        }
    }
}

/// Who takes the lines instead of standard output.
type Taker = Box<dyn Fn(&Value) + Send + Sync>;

static TAKER: OnceLock<Taker> = OnceLock::new();

/// Hands every line to `taker` from now on, in a program that runs a function inside itself and prints other things. The
/// first call counts, as for the log.
pub fn hand_to(taker: impl Fn(&Value) + Send + Sync + 'static) {
    let _ = TAKER.set(Box::new(taker)); // the first one stays
}

/// Writes these measurements of `function`.
pub fn emit(function: &str, metrics: &[Metric]) {
    write(&render(function, metrics, clock::now().timestamp_millis()));
}

/// The same, with the binding they are about beside them: to be searched for, not a dimension (which would be billed for each).
pub fn emit_of_binding(function: &str, binding: &str, metrics: &[Metric]) {
    let mut line = render(function, metrics, clock::now().timestamp_millis());
    line["Binding"] = binding.into();
    write(&line);
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
        let line = render("rotate-postgres", &[Metric::StepFailed, Metric::StepDuration(12)], 1_700_000_000_000);
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
