//! A connection to PostgreSQL: verified TLS, a password proof, and every wait bounded.

use crate::errors::{self, Phase};
use crate::handshake::{Allowed, Guarded, Progress};
use crate::place::Place;
use crate::tls::Tls;
use crate::words::Words;
use keyturn::Deadline;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::{Attempt, Failure, RETRY_FOR, out_of_time, retry};
use secrecy::{ExposeSecret as _, SecretString};
use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

/// From lookup to login. With it, a dead network is reported in well under 15 s.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a server has to take the word that it is to stop: less than the time kept back for the report.
const CANCEL: Duration = Duration::from_millis(500);

/// Whom to log in, where.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: SecretString,
    /// The password is a token of RDS, which is valid for minutes and which RDS asks for as it is.
    pub is_token: bool,
    pub place: Place,
}

impl Login {
    #[must_use]
    pub fn new(credential: &Credential, place: Place) -> Self {
        Self { user: credential.username().to_owned(), password: credential.password().clone(), is_token: false, place }
    }
}

/// How connections are made in a function.
#[derive(Debug)]
pub struct Connector {
    words: &'static Words,
    tls: Tls,
    md5_allowed: bool,
}

impl Connector {
    /// `own_roots` are the only PEM certificates to trust; without them the roots of RDS and Mozilla's public ones. Where the server
    /// asks for an MD5 answer, it is given only with `md5_allowed`.
    #[must_use]
    pub fn new(words: &'static Words, own_roots: Option<Vec<u8>>, md5_allowed: bool) -> Self {
        Self { words, tls: Tls::new(own_roots), md5_allowed }
    }

    /// Logs in; passing failures are tried again.
    pub async fn open(&self, login: &Login, deadline: Deadline) -> Attempt<Session> {
        self.open_while(login, deadline, RETRY_FOR, Failure::is_transient).await
    }

    /// Logs in; `passing` failures are tried again for `patience`.
    pub async fn open_while(
        &self,
        login: &Login,
        deadline: Deadline,
        patience: Duration,
        passing: impl Fn(&Failure) -> bool,
    ) -> Attempt<Session> {
        retry(deadline, patience, passing, async |deadline| self.open_once(login, deadline).await).await
    }

    /// Logs in, or says how far it came and why it ended there.
    pub async fn open_once(&self, login: &Login, deadline: Deadline) -> Attempt<Session> {
        let deadline = deadline.at_most(CONNECT);
        let limit = deadline.remaining();
        if limit.is_zero() {
            return Err(out_of_time(&login.place.address));
        }
        let phase = Rc::new(Cell::new(Phase::Lookup));
        match deadline.bound(self.connect(login, &phase, deadline)).await {
            Ok(result) => result,
            Err(_) => Err(errors::silent(&login.place, phase.get(), limit)),
        }
    }

    async fn connect(&self, login: &Login, phase: &Rc<Cell<Phase>>, deadline: Deadline) -> Attempt<Session> {
        let address = &login.place.address;
        let addresses = tokio::net::lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(|e| errors::no_address(&login.place, &e.to_string(), self.words))?;
        phase.set(Phase::Connect);
        let stream = TcpStream::connect(addresses.collect::<Vec<_>>().as_slice())
            .await
            .map_err(|e| errors::not_connected(&login.place, &e))?;
        // Else the last message of a login waits for the server's delayed acknowledgement: 40 ms. It only fails on a dead socket.
        stream.set_nodelay(true).map_err(|e| errors::not_connected(&login.place, &e))?;
        let peer = stream.peer_addr().map_err(|e| errors::not_connected(&login.place, &e))?;
        phase.set(Phase::TlsRequest);
        let progress = Arc::<Progress>::default();
        let connector = self.tls.connector(login.place.certified())?;
        let tls = GuardedTls {
            inner: postgres_native_tls::TlsConnector::new(connector.clone(), login.place.certified()),
            allowed: Allowed { md5: self.md5_allowed, cleartext: login.is_token },
            phase: Rc::clone(phase),
            progress: Arc::clone(&progress),
        };
        let (client, connection) = tokio_postgres::Config::new()
            .user(&login.user)
            .password(login.password.expose_secret())
            .dbname(&login.place.database)
            .application_name(self.words.application_name())
            .ssl_mode(SslMode::Require)
            .channel_binding(ChannelBinding::Prefer)
            .connect_raw(stream, tls)
            .await
            .map_err(|e| {
                let phase = if progress.accepted() { Phase::Start } else { phase.get() };
                errors::login(&e, &login.user, &login.place, phase, self.words)
            })?;
        // PostgreSQL reports it at login, and a pooler passes on what its own login was told. Whose session it is decides whose
        // rights are read, so that a login which leads to another role's session is refused at once.
        let session_user = connection.parameter("session_authorization").map(str::to_owned);
        // Ends when the client is dropped; what goes wrong in it surfaces in the client's calls.
        tokio::spawn(async move { connection.await.ok() });
        let session = Session {
            words: self.words,
            client,
            place: login.place.clone(),
            peer,
            connector,
            by_md5: progress.by_md5(),
            given_up: Cell::new(false),
            deadline,
        };
        let actual = match session_user {
            Some(user) => user,
            None => session.identify().await?,
        };
        if actual == login.user { Ok(session) } else { Err(errors::somebody_else(&login.user, &actual, &login.place)) }
    }
}

struct GuardedTls {
    inner: postgres_native_tls::TlsConnector,
    allowed: Allowed,
    phase: Rc<Cell<Phase>>,
    progress: Arc<Progress>,
}

impl TlsConnect<TcpStream> for GuardedTls {
    type Stream = Guarded<postgres_native_tls::TlsStream<TcpStream>>;
    type Error = native_tls::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>>>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        self.phase.set(Phase::TlsHandshake);
        Box::pin(async move {
            let stream = self.inner.connect(stream).await?;
            self.phase.set(Phase::Login);
            Ok(Guarded::new(stream, self.allowed, self.progress))
        })
    }
}

/// A value for a query, and its type, which spares the round trip of asking for it.
pub type Parameter<'v> = (&'v (dyn ToSql + Sync), Type);

/// A logged-in connection.
pub struct Session {
    words: &'static Words,
    client: Client,
    place: Place,
    peer: SocketAddr,
    connector: native_tls::TlsConnector,
    /// The login was proven by an MD5 answer.
    pub by_md5: bool,
    /// Nothing of it is to be cancelled any more: that has been done, or must not be.
    given_up: Cell<bool>,
    deadline: Deadline,
}

impl Session {
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Says whose session this is, where the login did not. `SESSION_USER` is a keyword, which nothing can stand in for.
    async fn identify(&self) -> Attempt<String> {
        let rows = self.rows("SELECT session_user::pg_catalog.text", &[], "asking who is logged in").await?;
        Ok(rows[0].get(0))
    }

    /// The backend that serves this session.
    pub async fn pid(&self) -> Attempt<i32> {
        let rows = self.rows("SELECT pg_catalog.pg_backend_pid()", &[], "asking for the backend").await?;
        Ok(rows[0].get(0))
    }

    /// Does what `read` asks in one round trip, in a transaction that nothing is left of: behind a pooler this very session
    /// is the application's in the next moment. A fixed schema path, so that no object of the database, operators included,
    /// can stand in for a catalog's. No JIT: compiling a query that is asked once takes longer than asking it. `read` must ask
    /// everything at once: the transaction's end follows on its heels.
    pub async fn reading<T>(&self, read: impl Future<Output = Attempt<T>>) -> Attempt<T> {
        let begin =
            self.run("BEGIN; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL jit = off", "starting to read");
        let end = self.run("ROLLBACK", "ending to read");
        let (start, found, over) = tokio::join!(begin, read, end);
        start?;
        let found = found?;
        over?;
        Ok(found)
    }

    /// The failure that this server is a standby, or that its transactions are read-only.
    #[must_use]
    pub fn read_only_failure(&self) -> Failure {
        errors::read_only(&self.place, self.words)
    }

    /// Takes this long for what follows, instead of what is left of the time for connecting.
    #[must_use]
    pub fn until(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs statements that give no rows, in one round trip. `doing` completes "failed while ...".
    pub async fn run(&self, sql: &str, doing: &str) -> Attempt<()> {
        self.bounded(self.client.batch_execute(sql), doing).await
    }

    /// Makes the transaction's changes last. This is never cancelled: the server would go on without its standby, as if it had
    /// them, and a failover would lose a password that clients have by then.
    pub async fn commit(&self) -> Attempt<()> {
        self.given_up.set(true);
        self.run("COMMIT", "committing").await
    }

    /// Runs exactly one statement, in one round trip, and lets go of its rows.
    pub async fn execute(&self, sql: &str, doing: &str) -> Attempt<()> {
        self.bounded(self.client.execute_typed(sql, &[]), doing).await.map(drop)
    }

    /// Runs one query, in one round trip.
    pub async fn rows(&self, sql: &str, parameters: &[Parameter<'_>], doing: &str) -> Attempt<Vec<Row>> {
        self.bounded(self.client.query_typed(sql, parameters), doing).await
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
        doing: &str,
    ) -> Attempt<T> {
        if let Ok(result) = self.deadline.bound(call).await {
            return result.map_err(|e| errors::statement(&e, doing, &self.place, self.words));
        }
        if !self.given_up.get() {
            // Noted only afterwards: of calls that are given up together, one may be dropped while it asks.
            self.cancel().await;
            self.given_up.set(true);
        }
        Err(Failure::permanent(
            Core::DatabaseUnreachable,
            format!(
                "{} had not answered when the invocation's time was nearly up (while {doing}).",
                self.place.address
            ),
            format!(
                "Look what the function's sessions wait for: SELECT pid, wait_event_type, wait_event, query FROM pg_stat_activity WHERE application_name = '{}'; give the function a timeout of 30 s or more.",
                self.words.application_name()
            ),
        ))
    }

    /// Asks the server to stop what it does for this session, which the next try would wait for. The server does not say whether
    /// it has: so nothing is made of an answer.
    async fn cancel(&self) {
        let asking = async {
            let stream = TcpStream::connect(self.peer).await.ok()?;
            let tls = postgres_native_tls::TlsConnector::new(self.connector.clone(), self.place.certified());
            self.client.cancel_token().cancel_query_raw(stream, tls).await.ok()
        };
        let _ = tokio::time::timeout(CANCEL, asking).await;
    }
}
