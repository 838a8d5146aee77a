//! Waiting for what happens at its own time.

use std::time::{Duration, Instant};

/// Waits until it is so, for at most ten seconds.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !so().await {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
