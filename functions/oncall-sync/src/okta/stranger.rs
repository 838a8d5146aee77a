//! People on whom the doctor tries what the credential may do: nothing changes for them.

use super::errors::Permission;
use super::people::WithId;
use super::{Call, Okta};
use keyturn::http::StatusCode;
use keyturn::ids::{GroupId, OktaId};
use keyturn::{Deadline, Result};
use std::collections::BTreeSet;

impl Okta {
    /// One of the org's users who is not among `members`, if the first page of users has one: to remove that one from the
    /// group changes nothing, and needs the permission to change it.
    ///
    /// # Errors
    /// As for [`Okta::user`].
    pub(crate) async fn somebody_not_in(
        &self,
        members: &BTreeSet<OktaId>,
        deadline: Deadline,
    ) -> Result<Option<OktaId>> {
        let people = self.first_page(&Call::get("/api/v1/users?limit=200", Permission::ReadUsers), deadline).await?;
        Ok(people.into_iter().find(|id| !members.contains(id)))
    }

    /// A member of a group, if it has any.
    ///
    /// # Errors
    /// As for [`Okta::user`]; also where there is no such group.
    pub(crate) async fn a_member(&self, group: &GroupId, deadline: Deadline) -> Result<Option<OktaId>> {
        let call = Call::get(format!("/api/v1/groups/{group}/users?limit=1"), Permission::ReadGroups);
        Ok(self.first_page(&call, deadline).await?.into_iter().next())
    }

    async fn first_page(&self, call: &Call, deadline: Deadline) -> Result<Vec<OktaId>> {
        let answer = self.send(call, deadline).await?;
        if answer.status != StatusCode::OK {
            return Err(call.unexpected(&answer));
        }
        let people: Vec<WithId<OktaId>> = call.read(&answer)?;
        Ok(people.into_iter().map(|person| person.id).collect())
    }
}
