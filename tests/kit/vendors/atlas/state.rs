//! What the organisation holds: projects with their clusters and database users, who may call the API, tokens, nonces,
//! and what the test has arranged for the next calls.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::cluster::{Cluster, Wanted};
use super::digest::Nonces;
use super::users::DatabaseUser;

/// A part of the API that a caller may be kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// Reading and changing database users.
    DatabaseUsers,
    Clusters,
    FlexClusters,
    ClusterStatus,
}

impl Endpoint {
    /// The dates of its revisions that the API's media type may hold, as the API's description has them.
    pub(super) fn versions(self) -> &'static [&'static str] {
        match self {
            Self::DatabaseUsers | Self::ClusterStatus => &["2023-01-01"],
            Self::Clusters => &["2024-08-05"],
            Self::FlexClusters => &["2024-11-13"],
        }
    }

    /// Those that it may no longer hold.
    pub(super) fn ended(self) -> &'static [&'static str] {
        if self == Self::Clusters { &["2023-01-01", "2023-02-01"] } else { &[] }
    }
}

/// What a caller proves who they are with.
pub(super) enum Credential {
    ServiceAccount(String),
    /// An API key's private half.
    ApiKey(String),
}

/// A service account or an API key; its id or public key is its name.
pub(super) struct Principal {
    pub credential: Credential,
    /// Its roles by project id.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Where it is refused whatever its roles are, and with which status.
    pub refused: BTreeMap<Endpoint, u16>,
}

pub(super) struct Token {
    pub account: String,
    pub expires: DateTime<Utc>,
}

#[derive(Default)]
pub(super) struct Holdings {
    pub users: Vec<DatabaseUser>,
    pub clusters: Vec<Arc<Cluster>>,
}

impl Holdings {
    pub(super) fn user(&self, database: &str, name: &str) -> Option<&DatabaseUser> {
        self.users.iter().find(|user| user.database() == database && user.name() == name)
    }

    pub(super) fn user_mut(&mut self, database: &str, name: &str) -> Option<&mut DatabaseUser> {
        self.users.iter_mut().find(|user| user.database() == database && user.name() == name)
    }

    /// Deletes these users, and sends that on its way to the clusters.
    pub(super) fn delete(&mut self, goes: impl Fn(&DatabaseUser) -> bool) {
        for user in self.users.extract_if(.., |user| goes(user)).filter(DatabaseUser::has_password) {
            for cluster in self.clusters.iter().filter(|cluster| user.covers(cluster.name())) {
                cluster.change(user.login(), Wanted::Gone);
            }
        }
    }

    pub(super) fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.iter().find(|cluster| cluster.name() == name)
    }
}

#[derive(Default)]
pub(super) struct State {
    /// Where the emulator listens, without a slash at the end.
    pub url: String,
    /// By id.
    pub projects: BTreeMap<String, Holdings>,
    /// By client id or public key.
    pub principals: HashMap<String, Principal>,
    pub tokens: HashMap<String, Token>,
    /// Every access token so far.
    pub minted: Vec<String>,
    pub nonces: Nonces,
    pub denied_address: Option<String>,
}

impl State {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Deletes the users whose `deleteAfterDate` has come.
    pub(super) fn end_users(&mut self, now: DateTime<Utc>) {
        for holdings in self.projects.values_mut() {
            holdings.delete(|user| user.ends().is_some_and(|end| end <= now));
        }
    }

    /// How many tokens of this account are good.
    pub(super) fn live_tokens(&self, account: &str, now: DateTime<Utc>) -> usize {
        self.tokens.values().filter(|token| token.account == account && now < token.expires).count()
    }

    pub(super) fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.projects.values().find_map(|project| project.cluster(name))
    }
}
