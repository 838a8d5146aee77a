//! What a warm function still knows of earlier ticks. Losing it costs requests and repeated alerts, never a wrong decision.

use crate::ids::BindingId;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    readings: Mutex<BTreeMap<BindingId, DateTime<Utc>>>,
    told: Mutex<BTreeSet<String>>,
}

impl Memory {
    /// Notes that the source of this binding was read.
    pub(crate) fn read(&self, binding: &BindingId, at: DateTime<Utc>) {
        lock(&self.readings).insert(binding.clone(), at);
    }

    pub(crate) fn last_reading(&self, binding: &BindingId) -> Option<DateTime<Utc>> {
        lock(&self.readings).get(binding).copied()
    }

    /// Of the conditions that hold now, those that did not hold at the last tick: each is told once while it lasts.
    pub(crate) fn begun(&self, conditions: BTreeSet<String>) -> BTreeSet<String> {
        let mut told = lock(&self.told);
        let begun = conditions.difference(&told).cloned().collect();
        *told = conditions;
        begun
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_told_once_while_it_lasts_and_again_when_it_comes_back() {
        let memory = Memory::default();
        let one = || BTreeSet::from(["brake".to_owned()]);
        assert_eq!(memory.begun(one()), one());
        assert_eq!(memory.begun(one()), BTreeSet::new());
        assert_eq!(memory.begun(BTreeSet::new()), BTreeSet::new());
        assert_eq!(memory.begun(one()), one());
    }
}
