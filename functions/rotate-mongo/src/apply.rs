//! setSecret: the pending password becomes valid, by one of two ways: that of one user or that of two.

mod alternating;
mod fixed;
mod wait;

use crate::codes::Code;
use crate::places::Table;
use crate::user::{Directory, Set, User};
use crate::work::Work;
use keyturn::credential::Credential;
use keyturn::{Error, Result};
use std::time::Duration;

impl<D: Directory> Work<'_, D> {
    /// Makes `pending` valid everywhere, and says what was changed.
    pub(crate) async fn apply(
        &self,
        current: &Credential,
        pending: &Credential,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        if self.alternates() {
            self.set_other(current, pending, still).await
        } else {
            self.set_same(current, pending, still).await
        }
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

/// Atlas is still at it: the next try goes on from here. `meanwhile` says who is refused until then.
fn under_way(pending: &Credential, table: &Table, meanwhile: &str) -> Error {
    Error::new(
        Code::ChangePending,
        format!(
            "The new password of {:?} is still being applied, and this invocation's time is up: {table}. {meanwhile}",
            pending.username()
        ),
        "Nothing to do now: Secrets Manager tries again, and that try goes on with it. If it keeps happening, give the function a longer timeout (5 minutes).",
    )
}
