//! What a failed connection or statement means, by SQLSTATE and by the server routine that raised it (both are the same in
//! every language of the server's messages), and what to do about it.

use crate::codes::Code;
use crate::handshake::Refusal;
use crate::place::Place;
use crate::words::Words;
use keyturn::codes::{Code as Core, DeclaredCode};
use keyturn::failure::{self, Failure, Kind, root_cause};
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::error::{DbError, SqlState};

pub use postgres_protocol::escape::{escape_identifier as quoted, escape_literal as literal};

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Lookup,
    Connect,
    TlsRequest,
    TlsHandshake,
    Login,
    /// The password was accepted; the session is being set up.
    Start,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Lookup => "DNS lookup",
            Self::Connect => "TCP connect",
            Self::TlsRequest => "request for TLS",
            Self::TlsHandshake => "TLS handshake",
            Self::Login => "login",
            Self::Start => "start of the session",
        }
    }
}

const NETWORK: &str = "Check that the endpoint is right, that the function is in the database's VPC, and that its security group may reach the database's port.";

/// The host's name has no address; `why` is the resolver's word.
pub(crate) fn no_address(place: &Place, why: &str, words: &Words) -> Failure {
    failure::no_address(&place.address, why, &format!("Correct {}, or the VPC's DNS.", words.host))
}

/// No TCP connection came about.
pub(crate) fn not_connected(place: &Place, why: &std::io::Error) -> Failure {
    Failure::transient(
        Core::DatabaseUnreachable,
        format!("{} cannot be reached (TCP connect): {why}.", place.address),
        NETWORK,
    )
}

/// Nothing came back in time. Not tried again in this invocation: the next try is the service's.
pub(crate) fn silent(place: &Place, phase: Phase, limit: Duration) -> Failure {
    Failure::permanent(
        Core::DatabaseUnreachable,
        format!("{} did not answer within {:.1} s ({}).", place.address, limit.as_secs_f64(), phase.name()),
        NETWORK,
    )
}

/// The login became somebody else's session.
pub(crate) fn somebody_else(user: &str, actual: &str, place: &Place) -> Failure {
    Failure::permanent(
        Core::LoggedInAsSomebodyElse,
        format!("The login of {user:?} at {} became a session of {actual:?}.", place.address),
        "Look at pg_ident.conf, or at the proxy between.",
    )
}

/// A connection failed after TCP stood.
pub(crate) fn login(error: &tokio_postgres::Error, user: &str, place: &Place, phase: Phase, words: &Words) -> Failure {
    if let Some(refused) = error.as_db_error() {
        return login_refused(refused, user, place, phase, words);
    }
    if let Some(refusal) = refusal_in(error) {
        let because = if refusal == Refusal::Md5 { format!(", and {}", words.only_scram) } else { String::new() };
        return not_let_in(
            Code::AuthMethodRefused,
            format!(
                "{} wants to authenticate {user:?} in a way this function does not do: {refusal}{because}. No password was sent.",
                place.address
            ),
            match refusal {
                // How RDS treats members of rds_iam; IAM tokens go over the wire as they are.
                Refusal::Cleartext => format!(
                    "Have pg_hba.conf ask for scram-sha-256. On RDS this is what members of rds_iam (direct or not) meet: REVOKE rds_iam FROM {}",
                    quoted(user)
                ),
                _ => format!(
                    "Have pg_hba.conf ask for scram-sha-256, and give {user:?} a SCRAM password (password_encryption = 'scram-sha-256'){}.",
                    words.replaces_md5
                ),
            },
        );
    }
    let why = root_cause(error);
    // OpenSSL's own words for alert 116 of TLS 1.3, which comes after the handshake.
    if why.contains("alert certificate required") {
        return certificate_demanded(place, &why, words);
    }
    match phase {
        // The server closed or said no before any TLS: tokio-postgres has no other error here.
        Phase::TlsRequest if !is_io(error) => Failure::permanent(
            Core::TlsNotOffered,
            format!("{} does not offer TLS.", place.address),
            "Switch TLS on at the server (ssl = on; RDS has it on by default). This function never connects in clear text, whatever \"ssl\" in the secret says.",
        ),
        Phase::TlsHandshake if !is_io(error) => Failure::permanent(
            Core::TlsUntrusted,
            format!("The TLS handshake with {} failed: {}.", place.address, handshake_cause(error)),
            format!(
                "The certificate must name this host and come from a known authority: for RDS use the endpoint's own name{}; for a private authority set DATABASE_CA_FILE to its PEM file.",
                words.certified_elsewhere
            ),
        ),
        // Not a lost connection: the two sides did not agree, or the server failed its own half of SCRAM's proof.
        Phase::Login if error.to_string().starts_with("authentication error") => Failure::permanent(
            Core::LoginFailed,
            format!("The login of {user:?} at {} failed on this side: {why}.", place.address),
            "The server must offer SCRAM-SHA-256, and prove that it knows the password; look for something in between.",
        ),
        _ => Failure::transient(
            Core::DatabaseUnreachable,
            format!("{} broke the connection off ({}): {why}.", place.address, phase.name()),
            NETWORK,
        ),
    }
}

fn accepted(code: impl DeclaredCode, message: String, remedy: impl Into<String>) -> Failure {
    Failure::new(Kind::PasswordAccepted, code, message, remedy)
}

fn not_let_in(code: impl DeclaredCode, message: String, remedy: impl Into<String>) -> Failure {
    Failure::new(Kind::LoginRefused, code, message, remedy)
}

fn certificate_demanded(place: &Place, why: &str, words: &Words) -> Failure {
    not_let_in(
        Code::ClientCertificateDemanded,
        format!("{} demands a client certificate, which this function does not have: {why}.", place.address),
        format!(
            "Add a line to pg_hba.conf, before the one that demands it, without clientcert: hostssl all {} <the function's network> scram-sha-256. A pooler or proxy in between must not demand one either.",
            words.users
        ),
    )
}

fn login_refused(refused: &DbError, user: &str, place: &Place, phase: Phase, words: &Words) -> Failure {
    let routine = refused.routine().unwrap_or_default();
    let valid = |what: &str| format!("The password of {user:?} at {} is valid, but {what}.", place.address);
    let database = &place.database;
    if phase == Phase::Start && is_a_modules(refused) {
        return accepted(
            Code::SessionRefused,
            valid(&format!("the session did not start: {} (SQLSTATE {})", refused.message(), refused.code().code())),
            "From PostgreSQL 17 on, a trigger may refuse logins: SELECT evtname, evtfoid::regproc FROM pg_event_trigger WHERE evtevent = 'login' (in this database). Let it admit this user, or ALTER EVENT TRIGGER ... DISABLE. Else look at the modules in session_preload_libraries; the server's log says more.",
        );
    }
    match refused.code() {
        &SqlState::INVALID_PASSWORD => Failure::new(
            Kind::PasswordRefused,
            Core::PasswordRefused,
            format!(
                "{} refused the password of {user:?}: wrong password, no such user, no password set, or its VALID UNTIL is past (the server says the same for all of these).",
                place.address
            ),
            format!(
                "Put a credential that works into the secret, or look at the user: SELECT rolcanlogin, rolvaliduntil FROM pg_roles WHERE rolname = {}",
                literal(user)
            ),
        ),
        &SqlState::TOO_MANY_CONNECTIONS if routine == "InitializeSessionUserId" => accepted(
            Code::ConnectionLimitReached,
            valid("the user's own connection limit is reached"),
            format!("Raise it: ALTER ROLE {} CONNECTION LIMIT -1", quoted(user)),
        ),
        &SqlState::TOO_MANY_CONNECTIONS if routine == "CheckMyDatabase" => accepted(
            Code::ConnectionLimitReached,
            valid(&format!("{database:?} has as many connections as it may have")),
            format!("Raise its limit: ALTER DATABASE {} CONNECTION LIMIT -1", quoted(database)),
        ),
        &SqlState::TOO_MANY_CONNECTIONS => Failure::transient(
            Code::TooManyClients,
            format!("{} has no connection left: {}.", place.address, refused.message()),
            "Raise max_connections, or find out who holds them: SELECT usename, count(*) FROM pg_stat_activity GROUP BY 1 ORDER BY 2 DESC",
        ),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION if routine == "InitializeSessionUserId" => accepted(
            Code::RoleCannotLogIn,
            valid("the role may not log in"),
            format!("Allow it: ALTER ROLE {} LOGIN", quoted(user)),
        ),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION if routine == "auth_failed" => not_let_in(
            Code::IamAuthOnly,
            format!("{} does not take passwords from {user:?}: {}.", place.address, refused.message()),
            format!(
                "On RDS a member of rds_iam (direct or not) logs in by IAM only: REVOKE rds_iam FROM {}",
                quoted(user)
            ),
        ),
        // The routine is the same as for a missing line; only the words differ, where the server speaks English.
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION if refused.message().contains("client certificate") => {
            certificate_demanded(place, refused.message(), words)
        }
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => not_let_in(
            Code::HbaRefused,
            format!(
                "{} has no pg_hba.conf entry that lets {user:?} into {database:?} over TLS from here: {}.",
                place.address,
                refused.message()
            ),
            "Add one, without clientcert: hostssl all all <the function's network> scram-sha-256",
        ),
        &SqlState::INVALID_CATALOG_NAME => accepted(
            Code::DatabaseNotFound,
            valid(&format!("there is no database {database:?}")),
            format!("Correct {}.", words.dbname),
        ),
        &SqlState::INSUFFICIENT_PRIVILEGE => accepted(
            Code::ConnectDenied,
            valid(&format!("it lacks CONNECT on database {database:?}")),
            format!("Grant it: GRANT CONNECT ON DATABASE {} TO {}", quoted(database), quoted(user)),
        ),
        // PgBouncer has this one SQLSTATE for whatever it refuses by itself, what passes and what does not.
        &SqlState::PROTOCOL_VIOLATION => Failure::transient(
            Core::LoginFailed,
            format!("{} did not let {user:?} in: {} (SQLSTATE 08P01).", place.address, refused.message()),
            "If a pooler stands there, its log says more: it may not know the user, hold another password of it (auth_file, auth_query), or not reach its server.",
        ),
        code if is_passing(code) => Failure::transient(
            Core::DatabaseUnavailable,
            format!("{} takes no connections now: {} (SQLSTATE {}).", place.address, refused.message(), code.code()),
            "Try again when it is up.",
        ),
        code => not_let_in(
            Core::LoginFailed,
            format!("{} did not let {user:?} in: {} (SQLSTATE {}).", place.address, refused.message(), code.code()),
            "Look the SQLSTATE up in PostgreSQL's table of error codes; the server's log says more.",
        ),
    }
}

/// A statement failed. `doing` completes "The server failed while ...".
pub(crate) fn statement(error: &tokio_postgres::Error, doing: &str, place: &Place, words: &Words) -> Failure {
    let Some(refused) = error.as_db_error() else {
        return Failure::transient(
            Core::DatabaseUnreachable,
            format!("The connection to {} broke while {doing}: {}.", place.address, root_cause(error)),
            NETWORK,
        );
    };
    let code = refused.code();
    let said = format!("{} failed while {doing}: {} (SQLSTATE {})", place.address, refused.message(), code.code());
    match code {
        // passwordcheck, credcheck and modules made after them call their hook `check_password`. Their SQLSTATEs differ.
        _ if refused.routine() == Some("check_password") => Failure::permanent(
            Code::PasswordHashRefused,
            format!(
                "{said}. A module of the server checks new passwords; this function sends a hash, never the password."
            ),
            "If it is credcheck, let it take hashes: credcheck.encrypted_password_allowed = on (ALTER SYSTEM; on RDS, the parameter group). Otherwise its own documentation says what it asks for.",
        ),
        &SqlState::INSUFFICIENT_PRIVILEGE => {
            Failure::permanent(Core::AdminLacksPrivilege, format!("{said}."), words.admin_needs)
        }
        // A failover leaves the old writer reachable, read-only, until DNS has moved on.
        &SqlState::READ_ONLY_SQL_TRANSACTION => read_only(place, words),
        code if is_collision(code, refused) => Failure::transient(
            Core::DatabaseBusy,
            format!("{said}."),
            "Someone else makes or changes the same roles; try again.",
        ),
        code if is_passing(code) => {
            Failure::transient(Core::DatabaseUnavailable, format!("{said}."), "Try again when it is up.")
        }
        _ => Failure::permanent(
            Code::StatementFailed,
            format!("{said}."),
            "Look the SQLSTATE up in PostgreSQL's table of error codes; the server's log says more.",
        ),
    }
}

/// The server is a standby, or its transactions are read-only.
pub(crate) fn read_only(place: &Place, words: &Words) -> Failure {
    Failure::transient(
        Core::DatabaseReadOnly,
        format!("{} is read-only: a replica, or the old writer after a failover.", place.address),
        format!("Let {} name the writer (for Aurora, the cluster endpoint).", words.writer),
    )
}

/// Whether a trigger or a module refuses the session, after the password was accepted: they choose any SQLSTATE. The server's
/// own refusals come from these routines. What passes by itself passes, whoever says it.
fn is_a_modules(refused: &DbError) -> bool {
    let code = refused.code();
    let by_server = matches!(refused.routine(), Some("InitializeSessionUserId" | "InitPostgres" | "CheckMyDatabase"));
    let unknown = refused.routine().is_none() && *code != SqlState::INVALID_PASSWORD;
    !by_server && !unknown && !is_passing(code) && *code != SqlState::TOO_MANY_CONNECTIONS
}

/// Another transaction changes the same roles.
fn is_collision(code: &SqlState, refused: &DbError) -> bool {
    match code {
        &SqlState::LOCK_NOT_AVAILABLE
        | &SqlState::T_R_SERIALIZATION_FAILURE
        | &SqlState::T_R_DEADLOCK_DETECTED
        | &SqlState::DUPLICATE_OBJECT => true,
        &SqlState::UNIQUE_VIOLATION => refused.constraint().is_none_or(|name| name == "pg_authid_rolname_index"),
        // "tuple concurrently updated": PostgreSQL has no SQLSTATE of its own for it.
        &SqlState::INTERNAL_ERROR => refused.routine().is_some_and(|routine| routine.starts_with("simple_heap_")),
        _ => false,
    }
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

/// The deepest cause is OpenSSL's "certificate verify failed"; what was wrong with the certificate stands one above it.
fn handshake_cause(error: &tokio_postgres::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
