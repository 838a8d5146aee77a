//! On-calls, users, pages and rate limits.

use serde_json::{Value, json};

use super::{get, hour, hours, pagerduty, text};
use crate::vendors::pagerduty::PagerDuty;

/// `level user schedule start` of each on-call.
async fn oncalls(pagerduty: &PagerDuty, query: &str) -> Vec<String> {
    let (status, body) = get(pagerduty, &format!("/oncalls?{query}")).await;
    assert_eq!(status, 200, "{body}");
    let shown = |row: &Value| {
        let (user, schedule) = (&row["user"]["summary"], &row["schedule"]["summary"]);
        format!("{} {} {} {}", row["escalation_level"], text(user), text(schedule), text(&row["start"]))
    };
    body["oncalls"].as_array().unwrap().iter().map(shown).collect()
}

/// A policy with a person for good on level 2, and a schedule with two shifts on level 1.
async fn with_policy() -> (PagerDuty, String, String) {
    let pagerduty = pagerduty().await;
    let (ana, ben) = (pagerduty.user("Ana", "ana@example.com"), pagerduty.user_without_email("Ben"));
    let (id, policy) = (pagerduty.schedule("db"), pagerduty.policy("Databases"));
    pagerduty.shift(&id, &ana, hour(8), hour(16));
    pagerduty.shift(&id, &ben, hour(16), hour(20));
    pagerduty.policy_level_schedule(&policy, 1, &id);
    pagerduty.policy_level_user(&policy, 2, &ben);
    (pagerduty, id, policy)
}

#[tokio::test]
async fn oncalls_are_those_of_policies_now_or_in_a_window() {
    let (pagerduty, id, policy) = with_policy().await;
    let alone = pagerduty.schedule("in no policy");
    let now = "1 Ana db 2026-06-01T10:00:00+02:00";
    assert_eq!(oncalls(&pagerduty, "").await, [now, "2 Ben null null"]);
    assert_eq!(oncalls(&pagerduty, &format!("schedule_ids[]={id}&schedule_ids[]={alone}")).await, [now]);
    assert_eq!(oncalls(&pagerduty, &format!("schedule_ids[]={alone}")).await, Vec::<String>::new());
    assert_eq!(oncalls(&pagerduty, "escalation_policy_ids[]=PXXXXXX").await, Vec::<String>::new());
    let later = format!("escalation_policy_ids[]={policy}&{}", hours(15, 17));
    assert_eq!(oncalls(&pagerduty, &later).await, [now, "1 Ben db 2026-06-01T18:00:00+02:00", "2 Ben null null"]);
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn emails_come_only_with_whole_users() {
    let (pagerduty, ..) = with_policy().await;
    let (_, short) = get(&pagerduty, "/oncalls").await;
    let ana = &short["oncalls"][0]["user"];
    assert_eq!((&ana["type"], ana.get("email")), (&json!("user_reference"), None));
    let (_, whole) = get(&pagerduty, "/oncalls?include[]=users").await;
    let (ana, ben) = (&whole["oncalls"][0]["user"], &whole["oncalls"][1]["user"]);
    assert_eq!((&ana["type"], &ana["email"]), (&json!("user"), &json!("ana@example.com")));
    assert_eq!(ben.get("email"), Some(&Value::Null));
}

#[tokio::test]
async fn a_shift_based_schedule_is_named_as_one() {
    let (pagerduty, id, _) = with_policy().await;
    pagerduty.upgrade(&id);
    let (_, body) = get(&pagerduty, "/oncalls").await;
    let schedule = &body["oncalls"][0]["schedule"];
    assert_eq!((&schedule["type"], &schedule["id"]), (&json!("schedule_v3_reference"), &json!(id)));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let pagerduty = pagerduty().await;
    let policy = pagerduty.policy("Databases");
    for n in 0..30 {
        let user = pagerduty.user(&format!("User {n}"), "user@example.com");
        pagerduty.policy_level_user(&policy, n + 1, &user);
    }
    let page = async |query: &str| {
        let (_, body) = get(&pagerduty, &format!("/oncalls?{query}")).await;
        let rows = body["oncalls"].as_array().unwrap().len();
        (rows, body["limit"].clone(), body["offset"].clone(), body["more"].clone(), body["total"].clone())
    };
    assert_eq!(page("").await, (25, json!(25), json!(0), json!(true), Value::Null));
    assert_eq!(page("offset=25").await, (5, json!(25), json!(25), json!(false), Value::Null));
    assert_eq!(page("limit=30").await, (30, json!(30), json!(0), json!(false), Value::Null));
    pagerduty.page_size(7);
    assert_eq!(page("limit=100&offset=7").await, (7, json!(7), json!(7), json!(true), Value::Null));
    pagerduty.endless();
    assert_eq!(page("limit=100&offset=700").await, (0, json!(7), json!(700), json!(true), Value::Null));
    assert_eq!(get(&pagerduty, "/oncalls?offset=10000").await.0, 400);
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn users_are_listed_and_shown() {
    let pagerduty = pagerduty().await;
    let ana = pagerduty.user("Ana", "ana@example.com");
    pagerduty.set_email(&ana, "Ana@Example.com");
    let (status, body) = get(&pagerduty, &format!("/users/{ana}")).await;
    let user = &body["user"];
    assert_eq!((status, &user["name"], &user["email"]), (200, &json!("Ana"), &json!("Ana@Example.com")));
    assert_eq!(get(&pagerduty, "/users?limit=1").await.1["users"][0], *user);
    assert_eq!(get(&pagerduty, "/users/PXXXXXX").await.0, 404);
}

#[tokio::test]
async fn ids_look_like_pagerdutys_and_are_the_same_in_every_run() {
    let (first, second) = (pagerduty().await, pagerduty().await);
    let ids: Vec<String> = (0..100).map(|_| first.policy("a")).collect();
    let again: Vec<String> = (0..100).map(|_| second.policy("a")).collect();
    let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
    let well_formed = |id: &&String| {
        let rest = id.strip_prefix('P').unwrap_or_default();
        rest.len() == 6 && rest.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    assert_eq!((ids.iter().filter(well_formed).count(), unique.len(), &again), (100, 100, &ids));
}

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
