//! createSecret: who is next. Everything that can be refused is refused here, before a value is put.

use super::Work;
use crate::guards;
use crate::user::Directory;
use keyturn::Result;
use keyturn::credential::Credential;

impl<D: Directory> Work<'_, D> {
    /// The user that the pending value is for.
    pub(crate) async fn propose(&self, current: &Credential) -> Result<String> {
        guards::user(&self.config.guards, self.case, &self.user, self.job)?;
        let deadline = self.job.deadline;
        let (tried, ()) = tokio::try_join!(self.places.tried(current, deadline), self.twin_fits())?;
        self.current_works(tried).await?;
        Ok(self.case.next.clone())
    }

    /// The other user may take its turn, or there is room to make it.
    async fn twin_fits(&self) -> Result<()> {
        if !self.alternates() {
            return Ok(());
        }
        match self.directory.user(&self.case.next, self.job.deadline).await? {
            Some(twin) => {
                guards::user(&self.config.guards, self.case, &twin, self.job)?;
                guards::same_rights(&twin, &self.user, self.case, self.config.sync_roles, self.job).map(|_| ())
            }
            None => self.directory.has_room(self.job.deadline).await,
        }
    }
}
