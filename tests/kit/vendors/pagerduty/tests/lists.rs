//! On-calls, users, pages and rate limits.

use serde_json::{Value, json};

use super::pagerduty;

#[tokio::test]
async fn the_rate_limit_is_said_with_and_without_headers() {
    let pagerduty = pagerduty().await;
    pagerduty.limit(1);
    pagerduty.limit_without_headers(1);
    let send =
        || super::request(&pagerduty, "/users").header("authorization", format!("Token token={}", pagerduty.token()));
    let first = send().send().await.unwrap();
    assert_eq!((first.status().as_u16(), &first.headers()["ratelimit-reset"]), (429, &"1".parse().unwrap()));
    assert_eq!(
        (&first.headers()["ratelimit-limit"], &first.headers()["ratelimit-remaining"]),
        (&"960".parse().unwrap(), &"0".parse().unwrap())
    );
    assert_eq!(
        first.json::<Value>().await.unwrap(),
        json!({"error": {"message": "Rate Limit Exceeded", "code": 2020}})
    );
    let second = send().send().await.unwrap();
    assert_eq!((second.status().as_u16(), second.headers().get("ratelimit-reset")), (429, None));
    assert_eq!(send().send().await.unwrap().status(), 200);
}
