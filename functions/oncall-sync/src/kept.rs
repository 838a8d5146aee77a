//! A vendor's credential, read from Secrets Manager, kept for at most five minutes, and read anew when it is refused.

use crate::audit;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock::Clock;
use keyturn::http::Client;
use keyturn::secrets::{CURRENT, Secrets};
use keyturn::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

const AT_MOST: TimeDelta = TimeDelta::minutes(5);
/// How long reading it again may take, and how long after a failure that is not tried once more: everybody waits for it.
const AGAIN: Duration = Duration::from_secs(2);
const NOT_BEFORE: TimeDelta = TimeDelta::minutes(1);

/// What a secret's text is read into: an account at a vendor, with whatever tokens it was given meanwhile.
type Parse<T> = Box<dyn Fn(&SecretString, &Client, &Clock) -> Result<T> + Send + Sync>;

/// What every credential is read from and used with.
#[derive(Clone)]
pub struct Means {
    /// Where secrets are.
    pub secrets: Secrets,
    /// The connections to all vendors.
    pub client: Client,
    /// What credentials age by.
    pub clock: Clock,
}

/// The one credential for one vendor.
pub struct Kept<T> {
    means: Means,
    secret_id: String,
    parse: Parse<T>,
    current: Mutex<Option<Current<T>>>,
}

struct Current<T> {
    read_at: DateTime<Utc>,
    text: SecretString,
    account: Arc<T>,
}

fn late(secret_id: &str) -> Error {
    Error::new(
        "OUT_OF_TIME",
        format!("The secret {secret_id} was still being read when the time was up."),
        "The next tick tries again by itself.",
    )
}

impl<T> Kept<T> {
    /// The credential in the secret `secret_id`, to be read when it is first needed.
    pub fn new(
        means: &Means,
        secret_id: &str,
        parse: impl Fn(&SecretString, &Client, &Clock) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self {
            means: means.clone(),
            secret_id: secret_id.to_owned(),
            parse: Box::new(parse),
            current: Mutex::default(),
        }
    }

    /// The account. Whoever comes while it is being read waits for that one reading.
    ///
    /// # Errors
    /// `CREDENTIAL_MISSING`, what reading a secret can say, and what `parse` says of its text.
    pub async fn get(&self, deadline: Deadline) -> Result<Arc<T>> {
        let mut current = deadline.bound(self.current.lock()).await.map_err(|_| late(&self.secret_id))?;
        // The wall clock goes on while Lambda freezes the process.
        let now = self.means.clock.now();
        if let Some(current) = current.as_ref().filter(|current| now - current.read_at < AT_MOST) {
            return Ok(Arc::clone(&current.account));
        }
        // Boxed: the SDK's future is large, and every call to a vendor holds this one.
        let patience = if current.is_some() { deadline.at_most(AGAIN) } else { deadline };
        let stored = Box::pin(self.means.secrets.read(&self.secret_id, CURRENT, None, patience)).await;
        if let (Err(error), Some(old)) = (&stored, current.as_mut()) {
            // Whoever's time is up must leave though Secrets Manager fails; a credential that is wrong says so by itself.
            audit::credential_is_old(&self.secret_id, error);
            old.read_at = now - AT_MOST + NOT_BEFORE;
            return Ok(Arc::clone(&old.account));
        }
        let stored = stored?.ok_or_else(|| {
            Error::new(
                "CREDENTIAL_MISSING",
                format!("The secret {} does not exist or has no AWSCURRENT value.", self.secret_id),
                format!("Store the credential: aws secretsmanager put-secret-value --secret-id {} --secret-string file://credential.json", self.secret_id),
            )
        })?;
        let account = match current.take() {
            // The same text: its tokens are still good.
            Some(old) if old.text.expose_secret() == stored.text.expose_secret() => old.account,
            _ => Arc::new((self.parse)(&stored.text, &self.means.client, &self.means.clock)?),
        };
        *current = Some(Current { read_at: now, text: stored.text, account: Arc::clone(&account) });
        Ok(account)
    }

    /// Gives `refused` up: the next [`Kept::get`] reads the secret again. Of many who were refused at once, one causes that.
    pub async fn forget(&self, refused: &Arc<T>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.account, refused)) {
            *current = None;
        }
    }
}
