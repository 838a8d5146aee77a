//! When an invocation has to be over, as a value that every external call takes.

use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

/// Kept back from Lambda's own deadline, so that there is time to say what was going on.
const MARGIN: Duration = Duration::from_secs(1);

/// `cargo lambda watch` states every deadline as ten minutes after the beginning of 1970: none, in effect.
const LONG_AGO: Duration = Duration::from_hours(24);
const UNSTATED: Duration = Duration::from_secs(30);

/// The instant by which a call must have answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

/// The deadline passed while a call was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// From the end of the invocation as Lambda states it, less a margin of one second to report in.
    #[must_use]
    pub fn of_invocation(end: SystemTime, now: SystemTime) -> Self {
        let left = match end.duration_since(now) {
            Err(past) if past.duration() > LONG_AGO => UNSTATED,
            left => left.unwrap_or_default(),
        };
        Self::after(left.saturating_sub(MARGIN))
    }

    /// The sooner of this deadline and `limit` from now.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self(self.0.min(Instant::now() + limit))
    }

    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Waits for `call`, but not past the deadline.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline came first; the call is dropped then.
    pub async fn bound<T>(self, call: impl Future<Output = T>) -> Result<T, Elapsed> {
        timeout_at(self.0, call).await.map_err(|_| Elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn leaves_a_second_to_report_in() {
        let now = SystemTime::UNIX_EPOCH;
        let deadline = Deadline::of_invocation(now + Duration::from_secs(30), now);
        assert_eq!(deadline.remaining(), Duration::from_secs(29));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_in_the_past_leaves_nothing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(1);
        assert_eq!(Deadline::of_invocation(SystemTime::UNIX_EPOCH, now).remaining(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_at_the_beginning_of_1970_is_none() {
        let stated = SystemTime::UNIX_EPOCH + Duration::from_mins(10);
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(480_000);
        assert_eq!(Deadline::of_invocation(stated, now).remaining(), Duration::from_secs(29));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_ends_at_the_deadline() {
        let deadline = Deadline::after(Duration::from_mins(1)).at_most(Duration::from_secs(5));
        assert_eq!(deadline.bound(std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(deadline.remaining(), Duration::ZERO);
    }
}
