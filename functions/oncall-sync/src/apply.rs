//! Applies plans: store the intent, revoke, grant, read the groups back, store the outcome.
//!
//! The revokes of all bindings come first, and wait for no alert. Every call may be made twice: adding a member, and removing
//! a person who is no member, changes nothing.

use crate::audit::{self, Tally};
use crate::codes::Code;
use crate::ids::OktaId;
use crate::knowledge::{Members, Reading};
use crate::ledger::{Ledger, Remembered, Told};
use crate::observe::{Standing, View};
use crate::okta::{Added, Removed, Status};
use crate::planner::{Grant, Notice, Plan, Revoke};
use crate::vendor::AT_ONCE;
use crate::{OncallSync, alerts};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::alert::Alert;
use keyturn::{Deadline, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// No change begins later than this before the deadline.
pub(crate) const RESERVE: Duration = Duration::from_secs(10);
/// How long revokes wait for ledgers to be stored.
const STORE: Duration = Duration::from_secs(5);
/// A grant waits this long for its alert.
const ALERT: Duration = Duration::from_secs(3);
/// How long Okta's lists may lag behind what was changed.
const VERIFY: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(250);

/// One binding, its plan, and how far it has come.
pub(crate) struct Work {
    pub(crate) view: View,
    pub(crate) plan: Plan,
    /// Why people are granted, for alerts and logs.
    pub(crate) why: String,
    pub(crate) stored: bool,
    asked_to_store: bool,
    tried: BTreeSet<OktaId>,
    failed: Vec<(OktaId, String)>,
    /// The people whose alert was sent, or is being sent. `apply` begins no other grant.
    pub(crate) told: BTreeMap<OktaId, Told>,
    pub(crate) revoked: BTreeSet<OktaId>,
    pub(crate) granted: BTreeSet<OktaId>,
    members_after: Option<usize>,
}

impl Work {
    pub(crate) fn new(view: View, plan: Plan, why: &str) -> Self {
        Self {
            view,
            plan,
            why: why.to_owned(),
            stored: false,
            asked_to_store: false,
            tried: BTreeSet::new(),
            failed: Vec::new(),
            told: BTreeMap::new(),
            revoked: BTreeSet::new(),
            granted: BTreeSet::new(),
            members_after: None,
        }
    }

    /// Whether the group shows every planned change.
    pub(crate) fn is_finished(&self) -> bool {
        self.plan.revokes.iter().all(|revoke| self.revoked.contains(&revoke.okta))
            && self.plan.grants.iter().all(|grant| self.granted.contains(&grant.okta))
    }

    /// Grants that failed, each with the reason.
    pub(crate) fn grants_refused(&self) -> impl Iterator<Item = Notice> {
        self.plan.grants.iter().filter_map(|grant| {
            let (_, why) = self.failed.iter().find(|(okta, _)| *okta == grant.okta)?;
            Some(Notice::NotGranted { person: grant.person.clone()?, why: why.clone() })
        })
    }
}

impl OncallSync {
    /// Applies the plans. Gives back how many alerts were not taken.
    pub(crate) async fn apply(&self, works: &mut [Work], deadline: Deadline) -> usize {
        let begin = deadline.at_most(deadline.remaining().saturating_sub(RESERVE));
        // Parameter Store takes few writes a second: ledgers with changes come first.
        works.sort_by_key(|work| work.plan.is_quiet());
        intend(works);
        // One limit for all of them together, or a queue of slow writes would use up the time of the revokes.
        let writing = begin.at_most(STORE);
        all(works, |work| self.store_intent(work, writing)).await;
        let now = self.clock.now();
        let mut news = Vec::new();
        for Work { view, plan, told, .. } in works.iter_mut() {
            let new = || plan.revokes.iter().filter(|revoke| !revoke.again);
            news.extend(new().map(|revoke| alerts::of_revoke(&view.binding, revoke, now)));
            told.extend(new().map(|revoke| (revoke.okta.clone(), Told::Revoke)));
        }
        let working = async {
            all(works, |work| self.revoke(work, begin)).await;
            // The ledgers that were not stored in time: a grant needs its intent stored, and can wait for it.
            all(works, |work| self.store_intent(work, begin)).await;
            let failed: usize = all(works, |work| self.grant(work, begin)).await.into_iter().sum();
            all(works, |work| self.verify(work, begin)).await;
            failed
        };
        let (failed, more_failed) = tokio::join!(self.tell(&news, begin), working);
        // The next tick finds out by itself what is not stored by then; alerts need the time that is left.
        let writing = deadline.at_most(STORE);
        all(works, |work| self.store_outcome(work, writing)).await;
        failed + more_failed
    }

    /// Sends alerts, a few at a time. Gives back how many were not taken.
    pub(crate) async fn tell(&self, alerts: &[Alert], deadline: Deadline) -> usize {
        let sent = stream::iter(alerts).map(|alert| self.channels.send(alert, deadline)).buffer_unordered(AT_ONCE);
        sent.collect::<Vec<usize>>().await.into_iter().sum()
    }

    async fn store_intent(&self, work: &mut Work, deadline: Deadline) {
        let waiting = !work.stored && !deadline.remaining().is_zero();
        if waiting && (!work.asked_to_store || !work.plan.grants.is_empty()) {
            work.asked_to_store = true;
            work.stored = self.store(&work.view, &work.plan.intent, deadline).await;
        }
    }

    /// Stores a ledger if it differs. Safe to repeat: the whole of it is written each time.
    async fn store(&self, view: &View, next: &Remembered, deadline: Deadline) -> bool {
        let Remembered::Known(next) = next else { return true };
        let refresh = view.binding.max_stale / 4;
        match &view.ledger {
            Remembered::Known(old) if !old.is_outdated_by(next, refresh) => true,
            _ => self.put(view, next, deadline).await,
        }
    }

    /// Stores a ledger as it was read.
    pub(crate) async fn store_again(&self, view: &View, deadline: Deadline) {
        if let Remembered::Known(ledger) = &view.ledger {
            self.put(view, ledger, deadline).await;
        }
    }

    async fn put(&self, view: &View, ledger: &Ledger, deadline: Deadline) -> bool {
        let binding = &view.binding;
        let name = format!("{}/{}.{}", self.settings.ledger_path, binding.id, binding.group);
        let Ok(text) = serde_json::to_string(ledger) else { return false };
        match self.parameters.put(&name, &text, deadline.at_most(STORE)).await {
            Ok(()) => true,
            Err(error) => {
                audit::ledger_not_stored(&binding.id, &error);
                false
            }
        }
    }

    async fn revoke(&self, work: &mut Work, deadline: Deadline) {
        for revoke in work.plan.revokes.clone() {
            match self.take_out(work, &revoke, deadline).await {
                Ok(()) => {
                    work.tried.insert(revoke.okta);
                }
                Err(error) => work.failed.push((revoke.okta, format!("{} ({})", error.message(), error.code()))),
            }
        }
    }

    async fn take_out(&self, work: &Work, revoke: &Revoke, deadline: Deadline) -> Result<(), Error> {
        self.people.forget(&revoke.okta);
        let group = &work.view.binding.group;
        match self.okta.remove(group, &revoke.okta, deadline).await? {
            Removed::Done => Ok(()),
            // The document was deleted; the group may have been as well.
            Removed::NotFound if work.view.standing == Standing::Abandoned => Ok(()),
            // No member any more, no user any more, or no group any more: only the last is wrong.
            Removed::NotFound if self.okta.group(group, deadline).await?.is_some() => Ok(()),
            Removed::NotFound => {
                self.groups.forget().await;
                Err(Error::new(
                    Code::GroupNotFound,
                    format!("Okta has no group {group} any more."),
                    "Correct okta_group in the binding's document.",
                ))
            }
        }
    }

    /// Adds people, each after the user was read once more, and after the alert. Gives back how many alerts were not taken.
    async fn grant(&self, work: &mut Work, deadline: Deadline) -> usize {
        let mut failed = 0;
        for grant in work.plan.grants.clone() {
            // Without the intent in the ledger, no later tick would know when the grant ends.
            let outcome = if work.stored {
                self.put_in(work, &grant, deadline, &mut failed).await
            } else {
                Err(Error::new(Code::LedgerNotStored, "The ledger was not stored.", "The next tick tries again."))
            };
            match outcome {
                Ok(()) => {
                    work.tried.insert(grant.okta);
                }
                Err(error) => work.failed.push((grant.okta, format!("{} ({})", error.message(), error.code()))),
            }
        }
        failed
    }

    async fn put_in(
        &self,
        work: &mut Work,
        grant: &Grant,
        deadline: Deadline,
        alerts_failed: &mut usize,
    ) -> Result<(), Error> {
        let binding = &work.view.binding;
        let (user, fits) = tokio::try_join!(
            self.okta.user(&grant.okta, deadline),
            self.people.address_of(grant, binding, &self.source, deadline)
        )?;
        if !user.is_some_and(|user| user.status == Status::Active && fits.is_of(&user)) {
            self.people.forget(&grant.okta);
            return Err(Error::new(
                Code::UserNotActive,
                format!(
                    "The Okta user {} does not exist, is not ACTIVE, or has another email address by now.",
                    grant.okta
                ),
                "Activate the user at Okta, or correct \"identities\" in the binding's document.",
            ));
        }
        if !grant.again {
            work.told.insert(grant.okta.clone(), Told::Grant);
            let alert = alerts::of_grant(binding, grant, &work.why, self.clock.now());
            *alerts_failed += self.channels.send(&alert, deadline.at_most(ALERT)).await;
        }
        match self.okta.add(&binding.group, &grant.okta, deadline).await? {
            Added::Done => Ok(()),
            Added::Gone => {
                self.groups.forget().await;
                self.people.forget(&grant.okta);
                Err(Error::new(
                    Code::GroupNotFound,
                    format!("Okta has no group {} any more, or no user {}.", binding.group, grant.okta),
                    "Correct okta_group in the binding's document; invoke {\"action\":\"doctor\"} to see which.",
                ))
            }
        }
    }

    /// Reads the group until it shows every change. Okta's lists may lag behind its changes.
    ///
    /// A loop and not a retry: each reading counts for the people whom it shows, and running out of time is no failure.
    async fn verify(&self, work: &mut Work, deadline: Deadline) {
        if work.tried.is_empty() {
            return;
        }
        let deadline = deadline.at_most(VERIFY);
        let mut pause = POLL;
        loop {
            match self.okta.members(&work.view.binding.group, deadline).await {
                Ok(members) => {
                    work.members_after = Some(members.len());
                    let tried = &work.tried;
                    let done =
                        |okta: &OktaId, member: bool| tried.contains(okta) && members.contains_key(okta) == member;
                    let revoked = work.plan.revokes.iter().filter(|revoke| done(&revoke.okta, false));
                    work.revoked = revoked.map(|revoke| revoke.okta.clone()).collect();
                    let granted = work.plan.grants.iter().filter(|grant| done(&grant.okta, true));
                    work.granted = granted.map(|grant| grant.okta.clone()).collect();
                }
                Err(_) if work.view.standing == Standing::Abandoned && self.is_gone(work, deadline).await => {
                    work.revoked.clone_from(&work.tried);
                }
                Err(error) => audit::unknown(&work.view.binding.id, "members", &error),
            }
            if work.revoked.len() + work.granted.len() >= work.tried.len() || deadline.remaining() <= pause {
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn is_gone(&self, work: &Work, deadline: Deadline) -> bool {
        matches!(self.okta.group(&work.view.binding.group, deadline).await, Ok(None))
    }

    /// Stores what the group shows, and logs it.
    async fn store_outcome(&self, work: &mut Work, deadline: Deadline) {
        let outcome = work.plan.outcome(&work.revoked, &work.granted, &work.told);
        if outcome != work.plan.intent
            && let Remembered::Known(outcome) = &outcome
        {
            self.put(&work.view, outcome, deadline).await;
        }
        let now = self.clock.now();
        for revoke in work.plan.revokes.iter().filter(|revoke| work.revoked.contains(&revoke.okta)) {
            audit::revoked(&work.view.binding, revoke, revoke.due.map(|due| now - due));
        }
        for grant in work.plan.grants.iter().filter(|grant| work.granted.contains(&grant.okta)) {
            audit::granted(&work.view.binding, grant);
        }
        for (what, user) in unfinished(work) {
            let why = work
                .failed
                .iter()
                .find(|(failed, _)| failed == user)
                .map_or("the group does not show it yet", |(_, why)| why);
            audit::unfinished(&work.view.binding, what, user, why);
        }
        audit::binding_done(&work.view.binding.id, &tally(work, now, self.source_age(&work.view, now)));
    }
}

fn intend(works: &[Work]) {
    for Work { view, plan, why, .. } in works {
        for revoke in &plan.revokes {
            audit::revoke_intended(&view.binding, revoke);
        }
        for grant in &plan.grants {
            audit::grant_intended(&view.binding, grant, why);
        }
    }
}

/// The planned changes that the group does not show.
fn unfinished(work: &Work) -> Vec<(&'static str, &OktaId)> {
    let revokes = work.plan.revokes.iter().map(|revoke| ("revoke", &revoke.okta));
    let revokes = revokes.filter(|(_, okta)| !work.revoked.contains(*okta));
    let grants = work.plan.grants.iter().map(|grant| ("grant", &grant.okta));
    revokes.chain(grants.filter(|(_, okta)| !work.granted.contains(*okta))).collect()
}

fn tally(work: &Work, now: DateTime<Utc>, source_age: Option<TimeDelta>) -> Tally {
    let members = match &work.view.members {
        Members::Complete(members) => Some(members.len()),
        Members::Unknown { .. } => None,
    };
    let due = work.plan.revokes.iter().filter_map(|revoke| revoke.due);
    Tally {
        source_age,
        members: work.members_after.or(members),
        granted: work.granted.len(),
        revoked: work.revoked.len(),
        unresolved: work.plan.notices.len() + unfinished(work).len() + usize::from(members.is_none()),
        brake_pulled: work.plan.notices.iter().any(|notice| matches!(notice, Notice::Brake { .. })),
        overstay: due.map(|due| now - due).max(),
    }
}

/// Does `each` for every binding, a few at a time.
async fn all<'a, T, F: Future<Output = T>>(works: &'a mut [Work], each: impl Fn(&'a mut Work) -> F) -> Vec<T> {
    stream::iter(works.iter_mut()).map(each).buffer_unordered(AT_ONCE).collect().await
}

impl OncallSync {
    /// How long ago the source was last read.
    fn source_age(&self, view: &View, now: DateTime<Utc>) -> Option<TimeDelta> {
        let stored = match &view.ledger {
            Remembered::Known(ledger) => ledger.confirmed_at,
            Remembered::Lost => None,
        };
        let read_at = match &view.reading {
            Reading::Known { read_at, .. } => Some(*read_at),
            Reading::Unknown { .. } => self.memory.last_reading(&view.binding.id).max(stored),
        };
        read_at.map(|read_at| (now - read_at).max(TimeDelta::zero()))
    }
}
