//! Who is on call at this instant, by a fresh reading.

use crate::binding::Binding;
use crate::knowledge::{Identity, Reading};
use chrono::{DateTime, Utc};
use keyturn::ids::{OktaId, PersonId};
use std::collections::BTreeMap;

/// Everybody on call now, each once.
pub(super) struct Duty {
    /// When that was read; `None`: it is unknown, and everything else here is empty.
    pub(super) read_at: Option<DateTime<Utc>>,
    /// People whom Okta knows.
    pub(super) people: BTreeMap<OktaId, OnCall>,
    /// People of whom nobody can say who they are at Okta, with the reason.
    pub(super) unresolved: BTreeMap<PersonId, String>,
}

/// One person's time on call.
pub(super) struct OnCall {
    pub(super) person: PersonId,
    /// The earliest start of the shifts that go on now; `None`: always.
    pub(super) start: Option<DateTime<Utc>>,
    /// The latest end of all their shifts; `None`: no end.
    pub(super) end: Option<DateTime<Utc>>,
}

impl Duty {
    pub(super) fn of(binding: &Binding, reading: &Reading, now: DateTime<Utc>) -> Self {
        let mut duty = Self { read_at: None, people: BTreeMap::new(), unresolved: BTreeMap::new() };
        let Some((shifts, read_at)) = reading.fresh(now) else { return duty };
        duty.read_at = Some(read_at);
        for shift in shifts.iter().filter(|shift| shift.covers(now) && !binding.placeholders.contains(&shift.person)) {
            match &shift.okta {
                Identity::Unresolved(why) => {
                    duty.unresolved.insert(shift.person.clone(), why.clone());
                }
                Identity::Unknown(why) => {
                    duty.unresolved.insert(shift.person.clone(), format!("{} ({})", why.message(), why.code()));
                }
                Identity::Known(okta) => {
                    let new = || OnCall { person: shift.person.clone(), start: shift.start, end: shift.end };
                    let on_call = duty.people.entry(okta.clone()).or_insert_with(new);
                    // No start is the earliest of all.
                    on_call.start = on_call.start.min(shift.start);
                    // No end is the latest of all.
                    on_call.end = on_call.end.zip(shift.end).map(|(one, other)| one.max(other));
                    on_call.person = on_call.person.clone().min(shift.person.clone());
                }
            }
        }
        duty
    }

    pub(super) fn is_known(&self) -> bool {
        self.read_at.is_some()
    }

    /// The source says, with authority, that nobody is on call.
    pub(super) fn is_gap(&self) -> bool {
        self.is_known() && self.people.is_empty() && self.unresolved.is_empty()
    }
}
