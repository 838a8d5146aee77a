//! Long random stories: shifts change hands, vendors and the ledger fail, the function dies half way, people act by
//! hand. After every tick a small model of its own says who may be in the group.

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
    Source(bool),
    List(bool),
    Suspended(&'static str),
    Active(&'static str),
    /// A person at Okta puts somebody into the group.
    Outsider(&'static str),
    GrantByHand(&'static str, i64),
    RevokeByHand(&'static str, Option<i64>),
    LedgerLost,
    /// The document is bad, or good again.
    Document(bool),
    /// Alerts are taken, or not.
    Channels(bool),
}

/// Something happens, and some minutes later comes a tick.
type Step = (Event, i64, Run);

fn step() -> impl Strategy<Value = Step> {
    let who = || select(PEOPLE.to_vec());
    let end = || proptest::option::of(select(vec![1, 5, 40, 200]));
    let event = prop_oneof![
        4 => Just(Event::Nothing),
        6 => vec((who(), end(), prop::bool::weighted(0.85)), 0..3).prop_map(Event::Shifts),
        4 => any::<bool>().prop_map(Event::Source),
        2 => any::<bool>().prop_map(Event::List),
        1 => who().prop_map(Event::Suspended),
        1 => who().prop_map(Event::Active),
        1 => who().prop_map(Event::Outsider),
        1 => (who(), select(vec![5, 100])).prop_map(|(who, lasts)| Event::GrantByHand(who, lasts)),
        1 => (who(), end()).prop_map(|(who, until)| Event::RevokeByHand(who, until)),
        1 => Just(Event::LedgerLost),
        1 => any::<bool>().prop_map(Event::Document),
        1 => any::<bool>().prop_map(Event::Channels),
    ];
    let broken = (prop::bool::weighted(0.6), any::<u32>(), any::<bool>());
    let broken = broken.prop_map(|(intent, done, outcome)| Run { intent, done, outcome });
    (event, select(vec![1, 1, 1, 5, 29, 31, 61]), prop_oneof![4 => Just(Run::ALL), 1 => broken])
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
    /// When the last reading named them, and nothing went wrong in that tick.
    confirmed: BTreeMap<OktaId, DateTime<Utc>>,
    /// Who was revoked by hand, and the end of the shift in which that was.
    held: BTreeMap<OktaId, Option<DateTime<Utc>>>,
    document: bool,
    list: bool,
    /// Removals that were made, each of which has to be logged once and told.
    removed: BTreeMap<OktaId, usize>,
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
            removed,
            unseen,
        }
    }

    fn happens(&mut self, event: Event) {
        if let Event::GrantByHand(who, _) | Event::RevokeByHand(who, _) = &event
            && let Remembered::Known(ledger) = &self.world.ledger
        {
            // Before another state takes its place; what nobody can see is not logged.
            let (okta, members) = (id(who), self.world.members());
            match settled(ledger, &okta, Presence::of(&okta, &members)) {
                Some(Settled::Revoked(revoke)) => self.world.logged.push(revoke.okta),
                _ if !self.world.list_readable => self.forget_what_was_made(),
                _ => {}
            }
        }
        let world = self.world.clone();
        let in_minutes = |minutes: i64| self.minute + minutes;
        self.world = match event {
            Event::Shifts(shifts) => {
                let shift = |(who, end, known): (&str, Option<i64>, bool)| Shift {
                    person: id(&format!("P-{who}")),
                    okta: if known { Identity::Known(id(who)) } else { Identity::Unresolved("deleted".to_owned()) },
                    start: Some(at(self.minute)),
                    end: end.map(|end| at(in_minutes(end))),
                };
                World { shifts: shifts.into_iter().map(shift).collect(), ..world }
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
            Event::Channels(work) => World { channels_work: work, ..world },
            Event::Suspended(who) => world.suspended(who),
            Event::Active(who) => world.active(who),
            Event::Outsider(who) => {
                if matches!(world.state(&id(who)), Some(State::Leaving(_) | State::Held(_))) {
                    // A removal that nobody has seen yet is taken for one that was not made.
                    self.removed.remove(&id::<OktaId>(who));
                    self.unseen.insert(id(who), usize::MAX / 2);
                }
                world.member(who)
            }
            Event::GrantByHand(who, lasts) if world.ledger != Remembered::Never => {
                self.by_hand.insert(id(who), at(in_minutes(lasts)));
                self.held.remove(&id::<OktaId>(who));
                world.granted_by_hand(who, in_minutes(lasts)).member(who)
            }
            Event::RevokeByHand(who, lasts) if world.ledger != Remembered::Never => {
                self.confirmed.remove(&id::<OktaId>(who));
                *self.unseen.entry(id(who)).or_default() += 1;
                self.held.insert(id(who), lasts.map(|lasts| at(in_minutes(lasts))));
                world.revoked_by_hand(who, lasts.map(in_minutes))
            }
            Event::Nothing | Event::GrantByHand(..) | Event::RevokeByHand(..) => world,
            Event::LedgerLost => {
                self.confirmed.clear();
                self.held.clear();
                self.removed.clear();
                World { logged: Vec::new(), told: Vec::new(), ..world.no_ledger() }
            }
        };
    }

    fn tick(&mut self, run: Run) -> Result<(), TestCaseError> {
        self.world.now = at(self.minute);
        // Of a bad document neither source nor group is read.
        self.world.standing = if self.document { Standing::Followed } else { Standing::Refused };
        self.world.read_at = (self.source && self.document).then_some(self.world.now);
        self.world.list_readable = self.list && self.document;
        self.releases(run.intent);
        let before = self.world.clone();
        let plan = before.plan();
        self.world.carry_out(&plan, run);
        self.learn(&before, run);

        for okta in self.world.group.difference(&before.group) {
            prop_assert!(before.wanted().contains(okta) && before.list_readable, "{okta} got in without proof");
            prop_assert!(!self.held.contains_key(okta), "{okta} was revoked by hand, and the shift is not over");
        }
        for okta in before.group.difference(&self.world.group) {
            *self.removed.entry(okta.clone()).or_default() += 1;
        }
        for revoke in plan.revokes.iter().filter(|revoke| !before.group.contains(&revoke.okta)) {
            *self.unseen.entry(revoke.okta.clone()).or_default() += 1;
        }
        if !run.intent && !run.outcome {
            // Neither is there a ledger that knows, nor did the function live to see it.
            self.forget_what_was_made();
        }
        for revoke in plan.revokes.iter().filter(|revoke| revoke.reason == Reason::Stale) {
            let confirmed = self.confirmed.get(&revoke.okta);
            let certain = self.world.binding.max_stale * 3 / 4;
            prop_assert!(confirmed.is_none_or(|at| before.now - *at >= certain), "{} left too early", revoke.okta);
        }
        if run.done == u32::MAX {
            self.check_nobody_overstays()?;
        }
        Ok(())
    }

    /// A hold ends when a reading shows that the shift is over, or another one has begun.
    fn releases(&mut self, is_stored: bool) {
        let world = &self.world;
        if world.read_at.is_none() {
            return;
        }
        let anybody_unresolved =
            world.shifts.iter().any(|shift| matches!(shift.okta, Identity::Unresolved(_)) && shift.covers(world.now));
        self.held.retain(|okta, until| {
            let who = Identity::Known(okta.clone());
            let current: Vec<&Shift> =
                world.shifts.iter().filter(|shift| shift.okta == who && shift.covers(world.now)).collect();
            let Some(start) = current.iter().map(|shift| shift.start).min() else {
                return anybody_unresolved || until.is_some_and(|until| world.now < until);
            };
            let another = until.zip(start).is_some_and(|(until, start)| start > until);
            let ends = current.iter().map(|shift| shift.end);
            let end = ends.reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other))).flatten();
            if is_stored {
                *until = match (*until, end) {
                    (Some(until), Some(end)) => Some(until.max(end)),
                    (until, end) => until.or(end),
                };
            }
            !another
        });
    }

    fn forget_what_was_made(&mut self) {
        // What is seen of it later may be logged still.
        self.unseen.extend(PEOPLE.map(|who| (id(who), usize::MAX / 2)));
        self.removed.clear();
        self.world.logged.clear();
        self.world.told.clear();
    }

    fn check_everything_is_logged_once_and_told(&self) -> Result<(), TestCaseError> {
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
        if before.ledger == Remembered::Never {
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
                let old = self.until.get(&okta).filter(|_| !run.intent).copied();
                self.until.insert(okta.clone(), old.map_or(until, |old| old.max(until)));
            } else if before.ledger == Remembered::Never && !claims.is_empty() {
                self.until.insert(okta.clone(), stale);
            }
            let certain =
                before.is_named(&okta) && before.list_readable && run.intent && self.world.group.contains(&okta);
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
        story.minute += 1;
        let world = story.world.clone().good_document().at(story.minute);
        let expected = world.group_to_be();
        story.tick(Run::ALL)?;
        prop_assert_eq!(&story.world.group, &expected);
        // What that tick did is seen by the next.
        story.minute += 1;
        story.tick(Run::ALL)?;
        story.check_everything_is_logged_once_and_told()?;
    }
}
