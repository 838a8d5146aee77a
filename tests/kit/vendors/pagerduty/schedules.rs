//! One schedule and who is on it: v2 (layers) and v3 (shifts).

use serde_json::{Value, json};

use super::account::{Account, Kind, Schedule, Target, ZONES, Zone, reference};
use super::request::{Refused, check_names, error, flag, invalid, values, window, wrong};
use super::timeline::{Slot, Window, coverage};
use crate::vendors::{Call, Reply};

/// `GET /schedules/{id}`. A shift-based schedule is a 400 here (`_is_v3_redirect` of pagerduty-mcp-server; in April 2026 it was
/// a 404, issue 117 there).
pub(super) fn layers(account: &Account, id: &str, call: &Call) -> Result<Reply, Refused> {
    check_names(call, &["since", "until", "overflow", "time_zone"], &["include[]"])?;
    let (window, overflow) = (window(call)?, flag(call, "overflow")?);
    check_included(call)?;
    let Some(schedule) = account.schedules.get(id) else { return Ok(error(404)) };
    if schedule.kind == Kind::Shifts {
        return Ok(invalid(&json!(["This is a shift-based schedule."])));
    }
    let zone = zone(call, schedule)?;
    let mut shown = common(account, id, schedule, "schedule");
    shown["summary"] = json!(schedule.name);
    shown["schedule_layers"] = json!([]);
    shown["users"] = users(account, schedule);
    shown["final_schedule"] = final_layer(account, schedule, zone, window, overflow);
    Ok(Reply::json(200, &json!({"schedule": shown})))
}

/// Without a window there are no entries and no coverage, whoever is on call.
fn final_layer(account: &Account, schedule: &Schedule, zone: Zone, window: Option<Window>, overflow: bool) -> Value {
    let slots = schedule.merged();
    let asked =
        |window: Window| window.shown(&slots, overflow).filter_map(|slot| entry(account, zone, &slot)).collect();
    let entries: Vec<Value> = window.map(asked).unwrap_or_default();
    json!({
        "name": "Final Schedule",
        "rendered_schedule_entries": entries,
        "rendered_coverage_percentage": window.map(|window| coverage(&slots, window)),
    })
}

fn entry(account: &Account, zone: Zone, slot: &Slot) -> Option<Value> {
    let user = account.user_reference(slot.user.as_ref()?);
    Some(json!({"start": zone.show(slot.start), "end": zone.show(slot.end), "user": user}))
}

/// `GET /v3/schedules/{id}`. A layer-based schedule is a 400 here (PagerDuty's guide for the upgrade).
pub(super) fn shifts(account: &Account, id: &str, call: &Call) -> Result<Reply, Refused> {
    check_names(call, &["since", "until", "overflow", "time_zone"], &["include[]"])?;
    let (window, overflow) = (window(call)?, flag(call, "overflow")?);
    let is_included = check_included(call)?;
    let Some(schedule) = account.schedules.get(id) else { return Ok(error(404)) };
    if schedule.kind == Kind::Layers {
        return Ok(invalid(&json!({"schedule": ["is not a shift-based schedule"]})));
    }
    let zone = zone(call, schedule)?;
    let mut shown = common(account, id, schedule, "schedule_v3");
    let rotations = 0..=schedule.shifts.iter().filter_map(|slot| slot.rotation).max().unwrap_or_default();
    let shown_rotation = |number| json!({"id": rotation(id, number), "type": "schedule_rotation", "events": []});
    shown["rotations"] = rotations.map(shown_rotation).collect();
    if let Some(window) = window.filter(|_| is_included) {
        shown["final_schedule"] = final_shifts(id, schedule, zone, window, overflow);
    }
    Ok(Reply::json(200, &json!({"schedule": shown})))
}

/// Whether the final schedule is asked for.
fn check_included(call: &Call) -> Result<bool, Refused> {
    let included = values(call, "include[]");
    if included.iter().any(|value| *value != "final_schedule") {
        return Err(wrong("`include[]` takes `final_schedule` only"));
    }
    Ok(!included.is_empty())
}

fn final_shifts(id: &str, schedule: &Schedule, zone: Zone, window: Window, overflow: bool) -> Value {
    let slots = schedule.merged();
    let assignments: Vec<Value> = window.shown(&slots, overflow).map(|slot| assignment(id, zone, &slot)).collect();
    json!({
        "type": "final_schedule",
        "rendered_coverage_percentage": coverage(&slots, window),
        "computed_shift_assignments": assignments,
    })
}

fn assignment(schedule: &str, zone: Zone, slot: &Slot) -> Value {
    let member = match &slot.user {
        Some(user) => json!({"type": "user_member", "user_id": user}),
        None => json!({"type": "empty_member"}),
    };
    let kind = if slot.overriding { "_override" } else { "" };
    let source = match slot.rotation {
        Some(number) => json!({"type": format!("schedule_rotation{kind}"), "rotation_id": rotation(schedule, number)}),
        None => json!({"type": format!("custom_shift{kind}"), "shift_id": format!("{schedule:S>26}")}),
    };
    json!({
        "type": "computed_shift_assignment",
        "start_time": zone.show(slot.start),
        "end_time": zone.show(slot.end),
        "member": member,
        "source": source,
    })
}

/// One of a schedule's rotations: 26 characters, as PagerDuty's are.
pub(super) fn rotation(schedule: &str, number: usize) -> String {
    format!("{schedule:R>25}{number}")
}

fn common(account: &Account, id: &str, schedule: &Schedule, kind: &str) -> Value {
    let mut shown = reference(kind, id, &schedule.name, &schedule.path(id));
    shown["name"] = json!(schedule.name);
    shown["description"] = json!("");
    shown["time_zone"] = json!(schedule.zone.name);
    shown["teams"] = json!([]);
    shown["escalation_policies"] = policies(account, id);
    shown
}

fn policies(account: &Account, schedule: &str) -> Value {
    let calls = |target: &Target| *target == Target::Schedule(schedule.to_owned());
    let using = account.policies.iter().filter(|policy| policy.levels.iter().any(|(_, target)| calls(target)));
    let shown = using.map(|policy| {
        let path = format!("/escalation_policies/{}", policy.id);
        reference("escalation_policy_reference", &policy.id, &policy.name, &path)
    });
    shown.collect()
}

/// The whole rotation, whoever is on call: a trap for whoever reads it as such.
fn users(account: &Account, schedule: &Schedule) -> Value {
    let mut ids: Vec<&String> = schedule.shifts.iter().filter_map(|slot| slot.user.as_ref()).collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().map(|id| account.user_reference(id)).collect()
}

/// The zone to show times in: the request's, else the schedule's.
fn zone(call: &Call, schedule: &Schedule) -> Result<Zone, Refused> {
    let Some(name) = call.query("time_zone") else { return Ok(schedule.zone) };
    let known = ZONES.into_iter().find(|zone| zone.name == name);
    known.ok_or_else(|| wrong(format!("unknown time zone `{name}`")))
}
