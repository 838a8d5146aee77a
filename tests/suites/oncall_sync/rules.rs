//! Okta's group rules are advice: they refuse the group that one of them fills, and stop nothing when they cannot be read.

use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};
use std::time::Duration;

const RULES: &str = "GET /api/v1/groups/rules";

/// Ann is on call all day, and Eve is in without being so; nothing has run yet.
async fn shop() -> (Oncall, Bound, Engineer, Engineer) {
    let world = Oncall::start().await.unwrap();
    let [ann, eve] = ["ann", "eve"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({"adoption": "revoke"}));
    world.on_call(&shop, &ann, "08:00", "20:00");
    world.okta.add(&shop.group, &eve.okta);
    (world, shop, ann, eve)
}

fn refusal(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"errorCode": code, "errorSummary": "no", "errorId": "oaeTest"}))
}

/// An active rule that fills this group.
fn fills(group: &str) -> Value {
    json!({"type": "group_rule", "status": "ACTIVE", "actions": {"assignUserToGroups": {"groupIds": [group]}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_and_go_whatever_is_wrong_with_the_list_of_rules() {
    for (what, reply) in [
        ("not enabled in this org", refusal(401, "E0000015")),
        ("forbidden", refusal(403, "E0000006")),
        ("no such endpoint", refusal(404, "E0000008")),
        ("a proxy's 404", Reply::html(404)),
        ("Okta's fault", refusal(500, "E0000009")),
        ("a login page", Reply::html(200)),
        ("an object", Reply::json(200, &json!({"rules": []}))),
        (
            "odd ones",
            Reply::json(200, &json!([null, 7, {}, {"status": "ACTIVE"}, {"status": "ACTIVE", "actions": null}])),
        ),
    ] {
        let (world, shop, ann, eve) = shop().await;
        world.okta.replace(RULES, 3, reply);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &eve]), ["ann"], "{what}: {report}");
        assert_eq!(report["unknown"], 0, "{what}: {report}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_and_go_while_the_list_of_rules_hangs() {
    let (world, shop, ann, eve) = shop().await;
    for nth in 1..=3 {
        let fault = Fault::Slow(Duration::from_mins(1));
        world.faults.inject(Point { call: format!(" okta {RULES} #{nth}"), moment: Moment::Before, fault });
    }
    let report = world.tick().await.unwrap();
    assert_eq!((world.members(&shop, &[&ann, &eve]), &report["unknown"]), (vec!["ann".to_owned()], &json!(0)));
    assert!(!world.faults.struck().is_empty());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_rule_hides_no_other() {
    let (world, shop, ann, eve) = shop().await;
    world.okta.replace(RULES, 1, Reply::json(200, &json!([null, fills(&shop.group), {"status": "ACTIVE"}])));
    let report = world.tick().await.unwrap();
    assert_eq!(report["unknown"], 1, "{report}");
    assert_eq!(world.members(&shop, &[&ann, &eve]), ["eve"]);
    assert!(world.datadog.events().iter().any(|event| event.to_string().contains("GROUP_FILLED_BY_RULE")));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_verdict_stands_until_the_rules_are_read_again() {
    let (world, shop, ann, eve) = shop().await;
    world.okta.rule(&shop.group, true);
    let report = world.tick().await.unwrap();
    assert_eq!((world.members(&shop, &[&ann, &eve]), &report["unknown"]), (vec!["eve".to_owned()], &json!(1)));
    world.okta.delete_rules();
    world.okta.replace(RULES, 2, refusal(500, "E0000009"));
    for _ in 0..2 {
        world.minutes_later(1);
        let report = world.tick().await.unwrap();
        assert_eq!((world.members(&shop, &[&ann, &eve]), &report["unknown"]), (vec!["eve".to_owned()], &json!(1)));
    }
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &eve]), ["ann"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_the_org_lacks_is_no_word_about_the_credential() {
    let (world, ..) = shop().await;
    world.okta.replace(RULES, 10, refusal(401, "E0000015"));
    for _ in 0..3 {
        world.tick().await.unwrap();
        world.minutes_later(1);
    }
    let reads = |name: &str| world.faults.recorded().iter().filter(|call| call.contains(name)).count();
    assert_eq!(reads("GetSecretValue keyturn/okta"), 1, "{:?}", world.faults.recorded());
    assert_eq!(reads(RULES), 3, "asked again by each tick, once");
    assert_eq!(world.violations(), Vec::<String>::new());
}
