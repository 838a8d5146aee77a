//! Metrics, in CloudWatch's embedded metric format (EMF): a JSON line on standard output that CloudWatch turns into
//! metrics of namespace `Keyturn`, dimension `Function`. Format: "Embedded metric format specification", Amazon CloudWatch.

use crate::clock;
use serde_json::{Map, Value, json};

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
}

impl Metric {
    fn parts(self) -> (&'static str, &'static str, u64) {
        match self {
            Self::StepSucceeded => ("StepSucceeded", "Count", 1),
            Self::StepFailed => ("StepFailed", "Count", 1),
            Self::StepDuration(milliseconds) => ("StepDuration", "Milliseconds", milliseconds),
            Self::RotationFinished => ("RotationFinished", "Count", 1),
        }
    }
}

/// Writes these measurements of `function`.
pub fn emit(function: &str, metrics: &[Metric]) {
    println!("{}", render(function, metrics, clock::now().timestamp_millis()));
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
