//! `make bench`: what a start, each step of a rotation, and a tick cost.

mod mongo;
mod steps;
mod ticks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::rotator::Rotator;
use keyturn_tests::stacks::oncall::Oncall;
use keyturn_tests::stacks::postgres::Stack;
use serde_json::json;
use steps::Table;

pub(crate) use ticks::oncall_now;

use crate::command_line::Arguments;
use crate::screen::{Screen, megabytes, milliseconds};

/// From the process's start to its first request for work.
pub(crate) const COLD_START: Duration = Duration::from_millis(20);
/// The most memory a process may have needed, in bytes.
pub(crate) const PEAK_MEMORY: u64 = 20_000_000;

const COLD_STARTS: usize = 20;

/// Measures, and prints the tables.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::stdout();
    let (rotate, sync) = (arguments.function("rotate-postgres")?, arguments.function("oncall-sync")?);
    let rotate_mongo = arguments.function("rotate-mongo")?;
    eprintln!("measuring the functions in {}", rotate.parent().unwrap_or(&rotate).display());
    let stack = Stack::builder(arguments.postgres).bootstrap(rotate.clone()).start().await?;
    let secret = stack.app("shop").await?.secret;
    let durations = steps::warm_rotations(&stack, &secret).await?;
    let peak = stack.lambda.peak_memory();
    let starts = cold_starts(&stack, &secret, COLD_STARTS).await?;
    drop(stack);
    let rotating = Measured { name: "rotate-postgres", starts, peak, bootstrap: rotate.clone() };
    let mongo = mongo::measure(rotate_mongo).await?;

    print_budgets(screen, &[&rotating, &mongo.measured, &one_binding(sync.clone()).await?])?;
    screen.title("A rotation, warm: rotate-postgres");
    POSTGRES.print(&durations, &postgres_calls(arguments.postgres, rotate).await?);
    mongo::print(screen, &mongo).await?;
    ticks::print(screen, sync).await
}

const POSTGRES: Table = Table {
    heads: &["API calls", "connections", "statements"],
    column: |call| match call.split(' ').next() {
        Some("connect") => 1,
        Some("sql") => 2,
        _ => 0,
    },
};

/// The calls of a rotation as the proxy and the emulators see them, on a stack of its own: a proxy costs time.
async fn postgres_calls(major: u32, bootstrap: PathBuf) -> Result<Vec<String>> {
    let stack = Stack::builder(major).bootstrap(bootstrap).through_proxy().start().await?;
    let app = stack.app("shop").await?;
    steps::recorded_rotation(&stack, &app.secret).await
}

/// oncall-sync with one binding, over ticks that grant somebody and ticks that change nothing.
async fn one_binding(bootstrap: PathBuf) -> Result<Measured> {
    let world = Oncall::builder().on_the_machines_clock().start().await?;
    oncall_now(&world, "shop", "ann")?;
    let lambda = world.lambda(Some(bootstrap.clone())).await?;
    let starts = cold_ticks(&lambda, COLD_STARTS).await?;
    Ok(Measured { name: "oncall-sync", starts, peak: lambda.peak_memory(), bootstrap })
}

/// Starts a rotation function this often on an idle machine, and gives back how long each start took, shortest first.
pub(crate) async fn cold_starts(rotator: &Rotator, secret: &str, times: usize) -> Result<Vec<Duration>> {
    let current = rotator.aws.secrets.version(secret, "AWSCURRENT")?.context("no current version")?;
    let before = rotator.lambda.cold_starts().len();
    for _ in 0..times {
        rotator.lambda.recycle();
        // A version that is current already is nothing to do for any step.
        rotator.step(secret, &current, "testSecret").await.map_err(anyhow::Error::msg)?;
    }
    sorted(rotator.lambda.cold_starts().split_off(before), times)
}

/// Starts oncall-sync this often, each time for a tick, and gives back the same.
pub(crate) async fn cold_ticks(lambda: &Lambda, times: usize) -> Result<Vec<Duration>> {
    let before = lambda.cold_starts().len();
    for _ in 0..times {
        lambda.recycle();
        lambda.invoke(json!({"action": "sync"})).await.result.map_err(anyhow::Error::msg)?;
    }
    sorted(lambda.cold_starts().split_off(before), times)
}

fn sorted(mut starts: Vec<Duration>, times: usize) -> Result<Vec<Duration>> {
    ensure!(starts.len() == times, "{times} starts asked for, {} seen", starts.len());
    starts.sort();
    Ok(starts)
}

/// What was measured of one function.
pub(crate) struct Measured {
    pub name: &'static str,
    /// How long each cold start took, shortest first.
    pub starts: Vec<Duration>,
    /// The most resident memory it needed, in bytes; none where that cannot be measured.
    pub peak: Option<u64>,
    pub bootstrap: PathBuf,
}

/// Prints start and memory of each function beside their budgets, and what its binary weighs.
pub(crate) fn print_budgets(screen: Screen, functions: &[&Measured]) -> Result<()> {
    screen.title("Budgets: 20 ms from start to first poll, 20 MB resident at the most");
    let heads =
        format!("  {:<17}{:>11}{:>9}{:>9}{:>14}{:>17}", "", "cold start", "", "slowest", "peak memory", "binary");
    println!("{}", screen.dim(&heads));
    for Measured { name, starts, peak, bootstrap } in functions {
        let (middle, slowest) = (median(starts), starts.last().copied().unwrap_or_default());
        let memory = match peak {
            Some(peak) => format!("{:>14} {}", megabytes(*peak), screen.budget(*peak <= PEAK_MEMORY)),
            None => format!("{:>21}", "(Linux only)"),
        };
        println!(
            "  {name:<17}{:>11} {:>8}{:>9}{memory}{:>10}",
            milliseconds(middle),
            screen.budget(middle <= COLD_START),
            milliseconds(slowest),
            megabytes(std::fs::metadata(bootstrap)?.len()),
        );
    }
    let times = functions.first().map_or(0, |function| function.starts.len());
    screen.note(&format!(
        "  cold start: the median of {times}; memory: over whole rotations, and over ticks that grant somebody"
    ));
    Ok(())
}

/// The one in the middle of sorted durations.
pub(crate) fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// What kind of build a binary is, by the folder cargo put it in.
pub(crate) fn profile(bootstrap: &Path) -> &str {
    let folder = bootstrap.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder.unwrap_or("some build")
}
