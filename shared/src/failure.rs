//! Failures at a database: what each means for going on, and how long passing ones are tried again.

use crate::codes::{Code, DeclaredCode};
use crate::{Deadline, Error};
use backon::{ExponentialBuilder, Retryable as _};
use std::fmt::Display;
use std::time::Duration;

/// How long passing failures are tried again within one invocation; after that, Secrets Manager does it.
pub const RETRY_FOR: Duration = Duration::from_secs(5);

/// How long the last of those tries may take: with it, even a network that answers late is reported in under 15 s.
const LAST_TRY: Duration = Duration::from_secs(7);

/// What a failure means for going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server answered, and refused this user's password. Nothing else ever means that.
    PasswordRefused,
    /// The server accepted the password, and then did not let this user in.
    PasswordAccepted,
    /// The server answered, and did not let this user in for another reason than the password, which it may not have looked at.
    LoginRefused,
    /// The same attempt may succeed in a moment.
    Transient,
    /// It will fail again until somebody changes something.
    Permanent,
}

/// A failure at a database.
#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: Kind,
    pub error: Error,
}

/// Shorthand for results with [`Failure`].
pub type Attempt<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(kind: Kind, code: impl DeclaredCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, error: Error::new(code, message, remedy) }
    }

    pub fn transient(code: impl DeclaredCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Transient, code, message, remedy)
    }

    pub fn permanent(code: impl DeclaredCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Permanent, code, message, remedy)
    }

    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { kind: Kind::Permanent, error }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Makes an attempt, and again while its failure is a `passing` one. No try begins after `patience`, and none ends much
/// later; `attempt` takes the deadline of each try.
///
/// # Errors
/// The last failure.
pub async fn retry<T, E>(
    deadline: Deadline,
    patience: Duration,
    passing: impl Fn(&E) -> bool,
    attempt: impl AsyncFn(Deadline) -> Result<T, E>,
) -> Result<T, E> {
    let (tries_end, all_ends) = (deadline.at_most(patience), deadline.at_most(patience + LAST_TRY));
    (|| attempt(all_ends))
        .retry(pauses())
        .when(|failure| passing(failure))
        // No pause reaches past the end: the last failure says more than that the time is up.
        .adjust(|_, pause| pause.filter(|pause| *pause < tries_end.remaining()))
        .await
}

/// Doubling pauses with jitter, from 100 ms to 1 s, without an end of their own.
#[must_use]
pub fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
}

/// The host's name has no address; `why` is the resolver's word, `remedy` says what to correct.
pub fn no_address(host: &impl Display, why: &str, remedy: &str) -> Failure {
    // The resolver is down: that says nothing about the name.
    if why.contains("Temporary failure") {
        return Failure::transient(
            Code::DatabaseUnreachable,
            format!("{host} cannot be looked up now (DNS lookup): {why}."),
            "Check the VPC's DNS (enableDnsSupport, the resolver's rules).",
        );
    }
    Failure::permanent(Code::DatabaseHostUnknown, format!("Host {host} has no address (DNS lookup): {why}."), remedy)
}

/// There is no time left to try.
pub fn out_of_time(server: &impl Display) -> Failure {
    Failure::permanent(
        Code::OutOfTime,
        format!("The invocation's time was nearly up before {server} could be connected to."),
        "Give the function a timeout of 30 s or more; Secrets Manager tries the rotation again by itself.",
    )
}

/// The deepest cause of an error, as text.
#[must_use]
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Text from elsewhere, made fit for a message: one line, of at most 200 characters, that ends without a full stop.
#[must_use]
pub fn words(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_is_tried_again_until_patience_ends_and_another_is_not() {
        let tries = Cell::new(0);
        let failing = |kind| {
            tries.set(0);
            let count = &tries;
            let attempt = async move |_| {
                count.set(count.get() + 1);
                Err::<(), _>(Failure::new(kind, Code::DatabaseBusy, "busy", ""))
            };
            retry(Deadline::after(Duration::from_mins(1)), RETRY_FOR, Failure::is_transient, attempt)
        };
        let started = tokio::time::Instant::now();
        assert!(failing(Kind::Transient).await.is_err());
        assert!(tries.get() >= 5 && started.elapsed() <= RETRY_FOR + Duration::from_secs(1), "{} tries", tries.get());
        assert!(failing(Kind::Permanent).await.is_err());
        assert_eq!(tries.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn near_the_deadline_no_pause_reaches_past_it_and_the_failure_is_told() {
        let limit = Duration::from_millis(300);
        let started = tokio::time::Instant::now();
        let attempt = async |_| Err::<(), _>(Failure::transient(Code::DatabaseBusy, "busy", ""));
        let failed = retry(Deadline::after(limit), RETRY_FOR, Failure::is_transient, attempt).await.unwrap_err();
        assert_eq!(failed.error.code(), "DATABASE_BUSY");
        assert!(started.elapsed() < limit, "{:?}", started.elapsed());
    }

    #[test]
    fn a_resolver_that_is_down_says_nothing_about_the_name() {
        assert_eq!(no_address(&"db:1", "Temporary failure in name resolution", "").kind, Kind::Transient);
        let unknown = no_address(&"db:1", "Name or service not known", "");
        assert_eq!((unknown.kind, unknown.error.code()), (Kind::Permanent, "DATABASE_HOST_UNKNOWN"));
    }

    #[test]
    fn words_of_others_are_one_short_line() {
        assert_eq!(words("a\nb\u{1b}[31m."), "a b [31m");
        assert_eq!(words(&"x".repeat(1000)).len(), 200);
    }
}
