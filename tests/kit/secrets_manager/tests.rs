mod rotation;
mod rules;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use crate::aws::{Aws, secrets_client};
use crate::faults::Faults;

const TOKEN: &str = "11111111-2222-4333-8444-555555555555";
const OTHER: &str = "99999999-2222-4333-8444-555555555555";

/// A stack with the secret `app`, and a client that comes in by the function's door.
async fn stack() -> (Aws, Client) {
    let aws = Aws::start(Faults::none()).await.unwrap();
    aws.secrets.create("app", r#"{"username":"app"}"#).unwrap();
    let client = secrets_client(&aws.url());
    (aws, client)
}

/// The error's type and message; empty when there was none.
fn refusal<T, E: ProvideErrorMetadata, R>(sent: Result<T, SdkError<E, R>>) -> (String, String) {
    sent.err().map_or_else(Default::default, |error| {
        (error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
    })
}

/// The labels of one version, joined.
fn labels(aws: &Aws, version: &str) -> String {
    aws.secrets.stages("app").unwrap().get(version).map(|labels| labels.join("+")).unwrap_or_default()
}

fn current(aws: &Aws) -> String {
    aws.secrets.version("app", "AWSCURRENT").unwrap().unwrap()
}
