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

    /// How many ids of this length a request may have.
    fn most(self, length: usize) -> usize {
        // The brackets take three bytes each.
        let each = "&=".len() + self.name().len() + 4 + length;
        (ROOM / each).clamp(1, MOST_IDS)
    }

    /// The ids of each request.
    pub(super) fn chunks<'a>(self, ids: &'a [&'a str]) -> impl Iterator<Item = &'a [&'a str]> {
        let longest = ids.iter().map(|id| id.len()).max().unwrap_or_default();
        ids.chunks(self.most(longest))
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
    /// By the id; where one entry is strange, why.
    found: BTreeMap<String, Result<Levels, String>>,
    rows: usize,
    pages: usize,
    complete: bool,
}

impl Reading {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, found: BTreeMap::new(), rows: 0, pages: 0, complete: false }
    }

    /// Where the next page begins; `None` when every page is read.
    pub(super) fn next_offset(&self) -> Option<usize> {
        (!self.complete).then_some(self.rows)
    }

    /// Whether this is more than anybody should read page by page.
    pub(super) fn is_endless(&self) -> bool {
        !self.complete && self.pages >= MOST_PAGES
    }

    /// Adds the page that begins at [`Reading::next_offset`].
    pub(super) fn take(&mut self, answer: Value) -> Result<(), String> {
        let page: Page = shape(answer)?;
        if page.offset != self.rows {
            return Err("another page than asked for".to_owned());
        }
        if page.more && page.oncalls.is_empty() {
            return Err("an empty page with more to come".to_owned());
        }
        self.pages += 1;
        self.rows += page.oncalls.len();
        self.complete = !page.more;
        for entry in page.oncalls {
            self.add(entry)?;
        }
        Ok(())
    }

    /// A strange entry spoils what is known of its own id, and not of the others.
    fn add(&mut self, entry: Value) -> Result<(), String> {
        let Some(id) = self.filter.id_of(&entry)? else { return Ok(()) };
        let levels = self.found.entry(id).or_insert_with(|| Ok(Vec::new()));
        match (levels, read(entry)) {
            (Ok(levels), Ok(entry)) => levels.push(entry),
            (levels @ Ok(_), Err(why)) => *levels = Err(why),
            (Err(_), _) => {}
        }
        Ok(())
    }

    /// The entries about this id, in the window; maybe none.
    pub(super) fn entries(&mut self, id: &str) -> Result<Levels, String> {
        self.found.remove(id).unwrap_or_else(|| Ok(Vec::new()))
    }
}

fn read(entry: Value) -> Result<(u32, Shift), String> {
    let entry: Entry = shape(entry)?;
    Ok((entry.escalation_level, shift(who(entry.user), entry.start, entry.end)?))
}
