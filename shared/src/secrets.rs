//! Secrets Manager: read by label and token, put the pending value, move the label. What is inside a secret is not known here.

use crate::aws_call::{Call, Failed, within};
use crate::codes::Code;
use crate::failure::words;
use crate::{Deadline, Error, Result};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata as _;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_sdk_secretsmanager::primitives::DateTimeFormat;
use aws_sdk_secretsmanager::types::{ReplicationStatusType, StatusType, Tag};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;

/// The label of the version in use.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version a rotation is making.
pub const PENDING: &str = "AWSPENDING";
/// The label of the version that was in use before.
pub const PREVIOUS: &str = "AWSPREVIOUS";

/// What `DescribeSecret` says of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub arn: String,
    /// Whether rotation is on; absent where it never was configured.
    pub rotation_enabled: Option<bool>,
    /// Every how many days it is rotated, where its schedule says so.
    pub period_days: Option<i64>,
    /// When the schedule has the next rotation.
    pub next_rotation: Option<DateTime<Utc>>,
    /// The labels of each version id.
    pub versions: HashMap<String, Vec<String>>,
    /// Its tags: set by whoever runs the secret, not by those who may put values into it.
    pub tags: HashMap<String, String>,
    /// The region that this secret is a replica of, where it is one. Only the secret there can be changed.
    pub primary_region: Option<String>,
    /// Its copies in other regions, which Secrets Manager keeps up to date.
    pub replicas: Vec<Replica>,
}

/// A copy of a secret in another region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub region: String,
    pub status: Replication,
}

/// How far a replica has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    InSync,
    InProgress,
    /// Secrets Manager has given up; its words.
    Failed(String),
}

/// A secret value as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The full ARN of the secret it was read from, whatever name was asked for.
    pub arn: String,
    pub text: SecretString,
    /// The version that holds it.
    pub version: Option<String>,
    /// When the version was made, in UTC, as RFC 3339 has it.
    pub created: Option<String>,
}

/// How putting the pending value ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// The version holds another value already: someone else was first.
    Taken,
}

/// How moving the current label ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The label is on the new version.
    Done,
    /// Secrets Manager refused: the label is no longer where it was taken to be.
    Refused,
}

/// Secrets Manager, through the AWS SDK, whose standard retries run within each call's deadline.
#[derive(Clone, Debug)]
pub struct Secrets {
    client: Client,
}

impl Secrets {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Describes a secret.
    ///
    /// # Errors
    /// The `SECRET_NOT_FOUND`, `AWS_*` and `KMS_DENIED` codes.
    pub async fn describe(&self, secret: &str, deadline: Deadline) -> Result<Description> {
        let call = self.client.describe_secret().secret_id(secret).send();
        let answer =
            within(deadline, call).await.map_err(|e| e.explain(&Call::secrets_manager("DescribeSecret", secret)))?;
        let arn = answer.arn.unwrap_or_else(|| secret.to_owned());
        let region = arn.split(':').nth(3).unwrap_or_default();
        Ok(Description {
            primary_region: answer.primary_region.filter(|primary| primary != region),
            arn,
            rotation_enabled: answer.rotation_enabled,
            period_days: answer.rotation_rules.and_then(|rules| rules.automatically_after_days),
            next_rotation: answer.next_rotation_date.and_then(|date| DateTime::from_timestamp(date.secs(), 0)),
            versions: answer.version_ids_to_stages.unwrap_or_default(),
            tags: tags(answer.tags.unwrap_or_default()),
            replicas: answer.replication_status.unwrap_or_default().into_iter().map(replica).collect(),
        })
    }

    /// Reads the value that carries `label` (and is of version `token`, where given). `None`: there is no such value.
    ///
    /// # Errors
    /// `SECRET_IS_BINARY`, and the `AWS_*` and `KMS_DENIED` codes.
    pub async fn read(
        &self,
        secret: &str,
        label: &str,
        token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Option<Stored>> {
        self.get(secret, Some(label), token, deadline).await
    }

    async fn get(
        &self,
        secret: &str,
        label: Option<&str>,
        version: Option<&str>,
        deadline: Deadline,
    ) -> Result<Option<Stored>> {
        let call = self
            .client
            .get_secret_value()
            .secret_id(secret)
            .set_version_stage(label.map(str::to_owned))
            .set_version_id(version.map(str::to_owned))
            .send();
        let answer = match within(deadline, call).await {
            Ok(answer) => answer,
            Err(Failed::Answered(e))
                if matches!(e.as_service_error(), Some(GetSecretValueError::ResourceNotFoundException(_))) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e.explain(&Call::secrets_manager("GetSecretValue", secret))),
        };
        let arn = answer.arn.unwrap_or_else(|| secret.to_owned());
        let Some(text) = answer.secret_string else {
            return Err(Error::new(
                Code::SecretIsBinary,
                format!("The {} value of {secret} is binary (SecretBinary).", label.or(version).unwrap_or_default()),
                format!(
                    "Store it as text: aws secretsmanager put-secret-value --secret-id {secret} --secret-string file://secret.json"
                ),
            ));
        };
        let created = answer.created_date.and_then(|date| date.fmt(DateTimeFormat::DateTime).ok());
        Ok(Some(Stored { arn, text: text.into(), version: answer.version_id, created }))
    }

    /// Reads the value of a version, whatever labels it has. `None`: there is no such value.
    ///
    /// # Errors
    /// Those of [`Secrets::read`].
    pub async fn version(&self, secret: &str, version: &str, deadline: Deadline) -> Result<Option<Stored>> {
        self.get(secret, None, Some(version), deadline).await
    }

    /// Starts a rotation, as a schedule does.
    ///
    /// # Errors
    /// The `SECRET_NOT_FOUND`, `AWS_*` and `KMS_DENIED` codes.
    pub async fn rotate(&self, secret: &str, deadline: Deadline) -> Result<()> {
        let call = self.client.rotate_secret().secret_id(secret).send();
        let started = Box::pin(within(deadline, call)).await.map(drop);
        started.map_err(|e| e.explain(&Call::secrets_manager("RotateSecret", secret)))
    }

    /// Stores the pending value under the rotation's token.
    ///
    /// Safe to repeat: the same token with the same value changes nothing, with another value it is refused.
    ///
    /// # Errors
    /// The `SECRET_NOT_FOUND`, `AWS_*` and `KMS_DENIED` codes.
    pub async fn put_pending(
        &self,
        secret: &str,
        token: &str,
        rotation_token: Option<&SecretString>,
        text: &SecretString,
        deadline: Deadline,
    ) -> Result<Put> {
        let call = self
            .client
            .put_secret_value()
            .secret_id(secret)
            .client_request_token(token)
            .version_stages(PENDING)
            .set_rotation_token(rotation_token.map(|t| t.expose_secret().to_owned()))
            .secret_string(text.expose_secret())
            .send();
        match within(deadline, call).await {
            Ok(_) => Ok(Put::Stored),
            Err(Failed::Answered(e)) if e.code() == Some("ResourceExistsException") => Ok(Put::Taken),
            Err(e) => Err(e.explain(&Call::secrets_manager("PutSecretValue", secret))),
        }
    }

    /// Stores a new current value of a secret that is not being rotated.
    ///
    /// # Errors
    /// The `SECRET_NOT_FOUND`, `AWS_*` and `KMS_DENIED` codes.
    pub async fn put_current(&self, secret: &str, text: &SecretString, deadline: Deadline) -> Result<()> {
        let call = self.client.put_secret_value().secret_id(secret).secret_string(text.expose_secret()).send();
        let put = within(deadline, call).await.map(drop);
        put.map_err(|e| e.explain(&Call::secrets_manager("PutSecretValue", secret)))
    }

    /// Moves AWSCURRENT from version `from` to version `token`; Secrets Manager moves AWSPREVIOUS by itself.
    ///
    /// Safe to repeat: it is a compare-and-swap on `from`.
    ///
    /// # Errors
    /// The `SECRET_NOT_FOUND`, `AWS_*` and `KMS_DENIED` codes.
    pub async fn move_current(&self, secret: &str, from: &str, token: &str, deadline: Deadline) -> Result<Moved> {
        let call = self
            .client
            .update_secret_version_stage()
            .secret_id(secret)
            .version_stage(CURRENT)
            .remove_from_version_id(from)
            .move_to_version_id(token)
            .send();
        match within(deadline, call).await {
            Ok(_) => Ok(Moved::Done),
            Err(Failed::Answered(e)) if e.code() == Some("InvalidParameterException") => Ok(Moved::Refused),
            Err(e) => Err(e.explain(&Call::secrets_manager("UpdateSecretVersionStage", secret))),
        }
    }
}

fn replica(replica: ReplicationStatusType) -> Replica {
    let says = replica.status_message.as_deref().map(words).unwrap_or_default();
    let status = match replica.status {
        Some(StatusType::InSync) => Replication::InSync,
        Some(StatusType::InProgress) => Replication::InProgress,
        Some(StatusType::Failed) => Replication::Failed(says),
        // Nobody knows whether waiting would help.
        other => Replication::Failed(format!("{} {says}", other.as_ref().map_or("no status", StatusType::as_str))),
    };
    Replica { region: replica.region.unwrap_or_default(), status }
}

fn tags(tags: Vec<Tag>) -> HashMap<String, String> {
    tags.into_iter().filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}
