//! setSecret: the pending password becomes valid.

mod wait;

use crate::codes::Code;
use crate::guards::{self, Rights};
use crate::logins::Tried;
use crate::user::{Created, Directory, Progress, User};
use crate::work::Work;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::{Deadline, Error, Result};
use std::collections::BTreeSet;
use std::time::Duration;
use wait::Waited;

impl<D: Directory> Work<'_, D> {
    /// Makes `pending` valid everywhere, and says what was changed.
    pub(crate) async fn apply(
        &self,
        current: &Credential,
        pending: &Credential,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        guards::user(&self.settings.guards, self.case, &self.user, self.job)?;
        if self.alternates() {
            self.set_other(current, pending, still).await
        } else {
            self.set_same(current, pending, still).await
        }
    }

    /// Fixed: the password of the user in use.
    async fn set_same(
        &self,
        current: &Credential,
        pending: &Credential,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let deadline = self.job.deadline;
        let (before, of_current) =
            tokio::try_join!(self.places.tried(pending, deadline), self.places.tried(current, deadline))?;
        let current_worked = of_current.is_accepted();
        let before = match before {
            // Another invocation of this very step may have set it in between the two.
            Tried::Refused(_) if !current_worked => self.places.tried(pending, deadline).await?,
            before => before,
        };
        let is_under_way = match before {
            Tried::Accepted(_) if self.directory.is_lasting(deadline).await => return Ok(Vec::new()),
            // What an earlier try undid may still be on its way: the last word has to be this one.
            Tried::Accepted(_) => false,
            Tried::Partly(_) => self.arrives(pending).await,
            Tried::Refused(_) => {
                self.current_works(of_current).await?;
                self.arrives(pending).await
            }
        };
        let waited = if is_under_way { self.seen(pending).await } else { self.set_and_see(pending, &still).await? };
        let waited = match waited {
            // Applied, and yet refused: what was said of it was stale, or the change was lost. The same password again.
            Waited::NotTaken(_) if self.has_time(deadline) => self.set_and_see(pending, &still).await?,
            waited => waited,
        };
        match waited {
            Waited::Accepted(after) => Ok(changed(pending, after)),
            Waited::OutOfTime(progress, last) => Err(unfinished(pending, progress, &last)),
            Waited::NotTaken(last) if !self.has_time(deadline) => Err(unfinished(pending, Progress::Applied, &last)),
            Waited::NotTaken(last) => Err(self.undone(current, pending, current_worked, &last, &still).await),
        }
    }

    async fn seen(&self, credential: &Credential) -> Waited {
        self.accepted(credential, &BTreeSet::new(), self.job.deadline).await
    }

    async fn set_and_see(&self, to: &Credential, still: &impl AsyncFn() -> Result<()>) -> Result<Waited> {
        self.set_password(&self.user, to, still).await?;
        Ok(self.seen(to).await)
    }

    /// Whether an earlier try's change is still under way and arrives while there is time. The other half of the time is kept
    /// for setting it again: what is under way may be something else.
    async fn arrives(&self, pending: &Credential) -> bool {
        let deadline = self.job.deadline;
        if self.directory.progress(deadline).await != Progress::Pending {
            return false;
        }
        let until = Deadline::after(deadline.remaining() / 2);
        matches!(self.accepted(pending, &BTreeSet::new(), until).await, Waited::Accepted(_))
    }

    /// Puts the current password back, where it worked before this step began.
    async fn undone(
        &self,
        current: &Credential,
        pending: &Credential,
        current_worked: bool,
        why: &str,
        still: &impl AsyncFn() -> Result<()>,
    ) -> Error {
        let user = pending.username();
        let not_taken = |then: &str| {
            Error::new(
                Code::PasswordNotTaken,
                format!(
                    "The new password of {user:?} is applied, as it is said, but refused at the login: {why}. {then}"
                ),
                format!("Look at the user {}. Then let Secrets Manager rotate again.", self.directory.whereabouts()),
            )
        };
        if !current_worked {
            return not_taken(
                "It stays set: the current one did not work before either, so that there is nothing to go back to.",
            );
        }
        match self.set_and_see(current, still).await {
            Ok(Waited::Accepted(_)) => not_taken("The current password is back, and works."),
            Ok(Waited::OutOfTime(_, last) | Waited::NotTaken(last)) => {
                not_taken(&format!("The current password was set again, but is not proven yet: {last}."))
            }
            Err(error) => not_taken(&format!("Putting the current one back failed as well: {}", error.message())),
        }
    }

    /// Alternating: the password of the user that nobody uses.
    async fn set_other(
        &self,
        current: &Credential,
        pending: &Credential,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let deadline = self.job.deadline;
        let (before, of_current, twin) = tokio::try_join!(
            self.places.tried(pending, deadline),
            self.places.tried(current, deadline),
            self.directory.user(pending.username(), deadline)
        )?;
        let roles = self.current_works(of_current).await?;
        let mut changes = Vec::new();
        let twin = match twin {
            Some(twin) => Some(twin),
            None => self.make(pending, &still, &mut changes).await?,
        };
        if let Some(twin) = twin {
            guards::user(&self.settings.guards, self.case, &twin, self.job)?;
            if guards::same_rights(&twin, &self.user, self.case, self.settings.sync_roles, self.job)? == Rights::ToSync
            {
                still().await?;
                // Safe to repeat: it says what the rights are to be, not what to add.
                self.directory.set_rights(&twin, &self.user, deadline).await?;
                changes.push(format!("{:?} has the rights of {:?} now", twin.name, self.user.name));
            }
            if !before.is_accepted() || !self.directory.is_lasting(deadline).await {
                self.set_password(&twin, pending, &still).await?;
                changes.push(format!("password of {:?} set", twin.name));
            }
        }
        if before.is_accepted() && changes.is_empty() {
            return Ok(changes);
        }
        match self.accepted(pending, &roles, deadline).await {
            Waited::Accepted(after) => {
                changes.push(accepted_after(after));
                Ok(changes)
            }
            Waited::OutOfTime(progress, last) => Err(unfinished(pending, progress, &last)),
            // Nobody uses it, so nothing is to be undone; the next try sets it again.
            Waited::NotTaken(last) => Err(Error::new(
                Code::PasswordNotTaken,
                format!(
                    "The new password of {:?} is applied, as it is said, but refused at the login: {last}. {:?} is in use and untouched.",
                    pending.username(),
                    current.username()
                ),
                format!("Look at the user {}. Then let Secrets Manager rotate again.", self.directory.whereabouts()),
            )),
        }
    }

    /// Makes the twin. If there is one all the same (somebody was faster, or an answer was lost), that one.
    async fn make(
        &self,
        pending: &Credential,
        still: &impl AsyncFn() -> Result<()>,
        changes: &mut Vec<String>,
    ) -> Result<Option<User>> {
        let (name, deadline) = (pending.username(), self.job.deadline);
        self.directory.has_room(deadline).await?;
        still().await?;
        // Safe to repeat: a second user of this name is refused, and then the first one is taken as it is.
        match self.directory.create(name, &self.user, pending.password(), deadline).await? {
            Created::Made => {
                changes.push(format!("{name:?} made, as a copy of {:?}", self.user.name));
                Ok(None)
            }
            Created::Taken => match self.directory.user(name, deadline).await? {
                Some(twin) => Ok(Some(twin)),
                None => Err(Error::new(
                    Core::UserMissing,
                    format!("{name:?} could not be made, as if it were there already, but it is not."),
                    format!("Look for it {}. Secrets Manager tries again.", self.directory.whereabouts()),
                )),
            },
        }
    }

    async fn set_password(&self, user: &User, to: &Credential, still: &impl AsyncFn() -> Result<()>) -> Result<()> {
        still().await?;
        // Safe to repeat: the password is the stored value's own.
        self.directory.set_password(user, to.password(), self.job.deadline).await
    }
}

fn changed(pending: &Credential, after: Duration) -> Vec<String> {
    vec![
        format!("password of {:?} set", pending.username()),
        accepted_after(after),
        "clients that have not read the new value yet are refused from now on".to_owned(),
    ]
}

fn accepted_after(after: Duration) -> String {
    format!("accepted everywhere after {:.1} s", after.as_secs_f64())
}

/// The next try goes on from here.
fn unfinished(pending: &Credential, progress: Progress, last: &str) -> Error {
    let (code, stage) = match progress {
        Progress::Pending => (Code::ChangePending, "is still being applied"),
        Progress::Applied | Progress::Unknown => (Code::ChangeNotProven, "is not accepted yet"),
    };
    Error::new(
        code,
        format!("The new password of {:?} {stage}, and this invocation's time is up: {last}.", pending.username()),
        "Nothing to do now: Secrets Manager tries again, and that try waits for it. If it keeps happening, give the function a longer timeout (5 minutes).",
    )
}
