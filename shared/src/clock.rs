//! The wall clock, for time stamps. Durations are measured with `tokio::time::Instant`, deadlines are [`crate::Deadline`]s.

use chrono::{DateTime, Utc};

/// This instant.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
