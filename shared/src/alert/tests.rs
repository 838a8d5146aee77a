//! What leaves for Datadog and Slack, and which secrets are refused.

use super::*;
use crate::clock::Clock;
use crate::http;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::json;

fn alert(title: &str, text: &str) -> Alert {
    Alert {
        title: title.to_owned(),
        text: text.to_owned(),
        severity: Severity::Error,
        key: "prod-admin:00u1:2026-06-01T12:00:00Z".to_owned(),
        tags: vec![("binding", "Prod-Admin".to_owned()), ("user", "Ana Ö, ops@example.com".to_owned())],
        at: "2026-06-01T12:00:00Z".parse().unwrap(),
    }
}

fn clock() -> Clock {
    Clock::of(|| "2026-06-01T12:00:00Z".parse().unwrap())
}

#[test]
fn an_event_holds_what_datadog_documents() {
    assert_eq!(
        datadog::event(&alert("Nobody is on call", "Binding prod-admin.\nLook at the schedule.")),
        json!({
            "title": "Nobody is on call",
            "text": "Binding prod-admin.\nLook at the schedule.",
            "alert_type": "error",
            "aggregation_key": "prod-admin:00u1:2026-06-01T12:00:00Z",
            "tags": ["binding:prod-admin", "user:ana_ö__ops_example.com"],
            "date_happened": 1_780_315_200,
            "source_type_name": "keyturn",
            "priority": "normal",
        })
    );
}

#[test]
fn an_event_notifies_nobody_and_holds_no_markdown() {
    let event = datadog::event(&alert("a\nb\u{202e}c @oncall", "@slack-ops %%% **x** %%%\r\u{1b}[2J%%%%"));
    assert_eq!(event["title"], "a b c (at)oncall");
    assert_eq!(event["text"], "(at)slack-ops % %% **x** % %%  [2J% %% %");
}

#[test]
fn what_is_too_long_is_cut_between_characters() {
    let mut long = alert(&"ö".repeat(200), &"ö".repeat(5000));
    long.key = format!("x{}", "ö".repeat(100));
    long.tags = vec![("user", "ö".repeat(300))];
    let event = datadog::event(&long);
    let length = |key: &str| event[key].as_str().unwrap().chars().count();
    assert_eq!((length("title"), length("text")), (100, 4000));
    assert_eq!(event["aggregation_key"].as_str().unwrap().len(), 99);
    assert_eq!(event["tags"][0].as_str().unwrap().chars().count(), 200);
}

#[test]
fn a_message_is_plain_text_that_mentions_nobody() {
    let message = slack::message(&alert("<!channel> & <@U1>", "*bold* _it_ `code` <https://evil.example|here>\n@here"));
    let text = "ERROR: &lt;!channel&gt; &amp; &lt;(at)U1&gt;";
    assert_eq!(message["text"], text);
    let block = &message["blocks"][0]["text"];
    assert_eq!(block["type"], "plain_text");
    assert_eq!(block["text"], format!("{text}\n*bold* _it_ `code` &lt;https://evil.example|here&gt;\n(at)here"));
}

#[test]
fn a_message_is_cut_between_entities() {
    let message = slack::message(&alert("x", &"&".repeat(3000)));
    let text = message["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(text.len() <= 3000 && text.ends_with("&amp;"), "{}", text.len());
}

proptest! {
    #[test]
    fn no_text_escapes(title in ".{0,300}", text in "(?s)[@<>&%\\PC]{0,300}|(?s).{0,300}", key in ".{0,300}") {
        let mut alert = alert(&title, &text);
        alert.key = key;
        let event = datadog::event(&alert);
        for key in ["title", "text"] {
            let shown = event[key].as_str().unwrap();
            prop_assert!(!shown.contains('@') && !shown.contains("%%%"), "{shown}");
            prop_assert!(!shown.chars().any(|c| c != '\n' && is_unseen(c)), "{shown}");
        }
        prop_assert!(event["aggregation_key"].as_str().unwrap().len() <= 100);
        let message = slack::message(&alert);
        for shown in [&message["text"], &message["blocks"][0]["text"]["text"]] {
            prop_assert!(!shown.as_str().unwrap().contains(['<', '>', '@']), "{shown}");
        }
    }
}

fn datadog(secret: &str) -> Result<Datadog, Error> {
    Datadog::parse(&SecretString::from(secret), None, &http::client().unwrap(), &clock())
}

#[test]
fn a_secret_of_datadog_is_a_key_and_a_site() {
    assert!(datadog(r#"{"api_key":"hush","site":"datadoghq.eu"}"#).is_ok());
    for (secret, names) in [
        (r#"{"api_key":"hush"}"#, "\"site\" is missing"),
        (r#"{"site":"datadoghq.com"}"#, "\"api_key\" is missing"),
        (r#"{"api_key":"hush","site":"evil.example"}"#, "\"site\" is none of"),
        (r#"{"api_key":"hush","site":"datadoghq.eu","app_key":"hush"}"#, "\"app_key\" is not a key"),
        (r#"{"api_key":"hush\n","site":"datadoghq.eu"}"#, "\"api_key\" holds"),
        (r#"{"api_key":["hush"],"site":"datadoghq.eu"}"#, "\"api_key\" is no text"),
        (r#"{"api_key":" ","site":"datadoghq.eu"}"#, "\"api_key\" is no text, or empty"),
        ("hush", "no JSON object"),
    ] {
        let error = datadog(secret).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "DATADOG_SECRET_INVALID");
        assert!(error.message().contains(names), "{secret}: {error}");
        assert!(!error.to_string().contains("hush") && !error.to_string().contains("evil"), "{error}");
    }
}

#[test]
fn a_secret_of_slack_is_an_address_of_slacks() {
    for (url, fine) in [
        ("https://hooks.slack.com/services/T1/B1/hush", true),
        ("https://hooks.slack-gov.com/services/T1/B1/hush", true),
        ("http://127.0.0.1:4000/services/T1/B1/hush", true),
        ("http://hooks.slack.com/services/T1/B1/hush", false),
        ("https://hooks.slack.com", false),
        ("https://hooks.slack.com/services/hush?x=1", false),
        ("https://hooks.slack.com/services/hush#x", false),
        ("https://hooks.slack.com:8443/services/hush", false),
        ("https://ana@hooks.slack.com/services/hush", false),
        ("https://hooks.slack.com.evil.example/services/hush", false),
        ("https://evil.example/services/hush", false),
        ("hush", false),
    ] {
        let secret = SecretString::from(json!({"webhook_url": url}).to_string());
        let outcome = Slack::parse(&secret, &http::client().unwrap(), &clock()).map(|_| ());
        assert_eq!(outcome.is_ok(), fine, "{url}");
        if let Err(error) = outcome {
            assert_eq!(error.code(), "SLACK_SECRET_INVALID");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
