//! The tick: observe, plan, apply. And the same without the last part.

use crate::apply::Work;
use crate::codes::Code;
use crate::knowledge::{Reading, Standing};
use crate::ledger::Channel;
use crate::memory::Conditions;
use crate::observe::{Observed, View};
use crate::planner::{self, Facts, Plan, Shown};
use crate::report::{Change, Report};
use crate::vendor::AT_ONCE;
use crate::{OncallSync, alerts, audit};
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::alert::Alert;
use keyturn::codes::DeclaredCode as _;
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

impl OncallSync {
    /// Brings every group in line with who is on call.
    ///
    /// # Errors
    /// As [`OncallSync::configuration`]; a failure of one binding is logged, and is no failure of the tick.
    pub(crate) async fn sync(&self, deadline: Deadline) -> Result<Report> {
        let started = Instant::now();
        let now = self.clock.now();
        // Reading takes half of the time at most, so that people whose grant has ended are removed even when a vendor hangs.
        let Observed { views, bad } = self.observe(None, now, deadline.at_most(deadline.remaining() / 2)).await?;
        let mut works: Vec<Work> = views.into_iter().map(|view| self.work(view, now)).collect();
        let mut untaken = self.apply(&mut works, deadline).await;
        untaken += self.tell(&conditions(&works, &bad, now), &self.memory.conditions, deadline).await;
        // What a document gets wrong shows in `Unresolved`: it must not hide that the function itself has stopped.
        for name in bad.keys() {
            audit::document_refused(name);
        }
        let fine = works.iter().all(|work| is_fine(&work.view) && work.is_finished());
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        audit::tick_done(fine, bad.len(), untaken, duration_ms);
        Ok(Report::Synced {
            bindings: works.len(),
            refused: bad.len(),
            unknown: works.iter().filter(|work| work.view.unknown().next().is_some()).count(),
            unfinished: works.iter().filter(|work| !work.is_finished()).count(),
            granted: works.iter().flat_map(granted).collect(),
            revoked: works.iter().flat_map(revoked).collect(),
        })
    }

    /// Says what a tick would do now. Nothing is written anywhere.
    ///
    /// # Errors
    /// As [`OncallSync::sync`].
    pub(crate) async fn plan(&self, deadline: Deadline) -> Result<Report> {
        let now = self.clock.now();
        let Observed { mut views, bad } = self.observe(None, now, deadline).await?;
        views.sort_by(|one, other| {
            (&one.binding.id, &one.binding.group).cmp(&(&other.binding.id, &other.binding.group))
        });
        let mut lines = Vec::new();
        for view in &views {
            let plan = planned(view, now);
            let View { binding, reading, members, .. } = view;
            lines.extend(Shown { binding, reading, members, plan: &plan, now }.lines());
        }
        lines.extend(bad.values().map(|error| format!("refused: {error}")));
        Ok(Report::Planned { plan: lines })
    }

    /// Sends the alerts of conditions to the channels that have not taken them. Gives back how many were not taken now.
    pub(crate) async fn tell(
        &self,
        conditions: &BTreeMap<String, Alert>,
        memory: &Conditions,
        deadline: Deadline,
    ) -> usize {
        let untold = memory.untold(conditions.keys());
        let send = async |(key, channels): (String, BTreeSet<Channel>)| {
            let Some(alert) = conditions.get(&key) else { return 0 };
            let untaken = self.channels.send(alert, &channels, deadline).await;
            let count = untaken.len();
            memory.told(&key, untaken);
            count
        };
        stream::iter(untold).map(send).buffer_unordered(AT_ONCE).collect::<Vec<usize>>().await.into_iter().sum()
    }

    fn work(&self, view: View, now: DateTime<Utc>) -> Work {
        if let Reading::Known { read_at, .. } = view.reading {
            self.memory.read(&view.binding.id, read_at);
        }
        let plan = planned(&view, now);
        Work::new(view, plan)
    }
}

/// The people whom the group shows to be added.
pub(crate) fn granted(work: &Work) -> impl Iterator<Item = Change> {
    let binding = work.view.binding.id.clone();
    work.granted.iter().map(move |user| Change { binding: binding.clone(), user: user.clone(), reason: None })
}

/// The people whom the group shows to be removed.
pub(crate) fn revoked(work: &Work) -> impl Iterator<Item = Change> {
    let done = work.plan.revokes.iter().filter(|revoke| work.revoked.contains(&revoke.okta));
    done.map(|revoke| Change {
        binding: work.view.binding.id.clone(),
        user: revoke.okta.clone(),
        reason: Some(revoke.reason.as_str()),
    })
}

pub(crate) fn planned(view: &View, now: DateTime<Utc>) -> Plan {
    let View { standing, binding, reading, members, eligible, ledger, version: _ } = view;
    planner::plan(Facts { binding, standing: *standing, reading, members, eligible, ledger, now })
}

/// What a person should look at: logged with every tick, and returned with the alert to send when it begins.
fn conditions(works: &[Work], bad: &BTreeMap<String, Error>, now: DateTime<Utc>) -> BTreeMap<String, Alert> {
    let mut conditions = BTreeMap::new();
    for (parameter, error) in bad {
        audit::binding_refused(error);
        conditions.insert(format!("{parameter}:{error}"), alerts::of_error(parameter, error, now));
    }
    for work in works {
        let Work { view, plan, .. } = work;
        let id = &view.binding.id;
        for (what, why) in view.unknown() {
            audit::unknown(id, what, why);
            // A vendor that does not answer shows in the metrics, and passes. A document that names what is not there does not.
            if Code::is_of_a_document(why) && view.standing == Standing::Followed {
                conditions.insert(format!("{id}:{}", why.code()), alerts::of_error(id.as_str(), why, now));
            }
        }
        let mut notices = plan.notices.clone();
        notices.extend(work.refused());
        for notice in &notices {
            audit::noticed(id, notice);
            // The key names what the notice is about, not its words, which may change with every try.
            let key = format!("{id}:{}:{}", notice.code().name(), notice.subject());
            conditions.insert(key, alerts::of_notice(&view.binding, notice, now));
        }
    }
    conditions
}

/// Whether everything was read that can be: where there is no good document nothing should be read.
fn is_fine(view: &View) -> bool {
    view.standing != Standing::Followed || view.unknown().all(|(_, why)| Code::is_of_a_document(why))
}
