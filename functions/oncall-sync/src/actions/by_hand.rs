//! Grants and revokes that a person asks for. Who may ask is for IAM to decide.

use crate::OncallSync;
use crate::apply::Work;
use crate::codes::Code;
use crate::knowledge::{Members, Reading, Standing};
use crate::observe::View;
use crate::okta::{Found, Status, User};
use crate::planner::{Notice, by_hand};
use crate::report::Report;
use crate::telemetry::{alerts, audit};
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::alert::Channel;
use keyturn::clock::instant;
use keyturn::ids::{BindingId, OktaId};
use keyturn::ledger::{Ledger, Remembered};
use keyturn::{Deadline, Error, Result};

impl OncallSync {
    /// Adds a person to a group until a set time.
    ///
    /// Safe to repeat: the later call's end counts.
    ///
    /// # Errors
    /// `NOT_SCHEDULED`, `BINDING_UNKNOWN`, `BINDING_INVALID`, `USER_UNKNOWN`, `USER_NOT_ACTIVE`, `USER_NOT_ELIGIBLE`, `USER_IS_KEPT`, `CHANGE_UNFINISHED`.
    pub(crate) async fn grant_by_hand(
        &self,
        binding: &BindingId,
        user: &str,
        lasts: TimeDelta,
        reason: &str,
        deadline: Deadline,
    ) -> Result<Report> {
        if !self.is_scheduled {
            return Err(Error::of(Code::NotScheduled, "No tick runs, so nobody would end this grant.".to_owned()));
        }
        let now = self.clock.now();
        let (mut views, user) = self.of(binding, user, now, deadline).await?;
        // The one whose document is followed comes first.
        let mut view = views.swap_remove(0);
        if let (Standing::Refused | Standing::Abandoned, Reading::Unknown { why }) = (view.standing, &view.reading) {
            return Err(why.clone());
        }
        if user.status != Status::Active {
            return Err(Error::of(
                Code::UserNotActive,
                format!("The Okta user {} is not ACTIVE, or is being deactivated.", user.id),
            ));
        }
        // A list of members that could not be read is no reason to refuse; a wrong group is.
        if let Members::Unknown { why } = &view.members
            && Code::is_about_the_group(why)
        {
            return Err(why.clone());
        }
        self.observer.ask_for(&mut view, &user.id, deadline.at_most(deadline.remaining() / 2)).await?;
        if !view.eligible.admits(&user.id) {
            return Err(Error::of(
                Code::UserNotEligible,
                format!("The Okta user {} is not known to be in the binding's eligible_group.", user.id),
            ));
        }
        let until = now + lasts;
        let plan = by_hand::grant(view.facts(now), known_ledger(&view)?, &user, until, reason);
        let mut works = [Work::new(view, plan)];
        let mut untaken = self.applier.apply(&mut works, deadline).await;
        let [mut work] = works;
        let is_finished = work.is_finished();
        if !is_finished {
            if work.announced {
                let notice = Notice::NotGrantedByHand { why: work.why_unfinished(&user.id), okta: user.id.clone() };
                audit::noticed(&work.view.binding.id, notice.code(), &notice);
                let alert = alerts::of_notice(&work.view.binding, &notice, self.clock.now());
                // No ledger keeps it for the next tick.
                untaken += self.applier.channels.send(&alert, &Channel::all(), deadline).await.len();
            } else {
                // Not even begun: the ledger from before is stored again, with the grant that this one was to lengthen.
                self.applier.store_again(&mut work, deadline).await;
            }
        }
        audit::alerts_failed(untaken);
        if !is_finished {
            return Err(unfinished());
        }
        Ok(Report::Granted { binding: binding.clone(), user: user.id, until })
    }

    /// Removes a person from a group, and keeps the person out until the shift ends. The ledger is enough for that: a bad
    /// document, or a source that cannot be read, is no obstacle.
    ///
    /// Safe to repeat.
    ///
    /// # Errors
    /// `BINDING_UNKNOWN`, `BINDING_INVALID`, `USER_UNKNOWN`, `USER_IS_KEPT`, `CHANGE_UNFINISHED`, `REVOKE_NOT_HELD`.
    pub(crate) async fn revoke_by_hand(
        &self,
        binding: &BindingId,
        user: &str,
        reason: &str,
        deadline: Deadline,
    ) -> Result<Report> {
        let now = self.clock.now();
        let (mut views, user) = self.of(binding, user, now, deadline).await?;
        audit::revoke_asked(binding, &user.id, reason);
        // Of a group that the document named before, only whoever is still in its ledger has to go. Without a document that
        // is followed, nobody can say which group is meant.
        let is_followed = views[0].standing == Standing::Followed;
        views.retain(|view| view.standing == Standing::Followed || !is_followed || is_in_ledger(view, &user.id));
        let (mut works, mut ends) = (Vec::new(), Vec::new());
        for view in views {
            let (plan, end) = by_hand::revoke(view.facts(now), &user, reason);
            works.push(Work::new(view, plan));
            ends.push(end);
        }
        let until = if is_followed { ends[0] } else { ends.into_iter().max().flatten() };
        audit::alerts_failed(self.applier.apply(&mut works, deadline).await);
        let is_finished = works.iter().all(Work::is_finished);
        let is_held = |work: &Work| work.stored || work.is_saved() || work.holds(&user.id);
        if !works.iter().all(|work| is_held(work) && work.plan.intent.known().is_some()) {
            let done = if is_finished { "is out of the group" } else { "may still be in the group" };
            return Err(Error::of(
                Code::RevokeNotHeld,
                format!(
                    "The Okta user {} {done}, and the ledger could not be written, so the next tick may put them back.",
                    user.id
                ),
            ));
        }
        if !is_finished {
            return Err(unfinished());
        }
        let held = until.map_or_else(
            || "until they are not on call any more".to_owned(),
            |until| format!("until {}", instant(until)),
        );
        Ok(Report::Revoked { binding: binding.clone(), user: user.id, held })
    }

    /// The person who is meant, and everything known of the binding: first what its document says, if that is followed, then
    /// the ledgers of groups that it named before, or may name.
    async fn of(
        &self,
        id: &BindingId,
        user: &str,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<(Vec<View>, User)> {
        let half = deadline.at_most(deadline.remaining() / 2);
        let (observed, user) = tokio::try_join!(
            self.observer.observe(Some(id), now, half),
            self.observer.okta.by_login_or_id(user, half)
        )?;
        let refused = observed.bad.into_iter().find(|(name, _)| name.rsplit('/').next() == Some(id.as_str()));
        let views = observed.views;
        if views.is_empty() {
            return Err(refused.map_or_else(|| self.no_binding(id), |(_, error)| error));
        }
        let user = match user {
            Found::One(user) => user,
            Found::Nobody => return Err(unknown_user("There is no such user at Okta.")),
            Found::Several => return Err(unknown_user("Several users at Okta have that email address.")),
        };
        if views.iter().any(|view| view.binding.keep.contains(&user.id)) {
            return Err(Error::of(
                Code::UserIsKept,
                format!("The Okta user {} is in the binding's \"keep\": never granted, never revoked here.", user.id),
            ));
        }
        Ok((views, user))
    }

    fn no_binding(&self, id: &BindingId) -> Error {
        Error::new(
            Code::BindingUnknown,
            format!("There is no binding {id}."),
            format!("List them: aws ssm get-parameters-by-path --path {}", self.observer.config_path),
        )
    }
}

fn unfinished() -> Error {
    Error::of(Code::ChangeUnfinished, "The change is not seen to be done; the log has the reason.")
}

fn unknown_user(problem: &str) -> Error {
    Error::of(Code::UserUnknown, problem)
}

/// The ledger to write into. Where there is none, a tick has to begin it: only a tick decides whom to adopt.
fn known_ledger(view: &View) -> Result<&Ledger> {
    match &view.ledger {
        Remembered::Known(ledger) => Ok(ledger),
        Remembered::Never(_) => {
            Err(Error::of(Code::LedgerLost, format!("The binding {} has no ledger yet.", view.binding.id)))
        }
        Remembered::Unreadable { .. } => Err(Error::of(
            Code::LedgerUnreadable,
            format!("The ledger of binding {} cannot be read, nor can an earlier version of it.", view.binding.id),
        )),
    }
}

/// In whatever state: whoever was there before the function, or was put back since, may be in the group.
fn is_in_ledger(view: &View, okta: &OktaId) -> bool {
    view.ledger.known().is_some_and(|ledger| ledger.people.contains_key(okta))
}
