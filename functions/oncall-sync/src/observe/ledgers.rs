//! The ledgers below `LEDGER_PATH`, and which group each speaks of.

use crate::ids::{BindingId, GroupId};
use crate::ledger::{Ledger, Person, Remembered};
use crate::telemetry::audit;
use crate::vendor::AT_ONCE;
use futures_util::stream::{self, StreamExt as _};
use keyturn::Deadline;
use keyturn::parameters::{Parameter, Parameters};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the earlier versions of a ledger are waited for: every binding waits.
const HISTORY: Duration = Duration::from_secs(3);

/// Its parameter is called `<binding>.<group>`: another group is another ledger.
type Key = (BindingId, GroupId);

pub(crate) struct Ledgers {
    ledgers: BTreeMap<Key, Remembered>,
    /// The version of each one's parameter.
    versions: BTreeMap<Key, i64>,
}

impl Ledgers {
    /// Reads the ledgers. Where somebody else wrote one last, the latest counts that the function wrote.
    pub(super) async fn read(parameters: Vec<Parameter>, store: &Parameters, deadline: Deadline) -> Self {
        let read = stream::iter(parameters).map(|parameter| read(parameter, store, deadline));
        let read: Vec<_> = read.buffer_unordered(AT_ONCE).collect().await;
        let (mut ledgers, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for (key, version, ledger) in read.into_iter().flatten() {
            versions.insert(key.clone(), version);
            ledgers.insert(key, ledger);
        }
        Self { ledgers, versions }
    }

    /// The version of a binding's own ledger's parameter; 0 where there is none.
    pub(super) fn version(&self, binding: &BindingId, group: &GroupId) -> i64 {
        self.versions.get(&(binding.clone(), group.clone())).copied().unwrap_or_default()
    }

    /// The binding whose ledger each group has.
    pub(super) fn holders(&self) -> BTreeMap<GroupId, BindingId> {
        let groups: BTreeSet<&GroupId> = self.ledgers.keys().map(|(_, group)| group).collect();
        let holder = |group: &GroupId| {
            let of_group = self.ledgers.iter().filter(|((_, other), _)| other == group);
            of_group.max_by_key(|(_, ledger)| order(ledger)).map(|((id, _), _)| (group.clone(), id.clone()))
        };
        groups.into_iter().filter_map(holder).collect()
    }

    /// Takes a binding's ledger out, under whatever binding's name: it may have been renamed.
    pub(super) fn take(&mut self, binding: &BindingId, group: &GroupId) -> Remembered {
        let own = self.ledgers.get(&(binding.clone(), group.clone())).cloned();
        let latest = self.latest_of(group).map(|(_, ledger)| ledger);
        match own {
            // It may be the latest of them.
            Some(Remembered::Unreadable) => Remembered::Unreadable,
            _ => latest.unwrap_or(Remembered::Never),
        }
    }

    /// Takes all ledgers of a group out, and gives back the one that was written last.
    fn latest_of(&mut self, group: &GroupId) -> Option<(BindingId, Remembered)> {
        let of_group = self.ledgers.extract_if(.., |(_, other), _| other == group);
        of_group.max_by_key(|(_, ledger)| order(ledger)).map(|((id, _), ledger)| (id, ledger))
    }

    /// What nobody took: one ledger for each group, as long as people are in it; that of `asked`, whom a person asks about,
    /// in any case.
    pub(super) fn leftover(mut self, asked: Option<&BindingId>) -> Vec<(BindingId, GroupId, Remembered, i64)> {
        let groups: BTreeSet<GroupId> = self.ledgers.keys().map(|(_, group)| group.clone()).collect();
        let left = |group: GroupId| {
            let (id, ledger) = self.latest_of(&group)?;
            let is_unfinished = match &ledger {
                Remembered::Known(ledger) => ledger.people.values().any(Person::is_unfinished),
                Remembered::Never | Remembered::Unreadable => false,
            };
            let version = self.version(&id, &group);
            (asked == Some(&id) || is_unfinished).then_some((id, group, ledger, version))
        };
        groups.into_iter().filter_map(left).collect()
    }
}

/// One ledger, with its key and its parameter's version.
async fn read(parameter: Parameter, store: &Parameters, deadline: Deadline) -> Option<(Key, i64, Remembered)> {
    let Parameter { name, value, version, .. } = parameter;
    let key = name.rsplit('/').next().and_then(|last| last.split_once('.'));
    let key = key.and_then(|(id, group)| Some((id.try_into().ok()?, group.try_into().ok()?)));
    let Some((id, group)): Option<Key> = key else {
        audit::stranger_among_ledgers(&name);
        return None;
    };
    let ledger = match parse(&value, &group) {
        Ok(ledger) if ledger.is_of_version(version) => Remembered::Known(ledger),
        Ok(ledger) => latest(&name, Some(ledger), &group, store, deadline).await,
        Err(why) => {
            audit::ledger_unreadable(&name, why);
            latest(&name, None, &group, store, deadline).await
        }
    };
    Some(((id, group), version, ledger))
}

/// The order in which the ledgers of one group were written, as far as they can be read.
fn order(ledger: &Remembered) -> impl Ord + use<> {
    match ledger {
        Remembered::Known(ledger) => Some((ledger.serial, ledger.confirmed_at)),
        Remembered::Unreadable | Remembered::Never => None,
    }
}

fn parse(text: &str, group: &GroupId) -> Result<Ledger, &'static str> {
    let ledger = Ledger::parse(text)?;
    if ledger.group == *group { Ok(ledger) } else { Err("it is the ledger of another group") }
}

/// The ledger of the highest serial among the versions that Parameter Store keeps.
async fn latest(
    name: &str,
    current: Option<Ledger>,
    group: &GroupId,
    store: &Parameters,
    deadline: Deadline,
) -> Remembered {
    let values = match store.history(name, deadline.at_most(HISTORY)).await {
        Ok(values) => values,
        Err(error) => {
            // What stands there may be a text of long ago: it waits for the next tick.
            audit::history_unreadable(&error);
            return Remembered::Unreadable;
        }
    };
    let earlier = values.iter().filter_map(|value| parse(value, group).ok()).map(restored);
    // Of two with one serial the last counts, which is the one that stands there.
    let all = earlier.collect::<Vec<Ledger>>().into_iter().rev().chain(current);
    all.max_by_key(|ledger| (ledger.serial, ledger.confirmed_at)).map_or(Remembered::Unreadable, Remembered::Known)
}

fn restored(mut ledger: Ledger) -> Ledger {
    ledger.restored = true;
    ledger
}
