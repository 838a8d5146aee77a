//! The wall clock, for time stamps. Durations are measured with `tokio::time::Instant`, deadlines are [`crate::Deadline`]s.

use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt;
use std::sync::Arc;

#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// As RFC 3339 has it, in whole seconds: `2026-11-29T12:34:56Z`.
#[must_use]
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A wall clock to be handed to whoever decides by it, so that tests can turn its hands.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    #[must_use]
    pub fn system() -> Self {
        Self::of(now)
    }

    /// One that shows what `read` gives.
    pub fn of(read: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
