//! On-calls, users, pages and rate limits.

use serde_json::{Value, json};

use super::{get, hour, hours, pagerduty, text};
use crate::vendors::pagerduty::PagerDuty;

/// Who is on call by these filters, each with level, schedule and end.
async fn oncalls(pagerduty: &PagerDuty, filters: &str) -> Vec<String> {
    let (status, body) = get(pagerduty, &format!("/oncalls?include[]=users&{}{filters}", hours(10, 12))).await;
    assert_eq!((status, &body["more"]), (200, &json!(false)));
    let shown = |row: &Value| {
        let schedule = text(&row["schedule"]["summary"]);
        let end = row["end"].as_str().map(|end| end.parse::<chrono::DateTime<chrono::Utc>>().unwrap().format("%H"));
        let end = end.map_or_else(|| "never".to_owned(), |hour| hour.to_string());
        format!("{} {} {schedule} {end}", row["escalation_level"], text(&row["user"]["email"]))
    };
    body["oncalls"].as_array().unwrap().iter().map(shown).collect()
}

#[tokio::test]
async fn on_calls_are_those_of_policies_and_both_filters_hold() {
    let pagerduty = pagerduty().await;
    let (ana, ben) = (pagerduty.user("Ana", "ana@x"), pagerduty.user("Ben", "ben@x"));
    let (old, new, alone) = (pagerduty.schedule("old"), pagerduty.schedule_v3("new"), pagerduty.schedule("alone"));
    for schedule in [&old, &new, &alone] {
        pagerduty.shift(schedule, &ana, hour(8), hour(16));
    }
    pagerduty.shift(&new, &ben, hour(12), hour(16));
    let (one, two) = (pagerduty.policy("one"), pagerduty.policy("two"));
    pagerduty.policy_level_schedule(&one, 1, &old);
    pagerduty.policy_level_schedule(&one, 2, &new);
    pagerduty.policy_level_user(&one, 3, &ben);
    pagerduty.policy_level_schedule(&two, 1, &old);
    let (of_old, of_new) = ("1 ana@x old 16", "2 ana@x new 16");
    let ids = |name: &str, ids: &[&str]| ids.iter().map(|id| format!("&{name}[]={id}")).collect::<Vec<_>>().concat();
    let schedules = |of: &[&str]| ids("schedule_ids", of);
    assert_eq!(oncalls(&pagerduty, &schedules(&[&old])).await, [of_old, of_old]);
    assert_eq!(oncalls(&pagerduty, &schedules(&[&old, &new, &alone, "PNOTHERE"])).await, [of_old, of_new, of_old]);
    assert_eq!(oncalls(&pagerduty, &schedules(&[&alone, "PNOTHERE"])).await, Vec::<String>::new());
    let policies = |of: &[&str]| ids("escalation_policy_ids", of);
    assert_eq!(oncalls(&pagerduty, &policies(&[&one])).await, [of_old, of_new, "3 ben@x null never"]);
    assert_eq!(oncalls(&pagerduty, &policies(&[&two, "PNOTHERE"])).await, [of_old]);
    assert_eq!(oncalls(&pagerduty, &(schedules(&[&old]) + &policies(&[&two]))).await, [of_old]);
    assert_eq!(oncalls(&pagerduty, &(schedules(&[&new]) + &policies(&[&two]))).await, Vec::<String>::new());
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
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
