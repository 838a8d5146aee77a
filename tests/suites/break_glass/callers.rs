//! Who is believed: the alias decides, and nothing that a caller can write.

use keyturn_tests::stacks::break_glass::Stack;
use serde_json::{Value, json};

#[tokio::test]
async fn a_forged_identity_by_a_direct_invocation_opens_nothing() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    let event = stack.url_event("ann", "POST", "/shop", Some(&json!({"minutes": 5, "reason": "INC-42"})));
    for alias in ["", "ops", "$LATEST", "url2"] {
        let refused = stack.event(alias, &event).await.unwrap_err();
        assert_eq!(refused.code(), "ALIAS_REFUSED", "{alias}: {refused}");
    }
    // The same through Lambda's own API, as somebody would who may invoke the function.
    let lambda = stack.lambda(None).await.unwrap();
    for alias in [None, Some("ops")] {
        let refused = lambda.invoke_by(alias, &event).await.result.unwrap_err();
        assert_eq!(refused.error_type, "ALIAS_REFUSED", "{alias:?}");
    }
    assert_eq!(stack.roles().await.unwrap(), [""; 0]);
    assert_eq!(stack.open("ann", "shop", 5).await.unwrap().status, 200);
}

#[tokio::test]
async fn whoever_may_use_the_url_cannot_sweep_or_read_the_report() {
    let stack = Stack::start(18).await.unwrap();
    for action in [
        json!({}),
        json!({"action": "sweep"}),
        json!({"action": "check"}),
        json!({"action": "report", "since": "2026-01-01T00:00:00Z"}),
    ] {
        for alias in ["", "url"] {
            assert_eq!(stack.event(alias, &action).await.unwrap_err().code(), "ALIAS_REFUSED", "{action}");
        }
    }
}

#[tokio::test]
async fn a_caller_who_is_not_the_holder_of_a_listed_permission_set_is_refused() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    let good = stack.url_event("ann", "POST", "/shop", Some(&json!({"minutes": 5, "reason": "INC-42"})));
    let iam = "/requestContext/authorizer/iam";
    let with = |key: &str, value: Value| {
        let mut event = good.clone();
        *event.pointer_mut(&format!("{iam}/{key}")).unwrap() = value;
        event
    };
    let role = "arn:aws:sts::123456789012:assumed-role";
    for event in [
        with("userArn", json!(format!("{role}/Admin/ann@corp.example"))),
        with("userArn", json!(format!("{role}/AWSReservedSSO_DBA_x_0123456789abcdef/ann@corp.example"))),
        with("userArn", json!("arn:aws:iam::123456789012:user/ann@corp.example")),
        with("userArn", json!(format!("{role}/AWSReservedSSO_DBA_0123456789abcdef/bob@corp.example"))),
        with("callerId", json!("AROASTRANGER12345678:ann@corp.example")),
        with("accountId", json!("210987654321")),
        with("userArn", Value::Null),
    ] {
        let answer = stack.event("url", &event).await.unwrap();
        let status = answer["statusCode"].as_u64().unwrap();
        assert!(status == 403 || status == 400, "{event}: {answer}");
        assert!(!answer["body"].as_str().unwrap().contains("password"), "{answer}");
    }
    let mut anonymous = good.clone();
    anonymous["requestContext"]["authorizer"] = Value::Null;
    let answer = stack.event("url", &anonymous).await.unwrap();
    assert_eq!(answer["statusCode"], 400, "{answer}");
    assert_eq!(stack.roles().await.unwrap(), [""; 0]);
}
