//! What happened, one function each: the JSON line and the metrics.

use crate::metrics::{self, Metric};
use crate::rotation::{Outcome, Report};
use crate::{Error, Result};
use std::time::Duration;

/// The function's settings are wrong: every event will be answered with this.
pub fn settings_refused(error: &Error) {
    tracing::error!(code = error.code(), remedy = error.remedy(), "{}", error.message());
}

/// A rotation step ended.
pub fn step_ended(function: &str, result: &Result<Report>, took: Duration) {
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let duration = Metric::StepDuration(duration_ms);
    match result {
        Ok(report) => {
            let (code, says) = words(report.outcome);
            let user = report.user.as_deref().unwrap_or_default();
            let (changes, overrides) = (report.changes.join("; "), report.overrides.join(", "));
            tracing::info!(code, user, changes, overrides, duration_ms, "{says}");
            match report.outcome {
                Outcome::Finished => {
                    metrics::emit(function, &[Metric::StepSucceeded(1), duration, Metric::RotationFinished(1)]);
                }
                _ => metrics::emit(function, &[Metric::StepSucceeded(1), duration]),
            }
        }
        Err(error) => {
            tracing::error!(code = error.code(), remedy = error.remedy(), duration_ms, "{}", error.message());
            metrics::emit(function, &[Metric::StepFailed(1), duration]);
        }
    }
}

fn words(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::PendingCreated => ("PENDING_CREATED", "A new password is stored as AWSPENDING."),
        Outcome::PendingKept => ("PENDING_KEPT", "The AWSPENDING value of an earlier try is kept."),
        Outcome::PasswordSet => ("PASSWORD_SET", "The database accepts the pending password."),
        Outcome::PendingProven => ("PENDING_PROVEN", "The pending credential logs in and has its rights."),
        Outcome::Finished => ("ROTATION_FINISHED", "The pending credential is AWSCURRENT now."),
        Outcome::AlreadyCurrent => ("ALREADY_CURRENT", "This version is AWSCURRENT already; nothing to do."),
    }
}
