//! testSecret: a new login everywhere with the pending value, and the rights that the user in use has.

use crate::codes::Code;
use crate::guards::{self, Rights};
use crate::logins::Tried;
use crate::user::{Directory, Role};
use crate::work::Work;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::{Error, Result};
use std::collections::BTreeSet;

impl<D: Directory> Work<'_, D> {
    /// Proves `pending`. `current` is the value in use, which may be the same one.
    pub(crate) async fn prove(&self, pending: &Credential, current: &Credential) -> Result<()> {
        guards::user(&self.settings.guards, self.case, &self.user, self.job)?;
        let (tried, wanted) =
            tokio::try_join!(self.places.tried(pending, self.job.deadline), self.rights_in_use(pending, current))?;
        let found = match tried {
            Tried::Accepted(roles) => roles,
            Tried::Partly(why) | Tried::Refused(why) => return Err(self.pending_refused(pending, current, &why).await),
        };
        if found.is_empty() {
            return Err(Error::new(
                Code::UserHasNoRoles,
                format!("{:?} logs in, but without any role.", pending.username()),
                "Give it the roles that its application needs.",
            ));
        }
        match wanted.difference(&found).next() {
            None => Ok(()),
            Some(missing) => Err(Error::new(
                Code::RolesDiffer,
                format!("{:?} logs in, but without {missing}, which {:?} has.", pending.username(), current.username()),
                "Nothing to do now if roles have just been changed: Secrets Manager tries again. Else look at the user's roles.",
            )),
        }
    }

    /// The roles that a user who is not the one in use must have at its login; its rights are compared where they are kept, too.
    async fn rights_in_use(&self, pending: &Credential, current: &Credential) -> Result<BTreeSet<Role>> {
        if pending.username() == current.username() {
            return Ok(BTreeSet::new());
        }
        let (tried, ()) =
            tokio::try_join!(self.places.tried(current, self.job.deadline), self.same_rights_as_in_use(pending))?;
        match tried {
            Tried::Accepted(roles) => Ok(self.user.roles.intersection(&roles).cloned().collect()),
            // Not what is tested here.
            Tried::Partly(_) | Tried::Refused(_) => Ok(BTreeSet::new()),
        }
    }

    /// The user that is next may do what the one in use may.
    async fn same_rights_as_in_use(&self, pending: &Credential) -> Result<()> {
        let Some(twin) = self.directory.user(pending.username(), self.job.deadline).await? else {
            return Err(Error::new(
                Core::UserMissing,
                format!("There is no user {:?}, which the pending value is for.", pending.username()),
                "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret.",
            ));
        };
        guards::user(&self.settings.guards, self.case, &twin, self.job)?;
        match guards::same_rights(&twin, &self.user, self.case, self.settings.sync_roles, self.job)? {
            // setSecret has seen to that; who has changed it since, wants a new try.
            Rights::ToSync => guards::same_rights(&twin, &self.user, self.case, false, self.job).map(|_| ()),
            Rights::Fit => Ok(()),
        }
    }

    async fn pending_refused(&self, pending: &Credential, current: &Credential, why: &str) -> Error {
        let same_user = pending.username() == current.username();
        let tried = self.places.try_everywhere(current, self.job.deadline).await;
        if same_user && tried.is_ok_and(|tried| tried.is_accepted()) {
            return Error::new(
                Code::RevertedByOtherWriter,
                format!(
                    "The pending password of {:?} is refused ({why}), and the current one works: since setSecret, something has set the old password again.",
                    pending.username()
                ),
                "Find who else writes it (Terraform, an operator, a sync job; at Atlas, the project's activity feed) and stop that. Secrets Manager then tries again.",
            );
        }
        Error::new(
            Core::PasswordRefused,
            format!("The pending password of {:?} is refused: {why}.", pending.username()),
            "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret. If it keeps happening, look for another writer of this password.",
        )
    }
}
