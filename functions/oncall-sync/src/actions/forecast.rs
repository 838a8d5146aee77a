//! The look ahead: who will be on call in the next seven days, and what a person should mend before.

use crate::OncallSync;
use crate::codes::Code;
use crate::knowledge::Reading;
use crate::observe::{Foreseen, View};
use crate::planner::{self, Ahead, Warning};
use crate::report::Report;
use crate::telemetry::{alerts, audit};
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::alert::Alert;
use keyturn::clock::instant;
use keyturn::ids::{BindingId, PersonId};
use keyturn::{Deadline, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const AHEAD: TimeDelta = TimeDelta::days(7);
/// How long before it comes true a warning is sent: two days and an hour, so that one daily forecast may fail.
const TOLD_BEFORE: TimeDelta = TimeDelta::hours(49);

/// Ticks wait while a forecast reads: the function runs once at a time.
const READING: Duration = Duration::from_secs(20);

impl OncallSync {
    /// Says who will be on call, and sends an alert of what a person should mend before [`TOLD_BEFORE`]. No group is touched.
    ///
    /// # Errors
    /// As [`crate::observe::Observer::configuration`]; a source that cannot be read is no error.
    pub(crate) async fn forecast(&self, deadline: Deadline) -> Result<Report> {
        let now = self.clock.now();
        let reading = deadline.at_most(READING);
        let Foreseen { mut views, bad, names } = self.observer.foresee(now, AHEAD, reading).await?;
        views.sort_by(|one, other| one.binding.id.cmp(&other.binding.id));
        let (mut lines, mut alerts) = (Vec::new(), BTreeMap::new());
        let (mut unknown, mut warnings) = (BTreeSet::new(), 0);
        for view in &views {
            let View { binding, reading, eligible, .. } = view;
            lines.push(format!("{}: group {} ({})", binding.id, binding.group_name, binding.group));
            let shifts = match reading {
                Reading::Known { shifts, .. } => shifts,
                Reading::Unknown { why } => {
                    unknown.insert(&binding.id);
                    audit::unknown(&binding.id, "reading", why);
                    lines.push(format!("  source: unknown: {} ({})", why.message(), why.code()));
                    continue;
                }
            };
            let ahead = planner::ahead(binding, shifts, eligible, now, now + AHEAD);
            for (why, _) in &ahead.undecided {
                unknown.insert(&binding.id);
                audit::unknown(&binding.id, "people", why);
            }
            warnings += ahead.warnings.len();
            lines.extend(shown(&ahead, &names));
            alerts.extend(self.told(view, &ahead, now));
        }
        lines.extend(bad.values().map(|error| format!("refused: {error}")));
        let untaken = self.applier.channels.tell(&alerts, &self.warnings, alerts::is_of_any(&unknown), deadline).await;
        audit::forecast_done(warnings, untaken);
        Ok(Report::Forecast { unknown: unknown.len(), warnings, forecast: lines })
    }

    /// Logs the warnings that come true soon, and gives back their alerts.
    fn told(&self, view: &View, ahead: &Ahead, now: DateTime<Utc>) -> BTreeMap<String, Alert> {
        let id = &view.binding.id;
        // Of the people who are on call now, ticks send the alerts: they know who is in the group.
        let is_ahead = |warning: &&Warning| warning.from > now || warning.code() == Code::GapAhead;
        let soon = ahead.warnings.iter().filter(|warning| warning.from < now + TOLD_BEFORE).filter(is_ahead);
        soon.map(|warning| {
            audit::noticed(id, warning.code(), warning);
            (self.key(id, warning, now), alerts::of_warning(&view.binding, warning, now))
        })
        .collect()
    }

    /// The key under which `Conditions` remembers that a warning was told. A gap that grows gets another key, so that it is told
    /// again; a gap that has begun keeps the key under which it was told before.
    fn key(&self, id: &BindingId, warning: &Warning, now: DateTime<Utc>) -> String {
        let Some(until) = warning.gap_until() else {
            return format!("{id}:{:?}:{}:{}", warning.code(), warning.subject(), instant(warning.from));
        };
        let until = if until < now + AHEAD { instant(until) } else { "open".to_owned() };
        let (gap, from) = (format!("{id}:gap:{until}:"), instant(warning.from));
        // The text of an instant sorts as the instant does.
        let has_begun = |key: &str| key.strip_prefix(&gap).is_some_and(|began| *began <= *from);
        let begun = (warning.from == now).then(|| self.warnings.find(has_begun)).flatten();
        begun.unwrap_or_else(|| format!("{gap}{from}"))
    }
}

/// One line for each stretch of time, with the people who are on call in it, and one for each warning.
fn shown(ahead: &Ahead, names: &BTreeMap<PersonId, String>) -> Vec<String> {
    let stretches = ahead.stretches.iter().map(|stretch| {
        let called = |id| names.get(id).map_or_else(|| format!("{id}"), |name| format!("{name} ({id})"));
        let people: Vec<String> = stretch.people.iter().map(called).collect();
        let people = if people.is_empty() { "nobody".to_owned() } else { people.join(", ") };
        format!("  {} to {}: {people}", instant(stretch.from), instant(stretch.until))
    });
    let warnings = ahead.warnings.iter().map(|warning| format!("  warning: {warning}"));
    let undecided = ahead.undecided.iter().map(|(why, people)| {
        let people: Vec<&str> = people.iter().map(PersonId::as_str).collect();
        let (message, code) = (why.message(), why.code());
        format!("  unknown whether they would be granted: {}: {message} ({code})", people.join(", "))
    });
    stretches.chain(warnings).chain(undecided).collect()
}
