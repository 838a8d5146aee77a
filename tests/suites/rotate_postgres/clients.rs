//! An application's clients: they read AWSCURRENT, log in, work, and log in again, all the time.

use keyturn_tests::aws::secrets_client;
use keyturn_tests::stacks::postgres::{App, Stack};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// What most clients do once they have logged in.
pub(super) const WORK: &str =
    "INSERT INTO work VALUES (1); CREATE TABLE IF NOT EXISTS more (n int); SELECT count(*) FROM work; TRUNCATE more";

pub(super) struct Clients {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
    /// For each client, the moment at which it last began to read the secret and has closed its session since.
    rounds: Vec<Arc<AtomicUsize>>,
}

/// What clients have lived through.
#[derive(Debug)]
pub(super) struct Seen {
    pub logins: usize,
    pub failures: Vec<String>,
}

struct Shared {
    stop: AtomicBool,
    logins: AtomicUsize,
    /// Counts the calls of [`Clients::caught_up`].
    moment: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Clients {
    /// `n` clients, each of which does this `work` at each login.
    pub(super) fn start(stack: &Stack, app: &App, n: usize, work: &'static str) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            logins: AtomicUsize::new(0),
            moment: AtomicUsize::new(0),
            failures: Mutex::default(),
        });
        let (secrets, connector) = (secrets_client(&stack.aws.client_url()), stack.postgres.certificates().connector());
        let rounds: Vec<Arc<AtomicUsize>> = (0..n).map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for round in &rounds {
            let (secrets, secret, shared) = (secrets.clone(), app.secret.clone(), Arc::clone(&shared));
            let (connector, round) = (connector.clone(), Arc::clone(round));
            tasks.spawn(async move {
                while !shared.stop.load(Ordering::Relaxed) {
                    let moment = shared.moment.load(Ordering::SeqCst);
                    if let Err(failure) = work_once(&secrets, &secret, &connector, work).await {
                        shared.failures.lock().unwrap().push(failure);
                    }
                    shared.logins.fetch_add(1, Ordering::Relaxed);
                    round.store(moment, Ordering::SeqCst);
                }
            });
        }
        Self { tasks, shared, rounds }
    }

    /// Waits until every client has read the secret after this moment.
    pub(super) async fn caught_up(&self) {
        let moment = self.shared.moment.fetch_add(1, Ordering::SeqCst) + 1;
        until(|| self.rounds.iter().all(|round| round.load(Ordering::SeqCst) >= moment)).await;
    }

    /// Waits until there have been this many more logins.
    pub(super) async fn after_more_logins(&self, more: usize) {
        let goal = self.shared.logins.load(Ordering::Relaxed) + more;
        until(|| self.shared.logins.load(Ordering::Relaxed) >= goal).await;
    }

    pub(super) async fn stop(mut self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let failures = self.shared.failures.lock().unwrap().clone();
        Seen { logins: self.shared.logins.load(Ordering::Relaxed), failures }
    }
}

/// Waits until clients have come so far.
async fn until(so: impl Fn() -> bool) {
    let reached = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), reached).await.unwrap_or_else(|_| panic!("the clients are stuck"));
}

async fn work_once(
    secrets: &aws_sdk_secretsmanager::Client,
    secret: &str,
    connector: &native_tls::TlsConnector,
    work: &str,
) -> Result<(), String> {
    let answer = secrets.get_secret_value().secret_id(secret).send().await.map_err(|e| format!("{e:?}"))?;
    let value: Value = serde_json::from_str(answer.secret_string().unwrap_or_default()).map_err(|e| e.to_string())?;
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut config = tokio_postgres::Config::new();
    config.host(text("host")).user(text("username")).password(text("password")).dbname(text("dbname"));
    config.port(u16::try_from(value["port"].as_u64().unwrap_or_default()).unwrap_or_default());
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let tls = postgres_native_tls::MakeTlsConnector::new(connector.clone());
    let (client, connection) =
        config.connect(tls).await.map_err(|e| format!("login of {}: {e:?}", text("username")))?;
    let running = tokio::spawn(connection);
    // A deadlock or a race of two CREATEs between clients is their own affair: only refusals count.
    let done = client.batch_execute(work).await;
    drop(client);
    let _ = running.await;
    match done {
        Err(e) if e.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) => Err(format!("{e:?}")),
        _ => Ok(()),
    }
}
