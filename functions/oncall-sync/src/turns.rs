//! Asks a vendor about many ids, oldest first: a slow vendor leaves no time for all of them in one tick.

use crate::lock;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::Deadline;
use keyturn::vendor::AT_ONCE;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Mutex;

/// When each id was asked for last.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, DateTime<Utc>>>);

impl Turns {
    /// Does `call` for each id, a few at a time: first for those that were asked for longest ago, so that those for which
    /// there was no time in one tick come first in the next, before others that take it all. Who was begun with late and cut
    /// off has not been asked; who has had half of the time and does not answer has.
    pub(crate) async fn one_by_one<K: Display, T>(
        &self,
        mut ids: Vec<K>,
        now: DateTime<Utc>,
        deadline: Deadline,
        call: impl AsyncFn(&K) -> T,
    ) -> Vec<(K, T)> {
        ids.sort_by_cached_key(|id| lock(&self.0).get(&id.to_string()).copied());
        let call = &call;
        let half = deadline.remaining() / 2;
        let calls = stream::iter(ids).map(|id| async move {
            let left = deadline.remaining();
            let outcome = call(&id).await;
            let is_cut_off = deadline.remaining().is_zero();
            if !is_cut_off || left > half {
                lock(&self.0).insert(id.to_string(), now);
            }
            (id, outcome)
        });
        calls.buffer_unordered(AT_ONCE).collect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn what_was_not_asked_for_in_a_tick_comes_first_in_the_next_whatever_hangs() {
        let turns = Turns::default();
        let ids: Vec<char> = ('A'..='P').collect();
        for (tick, first) in [(0, 'A'), (1, 'M'), (2, 'I')] {
            let deadline = Deadline::after(Duration::from_secs(15));
            let asked = Mutex::new(Vec::new());
            let hangs = async |id: &char| {
                let left = deadline.remaining();
                if !left.is_zero() {
                    asked.lock().unwrap().push(*id);
                }
                tokio::time::sleep(left).await;
            };
            turns.one_by_one(ids.clone(), DateTime::UNIX_EPOCH + TimeDelta::minutes(tick), deadline, hangs).await;
            let asked = asked.into_inner().unwrap();
            assert_eq!((asked.len(), asked[0]), (AT_ONCE, first), "{asked:?}");
        }
    }

    /// However the number of ids and what fits into a tick go together.
    #[tokio::test(start_paused = true)]
    async fn whoever_answers_slowly_has_been_answered_after_a_few_ticks() {
        for (ids, seconds) in [(24, 8), (30, 8), (48, 8), (48, 4), (60, 9)] {
            let turns = Turns::default();
            let answered = Mutex::new(std::collections::BTreeSet::new());
            for tick in 0..8 {
                let deadline = Deadline::after(Duration::from_secs(12));
                let slow = async |id: &i32| {
                    let left = deadline.remaining();
                    tokio::time::sleep(left.min(Duration::from_secs(seconds))).await;
                    if left > Duration::from_secs(seconds) {
                        answered.lock().unwrap().insert(*id);
                    }
                };
                let now = DateTime::UNIX_EPOCH + TimeDelta::minutes(tick);
                turns.one_by_one((0..ids).collect(), now, deadline, slow).await;
            }
            assert_eq!(answered.into_inner().unwrap().len(), usize::try_from(ids).unwrap(), "{ids}, {seconds} s");
        }
    }
}
