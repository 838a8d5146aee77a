//! `GET /oncalls`: who escalation policies would call. And users, which are listed in the same way.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::account::{Account, Kind, Policy, Target, reference};
use super::request::{Refused, check_names, error, instant, invalid, number, values, wrong};
use super::timeline::Window;
use crate::vendors::{Call, Reply};

/// How far `/oncalls` looks at most.
const RANGE: TimeDelta = TimeDelta::days(90);

/// `GET /oncalls`. A schedule that no policy names is not in it.
pub(super) fn oncalls(account: &Account, now: DateTime<Utc>, call: &Call) -> Result<Reply, Refused> {
    let lists = ["schedule_ids[]", "escalation_policy_ids[]", "include[]"];
    check_names(call, &["since", "until", "limit", "offset"], &lists)?;
    let asked = Asked::read(call, now)?;
    let levels = account.policies.iter().flat_map(|policy| policy.levels.iter().map(move |level| (policy, level)));
    let rows = levels.flat_map(|(policy, (level, target))| asked.rows(account, policy, *level, target)).collect();
    page(account, "oncalls", rows, call)
}

/// `GET /users`.
pub(super) fn users(account: &Account, call: &Call) -> Result<Reply, Refused> {
    check_names(call, &["limit", "offset"], &[])?;
    let present = account.users.iter().filter(|(_, user)| user.departed.is_none());
    page(account, "users", present.map(|(id, _)| account.user(id)).collect(), call)
}

/// `GET /users/{id}`.
pub(super) fn user(account: &Account, id: &str, call: &Call) -> Result<Reply, Refused> {
    check_names(call, &[], &[])?;
    let known = account.users.get(id).is_some_and(|user| user.departed.is_none());
    Ok(if known { Reply::json(200, &json!({"user": account.user(id)})) } else { error(404) })
}

/// What a request asks for.
struct Asked<'a> {
    schedules: Vec<&'a str>,
    policies: Vec<&'a str>,
    whole_users: bool,
    window: Window,
}

impl<'a> Asked<'a> {
    fn read(call: &'a Call, now: DateTime<Utc>) -> Result<Self, Refused> {
        let included = values(call, "include[]");
        if included.iter().any(|value| *value != "users") {
            return Err(wrong("`include[]` is used for `users` only"));
        }
        let since = instant(call, "since")?.unwrap_or(now);
        let window = Window { since, until: instant(call, "until")?.unwrap_or(now) };
        if !(TimeDelta::zero()..=RANGE).contains(&(window.until - since)) {
            return Err(wrong("`since` to `until` is 0 to 90 days"));
        }
        let (schedules, policies) = (values(call, "schedule_ids[]"), values(call, "escalation_policy_ids[]"));
        Ok(Self { schedules, policies, whole_users: !included.is_empty(), window })
    }

    fn rows(&self, account: &Account, policy: &Policy, level: u32, target: &Target) -> Vec<Value> {
        let wanted = |list: &[&str], id: &str| list.is_empty() || list.contains(&id);
        match target {
            _ if !wanted(&self.policies, &policy.id) => Vec::new(),
            Target::Schedule(id) if wanted(&self.schedules, id) => self.scheduled(account, policy, level, id),
            Target::User(user) if self.schedules.is_empty() => vec![self.row(account, policy, level, user)],
            Target::Schedule(_) | Target::User(_) => Vec::new(),
        }
    }

    fn scheduled(&self, account: &Account, policy: &Policy, level: u32, id: &str) -> Vec<Value> {
        let Some(schedule) = account.schedules.get(id) else { return Vec::new() };
        let kind = match schedule.kind {
            Kind::Layers => "schedule_reference",
            Kind::Shifts => "schedule_v3_reference",
        };
        let slots = schedule.merged().into_iter().filter(|slot| self.window.meets(slot));
        let rows = slots.filter_map(|slot| {
            let mut row = self.row(account, policy, level, slot.user.as_ref()?);
            row["schedule"] = reference(kind, id, &schedule.name, &schedule.path(id));
            row["start"] = json!(schedule.zone.show(slot.start));
            row["end"] = json!(schedule.zone.show(slot.end));
            Some(row)
        });
        rows.collect()
    }

    /// Somebody who is on call for good: no schedule, no start, no end.
    fn row(&self, account: &Account, policy: &Policy, level: u32, user: &str) -> Value {
        let path = format!("/escalation_policies/{}", policy.id);
        json!({
            "user": if self.whole_users { account.user(user) } else { account.user_reference(user) },
            "schedule": null,
            "escalation_policy": reference("escalation_policy_reference", &policy.id, &policy.name, &path),
            "escalation_level": level,
            "start": null,
            "end": null,
        })
    }
}

/// One page: 25 rows unless told, 100 at most, and none beyond row 10000.
fn page(account: &Account, name: &str, rows: Vec<Value>, call: &Call) -> Result<Reply, Refused> {
    let limit = number(call, "limit", 25, 1, 100)?.min(account.page_size);
    let offset = number(call, "offset", 0, 0, usize::MAX / 2)?;
    if offset + limit > 10_000 {
        return Ok(invalid(&json!(["Offset plus limit must not exceed 10000."])));
    }
    let more = account.endless || rows.len() > offset + limit;
    let shown: Vec<Value> = rows.into_iter().skip(offset).take(limit).collect();
    Ok(Reply::json(200, &json!({name: shown, "limit": limit, "offset": offset, "more": more, "total": null})))
}
