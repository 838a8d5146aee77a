//! One step's work on one secret, the same for Atlas and for servers of one's own: what `Directory` and the logins do.

mod propose;
mod prove;
mod set;
mod wait;

use crate::case::{self, Case};
use crate::config::Config;
use crate::logins::{Places, Tried};
use crate::user::{Directory, Role, User};
use keyturn::credential::Credential;
use keyturn::rotation::{Job, Strategy};
use keyturn::secrets::{PREVIOUS, Secrets};
use keyturn::{Error, Result};
use std::collections::BTreeSet;

/// Everything a step works with.
pub(crate) struct Work<'w, D> {
    pub(crate) config: &'w Config,
    pub(crate) secrets: &'w Secrets,
    pub(crate) job: &'w Job,
    pub(crate) case: &'w Case,
    pub(crate) directory: &'w D,
    pub(crate) places: &'w Places<'w>,
    /// The user in use, as the directory describes it.
    pub(crate) user: User,
}

impl<D: Directory> Work<'_, D> {
    fn alternates(&self) -> bool {
        self.case.strategy == Strategy::Alternating
    }

    /// Only who holds a working credential may have the password changed: what came of trying the current one. Gives back
    /// those of the user's roles that were in effect at the login: what goes by another name there is not asked of a twin.
    async fn current_works(&self, tried: Tried) -> Result<BTreeSet<Role>> {
        match tried {
            Tried::Accepted(roles) => Ok(self.user.roles.intersection(&roles).cloned().collect()),
            Tried::Partly(why) | Tried::Refused(why) => {
                Err(current_refused(self.config, self.secrets, self.places, self.job, self.case, &why).await)
            }
        }
    }
}

/// The value in use does not log in. Looks at the previous one, only to tell the operator more; and only at the servers that
/// value is for, since whoever wrote the one in use may have named servers that collect passwords.
pub(crate) async fn current_refused(
    config: &Config,
    secrets: &Secrets,
    places: &Places<'_>,
    job: &Job,
    case: &Case,
    why: &str,
) -> Error {
    let previous = match secrets.read(&job.secret_arn, PREVIOUS, None, job.deadline).await {
        Ok(Some(stored)) => case::read(stored.text, "the AWSPREVIOUS value", job).ok(),
        _ => None,
    };
    let same_place = |previous: &Credential| Case::of(config, previous, job).is_ok_and(|of| of.system == case.system);
    let previous = previous.filter(same_place);
    let works = match &previous {
        Some(previous) => places.try_everywhere(previous, job.deadline).await.is_ok_and(|tried| tried.is_accepted()),
        None => false,
    };
    refused(job, case, why, previous.filter(|_| works).as_ref())
}

/// Nothing was changed, because the value in use does not log in.
fn refused(job: &Job, case: &Case, why: &str, previous_that_works: Option<&Credential>) -> Error {
    let secret = &job.secret_arn;
    let back = format!(
        "(aws secretsmanager describe-secret --secret-id {secret} shows both ids) aws secretsmanager update-secret-version-stage --secret-id {secret} --version-stage AWSCURRENT --move-to-version-id <id of AWSPREVIOUS> --remove-from-version-id <id of AWSCURRENT>"
    );
    match previous_that_works {
        Some(previous) if previous.username() == case.current => Error::new(
            "REVERTED_BY_OTHER_WRITER",
            format!(
                "The AWSCURRENT password of {:?} is refused ({why}), and the AWSPREVIOUS one works: something has set the old password again. Nothing was changed.",
                case.current
            ),
            format!(
                "Find who else writes it (Terraform, an operator, a sync job; at Atlas, the project's activity feed) and stop that. Until then clients work again with: {back}"
            ),
        ),
        Some(previous) => Error::new(
            "CURRENT_PASSWORD_REFUSED",
            format!("The AWSCURRENT credential ({:?}) does not log in, so nothing was changed: {why}.", case.current),
            format!("The AWSPREVIOUS one ({:?}) does: {back}. Then rotate.", previous.username()),
        ),
        None => Error::new(
            "CURRENT_PASSWORD_REFUSED",
            format!("The AWSCURRENT credential ({:?}) does not log in, so nothing was changed: {why}.", case.current),
            format!(
                "Someone changed the password outside the rotation: put the right one into the secret (aws secretsmanager put-secret-value --secret-id {secret} --secret-string file://secret.json), then rotate. A user of another database than admin (AWS's functions take the secret's \"dbname\" for that) needs the tag keyturn:auth-db."
            ),
        ),
    }
}
