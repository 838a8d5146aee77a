//! People in the group whom nobody put there but a person at Okta, and emergency accounts.

use super::*;

#[test]
fn an_outsider_leaves() {
    let mut world = World::new().on_call("ann", 60).member("ann").member("eve");
    assert_eq!(world.tick(), "-eve:out_of_band");
}

#[test]
fn an_outsider_stays_and_is_reported_where_the_binding_says_so() {
    let mut world = World::new().with(|b| b.out_of_band = Outsiders::Report).member("eve");
    assert_eq!(world.plan().notices, BTreeSet::from([Notice::Outsider { okta: id("eve") }]));
    assert_eq!(world.ticks(0, 200), "");
}

#[test]
fn an_outsider_stays_while_nobody_can_say_who_is_on_call() {
    let mut world = World::new().member("eve").outage();
    assert_eq!(world.ticks(0, 200), "");
    assert_eq!(world.back().tick(), "-eve:out_of_band");
}

#[test]
fn the_first_run_leaves_whom_it_finds_and_says_so() {
    let mut world = World::new().member("eve").no_ledger();
    assert_eq!(world.plan().notices, BTreeSet::from([Notice::Outsider { okta: id("eve") }, Notice::LedgerLost]));
    assert_eq!(world.ticks(0, 200), "");
    assert_eq!(world.ledger().state(&id("eve")), Some(&State::Tolerated));
}

#[test]
fn whoever_comes_after_the_first_run_is_an_outsider_beside_those_it_left() {
    let mut world = World::new().member("eve").no_ledger();
    world.tick();
    assert_eq!(world.member("dan").at(1).tick(), "-dan:out_of_band");
}

#[test]
fn the_first_run_takes_out_whom_it_finds_where_the_binding_says_so() {
    let world = World::new().with(|b| b.adoption = Outsiders::Revoke).on_call("ann", 60).no_ledger();
    assert_eq!(world.member("ann").member("eve").tick(), "-eve:out_of_band");
}

#[test]
fn whoever_was_left_by_the_first_run_and_went_out_is_an_outsider_when_they_come_back() {
    let mut world = World::new().member("eve").no_ledger();
    world.tick();
    let mut world = world.not_a_member("eve").at(1);
    world.tick();
    assert_eq!(world.member("eve").at(2).tick(), "-eve:out_of_band");
}

#[test]
fn whoever_was_left_by_the_first_run_leaves_with_their_next_shift() {
    let mut world = World::new().member("eve").no_ledger();
    world.tick();
    assert_eq!(world.on_call("eve", 60).ticks(1, 100), "60 -eve:shift_ended");
}

#[test]
fn whoever_was_left_by_the_first_run_leaves_when_the_binding_turns_stricter() {
    let mut world = World::new().member("eve").no_ledger();
    world.tick();
    assert_eq!(world.with(|b| b.adoption = Outsiders::Revoke).at(1).tick(), "-eve:out_of_band");
}

#[test]
fn whoever_is_on_call_already_when_found_is_managed_from_then_on() {
    let mut world = World::new().on_call("ann", 60).member("ann");
    assert_eq!(world.ticks(0, 59), "");
    assert_eq!(world.outage().ticks(60, 60), "60 -ann:shift_ended");
}

#[test]
fn an_emergency_account_is_never_taken_out() {
    let world = World::new().with(|b| b.keep = BTreeSet::from([id("eve")])).member("eve");
    for mut world in [
        world.clone(),
        world.clone().suspended("eve"),
        world.clone().eligible(&[]),
        world.clone().revoked_by_hand("eve", None),
        world.clone().granted_by_hand("eve", 0).members_unknown(),
        world.clone().no_ledger().outage(),
        world.with(|b| b.adoption = Outsiders::Revoke).no_ledger(),
    ] {
        assert_eq!(world.ticks(0, 150), "");
        assert!(world.has("eve"));
    }
}

#[test]
fn an_emergency_account_is_never_put_in_even_when_on_call() {
    let mut world = World::new().with(|b| b.keep = BTreeSet::from([id("eve")])).on_call("eve", 60);
    let why = "in \"keep\": never granted".to_owned();
    assert_eq!(world.plan().notices, BTreeSet::from([Notice::NotGranted { person: id("P-eve"), why }]));
    assert_eq!(world.ticks(0, 70), "");
}

#[test]
fn whoever_becomes_an_emergency_account_during_a_shift_stays_after_it() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.with(|b| b.keep = BTreeSet::from([id("ann")]));
    assert_eq!(world.ticks(1, 200), "");
    assert!(world.ledger().people.is_empty());
}

#[test]
fn an_empty_group_with_nobody_on_call_needs_nothing() {
    let mut world = World::new();
    assert_eq!(world.ticks(0, 200), "");
    assert!(world.plan().notices.is_empty());
}

#[test]
fn a_first_run_that_was_cut_short_goes_on_taking_out_whom_it_found() {
    let world = World::new().with(|b| (b.adoption, b.out_of_band) = (Outsiders::Revoke, Outsiders::Report));
    let mut world = world.on_call("ann", 60).member("ann").member("eve").no_ledger();
    world.carry_out(&world.plan(), Run { done: 0, ..Run::ALL });
    assert_eq!(world.at(1).tick(), "-eve:out_of_band");
}

#[test]
fn a_stricter_binding_takes_out_whom_the_first_run_left_even_when_it_was_cut_short() {
    let mut world = World::new().with(|b| b.out_of_band = Outsiders::Report).member("eve").no_ledger();
    world.tick();
    let mut world = world.with(|b| b.adoption = Outsiders::Revoke).at(1);
    world.carry_out(&world.plan(), Run { done: 0, ..Run::ALL });
    assert_eq!(world.at(2).tick(), "-eve:out_of_band");
}

#[test]
fn outsiders_left_by_the_first_run_stay_through_an_outage_even_if_suspended_or_ineligible() {
    let world = World::new().member("eve").no_ledger().outage().eligible(&["ann"]).suspended("eve");
    assert_eq!(world.clone().ticks(0, 100), "");
    let mut world = world;
    world.ticks(0, 60);
    assert_eq!(world.back().ticks(61, 200), "");
}
