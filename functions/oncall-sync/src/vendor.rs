//! An account at a vendor: its credential is read from Secrets Manager, kept for at most five minutes, and read anew when the
//! vendor refuses it.

use crate::codes::Code;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock::Clock;
use keyturn::codes::Code as Core;
use keyturn::http::Client;
use keyturn::secrets::{CURRENT, Secrets};
use keyturn::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// Requests to one vendor at a time: far below both vendors' limits, and enough for 200 bindings in a few seconds.
pub(crate) const AT_ONCE: usize = 8;

const KEPT_FOR: TimeDelta = TimeDelta::minutes(5);
/// How long reading a secret again may take: every call to the vendor waits for it.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// How long after a failure it is not tried once more.
const NOT_BEFORE: TimeDelta = TimeDelta::minutes(1);

/// Reads a secret's text into an account at a vendor, which also holds the tokens that it is given later.
type Parse<T> = Box<dyn Fn(&SecretString, &Client, &Clock) -> Result<T> + Send + Sync>;

/// What every vendor's client is built from.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) secrets: Secrets,
    pub(crate) http: Client,
    pub(crate) clock: Clock,
}

/// The one account at one vendor.
pub(crate) struct Vendor<T> {
    clients: Clients,
    secret_id: String,
    parse: Parse<T>,
    current: Mutex<Option<Current<T>>>,
    in_flight: Semaphore,
}

struct Current<T> {
    read_at: DateTime<Utc>,
    text: SecretString,
    account: Arc<T>,
}

impl<T> Vendor<T> {
    /// The account whose credential is in the secret `secret_id`, which is read when it is first needed.
    pub(crate) fn new(
        clients: &Clients,
        secret_id: &str,
        parse: impl Fn(&SecretString, &Client, &Clock) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self {
            clients: clients.clone(),
            secret_id: secret_id.to_owned(),
            parse: Box::new(parse),
            current: Mutex::default(),
            in_flight: Semaphore::new(AT_ONCE),
        }
    }

    /// Makes a call with the account; once more with the secret read anew where `is_refused` says that the vendor did not
    /// take the credential, since it may have been replaced.
    pub(crate) async fn call<R>(
        &self,
        deadline: Deadline,
        is_refused: impl Fn(&Result<R>) -> bool,
        call: impl AsyncFn(&T) -> Result<R>,
    ) -> Result<R> {
        // Each call holds one permit and releases it at the deadline.
        let _permit = self.in_flight.acquire().await;
        let account = self.account(deadline).await?;
        let outcome = call(&account).await;
        if !is_refused(&outcome) {
            return outcome;
        }
        self.forget(&account).await;
        call(&*self.account(deadline).await?).await
    }

    /// The account. Callers that come while the secret is being read wait for that one reading.
    ///
    /// # Errors
    /// `CREDENTIAL_MISSING`, what reading a secret can say, and what `parse` says of its text.
    pub(crate) async fn account(&self, deadline: Deadline) -> Result<Arc<T>> {
        let mut current = deadline.bound(self.current.lock()).await.map_err(|_| self.late())?;
        // The wall clock goes on while Lambda freezes the process.
        let now = self.clients.clock.now();
        if let Some(current) = current.as_ref().filter(|current| now - current.read_at < KEPT_FOR) {
            return Ok(Arc::clone(&current.account));
        }
        let patience = if current.is_some() { deadline.at_most(READ_AGAIN) } else { deadline };
        // Boxed: the SDK's future is large, and every call to a vendor holds this one.
        let stored = Box::pin(self.clients.secrets.read(&self.secret_id, CURRENT, None, patience)).await;
        if let (Err(error), Some(old)) = (&stored, current.as_mut()) {
            // People must leave in time though Secrets Manager fails; the vendor refuses a credential that is out of date.
            self.keeps_the_old(error);
            old.read_at = now - KEPT_FOR + NOT_BEFORE;
            return Ok(Arc::clone(&old.account));
        }
        let stored = stored?.ok_or_else(|| self.missing())?;
        let account = match current.take() {
            // The same text: its tokens are still good.
            Some(old) if old.text.expose_secret() == stored.text.expose_secret() => old.account,
            _ => Arc::new((self.parse)(&stored.text, &self.clients.http, &self.clients.clock)?),
        };
        *current = Some(Current { read_at: now, text: stored.text, account: Arc::clone(&account) });
        Ok(account)
    }

    /// Forgets an account that was refused: the next [`Vendor::account`] reads the secret again. Of many calls that were
    /// refused at once, one causes that.
    pub(crate) async fn forget(&self, refused: &Arc<T>) {
        self.current.lock().await.take_if(|current| Arc::ptr_eq(&current.account, refused));
    }

    fn keeps_the_old(&self, error: &Error) {
        tracing::warn!(
            code = error.code(),
            secret_id = self.secret_id,
            remedy = error.remedy(),
            "The secret {} was not read again, so the credential from before is used. {}",
            self.secret_id,
            error.message()
        );
    }

    fn late(&self) -> Error {
        Error::new(
            Core::OutOfTime,
            format!("The secret {} was still being read when the time was up.", self.secret_id),
            "The next tick tries again by itself.",
        )
    }

    fn missing(&self) -> Error {
        let id = &self.secret_id;
        Error::new(
            Code::CredentialMissing,
            format!("The secret {id} does not exist or has no AWSCURRENT value."),
            format!(
                "Store the credential: aws secretsmanager put-secret-value --secret-id {id} --secret-string file://credential.json"
            ),
        )
    }
}
