//! Measures the time, CPU and waits of each step of a rotation, of any function.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use keyturn_tests::rotator::Rotator;
use keyturn_tests::secrets_manager::RotationOutcome;

use super::middle_of;
use crate::screen::{Screen, milliseconds};

const ROTATIONS: usize = 9;
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// Much longer than repeated measurements of one step differ by.
pub(super) const FAR: Duration = Duration::from_millis(40);

/// Of each step, the middle of some rotations.
type Times = BTreeMap<&'static str, Duration>;

/// How long steps take, and how long they keep a processor busy: there may be nothing to tell the latter by.
pub(super) struct Costs {
    times: Times,
    cpu: Option<Times>,
}

/// The costs of rotations whose users all exist: by a function that is warm, and by one that createSecret starts.
pub(super) struct Rotations {
    warm: Costs,
    cold: Costs,
}

impl Rotations {
    pub(super) async fn measure(rotator: &Rotator, secret: &str) -> Result<Self> {
        rotate(rotator, secret).await?; // makes the twin, where there is to be one
        let warm = costs(rotator, secret, || ()).await?;
        let cold = costs(rotator, secret, || rotator.lambda.recycle()).await?;
        Ok(Self { warm, cold })
    }
}

/// Rotates some times, each after `before`.
async fn costs(rotator: &Rotator, secret: &str, before: impl Fn()) -> Result<Costs> {
    let (mut times, mut cpu) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
    for _ in 0..ROTATIONS {
        before();
        let noted = rotator.lambda.cpu_times().len();
        let outcome = rotate(rotator, secret).await?;
        ensure!(outcome.attempts.len() == 1, "a step had to be tried again:\n{outcome}");
        let steps = outcome.attempts.into_iter().flat_map(|attempt| attempt.steps);
        for run in steps {
            times.entry(run.step).or_default().push(run.duration);
        }
        for (step, used) in STEPS.into_iter().zip(rotator.lambda.cpu_times().split_off(noted)) {
            cpu.entry(step).or_default().push(used);
        }
    }
    Ok(Costs { times: middles(times), cpu: (!cpu.is_empty()).then(|| middles(cpu)) })
}

fn middles(all: BTreeMap<&'static str, Vec<Duration>>) -> Times {
    all.into_iter().map(|(step, durations)| (step, middle_of(durations))).collect()
}

/// How often each step waits, one wait after the other, for something that `put` puts this far away.
pub(super) async fn waits(rotator: &Rotator, secret: &str, put: impl Fn(Duration)) -> Result<Vec<usize>> {
    put(Duration::ZERO);
    rotate(rotator, secret).await?;
    let near = costs(rotator, secret, || ()).await?.times;
    put(FAR);
    let far = costs(rotator, secret, || ()).await?.times;
    put(Duration::ZERO);
    Ok(STEPS.map(|step| how_often(FAR, near[step], far[step])).to_vec())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number, never below zero")]
pub(super) fn how_often(wait: Duration, without: Duration, with: Duration) -> usize {
    (with.saturating_sub(without).as_secs_f64() / wait.as_secs_f64()).round() as usize
}

/// The names of all external calls of a rotation in which the function is warm and every user exists.
pub(super) async fn recorded_rotation(rotator: &Rotator, secret: &str) -> Result<Vec<String>> {
    rotate(rotator, secret).await?;
    rotate(rotator, secret).await?;
    rotator.faults.reset();
    rotate(rotator, secret).await?;
    Ok(rotator.faults.recorded())
}

async fn rotate(rotator: &Rotator, secret: &str) -> Result<RotationOutcome> {
    let outcome = rotator.rotate(secret).await?;
    if outcome.succeeded() { Ok(outcome) } else { bail!("the rotation failed:\n{outcome}") }
}

/// A number of each step under a head.
pub(super) struct Column {
    pub head: &'static str,
    pub counts: Vec<usize>,
}

/// Of each step, how many calls there are of each kind: `of` says which one a call is, by the words after the step's name.
pub(super) fn counted<const N: usize>(
    heads: [&'static str; N],
    of: fn(&str) -> usize,
    recorded: &[String],
) -> Vec<Column> {
    let calls = || recorded.iter().filter_map(|call| call.split_once(' '));
    let count = |kind, step| calls().filter(|(at, call)| *at == step && of(call) == kind).count();
    let columns = heads.into_iter().enumerate();
    columns.map(|(kind, head)| Column { head, counts: STEPS.map(|step| count(kind, step)).to_vec() }).collect()
}

/// Prints a row for each step, and one for all of them.
pub(super) fn print(screen: Screen, rotations: &Rotations, columns: &[Column]) {
    let Rotations { warm, cold } = rotations;
    let heads: Vec<String> = columns.iter().map(|column| format!("{:>13}", column.head)).collect();
    let heads = format!("  {:<13}{:>9}{:>9}{:>9}{:>9}{}", "step", "warm", "CPU", "cold", "CPU", heads.concat());
    println!("{}", screen.dim(&heads));
    let cpu = |costs: &Costs, step| costs.cpu.as_ref().map(|cpu| cpu[step]);
    for (n, step) in STEPS.into_iter().enumerate() {
        let times = [Some(warm.times[step]), cpu(warm, step), Some(cold.times[step]), cpu(cold, step)];
        print_row(step, times, columns.iter().map(|column| column.counts[n]));
    }
    let all = [
        Some(total(&warm.times)),
        warm.cpu.as_ref().map(total),
        Some(total(&cold.times)),
        cold.cpu.as_ref().map(total),
    ];
    print_row("together", all, columns.iter().map(|column| column.counts.iter().sum()));
}

fn total(times: &Times) -> Duration {
    times.values().sum()
}

fn print_row(what: &str, times: [Option<Duration>; 4], counts: impl Iterator<Item = usize>) {
    let times = times.map(|time| format!("{:>9}", time.map_or_else(|| "-".to_owned(), milliseconds)));
    let counts: Vec<String> = counts.map(|count| format!("{count:>13}")).collect();
    println!("  {what:<13}{}{}", times.concat(), counts.concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_step_and_by_kind() {
        let recorded = ["setSecret GetSecretValue #1", "setSecret sql SELECT #1", "testSecret sql SELECT #1"];
        let counted =
            counted(["AWS", "rest"], |call| usize::from(!call.starts_with("Get")), &recorded.map(str::to_owned));
        let counts: Vec<_> = counted.iter().map(|column| column.counts.as_slice()).collect();
        assert_eq!(counts, [[0, 1, 0, 0], [0, 1, 1, 0]]);
    }

    #[test]
    fn waits_are_what_a_longer_way_adds() {
        let ms = Duration::from_millis;
        assert_eq!(how_often(ms(40), ms(7), ms(7 + 3 * 40 + 15)), 3);
        assert_eq!(how_often(ms(40), ms(7), ms(6)), 0);
    }
}
