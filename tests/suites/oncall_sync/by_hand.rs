//! Grants and revokes that a person asks for.

use super::shifts::{NOBODY, delete_parameter, okta_is_down, pagerduty_is_down, reasons};
use keyturn_tests::stacks::oncall::{Bound, CONFIG_PATH, Engineer, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};

/// Ann until noon, then Bob until 17:00, then Ann again; Cal is never on call.
struct Scene {
    world: Oncall,
    shop: Bound,
    ann: Engineer,
    bob: Engineer,
    cal: Engineer,
}

impl Scene {
    /// With one tick behind it, at 09:00.
    async fn start(more: &Value) -> Self {
        let world = Oncall::start().await.unwrap();
        let [ann, bob, cal] = ["ann", "bob", "cal"].map(|name| world.engineer(name).unwrap());
        let shop = world.bind("shop", more);
        world.on_call(&shop, &ann, "08:00", "12:00");
        world.on_call(&shop, &bob, "12:00", "17:00");
        world.on_call(&shop, &ann, "17:00", "20:00");
        world.tick().await.unwrap();
        Self { world, shop, ann, bob, cal }
    }

    fn members(&self) -> Vec<String> {
        self.world.members(&self.shop, &[&self.ann, &self.bob, &self.cal])
    }

    /// A tick at this time; who is in after it.
    async fn members_at(&self, time: &str) -> Vec<String> {
        self.world.at(time);
        self.world.tick().await.unwrap();
        self.members()
    }

    async fn grant(&self, user: &str, minutes: i64) -> keyturn::Result<Value> {
        let event = json!({"action": "grant", "binding": "shop", "user": user, "minutes": minutes, "reason": "INC-42"});
        self.world.event(&event).await
    }

    async fn revoke(&self, user: &str) -> keyturn::Result<Value> {
        self.world.event(&json!({"action": "revoke", "binding": "shop", "user": user, "reason": "left laptop"})).await
    }

    fn finish(&self) {
        assert_eq!(self.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_hand_survives_shift_changes_and_ends_on_time() {
    let scene = Scene::start(&json!({})).await;
    scene.world.at("11:30");
    let answer = scene.grant("cal@corp.example", 60).await.unwrap();
    assert_eq!(answer, json!({"binding": "shop", "user": scene.cal.okta, "until": "2026-03-02T12:30:00Z"}));
    let ledger = scene.world.ledger(&scene.shop).unwrap();
    assert_eq!(
        ledger["people"][&scene.cal.okta],
        json!({
            "login": "cal@corp.example", "email": "cal@corp.example",
            "state": {"granted": {
                "since": "2026-03-02T11:30:00Z", "shown": true,
                "by_hand": {"until": "2026-03-02T12:30:00Z", "reason": "INC-42"},
            }},
        })
    );
    assert_eq!(scene.members_at("11:31").await, ["ann", "cal"]);
    assert_eq!(scene.members_at("12:00").await, ["bob", "cal"]);
    assert_eq!(scene.members_at("12:29").await, ["bob", "cal"]);
    scene.world.at("12:30");
    let report = scene.world.tick().await.unwrap();
    assert_eq!(scene.members(), ["bob"]);
    assert_eq!(reasons(&report), ["manual"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_hand_is_told_with_its_reason() {
    let scene = Scene::start(&json!({})).await;
    scene.grant(&scene.cal.okta, 480).await.unwrap();
    let event = scene.world.datadog.events().into_iter().next_back().unwrap();
    assert_eq!((&event["title"], &event["alert_type"]), (&json!("Break-glass granted: shop"), &json!("error")));
    assert!(event["text"].as_str().unwrap().contains("by hand: INC-42"), "{event}");
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_again_moves_the_end() {
    let scene = Scene::start(&json!({})).await;
    scene.grant(&scene.cal.okta, 30).await.unwrap();
    scene.world.at("09:20");
    scene.grant(&scene.cal.okta, 30).await.unwrap();
    assert_eq!(scene.members_at("09:49").await, ["ann", "cal"]);
    assert_eq!(scene.members_at("09:50").await, ["ann"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_too_stays_after_a_grant_by_hand() {
    let scene = Scene::start(&json!({})).await;
    scene.world.at("11:50");
    scene.grant(&scene.bob.okta, 20).await.unwrap();
    assert_eq!(scene.members_at("11:51").await, ["ann", "bob"]);
    assert_eq!(scene.members_at("12:00").await, ["bob"]);
    assert_eq!(scene.members_at("12:10").await, ["bob"]);
    assert_eq!(scene.members_at("17:00").await, ["ann"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_tick_would_end_it_a_grant_by_hand_is_refused_and_a_revoke_is_not() {
    let world = Oncall::builder().variable("SCHEDULE", "off").start().await.unwrap();
    let shop = world.bind("shop", &json!({}));
    let ann = world.engineer("ann").unwrap();
    world.on_call(&shop, &ann, "08:00", "20:00");
    let ask = async |action: &str| {
        let event = json!({"action": action, "binding": "shop", "user": ann.okta, "minutes": 60, "reason": "INC-1"});
        world.event(&event).await
    };
    let error = ask("grant").await.unwrap_err();
    assert_eq!(error.code(), "NOT_SCHEDULED");
    assert!(error.to_string().contains("OncallSchedule"), "{error}");
    assert_eq!(world.members(&shop, &[&ann]), [""; 0]);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    let event = json!({"action": "revoke", "binding": "shop", "user": ann.okta, "reason": "INC-1"});
    world.event(&event).await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_nobody_may_have_is_refused() {
    let scene = Scene::start(&json!({})).await;
    let eligible = scene.world.okta.group("dba");
    let seal = scene.world.engineer("seal").unwrap();
    scene.world.okta.add(&eligible, &scene.ann.okta);
    scene.world.okta.add(&eligible, &scene.bob.okta);
    scene.world.okta.set_status(&scene.bob.okta, "SUSPENDED");
    scene.world.write_binding(&scene.shop, &json!({"eligible_group": eligible, "keep": [seal.okta]}));
    scene.world.write_document("bad", "{}");
    let grant = json!({"action": "grant", "binding": "shop", "user": scene.ann.okta, "minutes": 5, "reason": "INC-42"});
    let with = |key: &str, value: Value| {
        let mut event = grant.clone();
        event[key] = value;
        event
    };
    for (event, code) in [
        (with("user", json!(scene.cal.okta)), "USER_NOT_ELIGIBLE"),
        (with("user", json!(scene.bob.okta)), "USER_NOT_ACTIVE"),
        (with("user", json!(seal.okta)), "USER_IS_KEPT"),
        (with("user", json!("zoe@corp.example")), "USER_UNKNOWN"),
        (with("user", json!("ann")), "USER_UNKNOWN"),
        (with("user", json!("00uNOBODY")), "USER_UNKNOWN"),
        (with("user", json!("../groups")), "USER_UNKNOWN"),
        (with("user", json!(" ")), "EVENT_INVALID"),
        (with("binding", json!("bank")), "BINDING_UNKNOWN"),
        (with("binding", json!("bad")), "BINDING_INVALID"),
        (with("minutes", json!(0)), "EVENT_INVALID"),
        (with("minutes", json!(481)), "EVENT_INVALID"),
        (with("reason", json!("")), "EVENT_INVALID"),
        (with("reason", json!("a\nb")), "EVENT_INVALID"),
    ] {
        let error = scene.world.event(&event).await.unwrap_err();
        assert_eq!(error.code(), code, "{event}: {error}");
        assert!(!error.remedy().is_empty());
    }
    assert_eq!(scene.members(), ["ann"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_tick_nobody_is_granted_and_a_revoke_is_done_but_not_held() {
    let world = Oncall::start().await.unwrap();
    let (ann, eve) = (world.engineer("ann").unwrap(), world.engineer("eve").unwrap());
    let shop = world.bind("shop", &json!({}));
    world.okta.add(&shop.group, &eve.okta);
    let grant = json!({"action": "grant", "binding": "shop", "user": ann.okta, "minutes": 5, "reason": "INC-42"});
    assert_eq!(world.event(&grant).await.unwrap_err().code(), "LEDGER_LOST");
    assert_eq!(world.members(&shop, &[&ann, &eve]), ["eve"]);
    let revoke = json!({"action": "revoke", "binding": "shop", "user": eve.okta, "reason": "left"});
    assert_eq!(world.event(&revoke).await.unwrap_err().code(), "REVOKE_NOT_HELD");
    assert_eq!(world.members(&shop, &[&ann, &eve]), Vec::<String>::new());
    assert_eq!(world.alerts(), ["Break-glass revoked: shop (manual)"], "no ledger tells it later");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_revoked_stays_out_until_the_shift_ends_and_comes_back_with_the_next() {
    let scene = Scene::start(&json!({})).await;
    let answer = scene.revoke("ann@corp.example").await.unwrap();
    assert_eq!(answer, json!({"binding": "shop", "user": scene.ann.okta, "held": "until 2026-03-02T12:00:00Z"}));
    assert_eq!(scene.members(), NOBODY);
    assert_eq!(scene.members_at("09:01").await, NOBODY);
    assert_eq!(scene.members_at("11:59").await, NOBODY);
    assert_eq!(scene.members_at("12:00").await, ["bob"]);
    assert_eq!(scene.members_at("17:00").await, ["ann"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_hand_ends_a_revoke_by_hand() {
    let scene = Scene::start(&json!({})).await;
    scene.revoke(&scene.ann.okta).await.unwrap();
    scene.grant(&scene.ann.okta, 10).await.unwrap();
    assert_eq!(scene.members_at("09:05").await, ["ann"]);
    assert_eq!(scene.members_at("09:10").await, ["ann"], "her shift goes on");
    scene.revoke(&scene.ann.okta).await.unwrap();
    assert_eq!(scene.members_at("09:11").await, NOBODY);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_is_revoked_by_hand_and_stays_out() {
    let scene = Scene::start(&json!({"out_of_band": "report"})).await;
    scene.world.okta.add(&scene.shop.group, &scene.cal.okta);
    assert_eq!(scene.members_at("09:01").await, ["ann", "cal"]);
    scene.revoke(&scene.cal.okta).await.unwrap();
    assert_eq!(scene.members_at("09:02").await, ["ann"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_without_an_end_stays_out_until_off_call() {
    let scene = Scene::start(&json!({})).await;
    let policy = scene.world.pagerduty.policy("shop");
    let empty = scene.world.pagerduty.policy("empty");
    scene.world.pagerduty.policy_level_user(&empty, 2, &scene.cal.pagerduty);
    scene.world.pagerduty.policy_level_user(&policy, 1, &scene.cal.pagerduty);
    let follow = |policy: &str| {
        let document = json!({
            "escalation_policy": policy, "levels": [1], "okta_group": scene.shop.group,
            "group_name": "break-glass-shop",
        });
        scene.world.write_document("shop", &document.to_string());
    };
    follow(&policy);
    assert_eq!(scene.members_at("09:01").await, ["cal"]);
    let answer = scene.revoke(&scene.cal.okta).await.unwrap();
    assert_eq!(answer["held"], "until they are not on call any more");
    assert_eq!(scene.members_at("09:02").await, NOBODY);
    assert_eq!(scene.members_at("19:00").await, NOBODY);
    follow(&empty);
    assert_eq!(scene.members_at("19:01").await, NOBODY);
    follow(&policy);
    assert_eq!(scene.members_at("19:02").await, ["cal"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_work_while_pagerduty_is_down() {
    let scene = Scene::start(&json!({})).await;
    pagerduty_is_down(&scene.world, &scene.shop, 3);
    scene.grant(&scene.cal.okta, 60).await.unwrap();
    assert_eq!(scene.members(), ["ann", "cal"]);
    let answer = scene.revoke(&scene.ann.okta).await.unwrap();
    assert_eq!(answer["held"], "until 2026-03-02T12:00:00Z", "as the ledger remembers it");
    assert_eq!(scene.members(), ["cal"]);
    assert_eq!(scene.members_at("09:01").await, ["cal"], "still down");
    assert_eq!(scene.members_at("09:02").await, ["cal"], "up again");
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_work_while_okta_lists_nobody() {
    let scene = Scene::start(&json!({})).await;
    okta_is_down(&scene.world, &scene.shop, 1);
    scene.grant(&scene.cal.okta, 60).await.unwrap();
    okta_is_down(&scene.world, &scene.shop, 1);
    scene.revoke(&scene.ann.okta).await.unwrap();
    assert_eq!(scene.members_at("09:01").await, ["cal"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_that_okta_does_not_take_is_gone_on_with() {
    let scene = Scene::start(&json!({})).await;
    let call = format!("DELETE /api/v1/groups/{}/users/{}", scene.shop.group, scene.ann.okta);
    scene.world.okta.replace(&call, 1, Reply::html(500));
    assert_eq!(scene.revoke(&scene.ann.okta).await.unwrap_err().code(), "CHANGE_UNFINISHED");
    assert_eq!(scene.members(), ["ann"]);
    assert_eq!(scene.members_at("09:01").await, NOBODY);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_okta_does_not_take_has_to_be_asked_for_again() {
    let scene = Scene::start(&json!({})).await;
    let call = format!("PUT /api/v1/groups/{}/users/{}", scene.shop.group, scene.cal.okta);
    scene.world.okta.replace(&call, 1, Reply::html(500));
    assert_eq!(scene.grant(&scene.cal.okta, 10).await.unwrap_err().code(), "CHANGE_UNFINISHED");
    let told = scene.world.alerts().split_off(2);
    assert_eq!(told, ["Break-glass granted: shop", "Break-glass: shop needs a look (CHANGE_UNFINISHED)"]);
    assert_eq!(scene.members_at("09:01").await, ["ann"]);
    scene.grant(&scene.cal.okta, 10).await.unwrap();
    assert_eq!(scene.members_at("09:02").await, ["ann", "cal"]);
    assert_eq!(scene.members_at("09:11").await, ["ann"]);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_with_a_bad_document_reaches_the_group_where_people_are_and_not_one_from_before() {
    let scene = Scene::start(&json!({})).await;
    // The group from before has the lower id, and its ledger stays.
    let mut moved = scene.shop.clone();
    moved.group = scene.world.okta.group("break-glass-shop");
    scene.world.write_binding(&moved, &json!({}));
    scene.members_at("09:01").await;
    scene.members_at("12:00").await;
    let members = || scene.world.members(&moved, &[&scene.ann, &scene.bob, &scene.cal]);
    assert_eq!((scene.members(), members()), (vec![], vec!["bob".to_owned()]));
    scene.world.write_document("shop", "{}");
    scene.revoke(&scene.bob.okta).await.unwrap();
    assert_eq!(members(), NOBODY);
    scene.world.write_binding(&moved, &json!({}));
    scene.members_at("12:05").await;
    assert_eq!(members(), NOBODY, "bob's shift is not over");
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_people_are_still_in_the_group_from_before_a_revoke_reaches_both() {
    for is_bad in [true, false] {
        let scene = Scene::start(&json!({})).await;
        let mut moved = scene.shop.clone();
        moved.group = scene.world.okta.group("break-glass-shop");
        scene.world.write_binding(&moved, &json!({}));
        scene.members_at("09:01").await;
        let members = || scene.world.members(&moved, &[&scene.ann, &scene.bob, &scene.cal]);
        assert_eq!((scene.members(), members()), (vec!["ann".to_owned()], vec!["ann".to_owned()]));
        scene.world.okta.add(&moved.group, &scene.cal.okta);
        if is_bad {
            scene.world.write_document("shop", "{}");
        }
        scene.revoke(&scene.cal.okta).await.unwrap();
        assert_eq!((scene.members(), members()), (vec!["ann".to_owned()], vec!["ann".to_owned()]), "{is_bad}");
        scene.revoke(&scene.ann.okta).await.unwrap();
        assert_eq!((scene.members(), members()), (vec![], vec![]), "{is_bad}");
        scene.world.write_binding(&moved, &json!({}));
        assert_eq!(scene.members_at("09:02").await, NOBODY);
        assert_eq!(members(), NOBODY, "{is_bad}: ann's shift is not over");
        scene.finish();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_reaches_people_in_the_group_from_before_who_were_there_before_the_function_or_were_put_back() {
    let world = Oncall::start().await.unwrap();
    let eve = world.engineer("eve").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.okta.add(&shop.group, &eve.okta);
    world.tick().await.unwrap();
    let mut moved = shop.clone();
    moved.group = world.okta.group("break-glass-shop");
    world.write_binding(&moved, &json!({}));
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&eve]), ["eve"], "left by the first run");
    let revoke = json!({"action": "revoke", "binding": "shop", "user": eve.okta, "reason": "left"});
    world.event(&revoke).await.unwrap();
    assert_eq!(world.members(&shop, &[&eve]), Vec::<String>::new());
    world.okta.add(&shop.group, &eve.okta);
    world.minutes_later(1);
    world.event(&revoke).await.unwrap();
    assert_eq!(world.members(&shop, &[&eve]), Vec::<String>::new(), "put back by somebody");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_somebody_put_in_is_revoked_although_the_document_is_bad_and_nobody_was_granted() {
    let scene = Scene::start(&json!({})).await;
    assert_eq!(scene.members_at("20:00").await, NOBODY);
    scene.members_at("20:01").await;
    scene.world.okta.add(&scene.shop.group, &scene.cal.okta);
    scene.world.write_document("shop", "{}");
    scene.revoke(&scene.cal.okta).await.unwrap();
    assert_eq!(scene.members(), NOBODY);
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_works_and_holds_while_the_document_is_bad_or_gone() {
    for document in [Some("{}"), None] {
        let scene = Scene::start(&json!({})).await;
        let good = scene.world.aws.parameters.value(&format!("{CONFIG_PATH}/shop")).unwrap();
        match document {
            Some(bad) => scene.world.write_document("shop", bad),
            None => delete_parameter(&scene.world, &format!("{CONFIG_PATH}/shop")).await,
        }
        assert_eq!(scene.members_at("09:01").await, ["ann"], "{document:?}");
        scene.revoke(&scene.ann.okta).await.unwrap();
        assert_eq!(scene.members(), NOBODY, "{document:?}");
        let refused = scene.grant(&scene.cal.okta, 10).await.unwrap_err();
        let expected = if document.is_some() { "BINDING_INVALID" } else { "BINDING_GONE" };
        assert_eq!(refused.code(), expected, "{refused}");
        assert_eq!(scene.members_at("09:02").await, NOBODY);
        scene.world.write_document("shop", &good);
        assert_eq!(scene.members_at("09:03").await, NOBODY, "{document:?}: ann's shift is not over");
        assert_eq!(scene.members_at("12:00").await, ["bob"]);
        scene.finish();
    }
}
