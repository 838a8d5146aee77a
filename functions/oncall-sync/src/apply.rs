//! Applies plans: store the intent, revoke, grant, read the groups back, store the outcome.
//!
//! The revokes of all bindings come first, and wait for no alert. Every call may be made twice: adding a member, and removing
//! a person who is no member, changes nothing.

use crate::codes::Code;
use crate::knowledge::{Reading, Standing};
use crate::lock;
use crate::observe::ledgers::written_last;
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
use keyturn::ledger::{Change, Ledger, Remembered, State, Untold};
use keyturn::parameters::{self, NotStored, Parameters};
use keyturn::vendor::AT_ONCE;
use keyturn::{Deadline, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// No change begins later than this before the deadline.
pub(crate) const RESERVE: Duration = Duration::from_secs(10);
/// How long revokes wait for ledgers to be stored.
const STORE: Duration = Duration::from_secs(5);
/// How long outcomes of changes are waited for: what is not stored is told again.
const OUTCOMES: Duration = Duration::from_secs(15);
/// How long the function looks, after that, whether writes came through that were not answered.
const LOOKS: Duration = Duration::from_secs(2);
/// As many as Parameter Store takes in a second by default ("AWS Systems Manager endpoints and quotas"): of more, one might be
/// refused again and again.
const WRITES_AT_ONCE: usize = 3;
/// A grant waits this long for its alert.
const ALERT: Duration = Duration::from_secs(3);
/// How long Okta's lists may lag behind what was changed.
const VERIFY: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(250);

/// How far the change of one person has come.
enum Step {
    /// Okta said that it is done.
    Accepted,
    /// The group shows it.
    Seen,
    Failed(Error),
}

/// The version of a ledger's parameter in Parameter Store, as far as this tick knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Known(i64),
    /// It was read after a write that was not answered, and that may still take effect.
    Read(i64),
    /// The last write was not answered.
    Unclear,
}

impl Version {
    fn number(self) -> Option<i64> {
        match self {
            Self::Known(number) | Self::Read(number) => Some(number),
            Self::Unclear => None,
        }
    }
}

/// One binding, its plan, and how far it has come.
pub(crate) struct Work {
    pub(crate) view: View,
    pub(crate) plan: Plan,
    /// The plan's ledger, brought in line with what has been done since.
    next: Remembered,
    /// The ledger that was stored last, if any was.
    saved: Option<Ledger>,
    version: Version,
    /// Parameter Store has the plan's ledger: later ticks know what is begun here.
    pub(crate) stored: bool,
    /// The ledger is longer than a parameter may be.
    is_too_long: bool,
    steps: BTreeMap<OktaId, Step>,
    /// The alert of a grant was sent.
    pub(crate) announced: bool,
    /// Changes of earlier ticks that the group shows, and that are still to be logged.
    earlier: Vec<Settled>,
    /// The same of this tick.
    seen: Vec<Settled>,
    /// Changes that have their line in the log.
    logged: Vec<Settled>,
    members_after: Option<usize>,
    /// How many alerts were not taken.
    untaken: usize,
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
            saved: None,
            version: Version::Known(view.version),
            stored: false,
            is_too_long: false,
            steps: BTreeMap::new(),
            announced: false,
            earlier: plan.settled.clone(),
            seen: Vec::new(),
            logged: Vec::new(),
            members_after: None,
            untaken: 0,
            view,
            plan,
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
        let grants = self.plan.grants.iter().map(|grant| ("grant", &grant.okta));
        revokes.chain(grants).filter(|(_, okta)| !self.is_seen(okta)).collect()
    }

    /// Whether the group shows the change of this person.
    pub(crate) fn is_seen(&self, okta: &OktaId) -> bool {
        matches!(self.steps.get(okta), Some(Step::Seen))
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

    /// Why a change is not finished.
    pub(crate) fn why_unfinished(&self, okta: &OktaId) -> String {
        self.error_of(okta).map_or_else(|| "the group does not show it yet".to_owned(), said)
    }

    fn error_of(&self, okta: &OktaId) -> Option<&Error> {
        match self.steps.get(okta) {
            Some(Step::Failed(error)) => Some(error),
            _ => None,
        }
    }

    fn take(&mut self, okta: OktaId, outcome: Result<(), Error>) {
        self.steps.insert(okta, outcome.map_or_else(Step::Failed, |()| Step::Accepted));
    }

    /// The changes that are done and still to be told.
    fn news(&self) -> Vec<(OktaId, Untold)> {
        let is_accepted = |okta: &OktaId| matches!(self.steps.get(okta), Some(Step::Accepted | Step::Seen));
        if let Some(ledger) = self.next.known() {
            return ledger.news(is_accepted);
        }
        // No ledger keeps these for the next tick: they are told now or never.
        let done = self.plan.revokes.iter().filter(|revoke| is_accepted(&revoke.okta));
        done.map(|Revoke { okta, reason, due, .. }| {
            let change = Change::Revoked { reason: *reason, due: *due };
            (okta.clone(), Untold { change, channels: Channel::all() })
        })
        .collect()
    }

    /// Notes whom the group shows to have come or left, each once.
    fn note(&mut self, members: &okta::Members, now: DateTime<Utc>) {
        self.members_after = Some(members.len());
        let revokes = self.plan.revokes.iter().cloned().map(Settled::Revoked);
        let grants = self.plan.grants.iter().map(|grant| Settled::Granted(grant.okta.clone()));
        for change in revokes.chain(grants) {
            let okta = change.okta();
            let member = members.get(okta);
            let is_so = member.is_some() == matches!(change, Settled::Granted(_));
            let Some(step @ Step::Accepted) = self.steps.get_mut(okta).filter(|_| is_so) else { continue };
            *step = Step::Seen;
            match (self.next.known_mut(), member) {
                (Some(ledger), Some(member)) => ledger.has_come(okta, &member.login, &member.email),
                (Some(ledger), None) => ledger.has_left(okta, now),
                (None, _) => {}
            }
            self.seen.push(change);
        }
    }

    /// Logs what the group shows, unless a later tick will: whatever the ledger still says to be begun.
    fn log(&mut self, now: DateTime<Utc>) {
        let is_over = self.is_saved() || self.is_unclear();
        // Of a person who came in an earlier tick and left in this one, `planner::plan` of the next tick finds no grant.
        let has_moved = |change: &Settled| matches!(self.steps.get(change.okta()), Some(Step::Seen));
        // Each ledger that is stored in this tick says that the group shows the changes of earlier ones.
        let is_known = is_over || self.saved.is_some();
        let earlier: Vec<Settled> = self.earlier.extract_if(.., |change| is_known || has_moved(change)).collect();
        let last = self.saved.as_ref().or(self.view.ledger.known());
        let is_begun = |change: &Settled| last.is_some_and(|last| last.is_begun(change.okta()));
        let seen: Vec<Settled> = self.seen.extract_if(.., |change| is_over || !is_begun(change)).collect();
        for change in earlier.into_iter().chain(seen) {
            audit::settled(&self.view.binding, &change, self.login(change.okta()), now);
            self.logged.push(change);
        }
    }

    /// A person's login, as the group or the ledger had it; empty where neither knows.
    fn login(&self, okta: &OktaId) -> &str {
        let member = self.view.members.listed().and_then(|members| members.get(okta));
        let ledgers = [&self.next, &self.view.ledger].into_iter().filter_map(Remembered::known);
        let remembered = ledgers.filter_map(|ledger| ledger.people.get(okta)).map(|person| person.login.as_str());
        member.map(|member| member.login.as_str()).into_iter().chain(remembered).next().unwrap_or_default()
    }

    /// Whether the ledger says nothing new but that the same was read again, not long after it: then the next tick may store it.
    fn can_wait(&self) -> bool {
        self.earlier.is_empty() && self.is_numbered() && self.says(self.view.binding.max_stale / 2)
    }

    /// The ledger that the parameter holds, as far as is known.
    fn last(&self) -> Option<&Ledger> {
        self.saved.as_ref().or(self.view.ledger.known())
    }

    /// Whether that ledger names the parameter's version. A write that was repeated has another one, and break-glass believes
    /// none that differs.
    fn is_numbered(&self) -> bool {
        self.last().is_none_or(|last| Some(last.version) == self.version.number())
    }

    /// Whether the parameter says what is to be remembered. Where there is no ledger, nothing is.
    pub(crate) fn is_saved(&self) -> bool {
        self.next.known().is_none() || self.says(self.view.binding.max_stale / 4)
    }

    /// Whether the parameter is known to say the same, confirmed no longer than `refresh` ago.
    fn says(&self, refresh: TimeDelta) -> bool {
        let saved = self.last().filter(|_| !self.is_unclear());
        saved.zip(self.next.known()).is_some_and(|(saved, next)| !saved.is_outdated_by(next, refresh))
    }

    /// Whether the parameter says that this person is held out.
    pub(crate) fn holds(&self, okta: &OktaId) -> bool {
        let last = self.last().filter(|_| !self.is_unclear());
        last.is_some_and(|last| matches!(last.state(okta), Some(State::Held(_))))
    }

    /// Whether a write was not answered, so that nobody knows what the parameter says.
    fn is_unclear(&self) -> bool {
        self.version == Version::Unclear
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
    pub(crate) ledger_path: String,
    pub(crate) parameters: Parameters,
    pub(crate) membership: Membership,
    pub(crate) channels: Channels,
    pub(crate) observer: Arc<Observer>,
    pub(crate) clock: Clock,
}

impl Applier {
    /// Applies the plans. Gives back how many alerts were not taken.
    pub(crate) async fn apply(&self, works: &mut [Work], deadline: Deadline) -> usize {
        let begin = deadline.at_most(deadline.remaining().saturating_sub(RESERVE));
        intend(works);
        // Parameter Store takes few writes a second: a ledger that only says what was read waits until all changes are made.
        // One limit for the others together, or a queue of slow writes would use up the time of the revokes.
        let writing = begin.at_most(STORE);
        let changing = works.iter_mut().filter(|work| !work.plan.is_quiet());
        all(changing, WRITES_AT_ONCE, |work| self.store_intent(work, writing)).await;
        all(works.iter_mut(), AT_ONCE, |work| self.revoke(work, begin)).await;
        let news = self.news(works);
        let working = async {
            let silent = Mutex::default();
            // A grant needs its intent stored. Whose was not stored in time keeps nobody else waiting, and its group is read back
            // in any case.
            let late = |work: &&mut Work| !work.stored && !work.plan.grants.is_empty();
            let (late, ready): (Vec<_>, Vec<_>) = works.iter_mut().partition(late);
            let storing = begin.at_most(begin.remaining().saturating_sub(VERIFY));
            let writers = Semaphore::new(WRITES_AT_ONCE);
            let finish = async |work: &mut Work| {
                self.grant(work, &silent, begin).await;
                self.verify(work, begin).await;
            };
            tokio::join!(
                all(ready.into_iter(), AT_ONCE, &finish),
                all(late.into_iter(), AT_ONCE, async |work| {
                    let writer = writers.acquire().await;
                    self.store_intent(work, storing).await;
                    drop(writer);
                    finish(work).await;
                }),
            );
        };
        let send = async |news: News| (self.channels.send(&news.alert, &news.channels, begin).await, news);
        let telling = stream::iter(news).map(send).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let (told, ()) = tokio::join!(telling, working);
        for (left, News { work, okta, change, .. }) in told {
            works[work].untaken += left.len();
            works[work].next.known_mut().into_iter().for_each(|ledger| ledger.was_told(&okta, &change, &left));
        }
        // Of ledgers that can wait, the one that was stored longest ago comes first.
        works.sort_by_cached_key(|work| (work.can_wait(), work.view.ledger.known().and_then(|old| old.confirmed_at)));
        let outcomes = deadline.at_most(begin.remaining().clamp(STORE, OUTCOMES));
        let looks = deadline.at_most(outcomes.remaining() + LOOKS);
        let now = self.clock.now();
        all(works.iter_mut(), WRITES_AT_ONCE, |work| self.store_outcome(work, now, outcomes, looks)).await;
        works.iter().map(|work| work.untaken).sum()
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

    async fn store_intent(&self, work: &mut Work, deadline: Deadline) {
        work.stored = !deadline.remaining().is_zero() && self.store(work, deadline).await;
        // After a write that was not answered, the outcome's may still show what the ledger says.
        if work.stored {
            work.log(self.clock.now());
        }
    }

    /// Stores a ledger if it differs; twice if another write came between, so that the text names a version that it has not: no
    /// tick believes such a text. Safe to repeat: the whole ledger is written each time.
    async fn store(&self, work: &mut Work, deadline: Deadline) -> bool {
        self.write(work, deadline).await && (work.is_numbered() || self.write(work, deadline).await)
    }

    async fn write(&self, work: &mut Work, deadline: Deadline) -> bool {
        let binding = work.view.binding.id.clone();
        let version = match self.version(work, deadline).await {
            Ok(version) if work.version == Version::Known(version) && work.is_saved() && work.is_numbered() => {
                return true;
            }
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
        match self.parameters.put(&self.name(work), &text, deadline.at_most(STORE)).await {
            Ok(version) => {
                (work.version, work.saved) = (Version::Known(version), work.next.known().cloned());
                true
            }
            Err(NotStored { error, is_unclear }) => {
                audit::ledger_not_stored(&binding, &error);
                if is_unclear {
                    work.version = Version::Unclear;
                }
                false
            }
        }
    }

    /// Stores what the ledger said before of whoever was to be granted.
    pub(crate) async fn store_again(&self, work: &mut Work, deadline: Deadline) {
        let (Some(next), Some(old)) = (work.next.known_mut(), work.view.ledger.known()) else { return };
        for Grant { okta, .. } in &work.plan.grants {
            match old.people.get(okta) {
                Some(person) => _ = next.people.insert(okta.clone(), person.clone()),
                None => _ = next.people.remove(okta),
            }
        }
        // `planner::plan` must not find again what `audit::settled` has logged.
        for change in &work.logged {
            let okta = change.okta();
            match (change, work.view.members.listed().and_then(|members| members.get(okta))) {
                (Settled::Granted(_), Some(member)) => next.has_come(okta, &member.login, &member.email),
                _ => next.has_left(okta, self.clock.now()),
            }
        }
        // Twice: break-glass honours a grant that stays in the ledger.
        let _ = self.store(work, deadline).await || self.store(work, deadline).await;
    }

    /// The version of the ledger's parameter, 0 where there is none. After a write that was not answered, this asks Parameter
    /// Store whether it took effect.
    async fn version(&self, work: &mut Work, deadline: Deadline) -> Result<i64, Error> {
        if let Some(number) = work.version.number() {
            return Ok(number);
        }
        let versions = self.parameters.history(&self.name(work), deadline.at_most(STORE)).await?;
        // The next tick will go by the same: of two ledgers, also under two names, the one of the higher serial.
        let is_newer = |own: &Ledger| work.last().is_none_or(|last| own.serial > last.serial);
        let newer = written_last(&versions, &work.view.binding.group).filter(is_newer);
        work.saved = newer.or(work.saved.take());
        let number = versions.last().map_or(0, |(version, _)| *version);
        work.version = Version::Read(number);
        Ok(number)
    }

    /// The name of the ledger's parameter.
    fn name(&self, work: &Work) -> String {
        format!("{}/{}.{}", self.ledger_path, work.view.binding.id, work.view.binding.group)
    }

    /// Says in ledgers of bindings that have another name by now that they do not count any more: break-glass reads them by name.
    /// Safe to repeat.
    pub(crate) async fn mark_moved(&self, moved: Vec<(String, Ledger)>, deadline: Deadline) {
        for (name, ledger) in moved {
            let Ok(text) = ledger.text() else { continue };
            let name = format!("{}/{name}", self.ledger_path);
            if let Err(NotStored { error, .. }) = self.parameters.put(&name, &text, deadline.at_most(STORE)).await {
                audit::error(&error);
            }
        }
    }

    async fn revoke(&self, work: &mut Work, deadline: Deadline) {
        for revoke in work.plan.revokes.clone() {
            let outcome = self.take_out(work, &revoke, deadline).await;
            work.take(revoke.okta, outcome);
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
    /// waited for again.
    async fn grant(&self, work: &mut Work, silent: &Mutex<BTreeSet<Channel>>, deadline: Deadline) {
        for grant in work.plan.grants.clone() {
            // Without the intent in the ledger, no later tick would know when the grant ends.
            let outcome = if work.stored {
                self.put_in(work, &grant, silent, deadline).await
            } else {
                Err(Error::of(Code::LedgerNotStored, "The ledger was not stored."))
            };
            work.take(grant.okta, outcome);
        }
    }

    async fn put_in(
        &self,
        work: &mut Work,
        grant: &Grant,
        silent: &Mutex<BTreeSet<Channel>>,
        deadline: Deadline,
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
        self.announce(work, grant, silent, deadline.at_most(ALERT)).await;
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

    /// Sends the alert of a grant to the channels that have not taken it.
    async fn announce(&self, work: &mut Work, grant: &Grant, silent: &Mutex<BTreeSet<Channel>>, deadline: Deadline) {
        work.announced = true;
        let change = Change::Granted { why: grant.why.clone(), until: grant.until };
        let alert = alerts::of_change(&work.view.binding, &grant.okta, &change, self.clock.now());
        let Some(ledger) = work.next.known_mut() else { return };
        let mut untold = ledger.people.get(&grant.okta).into_iter().flat_map(|person| &person.untold);
        let Some(untold) = untold.find(|untold| untold.change == change) else { return };
        let channels = untold.channels.clone();
        let silent = || lock(silent);
        let skipped = &channels & &silent();
        let mut untaken = self.channels.send(&alert, &(&channels - &skipped), deadline).await;
        if deadline.remaining().is_zero() {
            silent().extend(&untaken);
        }
        untaken.extend(skipped);
        ledger.was_told(&grant.okta, &change, &untaken);
        work.untaken += untaken.len();
    }

    /// Reads the group until it shows every change. Okta's lists may lag behind its changes.
    ///
    /// A loop and not a retry: each reading counts for the people whom it shows, and running out of time is no failure.
    async fn verify(&self, work: &mut Work, deadline: Deadline) {
        let is_waiting = |work: &Work| work.steps.values().any(|step| matches!(step, Step::Accepted));
        if !is_waiting(work) {
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
            if !is_waiting(work) || deadline.remaining() <= pause {
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn is_gone(&self, work: &Work, deadline: Deadline) -> bool {
        matches!(self.observer.okta.group(&work.view.binding.group, deadline).await, Ok(None))
    }

    /// Stores what the group shows and what was told, and logs what is done and what is left.
    async fn store_outcome(&self, work: &mut Work, now: DateTime<Utc>, deadline: Deadline, looks: Deadline) {
        let mut is_saved = match work.can_wait() {
            // It is due again with the next tick.
            true if deadline.remaining() < STORE / 2 => true,
            true => self.store(work, deadline).await,
            // A grant by hand that was not begun is not remembered either.
            false if !work.stored && work.plan.grants.iter().any(|grant| grant.person.is_none()) => false,
            // Twice: what is told, and not stored, is told again.
            false => self.store(work, deadline).await || self.store(work, deadline).await,
        };
        if work.is_unclear() {
            is_saved = self.version(work, looks).await.is_ok() && work.is_saved();
        }
        work.log(now);
        for (what, user) in work.unfinished() {
            audit::unfinished(&work.view.binding, what, user, &work.why_unfinished(user));
        }
        audit::binding_done(&work.view.binding.id, &tally(work, is_saved, now));
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

fn tally(work: &Work, is_saved: bool, now: DateTime<Utc>) -> Tally {
    let members = work.view.members.listed().map(BTreeMap::len);
    let wrong = work.view.unknown().filter(|(_, why)| Code::needs_a_person(why)).count();
    let revoked = work.logged.iter().filter(|change| matches!(change, Settled::Revoked(_))).count();
    Tally {
        source_age: source_age(&work.view, now),
        members: work.members_after.or(members),
        granted: work.logged.len() - revoked,
        revoked,
        unresolved: work.plan.notices.len()
            + work.unfinished().len()
            + usize::from(!is_saved)
            + wrong.max(usize::from(members.is_none())),
        brake_pulled: work.plan.notices.iter().any(|notice| matches!(notice, Notice::Brake { .. })),
        overstay: work.plan.revokes.iter().map(|revoke| revoke.overstay(now)).max(),
    }
}

/// Does `each` for every binding, so many at a time.
async fn all<'a, F: Future<Output = ()>>(
    works: impl Iterator<Item = &'a mut Work>,
    at_once: usize,
    each: impl Fn(&'a mut Work) -> F,
) {
    stream::iter(works).map(each).buffer_unordered(at_once).collect::<()>().await;
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
