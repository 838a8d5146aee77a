//! The ledgers below `LEDGER_PATH`, and which group each speaks of.

use crate::codes::Code;
use crate::telemetry::audit;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use keyturn::ids::{BindingId, GroupId, OktaId};
use keyturn::ledger::{Hold, Ledger, Person, Remembered, State};
use keyturn::parameters::{Parameter, Parameters};
use keyturn::vendor::AT_ONCE;
use keyturn::{Deadline, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the earlier versions of a ledger are waited for: every binding waits.
const HISTORY: Duration = Duration::from_secs(3);

/// For how long a hold in the ledger of a group that the binding had before counts, where no reading says whether it is over.
const UNSEEN: TimeDelta = TimeDelta::hours(24);

/// The ledgers of each group, each under its binding's name (its parameter is called `<binding>.<group>`); the one that was
/// written last comes last.
pub(crate) struct Ledgers(BTreeMap<GroupId, Vec<Entry>>);

pub(crate) struct Entry {
    pub(crate) binding: BindingId,
    /// The parameter's version.
    pub(crate) version: i64,
    /// When somebody wrote it last.
    pub(crate) modified: Option<DateTime<Utc>>,
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
        // It may be the latest of them; but not one under another name that nobody has written since a known one was.
        let known = entries.iter().rfind(|entry| entry.ledger.known().is_some());
        let is_older =
            |entry: &Entry| known.is_some_and(|known| entry.modified.is_some() && entry.modified < known.modified);
        let counts = |entry: &&Entry| entry.binding == *binding || !is_older(entry);
        let unreadable =
            entries.iter().filter(|entry| matches!(entry.ledger, Remembered::Unreadable { .. })).find(counts);
        let ledger = match unreadable.or(known).map(|entry| (&entry.ledger, &entry.binding)) {
            Some((Remembered::Known(ledger), name)) => {
                let mut ledger = ledger.clone();
                if name != binding {
                    // It is written under this name at once: whoever else reads ledgers knows no other one.
                    ledger.moved_to = Some(binding.clone());
                }
                Remembered::Known(self.held_before(binding, name, ledger))
            }
            Some((other, _)) => other.clone(),
            None => Remembered::Never(self.held_before(binding, binding, Ledger::new(group.clone()))),
        };
        (ledger, version)
    }

    /// The ledger, in which whoever is held out of the group that the binding had until now is held out as well. It may have had
    /// this group before: then the ledger is older than the other one's. `name` is the binding that the ledger was written for.
    fn held_before(&self, binding: &BindingId, name: &BindingId, mut ledger: Ledger) -> Ledger {
        let others = self.0.values().flatten().filter(|entry| entry.binding == *binding);
        let others = others.filter_map(|entry| entry.ledger.known()).filter(|other| other.group != ledger.group);
        let Some(before) = others.max_by_key(|other| other.confirmed_at) else { return ledger };
        // The ledger of this group under this binding's own name, from when it had the group last.
        let own = self.0.get(&ledger.group).into_iter().flatten().find(|entry| entry.binding == *binding);
        let own = own.and_then(|entry| entry.ledger.known()).map(|own| own.confirmed_at);
        // Whom this very binding held, and does not hold in its other group's ledger, has been released since.
        if let Some(at) = before.confirmed_at
            && name == binding
            && Some(at) > ledger.confirmed_at
        {
            let is_held = |okta: &OktaId| matches!(before.state(okta), Some(State::Held(_)));
            for (okta, person) in &mut ledger.people {
                if matches!(&person.state, State::Held(hold) if hold.out && at >= hold.since) && !is_held(okta) {
                    // Its alert may still have to be told.
                    person.state = State::Left { at };
                }
            }
        }
        for (okta, person) in &before.people {
            // A grant by hand in this group's ledger is kept: an operator made it after the hold.
            let by_hand = matches!(ledger.state(okta), Some(State::Granted(granted)) if granted.by_hand.is_some());
            // A removal that nobody has seen goes on.
            let out = !matches!(ledger.state(okta), Some(State::Leaving(_)));
            let counts = |hold: &Hold| {
                let last = before.confirmed_at.max(Some(hold.since));
                match own {
                    Some(own) => last > own,
                    // No tick of this binding has seen the end of the hold: an old one ended unseen.
                    None => last.max(hold.until).map(|at| at + UNSEEN) > ledger.confirmed_at,
                }
            };
            if let State::Held(hold) = &person.state
                && !by_hand
                && counts(hold)
            {
                ledger.put(okta, State::Held(Hold { out, ..hold.clone() }));
            }
        }
        ledger
    }

    /// The ledgers that have been replaced by that of the binding which has their group now, and do not say so yet: each as it is
    /// to be written, under the last part of its name. While that binding's own is not the last one, it is about to be written.
    pub(super) fn moved(&self, followed: &BTreeMap<&GroupId, &BindingId>) -> Vec<(String, Ledger)> {
        let mut moved = Vec::new();
        for (group, entries) in &self.0 {
            let Some((last, others)) = entries.split_last() else { continue };
            let (Remembered::Known(_), to) = (&last.ledger, Some(&last.binding)) else { continue };
            if followed.get(group).copied() != to {
                continue;
            }
            for entry in others {
                // What somebody else wrote is believed by nobody.
                let own = entry.ledger.known().filter(|ledger| !ledger.restored && ledger.moved_to.as_ref() != to);
                let Some(mut ledger) = own.cloned() else { continue };
                (ledger.version, ledger.moved_to) = (entry.version + 1, to.cloned());
                moved.push((format!("{}.{group}", entry.binding), ledger));
            }
        }
        moved
    }

    /// The last part of the names of ledgers that cannot be read, of groups that are not `followed`: people may be in those.
    pub(super) fn lost(&self, followed: &BTreeSet<&GroupId>) -> impl Iterator<Item = String> {
        let left = self.0.iter().filter(|(group, _)| !followed.contains(group));
        left.filter_map(|(group, entries)| {
            let entry = entries.last().filter(|entry| matches!(entry.ledger, Remembered::Unreadable { .. }))?;
            Some(format!("{}.{group}", entry.binding))
        })
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

/// What is told of a ledger of [`Ledgers::lost`].
pub(super) fn followed_by_nobody(name: &str) -> Error {
    let group = name.rsplit('.').next().unwrap_or_default();
    Error::new(
        Code::LedgerUnreadable,
        format!(
            "The ledger {name} cannot be read, nor can an earlier version of it, and no valid document names its group: whoever was granted there stays."
        ),
        format!(
            "Look who is in the group {group} at Okta, and take out who should not be; then aws ssm delete-parameter --name {name}"
        ),
    )
}

async fn read(parameter: Parameter, store: &Parameters, deadline: Deadline) -> Option<(GroupId, Entry)> {
    let Parameter { name, value, version, modified, .. } = parameter;
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
                latest(current, &versions, &group).map_or(Remembered::Unreadable { since: modified }, Remembered::Known)
            }
            Err(error) => {
                // The history may hold a version that can be read: the next tick asks Parameter Store again, and without a
                // date the 24-hour rule removes nobody.
                audit::error(&error);
                Remembered::Unreadable { since: None }
            }
        },
    };
    Some((group, Entry { binding, version, modified, ledger }))
}

fn parse(text: &str, group: &GroupId) -> Result<Ledger, &'static str> {
    let ledger = Ledger::parse(text)?;
    if ledger.group == *group { Ok(ledger) } else { Err("it is the ledger of another group") }
}

/// The ledger that the function wrote last among the versions that Parameter Store keeps.
pub(crate) fn written_last(versions: &[(i64, String)], group: &GroupId) -> Option<Ledger> {
    let parsed = versions.iter().filter_map(|(version, text)| Some((version, parse(text, group).ok()?)));
    // The first format says neither serial nor version.
    let written = parsed.filter(|(version, ledger)| ledger.is_of_version(**version) || ledger.serial == 0);
    written.map(|(_, ledger)| ledger).max_by_key(|ledger| (ledger.serial, ledger.confirmed_at))
}

/// The ledger that the function wrote last; `current`, which the parameter holds, where Parameter Store keeps none of the
/// function's. `current` says the same if the function's own write was sent twice.
pub(crate) fn latest(current: Option<Ledger>, versions: &[(i64, String)], group: &GroupId) -> Option<Ledger> {
    let Some(mut last) = written_last(versions, group) else { return current };
    last.restored = current.is_none_or(|current| current != last);
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::ledger::{Leaving, Reason};

    fn entry(binding: &str, ledger: Remembered) -> (GroupId, Entry) {
        ("00g1".try_into().unwrap(), Entry { binding: binding.try_into().unwrap(), version: 3, modified: None, ledger })
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
        let of_store = {
            let mut ledger = written(2);
            ledger.known_mut().unwrap().moved_to = Some("shop".try_into().unwrap());
            ledger
        };
        assert_eq!(find(vec![entry("shop", written(1)), entry("store", written(2))]), (of_store.clone(), 3));
        assert_eq!(find(vec![entry("store", written(2))]), (of_store, 0));
        let unreadable = || Remembered::Unreadable { since: None };
        for ledgers in [
            vec![entry("shop", unreadable()), entry("store", written(2))],
            vec![entry("shop", written(1)), entry("store", unreadable())],
        ] {
            assert_eq!(find(ledgers).0, unreadable());
        }
    }

    #[test]
    fn what_somebody_else_wrote_counts_only_where_it_says_what_the_function_wrote_last() {
        let group: GroupId = "00g1".try_into().unwrap();
        let text = |serial: u64, version: i64, who: &str| {
            let mut ledger = Ledger::new(group.clone());
            (ledger.serial, ledger.version) = (serial, version);
            ledger.put(&who.try_into().unwrap(), State::Tolerated);
            ledger.text().unwrap()
        };
        let ann = text(7, 2, "00ann");
        for (case, current, found, restored) in [
            ("a write that was sent twice", ann.clone(), "00ann", false),
            ("an edited text", text(7, 2, "00eve"), "00ann", true),
            ("an edited text of a higher serial", text(9, 2, "00eve"), "00ann", true),
            ("an old text", text(6, 1, "00old"), "00ann", true),
            ("an edited text without a version", text(9, 0, "00eve"), "00ann", true),
            ("no ledger", "{".to_owned(), "00ann", true),
        ] {
            let versions = [(1, text(6, 1, "00old")), (2, ann.clone()), (3, current.clone())];
            let ledger = latest(parse(&current, &group).ok(), &versions, &group).unwrap();
            let people: Vec<&str> = ledger.people.keys().map(OktaId::as_str).collect();
            assert_eq!((people.as_slice(), ledger.restored), ([found].as_slice(), restored), "{case}");
        }
        // An operator deleted the parameter and stored the same text anew: Parameter Store counts from version 1 again.
        let alone = latest(parse(&ann, &group).ok(), &[(1, ann.clone())], &group).unwrap();
        assert!(!alone.restored);
    }

    #[test]
    fn a_ledger_that_cannot_be_read_and_is_older_than_a_known_one_under_another_name_does_not_count() {
        let at = |seconds| Some(DateTime::from_timestamp(seconds, 0).unwrap());
        let of = |binding: &str, modified, ledger| {
            let (group, entry) = entry(binding, ledger);
            (group, Entry { modified, ..entry })
        };
        let unreadable = || Remembered::Unreadable { since: at(1) };
        for (own, foreign, found) in [(at(2), at(1), written(2)), (at(1), at(2), unreadable())] {
            let ledgers = Ledgers::of(vec![of("shop", own, written(2)), of("store", foreign, unreadable())]);
            assert_eq!(ledgers.find(&"shop".try_into().unwrap(), &"00g1".try_into().unwrap()).0, found);
        }
        // Its own is what was written under this name last.
        let ledgers = Ledgers::of(vec![of("shop", at(1), unreadable()), of("store", at(2), written(2))]);
        assert_eq!(ledgers.find(&"shop".try_into().unwrap(), &"00g1".try_into().unwrap()).0, unreadable());
    }

    #[test]
    fn whoever_was_held_meanwhile_is_held_out_of_a_group_that_the_binding_has_again() {
        let ann: OktaId = "00u1".try_into().unwrap();
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let hold = Hold {
            since: DateTime::UNIX_EPOCH,
            until: None,
            person: None,
            out: false,
            reason: "left laptop".to_owned(),
        };
        let confirmed = |group: &str, seconds: i64, state: State| {
            let mut ledger = Ledger::new(group.try_into().unwrap());
            (ledger.serial, ledger.confirmed_at) = (1, DateTime::from_timestamp(seconds, 0));
            ledger.put(&ann, state);
            let entry = entry("shop", Remembered::Known(ledger)).1;
            (GroupId::try_from(group).unwrap(), entry)
        };
        let state = |before: i64| {
            let ledgers =
                vec![confirmed("00g2", 10, State::Tolerated), confirmed("00g1", before, State::Held(hold.clone()))];
            let found = Ledgers::of(ledgers).find(&"shop".try_into().unwrap(), &"00g2".try_into().unwrap()).0;
            found.known().unwrap().state(&ann).cloned()
        };
        assert_eq!(state(20), Some(State::Held(Hold { out: true, ..hold.clone() })));
        assert_eq!(state(5), Some(State::Tolerated), "that was before this group's turn");
        let state = |in_between: i64| {
            let own = State::Held(Hold { out: true, since: at(10), ..hold.clone() });
            let ledgers = vec![confirmed("00g1", 10, own), confirmed("00g2", in_between, State::Tolerated)];
            let found = Ledgers::of(ledgers).find(&"shop".try_into().unwrap(), &"00g1".try_into().unwrap()).0;
            found.known().unwrap().state(&ann).cloned()
        };
        assert_eq!(state(20), Some(State::Left { at: at(20) }), "the hold ended in the other group's turn");
        assert!(matches!(state(5), Some(State::Held(_))));
        // The binding that held them had another name: this one's other group says nothing of it.
        let own = State::Held(Hold { out: true, since: at(10), ..hold.clone() });
        let (group, of_store) = confirmed("00g1", 10, own);
        let of_store = Entry { binding: "store".try_into().unwrap(), ..of_store };
        let ledgers = Ledgers::of(vec![(group.clone(), of_store), confirmed("00g2", 20, State::Tolerated)]);
        let found = ledgers.find(&"shop".try_into().unwrap(), &group).0;
        assert!(matches!(found.known().unwrap().state(&ann), Some(State::Held(_))));
    }

    #[test]
    fn whoever_is_held_is_held_out_of_a_group_that_was_another_binding_s_whatever_was_read_last() {
        let ann: OktaId = "00u1".try_into().unwrap();
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let of = |binding: &str, group: &str, confirmed_at, people: &[(OktaId, State)]| {
            let mut ledger = Ledger::new(group.try_into().unwrap());
            (ledger.serial, ledger.confirmed_at) = (1, confirmed_at);
            for (okta, state) in people {
                ledger.put(okta, state.clone());
            }
            (GroupId::try_from(group).unwrap(), entry(binding, Remembered::Known(ledger)).1)
        };
        let hold = Hold { since: at(15), until: None, person: None, out: true, reason: String::new() };
        let of_ann = [(ann.clone(), State::Held(hold))];
        let is_held = |ledgers| {
            let found = Ledgers::of(ledgers).find(&"shop".try_into().unwrap(), &"00g2".try_into().unwrap()).0;
            matches!(found.known().unwrap().state(&ann), Some(State::Held(_)))
        };
        assert!(is_held(vec![of("shop", "00g1", Some(at(10)), &of_ann), of("bank", "00g2", Some(at(20)), &[])]));
        let leaving = State::Leaving(Leaving { reason: Reason::ShiftEnded, since: at(12), due: None });
        let leaves = of("bank", "00g2", Some(at(20)), &[(ann.clone(), leaving)]);
        let found = Ledgers::of(vec![of("shop", "00g1", Some(at(10)), &of_ann), leaves]);
        let found = found.find(&"shop".try_into().unwrap(), &"00g2".try_into().unwrap()).0;
        assert!(
            matches!(found.known().unwrap().state(&ann), Some(State::Held(hold)) if !hold.out),
            "the removal goes on"
        );
        // The first run with the group was in an outage, as the hold was; before and after that the binding has the other group.
        assert!(is_held(vec![of("shop", "00g1", None, &of_ann), of("shop", "00g2", Some(at(14)), &[])]));
        assert!(!is_held(vec![of("shop", "00g1", None, &of_ann), of("shop", "00g2", Some(at(16)), &[])]));
        // A hold of long ago, of which nobody saw the end.
        let later = at(15) + TimeDelta::days(150);
        let bank = || of("bank", "00g2", Some(later), &[]);
        assert!(!is_held(vec![of("shop", "00g1", Some(at(10)), &of_ann), bank()]));
        // The binding had another name meanwhile.
        let before = later - TimeDelta::hours(1);
        let (recent, own) =
            (of("shop", "00g1", Some(before - TimeDelta::hours(2)), &of_ann), of("shop", "00g2", Some(before), &[]));
        assert!(!is_held(vec![recent, own, bank()]));
    }

    #[test]
    fn whoever_is_held_is_held_out_of_the_group_that_the_binding_has_next() {
        let (ann, bob) = ("00u1".try_into().unwrap(), "00u2".try_into().unwrap());
        let hold = Hold {
            since: DateTime::UNIX_EPOCH,
            until: None,
            person: None,
            out: false,
            reason: "left laptop".to_owned(),
        };
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
