//! setSecret's transaction: the admin gives the pending user its password and makes it what it must be.

use crate::case::Case;
use crate::catalog::{self, Catalog, Query, Role};
use crate::codes::Code;
use crate::errors;
use crate::guards;
use crate::layout::Turn;
use crate::mark;
use crate::postgres::{Admin, Postgres};
use crate::settings::{PasswordHash, StaleSessions};
use crate::statements::{self, MembershipOptions};
use backon::{ConstantBuilder, Retryable as _};
use keyturn::Result;
use keyturn::codes::Code as Core;
use keyturn::failure::{Attempt, Failure};
use keyturn::rotation::Job;
use keyturn_postgres::{Parameter, Session, Type, literal, quoted};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::time::Duration;
use zeroize::Zeroizing;

/// A fixed schema path so that no object of the database can stand in for a catalog, no wait without an end, and no setting
/// of the database's owner that makes the admin a member of the role it creates (16 and later).
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL jit = off; \
    SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '30s'; \
    SELECT set_config('createrole_self_grant', '', true) WHERE current_setting('createrole_self_grant', true) IS NOT NULL";

/// A lock that is free is had in this time.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How long a transaction stands in the queue for its users' locks. PostgreSQL takes them before it asks whether the session
/// may write the comment: others can be in the queue for a moment, but cannot stay.
const IN_QUEUE: Duration = Duration::from_secs(3);

/// A transaction that did not get a lock begins anew after this.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What the transaction is to achieve.
pub(crate) struct Wanted<'w> {
    pub(crate) case: &'w Case,
    pub(crate) job: &'w Job,
    pub(crate) turn: &'w Turn,
    /// The secret's database.
    pub(crate) database: &'w str,
    pub(crate) admin: &'w Admin,
    pub(crate) postgres: &'w Postgres,
    /// `None` when the pending password works already, so that it must not be set again.
    pub(crate) password: Option<&'w SecretString>,
    /// The session of the user in use, where it has one: it saves the admin a second connection.
    pub(crate) proven: Option<&'w Session>,
}

impl Wanted<'_> {
    fn query<'q>(&'q self, names: &'q [String], session: &'q Session) -> Query<'q> {
        let (database, admin) = (self.database, &self.admin.login.user);
        Query { names, database, admin, its_database: &session.place().database }
    }
}

/// Runs the transaction and gives back what it changed, in words.
///
/// Safe to repeat: it compares first, the password is the pending version's own, and until COMMIT nothing has happened.
pub(crate) async fn run(
    session: &Session,
    wanted: &Wanted<'_>,
    still: &impl AsyncFn() -> Result<()>,
) -> Attempt<Vec<String>> {
    let before = begin_and_lock(session, wanted).await?;
    for warning in guards::judge(wanted.case, wanted.turn, &wanted.admin.login.user, &before).warnings()? {
        wanted.job.warn(&warning);
    }
    let verifier = wanted.password.map(|password| hash(password, wanted, &before)).transpose()?;
    let statements = statements::of(wanted.case, wanted.turn, &before, verifier.as_ref());
    let after = if statements.is_empty() {
        before
    } else {
        let sql: Vec<&str> = statements.iter().map(|statement| statement.sql.expose_secret()).collect();
        let sql = Zeroizing::new(sql.join("; "));
        let change = async {
            session.run(&sql, "changing the user").await?;
            // Only now: the change may have waited for somebody else's.
            still().await.map_err(Failure::from)
        };
        // The question is sent along. An error of the change is an error of both, and told as its own.
        let (changed, after) = tokio::join!(change, read(session, wanted));
        changed?;
        after?
    };
    prove(wanted, &after)?;
    // Without a change, too: the comments have been written as they were. With that, what an earlier try has left half committed
    // (its wait for a standby was cancelled) is as safe as the server makes any COMMIT, before clients get the password.
    session.commit().await?;
    let mut changes: Vec<String> = statements.into_iter().map(|statement| statement.says).collect();
    // Those that the pending user's clients of two turns before have still open. Safe to repeat: as long as the labels have not
    // moved, nobody has the new password but this function.
    if wanted.case.stale_sessions == StaleSessions::Terminate {
        still().await?;
        let ended = end_sessions(session, &wanted.turn.pending).await?;
        if ended > 0 {
            changes.push(format!("{ended} session(s) of {:?} ended", wanted.turn.pending));
        }
    }
    Ok(changes)
}

/// The sessions of a user but for this backend's, whatever their clients call themselves.
pub(crate) async fn count_sessions(session: &Session, user: &str, except: Option<i32>) -> Attempt<i64> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND pid IS DISTINCT FROM $2";
    let by: [Parameter<'_>; 2] = [(&user, Type::TEXT), (&except, Type::INT4)];
    let rows = session.reading(session.rows(sql, &by, "counting sessions")).await?;
    Ok(rows[0].get(0))
}

/// Ends every session of a user, and says how many.
pub(crate) async fn end_sessions(session: &Session, user: &str) -> Attempt<i64> {
    // First whose sessions they are: in one WHERE, the planner may well end a session before it looks whose it is.
    let sql = "WITH theirs AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE usename = $1)
        SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM theirs";
    let user: [Parameter<'_>; 1] = [(&user, Type::TEXT)];
    let rows = session.reading(session.rows(sql, &user, "ending sessions")).await?;
    Ok(rows[0].get(0))
}

/// Takes a user's password away, so that nobody logs in with any, and changes nothing else.
///
/// Safe to repeat: the next rotation sets a new one.
pub(crate) async fn take_password_away(
    session: &Session,
    user: &str,
    still: &impl AsyncFn() -> Result<()>,
) -> Attempt<()> {
    session.run(&format!("{BEGIN}; ALTER ROLE {} PASSWORD NULL", quoted(user)), "taking the password away").await?;
    still().await?;
    session.commit().await
}

/// Two rotations of the same two users, whichever way round and whichever secret they are for, do not overlap: writing a
/// role's comment locks the role, and only an admin can do that and stay. Gives back what is there under the lock, with the
/// comments as the lock found them.
async fn begin_and_lock(session: &Session, wanted: &Wanted<'_>) -> Attempt<Catalog> {
    let deadline = session.deadline();
    // At first without a moment's wait: nothing can have changed then since the comments were read.
    if let Some(catalog) = Box::pin(try_lock(session, wanted, AT_ONCE)).await? {
        return Ok(catalog);
    }
    let take = || async {
        // Some time has to be left to say that the lock was not to be had.
        let found = Box::pin(try_lock(session, wanted, IN_QUEUE.min(deadline.remaining() / 2))).await?;
        found.ok_or_else(|| locked(wanted.turn, session))
    };
    // A pause takes up to twice as long, and then there are the questions themselves.
    let is_time_left = || deadline.remaining() >= 4 * LOCK_PAUSE;
    take.retry(ConstantBuilder::default().with_delay(LOCK_PAUSE).with_jitter().without_max_times())
        .when(|failure: &Failure| failure.error.is(Code::RotationLocked) && is_time_left())
        .await
}

/// Comments by role.
type Comments = BTreeMap<String, Option<String>>;

fn comments(turn: &Turn, catalog: &Catalog) -> Comments {
    let users = [&turn.current, &turn.pending].into_iter().filter_map(|name| catalog.role(name));
    users.map(|role| (role.name.clone(), role.comment.clone())).collect()
}

/// Begins the transaction and takes the locks; `None` when somebody else has one for longer than `patience`.
async fn try_lock(session: &Session, wanted: &Wanted<'_>, patience: Duration) -> Attempt<Option<Catalog>> {
    let (begun, seen) = tokio::join!(session.run(BEGIN, "starting the transaction"), read(session, wanted));
    let ((), seen) = (begun?, seen?);
    if seen.server.read_only {
        return Err(session.read_only_failure());
    }
    guards::judge(wanted.case, wanted.turn, &wanted.admin.login.user, &seen).warnings()?;
    let found = comments(wanted.turn, &seen);
    // As they are, and in the order of the roles' names: a mark is written once it is known what they say under the lock.
    let writes: Vec<String> = found.iter().map(|(role, comment)| mark::comment(role, comment.as_deref())).collect();
    let sql = format!(
        "SET LOCAL lock_timeout = '{}ms'; {}; SET LOCAL lock_timeout = '5s'",
        patience.as_millis().max(1),
        writes.join("; ")
    );
    // Only what is read under the lock counts. The question is sent along: it is answered once there is the lock, or not at all.
    let (taken, locked) = tokio::join!(session.run(&sql, "taking the rotation's lock"), read(session, wanted));
    match taken {
        Ok(()) => {}
        Err(failure) if failure.error.is(Core::DatabaseBusy) => {
            session.run("ROLLBACK", "ending the transaction").await?;
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    }
    let locked = locked?;
    let is_marked = |role: &&Role| role.comment.as_deref().and_then(mark::secret_in) == Some(&wanted.case.secret);
    if patience == AT_ONCE && mark::users(wanted.turn, &seen).iter().all(is_marked) {
        return Ok(Some(with_comments(locked, found)));
    }
    // Somebody may have written a comment after it was read and before it was locked. What this transaction has written hides
    // that from itself, so that another session looks.
    let names = wanted.turn.names();
    let seen = match wanted.proven {
        Some(other) => catalog::survey(other, wanted.query(&names, session)).await.ok(),
        None => None,
    };
    let seen = if let Some(seen) = seen {
        seen
    } else {
        let other = wanted.admin.open(wanted.postgres, session.deadline()).await?.until(session.deadline());
        catalog::survey(&other, wanted.query(&names, session)).await?
    };
    let committed = comments(wanted.turn, &seen);
    let lost = committed.iter().filter(|(role, comment)| found.get(*role) != Some(comment));
    let writes: Vec<String> = lost.map(|(role, comment)| mark::comment(role, comment.as_deref())).collect();
    if !writes.is_empty() {
        session.run(&writes.join("; "), "writing the comments again").await?;
    }
    Ok(Some(with_comments(locked, committed)))
}

fn with_comments(mut catalog: Catalog, comments: Comments) -> Catalog {
    for (role, comment) in comments {
        catalog.roles.entry(role).and_modify(|role| role.comment = comment);
    }
    catalog
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
    let mut catalog = catalog::read(session, wanted.query(&wanted.turn.names(), session)).await?;
    catalog::add_parameter_privileges(session, &mut catalog).await?;
    Ok(catalog)
}

fn hash(password: &SecretString, wanted: &Wanted<'_>, catalog: &Catalog) -> Attempt<SecretString> {
    let md5 = match wanted.postgres.settings.password_hash {
        // Where the SCRAM password of the user in use is accepted, so is the other's, while a server that is set to make MD5 hashes
        // may refuse them at its door (`pg_hba.conf`).
        PasswordHash::Auto => catalog.server.encrypts_md5 && wanted.proven.is_none_or(|session| session.by_md5),
        PasswordHash::Scram => false,
        PasswordHash::Md5 => true,
    };
    if md5 {
        return Ok(postgres_protocol::password::md5(password.expose_secret().as_bytes(), &wanted.turn.pending).into());
    }
    Ok(keyturn_postgres::scram(password, catalog.server.scram_iterations)?)
}

/// What must hold before COMMIT, or nothing happens at all.
fn prove(wanted: &Wanted<'_>, catalog: &Catalog) -> Attempt<()> {
    let turn = wanted.turn;
    let Some(pending) = catalog.role(&turn.pending) else {
        return Err(errors::vanished(&turn.pending));
    };
    if pending.expired {
        return Err(guards::expired(pending, catalog.role(&turn.current).unwrap_or(pending)).into());
    }
    let base = turn.base().filter(|_| turn.copies()).and_then(|base| catalog.role(base));
    if let (Some(base), Some(current)) = (base, catalog.role(&turn.current))
        && !MembershipOptions::of(current, base).are_given_to(pending, base)
    {
        return Err(Failure::permanent(
            Code::MembershipHasNoEffect,
            format!(
                "{:?} would be a member of {:?} without the rights that {:?} has.",
                pending.name, base.name, current.name
            ),
            format!("Look at it: SELECT * FROM pg_roles WHERE rolname = {}", literal(&pending.name)),
        ));
    }
    Ok(())
}
