//! A tiny world: one binding, one group at Okta, one source at PagerDuty, one ledger, and a clock.

use super::*;
use crate::binding::Source;
use crate::ids::{BindingId, GroupId};
use crate::knowledge::{Identity, Shift};
use crate::ledger::Hold;
use keyturn::Error;
use std::str::FromStr as _;

pub(super) const PEOPLE: [&str; 5] = ["ann", "bob", "cid", "dan", "eve"];

/// The instant so many minutes after noon.
pub(super) fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_str("2031-05-06T12:00:00Z").unwrap_or(DateTime::UNIX_EPOCH) + TimeDelta::minutes(minutes)
}

/// Any kind of id.
pub(super) fn id<T: for<'a> TryFrom<&'a str, Error = String>>(text: &str) -> T {
    T::try_from(text).unwrap()
}

fn out() -> Error {
    Error::new(Code::PagerdutyUnreachable, "The other side does not answer.", "Wait.")
}

/// Everything a plan is made from, and what it acts upon.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) binding: Binding,
    pub(super) shifts: Vec<Shift>,
    /// When the source is read; `None`: it cannot be.
    pub(super) read_at: Option<DateTime<Utc>>,
    pub(super) group: BTreeSet<OktaId>,
    /// Whom Okta does not let in.
    pub(super) suspended: BTreeSet<OktaId>,
    pub(super) list_readable: bool,
    pub(super) eligible: Eligible,
    pub(super) ledger: Remembered,
    pub(super) now: DateTime<Utc>,
    /// How often the ledger was stored.
    pub(super) stored: usize,
}

/// How far a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) intent: bool,
    /// One bit for each revoke, then one for each grant.
    pub(super) done: u32,
    pub(super) outcome: bool,
}

impl Run {
    pub(super) const ALL: Self = Self { intent: true, done: u32::MAX, outcome: true };
}

impl World {
    /// Noon; nobody is on call, nobody is in the group, and the ledger is empty. Two people at most, stale after two
    /// hours, a gap counts at the second reading.
    pub(super) fn new() -> Self {
        let group: GroupId = id("00g1");
        let mut binding = Binding::abandoned(id::<BindingId>("shop"), group.clone());
        binding.source = Source::Schedules(BTreeSet::from([id("S1")]));
        binding.group_name = "break-glass".to_owned();
        binding.max_members = 2;
        binding.max_new_per_run = 2;
        binding.out_of_band = Outsiders::Revoke;
        Self {
            binding,
            shifts: Vec::new(),
            read_at: Some(at(0)),
            group: BTreeSet::new(),
            suspended: BTreeSet::new(),
            list_readable: true,
            eligible: Eligible::Everyone,
            ledger: Remembered::Known(Ledger::new(group)),
            now: at(0),
            stored: 0,
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Binding)) -> Self {
        change(&mut self.binding);
        self
    }

    /// A shift since noon.
    pub(super) fn on_call(self, who: &str, end: impl Into<Option<i64>>) -> Self {
        self.shift(&format!("P-{who}"), who, Some(0), end.into())
    }

    pub(super) fn shift(mut self, person: &str, okta: &str, start: Option<i64>, end: Option<i64>) -> Self {
        let okta = Identity::Known(id(okta));
        self.shifts.push(Shift { person: id(person), okta, start: start.map(at), end: end.map(at) });
        self
    }

    /// Somebody is on call of whom Okta cannot say who they are.
    pub(super) fn unresolved(mut self, who: &str) -> Self {
        let okta = Identity::Unresolved("no such user at Okta".to_owned());
        self.shifts.push(Shift { person: id(&format!("P-{who}")), okta, start: None, end: None });
        self
    }

    pub(super) fn nobody_on_call(mut self) -> Self {
        self.shifts.clear();
        self
    }

    pub(super) fn outage(mut self) -> Self {
        self.read_at = None;
        self
    }

    /// The source can be read again.
    pub(super) fn back(mut self) -> Self {
        self.read_at = Some(self.now);
        self
    }

    pub(super) fn members_unknown(mut self) -> Self {
        self.list_readable = false;
        self
    }

    pub(super) fn members_known(mut self) -> Self {
        self.list_readable = true;
        self
    }

    pub(super) fn member(mut self, who: &str) -> Self {
        self.group.insert(id(who));
        self
    }

    pub(super) fn suspended(mut self, who: &str) -> Self {
        self.suspended.insert(id(who));
        self
    }

    pub(super) fn active(mut self, who: &str) -> Self {
        self.suspended.remove(&id::<OktaId>(who));
        self
    }

    pub(super) fn not_a_member(mut self, who: &str) -> Self {
        self.group.remove(&id::<OktaId>(who));
        self
    }

    pub(super) fn eligible(mut self, people: &[&str]) -> Self {
        self.eligible = Eligible::Only(people.iter().map(|who| id(who)).collect());
        self
    }

    pub(super) fn eligible_unknown(mut self) -> Self {
        self.eligible = Eligible::Unknown { why: out() };
        self
    }

    pub(super) fn no_ledger(mut self) -> Self {
        self.ledger = Remembered::Lost;
        self
    }

    /// The ledger, which has to be there.
    pub(super) fn ledger(&self) -> &Ledger {
        match &self.ledger {
            Remembered::Known(ledger) => ledger,
            Remembered::Lost => panic!("no ledger"),
        }
    }

    pub(super) fn write(mut self, change: impl FnOnce(&mut Ledger)) -> Self {
        match &mut self.ledger {
            Remembered::Known(ledger) => change(ledger),
            Remembered::Lost => panic!("no ledger"),
        }
        self
    }

    /// What a grant by hand stores.
    pub(super) fn granted_by_hand(self, who: &str, until: i64) -> Self {
        let okta: OktaId = id(who);
        let granted_at = self.now;
        let row = Row {
            okta: okta.clone(),
            person: None,
            source: Origin::Manual,
            granted_at,
            shift_end: None,
            expires_at: at(until),
            reason: "INC-42".to_owned(),
            intended: true,
        };
        self.write(|ledger| {
            ledger.holds.remove(&okta);
            ledger.rows.retain(|row| row.okta != okta || row.source != Origin::Manual);
            ledger.rows.push(row);
        })
    }

    /// What a revoke by hand stores before it acts.
    pub(super) fn revoked_by_hand(self, who: &str, until: Option<i64>) -> Self {
        self.write(|ledger| {
            ledger.holds.insert(id(who), Hold { until: until.map(at) });
            ledger.leaving.insert(id(who));
        })
    }

    /// The clock stands so many minutes after noon; whoever can be read is read then.
    pub(super) fn at(mut self, minutes: i64) -> Self {
        self.now = at(minutes);
        self.read_at = self.read_at.map(|_| self.now);
        self
    }

    pub(super) fn reading(&self) -> Reading {
        match self.read_at {
            Some(read_at) => Reading::Known { shifts: self.shifts.clone(), read_at },
            None => Reading::Unknown { why: out() },
        }
    }

    pub(super) fn members(&self) -> Members {
        if !self.list_readable {
            return Members::Unknown { why: out() };
        }
        let member =
            |okta: &OktaId| Member { active: !self.suspended.contains(okta), login: format!("{okta}@example.com") };
        Members::Complete(self.group.iter().map(|okta| (okta.clone(), member(okta))).collect())
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.binding, &self.reading(), &self.members(), &self.eligible, &self.ledger, self.now)
    }

    pub(super) fn shown(&self) -> Vec<String> {
        let (binding, reading, members, plan) = (&self.binding, &self.reading(), &self.members(), &self.plan());
        Shown { binding, reading, members, plan, now: self.now }.lines()
    }

    /// Whether somebody is in the group.
    pub(super) fn has(&self, who: &str) -> bool {
        self.group.contains(&id::<OktaId>(who))
    }

    /// One tick in which everything works; what it did, as in `-ann:shift_ended +bob`.
    pub(super) fn tick(&mut self) -> String {
        let plan = self.plan();
        self.carry_out(&plan, Run::ALL);
        changes(&plan)
    }

    /// Ticks each minute from one to another, both included; what they did, each with its minute.
    pub(super) fn ticks(&mut self, from: i64, to: i64) -> String {
        let mut said = Vec::new();
        for minute in from..=to {
            *self = self.clone().at(minute);
            let changes = self.tick();
            if !changes.is_empty() {
                said.push(format!("{minute} {changes}"));
            }
        }
        said.join(", ")
    }

    /// Acts as the function does: intent, revokes, grants only with the intent stored, outcome.
    pub(super) fn carry_out(&mut self, plan: &Plan, run: Run) {
        let new = match (&self.ledger, &plan.intent) {
            (_, Remembered::Lost) => false,
            (Remembered::Lost, _) => true,
            (Remembered::Known(old), Remembered::Known(next)) => old.is_outdated_by(next, self.binding.max_stale / 4),
        };
        if new && run.intent {
            self.store(plan.intent.clone());
        }
        let mut bits = (0..32).map(|bit| run.done >> bit & 1 == 1);
        let mut is_done = move || bits.next().unwrap_or(false);
        let mut revoked = BTreeSet::new();
        for revoke in plan.revokes.iter().filter(|_| is_done()) {
            self.group.remove(&revoke.okta);
            revoked.insert(revoke.okta.clone());
        }
        let mut granted = BTreeSet::new();
        if run.intent || !new {
            for grant in &plan.grants {
                // Okta is asked once more before anybody gets in.
                if is_done() && !self.suspended.contains(&grant.okta) {
                    self.group.insert(grant.okta.clone());
                    granted.insert(grant.okta.clone());
                }
            }
        }
        let mut told: BTreeMap<OktaId, Told> =
            plan.revokes.iter().map(|revoke| (revoke.okta.clone(), Told::Revoke)).collect();
        if run.intent || !new {
            told.extend(plan.grants.iter().map(|grant| (grant.okta.clone(), Told::Grant)));
        }
        let outcome = plan.outcome(&revoked, &granted, &told);
        if run.outcome && outcome != plan.intent {
            self.store(outcome);
        }
    }

    fn store(&mut self, ledger: Remembered) {
        self.ledger = ledger;
        self.stored += 1;
    }
}

/// A plan in short.
pub(super) fn changes(plan: &Plan) -> String {
    let revokes = plan.revokes.iter().map(|revoke| format!("-{}:{}", revoke.okta, revoke.reason));
    let grants = plan.grants.iter().map(|grant| format!("+{}", grant.okta));
    revokes.chain(grants).collect::<Vec<_>>().join(" ")
}
