//! The look ahead: seven days of who is on call, and what should be mended before.

use super::shifts::NOBODY;
use chrono::Duration;
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};

async fn forecast(world: &Oncall) -> (Value, String) {
    let report = world.event(&json!({"action": "forecast"})).await.unwrap();
    let lines = report["forecast"].as_array().cloned().unwrap_or_default();
    let text = lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
    (report, text)
}

/// A shift in so many hours from 09:00 today.
fn in_hours(world: &Oncall, bound: &Bound, who: &Engineer, from: i64, to: i64) {
    let at = |hours| world.today("09:00") + Duration::hours(hours);
    world.pagerduty.shift(&bound.schedule, &who.pagerduty, at(from), at(to));
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_days_are_told_with_gaps_brakes_and_people_without_an_okta_user() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|name| world.engineer(name).unwrap());
    let ghost = Engineer { pagerduty: world.pagerduty.user("gil", "gil@nowhere.example"), ..ann.clone() };
    let (shop, alone) = (world.bind("shop", &json!({})), world.bind_alone("alone", &json!({})));
    let mut news = world.bind_alone("new", &json!({}));
    news.schedule = world.pagerduty.schedule_v3("new");
    world.write_binding(&news, &json!({}));
    in_hours(&world, &shop, &ann, -1, 20);
    in_hours(&world, &shop, &bob, 22, 400);
    in_hours(&world, &alone, &ann, -1, 400);
    in_hours(&world, &news, &ghost, 1, 400);
    for who in [&ann, &bob, &cid] {
        in_hours(&world, &news, who, 100, 110);
    }
    world.write_document("broken", "{}");
    world.at("09:00");

    let (report, text) = forecast(&world).await;
    assert_eq!((&report["unknown"], &report["warnings"]), (&json!(0), &json!(4)), "{text}");
    for line in [
        "shop: group break-glass-shop (",
        &format!("  2026-03-02T09:00:00Z to 2026-03-03T05:00:00Z: ann ({})", ann.pagerduty),
        "  2026-03-03T05:00:00Z to 2026-03-03T07:00:00Z: nobody",
        &format!("  2026-03-03T07:00:00Z to 2026-03-09T09:00:00Z: bob ({})", bob.pagerduty),
        "  warning: nobody is on call from 2026-03-03T05:00:00Z to 2026-03-03T07:00:00Z",
        &format!("  warning: from 2026-03-02T10:00:00Z: {} is on call and gets nothing", ghost.pagerduty),
        "  warning: from 2026-03-06T13:00:00Z: 4 on call and 3 to be granted is more than",
        "refused: The parameter ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // What comes true within a day is told, once.
    let told = world.alerts();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|title| title.contains("shop needs a look (GAP_AHEAD)")), "{told:?}");
    assert!(told.iter().any(|title| title.contains("new needs a look (NO_GRANT_AHEAD)")), "{told:?}");
    world.minutes_later(60);
    forecast(&world).await;
    assert_eq!(world.alerts().len(), 3);
    // Nobody was let in, and nothing was written.
    assert_eq!([&shop, &alone, &news].map(|one| world.members(one, &[&ann, &bob, &cid])), [NOBODY; 3]);
    assert!(world.states(&shop).is_err(), "no ledger was written");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_read_is_no_gap() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let [shop, bank] = ["shop", "bank"].map(|id| world.bind_alone(id, &json!({})));
    in_hours(&world, &shop, &ann, -1, 400);
    in_hours(&world, &bank, &ann, -1, 400);
    world.at("09:00");
    world.pagerduty.replace(&format!("GET /v3/schedules/{}", shop.schedule), 1, Reply::html(200));
    let (report, text) = forecast(&world).await;
    assert_eq!((&report["unknown"], &report["warnings"]), (&json!(1), &json!(0)), "{text}");
    assert!(text.contains("source: unknown: ") && text.contains("to 2026-03-09T09:00:00Z: ann"), "{text}");
    assert!(world.alerts().is_empty());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_schedules_of_three_shifts_a_day_are_read_page_by_page_and_none_of_them_alone() {
    let world = Oncall::start().await.unwrap();
    let people = ["ann", "bob", "cid"].map(|name| world.engineer(name).unwrap());
    let bound: Vec<Bound> = (0..50).map(|n| world.bind(&format!("b{n}"), &json!({}))).collect();
    for bound in &bound {
        for (n, who) in (0..22).zip(people.iter().cycle()) {
            in_hours(&world, bound, who, 8 * n - 1, 8 * n + 7);
        }
    }
    world.at("09:00");
    let (report, text) = forecast(&world).await;
    assert_eq!((&report["unknown"], &report["warnings"]), (&json!(0), &json!(0)), "{text}");
    let asked: Vec<String> = world.pagerduty.seen().iter().map(|call| call.path.clone()).collect();
    assert!(asked.len() == 12 && asked.iter().all(|path| path == "/oncalls"), "{asked:?}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_could_not_be_looked_up_is_told_as_unknown_and_warned_of_to_nobody() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind_alone("shop", &json!({}));
    in_hours(&world, &shop, &ann, -1, 10);
    in_hours(&world, &shop, &bob, 10, 400);
    world.at("09:00");
    for who in [&ann, &bob] {
        world.okta.replace(&format!("GET /api/v1/users/{}", who.email.replace('@', "%40")), 9, Reply::html(500));
    }
    let (report, text) = forecast(&world).await;
    assert_eq!((&report["unknown"], &report["warnings"]), (&json!(1), &json!(0)), "{text}");
    let unknown = "  unknown whether they would be granted: ";
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(unknown)).collect();
    assert!(lines.len() == 1 && [&ann, &bob].iter().all(|who| lines[0].contains(&who.pagerduty)), "{text}");
    assert!(world.alerts().is_empty());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_office_hours_is_known_at_night_and_its_gap_is_told_once() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind_alone("shop", &json!({}));
    let policy = world.pagerduty.policy("shop");
    world.pagerduty.policy_level_schedule(&policy, 1, &shop.schedule);
    let document = json!({
        "escalation_policy": policy, "levels": [1], "okta_group": shop.group, "group_name": "break-glass-shop", "max_members": 1,
    });
    world.write_document("shop", &document.to_string());
    in_hours(&world, &shop, &ann, -1, 1);
    in_hours(&world, &shop, &ann, 23, 400);
    for (time, from) in [("09:00", "10:00:00Z"), ("13:00", "13:00:00Z")] {
        world.at(time);
        let (report, text) = forecast(&world).await;
        assert_eq!((&report["unknown"], &report["warnings"]), (&json!(0), &json!(1)), "{text}");
        let gap = format!("  warning: nobody is on call from 2026-03-02T{from} to 2026-03-03T08:00:00Z");
        assert!(text.contains(&gap), "{text}");
        assert_eq!(world.alerts().len(), 1, "{:?}", world.alerts());
    }
    // While PagerDuty says nothing, nobody knows that the gap is filled.
    world.pagerduty.replace("GET /oncalls", 1, Reply::html(200));
    for unknown in [1, 0] {
        assert_eq!(forecast(&world).await.0["unknown"], unknown);
    }
    assert_eq!(world.alerts().len(), 1, "{:?}", world.alerts());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_grows_is_told_again_and_one_that_has_begun_is_not() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind_alone("shop", &json!({}));
    in_hours(&world, &shop, &ann, -1, 20);
    in_hours(&world, &shop, &ann, 22, 400);
    world.at("09:00");
    forecast(&world).await;
    assert_eq!(world.alerts().len(), 1);
    // Nobody is on call from one hour on.
    let placeholder = world.pagerduty.user("nobody", "nobody@example.com");
    world.pagerduty.override_shift(
        &shop.schedule,
        &placeholder,
        world.today("10:00"),
        world.today("09:00") + Duration::hours(20),
    );
    world.write_binding(&shop, &json!({"placeholders": [placeholder]}));
    let (_, text) = forecast(&world).await;
    assert!(text.contains("nobody is on call from 2026-03-02T10:00:00Z to 2026-03-03T07:00:00Z"), "{text}");
    assert_eq!(world.alerts().len(), 2, "{:?}", world.alerts());
    for time in ["11:00", "15:00"] {
        world.at(time);
        forecast(&world).await;
        assert_eq!(world.alerts().len(), 2, "{:?}", world.alerts());
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}
