//! The sweep: what ends, when, and what is left alone.

use keyturn_tests::aws::Refusal;
use keyturn_tests::stacks::break_glass::{BINDING, GROUP, STATE_PATH, Stack};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};

#[tokio::test]
async fn a_login_and_its_sessions_end_with_its_time_its_shift_or_a_revoke_by_hand() {
    for (what, end) in [("time_over", 0), ("shift", 1), ("hold", 2)] {
        let stack = Stack::start(18).await.unwrap();
        stack.grant("ann", 120);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let session = stack.log_in(&answer).await.unwrap();
        stack.minutes_later(5);
        assert_eq!(stack.sweep().await.unwrap()["closed"], json!([]), "{what}: too early");
        session.simple_query("SELECT 1").await.unwrap();
        match end {
            0 => stack.minutes_later(25),
            1 => stack.grant("ann", 0),
            _ => stack.hold("ann"),
        }
        let swept = stack.sweep().await.unwrap();
        assert_eq!(swept["closed"], json!([answer.text("username")]), "{what}: {swept}");
        assert!(session.simple_query("SELECT 1").await.is_err(), "{what}: the session goes on");
        assert_eq!((stack.roles().await.unwrap(), stack.records()), (vec![], vec![]), "{what}");
        let why = if end == 0 { "time_over" } else { "grant_over" };
        assert_eq!(stack.alerts().last().unwrap(), &format!("Database closed: shop ({why})"));
        assert_eq!(stack.sweep().await.unwrap()["closed"], json!([]), "twice");
        assert_eq!(stack.violations(), [""; 0]);
    }
}

#[tokio::test]
async fn while_nobody_knows_who_is_on_call_a_login_lasts_until_its_own_end() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 120);
    let answer = stack.open("ann", "shop", 30).await.unwrap();
    stack.minutes_later(5);
    stack.aws.parameters.put(&stack.ledger_name(), "{");
    assert_eq!(stack.sweep().await.unwrap()["closed"], json!([]));
    stack.minutes_later(26);
    assert_eq!(stack.sweep().await.unwrap()["closed"], json!([answer.text("username")]));
}

#[tokio::test]
async fn a_login_that_nobody_knows_is_reported_and_left_alone() {
    let stack = Stack::start(18).await.unwrap();
    stack
        .postgres()
        .execute("CREATE ROLE bg_intern LOGIN; CREATE ROLE bg_ann_202601010000_abcdef LOGIN")
        .await
        .unwrap();
    let swept = stack.sweep().await.unwrap();
    assert_eq!(swept["unresolved"], 2, "{swept}");
    assert_eq!(stack.roles().await.unwrap().len(), 2);
    let alerts = stack.alerts();
    assert_eq!(alerts.iter().filter(|title| title.contains("STRAY_LOGIN")).count(), 2, "{alerts:?}");
    stack.minutes_later(1);
    assert_eq!(stack.sweep().await.unwrap()["unresolved"], 2, "nobody has looked again, and they are there");
    stack.minutes_later(16);
    stack.postgres().execute("DROP ROLE bg_intern").await.unwrap();
    assert_eq!(stack.sweep().await.unwrap()["unresolved"], 1);
    assert_eq!(stack.alerts().len(), 2, "told once while it lasts");
}

/// As by a quota that the whole account has used up.
#[tokio::test]
async fn a_ledger_that_parameter_store_does_not_give_stops_no_end_and_no_other_ledger() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 120);
    let [short, long] = [stack.open("ann", "shop", 5).await.unwrap(), stack.open("ann", "shop", 60).await.unwrap()];
    stack.minutes_later(6);
    stack.aws.refuse("GetParameter", Refusal::AccessDenied, 1);
    let swept = stack.sweep().await.unwrap();
    assert_eq!((&swept["closed"], &swept["unresolved"]), (&json!([short.text("username")]), &json!(1)), "{swept}");
    assert!(stack.alerts().join("\n").contains("AWS_ACCESS_DENIED"), "{:?}", stack.alerts());
    // Nor does it look like a grant that is over.
    assert_eq!(stack.roles().await.unwrap(), [long.text("username")]);
    let more = json!({"bindings": [{"binding": "away", "group": "00g9"}, {"binding": BINDING, "group": GROUP}]});
    stack.database("store", &more).await.unwrap();
    assert_eq!(stack.open("ann", "store", 5).await.unwrap().status, 200, "one that grants is enough");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_told_with_how_long_the_login_overstays() {
    let stack = Stack::start(18).await.unwrap();
    let lambda = stack.lambda(None).await.unwrap();
    stack.grant("ann", 60);
    let login = stack.open("ann", "shop", 1).await.unwrap().text("username");
    // Its time is over by the clock of the real function, too.
    let name = format!("{STATE_PATH}/shop/{login}");
    let mut record: Value = serde_json::from_str(&stack.aws.parameters.value(&name).unwrap()).unwrap();
    record["until"] = "2026-01-01T00:00:00Z".into();
    stack.aws.parameters.put(&name, &record.to_string());
    let text = stack.aws.parameters.value("/keyturn/test/databases/shop").unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let port = document["port"].clone();
    document["port"] = 1.into();
    stack.document("shop", &document);
    let swept = lambda.invoke_by(Some("ops"), &json!({})).await.result.unwrap();
    assert_eq!((&swept["closed"], &swept["overstaying"]), (&json!([]), &json!([login])));
    let log = lambda.logs().unwrap();
    assert!(
        log.contains("LOGIN_OVERSTAYS") && log.contains("\"OverstaySeconds\"") && log.contains("\"RunsOk\":1"),
        "{log}"
    );
    document["port"] = port;
    stack.document("shop", &document);
    let swept = lambda.invoke_by(Some("ops"), &json!({})).await.result.unwrap();
    assert_eq!(swept["closed"], json!([login]), "{swept}");
    assert_eq!(stack.roles().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_document_that_names_another_server_by_now_does_not_make_a_login_look_gone() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    let answer = stack.open("ann", "shop", 5).await.unwrap();
    let text = stack.aws.parameters.value("/keyturn/test/databases/shop").unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let host = document["host"].clone();
    // The same server by another name: it could as well be another one.
    document["host"] = "127.0.0.1".into();
    stack.document("shop", &document);
    stack.minutes_later(6);
    let swept = stack.sweep().await.unwrap();
    assert_eq!((&swept["closed"], &swept["overstaying"]), (&json!([]), &json!([answer.text("username")])), "{swept}");
    assert!(stack.alerts().iter().any(|title| title.contains("PLACE_CHANGED")), "{:?}", stack.alerts());
    document["host"] = host;
    stack.document("shop", &document);
    assert_eq!(stack.sweep().await.unwrap()["closed"], json!([answer.text("username")]));
}

#[tokio::test]
async fn two_databases_of_one_server_do_not_take_each_others_logins_for_strays() {
    let stack = Stack::start(18).await.unwrap();
    stack.database("store", &json!({})).await.unwrap();
    stack.grant("ann", 60);
    stack.open("ann", "shop", 30).await.unwrap();
    stack.open("ann", "store", 30).await.unwrap();
    let swept = stack.sweep().await.unwrap();
    assert_eq!((&swept["open"], &swept["unresolved"]), (&json!(2), &json!(0)), "{swept}");
}

#[tokio::test]
async fn a_document_or_a_record_that_cannot_be_read_stops_nobody_elses_end() {
    let stack = Stack::start(18).await.unwrap();
    stack.database("store", &json!({})).await.unwrap();
    stack.grant("ann", 60);
    let [shop, store] = [stack.open("ann", "shop", 5).await.unwrap(), stack.open("ann", "store", 5).await.unwrap()];
    stack.aws.parameters.put("/keyturn/test/databases/store", "{}");
    stack.aws.parameters.put(&format!("{STATE_PATH}/shop/bg_odd"), "{}");
    stack.minutes_later(6);
    let swept = stack.sweep().await.unwrap();
    assert_eq!(swept["closed"], json!([shop.text("username")]), "{swept}");
    assert_eq!(swept["overstaying"], json!([store.text("username")]), "its document is refused");
    let alerts = stack.alerts().join("\n");
    for code in ["DOCUMENT_INVALID", "RECORD_UNREADABLE"] {
        assert!(alerts.contains(code), "{code} in {alerts}");
    }
    assert!(stack.log_in(&store).await.is_ok(), "until its own end, which is the server's to keep");
}

#[tokio::test]
async fn a_closing_that_a_channel_did_not_take_is_told_by_the_next_sweep_and_then_forgotten() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    stack.open("ann", "shop", 5).await.unwrap();
    stack.minutes_later(6);
    stack.slack.replace(1, Reply::empty(500));
    stack.datadog.replace("POST /api/v1/events", 1, Reply::empty(500));
    let closed = stack.sweep().await.unwrap();
    assert_eq!((closed["closed"].as_array().unwrap().len(), stack.records().len()), (1, 1));
    stack.sweep().await.unwrap();
    assert_eq!(stack.alerts().last().unwrap(), "Database closed: shop (time_over)");
    assert_eq!(stack.records(), [Value::Null; 0]);
}
