//! An application's clients: they read AWSCURRENT, log in, work, and log in again, all the time.

use keyturn_tests::aws::secrets_client;
use keyturn_tests::stacks::postgres::{App, Stack};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

pub(super) struct Clients {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
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
    failures: Mutex<Vec<String>>,
}

impl Clients {
    pub(super) fn start(stack: &Stack, app: &App, n: usize) -> Self {
        let shared =
            Arc::new(Shared { stop: AtomicBool::new(false), logins: AtomicUsize::new(0), failures: Mutex::default() });
        let mut tasks = JoinSet::new();
        for _ in 0..n {
            let (secrets, secret, shared) =
                (secrets_client(&stack.aws.client_url()), app.secret.clone(), Arc::clone(&shared));
            let connector = stack.postgres.certificates().connector();
            tasks.spawn(async move {
                while !shared.stop.load(Ordering::Relaxed) {
                    if let Err(failure) = work_once(&secrets, &secret, &connector).await {
                        shared.failures.lock().unwrap().push(failure);
                    }
                    shared.logins.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { tasks, shared }
    }

    /// Waits until there have been this many more logins.
    pub(super) async fn after_more_logins(&self, more: usize) {
        let goal = self.shared.logins.load(Ordering::Relaxed) + more;
        let reached = async {
            while self.shared.logins.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached)
            .await
            .unwrap_or_else(|_| panic!("the clients are stuck"));
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

async fn work_once(
    secrets: &aws_sdk_secretsmanager::Client,
    secret: &str,
    connector: &native_tls::TlsConnector,
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
    let work = "INSERT INTO work VALUES (1); CREATE TABLE IF NOT EXISTS more (n int); SELECT count(*) FROM work; TRUNCATE more";
    // A deadlock or a race of two CREATEs between clients is their own affair: only refusals count.
    let done = client.batch_execute(work).await;
    drop(client);
    let _ = running.await;
    match done {
        Err(e) if e.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) => Err(format!("{e:?}")),
        _ => Ok(()),
    }
}
