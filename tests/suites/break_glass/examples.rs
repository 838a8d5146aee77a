//! The events in `events/`: each is taken as it is, on the alias that it is for, and does what its name says.

use chrono::{DateTime, Utc};
use keyturn_tests::source::read;
use keyturn_tests::stacks::break_glass::Stack;
use serde_json::{Value, json};

fn event(name: &str) -> Value {
    serde_json::from_str(&read(&format!("events/break-glass-{name}.json")).unwrap()).unwrap()
}

async fn ask(stack: &Stack, name: &str) -> Value {
    let answer = stack.event("url", &event(name)).await.unwrap();
    assert_eq!(answer["statusCode"], 200, "{name}: {answer}");
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn what_a_person_asks_by_the_url_is_answered() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 120);
    let opened = ask(&stack, "open").await;
    assert!(opened["username"].as_str().unwrap().starts_with("bg_ann_"), "{opened}");
    let listed = ask(&stack, "list").await;
    assert_eq!((&listed["open"][0]["login"], &listed["open"][0]["reason"]), (&opened["username"], &json!("INC-42")));
    assert_eq!(ask(&stack, "close").await, json!({"closed": [opened["username"]]}));
    assert_eq!(ask(&stack, "list").await, json!({"databases": ["shop"], "open": []}));
}

#[tokio::test]
async fn what_the_schedule_and_operators_ask_is_answered() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 120);
    let opened = ask(&stack, "open").await;
    let checked = stack.event("ops", &event("check")).await.unwrap();
    assert_eq!(checked["healthy"], true, "{checked}");
    assert_eq!(stack.event("ops", &event("sweep")).await.unwrap()["open"], 1);
    stack.hold("ann");
    assert_eq!(stack.event("ops", &event("sweep")).await.unwrap()["closed"], json!([opened["username"]]));
}

#[tokio::test]
async fn the_report_is_made() {
    let stack = Stack::without_postgres().start().await.unwrap();
    // "since" may be 400 days ago at most.
    let at: DateTime<Utc> = "2026-12-01T00:00:00Z".parse().unwrap();
    stack.clock.advance(at - stack.clock.now());
    let report = stack.event("ops", &event("report")).await.unwrap();
    assert_eq!(report["since"], "2026-01-01T00:00:00Z", "{report}");
    assert!(report["html"].as_str().unwrap().contains("</html>"), "{report}");
}

#[tokio::test]
async fn no_event_is_taken_on_the_other_alias_or_on_none() {
    let stack = Stack::without_postgres().start().await.unwrap();
    for (names, other) in [(["open", "close", "list"], "ops"), (["sweep", "check", "report"], "url")] {
        for name in names {
            for alias in [other, ""] {
                let code = stack.event(alias, &event(name)).await.err().map(|error| error.code());
                assert_eq!(code, Some("ALIAS_REFUSED"), "{name} on {alias:?}");
            }
        }
    }
}
