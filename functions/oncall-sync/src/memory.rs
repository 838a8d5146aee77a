//! What a warm function still knows of earlier ticks. Losing it costs requests and repeated alerts, never a wrong decision.

use crate::ids::BindingId;
use crate::ledger::Channel;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    readings: Mutex<BTreeMap<BindingId, DateTime<Utc>>>,
    pub(crate) conditions: Conditions,
    /// What the last forecast warned of.
    pub(crate) warnings: Conditions,
}

/// Conditions that hold, each with the channels that have not taken its alert.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Mutex<BTreeMap<String, BTreeSet<Channel>>>);

impl Memory {
    /// Notes that the source of this binding was read.
    pub(crate) fn read(&self, binding: &BindingId, at: DateTime<Utc>) {
        lock(&self.readings).insert(binding.clone(), at);
    }

    pub(crate) fn last_reading(&self, binding: &BindingId) -> Option<DateTime<Utc>> {
        lock(&self.readings).get(binding).copied()
    }
}

impl Conditions {
    /// Of the conditions that hold now, those that somebody is still to be told of, each with the channels. One that holds
    /// no longer is forgotten, and told again when it comes back.
    pub(crate) fn untold<'a>(
        &self,
        conditions: impl Iterator<Item = &'a String>,
    ) -> BTreeMap<String, BTreeSet<Channel>> {
        let mut known = lock(&self.0);
        let now = conditions.map(|key| (key.clone(), known.get(key).cloned().unwrap_or_else(Channel::all)));
        *known = now.collect();
        known
            .iter()
            .filter(|(_, channels)| !channels.is_empty())
            .map(|(key, left)| (key.clone(), left.clone()))
            .collect()
    }

    /// All channels but these have taken the alert of a condition.
    pub(crate) fn told(&self, condition: &str, untaken: BTreeSet<Channel>) {
        if let Some(left) = lock(&self.0).get_mut(condition) {
            *left = untaken;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_told_to_each_channel_once_while_it_lasts_and_again_when_it_comes_back() {
        let memory = Conditions::default();
        let brake = "brake".to_owned();
        let untold = |holds: bool| memory.untold(holds.then_some(&brake).into_iter());
        let left = |channels: BTreeSet<Channel>| BTreeMap::from([(brake.clone(), channels)]);
        assert_eq!(untold(true), left(Channel::all()));
        assert_eq!(untold(true), left(Channel::all()), "nobody has taken it");
        memory.told(&brake, BTreeSet::from([Channel::Datadog]));
        assert_eq!(untold(true), left(BTreeSet::from([Channel::Datadog])));
        memory.told(&brake, BTreeSet::new());
        assert_eq!(untold(true), BTreeMap::new());
        assert_eq!(untold(false), BTreeMap::new());
        assert_eq!(untold(true), left(Channel::all()));
    }
}
