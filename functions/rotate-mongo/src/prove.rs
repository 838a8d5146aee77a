//! testSecret: a new login everywhere with the pending value, and the rights that the user in use has.

use crate::Mongo;
use crate::apply::in_force;
use crate::codes::Code;
use crate::guards::{self, Rights};
use crate::places::{Places, Table};
use crate::user::Directory;
use crate::work::Work;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::Failure;
use keyturn::rotation::{Job, Strategy, Target as _};
use keyturn::{Error, Result};
use keyturn_mongo::Role;
use keyturn_mongo::login::Servers;
use secrecy::ExposeSecret as _;
use std::collections::BTreeSet;

impl<D: Directory> Work<'_, D> {
    /// Proves `pending`, and gives back where. `current` is the value in use, which may be the same one.
    pub(crate) async fn prove(&self, pending: &Credential, current: &Credential) -> Result<Vec<Servers>> {
        let proven = self.proven(pending, current).await;
        // Saving a schedule tests the value in use: nobody is refused.
        let is_in_use = pending.password().expose_secret() == current.password().expose_secret();
        match proven {
            Err(error) if !is_in_use => Err(error.and(&self.in_force(current, pending).await)),
            proven => proven,
        }
    }

    async fn proven(&self, pending: &Credential, current: &Credential) -> Result<Vec<Servers>> {
        guards::user(&self.mongo.settings.guards, self.case, &self.user, self.job)?;
        let (tried, wanted) =
            tokio::join!(self.places.tried(pending, self.job.deadline), self.rights_in_use(pending, current));
        let wanted = wanted?;
        if let Some(failure) = tried.unreachable() {
            return Err(lost(pending, current, &tried, failure));
        }
        if let Some(why) = tried.refusals() {
            return Err(pending_refused(self.places, pending, current, &why, self.job).await);
        }
        let found = tried.roles();
        if found.is_empty() {
            return Err(Error::new(
                Code::UserHasNoRoles,
                format!("{:?} logs in, but without any role.", pending.username()),
                "Give it the roles that its application needs.",
            ));
        }
        match wanted.difference(&found).next() {
            None => Ok(self.places.servers.clone()),
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
        let (tried, same) =
            tokio::join!(self.places.tried(current, self.job.deadline), self.same_rights_as_in_use(pending));
        same?;
        // Where the one in use does not log in, that is not what is tested here.
        let roles = if tried.is_accepted() { tried.roles() } else { BTreeSet::new() };
        Ok(self.user.roles.intersection(&roles).cloned().collect())
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
        let rights = |sync| guards::twin(&self.mongo.settings, self.case, &twin, &self.user, sync, self.job);
        match rights(self.mongo.settings.sync_roles)? {
            // setSecret has seen to that; who has changed it since, wants a new try.
            Rights::ToSync => rights(false).map(|_| ()),
            Rights::Fit => Ok(()),
        }
    }
}

impl Mongo {
    /// finishSecret: looks once more whether `pending` logs in.
    ///
    /// Alternating, every place has to take it. With one user, `current` is dead by now, and only a place that refuses `pending`
    /// keeps AWSCURRENT from moving to it: clients cannot wait for one that is away.
    pub(crate) async fn takes_still(&self, current: &Credential, pending: &Credential, job: &Job) -> Result<()> {
        let alternates = self.strategy(job)? == Strategy::Alternating;
        // One user's clients are refused until AWSCURRENT has moved, which takes a part of the time.
        let deadline = if alternates { job.deadline } else { job.deadline.at_most(job.deadline.remaining() / 3) };
        let looking = job.until(deadline);
        let by_what_was_seen = |error: Error| {
            if alternates {
                return Err(error);
            }
            tracing::warn!(code = error.code(), "AWSCURRENT moves by what testSecret has seen: {}", error.message());
            Ok(())
        };
        let case = match self.case(current, &looking) {
            Ok(case) => case,
            Err(error) => return by_what_was_seen(error),
        };
        let places = match self.places(&case, pending, &looking).await {
            Ok(places) => places,
            Err(error) => return by_what_was_seen(error),
        };
        let deadline = if alternates { job.deadline } else { job.deadline.at_most(job.deadline.remaining() / 3) };
        let tried = places.tried(pending, deadline).await;
        let error = match (tried.refusals(), tried.unreachable()) {
            (Some(why), _) => pending_refused(&places, pending, current, &why, job).await,
            (None, Some(failure)) if alternates || !tried.is_accepted_somewhere() => failure.error.clone(),
            _ => return Ok(()),
        };
        if alternates {
            return Err(error);
        }
        Err(error.and(&in_force(&places, current, pending, job.deadline).await))
    }
}

async fn pending_refused(
    places: &Places<'_>,
    pending: &Credential,
    current: &Credential,
    why: &str,
    job: &Job,
) -> Error {
    let same_user = pending.username() == current.username();
    if same_user && places.tried(current, job.deadline).await.is_accepted() {
        return Error::new(
            Code::RevertedByOtherWriter,
            format!(
                "The pending password of {:?} is refused ({why}), and the AWSCURRENT one works: since setSecret, something has set that one.",
                pending.username()
            ),
            "Find who else writes it (Terraform, an operator, a sync job; at Atlas, the project's activity feed) and stop that, or leave it if somebody stored a new value meanwhile. Secrets Manager then tries again, from AWSCURRENT.",
        );
    }
    Error::new(
        Core::PasswordRefused,
        format!("The pending password of {:?} is refused: {why}.", pending.username()),
        "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret. If it keeps happening, look for another writer of this password.",
    )
}

/// A place has been away since setSecret. With one user, its clients may be refused elsewhere until the rotation goes on.
fn lost(pending: &Credential, current: &Credential, tried: &Table, failure: &Failure) -> Error {
    let error = failure.error.clone();
    if pending.username() != current.username() || !tried.is_accepted_somewhere() {
        return error;
    }
    error.and(&format!(
        "Clients with the current password of {:?} are refused wherever the new one is in force: the next try waits for the place, or puts the current one back.",
        current.username()
    ))
}
