//! A cluster, and the changes of database users on their way to it: in order, each once, and later than the API says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::mongo::Mongo;
use crate::vendors::lock;

/// How long a change takes, unless a test says otherwise.
const DELAY: Duration = Duration::from_millis(50);

/// How long to wait for changes that should arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server knows of a user.
#[derive(Clone)]
pub(super) struct Login {
    pub database: String,
    pub name: String,
    pub password: String,
    /// Role and database.
    pub roles: Vec<(String, String)>,
}

impl Login {
    fn roles(&self) -> Vec<(&str, &str)> {
        self.roles.iter().map(|(role, database)| (role.as_str(), database.as_str())).collect()
    }
}

/// What a change makes of a user on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// They are there; of one who was there already, these are set anew.
    Here { password: bool, roles: bool },
    /// They are not.
    Gone,
}

#[derive(Clone)]
struct Change {
    login: Login,
    wanted: Wanted,
    due: Instant,
    ignored: bool,
}

struct Changes {
    /// Those that are not applied yet, the next one first.
    queue: VecDeque<Change>,
    delay: Duration,
    held: bool,
    ignore_next: bool,
    /// How many status calls after each change say `APPLIED` whether or not it is, and how many are left now.
    stale: usize,
    stale_left: usize,
    finished: usize,
    failures: Vec<String>,
}

/// A cluster of a project.
pub(super) struct Cluster {
    shown: Mutex<Map<String, Value>>,
    name: String,
    is_flex: bool,
    server: Option<Arc<Mongo>>,
    changes: watch::Sender<Changes>,
}

impl Cluster {
    /// Without a server, changes are marked and nothing else happens.
    pub(super) fn new(project: &str, name: &str, server: Option<Arc<Mongo>>) -> Self {
        let changes = Changes {
            queue: VecDeque::new(),
            delay: DELAY,
            held: false,
            ignore_next: false,
            stale: 0,
            stale_left: 0,
            finished: 0,
            failures: Vec::new(),
        };
        Self {
            shown: Mutex::new(first_shown(project, name, server.as_deref())),
            name: name.to_owned(),
            is_flex: false,
            server,
            changes: watch::Sender::new(changes),
        }
    }

    /// The same as a flex cluster, which is in a list of its own and is never paused.
    pub(super) fn flex(self) -> Self {
        lock(&self.shown).remove("paused");
        Self { is_flex: true, ..self }
    }

    pub(super) fn is_flex(&self) -> bool {
        self.is_flex
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn server(&self) -> Option<&Arc<Mongo>> {
        self.server.as_ref()
    }

    /// As the API shows it.
    pub(super) fn shown(&self) -> Value {
        Value::Object(lock(&self.shown).clone())
    }

    /// Changes what the API shows: members replace those of the same name, and those of `connectionStrings` one by one.
    pub(super) fn describe(&self, members: &Value) {
        let mut shown = lock(&self.shown);
        for (name, value) in members.as_object().into_iter().flatten() {
            match (shown.get_mut(name).and_then(Value::as_object_mut), value.as_object()) {
                (Some(old), Some(new)) => old.extend(new.clone()),
                _ => _ = shown.insert(name.clone(), value.clone()),
            }
        }
    }

    /// Sends a change on its way.
    pub(super) fn change(&self, login: Login, wanted: Wanted) {
        self.changes.send_modify(|changes| {
            let due = Instant::now() + changes.delay;
            let ignored = std::mem::take(&mut changes.ignore_next);
            changes.queue.push_back(Change { login, wanted, due, ignored });
            changes.stale_left = changes.stale;
        });
    }

    /// What the API says of the changes.
    pub(super) fn status(&self) -> &'static str {
        let mut status = "APPLIED";
        self.changes.send_modify(|changes| {
            if changes.stale_left > 0 {
                changes.stale_left -= 1;
            } else if !changes.queue.is_empty() {
                status = "PENDING";
            }
        });
        status
    }

    /// Applies changes as they come. Never ends by itself.
    pub(super) async fn work(self: Arc<Self>) {
        let mut watch = self.changes.subscribe();
        loop {
            let waiting = watch.wait_for(|changes| !changes.queue.is_empty()).await;
            let Some(next) = waiting.ok().and_then(|changes| changes.queue.front().cloned()) else { return };
            sleep_until(next.due).await;
            if watch.wait_for(|changes| !changes.held).await.is_err() {
                return;
            }
            let outcome = if next.ignored { Ok(()) } else { self.apply(&next).await };
            self.changes.send_modify(|changes| {
                changes.queue.pop_front();
                changes.finished += 1;
                let failure = |error| format!("cluster {}: {}: {error:#}", self.name, next.login.name);
                changes.failures.extend(outcome.err().map(failure));
            });
        }
    }

    async fn apply(&self, change: &Change) -> anyhow::Result<()> {
        let (Some(server), login) = (&self.server, &change.login) else { return Ok(()) };
        let there = server.user(&login.database, &login.name).await?.is_some();
        match change.wanted {
            Wanted::Gone if there => server.drop_user(&login.database, &login.name).await,
            Wanted::Gone => Ok(()),
            Wanted::Here { .. } if !there => self.make(login).await,
            Wanted::Here { password, roles } => {
                if roles {
                    server.set_roles(&login.database, &login.name, &login.roles()).await?;
                }
                if password {
                    server.set_password(&login.database, &login.name, &login.password).await?;
                }
                Ok(())
            }
        }
    }

    /// Makes a user on the server at once.
    pub(super) async fn make(&self, login: &Login) -> anyhow::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        server.make_user(&login.database, &login.name, &login.password, &login.roles()).await
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        self.changes.send_modify(|changes| changes.delay = delay);
    }

    pub(super) fn hold(&self, held: bool) {
        self.changes.send_modify(|changes| changes.held = held);
    }

    pub(super) fn ignore_next(&self) {
        self.changes.send_modify(|changes| changes.ignore_next = true);
    }

    pub(super) fn set_stale(&self, calls: usize) {
        self.changes.send_modify(|changes| {
            changes.stale = calls;
            changes.stale_left = 0;
        });
    }

    /// Whether a change is on its way.
    pub(super) fn is_changing(&self) -> bool {
        !self.changes.borrow().queue.is_empty()
    }

    /// What could not be applied.
    pub(super) fn failures(&self) -> Vec<String> {
        self.changes.borrow().failures.clone()
    }

    /// Waits until nobody applies changes any more.
    #[cfg(test)]
    pub(super) async fn abandoned(&self) {
        self.changes.closed().await;
    }

    /// Waits until this many changes are through in all, and none is on its way.
    pub(super) async fn applied(&self, times: usize) -> anyhow::Result<()> {
        let mut watch = self.changes.subscribe();
        let done = |changes: &Changes| changes.queue.is_empty() && changes.finished >= times;
        let waited = timeout(PATIENCE, watch.wait_for(done)).await.map(|outcome| outcome.map(drop));
        let changes = self.changes.borrow();
        let (on_their_way, finished) = (changes.queue.len(), changes.finished);
        let so_far = || format!("cluster {}: {finished} changes applied, {on_their_way} pending", self.name);
        waited.with_context(so_far)?.with_context(so_far)
    }
}

fn first_shown(project: &str, name: &str, server: Option<&Mongo>) -> Map<String, Value> {
    let (address, options) = match server {
        None => (format!("{name}-shard-00-00.abcde.mongodb.net:27017"), format!("&replicaSet=atlas-{name}-shard-0")),
        Some(server) => {
            let set = server.replica_set().map(|set| format!("&replicaSet={set}"));
            (server.address(), set.unwrap_or_default())
        }
    };
    let shown = json!({
        "clusterType": "REPLICASET",
        "connectionStrings": {
            "standard": format!("mongodb://{address}/?ssl=true&authSource=admin{options}"),
            "standardSrv": format!("mongodb+srv://{name}.abcde.mongodb.net"),
        },
        "groupId": project,
        "mongoDBVersion": "8.0.4",
        "name": name,
        "paused": false,
        "stateName": "IDLE",
    });
    shown.as_object().cloned().unwrap_or_default()
}
