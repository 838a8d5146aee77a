//! The tick: observe, plan, apply.

use crate::OncallSync;
use crate::apply::Work;
use crate::codes::Code;
use crate::knowledge::Standing;
use crate::observe::{Observed, View};
use crate::report::{Change, Report};
use crate::source::pagerduty::PagerDuty;
use crate::telemetry::{alerts, audit};
use chrono::{DateTime, Utc};
use keyturn::alert::Alert;
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::{Deadline, Error, Result};
use std::collections::BTreeMap;
use tokio::time::Instant;

impl OncallSync {
    /// Brings every group in line with who is on call.
    ///
    /// # Errors
    /// As [`crate::observe::Observer::configuration`]; a failure of one binding is logged, and is no failure of the tick.
    pub(crate) async fn sync(&self, deadline: Deadline) -> Result<Report> {
        let started = Instant::now();
        let now = self.clock.now();
        // Reading takes half of the time at most, so that people whose grant has ended are removed even when a vendor hangs.
        let Observed { views, bad, moved } =
            self.observer.observe(None, now, deadline.at_most(deadline.remaining() / 2)).await?;
        let mut works: Vec<Work> = views.into_iter().map(|view| Work::of(view, now)).collect();
        let mut untaken = self.applier.apply(&mut works, deadline).await;
        self.applier.mark_moved(moved, deadline).await;
        let mut conditions = conditions(&works, &bad, now);
        for (vendor, problem) in
            [(PagerDuty::NAME, self.observer.source.problem().await), ("Okta", self.observer.okta.problem().await)]
        {
            let Some(problem) = problem.filter(|problem| !passes_by_itself(problem)) else { continue };
            audit::credential_not_used(vendor, &problem);
            conditions.insert(format!("/{vendor}:{}", problem.code()), alerts::of_credential(vendor, &problem, now));
        }
        let unknown = works.iter().map(|work| &work.view).filter(|view| is_in_the_dark(view));
        let unknown = unknown.map(|view| &view.binding.id).collect();
        untaken +=
            self.applier.channels.tell(&conditions, &self.conditions, alerts::is_of_any(&unknown), deadline).await;
        // What a document gets wrong shows in `Unresolved`: it must not hide that the function itself has stopped.
        for name in bad.keys() {
            audit::document_refused(name);
        }
        // Where nothing at all could be read, it is not the documents that are wrong.
        let blind = works.iter().any(|work| work.view.standing == Standing::Followed)
            && works.iter().all(|work| work.view.unknown().next().is_some());
        let fine = !blind && works.iter().all(|work| is_fine(&work.view) && work.is_finished_but_for_one_alone());
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
}

/// The people whom the group shows to be added.
fn granted(work: &Work) -> impl Iterator<Item = Change> {
    let binding = work.view.binding.id.clone();
    let done = work.plan.grants.iter().filter(|grant| work.is_seen(&grant.okta));
    done.map(move |grant| Change { binding: binding.clone(), user: grant.okta.clone(), reason: None })
}

/// The people whom the group shows to be removed.
fn revoked(work: &Work) -> impl Iterator<Item = Change> {
    let done = work.plan.revokes.iter().filter(|revoke| work.is_seen(&revoke.okta));
    done.map(|revoke| Change {
        binding: work.view.binding.id.clone(),
        user: revoke.okta.clone(),
        reason: Some(revoke.reason.as_str()),
    })
}

/// What a person should look at: logged with every tick, and returned with the alert to send when it begins.
fn conditions(works: &[Work], bad: &BTreeMap<String, Error>, now: DateTime<Utc>) -> BTreeMap<String, Alert> {
    let mut conditions = BTreeMap::new();
    for (parameter, error) in bad {
        audit::error(error);
        conditions.insert(format!("{parameter}:{error}"), alerts::of_error(parameter, error, now));
    }
    for work in works {
        let Work { view, plan, .. } = work;
        let id = &view.binding.id;
        for (what, why) in view.unknown() {
            audit::unknown(id, what, why);
            // A vendor that does not answer shows in the metrics, and passes. A document that names what is not there does not.
            if Code::needs_a_person(why) && view.standing == Standing::Followed {
                // Okta gives each of its answers another error id, which is in the words.
                conditions.insert(format!("{id}:{what}:{}", why.code()), alerts::of_error(id.as_str(), why, now));
            }
        }
        let mut notices = plan.notices.clone();
        notices.extend(work.refused());
        for notice in &notices {
            audit::noticed(id, notice.code(), notice);
            // The key names what the notice is about, not its words, which may change with every try.
            let key = format!("{id}:{}:{}", notice.code().name(), notice.subject());
            conditions.insert(key, alerts::of_notice(&view.binding, notice, now));
        }
    }
    conditions
}

/// Whether Secrets Manager gave no answer, which says nothing of the credential.
fn passes_by_itself(problem: &Error) -> bool {
    let passing = [Core::OutOfTime, Core::AwsUnreachable, Core::AwsThrottled, Core::AwsCallFailed];
    passing.into_iter().any(|code| problem.is(code))
}

/// Whether nobody knows what holds of a binding that is followed.
fn is_in_the_dark(view: &View) -> bool {
    view.standing == Standing::Followed && view.unknown().any(|(what, _)| what != "eligible")
}

/// Whether nothing failed in reading that others may meet as well: where there is no good document nothing should be read.
fn is_fine(view: &View) -> bool {
    view.standing != Standing::Followed || view.unknown().all(|(_, why)| Code::is_of_one_alone(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Binding;
    use crate::knowledge::{Eligible, Members, Reading};
    use keyturn::ids::GroupId;
    use keyturn::ledger::{Ledger, Remembered};

    #[test]
    fn a_refusal_with_another_error_id_is_the_same_condition() {
        let group = GroupId::try_from("00g1").unwrap();
        let begun = |error_id: &str| {
            let why =
                Error::of(Code::OktaForbidden, format!("GET at Okta failed: 403, E0000006, error id {error_id}."));
            let view = View {
                standing: Standing::Followed,
                binding: Binding::abandoned("shop".try_into().unwrap(), group.clone()),
                reading: Reading::Known { shifts: Vec::new(), read_at: DateTime::UNIX_EPOCH },
                members: Members::Unknown { why },
                eligible: Eligible::Everyone,
                ledger: Remembered::Known(Ledger::new(group.clone())),
                version: 1,
                last_reading: None,
            };
            let works = [Work::of(view, DateTime::UNIX_EPOCH)];
            conditions(&works, &BTreeMap::new(), DateTime::UNIX_EPOCH).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(begun("oae1"), ["shop:members:OKTA_FORBIDDEN"]);
        assert_eq!(begun("oae2"), begun("oae1"));
    }
}
