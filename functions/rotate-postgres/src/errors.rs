//! What this function says about failures that are its own, and in its own words about those of every connection.

use crate::codes::Code;
use keyturn::failure::Failure;
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{Place, Words};

pub(crate) const WORDS: Words = Words {
    function: "rotate-postgres",
    host: r#""host" in the secret"#,
    dbname: r#""dbname" in the secret"#,
    writer: r#"the admin secret's "host""#,
    certified_elsewhere: ", or tag the secret with it (keyturn:tls-name)",
    users: "<the secret's users and its admin>",
    only_scram: "PASSWORD_HASH=scram allows SCRAM-SHA-256 only",
    replaces_md5: "; with PASSWORD_HASH=auto the rotation itself replaces MD5 hashes",
    admin_needs: r#"The admin needs CREATEROLE, and from PostgreSQL 16 on ADMIN OPTION on the base role and on the twin: see "What the admin needs" in the function's README. Roles with SUPERUSER, REPLICATION or BYPASSRLS are a superuser's to change."#,
};

/// The role is gone, though it has just been there.
pub(crate) fn vanished(role: &str) -> Failure {
    Failure::permanent(
        Code::RoleVanished,
        format!("{role:?} is gone, though it has just been there."),
        "Find out who drops roles here, then rotate again.",
    )
}

/// The server's answer is not what the query asks for; `why` is the parser's word.
pub(crate) fn strange(place: &Place, why: &str) -> Failure {
    Failure::permanent(
        PostgresCode::StatementFailed,
        format!("{} gave an answer about its roles that cannot be read: {why}.", place.address),
        "Look whether this really is PostgreSQL 13 to 18: SELECT version()",
    )
}
