//! The shifts of one binding, of all that were read.

use super::Readings;
use crate::binding::{Binding, Counted, Source};
use crate::codes::Code;
use crate::knowledge::covers;
use crate::source::OnCall;
use crate::source::shift::{Part, Parts, Shift, Who};
use chrono::{DateTime, Utc};
use keyturn::ids::{PersonId, RotationId, ScheduleId};
use keyturn::{Error, Result};
use std::collections::BTreeSet;

/// The shifts of a binding's schedules or policy, if all of them were read.
pub(super) fn of_binding(binding: &Binding, source: &Result<OnCall>) -> Result<Vec<Shift>> {
    let source = source.as_ref().map_err(Error::clone)?;
    match &binding.source {
        Source::Schedules { ids, counted } => {
            let schedules = ids.iter().map(|id| Ok((id, of(&source.schedules, id)?)));
            counted_of(counted, schedules.collect::<Result<_>>()?)
        }
        Source::Policy { id, levels } => {
            let shifts = of(&source.policies, id)?.into_iter();
            Ok(shifts.filter(|(level, _)| levels.contains(level)).map(|(_, shift)| shift).collect())
        }
    }
}

/// How the source calls a person, if it says so.
pub(super) fn name(shift: &Shift) -> Option<(PersonId, String)> {
    match &shift.who {
        Who::Person { id, name: Some(name), .. } => Some((id.clone(), name.clone())),
        Who::Person { .. } | Who::Nobody => None,
    }
}

fn of<K: Ord, T: Clone>(readings: &Readings<K, T>, id: &K) -> Result<T> {
    let unread = || Error::of(keyturn::codes::Code::InternalDefect, "The source was not read.");
    readings.get(id).cloned().unwrap_or_else(|| Err(unread()))
}

/// The shifts that go on now, each with the end of the last one that follows without a break for the same person.
pub(super) fn joined(all: &[Shift], now: DateTime<Utc>) -> Vec<Shift> {
    let mut current: Vec<Shift> = all.iter().filter(|shift| covers(shift.start, shift.end, now)).cloned().collect();
    for shift in &mut current {
        let follows = |end: DateTime<Utc>, next: &Shift| {
            next.who.is(&shift.who)
                && next.start.is_some_and(|start| start <= end)
                && next.end.is_none_or(|other| other > end)
        };
        // Each round ends later than the one before, so that it comes to an end.
        while let Some(end) = shift.end
            && let Some(next) = all.iter().find(|next| follows(end, next))
        {
            shift.end = next.end;
        }
    }
    current
}

/// The shifts that count.
///
/// # Errors
/// `ROTATION_UNKNOWN`: a typing error must neither grant a stranger nor look like a gap. `PAGERDUTY_ANSWER_STRANGE`, where a
/// shift does not say what it is part of, and not every part counts.
fn counted_of(counted: &Counted, schedules: Vec<(&ScheduleId, Parts)>) -> Result<Vec<Shift>> {
    if let Some(named) = &counted.rotations {
        check(named, &schedules)?;
    }
    let everything = *counted == Counted::everything();
    let mut all = Vec::new();
    for (id, parts) in schedules {
        for (part, shift) in parts.shifts {
            let counts = match part {
                Part::Whole => true,
                Part::CustomShift => counted.custom_shifts,
                Part::Rotation(rotation) => counted.rotations.as_ref().is_none_or(|named| named.contains(&rotation)),
                // Every part counts, or nobody is on call: the part makes no difference.
                Part::NotSaid if everything || shift.who == Who::Nobody => true,
                Part::NotSaid => return Err(strange(id)),
            };
            if counts {
                all.push(shift);
            }
        }
    }
    Ok(all)
}

/// Each rotation that is named is in a schedule, and each schedule has one that is named.
fn check(named: &BTreeSet<RotationId>, schedules: &[(&ScheduleId, Parts)]) -> Result<()> {
    let is_in_none = |rotation: &&RotationId| !schedules.iter().any(|(_, parts)| parts.rotations.contains(*rotation));
    if let Some(rotation) = named.iter().find(is_in_none) {
        return Err(unknown(format!("None of the binding's schedules has the rotation {rotation}.")));
    }
    match schedules.iter().find(|(_, parts)| parts.rotations.is_disjoint(named)) {
        Some((id, _)) => Err(unknown(format!("The binding names no rotation of schedule {id}."))),
        None => Ok(()),
    }
}

/// No document is to blame.
fn strange(id: &ScheduleId) -> Error {
    Error::new(
        Code::PagerdutyAnswerStrange,
        format!("A shift of schedule {id} does not say what it is part of."),
        "The next tick tries again. If it goes on, report it as a defect of Keyturn; until then take \"rotations\" and \"custom_shifts\" out of the document, if everybody on the schedule may be granted.",
    )
}

fn unknown(what: String) -> Error {
    Error::of(Code::RotationUnknown, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::shift::Email;

    fn shift(part: Part) -> (Part, Shift) {
        let who = Who::Person { id: "P9".try_into().unwrap(), name: None, email: Email::NotSaid };
        (part, Shift { who, start: None, end: None })
    }

    fn rotation(id: &str) -> RotationId {
        id.try_into().unwrap()
    }

    fn counted(rotations: Option<&[&str]>, custom_shifts: bool) -> Counted {
        Counted { rotations: rotations.map(|ids| ids.iter().map(|id| rotation(id)).collect()), custom_shifts }
    }

    #[test]
    fn what_is_not_certain_is_unknown_and_no_gap() {
        let [night, day] = ["P1", "P2"].map(|id| ScheduleId::try_from(id).unwrap());
        let parts = |ids: &[&str], shifts| Parts { rotations: ids.iter().map(|id| rotation(id)).collect(), shifts };
        let both = || {
            vec![shift(Part::Rotation(rotation("R1"))), shift(Part::Rotation(rotation("R2"))), shift(Part::CustomShift)]
        };
        let count = |counted: &Counted, schedules| {
            counted_of(counted, schedules).map(|shifts| shifts.len()).map_err(|why| why.message().to_owned())
        };
        for (case, counts, schedules, expected) in [
            ("one rotation", counted(Some(&["R1"]), true), vec![(&night, parts(&["R1", "R2"], both()))], Ok(2)),
            (
                "one, and nothing beside",
                counted(Some(&["R1"]), false),
                vec![(&night, parts(&["R1", "R2"], both()))],
                Ok(1),
            ),
            ("all, and nothing beside", counted(None, false), vec![(&night, parts(&["R1", "R2"], both()))], Ok(2)),
            ("layers", counted(None, false), vec![(&night, parts(&[], vec![shift(Part::Whole)]))], Ok(1)),
            (
                "not said, and everything counts",
                Counted::everything(),
                vec![(&night, parts(&[], vec![shift(Part::NotSaid)]))],
                Ok(1),
            ),
            (
                "a rotation that is gone",
                counted(Some(&["R1", "R9"]), true),
                vec![(&night, parts(&["R1"], both()))],
                Err("None of the binding's schedules has the rotation R9."),
            ),
            (
                "layers among them",
                counted(Some(&["R1"]), true),
                vec![(&night, parts(&["R1"], both())), (&day, parts(&[], vec![shift(Part::Whole)]))],
                Err("The binding names no rotation of schedule P2."),
            ),
            (
                "not said",
                counted(Some(&["R1"]), true),
                vec![(&night, parts(&["R1"], vec![shift(Part::NotSaid)]))],
                Err("A shift of schedule P1 does not say what it is part of."),
            ),
        ] {
            assert_eq!(count(&counts, schedules), expected.map_err(str::to_owned), "{case}");
        }
    }
}
