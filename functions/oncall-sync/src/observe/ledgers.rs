//! The ledgers below `LEDGER_PATH`, and which group each speaks of.

use crate::ids::{BindingId, GroupId};
use crate::ledger::{Hold, Ledger, Person, Remembered, State};
use crate::telemetry::audit;
use crate::vendor::AT_ONCE;
use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use keyturn::Deadline;
use keyturn::parameters::{Parameter, Parameters};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the earlier versions of a ledger are waited for: every binding waits.
const HISTORY: Duration = Duration::from_secs(3);

/// The ledgers of each group, each under its binding's name (its parameter is called `<binding>.<group>`); the one that was
/// written last comes last.
pub(crate) struct Ledgers(BTreeMap<GroupId, Vec<Entry>>);

pub(crate) struct Entry {
    pub(crate) binding: BindingId,
    /// The parameter's version.
    pub(crate) version: i64,
    pub(crate) ledger: Remembered,
}

impl Ledgers {
    /// Reads the ledgers. Where somebody else wrote one last, the latest counts that the function wrote.
    pub(super) async fn read(parameters: Vec<Parameter>, store: &Parameters, deadline: Deadline) -> Self {
        let read = stream::iter(parameters).map(|parameter| read(parameter, store, deadline));
        Self::of(read.buffer_unordered(AT_ONCE).filter_map(future::ready).collect().await)
    }

    pub(crate) fn of(read: Vec<(GroupId, Entry)>) -> Self {
        let mut groups: BTreeMap<GroupId, Vec<Entry>> = BTreeMap::new();
        for (group, entry) in read {
            groups.entry(group).or_default().push(entry);
        }
        let order = |ledger: &Ledger| (ledger.serial, ledger.confirmed_at);
        for entries in groups.values_mut() {
            entries.sort_by_cached_key(|entry| (entry.ledger.known().map(order), entry.binding.clone()));
        }
        Self(groups)
    }

    /// The binding whose ledger each group has.
    pub(super) fn holders(&self) -> BTreeMap<GroupId, BindingId> {
        let holder = |(group, entries): (&GroupId, &Vec<Entry>)| Some((group.clone(), entries.last()?.binding.clone()));
        self.0.iter().filter_map(holder).collect()
    }

    /// A group's ledger, under whatever binding's name (it may have been renamed), and the version of the parameter under this
    /// name; 0 where there is none.
    pub(crate) fn find(&self, binding: &BindingId, group: &GroupId) -> (Remembered, i64) {
        let entries = self.0.get(group).map(Vec::as_slice).unwrap_or_default();
        let own = entries.iter().find(|entry| entry.binding == *binding);
        let version = own.map_or(0, |own| own.version);
        // It may be the latest of them.
        let unreadable = entries.iter().find(|entry| matches!(entry.ledger, Remembered::Unreadable { .. }));
        let found = unreadable.or(entries.last());
        let ledger = found.map_or_else(|| Remembered::Never(self.first(binding, group)), |entry| entry.ledger.clone());
        (ledger, version)
    }

    /// The ledger that begins for a group: whoever is held out of the group that the binding had before is held out of it.
    fn first(&self, binding: &BindingId, group: &GroupId) -> Ledger {
        let mut first = Ledger::new(group.clone());
        let others = self.0.values().flatten().filter(|entry| entry.binding == *binding);
        let before = others.filter_map(|entry| entry.ledger.known()).max_by_key(|ledger| ledger.confirmed_at);
        for (okta, person) in before.into_iter().flat_map(|before| &before.people) {
            if let State::Held(hold) = &person.state {
                first.put(okta, State::Held(Hold { out: true, ..hold.clone() }));
            }
        }
        first
    }

    /// One ledger for each group that is not `followed`, as long as people are in it; that of `asked`, whom a person asks
    /// about, in any case.
    pub(super) fn leftover(self, followed: &BTreeSet<&GroupId>, asked: Option<&BindingId>) -> Vec<(GroupId, Entry)> {
        let left = |(group, mut entries): (GroupId, Vec<Entry>)| {
            let entry = entries.pop()?;
            let is_unfinished = |ledger: &Ledger| ledger.people.values().any(Person::is_unfinished);
            let counts = asked == Some(&entry.binding) || entry.ledger.known().is_some_and(is_unfinished);
            counts.then_some((group, entry))
        };
        self.0.into_iter().filter(|(group, _)| !followed.contains(group)).filter_map(left).collect()
    }
}

async fn read(parameter: Parameter, store: &Parameters, deadline: Deadline) -> Option<(GroupId, Entry)> {
    let Parameter { name, value, version, modified: since, .. } = parameter;
    let key = name.rsplit('/').next().and_then(|last| last.split_once('.'));
    let key = key.and_then(|(id, group)| Some((id.try_into().ok()?, group.try_into().ok()?)));
    let Some((binding, group)): Option<(BindingId, GroupId)> = key else {
        audit::stranger_among_ledgers(&name);
        return None;
    };
    let current = parse(&value, &group).inspect_err(|why| audit::ledger_unreadable(&name, why)).ok();
    let ledger = match current {
        Some(ledger) if ledger.is_of_version(version) => Remembered::Known(ledger),
        current => match store.history(&name, deadline.at_most(HISTORY)).await {
            Ok(versions) => {
                latest(current, &versions, &group).map_or(Remembered::Unreadable { since }, Remembered::Known)
            }
            Err(error) => {
                // What stands there may be a text of long ago: it waits for the next tick.
                audit::error(&error);
                Remembered::Unreadable { since }
            }
        },
    };
    Some((group, Entry { binding, version, ledger }))
}

fn parse(text: &str, group: &GroupId) -> Result<Ledger, &'static str> {
    let ledger = Ledger::parse(text)?;
    if ledger.group == *group { Ok(ledger) } else { Err("it is the ledger of another group") }
}

/// The ledger of the highest serial among the versions that Parameter Store keeps, the latest first.
pub(crate) fn latest(current: Option<Ledger>, versions: &[String], group: &GroupId) -> Option<Ledger> {
    let earlier = versions.iter().rev().filter_map(|text| parse(text, group).ok());
    // Of two with one serial the last counts, which is the one that stands there.
    let all = earlier.map(restored).chain(current);
    all.max_by_key(|ledger| (ledger.serial, ledger.confirmed_at))
}

fn restored(mut ledger: Ledger) -> Ledger {
    ledger.restored = true;
    ledger
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn entry(binding: &str, ledger: Remembered) -> (GroupId, Entry) {
        ("00g1".try_into().unwrap(), Entry { binding: binding.try_into().unwrap(), version: 3, ledger })
    }

    fn written(serial: u64) -> Remembered {
        let mut ledger = Ledger::new("00g1".try_into().unwrap());
        ledger.serial = serial;
        Remembered::Known(ledger)
    }

    #[test]
    fn the_ledger_that_was_written_last_counts_under_whatever_name_and_none_while_one_cannot_be_read() {
        let find = |ledgers: Vec<(GroupId, Entry)>| {
            Ledgers::of(ledgers).find(&"shop".try_into().unwrap(), &"00g1".try_into().unwrap())
        };
        assert_eq!(find(vec![entry("shop", written(1)), entry("store", written(2))]), (written(2), 3));
        assert_eq!(find(vec![entry("store", written(2))]), (written(2), 0));
        let unreadable = || Remembered::Unreadable { since: None };
        for ledgers in [
            vec![entry("shop", unreadable()), entry("store", written(2))],
            vec![entry("shop", written(1)), entry("store", unreadable())],
        ] {
            assert_eq!(find(ledgers).0, unreadable());
        }
    }
    #[test]
    fn whoever_is_held_is_held_out_of_the_group_that_the_binding_has_next() {
        let (ann, bob) = ("00u1".try_into().unwrap(), "00u2".try_into().unwrap());
        let hold = Hold { since: DateTime::UNIX_EPOCH, until: None, out: false, reason: "left laptop".to_owned() };
        let mut before = Ledger::new("00g1".try_into().unwrap());
        before.put(&ann, State::Held(hold.clone()));
        before.put(&bob, State::Tolerated);
        let ledgers = Ledgers::of(vec![entry("shop", Remembered::Known(before))]);
        let begun = |binding: &str| match ledgers.find(&binding.try_into().unwrap(), &"00g2".try_into().unwrap()) {
            (Remembered::Never(first), 0) => first,
            found => panic!("{found:?}"),
        };
        let first = begun("shop");
        assert_eq!(first.state(&ann), Some(&State::Held(Hold { out: true, ..hold })));
        assert_eq!((first.state(&bob), begun("store").people.len()), (None, 0));
    }
}
