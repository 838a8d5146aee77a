//! setSecret: proves that the current credential works, then lets the admin make the pending one work.

use crate::case::Case;
use crate::mirror;
use crate::place;
use crate::postgres::Postgres;
use crate::transaction::{self, Wanted};
use keyturn::Result;
use keyturn::credential::Credential;
use keyturn::failure::{Attempt, Failure, RETRY_FOR, retry};
use keyturn::rotation::Job;
use keyturn_postgres::Login;

/// Gives back what was changed, in words.
pub(crate) async fn apply(
    postgres: &Postgres,
    current: &Credential,
    pending: &Credential,
    job: &Job,
    still: &impl AsyncFn() -> Result<()>,
) -> Result<Vec<String>> {
    let named = place::of_rotated(current, "The AWSCURRENT value", job)?;
    let place = postgres.server(named.clone(), job);
    let case = Case::of(current, job)?.under(&postgres.settings);
    let turn = case.layout.turn(current.username(), pending.username())?;
    let (current_login, pending_login) = (Login::new(current, place.clone()), Login::new(pending, place.clone()));
    let (admin, proven, tried) =
        tokio::try_join!(postgres.admin(current, &named, job), postgres.prove_current(&current_login, job), async {
            Ok(postgres.connector.open_once(&pending_login, job.deadline).await)
        })?;
    if postgres.server(named.clone(), job) != place {
        // RDS has just said that the admin's server is another one of its endpoints.
        return Box::pin(apply(postgres, current, pending, job, still)).await;
    }
    // The pending user may be refused for many reasons before setSecret has made it: by a line of pg_hba.conf with `+group`,
    // which admits members only, or by a pooler that does not know it, and whose refusals look like failures. Setting a password
    // that the server has accepted before is harmless. Where the server is away, the admin's login says so.
    let password = tried.is_err().then(|| pending.password());
    // Else it would count among the pending user's sessions.
    drop(tried);
    let wanted = Wanted {
        case: &case,
        job,
        turn: &turn,
        database: &place.database,
        admin: &admin,
        postgres,
        password,
        proven: proven.as_ref(),
    };
    let mirror = Box::pin(mirror::read(postgres, &turn.pending, job)).await?;
    let mut changes = as_admin(&wanted, still).await?;
    if mirror.is_some()
        && let Some(mirror) = Box::pin(mirror::read(postgres, &turn.pending, job)).await?
    {
        // Another rotation's password may be the newer one by now.
        still().await?;
        changes.extend(Box::pin(mirror.follow(pending, postgres, job)).await?);
    }
    Ok(changes)
}

async fn as_admin(wanted: &Wanted<'_>, still: &impl AsyncFn() -> Result<()>) -> Attempt<Vec<String>> {
    let deadline = wanted.job.deadline;
    // A new connection for every try: after a failover the old one may lead to the old writer.
    let attempt = async |connects_end| {
        let session = wanted.admin.open(wanted.postgres, connects_end).await?.until(deadline);
        transaction::run(&session, wanted, still).await
    };
    retry(deadline, RETRY_FOR, Failure::is_transient, attempt).await
}
