//! Two users take turns: the password of the one that nobody uses is set, so that nothing ever has to be undone.

use super::under_way;
use super::wait::{Before, Undo, Waited};
use crate::codes::Code;
use crate::guards::{self, Rights};
use crate::user::{Created, Directory, Progress, Set, User};
use crate::work::Work;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::{Error, Result};

impl<D: Directory> Work<'_, D> {
    pub(super) async fn set_other(
        &self,
        current: &Credential,
        pending: &Credential,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let deadline = self.job.deadline;
        let (before, of_current, twin, progress) = tokio::join!(
            self.places.tried(pending, deadline),
            self.places.tried(current, deadline),
            self.directory.user(pending.username(), deadline),
            self.directory.progress(deadline)
        );
        let (before, twin) = (before.complete()?, twin?);
        let roles = self.current_works(current, of_current).await?;
        let (mut changes, mut unanswered) = (Vec::new(), None);
        let twin = match twin {
            Some(twin) => Some(twin),
            None => self.make(pending, &still, &mut changes).await?,
        };
        if let Some(twin) = twin {
            let settings = &self.mongo.settings;
            if guards::twin(settings, self.case, &twin, &self.user, settings.sync_roles, self.job)? == Rights::ToSync {
                still().await?;
                // Safe to repeat: it says what the rights are to be, not what to add.
                self.directory.set_rights(&twin, &self.user, deadline).await?;
                changes.push(format!("{:?} has the rights of {:?} now", twin.name, self.user.name));
            }
            if !before.is_accepted() || !self.directory.is_lasting(progress) {
                match self.set_password(&twin, pending, &still).await? {
                    Set::Confirmed => changes.push(format!("password of {:?} set", twin.name)),
                    // It may have come through all the same: a login tells.
                    Set::Unanswered(error) => {
                        changes.push(format!("password of {:?} set, as a login shows", twin.name));
                        unanswered = Some((twin, error));
                    }
                    Set::WithoutMajority(error) => return Err(error),
                }
            }
        }
        if before.is_accepted() && changes.is_empty() {
            return Ok(changes);
        }
        let is_clear = progress == Progress::Applied || !before.is_accepted_somewhere();
        let before = if is_clear { Before::Clear } else { Before::Unclear };
        let (table, code) = match self.accepted(pending, &roles, before, Undo::Pointless).await {
            Waited::Accepted(table, after) => {
                // But not whether it lasts: a server that answers does.
                if let Some((twin, error)) = unanswered.filter(|_| !self.directory.is_lasting(Progress::Applied))
                    && !matches!(self.set_password(&twin, pending, &still).await?, Set::Confirmed)
                {
                    return Err(error);
                }
                changes.push(self.accepted_after(&table, after));
                return Ok(changes);
            }
            Waited::UnderWay(table) => return Err(under_way(pending, &table, self.job)),
            Waited::Failed(error) => return Err(error),
            Waited::OutOfTime(table) => (table, Code::ChangeNotProven),
            Waited::NotTaken(table) => (table, Code::PasswordNotTaken),
        };
        Err(Error::new(
            code,
            format!("The new password of {:?} was set, and is refused: {table}.", pending.username()),
            format!(
                "Secrets Manager tries again, and that try sets it again. If it keeps happening, give the function a timeout of 5 minutes, and look at the user {}.",
                self.directory.whereabouts()
            ),
        ))
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
}
