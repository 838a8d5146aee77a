//! What a tick of oncall-sync costs, with one binding and with many.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use serde_json::{Value, json};

use super::median;
use crate::screen::{Screen, grouped, megabytes, milliseconds};

const BINDINGS: [usize; 3] = [1, 20, 200];
const STEADY_TICKS: usize = 9;
/// People in each binding's group of eligible people.
const ELIGIBLE: usize = 10_000;

/// A tick, and what it asked for.
struct Tick {
    pagerduty: usize,
    okta: usize,
    aws: usize,
    took: Duration,
    granted: usize,
}

/// Measures the real bootstrap, and prints the table.
pub(super) async fn print(screen: Screen, bootstrap: PathBuf) -> Result<()> {
    screen.title("A tick: requests, and the whole invocation (no network in between; emulators as built here)");
    println!(
        "  {:>8}   {:<34}{:>10}{:>7}{:>7}{:>10}{:>14}",
        "bindings", "tick", "PagerDuty", "Okta", "AWS", "time", "peak memory"
    );
    for bindings in BINDINGS {
        rows(bindings, bootstrap.clone()).await.with_context(|| format!("{bindings} bindings"))?;
    }
    screen.note("  each binding has a group of 10,000 eligible people of its own");
    screen
        .note("  everyone comes in: nobody was in any group; everyone is looked up: a cold start, all are in already");
    screen.note("  at most 12 requests to a vendor at a time; PagerDuty allows 960 a minute");
    Ok(())
}

/// The first tick ever, the first one after a cold start, and one in a steady state.
async fn rows(bindings: usize, bootstrap: PathBuf) -> Result<()> {
    let world = Oncall::builder().on_the_machines_clock().start().await?;
    let other = |n| world.okta.user(&format!("other{n}@corp.example"), &format!("other{n}@corp.example"));
    let others: Vec<String> = (0..ELIGIBLE).map(other).collect::<Result<_>>()?;
    for n in 0..bindings {
        let (bound, engineer) = oncall_now(&world, &format!("team-{n}"), &format!("engineer{n}"))?;
        let eligible = world.okta.group(&format!("eligible-{n}"));
        others.iter().chain([&engineer.okta]).for_each(|user| world.okta.add(&eligible, user));
        world.write_binding(&bound, &json!({"eligible_group": eligible}));
    }
    let lambda = world.lambda(Some(bootstrap)).await?;
    let first = tick(&world, &lambda).await?;
    ensure!(first.granted == bindings, "only {} came in", first.granted);
    print_row(bindings, "everyone comes in", &first, &lambda);
    lambda.recycle();
    let cold = tick(&world, &lambda).await?;
    print_row(bindings, "everyone is looked up", &cold, &lambda);
    let mut steady = Vec::new();
    for _ in 0..STEADY_TICKS {
        steady.push(tick(&world, &lambda).await?);
    }
    let mut took: Vec<Duration> = steady.iter().map(|tick| tick.took).collect();
    took.sort();
    let last = steady.pop().context("no steady tick")?;
    print_row(bindings, "steady", &Tick { took: median(&took), ..last }, &lambda);
    lambda.recycle();
    print_row(bindings, "forecast of a week", &event(&world, &lambda, "forecast").await?, &lambda);
    ensure!(world.violations().is_empty(), "no client sends {:?}", world.violations());
    Ok(())
}

async fn tick(world: &Oncall, lambda: &Lambda) -> Result<Tick> {
    event(world, lambda, "sync").await
}

async fn event(world: &Oncall, lambda: &Lambda, action: &str) -> Result<Tick> {
    world.forget_requests();
    world.faults.reset();
    let invocation = lambda.invoke(json!({"action": action})).await;
    let report: Value = invocation.result.map_err(anyhow::Error::msg)?;
    ensure!(report["unfinished"].as_u64().unwrap_or_default() == 0 && report["unknown"] == 0, "not clean: {report}");
    let vendors = ["PagerDuty ", "okta ", "Datadog ", "Slack "];
    let is_aws = |call: &String| !vendors.iter().any(|vendor| call.trim_start().starts_with(vendor));
    Ok(Tick {
        pagerduty: world.pagerduty.seen().len(),
        okta: world.okta.seen().len(),
        aws: world.faults.recorded().into_iter().filter(is_aws).count(),
        took: invocation.duration,
        granted: report["granted"].as_array().map_or(0, Vec::len),
    })
}

fn print_row(bindings: usize, what: &str, tick: &Tick, lambda: &Lambda) {
    let Tick { pagerduty, okta, aws, took, .. } = tick;
    let number = |number: &usize| grouped(*number as u64);
    println!(
        "  {:>8}   {what:<34}{:>10}{:>7}{:>7}{:>10}{:>14}",
        bindings,
        number(pagerduty),
        number(okta),
        number(aws),
        milliseconds(*took),
        lambda.peak_memory().map_or_else(|| "-".to_owned(), megabytes),
    );
}

/// A binding, and somebody who is on call for it now and for the next hours, by the machine's clock.
pub(crate) fn oncall_now(world: &Oncall, binding: &str, name: &str) -> Result<(Bound, Engineer)> {
    let engineer = world.engineer(name)?;
    let bound = world.bind(binding, &json!({}));
    let now = keyturn::clock::now();
    world.pagerduty.shift(&bound.schedule, &engineer.pagerduty, now - TimeDelta::hours(1), now + TimeDelta::hours(8));
    Ok((bound, engineer))
}
