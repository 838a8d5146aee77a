//! Who is in a group: the only calls that change anything at Okta.

use super::{Call, Okta, Permission};
use keyturn::http::{Request, StatusCode};
use keyturn::ids::{GroupId, OktaId};
use keyturn::{Deadline, Result};
use std::sync::Arc;

/// The right to change who is in a group.
pub(crate) struct Membership(pub(crate) Arc<Okta>);

/// How Okta answered a PUT or DELETE of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is so, perhaps since before.
    Done,
    /// The group or the user does not exist any more: [`Okta::group`] tells which.
    NotFound,
}

impl Membership {
    /// Adds a user to the group. Safe to repeat: a member stays one.
    ///
    /// # Errors
    /// `OKTA_CONFLICT` where Okta is still busy with that person.
    pub(crate) async fn add(&self, group: &GroupId, user: &OktaId, deadline: Deadline) -> Result<Outcome> {
        self.change(Request::put(place(group, user)), deadline).await
    }

    /// Removes a user from the group. Safe to repeat: a user who is no member stays none.
    ///
    /// # Errors
    /// `OKTA_CONFLICT` where Okta is still busy with that person.
    pub(crate) async fn remove(&self, group: &GroupId, user: &OktaId, deadline: Deadline) -> Result<Outcome> {
        self.change(Request::delete(place(group, user)), deadline).await
    }

    async fn change(&self, request: Request, deadline: Deadline) -> Result<Outcome> {
        let call = Call::new(request, Permission::ManageMembers);
        let answer = self.0.send(&call, deadline).await?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(Outcome::Done),
            _ => call.not_found(&answer).map(|()| Outcome::NotFound),
        }
    }
}

fn place(group: &GroupId, user: &OktaId) -> String {
    format!("/api/v1/groups/{group}/users/{user}")
}
