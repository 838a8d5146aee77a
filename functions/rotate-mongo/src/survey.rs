//! createSecret, first part: everything that the plan takes, read at once. Nothing is written.

use crate::case::Case;
use crate::guards;
use crate::user::{Directory, User};
use crate::work::Work;
use keyturn::Result;
use keyturn::credential::Credential;
use keyturn_mongo::Role;
use std::collections::BTreeSet;

/// What was found, for [`plan`](crate::plan) to judge.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) case: Case,
    /// The user in use.
    pub(crate) user: User,
    /// The user's roles that were in effect at the login with AWSCURRENT; an error where it does not log in everywhere.
    pub(crate) login: Result<BTreeSet<Role>>,
    pub(crate) next: Next,
}

/// The user that the pending value is for.
#[derive(Debug)]
pub(crate) enum Next {
    /// The user in use: only its password changes.
    Same,
    /// The other of the two that take turns.
    Other(User),
    /// The other is to be made; an error where the project takes no further user.
    ToMake { room: Result<()> },
}

impl<D: Directory> Work<'_, D> {
    /// Reads what the plan takes. A refused login and a lack of room are kept as results, not returned: where a guard refuses
    /// the user, the plan says that first.
    pub(crate) async fn survey(&self, current: &Credential) -> Result<Survey> {
        // The password of a user that a guard refuses is shown to no server.
        guards::user(&self.mongo.settings.guards, self.case, &self.user, self.job)?;
        let (login, next) = tokio::join!(self.login(current), self.next());
        Ok(Survey { case: self.case.clone(), user: self.user.clone(), login, next: next? })
    }

    async fn login(&self, current: &Credential) -> Result<BTreeSet<Role>> {
        self.current_works(current, self.places.tried(current, self.job.deadline).await).await
    }

    async fn next(&self) -> Result<Next> {
        if !self.alternates() {
            return Ok(Next::Same);
        }
        let deadline = self.job.deadline;
        Ok(match self.directory.user(&self.case.next, deadline).await? {
            Some(other) => Next::Other(other),
            None => Next::ToMake { room: self.directory.has_room(deadline).await },
        })
    }
}
