//! `GET /oncalls`: who an escalation policy would call, page by page.

use super::errors::{Call, instant};
use super::shape::{User, present, shape, shift, who};
use crate::ids::PolicyId;
use crate::source::shift::Shift;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// PagerDuty's upper bound of `limit`.
const PER_PAGE: &str = "100";
/// More pages than any policy has.
const MOST_PAGES: usize = 20;

/// The request for the entries from `offset` on. Without `include[]=users` they hold no email addresses.
pub(super) fn call(id: &PolicyId, since: DateTime<Utc>, until: DateTime<Utc>, offset: usize) -> Call {
    Call::with_query(
        "/oncalls",
        &[
            ("escalation_policy_ids[]", id.as_str()),
            ("include[]", "users"),
            ("since", &instant(since)),
            ("until", &instant(until)),
            ("limit", PER_PAGE),
            ("offset", &offset.to_string()),
        ],
    )
}

#[derive(Deserialize)]
struct Page {
    oncalls: Vec<Entry>,
    offset: usize,
    more: bool,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(deserialize_with = "present")]
    user: Option<User>,
    escalation_policy: Policy,
    escalation_level: u32,
    #[serde(deserialize_with = "present")]
    start: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "present")]
    end: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Policy {
    id: PolicyId,
}

/// The pages read so far.
#[derive(Default)]
pub(super) struct Reading {
    entries: Vec<(PolicyId, u32, Shift)>,
    pages: usize,
    complete: bool,
}

impl Reading {
    /// Where the next page begins; `None` when every page is read.
    pub(super) fn next_offset(&self) -> Option<usize> {
        (!self.complete).then_some(self.entries.len())
    }

    /// Adds the page that begins at [`Reading::next_offset`].
    pub(super) fn take(&mut self, answer: Value) -> Result<(), String> {
        let page: Page = shape(answer)?;
        if page.offset != self.entries.len() {
            return Err("another page than asked for".to_owned());
        }
        if page.more && page.oncalls.is_empty() {
            return Err("an empty page with more to come".to_owned());
        }
        self.pages += 1;
        if page.more && self.pages == MOST_PAGES {
            return Err(format!("more than {MOST_PAGES} pages"));
        }
        self.complete = !page.more;
        for entry in page.oncalls {
            let shift = shift(who(entry.user), entry.start, entry.end)?;
            self.entries.push((entry.escalation_policy.id, entry.escalation_level, shift));
        }
        Ok(())
    }

    /// The shifts of this policy, each with its level.
    pub(super) fn shifts(self, policy: &PolicyId) -> Vec<(u32, Shift)> {
        let asked = self.entries.into_iter().filter(|(of, _, _)| of == policy);
        asked.map(|(_, level, shift)| (level, shift)).collect()
    }
}
