//! The end of a login: nobody comes in any more, its sessions end, what it owns goes to the access role, it goes.

use super::{Admin, BEGIN, Closed, SET_OPTION};
use crate::codes::Code;
use crate::login::LoginName;
use keyturn::codes::Code as Core;
use keyturn::failure::{Attempt, Failure};
use keyturn::{Error, Result};
use keyturn_postgres::{Login, Parameter, Place, Session, Type, quoted};
use std::time::Duration;
use tokio::time::Instant;

/// The remedy where a row is held by nobody's session.
const HELD: &str = "Its sessions were ended. A prepared transaction may hold the role: SELECT gid, database FROM pg_prepared_xacts WHERE owner LIKE 'bg\\_%'; as a superuser, in that database: ROLLBACK PREPARED '<gid>'. The next sweep tries again.";
/// How long sessions may take to end.
const SESSIONS_END: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a connection may take to start. A client can slow its own down (`post_auth_delay`): it has shown its password by then,
/// and the server does not say yet whose it is.
const STARTS: Duration = Duration::from_secs(1);
/// How long the login's row is waited for: at first, and while its sessions are ended.
const AT_ONCE: &str = "500ms";
const IN_QUEUE: &str = "3s";

impl Admin<'_> {
    /// First nobody can come in any more, and that lasts; then the sessions end; then it goes.
    pub(in crate::systems) async fn close(&self, login: &LoginName) -> Result<Closed> {
        self.is_writer()?;
        if !self.exists(login).await.map_err(|failure| failure.error)? {
            return Ok(Closed::Absent);
        }
        let locked = async {
            self.lock(login).await?;
            self.end_sessions(login).await?;
            self.end_starting().await?;
            self.end_sessions(login).await
        };
        match locked.await {
            Ok(()) => {}
            // Another sweep, or its person, was quicker.
            Err(_) if self.is_gone(login).await => return Ok(Closed::Gone),
            Err(failure) => return Err(failure.error),
        }
        match self.drop_role(login).await {
            Ok(()) => Ok(Closed::Gone),
            Err(_) if self.is_gone(login).await => Ok(Closed::Gone),
            Err(failure) => Ok(Closed::Disabled(self.not_dropped(login, &failure.error))),
        }
    }

    /// After a failure, which may have left the session in a transaction that takes nothing more.
    async fn is_gone(&self, login: &LoginName) -> bool {
        let ended = self.session.run("ROLLBACK", "ending the transaction").await;
        ended.is_ok() && self.exists(login).await.is_ok_and(|exists| !exists)
    }

    async fn exists(&self, login: &LoginName) -> Attempt<bool> {
        let by_name: [Parameter<'_>; 1] = [(&login.as_str(), Type::TEXT)];
        let sql = "SELECT FROM pg_roles WHERE rolname = $1";
        let rows = self.session.reading(self.session.rows(sql, &by_name, "looking for the login")).await?;
        Ok(!rows.is_empty())
    }

    /// Takes LOGIN and the access from the role, and from everybody whom its person made a member (before version 16 a role may).
    /// Where the access cannot be taken (somebody has renamed it), LOGIN alone.
    async fn lock(&self, login: &LoginName) -> Attempt<()> {
        let (role, access) = (quoted(login.as_str()), quoted(&self.engine.access));
        let no_login = format!("ALTER ROLE {role} NOLOGIN");
        let members = self.members(login).await?;
        let revokes: String =
            members.iter().fold(String::new(), |all, name| all + &format!("REVOKE {role} FROM {}; ", quoted(name)));
        let all = format!("{}; {revokes}REVOKE {access} FROM {role}; {no_login}", self.membership(&role));
        match self.changed(login, &all).await {
            Err(failure) if !failure.is_transient() => self.changed(login, &no_login).await,
            done => done,
        }
    }

    /// Changes the role. Whoever is logged in as it may hold its row (`ALTER ROLE ... PASSWORD` in a transaction that is left
    /// open): then its sessions are ended while the statement waits in front of all others, so that none of them can take the row
    /// again.
    async fn changed(&self, login: &LoginName, statements: &str) -> Attempt<()> {
        let change = |patience: &str| format!("{BEGIN}; SET LOCAL lock_timeout = '{patience}'; {statements}; COMMIT");
        let doing = "locking the login";
        let Err(first) = self.session.run(&change(AT_ONCE), doing).await else { return Ok(()) };
        self.session.run("ROLLBACK", doing).await?;
        if !first.is_transient() {
            return Err(first);
        }
        let deadline = self.session.deadline();
        let other = self.postgres.connector.open(&self.login, deadline).await?.until(deadline);
        let patient = change(IN_QUEUE);
        let changing = self.session.run(&patient, doing);
        let ending = async {
            loop {
                self.terminate(&other, login).await?;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let changed = tokio::select! {
            changed = changing => changed,
            failed = ending => failed,
        };
        let Err(failure) = changed else { return Ok(()) };
        self.session.run("ROLLBACK", doing).await?;
        let is_held = failure.error.is(Core::DatabaseBusy);
        Err(if is_held { Failure { error: first.error.with_remedy(HELD), ..first } } else { failure })
    }

    /// Those whom its person made members of a role.
    async fn members(&self, login: &LoginName) -> Attempt<Vec<String>> {
        if self.facts.version >= SET_OPTION {
            return Ok(Vec::new());
        }
        let sql = "SELECT pg_get_userbyid(member)::text FROM pg_auth_members
            WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = $1) AND pg_get_userbyid(member) <> current_user";
        let by_name: [Parameter<'_>; 1] = [(&login.as_str(), Type::TEXT)];
        let rows =
            self.session.reading(self.session.rows(sql, &by_name, "looking who is a member of the login")).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Ends the sessions that there are, and says how many there were.
    async fn terminate(&self, session: &Session, login: &LoginName) -> Attempt<i64> {
        // First whose sessions they are: in one WHERE, the planner may well end a session before it looks whose it is.
        let sql = "WITH theirs AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE usename = $1)
            SELECT count(pg_terminate_backend(pid)) FROM theirs";
        let by_name: [Parameter<'_>; 1] = [(&login.as_str(), Type::TEXT)];
        let rows = session.reading(session.rows(sql, &by_name, "ending the login's sessions")).await?;
        Ok(rows[0].get(0))
    }

    async fn end_sessions(&self, login: &LoginName) -> Attempt<()> {
        let within = self.session.deadline().at_most(SESSIONS_END);
        while self.terminate(&self.session, login).await? > 0 {
            if within.remaining() < LOOK_AGAIN {
                return Err(self.sessions_remain(login.as_str()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Waits for the connections that have begun to start before the login was locked, and ends those that take too long: one of
    /// them may be the login's.
    async fn end_starting(&self) -> Attempt<()> {
        let begun = Instant::now();
        let mut left = self.starting().await?;
        while !left.is_empty() {
            if begun.elapsed() > STARTS {
                for pid in &left {
                    // Without `pg_signal_backend` the server refuses it for a connection that is not the login's.
                    let end = format!("SELECT pg_catalog.pg_terminate_backend({pid})");
                    let _ = self.session.execute(&end, "ending a connection that does not start").await;
                }
            }
            if begun.elapsed() > SESSIONS_END {
                return Err(self.sessions_remain("connections that are still starting"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = self.starting().await?;
            left.retain(|pid| now.contains(pid));
        }
        Ok(())
    }

    /// Backends that have a database already, and of which the server does not say yet whose they are.
    async fn starting(&self) -> Attempt<Vec<i32>> {
        let sql = "SELECT DISTINCT l.pid FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.pid IS NOT NULL AND a.usesysid IS NULL
                AND coalesce(a.backend_type, '') NOT LIKE 'autovacuum%'";
        let rows = self.session.reading(self.session.rows(sql, &[], "looking who is about to come in")).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn sessions_remain(&self, whose: &str) -> Failure {
        Failure::transient(
            Code::SessionsRemain,
            format!("Sessions of {whose} at {} did not end.", self.login.place.address),
            "Nothing: the next sweep ends them. If it goes on, look what they wait for: SELECT pid, usename, wait_event_type, wait_event FROM pg_stat_activity WHERE usename LIKE 'bg\\_%' OR usename IS NULL",
        )
    }

    /// What the role owns goes to the access role, what it was given goes away, in every database where there is something.
    async fn drop_role(&self, login: &LoginName) -> Attempt<()> {
        let sql = "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = $1)
                AND d.datname <> current_database()";
        let by_name: [Parameter<'_>; 1] = [(&login.as_str(), Type::TEXT)];
        let elsewhere = self.session.rows(sql, &by_name, "looking where the login has something");
        let (role, access) = (quoted(login.as_str()), quoted(&self.engine.access));
        // A database may have its sessions begin as another role.
        let begin = format!("{BEGIN}; SET LOCAL ROLE {}; {}", quoted(&self.facts.admin), self.membership(&role));
        let give_away = format!("REASSIGN OWNED BY {role} TO {access}; DROP OWNED BY {role}");
        for row in self.session.reading(elsewhere).await? {
            let place = Place { database: row.get(0), ..self.login.place.clone() };
            let login = Login { place, ..self.login.clone() };
            let there =
                self.postgres.connector.open(&login, self.session.deadline()).await?.until(self.session.deadline());
            there.run(&format!("{begin}; {give_away}; COMMIT"), "giving away what the login owns").await?;
        }
        self.session.run(&format!("{begin}; {give_away}; DROP ROLE {role}; COMMIT"), "dropping the login").await
    }

    fn not_dropped(&self, login: &LoginName, why: &Error) -> Error {
        let (role, access, admin) = (quoted(login.as_str()), quoted(&self.engine.access), quoted(&self.facts.admin));
        // RDS's master user is no superuser, and not the one that has made the login.
        let first = if self.facts.version >= SET_OPTION {
            format!("GRANT {admin} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE; SET ROLE {admin}")
        } else {
            format!("GRANT {role}, {access} TO CURRENT_USER")
        };
        Error::new(
            Code::LoginNotDropped,
            format!(
                "Nobody can use {login} at {} any more, and its sessions are over; but it is still there: {}",
                self.login.place.address,
                why.message()
            ),
            format!(
                "As a superuser, in each database that the message or DROP ROLE names: REASSIGN OWNED BY {role} TO {access}; DROP OWNED BY {role}; then DROP ROLE {role}. As RDS's master user, before that and in each session: {first}. The next sweep then forgets it."
            ),
        )
    }
}
