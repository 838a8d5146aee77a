//! Opening: what a person on call gets, and who gets nothing.

use crate::polling::eventually;
use crate::secrecy::leaks;
use chrono::{DateTime, Duration, Utc};
use keyturn_tests::aws::Refusal;
use keyturn_tests::stacks::break_glass::{Answer, STATE_PATH, Stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn until(answer: &Answer) -> DateTime<Utc> {
    answer.text("until").parse().unwrap()
}

/// Nothing was made, and nothing is remembered.
async fn untouched(stack: &Stack, what: &str) {
    assert_eq!(stack.roles().await.unwrap(), [""; 0], "{what}");
    assert_eq!(stack.records(), [Value::Null; 0], "{what}");
    assert_eq!(stack.violations(), [""; 0], "{what}");
}

#[tokio::test]
async fn whoever_is_on_call_gets_a_login_of_their_own_that_acts_as_the_access_role() {
    for major in 13..=18 {
        let stack = Stack::start(major).await.unwrap();
        stack.grant("ann", 120);
        let answer = stack.open("ann", "shop", 60).await.unwrap();
        assert_eq!(answer.status, 200, "{major}: {answer:?}");
        let login = answer.text("username");
        assert!(login.starts_with("bg_ann_corp.example_"), "{login}");
        assert_eq!(
            (answer.text("dbname"), answer.text("engine"), &answer.body["ready"]),
            ("shop".into(), "postgres".into(), &json!(true))
        );
        let client = stack.log_in(&answer).await.unwrap();
        client.batch_execute("CREATE TABLE made (id int)").await.unwrap();
        let row = client
            .query_one(
                "SELECT session_user::text, current_user::text, (SELECT tableowner::text FROM pg_tables WHERE tablename = 'made')",
                &[],
            )
            .await
            .unwrap();
        let found: [String; 3] = [row.get(0), row.get(1), row.get(2)];
        assert_eq!(found, [login.clone(), "shop_admin".to_owned(), "shop_admin".to_owned()], "{major}");
        let sql = format!(
            "SELECT rolvaliduntil, rolconnlimit, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{login}'"
        );
        let row = stack.postgres().admin_client().await.unwrap().query_one(&sql, &[]).await.unwrap();
        let comment: String = row.get(2);
        assert!(comment.contains("ann@corp.example") && comment.contains("INC-42"), "{comment}");
        assert_eq!(row.get::<_, i32>(1), 5);
        assert_eq!(row.get::<_, std::time::SystemTime>(0), std::time::SystemTime::from(until(&answer)), "{major}");
        // The server's log names the person.
        let log = stack.postgres().server_log().unwrap();
        assert!(log.lines().any(|line| line.contains(&format!("{login}@shop")) && line.contains("CREATE TABLE made")));
        assert_eq!(stack.alerts(), ["Database opened: shop (ann(at)corp.example)"]);
        assert_eq!(stack.violations(), [""; 0], "{major}");
    }
}

#[tokio::test]
async fn a_login_ends_with_the_time_asked_for_or_with_the_grant() {
    let stack = Stack::start(18).await.unwrap();
    for (granted, asked, gets) in [(120, 60, 60), (30, 60, 30), (2, 60, 2)] {
        stack.grant("ann", granted);
        let now = stack.clock.now();
        let answer = stack.open("ann", "shop", asked).await.unwrap();
        let lasts = until(&answer) - now;
        assert!((lasts - Duration::minutes(gets)).abs() < Duration::seconds(2), "{granted} {asked}: {lasts}");
    }
}

#[tokio::test]
async fn the_server_itself_refuses_the_password_after_the_end_though_nobody_sweeps() {
    let stack = Stack::start(18).await.unwrap();
    let soon = (stack.clock.now() + Duration::seconds(3)).to_rfc3339();
    let state = json!({"granted": {"since": soon, "by_hand": {"until": soon, "reason": "INC-42"}, "shown": true}});
    stack.put_state("ann", &state);
    let answer = stack.open("ann", "shop", 60).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually("the password is dead", async || stack.log_in(&answer).await.is_err()).await;
    assert!(stack.clock.now() < until(&answer) + Duration::hours(1), "the function's clock stood still");
}

#[tokio::test]
async fn whoever_is_not_on_call_gets_nothing() {
    type Prepare = Box<dyn Fn(&Stack)>;
    let stack = Stack::start(18).await.unwrap();
    let now = stack.clock.now();
    let cases: [(&str, Prepare, &str); 7] = [
        ("no ledger", Box::new(|_| {}), "LEDGER_UNKNOWN"),
        ("the shift is over", Box::new(|stack| stack.grant("ann", -1)), "NOT_GRANTED"),
        ("revoked by hand", Box::new(|stack| stack.hold("ann")), "NOT_GRANTED"),
        (
            "somebody else is on call",
            Box::new(|stack| {
                stack.put_state("ann", &json!({"left": {"at": "2026-01-01T00:00:00Z"}}));
                stack.grant("bob", 60);
            }),
            "NOT_GRANTED",
        ),
        (
            "only adopted",
            Box::new(move |stack| {
                stack.put_state("ann", &json!({"adopted": {"until": (now + Duration::hours(1)).to_rfc3339()}}));
            }),
            "NOT_GRANTED",
        ),
        (
            "somebody wrote the ledger by hand",
            Box::new(|stack| {
                stack.grant("ann", 60);
                let text = stack.aws.parameters.value(&stack.ledger_name()).unwrap();
                stack.aws.parameters.put(&stack.ledger_name(), &text);
            }),
            "LEDGER_UNKNOWN",
        ),
        (
            "the ledger is broken",
            Box::new(|stack| stack.aws.parameters.put(&stack.ledger_name(), "{")),
            "LEDGER_UNKNOWN",
        ),
    ];
    for (what, prepare, code) in cases {
        prepare(&stack);
        let answer = stack.open("ann", "shop", 60).await.unwrap();
        assert_eq!(answer.code(), code, "{what}: {answer:?}");
        assert!(!answer.text("remedy").is_empty() && answer.text("password").is_empty(), "{what}");
        untouched(&stack, what).await;
    }
}

#[tokio::test]
async fn more_than_the_document_allows_is_refused() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 600);
    for (minutes, database, status, code) in [
        (61, "shop", 400, "TOO_LONG"),
        (0, "shop", 400, "EVENT_INVALID"),
        (60, "store", 404, "DATABASE_UNKNOWN"),
        (60, "..%2fshop", 400, "EVENT_INVALID"),
    ] {
        let answer = stack.open("ann", database, minutes).await.unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    }
    for reason in ["", "x", "two\nlines"] {
        let body = json!({"minutes": 5, "reason": reason});
        let answer = stack.ask("ann", "POST", "/shop", Some(&body)).await.unwrap();
        assert_eq!(answer.code(), "EVENT_INVALID", "{reason:?}");
    }
    untouched(&stack, "refused").await;
}

#[tokio::test]
async fn a_permission_set_that_the_document_leaves_out_does_not_even_learn_that_there_is_a_database() {
    let stack = Stack::start(18).await.unwrap();
    stack.database("narrow", &json!({"permission_sets": ["Other"]})).await.unwrap();
    stack.grant("ann", 60);
    let [narrow, unknown] = ["narrow", "unknown"].map(|database| stack.open("ann", database, 5));
    let (narrow, unknown) = tokio::join!(narrow, unknown);
    let (narrow, unknown) = (narrow.unwrap(), unknown.unwrap());
    assert_eq!((narrow.status, narrow.code()), (404, "DATABASE_UNKNOWN"));
    assert_eq!(narrow.text("message").replace("narrow", "unknown"), unknown.text("message"));
    untouched(&stack, "narrow").await;
}

#[tokio::test]
async fn two_at_once_and_the_same_person_twice_each_get_a_login_and_the_fourth_none() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    stack.grant("bob", 60);
    let (ann, again, bob) =
        tokio::join!(stack.open("ann", "shop", 30), stack.open("ann", "shop", 30), stack.open("bob", "shop", 30));
    let answers = [ann.unwrap(), again.unwrap(), bob.unwrap()];
    let names: BTreeSet<String> = answers.iter().map(|answer| answer.text("username")).collect();
    assert_eq!((names.len(), stack.roles().await.unwrap().len(), stack.records().len()), (3, 3, 3), "{answers:?}");
    for answer in &answers {
        stack.log_in(answer).await.unwrap();
    }
    assert_eq!(stack.open("ann", "shop", 30).await.unwrap().status, 200);
    let fourth = stack.open("ann", "shop", 30).await.unwrap();
    assert_eq!((fourth.status, fourth.code()), (409, "TOO_MANY_OPEN"));
    assert_eq!(stack.open("bob", "shop", 30).await.unwrap().status, 200, "bob has one only");
}

#[tokio::test]
async fn a_name_of_any_length_and_kind_is_a_role_of_its_own() {
    let stack = Stack::start(13).await.unwrap();
    let long = format!("{}@corp.example", "x".repeat(51));
    for person in [long.as_str(), "o+neil=1,x@corp.example", "A.B-C_D@corp.example"] {
        stack.grant(person, 60);
        let answer = stack.open(person, "shop", 5).await.unwrap();
        assert_eq!(answer.status, 200, "{person}: {answer:?}");
        assert!(answer.text("username").len() <= 63);
        stack.log_in(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn everybody_with_the_permission_set_may_open_what_only_reads() {
    let stack = Stack::start(16).await.unwrap();
    stack.database("reports", &json!({"read_only": true, "bindings": null})).await.unwrap();
    let answer = stack.open("zoe", "reports", 10).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = stack.log_in(&answer).await.unwrap().batch_execute("CREATE TABLE t ()").await.unwrap_err();
    assert_eq!(
        refused.code().map(|code| code.code().to_owned()).as_deref(),
        Some("25006"),
        "read_only_sql_transaction"
    );
}

#[tokio::test]
async fn while_nobody_would_end_its_sessions_no_login_is_made() {
    let stack = Stack::builder(18).variable("SCHEDULE", "off").start().await.unwrap();
    stack.database("shop", &json!({})).await.unwrap();
    stack.grant("ann", 60);
    assert_eq!(stack.open("ann", "shop", 5).await.unwrap().code(), "NOT_SCHEDULED");
    untouched(&stack, "not scheduled").await;
}

#[tokio::test]
async fn where_the_record_cannot_be_written_no_login_is_made() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    stack.aws.refuse("PutParameter", Refusal::AccessDenied, 1);
    let answer = stack.open("ann", "shop", 5).await.unwrap();
    assert_eq!((answer.status, answer.code()), (503, "AWS_ACCESS_DENIED"));
    untouched(&stack, "no record").await;
    assert_eq!(stack.alerts(), [""; 0]);
}

#[tokio::test]
async fn an_alert_that_a_channel_did_not_take_is_sent_again_by_the_sweep() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    stack.datadog.replace("POST /api/v1/events", 1, keyturn_tests::vendors::Reply::empty(500));
    assert_eq!(stack.open("ann", "shop", 5).await.unwrap().status, 200);
    assert_eq!((stack.alerts().len(), stack.records()[0]["untold"].clone()), (0, json!(["datadog"])));
    stack.sweep().await.unwrap();
    assert_eq!(stack.alerts(), ["Database opened: shop (ann(at)corp.example)"]);
    assert_eq!(stack.records()[0]["untold"], Value::Null);
}

#[tokio::test]
async fn what_is_open_is_shown_to_everybody_who_may_ask() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    let opened = stack.open("ann", "shop", 5).await.unwrap();
    let shown = stack.ask("bob", "GET", "/", None).await.unwrap();
    let [one] = shown.body["open"].as_array().unwrap().as_slice() else { panic!("{shown:?}") };
    assert_eq!(one["login"], opened.body["username"]);
    assert_eq!((&one["person"], &one["reason"]), (&json!("ann@corp.example"), &json!("INC-42")));
    assert!(!shown.body.to_string().contains(&opened.text("password")));
    assert_eq!(shown.body["databases"], json!(["shop"]));
    // Without its document a login is there all the same.
    stack.document("shop", &json!({}));
    let shown = async |person| stack.ask(person, "GET", "/", None).await.unwrap();
    assert_eq!(shown("bob").await.body, json!({"databases": [], "open": []}));
    assert_eq!(shown("ann").await.body["open"][0]["login"], opened.body["username"]);
}

#[tokio::test]
async fn the_password_is_in_the_answer_and_nowhere_else() {
    let stack = Stack::start(18).await.unwrap();
    let lambda = stack.lambda(None).await.unwrap();
    stack.grant("ann", 60);
    let event = stack.url_event("ann", "POST", "/shop", Some(&json!({"minutes": 5, "reason": "INC-42"})));
    let answer = lambda.invoke_by(Some("url"), &event).await.result.unwrap();
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let password = body["password"].as_str().unwrap().to_owned();
    let parameters = stack.aws.parameters.below(STATE_PATH);
    let written = vec![
        ("function's log", lambda.logs().unwrap()),
        ("server's log", stack.postgres().server_log().unwrap()),
        ("records", format!("{parameters:?}")),
        ("events at Datadog", format!("{:?}", stack.datadog.events())),
    ];
    assert!(written.iter().all(|(_, text)| text.contains("bg_ann")), "somebody wrote nothing: {written:?}");
    assert_eq!(leaks(&BTreeSet::from([password]), &[], &written), [""; 0]);
    assert!(written[0].1.contains("\"OPENED\"") && written[0].1.contains("\"LoginsOpened\":1"), "{}", written[0].1);
}
