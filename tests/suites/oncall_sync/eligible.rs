//! Who may be granted at all: people are asked for one by one, and in doubt nobody comes in and nobody leaves.

use super::people::{not_granted, on_call_all_day};
use super::shifts::{NOBODY, reasons};
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::{Call, Reply};
use serde_json::{Value, json};

/// Ann until noon, then Bob, both eligible; Ann is in.
struct Noon {
    world: Oncall,
    shop: Bound,
    eligible: String,
    ann: Engineer,
    bob: Engineer,
}

impl Noon {
    async fn begin() -> Self {
        let world = Oncall::start().await.unwrap();
        let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
        let eligible = world.okta.group("dba");
        world.okta.add(&eligible, &ann.okta);
        world.okta.add(&eligible, &bob.okta);
        let shop = world.bind("shop", &json!({"eligible_group": eligible}));
        world.on_call(&shop, &ann, "08:00", "12:00");
        world.on_call(&shop, &bob, "12:00", "20:00");
        let noon = Self { world, shop, eligible, ann, bob };
        noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["ann"]);
        noon
    }

    fn members(&self) -> Vec<String> {
        self.world.members(&self.shop, &[&self.ann, &self.bob])
    }

    async fn tick_at(&self, time: &str) -> Value {
        self.world.at(time);
        self.world.tick().await.unwrap()
    }

    /// Okta answers the next `times` questions for somebody's groups with this.
    fn replace(&self, who: &Engineer, times: usize, reply: Reply) {
        self.world.okta.replace(&groups_of(who), times, reply);
    }
}

fn groups_of(who: &Engineer) -> String {
    format!("GET /api/v1/users/{}/groups", who.okta)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_eligible_people_come_in_and_whoever_is_no_longer_leaves_within_five_minutes() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let eligible = world.okta.group("dba");
    let (shop, _) = on_call_all_day(&world, &ann.pagerduty, &json!({"eligible_group": eligible})).await;
    assert_eq!(world.members(&shop, &[&ann]), NOBODY);
    assert_eq!(not_granted(&world), ["not in the group of eligible people"]);

    world.okta.add(&eligible, &ann.okta);
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"], "a no is not kept");

    world.okta.remove(&eligible, &ann.okta);
    for _ in 0..4 {
        world.minutes_later(1);
        world.tick().await.unwrap();
    }
    assert_eq!(world.members(&shop, &[&ann]), ["ann"], "a yes is kept");
    world.minutes_later(1);
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), NOBODY);
    assert_eq!(reasons(&report), ["ineligible"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_by_a_yes_from_before() {
    let noon = Noon::begin().await;
    noon.tick_at("11:58").await;
    noon.world.okta.remove(&noon.shop.group, &noon.ann.okta);
    noon.world.okta.remove(&noon.eligible, &noon.ann.okta);
    noon.tick_at("11:59").await;
    assert_eq!(noon.members(), NOBODY);
    assert_eq!(not_granted(&noon.world), ["not in the group of eligible people"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_ten_thousand_eligible_people_is_never_listed() {
    let noon = Noon::begin().await;
    for nth in 0..10_001 {
        noon.world.okta.add(&noon.eligible, &format!("00uColleague{nth}"));
    }
    noon.world.forget_requests();
    noon.tick_at("12:00").await;
    assert_eq!(noon.members(), ["bob"]);
    let list = format!("/api/v1/groups/{}/users", noon.eligible);
    let calls = noon.world.okta.seen();
    assert!(calls.iter().all(|call| call.path != list), "{calls:?}");
    assert!(calls.len() < 20, "{}", calls.len());
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

/// A group full of outsiders costs no request for each of them in every tick.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_the_group_and_was_never_on_call_is_not_asked_for() {
    let noon = Noon::begin().await;
    let more = json!({"eligible_group": noon.eligible, "out_of_band": "report"});
    noon.world.write_binding(&noon.shop, &more);
    let outsider = noon.world.engineer("eve").unwrap();
    noon.world.okta.add(&noon.shop.group, &outsider.okta);
    noon.world.forget_requests();
    noon.tick_at("12:00").await;
    assert_eq!(noon.world.members(&noon.shop, &[&noon.ann, &noon.bob, &outsider]), ["bob", "eve"]);
    let calls: Vec<String> = noon.world.okta.seen().iter().map(Call::name).collect();
    assert!(calls.contains(&groups_of(&noon.bob)) && !calls.contains(&groups_of(&outsider)), "{calls:?}");
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_in_more_groups_than_a_page_holds_is_eligible_whichever_page_says_so() {
    let noon = Noon::begin().await;
    for nth in 0..7 {
        noon.world.okta.add(&noon.world.okta.group(&format!("team{nth}")), &noon.bob.okta);
    }
    noon.world.okta.page_size(1);
    noon.tick_at("12:00").await;
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_could_not_be_asked_for_waits_or_stays_and_nobody_else_is_concerned() {
    let odd: [(&str, Reply); 6] = [
        ("Okta's fault", Reply::json(500, &json!({"errorCode": "E0000009"}))),
        ("a login page", Reply::html(200)),
        ("no list", Reply::json(200, &json!({"groups": []}))),
        ("an odd one", Reply::json(200, &json!([{"id": "../x"}]))),
        ("not to be seen", Reply::json(404, &json!({"errorCode": "E0000007"}))),
        ("forbidden", Reply::json(403, &json!({"errorCode": "E0000006"}))),
    ];
    for (what, reply) in odd {
        let noon = Noon::begin().await;
        let cid = noon.world.engineer("cid").unwrap();
        noon.world.okta.add(&noon.eligible, &cid.okta);
        let second = Bound { schedule: noon.world.pagerduty.schedule("second"), ..noon.shop.clone() };
        noon.world.on_call(&second, &cid, "09:30", "20:00");
        let schedules = json!([noon.shop.schedule, second.schedule]);
        noon.world.write_binding(&noon.shop, &json!({"eligible_group": noon.eligible, "schedules": schedules}));
        // Ann is in, and her yes from 09:00 is old; Cid comes in now, Bob at noon.
        noon.replace(&noon.ann, 1, reply.clone());
        let report = noon.tick_at("09:30").await;
        let inside = |noon: &Noon| noon.world.members(&noon.shop, &[&noon.ann, &noon.bob, &cid]);
        assert_eq!(
            (inside(&noon), &report["unknown"]),
            (vec!["ann".to_owned(), "cid".to_owned()], &json!(1)),
            "{what}"
        );
        noon.replace(&noon.bob, 1, reply);
        let report = noon.tick_at("12:00").await;
        assert_eq!((inside(&noon), &report["unknown"]), (vec!["cid".to_owned()], &json!(1)), "{what}: {report}");
        assert_eq!(not_granted(&noon.world), ["the group of eligible people could not be read"], "{what}");
        let report = noon.tick_at("12:01").await;
        assert_eq!(
            (inside(&noon), &report["unknown"]),
            (vec!["bob".to_owned(), "cid".to_owned()], &json!(0)),
            "{what}"
        );
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_leaves_because_the_group_of_eligible_people_is_not_to_be_seen() {
    type Spoil = fn(&Noon);
    let cases: [(&str, Spoil); 3] = [
        ("hidden", |noon| noon.world.okta.hide_group(&noon.eligible)),
        ("deleted", |noon| noon.world.okta.delete_group(&noon.eligible)),
        ("not read", |noon| {
            noon.world.okta.remove(&noon.eligible, &noon.ann.okta);
            noon.world.okta.replace(&format!("GET /api/v1/groups/{}", noon.eligible), 1, Reply::html(500));
        }),
    ];
    for (what, spoil) in cases {
        let noon = Noon::begin().await;
        spoil(&noon);
        let report = noon.tick_at("11:00").await;
        assert_eq!((noon.members(), &report["unknown"]), (vec!["ann".to_owned()], &json!(1)), "{what}: {report}");
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_named_by_hand_is_asked_for_too() {
    let noon = Noon::begin().await;
    let cid = noon.world.engineer("cid").unwrap();
    let grant = json!({"action": "grant", "binding": "shop", "user": cid.email, "minutes": 60, "reason": "INC-42"});
    let error = noon.world.event(&grant).await.unwrap_err();
    assert_eq!(error.code(), "USER_NOT_ELIGIBLE", "{error}");
    noon.world.okta.add(&noon.eligible, &cid.okta);
    noon.replace(&cid, 1, Reply::json(500, &json!({"errorCode": "E0000009"})));
    let error = noon.world.event(&grant).await.unwrap_err();
    assert_eq!(error.code(), "OKTA_CALL_FAILED", "{error}");
    noon.world.event(&grant).await.unwrap();
    assert_eq!(noon.world.members(&noon.shop, &[&noon.ann, &cid]), ["ann", "cid"]);
    noon.tick_at("09:30").await;
    assert_eq!(noon.world.members(&noon.shop, &[&noon.ann, &cid]), ["ann", "cid"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}
