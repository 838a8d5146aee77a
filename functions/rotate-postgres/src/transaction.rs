//! setSecret's transaction: the admin gives the pending user its password and makes it what it must be.

use crate::catalog::{self, Catalog};
use crate::codes::Code;
use crate::errors::{self, literal};
use crate::guards;
use crate::layout::{Base, Turn};
use crate::session::Session;
use crate::settings::PasswordHash;
use crate::statements::{self, Statement, Statements};
use crate::verifier;
use backon::{ConstantBuilder, Retryable as _};
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::failure::{Attempt, Failure};
use keyturn::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;
use tokio_postgres::types::Type;

/// A fixed schema path so that no object of the database can stand in for a catalog, and no wait without an end.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; \
    SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '30s'";

/// Transactions that wait for another rotation of the same users look again this often.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// No fewer than PostgreSQL's default, whatever somebody has set for the admin's database; and no more than clients take:
/// libpq's limit is higher, but tokio-postgres (and so this function's own login) stops here.
const MIN_ITERATIONS: u32 = 4096;
const MAX_ITERATIONS: u32 = 100_000;

/// What the transaction is to achieve.
pub(crate) struct Wanted<'w> {
    pub(crate) turn: &'w Turn,
    pub(crate) admin: &'w str,
    /// `None` when the pending password works already, so that it must not be set again.
    pub(crate) password: Option<&'w SecretString>,
    pub(crate) hash: PasswordHash,
}

/// Runs the transaction and gives back what it changed, in words.
///
/// Safe to repeat: it compares first, the password is the pending version's own, and until COMMIT nothing has happened.
pub(crate) async fn run(
    session: &Session,
    wanted: &Wanted<'_>,
    deadline: Deadline,
    still: &impl AsyncFn() -> Result<()>,
) -> Attempt<Vec<String>> {
    session.run(BEGIN, "starting the transaction").await?;
    lock(session, wanted.turn, deadline).await?;
    let before = read(session, wanted).await?;
    if before.server.read_only {
        return Err(errors::read_only(session.place()));
    }
    for warning in guards::roles(wanted.turn, wanted.admin, &before)? {
        tracing::warn!(code = warning.code.name(), "{}", warning.says);
    }
    let verifier = wanted.password.map(|password| hash(password, wanted, &before)).transpose()?;
    let statements = statements::of(wanted.turn, &before, verifier.as_ref());
    if statements.is_empty() {
        prove(wanted.turn, &before)?;
        session.run("ROLLBACK", "ending the transaction").await?;
        return Ok(Vec::new());
    }
    let changes = execute(session, &statements).await?;
    let (after, ()) = tokio::try_join!(read(session, wanted), async { still().await.map_err(Failure::from) })?;
    prove(wanted.turn, &after)?;
    session.run("COMMIT", "committing").await?;
    Ok(changes)
}

/// Two rotations of the same two users, whichever way round, do not overlap.
async fn lock(session: &Session, turn: &Turn, deadline: Deadline) -> Attempt<()> {
    let name = turn.lock_name();
    let take = || async {
        let sql = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
        let rows = session.rows(sql, &[(&name, Type::TEXT)], "taking the rotation's lock").await?;
        if rows.first().is_some_and(|row| row.get(0)) { Ok(()) } else { Err(locked(name, session)) }
    };
    // A pause takes up to twice as long, and then there is the question itself.
    let is_time_left = || deadline.remaining() >= 4 * LOCK_PAUSE;
    take.retry(ConstantBuilder::default().with_delay(LOCK_PAUSE).with_jitter().without_max_times())
        .when(|failure: &Failure| failure.error.is(Code::RotationLocked) && is_time_left())
        .await
}

fn locked(name: &str, session: &Session) -> Failure {
    Failure::permanent(
        Code::RotationLocked,
        format!("Another rotation of {name:?} holds its lock on {}.", session.place().address),
        format!(
            "It lets go when its session ends. To see it: SELECT a.pid, a.application_name, a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted -- of {}",
            literal(name)
        ),
    )
}

async fn read(session: &Session, wanted: &Wanted<'_>) -> Attempt<Catalog> {
    let turn = wanted.turn;
    let mut names = vec![turn.current.clone(), turn.pending.clone(), wanted.admin.to_owned()];
    names.extend(turn.base().map(str::to_owned));
    catalog::read(session, &names, wanted.admin, turn.base()).await
}

fn hash(password: &SecretString, wanted: &Wanted<'_>, catalog: &Catalog) -> Attempt<SecretString> {
    let md5 = match wanted.hash {
        PasswordHash::Auto => catalog.server.encrypts_md5,
        PasswordHash::Scram => false,
        PasswordHash::Md5 => true,
    };
    if md5 {
        return Ok(verifier::md5(password, &wanted.turn.pending));
    }
    verifier::scram(password, catalog.server.scram_iterations.clamp(MIN_ITERATIONS, MAX_ITERATIONS)).map_err(|e| {
        Error::new(
            Core::RandomnessUnavailable,
            format!("The operating system gave no random bytes: {e}."),
            "Try again.",
        )
        .into()
    })
}

async fn execute(session: &Session, statements: &Statements) -> Attempt<Vec<String>> {
    let Statements { needed, settings } = statements;
    if !needed.is_empty() {
        let sql: Vec<&str> = needed.iter().map(|statement| statement.sql.expose_secret()).collect();
        session.run(&sql.join("; "), "changing the user").await?;
    }
    let mut changes: Vec<String> = needed.iter().map(|statement| statement.says.clone()).collect();
    for setting in settings {
        if copied(session, setting).await? {
            changes.push(setting.says.clone());
        }
    }
    Ok(changes)
}

/// A setting that only a superuser may make is left out, with a warning; the rest goes on.
async fn copied(session: &Session, setting: &Statement) -> Attempt<bool> {
    let sql = format!("SAVEPOINT setting; {}; RELEASE setting", setting.sql.expose_secret());
    match session.run(&sql, &format!("copying a {}", setting.says)).await {
        Ok(()) => Ok(true),
        Err(failure) if failure.is_transient() => Err(failure),
        Err(failure) => {
            session.run("ROLLBACK TO setting", "leaving a setting out").await?;
            tracing::warn!(
                code = Code::SettingNotCopied.name(),
                setting = setting.says,
                reason = failure.error.code(),
                "A setting of the base stays out of its twin; set it as a superuser."
            );
            Ok(false)
        }
    }
}

/// What must hold before COMMIT, or nothing happens at all.
fn prove(turn: &Turn, catalog: &Catalog) -> Attempt<()> {
    let Some(pending) = catalog.role(&turn.pending) else {
        return Err(Failure::permanent(
            Code::RoleVanished,
            format!("{:?} is gone, though this transaction has just made or changed it.", turn.pending),
            "Find out who drops roles here, then rotate again.",
        ));
    };
    if pending.expired {
        return Err(guards::expired(pending).into());
    }
    let shared = matches!(turn.base, Base::Owner(_) | Base::Current);
    if shared && !(pending.inherits_base && pending.may_set_base) {
        return Err(Failure::permanent(
            Code::MembershipHasNoEffect,
            format!(
                "{:?} would be a member of {:?} without its rights, or without the right to SET ROLE to it.",
                pending.name,
                turn.base().unwrap_or_default()
            ),
            format!("Look at it: {}", guards::look_at(&pending.name)),
        ));
    }
    Ok(())
}
