//! Shifts begin, end, and are taken over; sources fall silent; ledgers get lost.

use chrono::TimeDelta;
use keyturn_tests::aws::parameters_client;
use keyturn_tests::stacks::oncall::{Bound, CONFIG_PATH, Engineer, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};

pub(super) const NOBODY: [&str; 0] = [];

/// Why people left in a tick, by the report.
pub(super) fn reasons(report: &Value) -> Vec<&str> {
    let revoked = report["revoked"].as_array().map(Vec::as_slice).unwrap_or_default();
    revoked.iter().filter_map(|change| change["reason"].as_str()).collect()
}

/// Deletes a parameter as somebody with the AWS console would.
pub(super) async fn delete_parameter(world: &Oncall, name: &str) {
    parameters_client(&world.aws.client_url()).delete_parameter().name(name).send().await.unwrap();
}

/// From now on PagerDuty answers `readings` of all schedules with 500.
pub(super) fn pagerduty_is_down(world: &Oncall, bound: &Bound, readings: usize) {
    for call in ["GET /oncalls".to_owned(), format!("GET /v3/schedules/{}", bound.schedule)] {
        world.pagerduty.replace(&call, readings, Reply::html(500));
    }
}

/// From now on Okta answers `lists` lists of the group's members with 500.
pub(super) fn okta_is_down(world: &Oncall, bound: &Bound, lists: usize) {
    world.okta.replace(&format!("GET /api/v1/groups/{}/users", bound.group), lists, Reply::html(500));
}

/// Ann until noon, then Bob until 17:00; Ann is in.
async fn ann_then_bob(more: &Value) -> (Oncall, Bound, Engineer, Engineer) {
    let world = Oncall::start().await.unwrap();
    let (ann, bob) = (world.engineer("ann").unwrap(), world.engineer("bob").unwrap());
    let shop = world.bind("shop", more);
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.on_call(&shop, &bob, "12:00", "17:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"]);
    (world, shop, ann, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_follows_the_shifts() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    for (time, inside) in [("11:59", vec!["ann"]), ("12:00", vec!["bob"]), ("16:59", vec!["bob"]), ("17:00", vec![])] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside, "{time}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_overridden_leaves_and_comes_back() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    world.at("09:30");
    world.pagerduty.override_shift(&shop.schedule, &bob.pagerduty, world.today("09:00"), world.today("10:30"));
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"]);
    assert_eq!(reasons(&report), ["overridden"]);
    world.at("10:30");
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"]);
    assert_eq!(reasons(&report), ["shift_ended"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_overstays_because_pagerduty_is_down() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    world.at("11:58");
    world.tick().await.unwrap();
    pagerduty_is_down(&world, &shop, 3);
    for (time, inside) in [("11:59", vec!["ann"]), ("12:00", vec![]), ("12:01", vec![]), ("12:02", vec!["bob"])] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside, "{time}");
        assert_eq!(report["unknown"], i32::from(time != "12:02"), "{time}");
        assert_eq!(reasons(&report).contains(&"shift_ended"), time == "12:00", "{report}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_leaves_when_pagerduty_was_silent_for_max_stale() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({"max_stale": "30m"})).await;
    pagerduty_is_down(&world, &shop, 3);
    for (time, inside) in [("09:15", vec!["ann"]), ("09:29", vec!["ann"]), ("09:30", vec![])] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside, "{time}: {report}");
    }
    let event = world.datadog.events().into_iter().next_back().unwrap();
    assert_eq!(event["title"], "Break-glass revoked: shop (stale)");
    assert_eq!(event["alert_type"], "error");
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_counts_when_it_was_read_often_enough_in_a_row() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({"gap_confirm_runs": 3})).await;
    for (empty, inside) in [
        (true, vec!["ann"]),
        (true, vec!["ann"]),
        (false, vec!["ann"]),
        (true, vec!["ann"]),
        (true, vec!["ann"]),
        (true, vec![]),
        (true, vec![]),
    ] {
        world.minutes_later(1);
        world.pagerduty.clear(&shop.schedule);
        if !empty {
            world.on_call(&shop, &ann, "08:00", "12:00");
        }
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside);
        assert!(reasons(&report).iter().all(|reason| *reason == "gap"), "{report}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engineer_stays_for_post_shift_beside_the_next_one() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({"post_shift": "10m"})).await;
    world.at("11:00");
    world.tick().await.unwrap();
    for (time, inside) in [("12:00", vec!["ann", "bob"]), ("12:09", vec!["ann", "bob"]), ("12:10", vec!["bob"])] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside, "{time}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_account_stays_through_everything() {
    let world = Oncall::start().await.unwrap();
    let (ann, seal) = (world.engineer("ann").unwrap(), world.engineer("seal").unwrap());
    let more = json!({"keep": [seal.okta], "adoption": "revoke", "max_stale": "5m", "gap_confirm_runs": 1});
    let shop = world.bind("shop", &more);
    world.okta.add(&shop.group, &seal.okta);
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &seal]), ["ann", "seal"]);
    world.okta.set_status(&seal.okta, "SUSPENDED");
    pagerduty_is_down(&world, &shop, 1);
    world.at("11:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &seal]), ["seal"]);
    for time in ["12:00", "12:01"] {
        world.at(time);
        world.tick().await.unwrap();
    }
    assert_eq!(world.members(&shop, &[&ann, &seal]), ["seal"]);
    assert!(!world.ledger(&shop).unwrap().to_string().contains(&seal.okta));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_put_in_at_okta_leaves_or_is_reported() {
    for (out_of_band, inside, title) in [
        ("revoke", vec!["ann"], "Break-glass revoked: shop (out_of_band)"),
        ("report", vec!["ann", "eve"], "Break-glass: shop needs a look (OUTSIDER_REPORTED)"),
    ] {
        let (world, shop, ann, _) = ann_then_bob(&json!({"out_of_band": out_of_band})).await;
        let eve = world.engineer("eve").unwrap();
        world.okta.add(&shop.group, &eve.okta);
        for _ in 0..2 {
            world.minutes_later(1);
            world.tick().await.unwrap();
            assert_eq!(world.members(&shop, &[&ann, &eve]), inside);
        }
        let told: Vec<Value> = world.datadog.events().into_iter().filter(|event| event["title"] == title).collect();
        assert_eq!(told.len(), 1, "{:?}", world.alerts());
        assert_eq!(told[0]["alert_type"], "error");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_the_group_before_the_first_run_is_judged_by_adoption() {
    for (adoption, inside) in [("report", vec!["ann", "eve"]), ("revoke", vec!["ann"])] {
        let world = Oncall::start().await.unwrap();
        let (ann, eve, mal) =
            (world.engineer("ann").unwrap(), world.engineer("eve").unwrap(), world.engineer("mal").unwrap());
        let shop = world.bind("shop", &json!({"adoption": adoption}));
        world.on_call(&shop, &ann, "08:00", "12:00");
        world.okta.add(&shop.group, &ann.okta);
        world.okta.add(&shop.group, &eve.okta);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &eve]), inside, "{adoption}");
        assert_eq!(report["granted"], json!([]));
        // Those who come later are outsiders all the same.
        world.okta.add(&shop.group, &mal.okta);
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &eve, &mal]), inside, "{adoption}");
        let lost = "Break-glass: shop needs a look (LEDGER_LOST)".to_owned();
        assert_eq!(world.alerts().iter().filter(|title| **title == lost).count(), 1, "{:?}", world.alerts());
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_empties_no_group_while_pagerduty_answers() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    world.tick().await.unwrap();
    let before = world.states(&shop).unwrap();
    for _ in 0..2 {
        delete_parameter(&world, &shop.ledger_name()).await;
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"], "{report}");
        assert_eq!(world.states(&shop).unwrap(), before);
        world.tick().await.unwrap();
    }
    let told = world.alerts().into_iter().filter(|title| title.contains("LEDGER_LOST")).count();
    assert_eq!(told, 3, "the first run and each loss: {:?}", world.alerts());
    world.at("12:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_somebody_else_wrote_puts_nobody_back_and_makes_nobody_an_outsider() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    let old = world.aws.parameters.value(&shop.ledger_name()).unwrap();
    world.at("11:00");
    let revoke = json!({"action": "revoke", "binding": "shop", "user": ann.okta, "reason": "left"});
    world.event(&revoke).await.unwrap();
    let grant = json!({"action": "grant", "binding": "shop", "user": bob.okta, "minutes": 30, "reason": "INC-42"});
    world.event(&grant).await.unwrap();
    // Cut off, of another kind, of another group, the one from before the revoke, and one of long ago.
    let first = first_format(&shop, &ann);
    for (times, foreign) in [(1, "{"), (2, "[]"), (3, r#"{"group": "00gother"}"#), (4, old.as_str()), (5, &first)] {
        world.aws.parameters.put(&shop.ledger_name(), foreign);
        for _ in 0..2 {
            world.minutes_later(1);
            let report = world.tick().await.unwrap();
            assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"], "{foreign}: {report}");
        }
        let told = world.alerts().into_iter().filter(|title| title.contains("LEDGER_UNREADABLE")).count();
        assert_eq!(told, times, "{foreign}: {:?}", world.alerts());
    }
    assert_eq!(world.alerts().iter().filter(|title| title.contains("LEDGER_LOST")).count(), 1, "the first run");
    world.at("11:30");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), NOBODY, "the grant by hand has ended, and ann is held");
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// A ledger as Keyturn wrote them first, in which Ann is granted until noon.
fn first_format(shop: &Bound, ann: &Engineer) -> String {
    let row = json!({
        "okta_id": ann.okta, "pagerduty_id": ann.pagerduty, "source": "oncall", "granted_at": "2026-03-02T08:00:00Z",
        "shift_end": "2026-03-02T12:00:00Z", "expires_at": "2026-03-02T12:00:00Z",
    });
    json!({"group": shop.group, "confirmed_at": "2026-03-02T09:00:00Z", "rows": [row]}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_the_first_format_is_followed_and_written_anew_at_once() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    delete_parameter(&world, &shop.ledger_name()).await;
    world.aws.parameters.put(&shop.ledger_name(), &first_format(&shop, &ann));
    let asked = || world.faults.recorded().iter().filter(|call| call.contains("GetParameterHistory")).count();
    for _ in 0..3 {
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!((world.members(&shop, &[&ann, &bob]), asked()), (vec!["ann".to_owned()], 1));
    }
    assert_eq!(world.states(&shop).unwrap()[0].1["granted"]["on_call"]["shift_end"], "2026-03-02T12:00:00Z");
    assert!(!world.alerts().iter().any(|title| title.contains("LEDGER_UNREADABLE")), "{:?}", world.alerts());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_which_no_version_can_be_read_changes_nobody_for_a_day_and_grants_nobody_until_it_is_deleted() {
    let world = Oncall::start().await.unwrap();
    let [ann, eve] = ["ann", "eve"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.okta.add(&shop.group, &eve.okta);
    world.aws.parameters.put(&shop.ledger_name(), "{");
    for _ in 0..2 {
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &eve]), ["eve"]);
        assert_eq!(world.aws.parameters.value(&shop.ledger_name()).unwrap(), "{");
    }
    let told = world.alerts().into_iter().filter(|title| title.contains("LEDGER_UNREADABLE")).count();
    assert_eq!(told, 1, "{:?}", world.alerts());
    let now = world.clock.now();
    for (age, inside) in [(24 * 60 - 1, vec!["eve"]), (24 * 60, vec![])] {
        world.aws.parameters.set_modified(&shop.ledger_name(), now - TimeDelta::minutes(age));
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &eve]), inside, "{age}: {report}");
    }
    assert_eq!(world.alerts().pop().unwrap(), "Break-glass revoked: shop (out_of_band)");
    delete_parameter(&world, &shop.ledger_name()).await;
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &eve]), ["ann"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_and_an_outage_keep_people_for_max_stale_and_no_longer() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({"max_stale": "2h"})).await;
    delete_parameter(&world, &shop.ledger_name()).await;
    pagerduty_is_down(&world, &shop, 3);
    for (time, inside) in [("09:30", vec!["ann"]), ("11:29", vec!["ann"]), ("11:30", vec![])] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside, "{time}: {report}");
        assert_eq!(reasons(&report), if time == "11:30" { vec!["stale"] } else { vec![] });
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_not_begun_anew_while_okta_says_nothing() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    delete_parameter(&world, &shop.ledger_name()).await;
    okta_is_down(&world, &shop, 1);
    let report = world.tick().await.unwrap();
    assert_eq!(report["unknown"], 1);
    assert_eq!(world.aws.parameters.value(&shop.ledger_name()), None);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"]);
    assert!(world.ledger(&shop).is_ok());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_time_is_up_leaves_although_okta_lists_nobody() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    world.at("12:00");
    okta_is_down(&world, &shop, 1);
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), NOBODY, "{report}");
    assert_eq!(reasons(&report), ["shift_ended"]);
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_brings_in_the_asked_levels_only() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob, cal] = ["ann", "bob", "cal"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    let policy = world.pagerduty.policy("shop");
    world.pagerduty.policy_level_schedule(&policy, 1, &shop.schedule);
    world.pagerduty.policy_level_user(&policy, 2, &bob.pagerduty);
    world.pagerduty.policy_level_user(&policy, 3, &cal.pagerduty);
    let document = json!({
        "escalation_policy": policy, "levels": [1, 2], "okta_group": shop.group, "group_name": "break-glass-shop",
    });
    world.write_document("shop", &document.to_string());
    let people = [&ann, &bob, &cal];
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &people), ["ann", "bob"]);
    world.at("12:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &people), ["bob"], "on call for good");
    world.write_document("shop", &document.to_string().replace("[1,2]", "[1,3]"));
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &people), ["cal"]);
    assert_eq!(reasons(&report), ["left_schedule"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_two_schedules_comes_in_once_and_leaves_at_the_later_end() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    let second = world.pagerduty.schedule("second");
    world.write_binding(&shop, &json!({"schedules": [shop.schedule, second]}));
    world.on_call(&shop, &ann, "08:00", "11:00");
    world.pagerduty.shift(&second, &ann.pagerduty, world.today("08:30"), world.today("13:00"));
    let report = world.tick().await.unwrap();
    assert_eq!(report["granted"], json!([{"binding": "shop", "user": ann.okta}]));
    assert_eq!(world.states(&shop).unwrap()[0].1["granted"]["on_call"]["shift_end"], "2026-03-02T13:00:00Z");
    for (time, inside) in [("11:00", vec!["ann"]), ("12:59", vec!["ann"]), ("13:00", vec![])] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), inside, "{time}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_half_read_source_grants_nobody() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    world.write_binding(&shop, &json!({"schedules": [shop.schedule, "PNOTHERE"]}));
    world.at("12:00");
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), NOBODY, "{report}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_whose_schedule_is_gone_stops_nobody_else() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    let bank = world.bind("bank", &json!({"schedules": ["PNOTHERE"]}));
    world.okta.add(&bank.group, &bob.okta);
    for (time, inside) in [("11:00", vec!["ann"]), ("12:00", vec!["bob"])] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(report["unknown"], 1);
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside);
        assert_eq!(world.members(&bank, &[&ann, &bob]), ["bob"], "nobody knows whether he is on call there");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_their_document_people_leave_at_their_recorded_end() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({"max_stale": "4h"})).await;
    delete_parameter(&world, &format!("{CONFIG_PATH}/shop")).await;
    for (time, inside) in [("11:59", vec!["ann"]), ("12:00", vec![]), ("12:01", vec![])] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside, "{time}: {report}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_begins_at_once_and_the_old_one_drains() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({"max_stale": "4h"})).await;
    let mut new = shop.clone();
    new.group = world.okta.group("break-glass-shop");
    world.write_binding(&new, &json!({"max_stale": "4h"}));
    for (time, old_inside, new_inside) in [("09:01", vec!["ann"], ["ann"]), ("12:00", vec![], ["bob"])] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), old_inside, "{time}: {report}");
        assert_eq!(world.members(&new, &[&ann, &bob]), new_inside, "{time}: {report}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waited_brings_nobody_back() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    let scheduled = |time: &str| {
        json!({
            "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
            "source": "aws.events", "account": "123456789012", "time": time, "region": "eu-central-1",
            "resources": ["arn:aws:events:eu-central-1:123456789012:rule/tick"], "detail": {},
        })
    };
    world.at("12:30");
    for event in [scheduled("2026-03-02T12:30:00Z"), scheduled("2026-03-02T09:00:00Z"), json!({})] {
        world.event(&event).await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"]);
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_schedule_is_followed_as_before() {
    let (world, shop, ann, bob) = ann_then_bob(&json!({})).await;
    world.pagerduty.upgrade(&shop.schedule);
    for (time, inside) in [("11:59", vec!["ann"]), ("12:00", vec!["bob"]), ("17:00", vec![])] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), inside, "{time}: {report}");
        assert_eq!(report["unknown"], 0);
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}
