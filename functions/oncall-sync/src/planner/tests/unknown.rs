//! The source, the group's list or the ledger cannot be read.

use super::*;
use keyturn::Error;

#[test]
fn leaves_when_the_shift_ends_while_pagerduty_is_down() {
    let mut world = World::new().on_call("ann", 60);
    world.ticks(0, 30);
    assert_eq!(world.outage().ticks(31, 90), "60 -ann:shift_ended");
}

#[test]
fn nobody_joins_while_pagerduty_is_down() {
    let world = World::new().on_call("ann", 60).shift("P-bob", "bob", Some(30), None);
    assert_eq!(world.outage().ticks(0, 90), "");
}

#[test]
fn stays_through_an_outage_shorter_than_max_stale() {
    let mut world = World::new().on_call("ann", 600);
    world.ticks(0, 60);
    let mut world = world.outage();
    assert_eq!(world.ticks(61, 179), "");
    assert_eq!(world.back().ticks(180, 500), "");
}

#[test]
fn leaves_as_stale_when_the_outage_lasts() {
    let mut world = World::new().on_call("ann", 600);
    world.ticks(0, 60);
    let mut world = world.outage();
    assert_eq!(world.ticks(61, 300), "180 -ann:stale");
    assert_eq!(world.back().at(301).tick(), "+ann");
}

#[test]
fn an_outage_begins_with_the_last_reading_and_not_with_the_last_one_that_was_stored() {
    // Three quarters of max_stale are certain, whenever the ledger was stored last.
    for last in 0..60 {
        let mut world = World::new().on_call("ann", None);
        world.ticks(0, last);
        assert_eq!(world.outage().ticks(last + 1, last + 89), "", "{last}");
    }
}

#[test]
fn a_shift_without_an_end_grows_stale_too() {
    let mut world = World::new().on_call("ann", None);
    world.tick();
    assert_eq!(world.outage().ticks(1, 130), "120 -ann:stale");
}

#[test]
fn an_old_reading_grants_nobody_and_revokes_nobody() {
    let mut world = World::new().on_call("ann", 60).at(10);
    world.read_at = Some(at(8) - TimeDelta::seconds(1));
    assert_eq!(world.tick(), "");
    world.read_at = Some(at(8));
    assert_eq!(world.tick(), "+ann");
    let mut world = world.nobody_on_call().on_call("bob", 60);
    world.now = at(20);
    assert_eq!(world.tick(), "");
}

#[test]
fn a_reading_from_the_future_is_believed_as_far_as_clocks_may_differ() {
    let mut world = World::new().on_call("ann", 60);
    world.read_at = Some(at(2) + TimeDelta::seconds(1));
    assert_eq!(world.tick(), "");
    world.read_at = Some(at(2));
    assert_eq!(world.tick(), "+ann");
}

#[test]
fn without_a_list_of_members_nobody_joins() {
    let mut world = World::new().on_call("ann", 60).members_unknown();
    assert_eq!(world.tick(), "");
    assert_eq!(world.members_known().tick(), "+ann");
}

#[test]
fn without_a_list_of_members_people_leave_by_their_id_when_their_time_is_up() {
    let mut world = World::new().on_call("ann", 30).on_call("bob", 60).member("eve");
    world.tick();
    assert_eq!(world.members_unknown().ticks(1, 90), "30 -ann:shift_ended, 60 -bob:shift_ended");
}

#[test]
fn without_a_list_of_members_an_override_takes_nobody_out_before_their_time() {
    let mut world = World::new().on_call("ann", 30);
    world.tick();
    let mut world = world.nobody_on_call().on_call("bob", 60).members_unknown();
    assert_eq!(world.ticks(1, 40), "30 -ann:shift_ended");
}

#[test]
fn without_a_list_of_members_and_without_pagerduty_people_still_grow_stale() {
    let mut world = World::new().on_call("ann", None);
    world.tick();
    assert_eq!(world.members_unknown().outage().ticks(1, 130), "120 -ann:stale");
}

#[test]
fn whoever_is_on_call_stays_however_long_the_list_of_members_is_missing() {
    let mut world = World::new().on_call("ann", None);
    world.tick();
    assert_eq!(world.members_unknown().ticks(1, 400), "");
}

#[test]
fn a_lost_ledger_and_an_outage_together_take_nobody_out_until_it_lasts() {
    let mut world = World::new().member("ann").member("bob").no_ledger().outage();
    assert!(world.plan().notices.contains(&Notice::LedgerLost));
    assert_eq!(world.ticks(0, 119), "");
    assert!(world.ledger().people.values().all(|person| person.state == State::Adopted { until: at(120) }));
    assert_eq!(world.ticks(120, 130), "120 -ann:stale -bob:stale");
}

#[test]
fn people_adopted_in_an_outage_are_judged_by_the_first_reading_after_it() {
    for (adoption, done) in [(Outsiders::Report, ""), (Outsiders::Revoke, "-bob:out_of_band")] {
        let world = World::new().with(|b| b.adoption = adoption).member("ann").member("bob").no_ledger();
        let mut world = world.on_call("ann", 600).outage();
        assert_eq!(world.ticks(0, 60), "");
        assert_eq!(world.back().at(61).tick(), done);
    }
}

#[test]
fn a_lost_ledger_and_somebody_on_call_who_is_unresolved_take_nobody_out_until_it_lasts() {
    let world = World::new().with(|b| b.adoption = Outsiders::Revoke).member("ann").member("eve").no_ledger();
    let mut world = world.unresolved("ann");
    assert_eq!(world.ticks(0, 60), "");
    assert_eq!(world.clone().nobody_on_call().on_call("ann", 600).ticks(61, 80), "61 -eve:out_of_band");
    assert_eq!(world.ticks(61, 130), "120 -ann:stale -eve:stale");
}

#[test]
fn a_lost_ledger_and_a_reading_of_nobody_take_nobody_out_before_it_is_confirmed() {
    let world = World::new().with(|b| b.adoption = Outsiders::Revoke).member("ann").no_ledger();
    assert_eq!(world.clone().ticks(0, 9), "1 -ann:out_of_band");
    let mut world = world;
    assert_eq!(world.tick(), "");
    assert_eq!(world.on_call("ann", 60).ticks(1, 60), "60 -ann:shift_ended");
}

#[test]
fn a_lost_ledger_without_a_list_of_members_stores_nothing_and_takes_nobody_out() {
    for world in [World::new().on_call("ann", 60), World::new().outage()] {
        let mut world = world.member("bob").no_ledger().members_unknown();
        let plan = world.plan();
        assert_eq!(plan.intent.known(), None);
        assert_eq!(world.ticks(0, 200), "");
        assert_eq!(world.stored, 0);
    }
}

#[test]
fn a_lost_ledger_is_made_again_from_a_reading_and_whoever_is_on_call_stays() {
    let mut world = World::new().on_call("ann", 60).member("ann").no_ledger();
    assert_eq!(world.ticks(0, 60), "60 -ann:shift_ended");
}

#[test]
fn an_unreadable_group_of_eligible_people_grants_nobody_and_revokes_nobody() {
    let mut world = World::new().on_call("ann", 60).on_call("bob", 60).member("ann").eligible_unknown();
    let why = "the group of eligible people could not be read".to_owned();
    assert!(world.plan().notices.contains(&Notice::NotGranted { person: id("P-bob"), why }));
    assert_eq!(world.ticks(0, 70), "60 -ann:shift_ended");
}

#[test]
fn one_bindings_trouble_is_none_of_another_ones() {
    let fine = World::new().on_call("ann", 60);
    let broken = World::new().member("bob").no_ledger().members_unknown().outage();
    let (first, second) = (fine.plan(), broken.plan());
    let (second_again, first_again) = (broken.plan(), fine.plan());
    assert_eq!((first, second), (first_again, second_again));
}

#[test]
fn whoever_is_identified_again_shortly_before_an_outage_stays_through_it() {
    let mut world = World::new().on_call("ann", None);
    world.tick();
    let mut world = world.nobody_on_call().unresolved("ann");
    assert_eq!(world.ticks(1, 110), "");
    let mut world = world.nobody_on_call().on_call("ann", None);
    assert_eq!(world.ticks(111, 115), "");
    assert_eq!(world.outage().ticks(116, 204), "");
}

#[test]
fn whoever_was_let_in_unseen_is_taken_out_when_the_shift_ends() {
    let mut world = World::new().on_call("ann", 10);
    let plan = world.plan();
    // Put in, but the reply is lost and the list of members lags behind.
    world.carry_out(&plan, Run { intent: true, done: 0, outcome: false });
    assert_eq!(world.ticks(10, 12), "10 -ann:shift_ended");
}

#[test]
fn while_the_document_is_bad_people_stay_to_the_end_of_their_shift_and_a_day_at_most() {
    for (end, leaves) in
        [(Some(200), "200 -ann:shift_ended"), (None, "1440 -ann:stale"), (Some(43_200), "1440 -ann:stale")]
    {
        let mut world = World::new().on_call("ann", end);
        world.tick();
        assert_eq!(world.bad_document().ticks(1, 1500), leaves, "{end:?}");
    }
}

#[test]
fn whoever_was_leaving_when_the_document_turned_bad_leaves() {
    let mut world = World::new().on_call("ann", 600);
    world.tick();
    let mut world = world.nobody_on_call().on_call("bob", 600).at(1);
    world.carry_out(&world.plan(), Run { done: 0, ..Run::ALL });
    assert_eq!(world.bad_document().at(2).tick(), "-ann:overridden");
}

#[test]
fn a_ledger_that_cannot_be_read_is_no_first_run() {
    let mut world = World::new().on_call("ann", 60).member("eve").unreadable_ledger();
    assert_eq!(world.plan().notices, BTreeSet::from([Notice::LedgerUnreadable { restored: false }]));
    assert_eq!(world.ticks(0, 200), "");
    assert_eq!((world.stored, world.ledger.known()), (0, None));
}

#[test]
fn after_a_day_without_a_readable_ledger_whoever_should_not_be_there_leaves_and_nobody_comes() {
    let world = World::new().with(|b| (b.out_of_band, b.adoption) = (Outsiders::Report, Outsiders::Report));
    let world = world.on_call("ann", None).on_call("bob", None).member("ann").member("eve").member("dan");
    let mut world = world.with(|b| b.keep = BTreeSet::from([id("dan")])).unreadable_ledger();
    assert_eq!(world.ticks(1_438, 1_500), "1440 -eve:out_of_band");
    assert_eq!(world.plan().notices, BTreeSet::from([Notice::LedgerUnreadable { restored: false }]));
    assert_eq!(world.clone().suspended("ann").tick(), "-ann:not_active");
    assert_eq!(world.clone().eligible(&["bob"]).tick(), "-ann:ineligible");
    assert_eq!(world.member("eve").outage().tick(), "");
}

#[test]
fn even_after_a_day_without_a_readable_ledger_nobody_leaves_whom_a_vendor_could_not_name() {
    let mut world = World::new().on_call("ann", None).member("ann").member("eve").unreadable_ledger();
    world.shifts[0].okta = Identity::Unknown(Error::new(Code::OktaCallFailed, "500.", "Wait."));
    assert_eq!(world.ticks(1_438, 1_500), "");
    let mut world = world.nobody_on_call().on_call("bob", None).unresolved("ann");
    assert_eq!(world.tick(), "", "ann may be anybody");
    // One reading of nobody is no end either: the readings in a row are counted in the ledger.
    let mut world = world.nobody_on_call();
    assert_eq!(world.tick(), "");
    let mut world = world.on_call("bob", None);
    assert_eq!(world.tick(), "-ann:out_of_band -eve:out_of_band");
}

#[test]
fn whoever_is_in_a_state_of_a_later_version_stays_as_they_are_and_that_is_told() {
    let state = || State::Other(serde_json::json!({"borrowed": {}}));
    let world = World::new().on_call("ann", 60).member("bob");
    let mut world = world.write(|ledger| ["ann", "bob"].iter().for_each(|who| _ = ledger.put(&id(who), state())));
    let told = ["ann", "bob"].map(|who| Notice::StateUnknown { okta: id(who) });
    assert_eq!(world.plan().notices, BTreeSet::from(told));
    assert_eq!(world.ticks(0, 200), "");
    assert_eq!(world.ledger().state(&id("bob")), Some(&state()));
    assert_eq!(world.revoked_by_hand("bob", None).tick(), "-bob:manual");
}

#[test]
fn nobody_stays_longer_after_a_reading_because_the_clock_was_set_back() {
    let mut world = World::new().on_call("ann", None);
    world.ticks(0, 100);
    world.ticks(10, 12);
    // Up to a quarter of max_stale longer: a reading is not stored before that.
    assert_eq!(world.outage().ticks(13, 300), "130 -ann:stale");
}
