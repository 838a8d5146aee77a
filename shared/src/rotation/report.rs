//! What a step did: the function's answer, its log line and its metrics.

use crate::Result;
use crate::codes::{Code, DeclaredCode as _};
use crate::metrics::{self, Metric};
use serde::Serialize;
use std::time::Duration;

/// How a step ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// createSecret stored a new pending value.
    PendingCreated,
    /// createSecret found the pending value of an earlier try.
    PendingKept,
    /// setSecret made the pending value valid.
    PasswordSet,
    /// testSecret proved it.
    PendingProven,
    /// finishSecret made it current.
    Finished,
    /// The rotation was over before this step began.
    AlreadyCurrent,
}

/// What a step did: the function's answer and its log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub step: &'static str,
    pub outcome: Outcome,
    /// The user the pending value is for, where the step had to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What was changed in the system, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// The settings by which the operator allowed what a guard would have refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<&'static str>,
    /// What does not stop the step, but an operator should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Of a finished rotation: when the schedule has the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<String>,
}

/// A rotation step ended.
pub(super) fn ended(function: &str, result: &Result<Report>, took: Duration) {
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let duration = Metric::StepDuration(duration_ms);
    match result {
        Ok(report) => {
            let (code, says) = words(report.outcome);
            let user = report.user.as_deref().unwrap_or_default();
            let code = code.name();
            let (changes, overrides) = (report.changes.join("; "), report.overrides.join(", "));
            let next_rotation = report.next_rotation.as_deref();
            tracing::info!(code, user, changes, overrides, next_rotation, duration_ms, "{says}");
            match report.outcome {
                // The zero ends the alarm that a failed step has raised, which outlasts minutes without any step.
                Outcome::Finished => {
                    let finished = Metric::RotationFinished(1);
                    metrics::emit(function, &[Metric::StepSucceeded(1), Metric::StepFailed(0), duration, finished]);
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

fn words(outcome: Outcome) -> (Code, &'static str) {
    match outcome {
        Outcome::PendingCreated => (Code::PendingCreated, "A new password is stored as AWSPENDING."),
        Outcome::PendingKept => (Code::PendingKept, "The AWSPENDING value of an earlier try is kept."),
        Outcome::PasswordSet => (Code::PasswordSet, "The database accepts the pending password."),
        Outcome::PendingProven => (Code::PendingProven, "The pending credential logs in and has its rights."),
        Outcome::Finished => (Code::RotationFinished, "The pending credential is AWSCURRENT now."),
        Outcome::AlreadyCurrent => (Code::AlreadyCurrent, "This version is AWSCURRENT already; nothing to do."),
    }
}
