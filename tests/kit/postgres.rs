//! Real PostgreSQL servers: a fresh one for whoever asks, in about half a second, gone without a trace afterwards.

pub mod fakes;
pub mod iam;
mod install;
pub mod proxy;
mod server;
mod template;
mod wire;

use std::fmt::Write as _;

use anyhow::{Context, Result};
use postgres_native_tls::MakeTlsConnector;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use rand::distr::{Alphanumeric, SampleString};
use tokio_postgres::{Client, Config};

use crate::certificates::Certificates;
use crate::daemon::Instance;
use server::Plan;

/// What every server is configured with before its own settings: TLS, SCRAM, a log of every statement, and nothing that
/// makes data survive a power cut.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_buffers = '16MB'
dynamic_shared_memory_type = mmap # files in the data directory: nothing to leave behind elsewhere
huge_pages = off
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
min_wal_size = '2MB'
max_wal_size = '64MB'
autovacuum = off
jit = off
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
password_encryption = 'scram-sha-256'
logging_collector = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] %q%u@%d '
log_statement = all
log_connections = on
log_disconnections = on
timezone = 'UTC'
log_timezone = 'UTC'
";

/// Anybody with a password, over TLS; and without TLS, for the proxy that takes TLS off.
const HBA: [&str; 2] = ["hostssl all all 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256"];

/// The superuser always gets in, whatever else the file says.
const SUPERUSER_HBA: &str = "hostssl all postgres 127.0.0.1/32 scram-sha-256";

/// A running server. Dropped, it is stopped and removed.
pub struct Postgres {
    major: u32,
    superuser_password: String,
    certificates: Certificates,
    server: Instance,
}

impl Postgres {
    /// Starts a server of this major version.
    pub async fn start(major: u32) -> Result<Self> {
        Self::builder(major).start().await
    }

    /// A server of this major version with settings of its own.
    pub fn builder(major: u32) -> Builder {
        Builder { major, settings: Vec::new(), hba: Vec::new(), certificates: None }
    }

    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }

    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The process id of the server's first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Its certificate, and the authority that signed it.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The password of the superuser `postgres`, made for this server.
    #[must_use]
    pub fn superuser_password(&self) -> &str {
        &self.superuser_password
    }

    /// Everything the server has logged so far, every statement included.
    pub fn server_log(&self) -> Result<String> {
        self.server.log()
    }

    /// Logs in to `postgres` as the superuser.
    pub async fn admin_client(&self) -> Result<Client> {
        self.client("postgres", &self.superuser_password, "postgres").await
    }

    /// Logs in over TLS, verified with the stack's authority. The cause of a refusal stays a `tokio_postgres::Error`.
    pub async fn client(&self, user: &str, password: &str, dbname: &str) -> Result<Client> {
        connect(&self.certificates, self.port(), user, password, dbname).await
    }

    /// Runs SQL in `postgres` as the superuser.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        self.execute_in("postgres", sql).await
    }

    /// Runs SQL in this database as the superuser.
    pub async fn execute_in(&self, dbname: &str, sql: &str) -> Result<()> {
        let client = self.client("postgres", &self.superuser_password, dbname).await?;
        client.batch_execute(sql).await.with_context(|| format!("refused: {sql}"))
    }

    /// Makes an administrator as on RDS: no superuser, but one that may create and change roles. Returns its password.
    pub async fn make_admin(&self, name: &str) -> Result<String> {
        self.make_login(name, "CREATEROLE").await
    }

    /// Makes a role that can log in, with these options more (`CREATEDB CONNECTION LIMIT 2`). Returns its password.
    pub async fn make_login(&self, name: &str, options: &str) -> Result<String> {
        let password = new_password();
        self.execute(&format!("CREATE ROLE {} LOGIN {options} {}", escape_identifier(name), clause(&password))).await?;
        Ok(password)
    }
}

#[must_use]
pub struct Builder {
    major: u32,
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    certificates: Option<Certificates>,
}

impl Builder {
    /// Adds a line to `postgresql.conf`; a later value wins.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line to `pg_hba.conf`. The first such line takes the place of the usual ones, for all but the superuser.
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// Takes a stack's certificates instead of making its own.
    pub fn certificates(mut self, certificates: &Certificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    pub async fn start(self) -> Result<Postgres> {
        let certificates = self.certificates.as_ref().map_or_else(Certificates::new, |given| Ok(given.clone()))?;
        let plan = Plan {
            major: self.major,
            settings: self.settings(),
            hba: self.hba_lines(),
            certificates: certificates.clone(),
        };
        let (server, first_password) = tokio::task::spawn_blocking(move || server::start(&plan)).await??;
        let superuser_password = new_password();
        let first = connect(&certificates, server.port, "postgres", &first_password, "postgres").await?;
        first.batch_execute(&format!("ALTER ROLE postgres {}", clause(&superuser_password))).await?;
        Ok(Postgres { major: self.major, superuser_password, certificates, server })
    }

    fn settings(&self) -> String {
        let mut text = SETTINGS.to_owned();
        if self.major >= 18 {
            text.push_str("io_method = sync\n"); // no worker processes
        }
        for (name, value) in &self.settings {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        text
    }

    fn hba_lines(&self) -> String {
        let rest = if self.hba.is_empty() { HBA.join("\n") } else { self.hba.join("\n") };
        format!("{SUPERUSER_HBA}\n{rest}\n")
    }
}

/// A password that no other test has.
fn new_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}

/// The password as its verifier: the server logs statements, and a search for leaks must not find what tests set up.
fn clause(password: &str) -> String {
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    format!("PASSWORD {}", escape_literal(&verifier))
}

async fn connect(certificates: &Certificates, port: u16, user: &str, password: &str, dbname: &str) -> Result<Client> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(user).password(password).dbname(dbname);
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let tls = MakeTlsConnector::new(certificates.connector());
    let (client, connection) =
        config.connect(tls).await.with_context(|| format!("{user} cannot log in to {dbname}"))?;
    tokio::spawn(connection); // ends with the client; its error comes out of the client too
    Ok(client)
}

#[cfg(test)]
mod tests;
