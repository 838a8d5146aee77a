//! The crash matrix: the function is stopped before and after every external call of a rotation, and the service tries again.

use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::postgres::{App, Stack};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Logs in with AWSCURRENT all the time, past the proxy and its faults.
struct Watcher {
    stop: Arc<AtomicBool>,
    logins: Arc<AtomicUsize>,
    task: JoinHandle<Vec<String>>,
}

impl Watcher {
    fn start(stack: &Arc<Stack>, app: &App) -> Self {
        let (stop, logins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stack, secret, database) = (Arc::clone(stack), app.secret.clone(), app.name.clone());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&logins));
        let task = tokio::spawn(async move {
            let mut lockouts = Vec::new();
            // A login takes both ends some milliseconds of a processor, which the matrices need as well.
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                let version = stack.aws.secrets.version(&secret, "AWSCURRENT").unwrap();
                let current = stack.value(&secret, "AWSCURRENT").unwrap();
                let failed = logs_in(&stack, &current, &database).await.err();
                // A credential that stopped being AWSCURRENT while we used it proves nothing.
                let still = stack.aws.secrets.version(&secret, "AWSCURRENT").unwrap();
                if let Some(error) = failed.filter(|_| still == version) {
                    lockouts.push(format!("{}: {error:?}", current["username"]));
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            lockouts
        });
        Self { stop, logins, task }
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let lockouts = self.task.await.unwrap();
        (self.logins.load(Ordering::Relaxed), lockouts)
    }
}

async fn logs_in(stack: &Stack, credential: &Value, database: &str) -> anyhow::Result<()> {
    let text = |key: &str| credential[key].as_str().unwrap().to_owned();
    let client = stack.postgres.client(&text("username"), &text("password"), database).await?;
    let row = client.query_one("SELECT current_user::text", &[]).await?;
    anyhow::ensure!(row.get::<_, &str>(0) == database, "acts as {}", row.get::<_, &str>(0));
    Ok(())
}

/// Where every rotation of the matrix starts from.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// The twin does not exist yet.
    NoTwin,
    /// The base is current, its twin exists.
    Base,
    /// The twin is current.
    Twin,
}

async fn prepare(stack: &Stack, app: &App, start: Start) {
    let current = async || stack.value(&app.secret, "AWSCURRENT").unwrap()["username"].as_str().unwrap().to_owned();
    let wanted = if start == Start::Twin { format!("{}_clone", app.name) } else { app.name.clone() };
    while current().await != wanted {
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
    }
    if start == Start::NoTwin {
        stack.postgres.execute(&format!("DROP ROLE IF EXISTS {}_clone", app.name)).await.unwrap();
    }
    stack.faults.reset();
}

/// The names of all external calls of a clean rotation.
async fn calls(stack: &Stack, app: &App, start: Start) -> BTreeSet<String> {
    prepare(stack, app, start).await;
    let outcome = stack.rotate(&app.secret).await.unwrap();
    assert!(outcome.succeeded(), "{outcome}");
    stack.faults.recorded().into_iter().collect()
}

/// Past the test runner's capture: the count is part of what `make test` tells.
fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

async fn every_point_converges(start: Start, fault: Fault, name: &str) {
    let stack = Arc::new(Stack::builder(16).through_proxy().start().await.unwrap());
    let app = stack.app("shop").await.unwrap();
    // Both users exist from here on, unless the start is without the twin.
    prepare(&stack, &app, Start::Twin).await;
    let calls = calls(&stack, &app, start).await;
    let watcher = Watcher::start(&stack, &app);
    let mut points = 0;
    for call in calls {
        for moment in [Moment::Before, Moment::After] {
            prepare(&stack, &app, start).await;
            let point = Point { call: call.clone(), moment, fault: fault.clone() };
            stack.faults.inject(point.clone());
            let outcome = stack.rotate(&app.secret).await.unwrap();
            let story = || format!("{point}\n{outcome}{}", stack.lambda.logs().unwrap());
            assert_eq!(stack.faults.struck(), std::slice::from_ref(&point), "never came by: {}", story());
            assert!(outcome.succeeded(), "{}", story());
            // The version holds the one value that was first put: the emulator refuses a second, as the service does.
            assert_eq!(stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap(), Some(outcome.token.clone()));
            for label in ["AWSCURRENT", "AWSPREVIOUS"] {
                let credential = stack.value(&app.secret, label).unwrap();
                logs_in(&stack, &credential, &app.name).await.unwrap_or_else(|e| panic!("{label}: {e:?}\n{}", story()));
            }
            points += 1;
        }
    }
    let (logins, lockouts) = watcher.stop().await;
    assert_eq!(lockouts, Vec::<String>::new());
    assert_eq!(stack.aws.violations(), Vec::<String>::new());
    tell(&format!(
        "crash matrix, {name}: {points} points converge; AWSCURRENT logged in {logins} of {logins} times meanwhile"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_the_twin_is_made_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::NoTwin, Fault::Kill, "killed, twin is made").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_the_twin_is_set_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::Base, Fault::Kill, "killed, twin is set").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_on_the_way_back_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::Twin, Fault::Kill, "killed, base is set").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::NoTwin, Fault::Cut, "cut off, twin is made").await;
}
