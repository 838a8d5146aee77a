//! Who is on a schedule when, as both kinds of schedules tell it.

use serde_json::{Value, json};

use super::{get, hour, hours, pagerduty, text};
use crate::vendors::pagerduty::{Departed, PagerDuty};

/// A schedule's final layer in some hours: `8-12 Ana` each, hours in UTC.
async fn layers(pagerduty: &PagerDuty, id: &str, query: &str) -> (Vec<String>, Value) {
    let (status, body) = get(pagerduty, &format!("/schedules/{id}?time_zone=UTC&{query}")).await;
    assert_eq!((status, &body["schedule"]["type"]), (200, &json!("schedule")));
    let last = &body["schedule"]["final_schedule"];
    let entries = last["rendered_schedule_entries"].as_array().unwrap();
    let shown = |entry: &Value| {
        format!(
            "{}-{} {}",
            &text(&entry["start"])[11..13],
            &text(&entry["end"])[11..13],
            text(&entry["user"]["summary"])
        )
    };
    (entries.iter().map(shown).collect(), last["rendered_coverage_percentage"].clone())
}

/// The same of a shift-based schedule, by user ids.
async fn shifts(pagerduty: &PagerDuty, id: &str, query: &str) -> (Vec<String>, Value) {
    let path = format!("/v3/schedules/{id}?time_zone=UTC&include[]=final_schedule&{query}");
    let (status, body) = get(pagerduty, &path).await;
    assert_eq!((status, &body["schedule"]["type"]), (200, &json!("schedule_v3")));
    let last = &body["schedule"]["final_schedule"];
    let assignments = last["computed_shift_assignments"].as_array().unwrap();
    let shown = |one: &Value| {
        let (start, end) = (&text(&one["start_time"])[11..13], &text(&one["end_time"])[11..13]);
        format!("{start}-{end} {} {}", text(&one["member"]["type"]), text(&one["member"]["user_id"]))
    };
    (assignments.iter().map(shown).collect(), last["rendered_coverage_percentage"].clone())
}

#[tokio::test]
async fn overrides_cut_what_they_cover() {
    let pagerduty = pagerduty().await;
    let (ana, ben) = (pagerduty.user("Ana", "ana@example.com"), pagerduty.user("Ben", "ben@example.com"));
    let id = pagerduty.schedule("db");
    pagerduty.shift(&id, &ana, hour(8), hour(12));
    pagerduty.shift(&id, &ana, hour(12), hour(16));
    pagerduty.override_shift(&id, &ben, hour(9), hour(10));
    pagerduty.override_shift(&id, &ben, hour(11), hour(13));
    let (entries, coverage) = layers(&pagerduty, &id, &format!("overflow=true&{}", hours(0, 20))).await;
    assert_eq!(entries, ["08-09 Ana", "09-10 Ben", "10-11 Ana", "11-13 Ben", "13-16 Ana"]);
    assert_eq!(coverage, json!(40.0));
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn an_override_hides_whole_shifts_and_stands_in_a_gap() {
    let pagerduty = pagerduty().await;
    let (ana, ben) = (pagerduty.user("Ana", "ana@example.com"), pagerduty.user("Ben", "ben@example.com"));
    let id = pagerduty.schedule("db");
    pagerduty.shift(&id, &ana, hour(8), hour(9));
    pagerduty.override_shift(&id, &ben, hour(8), hour(10));
    pagerduty.override_shift(&id, &ana, hour(9), hour(10));
    assert_eq!(layers(&pagerduty, &id, &hours(0, 20)).await.0, ["08-09 Ben", "09-10 Ana"]);
    pagerduty.clear(&id);
    assert_eq!(layers(&pagerduty, &id, &hours(0, 20)).await, (vec![], json!(0.0)));
}

#[tokio::test]
async fn only_overflow_tells_a_shifts_true_ends() {
    let pagerduty = pagerduty().await;
    let ana = pagerduty.user("Ana", "ana@example.com");
    let id = pagerduty.schedule("db");
    pagerduty.shift(&id, &ana, hour(8), hour(16));
    assert_eq!(layers(&pagerduty, &id, &hours(10, 12)).await, (vec!["10-12 Ana".to_owned()], json!(100.0)));
    let whole = layers(&pagerduty, &id, &format!("overflow=true&{}", hours(10, 12))).await;
    assert_eq!(whole, (vec!["08-16 Ana".to_owned()], json!(100.0)));
    assert_eq!(layers(&pagerduty, &id, &hours(16, 18)).await.0, Vec::<String>::new());
    pagerduty.upgrade(&id);
    let ana = |hours: &str| (vec![format!("{hours} user_member {ana}")], json!(100.0));
    assert_eq!(shifts(&pagerduty, &id, &hours(10, 12)).await, ana("10-12"));
    assert_eq!(shifts(&pagerduty, &id, &format!("overflow=false&{}", hours(10, 12))).await, ana("10-12"));
    assert_eq!(shifts(&pagerduty, &id, &format!("overflow=true&{}", hours(10, 12))).await, ana("08-16"));
}

#[tokio::test]
async fn each_kind_is_read_at_its_own_path_and_keeps_its_id_when_upgraded() {
    let pagerduty = pagerduty().await;
    let ana = pagerduty.user("Ana", "ana@example.com");
    let id = pagerduty.schedule("db");
    pagerduty.shift(&id, &ana, hour(8), hour(12));
    let (status, body) = get(&pagerduty, &format!("/v3/schedules/{id}")).await;
    assert_eq!((status, body["error"]["errors"].is_object()), (400, true));
    pagerduty.upgrade(&id);
    let whole = format!("overflow=true&{}", hours(9, 10));
    assert_eq!(shifts(&pagerduty, &id, &whole).await.0, [format!("08-12 user_member {ana}")]);
    let (status, body) = get(&pagerduty, &format!("/schedules/{id}")).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(2001)));
    let missing = (404, json!({"error": {"message": "Not Found", "code": 2100}}));
    assert_eq!(get(&pagerduty, "/schedules/PXXXXXX").await, missing);
    assert_eq!(get(&pagerduty, "/v3/schedules/PXXXXXX").await, missing);
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn shifts_come_only_when_asked_for_with_a_window() {
    let pagerduty = pagerduty().await;
    let id = pagerduty.schedule_v3("db");
    for query in [hours(9, 10), "include[]=final_schedule".to_owned()] {
        let (status, body) = get(&pagerduty, &format!("/v3/schedules/{id}?{query}")).await;
        assert_eq!((status, body["schedule"].get("final_schedule")), (200, None));
    }
}

#[tokio::test]
async fn who_was_deleted_is_shown_in_either_form() {
    let pagerduty = pagerduty().await;
    let (ana, ben) = (pagerduty.user("Ana", "ana@example.com"), pagerduty.user("Ben", "ben@example.com"));
    let id = pagerduty.schedule("db");
    pagerduty.shift(&id, &ana, hour(8), hour(9));
    pagerduty.shift(&id, &ben, hour(9), hour(10));
    pagerduty.delete_user(&ana, Departed::Null);
    pagerduty.delete_user(&ben, Departed::DeletedAt);
    let (_, body) = get(&pagerduty, &format!("/schedules/{id}?{}", hours(8, 10))).await;
    let entries = &body["schedule"]["final_schedule"]["rendered_schedule_entries"];
    assert_eq!(entries[0]["user"], Value::Null);
    assert_eq!((&entries[1]["user"]["id"], text(&entries[1]["user"]["deleted_at"])), (&json!(ben), super::NOON));
    assert_eq!(get(&pagerduty, &format!("/users/{ben}")).await.0, 404);
}
