//! Conditions that a person was told of already. Losing them costs repeated alerts, never a wrong decision.

use super::Channel;
use crate::defect::lock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Conditions that hold, each with the channels that have not taken its alert.
#[derive(Debug, Default)]
pub struct Conditions(Mutex<BTreeMap<String, BTreeSet<Channel>>>);

impl Conditions {
    /// Of the conditions that hold now, those that somebody is still to be told of, each with the channels. One that holds
    /// no longer is forgotten, and told again when it comes back; one of which nobody knows `may_hold`.
    pub fn untold<'a>(
        &self,
        conditions: impl Iterator<Item = &'a String>,
        may_hold: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, BTreeSet<Channel>> {
        let mut known = lock(&self.0);
        let now = conditions.map(|key| (key.clone(), known.get(key).cloned().unwrap_or_else(Channel::all)));
        let now: BTreeMap<String, BTreeSet<Channel>> = now.collect();
        known.retain(|key, _| may_hold(key));
        known.extend(now.clone());
        now.into_iter().filter(|(_, channels)| !channels.is_empty()).collect()
    }

    /// A condition whose key is so, of those that held.
    pub fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        lock(&self.0).keys().find(|key| is_it(key)).cloned()
    }

    /// All channels but these have taken the alert of a condition.
    pub fn told(&self, condition: &str, untaken: BTreeSet<Channel>) {
        if let Some(left) = lock(&self.0).get_mut(condition) {
            *left = untaken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_told_to_each_channel_once_while_it_lasts_and_again_when_it_comes_back() {
        let conditions = Conditions::default();
        let brake = "brake".to_owned();
        let known = |holds: bool, unknown: bool| conditions.untold(holds.then_some(&brake).into_iter(), |_| unknown);
        let untold = |holds: bool| known(holds, false);
        let left = |channels: BTreeSet<Channel>| BTreeMap::from([(brake.clone(), channels)]);
        assert_eq!(untold(true), left(Channel::all()));
        assert_eq!(untold(true), left(Channel::all()), "nobody has taken it");
        conditions.told(&brake, BTreeSet::from([Channel::Datadog]));
        assert_eq!(untold(true), left(BTreeSet::from([Channel::Datadog])));
        conditions.told(&brake, BTreeSet::new());
        assert_eq!(untold(true), BTreeMap::new());
        assert_eq!(known(false, true), BTreeMap::new(), "nobody knows whether it holds");
        assert_eq!(untold(true), BTreeMap::new(), "it has not been over");
        assert_eq!(untold(false), BTreeMap::new());
        assert_eq!(untold(true), left(Channel::all()));
    }
}
