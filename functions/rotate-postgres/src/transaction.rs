//! setSecret's transaction: the admin gives the pending user its password and makes it what it must be.

use crate::case::Case;
use crate::catalog::{self, Catalog, Query, Role};
use crate::codes::Code;
use crate::errors;
use crate::guards;
use crate::layout::{Base, Turn};
use crate::mark;
use crate::session::Session;
use crate::settings::PasswordHash;
use crate::statements::{self, MembershipOptions, Statement};
use crate::verifier;
use backon::{ConstantBuilder, Retryable as _};
use keyturn::codes::Code as Core;
use keyturn::failure::{Attempt, Failure};
use keyturn::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeSet;
use std::time::Duration;

/// A fixed schema path so that no object of the database can stand in for a catalog, and no wait without an end.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; \
    SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '30s'";

/// A transaction that meets another one's lock begins anew after this: what it has read may be outdated by then.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// No fewer than PostgreSQL's default, whatever somebody has set for the admin's database; and no more than clients take:
/// libpq's limit is higher, but tokio-postgres (and so this function's own login) stops here.
const MIN_ITERATIONS: u32 = 4096;
const MAX_ITERATIONS: u32 = 100_000;

/// What the transaction is to achieve.
pub(crate) struct Wanted<'w> {
    pub(crate) case: &'w Case,
    pub(crate) turn: &'w Turn,
    /// The secret's database.
    pub(crate) database: &'w str,
    /// The admin's login.
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
    let was_marked = begin_and_lock(session, wanted, deadline).await?;
    // Only what is read under the lock counts.
    let before = read(session, wanted).await?;
    guards::warn(&guards::roles(wanted.case, wanted.turn, wanted.admin, &before)?);
    let verifier = wanted.password.map(|password| hash(password, wanted, &before)).transpose()?;
    let statements = statements::of(wanted.case, wanted.turn, &before, verifier.as_ref());
    if statements.is_empty() && was_marked {
        prove(wanted, &before)?;
        session.run("ROLLBACK", "ending the transaction").await?;
        return Ok(Vec::new());
    }
    let changes = execute(session, &statements).await?;
    let (after, ()) = tokio::try_join!(read(session, wanted), async { still().await.map_err(Failure::from) })?;
    prove(wanted, &after)?;
    session.run("COMMIT", "committing").await?;
    Ok(changes)
}

/// Two rotations of the same two users, whichever way round and whichever secret they are for, do not overlap: marking a
/// role with its secret locks it, as only an admin can. Gives back whether the marks were there already.
async fn begin_and_lock(session: &Session, wanted: &Wanted<'_>, deadline: Deadline) -> Attempt<bool> {
    let take = || async {
        session.run(BEGIN, "starting the transaction").await?;
        let seen = read(session, wanted).await?;
        if seen.server.read_only {
            return Err(errors::read_only(session.place()));
        }
        guards::roles(wanted.case, wanted.turn, wanted.admin, &seen)?;
        // In the order of their names, so that no two transactions wait for each other.
        let users = BTreeSet::from([&wanted.turn.current, &wanted.turn.pending]);
        let users: Vec<&Role> = users.into_iter().filter_map(|name| seen.role(name)).collect();
        let marks: Vec<String> = users.iter().map(|role| mark::statement(role, &wanted.case.secret)).collect();
        // Not a moment's wait: what another transaction changes meanwhile would not be in the comments written here.
        let sql = format!("SET LOCAL lock_timeout = '1ms'; {}; SET LOCAL lock_timeout = '5s'", marks.join("; "));
        match session.run(&sql, "taking the rotation's lock").await {
            Ok(()) => {}
            Err(failure) if failure.error.is(Core::DatabaseBusy) => {
                session.run("ROLLBACK", "ending the transaction").await?;
                return Err(locked(wanted.turn, session));
            }
            Err(failure) => return Err(failure),
        }
        let is_marked = |role: &&Role| role.comment.as_deref().and_then(mark::secret_in) == Some(&wanted.case.secret);
        Ok(users.iter().all(is_marked))
    };
    // A pause takes up to twice as long, and then there are the questions themselves.
    let is_time_left = || deadline.remaining() >= 4 * LOCK_PAUSE;
    take.retry(ConstantBuilder::default().with_delay(LOCK_PAUSE).with_jitter().without_max_times())
        .when(|failure: &Failure| failure.error.is(Code::RotationLocked) && is_time_left())
        .await
}

fn locked(turn: &Turn, session: &Session) -> Failure {
    Failure::permanent(
        Code::RotationLocked,
        format!(
            "Another transaction holds the lock of {:?} or {:?} on {}: another rotation, or somebody who changes the role.",
            turn.current,
            turn.pending,
            session.place().address
        ),
        "It lets go when its transaction ends. To see it: SELECT a.pid, a.usename, a.state, a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'object' AND l.classid = 'pg_authid'::regclass AND l.granted",
    )
}

async fn read(session: &Session, wanted: &Wanted<'_>) -> Attempt<Catalog> {
    let turn = wanted.turn;
    let mut names = vec![turn.current.clone(), turn.pending.clone()];
    names.extend(turn.base().map(str::to_owned));
    let admin = (wanted.admin.to_owned(), session.place().database.clone());
    let query = Query { names, database: wanted.database.to_owned(), admin: Some(admin) };
    let mut catalog = catalog::read(session, &query).await?;
    catalog::add_parameter_privileges(session, &mut catalog).await?;
    Ok(catalog)
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

async fn execute(session: &Session, statements: &[Statement]) -> Attempt<Vec<String>> {
    if !statements.is_empty() {
        let sql: Vec<&str> = statements.iter().map(|statement| statement.sql.expose_secret()).collect();
        session.run(&sql.join("; "), "changing the user").await?;
    }
    Ok(statements.iter().map(|statement| statement.says.clone()).collect())
}

/// What must hold before COMMIT, or nothing happens at all.
fn prove(wanted: &Wanted<'_>, catalog: &Catalog) -> Attempt<()> {
    let turn = wanted.turn;
    let Some(pending) = catalog.role(&turn.pending) else {
        return Err(errors::vanished(&turn.pending));
    };
    if pending.expired {
        return Err(guards::expired(pending).into());
    }
    let base = match &turn.base {
        Base::Owner(_) | Base::Current => turn.base().and_then(|base| catalog.role(base)),
        Base::Pending | Base::None => None,
    };
    if let (Some(base), Some(current)) = (base, catalog.role(&turn.current))
        && !MembershipOptions::of(current, base).are_given_to(pending, base)
    {
        return Err(Failure::permanent(
            Code::MembershipHasNoEffect,
            format!(
                "{:?} would be a member of {:?} without the rights that {:?} has.",
                pending.name, base.name, current.name
            ),
            format!("Look at it: {}", guards::look_at(&pending.name)),
        ));
    }
    Ok(())
}
