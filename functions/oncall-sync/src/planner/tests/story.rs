//! Long random stories: shifts change hands, vendors and the ledger fail, the function dies half way, people act by
//! hand. After every tick a small model of its own says who may be in the group.

use super::*;
use crate::knowledge::{Identity, Shift};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

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
    /// When the last reading named them, and nothing went wrong in that tick.
    confirmed: BTreeMap<OktaId, DateTime<Utc>>,
}

impl Story {
    fn new() -> Self {
        let world = World::new().with(|b| {
            b.adoption = Outsiders::Revoke;
            b.post_shift = TimeDelta::minutes(10);
            b.gap_confirm_runs = 3;
        });
        let (until, by_hand, confirmed) = Default::default();
        Self { world, minute: 0, source: true, until, by_hand, confirmed }
    }

    fn happens(&mut self, event: Event) {
        let world = self.world.clone();
        let in_minutes = |minutes: i64| self.minute + minutes;
        self.world = match event {
            Event::Shifts(shifts) => {
                let shift = |(who, end, known): (&str, Option<i64>, bool)| Shift {
                    person: id(&format!("P-{who}")),
                    okta: if known { Identity::Known(id(who)) } else { Identity::Unresolved("deleted".to_owned()) },
                    start: None,
                    end: end.map(|end| at(in_minutes(end))),
                };
                World { shifts: shifts.into_iter().map(shift).collect(), ..world }
            }
            Event::Source(works) => {
                self.source = works;
                world
            }
            Event::List(works) => World { list_readable: works, ..world },
            Event::Suspended(who) => world.suspended(who),
            Event::Active(who) => world.active(who),
            Event::Outsider(who) => world.member(who),
            Event::GrantByHand(who, lasts) if world.ledger != Remembered::Lost => {
                self.by_hand.insert(id(who), at(in_minutes(lasts)));
                world.granted_by_hand(who, in_minutes(lasts)).member(who)
            }
            Event::RevokeByHand(who, lasts) if world.ledger != Remembered::Lost => {
                self.confirmed.remove(&id::<OktaId>(who));
                world.revoked_by_hand(who, lasts.map(in_minutes))
            }
            Event::Nothing | Event::GrantByHand(..) | Event::RevokeByHand(..) => world,
            Event::LedgerLost => {
                self.confirmed.clear();
                world.no_ledger()
            }
        };
    }

    fn tick(&mut self, run: Run) -> Result<(), TestCaseError> {
        self.world.now = at(self.minute);
        self.world.read_at = self.source.then_some(self.world.now);
        let before = self.world.clone();
        let plan = before.plan();
        self.world.carry_out(&plan, run);
        self.learn(&before, run);

        for okta in self.world.group.difference(&before.group) {
            prop_assert!(before.wanted().contains(okta) && before.list_readable, "{okta} got in without proof");
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

    /// What the model learns from a tick.
    fn learn(&mut self, before: &World, run: Run) {
        let now = before.now;
        let stale = now + before.binding.max_stale;
        if before.ledger == Remembered::Lost {
            self.until.clear();
            self.by_hand.clear();
        }
        for okta in PEOPLE.map(id::<OktaId>) {
            let rows = self.world.rows(&okta);
            if before.is_named(&okta) && !rows.is_empty() {
                let ends = before.shifts.iter().filter(|shift| shift.okta == Identity::Known(okta.clone()));
                let end = ends.map(|shift| shift.end.unwrap_or(stale)).max().unwrap_or(now);
                let until = stale.min(end + before.binding.post_shift);
                // What was not stored is forgotten, and what was stored before still counts.
                let old = self.until.get(&okta).filter(|_| !run.intent).copied();
                self.until.insert(okta.clone(), old.map_or(until, |old| old.max(until)));
            } else if before.ledger == Remembered::Lost && !rows.is_empty() {
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
            let until = self.until.get(okta).max(self.by_hand.get(okta));
            let rows = self.world.rows(okta);
            // Nobody knows who is in the group, and these were never put there by the function: the list decides.
            let adopted = rows.iter().all(|row| row.source == Origin::Adopted);
            let left_to_the_list = adopted && self.world.is_read() && !self.world.list_readable;
            if !rows.is_empty() && !left_to_the_list {
                prop_assert!(until.is_some_and(|until| self.world.now < *until), "{okta} overstays: {rows:?}");
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
        story.source = true;
        story.minute += 1;
        let mut world = story.world.members_known().back().at(story.minute);
        let expected = world.group_to_be();
        world.tick();
        prop_assert_eq!(&world.group, &expected);
    }
}
