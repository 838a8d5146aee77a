//! The applications on MongoDB: they read the secret as any service does, log in over TLS, and write.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keyturn_tests::aws::secrets_client;
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use mongodb::Client as Driver;
use mongodb::bson::doc;
use mongodb::error::{Error, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::judge::{Kind, Refusal, Seat};

/// Clients at each cluster that log in for every request.
const VISITORS: usize = 2;
/// Requests that a pool serves before it falls idle.
const POOLED: usize = 10;
/// Between one request and the next.
const PAUSE: Duration = Duration::from_millis(15);
/// How long a pool has nothing to do then: its connections are closed, as real ones are at night. It reads the secret before
/// it goes on.
const LULL: Duration = Duration::from_millis(100);
/// For a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub requests: u64,
    /// Logins that a cluster accepted.
    pub logins: u64,
    /// Logins that a cluster refused.
    pub refusals: Vec<Refusal>,
    /// Everything else that went wrong.
    pub other_errors: u64,
    /// The text of the first of them.
    pub example: Option<String>,
    /// The version that each client has worked with last.
    versions: Vec<String>,
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
    database: String,
    clusters: Vec<u16>,
    ca_file: PathBuf,
    tally: Mutex<Tally>,
    going_home: AtomicBool,
}

impl Crowd {
    /// Sets the clients of an application to work, at every cluster.
    pub(super) fn start(stack: &MongoStack, app: &MongoApp) -> Self {
        let seats: Vec<Seat> = (0..stack.clusters.len()).flat_map(seats).collect();
        let shared = Arc::new(Shared {
            secrets: secrets_client(&stack.aws.client_url()),
            secret: app.secret.clone(),
            database: app.database.clone(),
            clusters: stack.clusters.iter().map(|server| server.port()).collect(),
            ca_file: stack.mongo.certificates().ca_file().to_owned(),
            tally: Mutex::new(Tally { versions: vec![String::new(); seats.len()], ..Tally::default() }),
            going_home: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for (number, seat) in seats.into_iter().enumerate() {
            let client = Client { shared: Arc::clone(&shared), number, seat };
            match seat.kind {
                Kind::Visitor => tasks.spawn(client.visit()),
                Kind::Pool => tasks.spawn(client.pool()),
            };
        }
        Self { shared, tasks }
    }

    /// What has been seen so far.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Waits until every client has worked with this version of the secret.
    pub(super) async fn all_use(&self, version: &str) -> Result<()> {
        let all_do = async {
            while self.shared.tally().versions.iter().any(|used| used != version) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, all_do).await.context("a client does not work with the new value")
    }

    pub(super) async fn finish(mut self) -> Result<Tally> {
        self.shared.going_home.store(true, Ordering::SeqCst);
        while let Some(ended) = timeout(PATIENCE, self.tasks.join_next()).await.context("a client hangs")? {
            ended.context("a client")?;
        }
        Ok(self.tally())
    }
}

/// Who works at a cluster.
fn seats(cluster: usize) -> Vec<Seat> {
    let mut seats = vec![Seat { kind: Kind::Visitor, cluster }; VISITORS];
    seats.push(Seat { kind: Kind::Pool, cluster });
    seats
}

/// A value of the secret.
struct Held {
    version: String,
    username: String,
    password: String,
}

/// One client: a process of the application, say.
struct Client {
    shared: Arc<Shared>,
    number: usize,
    seat: Seat,
}

impl Client {
    /// Reads AWSCURRENT and logs in for every request.
    async fn visit(self) {
        while self.stays() {
            if let Some((held, driver)) = self.connected().await {
                self.request(&held, &driver).await;
                driver.shutdown().immediate(true).await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Keeps its connections, and its credential for as long as AWSCURRENT is the same and nobody refuses it.
    async fn pool(self) {
        let mut open: Option<(Held, Driver)> = None;
        while self.stays() {
            let current = self.read().await.map(|held| held.version);
            open = open.filter(|(held, _)| Some(&held.version) == current.as_ref());
            if open.is_none() {
                open = self.connected().await;
            }
            if let Some((held, driver)) = &open
                && !self.serve(held, driver).await
            {
                open = None; // the driver itself has thrown every connection away
                sleep(PAUSE).await;
            } else {
                sleep(LULL).await;
            }
        }
    }

    /// Serves some requests; false as soon as one fails.
    async fn serve(&self, held: &Held, driver: &Driver) -> bool {
        for _ in 0..POOLED {
            if !self.request(held, driver).await {
                return false;
            }
            sleep(PAUSE).await;
        }
        true
    }

    fn stays(&self) -> bool {
        !self.shared.going_home.load(Ordering::SeqCst)
    }

    /// A driver with the current value. It logs in with its first request.
    async fn connected(&self) -> Option<(Held, Driver)> {
        let held = self.read().await?;
        match self.driver(&held) {
            Ok(driver) => Some((held, driver)),
            Err(error) => {
                self.shared.tally().note(&error.into());
                None
            }
        }
    }

    async fn read(&self) -> Option<Held> {
        match self.shared.read().await {
            Ok(held) => Some(held),
            Err(error) => {
                self.shared.tally().note(&error);
                None
            }
        }
    }

    /// Writes an order, and counts how that ended; true if well.
    async fn request(&self, held: &Held, driver: &Driver) -> bool {
        let orders = driver.database(&self.shared.database).collection("orders");
        let result = orders.insert_one(doc! { "item": "a book", "entered_by": held.username.as_str() }).await;
        let mut tally = self.shared.tally();
        match result {
            Ok(_) => {
                tally.requests += 1;
                tally.versions[self.number].clone_from(&held.version);
                return true;
            }
            Err(error) if is_refused_login(&error) => {
                tally.refusals.push(Refusal { seat: self.seat, version: held.version.clone(), at: Instant::now() });
            }
            Err(error) => tally.note(&error.into()),
        }
        false
    }

    fn driver(&self, held: &Held) -> Result<Driver, Error> {
        let credential = Credential::builder().username(held.username.clone()).password(held.password.clone());
        let shared = Arc::clone(&self.shared);
        let count = EventHandler::callback(move |event| {
            if matches!(event, CmapEvent::ConnectionReady(_)) {
                shared.tally().logins += 1; // a connection is ready when its login is accepted
            }
        });
        let port = self.shared.clusters.get(self.seat.cluster).copied();
        let options = ClientOptions::builder()
            .hosts(vec![ServerAddress::Tcp { host: "localhost".to_owned(), port }])
            .direct_connection(true)
            .credential(credential.source("admin".to_owned()).build())
            .tls(Tls::Enabled(TlsOptions::builder().ca_file_path(self.shared.ca_file.clone()).build()))
            .app_name("demo".to_owned())
            .max_idle_time(LULL / 2)
            .retry_writes(false)
            .server_selection_timeout(PATIENCE)
            .cmap_event_handler(count)
            .build();
        Driver::with_options(options)
    }
}

/// The driver says so of a login only.
fn is_refused_login(error: &Error) -> bool {
    matches!(*error.kind, ErrorKind::Authentication { .. })
}

impl Tally {
    fn note(&mut self, error: &anyhow::Error) {
        self.other_errors += 1;
        self.example.get_or_insert_with(|| format!("{error:#}"));
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<Held> {
        let value = self.secrets.get_secret_value().secret_id(&self.secret).send().await;
        let value = value.context("the secret cannot be read")?;
        let credential: Value = serde_json::from_str(value.secret_string().unwrap_or_default())?;
        let text = |key: &str| credential[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        let version = value.version_id().unwrap_or_default().to_owned();
        Ok(Held { version, username: text("username")?, password: text("password")? })
    }
}
