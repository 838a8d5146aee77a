//! Finding out: every schedule, policy and group once, at the same time, with bounded concurrency.

use crate::binding::{Binding, Bindings, Source};
use crate::ids::{BindingId, GroupId, OktaId, PagerDutyId, PolicyId, ScheduleId};
use crate::knowledge::{self, Eligible, Identity, Member, Members, Reading, Shift};
use crate::ledger::{Ledger, Remembered};
use crate::pagerduty::{self, Email, Who};
use crate::{OncallSync, audit};
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::parameters::Parameter;
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// So many requests to one vendor at a time: far below both vendors' limits, and enough for 200 bindings in a few seconds.
pub const AT_ONCE: usize = 8;

/// How a binding stands with its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is followed.
    Followed,
    /// Its document is bad: nothing changes but that shifts end, and grants by hand.
    Refused,
    /// There is no document any more: everyone's time runs out.
    Abandoned,
}

/// Everything found out about one binding.
#[derive(Debug)]
pub struct View {
    /// How it stands.
    pub standing: Standing,
    /// The binding.
    pub binding: Binding,
    /// Who is on call.
    pub reading: Reading,
    /// Who is in the group.
    pub members: Members,
    /// Who may be.
    pub eligible: Eligible,
    /// What is remembered.
    pub ledger: Remembered,
}

/// Everything found out.
#[derive(Debug)]
pub struct Sight {
    /// What can be planned with.
    pub views: Vec<View>,
    /// Documents that cannot be followed, by the parameter's name.
    pub bad: BTreeMap<String, Error>,
}

/// Everything read of a vendor, by what it was asked for.
type Readings<K, T> = BTreeMap<K, Result<T>>;

type People = BTreeMap<OktaId, Member>;

/// Shifts, each with its level.
type Levels = Vec<(u32, pagerduty::Shift)>;

impl OncallSync {
    /// The documents and the ledgers.
    ///
    /// # Errors
    /// `NO_BINDINGS`, and what Parameter Store can say: without its ledger nobody's time can be known.
    pub(crate) async fn configuration(&self, deadline: Deadline) -> Result<(Bindings, Vec<Parameter>)> {
        let (documents, ledgers) = tokio::try_join!(
            self.parameters.below(&self.settings.config_path, deadline),
            self.parameters.below(&self.settings.ledger_path, deadline),
        )?;
        if documents.is_empty() && ledgers.is_empty() {
            return Err(Error::new(
                "NO_BINDINGS",
                format!("There is no parameter below {}, so nobody is looked after.", self.settings.config_path),
                format!(
                    "Store one document per binding: aws ssm put-parameter --type String --name {}/shop --value file://binding.json",
                    self.settings.config_path
                ),
            ));
        }
        Ok((Bindings::read(documents.iter().map(|p| (p.name.as_str(), p.value.as_str()))), ledgers))
    }

    /// Looks at everything, or at what concerns `only` one binding.
    ///
    /// # Errors
    /// As [`OncallSync::configuration`]; what a vendor does not say is unknown, not an error.
    pub(crate) async fn look(&self, only: Option<&BindingId>, now: DateTime<Utc>, deadline: Deadline) -> Result<Sight> {
        let (bindings, ledgers) = self.configuration(deadline).await?;
        let mut ledgers = Ledgers::read(ledgers);
        let mut good = bindings.good.clone();
        good.retain(|binding| only.is_none_or(|only| binding.id == *only));
        // One schedule that hangs must leave time for the others' people to be looked up.
        let reading = deadline.at_most(deadline.remaining() * 3 / 5);
        let (shifts, policies, groups, refused) = tokio::join!(
            self.schedules(&good, now, reading),
            self.policies(&good, now, reading),
            self.groups(&good, reading),
            self.refused_groups(&good, reading),
        );
        let on_call: Vec<Result<Vec<pagerduty::Shift>>> =
            good.iter().map(|binding| current(binding, &shifts, &policies, now)).collect();
        let identities = self.identities(&good, &on_call, deadline).await;
        let mut views = Vec::new();
        for (binding, on_call) in good.into_iter().zip(on_call) {
            let ledger = ledgers.take(&binding);
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
            views.extend(ledgers.leftover(&bindings));
        }
        Ok(Sight { views, bad: bindings.bad })
    }

    async fn schedules(
        &self,
        bindings: &[Binding],
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Readings<ScheduleId, Vec<pagerduty::Shift>> {
        let asked = bindings.iter().flat_map(|binding| match &binding.source {
            Source::Schedules(schedules) => schedules.iter().cloned().collect(),
            Source::Policy { .. } => Vec::new(),
        });
        each(asked, async |id| self.pagerduty.schedule(id, now, deadline).await).await
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
        each(asked, async |id| self.pagerduty.policy(id, now, deadline).await).await
    }

    async fn groups(&self, bindings: &[Binding], deadline: Deadline) -> Readings<GroupId, People> {
        let asked = bindings.iter().flat_map(|binding| [Some(binding.group.clone()), binding.eligible_group.clone()]);
        each(asked.flatten(), async |id| {
            let members = self.okta.members(id, deadline).await?;
            Ok(members.into_iter().map(|(id, m)| (id, Member { active: m.active, login: m.login })).collect())
        })
        .await
    }

    /// Bindings whose group is not what the document says, or not known to be.
    async fn refused_groups(&self, bindings: &[Binding], deadline: Deadline) -> BTreeMap<BindingId, Error> {
        let by_id: BTreeMap<&BindingId, &Binding> = bindings.iter().map(|binding| (&binding.id, binding)).collect();
        let checks = each(by_id.keys().copied().cloned(), async |id| match by_id.get(id) {
            Some(binding) => self.groups_checked.check(binding, &self.okta, deadline).await,
            None => Ok(()),
        });
        checks.await.into_iter().filter_map(|(id, check)| Some((id, check.err()?))).collect()
    }

    /// Who the people on call are at Okta, each looked up once.
    async fn identities(
        &self,
        bindings: &[Binding],
        on_call: &[Result<Vec<pagerduty::Shift>>],
        deadline: Deadline,
    ) -> BTreeMap<PagerDutyId, Identity> {
        let mut emails = BTreeMap::new();
        for (binding, shifts) in bindings.iter().zip(on_call) {
            for shift in shifts.iter().flatten() {
                let Who::Person { id, email, .. } = &shift.who else { continue };
                let said_elsewhere = binding.identities.contains_key(id) || binding.placeholders.contains(id);
                // A policy says the address, a schedule does not.
                if !said_elsewhere && emails.get(id).is_none_or(|known| *known == Email::NotSaid) {
                    emails.insert(id.clone(), email.clone());
                }
            }
        }
        let vendors = (&self.pagerduty, &self.okta);
        let found = each(emails.keys().cloned(), async |id| {
            Ok(self.people.identify(id, emails.get(id).unwrap_or(&Email::NotSaid), vendors, deadline).await)
        });
        found.await.into_iter().filter_map(|(id, identity)| Some((id, identity.ok()?))).collect()
    }
}

/// The shifts of one binding's source, each with who that is at Okta.
fn identified(
    binding: &Binding,
    on_call: Vec<pagerduty::Shift>,
    identities: &BTreeMap<PagerDutyId, Identity>,
) -> Vec<Shift> {
    let shift = |shift: pagerduty::Shift| {
        let Who::Person { id, .. } = shift.who else { return None };
        let okta = match binding.identities.get(&id) {
            Some(okta) => Identity::Known(okta.clone()),
            None => identities.get(&id).cloned().unwrap_or_else(|| Identity::Unresolved("not looked up".to_owned())),
        };
        Some(Shift { pagerduty: id, okta, start: shift.start, end: shift.end })
    };
    on_call.into_iter().filter_map(shift).collect()
}

/// Does `call` for each thing once, a few at a time.
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

/// Whoever is on call by the binding's source now, if all of it is known.
fn current(
    binding: &Binding,
    schedules: &Readings<ScheduleId, Vec<pagerduty::Shift>>,
    policies: &Readings<PolicyId, Levels>,
    now: DateTime<Utc>,
) -> Result<Vec<pagerduty::Shift>> {
    let unread = || Error::new("SOURCE_NOT_READ", "The source was not read.", "Report it as a defect of Keyturn.");
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
fn joined(all: &[pagerduty::Shift], now: DateTime<Utc>) -> Vec<pagerduty::Shift> {
    let mut current: Vec<pagerduty::Shift> =
        all.iter().filter(|shift| knowledge::covers(shift.start, shift.end, now)).cloned().collect();
    for shift in &mut current {
        let follows = |end: DateTime<Utc>, next: &pagerduty::Shift| {
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

fn known_members(groups: &Readings<GroupId, People>, id: &GroupId) -> Members {
    match groups.get(id) {
        Some(Ok(members)) => Members::Complete(members.clone()),
        Some(Err(why)) => Members::Unknown { why: why.clone() },
        None => Members::Unknown {
            why: Error::new("GROUP_NOT_READ", "The group was not read.", "Report it as a defect of Keyturn."),
        },
    }
}

fn known_eligible(groups: &Readings<GroupId, People>, id: Option<&GroupId>) -> Eligible {
    let Some(id) = id else { return Eligible::Everyone };
    match known_members(groups, id) {
        Members::Complete(members) => Eligible::Only(members.into_keys().collect()),
        Members::Unknown { why } => Eligible::Unknown { why },
    }
}

/// Each ledger, by `<binding>.<group>`, which is what its parameter is called: another group is another ledger.
struct Ledgers(BTreeMap<(BindingId, GroupId), Remembered>);

impl Ledgers {
    fn read(parameters: Vec<Parameter>) -> Self {
        let mut ledgers = BTreeMap::new();
        for Parameter { name, value } in parameters {
            let key = name.rsplit('/').next().and_then(|last| last.split_once('.'));
            let key = key.and_then(|(id, group)| Some((id.try_into().ok()?, group.try_into().ok()?)));
            let Some((id, group)): Option<(BindingId, GroupId)> = key else {
                audit::stranger_among_ledgers(&name);
                continue;
            };
            let ledger = match serde_json::from_str::<Ledger>(&value) {
                Ok(ledger) if ledger.group == group => Remembered::Known(ledger),
                _ => {
                    audit::ledger_unreadable(&name);
                    Remembered::Lost
                }
            };
            ledgers.insert((id, group), ledger);
        }
        Self(ledgers)
    }

    /// The ledger of a binding's group, under its name or under another one: then the binding was renamed.
    fn take(&mut self, binding: &Binding) -> Remembered {
        // Whatever its name was: the one that was kept up last. Nobody else may speak of a group that is looked after.
        self.latest_of(&binding.group).map_or(Remembered::Lost, |(_, ledger)| ledger)
    }

    /// Takes all ledgers of a group out, and gives back the one that was confirmed last.
    fn latest_of(&mut self, group: &GroupId) -> Option<(BindingId, Remembered)> {
        let of_group = self.0.extract_if(.., |(_, other), _| other == group);
        let confirmed_at = |ledger: &Remembered| match ledger {
            Remembered::Known(ledger) => Some(ledger.confirmed_at),
            Remembered::Lost => None,
        };
        of_group.max_by_key(|(_, ledger)| confirmed_at(ledger)).map(|((id, _), ledger)| (id, ledger))
    }

    /// The ledgers that no good document speaks of, as long as people are in them.
    fn leftover(mut self, bindings: &Bindings) -> Vec<View> {
        let groups: BTreeSet<GroupId> = self.0.keys().map(|(_, group)| group.clone()).collect();
        let view = |group: GroupId| {
            let (id, ledger) = self.latest_of(&group)?;
            let people = matches!(&ledger, Remembered::Known(ledger) if !ledger.rows.is_empty());
            let (standing, why) = match bindings.error_of(&id) {
                Some(error) => (Standing::Refused, error.clone()),
                None => (Standing::Abandoned, gone(&id, &group)),
            };
            people.then(|| View {
                standing,
                binding: Binding::abandoned(id, group),
                reading: Reading::Unknown { why: why.clone() },
                members: Members::Unknown { why },
                eligible: Eligible::Everyone,
                ledger,
            })
        };
        groups.into_iter().filter_map(view).collect()
    }
}

fn gone(id: &BindingId, group: &GroupId) -> Error {
    Error::new(
        "BINDING_GONE",
        format!("No document speaks of binding {id} with group {group} any more, but people are still in it."),
        "Nothing to do: each of them leaves when their shift ends, or max_stale after it was last confirmed.",
    )
}
