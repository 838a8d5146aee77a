//! Grants and revokes that a person asks for. Who may ask is for IAM to decide.

use crate::OncallSync;
use crate::apply::Work;
use crate::codes::Code;
use crate::ids::{BindingId, OktaId};
use crate::knowledge::{Identity, Members, Reading, Standing};
use crate::ledger::{Change, Granted, HandClaim, Hold, Ledger, Person, Reason, Remembered, State};
use crate::observe::View;
use crate::okta::{Found, Status, User};
use crate::planner::{self, Grant, Plan, Presence, Revoke, Settled};
use crate::report::Report;
use crate::telemetry::audit;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::{Deadline, Error, Result};

impl OncallSync {
    /// Adds a person to a group until a set time.
    ///
    /// Safe to repeat: the later call's end counts.
    ///
    /// # Errors
    /// `BINDING_UNKNOWN`, `BINDING_INVALID`, `USER_UNKNOWN`, `USER_NOT_ACTIVE`, `USER_NOT_ELIGIBLE`, `USER_IS_KEPT`, `CHANGE_UNFINISHED`.
    pub(crate) async fn grant_by_hand(
        &self,
        binding: &BindingId,
        user: &str,
        lasts: TimeDelta,
        reason: &str,
        deadline: Deadline,
    ) -> Result<Report> {
        let now = self.clock.now();
        let (mut views, user) = self.of(binding, user, now, deadline).await?;
        // The one whose document is followed comes first.
        let mut view = views.swap_remove(0);
        if let (Standing::Refused | Standing::Abandoned, Reading::Unknown { why }) = (view.standing, &view.reading) {
            return Err(why.clone());
        }
        if user.status != Status::Active {
            return Err(Error::new(
                Code::UserNotActive,
                format!("The Okta user {} is not ACTIVE.", user.id),
                "Activate the user at Okta, or grant it to somebody else.",
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
            return Err(Error::new(
                Code::UserNotEligible,
                format!("The Okta user {} is not known to be in the binding's eligible_group.", user.id),
                "Whoever owns that group can put them in; then ask again.",
            ));
        }
        let until = now + lasts;
        let mut ledger = known_ledger(&view)?;
        let settled = settled(&ledger, &user.id, &view);
        let why = format!("by hand: {reason}");
        let claim = HandClaim { until, reason: reason.to_owned() };
        let granted = with_claim(ledger.state(&user.id), claim, now);
        let never_left = settled.is_empty() && ledger.people.get(&user.id).is_some_and(is_to_leave);
        let person = named(ledger.put(&user.id, State::Granted(granted)), &user);
        if never_left {
            person.forget_removal();
        }
        person.tell(Change::Granted { why: why.clone(), until: Some(until) });
        let grant = Grant { okta: user.id.clone(), person: None, until: Some(until), why };
        let plan = Plan { grants: vec![grant], settled, ..Plan::quiet(Remembered::Known(ledger)) };
        let mut work = self.carry_out(Work::new(view, plan), deadline).await;
        if !work.is_finished() {
            if work.announced.is_empty() {
                // Not even begun: the ledger from before is stored again, with the grant that this one was to lengthen.
                self.applier.store_again(&mut work, deadline).await;
            }
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
            let (plan, end) = revoking(&view, &user, reason, now);
            works.push(Work::new(view, plan));
            ends.push(end);
        }
        let until = if is_followed { ends[0] } else { ends.into_iter().max().flatten() };
        self.applier.apply(&mut works, deadline).await;
        let is_finished = works.iter().all(Work::is_finished);
        if !works.iter().all(|work| work.stored && matches!(work.plan.intent, Remembered::Known(_))) {
            let done = if is_finished { "is out of the group" } else { "may still be in the group" };
            return Err(Error::new(
                Code::RevokeNotHeld,
                format!(
                    "The Okta user {} {done}, and the ledger could not be written, so the next tick may put them back.",
                    user.id
                ),
                "Ask again after the next tick; until then, take them off the schedule.",
            ));
        }
        if !is_finished {
            return Err(unfinished());
        }
        let held = until.map_or_else(
            || "until they are not on call any more".to_owned(),
            |until| format!("until {}", planner::instant(until)),
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
            return Err(Error::new(
                Code::UserIsKept,
                format!("The Okta user {} is in the binding's \"keep\": never granted, never revoked here.", user.id),
                "Take the user out of \"keep\" first, if that is what is meant.",
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

    async fn carry_out(&self, work: Work, deadline: Deadline) -> Work {
        let mut works = [work];
        self.applier.apply(&mut works, deadline).await;
        let [work] = works;
        work
    }
}

fn unfinished() -> Error {
    Error::new(
        Code::ChangeUnfinished,
        "The change is not seen to be done; the log has the reason.",
        "A revoke is gone on with by the next tick; ask for a grant again.",
    )
}

fn unknown_user(problem: &str) -> Error {
    Error::new(Code::UserUnknown, problem, "Name the user by full login, or by Okta id (00u...).")
}

/// The ledger to write into. Where there is none, a tick has to begin it: only a tick decides whom to adopt.
fn known_ledger(view: &View) -> Result<Ledger> {
    match &view.ledger {
        Remembered::Known(ledger) => Ok(ledger.clone()),
        Remembered::Never => Err(Error::new(
            Code::LedgerLost,
            format!("The binding {} has no ledger yet.", view.binding.id),
            "Let one tick pass: invoke with {\"action\":\"sync\"}, then ask again.",
        )),
        Remembered::Unreadable => Err(Error::new(
            Code::LedgerUnreadable,
            format!("The ledger of binding {} cannot be read, nor can an earlier version of it.", view.binding.id),
            "See who else writes below LEDGER_PATH. To begin anew, delete the ledger's parameter and let one tick pass.",
        )),
    }
}

fn is_in_ledger(view: &View, okta: &OktaId) -> bool {
    match &view.ledger {
        Remembered::Known(ledger) => ledger.people.get(okta).is_some_and(Person::is_unfinished),
        Remembered::Never | Remembered::Unreadable => false,
    }
}

/// The removal of a person from one group, and until when they are held out of it.
fn revoking(view: &View, user: &User, reason: &str, now: DateTime<Utc>) -> (Plan, Option<DateTime<Utc>>) {
    let revoke = Revoke { okta: user.id.clone(), reason: Reason::Manual, due: None, since: now };
    let mut plan = Plan { revokes: vec![revoke], ..Plan::quiet(view.ledger.clone()) };
    let Remembered::Known(ledger) = &mut plan.intent else { return (plan, None) };
    plan.settled = settled(ledger, &user.id, view);
    let until = shift_end(view, ledger, &user.id, now);
    let hold = Hold { since: now, until, out: false, reason: reason.to_owned() };
    let person = named(ledger.put(&user.id, State::Held(hold)), user);
    person.tell(Change::Revoked { reason: Reason::Manual, due: None });
    (plan, until)
}

fn is_to_leave(person: &Person) -> bool {
    match &person.state {
        State::Leaving(_) => true,
        State::Held(hold) => !hold.out,
        _ => false,
    }
}

/// The change of an earlier tick that the group shows now: the event gives the person another state.
fn settled(ledger: &Ledger, okta: &OktaId, view: &View) -> Vec<Settled> {
    planner::settled(ledger, okta, Presence::of(okta, &view.members)).into_iter().collect()
}

/// The claims of somebody who is granted by hand: a shift that goes on keeps its own.
fn with_claim(state: Option<&State>, claim: HandClaim, now: DateTime<Utc>) -> Granted {
    let (since, on_call) = match state {
        Some(State::Granted(granted)) => (granted.since, granted.on_call.clone()),
        _ => (now, None),
    };
    Granted { since, on_call, by_hand: Some(claim), shown: false }
}

/// Notes the login and address of somebody who is named by hand.
fn named<'a>(person: &'a mut Person, user: &User) -> &'a mut Person {
    person.login.clone_from(&user.login);
    person.email.clone_from(&user.email);
    person
}

/// When a person's shift ends: as the source says now, else as the ledger has it.
fn shift_end(view: &View, ledger: &Ledger, okta: &OktaId, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let remembered = match ledger.state(okta) {
        Some(State::Granted(granted)) => granted.on_call.as_ref().and_then(|claim| claim.shift_end),
        Some(State::Held(hold)) => hold.until,
        _ => None,
    };
    let said = match &view.reading {
        Reading::Known { shifts, .. } => {
            let who = Identity::Known(okta.clone());
            let ends = shifts.iter().filter(|shift| shift.covers(now) && shift.okta == who);
            // A shift without an end is the latest.
            let mut ends: Vec<Option<DateTime<Utc>>> = ends.map(|shift| shift.end).collect();
            ends.sort_by_key(Option::is_none);
            match ends.last() {
                Some(None) => return None,
                Some(Some(_)) => ends.into_iter().flatten().max(),
                None => None,
            }
        }
        Reading::Unknown { .. } => None,
    };
    said.or(remembered).filter(|end| *end > now)
}
