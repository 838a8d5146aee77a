//! One credential at every place where it has to work: each cluster in scope, all at the same time.

use crate::login::{Connector, Login, Servers, Session};
use crate::user::Role;
use futures_util::future::join_all;
use keyturn::credential::Credential;
use keyturn::failure::Attempt;
use keyturn::{Deadline, Result};
use std::collections::BTreeSet;

/// Where logins are made.
pub(crate) struct Places<'p> {
    pub(crate) connector: &'p Connector,
    pub(crate) servers: Vec<Servers>,
    /// The authentication database.
    pub(crate) database: &'p str,
}

/// What came of a login everywhere.
#[derive(Debug)]
pub(crate) enum Tried {
    /// Accepted everywhere. These roles were in effect everywhere.
    Accepted(BTreeSet<Role>),
    /// Accepted at some places, refused at these, in the servers' words.
    Partly(String),
    /// Refused everywhere, in the servers' words.
    Refused(String),
}

impl Tried {
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }
}

impl Places<'_> {
    /// Tries the credential at every place. A place that cannot be reached is an error, and says nothing of the password.
    pub(crate) async fn try_everywhere(&self, credential: &Credential, deadline: Deadline) -> Attempt<Tried> {
        let logins = self.servers.iter().map(|servers| {
            self.connector.log_in(servers, credential.username(), self.database, credential.password(), deadline)
        });
        let mut roles: Option<BTreeSet<Role>> = None;
        let (mut sessions, mut refused, mut failed, mut partly) = (Vec::new(), Vec::new(), None, false);
        for (servers, login) in self.servers.iter().zip(join_all(logins).await) {
            match login {
                Ok(Login::Accepted(session)) => {
                    let here = session.roles.clone();
                    roles = Some(roles.map_or_else(|| here.clone(), |elsewhere| &elsewhere & &here));
                    sessions.push(session);
                }
                Ok(Login::Refused(why)) => refused.push(format!("{servers}: {why}")),
                Ok(Login::Partly(why)) => {
                    partly = true;
                    refused.push(format!("{servers}: {why}"));
                }
                Err(failure) => failed = Some(failure),
            }
        }
        join_all(sessions.into_iter().map(Session::close)).await;
        if let Some(failure) = failed {
            return Err(failure);
        }
        let why = refused.join("; ");
        Ok(match roles {
            Some(roles) if refused.is_empty() => Tried::Accepted(roles),
            Some(_) => Tried::Partly(why),
            None if partly => Tried::Partly(why),
            None => Tried::Refused(why),
        })
    }

    /// The same for a caller to whom it does not matter how a failure may pass.
    pub(crate) async fn tried(&self, credential: &Credential, deadline: Deadline) -> Result<Tried> {
        Ok(self.try_everywhere(credential, deadline).await?)
    }
}
