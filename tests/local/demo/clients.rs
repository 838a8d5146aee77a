//! The application's clients: they read the secret as any service does, log in over TLS, and work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keyturn_tests::aws::secrets_client;
use keyturn_tests::stacks::postgres::{App, Stack};
use postgres_native_tls::MakeTlsConnector;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client as Session, Config};

use super::application::{self, Objects};

/// Clients that log in for every request.
const VISITORS: u64 = 3;
/// Requests that the pool's connection serves before it is replaced.
const POOLED: usize = 25;
/// How long a client goes on with the credential it has read: real ones an hour or so, with weeks between rotations.
const CACHED: Duration = Duration::from_millis(250);
/// Between one request and the next.
const PAUSE: Duration = Duration::from_millis(15);
/// For a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub requests: u64,
    pub logins: u64,
    /// Logins that failed, for whatever reason.
    pub failed_logins: u64,
    /// Statements that were refused for want of a right.
    pub permission_errors: u64,
    /// Everything else that went wrong.
    pub other_errors: u64,
    pub example: Option<String>,
    /// The user of the connection that is never replaced.
    pub first_user: String,
    /// The requests which that connection has served.
    pub oldest_session: u64,
    tables: BTreeMap<String, u64>,
    changed_by_twin: u64,
}

impl Tally {
    /// What was added after an earlier look.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            logins: self.logins - before.logins,
            failed_logins: self.failed_logins - before.failed_logins,
            ..self.clone()
        }
    }

    /// Adds the requests and logins of another crowd.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.logins += other.logins;
    }

    fn note(&mut self, error: &anyhow::Error) {
        self.example.get_or_insert_with(|| format!("{error:#}"));
    }
}

/// All clients of one application. Dropped, they are gone.
pub(super) struct Crowd {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What the clients of one application have in common.
struct Shared {
    secrets: aws_sdk_secretsmanager::Client,
    secret: String,
    /// Made once: reading certificates takes longer than a login.
    tls: MakeTlsConnector,
    tally: Mutex<Tally>,
    /// Counts the moments that [`Crowd::caught_up`] was called at, and for each client the last one before its last read.
    moments: AtomicU64,
    readers: Mutex<Vec<Arc<AtomicU64>>>,
    going_home: AtomicBool,
}

impl Crowd {
    /// Sets the clients of an application to work.
    pub(super) fn start(stack: &Stack, app: &App) -> Self {
        let shared = Arc::new(Shared {
            secrets: secrets_client(&stack.aws.client_url()),
            secret: app.secret.clone(),
            tls: MakeTlsConnector::new(stack.postgres.certificates().connector()),
            tally: Mutex::default(),
            moments: AtomicU64::new(0),
            readers: Mutex::default(),
            going_home: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        let client = || Client::new(&shared);
        for _ in 0..VISITORS {
            tasks.spawn(client().visit());
        }
        tasks.spawn(client().pool());
        tasks.spawn(client().build());
        Self { shared, tasks }
    }

    /// One more client, which logs in once and never again.
    pub(super) fn let_one_stay(&mut self) {
        self.tasks.spawn(Client::new(&self.shared).stay());
    }

    /// What has been seen so far.
    pub(super) fn tally(&self) -> Tally {
        lock(&self.shared.tally).clone()
    }

    /// Waits until every client that logs in again has read the secret after this moment.
    pub(super) async fn caught_up(&self) -> Result<()> {
        let moment = self.shared.moments.fetch_add(1, Ordering::SeqCst) + 1;
        let readers = lock(&self.shared.readers).clone();
        let all_have_read = async {
            while readers.iter().any(|read| read.load(Ordering::SeqCst) < moment) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, all_have_read).await.context("a client has not read the secret for a long time")
    }

    /// Sends the clients home, and looks at what they leave behind.
    pub(super) async fn finish(mut self, stack: &Stack, app: &App) -> Result<(Tally, Objects)> {
        self.shared.going_home.store(true, Ordering::SeqCst);
        while let Some(ended) = timeout(PATIENCE, self.tasks.join_next()).await.context("a client hangs")? {
            ended.context("a client")?;
        }
        let tally = self.tally();
        let (tables, of_owner) = application::tables(stack, app).await?;
        let objects = Objects { made: tally.tables.clone(), tables, of_owner, changed_by_twin: tally.changed_by_twin };
        Ok((tally, objects))
    }
}

/// One client: a process of the application, say.
struct Client {
    shared: Arc<Shared>,
    cached: Option<(Value, Instant)>,
    read: Arc<AtomicU64>,
}

impl Client {
    fn new(shared: &Arc<Shared>) -> Self {
        let read = Arc::default();
        lock(&shared.readers).push(Arc::clone(&read));
        Self { shared: Arc::clone(shared), cached: None, read }
    }

    /// Logs in for every request.
    async fn visit(mut self) {
        while self.stays() {
            if let Some((_, session)) = self.log_in().await {
                self.request(&session).await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Keeps its connection for some requests, as a pool does.
    async fn pool(mut self) {
        while self.stays() {
            let Some((_, session)) = self.log_in().await else { continue };
            for _ in 0..POOLED {
                self.request(&session).await;
                sleep(PAUSE).await;
            }
        }
    }

    /// Keeps one connection for ever, whatever happens to the password it was opened with.
    async fn stay(mut self) {
        let Some((user, session)) = self.log_in().await else { return };
        self.read.store(u64::MAX, Ordering::SeqCst); // nobody waits for it to read the secret again
        lock(&self.shared.tally).first_user = user;
        while self.stays() {
            if self.request(&session).await {
                lock(&self.shared.tally).oldest_session += 1;
            }
            sleep(PAUSE).await;
        }
    }

    /// Makes tables, and changes those that the other user has made.
    async fn build(mut self) {
        let mut tables: Vec<(String, String)> = Vec::new(); // maker and name
        while self.stays() {
            if let Some((user, session)) = self.log_in().await {
                let table = format!("app.{}", escape_identifier(&format!("report_{}", tables.len() + 1)));
                let create = format!("CREATE TABLE {table} AS SELECT count(*) AS orders, now() AS at FROM app.orders");
                if self.note(session.batch_execute(&create).await) {
                    *lock(&self.shared.tally).tables.entry(user.clone()).or_default() += 1;
                    tables.push((user.clone(), table));
                }
                if let Some((_, table)) = tables.iter().rev().find(|(maker, _)| *maker != user) {
                    let change = format!("COMMENT ON TABLE {table} IS {}", escape_literal(&format!("seen by {user}")));
                    if self.note(session.batch_execute(&change).await) {
                        lock(&self.shared.tally).changed_by_twin += 1;
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn stays(&self) -> bool {
        !self.shared.going_home.load(Ordering::SeqCst)
    }

    /// What an order takes: a row written, rows read, and a table of its own to work in.
    async fn request(&self, session: &Session) -> bool {
        let work = "
            INSERT INTO app.orders (item) VALUES ('a book');
            CREATE TEMPORARY TABLE basket ON COMMIT DROP AS SELECT item FROM app.orders ORDER BY id DESC LIMIT 5;
            SELECT count(*) FROM basket";
        self.note(session.batch_execute(work).await)
    }

    /// Counts how a request ended; true if well.
    fn note(&self, result: Result<(), tokio_postgres::Error>) -> bool {
        let mut tally = lock(&self.shared.tally);
        let Err(error) = result else {
            tally.requests += 1;
            return true;
        };
        let refused = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        *(if refused { &mut tally.permission_errors } else { &mut tally.other_errors }) += 1;
        tally.note(&error.into());
        false
    }

    /// Logs in with the secret's current value, or the copy of it that is not too old.
    async fn log_in(&mut self) -> Option<(String, Session)> {
        let credential = match self.credential().await {
            Ok(credential) => credential,
            Err(error) => {
                let mut tally = lock(&self.shared.tally);
                tally.other_errors += 1;
                tally.note(&error);
                return None;
            }
        };
        match self.shared.connect(&credential).await {
            Ok(session) => {
                lock(&self.shared.tally).logins += 1;
                Some((credential["username"].as_str().unwrap_or_default().to_owned(), session))
            }
            Err(error) => {
                self.cached = None;
                let mut tally = lock(&self.shared.tally);
                tally.failed_logins += 1;
                tally.note(&error);
                None
            }
        }
    }

    async fn credential(&mut self) -> Result<Value> {
        if let Some((credential, read)) = &self.cached
            && read.elapsed() < CACHED
        {
            return Ok(credential.clone());
        }
        let moment = self.shared.moments.load(Ordering::SeqCst);
        let secret = self.shared.secrets.get_secret_value().secret_id(&self.shared.secret).send().await;
        let secret = secret.context("the secret cannot be read")?;
        let credential: Value = serde_json::from_str(secret.secret_string().unwrap_or_default())?;
        self.cached = Some((credential.clone(), Instant::now()));
        self.read.store(moment, Ordering::SeqCst);
        Ok(credential)
    }
}

impl Shared {
    /// A connection as the secret describes it, over verified TLS.
    async fn connect(&self, credential: &Value) -> Result<Session> {
        let text = |key: &str| credential[key].as_str().with_context(|| format!("the secret has no {key}"));
        let port = credential["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let mut config = Config::new();
        config.host(text("host")?).port(port.context("the secret has no port")?).dbname(text("dbname")?);
        config.user(text("username")?).password(text("password")?).ssl_mode(SslMode::Require);
        config.application_name("demo");
        let (session, connection) = config.connect(self.tls.clone()).await?;
        tokio::spawn(connection); // ends with the session, which reports its error too
        Ok(session)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
