//! Long random stories: shifts change hands, vendors fail, ledgers are lost, broken or put back, the binding is renamed, the
//! clock is set, the function dies half way, people act by hand. After every tick a small model of its own says who may be in
//! the group.

use super::laws::Claim;
use super::*;
use crate::knowledge::{Identity, Shift};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Event {
    Nothing,
    /// These are on call from now on, each for so many minutes; the flag: they can be identified.
    Shifts(Vec<(&'static str, Option<i64>, bool)>),
    /// One of them has a long shift of entries that follow each other without a break, each of so many minutes.
    Entries(&'static str, i64),
    Source(bool),
    List(bool),
    Suspended(&'static str),
    Active(&'static str),
    /// A person at Okta puts somebody into the group.
    Outsider(&'static str),
    GrantByHand(&'static str, i64, Run),
    RevokeByHand(&'static str, Run),
    LedgerLost,
    /// An operator wrote an unparsable text into the parameter this many minutes ago.
    LedgerBroken(i64),
    /// An operator puts the parameter's version of this many writes ago back.
    LedgerPutBack(usize),
    /// Parameter Store shows earlier versions, or not.
    History(bool),
    /// The binding's document has this name now.
    Renamed(&'static str),
    /// The clock is set on or back by so many minutes.
    Clock(i64),
    /// The document is bad, or good again.
    Document(bool),
    /// Alerts are taken, or not.
    Channels(bool),
    /// The people who are eligible; `None`: Okta does not say.
    Eligible(Option<Vec<&'static str>>),
    /// The document's `keep` has somebody, or nobody.
    Keep(Option<&'static str>),
}

/// Something happens, and some minutes later comes a tick.
type Step = (Event, i64, Run);

fn step() -> impl Strategy<Value = Step> {
    let who = || select(PEOPLE.to_vec());
    let end = || proptest::option::of(select(vec![1, 5, 40, 200]));
    let event = prop_oneof![
        4 => Just(Event::Nothing),
        6 => vec((who(), end(), prop::bool::weighted(0.85)), 0..3).prop_map(Event::Shifts),
        2 => (who(), select(vec![5, 40])).prop_map(|(who, lasts)| Event::Entries(who, lasts)),
        4 => any::<bool>().prop_map(Event::Source),
        2 => any::<bool>().prop_map(Event::List),
        1 => who().prop_map(Event::Suspended),
        1 => who().prop_map(Event::Active),
        1 => who().prop_map(Event::Outsider),
        1 => (who(), select(vec![5, 100]), asked()).prop_map(|(who, lasts, run)| Event::GrantByHand(who, lasts, run)),
        1 => (who(), asked()).prop_map(|(who, run)| Event::RevokeByHand(who, run)),
        1 => Just(Event::LedgerLost),
        1 => select(vec![0, 24 * 60]).prop_map(Event::LedgerBroken),
        1 => (1..4_usize).prop_map(Event::LedgerPutBack),
        2 => any::<bool>().prop_map(Event::History),
        1 => select(vec!["shop", "store"]).prop_map(Event::Renamed),
        1 => select(vec![-90, -20, 20, 90]).prop_map(Event::Clock),
        1 => any::<bool>().prop_map(Event::Document),
        1 => any::<bool>().prop_map(Event::Channels),
        1 => proptest::option::of(vec(who(), 1..4)).prop_map(Event::Eligible),
        1 => proptest::option::of(who()).prop_map(Event::Keep),
    ];
    let broken = (prop::bool::weighted(0.6), any::<u32>(), any::<bool>());
    let broken = broken.prop_map(|(intent, done, outcome)| Run { intent, done, outcome });
    (event, select(vec![1, 1, 1, 5, 29, 31, 61]), prop_oneof![4 => Just(Run::ALL), 1 => broken])
}

/// How far an event by hand is carried out. Without the ledger stored it is refused.
fn asked() -> impl Strategy<Value = Run> {
    (any::<bool>(), any::<bool>()).prop_map(|(done, outcome)| Run {
        intent: true,
        done: if done { u32::MAX } else { 0 },
        outcome,
    })
}

/// A shift that begins in this minute, and lasts so many.
fn shift(who: &str, begins: i64, lasts: Option<i64>) -> Shift {
    let (person, okta) = (id(&format!("P-{who}")), Identity::Known(id(who)));
    Shift { person, okta, start: Some(at(begins)), end: lasts.map(|lasts| at(begins + lasts)) }
}

fn is_to_leave(world: &World, who: &str) -> bool {
    matches!(world.state(&id(who)), Some(State::Leaving(_) | State::Held(_)))
}

struct Story {
    world: World,
    minute: i64,
    source: bool,
    /// Until when somebody whom the function knows may stay, by everything that was read and stored.
    until: BTreeMap<OktaId, DateTime<Utc>>,
    by_hand: BTreeMap<OktaId, DateTime<Utc>>,
    /// The same as `until` while the document is bad: to the end of the shift, and a day at most.
    without_document: BTreeMap<OktaId, DateTime<Utc>>,
    /// Once the clock was set back, what is stored holds longer, by less than this.
    stored_longer: TimeDelta,
    /// When the last reading named them, and nothing went wrong in that tick.
    confirmed: BTreeMap<OktaId, DateTime<Utc>>,
    /// Who was revoked by hand, and the end of the shift in which that was.
    held: BTreeMap<OktaId, Option<DateTime<Utc>>>,
    document: bool,
    list: bool,
    /// By how many minutes the text that was broken last is dated back.
    dated_back: i64,
    /// Removals that were made, each of which has to be logged once and told.
    removed: BTreeMap<OktaId, usize>,
    /// People who were added, of which somebody has to be told.
    added: BTreeSet<OktaId>,
    /// Removals of people who were not seen inside: asked for by hand, or of somebody whose grant nobody saw succeed. They
    /// may be logged as well.
    unseen: BTreeMap<OktaId, usize>,
}

impl Story {
    fn new() -> Self {
        let world = World::new().with(|b| {
            b.adoption = Outsiders::Revoke;
            b.post_shift = TimeDelta::minutes(10);
            b.gap_confirm_runs = 3;
        });
        let (until, by_hand, without_document, confirmed, held, removed, unseen) = Default::default();
        let (minute, source, document, list) = (0, true, true, true);
        Self {
            world,
            minute,
            source,
            until,
            by_hand,
            without_document,
            confirmed,
            held,
            document,
            list,
            dated_back: 0,
            stored_longer: TimeDelta::zero(),
            added: BTreeSet::new(),
            removed,
            unseen,
        }
    }

    fn happens(&mut self, event: Event) {
        self.observe();
        let (world, minute) = (self.world.clone(), self.minute);
        let in_minutes = |minutes: i64| minute + minutes;
        self.world = match event {
            Event::Shifts(shifts) => {
                let shifts = shifts.into_iter().map(|(who, end, known)| {
                    let unresolved = || Identity::Unresolved("deleted".to_owned());
                    Shift {
                        okta: if known { Identity::Known(id(who)) } else { unresolved() },
                        ..shift(who, minute, end)
                    }
                });
                World { shifts: shifts.collect(), ..world }
            }
            Event::Entries(who, lasts) => {
                World { shifts: (0..20).map(|n| shift(who, in_minutes(n * lasts), Some(lasts))).collect(), ..world }
            }
            Event::Source(works) => {
                self.source = works;
                world
            }
            Event::List(works) => {
                self.list = works;
                world
            }
            Event::Document(good) => {
                self.document = good;
                world
            }
            Event::Eligible(Some(people)) => world.eligible(&people),
            Event::Eligible(None) => world.eligible_unknown(),
            Event::Keep(who) => {
                if let Some(who) = who {
                    // The ledger forgets whoever is in `keep`, but for a hold, and what is still to be told of them.
                    self.is_logged_or_not(who);
                    self.added.remove(&id::<OktaId>(who));
                }
                world.with(|binding| binding.keep = who.map(id).into_iter().collect())
            }
            Event::Channels(work) => World { channels_work: work, ..world },
            Event::Suspended(who) => world.suspended(who),
            Event::Active(who) => world.active(who),
            Event::Outsider(who) => {
                if is_to_leave(&world, who) {
                    // A removal that nobody has seen yet is taken for one that was not made.
                    self.is_logged_or_not(who);
                }
                world.member(who)
            }
            Event::GrantByHand(who, ..) | Event::RevokeByHand(who, _)
                if world.binding.keep.contains(&id::<OktaId>(who)) =>
            {
                world
            }
            Event::GrantByHand(who, lasts, run) => {
                let may_come =
                    self.document && world.ledger.known().is_some() && !world.suspended.contains(&id::<OktaId>(who));
                if may_come {
                    if !self.list && is_to_leave(&world, who) {
                        // While Okta does not list the group, the function cannot see whether its removal was made.
                        self.is_logged_or_not(who);
                    }
                    self.by_hand.insert(id(who), at(in_minutes(lasts)));
                    self.held.remove(&id::<OktaId>(who));
                    let plan = world.grant_by_hand(who, in_minutes(lasts));
                    self.carry_out(&plan, run);
                }
                return;
            }
            Event::RevokeByHand(who, run) => {
                if world.ledger.known().is_some() {
                    self.confirmed.remove(&id::<OktaId>(who));
                    self.held.insert(id(who), self.end_of_shift(&id(who)));
                    self.carry_out(&world.revoke_by_hand(who), run);
                }
                return;
            }
            Event::Nothing => world,
            Event::LedgerBroken(age) => {
                self.dated_back = age;
                world.written(at(in_minutes(-age)), |_| "{".to_owned())
            }
            Event::LedgerPutBack(ago) => {
                world.written(at(self.minute), |versions| versions[versions.len().saturating_sub(1 + ago)].1.clone())
            }
            Event::History(works) => World { history: works, ..world },
            // A text that is dated back is older than what the function wrote under the other name before it: no Parameter Store
            // says so.
            Event::Renamed(_) if self.dated_back > 0 && world.ledger.known().is_none() => world,
            Event::Renamed(name) => world.with(|binding| binding.id = id(name)),
            Event::Clock(minutes) => {
                if minutes < 0 {
                    self.stored_longer = world.binding.max_stale / 4;
                }
                self.minute += minutes;
                world
            }
            Event::LedgerLost => {
                self.confirmed.clear();
                self.held.clear();
                self.removed.clear();
                self.added.clear();
                World { logged: Vec::new(), told: Vec::new(), shelf: BTreeMap::new(), ..world.no_ledger() }
            }
        };
    }

    /// The function may log the removals of this person that it has made so far, or not.
    fn is_logged_or_not(&mut self, who: &str) {
        self.removed.remove(&id::<OktaId>(who));
        self.unseen.insert(id(who), usize::MAX / 2);
    }

    fn observe(&mut self) {
        self.world.now = at(self.minute);
        // Of a bad document neither source nor group is read.
        self.world.standing = if self.document { Standing::Followed } else { Standing::Refused };
        self.world.read_at = (self.source && self.document).then_some(self.world.now);
        self.world.list_readable = self.list && self.document;
        self.world.read_ledger();
    }

    /// Until when somebody who is revoked now is held out: the end of what the source says, or of what the ledger has.
    fn end_of_shift(&self, okta: &OktaId) -> Option<DateTime<Utc>> {
        let world = &self.world;
        if world.is_named(okta) {
            let who = Identity::Known(okta.clone());
            let shifts = world.shifts.iter().filter(|shift| shift.okta == who && shift.covers(world.now));
            let ends: Option<Vec<DateTime<Utc>>> = shifts.map(|shift| shift.end).collect();
            return ends?.into_iter().max();
        }
        let until = match world.state(okta)? {
            State::Granted(granted) => granted.on_call.as_ref()?.shift_end?,
            State::Held(hold) => hold.until?,
            _ => return None,
        };
        Some(until).filter(|until| *until > world.now)
    }

    fn carry_out(&mut self, plan: &Plan, run: Run) {
        let before = self.world.clone();
        self.world.carry_out(plan, run);
        self.added.extend(self.world.group.difference(&before.group).cloned());
        for okta in before.group.difference(&self.world.group) {
            *self.removed.entry(okta.clone()).or_default() += 1;
        }
        for revoke in plan.revokes.iter().filter(|revoke| !before.group.contains(&revoke.okta)) {
            *self.unseen.entry(revoke.okta.clone()).or_default() += 1;
        }
    }

    fn tick(&mut self, run: Run) -> Result<(), TestCaseError> {
        self.observe();
        self.releases(run.intent && self.world.ledger.known().is_some());
        let before = self.world.clone();
        let plan = before.plan();
        self.carry_out(&plan, run);
        self.learn(&before, run);

        for okta in self.world.group.difference(&before.group) {
            prop_assert!(before.wanted().contains(okta) && before.list_readable, "{okta} got in without proof");
            prop_assert!(!self.held.contains_key(okta), "{okta} was revoked by hand, and the shift is not over");
        }
        if let Remembered::Unreadable { since: Some(since) } = before.ledger
            && before.now - since >= TimeDelta::hours(24)
            && before.is_read()
            && before.list_readable
            && before.shifts.iter().any(|shift| shift.covers(before.now))
            && before.shifts.iter().all(|shift| matches!(shift.okta, Identity::Known(_)))
            && run.done == u32::MAX
        {
            for okta in &self.world.group {
                let may_stay = before.is_named(okta) || before.binding.keep.contains(okta);
                prop_assert!(may_stay, "{okta} is in the group, and no ledger says why");
            }
        }
        if !run.intent && !run.outcome || matches!(before.ledger, Remembered::Unreadable { .. }) {
            // Neither is there a ledger that knows, nor did the function live to see it.
            self.forget_what_was_made();
        }
        let is_new = |revoke: &&Revoke| !before.is_leaving(&revoke.okta);
        for revoke in plan.revokes.iter().filter(|revoke| revoke.reason == Reason::Stale).filter(is_new) {
            let confirmed = self.confirmed.get(&revoke.okta);
            let certain = self.world.binding.max_stale * 3 / 4;
            prop_assert!(confirmed.is_none_or(|at| before.now - *at >= certain), "{} left too early", revoke.okta);
        }
        if run.done == u32::MAX {
            self.check_nobody_overstays()?;
        }
        Ok(())
    }

    /// A hold ends when a reading, at the end of the shift or later, shows that the person is not on call.
    fn releases(&mut self, is_stored: bool) {
        let world = &self.world;
        if world.read_at.is_none() {
            return;
        }
        self.held.retain(|okta, until| {
            // Whether they can be identified or not.
            let theirs: PersonId = id(&format!("P-{okta}"));
            let current: Vec<&Shift> =
                world.shifts.iter().filter(|shift| shift.person == theirs && shift.covers(world.now)).collect();
            if current.is_empty() {
                return until.is_some_and(|until| world.now < until);
            }
            let ends = current.iter().map(|shift| shift.end);
            let end = ends.reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other))).flatten();
            if is_stored && world.is_named(okta) {
                *until = match (*until, end) {
                    (Some(until), Some(end)) => Some(until.max(end)),
                    (until, end) => until.or(end),
                };
            }
            true
        });
    }

    fn forget_what_was_made(&mut self) {
        // What is seen of it later may be logged still.
        self.unseen.extend(PEOPLE.map(|who| (id(who), usize::MAX / 2)));
        self.removed.clear();
        self.added.clear();
        self.world.logged.clear();
        // A grant may have been announced long before it is made.
        self.world.told.retain(|(_, change)| matches!(change, Change::Granted { .. }));
    }

    fn check_everything_is_logged_once_and_told(&self) -> Result<(), TestCaseError> {
        // The alert of somebody who is to come in again goes with the next grant, or tells that it is over.
        let is_to_come =
            |okta: &&OktaId| matches!(self.world.state(okta), Some(State::Granted(granted)) if !granted.shown);
        for okta in self.added.iter().filter(|okta| !is_to_come(okta)) {
            let is_told = |(of, change): &(OktaId, Change)| of == okta && matches!(change, Change::Granted { .. });
            prop_assert!(self.world.told.iter().any(is_told), "nobody was told that {okta} was added");
        }
        for (okta, times) in &self.removed {
            let logged = self.world.logged.iter().filter(|logged| *logged == okta).count();
            let is_revoke = |change: &Change| matches!(change, Change::Revoked { .. });
            let told = self.world.told.iter().filter(|(of, change)| of == okta && is_revoke(change)).count();
            let most = times + self.unseen.get(okta).copied().unwrap_or_default();
            prop_assert!((*times..=most).contains(&logged), "{okta} was removed {times} times, and {logged} logged");
            prop_assert!(told > 0, "nobody was told that {okta} was removed");
        }
        Ok(())
    }

    /// What the model learns from a tick.
    fn learn(&mut self, before: &World, run: Run) {
        let now = before.now;
        let stale = now + before.binding.max_stale;
        if before.is_first_run() {
            self.until.clear();
            self.by_hand.clear();
        }
        for okta in PEOPLE.map(id::<OktaId>) {
            let claims = self.world.claims(&okta);
            if before.is_named(&okta) && !claims.is_empty() {
                let ends = before.shifts.iter().filter(|shift| shift.okta == Identity::Known(okta.clone()));
                let end = ends.map(|shift| shift.end.unwrap_or(stale)).max().unwrap_or(now);
                let until = stale.min(end + before.binding.post_shift);
                let day = now + TimeDelta::hours(24);
                let open = before
                    .shifts
                    .iter()
                    .any(|shift| shift.okta == Identity::Known(okta.clone()) && shift.end.is_none());
                let longest = if open { day } else { day.min(end) };
                let old = self.without_document.get(&okta).copied().unwrap_or(longest);
                self.without_document.insert(okta.clone(), if run.intent { longest } else { longest.max(old) });
                // What was not stored is forgotten, and what was stored before still counts.
                let stored = claims.iter().map(Claim::until).filter(|stored| *stored - until < self.stored_longer);
                let until = stored.max().map_or(until, |stored| stored.max(until));
                let old = self.until.get(&okta).copied().filter(|_| !run.intent);
                self.until.insert(okta.clone(), old.map_or(until, |old| old.max(until)));
            } else if before.is_first_run() && !claims.is_empty() {
                self.until.insert(okta.clone(), stale);
            }
            // While the ledger is unreadable, the plan stores no confirmed_at.
            let is_kept = !matches!(before.ledger, Remembered::Unreadable { .. });
            let certain = is_kept
                && before.is_named(&okta)
                && before.list_readable
                && run.intent
                && self.world.group.contains(&okta);
            if certain {
                self.confirmed.insert(okta, now);
            } else if before.is_read() {
                self.confirmed.remove(&okta);
            }
        }
    }

    fn check_nobody_overstays(&self) -> Result<(), TestCaseError> {
        for okta in &self.world.group {
            let without_document = self.without_document.get(okta).filter(|_| !self.document);
            let until = self.until.get(okta).max(self.by_hand.get(okta)).max(without_document);
            let claims = self.world.claims(okta);
            // Nobody knows who is in the group, and these were never put there by the function: the list decides.
            let adopted = matches!(self.world.state(okta), Some(State::Adopted { .. }));
            let left_to_the_list = adopted && self.world.is_read() && !self.world.list_readable;
            if !claims.is_empty() && !left_to_the_list {
                prop_assert!(until.is_some_and(|until| self.world.now < *until), "{okta} overstays: {claims:?}");
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nobody_gets_in_without_proof_or_overstays_whatever_happens(steps in vec(step(), 1..40)) {
        let mut story = Story::new();
        for (event, minutes, run) in steps {
            story.happens(event);
            story.minute += minutes;
            story.tick(run)?;
        }
        // When everything works again, one tick brings everything in line.
        (story.source, story.document, story.list, story.world.channels_work) = (true, true, true, true);
        story.world.history = true;
        story.minute += 1;
        story.observe();
        let expected = story.world.group_to_be();
        story.tick(Run::ALL)?;
        prop_assert_eq!(&story.world.group, &expected);
        // What that tick did is seen by the next.
        story.minute += 1;
        story.tick(Run::ALL)?;
        story.check_everything_is_logged_once_and_told()?;
    }
}
