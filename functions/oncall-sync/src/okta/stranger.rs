//! A user who is not in a group: removing that one proves a permission without changing anything (the doctor's check).

use super::errors::Permission;
use super::{Call, Okta};
use crate::ids::OktaId;
use keyturn::http::StatusCode;
use keyturn::{Deadline, Result};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Anybody {
    id: OktaId,
}

impl Okta {
    /// One of the org's users who is not among `members`, if the first page of users has one.
    ///
    /// # Errors
    /// As for [`Okta::user`].
    pub(crate) async fn somebody_not_in(
        &self,
        members: &BTreeSet<OktaId>,
        deadline: Deadline,
    ) -> Result<Option<OktaId>> {
        let call = Call::get("/api/v1/users?limit=200", Permission::ReadUsers);
        let answer = self.send(&call, deadline).await?;
        if answer.status != StatusCode::OK {
            return Err(call.unexpected(&answer));
        }
        let people: Vec<Anybody> = call.read(&answer)?;
        Ok(people.into_iter().map(|person| person.id).find(|id| !members.contains(id)))
    }
}
