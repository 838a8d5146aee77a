//! Where a secret says that its database is.

use crate::settings::Tag;
use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::rotation::Job;
use keyturn::{Error, Result};
use keyturn_postgres::{DEFAULT_PORT, Place};

/// Where AWS's own rotation function connects when a secret names no database.
const DEFAULT_DATABASE: &str = "postgres";

/// Where a secret says its database is.
///
/// Errors: `SECRET_KEY_MISSING` without a host, `ENGINE_UNKNOWN` for a database that is not PostgreSQL.
pub(crate) fn of(credential: &Credential, what: &str) -> Result<Place> {
    if let Some(engine) = credential.engine() {
        check_engine(engine, what)?;
    }
    let host = credential.host().ok_or_else(|| {
        Error::new(
            Core::SecretKeyMissing,
            format!("{what} has no key \"host\"."),
            "Add the database's endpoint: {\"host\": \"...\", \"port\": 5432}. ",
        )
    })?;
    Ok(Place {
        address: Address::new(host, credential.port().unwrap_or(DEFAULT_PORT)),
        database: credential.dbname().unwrap_or(DEFAULT_DATABASE).to_owned(),
        tls_name: None,
    })
}

/// The same for the rotated secret, whose tags may say whom the certificate must name.
///
/// Errors: those of [`of`], and `TAG_INVALID`.
pub(crate) fn of_rotated(credential: &Credential, what: &str, job: &Job) -> Result<Place> {
    let tls_name = job.tag(Tag::TlsName);
    let is_host = |name: &str| Address::parse(name, DEFAULT_PORT).is_ok_and(|address| address.host == name);
    if tls_name.is_some_and(|name| !is_host(name)) {
        return Err(job.bad_tag(Tag::TlsName, "not the name of a host, in small letters"));
    }
    Ok(Place { tls_name: tls_name.map(str::to_owned), ..of(credential, what)? })
}

/// Where the admin's secret that RDS manages belongs: it holds neither host nor database.
pub(crate) fn managed(address: Address) -> Place {
    Place { address, database: DEFAULT_DATABASE.to_owned(), tls_name: None }
}

/// Errors: `ENGINE_UNKNOWN` for a database that is not PostgreSQL.
pub(crate) fn check_engine(engine: &str, what: &str) -> Result<()> {
    if ["postgres", "aurora-postgresql"].contains(&engine) {
        return Ok(());
    }
    Err(Error::new(
        Core::EngineUnknown,
        format!("{what} has engine {engine:?}."),
        "This function rotates \"postgres\" and \"aurora-postgresql\"; attach the function made for that engine.",
    ))
}
