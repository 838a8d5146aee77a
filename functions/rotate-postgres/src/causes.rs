//! What a failed connection or statement means, by SQLSTATE and by the server routine that raised it (both are the same in
//! every language of the server's messages), and what to do about it.

use crate::handshake::Refusal;
use crate::place::Place;
use keyturn::Error;
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::error::{DbError, SqlState};

/// What a failure means for going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server answered, and refused this user's password. Nothing else ever means that.
    PasswordRefused,
    /// The server accepted the password, and then did not let this user in.
    PasswordAccepted,
    /// The same attempt may succeed in a moment.
    Transient,
    /// It will fail again until somebody changes something.
    Permanent,
}

/// A failure at the database.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) error: Error,
}

/// Shorthand for results with [`Failure`].
pub(crate) type Attempt<T> = std::result::Result<T, Failure>;

impl Failure {
    fn transient(code: &'static str, message: String, remedy: impl Into<String>) -> Self {
        Self { kind: Kind::Transient, error: Error::new(code, message, remedy) }
    }

    pub(crate) fn permanent(code: &'static str, message: String, remedy: impl Into<String>) -> Self {
        Self { kind: Kind::Permanent, error: Error::new(code, message, remedy) }
    }

    fn accepted(code: &'static str, message: String, remedy: impl Into<String>) -> Self {
        Self { kind: Kind::PasswordAccepted, error: Error::new(code, message, remedy) }
    }

    pub(crate) fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { kind: Kind::Permanent, error }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Lookup,
    Connect,
    TlsRequest,
    TlsHandshake,
    Login,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Lookup => "DNS lookup",
            Self::Connect => "TCP connect",
            Self::TlsRequest => "request for TLS",
            Self::TlsHandshake => "TLS handshake",
            Self::Login => "login",
        }
    }
}

const NETWORK: &str = "Check that the endpoint is right, that the function is in the database's VPC, and that its security group may reach the database's port.";

/// The host's name has no address.
pub(crate) fn no_address(place: &Place, why: &str) -> Failure {
    // The resolver is down: that says nothing about the name.
    if why.contains("Temporary failure") {
        return Failure::transient(
            "DATABASE_UNREACHABLE",
            format!("{} cannot be looked up now (DNS lookup): {why}.", place.server),
            "Check the VPC's DNS (enableDnsSupport, the resolver's rules).",
        );
    }
    Failure::permanent(
        "DATABASE_HOST_UNKNOWN",
        format!("Host {} has no address (DNS lookup): {why}.", place.server),
        "Correct \"host\" in the secret, or the VPC's DNS.",
    )
}

/// No TCP connection came about.
pub(crate) fn not_connected(place: &Place, why: &std::io::Error) -> Failure {
    Failure::transient(
        "DATABASE_UNREACHABLE",
        format!("{} cannot be reached (TCP connect): {why}.", place.server),
        NETWORK,
    )
}

/// There is no time left to try.
pub(crate) fn out_of_time(place: &Place) -> Failure {
    Failure::permanent(
        "OUT_OF_TIME",
        format!("The invocation's time was nearly up before {} could be connected to.", place.server),
        "Give the function a timeout of 30 s or more; Secrets Manager tries the rotation again by itself.",
    )
}

/// Nothing came back in time. Not tried again in this invocation: the next try is the service's.
pub(crate) fn silent(place: &Place, phase: Phase, limit: Duration) -> Failure {
    Failure::permanent(
        "DATABASE_UNREACHABLE",
        format!("{} did not answer within {:.1} s ({}).", place.server, limit.as_secs_f64(), phase.name()),
        NETWORK,
    )
}

/// The login became somebody else's session.
pub(crate) fn somebody_else(user: &str, actual: &str, place: &Place) -> Failure {
    Failure::permanent(
        "LOGGED_IN_AS_SOMEBODY_ELSE",
        format!("The login of {user:?} at {} became a session of {actual:?}.", place.server),
        "Look at pg_ident.conf, or at the proxy between.",
    )
}

/// A connection failed after TCP stood.
pub(crate) fn login(error: &tokio_postgres::Error, user: &str, place: &Place, phase: Phase) -> Failure {
    if let Some(refused) = error.as_db_error() {
        return login_refused(refused, user, place);
    }
    if let Some(refusal) = refusal_in(error) {
        return Failure::permanent(
            "AUTH_METHOD_REFUSED",
            format!(
                "{} wants to authenticate {user:?} in a way this function does not do: {refusal}. No password was sent.",
                place.server
            ),
            match refusal {
                // How RDS treats members of rds_iam; IAM tokens go over the wire as they are.
                Refusal::Cleartext => format!(
                    "Have pg_hba.conf ask for scram-sha-256. On RDS this is what members of rds_iam (direct or not) meet: REVOKE rds_iam FROM {}",
                    quoted(user)
                ),
                _ => format!(
                    "Have pg_hba.conf ask for scram-sha-256, and give {user:?} a SCRAM password (password_encryption = 'scram-sha-256'); with PASSWORD_HASH=auto the rotation itself replaces MD5 hashes."
                ),
            },
        );
    }
    let why = root_cause(error);
    match phase {
        // The server closed or said no before any TLS: tokio-postgres has no other error here.
        Phase::TlsRequest if !is_io(error) => Failure::permanent(
            "TLS_NOT_OFFERED",
            format!("{} does not offer TLS.", place.server),
            "Switch TLS on at the server (ssl = on; RDS has it on by default). This function never connects in clear text, whatever \"ssl\" in the secret says.",
        ),
        Phase::TlsHandshake if !is_io(error) => Failure::permanent(
            "TLS_UNTRUSTED",
            format!("The TLS handshake with {} failed: {}.", place.server, handshake_cause(error)),
            "The certificate must name this host and come from a known authority: for RDS use the endpoint's own name; for a private authority set DATABASE_CA_FILE to its PEM file.",
        ),
        // Not a lost connection: the two sides did not agree, or the server failed its own half of SCRAM's proof.
        Phase::Login if error.to_string().starts_with("authentication error") => Failure::permanent(
            "LOGIN_FAILED",
            format!("The login of {user:?} at {} failed on this side: {why}.", place.server),
            "The server must offer SCRAM-SHA-256, and prove that it knows the password; look for something in between.",
        ),
        _ => Failure::transient(
            "DATABASE_UNREACHABLE",
            format!("{} broke the connection off ({}): {why}.", place.server, phase.name()),
            NETWORK,
        ),
    }
}

fn login_refused(refused: &DbError, user: &str, place: &Place) -> Failure {
    let routine = refused.routine().unwrap_or_default();
    let valid = |what: &str| format!("The password of {user:?} at {} is valid, but {what}.", place.server);
    let database = &place.database;
    match refused.code() {
        &SqlState::INVALID_PASSWORD => Failure {
            kind: Kind::PasswordRefused,
            error: Error::new(
                "PASSWORD_REFUSED",
                format!(
                    "{} refused the password of {user:?}: wrong password, no such user, no password set, or its VALID UNTIL is past (the server says the same for all of these).",
                    place.server
                ),
                format!(
                    "Put a credential that works into the secret, or look at the user: SELECT rolcanlogin, rolvaliduntil FROM pg_roles WHERE rolname = {}",
                    literal(user)
                ),
            ),
        },
        &SqlState::TOO_MANY_CONNECTIONS if routine == "InitializeSessionUserId" => Failure::accepted(
            "CONNECTION_LIMIT_REACHED",
            valid("the user's own connection limit is reached"),
            format!("Raise it: ALTER ROLE {} CONNECTION LIMIT -1", quoted(user)),
        ),
        &SqlState::TOO_MANY_CONNECTIONS => Failure::transient(
            "TOO_MANY_CLIENTS",
            format!("{} has no connection left: {}.", place.server, refused.message()),
            "Raise max_connections, or find out who holds them: SELECT usename, count(*) FROM pg_stat_activity GROUP BY 1 ORDER BY 2 DESC",
        ),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION if routine == "InitializeSessionUserId" => Failure::accepted(
            "ROLE_CANNOT_LOG_IN",
            valid("the role may not log in"),
            format!("Allow it: ALTER ROLE {} LOGIN", quoted(user)),
        ),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION if routine == "auth_failed" => Failure::permanent(
            "IAM_AUTH_ONLY",
            format!("{} does not take passwords from {user:?}: {}.", place.server, refused.message()),
            format!(
                "On RDS a member of rds_iam (direct or not) logs in by IAM only: REVOKE rds_iam FROM {}",
                quoted(user)
            ),
        ),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Failure::permanent(
            "HBA_REFUSED",
            format!(
                "{} has no pg_hba.conf entry that lets {user:?} into {database:?} over TLS from here: {}.",
                place.server,
                refused.message()
            ),
            "Add one: hostssl all all <the function's network> scram-sha-256",
        ),
        &SqlState::INVALID_CATALOG_NAME => Failure::accepted(
            "DATABASE_NOT_FOUND",
            valid(&format!("there is no database {database:?}")),
            "Correct \"dbname\" in the secret.",
        ),
        &SqlState::INSUFFICIENT_PRIVILEGE => Failure::accepted(
            "CONNECT_DENIED",
            valid(&format!("it lacks CONNECT on database {database:?}")),
            format!("Grant it: GRANT CONNECT ON DATABASE {} TO {}", quoted(database), quoted(user)),
        ),
        code if is_passing(code) => Failure::transient(
            "DATABASE_UNAVAILABLE",
            format!("{} takes no connections now: {} (SQLSTATE {}).", place.server, refused.message(), code.code()),
            "Try again when it is up.",
        ),
        code => Failure::permanent(
            "LOGIN_FAILED",
            format!("{} did not let {user:?} in: {} (SQLSTATE {}).", place.server, refused.message(), code.code()),
            "Look the SQLSTATE up in PostgreSQL's table of error codes; the server's log says more.",
        ),
    }
}

/// A statement failed. `doing` completes "The server failed while ...".
pub(crate) fn statement(error: &tokio_postgres::Error, doing: &str, place: &Place) -> Failure {
    let Some(refused) = error.as_db_error() else {
        return Failure::transient(
            "DATABASE_UNREACHABLE",
            format!("The connection to {} broke while {doing}: {}.", place.server, root_cause(error)),
            NETWORK,
        );
    };
    let code = refused.code();
    let said = format!("{} failed while {doing}: {} (SQLSTATE {})", place.server, refused.message(), code.code());
    match code {
        &SqlState::INSUFFICIENT_PRIVILEGE => Failure::permanent(
            "ADMIN_LACKS_PRIVILEGE",
            format!("{said}."),
            "The admin needs CREATEROLE, and from PostgreSQL 16 on ADMIN OPTION on the base role and on the twin: see \"What the admin needs\" in README. Roles with SUPERUSER, REPLICATION or BYPASSRLS are a superuser's to change.",
        ),
        // A failover leaves the old writer reachable, read-only, until DNS has moved on.
        &SqlState::READ_ONLY_SQL_TRANSACTION => read_only(place),
        &SqlState::LOCK_NOT_AVAILABLE
        | &SqlState::T_R_SERIALIZATION_FAILURE
        | &SqlState::T_R_DEADLOCK_DETECTED
        | &SqlState::DUPLICATE_OBJECT => {
            Failure::transient("DATABASE_BUSY", format!("{said}."), "Someone else changes the same roles; try again.")
        }
        &SqlState::UNIQUE_VIOLATION if refused.constraint().is_none_or(|c| c == "pg_authid_rolname_index") => {
            Failure::transient("DATABASE_BUSY", format!("{said}."), "Someone else makes the same role; try again.")
        }
        // "tuple concurrently updated": PostgreSQL has no SQLSTATE of its own for it.
        &SqlState::INTERNAL_ERROR if refused.routine().is_some_and(|r| r.starts_with("simple_heap_")) => {
            Failure::transient("DATABASE_BUSY", format!("{said}."), "Someone else changes the same roles; try again.")
        }
        code if is_passing(code) => {
            Failure::transient("DATABASE_UNAVAILABLE", format!("{said}."), "Try again when it is up.")
        }
        _ => Failure::permanent(
            "STATEMENT_FAILED",
            format!("{said}."),
            "Look the SQLSTATE up in PostgreSQL's table of error codes; the server's log says more.",
        ),
    }
}

/// The server is a standby, or its transactions are read-only.
pub(crate) fn read_only(place: &Place) -> Failure {
    Failure::transient(
        "DATABASE_READ_ONLY",
        format!("{} is read-only: a replica, or the old writer after a failover.", place.server),
        "Let the admin secret's \"host\" name the writer (for Aurora, the cluster endpoint).",
    )
}

/// Connection exceptions, shutdowns and start-ups: classes 08 and 57P.
fn is_passing(code: &SqlState) -> bool {
    code.code().starts_with("08")
        || [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code)
}

fn refusal_in(error: &tokio_postgres::Error) -> Option<Refusal> {
    io_in(error)?.get_ref()?.downcast_ref().copied()
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    io_in(error).is_some() || error.is_closed()
}

fn io_in(error: &tokio_postgres::Error) -> Option<&std::io::Error> {
    let mut cause = error.source();
    while let Some(deeper) = cause {
        if let Some(io) = deeper.downcast_ref() {
            return Some(io);
        }
        cause = deeper.source();
    }
    None
}

fn root_cause(error: &tokio_postgres::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The deepest cause is OpenSSL's "certificate verify failed"; what was wrong with the certificate stands one above it.
fn handshake_cause(error: &tokio_postgres::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// `name` as an SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// `text` as an SQL string.
pub(crate) fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text)
}
