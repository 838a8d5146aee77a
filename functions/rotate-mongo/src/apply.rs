//! setSecret: the pending password becomes valid, by one of two ways: that of one user or that of two.

mod alternating;
mod fixed;
mod wait;

use crate::codes::Code;
use crate::guards;
use crate::places::{Places, Table};
use crate::user::{Directory, Set, User};
use crate::work::Work;
use fixed::Standing;
use keyturn::credential::Credential;
use keyturn::rotation::Job;
use keyturn::{Deadline, Error, Result};
use std::time::Duration;

/// How long the last look may take, by which an error says which password is in force.
const LAST_LOOK: Duration = Duration::from_secs(3);

impl<D: Directory> Work<'_, D> {
    /// Makes `pending` valid everywhere, and says what was changed.
    pub(crate) async fn apply(
        &self,
        current: &Credential,
        pending: &Credential,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let set = match guards::user(&self.mongo.settings.guards, self.case, &self.user, self.job) {
            Err(refused) => Err(refused),
            Ok(()) if self.alternates() => self.set_other(current, pending, still).await,
            Ok(()) => self.set_same(current, pending, still).await,
        };
        match set {
            Err(error) => Err(error.and(&self.in_force(current, pending).await)),
            done => done,
        }
    }

    /// Which password works where, for the end of an error.
    pub(crate) async fn in_force(&self, current: &Credential, pending: &Credential) -> String {
        if self.alternates() {
            return format!("{:?} is in use and untouched.", current.username());
        }
        in_force(self.places, current, pending, self.job.deadline).await
    }

    async fn set_password(&self, user: &User, to: &Credential, still: &impl AsyncFn() -> Result<()>) -> Result<Set> {
        still().await?;
        // Safe to repeat: the password is the stored value's own.
        self.directory.set_password(user, to.password(), self.job.deadline).await
    }

    /// Which places have proven the new password: what was not asked is said as well.
    fn accepted_after(&self, table: &Table, after: Duration) -> String {
        let unasked = self.places.unasked.map(|why| format!(" ({why})")).unwrap_or_default();
        format!("accepted by {} after {:.1} s{unasked}", table.places(), after.as_secs_f64())
    }
}

/// Which password of one user works where, for the end of an error.
pub(crate) async fn in_force(
    places: &Places<'_>,
    current: &Credential,
    pending: &Credential,
    deadline: Deadline,
) -> String {
    let deadline = deadline.at_most(LAST_LOOK);
    let (of_current, of_pending) = tokio::join!(places.tried(current, deadline), places.tried(pending, deadline));
    format!("In force: {}.", Standing::of(&of_current, &of_pending))
}

/// Atlas is still at it: the next try goes on from here.
fn under_way(pending: &Credential, table: &Table, job: &Job) -> Error {
    Error::new(
        Code::ChangePending,
        format!(
            "The new password of {:?} is still being applied, and this invocation's time is up: {table}.",
            pending.username()
        ),
        format!(
            "Secrets Manager tries again by itself, and that try goes on with it. Once its tries are used up, rotate again (aws secretsmanager rotate-secret --secret-id {}). If it keeps happening, give the function a longer timeout (5 minutes).",
            job.secret_arn
        ),
    )
}
