//! Who is granted and who is revoked: everything about break-glass is decided here, without a clock and without I/O.
//!
//! A grant needs fresh proof, a revoke needs less; what is unknown never empties a group.
//!
//! Every person is in one state of `ledger`. This is the table of its transitions; the first line that fits counts, and a
//! person in the binding's `keep` is in none, but that a hold goes on.
//!
//! | state | what is known now | next state | done to the group |
//! |---|---|---|---|
//! | any | no version of the ledger can be read, for less than 24 h | any | |
//! | any | no version of the ledger can be read, for 24 h; inside; by a reading that says who everybody is, not on call, not eligible, or not let in by Okta | any | removed |
//! | any | no version of the ledger can be read | any | |
//! | of a later version of Keyturn | | the same | |
//! | `held` | on call; or nobody can say whether they are; or the shift's end is to come | `held` | removed if inside |
//! | `held` | the shift is over, and the removal was never seen | `leaving` (manual) | removed |
//! | `held` | the shift is over | as if there were no record | |
//! | any | on call, not eligible, or Okta does not let them in | `leaving` if inside, or never seen inside | removed |
//! | `leaving` | on call, and the group cannot be listed | `leaving` | |
//! | any | on call, inside | `granted` | |
//! | any | on call, outside, eligible, no brake | `granted` | added |
//! | `granted` | inside, and not eligible, or Okta does not let them in | `leaving` | removed |
//! | `granted` | a claim goes on | `granted` | |
//! | `granted` | no claim goes on, inside or never seen inside | `leaving` | removed |
//! | `granted` | no claim goes on, outside | none | |
//! | `adopted` | nobody can say who is on call, and its time is not up | `adopted` | |
//! | `adopted` | nobody can say who is on call, and its time is up | `leaving` (stale) | removed |
//! | `adopted`, `tolerated` | inside | `tolerated`, or `leaving` (out of band) by `adoption` | removed if leaving |
//! | `leaving` | inside, or the group cannot be listed | `leaving` | removed |
//! | `leaving` | outside | `left` until every channel has taken the alert | |
//! | none | inside; first run; nobody can say who is on call | `adopted` | |
//! | none | inside; first run | `tolerated`, or `leaving` (out of band) by `adoption` | removed if leaving |
//! | none | inside | none, or `leaving` (out of band) by `out_of_band`, once the source was read | removed if leaving |
//!
//! Nobody can say who is on call while the source cannot be read. Where `adoption` is `revoke`, that is so also while
//! somebody on call is unresolved, and until `gap_confirm_runs` readings in a row have found nobody.
//!
//! Where the group cannot be listed nobody is added, and a claim ends by its time alone.

mod ahead;
pub(crate) mod by_hand;
mod duty;
mod show;
#[cfg(test)]
mod tests;

pub(crate) use ahead::{Ahead, Warning, ahead};
pub(crate) use show::lines;

use crate::binding::{Binding, Outsiders};
use crate::codes::Code;
use crate::knowledge::{Eligible, Identity, Member, Members, Reading, Standing};
use chrono::{DateTime, TimeDelta, Utc};
use duty::{Duty, OnCall};
use keyturn::ids::{OktaId, PersonId};
use keyturn::ledger::{Change, Gap, Granted, Hold, Leaving, Ledger, Person, Reason, Remembered, ShiftClaim, State};
use std::collections::{BTreeMap, BTreeSet};

/// Nobody stays longer than this after the last reading because the document is bad.
const LONGEST_WITHOUT_DOCUMENT: TimeDelta = TimeDelta::hours(24);
/// For how long members stay while no version of the ledger can be read.
const LONGEST_WITHOUT_LEDGER: TimeDelta = TimeDelta::hours(24);
/// How long a channel that takes nothing is tried for somebody who has left.
const TOLD_FOR: TimeDelta = TimeDelta::hours(24);

/// What shall be done about one binding's group, and what shall be remembered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Who leaves, to be done first.
    pub(crate) revokes: Vec<Revoke>,
    /// Who comes in.
    pub(crate) grants: Vec<Grant>,
    /// Changes of earlier ticks that the group shows now.
    pub(crate) settled: Vec<Settled>,
    /// What a person should know.
    pub(crate) notices: BTreeSet<Notice>,
    /// The ledger to store before anything is done. Where there is none, there is nothing that could be remembered truly.
    pub(crate) intent: Remembered,
}

/// Somebody who leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revoke {
    pub(crate) okta: OktaId,
    pub(crate) reason: Reason,
    /// When they should have left, where there was a time for it.
    pub(crate) due: Option<DateTime<Utc>>,
    /// When it was decided.
    pub(crate) since: DateTime<Utc>,
}

impl Revoke {
    /// How long the person has stayed past the end of their right.
    pub(crate) fn overstay(&self, now: DateTime<Utc>) -> TimeDelta {
        (now - self.due.unwrap_or(self.since)).max(TimeDelta::zero())
    }
}

/// Somebody who comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) okta: OktaId,
    /// Who that is at the on-call source; absent for a grant by hand.
    pub(crate) person: Option<PersonId>,
    /// When their shift, or the grant by hand, ends; absent where the shift has no end.
    pub(crate) until: Option<DateTime<Utc>>,
    /// For logs and alerts.
    pub(crate) why: String,
}

/// A change of an earlier tick that is seen to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Granted(OktaId),
    Revoked(Revoke),
}

impl Settled {
    /// The Okta user who was added or removed.
    pub(crate) fn okta(&self) -> &OktaId {
        let (Self::Granted(okta) | Self::Revoked(Revoke { okta, .. })) = self;
        okta
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
    /// A grant by hand was announced, and the group does not show it.
    NotGrantedByHand { okta: OktaId, why: String },
    /// Somebody is to leave and could not be removed.
    NotRevoked { okta: OktaId, why: String },
    /// Somebody is in the group who was not put there by this function, and stays.
    Outsider { okta: OktaId },
    /// A later version of Keyturn put somebody into a state that this one does not know.
    StateUnknown { okta: OktaId },
    /// There was no ledger.
    LedgerLost,
    /// There is a ledger that cannot be read, or is not the last one; perhaps an earlier version of it counts.
    LedgerUnreadable { restored: bool },
}

impl Notice {
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Brake { .. } => Code::BrakePulled,
            Self::NotGranted { .. } => Code::OnCallNotGranted,
            Self::NotGrantedByHand { .. } => Code::ChangeUnfinished,
            Self::NotRevoked { .. } => Code::NotRevoked,
            Self::Outsider { .. } => Code::OutsiderReported,
            Self::StateUnknown { .. } => Code::StateUnknown,
            Self::LedgerLost => Code::LedgerLost,
            Self::LedgerUnreadable { .. } => Code::LedgerUnreadable,
        }
    }

    /// Whom it is about, if anybody.
    #[must_use]
    pub(crate) fn subject(&self) -> &str {
        match self {
            Self::NotGranted { person, .. } => person.as_str(),
            Self::Outsider { okta }
            | Self::NotGrantedByHand { okta, .. }
            | Self::NotRevoked { okta, .. }
            | Self::StateUnknown { okta } => okta.as_str(),
            Self::Brake { .. } | Self::LedgerLost | Self::LedgerUnreadable { .. } => "",
        }
    }
}

impl Plan {
    /// A plan that changes nothing.
    #[must_use]
    pub(crate) fn quiet(intent: Remembered) -> Self {
        Self { revokes: Vec::new(), grants: Vec::new(), settled: Vec::new(), notices: BTreeSet::new(), intent }
    }

    /// Whether nobody comes or leaves.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.revokes.is_empty() && self.grants.is_empty()
    }
}

/// Everything that is known of one binding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) binding: &'a Binding,
    pub(crate) standing: Standing,
    pub(crate) reading: &'a Reading,
    pub(crate) members: &'a Members,
    pub(crate) eligible: &'a Eligible,
    pub(crate) ledger: &'a Remembered,
    pub(crate) now: DateTime<Utc>,
}

/// Plans for one binding.
#[must_use]
pub(crate) fn plan(facts: Facts<'_>) -> Plan {
    let old = match (facts.ledger, facts.members) {
        (Remembered::Known(ledger), _) => ledger,
        (Remembered::Never(first), Members::Complete(_)) => first,
        // To store an empty ledger now would make outsiders of everyone at the next tick.
        (Remembered::Never(_), Members::Unknown { .. }) => return noted(facts.ledger, Notice::LedgerLost),
        (Remembered::Unreadable { since }, _) => return without_ledger(facts, *since),
    };
    decide(facts, old)
}

fn decide(facts: Facts<'_>, old: &Ledger) -> Plan {
    let duty = Duty::of(facts.binding, facts.reading, facts.now);
    let gap = gap(facts, &duty, old);
    Case { facts, duty: &duty, old, gap }.plan()
}

/// The ledger has the holds and the grants by hand, so without it the plan grants and adopts nobody. 24 hours after the
/// parameter was last written, the plan revokes every member whom the reading does not allow.
fn without_ledger(facts: Facts<'_>, since: Option<DateTime<Utc>>) -> Plan {
    let noted = noted(facts.ledger, Notice::LedgerUnreadable { restored: false });
    let is_long_ago = since.is_some_and(|since| facts.now - since >= LONGEST_WITHOUT_LEDGER);
    // A shift without a known Okta user may be any member's. The ledger counts the readings in a row that name nobody, so
    // a single one is no gap.
    let duty = Duty::of(facts.binding, facts.reading, facts.now);
    let is_clear = match facts.reading {
        Reading::Known { shifts, .. } => shifts.iter().all(|shift| matches!(shift.okta, Identity::Known(_))),
        Reading::Unknown { .. } => false,
    };
    if !is_long_ago || !is_clear || duty.is_gap() {
        return noted;
    }
    let binding = Binding { out_of_band: Outsiders::Revoke, ..facts.binding.clone() };
    let revokes = decide(Facts { binding: &binding, ..facts }, &Ledger::new(binding.group.clone())).revokes;
    Plan { revokes, ..noted }
}

fn noted(ledger: &Remembered, notice: Notice) -> Plan {
    Plan { notices: BTreeSet::from([notice]), ..Plan::quiet(ledger.clone()) }
}

/// The readings in a row that found nobody on call, as long as it depends on them whether somebody stays.
fn gap(facts: Facts<'_>, duty: &Duty, old: &Ledger) -> Option<Gap> {
    let Some(read_at) = duty.read_at else { return old.gap.clone() };
    let depends = |person: &Person| person.on_call().is_some() || matches!(person.state, State::Adopted { .. });
    let found = facts.members.listed().is_some_and(|members| !members.is_empty());
    let is_adopting =
        matches!(facts.ledger, Remembered::Never(_)) && facts.binding.adoption == Outsiders::Revoke && found;
    if !duty.is_gap() || !is_adopting && !old.people.values().any(depends) {
        return None;
    }
    match &old.gap {
        Some(gap) if read_at <= gap.last || gap.readings >= facts.binding.gap_confirm_runs => Some(gap.clone()),
        Some(gap) => Some(Gap { readings: gap.readings + 1, last: read_at }),
        None => Some(Gap { readings: 1, last: read_at }),
    }
}

/// What an earlier tick did to somebody, where the group shows it now.
fn settled(ledger: &Ledger, okta: &OktaId, presence: Presence<'_>) -> Option<Settled> {
    let revoked = |reason, due, since| Settled::Revoked(Revoke { okta: okta.clone(), reason, due, since });
    match (ledger.state(okta)?, presence) {
        (State::Granted(granted), Presence::Inside(_)) if !granted.shown => Some(Settled::Granted(okta.clone())),
        (State::Leaving(leaving), Presence::Outside) => Some(revoked(leaving.reason, leaving.due, leaving.since)),
        (State::Held(hold), Presence::Outside) if !hold.out => Some(revoked(Reason::Manual, None, hold.since)),
        _ => None,
    }
}

/// Whether somebody was granted, and the group has never shown them, and does not now.
fn is_never_seen(state: Option<&State>, presence: Presence<'_>) -> bool {
    matches!((state, presence), (Some(State::Granted(granted)), Presence::Outside) if !granted.shown)
}

/// One planning, with everything it looks at.
struct Case<'a> {
    facts: Facts<'a>,
    duty: &'a Duty,
    old: &'a Ledger,
    gap: Option<Gap>,
}

/// Where somebody is.
#[derive(Clone, Copy)]
enum Presence<'a> {
    Inside(&'a Member),
    Outside,
    /// The group cannot be listed.
    Unknown,
}

impl<'a> Presence<'a> {
    fn of(okta: &OktaId, members: &'a Members) -> Self {
        members.listed().map_or(Self::Unknown, |members| members.get(okta).map_or(Self::Outside, Self::Inside))
    }
}

/// What becomes of somebody.
enum Next {
    /// Nothing is done; this state, if any, is remembered.
    Stays(Option<State>),
    /// In the group, not put there by this function, and nothing is done about it.
    Outsider(Option<State>),
    /// Nothing is done, as nobody knows what the state means.
    Unknown,
    /// Is added to the group and gets the first state, or, where a brake forbids it, the second.
    Comes(Granted, Option<State>),
    /// Is removed from the group.
    Leaves(Leaving),
    /// Is removed from the group, or was, and is not put back.
    Held(Hold),
}

impl Case<'_> {
    fn plan(&self) -> Plan {
        let mut next = self.old.clone();
        next.confirmed_at = self.duty.read_at.or(next.confirmed_at);
        next.gap.clone_from(&self.gap);
        let mut plan = Plan::quiet(self.facts.ledger.clone());
        let mut comes = Vec::new();
        next.people.retain(|okta, person| !self.facts.binding.keep.contains(okta) || self.is_still_held(okta, person));
        for okta in self.people() {
            let presence = Presence::of(okta, self.facts.members);
            plan.settled.extend(settled(self.old, okta, presence));
            match self.next(okta, presence) {
                Next::Stays(state) => self.remember(okta, state, &mut next),
                Next::Outsider(state) => {
                    plan.notices.insert(Notice::Outsider { okta: okta.clone() });
                    self.remember(okta, state, &mut next);
                }
                Next::Unknown => _ = plan.notices.insert(Notice::StateUnknown { okta: okta.clone() }),
                Next::Comes(granted, otherwise) => comes.push((okta, granted, otherwise)),
                Next::Leaves(leaving) => plan.revokes.push(self.leaves(okta, leaving, &mut next)),
                Next::Held(hold) => plan.revokes.extend(self.hold(okta, hold, &mut next)),
            }
            // Of those who were there before the names would fill the parameter.
            if let (Presence::Inside(member), Some(person)) = (presence, next.people.get_mut(okta))
                && person.state != State::Tolerated
            {
                person.login.clone_from(&member.login);
                person.email.clone_from(&member.email);
            }
        }
        let brake = self.brake(comes.len());
        for (okta, granted, otherwise) in comes {
            match brake {
                Some(_) => self.remember(okta, otherwise, &mut next),
                None => plan.grants.push(self.comes(okta, granted, &mut next)),
            }
        }
        plan.notices.extend(brake);
        self.note_people_without(&mut plan.notices);
        if matches!(self.facts.ledger, Remembered::Never(_)) {
            plan.notices.insert(Notice::LedgerLost);
        }
        if std::mem::take(&mut next.restored) {
            plan.notices.insert(Notice::LedgerUnreadable { restored: true });
        }
        plan.intent = Remembered::Known(next);
        plan
    }

    /// Everybody of whom something is known.
    fn people(&self) -> BTreeSet<&OktaId> {
        let mut people: BTreeSet<&OktaId> = self.old.people.keys().chain(self.duty.people.keys()).collect();
        people.extend(self.facts.members.listed().into_iter().flat_map(BTreeMap::keys));
        people.retain(|okta| !self.facts.binding.keep.contains(*okta));
        people
    }

    fn next(&self, okta: &OktaId, presence: Presence<'_>) -> Next {
        let on_call = self.duty.people.get(okta);
        let mut state = self.old.state(okta);
        if let Some(State::Other(_)) = state {
            return Next::Unknown;
        }
        if let Some(State::Held(hold)) = state {
            if let Some(hold) = self.goes_on(hold, on_call, presence) {
                return Next::Held(hold);
            }
            if !hold.out && !matches!(presence, Presence::Outside) {
                return Next::Leaves(Leaving { reason: Reason::Manual, since: hold.since, due: None });
            }
            state = None;
        }
        match (on_call, state) {
            (Some(on_call), _) => self.next_of_on_call(okta, on_call, state, presence),
            (None, Some(State::Granted(granted))) => self.next_of_granted(okta, granted, presence),
            (None, Some(State::Adopted { until })) => self.next_of_adopted(*until, presence),
            (None, Some(State::Leaving(leaving))) => match presence {
                Presence::Outside => Next::Stays(Some(State::Left { at: self.facts.now })),
                Presence::Inside(_) | Presence::Unknown => Next::Leaves(leaving.clone()),
            },
            (None, Some(State::Tolerated)) => match presence {
                Presence::Inside(_) => self.next_of_outsider(true),
                Presence::Outside => Next::Stays(None),
                Presence::Unknown => Next::Stays(Some(State::Tolerated)),
            },
            (None, Some(State::Left { .. } | State::Held(_) | State::Other(_)) | None) => match presence {
                Presence::Inside(_) => self.next_of_stranger(),
                Presence::Outside | Presence::Unknown => Next::Stays(None),
            },
        }
    }

    /// The hold, if it goes on: until a reading shows that the person is not on call, after the end that the source named
    /// last. An entry that begins after that end is no proof of another shift: between two readings that name the person,
    /// other entries may have followed each other without a break.
    fn goes_on(&self, hold: &Hold, on_call: Option<&OnCall>, presence: Presence<'_>) -> Option<Hold> {
        let mut next = hold.clone();
        match presence {
            Presence::Inside(_) => next.out = false,
            Presence::Outside => next.out = true,
            Presence::Unknown => {}
        }
        if let Some(on_call) = on_call {
            // An override cuts what is named now, and not the shift: the end only moves on.
            next.until = hold.until.zip(on_call.end).map(|(until, end)| until.max(end)).or(hold.until).or(on_call.end);
            next.person = Some(on_call.person.clone());
            return Some(next);
        }
        let unresolved = &self.duty.unresolved;
        // A hold without `person`, which PagerDuty has not named yet, may be about any shift whose Okta user is unresolved.
        let may_be_on_call =
            hold.person.as_ref().map_or(!unresolved.is_empty(), |person| unresolved.contains_key(person));
        let is_over = self.duty.is_known() && hold.until.is_none_or(|until| until <= self.facts.now) && !may_be_on_call;
        (!is_over).then_some(next)
    }

    /// Whether a hold of somebody in `keep` goes on, for when they are taken out of it. Until then nobody removes them.
    fn is_still_held(&self, okta: &OktaId, person: &mut Person) -> bool {
        let State::Held(hold) = &person.state else { return false };
        let presence = Presence::of(okta, self.facts.members);
        let Some(hold) = self.goes_on(hold, self.duty.people.get(okta), presence) else { return false };
        person.state = State::Held(Hold { out: true, ..hold });
        true
    }

    fn next_of_on_call(&self, okta: &OktaId, on_call: &OnCall, state: Option<&State>, presence: Presence<'_>) -> Next {
        let old = match state {
            Some(State::Granted(granted)) => Some(granted),
            _ => None,
        };
        let refused = match presence {
            _ if self.facts.eligible.excludes(okta) => Some(Reason::Ineligible),
            Presence::Inside(member) if !member.may_stay => Some(Reason::NotActive),
            _ => None,
        };
        let granted = |shown| self.granted(on_call, old, shown);
        match (refused, presence) {
            (Some(reason), Presence::Inside(_)) => self.leaves_now(okta, reason),
            // Perhaps the list lags behind.
            (Some(reason), Presence::Outside) if old.is_some_and(|old| !old.shown) => self.leaves_now(okta, reason),
            (Some(_), Presence::Outside) => Next::Stays(None),
            (Some(_), Presence::Unknown) => match state {
                Some(State::Granted(old)) => self.next_of_granted(okta, old, presence),
                Some(State::Leaving(leaving)) => Next::Leaves(leaving.clone()),
                other => Next::Stays(other.cloned()),
            },
            (None, Presence::Inside(_)) => Next::Stays(Some(State::Granted(granted(true)))),
            (None, Presence::Outside) => {
                let otherwise = old.map(|old| State::Granted(granted(old.shown)));
                if self.facts.eligible.admits(okta) {
                    Next::Comes(granted(false), otherwise)
                } else {
                    Next::Stays(otherwise)
                }
            }
            (None, Presence::Unknown) => match state {
                Some(State::Granted(old)) => Next::Stays(Some(State::Granted(granted(old.shown)))),
                Some(State::Adopted { .. }) => Next::Stays(Some(State::Granted(granted(true)))),
                other => Next::Stays(other.cloned()),
            },
        }
    }

    fn granted(&self, on_call: &OnCall, old: Option<&Granted>, shown: bool) -> Granted {
        let claim =
            ShiftClaim { person: on_call.person.clone(), shift_end: on_call.end, until: self.expiry(on_call.end) };
        Granted {
            since: old.map_or(self.facts.now, |old| old.since),
            on_call: Some(claim),
            by_hand: old.and_then(|old| old.by_hand.clone()).filter(|claim| self.facts.now < claim.until),
            shown,
        }
    }

    fn expiry(&self, shift_end: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let stale = self.facts.now + self.facts.binding.max_stale;
        shift_end.map_or(stale, |end| stale.min(end + self.facts.binding.post_shift))
    }

    /// Granted, and not on call by a fresh reading.
    fn next_of_granted(&self, okta: &OktaId, granted: &Granted, presence: Presence<'_>) -> Next {
        // What Okta itself says of somebody needs no word from the source.
        if let Presence::Inside(member) = presence {
            if self.facts.eligible.excludes(okta) {
                return self.leaves_now(okta, Reason::Ineligible);
            }
            if !member.may_stay {
                return self.leaves_now(okta, Reason::NotActive);
            }
        }
        let mut goes_on = granted.clone();
        goes_on.by_hand = goes_on.by_hand.filter(|claim| self.facts.now < claim.until);
        goes_on.on_call = goes_on.on_call.filter(|claim| self.speaks(claim, presence));
        goes_on.shown |= matches!(presence, Presence::Inside(_));
        match presence {
            _ if goes_on.by_hand.is_some() || goes_on.on_call.is_some() => Next::Stays(Some(State::Granted(goes_on))),
            Presence::Outside if granted.shown => Next::Stays(None),
            // Never seen inside: the list may lag behind, so they leave by their id.
            _ => Next::Leaves(self.why_over(granted)),
        }
    }

    /// Whether a claim keeps its person in the group although the source does not name them now.
    fn speaks(&self, claim: &ShiftClaim, presence: Presence<'_>) -> bool {
        if self.end_of(claim) <= self.facts.now {
            return false;
        }
        if !self.duty.is_known() || matches!(presence, Presence::Unknown) {
            return true;
        }
        // Its end is to come, so after the shift this is the time that the binding allows.
        claim.shift_end.is_some_and(|end| end <= self.facts.now)
            || self.duty.unresolved.contains_key(&claim.person)
            || self.gap.as_ref().is_some_and(|gap| gap.readings < self.facts.binding.gap_confirm_runs)
    }

    /// When a claim ends. While the document is bad nobody grows stale: they stay to the end of the shift that was read
    /// last, and no longer than a day after that reading.
    fn end_of(&self, claim: &ShiftClaim) -> DateTime<Utc> {
        if self.facts.standing != Standing::Refused {
            return claim.until;
        }
        let read_at = self.old.confirmed_at.unwrap_or(claim.until);
        let longest = read_at + LONGEST_WITHOUT_DOCUMENT;
        claim.until.max(claim.shift_end.map_or(longest, |end| end.min(longest)))
    }

    /// Why somebody whose claims are over has to go, and since when.
    fn why_over(&self, granted: &Granted) -> Leaving {
        let now = self.facts.now;
        let end_of_shift = |claim: &ShiftClaim| {
            let end = self.end_of(claim);
            claim.shift_end.map_or(end, |shift_end| end.min(shift_end + self.facts.binding.post_shift))
        };
        let ends = [granted.on_call.as_ref().map(end_of_shift), granted.by_hand.as_ref().map(|claim| claim.until)];
        let due = ends.into_iter().flatten().max().filter(|end| *end <= now);
        let last_by_hand = granted.by_hand.as_ref().map(|claim| claim.until);
        let leaving = |reason, due| Leaving { reason, since: now, due };
        match &granted.on_call {
            Some(claim) if last_by_hand.is_none_or(|until| until < claim.until) => match claim.shift_end {
                Some(end) if end <= now => leaving(Reason::ShiftEnded, due),
                _ if !self.duty.is_known() => leaving(Reason::Stale, due),
                _ if self.duty.is_gap() => leaving(Reason::Gap, None),
                Some(_) => leaving(Reason::Overridden, None),
                None => leaving(Reason::LeftSchedule, None),
            },
            _ => leaving(Reason::Manual, due),
        }
    }

    fn leaves_now(&self, okta: &OktaId, reason: Reason) -> Next {
        let since = match self.old.state(okta) {
            Some(State::Leaving(leaving)) if leaving.reason == reason => leaving.since,
            _ => self.facts.now,
        };
        Next::Leaves(Leaving { reason, since, due: None })
    }

    /// In the group when there was no ledger and nobody could say who was on call.
    fn next_of_adopted(&self, until: DateTime<Utc>, presence: Presence<'_>) -> Next {
        let expired = until <= self.facts.now;
        match presence {
            Presence::Outside => Next::Stays(None),
            Presence::Inside(_) if self.is_clear() => self.next_of_outsider(true),
            _ if expired && !self.is_clear() => {
                Next::Leaves(Leaving { reason: Reason::Stale, since: self.facts.now, due: Some(until) })
            }
            _ => Next::Stays(Some(State::Adopted { until })),
        }
    }

    /// Whether `adoption` may decide: where it removes people, somebody who is on call and unresolved may be any of them, and
    /// one reading of nobody is no gap.
    fn is_clear(&self) -> bool {
        let Binding { adoption, gap_confirm_runs, .. } = self.facts.binding;
        let is_counted = self.gap.as_ref().is_some_and(|gap| gap.readings >= *gap_confirm_runs);
        let names_everybody = self.duty.unresolved.is_empty() && (!self.duty.is_gap() || is_counted);
        self.duty.is_known() && (*adoption == Outsiders::Report || names_everybody)
    }

    /// In the group, and nothing is remembered of them.
    fn next_of_stranger(&self) -> Next {
        let first_run = matches!(self.facts.ledger, Remembered::Never(_));
        if first_run && !self.is_clear() {
            let until = self.facts.now + self.facts.binding.max_stale;
            return Next::Stays(Some(State::Adopted { until }));
        }
        self.next_of_outsider(first_run)
    }

    /// In the group, not on call, and never put there by this function.
    fn next_of_outsider(&self, from_the_beginning: bool) -> Next {
        let Binding { adoption, out_of_band, .. } = self.facts.binding;
        let rule = if from_the_beginning { adoption } else { out_of_band };
        match rule {
            // Whether they are on call nobody can say.
            Outsiders::Revoke if self.duty.is_known() => {
                Next::Leaves(Leaving { reason: Reason::OutOfBand, since: self.facts.now, due: None })
            }
            _ => Next::Outsider(from_the_beginning.then_some(State::Tolerated)),
        }
    }

    /// What there is to remember of somebody of whom nothing is known but what has not been told yet.
    fn untold(&self, okta: &OktaId) -> Option<State> {
        let person = self.old.people.get(okta).filter(|person| !person.untold.is_empty())?;
        let at = match &person.state {
            State::Left { at } => *at,
            _ => self.facts.now,
        };
        (self.facts.now - at <= TOLD_FOR).then_some(State::Left { at })
    }

    fn remember(&self, okta: &OktaId, state: Option<State>, next: &mut Ledger) {
        let Some(state) = state.or_else(|| self.untold(okta)) else {
            next.people.remove(okta);
            return;
        };
        let never_left = matches!((self.old.state(okta), &state), (Some(State::Leaving(_)), State::Granted(_)));
        let person = next.put(okta, state);
        if never_left {
            person.forget_removal();
        }
        next.forget_left(okta);
    }

    fn leaves(&self, okta: &OktaId, leaving: Leaving, next: &mut Ledger) -> Revoke {
        let (old, presence) = (self.old.state(okta), Presence::of(okta, self.facts.members));
        let has_no_name = self.old.people.get(okta).is_some_and(|person| person.login.is_empty());
        // The Okta group lists this person for the first time: an earlier plan may have dropped the grant as never made.
        let is_new = has_no_name && matches!(presence, Presence::Inside(_));
        let again = matches!(old, Some(State::Leaving(_))) && !is_new;
        let Leaving { reason, since, due } = leaving.clone();
        let held = matches!(old, Some(State::Held(hold)) if !hold.out);
        let person = next.put(okta, State::Leaving(leaving));
        let never_came = has_no_name && is_never_seen(old, presence) && person.forget_grant();
        if !again && !held && !never_came {
            person.tell(Change::Revoked { reason, due });
        }
        Revoke { okta: okta.clone(), reason, due, since }
    }

    /// Removes whoever is held until the group no longer shows them.
    fn hold(&self, okta: &OktaId, mut hold: Hold, next: &mut Ledger) -> Option<Revoke> {
        let put_back = !hold.out && matches!(self.old.state(okta), Some(State::Held(old)) if old.out);
        if put_back {
            hold.since = self.facts.now;
        }
        let revoke = Revoke { okta: okta.clone(), reason: Reason::Manual, due: None, since: hold.since };
        let revoke = (!hold.out).then_some(revoke);
        let person = next.put(okta, State::Held(hold));
        if put_back {
            person.tell(Change::Revoked { reason: Reason::Manual, due: None });
        }
        revoke
    }

    fn comes(&self, okta: &OktaId, granted: Granted, next: &mut Ledger) -> Grant {
        let again = matches!(self.old.state(okta), Some(State::Granted(old)) if !old.shown);
        let person = granted.on_call.as_ref().map(|claim| claim.person.clone());
        let until = granted.on_call.as_ref().and_then(|claim| claim.shift_end);
        let why = "on call".to_owned();
        let record = next.put(okta, State::Granted(granted));
        if !again {
            record.tell(Change::Granted { why: why.clone(), until });
        }
        Grant { okta: okta.clone(), person, until, why }
    }

    /// More people on call, or more to be added, than the binding allows: then nobody is.
    fn brake(&self, grants: usize) -> Option<Notice> {
        let Binding { max_members, max_new_per_run, keep, .. } = self.facts.binding;
        let is_held = |okta: &OktaId| matches!(self.old.state(okta), Some(State::Held(_)));
        let wanted = self
            .duty
            .people
            .keys()
            .filter(|okta| !is_held(okta) && !self.facts.eligible.excludes(okta) && !keep.contains(*okta));
        let on_call = wanted.count() + self.duty.unresolved.len();
        let too_many = on_call > *max_members || grants > *max_new_per_run;
        (too_many && self.facts.members.listed().is_some()).then_some(Notice::Brake { on_call, grants })
    }

    /// People on call who get nothing, each with the reason.
    fn note_people_without(&self, notices: &mut BTreeSet<Notice>) {
        let Some(members) = self.facts.members.listed() else { return };
        let keep = &self.facts.binding.keep;
        let claims = || self.old.people.values().filter_map(Person::on_call);
        let stays = |id: &PersonId| claims().any(|claim| claim.person == *id && self.end_of(claim) > self.facts.now);
        for (person, why) in self.duty.unresolved.iter().filter(|(id, _)| !stays(id)) {
            notices.insert(Notice::NotGranted { person: person.clone(), why: why.clone() });
        }
        let is_held_from_before = |okta: &OktaId, on_call: &OnCall| match self.old.state(okta) {
            Some(State::Held(hold)) => on_call.start.zip(hold.until).is_some_and(|(start, until)| start > until),
            _ => false,
        };
        for (okta, on_call) in &self.duty.people {
            let why = match self.facts.eligible {
                _ if keep.contains(okta) && members.contains_key(okta) => continue,
                _ if keep.contains(okta) => "in \"keep\": never granted",
                _ if is_held_from_before(okta, on_call) => {
                    "revoked by hand, and no reading has shown the end of that shift: a grant by hand ends it"
                }
                eligible if eligible.excludes(okta) => "not in the group of eligible people",
                eligible if !eligible.admits(okta) && !members.contains_key(okta) => {
                    "the group of eligible people could not be read"
                }
                _ => continue,
            };
            notices.insert(Notice::NotGranted { person: on_call.person.clone(), why: why.to_owned() });
        }
    }
}
