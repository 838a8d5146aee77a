//! The four steps of a rotation, for any system that has passwords.
//!
//! Secrets Manager stages a version id (the token) with AWSPENDING and no value, then calls the function four times. A
//! rotation that fails is called again from the start, several times, so every step may meet what an earlier try left.

mod event;
mod stage;

pub use event::{RotationEvent, Step};

use crate::audit;
use crate::credential::Credential;
use crate::password::PasswordPolicy;
use crate::secrets::{CURRENT, Moved, PENDING, Put, Secrets, Stored};
use crate::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use stage::Stage;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long a value that the labels promise may still be missing: reads lag behind writes for a moment.
const READ_LAG: Duration = Duration::from_secs(3);

/// What one invocation is about.
#[derive(Debug)]
pub struct Job {
    /// The full ARN of the secret being rotated.
    pub secret_arn: String,
    /// The secret's tags.
    pub tags: HashMap<String, String>,
    /// When the invocation has to be over.
    pub deadline: Deadline,
    overrides: RefCell<BTreeSet<&'static str>>,
}

impl Job {
    /// About this secret.
    pub fn of(
        secret_arn: impl Into<String>,
        tags: impl IntoIterator<Item = (String, String)>,
        deadline: Deadline,
    ) -> Self {
        let tags = tags.into_iter().collect();
        Self { secret_arn: secret_arn.into(), tags, deadline, overrides: RefCell::default() }
    }

    /// A guard would have refused this, had the operator not set `setting`. The audit line names it.
    pub fn overridden(&self, setting: &'static str) {
        self.overrides.borrow_mut().insert(setting);
    }

    /// The settings that allowed something so far.
    #[must_use]
    pub fn overrides(&self) -> Vec<&'static str> {
        self.overrides.borrow().iter().copied().collect()
    }
}

/// Whose password a rotation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Two users take turns: the one in use is never touched, and clients notice nothing.
    Alternating,
    /// One user: from the change on, clients that still have the old password are refused.
    Fixed,
}

/// The system whose password is rotated.
#[expect(async_fn_in_trait, reason = "used with concrete types on one thread; nobody needs these futures to be Send")]
pub trait Target {
    /// Reads a value of the secret; `what` says in errors which one. Targets with secrets of another shape than AWS's say so here.
    fn read(&self, text: SecretString, what: &str, _job: &Job) -> Result<Credential> {
        Credential::parse(text, what)
    }

    /// Whose password is changed.
    fn strategy(&self, _job: &Job) -> Result<Strategy> {
        Ok(Strategy::Alternating)
    }

    /// Decides which user the pending value is for. Refuses here whatever can be refused: nothing has been written yet.
    async fn propose(&self, current: &Credential, job: &Job) -> Result<String>;

    /// Says in which way `pending` cannot be what follows `current` (another host, a foreign user); `None` when it can.
    fn mismatch(&self, current: &Credential, pending: &Credential, job: &Job) -> Option<String>;

    /// Makes `pending` valid in the system and gives back what it changed, in words. Must be safe to repeat. Asks `still`
    /// last of all before the change takes effect: waiting may have taken so long that the rotation is not this one any more.
    async fn set(
        &self,
        current: &Credential,
        pending: &Credential,
        job: &Job,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>>;

    /// Proves, on a fresh connection, that `pending` logs in as who it should and may do what it must.
    async fn test(&self, pending: &Credential, job: &Job) -> Result<()>;
}

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
    /// The step's name.
    pub step: &'static str,
    /// How it ended.
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
}

/// A rotation function: Secrets Manager on one side, the target on the other.
#[derive(Debug)]
pub struct Rotation<T> {
    function: &'static str,
    secrets: Secrets,
    passwords: PasswordPolicy,
    target: T,
}

impl<T: Target> Rotation<T> {
    /// The rotation that `function` does: its name is the metrics' dimension.
    pub fn new(function: &'static str, secrets: Secrets, passwords: PasswordPolicy, target: T) -> Self {
        Self { function, secrets, passwords, target }
    }

    /// Does one step, and writes its audit line and metrics.
    ///
    /// # Errors
    /// Whatever refused the step, logged once here.
    pub async fn handle(&self, event: &Value, deadline: Deadline) -> Result<Report> {
        let started = Instant::now();
        match RotationEvent::parse(event) {
            Ok(event) => {
                let span = tracing::info_span!(
                    "rotation",
                    secret_arn = event.secret,
                    step = event.step.name(),
                    token = event.token
                );
                async {
                    // Boxed: the SDK's futures nest so deep that the compiler's limits are met otherwise.
                    let result = Box::pin(self.step(&event, deadline)).await;
                    audit::step_ended(self.function, &result, started.elapsed());
                    result
                }
                .instrument(span)
                .await
            }
            Err(error) => {
                let result = Err(error);
                audit::step_ended(self.function, &result, started.elapsed());
                result
            }
        }
    }

    async fn step(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        match event.step {
            Step::Create => self.create(event, deadline).await,
            Step::Set => self.set(event, deadline).await,
            Step::Test => self.test(event, deadline).await,
            Step::Finish => self.finish(event, deadline).await,
        }
    }

    async fn create(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let (job, current, pending) = match self.read(event, deadline).await? {
            Reading::Finished => return Ok(report(event, Outcome::AlreadyCurrent)),
            Reading::Pending { job, current, pending, .. } => (job, current, pending),
        };
        if let Some(pending) = pending {
            return self.kept(event, &job, &current, &pending);
        }
        let username = self.target.propose(&current, &job).await?;
        let pending = current.with(&username, &self.passwords.generate()?)?;
        // Safe to repeat: a second value for this token is refused, and then the first one counts.
        let put = self.secrets.put_pending(
            &event.secret,
            &event.token,
            event.rotation_token.as_ref(),
            pending.text(),
            deadline,
        );
        match put.await? {
            Put::Stored => Ok(done(event, Outcome::PendingCreated, &username, &job)),
            Put::Taken => {
                let pending = self.pending_when_visible(event, deadline).await?;
                self.kept(event, &job, &current, &pending)
            }
        }
    }

    fn kept(&self, event: &RotationEvent, job: &Job, current: &Credential, pending: &Stored) -> Result<Report> {
        let pending = self.consistent(event, job, current, pending)?;
        Ok(done(event, Outcome::PendingKept, pending.username(), job))
    }

    async fn set(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let (job, stage, current, pending) = match self.read(event, deadline).await? {
            Reading::Finished => return Ok(report(event, Outcome::AlreadyCurrent)),
            Reading::Pending { job, stage, current, pending } => (job, stage, current, pending),
        };
        let pending = match pending {
            Some(pending) => pending,
            None => self.pending_when_visible(event, deadline).await?,
        };
        let pending = self.consistent(event, &job, &current, &pending)?;
        let still = async || self.unmoved(event, &stage, deadline).await;
        let changes = self.target.set(&current, &pending, &job, still).await?;
        Ok(Report { changes, ..done(event, Outcome::PasswordSet, pending.username(), &job) })
    }

    /// The labels are where they were when this step began. Else its password could take the place of a newer one's.
    async fn unmoved(&self, event: &RotationEvent, before: &Stage, deadline: Deadline) -> Result<()> {
        let now = stage::judge(&self.secrets.describe(&event.secret, deadline).await?, &event.token)?;
        if now == *before {
            return Ok(());
        }
        Err(Error::new(
            "CURRENT_MOVED",
            format!(
                "AWSCURRENT of {} was moved while setSecret was at work, which stopped before its next change.",
                event.secret
            ),
            "If that was a person's change, it stands; the next try of this rotation starts from it.",
        ))
    }

    /// Looks at the pending value alone: saving a schedule with `RotateImmediately=false` runs this step by itself, on a
    /// temporary version that may hold the very value that is current.
    async fn test(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let (description, pending) = tokio::join!(
            self.secrets.describe(&event.secret, deadline),
            self.secrets.read(&event.secret, PENDING, Some(&event.token), deadline),
        );
        let description = description?;
        if stage::judge(&description, &event.token)? == Stage::Finished {
            return Ok(report(event, Outcome::AlreadyCurrent));
        }
        let pending = match pending? {
            Some(pending) => pending,
            None => self.pending_when_visible(event, deadline).await?,
        };
        let job = Job::of(description.arn, description.tags, deadline);
        let pending = self.parse_pending(event, &pending, &job)?;
        self.target.test(&pending, &job).await?;
        Ok(done(event, Outcome::PendingProven, pending.username(), &job))
    }

    async fn finish(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let description = self.secrets.describe(&event.secret, deadline).await?;
        let current = match stage::judge(&description, &event.token)? {
            Stage::Finished => return Ok(report(event, Outcome::AlreadyCurrent)),
            Stage::Pending { current } => current.ok_or_else(|| no_current(&event.secret))?,
        };
        // Safe to repeat: a compare-and-swap, and a refusal is looked into.
        if self.secrets.move_current(&event.secret, &current, &event.token, deadline).await? == Moved::Done {
            return Ok(report(event, Outcome::Finished));
        }
        let description = self.secrets.describe(&event.secret, deadline).await?;
        match stage::judge(&description, &event.token)? {
            Stage::Finished => Ok(report(event, Outcome::Finished)),
            Stage::Pending { current: now } => Err(Error::new(
                "CURRENT_MOVED",
                format!(
                    "AWSCURRENT of {} was to move from version {current} to {}, but is on version {} now: someone else moved it.",
                    event.secret,
                    event.token,
                    now.as_deref().unwrap_or("none")
                ),
                "If that was a person's change, it stands; the next try of this rotation starts from it.",
            )),
        }
    }

    /// Labels, current value and pending value, read at the same time.
    async fn read(&self, event: &RotationEvent, deadline: Deadline) -> Result<Reading> {
        let (description, current, pending) = Box::pin(async {
            tokio::join!(
                self.secrets.describe(&event.secret, deadline),
                self.secrets.read(&event.secret, CURRENT, None, deadline),
                self.secrets.read(&event.secret, PENDING, Some(&event.token), deadline),
            )
        })
        .await;
        let description = description?;
        let stage = stage::judge(&description, &event.token)?;
        if stage == Stage::Finished {
            return Ok(Reading::Finished);
        }
        let current = current?.ok_or_else(|| no_current(&event.secret))?;
        let job = Job::of(description.arn, description.tags, deadline);
        let current = self.target.read(current.text, &format!("the AWSCURRENT value of {}", event.secret), &job)?;
        Ok(Reading::Pending { job, stage, current: Box::new(current), pending: pending? })
    }

    async fn pending_when_visible(&self, event: &RotationEvent, deadline: Deadline) -> Result<Stored> {
        let until = deadline.at_most(READ_LAG);
        let mut pause = Duration::from_millis(50);
        loop {
            if let Some(pending) = self.secrets.read(&event.secret, PENDING, Some(&event.token), deadline).await? {
                return Ok(pending);
            }
            if until.remaining().is_zero() {
                return Err(Error::new(
                    "PENDING_HAS_NO_VALUE",
                    format!(
                        "Version {} of {} is labelled AWSPENDING but holds no value: createSecret has not run for it.",
                        event.token, event.secret
                    ),
                    format!(
                        "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret --secret-id {}",
                        event.secret
                    ),
                ));
            }
            tokio::time::sleep(pause.min(until.remaining())).await;
            pause *= 2;
        }
    }

    fn parse_pending(&self, event: &RotationEvent, pending: &Stored, job: &Job) -> Result<Credential> {
        let what = format!("the AWSPENDING value of {}", event.secret);
        self.target.read(pending.text.clone(), &what, job).map_err(|e| {
            Error::new(e.code(), e.message(), format!("{} {}", e.remedy(), self.clear_pending(event, job)))
        })
    }

    /// What to do with a pending value that leads nowhere. With one user for both, its password may be the one that works.
    fn clear_pending(&self, event: &RotationEvent, job: &Job) -> String {
        let secret = &event.secret;
        let drop = format!(
            "aws secretsmanager update-secret-version-stage --secret-id {secret} --version-stage AWSPENDING --remove-from-version-id {}",
            event.token
        );
        match self.target.strategy(job) {
            Ok(Strategy::Alternating) => format!("Drop the pending version, then rotate again: {drop}"),
            _ => format!(
                "If setSecret has run, the pending password may be the only one that works: look before you drop it (aws secretsmanager get-secret-value --secret-id {secret} --version-stage AWSPENDING). If it logs in, put it into the secret as the current value. Else drop the pending version, then rotate again: {drop}"
            ),
        }
    }

    fn consistent(
        &self,
        event: &RotationEvent,
        job: &Job,
        current: &Credential,
        pending: &Stored,
    ) -> Result<Credential> {
        let pending = self.parse_pending(event, pending, job)?;
        let same_user = pending.username() == current.username();
        match self.target.strategy(job)? {
            Strategy::Alternating if same_user => {
                return Err(Error::new(
                    "PENDING_IS_CURRENT_USER",
                    format!(
                        "The pending value of {} is for user {:?}, who is in use: labels were moved by hand, or the value was copied. Setting it would cut off every client.",
                        job.secret_arn,
                        pending.username()
                    ),
                    self.clear_pending(event, job),
                ));
            }
            Strategy::Fixed if pending.password().expose_secret() == current.password().expose_secret() => {
                return Err(Error::new(
                    "PENDING_IS_CURRENT_PASSWORD",
                    format!(
                        "The pending value of {} has the password that is in use: the value was copied, and nothing would be rotated.",
                        job.secret_arn
                    ),
                    self.clear_pending(event, job),
                ));
            }
            _ => {}
        }
        match self.target.mismatch(current, &pending, job) {
            None => Ok(pending),
            Some(difference) => Err(Error::new(
                "PENDING_MISMATCH",
                format!("The pending value of {} does not follow the current one: {difference}.", job.secret_arn),
                self.clear_pending(event, job),
            )),
        }
    }
}

enum Reading {
    Finished,
    Pending { job: Job, stage: Stage, current: Box<Credential>, pending: Option<Stored> },
}

fn report(event: &RotationEvent, outcome: Outcome) -> Report {
    Report { step: event.step.name(), outcome, user: None, changes: Vec::new(), overrides: Vec::new() }
}

fn done(event: &RotationEvent, outcome: Outcome, user: &str, job: &Job) -> Report {
    Report { user: Some(user.to_owned()), overrides: job.overrides(), ..report(event, outcome) }
}

fn no_current(secret: &str) -> Error {
    Error::new(
        "NO_CURRENT_VALUE",
        format!("{secret} has no value labelled AWSCURRENT."),
        format!(
            "Store a working credential first: aws secretsmanager put-secret-value --secret-id {secret} --secret-string file://secret.json"
        ),
    )
}
