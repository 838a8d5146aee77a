//! What all calls to AWS have in common: the deadline, and errors that name the action, the thing, and what to change.

use crate::codes::Code;
use crate::{Deadline, Error};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// A call as people and policies name it.
pub struct Call<'a> {
    /// The service, as IAM actions and VPC endpoints name it.
    service: &'static str,
    action: &'static str,
    on: &'a str,
    /// The service, as people name it.
    whose: &'static str,
    /// Says who makes the call again.
    again: &'static str,
}

impl<'a> Call<'a> {
    /// An action of Secrets Manager on a secret.
    #[must_use]
    pub fn secrets_manager(action: &'static str, secret: &'a str) -> Self {
        let (whose, again) = ("Secrets Manager's", "Secrets Manager tries the rotation again by itself");
        Self { service: "secretsmanager", action, on: secret, whose, again }
    }

    /// An action of RDS on an instance or a cluster.
    #[must_use]
    pub fn rds(action: &'static str, resource: &'a str) -> Self {
        let (whose, again) = ("RDS's", "Secrets Manager tries the rotation again by itself");
        Self { service: "rds", action, on: resource, whose, again }
    }

    /// An action of Parameter Store on a parameter or a path.
    #[cfg(feature = "parameters")]
    pub(crate) fn parameter_store(action: &'static str, name: &'a str) -> Self {
        let (whose, again) = ("Systems Manager's", "the next tick tries again by itself");
        Self { service: "ssm", action, on: name, whose, again }
    }

    /// An action of CloudWatch Logs on a log group.
    #[cfg(feature = "logs")]
    pub(crate) fn logs(action: &'static str, group: &'a str) -> Self {
        let (whose, again) = ("CloudWatch Logs'", "ask again");
        Self { service: "logs", action, on: group, whose, again }
    }

    fn unreachable(&self, why: &str) -> Error {
        let Self { service, action, on, .. } = self;
        Error::new(
            Code::AwsUnreachable,
            format!("{service}:{action} on {on} got no answer: {why}."),
            format!(
                "In a VPC, the function needs an interface endpoint for com.amazonaws.<region>.{service} (or a NAT gateway) and a security group that allows HTTPS to it; behind a private CA, set AWS_CA_BUNDLE."
            ),
        )
    }
}

/// How AWS says that a caller asks too often.
const THROTTLED: [&str; 4] = ["ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"];

/// Why a call brought nothing.
pub enum Failed<E> {
    /// The service, or the SDK, says no.
    Answered(Box<SdkError<E, Response>>),
    /// The deadline came first.
    Late,
    /// The deadline had passed before.
    NoTimeLeft,
}

/// Makes a call within the deadline.
///
/// # Errors
/// Why it brought nothing.
pub async fn within<T, E>(
    deadline: Deadline,
    call: impl Future<Output = Result<T, SdkError<E, Response>>>,
) -> Result<T, Failed<E>> {
    if deadline.remaining().is_zero() {
        return Err(Failed::NoTimeLeft);
    }
    deadline.bound(call).await.map_err(|_| Failed::Late)?.map_err(|e| Failed::Answered(Box::new(e)))
}

impl<E: ProvideErrorMetadata + std::error::Error + 'static> Failed<E> {
    /// The service's code, where it answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        if let Self::Answered(error) = self { error.meta().code() } else { None }
    }

    /// Whether the same call may fare better soon: the service is busy, or no reply of its came.
    #[cfg(feature = "parameters")]
    pub(crate) fn passes(&self) -> bool {
        let is_busy = self.code().is_some_and(|code| THROTTLED.contains(&code) || code == "TooManyUpdates");
        is_busy || matches!(self, Self::Answered(_)) && self.is_unclear()
    }

    /// Whether the service may have done what it was asked for, though it did not say so.
    #[cfg(feature = "parameters")]
    pub(crate) fn is_unclear(&self) -> bool {
        match self {
            Self::NoTimeLeft => false,
            Self::Late => true,
            Self::Answered(error) => match &**error {
                SdkError::ConstructionFailure(_) => false,
                SdkError::ServiceError(said) => said.raw().status().is_server_error(),
                _ => true,
            },
        }
    }

    /// The error for a person: which action on what, and what to change.
    #[must_use]
    pub fn explain(&self, call: &Call<'_>) -> Error {
        let Call { service, action, on, whose, again } = call;
        let error = match self {
            Self::Answered(error) => error,
            Self::Late => return call.unreachable("it had not answered when the invocation's time was nearly up"),
            Self::NoTimeLeft => {
                return Error::new(
                    Code::OutOfTime,
                    format!("The invocation's time was nearly up before {service}:{action} on {on} could be called."),
                    format!("Give the function a timeout of 30 s or more; {again}."),
                );
            }
        };
        if matches!(**error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_)) {
            return call.unreachable(&root_cause(error));
        }
        let Some(code) = error.meta().code() else {
            return call
                .unreachable(&format!("what came back is no reply of {whose} (does a proxy answer in its place?)"));
        };
        let said = error.meta().message().unwrap_or("no message").trim_end_matches('.');
        let what = format!("{service}:{action} on {on} failed: {code}: {said}.");
        if said.contains("KMS") || matches!(code, "DecryptionFailure" | "EncryptionFailure") {
            let remedy = "Add the secret's KMS key to the stack's SecretsKeyArns (kms:Decrypt and kms:GenerateDataKey for the function's role). The key's policy has to allow the role as well, and the key has to be enabled.";
            return Error::new(Code::KmsDenied, what, remedy);
        }
        match code {
            "AccessDeniedException" | "AccessDenied" => Error::new(
                Code::AwsAccessDenied,
                what,
                format!(
                    "The function's role needs \"{service}:{action}\" on \"{on}\". A secret that is rotated: attach the rotation to this function. Another one, or a parameter: list its ARN, or correct its path, in the stack's parameters (another account's secret has to allow the role in its own policy, too). Do not widen the role."
                ),
            ),
            "ResourceNotFoundException" => Error::new(
                Code::SecretNotFound,
                what,
                format!(
                    "Check that it exists in this account and region: aws secretsmanager describe-secret --secret-id {on}"
                ),
            ),
            code if THROTTLED.contains(&code) => Error::new(
                Code::AwsThrottled,
                what,
                format!("Nothing to do now: {again}. If it keeps happening, spread the schedules."),
            ),
            _ => Error::new(
                Code::AwsCallFailed,
                what,
                format!("If it is an internal error, {again}; otherwise the text before says what to change."),
            ),
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
