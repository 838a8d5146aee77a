//! PostgreSQL: a role for each login, a member of the document's access role and acting as it. The server itself refuses the
//! password once `VALID UNTIL` has passed, whatever becomes of this function; open sessions are ended by the sweep.

use super::{Closed, Holder, Made, NotMade, Opening};
use crate::codes::Code;
use crate::document::{Document, PostgresDocument, Who};
use crate::login::{LoginName, PREFIX, Record};
use crate::settings::Settings;
use chrono::{DateTime, SecondsFormat};
use keyturn::address::Address;
use keyturn::clock::instant;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::{Attempt, Failure, Kind};
use keyturn::secrets::Stored;
use keyturn::{Deadline, Error, Result, admin};
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{Connector, Login, Parameter, Place, Row, Session, Type, Words, literal, mark, quoted, scram};
use secrecy::ExposeSecret as _;
use std::time::Duration;
use tokio::time::Instant;

const WORDS: Words = Words {
    function: "break-glass",
    host: r#""host" in the document"#,
    dbname: r#""dbname" in the document"#,
    writer: r#""host" in the document"#,
    certified_elsewhere: "",
    users: "<the admin, and logins that begin with bg_>",
    only_scram: "this function allows SCRAM-SHA-256 only",
    replaces_md5: "",
    admin_needs: r#"See "What the admin needs" in the function's README; {"action": "check"} names what is missing."#,
};

/// What the comment of each role begins with, for whoever looks at the database's roles.
const MARK: &str = "keyturn break-glass: ";
/// From this version on a member of a role needs to be told so to have its rights and to act as it.
const SET_OPTION: i32 = 160_000;
/// Nothing of the database, operators included, can stand in for a catalog's; no wait without an end; no setting of the
/// database's owner that makes the admin a member of the roles it creates.
const BEGIN: &str = "BEGIN READ WRITE; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL jit = off; SET LOCAL lock_timeout = '5s'; \
    SET LOCAL statement_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '30s'; \
    SELECT set_config('createrole_self_grant', '', true) WHERE current_setting('createrole_self_grant', true) IS NOT NULL";
/// PostgreSQL's default, and the most that clients take.
const ITERATIONS: std::ops::RangeInclusive<i32> = 4096..=100_000;
/// The remedy where a row is held by nobody's session.
const HELD: &str = "Its sessions were ended. A prepared transaction may hold the role: SELECT gid, database FROM pg_prepared_xacts WHERE owner LIKE 'bg\\_%'; as a superuser, in that database: ROLLBACK PREPARED '<gid>'. The next sweep tries again.";
/// Where the admin works, unless its secret names another database.
const HOME: &str = "postgres";
/// How long sessions may take to end.
const SESSIONS_END: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a connection may take to start. A client can slow its own down (`post_auth_delay`): it has shown its password by then,
/// and the server does not say yet whose it is.
const STARTS: Duration = Duration::from_secs(1);
/// How long the login's row is waited for: at first, and while its sessions are ended.
const AT_ONCE: &str = "500ms";
const IN_QUEUE: &str = "3s";

pub(crate) struct Postgres {
    connector: Connector,
}

/// The admin's session, and what it found.
pub(crate) struct Admin<'s> {
    postgres: &'s Postgres,
    document: &'s Document,
    engine: &'s PostgresDocument,
    login: Login,
    session: Session,
    facts: Facts,
}

/// What opening and closing depend on.
#[derive(Clone, Debug)]
struct Facts {
    version: i32,
    /// The role that the admin acts as.
    admin: String,
    /// What is missing first.
    lack: Option<Lack>,
    /// Roles by which a member of the access role could change how long a login lasts, keep the admin from ending it, or stay: one
    /// that may log in can be given a password by whoever acts as it.
    powers: Vec<String>,
    scram_iterations: i32,
}

/// Why no login can be made, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// The server takes no changes.
    Writer,
    /// There is no such database.
    Database,
    /// There is no access role.
    AccessRole,
    /// The admin may not create roles.
    CreateRole,
    /// The admin may not make members of the access role.
    AccessAdmin,
    /// The admin does not have the access role's rights, or may not act as it: what a person has made could not be given to it.
    AccessRights,
    /// Before version 16 a role may take back what makes the admin its member, and with it the power to end its sessions.
    Signal,
    /// RDS lets only members of `rds_password` set passwords, and the admin is none.
    RdsPassword,
    /// The access role may not connect to the document's database, and so neither may its member, the admin.
    Connect,
}

impl Postgres {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { connector: Connector::new(&WORDS, settings.database_ca.clone(), false) }
    }

    pub(super) async fn connect<'s>(
        &'s self,
        document: &'s Document,
        engine: &'s PostgresDocument,
        stored: &Stored,
        deadline: Deadline,
    ) -> Result<Admin<'s>> {
        let what = format!("the admin secret {}", stored.arn);
        let credential = Credential::parse(stored.text.clone(), &what)?;
        let address = Address::new(&engine.host, engine.port);
        if let Some(host) = credential.host()
            && Address::new(host, credential.port().unwrap_or(engine.port)) != address
        {
            return Err(Error::new(
                Core::AdminOfAnotherServer,
                format!("{what} is for {host}, and the document of {} for {address}.", document.name),
                "Correct \"host\" and \"port\" in the document, or \"admin_secret\".",
            ));
        }
        // Not to the document's database, if that can be: people on call may own it, and with it what its sessions begin with.
        // What only reads is looked at in its own database.
        let home = match document.who {
            Who::OnCall(_) => credential.dbname().unwrap_or(HOME),
            Who::Anybody => &engine.database,
        };
        let home = home.to_owned();
        let mut login = Login::new(&credential, Place { address, database: home, tls_name: None });
        let mut opened = self.connector.open(&login, deadline).await;
        let is_shut = |failure: &Failure| {
            failure.error.is(PostgresCode::ConnectDenied) || failure.error.is(PostgresCode::DatabaseNotFound)
        };
        if opened.as_ref().is_err_and(is_shut) {
            login.place.database.clone_from(&engine.database);
            opened = self.connector.open(&login, deadline).await;
        }
        let session = opened.map_err(|failure| match failure.kind {
            Kind::PasswordRefused => admin::password_refused(&stored.arn, failure.error.message()),
            _ => failure.error,
        })?;
        let session = session.until(deadline);
        let facts = facts(&session, engine).await.map_err(|failure| failure.error)?;
        Ok(Admin { postgres: self, document, engine, login, session, facts })
    }
}

async fn facts(session: &Session, engine: &PostgresDocument) -> Attempt<Facts> {
    // Of an older server the row of a membership has no set_option: every member can act as the role.
    let sql = "WITH RECURSIVE
        me AS (SELECT oid, rolname, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user),
        access AS (SELECT oid FROM pg_roles WHERE rolname = $1),
        reach(oid) AS (
            SELECT oid FROM access
            UNION
            SELECT m.roleid FROM reach r JOIN pg_auth_members m ON m.member = r.oid
            WHERE m.admin_option OR coalesce((to_jsonb(m)->>'set_option')::boolean, true)
        ),
        server AS (SELECT current_setting('server_version_num')::int AS version),
        db AS (SELECT oid FROM pg_database WHERE datname = $2)
        SELECT server.version, me.rolname::text, pg_is_in_recovery(),
            me.rolsuper OR me.rolcreaterole,
            access.oid IS NOT NULL,
            me.rolsuper OR (CASE WHEN server.version >= 160000
                THEN coalesce(pg_has_role(me.oid, access.oid, 'MEMBER WITH ADMIN OPTION'), false) ELSE me.rolcreaterole END),
            me.rolsuper OR coalesce(pg_has_role(me.oid, access.oid, 'USAGE')
                AND pg_has_role(me.oid, access.oid, CASE WHEN server.version >= 160000 THEN 'SET' ELSE 'MEMBER' END), false),
            coalesce(has_database_privilege(access.oid, db.oid, 'CONNECT'), false),
            ARRAY(SELECT r.rolname::text FROM pg_roles r LEFT JOIN reach ON reach.oid = r.oid
                WHERE (reach.oid IS NOT NULL AND (r.rolsuper OR r.rolcreaterole OR r.rolcanlogin OR r.oid = me.oid))
                    OR (r.rolname IN ('pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend', 'rds_superuser')
                        AND (reach.oid IS NOT NULL OR coalesce(pg_has_role(access.oid, r.oid, 'USAGE'), false)))
                ORDER BY 1),
            coalesce(current_setting('scram_iterations', true)::int, 4096),
            coalesce(current_setting('rds.restrict_password_commands', true), '') IN ('on', '1')
                AND NOT coalesce((SELECT pg_has_role(me.oid, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'rds_password'), false),
            db.oid IS NOT NULL,
            me.rolsuper OR server.version >= 160000 OR pg_has_role(me.oid, 'pg_signal_backend', 'USAGE')
        FROM me CROSS JOIN server LEFT JOIN access ON true LEFT JOIN db ON true";
    let by: [Parameter<'_>; 2] = [(&engine.access, Type::TEXT), (&engine.database, Type::TEXT)];
    let rows = session.reading(session.rows(sql, &by, "reading what the admin may do")).await?;
    let row = &rows[0];
    let not = |column: usize| !row.get::<_, bool>(column);
    let lacks: [(Lack, bool); 9] = [
        (Lack::Writer, row.get(2)),
        (Lack::Database, not(11)),
        (Lack::AccessRole, not(4)),
        (Lack::CreateRole, not(3)),
        (Lack::AccessAdmin, not(5)),
        (Lack::AccessRights, not(6)),
        (Lack::Signal, not(12)),
        (Lack::RdsPassword, row.get(10)),
        (Lack::Connect, not(7)),
    ];
    Ok(Facts {
        version: row.get(0),
        admin: row.get(1),
        lack: lacks.into_iter().find(|(_, is_so)| *is_so).map(|(lack, _)| lack),
        powers: row.get(8),
        scram_iterations: row.get(9),
    })
}

impl Admin<'_> {
    /// # Errors
    /// `DATABASE_READ_ONLY`, `ACCESS_MISSING`, `ADMIN_LACKS_PRIVILEGE`, `ACCESS_TOO_POWERFUL`.
    pub(super) async fn vet(&self) -> Result<()> {
        if let Some(lack) = self.facts.lack {
            return Err(self.lacking(lack));
        }
        if self.document.who == Who::Anybody {
            self.only_reads().await?;
        }
        if self.facts.powers.is_empty() || self.document.allow_power {
            return Ok(());
        }
        let access = &self.engine.access;
        Err(Error::new(
            Code::AccessTooPowerful,
            format!(
                "A member of {access:?} has the power of {}, and so could change how long a login lasts, or keep a way in.",
                self.facts.powers.join(", ")
            ),
            format!(
                "Take that from {} (LOGIN, CREATEROLE, SUPERUSER, these memberships); or write \"allow_power\": true into the document: then the sweep alone ends a login that its person has lengthened.",
                quoted(access)
            ),
        ))
    }

    /// The setting `default_transaction_read_only` is the session's to change: what keeps it from writing is what the role may.
    async fn only_reads(&self) -> Result<()> {
        let sql = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND (has_table_privilege($1, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                    OR has_any_column_privilege($1, c.oid, 'INSERT, UPDATE'))
            LIMIT 1";
        let access = self.engine.access.as_str();
        let by_name: [Parameter<'_>; 1] = [(&access, Type::TEXT)];
        let rows = self.session.rows(sql, &by_name, "looking what the access may write");
        let rows = self.session.reading(rows).await.map_err(|failure| failure.error)?;
        let Some(row) = rows.first() else { return Ok(()) };
        let table: String = row.get(0);
        Err(Error::new(
            Code::AccessTooPowerful,
            format!("The document of {} is \"read_only\", and {access:?} may write to {table}.", self.document.name),
            format!(
                "REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM {}; or name a role that only reads.",
                quoted(access)
            ),
        ))
    }

    fn lacking(&self, lack: Lack) -> Error {
        let Facts { admin, version, .. } = &self.facts;
        let (access, database, address) = (&self.engine.access, &self.engine.database, &self.login.place.address);
        let admin_lacks = |what: String, remedy: String| {
            Error::new(Core::AdminLacksPrivilege, format!("The admin {admin:?} {what}."), remedy)
        };
        match lack {
            Lack::Writer => Error::new(
                Core::DatabaseReadOnly,
                format!("{address} takes no changes."),
                "Let \"host\" in the document name the writer.",
            ),
            Lack::Database => Error::new(
                PostgresCode::DatabaseNotFound,
                format!("{address} has no database {database:?}."),
                "Correct \"dbname\" in the document.",
            ),
            Lack::AccessRole => Error::new(
                Code::AccessMissing,
                format!("{address} has no role {access:?}."),
                format!("As an administrator: CREATE ROLE {} NOLOGIN", quoted(access)),
            ),
            Lack::CreateRole => admin_lacks(
                "may not create roles".to_owned(),
                format!("As a superuser: ALTER ROLE {} CREATEROLE", quoted(admin)),
            ),
            Lack::AccessAdmin => {
                let with = if *version >= SET_OPTION { "ADMIN TRUE, INHERIT TRUE, SET TRUE" } else { "ADMIN OPTION" };
                admin_lacks(
                    format!("cannot make members of {access:?}"),
                    format!(
                        "As a superuser, or as who made the role: GRANT {} TO {} WITH {with}",
                        quoted(access),
                        quoted(admin)
                    ),
                )
            }
            // Whoever made a role has ADMIN on it, and gives itself the rest (from 16 on).
            Lack::AccessRights => {
                let with = if *version >= SET_OPTION { " WITH INHERIT TRUE, SET TRUE" } else { "" };
                admin_lacks(
                    format!("does not have the rights of {access:?}, which has to get what people leave behind"),
                    format!("As this admin, or as a superuser: GRANT {} TO {}{with}", quoted(access), quoted(admin)),
                )
            }
            Lack::Signal => admin_lacks(
                "may not end sessions of logins that take back its membership".to_owned(),
                format!("As a superuser (on RDS the master user): GRANT pg_signal_backend TO {}", quoted(admin)),
            ),
            Lack::RdsPassword => admin_lacks(
                "may not set passwords: rds.restrict_password_commands is on".to_owned(),
                format!("As the master user: GRANT rds_password TO {}", quoted(admin)),
            ),
            Lack::Connect => admin_lacks(
                format!("would make logins that cannot come in: {access:?} lacks CONNECT on {database:?}"),
                format!("GRANT CONNECT ON DATABASE {} TO {}", quoted(database), quoted(access)),
            ),
        }
    }

    /// One transaction, in one round trip.
    ///
    /// Safe to repeat: the name is new each time, and until COMMIT nothing has happened.
    pub(super) async fn make(&self, opening: &Opening<'_>) -> std::result::Result<Made, NotMade> {
        let certainly = |error| NotMade { error, is_certain: true };
        let iterations = self.facts.scram_iterations.clamp(*ITERATIONS.start(), *ITERATIONS.end()).unsigned_abs();
        let hash = scram(opening.password, iterations).map_err(|why| {
            certainly(Error::of(
                Core::RandomnessUnavailable,
                format!("The operating system gave no random bytes: {why}."),
            ))
        })?;
        let sql = self.creation(opening.record, hash.expose_secret());
        match self.session.run(&sql, "making the login").await {
            Ok(()) => Ok(Made { ready: true }),
            Err(failure) => {
                // Whatever the server refuses it has rolled back; a connection that broke may have carried the COMMIT, and a server that
                // stops may have done it.
                let is_certain =
                    !failure.error.is(Core::DatabaseUnreachable) && !failure.error.is(Core::DatabaseUnavailable);
                Err(NotMade { error: failure.error, is_certain })
            }
        }
    }

    fn creation(&self, record: &Record, hash: &str) -> String {
        let role = quoted(record.login.as_str());
        let access = &self.engine.access;
        let until = literal(&record.until.to_rfc3339_opts(SecondsFormat::Secs, true));
        let about = literal(&format!("{MARK}{}, {}, until {}", record.person, record.reason, instant(record.until)));
        let read_only = match self.document.who {
            Who::Anybody => format!("; ALTER ROLE {role} SET default_transaction_read_only = on"),
            Who::OnCall(_) => String::new(),
        };
        format!(
            "{BEGIN}; \
            CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT \
            CONNECTION LIMIT {} VALID UNTIL {until} PASSWORD {} IN ROLE {}; \
            {}; \
            ALTER ROLE {role} SET role = {}{read_only}; \
            COMMENT ON ROLE {role} IS {about}; \
            COMMIT",
            self.engine.connections,
            literal(hash),
            quoted(access),
            self.membership(&role),
            literal(access),
        )
    }

    /// Without it the admin could neither end the login's sessions nor give away what it owns. Given again when the login ends:
    /// before version 16 a role may take it back.
    fn membership(&self, role: &str) -> String {
        let with = if self.facts.version >= SET_OPTION { " WITH INHERIT TRUE, SET TRUE" } else { "" };
        format!("GRANT {role} TO CURRENT_USER{with}")
    }

    /// First nobody can come in any more, and that lasts; then the sessions end; then it goes.
    pub(super) async fn close(&self, login: &LoginName) -> Result<Closed> {
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
            Err(_) if self.exists(login).await.is_ok_and(|exists| !exists) => return Ok(Closed::Gone),
            Err(failure) => return Err(failure.error),
        }
        match self.drop_role(login).await {
            Ok(()) => Ok(Closed::Gone),
            Err(_) if self.exists(login).await.is_ok_and(|exists| !exists) => Ok(Closed::Gone),
            Err(failure) => Ok(Closed::Disabled(self.not_dropped(login, &failure.error))),
        }
    }

    async fn exists(&self, login: &LoginName) -> Attempt<bool> {
        let by_name: [Parameter<'_>; 1] = [(&login.as_str(), Type::TEXT)];
        let sql = "SELECT FROM pg_roles WHERE rolname = $1";
        let rows = self.session.reading(self.session.rows(sql, &by_name, "looking for the login")).await?;
        Ok(!rows.is_empty())
    }

    /// Takes LOGIN and the access from the role, and from everybody whom its person made a member (before version 16 a role may).
    /// Whoever is logged in as it may hold its row (`ALTER ROLE ... PASSWORD` in a transaction that is left open): then its sessions
    /// are ended while the statement waits in front of all others, so that none of them can take the row again.
    async fn lock(&self, login: &LoginName) -> Attempt<()> {
        let (role, access) = (quoted(login.as_str()), quoted(&self.engine.access));
        let members = self.members(login).await?;
        let revokes: String =
            members.iter().fold(String::new(), |all, name| all + &format!("REVOKE {role} FROM {}; ", quoted(name)));
        let lock = |patience: &str| {
            format!(
                "{BEGIN}; SET LOCAL lock_timeout = '{patience}'; {}; {revokes}REVOKE {access} FROM {role}; \
                ALTER ROLE {role} NOLOGIN; COMMIT",
                self.membership(&role)
            )
        };
        let doing = "locking the login";
        let Err(first) = self.session.run(&lock(AT_ONCE), doing).await else { return Ok(()) };
        self.session.run("ROLLBACK", doing).await?;
        let deadline = self.session.deadline();
        let other = self.postgres.connector.open(&self.login, deadline).await?.until(deadline);
        let patient = lock(IN_QUEUE);
        let locking = self.session.run(&patient, doing);
        let ending = async {
            loop {
                self.terminate(&other, login).await?;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let locked = tokio::select! {
            locked = locking => locked,
            failed = ending => failed,
        };
        let Err(failure) = locked else { return Ok(()) };
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
        let (role, access) = (quoted(login.as_str()), quoted(&self.engine.access));
        Error::new(
            Code::LoginNotDropped,
            format!(
                "Nobody can use {login} at {} any more, and its sessions are over; but it is still there: {}",
                self.login.place.address,
                why.message()
            ),
            format!(
                "As a superuser (on RDS the master user), in each database that the message or DROP ROLE names: REASSIGN OWNED BY {role} TO {access}; DROP OWNED BY {role}; then DROP ROLE {role}. The next sweep then forgets it."
            ),
        )
    }

    pub(super) async fn logins(&self) -> Result<Vec<String>> {
        let sql = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY 1";
        let rows = self.session.rows(sql, &[(&PREFIX, Type::TEXT)], "listing logins");
        let rows = self.session.reading(rows).await.map_err(|failure| failure.error)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(super) async fn holders(&self) -> Result<Vec<Holder>> {
        let sql = "WITH RECURSIVE reach(login, role) AS (
                SELECT oid, oid FROM pg_roles WHERE rolcanlogin
                UNION
                SELECT r.login, m.roleid FROM reach r JOIN pg_auth_members m ON m.member = r.role
            ),
            powers AS (
                SELECT reach.login, p.power FROM reach JOIN pg_roles r ON r.oid = reach.role
                CROSS JOIN LATERAL (VALUES
                    (CASE WHEN r.rolsuper THEN 'superuser' END), (CASE WHEN r.rolcreaterole THEN 'createrole' END),
                    (CASE WHEN r.rolbypassrls THEN 'bypassrls' END), (CASE WHEN r.rolreplication THEN 'replication' END),
                    (CASE WHEN r.rolname = $1 OR r.rolname IN ('rds_superuser', 'pg_execute_server_program',
                        'pg_write_server_files', 'pg_read_all_data', 'pg_write_all_data') THEN 'member of ' || r.rolname END)
                ) AS p(power) WHERE p.power IS NOT NULL
            )
            SELECT l.rolname::text, array_agg(DISTINCT p.power ORDER BY p.power), shobj_description(l.oid, 'pg_authid'),
                CASE WHEN isfinite(l.rolvaliduntil) THEN extract(epoch FROM l.rolvaliduntil)::bigint END
            FROM powers p JOIN pg_roles l ON l.oid = p.login GROUP BY l.oid, l.rolname, l.rolvaliduntil ORDER BY 1";
        let access = self.engine.access.as_str();
        let by_name: [Parameter<'_>; 1] = [(&access, Type::TEXT)];
        let rows = self.session.rows(sql, &by_name, "reading who holds power");
        let rows = self.session.reading(rows).await.map_err(|failure| failure.error)?;
        let holder = |row: &Row| {
            let comment: Option<String> = row.get(2);
            let until: Option<i64> = row.get(3);
            Holder {
                login: row.get(0),
                powers: row.get(1),
                // What a person gave as the reason is no mark.
                secret: comment
                    .filter(|text| !text.starts_with(MARK))
                    .as_deref()
                    .and_then(mark::secret_in)
                    .map(str::to_owned),
                until: until.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            }
        };
        Ok(rows.iter().map(holder).collect())
    }
}
