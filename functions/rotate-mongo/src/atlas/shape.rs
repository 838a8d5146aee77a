//! What Atlas sends and takes, as far as it is used here. Unknown members are ignored, missing ones are not made up.

use super::{Connections, PrivateEndpoint};
use crate::user;
use keyturn::failure::words;
use serde::{Deserialize, Serialize};

/// A database user as Atlas describes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    username: String,
    database_name: String,
    roles: Vec<Role>,
    /// Absent and empty mean the same: everything.
    scopes: Option<Vec<Scope>>,
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
            roles: self.roles.into_iter().map(Role::read).collect(),
            scopes: self.scopes.unwrap_or_default().into_iter().map(Scope::read).collect(),
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

/// A role, both ways.
#[derive(Deserialize, Serialize)]
struct Role {
    #[serde(rename = "roleName")]
    name: String,
    #[serde(rename = "databaseName")]
    database: String,
    #[serde(rename = "collectionName", skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
}

impl Role {
    fn read(self) -> user::Role {
        // Atlas may send an empty name where none was given.
        let collection = self.collection.filter(|name| !name.is_empty());
        user::Role { name: self.name, database: self.database, collection }
    }
}

/// A scope, both ways.
#[derive(Deserialize, Serialize)]
struct Scope {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Scope {
    fn read(self) -> user::Scope {
        user::Scope { kind: self.kind, name: self.name }
    }
}

/// A new password, and nothing else.
#[derive(Serialize)]
pub(super) struct Password<'a> {
    pub(super) password: &'a str,
}

/// What decides what a user may do. No scopes are sent as an empty list, which is what takes scopes away.
#[derive(Serialize)]
pub(super) struct Rights {
    roles: Vec<Role>,
    scopes: Vec<Scope>,
}

impl Rights {
    pub(super) fn of(user: &user::User) -> Self {
        let role = |role: &user::Role| Role {
            name: role.name.clone(),
            database: role.database.clone(),
            collection: role.collection.clone(),
        };
        let scope = |scope: &user::Scope| Scope { name: scope.name.clone(), kind: scope.kind.clone() };
        Self { roles: user.roles.iter().map(role).collect(), scopes: user.scopes.iter().map(scope).collect() }
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
    pub(super) rights: Rights,
}

/// How many there are of what a list holds.
#[derive(Deserialize)]
pub(super) struct Counted {
    #[serde(rename = "totalCount")]
    pub(super) total: u64,
}

/// A page of clusters.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) results: Vec<Cluster>,
    #[serde(rename = "totalCount")]
    pub(super) total: usize,
}

/// A cluster.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    name: String,
    paused: Option<bool>,
    state_name: Option<String>,
    connection_strings: Option<ConnectionStrings>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionStrings {
    standard: Option<String>,
    private: Option<String>,
    private_endpoint: Option<Vec<Way>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    connection_string: Option<String>,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    endpoint_id: Option<String>,
}

impl Cluster {
    pub(super) fn read(self) -> super::Cluster {
        let strings = self.connection_strings.unwrap_or_default();
        let private_endpoints =
            strings.private_endpoint.unwrap_or_default().into_iter().filter_map(Way::read).collect();
        let connections = Connections { standard: strings.standard, private: strings.private, private_endpoints };
        let asleep = match self.state_name.as_deref() {
            _ if self.paused == Some(true) => Some("is paused"),
            Some("CREATING") => Some("is being made"),
            Some("DELETING" | "DELETED") => Some("is being deleted"),
            _ => None,
        };
        super::Cluster { name: self.name, is_flex: false, asleep, connections }
    }
}

impl Cluster {
    /// A flex cluster has one address, that of the shared server's own proxies, and no `paused`.
    pub(super) fn read_flex(self) -> super::Cluster {
        super::Cluster { is_flex: true, ..self.read() }
    }
}

impl Way {
    fn read(self) -> Option<PrivateEndpoint> {
        let endpoint_ids = self.endpoints.unwrap_or_default().into_iter().filter_map(|one| one.endpoint_id).collect();
        self.connection_string.map(|connection| PrivateEndpoint { connection, endpoint_ids })
    }
}

/// How far the changes to a cluster have come.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) change_status: String,
}
