//! What the operator sets per deployment, read once at start.

use crate::place::Server;
use keyturn::{Vars, admin};

/// Which kind of password hash is stored in the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordHash {
    /// What the server's `password_encryption` says.
    #[default]
    Auto,
    /// SCRAM-SHA-256 always; a server that asks for an MD5 answer is refused.
    Scram,
    /// MD5, for clients too old for SCRAM.
    Md5,
}

/// The function's settings. Every field is a row of README's table.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `DATABASE_CA_FILE`, read: PEM certificates to trust instead of the built-in ones.
    pub database_ca: Option<Vec<u8>>,
    /// `PASSWORD_HASH`.
    pub password_hash: PasswordHash,
    /// `ADMIN_SECRET_ARNS`: the only admin secrets that may be used; `None` leaves the choice to each secret's `masterarn`.
    pub admin_secret_arns: Option<Vec<String>>,
    /// `HOST_ALIASES`: other names (a replica, a proxy, a DNS alias) of an admin's server.
    pub host_aliases: Vec<HostAlias>,
}

/// "A secret may name `alias` where its admin secret names `server`."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlias {
    /// What the rotated secret says.
    pub alias: Server,
    /// What the admin secret says.
    pub server: Server,
}

impl Config {
    /// Reads the settings; what is wrong with them is noted in `vars`.
    #[must_use]
    pub fn read(vars: &mut Vars) -> Self {
        Self {
            database_ca: vars.parsed("DATABASE_CA_FILE", "/opt/database-ca.pem", read_certificates),
            password_hash: vars.parsed("PASSWORD_HASH", "auto", password_hash).unwrap_or_default(),
            admin_secret_arns: vars.parsed(
                "ADMIN_SECRET_ARNS",
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:admin-AbCdEf",
                admin::secret_arns,
            ),
            host_aliases: vars
                .parsed("HOST_ALIASES", "reader.example.com:5432=writer.example.com:5432", host_aliases)
                .unwrap_or_default(),
        }
    }
}

fn read_certificates(path: &str) -> Result<Vec<u8>, String> {
    let pem = std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let certificates = native_tls::Certificate::stack_from_pem(&pem).map_err(|_| format!("{path} is not PEM"))?;
    if certificates.is_empty() { Err(format!("{path} holds no certificate")) } else { Ok(pem) }
}

fn password_hash(value: &str) -> Result<PasswordHash, String> {
    match value {
        "auto" => Ok(PasswordHash::Auto),
        "scram" => Ok(PasswordHash::Scram),
        "md5" => Ok(PasswordHash::Md5),
        _ => Err("not one of auto, scram, md5".to_owned()),
    }
}

fn host_aliases(value: &str) -> Result<Vec<HostAlias>, String> {
    list(value)
        .map(|pair| {
            let (alias, server) = pair.split_once('=').ok_or_else(|| format!("{pair:?} has no '='"))?;
            Ok(HostAlias { alias: Server::parse(alias)?, server: Server::parse(server)? })
        })
        .collect()
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let mut vars = Vars::of([]);
        let config = Config::read(&mut vars);
        vars.finish().unwrap();
        assert_eq!(config.password_hash, PasswordHash::Auto);
        assert!(config.database_ca.is_none() && config.admin_secret_arns.is_none() && config.host_aliases.is_empty());
    }

    #[test]
    fn every_bad_setting_is_named() {
        let mut vars = Vars::of([
            ("DATABASE_CA_FILE", "/does/not/exist.pem"),
            ("PASSWORD_HASH", "bcrypt"),
            ("ADMIN_SECRET_ARNS", "admin"),
            ("HOST_ALIASES", "a:5432=b:port"),
        ]);
        let _ = Config::read(&mut vars);
        let error = vars.finish().unwrap_err().to_string();
        for name in [
            "DATABASE_CA_FILE: cannot read",
            "PASSWORD_HASH: not one of",
            "ADMIN_SECRET_ARNS: \"admin\" is not",
            "HOST_ALIASES: ",
        ] {
            assert!(error.contains(name), "{name} in {error}");
        }
    }

    #[test]
    fn aliases_are_pairs_of_servers() {
        let mut vars = Vars::of([("HOST_ALIASES", "Reader.example.com=writer.example.com:5433, [::1]:1=[::1]:2")]);
        let config = Config::read(&mut vars);
        vars.finish().unwrap();
        assert_eq!(config.host_aliases[0].alias, Server::new("reader.example.com", None));
        assert_eq!(config.host_aliases[0].server, Server::new("writer.example.com", Some(5433)));
        assert_eq!(config.host_aliases[1].server, Server::new("::1", Some(2)));
    }
}
