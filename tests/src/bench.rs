//! `make bench`: what a start and each step of a rotation cost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use keyturn_tests::secrets_manager::RotationOutcome;
use keyturn_tests::stack::{App, Stack, built};

use crate::command_line::Arguments;
use crate::screen::{Screen, megabytes, milliseconds};

/// From the process's start to its first request for work.
pub const COLD_START: Duration = Duration::from_millis(20);
/// The most memory a process may have needed over a rotation, in bytes.
pub const PEAK_MEMORY: u64 = 20_000_000;

const COLD_STARTS: usize = 20;
const WARM_ROTATIONS: usize = 9;
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// Measures, and prints the tables.
pub async fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::stdout();
    let bootstrap = bootstrap(arguments)?;
    eprintln!("measuring {} on PostgreSQL {}", bootstrap.display(), arguments.postgres);
    let stack = Stack::builder(arguments.postgres).bootstrap(bootstrap.clone()).start().await?;
    let app = stack.app("shop").await?;
    let durations = warm_rotations(&stack, &app).await?;
    let peak = stack.lambda.peak_memory();
    let starts = cold_starts(&stack, &app, COLD_STARTS).await?;
    drop(stack);

    screen.title("Budgets");
    print_budgets(screen, &starts, peak);
    println!("  {:<14}{:>9}", "binary", megabytes(std::fs::metadata(&bootstrap)?.len()));

    screen.title("A rotation, warm");
    print_steps(&durations, &calls(arguments.postgres, bootstrap).await?);
    Ok(())
}

/// The binary that was asked for, or the one beside this program.
pub fn bootstrap(arguments: &Arguments) -> Result<PathBuf> {
    arguments.bootstrap.clone().map_or_else(|| built("rotate-postgres"), Ok)
}

/// Starts the function this often on an idle machine, and gives back how long each start took, shortest first.
pub async fn cold_starts(stack: &Stack, app: &App, times: usize) -> Result<Vec<Duration>> {
    let current = stack.aws.secrets.version(&app.secret, "AWSCURRENT")?.context("no current version")?;
    let before = stack.lambda.cold_starts().len();
    for _ in 0..times {
        stack.lambda.recycle();
        // A version that is current already is nothing to do for any step.
        stack.step(&app.secret, &current, "testSecret").await.map_err(anyhow::Error::msg)?;
    }
    let mut starts = stack.lambda.cold_starts().split_off(before);
    ensure!(starts.len() == times, "{times} starts asked for, {} seen", starts.len());
    starts.sort();
    Ok(starts)
}

/// Prints start and memory beside their budgets.
pub fn print_budgets(screen: Screen, starts: &[Duration], peak: Option<u64>) {
    let (middle, slowest) = (median(starts), starts.last().copied().unwrap_or_default());
    println!(
        "  {:<14}{:>9}   {} 20 ms   {}",
        "cold start",
        milliseconds(middle),
        screen.budget(middle <= COLD_START),
        screen.dim(&format!("start to first poll; median of {}, slowest {}", starts.len(), milliseconds(slowest))),
    );
    match peak {
        Some(peak) => println!(
            "  {:<14}{:>9}   {} 20 MB   {}",
            "peak memory",
            megabytes(peak),
            screen.budget(peak <= PEAK_MEMORY),
            screen.dim("resident, over whole rotations"),
        ),
        None => println!("  {:<14}{:>9}   measured on Linux only", "peak memory", "-"),
    }
}

/// The one in the middle of sorted durations.
pub fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The durations of each step over some rotations in which the function is warm and both users exist.
async fn warm_rotations(stack: &Stack, app: &App) -> Result<BTreeMap<&'static str, Vec<Duration>>> {
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
struct Calls {
    api: usize,
    connections: usize,
    statements: usize,
}

/// Counts the calls of a rotation at the proxy and the emulators, on a stack of its own: a proxy costs time.
async fn calls(major: u32, bootstrap: PathBuf) -> Result<BTreeMap<String, Calls>> {
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

fn print_steps(durations: &BTreeMap<&str, Vec<Duration>>, calls: &BTreeMap<String, Calls>) {
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

/// What kind of build a binary is, by the folder cargo put it in.
pub fn profile(bootstrap: &Path) -> &str {
    let folder = bootstrap.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder.unwrap_or("some build")
}
