//! What Atlas sends and takes, as far as it is used here. Unknown members are ignored, missing ones are not made up.

use crate::settings::Network;
use crate::user;
use keyturn::failure::words;
use keyturn_mongo::{Role, Scope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A database user as Atlas describes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    username: String,
    database_name: String,
    roles: BTreeSet<Role>,
    /// Absent and empty mean the same: everything.
    scopes: Option<BTreeSet<Scope>>,
    #[serde(rename = "awsIAMType")]
    aws_iam_type: Option<String>,
    x509_type: Option<String>,
    oidc_auth_type: Option<String>,
    ldap_auth_type: Option<String>,
    delete_after_date: Option<String>,
}

impl User {
    pub(super) fn read(self) -> user::User {
        let passwordless = self.passwordless();
        user::User {
            name: self.username,
            database: self.database_name,
            roles: self.roles,
            scopes: self.scopes.unwrap_or_default(),
            mechanisms: None,
            restrictions: Vec::new(),
            passwordless,
            ends: self.delete_after_date.map(|date| words(&date)),
        }
    }

    /// The first way to sign in that has no password here.
    fn passwordless(&self) -> Option<String> {
        let ways = [
            ("awsIAMType", &self.aws_iam_type),
            ("x509Type", &self.x509_type),
            ("oidcAuthType", &self.oidc_auth_type),
            ("ldapAuthType", &self.ldap_auth_type),
        ];
        ways.into_iter().find_map(|(name, value)| {
            let value = value.as_ref().filter(|value| *value != "NONE")?;
            Some(format!("{name} is {}", words(value)))
        })
    }
}

/// A new password, and nothing else.
#[derive(Serialize)]
pub(super) struct Password<'a> {
    pub(super) password: &'a str,
}

/// What decides what a user may do. No scopes are sent as an empty list, which is what takes scopes away.
#[derive(Serialize)]
pub(super) struct Rights<'a> {
    roles: &'a BTreeSet<Role>,
    scopes: &'a BTreeSet<Scope>,
}

impl<'a> Rights<'a> {
    pub(super) fn of(user: &'a user::User) -> Self {
        Self { roles: &user.roles, scopes: &user.scopes }
    }
}

/// A user to be made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewUser<'a> {
    pub(super) database_name: &'a str,
    pub(super) group_id: &'a str,
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    #[serde(flatten)]
    pub(super) rights: Rights<'a>,
}

/// A cluster.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cluster {
    pub(crate) name: String,
    /// A flex cluster, whose status is not told. It has one address, that of the shared server's own proxies: no peering and no
    /// private endpoint leads there.
    #[serde(skip)]
    pub(crate) is_flex: bool,
    paused: Option<bool>,
    state_name: Option<String>,
    connection_strings: Option<ConnectionStrings>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionStrings {
    standard: Option<String>,
    private: Option<String>,
    private_endpoint: Option<Vec<Way>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    connection_string: Option<String>,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    endpoint_id: Option<String>,
}

impl Cluster {
    /// Why nobody can log in there now, nor needs to.
    pub(crate) fn asleep(&self) -> Option<&'static str> {
        match self.state_name.as_deref() {
            _ if self.paused == Some(true) => Some("is paused"),
            Some("CREATING") => Some("is being made"),
            Some("DELETING" | "DELETED") => Some("is being deleted"),
            _ => None,
        }
    }

    /// The connection string that names its hosts, as they are reached by this network. Missing while the cluster is being made.
    pub(crate) fn address(&self, network: &Network) -> Option<&str> {
        let strings = self.connection_strings.as_ref()?;
        match network {
            Network::Peering if !self.is_flex => strings.private.as_deref(),
            Network::Endpoint(id) if !self.is_flex => {
                let leads = |way: &&Way| {
                    way.endpoints.iter().flatten().any(|endpoint| endpoint.endpoint_id.as_ref() == Some(id))
                };
                strings.private_endpoint.iter().flatten().find(leads)?.connection_string.as_deref()
            }
            _ => strings.standard.as_deref(),
        }
    }
}

/// How far the changes to a cluster have come.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) change_status: String,
}
