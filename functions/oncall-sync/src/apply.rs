//! Applies plans: store the intent, revoke, grant, read the groups back, store the outcome.
//!
//! The revokes of all bindings come first, and wait for no alert. Every call may be made twice: adding a member, and removing
//! a person who is no member, changes nothing.

use crate::codes::Code;
use crate::knowledge::{Reading, Standing};
use crate::lock;
use crate::observe::{Observer, View};
use crate::okta::{self, Membership, Outcome, Status};
use crate::planner::{Grant, Notice, Plan, Revoke, Settled};
use crate::telemetry::alerts;
use crate::telemetry::audit::{self, Tally};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::alert::{Alert, Channel, Channels};
use keyturn::clock::Clock;
use keyturn::ids::OktaId;
use keyturn::ledger::{Change, Ledger, Remembered, Untold};
use keyturn::parameters::{self, Parameters};
use keyturn::vendor::AT_ONCE;
use keyturn::{Deadline, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
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
    /// The plan's ledger, brought in line with what has been done since.
    next: Remembered,
    /// The version of the ledger's parameter; `None` after a write that was not answered.
    version: Option<i64>,
    pub(crate) stored: bool,
    /// The ledger is longer than a parameter may be.
    is_too_long: bool,
    asked_to_store: bool,
    /// Changes of earlier ticks that are still to be logged.
    unlogged: Vec<Settled>,
    /// People whom Okta was asked to add or to remove, and who it said are.
    accepted: BTreeSet<OktaId>,
    failed: Vec<(OktaId, Error)>,
    /// People whose grant was announced. `apply` begins no other grant.
    pub(crate) announced: BTreeSet<OktaId>,
    pub(crate) revoked: BTreeSet<OktaId>,
    pub(crate) granted: BTreeSet<OktaId>,
    members_after: Option<usize>,
}

impl Work {
    /// What the planner decides.
    pub(crate) fn of(view: View, now: DateTime<Utc>) -> Self {
        let plan = view.plan(now);
        Self::new(view, plan)
    }

    pub(crate) fn new(view: View, plan: Plan) -> Self {
        Self {
            next: plan.intent.clone(),
            version: Some(view.version),
            unlogged: plan.settled.clone(),
            view,
            plan,
            stored: false,
            is_too_long: false,
            asked_to_store: false,
            accepted: BTreeSet::new(),
            failed: Vec::new(),
            announced: BTreeSet::new(),
            revoked: BTreeSet::new(),
            granted: BTreeSet::new(),
            members_after: None,
        }
    }

    /// Whether the group shows every planned change.
    pub(crate) fn is_finished(&self) -> bool {
        self.unfinished().is_empty()
    }

    /// Whether the group shows every planned change, but for those whose failure says nothing of others.
    pub(crate) fn is_finished_but_for_one_alone(&self) -> bool {
        let is_of_one =
            |error: &Error| Code::is_of_one_alone(error) || self.is_too_long && error.is(Code::LedgerNotStored);
        self.unfinished().into_iter().all(|(_, okta)| self.error_of(okta).is_some_and(is_of_one))
    }

    /// The planned changes that the group does not show.
    fn unfinished(&self) -> Vec<(&'static str, &OktaId)> {
        let revokes = self.plan.revokes.iter().map(|revoke| ("revoke", &revoke.okta));
        let revokes = revokes.filter(|(_, okta)| !self.revoked.contains(*okta));
        let grants = self.plan.grants.iter().map(|grant| ("grant", &grant.okta));
        revokes.chain(grants.filter(|(_, okta)| !self.granted.contains(*okta))).collect()
    }

    /// Changes that failed, each with the reason.
    pub(crate) fn refused(&self) -> Vec<Notice> {
        let grants = self.plan.grants.iter().filter_map(|grant| {
            Some(Notice::NotGranted { why: said(self.error_of(&grant.okta)?), person: grant.person.clone()? })
        });
        // A wrong group is told as that.
        let revokes = self.plan.revokes.iter().filter_map(|revoke| {
            let error = self.error_of(&revoke.okta).filter(|error| !Code::is_about_the_group(error))?;
            Some(Notice::NotRevoked { why: said(error), okta: revoke.okta.clone() })
        });
        grants.chain(revokes).collect()
    }

    /// Logs the changes of earlier ticks, once the ledger says that they are done: no later tick logs them again.
    fn log_settled(&mut self, now: DateTime<Utc>) {
        for settled in std::mem::take(&mut self.unlogged) {
            let (Settled::Granted(okta) | Settled::Revoked(Revoke { okta, .. })) = &settled;
            audit::settled(&self.view.binding, &settled, self.login(okta), now);
        }
    }

    /// A person's login, as the group or the ledger had it; empty where neither knows.
    fn login(&self, okta: &OktaId) -> &str {
        let member = self.view.members.listed().and_then(|members| members.get(okta));
        let remembered = || self.view.ledger.known().and_then(|ledger| ledger.people.get(okta));
        member
            .map(|member| member.login.as_str())
            .or_else(|| remembered().map(|known| known.login.as_str()))
            .unwrap_or("")
    }

    /// Why a change is not finished.
    pub(crate) fn why_unfinished(&self, okta: &OktaId) -> String {
        self.error_of(okta).map_or_else(|| "the group does not show it yet".to_owned(), said)
    }

    fn error_of(&self, okta: &OktaId) -> Option<&Error> {
        self.failed.iter().find(|(failed, _)| failed == okta).map(|(_, error)| error)
    }

    /// The changes that are done and still to be told.
    fn news(&self) -> Vec<(OktaId, Untold)> {
        if let Some(ledger) = self.next.known() {
            return ledger.news(&self.accepted);
        }
        // No ledger keeps these for the next tick: they are told now or never.
        let done = self.plan.revokes.iter().filter(|revoke| self.accepted.contains(&revoke.okta));
        done.map(|Revoke { okta, reason, due, .. }| {
            let change = Change::Revoked { reason: *reason, due: *due };
            (okta.clone(), Untold { change, channels: Channel::all() })
        })
        .collect()
    }

    /// Notes whom the group shows to have come or left, each once, and logs it.
    fn note(&mut self, members: &okta::Members, now: DateTime<Utc>) {
        self.members_after = Some(members.len());
        for revoke in self.plan.revokes.clone() {
            let seen = self.accepted.contains(&revoke.okta) && !members.contains_key(&revoke.okta);
            if seen && self.revoked.insert(revoke.okta.clone()) {
                self.next.known_mut().into_iter().for_each(|ledger| ledger.has_left(&revoke.okta, now));
                let login = self.login(&revoke.okta).to_owned();
                audit::settled(&self.view.binding, &Settled::Revoked(revoke), &login, now);
            }
        }
        for okta in self.plan.grants.iter().map(|grant| grant.okta.clone()).collect::<Vec<_>>() {
            let Some(member) = members.get(&okta).filter(|_| self.accepted.contains(&okta)) else { continue };
            if self.granted.insert(okta.clone()) {
                self.next
                    .known_mut()
                    .into_iter()
                    .for_each(|ledger| ledger.has_come(&okta, &member.login, &member.email));
                audit::settled(&self.view.binding, &Settled::Granted(okta), &member.login, now);
            }
        }
    }
}

/// An alert about a change in the work of this number.
struct News {
    work: usize,
    okta: OktaId,
    change: Change,
    channels: BTreeSet<Channel>,
    alert: Alert,
}

/// Everything that writes: ledgers, groups, alerts.
pub(crate) struct Applier {
    ledger_path: String,
    parameters: Parameters,
    pub(crate) membership: Membership,
    pub(crate) channels: Channels,
    observer: Arc<Observer>,
    clock: Clock,
}

impl Applier {
    pub(crate) fn new(
        ledger_path: String,
        parameters: Parameters,
        membership: Membership,
        channels: Channels,
        observer: Arc<Observer>,
        clock: Clock,
    ) -> Self {
        Self { ledger_path, parameters, membership, channels, observer, clock }
    }

    /// Applies the plans. Gives back how many alerts were not taken.
    pub(crate) async fn apply(&self, works: &mut [Work], deadline: Deadline) -> usize {
        let begin = deadline.at_most(deadline.remaining().saturating_sub(RESERVE));
        // Parameter Store takes few writes a second: ledgers with changes come first.
        works.sort_by_key(|work| work.plan.is_quiet());
        intend(works);
        // One limit for all of them together, or a queue of slow writes would use up the time of the revokes.
        let writing = begin.at_most(STORE);
        all(works, |work| self.store_intent(work, writing)).await;
        all(works, |work| self.revoke(work, begin)).await;
        let news = self.news(works);
        let working = async {
            // The ledgers that were not stored in time: a grant needs its intent stored, and can wait for it.
            all(works, |work| self.store_intent(work, begin)).await;
            let silent = Mutex::default();
            let failed: usize = all(works, |work| self.grant(work, &silent, begin)).await.into_iter().sum();
            all(works, |work| self.verify(work, begin)).await;
            failed
        };
        let (told, failed) = tokio::join!(self.tell_changes(news, begin), working);
        let mut untaken = failed;
        for (News { work, okta, change, .. }, left) in told {
            untaken += left.len();
            works[work].next.known_mut().into_iter().for_each(|ledger| ledger.was_told(&okta, &change, &left));
        }
        // The next tick finds out by itself what is not stored by then.
        let writing = deadline.at_most(STORE);
        all(works, |work| self.store_outcome(work, writing)).await;
        untaken
    }

    fn news(&self, works: &[Work]) -> Vec<News> {
        let now = self.clock.now();
        let of_work = |(number, work): (usize, &Work)| {
            let binding = work.view.binding.clone();
            work.news().into_iter().map(move |(okta, Untold { change, channels })| {
                let alert = alerts::of_change(&binding, &okta, &change, now);
                News { work: number, okta, change, channels, alert }
            })
        };
        works.iter().enumerate().flat_map(of_work).collect()
    }

    /// Sends alerts, a few at a time. Gives back each with the channels that did not take it.
    async fn tell_changes(&self, news: Vec<News>, deadline: Deadline) -> Vec<(News, BTreeSet<Channel>)> {
        let send = async |news: News| {
            let untaken = self.channels.send(&news.alert, &news.channels, deadline).await;
            (news, untaken)
        };
        stream::iter(news).map(send).buffer_unordered(AT_ONCE).collect().await
    }

    async fn store_intent(&self, work: &mut Work, deadline: Deadline) {
        let waiting = !work.stored && !deadline.remaining().is_zero();
        if !waiting || (work.asked_to_store && work.plan.grants.is_empty()) {
            return;
        }
        work.asked_to_store = true;
        work.stored = self.store(work, deadline).await;
        if work.stored {
            work.log_settled(self.clock.now());
        }
    }

    /// Stores a ledger if it differs. Safe to repeat: the whole of it is written each time.
    async fn store(&self, work: &mut Work, deadline: Deadline) -> bool {
        let refresh = work.view.binding.max_stale / 4;
        match (&work.view.ledger, &work.next) {
            (_, Remembered::Never(_) | Remembered::Unreadable { .. }) => true,
            (Remembered::Known(old), Remembered::Known(next)) if !old.is_outdated_by(next, refresh) => true,
            _ => self.put(work, deadline).await,
        }
    }

    /// Stores the ledger of before this work.
    pub(crate) async fn store_again(&self, work: &mut Work, deadline: Deadline) {
        if let (Some(next), Some(old)) = (work.next.known(), work.view.ledger.known()) {
            let mut old = old.clone();
            old.serial = next.serial;
            work.next = Remembered::Known(old);
            self.put(work, deadline).await;
        }
    }

    async fn put(&self, work: &mut Work, deadline: Deadline) -> bool {
        let binding = work.view.binding.id.clone();
        let name = format!("{}/{binding}.{}", self.ledger_path, work.view.binding.group);
        let known = match work.version {
            Some(version) => Ok(version),
            // The write before may have come through, though nobody said so.
            None => self.last_version(&name, deadline.at_most(STORE)).await,
        };
        let version = match known {
            Ok(version) => version + 1,
            Err(error) => {
                audit::ledger_not_stored(&binding, &error);
                return false;
            }
        };
        let Some(ledger) = work.next.known_mut() else { return false };
        (ledger.serial, ledger.version, ledger.moved_to) = (ledger.serial + 1, version, None);
        let Ok(text) = ledger.text() else { return false };
        work.is_too_long = text.len() > parameters::LONGEST;
        match self.parameters.put(&name, &text, deadline.at_most(STORE)).await {
            Ok(version) => {
                work.version = Some(version);
                true
            }
            Err(error) => {
                work.version = None;
                audit::ledger_not_stored(&binding, &error);
                false
            }
        }
    }

    /// 0 where there is no such parameter.
    async fn last_version(&self, name: &str, deadline: Deadline) -> Result<i64, Error> {
        let versions = self.parameters.history(name, deadline).await?;
        Ok(versions.last().map_or(0, |(version, _)| *version))
    }

    /// Says in ledgers of bindings that have another name by now that they do not count any more: break-glass reads them by name.
    /// Safe to repeat.
    pub(crate) async fn mark_moved(&self, moved: Vec<(String, Ledger)>, deadline: Deadline) {
        for (name, ledger) in moved {
            let Ok(text) = ledger.text() else { continue };
            let name = format!("{}/{name}", self.ledger_path);
            if let Err(error) = self.parameters.put(&name, &text, deadline.at_most(STORE)).await {
                audit::error(&error);
            }
        }
    }

    async fn revoke(&self, work: &mut Work, deadline: Deadline) {
        for revoke in work.plan.revokes.clone() {
            match self.take_out(work, &revoke, deadline).await {
                Ok(()) => {
                    work.accepted.insert(revoke.okta);
                }
                Err(error) => work.failed.push((revoke.okta, error)),
            }
        }
    }

    async fn take_out(&self, work: &Work, revoke: &Revoke, deadline: Deadline) -> Result<(), Error> {
        self.observer.people.forget(&revoke.okta);
        let group = &work.view.binding.group;
        match self.membership.remove(group, &revoke.okta, deadline).await? {
            Outcome::Done => Ok(()),
            // No document that is followed names the group: it may have been deleted.
            Outcome::NotFound if work.view.standing != Standing::Followed => Ok(()),
            // No member any more, no user any more, or no group any more: only the last is wrong.
            Outcome::NotFound if self.observer.okta.group(group, deadline).await?.is_some() => Ok(()),
            Outcome::NotFound => {
                self.observer.groups.forget_one(group);
                Err(Error::of(Code::GroupNotFound, format!("Okta has no group {group} any more.")))
            }
        }
    }

    /// Adds people, each after the user was read once more, and after the alert. A channel that was `silent` for one is not
    /// waited for again. Gives back how many alerts were not taken.
    async fn grant(&self, work: &mut Work, silent: &Mutex<BTreeSet<Channel>>, deadline: Deadline) -> usize {
        let mut untaken = 0;
        for grant in work.plan.grants.clone() {
            // Without the intent in the ledger, no later tick would know when the grant ends.
            let outcome = if work.stored {
                self.put_in(work, &grant, silent, deadline, &mut untaken).await
            } else {
                Err(Error::of(Code::LedgerNotStored, "The ledger was not stored."))
            };
            match outcome {
                Ok(()) => {
                    work.accepted.insert(grant.okta);
                }
                Err(error) => work.failed.push((grant.okta, error)),
            }
        }
        untaken
    }

    async fn put_in(
        &self,
        work: &mut Work,
        grant: &Grant,
        silent: &Mutex<BTreeSet<Channel>>,
        deadline: Deadline,
        untaken: &mut usize,
    ) -> Result<(), Error> {
        let binding = &work.view.binding;
        let (user, fits) = tokio::try_join!(
            self.observer.okta.user(&grant.okta, deadline),
            self.observer.people.address_of(grant, binding, &self.observer.source, deadline)
        )?;
        if !user.is_some_and(|user| user.status == Status::Active && fits.is_of(&user)) {
            self.observer.people.forget(&grant.okta);
            return Err(Error::of(
                Code::UserNotActive,
                format!(
                    "The Okta user {} does not exist, is not ACTIVE, or has another email address by now.",
                    grant.okta
                ),
            ));
        }
        *untaken += self.announce(work, grant, silent, deadline.at_most(ALERT)).await;
        let binding = &work.view.binding;
        match self.membership.add(&binding.group, &grant.okta, deadline).await? {
            Outcome::Done => Ok(()),
            Outcome::NotFound => {
                self.observer.groups.forget_one(&binding.group);
                self.observer.people.forget(&grant.okta);
                Err(Error::of(
                    Code::GroupNotFound,
                    format!("Okta has no group {} any more, or no user {}.", binding.group, grant.okta),
                ))
            }
        }
    }

    /// Sends the alert of a grant to the channels that have not taken it. Gives back how many did not take it now.
    async fn announce(
        &self,
        work: &mut Work,
        grant: &Grant,
        silent: &Mutex<BTreeSet<Channel>>,
        deadline: Deadline,
    ) -> usize {
        work.announced.insert(grant.okta.clone());
        let change = Change::Granted { why: grant.why.clone(), until: grant.until };
        let alert = alerts::of_change(&work.view.binding, &grant.okta, &change, self.clock.now());
        let Some(ledger) = work.next.known_mut() else { return 0 };
        let untold = ledger.people.get(&grant.okta).into_iter().flat_map(|person| &person.untold);
        let Some(channels) =
            untold.filter(|untold| untold.change == change).map(|untold| untold.channels.clone()).next()
        else {
            return 0;
        };
        let silent = || lock(silent);
        let skipped = &channels & &silent();
        let mut untaken = self.channels.send(&alert, &(&channels - &skipped), deadline).await;
        if deadline.remaining().is_zero() {
            silent().extend(&untaken);
        }
        untaken.extend(skipped);
        ledger.was_told(&grant.okta, &change, &untaken);
        untaken.len()
    }

    /// Reads the group until it shows every change. Okta's lists may lag behind its changes.
    ///
    /// A loop and not a retry: each reading counts for the people whom it shows, and running out of time is no failure.
    async fn verify(&self, work: &mut Work, deadline: Deadline) {
        if work.accepted.is_empty() {
            return;
        }
        let deadline = deadline.at_most(VERIFY);
        let mut pause = POLL;
        loop {
            match self.observer.okta.members(&work.view.binding.group, deadline).await {
                Ok(members) => work.note(&members, self.clock.now()),
                Err(_) if work.view.standing != Standing::Followed && self.is_gone(work, deadline).await => {
                    work.note(&okta::Members::new(), self.clock.now());
                }
                Err(error) => audit::unknown(&work.view.binding.id, "members", &error),
            }
            if work.revoked.len() + work.granted.len() >= work.accepted.len() || deadline.remaining() <= pause {
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn is_gone(&self, work: &Work, deadline: Deadline) -> bool {
        matches!(self.observer.okta.group(&work.view.binding.group, deadline).await, Ok(None))
    }

    /// Stores what the group shows and what was told, and logs what is left.
    async fn store_outcome(&self, work: &mut Work, deadline: Deadline) {
        let people = |ledger: &Remembered| ledger.known().map(|ledger| ledger.people.clone());
        let is_new = people(&work.next) != people(&work.plan.intent);
        // Twice: what is told, and not stored, is told again.
        if (is_new || !work.unlogged.is_empty()) && (self.put(work, deadline).await || self.put(work, deadline).await) {
            work.log_settled(self.clock.now());
        }
        for (what, user) in work.unfinished() {
            audit::unfinished(&work.view.binding, what, user, &work.why_unfinished(user));
        }
        let now = self.clock.now();
        audit::binding_done(&work.view.binding.id, &tally(work, now));
    }
}

fn said(error: &Error) -> String {
    format!("{} ({})", error.message(), error.code())
}

fn intend(works: &[Work]) {
    for Work { view, plan, .. } in works {
        plan.revokes.iter().for_each(|revoke| audit::revoke_intended(&view.binding, revoke));
        plan.grants.iter().for_each(|grant| audit::grant_intended(&view.binding, grant));
    }
}

fn tally(work: &Work, now: DateTime<Utc>) -> Tally {
    let members = work.view.members.listed().map(BTreeMap::len);
    let wrong = work.view.unknown().filter(|(_, why)| Code::needs_a_person(why)).count();
    let settled = if work.unlogged.is_empty() { work.plan.settled.as_slice() } else { &[] };
    let revoked = settled.iter().filter(|settled| matches!(settled, Settled::Revoked(_))).count();
    Tally {
        source_age: source_age(&work.view, now),
        members: work.members_after.or(members),
        granted: work.granted.len() + settled.len() - revoked,
        revoked: work.revoked.len() + revoked,
        unresolved: work.plan.notices.len()
            + work.unfinished().len()
            + usize::from(work.asked_to_store && !work.stored)
            + wrong.max(usize::from(members.is_none())),
        brake_pulled: work.plan.notices.iter().any(|notice| matches!(notice, Notice::Brake { .. })),
        overstay: work.plan.revokes.iter().map(|revoke| revoke.overstay(now)).max(),
    }
}

/// Does `each` for every binding, a few at a time.
async fn all<'a, T, F: Future<Output = T>>(works: &'a mut [Work], each: impl Fn(&'a mut Work) -> F) -> Vec<T> {
    stream::iter(works.iter_mut()).map(each).buffer_unordered(AT_ONCE).collect().await
}

/// How long ago the source was last read; of a document that names none, nothing is said: its age would only grow.
fn source_age(view: &View, now: DateTime<Utc>) -> Option<TimeDelta> {
    let is_read = |reading: &Reading| !matches!(reading, Reading::Unknown { why } if Code::needs_a_person(why));
    if view.standing != Standing::Followed || !is_read(&view.reading) {
        return None;
    }
    let stored = match (&view.ledger, &view.reading) {
        (Remembered::Known(ledger), Reading::Unknown { .. }) => ledger.confirmed_at,
        _ => None,
    };
    view.last_reading.max(stored).map(|read_at| (now - read_at).max(TimeDelta::zero()))
}
