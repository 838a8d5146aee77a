//! Why the value in use does not log in: what AWSPREVIOUS tells.

use crate::credential::Credential;
use crate::rotation::Job;
use crate::secrets::{PREVIOUS, Secrets};
use secrecy::SecretString;

/// The AWSPREVIOUS value, if it logs in. Looked at only to tell the operator more, so that whatever fails here says nothing.
///
/// `read` reads the value, and refuses one that is for another place than the value in use: the writer of the latter may have
/// named servers that collect passwords. `works` tries to log in.
pub async fn previous_that_works(
    secrets: &Secrets,
    job: &Job,
    read: impl FnOnce(SecretString) -> Option<Credential>,
    works: impl AsyncFnOnce(&Credential) -> bool,
) -> Option<Credential> {
    let stored = secrets.read(&job.secret_arn, PREVIOUS, None, job.deadline).await.ok()??;
    let previous = read(stored.text)?;
    works(&previous).await.then_some(previous)
}

/// The command that makes AWSPREVIOUS current again.
#[must_use]
pub fn back_to_previous(secret: &str) -> String {
    format!(
        "(aws secretsmanager describe-secret --secret-id {secret} shows both ids) aws secretsmanager update-secret-version-stage --secret-id {secret} --version-stage AWSCURRENT --move-to-version-id <id of AWSPREVIOUS> --remove-from-version-id <id of AWSCURRENT>"
    )
}
