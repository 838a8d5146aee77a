//! What AWS's own rotation functions do alike, whatever they rotate, told in Rust.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_secretsmanager::Client;
use std::collections::HashMap;

/// Whose function runs a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Ours,
    Theirs,
}

impl Function {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Ours => Self::Theirs,
            Self::Theirs => Self::Ours,
        }
    }
}

/// The labels of each version of a secret.
pub(crate) type Versions = HashMap<String, Vec<String>>;

/// What each step begins with: the versions, if this one is still to become current.
pub(crate) async fn begin(secrets: &Client, secret: &str, token: &str) -> Result<Option<Versions>> {
    let described = secrets.describe_secret().secret_id(secret).send().await?;
    ensure!(described.rotation_enabled != Some(false), "rotation is not enabled");
    let versions = described.version_ids_to_stages.unwrap_or_default();
    let labels = versions.get(token).context("the version has no stage")?;
    if labels.iter().any(|label| label == "AWSCURRENT") {
        return Ok(None);
    }
    ensure!(labels.iter().any(|label| label == "AWSPENDING"), "the version is not AWSPENDING");
    Ok(Some(versions))
}

/// The value of a version, as text.
pub(crate) async fn read(secrets: &Client, secret: &str, label: &str, version: Option<&str>) -> Result<String> {
    let get = secrets.get_secret_value().secret_id(secret).version_stage(label);
    get.set_version_id(version.map(str::to_owned)).send().await?.secret_string.context("no text")
}

/// The last step: makes this version current.
pub(crate) async fn finish(secrets: &Client, secret: &str, token: &str, versions: &Versions) -> Result<()> {
    let holds = |labels: &Vec<String>| labels.iter().any(|label| label == "AWSCURRENT");
    let from = versions.iter().find(|(_, labels)| holds(labels)).map(|(id, _)| id.clone());
    let update = secrets.update_secret_version_stage().secret_id(secret).version_stage("AWSCURRENT");
    update.move_to_version_id(token).set_remove_from_version_id(from).send().await?;
    Ok(())
}

/// 32 characters of what `GetRandomPassword` draws from, without those that the function excludes by default.
pub(crate) fn random_password(excluded: &str) -> String {
    let alphabet: Vec<char> = ('!'..='~').filter(|c| !excluded.contains(*c)).collect();
    (0..32).map(|_| alphabet[rand::random_range(0..alphabet.len())]).collect()
}
