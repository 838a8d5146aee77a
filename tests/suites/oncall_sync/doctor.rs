//! `doctor`: every broken thing is found, named, and comes with what mends it.

use super::config::put_secret;
use keyturn_tests::stacks::oncall::{Bound, CONFIG_PATH, Engineer, OktaAccess, Oncall, PagerDutyAccess};
use keyturn_tests::vendors::Reply;
use keyturn_tests::vendors::okta::Permission;
use serde_json::{Value, json};

const RULES: &str = "Okta: group rules";
const GROUP: &str = "shop: Okta group's id, name, type, owner and rules";
const MANAGE: &str = "shop: okta.groups.members.manage, okta.users.read";
const MEMBERS: &str = "shop: members of the group";
const ELIGIBLE: &str = "shop: eligible_group";
const SOURCE: &str = "shop: source at PagerDuty";
const USERS: &str = "PagerDuty: users.read, region";
const DATADOG: &str = "Datadog: API key";
const ALERTS: &str = "alerts";

/// One binding with eligible people; Ann is on call, eligible and in, Bob is neither.
struct Scene {
    world: Oncall,
    shop: Bound,
    eligible: String,
    ann: Engineer,
}

impl Scene {
    async fn start() -> Self {
        Self::known_as(OktaAccess::Token, PagerDutyAccess::Token).await
    }

    async fn known_as(okta: OktaAccess, pagerduty: PagerDutyAccess) -> Self {
        let world = Oncall::builder().okta(okta).pagerduty(pagerduty).start().await.unwrap();
        let (ann, _) = (world.engineer("ann").unwrap(), world.engineer("bob").unwrap());
        let eligible = world.okta.group("dba");
        world.okta.add(&eligible, &ann.okta);
        let shop = world.bind("shop", &json!({"eligible_group": eligible}));
        world.on_call(&shop, &ann, "08:00", "20:00");
        world.tick().await.unwrap();
        Self { world, shop, eligible, ann }
    }

    async fn examine(&self) -> Value {
        self.world.event(&json!({"action": "doctor"})).await.unwrap()
    }

    /// The checks that fail, and what all of them say.
    async fn failing(&self) -> (Vec<String>, String) {
        let answer = self.examine().await;
        let failed: Vec<&Value> =
            answer["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
        assert_eq!(answer["healthy"], failed.is_empty());
        let said = failed.iter().filter_map(|check| check["detail"].as_str()).collect::<Vec<_>>().join("\n");
        (failed.iter().filter_map(|check| check["check"].as_str()).map(str::to_owned).collect(), said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_does_not_say_whose_it_is_gets_the_words_for_it() {
    let world = Oncall::builder().variable("OWNER", "1/eu-west-1/oncall").start().await.unwrap();
    let shop = world.bind("shop", &json!({}));
    let detail = async || {
        let answer = world.event(&json!({"action": "doctor"})).await.unwrap();
        let check = answer["checks"].as_array().unwrap().iter().find(|check| check["check"] == GROUP).unwrap();
        assert_eq!(check["ok"], true, "{check}");
        check["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail().await.contains("add keyturn:1/eu-west-1/oncall to its description"));
    world.okta.describe_group(&shop.group, "Admins of shop. keyturn:1/eu-west-1/oncall");
    assert_eq!(detail().await, "as the document says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_deployment_passes_every_check_and_nobody_is_moved() {
    for (okta, pagerduty) in
        [(OktaAccess::Token, PagerDutyAccess::Token), (OktaAccess::ServiceApp, PagerDutyAccess::App)]
    {
        let scene = Scene::known_as(okta, pagerduty).await;
        let before = scene.world.ledger(&scene.shop).unwrap();
        let answer = scene.examine().await;
        let fine = |check: &str, detail: &str| json!({"check": check, "ok": true, "detail": detail});
        assert_eq!(
            answer,
            json!({
                "healthy": true,
                "checks": [
                    fine(USERS, "readable"),
                    fine(RULES, "readable"),
                    fine(SOURCE, "readable"),
                    fine(GROUP, "as the document says"),
                    fine(MEMBERS, "readable"),
                    fine(MANAGE, "proven"),
                    fine(ELIGIBLE, "readable"),
                    fine(DATADOG, "valid"),
                    fine(ALERTS, "a test alert was taken"),
                ],
            })
        );
        assert_eq!(scene.world.members(&scene.shop, &[&scene.ann]), ["ann"]);
        assert_eq!(scene.world.ledger(&scene.shop).unwrap(), before);
        assert_eq!(scene.world.alerts().last().unwrap(), "Break-glass: a test of this channel");
        assert_eq!(scene.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_thing_is_found_and_its_remedy_named() {
    let cases: [Case; 14] = [
        (
            |scene| scene.world.pagerduty.revoke_token(),
            &[USERS, SOURCE],
            &["PAGERDUTY_CREDENTIAL_REFUSED", "Correct \"token\""],
        ),
        (
            |scene| scene.world.pagerduty.wrong_region(),
            &[USERS, SOURCE],
            &["PAGERDUTY_CREDENTIAL_REFUSED", "\"region\" (us or eu)"],
        ),
        (
            |scene| scene.world.write_binding(&scene.shop, &json!({"schedules": ["PNOTHERE"]})),
            &[SOURCE],
            &["PAGERDUTY_NOT_FOUND", "Correct the id"],
        ),
        (
            |scene| scene.world.write_binding(&scene.shop, &json!({"rotations": ["RGONE"]})),
            &[SOURCE],
            &["ROTATION_UNKNOWN", "Compare \"rotations\""],
        ),
        (
            |scene| {
                let (group, policy) = (&scene.shop.group, scene.world.pagerduty.policy("empty"));
                let document = json!({
                    "escalation_policy": policy, "levels": [1], "okta_group": group, "group_name": "break-glass-shop",
                });
                scene.world.write_document("shop", &document.to_string());
            },
            &[SOURCE],
            &["POLICY_EMPTY", "the address of the policy's page"],
        ),
        (
            |scene| scene.world.okta.revoke_ssws(),
            &[RULES, GROUP, MEMBERS, MANAGE, ELIGIBLE],
            &["OKTA_CREDENTIAL_REFUSED", "Store a valid one"],
        ),
        (
            |scene| scene.world.okta.rename_group(&scene.shop.group, "everyone"),
            &[GROUP],
            &["GROUP_NAME_DIFFERS", "Correct okta_group or group_name"],
        ),
        (
            |scene| scene.world.okta.rule(&scene.shop.group, true),
            &[GROUP],
            &["GROUP_FILLED_BY_RULE", "Deactivate the rule"],
        ),
        (
            |scene| scene.world.okta.delete_group(&scene.shop.group),
            &[GROUP, MEMBERS, MANAGE],
            &["GROUP_NOT_FOUND", "Correct okta_group"],
        ),
        (
            |scene| scene.world.okta.forbid(Permission::MembersManage),
            &[MANAGE],
            &["OKTA_FORBIDDEN", "okta.groups.members.manage"],
        ),
        (
            |scene| scene.world.okta.forbid(Permission::UsersRead),
            &[MANAGE, ELIGIBLE],
            &["OKTA_FORBIDDEN", "okta.users.read"],
        ),
        (
            |scene| scene.world.okta.forbid(Permission::GroupsRead),
            &[GROUP, MEMBERS, MANAGE, ELIGIBLE],
            &["OKTA_FORBIDDEN", "okta.groups.read"],
        ),
        (
            |scene| {
                let gone = Reply { status: 404, body: "no_service".to_owned(), ..Reply::default() };
                scene.world.slack.replace(1, gone.with("content-type", "text/html"));
            },
            &[ALERTS],
            &["1 channel(s) did not take a test alert"],
        ),
        (
            |scene| scene.world.write_document("bad", "{}"),
            &["document /keyturn/test/oncall/bad"],
            &["missing field", "aws ssm put-parameter"],
        ),
    ];
    assert!(cases.last().unwrap().1[0].contains(CONFIG_PATH));
    for case in cases {
        is_found(case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_hides_who_is_eligible_is_found() {
    let cases: [Case; 4] = [
        (
            |scene| scene.world.okta.delete_group(&scene.eligible),
            &[ELIGIBLE],
            &["GROUP_NOT_FOUND", "Correct eligible_group"],
        ),
        (|scene| scene.world.okta.hide_group(&scene.eligible), &[ELIGIBLE], &["OKTA_FORBIDDEN", "okta.groups.read"]),
        (
            |scene| {
                // The group itself is to be seen, and not among the groups of its member.
                let call = format!("GET /api/v1/users/{}/groups", scene.ann.okta);
                scene.world.okta.replace(&call, 1, Reply::json(200, &json!([{"id": "00gOther"}])));
            },
            &[ELIGIBLE],
            &["GROUP_NOT_FOUND", "the resource set of the role that looks people up"],
        ),
        (
            |scene| {
                let call = format!("GET /api/v1/users/{}/groups", scene.ann.okta);
                scene.world.okta.replace(&call, 1, Reply::json(403, &json!({"errorCode": "E0000006"})));
            },
            &[ELIGIBLE],
            &["OKTA_FORBIDDEN", "okta.users.read"],
        ),
    ];
    for case in cases {
        is_found(case).await;
    }
}

/// What breaks something, the checks that fail then, and what they say.
type Case = (fn(&Scene), &'static [&'static str], &'static [&'static str]);

async fn is_found((spoil, expected, words): Case) {
    let scene = Scene::start().await;
    spoil(&scene);
    let before = scene.world.okta.members(&scene.shop.group);
    let (failed, said) = scene.failing().await;
    assert_eq!(failed, expected, "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(scene.world.okta.members(&scene.shop.group), before);
    assert_eq!(scene.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_is_named() {
    for (missing, failed) in [
        ("okta.groups.manage", vec![RULES, GROUP, MEMBERS, MANAGE, ELIGIBLE]),
        ("okta.users.read", vec![RULES, GROUP, MEMBERS, MANAGE, ELIGIBLE]),
        ("users.read", vec![USERS, SOURCE]),
        ("schedules.read", vec![USERS, SOURCE]),
    ] {
        let mut scene = Scene::start().await;
        let world = &scene.world;
        if missing.starts_with("okta.") {
            let all = ["okta.groups.manage", "okta.groups.read", "okta.users.read"];
            let granted: Vec<&str> = all.into_iter().filter(|scope| *scope != missing).collect();
            let app = world.okta.service_app(&granted).unwrap();
            let value = json!({"org_url": world.okta.url(), "client_id": app.client_id, "private_key": app.jwk});
            put_secret(world, "keyturn/okta", &value).await;
        } else {
            let all = ["schedules.read", "oncalls.read", "users.read"];
            let granted: Vec<&str> = all.into_iter().filter(|scope| *scope != missing).collect();
            let app = world.pagerduty.oauth_app(&granted);
            let value = json!({
                "client_id": app.client_id, "client_secret": app.client_secret, "subdomain": app.subdomain,
                "region": "us",
            });
            put_secret(world, "keyturn/pagerduty", &value).await;
        }
        scene.world.recycle().unwrap();
        let (checks, said) = scene.failing().await;
        assert_eq!(checks, failed, "{said}");
        assert!(said.contains("SCOPE_MISSING") && said.contains(missing), "{said}");
        assert_eq!(scene.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_may_not_be_read_are_for_a_person_to_look_at() {
    let refusal = |status, code: &str| Reply::json(status, &json!({"errorCode": code}));
    for (reply, said) in [
        (refusal(403, "E0000006"), "not readable with this role: "),
        (refusal(401, "E0000015"), "not readable (GET /api/v1/groups/rules at Okta failed: 401, E0000015. "),
        (refusal(404, "E0000008"), "not readable (GET /api/v1/groups/rules at Okta failed: 404, E0000008. "),
        (Reply::html(500), "not readable (GET /api/v1/groups/rules at Okta failed: 500. "),
        (Reply::json(200, &json!([null, {"status": "INVALID"}])), "1 of an unknown form: "),
    ] {
        let scene = Scene::start().await;
        scene.world.okta.replace("GET /api/v1/groups/rules", 2, reply);
        let answer = scene.examine().await;
        let rules = answer["checks"].as_array().unwrap().iter().find(|check| check["check"] == RULES).unwrap();
        assert_eq!((&rules["ok"], &answer["healthy"]), (&json!(true), &json!(true)), "{answer}");
        let detail = rules["detail"].as_str().unwrap();
        assert!(detail.starts_with(said) && detail.contains("see to it by hand"), "{said}: {rules}");
        assert_eq!(scene.world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_datadog_key_is_found() {
    let mut scene = Scene::start().await;
    put_secret(&scene.world, "keyturn/datadog", &json!({"api_key": "0123456789abcdef", "site": "datadoghq.eu"})).await;
    scene.world.recycle().unwrap();
    let (failed, said) = scene.failing().await;
    assert_eq!(failed, [DATADOG, ALERTS]);
    assert!(said.contains("the API key is not valid at this site") && !said.contains("0123456789abcdef"), "{said}");
    assert_eq!(scene.world.violations(), Vec::<String>::new());
}
