//! Reading everything that a plan is made from: each schedule, policy and group once, at the same time, a few at a time.

mod groups;
mod ledgers;
mod people;

pub(crate) use groups::Groups;
pub(crate) use people::People;

use crate::OncallSync;
use crate::binding::{Binding, Bindings, Source};
use crate::codes::Code;
use crate::ids::{BindingId, GroupId, OktaId, PersonId, PolicyId, ScheduleId};
use crate::knowledge::{self, Eligible, Identity, Member, Members, Reading, Shift};
use crate::ledger::{Ledger, Remembered};
use crate::source::shift::{self, Email, Who};
use crate::vendor::AT_ONCE;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::parameters::{Kind, Parameter};
use keyturn::{Deadline, Error, Result};
use ledgers::Ledgers;
use std::collections::{BTreeMap, BTreeSet};

/// What has become of a binding's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The document is good and followed.
    Followed,
    /// The document is bad: shifts end, and grants by hand end, and nothing else changes.
    Refused,
    /// There is no document any more: everybody leaves at the recorded end.
    Abandoned,
}

/// Everything read about one binding.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) standing: Standing,
    pub(crate) binding: Binding,
    pub(crate) reading: Reading,
    pub(crate) members: Members,
    pub(crate) eligible: Eligible,
    pub(crate) ledger: Remembered,
}

#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) views: Vec<View>,
    /// Refused documents, by the parameter's name.
    pub(crate) bad: BTreeMap<String, Error>,
}

/// A vendor's answers, by the id that was asked for.
type Readings<K, T> = BTreeMap<K, Result<T>>;

type GroupMembers = BTreeMap<OktaId, Member>;

/// Shifts, each with its level.
type Levels = Vec<(u32, shift::Shift)>;

impl OncallSync {
    /// The documents and the ledgers.
    ///
    /// # Errors
    /// `NO_BINDINGS`, and what Parameter Store can say: without its ledgers nobody's end can be known.
    pub(crate) async fn configuration(&self, deadline: Deadline) -> Result<(Bindings, Vec<Parameter>)> {
        let (documents, ledgers) = tokio::try_join!(
            self.parameters.below(&self.settings.config_path, deadline),
            self.parameters.below(&self.settings.ledger_path, deadline),
        )?;
        if documents.is_empty() && ledgers.is_empty() {
            return Err(Error::new(
                Code::NoBindings,
                format!("There is no parameter below {}, so nobody is looked after.", self.settings.config_path),
                format!(
                    "Store one document per binding: aws ssm put-parameter --type String --name {}/shop --value file://binding.json",
                    self.settings.config_path
                ),
            ));
        }
        let (encrypted, documents): (Vec<Parameter>, Vec<Parameter>) =
            documents.into_iter().partition(|document| document.kind == Kind::Encrypted);
        let mut bindings = Bindings::read(documents.iter().map(|p| (p.name.as_str(), p.value.as_str())));
        bindings.bad.extend(encrypted.into_iter().map(|document| (document.name.clone(), not_text(&document.name))));
        Ok((bindings, ledgers))
    }

    /// Reads everything, or what concerns `only` one binding.
    ///
    /// # Errors
    /// As [`OncallSync::configuration`]; a vendor that does not answer makes something unknown, and is no error.
    pub(crate) async fn observe(
        &self,
        only: Option<&BindingId>,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Observed> {
        let (bindings, ledgers) = self.configuration(deadline).await?;
        let mut ledgers = Ledgers::read(ledgers);
        let mut good = bindings.good.clone();
        good.retain(|binding| only.is_none_or(|only| binding.id == *only));
        // One schedule that hangs must leave time to look up the people of the others.
        let reading = deadline.at_most(deadline.remaining() * 3 / 5);
        let (shifts, policies, groups, refused) = tokio::join!(
            self.schedules(&good, now, reading),
            self.policies(&good, now, reading),
            self.members(&good, reading),
            self.groups.refused(&good, &self.okta, reading),
        );
        let on_call: Vec<Result<Vec<shift::Shift>>> =
            good.iter().map(|binding| current(binding, &shifts, &policies, now)).collect();
        let identities = self.identities(&good, &on_call, deadline).await;
        let mut views = Vec::new();
        for (binding, on_call) in good.into_iter().zip(on_call) {
            let ledger = ledgers.take(&binding.group);
            let reading = match on_call {
                Ok(people) => Reading::Known { shifts: identified(&binding, people, &identities), read_at: now },
                Err(why) => Reading::Unknown { why },
            };
            let members = match refused.get(&binding.id) {
                Some(why) => Members::Unknown { why: why.clone() },
                None => known_members(&groups, &binding.group),
            };
            let eligible = known_eligible(&groups, binding.eligible_group.as_ref());
            views.push(View { standing: Standing::Followed, binding, reading, members, eligible, ledger });
        }
        if only.is_none() {
            let leftover = ledgers.leftover().into_iter();
            views.extend(leftover.map(|(id, group, ledger)| left_over(&bindings, id, group, ledger)));
        }
        Ok(Observed { views, bad: bindings.bad })
    }

    async fn schedules(
        &self,
        bindings: &[Binding],
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Readings<ScheduleId, Vec<shift::Shift>> {
        let asked = bindings.iter().flat_map(|binding| match &binding.source {
            Source::Schedules(schedules) => schedules.iter().cloned().collect(),
            Source::Policy { .. } => Vec::new(),
        });
        each(asked, async |id| self.source.schedule(id, now, deadline).await).await
    }

    async fn policies(
        &self,
        bindings: &[Binding],
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Readings<PolicyId, Levels> {
        let asked = bindings.iter().filter_map(|binding| match &binding.source {
            Source::Schedules(_) => None,
            Source::Policy { id, .. } => Some(id.clone()),
        });
        each(asked, async |id| self.source.policy(id, now, deadline).await).await
    }

    async fn members(&self, bindings: &[Binding], deadline: Deadline) -> Readings<GroupId, GroupMembers> {
        let asked = bindings.iter().flat_map(|binding| [Some(binding.group.clone()), binding.eligible_group.clone()]);
        each(asked.flatten(), async |id| {
            let members = self.okta.members(id, deadline).await?;
            Ok(members.into_iter().map(|(id, m)| (id, Member { active: m.active, login: m.login })).collect())
        })
        .await
    }

    /// Who the people on call are at Okta, each looked up once.
    async fn identities(
        &self,
        bindings: &[Binding],
        on_call: &[Result<Vec<shift::Shift>>],
        deadline: Deadline,
    ) -> BTreeMap<PersonId, Identity> {
        let mut emails = BTreeMap::new();
        for (binding, shifts) in bindings.iter().zip(on_call) {
            for shift in shifts.iter().flatten() {
                let Who::Person { id, email, .. } = &shift.who else { continue };
                let said_elsewhere = binding.identities.contains_key(id) || binding.placeholders.contains(id);
                // A policy's answer has the address, a schedule's has not.
                if !said_elsewhere && emails.get(id).is_none_or(|known| *known == Email::NotSaid) {
                    emails.insert(id.clone(), email.clone());
                }
            }
        }
        let vendors = (&self.source, &self.okta);
        let found = each(emails.keys().cloned(), async |id| {
            Ok(self.people.identify(id, emails.get(id).unwrap_or(&Email::NotSaid), vendors, deadline).await)
        });
        found.await.into_iter().filter_map(|(id, identity)| Some((id, identity.ok()?))).collect()
    }
}

/// The shifts of one binding, each with the Okta user.
fn identified(binding: &Binding, on_call: Vec<shift::Shift>, identities: &BTreeMap<PersonId, Identity>) -> Vec<Shift> {
    let shift = |shift: shift::Shift| {
        let Who::Person { id, .. } = shift.who else { return None };
        let okta = match binding.identities.get(&id) {
            Some(okta) => Identity::Known(okta.clone()),
            None => identities.get(&id).cloned().unwrap_or_else(|| Identity::Unresolved("not looked up".to_owned())),
        };
        Some(Shift { person: id, okta, start: shift.start, end: shift.end })
    };
    on_call.into_iter().filter_map(shift).collect()
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

/// The shifts that go on now in a binding's schedules or policy, if all of them were read.
fn current(
    binding: &Binding,
    schedules: &Readings<ScheduleId, Vec<shift::Shift>>,
    policies: &Readings<PolicyId, Levels>,
    now: DateTime<Utc>,
) -> Result<Vec<shift::Shift>> {
    let unread = || Error::new(Code::SourceNotRead, "The source was not read.", "Report it as a defect of Keyturn.");
    let mut all = Vec::new();
    match &binding.source {
        Source::Schedules(ids) => {
            for id in ids {
                all.extend(schedules.get(id).cloned().unwrap_or_else(|| Err(unread()))?);
            }
        }
        Source::Policy { id, levels } => {
            let shifts = policies.get(id).cloned().unwrap_or_else(|| Err(unread()))?;
            all.extend(shifts.into_iter().filter(|(level, _)| levels.contains(level)).map(|(_, shift)| shift));
        }
    }
    Ok(joined(&all, now))
}

/// The shifts that go on now, each with the end of the last one that follows without a break for the same person.
fn joined(all: &[shift::Shift], now: DateTime<Utc>) -> Vec<shift::Shift> {
    let mut current: Vec<shift::Shift> =
        all.iter().filter(|shift| knowledge::covers(shift.start, shift.end, now)).cloned().collect();
    for shift in &mut current {
        let follows = |end: DateTime<Utc>, next: &shift::Shift| {
            next.who == shift.who
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

fn known_members(groups: &Readings<GroupId, GroupMembers>, id: &GroupId) -> Members {
    match groups.get(id) {
        Some(Ok(members)) => Members::Complete(members.clone()),
        Some(Err(why)) => Members::Unknown { why: why.clone() },
        None => Members::Unknown {
            why: Error::new(Code::GroupNotRead, "The group was not read.", "Report it as a defect of Keyturn."),
        },
    }
}

fn known_eligible(groups: &Readings<GroupId, GroupMembers>, id: Option<&GroupId>) -> Eligible {
    let Some(id) = id else { return Eligible::Everyone };
    match known_members(groups, id) {
        Members::Complete(members) => Eligible::Only(members.into_keys().collect()),
        Members::Unknown { why } => Eligible::Unknown { why },
    }
}

/// A document that is encrypted. Parameter Store does not change the type of a parameter that exists.
fn not_text(name: &str) -> Error {
    Error::new(
        Code::BindingInvalid,
        format!("The parameter {name} is no binding: it is a SecureString, and this function decrypts no parameter."),
        format!(
            "Store it as String; a document holds nothing secret: aws ssm delete-parameter --name {name} && aws ssm put-parameter --type String --name {name} --value file://binding.json"
        ),
    )
}

/// What is known of a ledger that no good document names.
fn left_over(bindings: &Bindings, id: BindingId, group: GroupId, ledger: Ledger) -> View {
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
        ledger: Remembered::Known(ledger),
    }
}

fn gone(id: &BindingId, group: &GroupId) -> Error {
    Error::new(
        Code::BindingGone,
        format!("No document speaks of binding {id} with group {group} any more, but people are still in it."),
        "Nothing to do: each of them leaves when their shift ends, or max_stale after it was last confirmed.",
    )
}
