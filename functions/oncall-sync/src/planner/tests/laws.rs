//! Laws that hold in every world. The worlds are small, so that everything collides with everything.

use super::*;
use crate::knowledge::{Identity, Shift};
use keyturn::ledger::{HandClaim, Hold};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Few instants, all about noon; a world's now is noon.
fn minutes() -> impl Strategy<Value = i64> {
    select(vec![-130, -10, -1, 0, 1, 10, 130])
}

fn person() -> impl Strategy<Value = &'static str> {
    select(PEOPLE.to_vec())
}

fn people() -> impl Strategy<Value = BTreeSet<OktaId>> {
    subsequence(PEOPLE.to_vec(), 0..=PEOPLE.len()).prop_map(|people| people.into_iter().map(id).collect())
}

/// Seldom anybody.
fn few() -> impl Strategy<Value = BTreeSet<OktaId>> {
    prop_oneof![3 => Just(BTreeSet::new()), 1 => btree_set(person().prop_map(id), 1..=2)]
}

fn shift() -> impl Strategy<Value = Shift> {
    let okta = person().prop_flat_map(|who| {
        let known = Just((format!("P-{who}"), Identity::Known(id(who))));
        let second = Just((format!("Q-{who}"), Identity::Known(id(who))));
        let nobody = Just((format!("P-{who}"), Identity::Unresolved("deleted".to_owned())));
        prop_oneof![6 => known, 1 => second, 1 => nobody]
    });
    let start = proptest::option::of(select(vec![-130, -10, 0, 1]));
    (okta, start, proptest::option::of(minutes())).prop_map(|((person, okta), start, end)| Shift {
        person: id(&person),
        okta,
        start: start.map(at),
        end: end.map(at),
    })
}

fn state() -> impl Strategy<Value = State> {
    let shift = proptest::option::of((person(), proptest::option::of(minutes()), minutes()));
    let granted = (shift, proptest::option::of(minutes()), any::<bool>());
    let granted = granted.prop_filter_map("no claim", |(shift, by_hand, shown)| {
        let on_call = shift.map(|(who, end, until)| ShiftClaim {
            person: id(&format!("P-{who}")),
            shift_end: end.map(at),
            until: at(until),
        });
        let by_hand = by_hand.map(|until| HandClaim { until: at(until), reason: "INC-42".to_owned() });
        let any = on_call.is_some() || by_hand.is_some();
        any.then(|| State::Granted(Granted { since: at(-200), on_call, by_hand, shown }))
    });
    let adopted = minutes().prop_map(|until| State::Adopted { until: at(until) });
    let reason = select(vec![Reason::ShiftEnded, Reason::Overridden, Reason::OutOfBand, Reason::NotActive]);
    let leaving = reason.prop_map(|reason| State::Leaving(Leaving { reason, since: at(-10), due: None }));
    let held = (proptest::option::of(minutes()), proptest::option::of(person()), any::<bool>());
    let held = held.prop_map(|(until, who, out)| {
        let person = who.map(|who| id(&format!("P-{who}")));
        State::Held(Hold { since: at(-10), until: until.map(at), person, out, reason: String::new() })
    });
    let left = Just(State::Left { at: at(-10) });
    prop_oneof![6 => granted, 1 => adopted, 1 => Just(State::Tolerated), 1 => leaving, 2 => held, 1 => left]
}

fn record() -> impl Strategy<Value = Person> {
    let change = Change::Revoked { reason: Reason::Stale, due: None };
    (state(), any::<bool>()).prop_map(move |(state, untold)| {
        let mut person = Person::new(state);
        if untold || matches!(person.state, State::Left { .. }) {
            person.tell(change.clone());
        }
        person
    })
}

fn ledger() -> impl Strategy<Value = Remembered> {
    let gap = proptest::option::of((1..4_u32, minutes()));
    let people = btree_map(person().prop_map(id), record(), 0..5);
    let known = (people, gap, proptest::option::of(minutes())).prop_map(|(people, gap, confirmed)| {
        let mut ledger = Ledger::new(id("00g1"));
        ledger.people = people;
        ledger.gap = gap.map(|(readings, last)| Gap { readings, last: at(last) });
        ledger.confirmed_at = confirmed.filter(|minutes| *minutes <= 0).map(at);
        Remembered::Known(ledger)
    });
    prop_oneof![8 => known, 1 => Just(World::new().no_ledger().ledger)]
}

fn binding() -> impl Strategy<Value = Binding> {
    let outsiders = || select(vec![Outsiders::Revoke, Outsiders::Report]);
    let placeholders = prop_oneof![3 => Just(BTreeSet::new()), 1 => btree_set(person(), 1)];
    (few(), placeholders, 1..4_usize, 1..4_usize, 1..4_u32, select(vec![0, 10]), outsiders(), outsiders()).prop_map(
        |(keep, placeholders, most, new, runs, post_shift, out_of_band, adoption)| {
            let world = World::new().with(|binding| {
                binding.keep = keep;
                binding.placeholders = placeholders.into_iter().map(|who| id(&format!("P-{who}"))).collect();
                binding.max_members = most;
                binding.max_new_per_run = new.min(most);
                binding.gap_confirm_runs = runs;
                binding.post_shift = TimeDelta::minutes(post_shift);
                binding.out_of_band = out_of_band;
                binding.adoption = adoption;
            });
            world.binding
        },
    )
}

/// Any world at noon.
fn world() -> impl Strategy<Value = World> {
    let read_at =
        prop_oneof![6 => Just(Some(0)), 1 => Just(Some(-1)), 1 => Just(Some(-3)), 1 => Just(Some(3)), 2 => Just(None)];
    let eligible = prop_oneof![
        3 => Just(Eligible::Everyone),
        2 => people().prop_map(Eligible::Only),
        1 => Just(World::new().eligible_unknown().eligible),
    ];
    let known = (vec(shift(), 0..5), read_at, people(), prop::bool::weighted(0.85));
    (binding(), known, few(), eligible, ledger()).prop_map(|(binding, known, suspended, eligible, ledger)| {
        let (shifts, read_at, group, list_readable) = known;
        World {
            binding,
            shifts,
            read_at: read_at.map(at),
            group,
            suspended,
            list_readable,
            eligible,
            ledger,
            ..World::new()
        }
    })
}

fn run() -> impl Strategy<Value = Run> {
    (any::<bool>(), any::<u32>(), any::<bool>()).prop_map(|(intent, done, outcome)| Run { intent, done, outcome })
}

/// What speaks for somebody.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    Shift(ShiftClaim),
    ByHand(DateTime<Utc>),
    Adopted(DateTime<Utc>),
}

impl Claim {
    pub(super) fn until(&self) -> DateTime<Utc> {
        match self {
            Self::Shift(claim) => claim.until,
            Self::ByHand(until) | Self::Adopted(until) => *until,
        }
    }
}

/// What the laws say of a world, in words of their own.
impl World {
    pub(super) fn is_read(&self) -> bool {
        self.read_at.is_some_and(|read_at| (self.now - read_at).abs() <= TimeDelta::minutes(2))
    }

    fn current(&self) -> impl Iterator<Item = &Shift> {
        let going_on = |shift: &&Shift| {
            let begun = shift.start.is_none_or(|start| start <= self.now);
            begun && shift.end.is_none_or(|end| end > self.now) && !self.binding.placeholders.contains(&shift.person)
        };
        self.shifts.iter().filter(|_| self.is_read()).filter(going_on)
    }

    /// A fresh reading names them.
    pub(super) fn is_named(&self, okta: &OktaId) -> bool {
        self.current().any(|shift| shift.okta == Identity::Known(okta.clone()))
    }

    fn unresolved_people(&self) -> BTreeSet<&PersonId> {
        let unresolved = self.current().filter(|shift| matches!(shift.okta, Identity::Unresolved(_)));
        unresolved.map(|shift| &shift.person).collect()
    }

    fn is_eligible(&self, okta: &OktaId) -> bool {
        match &self.eligible {
            Eligible::Everyone => true,
            Eligible::Only(people) => people.contains(okta),
            Eligible::Unknown { .. } => false,
        }
    }

    fn is_ineligible(&self, okta: &OktaId) -> bool {
        matches!(&self.eligible, Eligible::Only(people) if !people.contains(okta))
    }

    pub(super) fn state(&self, okta: &OktaId) -> Option<&State> {
        self.ledger.known()?.state(okta)
    }

    /// What speaks for somebody, by the ledger.
    pub(super) fn claims(&self, okta: &OktaId) -> Vec<Claim> {
        match self.state(okta) {
            Some(State::Granted(Granted { on_call, by_hand, .. })) => {
                let shift = on_call.clone().map(Claim::Shift);
                shift.into_iter().chain(by_hand.clone().map(|claim| Claim::ByHand(claim.until))).collect()
            }
            Some(State::Adopted { until }) => vec![Claim::Adopted(*until)],
            _ => Vec::new(),
        }
    }

    pub(super) fn is_first_run(&self) -> bool {
        matches!(self.ledger, Remembered::Never(_))
    }

    pub(super) fn is_leaving(&self, okta: &OktaId) -> bool {
        matches!(self.state(okta), Some(State::Leaving(_)))
    }

    /// Revoked by hand, and that is not over; or it is, and nobody has seen them leave.
    fn is_held(&self, okta: &OktaId) -> bool {
        let Some(State::Held(hold)) = self.state(okta) else { return false };
        let unresolved = self.unresolved_people();
        let may_be_on_call = match &hold.person {
            Some(person) => unresolved.contains(person),
            None => !unresolved.is_empty(),
        };
        let ends_later = hold.until.is_some_and(|until| self.now < until);
        self.is_named(okta) || !self.is_read() || !hold.out || ends_later || may_be_on_call
    }

    pub(super) fn wanted(&self) -> BTreeSet<OktaId> {
        let may = |okta: &OktaId| !self.is_held(okta) && !self.is_ineligible(okta) && !self.binding.keep.contains(okta);
        PEOPLE.iter().map(|who| id(who)).filter(|okta| self.is_named(okta) && may(okta)).collect()
    }

    /// Suspended, and the source's name for them was looked up before that.
    fn somebody_is_named_and_suspended(&self) -> bool {
        self.suspended.iter().any(|okta| self.is_named(okta))
    }

    fn gap_is_not_confirmed(&self) -> bool {
        let gap = self.ledger.known().and_then(|ledger| ledger.gap.as_ref());
        let before = gap.map_or(0, |gap| gap.readings);
        let is_new = gap.is_none_or(|gap| self.read_at.is_some_and(|read_at| gap.last < read_at));
        self.current().next().is_none() && before + u32::from(is_new) < self.binding.gap_confirm_runs
    }

    /// A fresh reading names everybody on call, or has said often enough that nobody is.
    fn says_who_is_on_call(&self) -> bool {
        self.is_read() && self.unresolved_people().is_empty() && !self.gap_is_not_confirmed()
    }

    /// A claim keeps its person although the source, which was read, does not name them.
    fn is_spoken_for(&self, claim: &Claim) -> bool {
        match claim {
            Claim::ByHand(until) => *until > self.now,
            Claim::Adopted(until) => *until > self.now && !self.says_who_is_on_call(),
            Claim::Shift(claim) => {
                let after_shift = claim.shift_end.is_some_and(|end| end <= self.now);
                let unresolved = self.unresolved_people().contains(&claim.person);
                claim.until > self.now && (after_shift || unresolved || self.gap_is_not_confirmed())
            }
        }
    }

    fn stays_as_outsider(&self, okta: &OktaId) -> bool {
        let at_the_beginning = match self.state(okta) {
            _ if self.is_first_run() => true,
            Some(State::Adopted { .. } | State::Tolerated) => true,
            _ => false,
        };
        let rule = if at_the_beginning { self.binding.adoption } else { self.binding.out_of_band };
        rule == Outsiders::Report
    }

    /// Whether a member is one still, when the source and the list were read.
    fn stays(&self, okta: &OktaId) -> bool {
        let claims = self.claims(okta);
        let named = self.is_named(okta);
        let managed = matches!(self.state(okta), Some(State::Granted(_)));
        if self.binding.keep.contains(okta) {
            return true;
        }
        if self.is_held(okta) || (managed || named) && (self.is_ineligible(okta) || self.suspended.contains(okta)) {
            return false;
        }
        if !named && self.is_leaving(okta) {
            return false;
        }
        let judged_later = self.is_first_run() && !self.says_who_is_on_call();
        let is_spoken_for = claims.iter().any(|claim| self.is_spoken_for(claim));
        named || is_spoken_for || !managed && (judged_later || self.stays_as_outsider(okta))
    }

    /// Who is in the group when everything planned is done, where source and list were read.
    pub(super) fn group_to_be(&self) -> BTreeSet<OktaId> {
        let mut group: BTreeSet<OktaId> = self.group.iter().filter(|okta| self.stays(okta)).cloned().collect();
        let wanted = self.wanted();
        let new: Vec<&OktaId> = wanted.difference(&self.group).filter(|okta| self.is_eligible(okta)).collect();
        let too_many = wanted.len() + self.unresolved_people().len() > self.binding.max_members;
        if !too_many && new.len() <= self.binding.max_new_per_run {
            group.extend(new.into_iter().filter(|okta| !self.suspended.contains(okta)).cloned());
        }
        group
    }
}

fn names(plan: &Plan) -> (BTreeSet<OktaId>, BTreeSet<OktaId>) {
    let revokes = plan.revokes.iter().map(|revoke| revoke.okta.clone()).collect();
    (revokes, plan.grants.iter().map(|grant| grant.okta.clone()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn nobody_gets_in_without_fresh_proof(world in world()) {
        for grant in world.plan().grants {
            let okta = &grant.okta;
            prop_assert!(world.is_read() && world.is_named(okta), "no proof");
            prop_assert!(!world.is_held(okta), "held");
            prop_assert!(world.is_eligible(okta), "not known to be eligible");
            prop_assert!(!world.binding.keep.contains(okta), "an emergency account");
            prop_assert!(world.list_readable && !world.group.contains(okta), "in the group already, or that is not known");
            prop_assert!(grant.until.is_none_or(|end| end > world.now), "over");
        }
    }

    #[test]
    fn nobody_managed_stays_when_their_time_is_up(world in world()) {
        let (revoked, _) = names(&world.plan());
        for okta in &world.group {
            let claims = world.claims(okta);
            let over = world.is_leaving(okta) || !claims.is_empty() && claims.iter().all(|claim| claim.until() <= world.now);
            // Adopted people are judged by the binding's leniency as soon as the source can be read.
            let lenient = world.is_read() && matches!(world.state(okta), Some(State::Adopted { .. }));
            if over && !lenient && !world.is_named(okta) && !world.binding.keep.contains(okta) {
                prop_assert!(revoked.contains(okta), "{okta}");
            }
        }
    }

    #[test]
    fn what_is_unknown_takes_out_nobody_whose_time_is_not_up(world in world()) {
        if world.is_read() && world.list_readable {
            return Ok(());
        }
        for revoke in world.plan().revokes {
            let okta = &revoke.okta;
            let by_okta = world.list_readable && (world.is_ineligible(okta) || world.suspended.contains(okta));
            if !world.is_held(okta) && !by_okta && !world.is_leaving(okta) {
                let claims = world.claims(okta);
                prop_assert!(claims.iter().all(|claim| claim.until() <= world.now), "{okta}");
                prop_assert!(!claims.is_empty(), "{okta} is an outsider, and nobody knows whether on call");
            }
        }
    }


    #[test]
    fn a_reading_makes_the_group_what_it_should_be(world in world()) {
        let mut world = world.members_known();
        world.read_at = Some(world.now);
        let expected = world.group_to_be();
        world.tick();
        prop_assert_eq!(&world.group, &expected);
    }

    #[test]
    fn a_second_run_changes_nothing(world in world()) {
        let mut world = world;
        world.tick();
        let group = world.group.clone();
        let second = world.plan();
        // Whom the source's name still leads to although they are suspended, Okta refuses once more.
        prop_assert!(second.revokes.is_empty() && second.grants.iter().all(|grant| world.suspended.contains(&grant.okta)), "{second:?}");
        world.tick();
        prop_assert_eq!(&world.group, &group);
        let stored = world.stored;
        if !world.somebody_is_named_and_suspended() {
            world.tick();
            prop_assert_eq!(world.stored, stored, "stored again");
        }
    }

    #[test]
    fn a_run_that_was_cut_short_is_made_good_by_the_next(world in world(), run in run()) {
        let mut whole = world.clone();
        whole.tick();
        let mut cut = world.clone();
        cut.carry_out(&world.plan(), run);
        cut.tick();
        if world.suspended.is_empty() {
            prop_assert_eq!(&cut.group, &whole.group, "{:?}", world.plan());
        }
        let (revoked, _) = names(&world.plan());
        prop_assert!(revoked.is_disjoint(&cut.group));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn an_outage_without_a_ledger_takes_nobody_out(world in world()) {
        let plan = world.outage().no_ledger().plan();
        prop_assert!(plan.is_quiet(), "{plan:?}");
    }

    #[test]
    fn emergency_accounts_are_in_no_plan(world in world()) {
        let (revoked, granted) = names(&world.plan());
        prop_assert!(world.binding.keep.iter().all(|okta| !revoked.contains(okta) && !granted.contains(okta)));
    }

    #[test]
    fn a_plan_names_everybody_once_and_changes_only_what_is_not_so(world in world()) {
        let plan = world.plan();
        let (revoked, granted) = names(&plan);
        prop_assert!(revoked.is_disjoint(&granted));
        prop_assert_eq!(revoked.len() + granted.len(), plan.revokes.len() + plan.grants.len());
        prop_assert!(granted.is_disjoint(&world.group));
        // Whoever was to come in may be in without being seen.
        let unseen = |okta: &OktaId| matches!(world.state(okta), Some(State::Granted(granted)) if !granted.shown);
        prop_assert!(!world.list_readable || revoked.iter().all(|okta| world.group.contains(okta) || unseen(okta)));
        // Whoever is to leave is remembered as that, and whoever is to come has a claim that says when it ends.
        if let Remembered::Known(next) = &plan.intent {
            for okta in &revoked {
                prop_assert!(matches!(next.state(okta), Some(State::Leaving(_) | State::Held(_))));
            }
            for okta in &granted {
                let Some(State::Granted(granted)) = next.state(okta) else { panic!("{okta} has no claim") };
                prop_assert!(!granted.shown && granted.on_call.as_ref().is_some_and(|claim| claim.until > world.now));
            }
        }
    }

    #[test]
    fn the_brake_holds(world in world()) {
        let plan = world.plan();
        if !plan.grants.is_empty() {
            prop_assert!(plan.grants.len() <= world.binding.max_new_per_run);
            prop_assert!(world.wanted().len() + world.unresolved_people().len() <= world.binding.max_members);
        }
    }

    #[test]
    fn what_is_to_be_remembered_can_be_stored_and_read(world in world()) {
        if let Remembered::Known(next) = world.plan().intent {
            let text = serde_json::to_string(&next).unwrap();
            prop_assert_eq!(Ledger::parse(&text).unwrap(), next, "{}", text);
        }
    }
}
