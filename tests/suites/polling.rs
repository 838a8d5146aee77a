//! Waiting for what happens at its own time.

use std::time::{Duration, Instant};

/// Waits until it is so, for at most a minute: a machine may be busy with many tests.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !so().await {
        assert!(started.elapsed() < Duration::from_mins(1), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
