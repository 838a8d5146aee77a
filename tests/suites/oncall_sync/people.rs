//! Who somebody at PagerDuty is at Okta: in doubt, nobody.

use super::shifts::{NOBODY, reasons};
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::pagerduty::Departed;
use serde_json::{Value, json};

/// What keeps somebody out for good.
const BARRED: [&str; 5] = ["SUSPENDED", "STAGED", "PROVISIONED", "DEPROVISIONED", "SOMETHING_NEW"];
/// What passes when they have a new password, or have waited.
const INTERRUPTED: [&str; 3] = ["LOCKED_OUT", "PASSWORD_EXPIRED", "RECOVERY"];

/// Whoever has this id at PagerDuty is on call all day; what the first tick reports.
pub(super) async fn on_call_all_day(world: &Oncall, pagerduty: &str, more: &Value) -> (Bound, Value) {
    let shop = world.bind("shop", more);
    world.pagerduty.shift(&shop.schedule, pagerduty, world.today("08:00"), world.today("20:00"));
    let report = world.tick().await.unwrap();
    (shop, report)
}

/// What people were told of somebody who gets nothing, as "... gets nothing: <why>".
pub(super) fn not_granted(world: &Oncall) -> Vec<String> {
    let texts = world.datadog.events().into_iter().filter_map(|event| event["text"].as_str().map(str::to_owned));
    let why = |text: String| text.split_once("gets nothing: ").map(|(_, why)| why.trim_end_matches('.').to_owned());
    texts.filter_map(why).collect()
}

/// Ann, on call all day and in.
async fn ann(more: &Value) -> (Oncall, Bound, Engineer) {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let (shop, _) = on_call_all_day(&world, &ann.pagerduty, more).await;
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    (world, shop, ann)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_leads_to_its_one_owner_or_to_nobody() {
    /// The address at PagerDuty; logins and addresses at Okta; the login of whoever comes in, or why nobody does.
    type Case = (&'static str, &'static [(&'static str, &'static str)], Result<&'static str, &'static str>);
    const SEVERAL: &str = "several users of that email address at Okta";
    const NONE: &str = "no user of that email address at Okta";
    let cases: [Case; 11] = [
        ("ann@corp.example", &[("ann@corp.example", "ann@corp.example")], Ok("ann@corp.example")),
        ("Ann@Corp.Example", &[("ann@corp.example", "ann@corp.example")], Ok("ann@corp.example")),
        ("ann@corp.example", &[("ANN@corp.example", "Ann@CORP.example")], Ok("ANN@corp.example")),
        ("ann@corp.example", &[("a.lee@corp.example", "ann@corp.example")], Ok("a.lee@corp.example")),
        (
            "ann@corp.example",
            &[("ann@corp.example", "ann@corp.example"), ("b@corp.example", "ann@corp.example")],
            Ok("ann@corp.example"),
        ),
        ("o'hara@corp.example", &[("o'hara@corp.example", "o'hara@corp.example")], Ok("o'hara@corp.example")),
        ("ann+pd@corp.example", &[("ann@corp.example", "ann@corp.example")], Err(NONE)),
        ("ann@other.example", &[("ann@corp.example", "ann@corp.example")], Err(NONE)),
        // Her login is his address.
        ("ann@corp.example", &[("ann@corp.example", "bob@corp.example")], Err(NONE)),
        (
            "ann@corp.example",
            &[("a@corp.example", "ann@corp.example"), ("b@corp.example", "ann@corp.example")],
            Err(SEVERAL),
        ),
        ("ann", &[("ann@corp.example", "ann@corp.example"), ("ann", "ann")], Err(NONE)),
    ];
    for (address, users, expected) in cases {
        let world = Oncall::start().await.unwrap();
        let ids: Vec<(String, &str)> =
            users.iter().map(|(login, email)| (world.okta.user(login, email).unwrap(), *login)).collect();
        let pagerduty = world.pagerduty.user("ann", address);
        let (shop, report) = on_call_all_day(&world, &pagerduty, &json!({})).await;
        let inside: Vec<String> = world.okta.members(&shop.group).into_iter().collect();
        let meant = ids.iter().filter(|(_, login)| expected == Ok(*login)).map(|(id, _)| id.clone());
        assert_eq!(inside, meant.collect::<Vec<_>>(), "{address} {users:?}: {report}");
        assert_eq!(not_granted(&world), expected.err().as_slice(), "{address} {users:?}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_without_an_address_gets_nothing_unless_the_document_names_them() {
    let world = Oncall::start().await.unwrap();
    let pagerduty = world.pagerduty.user_without_email("ann");
    let okta = world.okta.user("ann@corp.example", "ann@corp.example").unwrap();
    let (shop, _) = on_call_all_day(&world, &pagerduty, &json!({})).await;
    assert!(world.okta.members(&shop.group).is_empty());
    assert_eq!(not_granted(&world), ["no email address at PagerDuty"]);
    world.write_binding(&shop, &json!({"identities": {pagerduty: okta}}));
    world.tick().await.unwrap();
    assert!(world.okta.members(&shop.group).contains(&okta));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_count_more_than_addresses() {
    let world = Oncall::start().await.unwrap();
    let (ann, bob) = (world.engineer("ann").unwrap(), world.engineer("bob").unwrap());
    let (shop, _) =
        on_call_all_day(&world, &ann.pagerduty, &json!({"identities": {ann.pagerduty.as_str(): bob.okta}})).await;
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_is_nobody_and_no_reason_to_call_anybody() {
    let world = Oncall::start().await.unwrap();
    let nobody = world.engineer("nobody").unwrap();
    let (shop, report) = on_call_all_day(&world, &nobody.pagerduty, &json!({"placeholders": [nobody.pagerduty]})).await;
    assert_eq!(world.members(&shop, &[&nobody]), NOBODY, "{report}");
    assert_eq!(world.alerts(), ["Break-glass: shop needs a look (LEDGER_LOST)"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_deleted_at_pagerduty_is_a_gap() {
    for shown in [Departed::Null, Departed::DeletedAt] {
        let (world, shop, ann) = ann(&json!({})).await;
        world.pagerduty.delete_user(&ann.pagerduty, shown);
        for inside in [vec!["ann"], vec![]] {
            world.minutes_later(1);
            let report = world.tick().await.unwrap();
            assert_eq!(world.members(&shop, &[&ann]), inside, "{shown:?}: {report}");
        }
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_okta_lets_not_in_gets_nothing_until_they_are_active() {
    for status in BARRED.into_iter().chain(INTERRUPTED) {
        let world = Oncall::start().await.unwrap();
        let ann = world.engineer("ann").unwrap();
        world.okta.set_status(&ann.okta, status);
        let (shop, _) = on_call_all_day(&world, &ann.pagerduty, &json!({})).await;
        assert_eq!(world.members(&shop, &[&ann]), NOBODY, "{status}");
        assert_eq!(not_granted(&world), ["not ACTIVE at Okta"], "{status}");
        world.okta.set_status(&ann.okta, "ACTIVE");
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), ["ann"], "{status}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_an_account_or_loses_a_double_comes_in_with_the_next_tick() {
    let world = Oncall::start().await.unwrap();
    let pagerduty = world.pagerduty.user("ann", "ann@corp.example");
    let (shop, _) = on_call_all_day(&world, &pagerduty, &json!({})).await;
    let [one, other] =
        ["a.lee@corp.example", "a.kim@corp.example"].map(|login| world.okta.user(login, "ann@corp.example").unwrap());
    let plan = world.event(&json!({"action": "plan"})).await.unwrap().to_string();
    assert!(plan.contains("gets nothing: several users of that email address at Okta"), "{plan}");
    world.okta.delete_user(&other);
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.okta.members(&shop.group), [one].into());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_okta_bars_in_the_middle_of_a_shift_leaves() {
    for status in BARRED {
        let (world, shop, ann) = ann(&json!({})).await;
        world.okta.set_status(&ann.okta, status);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), NOBODY, "{status}");
        assert_eq!(reasons(&report), ["not_active"], "{status}");
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), NOBODY, "{status}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_s_account_is_being_deactivated_leaves_and_is_not_granted_although_it_is_still_active() {
    let (world, shop, ann) = ann(&json!({})).await;
    let bank = world.bind("bank", &json!({}));
    world.on_call(&bank, &ann, "08:00", "20:00");
    world.okta.begin_to_deactivate(&ann.okta);
    for _ in 0..2 {
        world.tick().await.unwrap();
        assert_eq!((world.members(&shop, &[&ann]), world.members(&bank, &[&ann])), (Vec::new(), Vec::new()));
        world.minutes_later(1);
    }
    let grant = json!({"action": "grant", "binding": "shop", "user": ann.okta, "minutes": 60, "reason": "INC-42"});
    assert_eq!(world.event(&grant).await.unwrap_err().code(), "USER_NOT_ACTIVE");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_to_mend_their_sign_in_keeps_what_they_have_for_the_shift_and_gets_nothing_new() {
    for status in INTERRUPTED {
        let (mut world, shop, ann) = ann(&json!({})).await;
        let bank = world.bind("bank", &json!({}));
        world.on_call(&bank, &ann, "08:00", "20:00");
        world.okta.set_status(&ann.okta, status);
        // Longer than max_stale, and nothing is remembered of her.
        for time in ["09:01", "12:00", "14:00", "19:59"] {
            world.recycle().unwrap();
            world.at(time);
            let report = world.tick().await.unwrap();
            assert_eq!(world.members(&shop, &[&ann]), ["ann"], "{status}, {time}: {report}");
            assert_eq!(world.members(&bank, &[&ann]), NOBODY, "{status}, {time}: {report}");
        }
        assert!(not_granted(&world).iter().all(|why| why == "not ACTIVE at Okta"), "{:?}", not_granted(&world));
        world.at("20:00");
        let report = world.tick().await.unwrap();
        assert_eq!((world.members(&shop, &[&ann]).len(), reasons(&report)), (0, vec!["shift_ended"]), "{status}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_moved_to_somebody_else_brings_its_new_owner_in() {
    let (world, shop, ann) = ann(&json!({})).await;
    world.okta.set_email(&ann.okta, "ann.old@corp.example");
    let zoe = Engineer { okta: world.okta.user("zoe@corp.example", &ann.email).unwrap(), ..ann.clone() };
    world.okta.remove(&shop.group, &ann.okta);
    world.minutes_later(1);
    let report = world.tick().await.unwrap();
    assert_eq!(world.okta.members(&shop.group).len(), 0, "{report}");
    assert_eq!(report["unfinished"], 1);
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.okta.members(&shop.group), [zoe.okta].into());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_at_pagerduty_leads_to_its_owner_at_the_next_policy_reading() {
    let world = Oncall::start().await.unwrap();
    let (ann, bob) = (world.engineer("ann").unwrap(), world.engineer("bob").unwrap());
    let policy = world.pagerduty.policy("shop");
    world.pagerduty.policy_level_user(&policy, 1, &ann.pagerduty);
    let shop = world.bind("shop", &json!({}));
    let document = json!({
        "escalation_policy": policy, "levels": [1], "okta_group": shop.group, "group_name": "break-glass-shop",
    });
    world.write_document("shop", &document.to_string());
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"]);
    world.pagerduty.set_email(&ann.pagerduty, &bob.email);
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}
