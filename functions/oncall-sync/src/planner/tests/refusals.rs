//! On call, and still nothing: not let in, not eligible, or too many at once. And how often a ledger is stored.

use super::*;

#[test]
fn a_suspended_person_leaves_during_their_shift() {
    let mut world = World::new().on_call("ann", 60).on_call("bob", 60);
    world.tick();
    assert_eq!(changes(&world.suspended("ann").at(1).plan()), "-ann:not_active");
}

#[test]
fn a_suspended_person_leaves_while_pagerduty_is_down() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    assert_eq!(world.suspended("ann").outage().ticks(1, 70), "1 -ann:not_active");
}

#[test]
fn an_ineligible_person_is_never_granted() {
    let mut world = World::new().on_call("ann", 60).on_call("bob", 60).eligible(&["bob"]);
    let why = "not in the group of eligible people".to_owned();
    assert_eq!(world.plan().notices, BTreeSet::from([Notice::NotGranted { person: id("P-ann"), why }]));
    assert_eq!(world.ticks(0, 60), "0 +bob, 60 -bob:shift_ended");
}

#[test]
fn whoever_is_not_eligible_any_more_leaves_whatever_the_source_says() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    for world in [world.clone(), world.outage()] {
        assert_eq!(world.eligible(&["bob"]).at(1).tick(), "-ann:ineligible");
    }
}

#[test]
fn more_people_on_call_than_allowed_block_all_grants_and_no_revoke() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let world = world.nobody_on_call().on_call("bob", 60).on_call("cid", 60).on_call("dan", 60).at(1);
    let plan = world.plan();
    assert_eq!(changes(&plan), "-ann:overridden");
    assert_eq!(plan.notices, BTreeSet::from([Notice::Brake { on_call: 3, grants: 3 }]));
}

#[test]
fn the_brake_takes_out_nobody_who_is_on_call() {
    let world = World::new().on_call("ann", 60).on_call("bob", 60).on_call("cid", 60);
    let mut world = world.member("ann").member("bob");
    assert_eq!(world.ticks(0, 59), "");
    assert_eq!(world.nobody_on_call().on_call("ann", 60).on_call("cid", 60).tick(), "-bob:overridden +cid");
}

#[test]
fn somebody_who_cannot_be_identified_counts_for_the_brake() {
    let world = World::new().on_call("ann", 60).on_call("bob", 60).unresolved("cid");
    assert!(world.plan().notices.contains(&Notice::Brake { on_call: 3, grants: 2 }));
    assert_eq!(changes(&world.plan()), "");
}

#[test]
fn ineligible_and_held_people_do_not_count_for_the_brake() {
    let world = World::new().on_call("ann", 60).on_call("bob", 60).on_call("cid", 60).on_call("dan", 60);
    let mut world = world.eligible(&["ann", "bob", "cid"]).revoked_by_hand("cid", None);
    assert_eq!(world.tick(), "+ann +bob");
}

#[test]
fn more_grants_at_once_than_allowed_are_none() {
    let world = World::new().with(|b| b.max_new_per_run = 1).on_call("ann", 60).on_call("bob", 60);
    assert!(world.plan().notices.contains(&Notice::Brake { on_call: 2, grants: 2 }));
    assert_eq!(changes(&world.plan()), "");
    assert_eq!(world.member("ann").tick(), "+bob");
}

#[test]
fn a_steady_state_is_stored_when_a_quarter_of_max_stale_has_passed() {
    let mut world = World::new().on_call("ann", 600);
    world.ticks(0, 0);
    assert_eq!(world.stored, 2, "intent and outcome");
    world.ticks(1, 29);
    assert_eq!(world.stored, 2);
    world.ticks(30, 59);
    assert_eq!(world.stored, 3);
    world.ticks(60, 60);
    assert_eq!(world.stored, 4);
}

#[test]
fn an_empty_ledger_is_not_stored_again() {
    let mut world = World::new().no_ledger();
    world.ticks(0, 300);
    assert_eq!(world.stored, 1);
}

#[test]
fn a_grant_that_did_not_succeed_is_tried_again_and_told_once() {
    let mut world = World::new().on_call("ann", 60);
    let plan = world.plan();
    assert_eq!(untold(&plan, "ann"), 1);
    world.carry_out(&plan, Run { done: 0, ..Run::ALL });
    let plan = world.at(1).plan();
    assert_eq!((changes(&plan), untold(&plan, "ann")), ("+ann".to_owned(), 0));
}

#[test]
fn a_revoke_that_did_not_succeed_is_tried_again_and_told_when_it_has() {
    let mut world = World::new().on_call("ann", 60).member("ann");
    world.tick();
    let mut world = world.at(60);
    world.carry_out(&world.plan(), Run { done: 0, ..Run::ALL });
    for world in [world.clone().at(61), world.clone().members_unknown().at(61), world.outage().at(61)] {
        assert_eq!((changes(&world.plan()), untold(&world.plan(), "ann")), ("-ann:shift_ended".to_owned(), 1));
    }
}

#[test]
fn a_second_shift_is_told_again() {
    let mut world = World::new().on_call("ann", 10).shift("P-ann", "ann", Some(20), Some(30));
    world.ticks(0, 19);
    let mut world = world.at(20);
    assert_eq!(untold(&world.plan(), "ann"), 1);
    world.tick();
    assert_eq!(untold(&world.at(30).plan(), "ann"), 1);
}

#[test]
fn a_change_that_the_group_shows_later_is_settled_once() {
    let mut world = World::new().on_call("ann", 60);
    let granted = Settled::Granted(id("ann"));
    world.carry_out(&world.plan(), Run { outcome: false, ..Run::ALL });
    let mut world = world.at(1);
    assert_eq!(world.plan().settled, [granted]);
    world.tick();
    assert_eq!(world.clone().at(2).plan().settled, []);
    let mut world = world.at(60);
    world.carry_out(&world.plan(), Run { outcome: false, ..Run::ALL });
    let mut world = world.at(61);
    let left = Revoke { okta: id("ann"), reason: Reason::ShiftEnded, due: Some(at(60)), since: at(60) };
    assert_eq!(world.plan().settled, [Settled::Revoked(left)]);
    world.tick();
    assert_eq!(world.at(62).plan().settled, []);
}

#[test]
fn a_grant_that_was_never_made_is_not_told_at_the_end_of_the_shift_nor_is_its_end() {
    let mut world = World::new().on_call("ann", 60).suspended("ann");
    world.ticks(0, 59);
    assert_eq!(world.told, []);
    let mut by_hand = world.clone();
    by_hand.carry_out(&by_hand.revoke_by_hand("ann"), Run::ALL);
    assert_eq!(by_hand.told, [(id("ann"), Change::Revoked { reason: Reason::Manual, due: None })]);
    assert_eq!(world.ticks(60, 62), "60 -ann:shift_ended", "the list may lag behind");
    assert_eq!((world.told.as_slice(), world.ledger().people.len()), (&[] as &[_], 0));
}

#[test]
fn a_grant_that_was_made_is_told_although_the_next_one_in_the_same_words_is_not_made() {
    let mut world = World::new().on_call("ann", None);
    world.channels_work = false;
    world.tick();
    let mut world = world.nobody_on_call().on_call("bob", None);
    world.ticks(1, 1);
    let mut world = world.on_call("ann", None).suspended("ann");
    assert_eq!(world.ticks(2, 2), "2 +ann");
    world.channels_work = true;
    let mut world = world.nobody_on_call().on_call("bob", None);
    world.ticks(3, 4);
    let told: Vec<bool> = world
        .told
        .iter()
        .filter(|(okta, _)| *okta == id("ann"))
        .map(|(_, change)| matches!(change, Change::Granted { .. }))
        .collect();
    assert_eq!(told, [true, false]);
}

#[test]
fn a_removal_that_was_not_made_and_is_not_wanted_any_more_is_never_told() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.nobody_on_call().on_call("bob", 60).at(1);
    world.carry_out(&world.plan(), Run { done: 0, ..Run::ALL });
    let world = world.nobody_on_call().on_call("ann", 60).at(2);
    assert_eq!((changes(&world.plan()), untold(&world.plan(), "ann")), ("-bob:overridden".to_owned(), 0));
}

#[test]
fn whoever_is_on_call_and_cannot_be_removed_overstays_from_the_first_try() {
    let mut world = World::new().on_call("ann", 600);
    world.tick();
    let mut world = world.suspended("ann");
    for minute in 1..10 {
        world = world.at(minute);
        let plan = world.plan();
        assert_eq!(plan.revokes[0].overstay(world.now), TimeDelta::minutes(minute - 1));
        let stored = world.stored;
        world.carry_out(&plan, Run { done: 0, ..Run::ALL });
        assert_eq!(world.stored - stored, usize::from(minute == 1), "the ledger is not written again");
    }
}
