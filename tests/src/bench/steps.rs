//! What each step of a warm rotation costs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use keyturn_tests::secrets_manager::RotationOutcome;
use keyturn_tests::stack::{App, Stack};

use super::median;
use crate::screen::milliseconds;

const WARM_ROTATIONS: usize = 9;
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// The durations of each step over some rotations in which the function is warm and both users exist.
pub async fn warm_rotations(stack: &Stack, app: &App) -> Result<BTreeMap<&'static str, Vec<Duration>>> {
    let mut durations: BTreeMap<_, Vec<_>> = BTreeMap::new();
    rotate(stack, app).await?; // makes the twin
    for _ in 0..WARM_ROTATIONS {
        for run in rotate(stack, app).await?.attempts.into_iter().flat_map(|attempt| attempt.steps) {
            durations.entry(run.step).or_default().push(run.duration);
        }
    }
    for durations in durations.values_mut() {
        durations.sort();
    }
    Ok(durations)
}

async fn rotate(stack: &Stack, app: &App) -> Result<RotationOutcome> {
    let outcome = stack.rotate(&app.secret).await?;
    if outcome.succeeded() { Ok(outcome) } else { bail!("the rotation failed:\n{outcome}") }
}

/// External calls of one step.
#[derive(Default)]
pub struct Calls {
    api: usize,
    connections: usize,
    statements: usize,
}

/// Counts the calls of a rotation at the proxy and the emulators, on a stack of its own: a proxy costs time.
pub async fn calls(major: u32, bootstrap: PathBuf) -> Result<BTreeMap<String, Calls>> {
    let stack = Stack::builder(major).bootstrap(bootstrap).through_proxy().start().await?;
    let app = stack.app("shop").await?;
    rotate(&stack, &app).await?;
    rotate(&stack, &app).await?;
    stack.faults.reset();
    rotate(&stack, &app).await?;
    let mut steps: BTreeMap<String, Calls> = BTreeMap::new();
    for call in stack.faults.recorded() {
        let mut words = call.split(' ');
        let calls = steps.entry(words.next().unwrap_or_default().to_owned()).or_default();
        match words.next() {
            Some("connect") => calls.connections += 1,
            Some("sql") => calls.statements += 1,
            _ => calls.api += 1,
        }
    }
    Ok(steps)
}

/// Prints the table.
pub fn print_steps(durations: &BTreeMap<&str, Vec<Duration>>, calls: &BTreeMap<String, Calls>) {
    println!("  {:<14}{:>9}{:>12}{:>14}{:>13}", "step", "median", "API calls", "connections", "statements");
    let none = Calls::default();
    let (mut time, mut total) = (Duration::ZERO, Calls::default());
    for step in STEPS {
        let took = median(durations.get(step).map_or(&[], Vec::as_slice));
        let calls = calls.get(step).unwrap_or(&none);
        print_row(step, took, calls);
        time += took;
        total.api += calls.api;
        total.connections += calls.connections;
        total.statements += calls.statements;
    }
    print_row("together", time, &total);
}

fn print_row(what: &str, took: Duration, calls: &Calls) {
    let Calls { api, connections, statements } = calls;
    println!("  {what:<14}{:>9}{api:>12}{connections:>14}{statements:>13}", milliseconds(took));
}
