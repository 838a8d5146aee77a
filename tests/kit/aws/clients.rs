//! The real SDK's clients, for everybody in the local stack who is not a bootstrap under test.

use crate::aws_json::REGION;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ssm::config::{Credentials, SharedCredentialsProvider};
use std::time::Duration;

/// An SDK client of Secrets Manager at this endpoint, which says what happened instead of trying again.
#[must_use]
pub fn secrets_client(endpoint: &str) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(&config(endpoint, RetryConfig::disabled()))
}

/// An SDK client of Parameter Store at this endpoint, which says what happened instead of trying again.
#[must_use]
pub fn parameters_client(endpoint: &str) -> aws_sdk_ssm::Client {
    aws_sdk_ssm::Client::new(&config(endpoint, RetryConfig::disabled()))
}

/// An SDK client of CloudWatch Logs at this endpoint, which says what happened instead of trying again.
#[must_use]
pub fn logs_client(endpoint: &str) -> aws_sdk_cloudwatchlogs::Client {
    aws_sdk_cloudwatchlogs::Client::new(&config(endpoint, RetryConfig::disabled()))
}

/// The configuration a function has that runs inside the test's own process: it tries again like the real one, only sooner.
#[must_use]
pub fn function_config(endpoint: &str) -> SdkConfig {
    let retries = RetryConfig::standard().with_max_attempts(4).with_initial_backoff(Duration::from_millis(5));
    config(endpoint, retries)
}

fn config(endpoint: &str, retries: RetryConfig) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "AKIDLOCAL",
            "local",
            None,
            None,
            "local stack",
        )))
        .retry_config(retries)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}
