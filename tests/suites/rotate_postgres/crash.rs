//! The crash matrix: the function is stopped before and after every external call of a rotation, and the service tries again.

use crate::matrix::{Watcher, points};
use crate::prove::tell;
use keyturn_tests::faults::Fault;
use keyturn_tests::stacks::postgres::{App, Stack};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Logs in with AWSCURRENT all the time, past the proxy and its faults.
fn watch(stack: &Arc<Stack>, app: &App) -> Watcher {
    let (stack, app) = (Arc::clone(stack), app.clone());
    Watcher::start(Duration::from_millis(100), move || lockout(Arc::clone(&stack), app.clone()))
}

async fn lockout(stack: Arc<Stack>, app: App) -> Vec<String> {
    let version = stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap();
    let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
    let failed = logs_in(&stack, &current, &app.name).await.err();
    // A credential that stopped being AWSCURRENT while we used it proves nothing.
    let still = stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap();
    let failed = failed.filter(|_| still == version);
    failed.map(|error| format!("{}: {error:?}", current["username"])).into_iter().collect()
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

async fn every_point_converges(start: Start, fault: Fault, turn: usize, name: &str) {
    let stack = Arc::new(Stack::builder(16).through_proxy().start().await.unwrap());
    let app = stack.app("shop").await.unwrap();
    // Both users exist from here on, unless the start is without the twin.
    prepare(&stack, &app, Start::Twin).await;
    let calls = calls(&stack, &app, start).await;
    let watcher = watch(&stack, &app);
    let points = points(calls, &fault, turn);
    for point in &points {
        prepare(&stack, &app, start).await;
        stack.faults.inject(point.clone());
        let outcome = stack.rotate(&app.secret).await.unwrap();
        let story = || format!("{point}\n{outcome}{}", stack.lambda.logs().unwrap());
        assert_eq!(stack.faults.struck(), std::slice::from_ref(point), "never came by: {}", story());
        assert!(outcome.succeeded(), "{}", story());
        // The version holds the one value that was first put: the emulator refuses a second, as the service does.
        assert_eq!(stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap(), Some(outcome.token.clone()));
        for label in ["AWSCURRENT", "AWSPREVIOUS"] {
            let credential = stack.value(&app.secret, label).unwrap();
            logs_in(&stack, &credential, &app.name).await.unwrap_or_else(|e| panic!("{label}: {e:?}\n{}", story()));
        }
    }
    let (logins, lockouts) = watcher.stop().await;
    assert_eq!(lockouts, Vec::<String>::new());
    assert_eq!(stack.aws.violations(), Vec::<String>::new());
    tell(&format!(
        "crash matrix, {name}: {} points converge; AWSCURRENT logged in {logins} of {logins} times meanwhile",
        points.len()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_the_twin_is_made_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::NoTwin, Fault::Kill, 0, "killed, twin is made").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_the_twin_is_set_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::Base, Fault::Kill, 1, "killed, twin is set").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_on_the_way_back_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::Twin, Fault::Kill, 2, "killed, base is set").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_the_rotation_converges_and_nobody_is_locked_out() {
    every_point_converges(Start::NoTwin, Fault::Cut, 3, "cut off, twin is made").await;
}
