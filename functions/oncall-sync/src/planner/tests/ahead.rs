//! What a forecast says of the days to come.

use super::*;
use crate::planner::{Ahead, ahead};
use proptest::prelude::*;

fn look(world: &World, minutes: i64) -> Ahead {
    ahead(&world.binding, &world.shifts, &world.eligible, at(0), at(minutes))
}

/// Who is on call from when to when, in minutes, and without the `P-`.
fn stretches(ahead: &Ahead) -> Vec<(i64, i64, String)> {
    let minutes = |at: DateTime<Utc>| (at - super::at(0)).num_minutes();
    let shown = ahead.stretches.iter().map(|stretch| {
        let people: Vec<&str> = stretch.people.iter().map(|id| id.as_str().trim_start_matches("P-")).collect();
        (minutes(stretch.from), minutes(stretch.until), people.join(" "))
    });
    shown.collect()
}

fn warnings(ahead: &Ahead) -> Vec<String> {
    ahead.warnings.iter().map(|warning| format!("{:?}: {warning}", warning.code())).collect()
}

fn turn(world: World, who: &str, start: i64, end: i64) -> World {
    world.shift(&format!("P-{who}"), who, Some(start), Some(end))
}

#[test]
fn whoever_is_on_call_is_named_with_the_gaps_between_them() {
    let world = turn(turn(turn(World::new(), "ann", -60, 60), "ann", 60, 120), "bob", 180, 900);
    let ahead = look(&world, 600);
    let expected = [(0, 120, "ann"), (120, 180, ""), (180, 600, "bob")];
    assert_eq!(stretches(&ahead), expected.map(|(from, until, who)| (from, until, who.to_owned())));
    let gap = "GapAhead: nobody is on call from 2031-05-06T14:00:00Z to 2031-05-06T15:00:00Z";
    assert_eq!(warnings(&ahead), [gap]);
}

#[test]
fn a_week_without_anybody_is_one_gap_and_one_with_somebody_for_good_has_none() {
    assert_eq!(stretches(&look(&World::new(), 600)), [(0, 600, String::new())]);
    let placeholder = World::new().with(|binding| _ = binding.placeholders.insert(id("P-bob"))).on_call("bob", None);
    assert_eq!(stretches(&look(&placeholder, 600)), [(0, 600, String::new())]);
    let sealed = turn(World::new(), "ann", 60, 120).with(|binding| _ = binding.keep.insert(id("ann")));
    assert_eq!(warnings(&look(&sealed, 120)).len(), 1, "the gap before it alone");
    let ann = World::new().on_call("ann", None);
    assert_eq!((stretches(&look(&ann, 600)), warnings(&look(&ann, 600))), (vec![(0, 600, "ann".to_owned())], vec![]));
}

#[test]
fn a_brake_that_would_be_pulled_is_told_once_as_long_as_it_holds() {
    let three = ["ann", "bob", "cid"].into_iter().fold(World::new(), |world, who| turn(world, who, 60, 120));
    let brake = "3 on call and 3 to be granted is more than max_members or max_new_per_run allows; nobody is granted";
    let said = warnings(&look(&turn(turn(three, "dan", -60, 60), "dan", 90, 120), 120));
    assert_eq!(said, [format!("BrakeAhead: from 2031-05-06T13:00:00Z: {brake}")]);
    // Two at a time may be in the group, and one may come at a time.
    let two = turn(turn(World::new(), "ann", 60, 120), "bob", 60, 120).with(|binding| binding.max_new_per_run = 1);
    let said = warnings(&look(&turn(two.clone(), "dan", 0, 60), 120));
    assert!(said.len() == 1 && said[0].contains("2 on call and 2 to be granted"), "{said:?}");
    // Ann is there before Bob comes.
    assert_eq!(warnings(&look(&turn(two, "ann", 0, 60), 120)), Vec::<String>::new());
}

#[test]
fn whoever_would_get_nothing_is_told_once_with_the_reason() {
    let world = turn(turn(World::new().unresolved("eve"), "ann", 0, 60), "bob", 60, 120);
    let world = World { eligible: Eligible::Only(BTreeSet::from([id("ann")])), ..turn(world, "bob", 180, 240) };
    assert_eq!(
        warnings(&look(&world, 300)),
        [
            "NoGrantAhead: from 2031-05-06T12:00:00Z: P-eve is on call and gets nothing: no such user at Okta",
            "NoGrantAhead: from 2031-05-06T13:00:00Z: P-bob is on call and gets nothing: not in the group of eligible people",
        ]
    );
}

proptest! {
    #[test]
    fn every_instant_of_the_time_ahead_is_told_as_it_will_be(
        turns in prop::collection::vec((0_usize..PEOPLE.len(), -50_i64..150, 1_i64..60), 0..8),
    ) {
        let world = turns.iter().fold(World::new(), |world, &(who, start, long)| turn(world, PEOPLE[who], start, start + long));
        let ahead = stretches(&look(&world, 100));
        prop_assert!(ahead.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].2 != pair[1].2), "{:?}", ahead);
        for minute in 0..100 {
            let told: Vec<&str> = ahead.iter().filter(|(from, until, _)| (*from..*until).contains(&minute)).map(|(_, _, who)| who.as_str()).collect();
            let on_call = |who: &&&str| turns.iter().any(|&(other, start, long)| PEOPLE[other] == **who && (start..start + long).contains(&minute));
            let truth: Vec<&str> = PEOPLE.iter().filter(on_call).copied().collect();
            prop_assert_eq!(told, [truth.join(" ")], "minute {}", minute);
        }
    }
}
