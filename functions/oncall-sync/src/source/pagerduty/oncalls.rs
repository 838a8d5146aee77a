//! `GET /oncalls`: who is on call for many schedules, or many escalation policies, page by page.

use super::errors::Call;
use super::shape::{User, present, shape, shift, who};
use crate::source::shift::{Levels, Shift};
use chrono::{DateTime, Utc};
use keyturn::clock::instant;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// PagerDuty's upper bound of `limit`.
const PER_PAGE: &str = "100";
/// Pages come one after another: more would take longer than asking for each id alone.
const MOST_PAGES: usize = 10;
/// Ids in one request: a look ahead of so many schedules with three shifts a day has 6 pages.
const MOST_IDS: usize = 25;
/// Bytes that they may take of the URL, which stays below 2 KB.
const ROOM: usize = 1800;

/// What the ids of a request are ids of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Schedules,
    Policies,
}

impl Filter {
    fn name(self) -> &'static str {
        match self {
            Self::Schedules => "schedule_ids[]",
            Self::Policies => "escalation_policy_ids[]",
        }
    }

    /// The ids of each request.
    pub(super) fn chunks<'a>(self, ids: &'a [&'a str]) -> impl Iterator<Item = &'a [&'a str]> {
        let longest = ids.iter().map(|id| id.len()).max().unwrap_or_default();
        // The brackets take three bytes each.
        let each = "&=".len() + self.name().len() + 4 + longest;
        ids.chunks((ROOM / each).clamp(1, MOST_IDS))
    }

    /// The request for the entries from `offset` on. Without `include[]=users` they hold no email addresses.
    pub(super) fn call(self, ids: &[&str], since: DateTime<Utc>, until: DateTime<Utc>, offset: usize) -> Call {
        let (since, until, offset) = (instant(since), instant(until), offset.to_string());
        let mut fields: Vec<(&str, &str)> = ids.iter().map(|id| (self.name(), *id)).collect();
        fields.extend([
            ("include[]", "users"),
            ("since", &since),
            ("until", &until),
            ("limit", PER_PAGE),
            ("offset", &offset),
        ]);
        Call::with_query("/oncalls", &fields)
    }

    /// The id that an entry is about. `None`: the person is on the policy directly, through no schedule.
    fn id_of(self, entry: &Value) -> Result<Option<String>, String> {
        Ok(match self {
            Self::Schedules => shape::<OfSchedule>(entry.clone())?.schedule.map(|schedule| schedule.id),
            Self::Policies => Some(shape::<OfPolicy>(entry.clone())?.escalation_policy.id),
        })
    }
}

#[derive(Deserialize)]
struct Page {
    oncalls: Vec<Value>,
    offset: usize,
    more: bool,
}

#[derive(Deserialize)]
struct OfSchedule {
    #[serde(deserialize_with = "present")]
    schedule: Option<Reference>,
}

#[derive(Deserialize)]
struct OfPolicy {
    escalation_policy: Reference,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(deserialize_with = "present")]
    user: Option<User>,
    escalation_level: u32,
    #[serde(deserialize_with = "present")]
    start: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "present")]
    end: Option<DateTime<Utc>>,
}

/// The pages read so far.
pub(super) struct Reading {
    filter: Filter,
    /// The entries, by the id that they are about.
    found: BTreeMap<String, Vec<Value>>,
    pages: usize,
    /// Where the next page begins; `None` when every page is read.
    pub(super) next_offset: Option<usize>,
}

impl Reading {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, found: BTreeMap::new(), pages: 0, next_offset: Some(0) }
    }

    /// Adds the page that begins at `next_offset`.
    pub(super) fn take(&mut self, answer: Value) -> Result<(), String> {
        let page: Page = shape(answer)?;
        if Some(page.offset) != self.next_offset {
            return Err("another page than asked for".to_owned());
        }
        if page.more && page.oncalls.is_empty() {
            return Err("an empty page with more to come".to_owned());
        }
        self.pages += 1;
        if page.more && self.pages == MOST_PAGES {
            return Err("too many pages".to_owned());
        }
        self.next_offset = page.more.then_some(page.offset + page.oncalls.len());
        for entry in page.oncalls {
            if let Some(id) = self.filter.id_of(&entry)? {
                self.found.entry(id).or_default().push(entry);
            }
        }
        Ok(())
    }

    /// The entries about this id, in the window; maybe none. One that is strange spoils them all, and no other id's.
    pub(super) fn entries(&mut self, id: &str) -> Result<Levels, String> {
        self.found.remove(id).unwrap_or_default().into_iter().map(read).collect()
    }
}

fn read(entry: Value) -> Result<(u32, Shift), String> {
    let entry: Entry = shape(entry)?;
    Ok((entry.escalation_level, shift(who(entry.user), entry.start, entry.end)?))
}
