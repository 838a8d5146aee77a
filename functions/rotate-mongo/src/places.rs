//! What each place says to a credential: a cluster, a replica set, each router of a sharded cluster. Every step decides by
//! this table alone, and errors and log lines show it.

use futures_util::future::join_all;
use keyturn::credential::Credential;
use keyturn::failure::Failure;
use keyturn::{Deadline, Error, Result};
use keyturn_mongo::Role;
use keyturn_mongo::codes::Code;
use keyturn_mongo::login::{Connector, Login, Servers};
use std::collections::BTreeSet;
use std::fmt;

/// Where logins are made.
pub(crate) struct Places<'p> {
    pub(crate) connector: &'p Connector,
    pub(crate) servers: Vec<Servers>,
    /// The authentication database.
    pub(crate) database: &'p str,
    /// What may have to accept the password and is not asked, and why.
    pub(crate) unasked: Option<&'static str>,
}

/// What one place says to one credential.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It logs in, with these roles.
    Accepted(BTreeSet<Role>),
    /// The server says, in these words, that the password is wrong or that there is no such user.
    Refused(String),
    /// It did not come to a verdict: that says nothing of the password.
    Unreachable(Failure),
}

/// One place of a [`Table`].
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) place: String,
    pub(crate) verdict: Verdict,
}

/// What every place says to one credential.
#[derive(Clone, Debug)]
pub(crate) struct Table(pub(crate) Vec<Row>);

impl<'p> Places<'p> {
    /// The places of these servers: see [`Connector::places`].
    pub(crate) async fn of(
        connector: &'p Connector,
        servers: Vec<Servers>,
        database: &'p str,
        deadline: Deadline,
    ) -> Self {
        let places = join_all(servers.into_iter().map(|servers| connector.places(servers, deadline))).await;
        let servers = places.into_iter().flatten().collect();
        Self { connector, servers, database, unasked: None }
    }

    /// Refuses servers of several replica sets: a user that is changed over the wire is changed in one.
    ///
    /// Errors: `HOSTS_INVALID`.
    pub(crate) fn of_one_cluster(self) -> Result<Self> {
        let sets: Vec<String> =
            self.servers.iter().filter(|servers| !servers.is_alone()).map(Servers::to_string).collect();
        if sets.len() < 2 {
            return Ok(self);
        }
        Err(Error::of(
            Code::HostsInvalid,
            format!(
                "The hosts are those of {} replica sets, which keep users of their own: {}.",
                sets.len(),
                sets.join(" and ")
            ),
        ))
    }

    /// Tries the credential at every place, at the same time.
    pub(crate) async fn tried(&self, credential: &Credential, deadline: Deadline) -> Table {
        let rows = self.servers.iter().map(async |servers| {
            let (user, password) = (credential.username(), credential.password());
            let verdict = match self.connector.log_in(servers, user, self.database, password, deadline).await {
                Ok(Login::Accepted(session)) => {
                    let roles = session.roles.clone();
                    session.close().await;
                    Verdict::Accepted(roles)
                }
                Ok(Login::Refused(words)) => Verdict::Refused(words),
                Err(failure) => Verdict::Unreachable(failure),
            };
            Row { place: servers.to_string(), verdict }
        });
        Table(join_all(rows).await)
    }
}

impl Table {
    /// Whether the credential works everywhere.
    pub(crate) fn is_accepted(&self) -> bool {
        self.0.iter().all(|row| matches!(row.verdict, Verdict::Accepted(_)))
    }

    /// Whether it works somewhere.
    pub(crate) fn is_accepted_somewhere(&self) -> bool {
        self.0.iter().any(|row| matches!(row.verdict, Verdict::Accepted(_)))
    }

    /// The first failure to come to a verdict.
    pub(crate) fn unreachable(&self) -> Option<&Failure> {
        self.0.iter().find_map(|row| match &row.verdict {
            Verdict::Unreachable(failure) => Some(failure),
            Verdict::Accepted(_) | Verdict::Refused(_) => None,
        })
    }

    /// The table, if every place has come to a verdict.
    pub(crate) fn complete(self) -> Result<Self> {
        match self.unreachable() {
            Some(failure) => Err(failure.error.clone()),
            None => Ok(self),
        }
    }

    /// The refusals with their places; `None` where there is none.
    pub(crate) fn refusals(&self) -> Option<String> {
        let refused = self.0.iter().filter_map(|row| match &row.verdict {
            Verdict::Refused(words) => Some(format!("{}: {words}", row.place)),
            Verdict::Accepted(_) | Verdict::Unreachable(_) => None,
        });
        let refused = refused.collect::<Vec<_>>().join("; ");
        Some(refused).filter(|text| !text.is_empty())
    }

    /// The roles that were in effect at every place that accepts.
    pub(crate) fn roles(&self) -> BTreeSet<Role> {
        let roles = self.0.iter().filter_map(|row| match &row.verdict {
            Verdict::Accepted(roles) => Some(roles.clone()),
            Verdict::Refused(_) | Verdict::Unreachable(_) => None,
        });
        roles.reduce(|here, there| &here & &there).unwrap_or_default()
    }

    /// Treats a place as refusing that accepts without one of these roles: it has not got the change yet.
    pub(crate) fn with(mut self, wanted: &BTreeSet<Role>, user: &str) -> Self {
        for row in &mut self.0 {
            if let Verdict::Accepted(roles) = &row.verdict
                && let Some(missing) = wanted.difference(roles).next()
            {
                row.verdict = Verdict::Refused(format!("{user:?} has not got {missing} yet"));
            }
        }
        self
    }

    /// The names of all places.
    pub(crate) fn places(&self) -> String {
        self.0.iter().map(|row| row.place.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.0.iter().map(|Row { place, verdict }| match verdict {
            Verdict::Accepted(_) => format!("{place}: accepted"),
            Verdict::Refused(words) => format!("{place}: {words}"),
            Verdict::Unreachable(failure) => said(place, &failure.error),
        });
        f.write_str(&said.collect::<Vec<_>>().join("; "))
    }
}

/// An error's message names its server already, most often by the very name of the place.
fn said(place: &str, error: &Error) -> String {
    let message = error.message().trim_end_matches('.');
    if message.contains(place) { message.to_owned() } else { format!("{place}: {message}") }
}
