//! The crash matrix: where a rotation is stopped, and who looks on meanwhile.

use crate::prove::long_form;
use keyturn_tests::faults::{Fault, Moment, Point};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Before and after every call in the long form. In the short one, before and after one call of each kind: of the calls that
/// differ in their step or their count only, the `turn`-th, so that matrices with other turns stop at other calls.
pub(crate) fn points(calls: BTreeSet<String>, fault: &Fault, turn: usize) -> Vec<Point> {
    let chosen = if long_form() { calls } else { one_of_each_kind(calls, turn) };
    let point = |call: String| {
        [Moment::Before, Moment::After].map(|moment| Point { call: call.clone(), moment, fault: fault.clone() })
    };
    chosen.into_iter().flat_map(point).collect()
}

fn one_of_each_kind(calls: BTreeSet<String>, turn: usize) -> BTreeSet<String> {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in calls {
        kinds.entry(kind(&call).to_owned()).or_default().push(call);
    }
    kinds.into_values().map(|of_kind| of_kind[turn % of_kind.len()].clone()).collect()
}

/// `GetSecretValue AWSPENDING` of `setSecret GetSecretValue AWSPENDING #1`.
fn kind(call: &str) -> &str {
    let what = call.split_once(' ').map_or(call, |(_, what)| what);
    what.rsplit_once(" #").map_or(what, |(what, _)| what)
}

/// Looks all the time whether everything is as it must be.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    task: JoinHandle<Vec<String>>,
}

impl Watcher {
    /// Looks once in each `period`; `look` gives back what is wrong.
    pub(crate) fn start<F>(period: Duration, mut look: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&looks));
        let task = tokio::spawn(async move {
            let mut found = Vec::new();
            // A login takes both ends some milliseconds of a processor, which the matrices need as well.
            let mut pace = tokio::time::interval(period);
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                found.extend(look().await);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            found
        });
        Self { stop, looks, task }
    }

    /// How often it has looked, and what it has found.
    pub(crate) async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let found = self.task.await.unwrap();
        (self.looks.load(Ordering::Relaxed), found)
    }
}

#[test]
fn the_short_form_stops_at_each_kind_of_call_and_by_turns_at_each_call() {
    let calls = ["setSecret Get A #1", "setSecret Get A #2", "testSecret Get A #1", "setSecret sql ALTER ROLE #1"];
    let calls: BTreeSet<String> = calls.map(str::to_owned).into();
    let mut seen = BTreeSet::new();
    for turn in 0..3 {
        let chosen = one_of_each_kind(calls.clone(), turn);
        let kinds: BTreeSet<_> = chosen.iter().map(|call| kind(call)).collect();
        assert_eq!(kinds, BTreeSet::from(["Get A", "sql ALTER ROLE"]));
        seen.extend(chosen);
    }
    assert_eq!(seen, calls);
}
