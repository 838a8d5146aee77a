//! Schedules: layer-based ones over v2, shift-based ones over v3.

use super::errors::Call;
use super::shape::{User, present, shape, shift, who};
use crate::source::shift::{Email, Part, Parts, Who};
use chrono::{DateTime, Utc};
use keyturn::Error;
use keyturn::clock::instant;
use keyturn::ids::{PersonId, RotationId, ScheduleId};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Which API has a schedule. Its id stays the same when it is upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// v2: layers and overrides.
    Layers,
    /// v3: shifts.
    Shifts,
}

/// What one API says of a schedule.
pub(super) enum Found {
    Here(Parts),
    /// v2 says that v3 has it.
    Upgraded,
    /// PagerDuty's own refusal: this API has no such schedule.
    Nowhere,
    /// The credential, or the account, may not use this API.
    Forbidden(Error),
    /// v2 names nobody, and does not say that nobody is on call either.
    Unsaid,
}

impl Version {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Layers => Self::Shifts,
            Self::Shifts => Self::Layers,
        }
    }

    /// The request for the final schedule. Without a window v2 shows no entries, whoever is on call, and perhaps not without
    /// `include[]` either ("REST API", "Get a schedule", `since`); without `overflow` both APIs cut shifts at the window's ends.
    pub(super) fn call(self, id: &ScheduleId, since: DateTime<Utc>, until: DateTime<Utc>) -> Call {
        let (since, until) = (instant(since), instant(until));
        let path = match self {
            Self::Layers => format!("/schedules/{id}"),
            Self::Shifts => format!("/v3/schedules/{id}"),
        };
        let fields =
            [("since", since.as_str()), ("until", &until), ("overflow", "true"), ("include[]", "final_schedule")];
        Call::with_query(&path, &fields)
    }

    /// What an answer that is no refusal says.
    pub(super) fn read(self, answer: Value, id: &ScheduleId) -> Result<Found, String> {
        let Wrapped::<Head> { schedule } = shape(answer.clone())?;
        if schedule.id != *id {
            return Err("another schedule than asked for".to_owned());
        }
        match (self, schedule.kind) {
            (Self::Layers, Kind::ScheduleV3) => Ok(Found::Upgraded),
            (Self::Layers, Kind::Schedule) => read_layers(answer),
            (Self::Shifts, _) => read_shifts(answer).map(Found::Here),
        }
    }
}

#[derive(Deserialize)]
struct Wrapped<S> {
    schedule: S,
}

#[derive(Deserialize)]
struct Head {
    id: ScheduleId,
    #[serde(rename = "type")]
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Schedule,
    ScheduleV3,
}

#[derive(Deserialize)]
struct WithFinal<F> {
    final_schedule: F,
    /// v3 alone has them. Whoever counts all of them needs no certain form.
    #[serde(default)]
    rotations: Value,
}

#[derive(Deserialize)]
struct Layers {
    rendered_schedule_entries: Vec<Entry>,
    /// In percent of the window. The upgrade guide says that v2 has none.
    rendered_coverage_percentage: Option<f64>,
}

#[derive(Deserialize)]
struct Entry {
    start: DateTime<Utc>,
    /// Null: the entry does not end.
    #[serde(deserialize_with = "present")]
    end: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "present")]
    user: Option<User>,
}

fn read_layers(answer: Value) -> Result<Found, String> {
    let layers = shape::<Wrapped<WithFinal<Layers>>>(answer)?.schedule.final_schedule;
    let is_empty = layers.rendered_schedule_entries.is_empty();
    match layers.rendered_coverage_percentage {
        Some(percent) => check_coverage(percent, is_empty)?,
        None if is_empty => return Ok(Found::Unsaid),
        None => {}
    }
    let entries = layers.rendered_schedule_entries.into_iter();
    let shifts = entries.map(|entry| Ok((Part::Whole, shift(who(entry.user), Some(entry.start), entry.end)?)));
    Ok(Found::Here(Parts { rotations: BTreeSet::new(), shifts: shifts.collect::<Result<_, String>>()? }))
}

#[derive(Deserialize)]
struct Shifts {
    computed_shift_assignments: Vec<Assignment>,
    /// In percent of the window.
    rendered_coverage_percentage: f64,
}

#[derive(Deserialize)]
struct Assignment {
    start_time: DateTime<Utc>,
    end_time: DateTime<Utc>,
    member: Member,
    #[serde(default)]
    source: Value,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Member {
    UserMember { user_id: PersonId },
    EmptyMember {},
}

fn read_shifts(answer: Value) -> Result<Parts, String> {
    let WithFinal { final_schedule: shifts, rotations } = shape::<Wrapped<WithFinal<Shifts>>>(answer)?.schedule;
    check_coverage(shifts.rendered_coverage_percentage, shifts.computed_shift_assignments.is_empty())?;
    let shifts = shifts.computed_shift_assignments.into_iter().map(|one| {
        let who = match one.member {
            Member::UserMember { user_id } => Who::Person { id: user_id, name: None, email: Email::NotSaid },
            Member::EmptyMember {} => Who::Nobody,
        };
        Ok((part(&one.source), shift(who, Some(one.start_time), Some(one.end_time))?))
    });
    let shifts = shifts.collect::<Result<_, String>>()?;
    let rotations = rotations.as_array().into_iter().flatten().filter_map(|rotation| rotation_id(&rotation["id"]));
    Ok(Parts { rotations: rotations.collect(), shifts })
}

/// Where a shift comes from ("Schedules API: v2 to v3 Upgrade Guide", "Layers vs. rotations").
fn part(source: &Value) -> Part {
    match (source["type"].as_str(), rotation_id(&source["rotation_id"])) {
        (Some("schedule_rotation" | "schedule_rotation_override"), Some(rotation)) => Part::Rotation(rotation),
        (Some("custom_shift" | "custom_shift_override"), _) => Part::CustomShift,
        _ => Part::NotSaid,
    }
}

fn rotation_id(value: &Value) -> Option<RotationId> {
    RotationId::try_from(value.as_str()?).ok()
}

/// Somebody is said to be on call, and nobody is named: the answer lost its entries.
fn check_coverage(percent: f64, is_empty: bool) -> Result<(), String> {
    if is_empty && percent > 0.0 { Err("a covered schedule without entries".to_owned()) } else { Ok(()) }
}
