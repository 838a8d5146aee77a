//! An account at a vendor: its credential is read from Secrets Manager every five minutes, and when the vendor refuses it.
//! One that works stays in use for as long as the secret brings no other that works.

use crate::clock::Clock;
use crate::codes::Code;
use crate::http::Client;
use crate::secrets::{CURRENT, Secrets, Stored};
use crate::{Deadline, Error, Result};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// Requests to one vendor at a time: enough for oncall-sync to read 200 bindings in every tick at 0.7 s an answer, and far
/// below the 35 that Okta takes at once in a free org (75 in others; developer.okta.com/docs/reference/rl2-concurrency).
pub const AT_ONCE: usize = 12;

const KEPT_FOR: TimeDelta = TimeDelta::minutes(5);
/// How long reading a secret again may take: every call to the vendor waits for it.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// How long after a failure it is not tried once more.
const NOT_BEFORE: TimeDelta = TimeDelta::minutes(1);

/// Reads a secret's text into an account at a vendor, which also holds the tokens that it is given later.
type Parse<T> = Box<dyn Fn(&SecretString, &Client, &Clock) -> Result<T> + Send + Sync>;

/// What every vendor's client is built from.
#[derive(Clone)]
pub struct Clients {
    pub secrets: Secrets,
    pub http: Client,
    pub clock: Clock,
}

/// The one account at one vendor.
pub struct Vendor<T> {
    clients: Clients,
    secret_id: String,
    parse: Parse<T>,
    current: Mutex<Option<Current<T>>>,
    in_flight: Semaphore,
}

struct Current<T> {
    /// When the secret is read again.
    read_again: DateTime<Utc>,
    /// The vendor did not take the credential, or not what it was given for it.
    refused: bool,
    /// Why it is not the one in the secret.
    problem: Option<Error>,
    text: SecretString,
    account: Arc<T>,
    /// The one that was in use when the secret brought this one, until a call with this one has worked.
    before: Option<(SecretString, Arc<T>)>,
}

/// What the outcome of a call says of the credential.
pub enum Proof {
    /// The vendor took it.
    Works,
    /// The vendor takes it for nothing.
    Refused(Error),
    /// Another one might have fared better: one of the right host, or with more rights.
    Fault(Error),
    /// Nothing: another one would have heard the same.
    None,
}

/// What to try where a call with an account failed.
enum Rival<T> {
    Nobody,
    /// The account from before.
    Before(Arc<T>),
    /// The account in use, which has replaced this one meanwhile.
    InUse,
}

impl<T> Vendor<T> {
    /// The account whose credential is in the secret `secret_id`, which is read when it is first needed.
    pub fn new(
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

    /// Makes a call with the account. Where `judge` finds a fault in the credential, the call is made once more:
    ///
    /// | the credential | once more with |
    /// |---|---|
    /// | new in the secret, and no call with it has worked | the one from before; where that works, it stays in use |
    /// | replaced by another call meanwhile | the one in use |
    /// | refused | the secret read again, since it may have been replaced |
    pub async fn call<R>(
        &self,
        deadline: Deadline,
        judge: impl Fn(&Result<R>) -> Proof,
        call: impl AsyncFn(&T) -> Result<R>,
    ) -> Result<R> {
        let _permit = deadline.bound(self.in_flight.acquire()).await.map_err(|_| self.late())?;
        let account = self.account(deadline).await?;
        let outcome = call(&account).await;
        let (why, is_refused) = match judge(&outcome) {
            Proof::Works => {
                self.keep(&account);
                return outcome;
            }
            Proof::None => return outcome,
            Proof::Refused(why) => (why, true),
            Proof::Fault(why) => (why, false),
        };
        match self.rival(&account).await {
            Rival::Before(before) => {
                let other = call(&before).await;
                match judge(&other) {
                    Proof::Works => {
                        self.go_back(&account, &why).await;
                        return other;
                    }
                    Proof::Refused(_) => self.keep(&account),
                    Proof::Fault(_) | Proof::None => {}
                }
                if !is_refused {
                    return outcome;
                }
                self.refuse(&account).await;
            }
            Rival::InUse => {}
            Rival::Nobody if is_refused => self.refuse(&account).await,
            Rival::Nobody => return outcome,
        }
        let outcome = call(&*self.account(deadline).await?).await;
        match (judge(&outcome), self.problem().await) {
            (Proof::Refused(_), Some(problem)) => Err(problem),
            _ => outcome,
        }
    }

    /// The account. Callers that come while the secret is being read wait for that one reading.
    ///
    /// # Errors
    /// `CREDENTIAL_MISSING`, what reading a secret can say, and what `parse` says of its text; none of them once there is an
    /// account, which stays in use with a warning.
    pub async fn account(&self, deadline: Deadline) -> Result<Arc<T>> {
        let mut current = deadline.bound(self.current.lock()).await.map_err(|_| self.late())?;
        // The wall clock goes on while Lambda freezes the process.
        let now = self.clients.clock.now();
        if let Some(current) = current.as_ref().filter(|current| !current.refused && now < current.read_again) {
            return Ok(Arc::clone(&current.account));
        }
        let patience = if current.is_some() { deadline.at_most(READ_AGAIN) } else { deadline };
        // Boxed: the SDK's future is large, and every call to a vendor holds this one.
        let stored = Box::pin(self.clients.secrets.read(&self.secret_id, CURRENT, None, patience)).await;
        let next = match (self.read(stored, current.as_ref()), current.take()) {
            (Ok((text, account)), old) => {
                let before = old.and_then(|old| {
                    let is_new = !old.refused && !Arc::ptr_eq(&old.account, &account);
                    old.before.or_else(|| is_new.then_some((old.text, old.account)))
                });
                Current { read_again: now + KEPT_FOR, refused: false, problem: None, text, account, before }
            }
            (Err(error), None) => return Err(error),
            // People must leave in time though Secrets Manager fails, or somebody stored a slip of the pen.
            (Err(error), Some(old)) => {
                self.keeps_the_old(&error);
                let account = if old.refused { self.parse(&old.text)? } else { old.account };
                Current { read_again: now + NOT_BEFORE, refused: false, problem: Some(error), account, ..old }
            }
        };
        Ok(Arc::clone(&current.insert(next).account))
    }

    /// Whether a call works with the credential that is stored in the secret now.
    ///
    /// # Errors
    /// As for [`Vendor::account`] and of the call, although another credential may be in use.
    pub async fn check<R>(
        &self,
        deadline: Deadline,
        judge: impl Fn(&Result<R>) -> Proof,
        call: impl AsyncFn(&T) -> Result<R>,
    ) -> Result<R> {
        let account = self.account(deadline).await?;
        self.doubt(&account).await;
        let outcome = self.call(deadline, judge, call).await;
        self.problem().await.map_or(outcome, Err)
    }

    /// Why the credential in use is not the one in the secret, where it is not.
    pub async fn problem(&self) -> Option<Error> {
        self.current.lock().await.as_ref()?.problem.clone()
    }

    /// A call with this account has worked, or the one from before is refused: there is nothing to go back to.
    fn keep(&self, works: &Arc<T>) {
        // Another call holds the lock: a later one comes here, too.
        let Ok(mut current) = self.current.try_lock() else { return };
        if let Some(current) = current.as_mut().filter(|held| Arc::ptr_eq(&held.account, works)) {
            current.before = None;
        }
    }

    async fn rival(&self, failed: &Arc<T>) -> Rival<T> {
        match self.current.lock().await.as_ref() {
            Some(current) if !Arc::ptr_eq(&current.account, failed) => Rival::InUse,
            Some(Current { before: Some((_, account)), .. }) => Rival::Before(Arc::clone(account)),
            _ => Rival::Nobody,
        }
    }

    /// The account from before works where this one failed. The secret is read again soon, and its credential tried again.
    async fn go_back(&self, failed: &Arc<T>, why: &Error) {
        let mut current = self.current.lock().await;
        let Some(current) = current.as_mut().filter(|held| Arc::ptr_eq(&held.account, failed)) else { return };
        let Some((text, account)) = current.before.take() else { return };
        self.keeps_the_old(why);
        let read_again = self.clients.clock.now() + NOT_BEFORE;
        *current = Current { read_again, refused: false, problem: Some(why.clone()), text, account, before: None };
    }

    /// The vendor refused this account: the next [`Vendor::account`] reads the secret again and makes another one, with new
    /// tokens. Of many calls that were refused at once, one causes that.
    async fn refuse(&self, refused: &Arc<T>) {
        if let Some(current) = self.current.lock().await.as_mut().filter(|held| Arc::ptr_eq(&held.account, refused)) {
            current.refused = true;
        }
    }

    /// A call with this account failed, for whatever reason: the next [`Vendor::account`] reads the secret again, which may
    /// have been replaced.
    pub async fn doubt(&self, doubted: &Arc<T>) {
        if let Some(current) = self.current.lock().await.as_mut().filter(|held| Arc::ptr_eq(&held.account, doubted)) {
            current.read_again = DateTime::UNIX_EPOCH;
        }
    }

    /// The account of what is stored, which is the one in use where the text is the same: its tokens are still good.
    fn read(&self, stored: Result<Option<Stored>>, old: Option<&Current<T>>) -> Result<(SecretString, Arc<T>)> {
        let text = stored?.ok_or_else(|| self.missing())?.text;
        let same = old.filter(|old| !old.refused && old.text.expose_secret() == text.expose_secret());
        let account = same.map_or_else(|| self.parse(&text), |old| Ok(Arc::clone(&old.account)))?;
        Ok((text, account))
    }

    fn parse(&self, text: &SecretString) -> Result<Arc<T>> {
        (self.parse)(text, &self.clients.http, &self.clients.clock).map(Arc::new)
    }

    fn keeps_the_old(&self, error: &Error) {
        tracing::warn!(
            code = error.code(),
            secret_id = self.secret_id,
            remedy = error.remedy(),
            "The secret {} brought no credential that works, so the one from before is used. {}",
            self.secret_id,
            error.message()
        );
    }

    fn late(&self) -> Error {
        Error::new(
            Code::OutOfTime,
            format!("The time was up before a call could be made with the secret {}.", self.secret_id),
            "The next tick tries again by itself.",
        )
    }

    fn missing(&self) -> Error {
        let id = &self.secret_id;
        Error::new(
            Code::CredentialMissing,
            format!("The secret {id} does not exist or has no AWSCURRENT value."),
            format!(
                "If it was deleted: aws secretsmanager restore-secret --secret-id {id}. Else correct the setting that names it, or store it with infra/examples/secrets/create.sh, and name its ARN in the stack's parameters."
            ),
        )
    }
}
