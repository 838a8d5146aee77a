//! What a failed connection, login or command means, by the server's error codes (the same in every version and language)
//! and by what the driver met on the way, and what to do about it.
//!
//! The driver's errors are never shown as they are: their `Display` holds the server's whole answer.

use crate::codes::Code;
use keyturn::Error;
use keyturn::codes::Code as Core;
use keyturn::failure::{Failure, no_address, words};
use mongodb::bson::Document;
use mongodb::error::{CommandError, Error as DriverError, ErrorKind};
use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::time::Duration;

/// The code with which a server says that a majority has not confirmed a change, which is in effect on the primary.
pub const WRITE_CONCERN_FAILED: i32 = 64;

/// What a server said in refusing a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The error code, as in the server's `error_codes.yml`.
    pub code: i32,
    /// Its message, fit to be shown.
    pub words: String,
}

/// Why a command failed. Never that a password is wrong: that is what a login comes to.
#[derive(Clone, Debug)]
pub struct CommandFailure {
    pub failure: Failure,
    /// If it was the server that refused.
    pub answer: Option<Answer>,
}

impl CommandFailure {
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.failure.is_transient()
    }

    /// The code with which the server refused.
    #[must_use]
    pub fn server_code(&self) -> Option<i32> {
        self.answer.as_ref().map(|answer| answer.code)
    }
}

impl From<Failure> for CommandFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, answer: None }
    }
}

impl From<CommandFailure> for Error {
    fn from(failed: CommandFailure) -> Self {
        failed.failure.error
    }
}

const NAMES: &str = "Correct the hosts, or the VPC's DNS. Members of a replica set must have names that resolve here, too: see rs.conf().";

const NETWORK: &str = "Check that the hosts are right, that the function is in a network that reaches them (the database's VPC; at Atlas the project's IP access list, a peering or a private endpoint), and that security groups let it through.";

const UNTRUSTED: &str = "The certificate must name this host and come from a known authority: for a private authority set DATABASE_CA_FILE to its PEM file (for DocumentDB the global bundle that AWS publishes).";

/// The server's words for the password of this login being wrong: code 18, and what Atlas's proxies say instead of it.
/// Nothing else ever means that.
pub(crate) fn password_refused(error: &DriverError) -> Option<String> {
    if !matches!(*error.kind, ErrorKind::Authentication { .. }) {
        return None;
    }
    let answer = command_error(error)?;
    let refused = answer.code == 18 || answer.code == 8000 && answer.message.to_ascii_lowercase().contains("bad auth");
    refused.then(|| words(&answer.message))
}

/// The server does not do the mechanism that was tried: says nothing about the password.
pub(crate) fn mechanism_missing(error: &DriverError) -> bool {
    // MechanismUnavailable; BadValue in versions before it.
    matches!(*error.kind, ErrorKind::Authentication { .. })
        && command_error(error).is_some_and(|answer| answer.code == 334 || answer.code == 2)
}

/// Nothing came back in time. Not tried again in this invocation: the next try is the service's.
pub(crate) fn silent(servers: &impl Display, doing: &str, limit: Duration) -> Failure {
    Failure::permanent(
        Core::DatabaseUnreachable,
        format!("{servers} did not answer within {:.1} s (while {doing}).", limit.as_secs_f64()),
        NETWORK,
    )
}

/// The login became somebody else's session, or nobody's.
pub(crate) fn somebody_else(user: &str, actual: &[String], servers: &impl Display) -> Failure {
    let whose = if actual.is_empty() { "nobody".to_owned() } else { actual.join(" and ") };
    Failure::permanent(
        Core::LoggedInAsSomebodyElse,
        format!("The login of {user} at {servers} became a session of {whose}."),
        "Look at what is between: a proxy, or a member of the replica set that knows no users (an arbiter).",
    )
}

/// The driver's set-up failed before any connection.
pub(crate) fn not_set_up(error: &DriverError, servers: &impl Display) -> Failure {
    match &*error.kind {
        ErrorKind::InvalidTlsConfig { message, .. } => Failure::permanent(
            Core::TlsSetupFailed,
            format!("The TLS library refused the root certificates: {}.", words(message)),
            "Check DATABASE_CA_FILE.",
        ),
        kind => Failure::permanent(
            Core::LoginFailed,
            format!("The driver would not try to log in at {servers}: {}.", detail(kind)),
            "Check the hosts and the user name.",
        ),
    }
}

/// A server cannot be talked to: what a monitor met.
pub(crate) fn unreachable(error: &DriverError, host: &impl Display) -> Failure {
    match &*error.kind {
        ErrorKind::Io(why) => not_connected(why, host),
        ErrorKind::DnsResolve { .. } => no_address(host, "it is no name that DNS knows", NAMES),
        ErrorKind::Command(said) => {
            let answer = answer(said, None);
            Failure::transient(
                Core::DatabaseUnavailable,
                format!("{host} refused to say what it is: {} (code {}).", answer.words, answer.code),
                "Try again when it is up.",
            )
        }
        kind => broken_off(host, "greeting it", &detail(kind)),
    }
}

fn not_connected(why: &io::Error, host: &impl Display) -> Failure {
    let text = words(&why.to_string());
    match why.kind() {
        // What the standard library's resolver says, whose errors have no kind of their own.
        _ if text.starts_with("failed to lookup address") => no_address(host, &text, NAMES),
        io::ErrorKind::TimedOut => Failure::permanent(
            Core::DatabaseUnreachable,
            format!("{host} did not answer in time (TCP connect, TLS handshake or greeting)."),
            NETWORK,
        ),
        io::ErrorKind::InvalidData => not_trusted(&text, host),
        io::ErrorKind::UnexpectedEof if text == HANDSHAKE_EOF => Failure::transient(
            Core::TlsNotOffered,
            format!("{host} closed the connection when TLS was begun: it offers no TLS, or has no connection left."),
            format!("{TLS_ON} Where it is on, compare db.serverStatus().connections with net.maxIncomingConnections."),
        ),
        // A server that demands a certificate ends the handshake well, sees none, and hangs up.
        io::ErrorKind::UnexpectedEof => Failure::transient(
            Core::DatabaseUnreachable,
            format!("{host} hung up after the TLS handshake: {text}."),
            "If its log says that the client gave no certificate: net.tls.allowConnectionsWithoutCertificates: true. Else look at what is in between (a proxy, a load balancer), and at whether the server is just stopping.",
        ),
        _ => Failure::transient(Core::DatabaseUnreachable, format!("{host} cannot be reached: {text}."), NETWORK),
    }
}

/// rustls's message for a connection that the server closes during the TLS handshake.
const HANDSHAKE_EOF: &str = "tls handshake eof";

const TLS_ON: &str = "Switch TLS on at the server (net.tls.mode: requireTLS; DocumentDB: parameter tls). This function never connects in clear text, whatever \"ssl\" in the secret says.";

/// `text` is rustls's, whose own error type stays inside the driver.
fn not_trusted(text: &str, host: &impl Display) -> Failure {
    if text.starts_with("received corrupt message") {
        return Failure::permanent(Core::TlsNotOffered, format!("{host} does not answer in TLS."), TLS_ON);
    }
    if text.starts_with("received fatal alert: InternalError") {
        return Failure::permanent(
            Code::AddressNotAllowed,
            format!(
                "{host} broke the TLS handshake off with an internal error, as Atlas does with addresses that are not on the project's IP access list."
            ),
            "In Atlas, Security > Database & Network Access > IP Access List: add the function's address (in a VPC, that of its NAT gateway), or reach the cluster by peering or a private endpoint (ATLAS_NETWORK). This is the project's list, not the service account's.",
        );
    }
    let Some(certificate) = text.strip_prefix("invalid peer certificate: ") else {
        return Failure::permanent(
            Code::TlsFailed,
            format!("The TLS handshake with {host} failed: {text}."),
            "The server must offer TLS 1.2 or 1.3, and not demand a certificate of its clients (net.tls.allowConnectionsWithoutCertificates: true).",
        );
    };
    let why = match certificate {
        "UnknownIssuer" => "its certificate is from an authority that is not trusted here",
        "Expired" => "its certificate has expired",
        other => other,
    };
    Failure::permanent(Core::TlsUntrusted, format!("The TLS handshake with {host} failed: {why}."), UNTRUSTED)
}

fn broken_off(servers: &impl Display, doing: &str, why: &str) -> Failure {
    Failure::transient(
        Core::DatabaseUnreachable,
        format!("{servers} broke the connection off (while {doing}): {why}."),
        NETWORK,
    )
}

/// A server is a member of another replica set than asked for, or of none.
pub(crate) fn other_replica_set(host: &impl Display, wanted: &str, actual: Option<&str>) -> Failure {
    let (what, remedy) = match actual {
        Some(actual) => {
            let actual = words(actual);
            (format!("replica set {actual:?}"), format!("Correct the name: replicaSet={actual}"))
        }
        None => ("no replica set".to_owned(), "Leave the replica set's name out.".to_owned()),
    };
    Failure::permanent(
        Code::ReplicaSetNameWrong,
        format!("{host} belongs to {what}, where {wanted:?} was to be expected."),
        remedy,
    )
}

/// Members answered, but none of them takes writes.
pub(crate) fn no_primary(servers: &impl Display, met: Option<&Failure>) -> Failure {
    let also = met.map(|failure| format!(" {}", failure.error.message())).unwrap_or_default();
    Failure::transient(
        Core::DatabaseUnavailable,
        format!("{servers} has no primary that can be reached.{also}"),
        "Try again after the election; the function must reach every member of the replica set under the name that rs.conf() gives it.",
    )
}

/// No server could be chosen; `met` is why, as far as the monitors know.
pub(crate) fn no_server(error: &DriverError, servers: &impl Display, met: Option<Failure>) -> Failure {
    match &*error.kind {
        ErrorKind::ServerSelection { message, .. } if message.contains("driver requires at least") => {
            Failure::permanent(
                Code::ServerTooOld,
                format!("{servers} is older than this function's driver allows: {}.", words(message)),
                "Upgrade to MongoDB 4.4 or later (DocumentDB: to an engine version that is compatible with it).",
            )
        }
        ErrorKind::ServerSelection { message, .. } if message.contains("driver only supports up to") => {
            Failure::permanent(
                Code::ServerTooNew,
                format!("{servers} is newer than this function's driver knows: {}.", words(message)),
                "Deploy a newer version of this function.",
            )
        }
        _ => met.unwrap_or_else(|| {
            let message = format!("{servers} cannot be reached: no server answered.");
            Failure::transient(Core::DatabaseUnreachable, message, NETWORK)
        }),
    }
}

/// A login failed, and not because of the password. `user` is `name@database`.
pub(crate) fn login(error: &DriverError, user: &str, servers: &impl Display) -> Failure {
    // The monitor has had the last connection.
    if let ErrorKind::Io(why) = &*error.kind
        && why.to_string() == HANDSHAKE_EOF
    {
        return not_connected(why, servers);
    }
    if let ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } = &*error.kind {
        return broken_off(servers, "logging in", &detail(&error.kind));
    }
    let Some(said) = command_error(error) else {
        return Failure::permanent(
            Core::LoginFailed,
            format!("The login of {user} at {servers} failed on this side: {}.", detail(&error.kind)),
            "The server must offer SCRAM-SHA-256 (or SCRAM-SHA-1), and prove that it knows the password; look for something in between.",
        );
    };
    let Answer { code, words } = answer(said, None);
    if is_passing(code) {
        return Failure::transient(
            Core::DatabaseUnavailable,
            format!("{servers} takes no logins now: {words} (code {code})."),
            "Try again when it is up.",
        );
    }
    Failure::permanent(
        Core::LoginFailed,
        format!("{servers} did not let {user} in: {words} (code {code})."),
        "Look the code up in MongoDB's list of error codes; the server's log says more.",
    )
}

/// A command failed. `doing` completes "The server failed while ...". Words of the server that contain `hidden` stay unsaid.
pub(crate) fn command(
    error: &DriverError,
    doing: &str,
    servers: &impl Display,
    broken: &str,
    hidden: Option<&str>,
) -> CommandFailure {
    let failure = match &*error.kind {
        ErrorKind::Command(said) => return refused(answer(said, hidden), doing, servers),
        ErrorKind::Authentication { .. } => Failure::permanent(
            Core::LoginFailed,
            format!("The connection to {servers} broke while {doing}, and could not be logged in again."),
            broken,
        ),
        kind => broken_off(servers, doing, &detail(kind)),
    };
    failure.into()
}

/// What stands in an answer that is otherwise good about the change not having reached a majority. Whatever kept it from
/// one: it is in effect on this server.
pub(crate) fn concern_failure(answer: &Document) -> Option<Answer> {
    let failure = answer.get_document("writeConcernError").ok()?;
    Some(Answer { code: WRITE_CONCERN_FAILED, words: words(failure.get_str("errmsg").unwrap_or_default()) })
}

/// A command was answered with an error, in whichever part of the answer.
pub(crate) fn refused(answer: Answer, doing: &str, servers: &impl Display) -> CommandFailure {
    let Answer { code, words } = &answer;
    let said = format!("{servers} failed while {doing}: {words} (code {code}).");
    let failure = match code {
        10_107 | 13_435 | 10_058 => Failure::transient(
            Core::DatabaseReadOnly,
            said,
            "It is no primary, or has just stopped being one: try again after the election, or name the whole replica set.",
        ),
        // LockBusy, LockTimeout, WriteConflict, ConflictingOperationInProgress, UserDataInconsistent.
        46 | 24 | 112 | 117 | 145 => {
            Failure::transient(Core::DatabaseBusy, said, "Someone else changes the same users; try again.")
        }
        // WriteConcernFailed: what was to be changed is, on the primary at least.
        64 => Failure::transient(
            Core::DatabaseUnavailable,
            said,
            "A majority of the replica set must be up: see rs.status(). Trying again is safe.",
        ),
        code if is_passing(*code) => Failure::transient(Core::DatabaseUnavailable, said, "Try again when it is up."),
        _ => Failure::permanent(
            Code::CommandFailed,
            said,
            "Look the code up in MongoDB's list of error codes; the server's log says more.",
        ),
    };
    CommandFailure { failure, answer: Some(answer) }
}

/// Hosts and networks that are away, primaries that step down, servers that shut down or start, time limits.
fn is_passing(code: i32) -> bool {
    const CODES: [i32; 16] = [6, 7, 50, 89, 91, 133, 134, 189, 202, 262, 317, 9001, 11_600, 11_602, 13_436, 13_388];
    CODES.contains(&code)
}

/// The server's words for an answer that stands in an error's chain of causes.
fn command_error(error: &DriverError) -> Option<&CommandError> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(this) = cause {
        // The driver boxes its causes, and a box is an error of its own type.
        let driver =
            this.downcast_ref::<DriverError>().or_else(|| this.downcast_ref::<Box<DriverError>>().map(|b| &**b));
        if let Some(ErrorKind::Command(said)) = driver.map(|driver| &*driver.kind) {
            return Some(said);
        }
        cause = this.source();
    }
    None
}

fn answer(said: &CommandError, hidden: Option<&str>) -> Answer {
    let repeats = hidden.is_some_and(|hidden| !hidden.is_empty() && said.message.contains(hidden));
    let words = if repeats { "its message repeats the password".to_owned() } else { words(&said.message) };
    Answer { code: said.code, words }
}

/// What an error of the driver's own says, without what its `Display` adds to it.
fn detail(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::Io(why) => words(&why.to_string()),
        ErrorKind::Authentication { message, .. }
        | ErrorKind::InvalidArgument { message, .. }
        | ErrorKind::IncompatibleServer { message, .. } => words(message),
        ErrorKind::InvalidResponse { .. } | ErrorKind::Bson(_) => "its answer is not in MongoDB's protocol".to_owned(),
        // Its message holds another error wholesale.
        ErrorKind::ConnectionPoolCleared { .. } => "the connection was given up".to_owned(),
        ErrorKind::ServerSelection { .. } => "no server answered any more".to_owned(),
        _ => "the driver gave up".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::failure::Kind;
    use mongodb::bson::doc;

    fn io_error(kind: io::ErrorKind, text: &str) -> DriverError {
        io::Error::new(kind, text).into()
    }

    fn command_error(code: i32, message: &str) -> CommandError {
        mongodb::bson::deserialize_from_document(doc! { "code": code, "codeName": "X", "errmsg": message }).unwrap()
    }

    fn refused_with(code: i32, message: &str, hidden: Option<&str>) -> CommandFailure {
        let error = DriverError::from(ErrorKind::Command(command_error(code, message)));
        command(&error, "changing the password", &"rs0", "", hidden)
    }

    #[test]
    fn causes_of_unreachable_servers_are_told_apart() {
        let dns = "failed to lookup address information: ";
        for (error, code, kind) in [
            (
                io_error(io::ErrorKind::ConnectionRefused, "Connection refused (os error 111)"),
                "DATABASE_UNREACHABLE",
                Kind::Transient,
            ),
            (io_error(io::ErrorKind::TimedOut, "timed out"), "DATABASE_UNREACHABLE", Kind::Permanent),
            (
                io_error(io::ErrorKind::Other, &format!("{dns}Name or service not known")),
                "DATABASE_HOST_UNKNOWN",
                Kind::Permanent,
            ),
            (
                io_error(io::ErrorKind::Other, &format!("{dns}Temporary failure in name resolution")),
                "DATABASE_UNREACHABLE",
                Kind::Transient,
            ),
            (
                io_error(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer"),
                "TLS_UNTRUSTED",
                Kind::Permanent,
            ),
            (
                io_error(io::ErrorKind::InvalidData, "received corrupt message of type InvalidContentType"),
                "TLS_NOT_OFFERED",
                Kind::Permanent,
            ),
            (
                io_error(io::ErrorKind::InvalidData, "received fatal alert: CertificateRequired"),
                "TLS_FAILED",
                Kind::Permanent,
            ),
            (
                io_error(io::ErrorKind::InvalidData, "received fatal alert: InternalError"),
                "ADDRESS_NOT_ALLOWED",
                Kind::Permanent,
            ),
            (io_error(io::ErrorKind::UnexpectedEof, "tls handshake eof"), "TLS_NOT_OFFERED", Kind::Transient),
            (io_error(io::ErrorKind::UnexpectedEof, "early eof"), "DATABASE_UNREACHABLE", Kind::Transient),
            (ErrorKind::Command(command_error(91, "shutting down")).into(), "DATABASE_UNAVAILABLE", Kind::Transient),
        ] {
            let failure = unreachable(&error, &"h1:1");
            assert_eq!((failure.error.code(), failure.kind), (code, kind), "{}", failure.error);
            assert!(failure.error.message().contains("h1:1"), "{}", failure.error);
        }
    }

    #[test]
    fn only_an_authentication_that_the_server_refused_is_about_the_password() {
        // The driver alone can make an authentication error; a command refused with the same code is none.
        let error = DriverError::from(ErrorKind::Command(command_error(18, "Authentication failed.")));
        assert_eq!(password_refused(&error), None);
        assert_eq!(login(&error, "u@admin", &"rs0").error.code(), "LOGIN_FAILED");
    }

    #[test]
    fn a_login_that_breaks_off_may_be_tried_again() {
        let failure = login(&io_error(io::ErrorKind::ConnectionReset, "reset"), "u@admin", &"rs0");
        assert_eq!((failure.error.code(), failure.kind), ("DATABASE_UNREACHABLE", Kind::Transient));
        let failure = login(&ErrorKind::Command(command_error(11_600, "shutdown")).into(), "u@admin", &"rs0");
        assert_eq!((failure.error.code(), failure.kind), ("DATABASE_UNAVAILABLE", Kind::Transient));
    }

    #[test]
    fn refused_commands_are_known_by_their_codes() {
        for (code, expected, kind) in [
            (10_107, "DATABASE_READ_ONLY", Kind::Transient),
            (112, "DATABASE_BUSY", Kind::Transient),
            (64, "DATABASE_UNAVAILABLE", Kind::Transient),
            (189, "DATABASE_UNAVAILABLE", Kind::Transient),
            (13, "COMMAND_FAILED", Kind::Permanent),
        ] {
            let failed = refused_with(code, "no", None);
            let CommandFailure { failure, .. } = &failed;
            assert_eq!((failure.error.code(), failure.kind, failed.server_code()), (expected, kind, Some(code)));
        }
    }

    #[test]
    fn words_that_repeat_the_password_stay_unsaid() {
        let failed = refused_with(2, "pwd hunter2 is too short", Some("hunter2"));
        assert!(!format!("{failed:?}").contains("hunter2"), "{failed:?}");
        assert!(
            refused_with(2, "pwd is too short", Some("hunter2")).failure.error.message().contains("pwd is too short")
        );
    }

    #[test]
    fn a_change_that_did_not_reach_a_majority_is_seen() {
        let late = doc! { "ok": 1, "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
        assert_eq!(concern_failure(&late).unwrap().code, 64);
        assert_eq!(concern_failure(&doc! { "ok": 1 }), None);
    }
}
