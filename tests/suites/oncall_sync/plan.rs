//! `plan`: what a tick would do, as a person reads it.

use keyturn_tests::stacks::oncall::{CONFIG_PATH, Oncall};
use serde_json::{Value, json};

async fn plan(world: &Oncall) -> Vec<String> {
    let answer = world.event(&json!({"action": "plan"})).await.unwrap();
    let lines = answer["plan"].as_array().unwrap();
    lines.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_reads_the_same_each_time_and_does_nothing() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.on_call(&shop, &bob, "12:00", "17:00");
    let bank = world.bind("bank", &json!({"schedules": ["PNOTHERE"]}));
    world.at("11:59");
    world.tick().await.unwrap();
    world.okta.add(&shop.group, &eve.okta);
    world.write_document("zoo", "{\"schedules\": []}");
    world.at("12:00");

    let ledger = world.ledger(&shop).unwrap();
    let before = world.faults.recorded().len();
    world.forget_requests();
    let expected = [
        format!("bank: group break-glass-bank ({})", bank.group),
        "  source: unknown: PagerDuty has no schedule PNOTHERE: neither /schedules nor /v3/schedules knows it. \
         (PAGERDUTY_NOT_FOUND)"
            .to_owned(),
        "  members: nobody".to_owned(),
        "  nothing to change".to_owned(),
        format!("shop: group break-glass-shop ({})", shop.group),
        format!("  source: known, on call: {}", bob.pagerduty),
        format!("  members: ann@corp.example ({}), eve@corp.example ({})", ann.okta, eve.okta),
        format!("  revoke ann@corp.example ({}): shift_ended since 2026-03-02T12:00:00Z", ann.okta),
        format!("  revoke eve@corp.example ({}): out_of_band", eve.okta),
        format!("  grant {}: on call as {} until 2026-03-02T17:00:00Z", bob.okta, bob.pagerduty),
        format!(
            "refused: The parameter {CONFIG_PATH}/zoo is no binding: the document: missing field `okta_group` at line 1 \
             column 17. Correct it; until then nothing changes but that recorded shifts end: aws ssm put-parameter \
             --overwrite --name {CONFIG_PATH}/zoo --value file://binding.json"
        ),
    ];
    assert_eq!(plan(&world).await, expected);
    assert_eq!(plan(&world).await, expected);

    assert_eq!(world.members(&shop, &[&ann, &eve]), ["ann", "eve"]);
    assert_eq!(world.ledger(&shop).unwrap(), ledger);
    let mut calls = world.requests();
    calls.extend(world.datadog.seen());
    calls.extend(world.slack.seen());
    assert!(calls.iter().all(|call| call.method == "GET"), "{calls:?}");
    let recorded = world.faults.recorded().split_off(before);
    assert!(recorded.len() > calls.len() && !recorded.iter().any(|call| call.contains("PutParameter")), "{recorded:?}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_who_gets_nothing_and_why() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let ghost = world.pagerduty.user_without_email("ghost");
    let shop = world.bind("shop", &json!({}));
    let second = world.pagerduty.schedule("second");
    world.write_binding(&shop, &json!({"schedules": [shop.schedule, second], "max_members": 1}));
    world.on_call(&shop, &ann, "08:00", "20:00");
    world.pagerduty.shift(&second, &ghost, world.today("08:00"), world.today("20:00"));
    let mut on_call = [ann.pagerduty.as_str(), ghost.as_str()];
    on_call.sort_unstable();
    assert_eq!(
        plan(&world).await,
        [
            format!("shop: group break-glass-shop ({})", shop.group),
            format!("  source: known, on call: {}", on_call.join(", ")),
            "  members: nobody".to_owned(),
            "  note: 2 on call and 1 to be granted is more than max_members or max_new_per_run allows; nobody is granted"
                .to_owned(),
            format!("  note: {ghost} is on call and gets nothing: no email address at PagerDuty"),
            "  note: there is no ledger yet, or it was lost; who is in the group is judged by \"adoption\"".to_owned(),
            "  nothing to change".to_owned(),
        ]
    );
    assert!(world.aws.parameters.value(&shop.ledger_name()).is_none());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_does_what_the_plan_said() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "20:00");
    assert!(plan(&world).await.iter().any(|line| line.starts_with(&format!("  grant {}", ann.okta))));
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    assert_eq!(plan(&world).await.last().unwrap(), "  nothing to change");
    assert_eq!(world.violations(), Vec::<String>::new());
}
