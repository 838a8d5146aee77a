//! The four steps of a rotation, for any system that has passwords.
//!
//! Secrets Manager stages a version id (the token) with AWSPENDING and no value, then calls the function four times. A
//! rotation that fails is called again from the start, several times, so every step may meet what an earlier try left.

mod event;
mod job;
pub mod replicas;
mod report;
mod stage;
mod target;

pub use event::{RotationEvent, Step, field};
pub use job::Job;
pub use report::{Outcome, Report};
pub use target::{Strategy, Target};

use crate::codes::Code;
use crate::credential::Credential;
use crate::failure::{Failure, pauses, retry};
use crate::password::PasswordPolicy;
use crate::secrets::{CURRENT, Moved, PENDING, Put, Secrets, Stored};
use crate::{Deadline, Error, Result, clock, defect};
use backon::Retryable as _;
use chrono::SecondsFormat;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use stage::Stage;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long a value that the labels promise may still be missing: reads lag behind writes for a moment.
const READ_LAG: Duration = Duration::from_secs(3);

/// How long a pending value of one user is tried, to word an advice.
const PROBE: Duration = Duration::from_secs(8);

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
                    let result = Box::pin(defect::caught(self.step(&event, deadline))).await;
                    report::ended(self.function, &result, started.elapsed());
                    result
                }
                .instrument(span)
                .await
            }
            Err(error) => {
                let result = Err(error);
                report::ended(self.function, &result, started.elapsed());
                result
            }
        }
    }

    async fn step(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let result = match event.step {
            Step::Create => return self.create(event, deadline).await,
            Step::Set => self.set(event, deadline).await,
            Step::Test => self.test(event, deadline).await,
            Step::Finish => self.finish(event, deadline).await,
        };
        // Where Secrets Manager gives no answer, nobody has looked which password is in force.
        let codes =
            [Code::AwsAccessDenied, Code::AwsCallFailed, Code::AwsThrottled, Code::AwsUnreachable, Code::KmsDenied];
        let is_unseen = |error: &Error| codes.iter().any(|code| error.is(*code));
        result.map_err(|error| if is_unseen(&error) { self.unseen(error) } else { error })
    }

    /// Adds to an error what clients may meet, where nobody has looked which password is in force.
    fn unseen(&self, error: Error) -> Error {
        match self.target.unseen() {
            Some(words) if !error.message().contains(words) => error.and(words),
            _ => error,
        }
    }

    async fn create(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let (job, current, pending) = match self.read(event, deadline).await? {
            Reading::Finished => return Ok(report(event, Outcome::AlreadyCurrent)),
            Reading::Pending { job, current, pending, .. } => (job, current, pending),
        };
        if let Some(pending) = pending {
            return self.kept(event, &job, &current, &pending).await;
        }
        // The password that comes next may be the one that clients in another region still read.
        if let Err(lag) = replicas::in_sync(&job.secret_arn, &job.replicas) {
            job.warn(&lag.error);
        }
        let survey = self.target.survey(&current, &job).await?;
        let username = self.target.plan(&survey, &job)?;
        let password = self.passwords.generate()?;
        self.target.takes(&password, &survey)?;
        let pending = current.with(&username, &password)?;
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
                self.kept(event, &job, &current, &pending).await
            }
        }
    }

    async fn kept(&self, event: &RotationEvent, job: &Job, current: &Credential, pending: &Stored) -> Result<Report> {
        let pending = self.consistent(event, job, current, pending).await?;
        Ok(done(event, Outcome::PendingKept, pending.username(), job))
    }

    async fn set(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let Some((job, stage, current, pending)) = self.both(event, deadline).await? else {
            return Ok(report(event, Outcome::AlreadyCurrent));
        };
        let pending = self.consistent(event, &job, &current, &pending).await?;
        let still = async || self.unmoved(event, &stage, deadline).await;
        let changes = self.target.apply(&current, &pending, &job, still).await?;
        Ok(Report { changes, ..done(event, Outcome::PasswordSet, pending.username(), &job) })
    }

    /// The labels are where they were when this step began. Else its password could take the place of a newer one's.
    async fn unmoved(&self, event: &RotationEvent, before: &Stage, deadline: Deadline) -> Result<()> {
        let now = stage::judge(&self.secrets.describe(&event.secret, deadline).await?, &event.token)?;
        if now == *before {
            return Ok(());
        }
        Err(Error::new(
            Code::CurrentMoved,
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
        let job = Job::of_described(description, deadline).begun();
        let pending = self.parse_pending(event, &pending, &job)?;
        self.target.prove(&pending, &job).await?;
        Ok(done(event, Outcome::PendingProven, pending.username(), &job))
    }

    async fn finish(&self, event: &RotationEvent, deadline: Deadline) -> Result<Report> {
        let Some((job, stage, value, pending)) = self.both(event, deadline).await? else {
            return Ok(report(event, Outcome::AlreadyCurrent));
        };
        // Whoever edits the value between two steps must not find it undone.
        let pending = self.consistent(event, &job, &value, &pending).await?;
        let Stage::Pending { current: Some(current) } = &stage else {
            return Err(no_current(&event.secret));
        };
        self.target.still_accepted(&value, &pending, &job).await?;
        // Safe to repeat: a compare-and-swap, and a refusal is looked into.
        if self.secrets.move_current(&event.secret, current, &event.token, deadline).await? == Moved::Done {
            return Ok(self.finished(event, &job).await);
        }
        let description = self.secrets.describe(&event.secret, deadline).await?;
        match stage::judge(&description, &event.token)? {
            Stage::Finished => Ok(self.finished(event, &job).await),
            Stage::Pending { current: now } => Err(Error::new(
                Code::CurrentMoved,
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

    /// AWSCURRENT has moved, and the rotation is over, whatever becomes of the replicas.
    async fn finished(&self, event: &RotationEvent, job: &Job) -> Report {
        if !job.replicas.is_empty()
            && let Err(error) = self.replicated(job).await
        {
            job.warn(&error);
        }
        // It was read before the label moved: on a day that a rotation is due, that day may stand there still.
        let next = job.next_rotation.filter(|next| *next > clock::now());
        let next_rotation = next.map(|next| next.to_rfc3339_opts(SecondsFormat::Secs, true));
        let (overrides, warnings) = (job.overrides(), job.warnings());
        Report { overrides, warnings, next_rotation, ..report(event, Outcome::Finished) }
    }

    /// Waits until the replicas in other regions have the new value too, to the end of the invocation if need be.
    async fn replicated(&self, job: &Job) -> Result<()> {
        let secret = &job.secret_arn;
        let look = async |until| {
            let description = self.secrets.describe(secret, until).await.map_err(|error| {
                Failure::permanent(
                    Code::ReplicaNotInSync,
                    format!(
                        "AWSCURRENT has moved; whether the replicas of {secret} have followed, is not known: {}",
                        error.message()
                    ),
                    error.remedy(),
                )
            })?;
            replicas::in_sync(secret, &description.replicas)
        };
        Ok(retry(job.deadline, job.deadline.remaining(), Failure::is_transient, look).await?)
    }

    /// Labels, current value, pending value and the only admin's, read at the same time. What lags behind is read again: the
    /// current value must be that of the version which the labels name, or an edit would be overlooked.
    async fn read(&self, event: &RotationEvent, deadline: Deadline) -> Result<Reading> {
        let until = deadline.at_most(READ_LAG);
        let read = || async { self.read_once(event, deadline).await };
        Box::pin(
            read.retry(pauses())
                .when(|error: &Error| error.is(Code::CurrentMoved) && !until.remaining().is_zero())
                .adjust(|_, pause| pause.map(|pause| pause.min(until.remaining()))),
        )
        .await
    }

    async fn read_once(&self, event: &RotationEvent, deadline: Deadline) -> Result<Reading> {
        let only_admin = self.target.only_admin().filter(|_| event.step != Step::Finish);
        let admin = async {
            match only_admin {
                Some(arn) => self.secrets.read(arn, CURRENT, None, deadline.at_most(READ_LAG)).await,
                None => Ok(None),
            }
        };
        let (description, current, pending, admin) = Box::pin(async {
            tokio::join!(
                self.secrets.describe(&event.secret, deadline),
                self.secrets.read(&event.secret, CURRENT, None, deadline),
                self.secrets.read(&event.secret, PENDING, Some(&event.token), deadline),
                admin,
            )
        })
        .await;
        let description = description?;
        let stage = stage::judge(&description, &event.token)?;
        let Stage::Pending { current: labelled } = &stage else { return Ok(Reading::Finished) };
        let current = current?.ok_or_else(|| no_current(&event.secret))?;
        if current.version.is_some() && current.version != *labelled {
            return Err(Error::new(
                Code::CurrentMoved,
                format!("AWSCURRENT of {} was moved while it was read.", event.secret),
                "If that was a person's change, it stands; the next try of this rotation starts from it.",
            ));
        }
        let mut job = Job::of_described(description, deadline);
        // `admin::read` asks Secrets Manager again where this failed, and returns that error.
        job.admin = admin.ok().flatten();
        let current = self.target.read(current.text, &format!("the AWSCURRENT value of {}", event.secret), &job)?;
        Ok(Reading::Pending { job: Box::new(job), stage, current: Box::new(current), pending: pending? })
    }

    /// The current and the pending value; `None` where the rotation is over.
    async fn both(
        &self,
        event: &RotationEvent,
        deadline: Deadline,
    ) -> Result<Option<(Box<Job>, Stage, Box<Credential>, Stored)>> {
        Ok(match self.read(event, deadline).await? {
            Reading::Finished => None,
            Reading::Pending { job, stage, current, pending } => {
                let job = Box::new(job.begun());
                let pending = match pending {
                    Some(pending) => pending,
                    None => self.pending_when_visible(event, deadline).await?,
                };
                Some((job, stage, current, pending))
            }
        })
    }

    async fn pending_when_visible(&self, event: &RotationEvent, deadline: Deadline) -> Result<Stored> {
        let (secret, token) = (&event.secret, &event.token);
        let until = deadline.at_most(READ_LAG);
        let read = || async {
            let found = self.secrets.read(secret, PENDING, Some(token), deadline).await.map_err(Some)?;
            found.ok_or(None)
        };
        // `None` stands for "not visible yet".
        let found = read
            .retry(pauses())
            .when(|error: &Option<Error>| error.is_none() && !until.remaining().is_zero())
            .adjust(|_, pause| pause.map(|pause| pause.min(until.remaining())))
            .await;
        found.map_err(|error| {
            error.unwrap_or_else(|| {
                Error::new(
                    Code::PendingHasNoValue,
                    format!(
                        "Version {token} of {secret} is labelled AWSPENDING but holds no value: createSecret has not run for it."
                    ),
                    format!(
                        "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret --secret-id {secret}"
                    ),
                )
            })
        })
    }

    fn parse_pending(&self, event: &RotationEvent, pending: &Stored, job: &Job) -> Result<Credential> {
        let what = format!("the AWSPENDING value of {}", event.secret);
        self.target.read(pending.text.clone(), &what, job).map_err(|error| {
            let is_others = self.target.strategy(job) == Ok(Strategy::Alternating);
            let remedy = format!("{} {}", error.remedy(), clear_pending(event, is_others));
            error.with_remedy(remedy)
        })
    }

    /// The pending value, which is the current one with another credential in it.
    async fn consistent(
        &self,
        event: &RotationEvent,
        job: &Job,
        current: &Credential,
        pending: &Stored,
    ) -> Result<Credential> {
        let pending = self.parse_pending(event, pending, job)?;
        match follows(&self.target, current, &pending, job) {
            Ok(None) => Ok(pending),
            Ok(Some(refusal)) => {
                let refusal = refusal.with_remedy(self.way_out(event, current, &pending, job).await);
                Err(if pending.username() == current.username() { self.unseen(refusal) } else { refusal })
            }
            Err(error) => Err(self.unseen(error)),
        }
    }

    /// With one user for both, the pending password may be the only one that works, whatever the tags say by now. Then it must
    /// not be dropped.
    async fn way_out(&self, event: &RotationEvent, current: &Credential, pending: &Credential, job: &Job) -> String {
        let is_same_user = pending.username() == current.username();
        let is_copy = pending.password().expose_secret() == current.password().expose_secret();
        let may_be_in_force = !is_copy && (is_same_user || self.target.strategy(job) == Ok(Strategy::Fixed));
        let probe = job.until(job.deadline.at_most(PROBE)).begun();
        if may_be_in_force && self.target.prove(pending, &probe).await.is_ok() {
            return keep_pending(&event.secret);
        }
        clear_pending(event, !may_be_in_force)
    }
}

/// What to do with a pending value that does not follow the current one, but logs in.
#[must_use]
pub fn keep_pending(secret: &str) -> String {
    format!(
        "The pending password logs in, and may be the only one that does: do not drop it. Undo what was edited during this rotation, the tags or the value (put the one of before back: aws secretsmanager put-secret-value), let this rotation finish (aws secretsmanager rotate-secret --secret-id {secret}), then edit again."
    )
}

/// What to do with a pending value that leads nowhere. With one user for both, its password may be the one that works.
fn clear_pending(event: &RotationEvent, is_others: bool) -> String {
    let secret = &event.secret;
    let drop = drop_pending(secret, &event.token);
    if is_others {
        return format!("Drop the pending version, then rotate again: {drop}");
    }
    format!(
        "If setSecret has run, the pending password may be the only one that works: look before you drop it (aws secretsmanager get-secret-value --secret-id {secret} --version-stage AWSPENDING). If it logs in, put it into the secret as the current value. Else drop the pending version, then rotate again: {drop}"
    )
}

/// What keeps the pending value from being the current one with another credential in it, without a remedy; `None` where
/// nothing does.
///
/// # Errors
/// What is wrong with the current value or a tag.
pub fn follows<T: Target>(target: &T, current: &Credential, pending: &Credential, job: &Job) -> Result<Option<Error>> {
    let (secret, user) = (&job.secret_arn, pending.username());
    let refusal = |code, says| Ok(Some(Error::new(code, says, "")));
    match target.strategy(job)? {
        Strategy::Alternating if user == current.username() => refusal(
            Code::PendingIsCurrentUser,
            format!(
                "The pending value of {secret} is for user {user:?}, who is in use: labels were moved by hand, the value was copied, or the strategy was changed. Setting it would cut off every client."
            ),
        ),
        Strategy::Fixed if pending.password().expose_secret() == current.password().expose_secret() => refusal(
            Code::PendingIsCurrentPassword,
            format!(
                "The pending value of {secret} has the password that is in use: the value was copied, and nothing would be rotated."
            ),
        ),
        _ => {
            let difference = match target.mismatch(current, pending, job)? {
                None => current.edited_since(pending)?,
                difference => difference,
            };
            difference.map_or(Ok(None), |difference| {
                refusal(
                    Code::PendingMismatch,
                    format!(
                        "The pending value of {secret} does not follow the current one (the current one may have been edited since): {difference}."
                    ),
                )
            })
        }
    }
}

/// The command that ends a rotation whose pending value leads nowhere.
#[must_use]
pub fn drop_pending(secret: &str, token: &str) -> String {
    format!(
        "aws secretsmanager update-secret-version-stage --secret-id {secret} --version-stage AWSPENDING --remove-from-version-id {token}"
    )
}

enum Reading {
    Finished,
    Pending { job: Box<Job>, stage: Stage, current: Box<Credential>, pending: Option<Stored> },
}

fn report(event: &RotationEvent, outcome: Outcome) -> Report {
    Report {
        step: event.step.name(),
        outcome,
        user: None,
        changes: Vec::new(),
        overrides: Vec::new(),
        warnings: Vec::new(),
        next_rotation: None,
    }
}

fn done(event: &RotationEvent, outcome: Outcome, user: &str, job: &Job) -> Report {
    let (user, overrides, warnings) = (Some(user.to_owned()), job.overrides(), job.warnings());
    Report { user, overrides, warnings, ..report(event, outcome) }
}

/// The secret has no value in use.
#[must_use]
pub fn no_current(secret: &str) -> Error {
    Error::new(
        Code::NoCurrentValue,
        format!("{secret} has no value labelled AWSCURRENT."),
        format!(
            "Store a working credential first: aws secretsmanager put-secret-value --secret-id {secret} --secret-string file://secret.json"
        ),
    )
}
