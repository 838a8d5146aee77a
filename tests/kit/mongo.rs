//! Real servers: mongod, with TLS, users and roles. A fresh one for whoever asks, in half a second, gone without a trace
//! afterwards.

mod install;
pub mod proxy;
mod server;
pub mod set;
mod template;
mod users;

use std::error::Error as _;
use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, Result};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use rand::distr::{Alphanumeric, SampleString};

use crate::certificates::Certificates;
use crate::daemon::Instance;
use server::{Choices, REPLICA_SET};
pub use users::Users;

const SELECTION_LIMIT: Duration = Duration::from_secs(5);

/// The server's code for a wrong password or an unknown user: `AuthenticationFailed`.
pub(crate) const AUTHENTICATION_FAILED: i32 = 18;

/// A running server. Dropped, it is stopped and removed.
pub struct Mongo {
    standalone: bool,
    users: Users,
    server: Instance,
}

impl Deref for Mongo {
    type Target = Users;

    fn deref(&self) -> &Users {
        &self.users
    }
}

impl Mongo {
    /// Starts a server that is the only member of a replica set.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// A server with choices of its own.
    pub fn builder() -> Builder {
        Builder { choices: Choices::default(), certificates: None }
    }

    /// The port it listens on, of loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// `localhost:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port())
    }

    /// The replica set whose only member it is.
    #[must_use]
    pub fn replica_set(&self) -> Option<&'static str> {
        (!self.standalone).then_some(REPLICA_SET)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Everything the server has written so far.
    pub fn log(&self) -> Result<String> {
        self.server.log()
    }
}

#[must_use]
pub struct Builder {
    choices: Choices,
    certificates: Option<Certificates>,
}

impl Builder {
    /// Is a member of no replica set: for a proxy in front, whose address it does not know.
    pub fn standalone(mut self) -> Self {
        self.choices.standalone = true;
        self
    }

    /// Takes a stack's certificates instead of making its own.
    pub fn certificates(mut self, certificates: &Certificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    /// Sets one of the server's own parameters.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.choices.parameters.push(format!("{name}={value}"));
        self
    }

    /// Takes no more connections than this many, at least 5.
    pub fn max_connections(mut self, most: u32) -> Self {
        self.choices.max_connections = Some(most);
        self
    }

    /// Hangs up on clients without a certificate: from then on not even we get in.
    pub fn demand_certificates(mut self) -> Self {
        self.choices.demands_certificates = true;
        self
    }

    pub async fn start(self) -> Result<Mongo> {
        let certificates = self.certificates.map_or_else(Certificates::new, Ok)?;
        let (choices, theirs) = (self.choices.clone(), certificates.clone());
        let (server, password) = tokio::task::spawn_blocking(move || server::start(&choices, &theirs)).await??;
        let Choices { standalone, demands_certificates, .. } = self.choices;
        let users = Users::new(certificates, vec![server.port], None, password);
        let mongo = Mongo { standalone, users, server };
        if !standalone && !demands_certificates {
            let (root, password) = mongo.root();
            let client = mongo.client("admin", root, password)?;
            server::configure(&client, &[mongo.address()], 0).await?;
            client.shutdown().immediate(true).await;
        }
        Ok(mongo)
    }
}

/// A client of the server or proxy on this port that will log in as this user of this database.
pub(crate) fn connect(certificates: &Certificates, port: u16, db: &str, name: &str, password: &str) -> Result<Client> {
    log_in(options(port), certificates, db, name, password)
}

fn log_in(
    mut options: ClientOptions,
    certificates: &Certificates,
    db: &str,
    name: &str,
    password: &str,
) -> Result<Client> {
    let credential = Credential::builder().username(name.to_owned()).password(password.to_owned());
    options.credential = Some(credential.source(db.to_owned()).build());
    options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(certificates.ca_file().to_owned()).build()));
    Client::with_options(options).context("the client cannot be made")
}

/// One server, whatever it says about others, each command tried once; without TLS and login.
fn options(port: u16) -> ClientOptions {
    let options = ClientOptions::builder().hosts(vec![address(port)]).direct_connection(true);
    options.retry_reads(false).retry_writes(false).server_selection_timeout(SELECTION_LIMIT).build()
}

fn address(port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: "localhost".to_owned(), port: Some(port) }
}

/// The server's error code, wherever in the chain of causes the driver has put it.
#[must_use]
pub fn code(error: &Error) -> Option<i32> {
    if let ErrorKind::Command(refused) = error.kind.as_ref() {
        return Some(refused.code);
    }
    let cause = error.source()?;
    code(cause.downcast_ref().or_else(|| cause.downcast_ref().map(Box::<Error>::as_ref))?)
}

/// A password that no other installation has.
fn new_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}

#[cfg(test)]
mod tests;
