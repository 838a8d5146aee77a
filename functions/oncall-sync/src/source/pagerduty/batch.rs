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
//! that nobody is on call. Nor does `/oncalls` say which rotation a shift is of: where that counts, a schedule is read
//! alone.

use super::oncalls::{Filter, Reading};
use super::{Call, PagerDuty, errors};
use crate::codes::Code;
use crate::source::shift::{Levels, Parts, Shift, Who};
use crate::source::{Asked, OnCall, Window};
use chrono::{DateTime, Utc};
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

/// What became of one request for many ids.
enum Pages {
    Read(Reading),
    Unclear(Error),
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
    /// Reads all shifts in the window, overrides included, of the schedules and policies in `asked`. Without an access token
    /// nothing is asked.
    ///
    /// Whatever is not exactly what the vendor documents is an error, so that it can never be taken for "nobody is on
    /// call". So is a policy that names nobody at any level.
    pub(crate) async fn on_call(&self, asked: &Asked, window: Window, deadline: Deadline) -> OnCall {
        if asked.is_empty() {
            return OnCall::default();
        }
        if let Err(why) = self.authorize(deadline).await {
            return unknown(asked, &why);
        }
        // In this order: a schedule alone that hangs must not keep the requests for many waiting.
        let (schedules, policies, by_part) = tokio::join!(
            biased;
            self.schedules(&asked.schedules, window, deadline),
            self.policies(&asked.policies, window, deadline),
            self.turns.one_by_one(asked.by_part.iter().cloned().collect(), window.now, deadline, async |id: &ScheduleId| {
                self.schedule(id, window, deadline).await
            }),
        );
        OnCall { schedules, by_part: by_part.into_iter().collect(), policies }
    }

    async fn schedules(
        &self,
        ids: &BTreeSet<ScheduleId>,
        window: Window,
        deadline: Deadline,
    ) -> BTreeMap<ScheduleId, Result<Vec<Shift>>> {
        let asked: Vec<&str> = ids.iter().map(ScheduleId::as_str).collect();
        let mut said = self.together(Filter::Schedules, &asked, window, half(deadline)).await;
        let mut read = BTreeMap::new();
        let mut alone = Vec::new();
        for id in ids {
            match said.remove(id.as_str()) {
                Some(Said::Entries(levels)) if names_somebody(&levels, window.now, window.now) => {
                    read.insert(id.clone(), Ok(each_once(levels)));
                }
                Some(Said::Failed(why)) => {
                    read.insert(id.clone(), Err(why));
                }
                Some(Said::Entries(_) | Said::Unclear(_)) | None => alone.push(id.clone()),
            }
        }
        let whole = async |id: &ScheduleId| {
            let Parts { shifts, .. } = self.schedule(id, window, deadline).await?;
            Ok(shifts.into_iter().map(|(_, shift)| shift).collect())
        };
        read.extend(self.turns.one_by_one(alone, window.now, deadline, whole).await);
        read
    }

    async fn policies(
        &self,
        ids: &BTreeSet<PolicyId>,
        window: Window,
        deadline: Deadline,
    ) -> BTreeMap<PolicyId, Result<Levels>> {
        let asked: Vec<&str> = ids.iter().map(PolicyId::as_str).collect();
        let mut said = self.together(Filter::Policies, &asked, window, half(deadline)).await;
        // A policy that was asked for alone is not asked for once more.
        let is_hidden = |id: &&PolicyId| ids.len() > 1 && matches!(said.get(id.as_str()), Some(Said::Unclear(_)));
        let alone = ids.iter().filter(is_hidden).cloned().collect();
        let ask = async |id: &PolicyId| self.together(Filter::Policies, &[id.as_str()], window, deadline).await;
        said.extend(
            self.turns.one_by_one(alone, window.now, deadline, ask).await.into_iter().flat_map(|(_, said)| said),
        );
        let mut policy = |id: &PolicyId| match said.remove(id.as_str()) {
            Some(Said::Entries(levels)) if names_somebody(&levels, window.now, window.named_until) => Ok(levels),
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
        let chunks = filter.chunks(ids).map(Chunk).collect();
        let ask = async |Chunk(ids): &Chunk<'_>| self.chunk(filter, ids, window, deadline).await;
        let said = self.turns.one_by_one(chunks, window.now, deadline, ask).await;
        said.into_iter().flat_map(|(_, said)| said).collect()
    }

    async fn chunk(&self, filter: Filter, ids: &[&str], window: Window, deadline: Deadline) -> BTreeMap<String, Said> {
        let mut pages = self.pages(filter, ids, window, deadline).await;
        let said = |id: &&str| match &mut pages {
            Ok(Pages::Read(reading)) => match reading.entries(id) {
                Ok(levels) => Said::Entries(levels),
                Err(why) => Said::Failed(Call::new("/oncalls").strange(&why)),
            },
            Ok(Pages::Unclear(why)) => Said::Unclear(why.clone()),
            Err(why) => Said::Failed(why.clone()),
        };
        ids.iter().map(|id| (*id).to_owned()).zip(ids.iter().map(said)).collect()
    }

    /// Every page, one after another.
    async fn pages(&self, filter: Filter, ids: &[&str], window: Window, deadline: Deadline) -> Result<Pages> {
        let mut reading = Reading::new(filter);
        while let Some(offset) = reading.next_offset() {
            let call = filter.call(ids, window.now, window.until, offset);
            if reading.is_endless() {
                return Ok(Pages::Unclear(call.strange("too many pages")));
            }
            match self.page(&call, &mut reading, deadline).await {
                Ok(()) => {}
                Err(why) if is_of_this_request(&why) => return Ok(Pages::Unclear(why)),
                Err(why) => return Err(why),
            }
        }
        Ok(Pages::Read(reading))
    }

    async fn page(&self, call: &Call, reading: &mut Reading, deadline: Deadline) -> Result<()> {
        let answer = self.found(call, deadline).await?;
        reading.take(answer).map_err(|why| call.strange(&why))
    }
}

/// Whether the same might be answered otherwise for other ids.
fn is_of_this_request(why: &Error) -> bool {
    [Code::PagerdutyForbidden, Code::PagerdutyNotFound, Code::PagerdutyCallFailed, Code::PagerdutyAnswerStrange]
        .into_iter()
        .any(|code| why.is(code))
}

/// One request that hangs must leave time to read others alone.
fn half(deadline: Deadline) -> Deadline {
    deadline.at_most(deadline.remaining() / 2)
}

/// Whether anybody is on call at some instant from `now` to `until`.
fn names_somebody(levels: &Levels, now: DateTime<Utc>, until: DateTime<Utc>) -> bool {
    let is_within =
        |shift: &Shift| shift.start.is_none_or(|start| start <= until) && shift.end.is_none_or(|end| now < end);
    levels.iter().any(|(_, shift)| shift.who != Who::Nobody && is_within(shift))
}

/// Nothing is known of anything, for one reason.
fn unknown(asked: &Asked, why: &Error) -> OnCall {
    OnCall {
        schedules: asked.schedules.iter().map(|id| (id.clone(), Err(why.clone()))).collect(),
        by_part: asked.by_part.iter().map(|id| (id.clone(), Err(why.clone()))).collect(),
        policies: asked.policies.iter().map(|id| (id.clone(), Err(why.clone()))).collect(),
    }
}

/// A schedule's shifts: each has an entry for every policy and level that the schedule is in.
pub(super) fn each_once(levels: Levels) -> Vec<Shift> {
    let mut shifts = Vec::new();
    for (_, shift) in levels {
        if !shifts.contains(&shift) {
            shifts.push(shift);
        }
    }
    shifts
}
