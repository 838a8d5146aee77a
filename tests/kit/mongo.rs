//! Real servers that speak the protocol of mongod: SCRAM-SHA-256, TLS, users and roles. A fresh one for whoever asks, in
//! a second or two, gone without a trace afterwards.
//!
//! The server is `SecantusDB`. Known differences: `updateUser` ignores `mechanisms` and keeps those that the
//! user has, there is no `customData`, `dropUser` ends no session, and `usersInfo` needs `viewUser` even for oneself.

mod install;
pub mod proxy;
mod server;
mod template;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use rand::distr::{Alphanumeric, SampleString};

use crate::certificates::Certificates;
use crate::daemon::Instance;
use server::{REPLICA_SET, ROOT};

const SELECTION_LIMIT: Duration = Duration::from_secs(5);

/// The server's code for a wrong password or an unknown user: `AuthenticationFailed`.
pub(crate) const AUTHENTICATION_FAILED: i32 = 18;

/// A running server. Dropped, it is stopped and removed.
pub struct Mongo {
    standalone: bool,
    certificates: Certificates,
    /// Where users have been made: the server lists those of one database only.
    databases: Mutex<BTreeSet<String>>,
    root_password: String,
    server: Instance,
}

impl Mongo {
    /// Starts a server that is the primary of a replica set.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// A server with choices of its own.
    pub fn builder() -> Builder {
        Builder { standalone: false, certificates: None }
    }

    /// The port it listens on, of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// `localhost:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port())
    }

    /// The replica set whose only member it says it is.
    #[must_use]
    pub fn replica_set(&self) -> Option<&'static str> {
        (!self.standalone).then_some(REPLICA_SET)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Its certificate, and the authority that signed it.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The user that may do everything, of `admin`, and its password.
    #[must_use]
    pub fn root(&self) -> (&str, &str) {
        (ROOT, &self.root_password)
    }

    /// Everything the server has written so far: warnings, and refused TLS handshakes.
    pub fn log(&self) -> Result<String> {
        self.server.log()
    }

    /// Makes a user of this database with these roles: (role, database).
    pub async fn make_user(&self, db: &str, name: &str, password: &str, roles: &[(&str, &str)]) -> Result<()> {
        let user =
            doc! { "createUser": name, "pwd": password, "roles": bindings(roles), "mechanisms": ["SCRAM-SHA-256"] };
        self.databases().insert(db.to_owned());
        self.as_root(db, user).await.map(drop)
    }

    /// Makes a role of `admin` with these privileges (`{resource: {db, collection}, actions: [..]}`) and these roles more:
    /// (role, database).
    pub async fn make_role(&self, name: &str, privileges: Vec<Document>, roles: &[(&str, &str)]) -> Result<()> {
        let role = doc! { "createRole": name, "privileges": privileges, "roles": bindings(roles) };
        self.as_root("admin", role).await.map(drop)
    }

    /// Gives a user another password; an error where there is no such user.
    pub async fn set_password(&self, db: &str, name: &str, password: &str) -> Result<()> {
        self.as_root(db, doc! { "updateUser": name, "pwd": password }).await.map(drop)
    }

    /// Gives a user these roles instead of those that it has: (role, database).
    pub async fn set_roles(&self, db: &str, name: &str, roles: &[(&str, &str)]) -> Result<()> {
        self.as_root(db, doc! { "updateUser": name, "roles": bindings(roles) }).await.map(drop)
    }

    /// Removes a user; its open connections go on.
    pub async fn drop_user(&self, db: &str, name: &str) -> Result<()> {
        self.as_root(db, doc! { "dropUser": name }).await.map(drop)
    }

    /// What `usersInfo` says about a user.
    pub async fn user(&self, db: &str, name: &str) -> Result<Option<Document>> {
        let answer = self.as_root(db, doc! { "usersInfo": { "user": name, "db": db } }).await?;
        Ok(documents(&answer, "users")?.into_iter().next())
    }

    /// Every user with its salted password, in an order that is always the same: equal lists, nothing has changed. Users
    /// of databases without data that others have made are not found.
    pub async fn users(&self) -> Result<Vec<Document>> {
        let listed = self.as_root("admin", doc! { "listDatabases": 1, "nameOnly": true }).await?;
        let mut databases = self.databases().clone();
        databases.insert("admin".to_owned());
        for database in documents(&listed, "databases")? {
            databases.insert(database.get_str("name")?.to_owned());
        }
        let mut users = Vec::new();
        for db in databases {
            let answer = self.as_root(&db, doc! { "usersInfo": 1, "showCredentials": true }).await?;
            users.extend(documents(&answer, "users")?);
        }
        users.sort_by_cached_key(|user| user.get_str("_id").unwrap_or_default().to_owned());
        Ok(users)
    }

    /// Whether this login succeeds on a connection of its own. False only where the server says that it does not.
    pub async fn logs_in(&self, db: &str, name: &str, password: &str) -> Result<bool> {
        let client = self.client(db, name, password)?;
        match client.database("admin").run_command(doc! { "connectionStatus": 1 }).await {
            Ok(status) => {
                let users = documents(status.get_document("authInfo")?, "authenticatedUsers")?;
                Ok(users.contains(&doc! { "user": name, "db": db }))
            }
            Err(error) if code(&error) == Some(AUTHENTICATION_FAILED) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("whether {name} logs in cannot be told")),
        }
    }

    /// A client that will log in as this user of this database, over TLS, verified with the stack's authority.
    pub fn client(&self, db: &str, name: &str, password: &str) -> Result<Client> {
        connect(&self.certificates, self.port(), db, name, password)
    }

    async fn as_root(&self, db: &str, command: Document) -> Result<Document> {
        let what = command.keys().next().cloned().unwrap_or_default();
        let (root, password) = self.root();
        let client = self.client("admin", root, password)?;
        client.database(db).run_command(command).await.with_context(|| format!("{what} failed"))
    }

    fn databases(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[must_use]
pub struct Builder {
    standalone: bool,
    certificates: Option<Certificates>,
}

impl Builder {
    /// Does not say that it is the primary of a replica set: for a proxy in front, whose address it does not know.
    pub fn standalone(mut self) -> Self {
        self.standalone = true;
        self
    }

    /// Takes a stack's certificates instead of making its own.
    pub fn certificates(mut self, certificates: &Certificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    pub async fn start(self) -> Result<Mongo> {
        let certificates = self.certificates.map_or_else(Certificates::new, Ok)?;
        let (standalone, theirs) = (self.standalone, certificates.clone());
        let starting = tokio::task::spawn_blocking(move || server::start(standalone, &theirs));
        let (server, root_password) = starting.await??;
        Ok(Mongo { standalone, certificates, databases: Mutex::default(), root_password, server })
    }
}

/// A client of the server or proxy on this port that will log in as this user of this database.
pub(crate) fn connect(certificates: &Certificates, port: u16, db: &str, name: &str, password: &str) -> Result<Client> {
    let credential = Credential::builder().username(name.to_owned()).password(password.to_owned());
    let mut options = options(port);
    options.credential = Some(credential.source(db.to_owned()).build());
    options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(certificates.ca_file().to_owned()).build()));
    Client::with_options(options).context("the client cannot be made")
}

/// One server, whatever it says about others, each command tried once; without TLS and login.
fn options(port: u16) -> ClientOptions {
    let address = ServerAddress::Tcp { host: "localhost".to_owned(), port: Some(port) };
    let options = ClientOptions::builder().hosts(vec![address]).direct_connection(true);
    options.retry_reads(false).retry_writes(false).server_selection_timeout(SELECTION_LIMIT).build()
}

/// The server's error code, wherever in the chain of causes the driver has put it.
pub(crate) fn code(error: &Error) -> Option<i32> {
    if let ErrorKind::Command(refused) = error.kind.as_ref() {
        return Some(refused.code);
    }
    let cause = error.source()?;
    code(cause.downcast_ref().or_else(|| cause.downcast_ref().map(Box::<Error>::as_ref))?)
}

fn bindings(roles: &[(&str, &str)]) -> Vec<Document> {
    roles.iter().map(|(role, db)| doc! { "role": role, "db": db }).collect()
}

fn documents(answer: &Document, key: &str) -> Result<Vec<Document>> {
    let values = answer.get_array(key).with_context(|| format!("an answer without {key}"))?;
    Ok(values.iter().filter_map(Bson::as_document).cloned().collect())
}

/// A password that no other installation has.
fn new_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}

#[cfg(test)]
mod tests;
