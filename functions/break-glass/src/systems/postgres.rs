//! PostgreSQL: a role for each login, a member of the document's access role and acting as it. The server itself refuses the
//! password once `VALID UNTIL` has passed, whatever becomes of this function; open sessions are ended by the sweep.

mod closing;
mod holders;
mod survey;

use self::survey::Facts;
use super::{Closed, Holder, Made, NotMade, Opening};
use crate::document::{Document, PostgresDocument, Who};
use crate::login::Record;
use crate::settings::Settings;
use chrono::SecondsFormat;
use keyturn::address::Address;
use keyturn::clock::instant;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::{Failure, Kind};
use keyturn::secrets::Stored;
use keyturn::{Deadline, Error, Result, admin};
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{Connector, Login, Place, Session, Words, literal, quoted, scram};
use secrecy::ExposeSecret as _;

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
/// Where the admin works, unless its secret names another database.
const HOME: &str = "postgres";
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
        let facts = survey::facts(&session, engine).await.map_err(|failure| failure.error)?;
        Ok(Admin { postgres: self, document, engine, login, session, facts })
    }
}

impl Admin<'_> {
    /// One transaction, in one round trip.
    ///
    /// Safe to repeat: the name is new each time, and until COMMIT nothing has happened.
    pub(super) async fn make(&self, opening: &Opening<'_>) -> std::result::Result<Made, NotMade> {
        let certainly = |error| NotMade { error, is_certain: true };
        let hash = scram(opening.password, self.facts.scram_iterations.unsigned_abs()).map_err(certainly)?;
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
}
