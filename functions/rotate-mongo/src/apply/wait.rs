//! Waiting until a new password is accepted everywhere: at Atlas a change is under way for seconds to minutes, and only a
//! login tells.

use crate::codes::Code;
use crate::places::Table;
use crate::user::{Directory, Progress};
use crate::work::Work;
use keyturn::codes::DeclaredCode as _;
use keyturn::credential::Credential;
use keyturn::{Deadline, Error};
use keyturn_mongo::Role;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Kept back from the invocation's time, for what has to be said.
pub(super) const RESERVE: Duration = Duration::from_secs(2);

/// Kept back at least, for putting the old password back.
const TIME_TO_UNDO: Duration = Duration::from_secs(20);

/// How long one look may take while the old password is put back.
pub(super) const LOOK: Duration = Duration::from_secs(3);

/// How long a place may be away, in an election for example, before it counts as lost.
const AWAY: Duration = Duration::from_secs(30);

/// How the waiting ended; the table is that of the last look.
#[derive(Debug)]
pub(super) enum Waited {
    /// Accepted everywhere, after this long.
    Accepted(Table, Duration),
    /// The time was up first, and Atlas says that it is still applying changes.
    UnderWay(Table),
    /// The time was up first, and nothing says that the change is still coming.
    OutOfTime(Table),
    /// It has been said to be applied for long, and is still refused.
    NotTaken(Table),
    /// A place has been away for long, or is when the time is up; or no majority has confirmed the change.
    Failed(Error),
}

/// What one look showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Accepted,
    Refused(Progress),
    /// A place cannot be reached: that says nothing of the password.
    Away,
}

/// Whether a login with the new password proves that the place has applied this change and no other one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It does: Atlas was applying no other change; or the password is the second user's, which no try puts back, and no place
    /// accepted it before.
    Clear,
    /// It does not: Atlas was applying a change that may set another password, such as the current one that an earlier try has
    /// put back.
    Unclear,
}

/// Whether the current password has to be set again where the new one is not accepted in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    Needed,
    /// The new password is that of the user that no client uses.
    Pointless,
}

impl<D: Directory> Work<'_, D> {
    /// Waits until `credential` is accepted everywhere, with at least these roles. Where it may have to be undone, the time for
    /// that is kept back.
    pub(super) async fn accepted(
        &self,
        credential: &Credential,
        roles: &BTreeSet<Role>,
        before: Before,
        undo: Undo,
    ) -> Waited {
        let started = Instant::now();
        let whole = self.job.deadline.remaining();
        let kept = match undo {
            Undo::Needed => (whole / 2).min(TIME_TO_UNDO.max(self.mongo.settings.settle + RESERVE)).max(RESERVE),
            Undo::Pointless => RESERVE,
        };
        let end = Deadline::after(whole.saturating_sub(RESERVE));
        let end_of_hope = Deadline::after(whole.saturating_sub(kept));
        let mut pause = FIRST_PAUSE;
        // Since when the looks have been the same.
        let mut same: Option<(Look, Instant)> = None;
        let mut seen: Option<(Look, Table)> = None;
        let mut until = end_of_hope;
        // A loop, not `failure::retry`: each look is judged by the one before, and by how far the change is.
        loop {
            let table = self.places.tried(credential, until).await.with(roles, credential.username());
            // After the login: a status that was asked for earlier may be out of date by then.
            let progress = self.directory.progress(until).await;
            let mut look = match (table.unreachable(), table.is_accepted()) {
                (Some(_), _) => Look::Away,
                (None, true) => Look::Accepted,
                (None, false) => Look::Refused(progress),
            };
            let mut table = table;
            // A look that the end of the time cut short shows less than the one before.
            if let Some(last) = seen.take()
                && until.remaining().is_zero()
                && look != Look::Accepted
            {
                (look, table) = last;
            }
            let since = match same {
                Some((before, since)) if before == look => since,
                _ => {
                    tracing::info!(code = Code::Waiting.name(), progress = ?progress, places = %table, "Waiting until the new password is accepted everywhere.");
                    Instant::now()
                }
            };
            same = Some((look, since));
            let is_settled = |times| since.elapsed() >= self.mongo.settings.settle * times;
            match look {
                Look::Accepted if before == Before::Clear || progress == Progress::Applied || is_settled(1) => {
                    return Waited::Accepted(table, started.elapsed());
                }
                // A status asked for right after a change may be that of before it: hence `settle`.
                Look::Refused(Progress::Applied) if is_settled(1) => return Waited::NotTaken(table),
                Look::Refused(Progress::Unknown) if is_settled(2) => return Waited::NotTaken(table),
                Look::Away if since.elapsed() >= AWAY => return ended(look, table),
                _ => {}
            }
            until = match look {
                Look::Accepted | Look::Refused(Progress::Pending) => end,
                Look::Refused(_) | Look::Away => end_of_hope,
            };
            if until.remaining() < pause {
                return ended(look, table);
            }
            seen = Some((look, table));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether there is time to set a password, to see what comes of it, and to undo it.
    pub(super) fn has_time_for_more(&self) -> bool {
        self.job.deadline.remaining() > 2 * (self.mongo.settings.settle + RESERVE)
    }

    /// Waits until every place that can be reached accepts `credential` again, for as long as there is time. Gives back the last
    /// look, and whether what it shows stays so: a place may accept it until it gets to the change before.
    pub(super) async fn restored(&self, credential: &Credential) -> (Table, bool) {
        let end = Deadline::after(self.job.deadline.remaining().saturating_sub(RESERVE / 2));
        let mut pause = FIRST_PAUSE;
        let (mut since, mut seen) = (None, None::<Table>);
        loop {
            sleep(pause.min(end.remaining())).await;
            // Short looks, the first ones most: a place that is away must not use the time up that another one takes to come round.
            let table = self.places.tried(credential, end.at_most(LOOK.min(pause * 4))).await;
            // A look that the end of the time cut short shows less than the one before.
            let is_cut_short = end.remaining().is_zero() && table.unreachable().is_some();
            let table = seen.take().filter(|_| is_cut_short).unwrap_or(table);
            let progress = self.directory.progress(end.at_most(LOOK)).await;
            let is_back = table.refusals().is_none() && table.is_accepted_somewhere();
            since = is_back.then(|| since.unwrap_or_else(Instant::now));
            let stays = since
                .is_some_and(|since| progress == Progress::Applied || since.elapsed() >= self.mongo.settings.settle);
            if stays || end.remaining() < pause {
                return (table, stays);
            }
            seen = Some(table);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// There is no use, or no time, in waiting longer.
fn ended(look: Look, table: Table) -> Waited {
    match (look, table.unreachable().cloned()) {
        (_, Some(failure)) => Waited::Failed(failure.error),
        (Look::Accepted | Look::Refused(Progress::Pending), None) => Waited::UnderWay(table),
        (Look::Refused(_) | Look::Away, None) => Waited::OutOfTime(table),
    }
}
