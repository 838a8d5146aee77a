//! Logging in: always a new client, because a connection authenticates once, and always over TLS.
//!
//! The driver writes no log: its features `log` and `tracing-unstable` are off (`cargo tree -e features -i mongodb`).

mod servers;
mod sightings;

use crate::errors::{self, CommandFailure};
use crate::role::Role;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use keyturn::Deadline;
use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::failure::{self, Attempt, Failure, Kind};
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{
    AuthMechanism, ClientOptions, Credential, ServerAddress, ServerMonitoringMode, Tls, TlsOptions,
};
use mongodb::{Client, Database};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use servers::DEFAULT_PORT;
pub use servers::Servers;
use sightings::Sightings;
use std::collections::BTreeSet;
use std::future::IntoFuture as _;
use std::path::PathBuf;
use std::time::Duration;

/// The database that keeps users, unless somebody chose another.
pub const ADMIN_DATABASE: &str = "admin";

/// For finding a server. Refused connections and failed lookups are tried again for as long.
const CONNECT: Duration = Duration::from_secs(5);

/// From lookup to login, with everything that is tried again. With it, a dead network is reported in well under 15 s.
const LOGIN: Duration = Duration::from_secs(10);

/// No server is looked at a second time while all goes well: sessions are shorter than this.
const HEARTBEAT: Duration = Duration::from_hours(1);

/// How long a change may wait for a majority of the replica set, in milliseconds.
const MAJORITY_WITHIN_MS: i64 = 5000;

/// For saying goodbye: less than the second that an invocation keeps to report in.
const CLOSE: Duration = Duration::from_millis(300);

/// How logins are made in a function.
#[derive(Debug)]
pub struct Connector {
    /// The function's name: servers show `keyturn/<name>` beside its connections.
    function: &'static str,
    /// What an error says where a session broke while it was in use.
    broken: &'static str,
    /// PEM certificates to trust; without it Mozilla's, which are compiled in.
    ca_file: Option<PathBuf>,
}

/// What a login came to.
#[derive(Debug)]
pub enum Login {
    Accepted(Session),
    /// The server says, in these words, that the password is wrong or that there is no such user; it does not tell the two
    /// apart.
    Refused(String),
}

/// Whom to log in.
#[derive(Clone, Copy)]
struct Who<'a> {
    user: &'a str,
    auth_db: &'a str,
    password: &'a SecretString,
}

/// Reads `DATABASE_CA_FILE`: a file with at least one certificate in PEM. The driver would skip whatever is no certificate.
///
/// # Errors
/// What is wrong with the file.
pub fn ca_file(path: &str) -> Result<PathBuf, String> {
    let mut certificates = CertificateDer::pem_file_iter(path).map_err(|why| format!("cannot read {path}: {why}"))?;
    match certificates.next() {
        None => Err(format!("{path} holds no certificate")),
        Some(Err(_)) => Err(format!("{path} is not PEM")),
        Some(Ok(_)) if certificates.any(|certificate| certificate.is_err()) => Err(format!("{path} is not PEM")),
        Some(Ok(_)) => Ok(PathBuf::from(path)),
    }
}

/// Those of the hosts asked that are members of one replica set.
struct ReplicaSet {
    /// As they name each other.
    members: BTreeSet<Address>,
    hosts: BTreeSet<Address>,
}

impl ReplicaSet {
    /// While a set is reconfigured its members name different ones for a moment; with one in common they are one set.
    fn join(self, sets: &mut Vec<Self>) {
        match sets.iter_mut().find(|set| !set.members.is_disjoint(&self.members)) {
            Some(set) => {
                set.members.extend(self.members);
                set.hosts.extend(self.hosts);
            }
            None => sets.push(self),
        }
    }
}

impl Connector {
    /// Logins of this function, which servers see as `keyturn/<function>`. `broken` is what to do where a session breaks while
    /// it is in use. It trusts the certificates in the file (see [`ca_file()`]) instead of Mozilla's.
    #[must_use]
    pub fn new(function: &'static str, broken: &'static str, ca_file: Option<PathBuf>) -> Self {
        Self { function, broken, ca_file }
    }

    /// Logs `user` of the database `auth_db` in, and proves by `connectionStatus` that it is this user who is logged in. One
    /// login at the primary stands for a replica set.
    ///
    /// # Errors
    /// Everything that is not the server saying that this password is wrong.
    pub async fn log_in(
        &self,
        servers: &Servers,
        user: &str,
        auth_db: &str,
        password: &SecretString,
        deadline: Deadline,
    ) -> Attempt<Login> {
        // The driver puts the name into SCRAM's messages without the escapes that these need.
        if user.is_empty() || user.contains([',', '=']) {
            return Err(Failure::permanent(
                Core::LoginFailed,
                format!("{user:?} is no user name that can be logged in with."),
                "Give the user a name without \",\" and \"=\".",
            ));
        }
        let who = Who { user, auth_db, password };
        let deadline = deadline.at_most(LOGIN);
        let (mut refused, mut not_offered) = (None, None);
        for mechanism in mechanisms(auth_db) {
            let is_chosen = mechanism.is_none();
            match self.try_patiently(servers, who, mechanism, deadline).await {
                Ok(Login::Refused(words)) if !is_chosen => refused = refused.or(Some(words)),
                Err(failure) if failure.kind == Kind::LoginRefused => not_offered = not_offered.or(Some(failure)),
                came_to => return came_to,
            }
        }
        match (refused, not_offered) {
            (None, Some(failure)) => Err(failure),
            (refused, _) => Ok(Login::Refused(refused.unwrap_or_default())),
        }
    }

    /// Which of these are one place: the members of a replica set, as they name each other. Each other server is asked alone: a
    /// router of a sharded cluster keeps users in memory and learns of a change in its own time, and of what does not answer
    /// nobody knows that it is a member.
    pub async fn places(&self, servers: Servers, deadline: Deadline) -> Vec<Servers> {
        if !servers.may_be_several() {
            return vec![servers];
        }
        let deadline = deadline.at_most(CONNECT);
        let mut asked: FuturesUnordered<_> = servers
            .hosts()
            .iter()
            .map(async |host| (host.clone(), self.members(Servers::alone(host), deadline).await))
            .collect();
        let mut sets: Vec<ReplicaSet> = Vec::new();
        let mut alone: BTreeSet<Address> = servers.hosts().iter().cloned().collect();
        // A member that is down need not be waited for once another one has named it.
        while !alone.is_empty()
            && let Some((host, members)) = asked.next().await
        {
            let Some(members) = members else { continue };
            let is_of_it = |other: &Address| *other == host || members.contains(other);
            let of_it: Vec<Address> = alone.extract_if(.., is_of_it).collect();
            if !of_it.is_empty() {
                ReplicaSet { members, hosts: of_it.into_iter().collect() }.join(&mut sets);
            }
        }
        let alone = servers.hosts().iter().filter(|host| alone.contains(*host)).map(Servers::alone);
        sets.iter().map(|set| servers.of(&set.hosts)).chain(alone).collect()
    }

    /// The members of this server's replica set.
    async fn members(&self, server: Servers, deadline: Deadline) -> Option<BTreeSet<Address>> {
        let limit = deadline.remaining();
        let (_, handler) = Sightings::of(&server);
        let client = Client::with_options(self.options(&server, None, limit, handler)).ok()?;
        let hello = doc! { "hello": 1 };
        let answer = deadline.bound(client.database("admin").run_command(hello).into_future()).await;
        close(client).await;
        let hello = answer.ok()?.ok()?;
        hello.get_str("setName").ok()?;
        let listed =
            ["hosts", "passives", "arbiters"].into_iter().filter_map(|list| hello.get_array(list).ok()).flatten();
        Some(listed.filter_map(|host| Address::parse(host.as_str()?, DEFAULT_PORT).ok()).collect())
    }

    /// Tries again what may pass, as a connection that was broken off in the middle of a login.
    async fn try_patiently(
        &self,
        servers: &Servers,
        who: Who<'_>,
        mechanism: Option<AuthMechanism>,
        deadline: Deadline,
    ) -> Attempt<Login> {
        failure::retry(deadline, CONNECT, Failure::is_transient, async |deadline| {
            self.try_once(servers, who, mechanism.clone(), deadline).await
        })
        .await
    }

    async fn try_once(
        &self,
        servers: &Servers,
        who: Who<'_>,
        mechanism: Option<AuthMechanism>,
        deadline: Deadline,
    ) -> Attempt<Login> {
        let limit = deadline.remaining();
        if limit.is_zero() {
            return Err(failure::out_of_time(servers));
        }
        let (mut sightings, handler) = Sightings::of(servers);
        let options = self.options(servers, Some(credential(who, mechanism)), limit.min(CONNECT), handler);
        let client = Client::with_options(options).map_err(|e| errors::not_set_up(&e, servers))?;
        // Nothing may come before it: only a client's first operation tells of a refused login by the server's own code.
        let admin = client.database("admin");
        let status = tokio::select! {
            biased;
            status = deadline.bound(admin.run_command(doc! { "connectionStatus": 1 }).into_future()) => status,
            failure = sightings.hopeless() => return Err(failure),
        };
        let user = format!("{}@{}", who.user, who.auth_db);
        match status {
            Ok(Ok(status)) => Session::of(client, servers, who, &status, self.broken).map(Login::Accepted),
            Err(_) => Err(sightings.verdict().unwrap_or_else(|| errors::silent(servers, "logging in", limit))),
            Ok(Err(error)) => {
                if let Some(words) = errors::password_refused(&error) {
                    return Ok(Login::Refused(words));
                }
                if errors::mechanism_missing(&error) {
                    // Of the password it says nothing.
                    return Err(Failure { kind: Kind::LoginRefused, ..errors::login(&error, &user, servers) });
                }
                Err(match &*error.kind {
                    ErrorKind::ServerSelection { .. } => errors::no_server(&error, servers, sightings.verdict()),
                    _ => errors::login(&error, &user, servers),
                })
            }
        }
    }

    fn options(
        &self,
        servers: &Servers,
        credential: Option<Credential>,
        connect: Duration,
        handler: EventHandler<SdamEvent>,
    ) -> ClientOptions {
        let address = |Address { host, port }: &Address| ServerAddress::Tcp { host: host.clone(), port: Some(*port) };
        ClientOptions::builder()
            .hosts(servers.hosts().iter().map(address).collect::<Vec<_>>())
            .app_name(format!("keyturn/{}", self.function))
            .credential(credential)
            .tls(Tls::Enabled(TlsOptions::builder().ca_file_path(self.ca_file.clone()).build()))
            .repl_set_name(servers.replica_set().map(str::to_owned))
            .direct_connection(servers.is_alone().then_some(true))
            .server_selection_timeout(connect)
            // A little less, so that a monitor's waiting in vain is seen before the search is over.
            .connect_timeout(connect * 9 / 10)
            // Polling: no second connection that measures round trips.
            .server_monitoring_mode(ServerMonitoringMode::Poll)
            .heartbeat_freq(HEARTBEAT)
            .sdam_event_handler(handler)
            .max_pool_size(1)
            .retry_reads(false)
            .retry_writes(false)
            .build()
    }
}

/// The mechanisms to try, `None` for what the driver chooses. It asks the server for those of the user, but takes SCRAM-SHA-1
/// where the server does not tell: for a user that does not exist, for one of another database than `admin`, and for one whose
/// mechanisms are switched off. A server without SHA-1 then answers that it does not do that, which is no word on the password.
fn mechanisms(auth_db: &str) -> impl Iterator<Item = Option<AuthMechanism>> {
    let chosen = (auth_db == ADMIN_DATABASE).then_some(None);
    chosen.into_iter().chain([Some(AuthMechanism::ScramSha256), Some(AuthMechanism::ScramSha1)])
}

/// The write concern of changes that must outlive a failover.
#[must_use]
pub fn majority() -> Document {
    doc! { "w": "majority", "wtimeout": MAJORITY_WITHIN_MS }
}

async fn close(client: Client) {
    // A server that does not answer any more needs no goodbye.
    let _ = Deadline::after(CLOSE).bound(client.shutdown().immediate(true).into_future()).await;
}

fn credential(who: Who<'_>, mechanism: Option<AuthMechanism>) -> Credential {
    Credential::builder()
        .username(who.user.to_owned())
        .password(who.password.expose_secret().to_owned())
        .source(who.auth_db.to_owned())
        .mechanism(mechanism)
        .build()
}

/// A logged-in client.
#[derive(Debug)]
pub struct Session {
    client: Client,
    servers: Servers,
    broken: &'static str,
    pub user: String,
    /// The database that keeps the user.
    pub auth_db: String,
    /// What the server says the session may do: the user's roles, and those that they bring with them.
    pub roles: BTreeSet<Role>,
}

impl Session {
    fn of(client: Client, servers: &Servers, who: Who<'_>, status: &Document, broken: &'static str) -> Attempt<Self> {
        let (users, roles) = identity(status);
        let user = format!("{}@{}", who.user, who.auth_db);
        if users != [user.as_str()] {
            return Err(errors::somebody_else(&user, &users, servers));
        }
        let (user, auth_db) = (who.user.to_owned(), who.auth_db.to_owned());
        Ok(Self { client, servers: servers.clone(), broken, user, auth_db, roles })
    }

    /// Where it is logged in.
    #[must_use]
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Runs a command once; a change that no majority confirms is an error. `doing` completes "The server failed while ...".
    pub async fn run(
        &self,
        database: &str,
        command: Document,
        doing: &str,
        deadline: Deadline,
    ) -> Result<Document, CommandFailure> {
        let hidden = command.get_str("pwd").ok().map(SecretString::from);
        let limit = deadline.remaining();
        if limit.is_zero() {
            return Err(failure::out_of_time(&self.servers).into());
        }
        let database: Database = self.client.database(database);
        match deadline.bound(database.run_command(command).into_future()).await {
            Ok(Ok(answer)) => match errors::concern_failure(&answer) {
                Some(refused) => Err(errors::refused(refused, doing, &self.servers)),
                None => Ok(answer),
            },
            Ok(Err(error)) => Err(errors::command(
                &error,
                doing,
                &self.servers,
                self.broken,
                hidden.as_ref().map(SecretString::expose_secret),
            )),
            Err(_) => Err(errors::silent(&self.servers, doing, limit).into()),
        }
    }

    /// Ends the session at the server and closes its connections, so that none of them outlives the invocation.
    pub async fn close(&self) {
        close(self.client.clone()).await;
    }
}

/// Who is logged in (`name@database`), with which roles, as `connectionStatus` has it.
fn identity(status: &Document) -> (Vec<String>, BTreeSet<Role>) {
    let listed = |key| {
        let info = status.get_document("authInfo").ok();
        let entries = info.and_then(|info| info.get_array(key).ok()).into_iter().flatten();
        entries.filter_map(mongodb::bson::Bson::as_document)
    };
    let text = |entry: &Document, key| entry.get_str(key).unwrap_or_default().to_owned();
    let users =
        listed("authenticatedUsers").map(|user| format!("{}@{}", text(user, "user"), text(user, "db"))).collect();
    let roles = listed("authenticatedUserRoles")
        .map(|role| Role { name: text(role, "role"), database: text(role, "db"), collection: None })
        .collect();
    (users, roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_name_each_other_differently_for_a_moment_are_one_set() {
        let set = |members: &[&str], host: &str| ReplicaSet {
            members: members.iter().map(|name| Address::new(name, 1)).collect(),
            hosts: BTreeSet::from([Address::new(host, 1)]),
        };
        let mut sets = Vec::new();
        for (members, host) in [(&["a", "b"][..], "a"), (&["b", "c"], "b"), (&["x", "y"], "x")] {
            set(members, host).join(&mut sets);
        }
        let hosts: Vec<usize> = sets.iter().map(|set| set.hosts.len()).collect();
        assert_eq!(hosts, [2, 1]);
    }

    fn role(role: &str, database: &str) -> Role {
        Role { name: role.to_owned(), database: database.to_owned(), collection: None }
    }

    #[test]
    fn identity_is_what_the_server_says() {
        let status = doc! { "ok": 1.0, "authInfo": {
            "authenticatedUsers": [{ "user": "shop", "db": "admin" }],
            "authenticatedUserRoles": [{ "role": "readWrite", "db": "shop" }, { "role": "read", "db": "log" }],
        }};
        let (users, roles) = identity(&status);
        assert_eq!(users, ["shop@admin"]);
        assert_eq!(roles, BTreeSet::from([role("read", "log"), role("readWrite", "shop")]));
        assert_eq!(identity(&doc! { "ok": 1 }), (vec![], BTreeSet::new()));
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let missing = ca_file("/does/not/exist.pem").unwrap_err();
        assert!(missing.starts_with("cannot read"), "{missing}");
        let none = ca_file(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap_err();
        assert!(none.ends_with("holds no certificate"), "{none}");
    }

    #[tokio::test]
    async fn names_that_scram_cannot_carry_are_refused_before_any_connection() {
        let servers = Servers::parse("localhost:1", None).unwrap();
        for name in ["", "a,b", "a=b"] {
            let login = Connector::new("test", "", None)
                .log_in(&servers, name, "admin", &"x".into(), Deadline::after(CONNECT))
                .await;
            assert_eq!(login.unwrap_err().error.code(), "LOGIN_FAILED", "{name}");
        }
    }

    #[tokio::test]
    async fn no_time_left_is_said_so() {
        let servers = Servers::parse("localhost:1", None).unwrap();
        let login = Connector::new("test", "", None)
            .log_in(&servers, "u", "admin", &"x".into(), Deadline::after(Duration::ZERO))
            .await;
        assert_eq!(login.unwrap_err().error.code(), "OUT_OF_TIME");
    }
}
