//! A proxy in front of a [`Mongo`] that sees every command, strikes by the stack's plan of faults, and can answer as
//! something that the server is not: Atlas, a mongos, a server that says no.
//!
//! TLS on both sides. Each login (`mongo login app`, however many messages it takes) and each command (`mongo updateUser`)
//! is a call of the plan: before it nothing has reached the server, after it the server has answered and the client has
//! seen nothing. What drivers say on their own (greetings without a login, `endSessions`) is no call: they say it when
//! they like.

mod session;
mod wire;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use mongodb::bson::{Document, doc};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use crate::certificates::Certificates;
use crate::faults::Faults;
use crate::mongo::{AUTHENTICATION_FAILED, Mongo};
use crate::tcp::{Bound, Serving, dial};
use session::Session;
use wire::Wire;

/// A running proxy. Dropped, it cuts every connection.
pub struct MongoProxy {
    shared: Arc<Shared>,
    _serving: Serving,
}

impl MongoProxy {
    /// Starts a proxy in front of this server, with the server's certificates.
    pub async fn start(upstream: &Mongo, faults: Faults) -> Result<Self> {
        let bound = Bound::free().await?;
        let acceptor = upstream.certificates().acceptor()?;
        let connector = connector(upstream.certificates())?;
        let (port, upstream) = (bound.port, upstream.port());
        let shared = Arc::new(Shared { port, upstream, connector, faults, tricks: Mutex::default() });
        let relayed = Arc::clone(&shared);
        let serve = move |stream| relay(stream, acceptor.clone(), Arc::clone(&relayed));
        Ok(Self { shared, _serving: bound.serve("mongo proxy", serve) })
    }

    /// The port it listens on, of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// `localhost:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        self.shared.address()
    }

    /// Every command that has come in, in order, passwords included, whether or not it reached the server. Greetings,
    /// logins, `ping` and `endSessions` are left out.
    #[must_use]
    pub fn commands(&self) -> Vec<Document> {
        self.shared.tricks().commands.clone()
    }

    /// Forgets the commands that have come in.
    pub fn forget(&self) {
        self.shared.tricks().commands.clear();
    }

    /// Words refused logins as Atlas's proxies do from now on: code 8000, "bad auth", instead of 18.
    pub fn refuse_logins_as_atlas(&self, on: bool) {
        self.shared.tricks().atlas = on;
    }

    /// Says from now on that it is a mongos, the router of a sharded cluster, and a member of no replica set.
    pub fn pretend_mongos(&self) {
        self.shared.tricks().mongos = true;
    }

    /// Says from now on that it speaks these versions of the wire protocol only, the first and the last: 6 to 6 is MongoDB 4.0.
    pub fn pretend_wire_versions(&self, first: i32, last: i32) {
        self.shared.tricks().wire_versions = Some((first, last));
    }

    /// Answers the next `times` commands of this name with exactly `reply` (`ok` included); the server hears nothing of them.
    pub fn answer(&self, command: &str, times: usize, reply: Document) {
        self.shared.tricks().answers.push(Answer { command: command.to_owned(), times, reply });
    }

    /// Refuses the logins of this user as wrong from now on, or no longer, whatever the server would say: a mongos whose
    /// cache of users is stale.
    pub fn hold_logins_of(&self, user: &str, held: bool) {
        let mut tricks = self.shared.tricks();
        if held {
            tricks.held.insert(user.to_owned());
        } else {
            tricks.held.remove(user);
        }
    }
}

struct Shared {
    port: u16,
    upstream: u16,
    connector: TlsConnector,
    faults: Faults,
    tricks: Mutex<Tricks>,
}

#[derive(Default)]
struct Tricks {
    commands: Vec<Document>,
    atlas: bool,
    mongos: bool,
    wire_versions: Option<(i32, i32)>,
    answers: Vec<Answer>,
    held: BTreeSet<String>,
}

struct Answer {
    command: String,
    times: usize,
    reply: Document,
}

impl Shared {
    fn tricks(&self) -> MutexGuard<'_, Tricks> {
        self.tricks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    async fn dial(&self) -> Result<Wire<client::TlsStream<TcpStream>>> {
        let stream = dial(self.upstream).await?;
        Ok(Wire::new(self.connector.connect(ServerName::try_from("localhost")?, stream).await?))
    }

    /// What a test has said to answer to a command of this name.
    fn prepared_answer(&self, command: &str) -> Option<Document> {
        let mut tricks = self.tricks();
        let next = tricks.answers.iter_mut().find(|next| next.command == command && next.times > 0)?;
        next.times -= 1;
        Some(next.reply.clone())
    }

    /// The server's answer to a greeting, with the proxy in its place.
    fn greeting(&self, mut hello: Document) -> Document {
        if let Some((first, last)) = self.tricks().wire_versions {
            hello.extend(doc! { "minWireVersion": first, "maxWireVersion": last });
        }
        if self.tricks().mongos {
            for member_of_a_set in ["setName", "setVersion", "hosts", "primary", "me", "electionId", "lastWrite"] {
                hello.remove(member_of_a_set);
            }
            hello.insert("msg", "isdbgrid");
        } else if hello.contains_key("hosts") {
            hello.extend(doc! { "hosts": [self.address()], "primary": self.address(), "me": self.address() });
        }
        hello
    }

    fn refusal(&self) -> Document {
        if self.tricks().atlas {
            let message = "bad auth : Authentication failed.";
            doc! { "ok": 0.0, "errmsg": message, "code": 8000, "codeName": "AtlasError" }
        } else {
            doc! { "ok": 0.0, "errmsg": "Authentication failed.", "code": AUTHENTICATION_FAILED, "codeName": "AuthenticationFailed" }
        }
    }
}

fn connector(certificates: &Certificates) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(
        CertificateDer::from_pem_slice(certificates.ca_pem().as_bytes()).context("the authority cannot be read")?,
    )?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection from its first message to its end; returning cuts both sides.
async fn relay(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) -> Result<()> {
    stream.set_nodelay(true)?;
    let client = Wire::new(acceptor.accept(stream).await?);
    let server = shared.dial().await?;
    Session::new(client, server, &shared).run().await
}

#[cfg(test)]
mod tests;
