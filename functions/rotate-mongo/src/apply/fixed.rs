//! One user, whose password is replaced: a place that takes the new one refuses the old one from then on, and with it every
//! client that has not read the new value. So no try may end with a change that is half made and stays so.
//!
//! | in force at the places | what a try does |
//! |---|---|
//! | the current one everywhere | sets the new one, then waits |
//! | the current one; a place is away | stops: nothing is changed while a place is away |
//! | the new one everywhere | nothing, or sets it again where a login does not prove that it lasts |
//! | the new one at some | Atlas is at it, or a place is away: waits; else sets it again, then waits |
//! | neither, and the new one nowhere | stops: somebody else has set another one |
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> Current: every place accepts the current password
//!     Current --> Stopped: a place is away, or no majority follows the primary
//!     Stopped --> Current: next try
//!     Current --> Setting: PATCH, or updateUser
//!     Setting --> Setting: refused, though said to be applied: set again, once
//!     Setting --> Proven: every place accepts the new one
//!     Setting --> UnderWay: time is up, Atlas still applies it
//!     UnderWay --> Setting: next try goes on
//!     Setting --> Back: a place is lost or refuses for too long, or time is up
//!     Back --> Current: the current one is set again and proven
//!     Proven --> [*]: AWSCURRENT moves
//! ```
//!
//! The current password may be put back: the new one is never set before the current one has logged in everywhere. Where
//! somebody stores another value in the middle of a rotation, that one is put back: it is what clients read by then.

use super::under_way;
use super::wait::{Before, LOOK, RESERVE, Undo, Waited};
use crate::codes::Code;
use crate::places::{Row, Table, Verdict};
use crate::user::{Directory, Progress, Set};
use crate::work::Work;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::Failure;
use keyturn::{Error, Result, diagnosis};
use keyturn_mongo::codes::Code as Shared;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::time::sleep;

/// How soon the current password is set again first where that was not answered, or put off.
const FIRST_PUT_OFF: Duration = Duration::from_secs(1);

/// The longest pause between two such tries.
const LONGEST_PUT_OFF: Duration = Duration::from_secs(20);

/// Which password is in force at a place.
#[derive(Clone, Debug)]
enum InForce {
    Current,
    Pending,
    /// The server refuses both.
    Neither,
    Unknown(Failure),
}

/// Which password is in force where.
pub(super) struct Standing(Vec<(String, InForce)>);

impl Standing {
    pub(super) fn of(current: &Table, pending: &Table) -> Self {
        let both = current.0.iter().zip(&pending.0);
        Self(both.map(|(current, pending)| (current.place.clone(), in_force(current, pending))).collect())
    }

    fn is_pending_everywhere(&self) -> bool {
        self.0.iter().all(|(_, in_force)| matches!(in_force, InForce::Pending))
    }

    fn is_pending_somewhere(&self) -> bool {
        self.0.iter().any(|(_, in_force)| matches!(in_force, InForce::Pending))
    }

    fn is_neither_somewhere(&self) -> bool {
        self.0.iter().any(|(_, in_force)| matches!(in_force, InForce::Neither))
    }

    fn lost(&self) -> Option<&Failure> {
        self.0.iter().find_map(|(_, in_force)| match in_force {
            InForce::Unknown(failure) => Some(failure),
            InForce::Current | InForce::Pending | InForce::Neither => None,
        })
    }
}

fn in_force(current: &Row, pending: &Row) -> InForce {
    match (&current.verdict, &pending.verdict) {
        (_, Verdict::Accepted(_)) => InForce::Pending,
        (Verdict::Accepted(_), _) => InForce::Current,
        (Verdict::Unreachable(failure), _) | (_, Verdict::Unreachable(failure)) => InForce::Unknown(failure.clone()),
        (Verdict::Refused(_), Verdict::Refused(_)) => InForce::Neither,
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.0.iter().map(|(place, in_force)| {
            let what = match in_force {
                InForce::Current => "the current password",
                InForce::Pending => "the new password",
                InForce::Neither => "neither password",
                InForce::Unknown(_) => "unknown",
            };
            format!("{place}: {what}")
        });
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

impl<D: Directory> Work<'_, D> {
    pub(super) async fn set_same(
        &self,
        current: &Credential,
        pending: &Credential,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let (mut standing, mut of_current, mut progress) = self.standing(current, pending).await;
        if standing.is_neither_somewhere() {
            // Another invocation of this very step may have set it between the two logins.
            (standing, of_current, progress) = self.standing(current, pending).await;
        }
        let begins = !standing.is_pending_somewhere();
        if begins {
            if let Some(failure) = standing.lost() {
                return Err(failure.error.clone().and("Nothing was changed."));
            }
            self.current_works(current, of_current).await?;
            self.directory.is_ready(self.job.deadline).await?;
        } else if standing.is_pending_everywhere() && self.directory.is_lasting(progress) {
            return Ok(Vec::new());
        }
        // An earlier try may have set the current password again, and Atlas may not have applied that change yet.
        let is_quiet = progress == Progress::Applied || begins && progress == Progress::Unknown;
        let before = if is_quiet { Before::Clear } else { Before::Unclear };
        let is_half = !begins && !standing.is_pending_everywhere();
        let mut cause = None;
        let mut waited = if is_half && (progress == Progress::Pending || standing.lost().is_some()) {
            self.seen(pending, before).await
        } else {
            match self.set_and_see(pending, before, &mut cause, &still).await {
                Ok(waited) => waited,
                // It says that nothing was changed; an earlier attempt of the same call may have come through.
                Err(error) if begins && !self.standing(current, pending).await.0.is_pending_somewhere() => {
                    return Err(error);
                }
                Err(error) => return Err(self.put_back(current, error, &still).await),
            }
        };
        if let Waited::NotTaken(_) = waited
            && self.has_time_for_more()
        {
            let (standing, ..) = self.standing(current, pending).await;
            if standing.is_neither_somewhere() && !standing.is_pending_somewhere() {
                return Err(third_password(pending));
            }
            // Applied, and yet refused: what was said of it was stale, or the change was lost. The same password again.
            waited = match self.set_and_see(pending, Before::Clear, &mut cause, &still).await {
                Ok(waited) => waited,
                Err(error) => return Err(self.put_back(current, error, &still).await),
            };
        }
        let user = pending.username();
        let why = match waited {
            Waited::Accepted(table, after) => {
                if let Some(cause) = cause.filter(|_| !self.directory.is_lasting(Progress::Applied)) {
                    self.confirmed(current, pending, cause, &still).await?;
                }
                return Ok(vec![
                    format!("password of {user:?} set"),
                    self.accepted_after(&table, after),
                    "clients that have not read the new value yet are refused from now on".to_owned(),
                ]);
            }
            Waited::UnderWay(table) => {
                return Err(under_way(pending, &table, self.job).and(
                    "Clients with the current one are refused wherever the new one is in force, until the next try has finished.",
                ));
            }
            Waited::Failed(error) => error,
            Waited::OutOfTime(table) => Error::of(
                Code::ChangeNotProven,
                format!("The new password of {user:?} was not accepted everywhere in this invocation's time: {table}."),
            ),
            Waited::NotTaken(table) => {
                let (standing, ..) = self.standing(current, pending).await;
                let third = if standing.is_neither_somewhere() {
                    " Where neither password is in force, something else sets this user's password."
                } else {
                    ""
                };
                Error::new(
                    Code::PasswordNotTaken,
                    format!("The new password of {user:?} was set, and is refused for too long: {table}.{third}"),
                    format!(
                        "Look at the user {}. Then let Secrets Manager rotate again.",
                        self.directory.whereabouts()
                    ),
                )
            }
        };
        Err(self.put_back(current, cause.unwrap_or(why), &still).await)
    }

    /// Tries both passwords at every place: which one is in force where, the verdicts on the current one, and Atlas's status.
    async fn standing(&self, current: &Credential, pending: &Credential) -> (Standing, Table, Progress) {
        let deadline = self.job.deadline;
        let (of_pending, of_current, progress) = tokio::join!(
            self.places.tried(pending, deadline),
            self.places.tried(current, deadline),
            self.directory.progress(deadline)
        );
        (Standing::of(&of_current, &of_pending), of_current, progress)
    }

    async fn seen(&self, credential: &Credential, before: Before) -> Waited {
        self.accepted(credential, &BTreeSet::new(), before, Undo::Needed).await
    }

    /// Sets the new password and waits for it. `cause` is what went wrong with the setting, though it may have taken effect.
    async fn set_and_see(
        &self,
        to: &Credential,
        before: Before,
        cause: &mut Option<Error>,
        still: &impl AsyncFn() -> Result<()>,
    ) -> Result<Waited> {
        match self.set_password(&self.user, to, still).await? {
            Set::Confirmed => *cause = None,
            Set::Unanswered(error) => *cause = Some(error),
            // In force on the primary, and gone again with it: nothing to wait for.
            Set::WithoutMajority(error) => return Ok(Waited::Failed(error)),
        }
        Ok(self.seen(to, before).await)
    }

    /// Sets the new password once more where its setting was not answered: a login does not tell whether it will last.
    async fn confirmed(
        &self,
        current: &Credential,
        to: &Credential,
        cause: Error,
        still: &impl AsyncFn() -> Result<()>,
    ) -> Result<()> {
        let error = match self.set_password(&self.user, to, still).await {
            Ok(Set::Confirmed) => return Ok(()),
            Ok(Set::WithoutMajority(error)) => return Err(self.put_back(current, error, still).await),
            Ok(Set::Unanswered(error)) | Err(error) => error,
        };
        Err(cause.and(&format!(
            "The new password is in force, and clients with the current one are refused until the next try has made sure of it: {}",
            error.message()
        )))
    }

    /// Sets the current password again, for as long as there is time: clients are refused meanwhile.
    async fn set_back(&self, current: &Credential, still: &impl AsyncFn() -> Result<()>) -> Result<Set> {
        let mut pause = FIRST_PUT_OFF;
        loop {
            let set = self.set_password(&self.user, current, still).await;
            let passes = match &set {
                Ok(Set::Unanswered(_)) => !self.is_back(current).await,
                Ok(Set::Confirmed | Set::WithoutMajority(_)) => false,
                Err(error) => {
                    let of_aws = [Core::AwsCallFailed, Core::AwsThrottled, Core::AwsUnreachable];
                    error.is(Shared::AtlasThrottled) || of_aws.iter().any(|code| error.is(*code))
                }
            };
            if !passes || self.job.deadline.remaining() < pause + RESERVE {
                return set;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PUT_OFF);
        }
    }

    /// Whether the current password is in force everywhere, and nothing is under way that changes that.
    async fn is_back(&self, current: &Credential) -> bool {
        let deadline = self.job.deadline.at_most(LOOK);
        let (table, progress) = tokio::join!(self.places.tried(current, deadline), self.directory.progress(deadline));
        table.is_accepted() && progress == Progress::Applied
    }

    /// Puts the current password back, and says in the error where it works again.
    async fn put_back(&self, current: &Credential, why: Error, still: &impl AsyncFn() -> Result<()>) -> Error {
        let (set, doubt) = match self.set_back(current, still).await {
            Ok(Set::Confirmed) => ("is back", String::new()),
            Ok(Set::WithoutMajority(_)) => ("is back", " No majority of the replica set has confirmed it.".to_owned()),
            Ok(Set::Unanswered(error)) => ("may be back", format!(" {}", error.message())),
            Err(error) => {
                return why.and(&format!(
                    "The current password could not be put back, so clients with it are refused wherever the new one is in force: {}",
                    error.message()
                ));
            }
        };
        let (table, stays) = self.restored(current).await;
        let then = if table.is_accepted() && !stays {
            format!(
                "The current password was set again, and works at {}; Atlas may still be applying the change before.{doubt}",
                table.places()
            )
        } else if table.is_accepted() {
            format!("The current password is back, and works at {}.{doubt}", table.places())
        } else if table.refusals().is_none() && table.is_accepted_somewhere() {
            format!(
                "The current password is back where it can be proven: {table}.{doubt} Until every place answers, no try sets the new one there again."
            )
        } else {
            format!(
                "The current password {set}, and is not accepted everywhere: {table}. Clients are refused there until it is.{doubt}"
            )
        };
        let error = why.and(&then);
        match still().await {
            Err(moved) if moved.is(Core::CurrentMoved) => error.and(&format!(
                "Meanwhile AWSCURRENT was moved, and its password may be refused by that. If the one that was put back is AWSPREVIOUS's by now: {}",
                diagnosis::back_to_previous(&self.job.secret_arn)
            )),
            _ => error,
        }
    }
}

/// It is left as it is: whoever set it may have had to.
fn third_password(pending: &Credential) -> Error {
    Error::new(
        Code::PasswordNotTaken,
        format!(
            "While the new password of {:?} was waited for, something else set another one, which was left as it is.",
            pending.username()
        ),
        "Find who else writes it (Terraform, an operator; at Atlas, the project's activity feed). Put the password that counts into the secret, then rotate.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(verdicts: &[(&str, char)]) -> Table {
        let row = |(place, verdict): &(&str, char)| Row {
            place: (*place).to_owned(),
            verdict: match verdict {
                'a' => Verdict::Accepted(BTreeSet::new()),
                'r' => Verdict::Refused("authentication failed".to_owned()),
                _ => Verdict::Unreachable(Failure::transient(Core::DatabaseUnreachable, "It is away.", "")),
            },
        };
        Table(verdicts.iter().map(row).collect())
    }

    #[test]
    fn what_is_in_force_is_told_from_the_two_verdicts() {
        for (current, pending, said) in [
            ('a', 'r', "c: the current password"),
            ('r', 'a', "c: the new password"),
            // A router that has both in its memory for a moment: the new one is the later one.
            ('a', 'a', "c: the new password"),
            ('?', 'a', "c: the new password"),
            ('a', '?', "c: the current password"),
            ('r', 'r', "c: neither password"),
            ('r', '?', "c: unknown"),
            ('?', 'r', "c: unknown"),
            ('?', '?', "c: unknown"),
        ] {
            let standing = Standing::of(&table(&[("c", current)]), &table(&[("c", pending)]));
            assert_eq!(standing.to_string(), said, "{current} {pending}");
        }
    }
}
