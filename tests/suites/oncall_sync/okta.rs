//! Every fact of Okta's API, by what becomes of the people on call.

use super::config::put_secret;
use super::shifts::{NOBODY, okta_is_down, reasons};
use chrono::Duration;
use keyturn::Deadline;
use keyturn::clock::Clock;
use keyturn::parameters::Parameters;
use keyturn::secrets::Secrets;
use keyturn_tests::aws::function_config;
use keyturn_tests::faults::{Fault, Faults, Moment, Point};
use keyturn_tests::stacks::oncall::{Bound, Engineer, OktaAccess, Oncall, TIMEOUT};
use keyturn_tests::vendors::okta::{LinkStyle, Okta, Permission};
use keyturn_tests::vendors::{Call, Reply};
use oncall_sync::OncallSync;
use serde_json::{Value, json};
use std::time::Duration as RealTime;
use tokio::time::Instant;

const SCOPES: [&str; 3] = ["okta.groups.manage", "okta.groups.read", "okta.users.read"];

/// Ann until noon, then Bob; Ann is in.
struct Noon {
    world: Oncall,
    shop: Bound,
    ann: Engineer,
    bob: Engineer,
}

impl Noon {
    async fn with(access: OktaAccess) -> Self {
        let world = Oncall::builder().okta(access).start().await.unwrap();
        let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
        let shop = world.bind("shop", &json!({}));
        world.on_call(&shop, &ann, "08:00", "12:00");
        world.on_call(&shop, &bob, "12:00", "17:00");
        let noon = Self { world, shop, ann, bob };
        noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["ann"]);
        noon.world.forget_requests();
        noon
    }

    async fn begin() -> Self {
        Self::with(OktaAccess::Token).await
    }

    fn members(&self) -> Vec<String> {
        self.world.members(&self.shop, &[&self.ann, &self.bob])
    }

    /// The name of a call about the group.
    fn call(&self, method: &str, rest: &str) -> String {
        format!("{method} /api/v1/groups/{}{rest}", self.shop.group)
    }

    /// The name of the call that changes one person's membership.
    fn change(&self, method: &str, who: &Engineer) -> String {
        self.call(method, &format!("/users/{}", who.okta))
    }
}

/// What a tick would do, in one text.
async fn plan(world: &Oncall) -> String {
    said(&world.event(&json!({"action": "plan"})).await.unwrap()["plan"])
}

fn said(lines: &Value) -> String {
    let lines = lines.as_array().map(Vec::as_slice).unwrap_or_default();
    lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// What the doctor finds wrong, in one text.
async fn doctor(world: &Oncall) -> String {
    let answer = world.event(&json!({"action": "doctor"})).await.unwrap();
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    let failed = checks.iter().filter(|check| check["ok"] == false);
    failed.filter_map(|check| check["detail"].as_str()).collect::<Vec<_>>().join("\n")
}

/// The requests since they were forgotten, by the first words of their names.
fn asked(world: &Oncall, name: &str) -> Vec<Call> {
    world.okta.seen().into_iter().filter(|call| call.name().starts_with(name)).collect()
}

/// How many events at Datadog speak of this.
fn told_of(world: &Oncall, what: &str) -> usize {
    world.datadog.events().iter().filter(|event| event.to_string().contains(what)).count()
}

/// How often somebody was told to come in or to leave.
fn told_of_changes(world: &Oncall) -> usize {
    told_of(world, "Break-glass granted") + told_of(world, "Break-glass revoked")
}

/// Okta's own way of saying no.
fn refusal(status: u16, code: &str) -> Reply {
    let body =
        json!({"errorCode": code, "errorSummary": "no", "errorId": "oaeTestTestTestTestTestTe", "errorCauses": []});
    Reply::json(status, &body)
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().unwrap().remove(key);
}

/// Another org that nobody has a business with.
async fn stranger(world: &Oncall) -> Okta {
    Okta::start(world.clock.clock(), Faults::none()).await.unwrap()
}

/// Makes a service app and gives the secret that each way of writing its key down makes.
fn secrets_of_apps(world: &Oncall) -> Vec<(&'static str, Value)> {
    let (ec, rsa) = (world.okta.service_app(&SCOPES).unwrap(), world.okta.service_app_rsa(&SCOPES).unwrap());
    let secret = |id: &str, key: Value| json!({"org_url": world.okta.url(), "client_id": id, "private_key": key});
    let pem = |id: &str, kid: &str, pem: &str| {
        let mut secret = secret(id, json!(pem));
        secret["kid"] = json!(kid);
        secret
    };
    vec![
        ("EC, JWK", secret(&ec.client_id, ec.jwk.clone())),
        ("EC, JWK as text", secret(&ec.client_id, json!(ec.jwk.to_string()))),
        ("EC, PEM", pem(&ec.client_id, &ec.kid, &ec.pem)),
        ("RSA, JWK", secret(&rsa.client_id, rsa.jwk.clone())),
        ("RSA, JWK as text", secret(&rsa.client_id, json!(rsa.jwk.to_string()))),
        ("RSA, PEM", pem(&rsa.client_id, &rsa.kid, &rsa.pem)),
        ("API token", json!({"org_url": world.okta.url(), "token": world.okta.ssws_token()})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_and_go_with_every_kind_of_credential() {
    let kinds = secrets_of_apps(&Oncall::start().await.unwrap()).len();
    for kind in 0..kinds {
        let mut world = Oncall::start().await.unwrap();
        let (name, secret) = secrets_of_apps(&world).swap_remove(kind);
        put_secret(&world, "keyturn/okta", &secret).await;
        world.recycle().unwrap();
        // Ann signs in by another name than her address, so that she has to be searched for.
        let bob = world.engineer("bob").unwrap();
        let ann = Engineer {
            pagerduty: world.pagerduty.user("ann", "ann@corp.example"),
            okta: world.okta.user("a.smith@corp.example", "ann@corp.example").unwrap(),
            email: "ann@corp.example".to_owned(),
        };
        let shop = world.bind("shop", &json!({}));
        world.okta.page_size(1);
        world.okta.rule(&world.okta.group("other"), true);
        world.on_call(&shop, &ann, "08:00", "12:00");
        world.on_call(&shop, &bob, "12:00", "17:00");
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"], "{name}");
        world.at("12:00");
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"], "{name}");
        let scheme = if name == "API token" { "SSWS " } else { "DPoP " };
        let calls = world.okta.seen().into_iter().filter(|call| call.path.starts_with("/api/")).collect::<Vec<_>>();
        assert!(calls.iter().all(|call| call.header("authorization").starts_with(scheme)), "{name}");
        assert!(calls.iter().all(|call| call.headers.contains_key("dpop") == (scheme == "DPoP ")), "{name}");
        for of_a_tick in ["/api/v1/groups/rules", "/api/v1/users", &format!("/api/v1/users/{}", ann.okta)] {
            assert!(calls.iter().any(|call| call.path == of_a_tick), "{name}: {of_a_tick}");
        }
        for method in ["GET", "PUT", "DELETE"] {
            assert!(calls.iter().any(|call| call.method == method), "{name}: {method}");
        }
        assert_eq!(world.violations(), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_and_go_while_okta_changes_its_nonce() {
    let noon = Noon::with(OktaAccess::ServiceApp).await;
    let tokens = || asked(&noon.world, "POST /oauth2/v1/token").len();
    noon.world.minutes_later(54);
    noon.world.tick().await.unwrap();
    assert_eq!(tokens(), 0, "a token is good for an hour");
    noon.world.minutes_later(1);
    noon.world.tick().await.unwrap();
    assert_eq!(tokens(), 1, "and replaced five minutes before its end, with the nonce of the first time");
    noon.world.okta.rotate_nonce();
    noon.world.at("12:00");
    noon.world.tick().await.unwrap();
    assert_eq!((noon.members(), tokens()), (vec!["bob".to_owned()], 3));
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_learns_the_nonce_with_one_more_request() {
    let world = Oncall::builder().okta(OktaAccess::ServiceApp).start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    assert_eq!(asked(&world, "POST /oauth2/v1/token").len(), 2);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_and_go_although_the_access_token_ends_in_the_middle_of_a_tick() {
    for before in ["nothing", "DELETE", "PUT", "list"] {
        let noon = Noon::with(OktaAccess::ServiceApp).await;
        noon.world.at("11:30");
        noon.world.tick().await.unwrap();
        noon.world.at("12:00");
        let call = match before {
            "DELETE" => noon.change("DELETE", &noon.ann),
            "PUT" => noon.change("PUT", &noon.bob),
            _ => noon.call("GET", "/users"),
        };
        if before == "nothing" {
            noon.world.okta.expire_tokens();
        } else {
            noon.world.okta.replace(&call, 1, refusal(401, "E0000011"));
        }
        let report = noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["bob"], "before {before}: {report}");
        assert_eq!((&report["unknown"], &report["unfinished"]), (&json!(0), &json!(0)), "before {before}");
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_while_the_service_app_lacks_a_scope_and_the_scope_is_named() {
    let mut noon = Noon::begin().await;
    noon.world.at("12:00");
    for missing in SCOPES {
        let granted: Vec<&str> = SCOPES.into_iter().filter(|scope| *scope != missing).collect();
        let app = noon.world.okta.service_app(&granted).unwrap();
        let secret = json!({"org_url": noon.world.okta.url(), "client_id": app.client_id, "private_key": app.jwk});
        put_secret(&noon.world, "keyturn/okta", &secret).await;
        noon.world.recycle().unwrap();
        let text = plan(&noon.world).await;
        assert!(text.contains(&format!("without the scopes {missing}. (OKTA_SCOPE_MISSING)")), "{text}");
    }
    let token = json!({"org_url": noon.world.okta.url(), "token": noon.world.okta.ssws_token()});
    put_secret(&noon.world, "keyturn/okta", &token).await;
    noon.world.recycle().unwrap();
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_moves_while_the_api_token_is_revoked_and_everybody_does_with_a_new_one() {
    let noon = Noon::begin().await;
    let app = noon.world.okta.service_app(&SCOPES).unwrap();
    noon.world.okta.revoke_ssws();
    noon.world.at("11:59");
    let report = noon.world.tick().await.unwrap();
    assert_eq!((&report["unknown"], noon.members()), (&json!(1), vec!["ann".to_owned()]));
    assert_eq!(asked(&noon.world, &noon.call("GET", "/users")).len(), 2, "once more with the secret read again");
    let text = plan(&noon.world).await;
    assert!(text.contains("(401, E0000011, error id oae") && text.contains("(OKTA_CREDENTIAL_REFUSED)"), "{text}");
    noon.world.at("12:00");
    let secret = json!({"org_url": noon.world.okta.url(), "client_id": app.client_id, "private_key": app.jwk});
    put_secret(&noon.world, "keyturn/okta", &secret).await;
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_leaves_whichever_page_of_the_list_names_them() {
    for style in [LinkStyle::Usual, LinkStyle::OneHeader, LinkStyle::Odd] {
        let noon = Noon::begin().await;
        let outsiders: Vec<Engineer> = (1..=8).map(|n| noon.world.engineer(&format!("outsider{n}")).unwrap()).collect();
        for outsider in &outsiders {
            noon.world.okta.add(&noon.shop.group, &outsider.okta);
        }
        noon.world.okta.page_size(2);
        noon.world.okta.link_style(style);
        noon.world.at("12:00");
        let report = noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["bob"], "{style:?}");
        assert_eq!(reasons(&report).iter().filter(|reason| **reason == "out_of_band").count(), 8, "{style:?}");
        let pages = asked(&noon.world, &noon.call("GET", "/users"));
        assert!(pages.len() >= 5, "{style:?}: {} pages", pages.len());
        assert!(pages.iter().filter(|page| page.query("after").is_none()).count() >= 2, "read again to verify");
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_whose_time_is_up_leave_while_the_list_s_pages_lead_astray() {
    let each = |style| Box::pin(pages_lead_astray(style));
    tokio::join!(
        each(LinkStyle::ForeignOrigin),
        each(LinkStyle::OtherScheme),
        each(LinkStyle::OtherPort),
        each(LinkStyle::Endless),
        each(LinkStyle::Loop),
    );
}

async fn pages_lead_astray(style: LinkStyle) {
    let noon = Noon::begin().await;
    let outsiders: Vec<Engineer> = (1..=5).map(|n| noon.world.engineer(&format!("outsider{n}")).unwrap()).collect();
    for outsider in &outsiders {
        noon.world.okta.add(&noon.shop.group, &outsider.okta);
    }
    noon.world.okta.page_size(2);
    noon.world.okta.link_style(style);
    noon.world.at("11:59");
    let text = plan(&noon.world).await;
    assert!(text.contains("members: unknown") && text.contains("(OKTA_PAGING_STRANGE)"), "{style:?}: {text}");
    assert!(text.contains("nothing to change"), "{style:?}: {text}");
    noon.world.at("12:00");
    let report = noon.world.tick().await.unwrap();
    let members = noon.world.okta.members(&noon.shop.group);
    assert_eq!(members.len(), 5, "{style:?}: ann alone left, bob did not come in: {report}");
    assert!(!members.contains(&noon.ann.okta) && !members.contains(&noon.bob.okta), "{style:?}: {report}");
    noon.world.okta.link_style(LinkStyle::Usual);
    noon.world.minutes_later(1);
    let report = noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"], "{style:?}: {report}");
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_host_is_called_whatever_an_answer_points_at() {
    for access in [OktaAccess::Token, OktaAccess::ServiceApp] {
        let noon = Noon::with(access).await;
        let elsewhere = stranger(&noon.world).await;
        let (list, page) = (noon.call("GET", "/users"), format!("/api/v1/groups/{}/users?after=x", noon.shop.group));
        let listed = |next: &str| Reply::json(200, &json!([])).with("link", format!("<{next}>; rel=\"next\""));
        for reply in [
            listed(&format!("{}{page}", elsewhere.url())),
            listed(&format!("//{}{page}", elsewhere.url().trim_start_matches("http://"))),
            listed(&format!("{}@{}{page}", noon.world.okta.url(), elsewhere.url().trim_start_matches("http://"))),
            listed(&format!("{}/api/v1/groups/{}/users?after=x", noon.world.okta.url(), noon.ann.okta)),
            listed(&format!("{}/api/v1/users?after=x", noon.world.okta.url())),
            listed(&format!("{}{page}é", noon.world.okta.url())),
            Reply::json(200, &json!([])).with("link", "next page: see elsewhere"),
        ] {
            let pointed = format!("{:?}", reply.headers);
            noon.world.okta.replace(&list, 1, reply);
            let text = plan(&noon.world).await;
            assert!(text.contains("(OKTA_PAGING_STRANGE)"), "{pointed}: {text}");
        }
        for status in [301, 302, 303, 307, 308] {
            let reply = Reply::empty(status).with("location", format!("{}{page}", elsewhere.url()));
            noon.world.okta.replace(&list, 1, reply);
            let text = plan(&noon.world).await;
            assert!(text.contains("is a redirect, which is never followed"), "{status}: {text}");
        }
        noon.world.at("12:00");
        let away = Reply::empty(307).with("location", format!("{}{page}", elsewhere.url()));
        noon.world.okta.replace(&noon.change("PUT", &noon.bob), 1, away.clone());
        noon.world.okta.expire_tokens();
        if access == OktaAccess::ServiceApp {
            noon.world.okta.replace("POST /oauth2/v1/token", 1, away);
            let text = plan(&noon.world).await;
            assert!(text.contains("(OKTA_ANSWER_STRANGE)"), "{text}");
        }
        let report = noon.world.tick().await.unwrap();
        assert_eq!((noon.members(), &report["unfinished"]), (NOBODY.map(str::to_owned).to_vec(), &json!(1)));
        noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["bob"]);
        assert!(elsewhere.seen().is_empty());
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_or_leaves_for_a_list_of_members_that_is_not_exactly_okta_s() {
    type Spoiled = (&'static str, fn(&mut Value), &'static str);
    let noon = Noon::begin().await;
    let list = noon.call("GET", "/users");
    let good = json!([{"id": noon.bob.okta, "status": "ACTIVE", "profile": {"login": noon.bob.email, "more": 1}}]);
    noon.world.at("11:59");
    let text = good.to_string();
    let cut = Reply { body: text[..text.len() / 2].to_owned(), ..Reply::json(200, &good) };
    let plain = Reply { headers: Vec::new(), ..Reply::json(200, &good) };
    let mut replies = vec![
        ("a login page", Reply::html(200), "content type \"text/html\"). (OKTA_ANSWER_STRANGE)"),
        ("JSON that was cut", cut, "(OKTA_ANSWER_STRANGE)"),
        ("JSON that is not said to be", plain, "(OKTA_ANSWER_STRANGE)"),
        ("nothing", Reply::empty(200), "(OKTA_ANSWER_STRANGE)"),
        ("no content", Reply::empty(204), "(OKTA_CALL_FAILED)"),
        (
            "Okta's fault",
            refusal(500, "E0000009"),
            "500, E0000009, error id oaeTestTestTestTestTestTe. (OKTA_CALL_FAILED)",
        ),
        (
            "no permission",
            refusal(403, "E0000006"),
            "403, E0000006, error id oaeTestTestTestTestTestTe. (OKTA_FORBIDDEN)",
        ),
        ("a proxy's 404", Reply::html(404), "failed: 404. (OKTA_CALL_FAILED)"),
        ("a maintenance page", Reply::html(500), "failed: 500. (OKTA_CALL_FAILED)"),
    ];
    let spoiled: [Spoiled; 8] = [
        ("an object", |list| *list = json!({"users": []}), "(OKTA_ANSWER_STRANGE)"),
        ("null", |list| *list = Value::Null, "(OKTA_ANSWER_STRANGE)"),
        ("an error with 200", |list| *list = json!({"errorCode": "E0000009"}), "(OKTA_ANSWER_STRANGE)"),
        ("no id", |list| remove(&mut list[0], "id"), "(OKTA_ANSWER_STRANGE)"),
        ("an id that is a path", |list| list[0]["id"] = json!("../../users/me"), "(OKTA_ANSWER_STRANGE)"),
        ("an id with a query", |list| list[0]["id"] = json!("00u1?x=y"), "(OKTA_ANSWER_STRANGE)"),
        ("no status", |list| remove(&mut list[0], "status"), "(OKTA_ANSWER_STRANGE)"),
        ("no profile", |list| remove(&mut list[0], "profile"), "(OKTA_ANSWER_STRANGE)"),
    ];
    for (what, change, says) in spoiled {
        let mut list = good.clone();
        change(&mut list);
        replies.push((what, Reply::json(200, &list), says));
    }
    for (what, reply, says) in replies {
        noon.world.okta.replace(&list, 2, reply);
        let text = plan(&noon.world).await;
        assert!(text.contains("members: unknown") && text.contains(says), "{what}: {text}");
        let report = noon.world.tick().await.unwrap();
        assert_eq!((&report["unknown"], noon.members()), (&json!(1), vec!["ann".to_owned()]), "{what}: {report}");
    }
    noon.world.okta.replace(&list, 1, Reply::json(200, &good));
    let text = plan(&noon.world).await;
    assert!(text.contains("members: bob@corp.example") && text.contains("grant"), "the good one counts: {text}");
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_in_is_put_in_with_the_length_of_an_empty_body() {
    for access in [OktaAccess::Token, OktaAccess::ServiceApp] {
        let noon = Noon::with(access).await;
        noon.world.at("12:00");
        noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["bob"]);
        let put = asked(&noon.world, "PUT ");
        assert_eq!((put.len(), put[0].header("content-length")), (1, "0"));
        assert!(put[0].body.is_empty() && put[0].headers.get("transfer-encoding").is_none());
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_okta_has_deleted_is_gone() {
    let noon = Noon::begin().await;
    noon.world.at("12:00");
    noon.world.okta.delete_user(&noon.ann.okta);
    okta_is_down(&noon.world, &noon.shop, 1);
    let report = noon.world.tick().await.unwrap();
    assert_eq!(reasons(&report), ["shift_ended"], "{report}");
    assert_eq!(asked(&noon.world, &noon.change("DELETE", &noon.ann)).len(), 1, "which Okta answers with 404");
    assert_eq!(report["unfinished"], 0);
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.states(&noon.shop).unwrap().len(), 1);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_that_is_not_okta_s_takes_nobody_for_gone() {
    let noon = Noon::begin().await;
    noon.world.at("12:00");
    noon.world.okta.replace(&noon.change("DELETE", &noon.ann), 1, Reply::html(404));
    let report = noon.world.tick().await.unwrap();
    assert_eq!((&report["unfinished"], &report["revoked"]), (&json!(1), &json!([])));
    assert_eq!(noon.members(), ["ann", "bob"]);
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_that_is_not_okta_s_is_no_word_about_the_group() {
    let mut noon = Noon::begin().await;
    noon.world.recycle().unwrap();
    noon.world.okta.replace(&noon.call("GET", ""), 2, Reply::html(404));
    let text = plan(&noon.world).await;
    assert!(text.contains("members: unknown") && text.contains("(OKTA_ANSWER_STRANGE)"), "{text}");
    noon.world.tick().await.unwrap();
    assert_eq!((noon.members(), told_of(&noon.world, "GROUP_NOT_FOUND")), (vec!["ann".to_owned()], 0));
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_deleted_under_its_people_is_told() {
    let noon = Noon::begin().await;
    noon.world.at("12:00");
    noon.world.okta.delete_group(&noon.shop.group);
    for _ in 0..3 {
        let report = noon.world.tick().await.unwrap();
        assert_eq!((&report["unknown"], &report["granted"], &report["revoked"]), (&json!(1), &json!([]), &json!([])));
        noon.world.minutes_later(1);
    }
    assert_eq!(told_of(&noon.world, "GROUP_NOT_FOUND"), 1, "{:?}", noon.world.alerts());
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_left_by_another_hand_meanwhile_is_out_without_more_ado() {
    let noon = Noon::begin().await;
    noon.world.okta.lag(&noon.shop.group, 1);
    noon.world.okta.remove(&noon.shop.group, &noon.ann.okta);
    noon.world.at("12:00");
    let report = noon.world.tick().await.unwrap();
    assert_eq!((reasons(&report), noon.members()), (vec!["shift_ended"], vec!["bob".to_owned()]));
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

/// The function of this world with a clock of its own, which is this much ahead.
fn with_a_clock_ahead(world: &Oncall, by: Duration) -> OncallSync {
    let config = function_config(&world.aws.url());
    let secrets = Secrets::new(aws_sdk_secretsmanager::Client::new(&config));
    let parameters = Parameters::new(aws_sdk_ssm::Client::new(&config));
    let hands = world.clock.clone();
    let clock = Clock::of(move || hands.now() + by);
    let vars = keyturn::Vars::from_pairs(world.variables().to_vec());
    OncallSync::new(vars, &secrets, parameters, clock).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_comes_in_although_the_clock_is_an_hour_off_and_the_rate_limit_is_used_up() {
    let each = |access, hours| Box::pin(limited_with_a_clock_off(access, hours));
    for access in [OktaAccess::Token, OktaAccess::ServiceApp] {
        tokio::join!(each(access, -1), each(access, 0), each(access, 1));
    }
}

async fn limited_with_a_clock_off(access: OktaAccess, hours: i64) {
    let world = Oncall::builder().okta(access).start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "06:00", "14:00");
    let function = with_a_clock_ahead(&world, Duration::hours(hours));
    world.okta.limit(1);
    let started = Instant::now();
    let report = function.handle(&json!({"action": "sync"}), Deadline::after(TIMEOUT)).await.unwrap();
    let took = started.elapsed();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"], "{access:?}, {hours} h: {report:?}");
    assert!(took >= RealTime::from_secs(2), "{access:?}, {hours} h: Okta asked for 2 s, waited {took:?}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_okta_is_still_activating_comes_in_with_the_next_tick_and_is_told_once() {
    let noon = Noon::begin().await;
    let before = told_of_changes(&noon.world);
    noon.world.at("12:00");
    noon.world.okta.replace(&noon.change("PUT", &noon.bob), 1, refusal(409, "E0000112"));
    let report = noon.world.tick().await.unwrap();
    assert_eq!((&report["unfinished"], noon.members().len()), (&json!(1), 0), "{report}");
    noon.world.minutes_later(1);
    let report = noon.world.tick().await.unwrap();
    assert_eq!((&report["unfinished"], noon.members()), (&json!(0), vec!["bob".to_owned()]), "{report}");
    assert_eq!(told_of_changes(&noon.world) - before, 2, "ann out, bob in: {:?}", noon.world.alerts());
    noon.world.okta.conflict_next(1);
    noon.world.at("17:00");
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), ["bob"]);
    noon.world.minutes_later(1);
    noon.world.tick().await.unwrap();
    assert_eq!(noon.members(), NOBODY);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_came_in_is_seen_as_soon_as_the_lists_show_it_and_told_once() {
    for lists in [1, 3] {
        let noon = Noon::begin().await;
        let before = told_of_changes(&noon.world);
        noon.world.okta.lag(&noon.shop.group, lists);
        noon.world.at("12:00");
        let report = noon.world.tick().await.unwrap();
        assert_eq!((noon.members(), &report["unfinished"]), (vec!["bob".to_owned()], &json!(0)), "{report}");
        let read = asked(&noon.world, &noon.call("GET", "/users")).len();
        assert_eq!(read, 1 + lists + 1, "until the list shows it");
        noon.world.minutes_later(1);
        noon.world.tick().await.unwrap();
        assert_eq!(told_of_changes(&noon.world) - before, 2, "{:?}", noon.world.alerts());
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_lists_do_not_show_for_minutes_is_put_in_again_and_not_told_again() {
    let noon = Noon::begin().await;
    let before = told_of_changes(&noon.world);
    noon.world.okta.lag(&noon.shop.group, 40);
    noon.world.at("12:00");
    let report = noon.world.tick().await.unwrap();
    assert_eq!((&report["unfinished"], noon.members()), (&json!(1), vec!["bob".to_owned()]), "{report}");
    noon.world.okta.lag(&noon.shop.group, 0);
    noon.world.minutes_later(1);
    let report = noon.world.tick().await.unwrap();
    assert_eq!((&report["unfinished"], noon.members()), (&json!(0), vec!["bob".to_owned()]), "{report}");
    assert_eq!(told_of_changes(&noon.world) - before, 2, "{:?}", noon.world.alerts());
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_permission_is_named_and_moves_nobody_who_is_in() {
    for (access, permission, name) in [
        (OktaAccess::Token, Permission::MembersManage, "okta.groups.members.manage"),
        (OktaAccess::Token, Permission::GroupsRead, "okta.groups.read"),
        (OktaAccess::Token, Permission::UsersRead, "okta.users.read"),
        (OktaAccess::ServiceApp, Permission::MembersManage, "okta.groups.members.manage"),
        (OktaAccess::ServiceApp, Permission::GroupsRead, "okta.groups.read"),
        (OktaAccess::ServiceApp, Permission::UsersRead, "okta.users.read"),
    ] {
        let noon = Noon::with(access).await;
        noon.world.okta.forbid(permission);
        let text = doctor(&noon.world).await;
        assert!(text.contains("OKTA_FORBIDDEN") && text.contains("403, E0000006, error id oae"), "{name}: {text}");
        assert!(text.contains(&format!("a custom admin role with {name},")), "{name}: {text}");
        // Who she is at Okta is not remembered any more by then.
        noon.world.at("10:30");
        noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["ann"], "{name}");
        noon.world.okta.permit(permission);
        noon.world.at("12:10");
        noon.world.tick().await.unwrap();
        assert_eq!(noon.members(), ["bob"], "{name}");
        assert_eq!(noon.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_addresses_find_their_owners_and_lead_no_request_astray() {
    for email in [
        "o'hara@corp.example",
        "ann+oncall@corp.example",
        "ann/../../groups@corp.example",
        "ann?limit=1&x=@corp.example",
        "ann#x%2F..%2e@corp.example",
        "\"a\\b\"@corp.example",
        "zoë@corp.example",
    ] {
        for access in [OktaAccess::Token, OktaAccess::ServiceApp] {
            let world = Oncall::builder().okta(access).start().await.unwrap();
            let (pagerduty, okta) = (world.pagerduty.user("ann", email), world.okta.user(email, email).unwrap());
            let ann = Engineer { email: email.to_owned(), pagerduty, okta };
            // Whom a search that ended too early, or meant more, would find as well.
            for other in ["ann@corp.example", "x@corp.example", "a@corp.example"] {
                world.okta.user(other, other).unwrap();
            }
            let shop = world.bind("shop", &json!({}));
            world.on_call(&shop, &ann, "08:00", "12:00");
            let report = world.tick().await.unwrap();
            assert!(world.okta.members(&shop.group).contains(&ann.okta), "{email}, {access:?}: {report}");
            for call in world.okta.seen() {
                let known = ["/api/v1/groups/", "/api/v1/users", "/oauth2/v1/token"];
                assert!(known.iter().any(|path| call.path.starts_with(path)), "{email}: {}", call.name());
                assert!(call.path.split('/').count() <= 7 && !call.path.contains(".."), "{email}: {}", call.name());
            }
            assert_eq!(world.violations(), Vec::<String>::new(), "{email}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_a_path_is_never_asked_for() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    for id in ["../groups/00g1", "00u1/lifecycle/suspend", "00u1?x=y", "00u1#", "..", "00u1%2F", ""] {
        let found = json!({
            "id": id, "status": "ACTIVE", "profile": {"login": ann.email, "email": ann.email},
        });
        world.okta.replace("GET /api/v1/users/ann%40corp.example", 1, Reply::json(200, &found));
        let text = plan(&world).await;
        assert!(text.contains("gets nothing") && text.contains("(OKTA_ANSWER_STRANGE)"), "{id}: {text}");
    }
    for id in ["../groups/00g1", "a b", ""] {
        world.write_binding(&shop, &json!({"identities": {&ann.pagerduty: id}}));
        let report = world.tick().await.unwrap();
        assert_eq!((&report["refused"], &report["bindings"]), (&json!(1), &json!(0)), "{id}: {report}");
    }
    world.write_binding(&shop, &json!({}));
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_and_go_although_okta_is_slow_or_stumbles() {
    let each = |access, fault| Box::pin(okta_stumbles(access, fault));
    for access in [OktaAccess::Token, OktaAccess::ServiceApp] {
        tokio::join!(
            each(access, Fault::Slow(RealTime::from_secs(1))),
            each(access, Fault::Cut),
            each(access, Fault::Status(503, "")),
            each(access, Fault::Status(429, "")),
        );
    }
}

/// Each call that moves somebody is answered late or not at all the first time, after it had its effect.
async fn okta_stumbles(access: OktaAccess, fault: Fault) {
    let noon = Noon::with(access).await;
    noon.world.at("12:00");
    noon.world.faults.reset();
    for call in [noon.change("DELETE", &noon.ann), noon.change("PUT", &noon.bob), noon.call("GET", "/users")] {
        let (call, fault) = (format!(" okta {call} #1"), fault.clone());
        noon.world.faults.inject(Point { call, moment: Moment::After, fault });
    }
    let report = noon.world.tick().await.unwrap();
    assert_eq!(noon.world.faults.struck().len(), 3, "{fault:?}");
    assert_eq!((&report["unfinished"], noon.members()), (&json!(0), vec!["bob".to_owned()]), "{fault:?}");
    assert_eq!(noon.world.violations(), Vec::<String>::new(), "{fault:?}, {access:?}");
}
