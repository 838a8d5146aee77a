//! An application's clients at work while the key is turned: they read AWSCURRENT, log in, write and read, all the time.

use super::scene::step;
use super::servers::{admin_at, app_at};
use crate::polling::eventually;
use crate::prove::tell;
use aws_sdk_secretsmanager::Client as Secrets;
use keyturn_tests::aws::secrets_client;
use keyturn_tests::mongo::set::ReplicaSet;
use keyturn_tests::mongo::{Mongo, Users, code};
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The clients of a user whose password is replaced.
const ONE_USERS: [Habit; 4] = [Habit::Reader, Habit::Reader, Habit::Laggard, Habit::Keeper];

const TURNS: usize = 6;
/// Between one round of work and the next: the servers and the function need the processor as well.
const PAUSE: Duration = Duration::from_millis(10);

/// How a client treats what it has read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// Reads AWSCURRENT and logs in anew, each time.
    Reader,
    /// Logs in anew each time, with what it read before the rotation began.
    Laggard,
    /// Keeps its connections over the whole rotation.
    Keeper,
}

struct Clients {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    secrets: Secrets,
    secret: String,
    database: String,
    servers: Vec<Users>,
    stop: AtomicBool,
    /// How often laggards and keepers have been told to read AWSCURRENT again.
    reload: AtomicUsize,
    /// How often each client has been at work.
    rounds: Vec<AtomicUsize>,
    failures: Mutex<Vec<Failure>>,
}

#[derive(Clone, Debug)]
struct Failure {
    habit: Habit,
    /// The server said that the credential is wrong, or that it lacks a right.
    is_refusal: bool,
    /// When the credential had been read.
    read: Instant,
    failed: Instant,
    #[expect(dead_code, reason = "for whoever looks at a failed test")]
    what: String,
}

/// A credential that a client has read, and its connections, one to each server.
struct Held {
    read: Instant,
    user: String,
    password: String,
    connections: Vec<Client>,
}

impl Clients {
    fn start(stack: &MongoStack, app: &MongoApp, servers: &[&Users], habits: &[Habit]) -> Self {
        let shared = Arc::new(Shared {
            secrets: secrets_client(&stack.aws.client_url()),
            secret: app.secret.clone(),
            database: app.database.clone(),
            servers: servers.iter().map(|server| (*server).clone()).collect(),
            stop: AtomicBool::new(false),
            reload: AtomicUsize::new(0),
            rounds: habits.iter().map(|_| AtomicUsize::new(0)).collect(),
            failures: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (number, &habit) in habits.iter().enumerate() {
            tasks.spawn(live(Arc::clone(&shared), number, habit));
        }
        Self { tasks, shared }
    }

    /// Waits until each client has been at work this many times more.
    async fn after_more_rounds(&self, more: usize) {
        let goals: Vec<usize> = self.rounds().iter().map(|rounds| rounds + more).collect();
        eventually("more work of the clients", async || {
            self.rounds().iter().zip(&goals).all(|(now, goal)| now >= goal)
        })
        .await;
    }

    fn rounds(&self) -> Vec<usize> {
        self.shared.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect()
    }

    fn failures(&self) -> Vec<Failure> {
        self.shared.failures.lock().unwrap().clone()
    }

    /// Has every client read AWSCURRENT again before its next work.
    fn reload(&self) {
        self.shared.reload.fetch_add(1, Ordering::Relaxed);
    }

    async fn stop(mut self) -> (usize, Vec<Failure>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        (self.rounds().iter().sum(), self.failures())
    }
}

async fn live(shared: Arc<Shared>, number: usize, habit: Habit) {
    let (mut held, mut reloaded) = (shared.read().await, 0);
    while !shared.stop.load(Ordering::Relaxed) {
        let reload = shared.reload.load(Ordering::Relaxed);
        if habit == Habit::Reader || reload != reloaded {
            (held, reloaded) = (shared.read().await, reload);
        } else if habit == Habit::Laggard {
            held.connections = shared.connections(&held.user, &held.password);
        }
        if let Err(error) = shared.work(&held).await {
            let failure = Failure {
                habit,
                is_refusal: matches!(code(&error), Some(18 | 13)),
                read: held.read,
                failed: Instant::now(),
                what: format!("{}: {error:?}", held.user),
            };
            shared.failures.lock().unwrap().push(failure);
        }
        shared.rounds[number].fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Shared {
    async fn read(&self) -> Held {
        let read = Instant::now();
        let answer = self.secrets.get_secret_value().secret_id(&self.secret).send().await.unwrap();
        let value: Value = serde_json::from_str(answer.secret_string().unwrap()).unwrap();
        let [user, password] = ["username", "password"].map(|key| value[key].as_str().unwrap().to_owned());
        let connections = self.connections(&user, &password);
        Held { read, user, password, connections }
    }

    fn connections(&self, user: &str, password: &str) -> Vec<Client> {
        self.servers.iter().map(|server| server.client("admin", user, password).unwrap()).collect()
    }

    /// Writes, reads, and changes what the other one of the two has written.
    async fn work(&self, held: &Held) -> mongodb::error::Result<()> {
        for client in &held.connections {
            let work = client.database(&self.database).collection::<Document>("work");
            let others = doc! { "by": { "$ne": &held.user } };
            work.insert_one(doc! { "by": &held.user, "read_by_the_other": false }).await?;
            work.find_one(others.clone()).await?;
            work.update_one(others, doc! { "$set": { "read_by_the_other": true } }).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_notice_nothing_while_two_users_take_turns() {
    const HABITS: [Habit; 4] = [Habit::Reader, Habit::Reader, Habit::Laggard, Habit::Keeper];
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    let [own, atlas] = [stack.own_app("shop").await.unwrap(), stack.atlas_app("pay").await.unwrap()];
    // The server of one's own is the first of the two.
    for (app, servers) in [(&own, &stack.clusters[..1]), (&atlas, &stack.clusters[..])] {
        stack.tag(&app.secret, "strategy", "alternating").unwrap();
        let users: Vec<&Users> = servers.iter().map(|server| &***server).collect();
        let clients = Clients::start(&stack, app, &users, &HABITS);
        take_turns(&stack, app, &clients, TURNS).await;
        let (rounds, failures) = clients.stop().await;
        assert!(failures.is_empty(), "{failures:?}");
        for server in servers {
            each_has_read_what_the_other_wrote(server, app).await;
        }
        tell(&format!("{TURNS} turns of {}: {rounds} rounds of work, none refused", app.user));
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn take_turns(stack: &MongoStack, app: &MongoApp, clients: &Clients, turns: usize) {
    for _ in 0..turns {
        clients.after_more_rounds(2).await;
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
        clients.after_more_rounds(2).await;
        clients.reload();
    }
    clients.after_more_rounds(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_is_refused_while_the_primary_steps_down_or_a_member_is_gone() {
    const HABITS: [Habit; 3] = [Habit::Reader, Habit::Laggard, Habit::Keeper];
    let stack = MongoStack::start().await.unwrap();
    let mut set = ReplicaSet::start(stack.mongo.certificates(), 3, 0).await.unwrap();
    let host = set.address();
    admin_at(&stack, &set, &host).await;
    let app = app_at(&stack, &set, &host, "shop").await;
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    let clients = Clients::start(&stack, &app, &[&*set], &HABITS);
    take_turns(&stack, &app, &clients, 1).await;
    for _ in 0..2 {
        let (outcome, stepped) = tokio::join!(stack.rotate(&app.secret), set.step_down());
        stepped.unwrap();
        assert!(outcome.as_ref().unwrap().succeeded(), "{}", outcome.unwrap());
        clients.after_more_rounds(2).await;
        clients.reload();
    }
    set.stop(2);
    take_turns(&stack, &app, &clients, 2).await;
    let (rounds, failures) = clients.stop().await;
    // Without a primary, work fails: that is no refusal.
    let refused: Vec<_> = failures.iter().filter(|failure| failure.is_refusal).collect();
    assert!(refused.is_empty(), "{refused:?}");
    tell(&format!("two step-downs and a member that is gone: {rounds} rounds of work, none refused"));
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_is_refused_at_a_flex_cluster_that_is_late() {
    const HABITS: [Habit; 3] = [Habit::Reader, Habit::Laggard, Habit::Keeper];
    let stack = MongoStack::start().await.unwrap();
    let flexible = Arc::new(Mongo::builder().certificates(stack.mongo.certificates()).start().await.unwrap());
    stack.atlas.add_flex_cluster(&stack.project, "flexible", Arc::clone(&flexible)).unwrap();
    let app = stack.atlas_app("shop").await.unwrap();
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    stack.atlas.set_delay("flexible", Duration::from_secs(2));
    let clients = Clients::start(&stack, &app, &[&*stack.mongo, &*flexible], &HABITS);
    take_turns(&stack, &app, &clients, 2).await;
    let (rounds, failures) = clients.stop().await;
    assert!(failures.is_empty(), "{failures:?}");
    tell(&format!("2 turns beside a flex cluster that is 2 s late: {rounds} rounds of work, none refused"));
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn each_has_read_what_the_other_wrote(server: &Mongo, app: &MongoApp) {
    let (root, password) = server.root();
    let client = server.client("admin", root, password).unwrap();
    let work = client.database(&app.database).collection::<Document>("work");
    for user in [app.user.clone(), format!("{}_clone", app.user)] {
        let read = work.find_one(doc! { "by": &user, "read_by_the_other": true }).await.unwrap();
        assert!(read.is_some(), "nothing that {user} wrote");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_fixed_user_are_refused_only_from_the_change_until_they_read_the_new_value() {
    let stack = MongoStack::start().await.unwrap();
    let own = stack.own_app("shop").await.unwrap();
    let clients = Clients::start(&stack, &own, &[&*stack.mongo], &ONE_USERS);
    for _ in 0..3 {
        let rotation = begun(&stack, &own, &clients).await;
        let before = Instant::now();
        step(&stack, &own, &rotation.token, "setSecret").await.unwrap();
        let window = finishes(&stack, &own, &rotation, &clients, before).await;
        tell(&format!("fixed, on a server: {window}"));
    }
    let (_, failures) = clients.stop().await;
    assert!(!failures.is_empty());
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_fixed_user_at_atlas_work_on_until_the_change_has_arrived() {
    let stack = MongoStack::start().await.unwrap();
    let atlas = stack.atlas_app("shop").await.unwrap();
    let clients = Clients::start(&stack, &atlas, &[&*stack.mongo], &ONE_USERS);
    for _ in 0..3 {
        let rotation = begun(&stack, &atlas, &clients).await;
        stack.atlas.hold("cluster0");
        stack.atlas.forget();
        let arrives = async {
            let patched = || stack.atlas.seen().iter().any(|call| call.method == "PATCH");
            eventually("the change", async || patched()).await;
            clients.after_more_rounds(2).await;
            let arrived = Instant::now();
            stack.atlas.release("cluster0");
            arrived
        };
        let (set, applied) = tokio::join!(step(&stack, &atlas, &rotation.token, "setSecret"), arrives);
        set.unwrap();
        let window = finishes(&stack, &atlas, &rotation, &clients, applied).await;
        tell(&format!("fixed, at Atlas: {window}"));
    }
    let (_, failures) = clients.stop().await;
    assert!(!failures.is_empty());
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// A rotation up to its pending value, which no client has noticed.
struct Begun {
    token: String,
    /// How often clients had been refused before.
    refused: usize,
}

async fn begun(stack: &MongoStack, app: &MongoApp, clients: &Clients) -> Begun {
    let refused = clients.failures().len();
    let token = stack.stage(&app.secret).unwrap();
    step(stack, app, &token, "createSecret").await.unwrap();
    clients.after_more_rounds(2).await;
    assert_eq!(clients.failures().len(), refused);
    Begun { token, refused }
}

/// Takes a rotation from setSecret to its end, and says for how long which clients were refused. None may have been before
/// `change`, nor one that has read AWSCURRENT after the end, nor one that keeps its connections.
async fn finishes(stack: &MongoStack, app: &MongoApp, begun: &Begun, clients: &Clients, change: Instant) -> String {
    clients.after_more_rounds(1).await;
    step(stack, app, &begun.token, "testSecret").await.unwrap();
    step(stack, app, &begun.token, "finishSecret").await.unwrap();
    let end = Instant::now();
    clients.after_more_rounds(3).await;
    clients.reload();
    clients.after_more_rounds(3).await;
    let failures = clients.failures().split_off(begun.refused);
    let outside = |failure: &&Failure| {
        failure.failed < change || failure.read > end || failure.habit == Habit::Keeper || !failure.is_refusal
    };
    let outside: Vec<&Failure> = failures.iter().filter(outside).collect();
    assert!(outside.is_empty(), "{outside:?}");
    let window = |habit| {
        let failed = || failures.iter().filter(|failure| failure.habit == habit).map(|failure| failure.failed);
        let (Some(first), Some(last)) = (failed().min(), failed().max()) else { panic!("no {habit:?} was refused") };
        (last - first).as_millis()
    };
    format!(
        "clients that read AWSCURRENT each time were refused for {} ms, one that caches it until it read it again ({} ms), and open connections went on",
        window(Habit::Reader),
        window(Habit::Laggard)
    )
}
