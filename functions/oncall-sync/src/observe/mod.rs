//! Reading everything that a plan is made from: all schedules and policies together, each group and person once, a few at a
//! time.
//!
//! The waits in a row: the documents; schedules, policies and groups; who the people on call are, where that is not known
//! from before; whether they are eligible, where that was not said in the last minutes; and, only where somebody is not,
//! whether that group is there.

mod eligibility;
mod groups;
pub(crate) mod ledgers;
mod people;
mod shifts;

pub(crate) use eligibility::unseen;

use crate::lock;
use eligibility::Eligibility;
use groups::Groups;
use people::{People, Person};

use crate::binding::{Binding, Bindings, Counted, Source};
use crate::codes::Code;
use crate::knowledge::{Eligible, Identity, Member, Members, Reading, Shift, Standing};
use crate::okta::Okta;
use crate::planner::{self, Facts, Plan};
use crate::settings::Settings;
use crate::source::pagerduty::PagerDuty;
use crate::source::shift::{self, Email, Who};
use crate::source::{Asked, OnCall, Window};
use crate::turns::Turns;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::ids::{BindingId, GroupId, OktaId, PersonId};
use keyturn::ledger::{Ledger, Remembered};
use keyturn::parameters::{Kind, Parameter, Parameters};
use keyturn::vendor::{AT_ONCE, Clients};
use keyturn::{Deadline, Error, Result};
use ledgers::{Entry, Ledgers};
use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::{Arc, Mutex};

/// Everything read about one binding.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) standing: Standing,
    pub(crate) binding: Binding,
    pub(crate) reading: Reading,
    pub(crate) members: Members,
    pub(crate) eligible: Eligible,
    pub(crate) ledger: Remembered,
    /// The version of the ledger's parameter; 0 where there is none.
    pub(crate) version: i64,
    /// When the source was read last, this time included.
    pub(crate) last_reading: Option<DateTime<Utc>>,
}

impl View {
    pub(crate) fn facts(&self, now: DateTime<Utc>) -> Facts<'_> {
        let Self { standing, binding, reading, members, eligible, ledger, .. } = self;
        Facts { binding, standing: *standing, reading, members, eligible, ledger, now }
    }

    pub(crate) fn plan(&self, now: DateTime<Utc>) -> Plan {
        planner::plan(self.facts(now))
    }

    /// What could not be read, with the reason.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = (&'static str, &Error)> {
        let reading = match &self.reading {
            Reading::Unknown { why } => Some(("reading", why)),
            Reading::Known { .. } => None,
        };
        let members = match &self.members {
            Members::Unknown { why } => Some(("members", why)),
            Members::Complete(_) => None,
        };
        let eligible = match &self.eligible {
            Eligible::Unknown { why, .. } => Some(("eligible", why)),
            Eligible::Everyone | Eligible::Only(_) => None,
        };
        [reading, eligible, members].into_iter().flatten()
    }
}

#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) views: Vec<View>,
    /// Refused documents, by the parameter's name; and ledgers that cannot be read, of groups that no document names, by the last
    /// part of theirs.
    pub(crate) bad: BTreeMap<String, Error>,
    /// Ledgers that another one has replaced, as they are to be written.
    pub(crate) moved: Vec<(String, Ledger)>,
}

/// What is known of the days to come.
#[derive(Debug)]
pub(crate) struct Foreseen {
    pub(crate) views: Vec<View>,
    /// Refused documents, by the parameter's name.
    pub(crate) bad: BTreeMap<String, Error>,
    /// How the source calls people, as far as it says so.
    pub(crate) names: BTreeMap<PersonId, String>,
}

/// A vendor's answers, by the id that was asked for.
type Readings<K, T> = BTreeMap<K, Result<T>>;

type GroupMembers = BTreeMap<OktaId, Member>;

/// Everything that reads, and nothing that writes.
pub(crate) struct Observer {
    pub(crate) config_path: String,
    ledger_path: String,
    parameters: Parameters,
    pub(crate) source: PagerDuty,
    pub(crate) okta: Arc<Okta>,
    pub(crate) people: People,
    pub(crate) groups: Groups,
    eligibility: Eligibility,
    /// When each group was listed last: `observe` lists the oldest first.
    turns: Turns,
    /// When each binding's source was read last.
    readings: Mutex<BTreeMap<BindingId, DateTime<Utc>>>,
}

impl Observer {
    pub(crate) fn new(settings: &Settings, clients: &Clients, parameters: Parameters, okta: Arc<Okta>) -> Self {
        Self {
            config_path: settings.config_path.clone(),
            ledger_path: settings.ledger_path.clone(),
            parameters,
            source: PagerDuty::new(settings, clients),
            okta,
            people: People::new(clients.clock.clone()),
            groups: Groups::new(clients.clock.clone(), settings.owner.clone()),
            eligibility: Eligibility::new(clients.clock.clone()),
            turns: Turns::default(),
            readings: Mutex::default(),
        }
    }

    /// The documents and the ledgers. Whoever has a ledger of a group had it first.
    ///
    /// # Errors
    /// `NO_BINDINGS`, and what Parameter Store can say: without its ledgers nobody's end can be known.
    pub(crate) async fn configuration(&self, deadline: Deadline) -> Result<(Bindings, Ledgers)> {
        let (documents, ledgers) = tokio::try_join!(
            self.parameters.below(&self.config_path, deadline),
            self.parameters.below(&self.ledger_path, deadline),
        )?;
        if documents.is_empty() && ledgers.is_empty() {
            return Err(Error::new(
                Code::NoBindings,
                format!("There is no parameter below {}, so nobody is looked after.", self.config_path),
                format!(
                    "Store one document per binding: aws ssm put-parameter --type String --name {}/shop --value file://binding.json",
                    self.config_path
                ),
            ));
        }
        let ledgers = Ledgers::read(ledgers, &self.parameters, deadline).await;
        let (encrypted, documents): (Vec<Parameter>, Vec<Parameter>) =
            documents.into_iter().partition(|document| document.kind == Kind::Encrypted);
        let documents = documents.iter().map(|document| (document.name.as_str(), document.value.as_str()));
        let unread = encrypted.into_iter().map(|document| (document.name.clone(), not_text(&document.name))).collect();
        Ok((Bindings::read(documents, &ledgers.holders(), unread), ledgers))
    }

    /// Reads everything, or what concerns `only` one binding.
    ///
    /// # Errors
    /// As [`Observer::configuration`]; a vendor that does not answer makes something unknown, and is no error.
    pub(crate) async fn observe(
        &self,
        only: Option<&BindingId>,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Observed> {
        let (bindings, ledgers) = self.configuration(deadline).await?;
        let mut good = bindings.good.clone();
        good.retain(|binding| only.is_none_or(|only| binding.id == *only));
        // One schedule that hangs must leave time to look up the people of the others.
        let reading = deadline.at_most(deadline.remaining() * 3 / 5);
        let horizon = good.iter().map(|binding| binding.max_stale).max().unwrap_or_default();
        let (source, groups, refused) = tokio::join!(
            self.on_call(&good, Window::now(now, horizon), reading),
            self.members(&good, now, reading),
            self.groups.refused(&good, &self.okta, reading),
        );
        let on_call: Vec<Result<Vec<shift::Shift>>> =
            good.iter().map(|binding| Ok(shifts::joined(&shifts::of_binding(binding, &source)?, now))).collect();
        let identities = self.identities(&good, &on_call, deadline.at_most(deadline.remaining() * 3 / 5)).await;
        let mut views = Vec::new();
        for (binding, on_call) in good.into_iter().zip(on_call) {
            let (ledger, version) = ledgers.find(&binding.id, &binding.group);
            let members = match refused.get(&binding.id) {
                Some(why) => Members::Unknown { why: why.clone() },
                None => known_members(&groups, &binding.group),
            };
            let reading = read(&binding, on_call, &identities, &members, now);
            let eligible = eligibility::nobody_asked();
            if let Reading::Known { read_at, .. } = reading {
                lock(&self.readings).insert(binding.id.clone(), read_at);
            }
            let last_reading = lock(&self.readings).get(&binding.id).copied();
            let standing = Standing::Followed;
            views.push(View { standing, binding, reading, members, eligible, ledger, version, last_reading });
        }
        self.eligibility.ask_for(&mut views, &self.okta, deadline).await;
        let followed = bindings.good.iter().map(|binding| &binding.group).collect();
        let lost: Vec<String> = ledgers.lost(&followed).collect();
        let moved = ledgers.moved(&bindings.good.iter().map(|binding| (&binding.group, &binding.id)).collect());
        let leftover = ledgers.leftover(&followed, only).into_iter();
        let leftover = leftover.filter(|(_, entry)| only.is_none_or(|only| entry.binding == *only));
        views.extend(leftover.map(|(group, entry)| {
            let last_reading = lock(&self.readings).get(&entry.binding).copied();
            View { last_reading, ..left_over(&bindings, group, entry) }
        }));
        let mut bad = bindings.bad;
        bad.extend(lost.into_iter().map(|name| {
            let error = ledgers::followed_by_nobody(&format!("{}/{name}", self.ledger_path));
            (name, error)
        }));
        Ok(Observed { views, bad, moved })
    }

    /// Reads all shifts from `now` to `now + horizon`, and nothing of the groups: in what is seen, they are empty.
    ///
    /// # Errors
    /// As [`Observer::configuration`].
    pub(crate) async fn foresee(&self, now: DateTime<Utc>, horizon: TimeDelta, deadline: Deadline) -> Result<Foreseen> {
        let (bindings, _) = self.configuration(deadline).await?;
        let Bindings { good, bad } = bindings;
        let source = self.on_call(&good, Window::ahead(now, horizon), deadline.at_most(deadline.remaining() / 2)).await;
        let shifts: Vec<Result<Vec<shift::Shift>>> =
            good.iter().map(|binding| shifts::of_binding(binding, &source)).collect();
        let identities = self.identities(&good, &shifts, deadline.at_most(deadline.remaining() / 2)).await;
        let names = shifts.iter().flatten().flatten().filter_map(shifts::name).collect();
        let mut views = Vec::new();
        for (binding, shifts) in good.into_iter().zip(shifts) {
            let members = Members::Complete(BTreeMap::new());
            let reading = read(&binding, shifts, &identities, &members, now);
            let (standing, eligible) = (Standing::Followed, eligibility::nobody_asked());
            let ledger = Remembered::Never(Ledger::new(binding.group.clone()));
            views.push(View { standing, binding, reading, members, eligible, ledger, version: 0, last_reading: None });
        }
        self.eligibility.ask_for(&mut views, &self.okta, deadline).await;
        Ok(Foreseen { views, bad, names })
    }

    /// Makes sure that a binding's source can be read, and has what the document names.
    ///
    /// # Errors
    /// Why it cannot, or has not.
    pub(crate) async fn check_source(&self, binding: &Binding, now: DateTime<Utc>, deadline: Deadline) -> Result<()> {
        let window = Window::now(now, binding.max_stale);
        let source = self.on_call(slice::from_ref(binding), window, deadline).await;
        shifts::of_binding(binding, &source).map(drop)
    }

    /// Asks the on-call source for the shifts of everything that these bindings name.
    async fn on_call(&self, bindings: &[Binding], window: Window, deadline: Deadline) -> Result<OnCall> {
        let mut asked = Asked::default();
        for binding in bindings {
            match &binding.source {
                Source::Schedules { ids, counted } => {
                    asked.schedules.extend(ids.iter().cloned());
                    if *counted != Counted::everything() {
                        asked.by_part.extend(ids.iter().cloned());
                    }
                }
                Source::Policy { id, .. } => drop(asked.policies.insert(id.clone())),
            }
        }
        self.source.on_call(&asked, window, deadline).await
    }

    /// No two bindings have one group.
    async fn members(
        &self,
        bindings: &[Binding],
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Readings<GroupId, GroupMembers> {
        let groups = bindings.iter().map(|binding| binding.group.clone()).collect();
        let members = self.turns.one_by_one(groups, now, deadline, async |id| {
            let members = self.okta.members(id, deadline).await?;
            Ok(members
                .into_iter()
                .map(|(id, m)| (id, Member { may_stay: m.status.may_stay(), login: m.login, email: m.email }))
                .collect())
        });
        members.await.into_iter().collect()
    }

    /// Asks whether a person whom somebody names by hand is eligible, whoever they are.
    ///
    /// # Errors
    /// Why it is not known.
    pub(crate) async fn ask_for(&self, view: &mut View, user: &OktaId, deadline: Deadline) -> Result<()> {
        if let Some(group) = &view.binding.eligible_group {
            let is_eligible = self.eligibility.is_in(user, group, &self.okta, deadline).await?;
            view.eligible.learn(user, is_eligible);
        }
        Ok(())
    }

    /// Who the people on call are at Okta, each looked up once.
    async fn identities(
        &self,
        bindings: &[Binding],
        on_call: &[Result<Vec<shift::Shift>>],
        deadline: Deadline,
    ) -> BTreeMap<PersonId, Person> {
        let mut emails = BTreeMap::new();
        for (binding, shifts) in bindings.iter().zip(on_call) {
            for shift in shifts.iter().flatten() {
                let Who::Person { id, email, .. } = &shift.who else { continue };
                let said_elsewhere = binding.identities.contains_key(id) || binding.placeholders.contains(id);
                // An answer about many schedules or policies has the address, one about a single schedule has not.
                if !said_elsewhere && emails.get(id).is_none_or(|known| *known == Email::NotSaid) {
                    emails.insert(id.clone(), email.clone());
                }
            }
        }
        let vendors = (&self.source, &*self.okta);
        let found = each(emails.keys().cloned(), async |id| {
            Ok(self.people.identify(id, emails.get(id).unwrap_or(&Email::NotSaid), vendors, deadline).await)
        });
        found.await.into_iter().filter_map(|(id, identity)| Some((id, identity.ok()?))).collect()
    }
}

/// The shifts of one binding, each with the Okta user.
fn read(
    binding: &Binding,
    on_call: Result<Vec<shift::Shift>>,
    identities: &BTreeMap<PersonId, Person>,
    members: &Members,
    read_at: DateTime<Utc>,
) -> Reading {
    let shift = |shift: shift::Shift| {
        let Who::Person { id, .. } = shift.who else { return None };
        let okta = match binding.identities.get(&id) {
            Some(okta) => Identity::Known(okta.clone()),
            None => match identities.get(&id) {
                Some(person) => person.in_group(members),
                None => Identity::Unresolved("not looked up".to_owned()),
            },
        };
        Some(Shift { person: id, okta, start: shift.start, end: shift.end })
    };
    match on_call {
        Ok(on_call) => Reading::Known { shifts: on_call.into_iter().filter_map(shift).collect(), read_at },
        Err(why) => Reading::Unknown { why },
    }
}

/// Does `call` once for each id, a few at a time.
async fn each<K: Ord + Clone, T>(
    things: impl Iterator<Item = K>,
    call: impl AsyncFn(&K) -> Result<T>,
) -> Readings<K, T> {
    let things: BTreeSet<K> = things.collect();
    let call = &call;
    stream::iter(things)
        .map(|thing| async move { (thing.clone(), call(&thing).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

fn known_members(groups: &Readings<GroupId, GroupMembers>, id: &GroupId) -> Members {
    match groups.get(id) {
        Some(Ok(members)) => Members::Complete(members.clone()),
        Some(Err(why)) => Members::Unknown { why: why.clone() },
        None => Members::Unknown { why: Error::of(keyturn::codes::Code::InternalDefect, "The group was not read.") },
    }
}

/// A document that is encrypted. Parameter Store does not change the type of a parameter that exists.
fn not_text(name: &str) -> Error {
    Error::new(
        Code::BindingInvalid,
        format!("The parameter {name} is no binding: it is a SecureString, and this function decrypts no parameter."),
        format!(
            "A document holds nothing secret: delete the parameter, and store it as String: aws ssm put-parameter --type String --name {name} --value file://binding.json"
        ),
    )
}

/// What is known of a ledger that no good document names.
fn left_over(bindings: &Bindings, group: GroupId, Entry { binding: id, version, ledger, .. }: Entry) -> View {
    let (standing, why) = match bindings.error_of(&id) {
        Some(error) => (Standing::Refused, error.clone()),
        None => (Standing::Abandoned, gone(&id, &group)),
    };
    View {
        standing,
        binding: Binding::abandoned(id, group),
        reading: Reading::Unknown { why: why.clone() },
        members: Members::Unknown { why },
        eligible: Eligible::Everyone,
        ledger,
        version,
        last_reading: None,
    }
}

fn gone(id: &BindingId, group: &GroupId) -> Error {
    Error::of(Code::BindingGone, format!("No document speaks of binding {id} with group {group} any more."))
}
