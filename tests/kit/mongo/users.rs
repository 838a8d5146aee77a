//! The users of a server or a replica set, as its root sees and changes them.

use anyhow::{Context, Result};
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ClientOptions;

use super::server::ROOT;
use super::{AUTHENTICATION_FAILED, SELECTION_LIMIT, address, code, log_in, options};
use crate::certificates::Certificates;

/// Reads and changes users; each login is on a connection of its own, over TLS.
#[derive(Clone)]
pub struct Users {
    certificates: Certificates,
    /// One server, asked alone, or the members of a replica set.
    ports: Vec<u16>,
    replica_set: Option<&'static str>,
    root_password: String,
}

impl Users {
    pub(super) fn new(
        certificates: Certificates,
        ports: Vec<u16>,
        replica_set: Option<&'static str>,
        root_password: String,
    ) -> Self {
        Self { certificates, ports, replica_set, root_password }
    }

    /// The servers' certificate, and the authority that signed it.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The user that may do everything, of `admin`, and its password.
    #[must_use]
    pub fn root(&self) -> (&str, &str) {
        (ROOT, &self.root_password)
    }

    /// Makes a user of this database with these roles: (role, database).
    pub async fn make_user(&self, db: &str, name: &str, password: &str, roles: &[(&str, &str)]) -> Result<()> {
        let user =
            doc! { "createUser": name, "pwd": password, "roles": bindings(roles), "mechanisms": ["SCRAM-SHA-256"] };
        self.as_root(db, user).await.map(drop)
    }

    /// Makes a role of `admin` with these privileges (`{resource: {db, collection}, actions: [..]}`) and these roles more:
    /// (role, database).
    pub async fn make_role(&self, name: &str, privileges: Vec<Document>, roles: &[(&str, &str)]) -> Result<()> {
        let role = doc! { "createRole": name, "privileges": privileges, "roles": bindings(roles) };
        self.as_root("admin", role).await.map(drop)
    }

    /// Gives a user another password, for the mechanisms that it has; an error where there is no such user.
    pub async fn set_password(&self, db: &str, name: &str, password: &str) -> Result<()> {
        let user = self.user(db, name).await?.with_context(|| format!("there is no user {name}"))?;
        let mechanisms = user.get_array("mechanisms").context("a user without mechanisms")?;
        self.as_root(db, doc! { "updateUser": name, "pwd": password, "mechanisms": mechanisms }).await.map(drop)
    }

    /// Gives a user these roles instead of those that it has: (role, database).
    pub async fn set_roles(&self, db: &str, name: &str, roles: &[(&str, &str)]) -> Result<()> {
        self.as_root(db, doc! { "updateUser": name, "roles": bindings(roles) }).await.map(drop)
    }

    /// Removes a user.
    pub async fn drop_user(&self, db: &str, name: &str) -> Result<()> {
        self.as_root(db, doc! { "dropUser": name }).await.map(drop)
    }

    /// What `usersInfo` says about a user.
    pub async fn user(&self, db: &str, name: &str) -> Result<Option<Document>> {
        let answer = self.as_root(db, doc! { "usersInfo": { "user": name, "db": db } }).await?;
        Ok(documents(&answer, "users")?.into_iter().next())
    }

    /// Every user with its salted password, in an order that is always the same: equal lists, nothing has changed.
    pub async fn users(&self) -> Result<Vec<Document>> {
        let all = doc! { "usersInfo": { "forAllDBs": true }, "showCredentials": true };
        let mut users = documents(&self.as_root("admin", all).await?, "users")?;
        users.sort_by_cached_key(|user| user.get_str("_id").unwrap_or_default().to_owned());
        Ok(users)
    }

    /// Whether this login succeeds on a connection of its own. False only where the server says that it does not.
    pub async fn logs_in(&self, db: &str, name: &str, password: &str) -> Result<bool> {
        let client = self.client(db, name, password)?;
        let status = client.database("admin").run_command(doc! { "connectionStatus": 1 }).await;
        client.shutdown().immediate(true).await;
        match status {
            Ok(status) => {
                let users = documents(status.get_document("authInfo")?, "authenticatedUsers")?;
                Ok(users.contains(&doc! { "user": name, "db": db }))
            }
            Err(error) if code(&error) == Some(AUTHENTICATION_FAILED) => Ok(false),
            // A driver that is told of no mechanism, since there is no such user, takes one that may be switched off.
            Err(error) if code(&error) == Some(334) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("whether {name} logs in cannot be told")),
        }
    }

    /// A client that will log in as this user of this database, over TLS, verified with the stack's authority.
    pub fn client(&self, db: &str, name: &str, password: &str) -> Result<Client> {
        log_in(self.options(), &self.certificates, db, name, password)
    }

    /// Runs a command as root.
    pub async fn as_root(&self, db: &str, command: Document) -> Result<Document> {
        let what = command.keys().next().cloned().unwrap_or_default();
        let (root, password) = self.root();
        let client = self.client("admin", root, password)?;
        let answer = client.database(db).run_command(command).await;
        client.shutdown().immediate(true).await;
        answer.with_context(|| format!("{what} failed"))
    }

    fn options(&self) -> ClientOptions {
        match (self.replica_set, self.ports.as_slice()) {
            (None, [port]) => options(*port),
            (name, ports) => {
                let hosts = ports.iter().map(|port| address(*port)).collect::<Vec<_>>();
                let options = ClientOptions::builder().hosts(hosts).repl_set_name(name.map(str::to_owned));
                options.retry_reads(false).retry_writes(false).server_selection_timeout(SELECTION_LIMIT * 3).build()
            }
        }
    }
}

fn bindings(roles: &[(&str, &str)]) -> Vec<Document> {
    roles.iter().map(|(role, db)| doc! { "role": role, "db": db }).collect()
}

fn documents(answer: &Document, key: &str) -> Result<Vec<Document>> {
    let values = answer.get_array(key).with_context(|| format!("an answer without {key}"))?;
    Ok(values.iter().filter_map(Bson::as_document).cloned().collect())
}
