//! `make bench`: what a start, each step of a rotation, a tick, and a login for a person cost.

mod logins;
mod mongo;
mod steps;
mod ticks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::rotator::Rotator;
use keyturn_tests::stacks::oncall::Oncall;
use keyturn_tests::stacks::postgres::{Builder, Latency, Stack};
use serde_json::{Value, json};
use steps::{Column, Rotations};

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
    let wanted = |name| arguments.only.as_deref().is_none_or(|only| only == name);
    let somewhere = arguments.function("rotate-postgres")?;
    eprintln!("measuring the functions in {}", somewhere.parent().unwrap_or(&somewhere).display());
    let postgres = if wanted("rotate-postgres") { Some(Postgres::measure(arguments).await?) } else { None };
    let mongo =
        if wanted("rotate-mongo") { Some(mongo::measure(arguments.function("rotate-mongo")?).await?) } else { None };
    let oncall =
        if wanted("oncall-sync") { Some(one_binding(arguments.function("oncall-sync")?).await?) } else { None };
    let logins = if wanted("break-glass") { Some(logins::measure(arguments).await?) } else { None };

    let measured = [
        postgres.as_ref().map(|it| &it.measured),
        mongo.as_ref().map(|it| &it.measured),
        oncall.as_ref(),
        logins.as_ref().map(|it| &it.measured),
    ];
    print_budgets(screen, &measured.into_iter().flatten().collect::<Vec<_>>())?;
    if let Some(postgres) = postgres {
        postgres.print(screen, arguments).await?;
    }
    if let Some(mongo) = mongo {
        mongo::print(screen, &mongo).await?;
    }
    if let Some(oncall) = oncall {
        ticks::print(screen, oncall.bootstrap).await?;
    }
    if let Some(logins) = logins {
        logins.print(screen, arguments).await?;
    }
    Ok(())
}

/// The function's start, memory and size, and what rotations cost.
struct Postgres {
    measured: Measured,
    rotations: Rotations,
}

impl Postgres {
    async fn measure(arguments: &Arguments) -> Result<Self> {
        let bootstrap = arguments.function("rotate-postgres")?;
        let stack = stack(arguments, bootstrap.clone()).await?;
        let secret = stack.app("shop").await?.secret;
        let rotations = Rotations::measure(&stack, &secret).await?;
        let peak = stack.lambda.peak_memory();
        let starts = cold_starts(&stack, &secret, COLD_STARTS).await?;
        Ok(Self { measured: Measured { name: "rotate-postgres", starts, peak, bootstrap }, rotations })
    }

    async fn print(self, screen: Screen, arguments: &Arguments) -> Result<()> {
        let bootstrap = self.measured.bootstrap;
        screen.title(&format!("A rotation: rotate-postgres{}", distance(arguments.latency)));
        let mut columns = postgres_waits(arguments.postgres, bootstrap.clone()).await?;
        columns.extend(postgres_calls(arguments.postgres, bootstrap).await?);
        steps::print(screen, &self.rotations, &columns);
        screen
            .note("  warm: the function has run before; cold: createSecret starts it; CPU: its own, on one processor");
        screen.note(
            "  waits: answers that a step waits for, one after the other; what is asked at the same time is one wait",
        );
        Ok(())
    }
}

fn builder(major: u32, bootstrap: PathBuf) -> Builder {
    Stack::builder(major).bootstrap(bootstrap).as_deployed()
}

/// The stack whose rotations are timed: with nothing in between, or with the network that was asked for.
async fn stack(arguments: &Arguments, bootstrap: PathBuf) -> Result<Stack> {
    let builder = builder(arguments.postgres, bootstrap);
    if arguments.latency == Latency::default() {
        return builder.start().await;
    }
    let stack = builder.through_relay().start().await?;
    stack.set_latency(arguments.latency);
    Ok(stack)
}

fn distance(latency: Latency) -> String {
    let Latency { aws, database } = latency;
    if latency == Latency::default() {
        return ", with nothing far away".to_owned();
    }
    format!(", {} to AWS and {} to the database", milliseconds(aws), milliseconds(database))
}

/// The waits of a warm rotation, on a stack of its own whose parts are put far away in turn.
async fn postgres_waits(major: u32, bootstrap: PathBuf) -> Result<Vec<Column>> {
    let stack = builder(major, bootstrap).through_relay().start().await?;
    let secret = stack.app("shop").await?.secret;
    let near = Latency::default();
    let aws = steps::waits(&stack, &secret, |aws| stack.set_latency(Latency { aws, ..near })).await?;
    let database = steps::waits(&stack, &secret, |database| stack.set_latency(Latency { database, ..near })).await?;
    Ok(vec![Column { head: "AWS waits", counts: aws }, Column { head: "DB waits", counts: database }])
}

/// The calls of a rotation as the proxy and the emulators see them, on a stack of its own: a proxy costs time.
async fn postgres_calls(major: u32, bootstrap: PathBuf) -> Result<Vec<Column>> {
    let stack = builder(major, bootstrap).through_proxy().start().await?;
    let app = stack.app("shop").await?;
    let recorded = steps::recorded_rotation(&stack, &app.secret).await?;
    let kind = |call: &str| match call.split(' ').next() {
        Some("connect") => 1,
        Some("sql") => 2,
        _ => 0,
    };
    Ok(steps::counted(["AWS calls", "logins", "statements"], kind, &recorded))
}

/// oncall-sync with one binding, over ticks that grant somebody and ticks that change nothing.
async fn one_binding(bootstrap: PathBuf) -> Result<Measured> {
    let world = Oncall::builder().on_the_machines_clock().start().await?;
    oncall_now(&world, "shop", "ann")?;
    let lambda = world.lambda(Some(bootstrap.clone())).await?;
    let starts = cold_invocations(&lambda, None, &json!({"action": "sync"}), COLD_STARTS).await?;
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

/// Starts a function this often, each time for this event, and gives back the same.
async fn cold_invocations(lambda: &Lambda, alias: Option<&str>, event: &Value, times: usize) -> Result<Vec<Duration>> {
    let before = lambda.cold_starts().len();
    for _ in 0..times {
        lambda.recycle();
        lambda.invoke_by(alias, event).await.result.map_err(anyhow::Error::msg)?;
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
        "  cold start: the median of {times}; memory: over whole rotations, ticks that grant somebody, logins opened and ended"
    ));
    Ok(())
}

pub(super) fn middle_of(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    median(&durations)
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
