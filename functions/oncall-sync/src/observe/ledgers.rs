//! The ledgers below `LEDGER_PATH`, and which group each speaks of.

use crate::audit;
use crate::ids::{BindingId, GroupId};
use crate::ledger::{Ledger, Remembered};
use keyturn::parameters::Parameter;
use std::collections::{BTreeMap, BTreeSet};

/// Each ledger, by `<binding>.<group>`, which is what its parameter is called: another group is another ledger.
pub(super) struct Ledgers(BTreeMap<(BindingId, GroupId), Remembered>);

impl Ledgers {
    pub(super) fn read(parameters: Vec<Parameter>) -> Self {
        let mut ledgers = BTreeMap::new();
        for Parameter { name, value, .. } in parameters {
            let key = name.rsplit('/').next().and_then(|last| last.split_once('.'));
            let key = key.and_then(|(id, group)| Some((id.try_into().ok()?, group.try_into().ok()?)));
            let Some((id, group)): Option<(BindingId, GroupId)> = key else {
                audit::stranger_among_ledgers(&name);
                continue;
            };
            let ledger = match serde_json::from_str::<Ledger>(&value) {
                Ok(ledger) if ledger.group == group => Remembered::Known(ledger),
                _ => {
                    audit::ledger_unreadable(&name);
                    Remembered::Lost
                }
            };
            ledgers.insert((id, group), ledger);
        }
        Self(ledgers)
    }

    /// Takes the ledger of a group out, under whatever binding's name: a binding may have been renamed.
    pub(super) fn take(&mut self, group: &GroupId) -> Remembered {
        self.latest_of(group).map_or(Remembered::Lost, |(_, ledger)| ledger)
    }

    /// Takes all ledgers of a group out, and gives back the one that was confirmed last.
    fn latest_of(&mut self, group: &GroupId) -> Option<(BindingId, Remembered)> {
        let of_group = self.0.extract_if(.., |(_, other), _| other == group);
        let confirmed_at = |ledger: &Remembered| match ledger {
            Remembered::Known(ledger) => Some(ledger.confirmed_at),
            Remembered::Lost => None,
        };
        of_group.max_by_key(|(_, ledger)| confirmed_at(ledger)).map(|((id, _), ledger)| (id, ledger))
    }

    /// What nobody took: one ledger for each group, as long as people are in it.
    pub(super) fn leftover(mut self) -> Vec<(BindingId, GroupId, Ledger)> {
        let groups: BTreeSet<GroupId> = self.0.keys().map(|(_, group)| group.clone()).collect();
        let left = |group: GroupId| match self.latest_of(&group)? {
            (id, Remembered::Known(ledger)) if !ledger.rows.is_empty() => Some((id, group, ledger)),
            _ => None,
        };
        groups.into_iter().filter_map(left).collect()
    }
}
