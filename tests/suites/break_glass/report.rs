//! The access report: from what the functions really log, and from what their ledgers, records and databases say.

use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock;
use keyturn_tests::aws::Refusal;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::break_glass::{ADMIN, LEDGER_PATH, Stack};
use keyturn_tests::stacks::oncall::Oncall;
use serde_json::{Value, json};

const OWN: &str = "/aws/lambda/break-glass";
const ONCALL: &str = "/aws/lambda/oncall-sync";

async fn stack() -> Stack {
    let builder = Stack::builder(18).variable("AWS_LAMBDA_LOG_GROUP_NAME", OWN).variable("ONCALL_LOG_GROUP", ONCALL);
    let stack = builder.start().await.unwrap();
    stack.database("shop", &json!({"accounts": {"loader": "loads the warehouse"}})).await.unwrap();
    stack.aws.logs.create(OWN);
    stack.aws.logs.create(ONCALL);
    stack
}

/// What a function has written, in its log group, as Lambda puts it there.
fn ship(stack: &Stack, group: &str, lambda: &Lambda) {
    for line in lambda.logs().unwrap().lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let at = value["ts"].as_str().and_then(|at| at.parse().ok());
        stack.aws.logs.log(group, at.unwrap_or_else(clock::now), line);
    }
}

fn ask(since: DateTime<Utc>) -> Value {
    json!({"action": "report", "since": since})
}

/// The rows of a CSV text as columns by name. No cell here has a quote or a line break.
fn rows(text: &str) -> Vec<Value> {
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let cells = |line: &str| line[1..line.len() - 1].split("\",\"").map(str::to_owned).collect::<Vec<_>>();
    let names = cells(lines.next().unwrap());
    lines.map(|line| names.iter().cloned().zip(cells(line).into_iter().map(Value::from)).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_functions_log_is_who_held_what_and_the_database_says_who_holds_power() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let [ann, bob, mallory] = ["ann", "bob", "mallory"].map(|name| world.engineer(name).unwrap());
    let group = world.bind("shop", &json!({}));
    let (now, hour) = (clock::now(), TimeDelta::hours(1));
    world.pagerduty.shift(&group.schedule, &bob.pagerduty, now - hour, now + hour);
    let sync = world.lambda(None).await.unwrap();
    sync.invoke(json!({})).await.result.unwrap();
    let grant = json!({"action": "grant", "binding": "shop", "user": ann.okta, "minutes": 60, "reason": "INC-42"});
    sync.invoke(grant).await.result.unwrap();
    world.okta.add(&group.group, &mallory.okta);
    sync.invoke(json!({})).await.result.unwrap();
    let revoke = json!({"action": "revoke", "binding": "shop", "user": bob.okta, "reason": "left the team"});
    sync.invoke(revoke).await.result.unwrap();

    let stack = stack().await;
    stack.grant("ann", 60);
    stack.postgres().execute("CREATE ROLE old_dba SUPERUSER LOGIN").await.unwrap();
    stack.postgres().execute("CREATE ROLE loader CREATEROLE LOGIN").await.unwrap();
    let function = stack.lambda(None).await.unwrap();
    let body = json!({"minutes": 30, "reason": "=INC-42"});
    let mut logins = Vec::new();
    for _ in 0..2 {
        let answer = function.invoke_by(Some("url"), &stack.url_event("ann", "POST", "/shop", Some(&body))).await;
        let answer: Value = serde_json::from_str(answer.result.unwrap()["body"].as_str().unwrap()).unwrap();
        logins.push(answer["username"].as_str().unwrap().to_owned());
    }
    let close = stack.url_event("ann", "DELETE", &format!("/shop?login={}", logins[0]), None);
    assert_eq!(function.invoke_by(Some("url"), &close).await.result.unwrap()["statusCode"], 200);
    ship(&stack, OWN, &function);
    ship(&stack, ONCALL, &sync);
    // The ledger as oncall-sync wrote it, as the first version of a parameter.
    let mut ledger = world.ledger(&group).unwrap();
    ledger["version"] = json!(1);
    stack.aws.parameters.put(&format!("{LEDGER_PATH}/shop.{}", group.group), &ledger.to_string());

    let report = function.invoke_by(Some("ops"), &ask(now - hour)).await.result.unwrap();
    assert_eq!((&report["complete"], &report["unknown"]), (&json!(true), &json!([])), "{report}");
    let held = rows(report["csv"].as_str().unwrap());
    let row = |account: &str| {
        held.iter().find(|row| row["account"] == account).unwrap_or_else(|| panic!("{account}: {held:?}"))
    };
    assert_eq!(held.len(), 6, "{held:?}");
    let of_ann = row(&ann.okta);
    assert_eq!((&of_ann["person"], &of_ann["to_is"]), (&json!("ann@corp.example"), &json!("still")));
    assert_eq!((&of_ann["why_begun"], &of_ann["source"]), (&json!("by hand: INC-42"), &json!("log and ledger")));
    assert_eq!(row(&bob.okta)["why_ended"], "manual: left the team");
    let of_mallory = row(&mallory.okta);
    assert_eq!((&of_mallory["from_is"], &of_mallory["why_ended"]), (&json!("unknown"), &json!("out_of_band")));
    assert_eq!(of_mallory["person"], "mallory@corp.example");
    let (closed, open) = (row(&logins[0]), row(&logins[1]));
    assert_eq!((&closed["to_is"], &closed["why_ended"]), (&json!("known"), &json!("closed")));
    assert_eq!((&open["to_is"], &open["why_begun"]), (&json!("still"), &json!("'=INC-42")));
    // Granted by the ledger of the other stack, which no line speaks of.
    assert_eq!(row("00uann")["source"], "ledger");

    let powers = rows(report["powers_csv"].as_str().unwrap());
    let tie = |login: &str| {
        let power =
            powers.iter().find(|power| power["login"] == login).unwrap_or_else(|| panic!("{login}: {powers:?}"));
        (power["tied_to"].clone(), power["tie"].clone())
    };
    assert_eq!(tie("old_dba"), (json!("nothing"), json!("")));
    assert_eq!(tie("loader"), (json!("account"), json!("loads the warehouse")));
    assert_eq!(tie(ADMIN), (json!("admin secret"), json!(stack.admin_arn())));
    assert_eq!(tie(&logins[1]), (json!("person"), json!("ann@corp.example")));
    assert!(powers.iter().all(|power| power["login"] != json!(logins[0])), "{powers:?}");
    let html = report["html"].as_str().unwrap();
    for text in ["old_dba", "mallory@corp.example", &logins[1], "<svg", "left the team"] {
        assert!(html.contains(text), "{text}");
    }
    assert_eq!(stack.violations(), [""; 0]);
}

/// Roles are the server's: a login that one document's people have opened shows in the other's list as well.
#[tokio::test]
async fn two_documents_of_one_server_tie_a_login_to_the_same_person_and_their_admins_to_their_secrets() {
    let stack = stack().await;
    let second = stack.postgres().make_login("second_admin", "CREATEROLE").await.unwrap();
    let second = json!({"username": "second_admin", "password": second}).to_string();
    let second = stack.aws.secrets.create("second-admin", &second).unwrap();
    stack.database("store", &json!({"admin_secret": second})).await.unwrap();
    stack.postgres().execute("GRANT pg_read_all_data TO shop_admin").await.unwrap();
    stack.grant("ann", 60);
    let login = stack.open("ann", "shop", 30).await.unwrap().text("username");
    let report = stack.event("ops", &ask(stack.clock.now() - TimeDelta::hours(1))).await.unwrap();
    let powers = rows(report["powers_csv"].as_str().unwrap());
    let ties = |login: &str| -> Vec<(Value, Value, Value)> {
        let theirs = powers.iter().filter(|power| power["login"] == login);
        theirs.map(|power| (power["database"].clone(), power["tied_to"].clone(), power["tie"].clone())).collect()
    };
    for (login, tied_to, tie) in [
        (login.as_str(), "person", "ann@corp.example"),
        (ADMIN, "admin secret", stack.admin_arn()),
        ("second_admin", "admin secret", &second),
    ] {
        let expected = ["shop", "store"].map(|database| (json!(database), json!(tied_to), json!(tie)));
        assert_eq!(ties(login), expected, "{login}: {powers:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_the_rest_is_reported() {
    let stack = stack().await;
    stack.grant("ann", 60);
    stack.open("ann", "shop", 30).await.unwrap();
    stack.document("gone", &json!({"engine": "postgres"}));
    let nowhere = json!({
        "engine": "postgres", "host": "localhost", "port": 1, "dbname": "x", "access": "x", "admin_secret": stack.admin_arn(),
        "max_minutes": 5, "read_only": true,
    });
    stack.document("nowhere", &nowhere);
    stack.aws.parameters.put(&stack.ledger_name(), "{}");
    stack.aws.refuse("FilterLogEvents", Refusal::AccessDenied, 12);
    let report = stack.event("ops", &ask(stack.clock.now() - TimeDelta::days(90))).await.unwrap();
    assert_eq!(report["complete"], false);
    let unknown: Vec<&str> = report["unknown"].as_array().unwrap().iter().map(|why| why.as_str().unwrap()).collect();
    for what in [
        "its own log. AWS_ACCESS_DENIED",
        "oncall-sync's log. AWS_ACCESS_DENIED",
        "ledger of group 00g1",
        "database gone now. DOCUMENT_INVALID",
        "database nowhere now. ",
    ] {
        assert!(unknown.iter().any(|why| why.contains(what)), "{what}: {unknown:#?}");
    }
    // The record of the login is there all the same, and so are the holders of the one database that answers.
    let held = rows(report["csv"].as_str().unwrap());
    assert_eq!((held.len(), &held[0]["to_is"], &held[0]["source"]), (1, &json!("still"), &json!("record")), "{held:?}");
    let powers = rows(report["powers_csv"].as_str().unwrap());
    assert!(
        powers.iter().any(|power| power["login"] == ADMIN) && powers.iter().any(|power| power["tied_to"] == "unknown")
    );
    assert!(report["html"].as_str().unwrap().contains("What could not be read"));
}

#[tokio::test]
async fn a_report_of_a_part_of_its_time_is_not_made() {
    let stack = stack().await;
    let now = stack.clock.now();
    for (event, told) in [
        (ask(now + TimeDelta::hours(1)), "not in the past"),
        (ask(now - TimeDelta::days(401)), "400 days"),
        (
            json!({"action": "report", "since": now - TimeDelta::days(2), "until": now - TimeDelta::days(3)}),
            "not after",
        ),
    ] {
        let refused = stack.event("ops", &event).await.unwrap_err();
        assert!(refused.code() == "EVENT_INVALID" && refused.message().contains(told), "{refused}");
    }
    let line = json!({"ts": now, "code": "GRANTED", "binding": "shop", "group": "00g1", "user": "00u1"}).to_string();
    for second in 0..20_001 {
        stack.aws.logs.log(ONCALL, now - TimeDelta::seconds(30_000 - second), &line);
    }
    let refused = stack.event("ops", &ask(now - TimeDelta::days(1))).await.unwrap_err();
    assert_eq!(refused.code(), "TOO_MANY_LOG_LINES", "{refused}");
    assert!(refused.remedy().contains("shorter period"), "{refused}");
    stack.event("ops", &ask(now - TimeDelta::minutes(10))).await.unwrap();
}

#[tokio::test]
async fn a_report_that_lambda_could_not_answer_with_is_refused() {
    let stack = stack().await;
    let now = stack.clock.now();
    for number in 0..9000 {
        let at = now - TimeDelta::seconds(number);
        let login = format!("bg_ann_202611291200_{number:06}");
        let line = json!({
            "ts": at, "code": "OPENED", "database": "shop", "login": login, "person": "ann@corp.example",
            "reason": "INC-42 ".repeat(25), "until": at, "binding": "shop",
        });
        stack.aws.logs.log(OWN, at, &line.to_string());
    }
    let refused = stack.event("ops", &ask(now - TimeDelta::days(1))).await.unwrap_err();
    assert_eq!(refused.code(), "REPORT_TOO_LARGE", "{refused}");
    assert!(refused.remedy().contains("shorter period"), "{refused}");
}
