//! Who is granted and who is revoked: everything about break-glass is decided here, without a clock and without I/O.
//!
//! A grant needs fresh proof, a revoke needs less; what is unknown never empties a group.

mod duty;
mod show;
#[cfg(test)]
mod tests;

pub(crate) use show::Shown;

use crate::binding::{Binding, Outsiders};
use crate::codes::Code;
use crate::ids::{OktaId, PersonId};
use crate::knowledge::{Eligible, Member, Members, Reading};
use crate::ledger::{Gap, Ledger, Origin, Remembered, Row, Told};
use chrono::{DateTime, Utc};
use duty::{Duty, OnCall};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What shall be done about one binding's group, and what shall be remembered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Who leaves, to be done first.
    pub(crate) revokes: Vec<Revoke>,
    /// Who comes in.
    pub(crate) grants: Vec<Grant>,
    /// What a person should know.
    pub(crate) notices: BTreeSet<Notice>,
    /// The ledger to store before anything is done; `Lost`: there is nothing that could be remembered truly.
    pub(crate) intent: Remembered,
}

/// Somebody who leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revoke {
    pub(crate) okta: OktaId,
    pub(crate) reason: Reason,
    /// When they should have left, where there was a time for it.
    pub(crate) due: Option<DateTime<Utc>>,
    /// It was planned, and told, before.
    pub(crate) again: bool,
}

/// Somebody who comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) okta: OktaId,
    /// Who that is at the on-call source; absent for a grant by hand.
    pub(crate) person: Option<PersonId>,
    /// When their shift, or the grant by hand, ends; absent where the shift has no end.
    pub(crate) shift_end: Option<DateTime<Utc>>,
    /// It was planned, and told, before.
    pub(crate) again: bool,
}

/// Why somebody leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The shift is over.
    ShiftEnded,
    /// They were on call without an end, and are not any more.
    LeftSchedule,
    /// Somebody else took the rest of the shift.
    Overridden,
    /// Okta does not let them in any more.
    NotActive,
    /// They are not in the group of eligible people.
    Ineligible,
    /// Nobody but a person at Okta put them there.
    OutOfBand,
    /// The source could not be read for too long.
    Stale,
    /// The source says, again and again, that nobody is on call.
    Gap,
    /// Revoked by hand, or the end of a grant by hand.
    Manual,
}

impl Reason {
    /// As logs, alerts and plans say it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ShiftEnded => "shift_ended",
            Self::LeftSchedule => "left_schedule",
            Self::Overridden => "overridden",
            Self::NotActive => "not_active",
            Self::Ineligible => "ineligible",
            Self::OutOfBand => "out_of_band",
            Self::Stale => "stale",
            Self::Gap => "gap",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a person should know, because the plan alone does not mend it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// More people on call, or more grants, than the binding allows: nobody is granted.
    Brake {
        on_call: usize,
        /// Grants that would have been made.
        grants: usize,
    },
    /// Somebody is on call and gets nothing.
    NotGranted { person: PersonId, why: String },
    /// Somebody is in the group who was not put there by this function, and stays.
    Outsider { okta: OktaId },
    /// There was no ledger.
    LedgerLost,
}

impl Notice {
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Brake { .. } => Code::BrakePulled,
            Self::NotGranted { .. } => Code::OnCallNotGranted,
            Self::Outsider { .. } => Code::OutsiderReported,
            Self::LedgerLost => Code::LedgerLost,
        }
    }
}

impl Notice {
    /// Whom it is about, if anybody.
    #[must_use]
    pub(crate) fn subject(&self) -> &str {
        match self {
            Self::NotGranted { person, .. } => person.as_str(),
            Self::Outsider { okta } => okta.as_str(),
            Self::Brake { .. } | Self::LedgerLost => "",
        }
    }
}

impl Plan {
    /// The ledger to store after these people have left and come in for certain.
    #[must_use]
    pub(crate) fn outcome(
        &self,
        revoked: &BTreeSet<OktaId>,
        granted: &BTreeSet<OktaId>,
        told: &BTreeMap<OktaId, Told>,
    ) -> Remembered {
        let Remembered::Known(mut ledger) = self.intent.clone() else { return Remembered::Lost };
        ledger.rows.retain(|row| !revoked.contains(&row.okta));
        ledger.leaving.retain(|okta| !revoked.contains(okta));
        ledger.tolerated.retain(|okta| !revoked.contains(okta));
        ledger.told.extend(told.clone());
        ledger.told.retain(|okta, _| !revoked.contains(okta) && !granted.contains(okta));
        for row in ledger.rows.iter_mut().filter(|row| granted.contains(&row.okta)) {
            row.intended = false;
        }
        Remembered::Known(ledger)
    }

    /// The same plan with nothing left of it but what was promised before: whoever's shift, or grant by hand, has ended
    /// leaves.
    #[must_use]
    pub(crate) fn only_ends(mut self, now: DateTime<Utc>) -> Self {
        self.grants.clear();
        let shift_goes_on = |okta: &OktaId| match &self.intent {
            Remembered::Known(ledger) => ledger
                .rows_of(okta)
                .any(|row| row.source != Origin::Manual && row.shift_end.is_none_or(|end| now < end)),
            Remembered::Lost => false,
        };
        self.revokes.retain(|revoke| match revoke.reason {
            Reason::ShiftEnded => true,
            // A grant by hand has ended (it was due), or somebody asked for the revoke.
            Reason::Manual => revoke.due.is_none() || !shift_goes_on(&revoke.okta),
            _ => false,
        });
        if let Remembered::Known(intent) = &mut self.intent {
            intent.leaving = self.revokes.iter().map(|revoke| revoke.okta.clone()).collect();
        }
        self
    }

    /// Whether nobody comes or leaves.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.revokes.is_empty() && self.grants.is_empty()
    }
}

/// Plans for one binding.
#[must_use]
pub(crate) fn plan(
    binding: &Binding,
    reading: &Reading,
    members: &Members,
    eligible: &Eligible,
    ledger: &Remembered,
    now: DateTime<Utc>,
) -> Plan {
    let old = match ledger {
        Remembered::Known(ledger) => ledger.clone(),
        Remembered::Lost => Ledger::new(binding.group.clone()),
    };
    let duty = Duty::of(binding, reading, now);
    let case = Case { binding, duty: &duty, eligible, old: &old, lost: *ledger == Remembered::Lost, now };
    match members {
        Members::Complete(members) => case.with_members(members),
        Members::Unknown { .. } => case.without_members(),
    }
}

/// One planning, with everything it looks at.
struct Case<'a> {
    binding: &'a Binding,
    duty: &'a Duty,
    eligible: &'a Eligible,
    old: &'a Ledger,
    lost: bool,
    now: DateTime<Utc>,
}

/// What becomes of somebody who is in the group.
enum Fate {
    Stays,
    /// Stays although nothing but the binding's leniency speaks for it, and is remembered as one who did from the beginning.
    Tolerated,
    /// Stays although nothing but the binding's leniency speaks for it.
    Reported,
    Leaves(Reason, Option<DateTime<Utc>>),
}

impl Case<'_> {
    fn with_members(&self, members: &BTreeMap<OktaId, Member>) -> Plan {
        let mut next = self.next();
        let mut notices = BTreeSet::new();
        let mut revokes = Vec::new();
        for (okta, member) in members.iter().filter(|(okta, _)| !self.binding.keep.contains(okta)) {
            match self.fate(okta, member, &next) {
                Fate::Stays => {}
                Fate::Tolerated => {
                    next.tolerated.insert(okta.clone());
                    notices.insert(Notice::Outsider { okta: okta.clone() });
                }
                Fate::Reported => {
                    notices.insert(Notice::Outsider { okta: okta.clone() });
                }
                Fate::Leaves(reason, due) => {
                    if self.lost {
                        // Should this be cut short, it is still the binding's "adoption" that judges them.
                        next.tolerated.insert(okta.clone());
                    }
                    revokes.push(self.revoke(okta, reason, due));
                }
            }
        }
        revokes.extend(self.unseen(members, &next));
        let grants = self.grants(members, &next, &mut notices);
        self.note_people_without(members, &mut notices);
        if self.lost {
            notices.insert(Notice::LedgerLost);
        }
        self.remember_members(members, &revokes, &mut next);
        self.remember_grants(&grants, &mut next);
        next.leaving = revokes.iter().map(|revoke| revoke.okta.clone()).collect();
        let planned = |okta: &OktaId, told: Told| match told {
            Told::Grant => grants.iter().any(|grant| grant.okta == *okta),
            Told::Revoke => revokes.iter().any(|revoke| revoke.okta == *okta),
        };
        next.told.retain(|okta, told| planned(okta, *told));
        Plan { revokes, grants, notices, intent: Remembered::Known(next) }
    }

    /// People who were to come in and are not in the list, which may lag behind: when they may not be in it any more, they
    /// leave by their id.
    fn unseen(&self, members: &BTreeMap<OktaId, Member>, next: &Ledger) -> Vec<Revoke> {
        let intended: BTreeSet<&OktaId> = next.rows.iter().filter(|row| row.intended).map(|row| &row.okta).collect();
        let unwanted = |okta: &&OktaId| {
            let speaks = || next.rows_of(okta).any(|row| self.speaks_for(row, next));
            next.holds.contains_key(*okta) || !(self.duty.people.contains_key(*okta) || speaks())
        };
        let unseen =
            intended.into_iter().filter(|okta| !members.contains_key(*okta) && !self.binding.keep.contains(*okta));
        let leave = |okta: &OktaId| {
            let (reason, due) = self.why_over(okta);
            self.revoke(okta, reason, due)
        };
        unseen.filter(unwanted).map(leave).collect()
    }

    /// No list to compare with: only those whose time is up, or who were revoked by hand, leave by their id.
    fn without_members(&self) -> Plan {
        if self.lost {
            // To store an empty ledger now would make outsiders of everyone at the next tick.
            let notices = BTreeSet::from([Notice::LedgerLost]);
            return Plan { revokes: Vec::new(), grants: Vec::new(), notices, intent: Remembered::Lost };
        }
        let mut next = self.next();
        // Whoever was revoked by hand and is perhaps not out yet may have no row.
        let revoked_by_hand = next.leaving.iter().filter(|okta| next.holds.contains_key(*okta));
        let people: BTreeSet<&OktaId> = next.rows.iter().map(|row| &row.okta).chain(revoked_by_hand).collect();
        let mut revokes = Vec::new();
        for okta in people.into_iter().filter(|okta| !self.binding.keep.contains(okta)) {
            let held = next.holds.contains_key(okta);
            let on_call = self.duty.people.contains_key(okta) && !self.eligible.excludes(okta);
            let managed = next.rows_of(okta).next().is_some();
            let time_is_up = managed && next.rows_of(okta).all(|row| row.is_over(self.now));
            let left_to_adoption = self.duty.is_known() && next.is_adopted(okta);
            if held {
                revokes.push(self.revoke(okta, Reason::Manual, None));
            } else if time_is_up && !on_call && !left_to_adoption {
                let (reason, due) = self.why_over(okta);
                revokes.push(self.revoke(okta, reason, due));
            }
        }
        next.leaving.extend(revokes.iter().map(|revoke| revoke.okta.clone()));
        Plan { revokes, grants: Vec::new(), notices: BTreeSet::new(), intent: Remembered::Known(next) }
    }

    /// The ledger after this reading, before anybody comes or leaves.
    fn next(&self) -> Ledger {
        let mut next = self.old.clone();
        let now = self.now;
        if let Some(read_at) = self.duty.read_at {
            next.confirmed_at = Some(read_at);
            next.gap = self.gap(read_at);
            for row in &mut next.rows {
                let confirmed = row.source != Origin::Manual && !self.eligible.excludes(&row.okta);
                if let Some(on_call) = self.duty.people.get(&row.okta).filter(|_| confirmed) {
                    row.source = Origin::Oncall;
                    row.person = Some(on_call.person.clone());
                    row.shift_end = on_call.end;
                    row.expires_at = self.expiry(on_call.end);
                }
            }
        }
        next.holds.retain(|okta, hold| {
            let on_call = self.duty.people.contains_key(okta);
            // The revoke that the hold came with is not done yet.
            let unfinished = self.old.leaving.contains(okta) && !on_call;
            let goes_on = match hold.until {
                Some(until) => now < until,
                // Whoever could not be told apart this time may still be the one who is held.
                None => !self.duty.is_known() || on_call || !self.duty.unresolved.is_empty(),
            };
            goes_on || unfinished
        });
        // A second row of one kind says nothing that the first does not.
        let mut seen = BTreeSet::new();
        next.rows.retain(|row| seen.insert((row.okta.clone(), row.source)));
        next
    }

    fn gap(&self, read_at: DateTime<Utc>) -> Option<Gap> {
        if !self.duty.is_gap() || !self.old.rows.iter().any(|row| row.source != Origin::Manual) {
            return None;
        }
        match &self.old.gap {
            Some(gap) if read_at <= gap.last => Some(gap.clone()),
            Some(gap) if gap.readings >= self.binding.gap_confirm_runs => Some(gap.clone()),
            Some(gap) => Some(Gap { readings: gap.readings + 1, last: read_at }),
            None => Some(Gap { readings: 1, last: read_at }),
        }
    }

    fn expiry(&self, shift_end: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let stale = self.now + self.binding.max_stale;
        shift_end.map_or(stale, |end| stale.min(end + self.binding.post_shift))
    }

    fn fate(&self, okta: &OktaId, member: &Member, next: &Ledger) -> Fate {
        let mut rows = next.rows_of(okta).peekable();
        let managed = rows.peek().is_some();
        let on_call = self.duty.people.contains_key(okta);
        if next.holds.contains_key(okta) {
            return Fate::Leaves(Reason::Manual, None);
        }
        // What Okta itself says of somebody needs no word from PagerDuty, but for people nobody speaks for it changes nothing.
        if on_call || !next.is_adopted(okta) {
            if self.eligible.excludes(okta) {
                return Fate::Leaves(Reason::Ineligible, None);
            }
            if !member.active {
                return Fate::Leaves(Reason::NotActive, None);
            }
        }
        if on_call || rows.any(|row| self.speaks_for(row, next)) {
            return Fate::Stays;
        }
        if managed && !next.is_adopted(okta) {
            let (reason, due) = self.why_over(okta);
            return Fate::Leaves(reason, due);
        }
        self.fate_of_outsider(okta, managed)
    }

    /// In the group, not on call, and never put there by this function.
    fn fate_of_outsider(&self, okta: &OktaId, adopted: bool) -> Fate {
        let expired = self.old.rows_of(okta).any(|row| row.is_over(self.now));
        if !self.duty.is_known() {
            // Whether they are on call nobody can say; those adopted in such a time leave when theirs is up.
            return match adopted {
                true if expired => Fate::Leaves(Reason::Stale, self.due_of(okta)),
                true => Fate::Stays,
                false if self.lost => Fate::Stays,
                false if self.old.tolerated.contains(okta) => Fate::Tolerated,
                false => Fate::Reported,
            };
        }
        let from_the_beginning = self.lost || adopted || self.old.tolerated.contains(okta);
        match (self.binding.adoption, self.binding.out_of_band) {
            (Outsiders::Report, _) if from_the_beginning => Fate::Tolerated,
            (_, Outsiders::Report) if !from_the_beginning => Fate::Reported,
            _ => Fate::Leaves(Reason::OutOfBand, None),
        }
    }

    /// Whether a row keeps its person in the group although the source does not name them now.
    fn speaks_for(&self, row: &Row, next: &Ledger) -> bool {
        if row.is_over(self.now) {
            return false;
        }
        match row.source {
            Origin::Manual => true,
            Origin::Adopted => !self.duty.is_known(),
            Origin::Oncall if !self.duty.is_known() => true,
            Origin::Oncall => {
                let shift_is_over = row.shift_end.is_some_and(|end| end <= self.now);
                // Not over by its expiry, so this is the time after the shift that the binding allows.
                shift_is_over
                    || row.person.as_ref().is_some_and(|id| self.duty.unresolved.contains_key(id))
                    || next.gap.as_ref().is_some_and(|gap| gap.readings < self.binding.gap_confirm_runs)
            }
        }
    }

    /// Why somebody whose rows speak for them no longer has to go, and since when.
    fn why_over(&self, okta: &OktaId) -> (Reason, Option<DateTime<Utc>>) {
        let row = self.old.rows_of(okta).max_by_key(|row| row.expires_at);
        let due = self.due_of(okta);
        let Some(row) = row else { return (Reason::OutOfBand, None) };
        if row.source == Origin::Manual {
            return (Reason::Manual, due);
        }
        if row.shift_end.is_some_and(|end| end <= self.now) {
            return (Reason::ShiftEnded, due);
        }
        if !self.duty.is_known() {
            return (Reason::Stale, due);
        }
        let reason = match row.shift_end {
            _ if self.duty.is_gap() => Reason::Gap,
            Some(_) => Reason::Overridden,
            None => Reason::LeftSchedule,
        };
        (reason, None)
    }

    /// When the last of somebody's rows ended.
    fn due_of(&self, okta: &OktaId) -> Option<DateTime<Utc>> {
        let ends = self.old.rows_of(okta).map(|row| match row.shift_end {
            Some(end) => row.expires_at.min(end + self.binding.post_shift),
            None => row.expires_at,
        });
        ends.max().filter(|end| *end <= self.now)
    }

    fn revoke(&self, okta: &OktaId, reason: Reason, due: Option<DateTime<Utc>>) -> Revoke {
        Revoke { okta: okta.clone(), reason, due, again: self.old.told.get(okta) == Some(&Told::Revoke) }
    }

    /// On call, and allowed to be.
    fn wanted(&self, next: &Ledger) -> BTreeMap<&OktaId, &OnCall> {
        let allowed = |okta: &OktaId| {
            !next.holds.contains_key(okta) && !self.eligible.excludes(okta) && !self.binding.keep.contains(okta)
        };
        self.duty.people.iter().filter(|(okta, _)| allowed(okta)).collect()
    }

    fn grants(&self, members: &BTreeMap<OktaId, Member>, next: &Ledger, notices: &mut BTreeSet<Notice>) -> Vec<Grant> {
        let wanted = self.wanted(next);
        let grants: Vec<Grant> = wanted
            .iter()
            .filter(|(okta, _)| !members.contains_key(**okta) && self.eligible.admits(okta))
            .map(|(okta, on_call)| Grant {
                okta: (*okta).clone(),
                person: Some(on_call.person.clone()),
                shift_end: on_call.end,
                again: self.old.told.get(*okta) == Some(&Told::Grant),
            })
            .collect();
        let on_call = wanted.len() + self.duty.unresolved.len();
        if on_call > self.binding.max_members || grants.len() > self.binding.max_new_per_run {
            notices.insert(Notice::Brake { on_call, grants: grants.len() });
            return Vec::new();
        }
        grants
    }

    /// People on call who get nothing, each with the reason.
    fn note_people_without(&self, members: &BTreeMap<OktaId, Member>, notices: &mut BTreeSet<Notice>) {
        let stays =
            |id: &PersonId| self.old.rows.iter().any(|row| row.person.as_ref() == Some(id) && !row.is_over(self.now));
        for (person, why) in self.duty.unresolved.iter().filter(|(id, _)| !stays(id)) {
            notices.insert(Notice::NotGranted { person: person.clone(), why: why.clone() });
        }
        for (okta, on_call) in &self.duty.people {
            let why = match self.eligible {
                _ if self.binding.keep.contains(okta) && members.contains_key(okta) => continue,
                _ if self.binding.keep.contains(okta) => "in \"keep\": never granted",
                _ if self.eligible.excludes(okta) => "not in the group of eligible people",
                Eligible::Unknown { .. } if !members.contains_key(okta) => {
                    "the group of eligible people could not be read"
                }
                _ => continue,
            };
            notices.insert(Notice::NotGranted { person: on_call.person.clone(), why: why.to_owned() });
        }
    }

    /// Brings the rows in line with who is in the group.
    fn remember_members(&self, members: &BTreeMap<OktaId, Member>, revokes: &[Revoke], next: &mut Ledger) {
        let leaving: BTreeSet<&OktaId> = revokes.iter().map(|revoke| &revoke.okta).collect();
        next.tolerated.retain(|okta| members.contains_key(okta) && !self.duty.people.contains_key(okta));
        let gone_on = next.clone();
        next.rows.retain(|row| {
            let on_call = row.source != Origin::Manual && self.duty.people.contains_key(&row.okta);
            let needed = leaving.contains(&row.okta) || on_call || self.speaks_for(row, &gone_on);
            needed && !self.binding.keep.contains(&row.okta)
        });
        for row in next.rows.iter_mut().filter(|row| members.contains_key(&row.okta)) {
            row.intended = false;
        }
        let new = members.keys().filter(|okta| !self.binding.keep.contains(okta) && !leaving.contains(okta));
        for okta in new {
            if next.rows_of(okta).any(|row| row.source != Origin::Manual) {
                continue;
            }
            if let Some(on_call) = self.duty.people.get(okta) {
                next.rows.push(self.row(okta, on_call, false));
            } else if self.lost && !self.duty.is_known() {
                next.rows.push(self.adopted(okta));
            }
        }
    }

    fn remember_grants(&self, grants: &[Grant], next: &mut Ledger) {
        for grant in grants {
            if next.rows_of(&grant.okta).any(|row| row.source != Origin::Manual) {
                continue;
            }
            if let Some(on_call) = self.duty.people.get(&grant.okta) {
                next.rows.push(self.row(&grant.okta, on_call, true));
            }
        }
        let granted: BTreeSet<&OktaId> = grants.iter().map(|grant| &grant.okta).collect();
        for row in next.rows.iter_mut().filter(|row| granted.contains(&row.okta)) {
            row.intended = true;
        }
        next.rows.sort_by(|a, b| (&a.okta, a.source).cmp(&(&b.okta, b.source)));
    }

    fn row(&self, okta: &OktaId, on_call: &OnCall, intended: bool) -> Row {
        Row {
            okta: okta.clone(),
            person: Some(on_call.person.clone()),
            source: Origin::Oncall,
            granted_at: self.now,
            shift_end: on_call.end,
            expires_at: self.expiry(on_call.end),
            reason: String::new(),
            intended,
        }
    }

    fn adopted(&self, okta: &OktaId) -> Row {
        Row {
            okta: okta.clone(),
            person: None,
            source: Origin::Adopted,
            granted_at: self.now,
            shift_end: None,
            expires_at: self.now + self.binding.max_stale,
            reason: String::new(),
            intended: false,
        }
    }
}
