//! What people are told: each thing once, in words that mention nobody, and never in the way of a change.

use super::shifts::reasons;
use chrono::TimeDelta;
use keyturn_tests::aws::Refusal;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};
use std::time::Duration;

/// Ann is on call until noon; nothing has run yet.
async fn scene() -> (Oncall, Bound, Engineer) {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    (world, shop, ann)
}

fn event(world: &Oncall, title: &str) -> Value {
    let found: Vec<Value> = world.datadog.events().into_iter().filter(|event| event["title"] == title).collect();
    assert_eq!(found.len(), 1, "{title}: {:?}", world.alerts());
    found[0].clone()
}

/// The metric's values in everything that was logged.
fn metric(logs: &str, name: &str) -> Vec<u64> {
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line[name].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_an_error_event_of_its_user_and_shift() {
    let (world, shop, ann) = scene().await;
    world.tick().await.unwrap();
    let noon = world.today("12:00").timestamp();
    assert_eq!(
        event(&world, "Break-glass granted: shop"),
        json!({
            "title": "Break-glass granted: shop",
            "text": format!(
                "Okta user {} gets into group break-glass-shop ({}), which carries break-glass rights. Why: on call. \
                 Until: 2026-03-02T12:00:00Z.",
                ann.okta, shop.group
            ),
            "alert_type": "error",
            "aggregation_key": format!("shop:{}:{noon}", ann.okta),
            "tags": ["service:oncall-sync", "binding:shop", format!("group:{}", shop.group), "change:grant"],
            "date_happened": world.clock.now().timestamp(),
            "source_type_name": "keyturn",
            "priority": "normal",
        })
    );
    let text = format!(
        "ERROR: Break-glass granted: shop\nOkta user {} gets into group break-glass-shop ({}), which carries \
         break-glass rights. Why: on call. Until: 2026-03-02T12:00:00Z.",
        ann.okta, shop.group
    );
    let message = json!({
        "text": "ERROR: Break-glass granted: shop",
        "blocks": [{"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}}],
    });
    assert!(world.slack.messages().contains(&message), "{:?}", world.slack.messages());

    world.at("11:59");
    world.tick().await.unwrap();
    world.at("12:00");
    world.tick().await.unwrap();
    let left = event(&world, "Break-glass revoked: shop (shift_ended)");
    assert_eq!(left["alert_type"], "info");
    assert_eq!(left["aggregation_key"], format!("shop:{}:{noon}", ann.okta));
    assert!(left["tags"].as_array().unwrap().contains(&json!("reason:shift_ended")), "{left}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_mention_nobody_and_format_nothing() {
    for name in [
        "<!channel> & <@U024BE7LH>",
        "@here @all",
        "%%% \n %%%".replace('\n', " ").as_str(),
        "*bold* _it_ `code` [x](https://evil.example)",
        "<https://evil.example|Security>",
        "\u{202e}reversed\u{200b}",
    ] {
        let (world, shop, ann) = scene().await;
        world.okta.rename_group(&shop.group, name);
        world.write_binding(&shop, &json!({"group_name": name}));
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), ["ann"], "{name}");
        let text = event(&world, "Break-glass granted: shop")["text"].as_str().unwrap().to_owned();
        let messages = json!(world.slack.messages());
        for banned in ["@", "%%%", "\u{202e}", "\u{200b}"] {
            assert!(!text.contains(banned), "{banned:?}: {text}");
        }
        for banned in ["@", "<", ">", "mrkdwn", "\u{202e}", "\u{200b}"] {
            assert!(!messages.to_string().contains(banned), "{banned:?}: {messages}");
        }
        assert_eq!(world.violations(), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silent_channel_does_not_silence_the_other_nor_stop_a_grant() {
    let (world, shop, ann) = scene().await;
    world.datadog.replace("POST /api/v1/events", 2, Reply::html(500));
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    assert_eq!(world.alerts(), Vec::<String>::new());
    let texts: Vec<Value> = world.slack.messages().iter().map(|message| message["text"].clone()).collect();
    assert!(texts.contains(&json!("ERROR: Break-glass granted: shop")), "{texts:?}");

    world.slack.replace(1, Reply::html(500));
    world.at("12:00");
    world.tick().await.unwrap();
    // What Datadog did not take is sent again, to it alone.
    assert_eq!(world.alerts().iter().filter(|title| title.contains("granted")).count(), 1, "{:?}", world.alerts());
    event(&world, "Break-glass revoked: shop (shift_ended)");
    assert_eq!(world.slack.messages().len(), texts.len());
    world.minutes_later(1);
    world.tick().await.unwrap();
    let told = world.slack.messages().split_off(texts.len());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["text"], "INFO: Break-glass revoked: shop (shift_ended)");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_datadog_is_down_the_log_and_the_metric_say_so() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    let hour = TimeDelta::hours(1);
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, world.clock.now() - hour, world.clock.now() + hour);
    world.datadog.replace("POST /api/v1/events", 2, Reply::html(503));
    let lambda = world.lambda(None).await.unwrap();
    lambda.invoke(json!({})).await.result.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    let logs = lambda.logs().unwrap();
    assert_eq!(metric(&logs, "AlertFailed"), [2], "{logs}");
    let line = logs.lines().find(|line| line.contains("\"ALERT_FAILED\"")).unwrap();
    assert!(line.contains("\"level\":\"ERROR\"") && line.contains("Break-glass"), "{line}");
    lambda.invoke(json!({})).await.result.unwrap();
    assert_eq!(metric(&lambda.logs().unwrap(), "AlertFailed"), [2, 0]);
    // A grant by hand whose alert nobody took, nor its correction.
    let cal = world.engineer("cal").unwrap();
    world.datadog.replace("POST /api/v1/events", 2, Reply::html(503));
    world.okta.replace(&format!("PUT /api/v1/groups/{}/users/{}", shop.group, cal.okta), 1, Reply::html(500));
    let grant = json!({"action": "grant", "binding": "shop", "user": cal.okta, "minutes": 5, "reason": "INC-42"});
    assert_eq!(lambda.invoke(grant).await.result.unwrap_err().error_type, "CHANGE_UNFINISHED");
    let revoke = json!({"action": "revoke", "binding": "shop", "user": ann.okta, "reason": "a lost laptop"});
    world.datadog.replace("POST /api/v1/events", 1, Reply::html(503));
    lambda.invoke(revoke).await.result.unwrap();
    assert_eq!(metric(&lambda.logs().unwrap(), "AlertFailed"), [2, 0, 2, 1]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_channel_people_come_and_go_all_the_same() {
    let builder = Oncall::builder().variable("DATADOG_SECRET_ID", "").variable("SLACK_SECRET_ID", "");
    let world = builder.start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    for (time, inside) in [("09:00", vec!["ann"]), ("12:00", vec![])] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), inside, "{time}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_waits_for_no_alert() {
    let (world, shop, ann) = scene().await;
    world.tick().await.unwrap();
    world.at("12:00");
    let posts = world.faults.recorded().iter().filter(|call| call.contains("POST /api/v1/events")).count();
    let call = format!(" Datadog POST /api/v1/events #{}", posts + 1);
    world.faults.inject(Point { call, moment: Moment::Before, fault: Fault::Slow(Duration::from_secs(2)) });
    let mut tick = Box::pin(world.tick());
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while !world.okta.members(&shop.group).is_empty() {
        tokio::select! {
            report = &mut tick => panic!("the alert was first: {report:?}"),
            _ = looks.tick() => {}
        }
    }
    let report = tick.await.unwrap();
    assert_eq!(reasons(&report), ["shift_ended"]);
    assert_eq!(world.members(&shop, &[&ann]), Vec::<String>::new());
    assert_eq!(world.faults.struck().len(), 1);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_told_once_while_it_lasts_and_again_when_it_is_back() {
    let (world, shop, ann) = scene().await;
    let bob = world.engineer("bob").unwrap();
    let second = world.pagerduty.schedule("second");
    world.pagerduty.shift(&second, &bob.pagerduty, world.today("08:00"), world.today("20:00"));
    let both = json!({"schedules": [shop.schedule, second], "max_members": 1});
    let told = || world.alerts().iter().filter(|title| title.contains("BRAKE_PULLED")).count();
    for (more, times) in [(&both, 1), (&both, 1), (&json!({}), 1), (&both, 2), (&both, 2)] {
        world.write_binding(&shop, more);
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!(told(), times);
    }
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"], "nobody comes in while the brake is pulled");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_tried_again_is_not_told_again() {
    let (world, shop, ann) = scene().await;
    let path = format!("/api/v1/groups/{}/users/{}", shop.group, ann.okta);
    world.okta.replace(&format!("PUT {path}"), 2, Reply::html(500));
    for _ in 0..3 {
        world.minutes_later(1);
        world.tick().await.unwrap();
    }
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    event(&world, "Break-glass granted: shop");
    world.okta.replace(&format!("DELETE {path}"), 2, Reply::html(500));
    world.at("12:00");
    for _ in 0..3 {
        world.tick().await.unwrap();
        world.minutes_later(1);
    }
    assert!(world.okta.members(&shop.group).is_empty());
    event(&world, "Break-glass revoked: shop (shift_ended)");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_okta_refuses_is_told_as_that_and_as_done_only_when_it_is() {
    let (world, shop, ann) = scene().await;
    world.tick().await.unwrap();
    let path = format!("DELETE /api/v1/groups/{}/users/{}", shop.group, ann.okta);
    world.okta.replace(&path, 2, Reply::html(403));
    world.at("12:00");
    for _ in 0..2 {
        world.tick().await.unwrap();
        world.minutes_later(1);
        assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
        let event = event(&world, "Break-glass: shop needs a look (NOT_REVOKED)");
        assert_eq!(event["alert_type"], "error");
        assert!(!world.alerts().iter().any(|title| title.contains("Break-glass revoked")), "{:?}", world.alerts());
    }
    world.tick().await.unwrap();
    assert!(world.okta.members(&shop.group).is_empty());
    event(&world, "Break-glass revoked: shop (shift_ended)");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_seen_late_is_logged_once_and_its_delay_is_measured() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    let hour = TimeDelta::hours(1);
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, world.clock.now() - hour, world.clock.now() + hour);
    let lambda = world.lambda(None).await.unwrap();
    lambda.invoke(json!({})).await.result.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    // The list of members shows the removal only after the function has stopped looking.
    world.okta.lag(&shop.group, 50);
    let revoke = json!({"action": "revoke", "binding": "shop", "user": ann.okta, "reason": "left the company"});
    assert_eq!(lambda.invoke(revoke).await.result.unwrap_err().error_type, "CHANGE_UNFINISHED");
    let lines = |code: &str| lambda.logs().unwrap().matches(&format!("\"code\":\"{code}\"")).count();
    assert_eq!((lines("REVOKED"), lines("CHANGE_UNFINISHED")), (0, 2));
    world.okta.lag(&shop.group, 0);
    for _ in 0..2 {
        lambda.invoke(json!({})).await.result.unwrap();
        assert_eq!((lines("REVOKED"), lines("GRANTED")), (1, 1));
    }
    let logs = lambda.logs().unwrap();
    assert_eq!(metric(&logs, "Revokes"), [0, 0, 1, 0], "{logs}");
    assert!(world.okta.members(&shop.group).is_empty());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_document_does_not_hide_that_the_function_runs() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let (shop, bank) = (world.bind("shop", &json!({})), world.bind("bank", &json!({})));
    let hour = TimeDelta::hours(1);
    for bound in [&shop, &bank] {
        let now = world.clock.now();
        world.pagerduty.shift(&bound.schedule, &ann.pagerduty, now - hour, now + hour);
    }
    let lambda = world.lambda(None).await.unwrap();
    lambda.invoke(json!({})).await.result.unwrap();
    let unresolved =
        |logs: &str| logs.lines().filter(|line| line.contains("\"bank\"") && line.contains("\"Unresolved\":1")).count();
    // Of the first run itself.
    let mut before = unresolved(&lambda.logs().unwrap());
    // Nor does it look like a source that cannot be read: its age would only grow.
    let ages_of_bank = |logs: &str| {
        logs.lines().filter(|line| line.contains("\"bank\"") && line.contains("\"SourceAgeSeconds\":")).count()
    };
    let mut aged = ages_of_bank(&lambda.logs().unwrap());
    let policy = world.pagerduty.policy("nobody");
    let document = |more: &Value| {
        let group = json!({"okta_group": bank.group, "group_name": "break-glass-bank"});
        let mut document = group;
        more.as_object().unwrap().iter().for_each(|(key, value)| document[key] = value.clone());
        document.to_string()
    };
    let wrong = [
        ("{}".to_owned(), "BINDING_INVALID"),
        (document(&json!({"schedules": ["P404"]})), "PAGERDUTY_NOT_FOUND"),
        (document(&json!({"escalation_policy": policy, "levels": [1]})), "PAGERDUTY_POLICY_EMPTY"),
        (document(&json!({"schedules": [bank.schedule], "rotations": ["R404"]})), "ROTATION_UNKNOWN"),
        (document(&json!({"schedules": [bank.schedule], "group_name": "other"})), "GROUP_NAME_DIFFERS"),
        (document(&json!({"schedules": [bank.schedule], "eligible_group": "00g404"})), "GROUP_NOT_FOUND"),
    ];
    for (times, (text, code)) in (1..).zip(&wrong) {
        world.write_document("bank", text);
        lambda.invoke(json!({})).await.result.unwrap();
        let logs = lambda.logs().unwrap();
        assert_eq!(metric(&logs, "RunsOk"), vec![1; times + 1], "{code}: {logs}");
        assert!(unresolved(&logs) > before, "{code}: {logs}");
        before = unresolved(&logs);
        let last = world.alerts().pop().unwrap();
        assert!(last.contains("bank is not looked after") && last.contains(code), "{code}: {last}");
        // The group is wrong there, and not the source.
        let told = usize::from(code.starts_with("GROUP"));
        aged += told;
        assert_eq!(ages_of_bank(&logs), aged, "{code}: {logs}");
    }
    // Nor does a group that somebody deleted, and that a person is still to leave.
    world.write_binding(&bank, &json!({}));
    world.okta.delete_group(&bank.group);
    let revoke = json!({"action": "revoke", "binding": "bank", "user": ann.okta, "reason": "a lost laptop"});
    let refused = lambda.invoke(revoke).await.result.unwrap_err();
    let report = lambda.invoke(json!({})).await.result.unwrap();
    assert_eq!(report["unfinished"], 1, "{refused}: {report}");
    let logs = lambda.logs().unwrap();
    assert_eq!(metric(&logs, "RunsOk"), vec![1; wrong.len() + 2], "{logs}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_group_or_schedule_that_needs_a_person_does_not_hide_that_the_function_runs() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let (shop, bank) = (world.bind("shop", &json!({})), world.bind_alone("bank", &json!({})));
    let (now, hour) = (world.clock.now(), TimeDelta::hours(1));
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, now - hour, now + hour);
    world.pagerduty.shift(&bank.schedule, &bob.pagerduty, now - hour, now + hour);
    let pinned = |who: &Engineer| json!({"identities": {who.pagerduty.clone(): who.okta}});
    world.okta.set_status(&bob.okta, "SUSPENDED");
    world.write_binding(&bank, &pinned(&bob));
    let lambda = world.lambda(None).await.unwrap();
    let mut ticks = 0;
    let mut tick = async |what: &str, told: &str| {
        lambda.invoke(json!({})).await.result.unwrap();
        ticks += 1;
        let logs = lambda.logs().unwrap();
        assert_eq!(metric(&logs, "RunsOk"), vec![1; ticks], "{what}: {logs}");
        let unresolved =
            logs.lines().rfind(|line| line.contains("\"bank\"") && line.contains("\"Unresolved\"")).unwrap();
        assert!(!unresolved.contains("\"Unresolved\":0"), "{what}: {unresolved}");
        let alerts = world.alerts();
        assert!(alerts.iter().any(|title| title.contains("bank") && title.contains(told)), "{what}: {alerts:?}");
    };
    tick("a user who is pinned, and suspended", "ON_CALL_NOT_GRANTED").await;
    world.okta.set_status(&bob.okta, "ACTIVE");
    let path = format!("/api/v1/groups/{}/users", bank.group);
    world.okta.replace(&format!("PUT {path}/{}", bob.okta), 1, Reply::html(403));
    tick("a user whom the role may not add", "ON_CALL_NOT_GRANTED").await;
    world.okta.replace(&format!("GET {path}"), 1, Reply::html(403));
    tick("a group that the role may not list", "bank is not looked after (OKTA_FORBIDDEN)").await;
    world.pagerduty.replace(&format!("GET /v3/schedules/{}", bank.schedule), 1, Reply::html(403));
    world.pagerduty.replace(&format!("GET /schedules/{}", bank.schedule), 1, Reply::html(403));
    tick("a schedule that the key may not read", "bank is not looked after (PAGERDUTY_FORBIDDEN)").await;
    // What the vendor itself gets wrong about one of them shows in the metrics of its binding, and may pass.
    let mut tick = async |what: &str, kept: &str| {
        let report = lambda.invoke(json!({})).await.result.unwrap();
        ticks += 1;
        let logs = lambda.logs().unwrap();
        assert_eq!(metric(&logs, "RunsOk"), vec![1; ticks], "{what}: {logs}");
        assert_eq!(report[kept], 1, "{what}: {report}");
    };
    let odd = json!({"schedule": {"id": bank.schedule, "final_schedule": 7}});
    for reply in [Reply::json(200, &odd), Reply::html(500)] {
        world.pagerduty.replace(&format!("GET /v3/schedules/{}", bank.schedule), 1, reply.clone());
        world.pagerduty.replace(&format!("GET /schedules/{}", bank.schedule), 1, reply);
        tick("a schedule of another form, or an error", "unknown").await;
    }
    world.okta.replace(&format!("GET {path}"), 1, Reply::html(500));
    tick("a group that is answered with an error", "unknown").await;
    for status in [500, 409] {
        world.okta.replace(&format!("PUT {path}/{}", bob.okta), 1, Reply::html(status));
        tick("a user whom Okta fails to add", "unfinished").await;
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_too_long_does_not_hide_that_the_function_runs_and_parameter_store_that_is_down_does() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let (shop, bank) = (world.bind("shop", &json!({})), world.bind("bank", &json!({"adoption": "report"})));
    for n in 0..250 {
        world.okta.add(&bank.group, &world.engineer(&format!("dba{n}")).unwrap().okta);
    }
    let (now, hour) = (world.clock.now(), TimeDelta::hours(1));
    world.pagerduty.shift(&bank.schedule, &ann.pagerduty, now - hour, now + hour);
    let lambda = world.lambda(None).await.unwrap();
    let report = lambda.invoke(json!({})).await.result.unwrap();
    let logs = lambda.logs().unwrap();
    assert_eq!((metric(&logs, "RunsOk"), &report["unfinished"]), (vec![1], &json!(1)), "{logs}");
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, now - hour, now + hour);
    world.aws.refuse("PutParameter", Refusal::AccessDenied, 1000);
    let report = lambda.invoke(json!({})).await.result.unwrap();
    let logs = lambda.logs().unwrap();
    assert_eq!((metric(&logs, "RunsOk"), &report["unfinished"]), (vec![1, 0], &json!(2)), "{logs}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_hangs_holds_up_the_grants_of_many_bindings_once() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let bound: Vec<Bound> = (0..48).map(|n| world.bind(&format!("b{n}"), &json!({}))).collect();
    let lambda = world.lambda(None).await.unwrap();
    lambda.invoke(json!({})).await.result.unwrap();
    let (now, hour) = (world.clock.now(), TimeDelta::hours(1));
    for bound in &bound {
        world.pagerduty.shift(&bound.schedule, &ann.pagerduty, now - hour, now + hour);
    }
    let posts = world.faults.recorded().iter().filter(|call| call.contains("POST /api/v1/events")).count();
    for n in posts + 1..posts + 500 {
        let call = format!(" Datadog POST /api/v1/events #{n}");
        world.faults.inject(Point { call, moment: Moment::Before, fault: Fault::Slow(Duration::from_mins(1)) });
    }
    // Ten seconds of it are left for what has begun: there is time for two such alerts in a row.
    lambda.set_timeout(Duration::from_secs(19));
    let report = lambda.invoke(json!({})).await.result.unwrap();
    let granted = report["granted"].as_array().unwrap().len();
    assert_eq!(granted, bound.len(), "{report}");
    assert!(bound.iter().all(|bound| world.members(bound, &[&ann]) == ["ann"]));
    assert_eq!(world.violations(), Vec::<String>::new());
}
