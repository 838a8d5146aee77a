//! What no correct client sends is a violation, each by itself.

use super::{client, get, hours, pagerduty, request};
use crate::vendors::pagerduty::PagerDuty;

fn key(pagerduty: &PagerDuty) -> String {
    format!("Token token={}", pagerduty.token())
}

#[tokio::test]
async fn odd_queries_are_violations() {
    let pagerduty = pagerduty().await;
    let (old, new) = (pagerduty.schedule("old"), pagerduty.schedule_v3("new"));
    let day = hours(8, 9);
    let queries = [
        format!("/schedules/{old}?since=2026-06-01T08:00:00&until=2026-06-01T09:00:00"),
        format!("/schedules/{old}?since=2026-06-01T08:00:00+00:00&until=2026-06-01T09:00:00Z"),
        format!("/schedules/{old}?since=2026-06-01&until=2026-06-02"),
        format!("/schedules/{old}?since=2026-06-01T08:00:00Z"),
        format!("/schedules/{old}?{}", hours(9, 8)),
        format!("/schedules/{old}?{day}&overflow=yes"),
        format!("/schedules/{old}?{day}&overflow=true&overflow=true"),
        format!("/schedules/{old}?{day}&limit=100"),
        format!("/schedules/{old}?{day}&time_zone=Mars"),
        format!("/v3/schedules/{new}?{day}&overflow=yes"),
        format!("/v3/schedules/{new}?{day}&include[]=users"),
        format!("/v3/schedules/{new}?{day}&include=final_schedule"),
        "/oncalls?limit=101".to_owned(),
        "/oncalls?limit=0".to_owned(),
        "/oncalls?offset=-1".to_owned(),
        "/oncalls?include[]=schedules".to_owned(),
        "/oncalls?schedule_ids=P1".to_owned(),
        "/oncalls?schedule_ids[]=P1&schedule_ids[]=P1".to_owned(),
        "/oncalls?since=2026-01-01T00:00:00Z".to_owned(),
        "/users?query=ana".to_owned(),
        "/users/P1?include[]=contact_methods".to_owned(),
    ];
    for (count, path) in queries.iter().enumerate() {
        assert_eq!(get(&pagerduty, path).await.0, 400, "{path}");
        assert_eq!(pagerduty.violations().len(), count + 1, "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_are_violations() {
    let pagerduty = pagerduty().await;
    let id = pagerduty.schedule("db");
    for path in [format!("/schedules/{id}/users"), "/schedules".to_owned(), "/v3/oncalls".to_owned(), "/".to_owned()] {
        assert_eq!(get(&pagerduty, &path).await.0, 404);
    }
    assert_eq!(pagerduty.violations().len(), 4);
}

#[tokio::test]
async fn wrong_headers_methods_and_bodies_are_violations() {
    let pagerduty = pagerduty().await;
    let url = format!("{}/users", pagerduty.url());
    let (accept, json) = ("application/vnd.pagerduty+json;version=2", "application/json");
    let key = key(&pagerduty);
    let with = |request: reqwest::RequestBuilder, accept: &str, content: &str| {
        request.header("accept", accept).header("content-type", content).header("authorization", &key)
    };
    let requests = [
        with(client().get(&url), json, json),
        with(client().get(&url), "application/vnd.pagerduty+json; version=2", json),
        with(client().get(&url), accept, "text/plain"),
        client().get(&url).header("accept", accept).header("authorization", &key),
        with(client().get(&url).body("{}"), accept, json),
        with(client().post(&url), accept, json),
    ];
    for (count, request) in requests.into_iter().enumerate() {
        assert!(request.send().await.unwrap().status().is_client_error());
        assert_eq!(pagerduty.violations().len(), count + 1);
    }
}

#[tokio::test]
async fn a_wrong_key_is_no_violation_but_a_wrong_scheme_is() {
    let pagerduty = pagerduty().await;
    let status = async |authorization: &str| {
        let sent = request(&pagerduty, "/users").header("authorization", authorization).send().await;
        sent.unwrap().status().as_u16()
    };
    assert_eq!((status("Token token=wrong").await, status("Bearer wrong").await), (401, 401));
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
    assert_eq!(status(&format!("Token {}", pagerduty.token())).await, 401);
    assert_eq!(status(&format!("Bearer {}", pagerduty.token())).await, 401);
    assert_eq!(request(&pagerduty, "/users").send().await.unwrap().status(), 401);
    assert_eq!(pagerduty.violations().len(), 3);
}
