//! Shifts begin, end, and change hands.

use super::*;

#[test]
fn joins_when_the_shift_starts_and_not_a_second_before() {
    let mut world = World::new().shift("P-ann", "ann", Some(10), Some(60));
    world.now = at(10) - TimeDelta::seconds(1);
    world.read_at = Some(world.now);
    assert_eq!(world.tick(), "");
    assert_eq!(world.at(10).tick(), "+ann");
}

#[test]
fn leaves_the_second_the_shift_ends() {
    let mut world = World::new().on_call("ann", 60);
    assert_eq!(world.ticks(0, 59), "0 +ann");
    world.now = at(60) - TimeDelta::seconds(1);
    world.read_at = Some(world.now);
    assert_eq!(world.tick(), "");
    assert_eq!(world.at(60).tick(), "-ann:shift_ended");
}

#[test]
fn hands_over_in_one_tick_and_the_revoke_is_planned_apart_from_the_grant() {
    let mut world = World::new().on_call("ann", 60).shift("P-bob", "bob", Some(60), Some(120));
    assert_eq!(world.ticks(0, 120), "0 +ann, 60 -ann:shift_ended +bob, 120 -bob:shift_ended");
}

#[test]
fn a_revoke_says_since_when_it_was_due() {
    let world = World::new().on_call("ann", 60);
    let mut world = world.clone();
    world.tick();
    let revoke = world.at(63).plan().revokes.remove(0);
    assert_eq!((revoke.reason, revoke.due), (Reason::ShiftEnded, Some(at(60))));
}

#[test]
fn stays_for_the_time_after_the_shift_that_the_binding_allows() {
    let mut world = World::new().with(|b| b.post_shift = TimeDelta::minutes(10)).on_call("ann", 60);
    assert_eq!(world.ticks(0, 90), "0 +ann, 70 -ann:shift_ended");
}

#[test]
fn the_time_after_the_shift_is_given_while_the_next_one_is_on_call_already() {
    let world = World::new().with(|b| b.post_shift = TimeDelta::minutes(10)).on_call("ann", 60);
    let mut world = world.shift("P-bob", "bob", Some(60), None);
    assert_eq!(world.ticks(0, 90), "0 +ann, 60 +bob, 70 -ann:shift_ended");
}

#[test]
fn nobody_joins_in_the_time_after_their_shift() {
    let world = World::new().with(|b| b.post_shift = TimeDelta::minutes(10)).on_call("ann", 60);
    assert_eq!(world.at(61).tick(), "");
}

#[test]
fn an_override_replaces_and_the_person_comes_back() {
    let mut world = World::new().on_call("ann", 120);
    assert_eq!(world.ticks(0, 9), "0 +ann");
    let mut world = world.nobody_on_call().shift("P-bob", "bob", Some(10), Some(20));
    assert_eq!(world.ticks(10, 19), "10 -ann:overridden +bob");
    let mut world = world.nobody_on_call().on_call("ann", 120);
    assert_eq!(world.ticks(20, 130), "20 -bob:shift_ended +ann, 120 -ann:shift_ended");
}

#[test]
fn leaves_when_taken_off_a_schedule_without_an_end() {
    let mut world = World::new().on_call("ann", None).on_call("bob", None);
    assert_eq!(world.tick(), "+ann +bob");
    let mut world = world.nobody_on_call().on_call("bob", None);
    assert_eq!(world.ticks(1, 1), "1 -ann:left_schedule");
    assert!(!world.has("ann") && world.has("bob"));
}

#[test]
fn a_shift_that_is_made_longer_keeps_its_person() {
    let mut world = World::new().on_call("ann", 60);
    world.ticks(0, 50);
    let mut world = world.nobody_on_call().on_call("ann", 90);
    assert_eq!(world.ticks(51, 100), "90 -ann:shift_ended");
}

#[test]
fn a_shift_that_is_made_shorter_is_over_at_the_new_end() {
    let mut world = World::new().on_call("ann", 60);
    world.ticks(0, 10);
    let mut world = world.nobody_on_call().on_call("ann", 30);
    assert_eq!(world.ticks(11, 12), "");
    assert_eq!(world.outage().ticks(13, 60), "30 -ann:shift_ended");
}

#[test]
fn two_schedules_make_one_grant_with_the_latest_end() {
    for ends in [[30, 60], [60, 30]] {
        let mut world = World::new().on_call("ann", ends[0]).on_call("ann", ends[1]);
        assert_eq!(world.plan().grants[0].until, Some(at(60)));
        assert_eq!(world.ticks(0, 60), "0 +ann, 60 -ann:shift_ended");
    }
}

#[test]
fn a_shift_without_an_end_is_the_latest() {
    let world = World::new().on_call("ann", 30).on_call("ann", None).on_call("ann", 60);
    assert_eq!(world.plan().grants[0].until, None);
}

#[test]
fn two_pagerduty_accounts_of_one_person_make_one_grant() {
    let mut world = World::new().shift("P2", "ann", None, Some(30)).shift("P1", "ann", None, Some(60));
    let plan = world.plan();
    assert_eq!((plan.grants.len(), plan.grants[0].person.clone()), (1, Some(id("P1"))));
    assert_eq!(world.ticks(0, 60), "0 +ann, 60 -ann:shift_ended");
}

#[test]
fn a_placeholder_is_nobody() {
    let mut world = World::new().with(|b| b.placeholders = BTreeSet::from([id("P-ann")])).on_call("ann", None);
    assert_eq!(world.tick(), "");
    // And so this is a gap.
    let mut world = world.nobody_on_call().on_call("bob", None);
    assert_eq!(world.tick(), "+bob");
    let mut world = world.nobody_on_call().on_call("ann", None);
    assert_eq!(world.ticks(1, 2), "2 -bob:gap");
}

#[test]
fn a_gap_at_the_end_of_a_shift_takes_its_person_out_at_once() {
    let mut world = World::new().on_call("ann", 10);
    assert_eq!(world.ticks(0, 10), "0 +ann, 10 -ann:shift_ended");
}

#[test]
fn a_gap_within_a_shift_counts_when_it_is_read_again() {
    let mut world = World::new().with(|b| b.gap_confirm_runs = 3).on_call("ann", 60);
    world.tick();
    assert_eq!(world.nobody_on_call().ticks(1, 5), "3 -ann:gap");
}

#[test]
fn a_gap_that_is_filled_in_time_takes_nobody_out() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    for minute in (1..50).step_by(2) {
        assert_eq!(world.clone().nobody_on_call().at(minute).tick(), "");
        world = world.nobody_on_call().at(minute);
        world.tick();
        world = world.on_call("ann", 60).at(minute + 1);
        assert_eq!(world.tick(), "");
    }
}

#[test]
fn one_reading_of_a_gap_counts_once_however_often_it_is_planned_with() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let mut world = world.nobody_on_call().at(1);
    for _ in 0..5 {
        assert_eq!(world.tick(), "");
    }
    world.now = at(2);
    assert_eq!(world.tick(), "", "the old reading again");
    assert_eq!(world.at(2).tick(), "-ann:gap");
}

#[test]
fn a_person_nobody_can_identify_makes_no_gap_and_replaces_the_one_before() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    assert_eq!(world.nobody_on_call().unresolved("bob").at(1).tick(), "-ann:overridden");
}

#[test]
fn whoever_cannot_be_identified_any_more_stays_until_the_grant_expires() {
    let mut world = World::new().on_call("ann", 600);
    world.tick();
    assert_eq!(world.nobody_on_call().unresolved("ann").ticks(1, 200), "120 -ann:overridden");
}

#[test]
fn whoever_cannot_be_identified_for_a_while_is_left_alone() {
    let mut world = World::new().on_call("ann", 100);
    world.tick();
    let mut world = world.nobody_on_call().unresolved("ann");
    assert_eq!(world.ticks(1, 50), "");
    assert_eq!(world.nobody_on_call().on_call("ann", 100).ticks(51, 110), "100 -ann:shift_ended");
}
