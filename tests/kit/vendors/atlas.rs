//! Atlas: the part of its Admin API that Keyturn uses, and the token endpoint for service accounts, with
//! state. A change of a database user reaches the real server behind a cluster later than the API answers.

mod access;
mod api;
mod cluster;
mod digest;
mod oauth;
mod paging;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use keyturn::clock::Clock;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::cluster::Cluster;
pub use self::refusal::RateLimit;
use self::refusal::random;
pub use self::state::Endpoint;
use self::state::{Credential, Holdings, Principal, State};
use self::users::DatabaseUser;
use super::refusal::answer as refused;
use super::{Call, Front, Reply, Requests, Vendor, lock};
use crate::aws_json::uuid;
use crate::faults::Faults;
use crate::mongo::Mongo;

struct Organisation {
    clock: Clock,
    state: Mutex<State>,
}

impl Vendor for Organisation {
    const NAME: &'static str = "atlas";

    fn answer(&self, call: &Call) -> Result<Reply, (String, Reply)> {
        api::answer(&mut lock(&self.state), call, self.clock.now()).or_else(refused)
    }

    fn refusal(&self, status: u16) -> Reply {
        refusal::of_status(status)
    }
}

/// A project of the organisation. Clones are handles to the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project(String);

impl Project {
    /// Its id, called `groupId` in the API: 24 hexadecimal digits, the same in every run.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }
}

/// An Atlas organisation behind a loopback listener. Clusters go by their names, of which each is there only once, in
/// whichever project; a name that is not there is a mistake in the test, which panics.
pub struct Atlas {
    front: Front<Organisation>,
    /// One task per cluster, which applies its changes; they end with the emulator.
    workers: Mutex<JoinSet<()>>,
}

impl Deref for Atlas {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.front
    }
}

impl Atlas {
    /// Starts an empty organisation that lives by this clock, on a free port. Tokens and temporary users end by the
    /// clock; changes take real time.
    pub async fn start(clock: Clock, faults: Faults) -> anyhow::Result<Self> {
        let organisation = Organisation { clock: clock.clone(), state: Mutex::new(State::new()) };
        let front = Front::start(organisation, clock, faults).await?;
        lock(&front.vendor().state).url = front.url();
        Ok(Self { front, workers: Mutex::default() })
    }

    /// What no correct client would have sent, and changes that a server refused.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let state = self.state();
        let clusters = state.projects.values().flat_map(|project| &project.clusters);
        let failures = clusters.flat_map(|cluster| cluster.failures());
        self.front.violations().into_iter().chain(failures).collect()
    }

    /// The next `times` requests of this name hear 429 instead.
    pub fn limit(&self, call: &str, times: usize, said: RateLimit) {
        let path = call.split_once(' ').map_or(call, |(_, path)| path);
        self.front.replace(call, times, refusal::too_many(path, said));
    }

    /// Users whose end has come are gone from it.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.front.vendor().state);
        state.end_users(self.now());
        state
    }

    fn now(&self) -> DateTime<Utc> {
        self.front.vendor().clock.now()
    }

    #[must_use]
    pub fn project(&self) -> Project {
        let mut state = self.state();
        let id = format!("64b0a1c2{:016x}", state.projects.len() + 1);
        state.projects.insert(id.clone(), Holdings::default());
        Project(id)
    }

    /// Makes a service account with these roles in this project (`GROUP_DATABASE_ACCESS_ADMIN`, ...) and gives its
    /// client id and secret.
    #[must_use]
    pub fn service_account(&self, project: &Project, roles: &[&str]) -> (String, String) {
        let (id, secret) = (format!("mdb_sa_id_{}", hexadecimal(24)), format!("mdb_sa_sk_{}", random(40)));
        self.admit(&id, Credential::ServiceAccount(secret.clone()), project, roles);
        (id, secret)
    }

    /// Makes an API key with these roles in this project and gives its public and private half.
    #[must_use]
    pub fn api_key(&self, project: &Project, roles: &[&str]) -> (String, String) {
        let (public, private) = (random(8).to_lowercase(), uuid());
        self.admit(&public, Credential::ApiKey(private.clone()), project, roles);
        (public, private)
    }

    fn admit(&self, id: &str, credential: Credential, project: &Project, roles: &[&str]) {
        let principal = Principal { credential, roles: BTreeMap::new(), refused: BTreeMap::new() };
        self.state().principals.insert(id.to_owned(), principal);
        self.set_roles(id, project, roles);
    }

    fn change_principal(&self, principal: &str, change: impl FnOnce(&mut Principal)) {
        known(self.state().principals.get_mut(principal), principal, change);
    }

    /// Gives a service account or an API key (by client id or public key) these roles in this project instead.
    pub fn set_roles(&self, principal: &str, project: &Project, roles: &[&str]) {
        let roles: BTreeSet<String> = roles.iter().map(|&role| role.to_owned()).collect();
        self.change_principal(principal, |principal| _ = principal.roles.insert(project.0.clone(), roles));
    }

    /// Answers a service account or an API key with this status, 401 or 403, at this endpoint, whatever its roles are.
    pub fn refuse(&self, principal: &str, endpoint: Endpoint, status: u16) {
        self.change_principal(principal, |principal| _ = principal.refused.insert(endpoint, status));
    }

    /// Lets its roles decide again.
    pub fn permit(&self, principal: &str, endpoint: Endpoint) {
        self.change_principal(principal, |principal| _ = principal.refused.remove(&endpoint));
    }

    /// Calls of the API, not of the token endpoint, come from this address from now on, which is on no access list.
    pub fn deny_address(&self, address: &str) {
        self.state().denied_address = Some(address.to_owned());
    }

    /// Calls come from an address that is on the access list.
    pub fn allow_address(&self) {
        self.state().denied_address = None;
    }

    /// How many access tokens are good.
    #[must_use]
    pub fn live_tokens(&self) -> usize {
        let now = self.now();
        self.state().tokens.values().filter(|token| now < token.expires).count()
    }

    /// Every access token so far, for a search of what must not show them.
    #[must_use]
    pub fn access_tokens(&self) -> Vec<String> {
        self.state().minted.clone()
    }

    /// The access tokens so far are good no more.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Gives every service account this many more access tokens, which nobody uses.
    pub fn fill_tokens(&self, tokens: usize) {
        let (now, mut state) = (self.now(), self.state());
        let service_account = |principal: &Principal| matches!(principal.credential, Credential::ServiceAccount(_));
        let accounts = state.principals.iter().filter(|(_, principal)| service_account(principal));
        let accounts: Vec<String> = accounts.map(|(id, _)| id.clone()).collect();
        for account in accounts {
            for _ in 0..tokens {
                oauth::mint(&mut state, &account, now);
            }
        }
    }

    /// The nonces of digest authentication so far are stale.
    pub fn expire_nonces(&self) {
        self.state().nonces.expire();
    }

    /// A nonce is good for this many requests from now on, and then stale.
    pub fn nonce_life(&self, requests: u32) {
        self.state().nonces.life = Some(requests);
    }

    /// Makes a cluster of a project, with this server behind it. Database users that are there already are not made on
    /// the server.
    pub fn add_cluster(&self, project: &Project, name: &str, server: Arc<Mongo>) -> anyhow::Result<()> {
        self.start_cluster(project, Cluster::new(project.id(), name, Some(server)))
    }

    /// Makes a flex cluster, which only the list of flex clusters shows.
    pub fn add_flex_cluster(&self, project: &Project, name: &str, server: Arc<Mongo>) -> anyhow::Result<()> {
        self.start_cluster(project, Cluster::new(project.id(), name, Some(server)).flex())
    }

    /// Makes a cluster without a server: its changes are marked and nothing else happens.
    pub fn add_cluster_without_server(&self, project: &Project, name: &str) -> anyhow::Result<()> {
        self.start_cluster(project, Cluster::new(project.id(), name, None))
    }

    fn start_cluster(&self, project: &Project, cluster: Cluster) -> anyhow::Result<()> {
        let mut state = self.state();
        anyhow::ensure!(state.cluster(cluster.name()).is_none(), "a second cluster named {}", cluster.name());
        let holdings = state.projects.get_mut(project.id()).context("a project of this organisation")?;
        let cluster = Arc::new(cluster);
        holdings.clusters.push(Arc::clone(&cluster));
        lock(&self.workers).spawn(cluster.work());
        Ok(())
    }

    fn cluster(&self, name: &str) -> Arc<Cluster> {
        known(self.state().cluster(name), name, Arc::clone)
    }

    /// Changes what the API shows of a cluster: members (`stateName`, `clusterType` ...) replace those of the same
    /// name, and those of `connectionStrings` (`standard`, `private`, `privateEndpoint` ...) one by one.
    pub fn describe_cluster(&self, cluster: &str, members: &Value) {
        self.cluster(cluster).describe(members);
    }

    /// Changes that come from now on take this long.
    pub fn set_delay(&self, cluster: &str, delay: Duration) {
        self.cluster(cluster).set_delay(delay);
    }

    /// Whether a change is on its way to a cluster, whatever its status says.
    #[must_use]
    pub fn is_changing(&self, cluster: &str) -> bool {
        self.cluster(cluster).is_changing()
    }

    /// Changes stay PENDING until they are released.
    pub fn hold(&self, cluster: &str) {
        self.cluster(cluster).hold(true);
    }

    /// Lets changes through that were held.
    pub fn release(&self, cluster: &str) {
        self.cluster(cluster).hold(false);
    }

    /// From now on the next `calls` status calls after each change say APPLIED, whether or not it is.
    pub fn stale_applied(&self, cluster: &str, calls: usize) {
        self.cluster(cluster).set_stale(calls);
    }

    /// The next change is said to be APPLIED after its delay, and never is.
    pub fn ignore_next_change(&self, cluster: &str) {
        self.cluster(cluster).ignore_next();
    }

    /// Sets a user's password on one cluster's server, as another writer would behind everybody's back.
    pub async fn revert(&self, cluster: &str, user: &str, password: &str) -> anyhow::Result<()> {
        let cluster = self.cluster(cluster);
        let server = cluster.server().context("a cluster without a server")?;
        server.set_password("admin", user, password).await
    }

    /// Waits until this many changes of the cluster are through since it was made, ignored ones too, and none is
    /// pending. Gives up with an error after 20 s.
    pub async fn applied(&self, cluster: &str, times: usize) -> anyhow::Result<()> {
        self.cluster(cluster).applied(times).await
    }

    /// Makes a database user, in the API and, at once, on the servers in the user's scopes. `body` is like a POST's;
    /// only `username` is needed. A user of an auth type other than a password's is in the API alone.
    pub async fn add_user(&self, project: &Project, body: &Value, password: &str) -> anyhow::Result<()> {
        let (user, clusters) = self.new_user(project, body, password)?;
        if user.has_password() {
            for cluster in clusters.iter().filter(|cluster| user.covers(cluster.name())) {
                cluster.make(&user.login()).await?;
            }
        }
        Ok(())
    }

    fn new_user(
        &self,
        project: &Project,
        body: &Value,
        password: &str,
    ) -> anyhow::Result<(DatabaseUser, Vec<Arc<Cluster>>)> {
        let mut body = body.as_object().cloned().context("a JSON object")?;
        anyhow::ensure!(body.contains_key("username"), "a database user without a name");
        let outside = ["awsIAMType", "ldapAuthType", "oidcAuthType", "x509Type"];
        if !outside.iter().any(|name| body.get(*name).is_some_and(|kind| kind != "NONE")) {
            body.insert("password".to_owned(), json!(password));
        }
        let user = match DatabaseUser::new(project.id(), &body) {
            Ok(user) => user,
            Err(refused) => bail!("not a database user: {}", refused.reply.body),
        };
        let mut state = self.state();
        let holdings = state.projects.get_mut(project.id()).context("a project of this organisation")?;
        anyhow::ensure!(holdings.user(user.database(), user.name()).is_none(), "a second user named {}", user.name());
        holdings.users.push(user.clone());
        Ok((user, holdings.clusters.clone()))
    }

    /// Fills a project up to this many database users; the new ones are in the API alone.
    pub fn fill_users(&self, project: &Project, total: usize) -> anyhow::Result<()> {
        for nth in self.users(project).len()..total {
            self.new_user(project, &json!({"username": format!("filler_{nth}")}), &random(20))?;
        }
        Ok(())
    }

    /// Deletes a database user in the API, as an admin would; the servers keep it.
    pub fn forget_user(&self, project: &Project, username: &str) {
        self.holdings(project, |holdings, _| holdings.users.retain(|user| user.name() != username));
    }

    /// What the API shows of the database users of a project, in the order in which they were made.
    #[must_use]
    pub fn users(&self, project: &Project) -> Vec<Value> {
        self.holdings(project, |holdings, url| holdings.users.iter().map(|user| user.shown(url)).collect())
    }

    /// What the API shows of the first database user of this name; null where there is none.
    #[must_use]
    pub fn user_json(&self, project: &Project, username: &str) -> Value {
        self.users(project).into_iter().find(|user| user["username"] == username).unwrap_or_default()
    }

    fn holdings<T>(&self, project: &Project, act: impl FnOnce(&mut Holdings, &str) -> T) -> T {
        let mut state = self.state();
        let url = state.url.clone();
        known(state.projects.get_mut(project.id()), project.id(), |holdings| act(holdings, &url))
    }
}

/// Does something with what must be there.
#[expect(clippy::panic, reason = "a mistake in a test or in the demo")]
fn known<T, U>(found: Option<T>, name: &str, act: impl FnOnce(T) -> U) -> U {
    match found {
        Some(found) => act(found),
        None => panic!("{name} is not in this Atlas organisation"),
    }
}

/// Random hexadecimal digits, at most 32.
fn hexadecimal(digits: usize) -> String {
    let mut text = uuid().replace('-', "");
    text.truncate(digits);
    text
}
