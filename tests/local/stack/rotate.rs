//! `make rotate`: a rotation as Secrets Manager drives it, asked for from outside.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keyturn_tests::aws::secrets_client;
use tokio::time::{Instant, sleep};

use super::{POLL, folder, held_by};

const ROTATION_LIMIT: Duration = Duration::from_mins(2);

/// Asks the running stack for a rotation of this secret, and waits for its end.
pub(crate) async fn rotate(secret: &str) -> Result<()> {
    let secrets = secrets_client(&folder::endpoint(secret)?);
    let before = current(&secrets, secret).await?;
    match secrets.rotate_secret().secret_id(secret).send().await {
        Ok(_) => println!("rotation asked for; the terminal of make local shows the labels move"),
        Err(error) => match error.into_service_error() {
            // The service takes the unfinished one up again, and says so as a refusal.
            error if error.is_invalid_request_exception() => println!("{}", error.meta().message().unwrap_or_default()),
            error => return Err(error).context("RotateSecret"),
        },
    }
    let asked = Instant::now();
    while asked.elapsed() < ROTATION_LIMIT {
        let now = current(&secrets, secret).await?;
        if now != before {
            println!("AWSCURRENT: {before} -> {now}");
            return Ok(());
        }
        sleep(POLL).await;
    }
    bail!(
        "AWSCURRENT has not moved for {ROTATION_LIMIT:?}: look at the terminal of cargo lambda watch, and whether it runs at all"
    )
}

/// The user and the version under AWSCURRENT.
async fn current(secrets: &aws_sdk_secretsmanager::Client, secret: &str) -> Result<String> {
    let value = secrets.get_secret_value().secret_id(secret).send().await;
    let value = value.context("the local stack does not answer: start it with make local")?;
    Ok(held_by(value.secret_string(), value.version_id().unwrap_or_default()))
}
