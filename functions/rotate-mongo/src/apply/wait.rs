//! Waiting until a new password is accepted everywhere: at Atlas a change is under way for seconds to minutes, and only a
//! login tells.

use crate::codes::Code;
use crate::logins::Tried;
use crate::user::{Directory, Progress, Role};
use crate::work::Work;
use keyturn::Deadline;
use keyturn::codes::DeclaredCode as _;
use keyturn::credential::Credential;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Kept back from the invocation's time, for what has to be said or undone.
const RESERVE: Duration = Duration::from_secs(2);

/// How the waiting ended.
#[derive(Debug)]
pub(super) enum Waited {
    /// Accepted everywhere, after this long.
    Accepted(Duration),
    /// The time was up first, while the change was at this stage; the last thing that was seen.
    OutOfTime(Progress, String),
    /// It has been said to be applied for long, and the servers still refuse it, in these words.
    NotTaken(String),
}

/// What one look showed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Accepted,
    Refused,
    /// A server cannot be reached, in an election for example: that says nothing of the password.
    Unreachable,
}

impl<D: Directory> Work<'_, D> {
    /// Waits until `credential` is accepted everywhere, with at least these roles, and no change is on its way that could
    /// replace it. What is on its way for long and does not replace it is somebody else's.
    pub(super) async fn accepted(&self, credential: &Credential, roles: &BTreeSet<Role>, until: Deadline) -> Waited {
        let started = Instant::now();
        let within = Deadline::after(until.remaining().saturating_sub(RESERVE));
        let mut pause = FIRST_PAUSE;
        // Since when the looks have been the same, and the change at the same stage.
        let mut same: Option<(Look, Progress, Instant)> = None;
        let mut seen = None;
        // A loop, not `failure::retry`: each look is judged by the one before, and by how far the change is.
        loop {
            let (look, last) = self.look(credential, roles, within).await;
            // After the login: a status that was asked for earlier may be out of date by then.
            let progress = self.directory.progress(within).await;
            // A look that the end of the time cut short shows less than the one before.
            if let Some((stage, before)) = seen.take()
                && within.remaining().is_zero()
                && look != Look::Accepted
            {
                return Waited::OutOfTime(stage, before);
            }
            let since = match same {
                Some((before, stage, since)) if (before, stage) == (look, progress) => since,
                _ => {
                    tracing::info!(code = Code::Waiting.name(), progress = ?progress, last, "Waiting until the new password is accepted everywhere.");
                    Instant::now()
                }
            };
            same = Some((look, progress, since));
            let settled = since.elapsed() >= self.settings.settle;
            match (look, progress) {
                (Look::Accepted, Progress::Applied | Progress::Unknown) => return Waited::Accepted(started.elapsed()),
                (Look::Accepted, Progress::Pending) if settled => return Waited::Accepted(started.elapsed()),
                // A status asked for right after a change may be that of before it: hence `settle`.
                (Look::Refused, Progress::Applied) if settled => return Waited::NotTaken(last),
                _ => {}
            }
            if within.remaining() < pause {
                return Waited::OutOfTime(progress, last);
            }
            seen = Some((progress, last));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn look(&self, credential: &Credential, roles: &BTreeSet<Role>, within: Deadline) -> (Look, String) {
        match self.places.try_everywhere(credential, within).await {
            Ok(Tried::Accepted(found)) => match roles.difference(&found).next() {
                None => (Look::Accepted, "it is accepted, while a change is still being applied".to_owned()),
                Some(missing) => (Look::Refused, format!("{:?} has not got {missing} yet", credential.username())),
            },
            Ok(Tried::Partly(why) | Tried::Refused(why)) => (Look::Refused, why),
            Err(failure) => (Look::Unreachable, failure.error.message().trim_end_matches('.').to_owned()),
        }
    }

    /// Whether there is time to set a password and to see what comes of it.
    pub(super) fn has_time(&self, until: Deadline) -> bool {
        until.remaining() > self.settings.settle + 2 * RESERVE
    }
}
