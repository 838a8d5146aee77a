//! All schedules and policies in few requests.
//!
//! | what `/oncalls` says of an id | a schedule | a policy |
//! |---|---|---|
//! | somebody is on call now (for a look ahead: in its time) | is known | is known |
//! | nobody is | is read alone | is unknown: `PAGERDUTY_POLICY_EMPTY` |
//! | an entry is strange | is unknown | is unknown |
//! | for all of them a refusal, a 5xx, a strange answer, or too many pages | is read alone | is asked for alone |
//! | for all of them no answer, 429, or a bad credential | is unknown | is unknown |
//!
//! A schedule that is in no policy, or may not be seen there, looks like one without anybody: only its own reading proves
//! that nobody is on call. Nor does `/oncalls` say which rotation a shift is of: where that counts for any binding, a
//! schedule is read alone for all of them.

use super::oncalls::{Filter, Reading};
use super::{Call, PagerDuty, errors, found};
use crate::codes::Code;
use crate::source::shift::{Levels, Part, Parts, Shift, Who};
use crate::source::{Asked, OnCall, Window};
use keyturn::ids::{PolicyId, ScheduleId};
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

/// What `/oncalls` says of one id.
enum Said {
    /// Its entries in the window, maybe none.
    Entries(Levels),
    /// Nothing came of the whole request, and another id may be to blame.
    Unclear(Error),
    Failed(Error),
}

/// The ids of one request.
struct Chunk<'a>(&'a [&'a str]);

impl Display for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One id alone has a turn of its own.
        write!(f, "together:{}", self.0.join(","))
    }
}

impl PagerDuty {
    /// Reads all shifts in the window, overrides included, of the schedules and policies in `asked`.
    ///
    /// Whatever is not exactly what the vendor documents is an error, so that it can never be taken for "nobody is on
    /// call". So is a policy that names nobody at any level.
    ///
    /// # Errors
    /// Why there is no credential to ask with; nothing is asked then.
    pub(crate) async fn on_call(&self, asked: &Asked, window: Window, deadline: Deadline) -> Result<OnCall> {
        if asked.schedules.is_empty() && asked.policies.is_empty() {
            return Ok(OnCall::default());
        }
        self.authorize(deadline).await?;
        // In this order: a schedule alone that hangs must not keep the requests for many waiting.
        let (mut schedules, policies, by_part) = tokio::join!(
            biased;
            self.schedules(&asked.schedules - &asked.by_part, window, deadline),
            self.policies(&asked.policies, window, deadline),
            self.alone(asked.by_part.iter().cloned().collect(), window, deadline),
        );
        schedules.extend(by_part);
        Ok(OnCall { schedules, policies })
    }

    async fn schedules(
        &self,
        ids: BTreeSet<ScheduleId>,
        window: Window,
        deadline: Deadline,
    ) -> BTreeMap<ScheduleId, Result<Parts>> {
        let asked: Vec<&str> = ids.iter().map(ScheduleId::as_str).collect();
        let mut said = self.together(Filter::Schedules, &asked, window, deadline).await;
        let mut read = BTreeMap::new();
        let mut unread = Vec::new();
        for id in ids {
            match said.remove(id.as_str()) {
                Some(Said::Entries(levels)) if names_somebody(&levels, window) => {
                    read.insert(id, Ok(each_once(levels)));
                }
                Some(Said::Failed(why)) => {
                    read.insert(id, Err(why));
                }
                Some(Said::Entries(_) | Said::Unclear(_)) | None => unread.push(id),
            }
        }
        read.extend(self.alone(unread, window, deadline).await);
        read
    }

    /// Reads each of these schedules by itself.
    async fn alone(
        &self,
        ids: Vec<ScheduleId>,
        window: Window,
        deadline: Deadline,
    ) -> Vec<(ScheduleId, Result<Parts>)> {
        let read = async |id: &ScheduleId| self.schedule(id, window, deadline).await;
        self.turns.one_by_one(ids, window.now, deadline, read).await
    }

    async fn policies(
        &self,
        ids: &BTreeSet<PolicyId>,
        window: Window,
        deadline: Deadline,
    ) -> BTreeMap<PolicyId, Result<Levels>> {
        let asked: Vec<&str> = ids.iter().map(PolicyId::as_str).collect();
        let mut said = self.together(Filter::Policies, &asked, window, deadline).await;
        // A policy that was asked for alone is not asked for once more.
        let is_hidden = |id: &&PolicyId| ids.len() > 1 && matches!(said.get(id.as_str()), Some(Said::Unclear(_)));
        let hidden = ids.iter().filter(is_hidden).cloned().collect();
        let ask = async |id: &PolicyId| self.chunk(Filter::Policies, &[id.as_str()], window, deadline).await;
        let alone = self.turns.one_by_one(hidden, window.now, deadline, ask).await;
        said.extend(alone.into_iter().flat_map(|(_, said)| said));
        let mut policy = |id: &PolicyId| match said.remove(id.as_str()) {
            Some(Said::Entries(levels)) if names_somebody(&levels, window) => Ok(levels),
            Some(Said::Unclear(why) | Said::Failed(why)) => Err(why),
            Some(Said::Entries(_)) | None => Err(errors::empty_policy(id)),
        };
        ids.iter().map(|id| (id.clone(), policy(id))).collect()
    }

    /// Asks for all ids in chunks, a few chunks at a time: first those for which there was no time before.
    async fn together(
        &self,
        filter: Filter,
        ids: &[&str],
        window: Window,
        deadline: Deadline,
    ) -> BTreeMap<String, Said> {
        // One request that hangs must leave time to read others alone.
        let deadline = deadline.at_most(deadline.remaining() / 2);
        let chunks = filter.chunks(ids).map(Chunk).collect();
        let ask = async |Chunk(ids): &Chunk<'_>| self.chunk(filter, ids, window, deadline).await;
        let said = self.turns.one_by_one(chunks, window.now, deadline, ask).await;
        said.into_iter().flat_map(|(_, said)| said).collect()
    }

    async fn chunk(&self, filter: Filter, ids: &[&str], window: Window, deadline: Deadline) -> Vec<(String, Said)> {
        let mut reading = self.pages(filter, ids, window, deadline).await;
        let said = |id: &&str| match &mut reading {
            Ok(reading) => match reading.entries(id) {
                Ok(levels) => Said::Entries(levels),
                Err(why) => Said::Failed(Call::new("/oncalls").strange(&why)),
            },
            Err(why) if is_of_this_request(why) => Said::Unclear(why.clone()),
            Err(why) => Said::Failed(why.clone()),
        };
        ids.iter().map(|id| (*id).to_owned()).zip(ids.iter().map(said)).collect()
    }

    /// Every page, one after another.
    async fn pages(&self, filter: Filter, ids: &[&str], window: Window, deadline: Deadline) -> Result<Reading> {
        let mut reading = Reading::new(filter);
        while let Some(offset) = reading.next_offset {
            let call = filter.call(ids, window.now, window.until, offset);
            let page = found(&call, &self.ask(&call, deadline).await?)?;
            reading.take(page).map_err(|why| call.strange(&why))?;
        }
        Ok(reading)
    }
}

/// Whether the same might be answered otherwise for other ids.
fn is_of_this_request(why: &Error) -> bool {
    [Code::PagerdutyForbidden, Code::PagerdutyNotFound, Code::PagerdutyCallFailed, Code::PagerdutyAnswerStrange]
        .into_iter()
        .any(|code| why.is(code))
}

/// Whether it is certain that the id can be seen: somebody is on call for it.
fn names_somebody(levels: &Levels, Window { now, named_until, .. }: Window) -> bool {
    let is_within =
        |shift: &Shift| shift.start.is_none_or(|start| start <= named_until) && shift.end.is_none_or(|end| now < end);
    levels.iter().any(|(_, shift)| shift.who != Who::Nobody && is_within(shift))
}

/// A schedule's shifts: each has an entry for every policy and level that the schedule is in.
pub(super) fn each_once(levels: Levels) -> Parts {
    let mut shifts = Vec::new();
    for (_, shift) in levels {
        let shift = (Part::NotSaid, shift);
        if !shifts.contains(&shift) {
            shifts.push(shift);
        }
    }
    Parts { rotations: BTreeSet::new(), shifts }
}
