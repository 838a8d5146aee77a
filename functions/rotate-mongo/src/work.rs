//! One step's work on one secret, the same for Atlas and for servers of one's own: what `Directory` and the logins do.

use crate::Mongo;
use crate::case::{self, Case};
use crate::codes::Code;
use crate::places::{Places, Table};
use crate::user::{Directory, User};
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::diagnosis::{back_to_previous, previous_that_works};
use keyturn::rotation::{Job, Strategy};
use keyturn::{Error, Result};
use keyturn_mongo::Role;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeSet;

/// Everything a step works with.
pub(crate) struct Work<'w, D> {
    pub(crate) mongo: &'w Mongo,
    pub(crate) job: &'w Job,
    pub(crate) case: &'w Case,
    pub(crate) directory: &'w D,
    pub(crate) places: &'w Places<'w>,
    /// The user in use, as the directory describes it.
    pub(crate) user: User,
}

impl<D: Directory> Work<'_, D> {
    pub(crate) fn alternates(&self) -> bool {
        self.case.strategy == Strategy::Alternating
    }

    /// Only who holds a working credential may have the password changed: what came of trying the current one. Gives back
    /// those of the user's roles that were in effect at the login: what goes by another name there is not asked of a twin.
    pub(crate) async fn current_works(&self, current: &Credential, tried: Table) -> Result<BTreeSet<Role>> {
        let tried = tried.complete()?;
        let Some(why) = tried.refusals() else {
            return Ok(self.user.roles.intersection(&tried.roles()).cloned().collect());
        };
        let error = self.mongo.current_refused(self.places, self.job, self.case, current, &why).await;
        if self.user.restrictions.is_empty() {
            return Err(error);
        }
        Err(error.and(&format!(
            "{:?} has authenticationRestrictions, and a server says the same of a login from an address that they do not name: they must name the function's.",
            self.case.current
        )))
    }
}

impl Mongo {
    /// The value in use does not log in: what may be the reason, as far as it can be found out.
    pub(crate) async fn current_refused(
        &self,
        places: &Places<'_>,
        job: &Job,
        case: &Case,
        current: &Credential,
        why: &str,
    ) -> Error {
        let read = |text| {
            let previous = case::read(text, "the AWSPREVIOUS value", job).ok()?;
            Case::of(&self.settings, &previous, job).is_ok_and(|of| of.system == case.system).then_some(previous)
        };
        let works = async |credential: &Credential| places.tried(credential, job.deadline).await.is_accepted();
        let error = refused(job, case, why, previous_that_works(&self.secrets, job, read, works).await.as_ref());
        match decoded(current) {
            Some(decoded) if works(&decoded).await => error.and(
                "The password in the value is percent-encoded, as in a connection string: decoded, it logs in. Store it decoded.",
            ),
            _ => error,
        }
    }
}

/// The same credential with its password percent-decoded, where that makes another one.
fn decoded(current: &Credential) -> Option<Credential> {
    let encoded = current.password().expose_secret();
    let decoded = percent_decode_str(encoded).decode_utf8().ok()?;
    (decoded != *encoded).then(|| current.with(current.username(), &SecretString::from(&*decoded)).ok())?
}

/// Nothing was changed, because the value in use does not log in.
fn refused(job: &Job, case: &Case, why: &str, previous: Option<&Credential>) -> Error {
    let secret = &job.secret_arn;
    let back = back_to_previous(secret);
    match previous {
        Some(previous) if previous.username() == case.current => Error::new(
            Code::RevertedByOtherWriter,
            format!(
                "The AWSCURRENT password of {:?} is refused ({why}), and the AWSPREVIOUS one works: something has set the old password again. Nothing was changed.",
                case.current
            ),
            format!(
                "Find who else writes it (Terraform, an operator, a sync job; at Atlas, the project's activity feed) and stop that. Until then clients work again with: {back}"
            ),
        ),
        Some(previous) => Error::new(
            Core::CurrentPasswordRefused,
            format!("The AWSCURRENT credential ({:?}) does not log in, so nothing was changed: {why}.", case.current),
            format!("The AWSPREVIOUS one ({:?}) does: {back}. Then rotate.", previous.username()),
        ),
        None => Error::new(
            Core::CurrentPasswordRefused,
            format!("The AWSCURRENT credential ({:?}) does not log in, so nothing was changed: {why}.", case.current),
            format!(
                "Someone changed the password outside the rotation: put the right one into the secret (aws secretsmanager put-secret-value --secret-id {secret} --secret-string file://secret.json), then rotate. A user of another database than admin (AWS's functions take the secret's \"dbname\" for that) needs the tag keyturn:auth-db."
            ),
        ),
    }
}
