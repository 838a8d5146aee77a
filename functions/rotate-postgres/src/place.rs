//! Where a database is: the server's address and the database's name.

use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::{Error, Result};

/// PostgreSQL's registered port, for secrets that name none.
pub(crate) const DEFAULT_PORT: u16 = 5432;

/// Where AWS's own rotation function connects when a secret names no database.
const DEFAULT_DATABASE: &str = "postgres";

/// A database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Address,
    pub(crate) database: String,
}

impl Place {
    /// Where a secret says its database is.
    ///
    /// Errors: `SECRET_KEY_MISSING` without a host, `ENGINE_UNKNOWN` for a database that is not PostgreSQL.
    pub(crate) fn of(credential: &Credential, what: &str) -> Result<Self> {
        if let Some(engine) = credential.engine()
            && !["postgres", "aurora-postgresql"].contains(&engine)
        {
            return Err(Error::new(
                Core::EngineUnknown,
                format!("{what} has engine {engine:?}."),
                "This function rotates \"postgres\" and \"aurora-postgresql\"; attach the function made for that engine.",
            ));
        }
        let host = credential.host().ok_or_else(|| {
            Error::new(
                Core::SecretKeyMissing,
                format!("{what} has no key \"host\"."),
                "Add the database's endpoint: {\"host\": \"...\", \"port\": 5432}. Secrets that RDS itself manages hold none and are not supported yet.",
            )
        })?;
        Ok(Self {
            address: Address::new(host, credential.port().unwrap_or(DEFAULT_PORT)),
            database: credential.dbname().unwrap_or(DEFAULT_DATABASE).to_owned(),
        })
    }
}
