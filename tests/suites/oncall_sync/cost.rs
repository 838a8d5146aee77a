//! What a tick costs the vendors: one request for all schedules, one for each group, and none for people who stay.

use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::tally;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the function allows itself at one vendor at a time.
const AT_ONCE: usize = 12;
/// PagerDuty's limit for a whole account, and Okta's for most of its endpoints is of that size, too.
const A_MINUTE: usize = 960;

/// Every request of a tick to PagerDuty and Okta, by name, and the parameters that it stored.
async fn tick(world: &Oncall) -> (BTreeMap<String, usize>, Vec<String>) {
    world.faults.reset();
    slow_tick(world).await
}

/// The same, with the faults that were injected.
async fn slow_tick(world: &Oncall) -> (BTreeMap<String, usize>, Vec<String>) {
    world.forget_requests();
    let report = world.tick().await.unwrap();
    assert_eq!((&report["unknown"], &report["unfinished"]), (&json!(0), &json!(0)), "{report}");
    let stored = world.faults.recorded().into_iter().filter(|call| call.contains("PutParameter")).collect();
    (tally(&world.requests()), stored)
}

fn expected(calls: &[String]) -> BTreeMap<String, usize> {
    calls.iter().map(|call| (call.clone(), 1)).collect()
}

fn schedule_v2(bound: &Bound) -> String {
    format!("GET /schedules/{}", bound.schedule)
}

/// Everybody who is on call for schedules or policies.
fn oncalls() -> String {
    "GET /oncalls".to_owned()
}

fn group(id: &str) -> String {
    format!("GET /api/v1/groups/{id}/users")
}

async fn settled(more: serde_json::Value) -> (Oncall, Bound, Engineer) {
    settled_in(|world| world.bind("shop", &more)).await
}

async fn settled_in(bind: impl Fn(&Oncall) -> Bound) -> (Oncall, Bound, Engineer) {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = bind(&world);
    world.on_call(&shop, &ann, "08:00", "23:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    (world, shop, ann)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_comes_or_leaves_a_tick_is_one_request_for_all_schedules_and_one_per_group() {
    let (world, shop, _) = settled(json!({})).await;
    for _ in 0..5 {
        world.minutes_later(1);
        let (calls, stored) = tick(&world).await;
        assert_eq!(calls, expected(&[oncalls(), group(&shop.group)]));
        assert_eq!(stored, Vec::<String>::new());
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_without_anybody_on_call_costs_one_request_more() {
    let (world, shop, ann) = settled(json!({})).await;
    let empty = world.bind("empty", &json!({}));
    tick(&world).await;
    let groups = [group(&shop.group), group(&empty.group)];
    // Which API has it is not certain before it has been seen there.
    let both = [schedule_v2(&empty), format!("GET /v3/schedules/{}", empty.schedule)];
    assert_eq!(tick(&world).await.0, expected(&[&groups[..], &both, &[oncalls()]].concat()));
    world.pagerduty.shift(&empty.schedule, &ann.pagerduty, world.today("10:00"), world.today("12:00"));
    assert_eq!(tick(&world).await.0, expected(&[&groups[..], &both[..1], &[oncalls()]].concat()));
    world.at("10:00");
    tick(&world).await;
    assert_eq!(tick(&world).await.0, expected(&[&groups[..], &[oncalls()]].concat()));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn which_api_has_a_schedule_is_remembered_and_an_upgrade_is_noticed_at_the_cost_of_one_request() {
    let (world, shop, _) = settled_in(|world| world.bind_alone("shop", &json!({}))).await;
    let v3 = format!("GET /v3/schedules/{}", shop.schedule);
    world.pagerduty.upgrade(&shop.schedule);
    let (calls, _) = tick(&world).await;
    assert_eq!(calls, expected(&[oncalls(), schedule_v2(&shop), v3.clone(), group(&shop.group)]));
    let (calls, _) = tick(&world).await;
    assert_eq!(calls, expected(&[oncalls(), v3, group(&shop.group)]));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_several_pages_cost_one_request_per_page() {
    let (world, shop, _) = settled(json!({"out_of_band": "report", "adoption": "report"})).await;
    for name in ["bob", "cat", "dan", "eve"] {
        world.okta.add(&shop.group, &world.engineer(name).unwrap().okta);
    }
    world.okta.page_size(2);
    let policy = world.pagerduty.policy("primary");
    for name in ["fay", "gus", "hal"] {
        world.pagerduty.policy_level_user(&policy, 1, &world.engineer(name).unwrap().pagerduty);
    }
    world.pagerduty.page_size(2);
    let team = world.okta.group("break-glass-team");
    let document = json!({
        "escalation_policy": policy, "levels": [1], "okta_group": team, "group_name": "break-glass-team", "max_members": 3,
    });
    world.write_document("team", &document.to_string());
    tick(&world).await;
    assert_eq!(world.okta.members(&team).len(), 3);
    let (calls, _) = tick(&world).await;
    // One page of schedules, and two of the policy.
    let pages = [(group(&shop.group), 3), (oncalls(), 3), (group(&team), 2)];
    assert_eq!(calls, BTreeMap::from(pages));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_stored_again_only_when_a_quarter_of_max_stale_has_passed() {
    let (world, shop, _) = settled(json!({"max_stale": "40m"})).await;
    let mut stored_at = Vec::new();
    for minute in 1..=30 {
        world.minutes_later(1);
        let (_, stored) = tick(&world).await;
        stored_at.extend(stored.iter().map(|call| (minute, call.contains(&shop.ledger_name()))));
    }
    assert_eq!(stored_at, [(10, true), (20, true), (30, true)]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bindings_have_in_common_is_read_once() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let eligible = world.okta.group("dba-eligible");
    world.okta.add(&eligible, &ann.okta);
    let shop = world.bind_alone("shop", &json!({"eligible_group": eligible}));
    world.on_call(&shop, &ann, "08:00", "23:00");
    let bank = world.bind("bank", &json!({"eligible_group": eligible, "schedules": [shop.schedule]}));
    let (first, _) = tick(&world).await;
    // Who ann is, and which rules there are, is asked once for both.
    for call in [format!("GET /users/{}", ann.pagerduty), "GET /api/v1/groups/rules".to_owned()] {
        assert_eq!(first.get(&call), Some(&1), "{call} in {first:?}");
    }
    assert_eq!(
        (world.members(&shop, &[&ann]), world.members(&bank, &[&ann])),
        (vec!["ann".into()], vec!["ann".into()])
    );
    let every_tick = [oncalls(), schedule_v2(&shop), group(&shop.group), group(&bank.group)];
    let groups_of_ann = format!("GET /api/v1/users/{}/groups", ann.okta);
    assert_eq!(first.get(&groups_of_ann), Some(&1), "for both: {first:?}");
    for minute in 1..=10 {
        world.minutes_later(1);
        let (calls, stored) = tick(&world).await;
        let mut asked = every_tick.to_vec();
        asked.extend((minute % 5 == 0).then(|| groups_of_ann.clone()));
        assert_eq!(calls, expected(&asked), "minute {minute}");
        assert_eq!(stored, Vec::<String>::new());
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Has each vendor take its time for everything that is read of a binding, so that requests pile up if they can.
fn take_time(world: &Oncall, bound: &Bound) {
    let Bound { schedule, group, .. } = bound;
    for call in [
        format!("PagerDuty GET /schedules/{schedule}"),
        format!("PagerDuty GET /v3/schedules/{schedule}"),
        format!("okta GET /api/v1/groups/{group}"),
        format!("okta GET /api/v1/groups/{group}/users"),
    ] {
        let fault = Fault::Slow(Duration::from_millis(5));
        world.faults.inject(Point { call: format!(" {call} #1"), moment: Moment::Before, fault });
    }
}

/// What 200 bindings cost PagerDuty in a warm tick, and in a cold one that looks everybody up.
async fn two_hundred(bind: impl Fn(&Oncall, &str) -> Bound, warm: usize, cold: usize) {
    const BINDINGS: usize = 200;
    let mut world = Oncall::start().await.unwrap();
    let people: Vec<Engineer> = (0..20).map(|n| world.engineer(&format!("dba{n}")).unwrap()).collect();
    let bound: Vec<Bound> = (0..BINDINGS).map(|n| bind(&world, &format!("b{n}"))).collect();
    for (n, bound) in bound.iter().enumerate() {
        // Every other schedule changes hands within the window.
        let end = if n % 2 == 0 { "10:30" } else { "23:00" };
        world.on_call(bound, &people[n % people.len()], "08:00", end);
        world.on_call(bound, &people[(n + 1) % people.len()], end, "23:30");
    }
    for (state, is_cold) in [("everybody comes in", true), ("warm", false), ("cold", true)] {
        if is_cold {
            world.recycle().unwrap();
        }
        world.faults.reset();
        for bound in &bound {
            take_time(&world, bound);
        }
        slow_tick(&world).await;
        let (pagerduty, okta) = (world.pagerduty.seen().len(), world.okta.seen().len());
        let at_once = (world.pagerduty.most_at_once(), world.okta.most_at_once());
        assert!(at_once.0 <= AT_ONCE && at_once.1 <= AT_ONCE, "{state}: {at_once:?} requests at the same time");
        match state {
            "everybody comes in" => {}
            "warm" => assert_eq!((pagerduty, okta), (warm, BINDINGS)),
            // Who the people are, and what the groups are called, is found out anew.
            _ => assert_eq!((pagerduty, okta), (cold, 2 * BINDINGS + 1 + people.len())),
        }
        assert!(pagerduty < A_MINUTE / 2, "{state}: {pagerduty} requests to PagerDuty");
        world.minutes_later(1);
    }
    for (n, bound) in bound.iter().enumerate() {
        assert_eq!(world.members(bound, &people.iter().collect::<Vec<_>>()), [format!("dba{}", n % people.len())]);
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// In one tick there is not time for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn every_group_has_its_turn_at_a_slow_okta_in_one_of_the_next_ticks() {
    const TICKS: usize = 20;
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let bound: Vec<Bound> = (0..30).map(|n| world.bind(&format!("b{n}"), &json!({}))).collect();
    let lambda = world.lambda(None).await.unwrap();
    lambda.invoke(json!({})).await.result.unwrap();
    let (now, hour) = (world.clock.now(), chrono::TimeDelta::hours(1));
    for Bound { schedule, group, .. } in &bound {
        world.pagerduty.shift(schedule, &ann.pagerduty, now - hour, now + hour);
        for n in 1..10 * TICKS {
            let call = format!(" okta GET /api/v1/groups/{group}/users #{n}");
            let fault = Fault::Slow(Duration::from_millis(400));
            world.faults.inject(Point { call, moment: Moment::Before, fault });
        }
    }
    lambda.set_timeout(Duration::from_secs(3));
    let before = lambda.logs().unwrap().len();
    // A metric says how many members a group has, if it could be listed.
    let listed = || -> BTreeSet<String> {
        let logs = lambda.logs().unwrap();
        let lines = logs[before..].lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["Members"].is_u64()).map(|line| line["Binding"].to_string()).collect()
    };
    let mut so_far = 0;
    for _ in 0..TICKS {
        lambda.invoke(json!({})).await.result.unwrap();
        so_far = listed().len();
        if so_far == bound.len() {
            break;
        }
    }
    assert_eq!(so_far, bound.len(), "in {TICKS} ticks");
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// One request more than the function sends at a time, and no time for a second one.
#[tokio::test(flavor = "multi_thread")]
async fn every_schedule_has_its_turn_at_a_slow_pagerduty_in_one_of_the_next_ticks() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let mut schedules: Vec<String> = (0..301).map(|n| world.pagerduty.schedule(&format!("s{n}"))).collect();
    schedules.sort();
    let last = schedules.pop().unwrap();
    for (n, schedules) in schedules.chunks(10).enumerate() {
        _ = world.bind_alone(&format!("b{n}"), &json!({"schedules": schedules}));
    }
    _ = world.bind_alone("last", &json!({"schedules": [last]}));
    world.pagerduty.policy_level_schedule(&world.pagerduty.policy("last"), 1, &last);
    let (now, hour) = (world.clock.now(), chrono::TimeDelta::hours(1));
    world.pagerduty.shift(&last, &ann.pagerduty, now - hour, now + hour);
    for n in 1..100 {
        let call = format!(" PagerDuty GET /oncalls #{n}");
        let fault = Fault::Slow(Duration::from_secs(1));
        world.faults.inject(Point { call, moment: Moment::Before, fault });
    }
    let lambda = world.lambda(None).await.unwrap();
    lambda.set_timeout(Duration::from_secs(10));
    // A metric says how old the reading is, once there was one.
    let is_read = || {
        let logs = lambda.logs().unwrap();
        let mut lines = logs.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.any(|line| line["Binding"] == "last" && line["SourceAgeSeconds"].is_u64())
    };
    lambda.invoke(json!({})).await.result.unwrap();
    assert!(!is_read(), "there was time for it at once");
    lambda.invoke(json!({})).await.result.unwrap();
    assert!(is_read(), "{}", lambda.logs().unwrap());
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// A tick of forty bindings reads ten pages of parameters. One of them that is refused must not stop all revokes.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_leaves_on_time_although_parameter_store_gives_few_pages_a_second_and_begins_with_an_empty_one() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let bound: Vec<Bound> = (0..40).map(|n| world.bind(&format!("b{n}"), &json!({}))).collect();
    for bound in &bound {
        world.on_call(bound, &ann, "08:00", "12:00");
    }
    world.tick().await.unwrap();
    world.aws.parameters.limit_reads(3);
    world.aws.parameters.hesitate();
    for (time, inside) in [("11:59", bound.len()), ("12:00", 0)] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(bound.iter().filter(|bound| world.members(bound, &[&ann]) == ["ann"]).count(), inside, "{time}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_bindings_take_eight_requests_to_pagerduty() {
    two_hundred(|world, id| world.bind(id, &json!({})), 8, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_bindings_without_policies_stay_far_below_every_limit() {
    // Which API has each schedule, and the address of each person, is found out anew when cold.
    two_hundred(|world, id| world.bind_alone(id, &json!({})), 200 + 8, 2 * 200 + 8 + 20).await;
}
