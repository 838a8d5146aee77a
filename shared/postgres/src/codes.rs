//! The codes of connections, logins and statements, beside those of the core.

use keyturn::codes::DeclaredCode;
use strum::{EnumIter, EnumMessage, IntoStaticStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    // Logging in
    /// The user is a member of `rds_iam`, or the server asks it for another proof than a password.
    #[strum(message = "Rotate nothing (IAM tokens rotate themselves), or REVOKE rds_iam FROM user.")]
    IamAuthOnly,
    /// The role is NOLOGIN, or has CONNECTION LIMIT 0: somebody locked it, or it is a group. A rotation never lifts that.
    #[strum(
        message = "Find out why. If a password leaked, rotate at once after unlocking. The message has the statement, which takes the old password away."
    )]
    RoleCannotLogIn,
    /// The password is valid, but the connection limit of the user, or of its database, is reached.
    #[strum(
        message = "Raise it: ALTER ROLE user CONNECTION LIMIT -1, or ALTER DATABASE db CONNECTION LIMIT -1. If it is 0, somebody may have locked it: find out why first."
    )]
    ConnectionLimitReached,
    /// The password is valid, but there is no database of that name.
    #[strum(message = "Correct \"dbname\" in the secret.")]
    DatabaseNotFound,
    /// The password is valid, but the user lacks CONNECT on the database.
    #[strum(message = "GRANT CONNECT ON DATABASE db TO user.")]
    ConnectDenied,
    /// The server asks for the password in clear text, for MD5 where only SCRAM is allowed, or for none; none was sent.
    #[strum(message = "Have pg_hba.conf ask for scram-sha-256, and give the user a SCRAM password.")]
    AuthMethodRefused,
    /// No line of `pg_hba.conf` lets the user into the database over TLS from where the function is.
    #[strum(message = "Add one: hostssl all all <the function's network> scram-sha-256.")]
    HbaRefused,
    /// The server, or a proxy in front of it, demands a client certificate. The function has none.
    #[strum(
        message = "In pg_hba.conf, before the line with clientcert: hostssl all all <the function's network> scram-sha-256. A proxy must not demand one either."
    )]
    ClientCertificateDemanded,
    /// The password is valid, but the server then refuses the session. A login trigger can do that (PostgreSQL 17 and later).
    #[strum(
        message = "In the secret's database: SELECT evtname, evtfoid::regproc FROM pg_event_trigger WHERE evtevent = 'login'. Let the trigger admit the user, or ALTER EVENT TRIGGER name DISABLE."
    )]
    SessionRefused,

    // The server
    /// The server has no connection left.
    #[strum(message = "It is tried again by itself; if it goes on, raise max_connections or find out who holds them.")]
    TooManyClients,
    /// A module of the server that checks passwords (`credcheck`, for one) rejects the new one. It receives only a hash.
    #[strum(message = "If it is credcheck: credcheck.encrypted_password_allowed = on.")]
    PasswordHashRefused,
    /// The server refused a statement for a reason that Keyturn does not know.
    #[strum(message = "Look up the SQLSTATE in the message; the server's log says more.")]
    StatementFailed,
}

impl DeclaredCode for Code {}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::codes::{Code as Core, entries};

    #[test]
    fn no_code_is_declared_here_and_in_the_core() {
        let core = entries::<Core>();
        for entry in entries::<Code>() {
            assert!(core.iter().all(|other| other.name != entry.name), "{}", entry.name);
            assert!(!entry.meaning.is_empty(), "{}", entry.name);
        }
    }
}
