//! Secrets Manager, as strict as the real one and with the real one's rotation: an emulator with state.
//!
//! It is served over HTTP by [`crate::aws::Aws`]; this is the handle by which a test looks at it and sets it up.

mod api;
mod rotate;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, anyhow};
use rand::distr::{Alphanumeric, SampleString as _};
use tokio::task::JoinSet;

pub(crate) use api::Asker;
pub use rotate::{Attempt, RotationOutcome, StepRun};

use crate::aws_json::{ACCOUNT, Failure, REGION, uuid};
use state::{CURRENT, Replica, Rotation, RotationRules, Secret, SecretValue, State};

/// A handle to the emulator. Clones are handles to the same one.
#[derive(Clone)]
pub struct SecretsManager {
    state: Arc<Mutex<State>>,
    background: Arc<Mutex<JoinSet<()>>>,
    client: reqwest::Client,
}

impl SecretsManager {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let state = State { secrets: Vec::new(), functions: HashMap::new(), lag_pending: 0, stale: None, attempts: 3 };
        let client = keyturn::http::client()?;
        Ok(Self { state: Arc::new(Mutex::new(state)), background: Arc::default(), client })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn background(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the rotations that nobody waits for.
    pub(crate) fn stop(&self) {
        self.background().abort_all();
    }

    /// Creates a secret with this text (JSON, as a rule) as its current value, and gives back its ARN.
    pub fn create(&self, name: &str, text: &str) -> anyhow::Result<String> {
        self.create_as(name, &new_suffix(), text)
    }

    /// Creates a secret whose ARN ends in this suffix, so that an event file can name it.
    pub fn create_as(&self, name: &str, suffix: &str, text: &str) -> anyhow::Result<String> {
        let mut secret = Secret::new(name, suffix);
        let (arn, version) = (secret.arn.clone(), uuid());
        secret.add_version(&version, Some(SecretValue::Text(text.to_owned())));
        secret.attach(CURRENT, &version);
        let mut state = self.state();
        anyhow::ensure!(state.find(name).is_err(), "secret {name} exists already");
        state.secrets.push(secret);
        Ok(arn)
    }

    /// The labels of every version that has any, by version id.
    pub fn stages(&self, secret: &str) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
        self.with(secret, |secret| {
            let labelled = secret.versions.iter().filter(|version| !version.stages.is_empty());
            labelled.map(|version| (version.id.clone(), version.stages.iter().cloned().collect())).collect()
        })
    }

    /// The id of the version that has this label.
    pub fn version(&self, secret: &str, label: &str) -> anyhow::Result<Option<String>> {
        self.with(secret, |secret| secret.labelled(label).map(|version| version.id.clone()))
    }

    /// The text of the version that has this label, if there is such a version and it has a text.
    pub fn value(&self, secret: &str, label: &str) -> anyhow::Result<Option<String>> {
        self.with(secret, |secret| match secret.labelled(label)?.value.as_ref()? {
            SecretValue::Text(text) => Some(text.clone()),
            SecretValue::Binary(_) => None,
        })
    }

    /// Stages a pending version without a value, as the beginning of a rotation does, and drives nothing.
    pub fn stage_pending(&self, secret: &str, token: &str) -> anyhow::Result<()> {
        self.with(secret, |secret| secret.stage_pending(token, None))?.map_err(|failure| refused(&failure))
    }

    /// The full ARN of the secret of this name.
    pub fn arn(&self, name: &str) -> anyhow::Result<String> {
        self.with(name, |secret| secret.arn.clone())
    }

    pub fn tag(&self, secret: &str, key: &str, value: &str) -> anyhow::Result<()> {
        self.with(secret, |secret| secret.tags.insert(key.to_owned(), value.to_owned())).map(drop)
    }

    /// Has a secret rotated by the function at this URL of Lambda's invoke API
    /// (`http://host:port/2015-03-31/functions/{name}/invocations`).
    pub fn set_rotation(&self, secret: &str, invoke_url: &str) -> anyhow::Result<()> {
        let name = invoke_url
            .strip_suffix("/invocations")
            .and_then(|url| url.rsplit('/').next())
            .with_context(|| format!("{invoke_url} is no invoke URL"))?;
        let lambda_arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
        self.state().functions.insert(lambda_arn.clone(), invoke_url.to_owned());
        self.with(secret, |secret| secret.rotation = Some(Rotation { enabled: true, lambda_arn, rules: None }))
    }

    /// The last rotation of a secret ended so many days ago.
    pub fn rotated_days_ago(&self, secret: &str, days: u16) -> anyhow::Result<()> {
        self.with(secret, |secret| secret.rotated = Some(crate::aws_json::epoch_seconds() - 86_400.0 * f64::from(days)))
    }

    /// A function of this ARN is there, and is invoked at this URL.
    pub fn know_function(&self, lambda_arn: &str, invoke_url: &str) {
        self.state().functions.insert(lambda_arn.to_owned(), invoke_url.to_owned());
    }

    /// The function that a secret is rotated by, if any.
    pub fn rotated_by(&self, secret: &str) -> anyhow::Result<Option<String>> {
        self.with(secret, |secret| secret.rotation.as_ref().map(|rotation| rotation.lambda_arn.clone()))
    }

    /// Turns the rotation of a secret off: `DescribeSecret` says `RotationEnabled: false` from now on.
    pub fn cancel_rotation(&self, secret: &str) -> anyhow::Result<()> {
        self.with(secret, |secret| secret.rotation.as_mut().map(|rotation| rotation.enabled = false))?
            .with_context(|| format!("{secret} has no rotation"))
    }

    /// Rotates a secret across accounts from now on: events carry the `RotationToken` given back here, and
    /// `PutSecretValue` of the pending version has to show it.
    pub fn rotate_across_accounts(&self, secret: &str) -> anyhow::Result<String> {
        let token = uuid();
        self.with(secret, |secret| secret.rotation_token = Some(token.clone()))?;
        Ok(token)
    }

    /// Has a secret rotated every so many days, as `DescribeSecret` says it of any schedule.
    pub fn every_days(&self, secret: &str, days: u16) -> anyhow::Result<()> {
        self.with(secret, |secret| {
            if let Some(rotation) = &mut secret.rotation {
                rotation.rules =
                    Some(RotationRules { automatically_after_days: Some(days), ..RotationRules::default() });
            }
        })
    }

    /// Has a secret copied to another region. After each change, the next `lag` descriptions find the copy under way.
    pub fn replicate(&self, secret: &str, region: &str, lag: usize) -> anyhow::Result<()> {
        let (region, status) = (region.to_owned(), Replica::IN_SYNC);
        let replica = Replica { region, status, status_message: None, lag, behind: 0 };
        self.with(secret, |secret| secret.replicas.push(replica))
    }

    /// The copy to this region fails from now on, for this reason; or, without one, is up to date again.
    pub fn fail_replica(&self, secret: &str, region: &str, why: Option<&str>) -> anyhow::Result<()> {
        self.with(secret, |secret| {
            for replica in secret.replicas.iter_mut().filter(|replica| replica.region == region) {
                replica.status = if why.is_some() { Replica::FAILED } else { Replica::IN_SYNC };
                replica.status_message = why.map(str::to_owned);
            }
        })
    }

    /// Makes a secret a replica of one in another region: it can be read, and not changed.
    pub fn make_replica_of(&self, secret: &str, region: &str) -> anyhow::Result<()> {
        self.with(secret, |secret| secret.primary_region = Some(region.to_owned()))
    }

    /// Lets the function's next `n` reads of a pending value come too early: not found, though it was put.
    pub fn lag_pending(&self, n: usize) {
        self.state().lag_pending = n;
    }

    /// Lets the function's next read of a secret's current value give this text, as if it came just before a write.
    pub fn read_before_write(&self, secret: &str, text: &str) -> anyhow::Result<()> {
        let arn = self.arn(secret)?;
        self.state().stale = Some((arn, text.to_owned()));
        Ok(())
    }

    /// How often a rotation is tried as a whole; 3 unless said otherwise.
    pub fn set_attempts(&self, attempts: usize) {
        self.state().attempts = attempts.max(1);
    }

    fn with<T>(&self, secret: &str, look: impl FnOnce(&mut Secret) -> T) -> anyhow::Result<T> {
        self.state().find(secret).map(look).map_err(|failure| refused(&failure).context(format!("secret {secret}")))
    }
}

fn refused(failure: &Failure) -> anyhow::Error {
    anyhow!("{}: {}", failure.kind, failure.message)
}

/// The six characters at the end of a secret's ARN.
fn new_suffix() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 6)
}
