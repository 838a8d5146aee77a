//! What each step of a warm rotation costs, whatever it rotates.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use keyturn_tests::rotator::Rotator;
use keyturn_tests::secrets_manager::RotationOutcome;

use super::median;
use crate::screen::milliseconds;

const WARM_ROTATIONS: usize = 9;
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// How long each step took, shortest first.
pub(super) type Durations = BTreeMap<&'static str, Vec<Duration>>;

/// The durations of each step over some rotations in which the function is warm and every user exists.
pub(super) async fn warm_rotations(rotator: &Rotator, secret: &str) -> Result<Durations> {
    let mut durations = Durations::new();
    rotate(rotator, secret).await?; // makes the twin, where there is to be one
    for _ in 0..WARM_ROTATIONS {
        for run in rotate(rotator, secret).await?.attempts.into_iter().flat_map(|attempt| attempt.steps) {
            durations.entry(run.step).or_default().push(run.duration);
        }
    }
    for durations in durations.values_mut() {
        durations.sort();
    }
    Ok(durations)
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

/// The table of a rotation: its heads, and in which column a call is counted, by the words after the step's name.
pub(super) struct Table {
    pub heads: &'static [&'static str],
    /// The column of a call.
    pub column: fn(&str) -> usize,
}

impl Table {
    /// Prints a row for each step, and one for all of them.
    pub(super) fn print(&self, durations: &Durations, recorded: &[String]) {
        let heads: Vec<String> = self.heads.iter().map(|head| format!("{head:>14}")).collect();
        println!("  {:<14}{:>9}{}", "step", "median", heads.concat());
        let mut time = Duration::ZERO;
        for step in STEPS {
            let took = median(durations.get(step).map_or(&[], Vec::as_slice));
            print_row(step, took, &self.counted(recorded, Some(step)));
            time += took;
        }
        print_row("together", time, &self.counted(recorded, None));
    }

    /// How many calls there are in each column, of one step or of all.
    fn counted(&self, recorded: &[String], step: Option<&str>) -> Vec<usize> {
        let mut counts = vec![0; self.heads.len()];
        for (of, call) in recorded.iter().filter_map(|call| call.split_once(' ')) {
            if step.is_none_or(|step| step == of) {
                counts[(self.column)(call)] += 1;
            }
        }
        counts
    }
}

fn print_row(what: &str, took: Duration, counts: &[usize]) {
    let counts: Vec<String> = counts.iter().map(|count| format!("{count:>14}")).collect();
    println!("  {what:<14}{:>9}{}", milliseconds(took), counts.concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_step_and_by_kind() {
        let table = Table { heads: &["AWS", "rest"], column: |call| usize::from(!call.starts_with("Get")) };
        let recorded = ["setSecret GetSecretValue #1", "setSecret sql SELECT #1", "testSecret sql SELECT #1"];
        let recorded = recorded.map(str::to_owned);
        assert_eq!(table.counted(&recorded, Some("setSecret")), [1, 1]);
        assert_eq!(table.counted(&recorded, None), [1, 2]);
    }
}
