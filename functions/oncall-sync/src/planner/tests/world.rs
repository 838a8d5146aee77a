//! A tiny world: one binding, one group at Okta, one source at PagerDuty, one ledger, and a clock.

use super::*;
use crate::binding::{Counted, Source};
use crate::knowledge::{Identity, Shift};
use crate::observe::ledgers::{Entry, Ledgers, latest};
use crate::okta::{Status, User};
use crate::planner;
use keyturn::Error;
use keyturn::ids::{BindingId, GroupId};
use keyturn::ledger::{Hold, Untold};
use std::collections::BTreeMap;
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
    /// What stands in Parameter Store: every version of the ledger under each of the binding's names, and when it was written.
    pub(super) shelf: BTreeMap<BindingId, Vec<(DateTime<Utc>, String)>>,
    pub(super) standing: Standing,
    pub(super) now: DateTime<Utc>,
    /// Whether Parameter Store shows earlier versions.
    pub(super) history: bool,
    /// How often the ledger was stored.
    pub(super) stored: usize,
    pub(super) channels_work: bool,
    /// Alerts that were taken.
    pub(super) told: Vec<(OktaId, Change)>,
    /// People whose removal has its audit line.
    pub(super) logged: Vec<OktaId>,
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
        binding.source = Source::Schedules { ids: BTreeSet::from([id("S1")]), counted: Counted::everything() };
        binding.group_name = "break-glass".to_owned();
        binding.max_members = 2;
        binding.max_new_per_run = 2;
        binding.out_of_band = Outsiders::Revoke;
        let mut world = Self {
            binding,
            shifts: Vec::new(),
            read_at: Some(at(0)),
            group: BTreeSet::new(),
            suspended: BTreeSet::new(),
            list_readable: true,
            eligible: Eligible::Everyone,
            ledger: Remembered::Known(Ledger::new(group)),
            shelf: BTreeMap::new(),
            history: true,
            standing: Standing::Followed,
            now: at(0),
            stored: 0,
            channels_work: true,
            told: Vec::new(),
            logged: Vec::new(),
        };
        world.store(world.ledger.clone());
        Self { stored: 0, ..world }
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
        self.eligible = Eligible::Unknown { why: out(), known: BTreeMap::new() };
        self
    }

    pub(super) fn no_ledger(mut self) -> Self {
        self.ledger = Remembered::Never(Ledger::new(self.binding.group.clone()));
        self
    }

    pub(super) fn unreadable_ledger(mut self) -> Self {
        self.ledger = Remembered::Unreadable { since: Some(self.now) };
        self
    }

    /// The document is bad from now on: neither source nor group is read.
    pub(super) fn bad_document(mut self) -> Self {
        self.standing = Standing::Refused;
        self.outage().members_unknown()
    }

    pub(super) fn good_document(mut self) -> Self {
        self.standing = Standing::Followed;
        self.back().members_known()
    }

    /// The ledger, which has to be there.
    pub(super) fn ledger(&self) -> &Ledger {
        self.ledger.known().expect("a ledger")
    }

    pub(super) fn write(mut self, change: impl FnOnce(&mut Ledger)) -> Self {
        change(self.ledger.known_mut().expect("a ledger"));
        self
    }

    /// What a grant by hand stores.
    pub(super) fn granted_by_hand(mut self, who: &str, until: i64) -> Self {
        self.ledger = self.grant_by_hand(who, until).intent;
        self
    }

    pub(super) fn grant_by_hand(&self, who: &str, until: i64) -> Plan {
        planner::by_hand::grant(
            self.facts(&self.reading(), &self.members()),
            self.ledger(),
            &user(who),
            at(until),
            "INC-42",
        )
    }

    pub(super) fn revoke_by_hand(&self, who: &str) -> Plan {
        planner::by_hand::revoke(self.facts(&self.reading(), &self.members()), &user(who), "INC-43").0
    }

    /// What a revoke by hand stores before it acts.
    pub(super) fn revoked_by_hand(self, who: &str, until: Option<i64>) -> Self {
        let since = self.now;
        self.write(|ledger| {
            let person = Some(id(&format!("P-{who}")));
            let hold = Hold { since, until: until.map(at), person, out: false, reason: String::new() };
            ledger.put(&id(who), State::Held(hold)).tell(Change::Revoked { reason: Reason::Manual, due: None });
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
        let member = |okta: &OktaId| Member {
            may_stay: !self.suspended.contains(okta),
            login: format!("{okta}@example.com"),
            email: format!("{okta}@example.com"),
        };
        Members::Complete(self.group.iter().map(|okta| (okta.clone(), member(okta))).collect())
    }

    fn facts<'a>(&'a self, reading: &'a Reading, members: &'a Members) -> Facts<'a> {
        let Self { binding, standing, eligible, ledger, now, .. } = self;
        Facts { binding, standing: *standing, reading, members, eligible, ledger, now: *now }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(self.facts(&self.reading(), &self.members()))
    }

    /// Somebody writes into the ledger's parameter, if there is one.
    pub(super) fn written(
        mut self,
        when: DateTime<Utc>,
        text: impl FnOnce(&[(DateTime<Utc>, String)]) -> String,
    ) -> Self {
        if let Some(versions) = self.shelf.get_mut(&self.binding.id) {
            let text = text(versions);
            versions.push((when, text));
        }
        self
    }

    /// Takes the ledger from the shelf, as a tick reads it.
    pub(super) fn read_ledger(&mut self) {
        let group = &self.binding.group;
        let entry = |(binding, versions): (&BindingId, &Vec<(DateTime<Utc>, String)>)| {
            let (since, text) = versions.last()?;
            let version = i64::try_from(versions.len()).unwrap();
            let earlier = || (1..).zip(versions.iter().map(|(_, text)| text.clone())).collect::<Vec<_>>();
            let found = match Ledger::parse(text).ok() {
                Some(ledger) if ledger.is_of_version(version) => Some(ledger),
                current => self.history.then(|| latest(current, &earlier(), group)).flatten(),
            };
            let ledger = found.map_or(Remembered::Unreadable { since: Some(*since) }, Remembered::Known);
            Some((group.clone(), Entry { binding: binding.clone(), version, modified: Some(*since), ledger }))
        };
        let ledgers = Ledgers::of(self.shelf.iter().filter_map(entry).collect());
        self.ledger = ledgers.find(&self.binding.id, group).0;
    }

    pub(super) fn shown(&self) -> Vec<String> {
        lines(&self.facts(&self.reading(), &self.members()), &self.plan())
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
            (_, Remembered::Never(_) | Remembered::Unreadable { .. }) => false,
            (Remembered::Known(old), Remembered::Known(next)) => old.is_outdated_by(next, self.binding.max_stale / 4),
            (_, Remembered::Known(_)) => true,
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
        if plan.intent.known().is_none() {
            // No ledger keeps what is not told at once.
            let change = |revoke: &Revoke| Change::Revoked { reason: revoke.reason, due: revoke.due };
            let done = plan.revokes.iter().filter(|revoke| self.channels_work && revoked.contains(&revoke.okta));
            self.told.extend(done.map(|revoke| (revoke.okta.clone(), change(revoke))));
            self.logged.extend(revoked.into_iter().filter(|_| run.outcome));
            return;
        }
        let intent = if new && run.intent { &self.ledger } else { &plan.intent };
        let Some(mut outcome) = intent.known().cloned() else { return };
        self.tell(&mut outcome, &revoked);
        for okta in plan.grants.iter().map(|grant| &grant.okta).filter(|_| run.intent || !new) {
            // Before the grant, and after Okta was asked.
            if self.suspended.contains(okta) {
                continue;
            }
            self.announce(&mut outcome, okta);
        }
        if run.outcome {
            self.logged.extend(revoked.iter().cloned());
        }
        for okta in &revoked {
            outcome.has_left(okta, self.now);
        }
        for okta in &granted {
            let address = format!("{okta}@example.com");
            outcome.has_come(okta, &address, &address);
        }
        let is_stored = run.outcome && plan.intent.known().is_some_and(|intent| intent.people != outcome.people);
        if is_stored || run.intent || !new {
            self.logged.extend(plan.settled.iter().filter_map(|settled| match settled {
                Settled::Revoked(revoke) => Some(revoke.okta.clone()),
                Settled::Granted(_) => None,
            }));
        }
        if is_stored {
            self.store(Remembered::Known(outcome));
        }
    }

    /// Sends the alerts of everything that is done.
    fn tell(&mut self, ledger: &mut Ledger, revoked: &BTreeSet<OktaId>) {
        for (okta, Untold { change, .. }) in ledger.news(|okta| revoked.contains(okta)) {
            if self.channels_work {
                ledger.was_told(&okta, &change, &BTreeSet::new());
                self.told.push((okta, change));
            }
        }
    }

    /// Sends the alert of a grant.
    fn announce(&mut self, ledger: &mut Ledger, okta: &OktaId) {
        let untold = ledger.people.get(okta).map(|person| person.untold.clone()).unwrap_or_default();
        for Untold { change, .. } in untold {
            if self.channels_work {
                ledger.was_told(okta, &change, &BTreeSet::new());
                self.told.push((okta.clone(), change));
            }
        }
    }

    /// Writes the ledger as the function does.
    fn store(&mut self, mut ledger: Remembered) {
        let versions = self.shelf.entry(self.binding.id.clone()).or_default();
        let ledger_to_write = ledger.known_mut().unwrap();
        ledger_to_write.serial += 1;
        ledger_to_write.version = i64::try_from(versions.len()).unwrap() + 1;
        versions.push((self.now, ledger_to_write.text().unwrap()));
        self.ledger = ledger;
        self.stored += 1;
    }
}

fn user(who: &str) -> User {
    let address = format!("{who}@example.com");
    User { id: id(who), login: address.clone(), email: address, status: Status::Active }
}

/// A plan in short.
pub(super) fn changes(plan: &Plan) -> String {
    let revokes = plan.revokes.iter().map(|revoke| format!("-{}:{}", revoke.okta, revoke.reason));
    let grants = plan.grants.iter().map(|grant| format!("+{}", grant.okta));
    revokes.chain(grants).collect::<Vec<_>>().join(" ")
}

/// How many alerts about somebody are still to be sent.
pub(super) fn untold(plan: &Plan, who: &str) -> usize {
    let person = plan.intent.known().and_then(|ledger| ledger.people.get(&id::<OktaId>(who)));
    person.map_or(0, |person| person.untold.len())
}
