//! A rotation as the service drives it: the steps in turn through Lambda's invoke API, and everything again on failure.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::json;

use super::SecretsManager;
use super::state::{CURRENT, PENDING, State};
use crate::aws_json::{Failure, epoch_seconds, uuid};
use crate::lambda::{FunctionError, invoke_at};

const ALL_STEPS: &[&str] = &["createSecret", "setSecret", "testSecret", "finishSecret"];
const TEST_ONLY: &[&str] = &["testSecret"];

/// One step, as it went.
#[derive(Clone, Debug)]
pub struct StepRun {
    /// `createSecret`, `setSecret`, `testSecret` or `finishSecret`.
    pub step: &'static str,
    /// From the service's request to the function's answer.
    pub duration: Duration,
    /// Why the step failed, if it did.
    pub error: Option<FunctionError>,
}

/// One pass through the steps, up to the first that failed.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub steps: Vec<StepRun>,
}

impl Attempt {
    /// Why this attempt failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&FunctionError> {
        self.steps.last().and_then(|run| run.error.as_ref())
    }
}

/// A rotation that came to its end, good or bad.
#[derive(Clone, Debug)]
pub struct RotationOutcome {
    pub arn: String,
    /// The version that was to become AWSCURRENT.
    pub token: String,
    /// An earlier rotation had not finished, so that one was taken up again.
    pub reattempted: bool,
    /// Every attempt, in order; the last one decides.
    pub attempts: Vec<Attempt>,
}

impl RotationOutcome {
    /// Why the rotation failed in the end, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&FunctionError> {
        self.attempts.last().and_then(Attempt::error)
    }

    /// Whether the rotation succeeded in the end.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.error().is_none()
    }
}

impl fmt::Display for RotationOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, attempt) in self.attempts.iter().enumerate() {
            writeln!(f, "attempt {}", number + 1)?;
            for StepRun { step, duration, error } in &attempt.steps {
                let milliseconds = duration.as_millis();
                match error {
                    None => writeln!(f, "  {step:<13}{milliseconds:>6} ms")?,
                    Some(error) => writeln!(f, "  {step:<13}{milliseconds:>6} ms  {error}")?,
                }
            }
        }
        Ok(())
    }
}

/// A rotation that has begun: what is left to do is to drive it.
pub(super) struct Plan {
    arn: String,
    lambda_arn: String,
    invoke_url: String,
    token: String,
    rotation_token: Option<String>,
    steps: &'static [&'static str],
    attempts: usize,
    pub(super) reattempted: bool,
}

/// What `RotateSecret` answers while an earlier rotation is still open.
pub(super) fn incomplete() -> Failure {
    let message = "A previous rotation isn't complete. That rotation will be reattempted.";
    Failure::new("InvalidRequestException", message)
}

impl State {
    /// Stages the pending version, or finds the one of the rotation that did not finish.
    pub(super) fn begin_rotation(&mut self, id: &str, token: &str, immediately: bool) -> Result<Plan, Failure> {
        let attempts = self.attempts;
        let functions = self.functions.clone();
        let secret = self.live(id)?;
        if secret.rotating {
            return Err(incomplete());
        }
        let lambda_arn = secret.rotation.as_ref().map(|rotation| rotation.lambda_arn.clone()).unwrap_or_default();
        let invoke_url = functions.get(&lambda_arn).cloned().ok_or_else(|| {
            let message = "No Lambda rotation function ARN is associated with this secret.";
            Failure::new("InvalidRequestException", message)
        })?;
        let unfinished = secret.unfinished().map(|version| version.id.clone());
        let (token, steps) = match &unfinished {
            Some(unfinished) => (unfinished.as_str(), ALL_STEPS),
            None if immediately => {
                secret.stage_pending(token, None)?;
                (token, ALL_STEPS)
            }
            None => {
                let current = secret.labelled(CURRENT).and_then(|version| version.value.clone());
                secret.stage_pending(token, current)?;
                (token, TEST_ONLY)
            }
        };
        secret.rotating = true;
        Ok(Plan {
            arn: secret.arn.clone(),
            lambda_arn,
            invoke_url,
            token: token.to_owned(),
            rotation_token: secret.rotation_token.clone(),
            steps,
            attempts,
            reattempted: unfinished.is_some(),
        })
    }

    /// What the service itself looks at once a step has answered well.
    fn check_step(&mut self, plan: &Plan, step: &str) -> Option<String> {
        let Ok(secret) = self.live(&plan.arn) else {
            return Some(format!("secret {} is gone", plan.arn));
        };
        let version = secret.version(&plan.token);
        let missing = match step {
            "createSecret" => version.is_none_or(|version| version.value.is_none()),
            "finishSecret" => version.is_none_or(|version| !version.stages.contains(CURRENT)),
            _ => false,
        };
        let (arn, lambda, token) = (&plan.arn, &plan.lambda_arn, &plan.token);
        missing.then(|| match step {
            "createSecret" => format!(
                "Pending secret version {token} for Secret {arn} was not created by Lambda {lambda}. Remove the \
                 AWSPENDING staging label and restart rotation."
            ),
            _ => format!("Lambda {lambda} did not move staging label AWSCURRENT of Secret {arn} to version {token}."),
        })
    }

    /// Cleans up as the service does: a finished rotation leaves no AWSPENDING behind, an unfinished one does.
    fn end_rotation(&mut self, plan: &Plan, succeeded: bool) {
        let Ok(secret) = self.find(&plan.arn) else { return };
        let only_tested = plan.steps == TEST_ONLY;
        if only_tested || (succeeded && secret.unfinished().is_none()) {
            secret.detach(PENDING);
        }
        if succeeded && !only_tested {
            secret.rotated = Some(epoch_seconds());
        }
    }
}

/// Says that no rotation is driven any more, also when the one that drives is dropped half-way.
struct Rotating<'a>(&'a SecretsManager, &'a str);

impl Drop for Rotating<'_> {
    fn drop(&mut self) {
        if let Ok(secret) = self.0.state().find(self.1) {
            secret.rotating = false;
        }
    }
}

impl SecretsManager {
    /// Rotates a secret and waits for the end. Where an earlier rotation did not finish, that one is taken up again.
    pub async fn rotate(&self, secret: &str) -> anyhow::Result<RotationOutcome> {
        self.begin_and_drive(secret, true).await
    }

    /// Saves the rotation's schedule (`RotateImmediately=false`): the service runs testSecret, on a copy of the current
    /// value, and nothing else.
    pub async fn test_rotation(&self, secret: &str) -> anyhow::Result<RotationOutcome> {
        self.begin_and_drive(secret, false).await
    }

    async fn begin_and_drive(&self, secret: &str, immediately: bool) -> anyhow::Result<RotationOutcome> {
        let plan = self
            .state()
            .begin_rotation(secret, &uuid(), immediately)
            .map_err(|failure| anyhow!("rotating {secret}: {}: {}", failure.kind, failure.message))?;
        Ok(self.drive(plan).await)
    }

    pub(super) fn drive_in_background(&self, plan: Plan) {
        let secrets = self.clone();
        self.background().spawn(async move {
            secrets.drive(plan).await;
        });
    }

    async fn drive(&self, plan: Plan) -> RotationOutcome {
        let _rotating = Rotating(self, &plan.arn);
        let mut attempts: Vec<Attempt> = Vec::new();
        for _ in 0..plan.attempts {
            let attempt = self.attempt(&plan).await;
            let failed = attempt.error().is_some();
            attempts.push(attempt);
            if !failed {
                break;
            }
        }
        let succeeded = attempts.last().is_some_and(|attempt| attempt.error().is_none());
        self.state().end_rotation(&plan, succeeded);
        RotationOutcome { arn: plan.arn.clone(), token: plan.token.clone(), reattempted: plan.reattempted, attempts }
    }

    async fn attempt(&self, plan: &Plan) -> Attempt {
        let mut steps = Vec::new();
        for step in plan.steps {
            let run = self.step(plan, step).await;
            let failed = run.error.is_some();
            steps.push(run);
            if failed {
                break;
            }
        }
        Attempt { steps }
    }

    async fn step(&self, plan: &Plan, step: &'static str) -> StepRun {
        let mut event = json!({"Step": step, "SecretId": plan.arn, "ClientRequestToken": plan.token});
        if let Some(token) = &plan.rotation_token {
            event["RotationToken"] = json!(token);
        }
        let started = Instant::now();
        let answer = invoke_at(&self.client, &plan.invoke_url, &event).await;
        let duration = started.elapsed();
        let error = match answer {
            Ok(_) => self
                .state()
                .check_step(plan, step)
                .map(|error_message| FunctionError { error_type: "RotationFailed".to_owned(), error_message }),
            Err(error) => Some(error),
        };
        StepRun { step, duration, error }
    }
}
