//! Access tokens of OAuth 2.0 client credentials (RFC 6749, 4.4): asked for once, kept until shortly before they end.

use crate::Result;
use crate::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::Mutex;

/// No vendor's word for a longer life is believed.
const LONGEST_SECONDS: i64 = 24 * 60 * 60;

/// A token endpoint's answer (RFC 6749, 5.1).
#[derive(Deserialize)]
pub struct Grant {
    pub access_token: String,
    pub token_type: String,
    /// In seconds.
    pub expires_in: i64,
    /// Granted scopes, apart by spaces; absent where the vendor knows none.
    pub scope: Option<String>,
}

impl Grant {
    /// Those of `wanted` that were not granted: some vendors leave them out without a word.
    #[must_use]
    pub fn missing<'s>(&self, wanted: &[&'s str]) -> Vec<&'s str> {
        let granted: Vec<_> = self.scope.iter().flat_map(|scope| scope.split_whitespace()).collect();
        wanted.iter().filter(|scope| !granted.contains(scope)).copied().collect()
    }
}

/// The one token of one credential. Callers that come while it is being asked for wait for that one request.
pub struct TokenCache<T> {
    /// A token is given up this long before its end, so that none ends on the way.
    early: TimeDelta,
    clock: Clock,
    kept: Mutex<Option<Kept<T>>>,
}

struct Kept<T> {
    token: Arc<T>,
    until: DateTime<Utc>,
}

impl<T> TokenCache<T> {
    #[must_use]
    pub fn new(early: TimeDelta, clock: Clock) -> Self {
        Self { early, clock, kept: Mutex::default() }
    }

    /// The token. `ask` gives a new one and its life in seconds.
    ///
    /// # Errors
    /// What `ask` says; nothing is kept then.
    pub async fn get(&self, ask: impl AsyncFnOnce() -> Result<(T, i64)>) -> Result<Arc<T>> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| self.clock.now() < kept.until) {
            return Ok(Arc::clone(&kept.token));
        }
        let asked_at = self.clock.now();
        let (token, lifetime) = ask().await?;
        let token = Arc::new(token);
        let until = asked_at + TimeDelta::seconds(lifetime.clamp(0, LONGEST_SECONDS)) - self.early;
        *kept = Some(Kept { token: Arc::clone(&token), until });
        Ok(token)
    }

    /// Forgets this token; a newer one stays.
    pub async fn forget(&self, token: &Arc<T>) {
        self.kept.lock().await.take_if(|kept| Arc::ptr_eq(&kept.token, token));
    }

    /// Takes the token out, to be given back.
    pub async fn take(&self) -> Option<Arc<T>> {
        self.kept.lock().await.take().map(|kept| kept.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn cache() -> (TokenCache<i64>, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let hands = Arc::clone(&seconds);
        let clock = Clock::of(move || DateTime::from_timestamp(hands.load(Ordering::SeqCst), 0).unwrap_or_default());
        (TokenCache::new(TimeDelta::minutes(5), clock), seconds)
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_its_end() {
        let (cache, seconds) = cache();
        let ask = async |number, life| *cache.get(async || Ok((number, life))).await.unwrap();
        assert_eq!(ask(1, 3600).await, 1);
        seconds.fetch_add(3299, Ordering::SeqCst);
        assert_eq!(ask(2, 3600).await, 1);
        seconds.fetch_add(1, Ordering::SeqCst);
        assert_eq!(ask(3, i64::MAX).await, 3);
        seconds.fetch_add(LONGEST_SECONDS, Ordering::SeqCst);
        assert_eq!(ask(4, 3600).await, 4);
    }

    #[tokio::test]
    async fn a_newer_token_outlives_the_refusal_of_an_older_one() {
        let (cache, _) = cache();
        let old = cache.get(async || Ok((1, 3600))).await.unwrap();
        cache.forget(&old).await;
        let new = cache.get(async || Ok((2, 3600))).await.unwrap();
        cache.forget(&old).await;
        assert_eq!(*cache.get(async || Ok((3, 3600))).await.unwrap(), *new);
        assert_eq!(cache.take().await.as_deref(), Some(&2));
        assert_eq!(*cache.get(async || Ok((4, 3600))).await.unwrap(), 4);
    }

    #[test]
    fn scopes_that_were_left_out_are_named() {
        let grant = |scope: &str| Grant {
            access_token: String::new(),
            token_type: String::new(),
            expires_in: 0,
            scope: Some(scope.to_owned()),
        };
        assert_eq!(grant("b  a x").missing(&["a", "b"]), [""; 0]);
        assert_eq!(grant("a").missing(&["a", "b"]), ["b"]);
    }
}
