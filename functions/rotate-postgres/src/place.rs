//! Where a database is: server and database name.

use keyturn::credential::Credential;
use keyturn::{Error, Result};
use std::fmt;

/// PostgreSQL's registered port, for secrets that name none.
const DEFAULT_PORT: u16 = 5432;

/// Where AWS's own rotation function connects when a secret names no database.
const DEFAULT_DATABASE: &str = "postgres";

/// A host and port, in the one spelling that two of them can be compared by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Lower case, without a trailing dot.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Server {
    /// Folds the host's case and drops a trailing dot: DNS knows no difference.
    #[must_use]
    pub fn new(host: &str, port: Option<u16>) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        Self { host, port: port.unwrap_or(DEFAULT_PORT) }
    }

    /// Reads `host`, `host:port` or `[address]:port`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let text = text.trim();
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(format!("{text:?} names no host"));
        }
        let port = match port {
            Some(port) => Some(port.parse().map_err(|_| format!("{text:?} has no valid port"))?),
            None => None,
        };
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// A database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The server.
    pub server: Server,
    /// The database's name.
    pub database: String,
}

impl Place {
    /// Where a secret says its database is.
    ///
    /// # Errors
    /// `SECRET_KEY_MISSING` without a host, `ENGINE_UNKNOWN` for a database that is not PostgreSQL.
    pub fn of(credential: &Credential, what: &str) -> Result<Self> {
        if let Some(engine) = credential.engine()
            && !["postgres", "aurora-postgresql"].contains(&engine)
        {
            return Err(Error::new(
                "ENGINE_UNKNOWN",
                format!("{what} has engine {engine:?}."),
                "This function rotates \"postgres\" and \"aurora-postgresql\"; attach the function made for that engine.",
            ));
        }
        let host = credential.host().ok_or_else(|| {
            Error::new(
                "SECRET_KEY_MISSING",
                format!("{what} has no key \"host\"."),
                "Add the database's endpoint: {\"host\": \"...\", \"port\": 5432}. Secrets that RDS itself manages hold none and are not supported yet.",
            )
        })?;
        Ok(Self {
            server: Server::new(host, credential.port()),
            database: credential.dbname().unwrap_or(DEFAULT_DATABASE).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_server_spelled_differently_is_equal() {
        assert_eq!(Server::new("DB.Example.COM.", None), Server::new("db.example.com", Some(5432)));
        assert_ne!(Server::new("db.example.com", Some(5433)), Server::new("db.example.com", None));
    }

    #[test]
    fn servers_are_read_strictly() {
        for (text, expected) in [
            ("db", Some(("db", 5432))),
            ("DB:1", Some(("db", 1))),
            ("[::1]:6000", Some(("::1", 6000))),
            ("[::1]", Some(("::1", 5432))),
            (":5432", None),
            ("db:", None),
            ("db:65536", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, port)| Server::new(host, Some(port)));
            assert_eq!(Server::parse(text).ok(), expected, "{text:?}");
        }
    }
}
