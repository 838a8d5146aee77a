//! Mistakes in documents, secrets and the environment: said once, and nobody is moved because of them.

use super::shifts::{NOBODY, delete_parameter};
use keyturn_tests::aws::secrets_client;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::rotator::built;
use keyturn_tests::stacks::oncall::{Bound, CONFIG_PATH, Engineer, OktaAccess, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};

/// Stores a secret as somebody with the AWS console would.
pub(super) async fn put_secret(world: &Oncall, name: &str, value: &Value) {
    let put = secrets_client(&world.aws.client_url()).put_secret_value().secret_id(name);
    put.secret_string(value.to_string()).send().await.unwrap();
}

/// Two bindings, with Ann on call for both all day; nothing has run yet.
fn shop_and_bank(world: &Oncall) -> (Bound, Bound, Engineer) {
    let ann = world.engineer("ann").unwrap();
    let (shop, bank) = (world.bind("shop", &json!({})), world.bind("bank", &json!({})));
    for bound in [&shop, &bank] {
        world.on_call(bound, &ann, "08:00", "20:00");
    }
    (shop, bank, ann)
}

/// The texts of all events of this title.
fn told(world: &Oncall, title: &str) -> Vec<String> {
    let events = world.datadog.events().into_iter().filter(|event| event["title"] == title);
    events.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_document_is_told_once_and_moves_nobody() {
    let world = Oncall::start().await.unwrap();
    let (shop, bank, ann) = shop_and_bank(&world);
    let eve = world.engineer("eve").unwrap();
    world.okta.add(&bank.group, &eve.okta);
    let good = json!({"schedules": [bank.schedule], "okta_group": bank.group, "group_name": "break-glass-bank"});
    let with = |key: &str, value: Value| {
        let mut document = good.clone();
        document[key] = value;
        document.to_string()
    };
    let without = |key: &str| {
        let mut document = good.clone();
        document.as_object_mut().unwrap().remove(key);
        document.to_string()
    };
    let policy = |levels: Value| {
        let (group, name) = (&good["okta_group"], &good["group_name"]);
        json!({"escalation_policy": "P1", "levels": levels, "okta_group": group, "group_name": name}).to_string()
    };
    let cases = [
        ("{".to_owned(), "the document: "),
        ("[]".to_owned(), "the document: "),
        (format!("{good} {good}"), "there is something after the document"),
        (with("eligable_group", json!("00g1")), "eligable_group: unknown field"),
        (without("okta_group"), "missing field `okta_group`"),
        (without("group_name"), "missing field `group_name`"),
        (without("schedules"), "either schedules, or escalation_policy"),
        (with("schedules", json!([])), "schedules: one to ten"),
        (with("schedules", json!(["../users"])), "schedules[0]: "),
        (with("escalation_policy", json!("P1")), "either schedules, or escalation_policy"),
        (policy(json!([0])), "levels: "),
        (with("okta_group", json!("00g/../x")), "okta_group: "),
        (with("group_name", json!("")), "group_name: "),
        (with("max_members", json!(0)), "max_members: 1 to 20"),
        (with("max_new_per_run", json!(3)), "max_new_per_run: 1 to max_members"),
        (with("eligible_group", good["okta_group"].clone()), "eligible_group: "),
        (with("identities", json!({"P1": "http://okta"})), "identities.P1: "),
        (with("keep", json!(["a b"])), "keep[0]: "),
        (with("post_shift", json!("20m")), "post_shift: 15m at most"),
        (with("max_stale", json!("1m")), "max_stale: 5m to 24h"),
        (with("gap_confirm_runs", json!(0)), "gap_confirm_runs: 1 to 60"),
        (with("out_of_band", json!("ignore")), "out_of_band: "),
        (with("adoption", json!("Revoke")), "adoption: "),
        (policy(json!([])), "levels: "),
    ];
    let title = format!("Break-glass: {CONFIG_PATH}/bank is not looked after (BINDING_INVALID)");
    let mut before = 0;
    for (document, problem) in &cases {
        world.write_document("bank", document);
        for _ in 0..2 {
            world.minutes_later(1);
            let report = world.tick().await.unwrap();
            assert_eq!((&report["refused"], &report["bindings"]), (&json!(1), &json!(1)), "{document}");
        }
        assert_eq!(world.members(&shop, &[&ann, &eve]), ["ann"]);
        assert_eq!(world.members(&bank, &[&ann, &eve]), ["eve"], "{document}");
        let texts = told(&world, &title);
        assert_eq!(texts.len(), before + 1, "{document}: {texts:?}");
        assert!(texts[before].contains(problem), "{document}: {}", texts[before]);
        before = texts.len();
    }
    world.write_document("bank", &good.to_string());
    let report = world.tick().await.unwrap();
    assert_eq!(report["refused"], 0);
    assert_eq!(world.members(&bank, &[&ann, &eve]), ["ann", "eve"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_document_turns_bad_its_shifts_still_end_and_nobody_else_comes() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    let bank = world.bind("bank", &json!({}));
    for (bound, end) in [(&shop, "12:00"), (&bank, "23:00")] {
        world.on_call(bound, &ann, "08:00", end);
    }
    world.on_call(&shop, &bob, "12:00", "20:00");
    world.tick().await.unwrap();
    world.okta.add(&bank.group, &eve.okta);
    // A typo in one; the other's group is named by somebody else's document.
    world.write_document("shop", "{}");
    let thief = json!({"schedules": ["PX"], "okta_group": bank.group, "group_name": "break-glass-bank"});
    world.write_document("thief", &thief.to_string());
    for time in ["11:59", "12:00", "16:00"] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(report["refused"], 2, "{report}");
        let still: &[&str] = if time == "11:59" { &["ann"] } else { &[] };
        assert_eq!(world.members(&shop, &[&ann, &bob]), still, "{time}");
        // Whoever names another binding's group stops only themselves.
        assert_eq!(world.members(&bank, &[&ann, &eve]), ["ann"], "{time}");
    }
    world.write_binding(&shop, &json!({}));
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_shift_end_leaves_a_day_after_their_document_turned_bad() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    let policy = world.pagerduty.policy("shop");
    world.pagerduty.policy_level_user(&policy, 1, &ann.pagerduty);
    let document = json!({
        "escalation_policy": policy, "levels": [1], "okta_group": shop.group, "group_name": "break-glass-shop",
    });
    world.write_document("shop", &document.to_string());
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    world.write_document("shop", "{}");
    for (minutes, inside) in [(23 * 60, true), (59, true), (1, false)] {
        world.minutes_later(minutes);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]).is_empty(), !inside, "{minutes} minutes later");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_document_stops_its_own_binding_and_an_encrypted_ledger_is_unreadable() {
    let world = Oncall::start().await.unwrap();
    let (shop, bank, ann) = shop_and_bank(&world);
    let name = format!("{CONFIG_PATH}/bank");
    world.aws.parameters.put_sealed(&name, &world.aws.parameters.value(&name).unwrap());
    for _ in 0..2 {
        let report = world.tick().await.unwrap();
        assert_eq!((&report["refused"], &report["bindings"]), (&json!(1), &json!(1)), "{report}");
        world.minutes_later(1);
    }
    assert_eq!((world.members(&shop, &[&ann]), world.members(&bank, &[&ann]).len()), (vec!["ann".to_owned()], 0));
    let texts = told(&world, &format!("Break-glass: {name} is not looked after (BINDING_INVALID)"));
    let says = format!("aws ssm put-parameter --type String --name {name}");
    assert!(texts.len() == 1 && texts[0].contains("it is a SecureString") && texts[0].contains(&says), "{texts:?}");

    delete_parameter(&world, &name).await;
    world.write_binding(&bank, &json!({}));
    world.aws.parameters.put_sealed(&shop.ledger_name(), "{}");
    let report = world.tick().await.unwrap();
    assert_eq!(report["refused"], 0, "{report}");
    assert_eq!(world.members(&bank, &[&ann]), ["ann"]);
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    assert_eq!(told(&world, "Break-glass: shop needs a look (LEDGER_UNREADABLE)").len(), 1, "{:?}", world.alerts());
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Whoever was granted there stays, and nobody would know.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_of_a_group_that_no_document_names_is_told_once_until_it_is_deleted() {
    let world = Oncall::start().await.unwrap();
    let (shop, bank, ann) = shop_and_bank(&world);
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    delete_parameter(&world, &format!("{CONFIG_PATH}/shop")).await;
    delete_parameter(&world, &shop.ledger_name()).await;
    world.aws.parameters.put(&shop.ledger_name(), "{");
    for _ in 0..2 {
        world.minutes_later(1);
        let report = world.tick().await.unwrap();
        assert_eq!((&report["refused"], &report["bindings"]), (&json!(1), &json!(1)), "{report}");
        assert_eq!([&shop, &bank].map(|bound| world.members(bound, &[&ann])), [["ann"], ["ann"]]);
    }
    let ledger = shop.ledger_name();
    let title = format!("Break-glass: shop.{} is not looked after (LEDGER_UNREADABLE)", shop.group);
    let texts = told(&world, &title);
    let says = [format!("who is in the group {}", shop.group), format!("aws ssm delete-parameter --name {ledger}")];
    assert!(texts.len() == 1 && says.iter().all(|says| texts[0].contains(says)), "{texts:?}, {:?}", world.alerts());
    delete_parameter(&world, &ledger).await;
    world.minutes_later(1);
    assert_eq!(world.tick().await.unwrap()["refused"], 0);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_bindings_every_tick_fails() {
    let world = Oncall::start().await.unwrap();
    for action in ["sync", "plan", "doctor"] {
        let error = world.event(&json!({"action": action})).await.unwrap_err();
        assert_eq!(error.code(), "NO_BINDINGS", "{action}");
        assert!(error.remedy().contains(CONFIG_PATH), "{error}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bindings_of_one_group_are_both_refused() {
    let world = Oncall::start().await.unwrap();
    let (shop, bank, ann) = shop_and_bank(&world);
    let same = Bound { id: "twin".to_owned(), ..bank.clone() };
    world.write_binding(&same, &json!({"group_name": "break-glass-bank"}));
    let report = world.tick().await.unwrap();
    assert_eq!(report["refused"], 2);
    assert_eq!(world.members(&bank, &[&ann]), NOBODY);
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    delete_parameter(&world, &format!("{CONFIG_PATH}/twin")).await;
    world.tick().await.unwrap();
    assert_eq!(world.members(&bank, &[&ann]), ["ann"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_the_one_that_was_meant_is_left_alone() {
    type Break = fn(&Oncall, &mut Bound);
    let cases: [(&str, Break); 9] = [
        ("GROUP_NAME_DIFFERS", |world, bank| world.okta.rename_group(&bank.group, "everyone")),
        ("GROUP_TYPE_REFUSED", |world, bank| bank.group = world.okta.group_of_type("break-glass-bank", "APP_GROUP")),
        ("GROUP_TYPE_REFUSED", |world, bank| bank.group = world.okta.group_of_type("break-glass-bank", "BUILT_IN")),
        ("GROUP_FILLED_BY_RULE", |world, bank| world.okta.rule(&bank.group, true)),
        ("GROUP_NOT_FOUND", |world, bank| world.okta.delete_group(&bank.group)),
        ("GROUP_OF_ANOTHER", |world, bank| {
            world.okta.describe_group(&bank.group, "Admins of bank. keyturn:123456789012/us-east-1/prod/oncall");
        }),
        ("", |world, bank| {
            world.okta.describe_group(&bank.group, "keyturn:123456789012/eu-west-1/prod/oncall of bank");
        }),
        ("", |world, bank| world.okta.describe_group(&bank.group, "Ask the team keyturn")),
        ("", |world, bank| world.okta.rule(&bank.group, false)),
    ];
    for (code, spoil) in cases {
        let owner = "123456789012/eu-west-1/prod/oncall";
        let world = Oncall::builder().variable("OWNER", owner).start().await.unwrap();
        let (shop, mut bank, ann) = shop_and_bank(&world);
        let eve = world.engineer("eve").unwrap();
        spoil(&world, &mut bank);
        world.write_binding(&bank, &json!({}));
        world.okta.add(&bank.group, &eve.okta);
        let before = world.okta.members(&bank.group);
        for _ in 0..2 {
            let report = world.tick().await.unwrap();
            assert_eq!(report["unknown"], usize::from(!code.is_empty()), "{code}: {report}");
        }
        assert_eq!(world.members(&shop, &[&ann, &eve]), ["ann"], "{code}");
        if code.is_empty() {
            assert_eq!(world.members(&bank, &[&ann, &eve]), ["ann", "eve"]);
        } else {
            assert_eq!(world.okta.members(&bank.group), before, "{code}");
            let texts = told(&world, &format!("Break-glass: bank is not looked after ({code})"));
            assert_eq!(texts.len(), 1, "{:?}", world.alerts());
        }
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_a_group_that_was_renamed_still_leaves_on_time() {
    let mut world = Oncall::start().await.unwrap();
    let (ann, bob) = (world.engineer("ann").unwrap(), world.engineer("bob").unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "10:00");
    world.on_call(&shop, &bob, "10:00", "20:00");
    world.tick().await.unwrap();
    world.okta.rename_group(&shop.group, "break-glass-old");
    world.recycle().unwrap();
    world.at("10:00");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), NOBODY);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_environment_is_the_answer_to_every_event() {
    let world = Oncall::start().await.unwrap();
    for (variable, value, problem) in [
        ("CONFIG_PATH", "", "CONFIG_PATH: not set"),
        ("CONFIG_PATH", "keyturn", "CONFIG_PATH: not a path"),
        ("LEDGER_PATH", CONFIG_PATH, "LEDGER_PATH: the same as CONFIG_PATH"),
        ("OKTA_SECRET_ID", "", "OKTA_SECRET_ID: not set"),
        ("PAGERDUTY_SECRET_ID", "", "PAGERDUTY_SECRET_ID: not set"),
        ("PAGERDUTY_API_URL", "http://api.pagerduty.com", "PAGERDUTY_API_URL: plain http"),
        ("OKTA_ORG_URL", "https://corp.okta.com/api", "OKTA_ORG_URL: something after the host"),
    ] {
        let mut variables = world.variables().to_vec();
        variables.retain(|(name, _)| name != variable);
        variables.push((variable.to_owned(), value.to_owned()));
        let bootstrap = built("oncall-sync").unwrap();
        let lambda = Lambda::start("oncall-sync", bootstrap, variables, world.faults.clone()).await.unwrap();
        for event in [json!({}), json!({"action": "plan"}), json!({"action": "nonsense"})] {
            let error = lambda.invoke(event).await.result.unwrap_err();
            assert_eq!(error.error_type, "CONFIGURATION_INVALID", "{error}");
            assert!(error.error_message.contains(problem), "{error}");
        }
    }
    assert!(world.faults.recorded().is_empty(), "{:?}", world.faults.recorded());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_secret_is_refused_by_its_key_and_its_value_shown_nowhere() {
    let okta = |url: &str| json!({"org_url": url, "token": "s3cret"});
    let cases = [
        ("keyturn/okta", okta("http://corp.okta.com"), "OKTA_SECRET_INVALID"),
        ("keyturn/okta", okta("https://corp.okta.com.evil.example"), "OKTA_SECRET_INVALID"),
        ("keyturn/okta", okta("https://corp-admin.okta.com"), "leave \"-admin\" out"),
        ("keyturn/okta", json!({"org_url": "https://corp.okta.com"}), "\"token\" is missing"),
        ("keyturn/okta", json!({"org_url": "https://corp.okta.com", "token": "s3cret", "x": 1}), "\"x\" is not a key"),
        ("keyturn/pagerduty", json!({"token": "s3cret", "url": "http://evil"}), "\"url\" is not a key"),
        ("keyturn/pagerduty", json!({"token": "s3cret", "region": "mars"}), "\"region\" is neither us nor eu"),
        ("keyturn/pagerduty", json!("s3cret"), "it is no JSON object"),
        ("keyturn/datadog", json!({"api_key": "s3cret", "site": "evil.example"}), "\"site\" is none of"),
        ("keyturn/datadog", json!({"api_key": "s3cret"}), "\"site\" is missing"),
    ];
    for (secret, value, problem) in cases {
        let world = Oncall::start().await.unwrap();
        let (shop, bank, ann) = shop_and_bank(&world);
        put_secret(&world, secret, &value).await;
        world.tick().await.unwrap();
        let inside = if secret == "keyturn/datadog" { vec!["ann"] } else { vec![] };
        for bound in [&shop, &bank] {
            assert_eq!(world.members(bound, &[&ann]), inside, "{value}");
        }
        let answer = world.event(&json!({"action": "doctor"})).await.unwrap().to_string();
        assert!(answer.contains(&json!(problem).to_string().trim_matches('"').to_owned()), "{problem}: {answer}");
        assert!(!answer.contains("s3cret"), "{answer}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named() {
    for (variable, line) in [("OKTA_SECRET_ID", "members"), ("PAGERDUTY_SECRET_ID", "source")] {
        let world = Oncall::builder().variable(variable, "keyturn/none").start().await.unwrap();
        let (shop, _, ann) = shop_and_bank(&world);
        let answer = world.event(&json!({"action": "plan"})).await.unwrap();
        let said = format!(
            "  {line}: unknown: The secret keyturn/none does not exist or has no AWSCURRENT value. (CREDENTIAL_MISSING)"
        );
        assert!(answer["plan"].as_array().unwrap().contains(&json!(said)), "{answer}");
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), NOBODY);
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_replaced_is_read_again_when_the_old_one_is_refused() {
    let world = Oncall::start().await.unwrap();
    let (ann, bob) = (world.engineer("ann").unwrap(), world.engineer("bob").unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "09:02");
    world.on_call(&shop, &bob, "09:02", "20:00");
    world.tick().await.unwrap();

    let okta = world.okta.service_app(&["okta.groups.manage", "okta.groups.read", "okta.users.read"]).unwrap();
    let value = json!({"org_url": world.okta.url(), "client_id": okta.client_id, "private_key": okta.jwk});
    put_secret(&world, "keyturn/okta", &value).await;
    world.okta.revoke_ssws();
    let app = world.pagerduty.oauth_app(&["schedules.read", "oncalls.read", "users.read"]);
    let value = json!({
        "client_id": app.client_id, "client_secret": app.client_secret, "subdomain": app.subdomain, "region": "us",
    });
    put_secret(&world, "keyturn/pagerduty", &value).await;
    world.pagerduty.revoke_token();

    world.at("09:02");
    let before = world.faults.recorded().len();
    let report = world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["bob"], "{report}");
    assert_eq!(report["unknown"], 0);
    let calls = world.faults.recorded().split_off(before);
    for secret in ["keyturn/okta", "keyturn/pagerduty"] {
        let reads = calls.iter().filter(|call| call.contains("GetSecretValue") && call.contains("AWSCURRENT")).count();
        assert_eq!(reads, 2, "one for each vendor, {secret}: {calls:?}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Ann leaves and Bob comes at 09:06, when the credentials that were read at 09:00 are old.
async fn ann_then_bob() -> (Oncall, Bound, [Engineer; 2]) {
    let world = Oncall::start().await.unwrap();
    let people = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &people[0], "08:00", "09:06");
    world.on_call(&shop, &people[1], "09:06", "20:00");
    world.tick().await.unwrap();
    (world, shop, people)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_that_is_wrong_or_gone_leaves_the_credential_in_use_and_the_doctor_says_so() {
    let wrong = [
        ("keyturn/okta", Some(json!({"org_url": "https://corp.okta.com"})), "OKTA_SECRET_INVALID"),
        ("keyturn/pagerduty", Some(json!({"tokn": "s3cret"})), "PAGERDUTY_SECRET_INVALID"),
        ("keyturn/datadog", Some(json!({"api_key": "s3cret"})), "DATADOG_SECRET_INVALID"),
        ("keyturn/okta", None, "CREDENTIAL_MISSING"),
        ("keyturn/pagerduty", None, "CREDENTIAL_MISSING"),
    ];
    for (secret, value, code) in wrong {
        let (world, shop, [ann, bob]) = ann_then_bob().await;
        if let Some(value) = value {
            put_secret(&world, secret, &value).await;
        } else {
            let delete = secrets_client(&world.aws.client_url()).delete_secret().secret_id(secret);
            delete.force_delete_without_recovery(true).send().await.unwrap();
        }
        let alerts = world.alerts().len();
        world.at("09:06");
        let report = world.tick().await.unwrap();
        assert_eq!((world.members(&shop, &[&ann, &bob]), &report["unknown"]), (vec!["bob".to_owned()], &json!(0)));
        // Whoever stored it is told while the one from before is still there.
        let told = usize::from(secret != "keyturn/datadog");
        assert_eq!(world.alerts().len(), alerts + 2 + told, "{code}: {:?}", world.alerts());
        let answer = world.event(&json!({"action": "doctor"})).await.unwrap();
        assert!(answer["healthy"] == false && answer.to_string().contains(code), "{code}: {answer}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_credential_that_does_not_work_leaves_the_one_in_use_until_the_secret_is_mended() {
    let scopes = ["okta.groups.manage", "okta.groups.read"];
    for (secret, code) in [
        ("keyturn/okta", "OKTA_CREDENTIAL_REFUSED"),
        ("keyturn/okta", "OKTA_SCOPE_MISSING"),
        ("keyturn/pagerduty", "PAGERDUTY_CREDENTIAL_REFUSED"),
        ("keyturn/pagerduty, an app", "PAGERDUTY_CREDENTIAL_REFUSED"),
    ] {
        let (world, shop, [ann, bob]) = ann_then_bob().await;
        let app = world.okta.service_app(&scopes).unwrap();
        let url = world.okta.url();
        let (typo, good) = match (secret, code) {
            (_, "OKTA_SCOPE_MISSING") => (
                json!({"org_url": url, "client_id": app.client_id, "private_key": app.jwk}),
                json!({"org_url": url, "token": world.okta.ssws_token()}),
            ),
            ("keyturn/okta", _) => (
                json!({"org_url": url, "token": "00aTypoInThisTokenOfFortyTwoLettersForSure"}),
                json!({"org_url": url, "token": world.okta.ssws_token()}),
            ),
            ("keyturn/pagerduty", _) => {
                (json!({"token": "u+aTypo-1234567890"}), json!({"token": world.pagerduty.token()}))
            }
            _ => {
                let app = world.pagerduty.oauth_app(&["schedules.read", "oncalls.read", "users.read"]);
                let of = |secret: &str| json!({"client_id": app.client_id, "client_secret": secret, "subdomain": app.subdomain, "region": "us"});
                (of("aTypo"), of(&app.client_secret))
            }
        };
        let secret = secret.trim_end_matches(", an app");
        put_secret(&world, secret, &typo).await;
        let alerts = world.alerts().len();
        world.at("09:06");
        let report = world.tick().await.unwrap();
        assert_eq!(
            (world.members(&shop, &[&ann, &bob]), &report["unknown"]),
            (vec!["bob".to_owned()], &json!(0)),
            "{code}"
        );
        let told = world.alerts().split_off(alerts);
        let is_told =
            told.iter().any(|title| title.contains(&format!("secret holds no credential that works ({code})")));
        assert!(told.len() == 3 && is_told, "{told:?}");
        let answer = world.event(&json!({"action": "doctor"})).await.unwrap();
        assert!(answer["healthy"] == false && answer.to_string().contains(code), "{code}: {answer}");
        put_secret(&world, secret, &good).await;
        let answer = world.event(&json!({"action": "doctor"})).await.unwrap();
        assert!(answer["healthy"] == true, "{code}: {answer}");
        world.at("20:00");
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), NOBODY, "{code}");
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_that_is_wrong_is_the_error_once_the_old_credential_is_refused() {
    let (world, shop, [ann, bob]) = ann_then_bob().await;
    put_secret(&world, "keyturn/okta", &json!({"org_url": world.okta.url()})).await;
    world.okta.revoke_ssws();
    world.at("09:06");
    let report = world.tick().await.unwrap();
    assert_eq!((world.members(&shop, &[&ann, &bob]), &report["unknown"]), (vec!["ann".to_owned()], &json!(1)));
    let answer = world.event(&json!({"action": "plan"})).await.unwrap();
    assert!(answer.to_string().contains("(OKTA_SECRET_INVALID)"), "{answer}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_ends_is_replaced_although_the_new_secret_is_wrong() {
    let mut world = Oncall::builder().okta(OktaAccess::ServiceApp).start().await.unwrap();
    world.recycle().unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "09:06", "20:00");
    world.tick().await.unwrap();
    put_secret(&world, "keyturn/okta", &json!("slip")).await;
    world.okta.expire_tokens();
    world.at("09:06");
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann]), ["ann"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_sent_although_datadog_failed_and_its_new_secret_is_wrong() {
    let (world, _, _) = ann_then_bob().await;
    put_secret(&world, "keyturn/datadog", &json!({"api_key": "s3cret"})).await;
    world.datadog.replace("POST /api/v1/events", 1, Reply::html(500));
    world.at("09:06");
    world.tick().await.unwrap();
    let alerts = world.alerts();
    world.at("20:00");
    world.tick().await.unwrap();
    let told = world.alerts().split_off(alerts.len());
    assert_eq!(told, ["Break-glass revoked: shop (shift_ended)"; 2], "the one that failed, and the new one");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_read_again_after_five_minutes_and_not_before() {
    let world = Oncall::start().await.unwrap();
    shop_and_bank(&world);
    world.tick().await.unwrap();
    let before = world.faults.recorded().len();
    world.pagerduty.replace("GET /oncalls", 1, Reply::html(500));
    for _ in 0..4 {
        world.minutes_later(1);
        world.tick().await.unwrap();
    }
    let reads = || {
        let calls = world.faults.recorded().split_off(before);
        calls.iter().filter(|call| call.contains("GetSecretValue")).count()
    };
    assert_eq!(reads(), 0);
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(reads(), 2, "PagerDuty's and Okta's, five minutes old; no alert was sent");
    assert_eq!(world.violations(), Vec::<String>::new());
}
