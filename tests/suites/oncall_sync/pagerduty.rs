//! Every fact of PagerDuty's API, by what becomes of the people on call.

use super::config::put_secret;
use super::shifts::{NOBODY, reasons};
use chrono::Duration;
use keyturn_tests::faults::{Fault, Faults, Moment, Point};
use keyturn_tests::stacks::oncall::{Bound, CONFIG_PATH, Engineer, Oncall, PagerDutyAccess};
use keyturn_tests::vendors::pagerduty::{Departed, PagerDuty};
use keyturn_tests::vendors::{Call, Reply, tally};
use serde_json::{Value, json};
use std::time::Duration as RealTime;
use tokio::time::Instant;

/// What is changed in a good answer, and what is said of it then.
type Spoiled = (&'static str, fn(&mut Value), &'static str);

/// A schedule of either kind, which is in no policy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Layers,
    Shifts,
}

/// Ann is in, for all day; then Bob took over, which no reading has shown yet.
struct Handover {
    world: Oncall,
    shop: Bound,
    ann: Engineer,
    bob: Engineer,
    /// The name of the call that reads the source.
    call: String,
}

impl Handover {
    async fn on(kind: Kind) -> Self {
        let world = Oncall::start().await.unwrap();
        let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
        let mut shop = world.bind_alone("shop", &json!({}));
        if kind == Kind::Shifts {
            shop.schedule = world.pagerduty.schedule_v3("shop");
            world.write_binding(&shop, &json!({}));
        }
        world.on_call(&shop, &ann, "08:00", "12:00");
        world.tick().await.unwrap();
        world.pagerduty.override_shift(&shop.schedule, &bob.pagerduty, world.today("09:00"), world.today("20:00"));
        let call = match kind {
            Kind::Layers => format!("GET /schedules/{}", shop.schedule),
            Kind::Shifts => format!("GET /v3/schedules/{}", shop.schedule),
        };
        Self { world, shop, ann, bob, call }
    }

    fn members(&self) -> Vec<String> {
        self.world.members(&self.shop, &[&self.ann, &self.bob])
    }

    /// An answer in which Bob is on call, as far as the function looks at it.
    fn answer(&self, kind: Kind) -> Value {
        let (start, end) = ("2026-03-02T09:00:00Z", "2026-03-02T20:00:00Z");
        let bob = self.bob.pagerduty.as_str();
        let (name, last) = match kind {
            Kind::Layers => {
                let user = json!({"id": bob, "type": "user_reference"});
                ("schedule", json!({"rendered_schedule_entries": [{"start": start, "end": end, "user": user}]}))
            }
            Kind::Shifts => {
                let member = json!({"type": "user_member", "user_id": bob});
                let shift = json!({"start_time": start, "end_time": end, "member": member});
                ("schedule_v3", json!({"computed_shift_assignments": [shift]}))
            }
        };
        let mut answer =
            json!({"schedule": {"id": self.shop.schedule, "type": name, "final_schedule": last}, "more": "keys"});
        answer["schedule"]["final_schedule"]["rendered_coverage_percentage"] = json!(45.8);
        answer
    }

    /// With this answer nobody comes and nobody leaves, and the plan says why.
    async fn proves_nothing(&self, what: &str, reply: Reply, says: &str) {
        self.world.pagerduty.replace(&self.call, 2, reply);
        let plan = plan(&self.world).await;
        assert!(plan.contains("source: unknown") && plan.contains(says), "{what}: {plan}");
        let report = self.world.tick().await.unwrap();
        assert_eq!(report["unknown"], 1, "{what}: {report}");
        assert_eq!(self.members(), ["ann"], "{what}: {report}");
    }

    /// Ann's time is up, and with one more such answer she leaves while Bob does not come in; then all is well.
    async fn ends_on_time(&self, reply: Reply) {
        self.world.at("12:00");
        self.world.pagerduty.replace(&self.call, 1, reply);
        let report = self.world.tick().await.unwrap();
        assert_eq!(self.members(), NOBODY, "{report}");
        assert_eq!(reasons(&report), ["shift_ended"]);
        self.world.tick().await.unwrap();
        assert_eq!(self.members(), ["bob"]);
        assert_eq!(self.world.violations(), Vec::<String>::new());
    }
}

/// What a tick would do, in one text.
async fn plan(world: &Oncall) -> String {
    let plan = world.event(&json!({"action": "plan"})).await.unwrap();
    let lines = plan["plan"].as_array().cloned().unwrap_or_default();
    lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().unwrap().remove(key);
}

fn last(answer: &mut Value) -> &mut Value {
    &mut answer["schedule"]["final_schedule"]
}

/// The one entry of a v2 answer.
fn entry(answer: &mut Value) -> &mut Value {
    &mut last(answer)["rendered_schedule_entries"][0]
}

/// The one shift of a v3 answer.
fn shift(answer: &mut Value) -> &mut Value {
    &mut last(answer)["computed_shift_assignments"][0]
}

/// PagerDuty's own way of saying no, with this under `errors`.
fn refusal(status: u16, errors: &Value) -> Reply {
    let error = json!({"message": "Invalid Input Provided", "code": 2001, "errors": errors});
    Reply::json(status, &json!({"error": error}))
}

/// A binding's document whose source is a policy.
fn follow_policy(world: &Oncall, shop: &Bound, policy: &str, levels: &[u32], most: u32) {
    let document = json!({
        "escalation_policy": policy, "levels": levels, "okta_group": shop.group,
        "group_name": format!("break-glass-{}", shop.id), "max_members": most, "max_new_per_run": most,
    });
    world.write_document(&shop.id, &document.to_string());
}

/// The requests since they were forgotten whose path begins so.
fn asked(world: &Oncall, path: &str) -> Vec<Call> {
    world.pagerduty.seen().into_iter().filter(|call| call.path.starts_with(path)).collect()
}

/// Answers that are spoiled whatever they are the answer to.
fn broken(good: &Value) -> Vec<(&'static str, Reply, &'static str)> {
    let text = good.to_string();
    let cut = Reply { body: text[..text.len() / 2].to_owned(), ..Reply::json(200, good) };
    let plain = Reply { headers: Vec::new(), ..Reply::json(200, good) };
    let elsewhere = Reply::json(302, &json!({})).with("location", "/login");
    vec![
        ("a login page", Reply::html(200), "content type \"text/html\"). (PAGERDUTY_ANSWER_STRANGE)"),
        ("JSON that was cut", cut, "PAGERDUTY_ANSWER_STRANGE"),
        ("JSON that is not said to be", plain.with("content-type", "text/plain"), "PAGERDUTY_ANSWER_STRANGE"),
        ("nothing", Reply::empty(200), "PAGERDUTY_ANSWER_STRANGE"),
        ("no content", Reply::empty(204), "PAGERDUTY_ANSWER_STRANGE"),
        ("null", Reply::json(200, &Value::Null), "PAGERDUTY_ANSWER_STRANGE"),
        ("a redirect", elsewhere, "a redirect, which is never followed"),
        ("a refusal with a list", refusal(403, &json!(["no"])), "error 2001. (PAGERDUTY_FORBIDDEN)"),
        ("a refusal with a map", refusal(403, &json!({"a": ["b"]})), "error 2001. (PAGERDUTY_FORBIDDEN)"),
        ("a refusal of the payment", refusal(402, &json!([])), "error 2001. (PAGERDUTY_CALL_FAILED)"),
        ("a proxy's 400", Reply::html(400), "without PagerDuty's error object"),
        ("a proxy's 404", Reply::html(404), "without PagerDuty's error object"),
        ("a proxy's JSON 404", Reply::json(404, &json!({"error": "no route"})), "without PagerDuty's error object"),
        ("PagerDuty's fault", Reply::json(500, &json!({"error": {"code": 2000}})), "500"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_or_leaves_for_an_answer_about_a_v2_schedule_that_is_not_exactly_pagerduty_s() {
    let spoiled: [Spoiled; 13] = [
        ("no schedule", |answer| remove(answer, "schedule"), "another shape"),
        ("no id", |answer| remove(&mut answer["schedule"], "id"), "another shape"),
        ("another id", |answer| answer["schedule"]["id"] = json!("POTHER1"), "another schedule than asked for"),
        ("no type", |answer| remove(&mut answer["schedule"], "type"), "another shape"),
        ("an unknown type", |answer| answer["schedule"]["type"] = json!("schedule_v4"), "another shape"),
        ("no final schedule", |answer| remove(&mut answer["schedule"], "final_schedule"), "another shape"),
        ("no entries", |answer| remove(last(answer), "rendered_schedule_entries"), "another shape"),
        ("covered by nobody", |answer| last(answer)["rendered_schedule_entries"] = json!([]), "without entries"),
        ("no user", |answer| remove(entry(answer), "user"), "another shape"),
        ("a user without id", |answer| remove(&mut entry(answer)["user"], "id"), "another shape"),
        ("an id that is none", |answer| entry(answer)["user"]["id"] = json!("P1/../users"), "another shape"),
        ("an unknown user type", |answer| entry(answer)["user"]["type"] = json!("team_reference"), "another shape"),
        ("an end before the start", |answer| entry(answer)["end"] = json!("2026-03-01T00:00:00Z"), "ends before"),
    ];
    on_a_schedule(Kind::Layers, &spoiled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_or_leaves_for_an_answer_about_a_v3_schedule_that_is_not_exactly_pagerduty_s() {
    let spoiled: [Spoiled; 11] = [
        ("another id", |answer| answer["schedule"]["id"] = json!("POTHER1"), "another schedule than asked for"),
        ("no final schedule", |answer| remove(&mut answer["schedule"], "final_schedule"), "another shape"),
        ("no shifts", |answer| remove(last(answer), "computed_shift_assignments"), "another shape"),
        ("no coverage", |answer| remove(last(answer), "rendered_coverage_percentage"), "another shape"),
        ("coverage null", |answer| last(answer)["rendered_coverage_percentage"] = Value::Null, "another shape"),
        ("covered by nobody", |answer| last(answer)["computed_shift_assignments"] = json!([]), "without entries"),
        ("no member", |answer| remove(shift(answer), "member"), "another shape"),
        ("an unknown member type", |answer| shift(answer)["member"]["type"] = json!("team_member"), "another shape"),
        ("a member without id", |answer| remove(&mut shift(answer)["member"], "user_id"), "another shape"),
        ("no start", |answer| remove(shift(answer), "start_time"), "another shape"),
        ("an end before the start", |answer| shift(answer)["end_time"] = json!("2026-03-01T00:00:00Z"), "ends before"),
    ];
    on_a_schedule(Kind::Shifts, &spoiled).await;
}

/// Every spoiled answer about a schedule of this kind. That the good one would have brought Bob in shows that each is
/// refused for the one thing that was changed.
async fn on_a_schedule(kind: Kind, spoiled: &[Spoiled]) {
    let noon = Handover::on(kind).await;
    let good = noon.answer(kind);
    for (what, reply, says) in broken(&good) {
        noon.proves_nothing(what, reply, says).await;
    }
    for (what, change, says) in spoiled {
        let mut answer = good.clone();
        change(&mut answer);
        noon.proves_nothing(what, Reply::json(200, &answer), says).await;
    }
    noon.world.pagerduty.replace(&noon.call, 1, Reply::json(200, &good));
    assert!(plan(&noon.world).await.contains(&format!("grant {}: on call as {}", noon.bob.okta, noon.bob.pagerduty)));
    noon.ends_on_time(Reply::html(200)).await;
}

/// What is read in one answer for many: the levels of a policy, or a schedule that is in one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Among {
    Policies,
    Schedules,
}

impl Handover {
    async fn among(among: Among) -> Self {
        let mut noon = Self::on(Kind::Layers).await;
        let policy = noon.world.pagerduty.policy("shop");
        noon.world.pagerduty.policy_level_schedule(&policy, 1, &noon.shop.schedule);
        if among == Among::Policies {
            follow_policy(&noon.world, &noon.shop, &policy, &[1], 2);
        }
        "GET /oncalls".clone_into(&mut noon.call);
        noon
    }

    /// A page on which Bob is on call for good.
    fn page(&self) -> Value {
        let user = json!({"id": self.bob.pagerduty, "type": "user", "email": self.bob.email});
        let plan = self.world.aws.parameters.value(&format!("{CONFIG_PATH}/shop")).unwrap();
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let policy = plan["escalation_policy"].as_str().unwrap_or("PELSE01");
        let row = json!({
            "user": user, "schedule": {"id": self.shop.schedule, "type": "schedule_reference"},
            "escalation_policy": {"id": policy}, "escalation_level": 1, "start": "2026-03-02T09:00:00Z", "end": null,
        });
        json!({"oncalls": [row], "limit": 100, "offset": 0, "more": false, "total": null})
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_or_leaves_for_an_answer_about_many_that_is_not_exactly_pagerduty_s() {
    let spoiled_page: [Spoiled; 6] = [
        ("no rows", |answer| remove(answer, "oncalls"), "another shape"),
        ("no more", |answer| remove(answer, "more"), "another shape"),
        ("more null", |answer| answer["more"] = Value::Null, "another shape"),
        ("another page", |answer| answer["offset"] = json!(100), "another page than asked for"),
        ("no policy", |answer| remove(&mut answer["oncalls"][0], "escalation_policy"), "another shape"),
        (
            "an empty page and more to come",
            |answer| (answer["oncalls"], answer["more"]) = (json!([]), json!(true)),
            "empty page with more to come",
        ),
    ];
    let spoiled_entry: [Spoiled; 5] = [
        ("no user", |answer| remove(&mut answer["oncalls"][0], "user"), "another shape"),
        ("an unknown user type", |answer| answer["oncalls"][0]["user"]["type"] = json!("bot"), "another shape"),
        ("no start", |answer| remove(&mut answer["oncalls"][0], "start"), "another shape"),
        ("no end", |answer| remove(&mut answer["oncalls"][0], "end"), "another shape"),
        ("no level", |answer| remove(&mut answer["oncalls"][0], "escalation_level"), "another shape"),
    ];
    for among in [Among::Policies, Among::Schedules] {
        let noon = Handover::among(among).await;
        let good = noon.page();
        let changed = |(what, change, says): &Spoiled| {
            let mut answer = good.clone();
            change(&mut answer);
            (*what, Reply::json(200, &answer), *says)
        };
        for (what, reply, says) in broken(&good).into_iter().chain(spoiled_page.iter().map(changed)) {
            match among {
                Among::Policies => noon.proves_nothing(what, reply, says).await,
                // A schedule can be read by itself as well, which proves what is so.
                Among::Schedules => {
                    noon.world.pagerduty.replace(&noon.call, 1, reply);
                    assert!(plan(&noon.world).await.contains(&format!("grant {}", noon.bob.okta)), "{what}");
                }
            }
        }
        for (what, reply, says) in spoiled_entry.iter().map(changed) {
            noon.proves_nothing(what, reply, says).await;
        }
        noon.world.pagerduty.replace(&noon.call, 1, Reply::json(200, &good));
        assert!(plan(&noon.world).await.contains(&format!("grant {}", noon.bob.okta)));
        noon.ends_on_time(changed(&spoiled_entry[0]).1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_reading_proves_that_nobody_is_on_a_schedule() {
    let noon = Handover::among(Among::Schedules).await;
    let mut nobody = noon.page();
    nobody["oncalls"][0]["user"] = Value::Null;
    let mut later = noon.page();
    later["oncalls"][0]["start"] = json!("2026-03-02T09:01:00Z");
    let mut other = noon.page();
    other["oncalls"][0]["schedule"]["id"] = json!("POTHER1");
    let mut direct = noon.page();
    direct["oncalls"][0]["schedule"] = Value::Null;
    let mut none = noon.page();
    none["oncalls"] = json!([]);
    let own = format!("GET /schedules/{}", noon.shop.schedule);
    for page in [nobody, later, other, direct, none] {
        noon.world.pagerduty.replace(&noon.call, 2, Reply::json(200, &page));
        noon.world.pagerduty.replace(&own, 1, Reply::html(500));
        let unread = plan(&noon.world).await;
        assert!(unread.contains("source: unknown") && unread.contains("/schedules/"), "{page}: {unread}");
        let shown = plan(&noon.world).await;
        assert!(shown.contains(&format!("grant {}", noon.bob.okta)), "{page}: {shown}");
    }
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

/// Bindings whose schedules are asked for in two requests, with Ann on call in all of them.
async fn sixty() -> (Oncall, Engineer, Vec<Bound>) {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let bound: Vec<Bound> = (0..60).map(|n| world.bind(&format!("b{n}"), &json!({}))).collect();
    for one in &bound {
        world.on_call(one, &ann, "08:00", "12:00");
    }
    (world, ann, bound)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_many_schedules_that_fails_hides_none_of_them() {
    let strange = Reply::json(200, &json!({"oncalls": [{"schedule": 7}], "offset": 0, "more": false}));
    for reply in [Reply::html(500), Reply::html(200), strange] {
        let (world, ann, bound) = sixty().await;
        world.pagerduty.replace("GET /oncalls", 2, reply);
        let report = world.tick().await.unwrap();
        assert_eq!(report["unknown"], 0, "{report}");
        assert!(bound.iter().all(|one| world.members(one, &[&ann]) == ["ann"]));
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_not_answered_with_more_requests() {
    let (world, _, _) = sixty().await;
    world.pagerduty.replace("GET /oncalls", 20, refusal(401, &json!(["no"])));
    let report = world.tick().await.unwrap();
    assert_eq!(report["unknown"], 60, "{report}");
    assert!(asked(&world, "/").iter().all(|call| call.path == "/oncalls"), "no schedule is asked for alone");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_given_is_asked_for_once_and_not_for_each_schedule() {
    for reply in [Reply::html(500), Reply::html(200)] {
        let (mut world, _, _) = sixty().await;
        let app = world.pagerduty.oauth_app(&["schedules.read", "oncalls.read", "users.read"]);
        let secret = json!({
            "client_id": app.client_id, "client_secret": app.client_secret, "subdomain": app.subdomain, "region": "us",
        });
        put_secret(&world, "keyturn/pagerduty", &secret).await;
        world.recycle().unwrap();
        world.pagerduty.replace("POST /oauth/token", 99, reply);
        let report = world.tick().await.unwrap();
        let calls = asked(&world, "/");
        assert!(report["unknown"] == 60 && calls.len() <= 3, "{}: {report}", calls.len());
        assert!(calls.iter().all(|call| call.path == "/oauth/token"));
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_each_api_says_the_other_one_has_is_no_mistake_of_the_document() {
    let noon = Handover::on(Kind::Shifts).await;
    let upgraded = json!({"schedule": {"id": noon.shop.schedule, "type": "schedule_v3"}});
    noon.world.pagerduty.replace(&format!("GET /schedules/{}", noon.shop.schedule), 2, Reply::json(200, &upgraded));
    noon.proves_nothing("v3 says 404", refusal(404, &json!({})), "(PAGERDUTY_ANSWER_STRANGE)").await;
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_schedule_that_pagerduty_refuses_hides_none_of_those_asked_for_with_it() {
    for status in [400, 403, 404] {
        let (world, ann, bound) = sixty().await;
        let last = bound.last().unwrap();
        world.pagerduty.replace("GET /oncalls", 3, refusal(status, &json!(["no"])));
        world.pagerduty.replace(&format!("GET /v3/schedules/{}", last.schedule), 1, refusal(402, &json!(["no"])));
        let report = world.tick().await.unwrap();
        assert_eq!(report["unknown"], 1, "{status}: {report}");
        let inside = bound.iter().filter(|one| world.members(one, &[&ann]) == ["ann"]).count();
        assert_eq!(inside, 59, "{status}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_policy_that_pagerduty_refuses_hides_none_of_those_asked_for_with_it() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let bound = ["one", "two", "three"].map(|id| world.bind_alone(id, &json!({})));
    for one in &bound {
        let policy = world.pagerduty.policy(&one.id);
        world.pagerduty.policy_level_user(&policy, 1, &ann.pagerduty);
        follow_policy(&world, one, &policy, &[1], 1);
    }
    // The request for all three, and for one of them.
    world.pagerduty.replace("GET /oncalls", 2, refusal(400, &json!(["no"])));
    let report = world.tick().await.unwrap();
    assert_eq!((&report["unknown"], asked(&world, "/oncalls").len()), (&json!(1), 4), "{report}");
    assert_eq!(bound.iter().filter(|one| world.members(one, &[&ann]) == ["ann"]).count(), 2);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_in_more_policies_than_can_be_paged_through_is_read_alone() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let [shop, bank] = ["shop", "bank"].map(|id| world.bind(id, &json!({})));
    for level in 1..=12 {
        let policy = world.pagerduty.policy("many");
        world.pagerduty.policy_level_schedule(&policy, level, &shop.schedule);
    }
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.on_call(&bank, &bob, "08:00", "12:00");
    world.pagerduty.page_size(1);
    let report = world.tick().await.unwrap();
    assert_eq!(report["unknown"], 0, "{report}");
    assert_eq!(asked(&world, "/oncalls").len(), 10);
    assert_eq!(
        (world.members(&shop, &[&ann]), world.members(&bank, &[&bob])),
        (vec!["ann".into()], vec!["bob".into()])
    );
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn shifts_on_two_schedules_without_a_break_are_one_however_each_schedule_is_read() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    let alone = world.pagerduty.schedule_v3("alone");
    world.write_binding(&shop, &json!({"schedules": [shop.schedule, alone]}));
    world.on_call(&shop, &ann, "08:00", "10:00");
    world.pagerduty.shift(&alone, &ann.pagerduty, world.today("10:00"), world.today("12:00"));
    world.tick().await.unwrap();
    assert_eq!(world.states(&shop).unwrap()[0].1["granted"]["on_call"]["shift_end"], "2026-03-02T12:00:00Z");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn pagerduty_is_asked_in_the_one_way_in_which_it_names_people() {
    for kind in [Kind::Layers, Kind::Shifts] {
        let noon = Handover::on(kind).await;
        noon.world.forget_requests();
        noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["bob"]);
        let calls = asked(&noon.world, noon.call.trim_start_matches("GET "));
        assert_eq!(calls.len(), 1, "a schedule costs one request");
        let [since, until] = ["since", "until"].map(|name| calls[0].query(name).unwrap_or_default());
        assert_eq!((since, until), ("2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z"), "{kind:?}");
        assert_eq!(calls[0].query("overflow"), Some("true"), "{kind:?}");
        assert_eq!(calls[0].query("include[]"), Some("final_schedule"), "{kind:?}");
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_beyond_the_window_stays_until_the_true_end() {
    for kind in [Kind::Layers, Kind::Shifts] {
        let noon = Handover::on(kind).await;
        let (start, end) = (noon.world.today("09:00"), noon.world.today("09:00") + Duration::hours(60));
        noon.world.pagerduty.override_shift(&noon.shop.schedule, &noon.ann.pagerduty, start, end);
        noon.world.tick().await.unwrap();
        assert_eq!(
            noon.world.states(&noon.shop).unwrap()[0].1["granted"]["on_call"]["shift_end"],
            "2026-03-04T21:00:00Z",
            "{kind:?}"
        );
        assert_eq!(noon.members(), ["ann"]);
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_revoked_by_hand_in_a_shift_of_six_days_stays_out_for_all_of_it() {
    for kind in [Kind::Layers, Kind::Shifts] {
        let noon = Handover::on(kind).await;
        let (start, end) = (noon.world.today("09:00"), noon.world.today("09:00") + Duration::days(6));
        noon.world.pagerduty.override_shift(&noon.shop.schedule, &noon.ann.pagerduty, start, end);
        let revoke = json!({"action": "revoke", "binding": "shop", "user": noon.ann.okta, "reason": "lost laptop"});
        noon.world.event(&revoke).await.unwrap();
        for days in [1, 5] {
            noon.world.minutes_later(days * 24 * 60 - 1);
            noon.world.tick().await.unwrap();
            noon.world.minutes_later(1);
            noon.world.tick().await.unwrap();
            assert_eq!(noon.members(), NOBODY, "{kind:?}, {}", noon.world.clock.now());
        }
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_ends_at_the_same_instant_in_every_time_zone() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    // The emulator's schedules have four zones in turn, two of them with a date of their own at this time.
    let bound = ["one", "two", "three", "four"].map(|id| world.bind(id, &json!({})));
    for one in &bound {
        world.on_call(one, &ann, "09:00", "12:00");
    }
    for (time, inside) in [("09:00", vec!["ann"]), ("11:59", vec!["ann"]), ("12:00", vec![])] {
        world.at(time);
        world.tick().await.unwrap();
        for one in &bound {
            assert_eq!(world.members(one, &[&ann]), inside, "{} at {time}", one.id);
        }
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_on_a_shift_based_schedule_comes_in_and_an_unassigned_shift_is_nobody_s() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let mut shop = world.bind("shop", &json!({}));
    shop.schedule = world.pagerduty.schedule_v3("shop");
    world.write_binding(&shop, &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.on_call(&shop, &bob, "08:00", "12:00");
    world.pagerduty.empty_shift(&shop.schedule, world.today("08:00"), world.today("17:00"));
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann", "bob"]);
    let users = |calls: &[Call]| tally(calls).iter().filter(|(call, _)| call.contains("/users/")).count();
    assert_eq!(users(&world.pagerduty.seen()), 2, "this API names people by their ids alone");
    world.forget_requests();
    world.tick().await.unwrap();
    let calls = [("GET /oncalls".to_owned(), 1), (format!("GET /v3/schedules/{}", shop.schedule), 1)];
    assert_eq!(tally(&world.pagerduty.seen()), calls.into());
    world.at("12:00");
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), NOBODY);
    assert_eq!(reasons(&report), ["shift_ended", "shift_ended"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_gets_nothing_where_the_document_says_which_rotations_count() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob, cid, dan] = ["ann", "bob", "cid", "dan"].map(|name| world.engineer(name).unwrap());
    let mut shop = world.bind("shop", &json!({}));
    shop.schedule = world.pagerduty.schedule_v3("shop");
    let (from, to) = (world.today("08:00"), world.today("18:00"));
    let first = world.pagerduty.rotation(&shop.schedule, 0);
    world.pagerduty.rotation_shift(&shop.schedule, 0, &ann.pagerduty, from, to);
    world.pagerduty.rotation_shift(&shop.schedule, 1, &bob.pagerduty, from, to);
    world.pagerduty.custom_shift(&shop.schedule, &cid.pagerduty, from, to);
    let everybody = [&ann, &bob, &cid, &dan];

    // Three people pull the brake.
    world.write_binding(&shop, &json!({}));
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &everybody), NOBODY);
    for (document, inside) in [
        (json!({"custom_shifts": false}), vec!["ann", "bob"]),
        (json!({"rotations": [first]}), vec!["ann", "cid"]),
        (json!({"rotations": [first], "custom_shifts": false}), vec!["ann"]),
    ] {
        world.write_binding(&shop, &document);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &everybody), inside, "{document}");
    }
    // Whoever takes over a shift of the rotation counts, and nobody else's rotation is changed by that.
    world.pagerduty.override_shift(&shop.schedule, &dan.pagerduty, from, to);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &everybody), ["dan"]);
    // A typing error is no gap: nobody comes or leaves.
    world.write_binding(&shop, &json!({"rotations": ["R404"]}));
    for _ in 0..3 {
        world.minutes_later(1);
        let report = world.tick().await.unwrap();
        assert_eq!((world.members(&shop, &everybody), &report["unknown"]), (vec!["dan".to_owned()], &json!(1)));
    }
    assert!(plan(&world).await.contains("ROTATION_UNKNOWN"));
    assert_eq!(world.violations(), Vec::<String>::new());
}

async fn an_upgraded_schedule_is_read_although_the_old_api_shows_nobody(coverage: Value) {
    let noon = Handover::on(Kind::Layers).await;
    noon.world.pagerduty.upgrade(&noon.shop.schedule);
    let mut empty = noon.answer(Kind::Layers);
    let last = &mut empty["schedule"]["final_schedule"];
    (last["rendered_schedule_entries"], last["rendered_coverage_percentage"]) = (json!([]), coverage);
    noon.world.pagerduty.replace(&noon.call, 1, Reply::json(200, &empty));
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_an_upgraded_schedule_comes_in_although_the_old_api_shows_nobody() {
    // The second: an old API that says nothing of coverage.
    for coverage in [json!(0.0), Value::Null] {
        an_upgraded_schedule_is_read_although_the_old_api_shows_nobody(coverage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_or_leaves_while_the_account_may_not_use_v3_and_the_schedule_is_made_of_shifts() {
    let mut noon = Handover::on(Kind::Shifts).await;
    noon.world.recycle().unwrap();
    noon.proves_nothing("v3 says 403", refusal(403, &json!(["no"])), "(PAGERDUTY_FORBIDDEN)").await;
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_400_in_pagerduty_s_words_says_that_a_schedule_is_of_the_old_kind() {
    let mut noon = Handover::on(Kind::Layers).await;
    noon.call = format!("GET /v3/schedules/{}", noon.shop.schedule);
    for (what, reply) in [("a proxy's 400", Reply::html(400)), ("a 500", Reply::html(500))] {
        // A cold start has to find out again which kind it is.
        noon.world.recycle().unwrap();
        noon.world.forget_requests();
        noon.proves_nothing(what, reply, "PAGERDUTY_").await;
        assert!(asked(&noon.world, "/schedules/").is_empty(), "{what}");
    }
    let schedule = json!({"schedule": ["is not a shift-based schedule"]});
    noon.world.pagerduty.replace(&noon.call, 1, refusal(400, &schedule));
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_a_schedule_of_layers_comes_in_although_the_account_may_not_use_v3() {
    let mut noon = Handover::on(Kind::Layers).await;
    noon.call = format!("GET /v3/schedules/{}", noon.shop.schedule);
    let forbid = |noon: &Handover| noon.world.pagerduty.replace(&noon.call, 100, refusal(403, &json!(["no"])));
    noon.world.recycle().unwrap();
    forbid(&noon);
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    // That v2 shows nobody proves nothing: v3 may have the schedule.
    noon.world.pagerduty.clear(&noon.shop.schedule);
    for _ in 0..3 {
        noon.world.recycle().unwrap();
        noon.world.minutes_later(1);
        let report = noon.world.tick().await.unwrap();
        assert_eq!((noon.members(), &report["unknown"]), (vec!["bob".to_owned()], &json!(1)));
    }
    assert!(plan(&noon.world).await.contains("(PAGERDUTY_FORBIDDEN)"));
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_takes_the_place_of_one_of_two_who_share_a_shift() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|name| world.engineer(name).unwrap());
    let mut shop = world.bind("shop", &json!({}));
    shop.schedule = world.pagerduty.schedule_v3("shop");
    world.write_binding(&shop, &json!({}));
    let (from, to) = (world.today("08:00"), world.today("18:00"));
    for person in [&ann, &bob] {
        world.pagerduty.shift(&shop.schedule, &person.pagerduty, from, to);
    }
    world.tick().await.unwrap();
    world.pagerduty.override_one(&shop.schedule, &ann.pagerduty, Some(&cid.pagerduty), from, to);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob, &cid]), ["bob", "cid"]);
    world.pagerduty.override_one(&shop.schedule, &cid.pagerduty, None, from, to);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob, &cid]), ["bob"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_on_a_policy_comes_in_from_every_page_and_nobody_moves_while_pages_never_end() {
    let world = Oncall::start().await.unwrap();
    let people: Vec<Engineer> = (1..=8).map(|n| world.engineer(&format!("e{n}")).unwrap()).collect();
    let shop = world.bind("shop", &json!({}));
    let policy = world.pagerduty.policy("shop");
    for person in &people[..7] {
        world.pagerduty.policy_level_user(&policy, 1, &person.pagerduty);
    }
    follow_policy(&world, &shop, &policy, &[1], 8);
    world.pagerduty.page_size(3);
    world.tick().await.unwrap();
    assert_eq!(world.okta.members(&shop.group).len(), 7);
    let calls = asked(&world, "/oncalls");
    let asked_for = |name| calls.iter().filter_map(|call| call.query(name)).collect::<Vec<&str>>();
    assert_eq!((asked_for("offset"), asked_for("limit")), (vec!["0", "3", "6"], vec!["100"; 3]));

    world.pagerduty.policy_level_user(&policy, 1, &people[7].pagerduty);
    world.pagerduty.endless();
    let report = world.tick().await.unwrap();
    assert_eq!((&report["unknown"], world.okta.members(&shop.group).len()), (&json!(1), 7));
    assert!(plan(&world).await.contains("an empty page with more to come"));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_names_people_with_their_addresses_so_that_nobody_is_asked_for_again() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    let policy = world.pagerduty.policy("shop");
    world.pagerduty.policy_level_schedule(&policy, 1, &shop.schedule);
    world.pagerduty.policy_level_user(&policy, 2, &bob.pagerduty);
    follow_policy(&world, &shop, &policy, &[1, 2], 2);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann", "bob"]);
    assert_eq!(tally(&world.pagerduty.seen()), [("GET /oncalls".to_owned(), 1)].into());
    let states = world.states(&shop).unwrap();
    let ends: Vec<&Value> = states.iter().map(|(_, state)| &state["granted"]["on_call"]["shift_end"]).collect();
    assert_eq!(ends, [&json!("2026-03-02T12:00:00Z"), &Value::Null], "bob is on call for good");
    for departed in [Departed::Null, Departed::DeletedAt] {
        world.pagerduty.delete_user(&bob.pagerduty, departed);
        let shown = plan(&world).await;
        assert!(shown.contains("revoke bob@corp.example"), "{departed:?}: {shown}");
    }
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"]);
    assert_eq!(reasons(&report), ["left_schedule"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_leaves_early_while_the_account_is_of_the_other_region() {
    let noon = Handover::on(Kind::Layers).await;
    noon.world.forget_requests();
    noon.world.pagerduty.wrong_region();
    let report = noon.world.tick().await.unwrap();
    assert_eq!((&report["unknown"], noon.members()), (&json!(1), vec!["ann".to_owned()]));
    assert_eq!(asked(&noon.world, "/").len(), 2, "once more with the secret read again, and no more");
    let told = noon.world.event(&json!({"action": "doctor"})).await.unwrap().to_string();
    assert!(told.contains("PAGERDUTY_CREDENTIAL_REFUSED") && told.contains("(us or eu)"), "{told}");
    noon.world.at("12:00");
    let report = noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), NOBODY);
    assert_eq!(reasons(&report), ["shift_ended"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_and_go_by_the_word_of_an_app_whose_tokens_end() {
    let world = Oncall::builder().pagerduty(PagerDutyAccess::App).start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    let tokens = || asked(&world, "/oauth/token").len();
    let in_hours = |hours| world.today("00:00") + Duration::hours(hours);
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, in_hours(9), in_hours(33));
    world.pagerduty.shift(&shop.schedule, &bob.pagerduty, in_hours(33), in_hours(60));
    world.tick().await.unwrap();
    assert_eq!((world.members(&shop, &[&ann, &bob]), tokens()), (vec!["ann".to_owned()], 1));
    world.minutes_later(23 * 60 + 54);
    world.tick().await.unwrap();
    assert_eq!(tokens(), 1, "a token is good for a day");
    world.minutes_later(6);
    world.tick().await.unwrap();
    assert_eq!((world.members(&shop, &[&ann, &bob]), tokens()), (vec!["bob".to_owned()], 2));
    world.pagerduty.expire_tokens();
    let report = world.tick().await.unwrap();
    assert_eq!((&report["unknown"], tokens()), (&json!(0), 3), "a token that ended early is replaced in the same tick");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_or_leaves_while_the_app_lacks_a_scope_and_the_scope_is_named() {
    let mut noon = Handover::on(Kind::Layers).await;
    for missing in ["schedules.read", "oncalls.read", "users.read"] {
        let all = ["schedules.read", "oncalls.read", "users.read"];
        let granted: Vec<&str> = all.into_iter().filter(|scope| *scope != missing).collect();
        let app = noon.world.pagerduty.oauth_app(&granted);
        let secret = json!({
            "client_id": app.client_id, "client_secret": app.client_secret, "subdomain": app.subdomain, "region": "us",
        });
        put_secret(&noon.world, "keyturn/pagerduty", &secret).await;
        noon.world.recycle().unwrap();
        let said = plan(&noon.world).await;
        assert!(said.contains(&format!("was not granted {missing}. (PAGERDUTY_SCOPE_MISSING)")), "{said}");
        let report = noon.world.tick().await.unwrap();
        assert_eq!((&report["unknown"], noon.members()), (&json!(1), vec!["ann".to_owned()]));
    }
    put_secret(&noon.world, "keyturn/pagerduty", &json!({"token": noon.world.pagerduty.token()})).await;
    noon.world.recycle().unwrap();
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_comes_in_although_the_rate_limit_was_used_up() {
    let noon = Handover::on(Kind::Layers).await;
    noon.world.pagerduty.limit(1);
    let started = Instant::now();
    noon.world.tick().await.unwrap();
    assert!(started.elapsed() >= RealTime::from_secs(1), "PagerDuty asked for a second");
    assert_eq!(noon.members(), ["bob"]);
    noon.world.pagerduty.override_shift(
        &noon.shop.schedule,
        &noon.ann.pagerduty,
        noon.world.today("09:00"),
        noon.world.today("20:00"),
    );
    noon.world.pagerduty.limit_without_headers(2);
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["ann"]);
    noon.world.pagerduty.limit_without_headers(3);
    let said = plan(&noon.world).await;
    assert!(said.contains("PAGERDUTY_THROTTLED"), "{said}");
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_the_token_nowhere() {
    for access in [PagerDutyAccess::Token, PagerDutyAccess::App] {
        let world = Oncall::builder().pagerduty(access).start().await.unwrap();
        let elsewhere = PagerDuty::start(world.clock.clock(), Faults::none()).await.unwrap();
        let ann = world.engineer("ann").unwrap();
        let shop = world.bind_alone("shop", &json!({}));
        world.on_call(&shop, &ann, "08:00", "12:00");
        let path = format!("/v3/schedules/{}", shop.schedule);
        for (status, call, address) in [
            (301, format!("GET {path}"), format!("{}{path}", elsewhere.url())),
            (302, format!("GET {path}"), format!("{}/v3/schedules/PELSE", world.pagerduty.url())),
            (307, format!("GET {path}"), format!("{}{path}", elsewhere.url())),
            (308, "POST /oauth/token".to_owned(), format!("{}/oauth/token", elsewhere.identity_url())),
        ] {
            if status == 308 && access == PagerDutyAccess::Token {
                continue;
            }
            world.pagerduty.expire_tokens();
            // Without a token, the request for this schedule alone is not made either.
            let times = if call.starts_with("POST") { 2 } else { 1 };
            world.pagerduty.replace(&call, times, Reply::empty(status).with("location", address));
            let said = plan(&world).await;
            assert!(said.contains("is a redirect, which is never followed. (PAGERDUTY_ANSWER_STRANGE)"), "{said}");
        }
        assert!(elsewhere.seen().is_empty() && asked(&world, "/v3/schedules/PELSE").is_empty());
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_comes_in_although_pagerduty_is_slow_or_stumbles() {
    for fault in [Fault::Slow(RealTime::from_secs(2)), Fault::Cut, Fault::Status(503, "")] {
        let noon = Handover::on(Kind::Layers).await;
        noon.world.faults.reset();
        let call = format!(" PagerDuty {} #1", noon.call);
        noon.world.faults.inject(Point { call, moment: Moment::After, fault });
        let report = noon.world.tick().await.unwrap();
        assert_eq!(noon.world.faults.struck().len(), 1);
        assert_eq!((&report["unknown"], noon.members()), (&json!(0), vec!["bob".to_owned()]));
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}
