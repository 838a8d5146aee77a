//! testSecret's proof: a fresh login with the pending credential is who it should be and may do what it must.

use crate::case::Case;
use crate::catalog::{self, Standing, heeds_role_settings};
use crate::codes::Code;
use crate::guards;
use crate::place;
use crate::postgres::Postgres;
use keyturn::Result;
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::credential::Credential;
use keyturn::failure::{Attempt, Failure, Kind, RETRY_FOR};
use keyturn::rotation::Job;
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{Login, Session, quoted};
use std::time::Duration;

/// How long a replica may lag behind before a password that the writer knows counts as refused.
const REPLICA_LAG: Duration = Duration::from_secs(15);

pub(crate) async fn prove(postgres: &Postgres, pending: &Credential, job: &Job) -> Result<()> {
    let case = Case::of(pending, job)?;
    let session = logged_in(postgres, pending, job).await?;
    Ok(rights_of_session(&session, &case, pending).await?)
}

/// A session of the pending user, where its clients connect.
pub(crate) async fn logged_in(postgres: &Postgres, pending: &Credential, job: &Job) -> Result<Session> {
    let login = Login::new(pending, place::of_rotated(pending, "The AWSPENDING value", job)?);
    // A replica's name, as the operator or RDS has said; or an endpoint of RDS, which may be a reader's.
    let is_alias = postgres.server(login.place.clone(), job) != login.place;
    let lagging = is_alias || login.place.address.host.ends_with(keyturn_postgres::rds::DOMAIN);
    let passing = |failure: &Failure| {
        let is_full = failure.error.is(PostgresCode::ConnectionLimitReached);
        failure.is_transient() || is_full || (lagging && failure.kind == Kind::PasswordRefused)
    };
    let patience = if lagging { REPLICA_LAG } else { RETRY_FOR };
    Ok(postgres.connector.open_while(&login, job.deadline, patience, passing).await?.until(job.deadline))
}

/// Proves what the session may do, then runs the secret's own `testQueries`.
async fn rights_of_session(session: &Session, case: &Case, pending: &Credential) -> Attempt<()> {
    let user = pending.username();
    let base = case.layout.base_of(user);
    // A name that merely ends like a clone's is nobody's clone, and acts as itself.
    let standing = catalog::standing(session, base, !case.layout.is_clone()).await?;
    rights(case, &standing, user, base)?;
    for (n, query) in pending.test_queries().iter().enumerate() {
        test_query(session, n + 1, query).await?;
    }
    Ok(())
}

fn rights(case: &Case, standing: &Standing, user: &str, base: Option<&str>) -> Attempt<()> {
    let acting = standing.acts_as.as_str();
    // Whom the base acts as there, not what somebody set for this login alone.
    let wanted = standing.base.as_ref().map(|base| base.acts_as.as_str());
    if case.acts_as_base && wanted == Some(acting) {
        return Ok(());
    }
    let has_rights = match &standing.base {
        Some(rights) => rights.inherited || rights.may_set,
        None => case.layout.is_clone(),
    };
    if let Some(base) = base.filter(|_| !has_rights) {
        return Err(Failure::permanent(
            Code::MembershipHasNoEffect,
            format!("{user:?} has not got the rights of {base:?}."),
            format!("GRANT {} TO {}", quoted(base), quoted(user)),
        ));
    }
    // The server only warns at login when a role setting has no effect, and stays the login role: so, too, when a clone's
    // membership is gone, by which it was known as one.
    let heeded = heeds_role_settings(standing.version);
    let has_other_base = standing.base.is_some() && base != Some(user);
    if !heeded && case.acts_as_base && has_other_base && standing.assumes.is_some() {
        return Err(guards::role_settings_ignored(case, standing.version).into());
    }
    if let Some(meant) = standing.assumes.as_deref().filter(|meant| heeded && acting == user && *meant != user) {
        return Err(not_assumed(user, meant, acting, base == Some(meant)));
    }
    let Some(wanted) = wanted else { return Ok(()) };
    if case.acts_as_base && acting != user {
        return Err(not_assumed(user, wanted, acting, true));
    }
    if case.acts_as_base {
        // A clone that AWS's function made, and no setSecret of ours has seen yet, or one that owns objects. It works as it
        // always has.
        tracing::warn!(
            code = Code::RoleNotAssumed.name(),
            user,
            "This user acts as itself: what it makes is its own. The next rotation of it mends that, once it owns nothing."
        );
    }
    Ok(())
}

/// A login can set any role for itself: only its base or owner is one that it may be put into.
fn not_assumed(user: &str, wanted: &str, acting: &str, is_base: bool) -> Failure {
    let remedy = if is_base {
        format!("GRANT {} TO {}", quoted(wanted), quoted(user))
    } else {
        format!("ALTER ROLE {} RESET role", quoted(user))
    };
    Failure::permanent(
        Code::RoleNotAssumed,
        format!(
            "{user:?} should act as {wanted:?} but acts as {acting:?}: what it makes would belong to the wrong role."
        ),
        remedy,
    )
}

/// The text of the query and of the server's answer stay out of the error: they may hold anything.
async fn test_query(session: &Session, n: usize, query: &str) -> Attempt<()> {
    session.run("BEGIN READ ONLY; SET LOCAL statement_timeout = '10s'", "starting a test query").await?;
    // Not by `run`, which takes several statements: a COMMIT among them would end the read-only transaction.
    let result = session.execute(query, "running a test query").await;
    if let Err(failure) = &result
        && failure.error.is(Core::DatabaseUnreachable)
    {
        return result;
    }
    session.run("ROLLBACK", "ending a test query").await?;
    result.map_err(|_| {
        Failure::permanent(
            Code::TestQueryFailed,
            format!(
                "Query {n} of the secret's \"testQueries\" failed for the pending user in a read-only transaction."
            ),
            "Run it as that user to see why, and grant what is missing or correct the query.",
        )
    })
}
