//! A rotation function under Secrets Manager: what the stacks of all rotated systems have in common.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::aws_json::uuid;
use crate::faults::Faults;
use crate::lambda::{FunctionError, Lambda};
use crate::secrets_manager::RotationOutcome;

/// The function, and the service that calls it.
pub struct Rotator {
    pub lambda: Lambda,
    pub aws: Aws,
    pub faults: Faults,
}

impl Rotator {
    /// Creates a secret that this stack's function rotates, and gives back its ARN.
    pub fn secret(&self, name: &str, credential: &Value) -> Result<String> {
        self.secret_text(name, &credential.to_string())
    }

    /// The same from a text, JSON or not.
    pub fn secret_text(&self, name: &str, text: &str) -> Result<String> {
        let arn = self.aws.secrets.create(name, text)?;
        self.aws.secrets.set_rotation(&arn, &self.lambda.invoke_url())?;
        Ok(arn)
    }

    pub fn value(&self, secret: &str, label: &str) -> Result<Value> {
        let text = self.aws.secrets.value(secret, label)?.with_context(|| format!("{secret} has no {label} value"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Rotates a secret as the service does, retries included.
    pub async fn rotate(&self, secret: &str) -> Result<RotationOutcome> {
        self.aws.secrets.rotate(secret).await
    }

    /// Stages a version for a rotation that the test drives itself, and gives back its token.
    pub fn stage(&self, secret: &str) -> Result<String> {
        let token = uuid();
        self.aws.secrets.stage_pending(secret, &token)?;
        Ok(token)
    }

    pub async fn step(&self, secret: &str, token: &str, step: &str) -> Result<Value, FunctionError> {
        self.lambda.invoke(json!({"Step": step, "SecretId": secret, "ClientRequestToken": token})).await.result
    }
}

/// The environment that a function gets: what every test needs, with a test's own settings before it.
pub(crate) fn environment(usual: &[(&str, String)], own: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        usual.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    all.retain(|(name, _)| own.iter().all(|(other, _)| other != name));
    all.extend(own);
    all
}

/// The binary of this name that was built into the same folder as the running program (or its parent, for tests).
pub fn built(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folders = program.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run cargo build -p {name}"))
}
