//! Grants and revokes that a person asked for.

use super::*;
use crate::knowledge::Identity;

#[test]
fn a_grant_by_hand_ends_at_its_time() {
    let mut world = World::new().granted_by_hand("eve", 60).member("eve");
    assert_eq!(world.ticks(0, 70), "60 -eve:manual");
}

#[test]
fn a_grant_by_hand_ends_at_its_time_while_nothing_can_be_read() {
    let mut world = World::new().granted_by_hand("eve", 60).member("eve");
    world.tick();
    assert_eq!(world.outage().members_unknown().ticks(1, 70), "60 -eve:manual");
}

#[test]
fn a_grant_by_hand_survives_shift_changes_and_gaps() {
    let world = World::new().granted_by_hand("eve", 90).member("eve").on_call("ann", 30);
    let mut world = world.shift("P-bob", "bob", Some(30), Some(60));
    let done = "0 +ann, 30 -ann:shift_ended +bob, 60 -bob:shift_ended, 90 -eve:manual";
    assert_eq!(world.ticks(0, 100), done);
}

#[test]
fn a_grant_by_hand_survives_the_end_of_the_same_persons_shift() {
    let mut world = World::new().on_call("ann", 30);
    world.tick();
    assert_eq!(world.granted_by_hand("ann", 60).ticks(1, 70), "60 -ann:manual");
}

#[test]
fn a_shift_goes_on_when_a_grant_by_hand_ends() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    assert_eq!(world.granted_by_hand("ann", 30).ticks(1, 70), "60 -ann:shift_ended");
}

#[test]
fn a_grant_by_hand_is_not_given_by_a_tick() {
    let mut world = World::new().granted_by_hand("eve", 60);
    assert_eq!(world.ticks(0, 59), "");
    // Whether it was ever made nobody saw: when its time is up, it is taken back all the same.
    assert_eq!(world.ticks(60, 70), "60 -eve:manual");
}

#[test]
fn a_grant_by_hand_whose_person_was_taken_out_is_not_given_again() {
    let mut world = World::new().granted_by_hand("eve", 60).member("eve");
    world.tick();
    assert_eq!(world.not_a_member("eve").ticks(1, 70), "");
}

#[test]
fn a_grant_by_hand_does_not_make_an_ineligible_or_suspended_person_stay() {
    let world = World::new().granted_by_hand("eve", 60).member("eve");
    assert_eq!(world.clone().eligible(&["ann"]).tick(), "-eve:ineligible");
    assert_eq!(world.suspended("eve").tick(), "-eve:not_active");
}

#[test]
fn a_grant_by_hand_that_was_not_made_hides_no_alert_of_a_shift() {
    let mut world = World::new().granted_by_hand("eve", 60);
    world.tick();
    assert_eq!(untold(&world.on_call("eve", 90).at(1).plan(), "eve"), 1);
}

#[test]
fn a_revoke_by_hand_holds_until_the_shift_ends() {
    let mut world = World::new().on_call("ann", 60).shift("P-ann", "ann", Some(90), None);
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(60));
    assert_eq!(world.ticks(1, 100), "1 -ann:manual, 90 +ann");
}

#[test]
fn a_revoke_by_hand_without_an_end_holds_until_the_source_does_not_name_them() {
    let mut world = World::new().on_call("ann", None);
    world.tick();
    let mut world = world.revoked_by_hand("ann", None);
    assert_eq!(world.ticks(1, 300), "1 -ann:manual");
    let mut world = world.outage();
    assert_eq!(world.ticks(301, 310), "");
    let mut world = world.back();
    assert_eq!(world.ticks(311, 320), "");
    let mut world = world.nobody_on_call();
    world.ticks(321, 321);
    assert_eq!(world.on_call("ann", None).ticks(322, 322), "322 +ann");
}

#[test]
fn a_revoke_by_hand_without_an_end_holds_while_somebody_cannot_be_identified() {
    let mut world = World::new().on_call("ann", None);
    world.tick();
    let mut world = world.revoked_by_hand("ann", None);
    world.ticks(1, 1);
    let mut world = world.nobody_on_call().unresolved("ann");
    world.ticks(2, 2);
    assert_eq!(world.nobody_on_call().on_call("ann", None).ticks(3, 9), "");
}

#[test]
fn a_revoke_by_hand_is_gone_on_with_without_a_list_of_members() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    assert_eq!(world.revoked_by_hand("ann", Some(60)).members_unknown().ticks(1, 70), "1 -ann:manual");
}

#[test]
fn a_revoke_by_hand_ends_a_grant_by_hand_even_when_it_was_cut_short() {
    let mut world = World::new().granted_by_hand("eve", 90).member("eve");
    world.tick();
    // Stored, and then the function died; eve is not on call, so nothing but the intent speaks of her.
    assert_eq!(world.revoked_by_hand("eve", None).ticks(1, 100), "1 -eve:manual");
}

#[test]
fn a_revoke_by_hand_that_was_cut_short_is_not_undone_by_the_end_of_the_shift() {
    let mut world = World::new().on_call("eve", 30);
    world.tick();
    let mut world = world.granted_by_hand("eve", 90).revoked_by_hand("eve", Some(30));
    assert_eq!(world.ticks(30, 100), "30 -eve:manual");
}

#[test]
fn whoever_was_revoked_by_hand_and_put_back_by_a_person_leaves_again() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(60));
    world.ticks(1, 1);
    assert_eq!(world.member("ann").ticks(2, 20), "2 -ann:manual");
}

#[test]
fn whoever_was_put_back_after_a_revoke_by_hand_overstays_from_then_on() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(60));
    world.ticks(1, 29);
    let mut world = world.member("ann");
    for minute in 30..32 {
        world = world.at(minute);
        let plan = world.plan();
        assert_eq!(plan.revokes[0].overstay(world.now), TimeDelta::minutes(minute - 30));
        world.carry_out(&plan, Run { done: 0, ..Run::ALL });
    }
}

#[test]
fn a_revoke_by_hand_outlasts_every_end_that_was_only_the_edge_of_what_was_read() {
    // A shift of six days, read a day ahead: what is taken for its end moves on with every reading.
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(60));
    for minute in 1..500 {
        world = world.nobody_on_call().on_call("ann", minute + 60).at(minute);
        assert_eq!(world.tick(), if minute == 1 { "-ann:manual" } else { "" }, "{minute}");
    }
    // An outage in between is no end either.
    let mut world = world.outage();
    world.ticks(500, 700);
    let mut world = world.back().nobody_on_call().on_call("ann", 900);
    assert_eq!(world.ticks(701, 702), "");
}

#[test]
fn a_revoke_by_hand_outlasts_a_week_of_entries_that_follow_without_a_break() {
    let mut world = World::new();
    for day in 0..7 {
        world = world.shift("P-ann", "ann", Some(day * 100), Some((day + 1) * 100));
    }
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(200));
    assert_eq!(world.ticks(1, 699), "1 -ann:manual");
    // The next week's is another shift.
    assert_eq!(world.shift("P-ann", "ann", Some(701), None).ticks(700, 710), "701 +ann");
}

#[test]
fn a_revoke_by_hand_works_and_holds_while_the_document_is_bad() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.bad_document().revoked_by_hand("ann", Some(60));
    assert_eq!(world.ticks(1, 30), "1 -ann:manual");
    assert_eq!(world.good_document().ticks(31, 59), "");
}

#[test]
fn a_revoke_by_hand_outlasts_an_override_within_the_shift() {
    let mut world = World::new().on_call("ann", 480);
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(480));
    world.ticks(1, 30);
    // Bob takes half an hour: ann's entry ends where his begins, and another one begins after it.
    let world =
        world.nobody_on_call().shift("P-ann", "ann", Some(0), Some(60)).shift("P-bob", "bob", Some(60), Some(90));
    let mut world = world.shift("P-ann", "ann", Some(90), Some(480)).at(31);
    assert_eq!(world.ticks(31, 479), "60 +bob, 90 -bob:shift_ended");
}

#[test]
fn a_revoke_by_hand_outlasts_a_suspension_within_the_shift() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(60));
    world.ticks(1, 30);
    let mut world = world.nobody_on_call().unresolved("ann");
    world.ticks(31, 200);
    // The entries of these days follow each other without a break.
    let world = world.nobody_on_call().shift("P-ann", "ann", Some(60), Some(300));
    assert_eq!(world.clone().ticks(201, 299), "");
}

type Trouble = fn(World) -> World;

/// Entries of a hundred minutes that follow each other without a break.
fn week() -> World {
    (0..7).fold(World::new(), |world, day| world.shift("P-ann", "ann", Some(day * 100), Some((day + 1) * 100)))
}

#[test]
fn a_revoke_by_hand_outlasts_every_boundary_of_the_shift_at_which_the_person_could_not_be_named() {
    let unidentified = |mut world: World| {
        for shift in &mut world.shifts {
            shift.okta = Identity::Unresolved("suspended".to_owned());
        }
        world
    };
    let unreadable = |world| World { ledger: Remembered::Unreadable { since: None }, ..world };
    let cases: [(_, Trouble); 4] = [
        ("an outage", World::outage),
        ("a bad document", World::bad_document),
        ("a suspension", unidentified),
        ("no ledger can be read", unreadable),
    ];
    for (case, begin) in cases {
        let mut world = week();
        world.tick();
        let mut world = world.revoked_by_hand("ann", Some(100));
        world.ticks(1, 50);
        let known = world.clone();
        let mut world = begin(world);
        // Two boundaries pass.
        assert_eq!(world.ticks(51, 250), "", "{case}");
        let mut world = World { now: world.now, read_at: Some(world.now), ..known };
        assert_eq!(world.ticks(251, 699), "", "{case}");
        // A reading of nobody shows the break, and the next shift is another one.
        assert_eq!(world.shift("P-ann", "ann", Some(701), None).ticks(700, 710), "701 +ann", "{case}");
    }
}

#[test]
fn whoever_is_held_into_a_shift_that_may_be_another_one_is_reported() {
    let mut world = week();
    world.tick();
    let mut world = world.revoked_by_hand("ann", Some(100));
    world.ticks(1, 50);
    let is_reported = |world: &World| {
        let of_ann =
            |notice: &Notice| matches!(notice, Notice::NotGranted { person, .. } if person.as_str() == "P-ann");
        world.plan().notices.iter().any(of_ann)
    };
    assert!(!is_reported(&world));
    // An outage hides a boundary.
    assert!(is_reported(&World { now: at(250), read_at: Some(at(250)), ..world }));
}

#[test]
fn a_revoke_by_hand_without_an_end_is_over_with_the_shift_although_somebody_else_cannot_be_identified() {
    let mut world = World::new().on_call("ann", None).unresolved("bob");
    world.ticks(0, 1);
    let plan = world.revoke_by_hand("ann");
    world.carry_out(&plan, Run::ALL);
    let mut world = world.nobody_on_call().unresolved("bob");
    world.ticks(2, 3);
    assert_eq!(world.on_call("ann", None).ticks(4, 5), "4 +ann");
}

#[test]
fn whoever_is_revoked_by_hand_stays_out_although_the_document_kept_them_for_a_while() {
    let mut world = World::new().on_call("ann", 200);
    world.tick();
    let plan = world.revoke_by_hand("ann");
    world.carry_out(&plan, Run::ALL);
    let kept =
        |world: World, keep: bool| world.with(|binding| binding.keep = keep.then(|| id("ann")).into_iter().collect());
    world = kept(world, true);
    world.ticks(1, 2);
    world = kept(world, false);
    assert_eq!(world.ticks(3, 9), "");
    // Whom the document keeps is not removed when it becomes bad.
    world = kept(world, true).member("ann");
    world.ticks(10, 11);
    world = kept(world, false).bad_document();
    assert_eq!(world.ticks(12, 20), "");
    world = kept(world.good_document(), true);
    // When the shift is over, so is the hold, also of somebody in `keep`.
    world.ticks(201, 202);
    world = kept(world.not_a_member("ann"), false).on_call("ann", 400);
    assert_eq!(world.ticks(203, 203), "203 +ann");
}
