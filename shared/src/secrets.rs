//! Secrets Manager: read by label and token, put the pending value, move the label. What is inside a secret is not known here.

use crate::{Deadline, Error, Result};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
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
    /// Its full ARN.
    pub arn: String,
    /// Whether rotation is on; absent where it never was configured.
    pub rotation_enabled: Option<bool>,
    /// The labels of each version id.
    pub versions: HashMap<String, Vec<String>>,
}

/// A secret value as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The full ARN of the secret it was read from, whatever name was asked for.
    pub arn: String,
    /// Its text.
    pub text: SecretString,
}

/// How putting the pending value ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is stored.
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
    /// With this SDK client.
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
        let answer = within(deadline, call).await.map_err(|e| e.explain("DescribeSecret", secret))?;
        Ok(Description {
            arn: answer.arn.unwrap_or_else(|| secret.to_owned()),
            rotation_enabled: answer.rotation_enabled,
            versions: answer.version_ids_to_stages.unwrap_or_default(),
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
        let call = self
            .client
            .get_secret_value()
            .secret_id(secret)
            .version_stage(label)
            .set_version_id(token.map(str::to_owned))
            .send();
        let answer = match within(deadline, call).await {
            Ok(answer) => answer,
            Err(Failed::Answered(e))
                if matches!(e.as_service_error(), Some(GetSecretValueError::ResourceNotFoundException(_))) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e.explain("GetSecretValue", secret)),
        };
        let arn = answer.arn.unwrap_or_else(|| secret.to_owned());
        let Some(text) = answer.secret_string else {
            return Err(Error::new(
                "SECRET_IS_BINARY",
                format!("The {label} value of {secret} is binary (SecretBinary)."),
                format!(
                    "Store it as text: aws secretsmanager put-secret-value --secret-id {secret} --secret-string file://secret.json"
                ),
            ));
        };
        Ok(Some(Stored { arn, text: text.into() }))
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
            Err(e) => Err(e.explain("PutSecretValue", secret)),
        }
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
            Err(e) => Err(e.explain("UpdateSecretVersionStage", secret)),
        }
    }
}

enum Failed<E> {
    Answered(Box<SdkError<E>>),
    Late,
    NoTimeLeft,
}

async fn within<T, E>(
    deadline: Deadline,
    call: impl Future<Output = std::result::Result<T, SdkError<E>>>,
) -> std::result::Result<T, Failed<E>> {
    if deadline.remaining().is_zero() {
        return Err(Failed::NoTimeLeft);
    }
    deadline.bound(call).await.map_err(|_| Failed::Late)?.map_err(|e| Failed::Answered(Box::new(e)))
}

impl<E: ProvideErrorMetadata + std::error::Error + 'static> Failed<E> {
    /// The error for a person: which action on which secret, and what to change.
    fn explain(&self, action: &str, secret: &str) -> Error {
        let error = match self {
            Self::Answered(error) => error,
            Self::Late => {
                return unreachable(action, secret, "it had not answered when the invocation's time was nearly up");
            }
            Self::NoTimeLeft => {
                return Error::new(
                    "OUT_OF_TIME",
                    format!(
                        "The invocation's time was nearly up before secretsmanager:{action} on {secret} could be called."
                    ),
                    "Give the function a timeout of 30 s or more; Secrets Manager tries the rotation again by itself.",
                );
            }
        };
        if matches!(**error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_)) {
            return unreachable(action, secret, &root_cause(error));
        }
        let Some(code) = error.code() else {
            return unreachable(
                action,
                secret,
                "what came back is no reply of Secrets Manager's (does a proxy answer in its place?)",
            );
        };
        let said = error.message().unwrap_or("no message").trim_end_matches('.');
        let what = format!("secretsmanager:{action} on {secret} failed: {code}: {said}.");
        if said.contains("KMS") || matches!(code, "DecryptionFailure" | "EncryptionFailure") {
            let remedy = "Allow the function's role kms:Decrypt and kms:GenerateDataKey on the secret's KMS key (in its IAM policy and in the key's policy), and check that the key is enabled.";
            return Error::new("KMS_DENIED", what, remedy);
        }
        match code {
            "AccessDeniedException" | "AccessDenied" => Error::new(
                "AWS_ACCESS_DENIED",
                what,
                format!(
                    "Allow the function's role \"secretsmanager:{action}\" on \"{secret}\" (for another account's secret, in the secret's resource policy too)."
                ),
            ),
            "ResourceNotFoundException" => Error::new(
                "SECRET_NOT_FOUND",
                what,
                format!(
                    "Check that it exists in this account and region: aws secretsmanager describe-secret --secret-id {secret}"
                ),
            ),
            "ThrottlingException" | "Throttling" | "TooManyRequestsException" => Error::new(
                "AWS_THROTTLED",
                what,
                "Nothing to do now: Secrets Manager tries the rotation again by itself. If it keeps happening, spread the schedules.",
            ),
            _ => Error::new(
                "AWS_CALL_FAILED",
                what,
                "If it is an internal error, Secrets Manager tries the rotation again by itself; otherwise the text before says what to change.",
            ),
        }
    }
}

fn unreachable(action: &str, secret: &str, why: &str) -> Error {
    Error::new(
        "AWS_UNREACHABLE",
        format!("secretsmanager:{action} on {secret} got no answer: {why}."),
        "In a VPC, the function needs an interface endpoint for com.amazonaws.<region>.secretsmanager (or a NAT gateway) and a security group that allows HTTPS to it; behind a private CA, set AWS_CA_BUNDLE.",
    )
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
