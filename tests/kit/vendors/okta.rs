//! Okta: the part of its Management API that oncall-sync uses, and the token endpoint for service apps, with state.

mod access;
mod api;
mod paging;
mod proof;
mod refusal;
mod rsa_key;
mod search;
mod state;
#[cfg(test)]
mod tests;
mod token;
#[cfg(test)]
mod token_tests;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use keyturn::clock::Clock;
use rcgen::KeyPair;
use serde_json::{Value, json};

pub use self::paging::LinkStyle;
use self::refusal::random;
pub use self::state::Permission;
use self::state::{App, Group, Rule, State, User};
use super::refusal::answer as refused;
use super::{Call, Front, Reply, Requests, Vendor, lock};
use crate::faults::Faults;

struct Org {
    clock: Clock,
    state: Mutex<State>,
}

impl Vendor for Org {
    const NAME: &'static str = "okta";

    fn answer(&self, call: &Call) -> Result<Reply, (String, Reply)> {
        let answer = api::answer(&mut lock(&self.state), call, self.clock.now()).or_else(refused);
        answer.map(stamped).map_err(|(violation, reply)| (violation, stamped(reply)))
    }

    fn refusal(&self, status: u16) -> Reply {
        stamped(refusal::of_status(status, self.clock.now()))
    }
}

/// Every reply of Okta's carries an id by which their support finds it.
fn stamped(reply: Reply) -> Reply {
    reply.with("x-okta-request-id", random(27))
}

/// What the owner of a service app notes when it is made.
#[derive(Clone)]
pub struct ServiceApp {
    /// The app's id: issuer and subject of its assertions.
    pub client_id: String,
    /// The key's id, for the assertion's header.
    pub kid: String,
    /// The private key as a JWK with `kid`: EC, P-256, or RSA.
    pub jwk: Value,
    /// The same key as PKCS#8 in PEM.
    pub pem: String,
}

/// An Okta org behind a loopback listener.
pub struct Okta(Front<Org>);

impl Deref for Okta {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.0
    }
}

impl Okta {
    /// Starts an empty org that lives by this clock, on a free port.
    pub async fn start(clock: Clock, faults: Faults) -> anyhow::Result<Self> {
        let org = Org { clock: clock.clone(), state: Mutex::new(State::new()) };
        let front = Front::start(org, clock, faults).await?;
        lock(&front.vendor().state).url = front.url();
        Ok(Self(front))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.vendor().state)
    }

    fn now(&self) -> DateTime<Utc> {
        self.0.vendor().clock.now()
    }

    /// The org's API token; empty when it has been revoked.
    #[must_use]
    pub fn ssws_token(&self) -> String {
        self.state().ssws.clone().unwrap_or_default()
    }

    /// The API token is good no more.
    pub fn revoke_ssws(&self) {
        self.state().ssws = None;
    }

    /// Makes a service app with a new key, and grants it these scopes. Others that it asks for are left out of its
    /// tokens without a word.
    pub fn service_app(&self, scopes: &[&str]) -> anyhow::Result<ServiceApp> {
        let kid = random(12);
        let (jwk, pem) = new_key(&kid)?;
        let client_id = self.register(scopes, &jwk)?;
        Ok(ServiceApp { client_id, kid, jwk, pem })
    }

    /// The same with an RSA key.
    pub fn service_app_rsa(&self, scopes: &[&str]) -> anyhow::Result<ServiceApp> {
        let kid = random(12);
        let (jwk, pem) = rsa_key::key(&kid)?;
        let client_id = self.register(scopes, &jwk)?;
        Ok(ServiceApp { client_id, kid, jwk, pem })
    }

    /// Makes a service app for this key (EC or RSA, with `kid`; the public half is kept) and gives the client id.
    pub fn register(&self, scopes: &[&str], jwk: &Value) -> anyhow::Result<String> {
        let key: Jwk = serde_json::from_value(jwk.clone()).context("a JWK")?;
        let kid = key.common.key_id.clone().context("a JWK with a kid")?;
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let mut state = self.state();
        let client_id = state.id("0oa");
        state.apps.insert(client_id.clone(), App { kid, key, scopes });
        Ok(client_id)
    }

    /// Grants an app these scopes instead, from its next token on.
    pub fn set_scopes(&self, client_id: &str, scopes: &[&str]) {
        if let Some(app) = self.state().apps.get_mut(client_id) {
            app.scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        }
    }

    /// The token endpoint asks for a new nonce from now on.
    pub fn rotate_nonce(&self) {
        self.state().nonce = random(32);
    }

    /// The access tokens issued so far are good no more.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// The access tokens issued so far, for a search of what must not show them. Expired ones are gone from it.
    #[must_use]
    pub fn access_tokens(&self) -> Vec<String> {
        self.state().tokens.keys().cloned().collect()
    }

    /// Makes an `ACTIVE` user and gives the id. Logins are unique, emails are not.
    pub fn user(&self, login: &str, email: &str) -> anyhow::Result<String> {
        self.user_with_status(login, email, "ACTIVE")
    }

    /// Makes a user in this status (`STAGED`, `SUSPENDED`, `DEPROVISIONED` ...) and gives the id.
    pub fn user_with_status(&self, login: &str, email: &str, status: &str) -> anyhow::Result<String> {
        self.state().add_user(login, email, status, self.now())
    }

    fn change_user(&self, id: &str, change: impl FnOnce(&mut User)) {
        if let Some(user) = self.state().users.get_mut(id) {
            change(user);
        }
    }

    /// Changes a user's status; groups stay as they are.
    pub fn set_status(&self, id: &str, status: &str) {
        self.change_user(id, |user| status.clone_into(&mut user.status));
    }

    /// Begins to deactivate a user; the status stays until that is done.
    pub fn begin_to_deactivate(&self, id: &str) {
        self.change_user(id, |user| user.transition = Some("DEPROVISIONED"));
    }

    /// Changes a user's email, not the login.
    pub fn set_email(&self, id: &str, email: &str) {
        self.change_user(id, |user| email.clone_into(&mut user.email));
    }

    /// Deletes a user, who thereby leaves all groups.
    pub fn delete_user(&self, id: &str) {
        self.state().delete_user(id, self.now());
    }

    /// Makes an empty group of the type `OKTA_GROUP` and gives the id.
    #[must_use]
    pub fn group(&self, name: &str) -> String {
        self.group_of_type(name, "OKTA_GROUP")
    }

    /// Makes an empty group of this type (`APP_GROUP`, `BUILT_IN`), whose members cannot be changed, and gives the id.
    #[must_use]
    pub fn group_of_type(&self, name: &str, kind: &str) -> String {
        self.state().add_group(name, kind, self.now())
    }

    fn change_group(&self, id: &str, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.state().groups.get_mut(id) {
            change(group);
        }
    }

    /// Gives a group another name.
    pub fn rename_group(&self, id: &str, name: &str) {
        self.change_group(id, |group| name.clone_into(&mut group.name));
    }

    /// Gives a group a description.
    pub fn describe_group(&self, id: &str, description: &str) {
        self.change_group(id, |group| group.description = Some(description.to_owned()));
    }

    pub fn delete_group(&self, id: &str) {
        self.state().groups.remove(id);
    }

    /// Adds a member, as an admin would by hand.
    pub fn add(&self, group: &str, user: &str) {
        self.change_group(group, |group| group.add(user, self.now()));
    }

    /// Removes a member, as an admin would by hand.
    pub fn remove(&self, group: &str, user: &str) {
        self.change_group(group, |group| group.remove(user, self.now()));
    }

    /// The ids of those who are members now, whatever lists still show.
    #[must_use]
    pub fn members(&self, group: &str) -> BTreeSet<String> {
        self.state().groups.get(group).map(|group| group.members().clone()).unwrap_or_default()
    }

    /// Makes a group rule that fills this group, or would if it were active.
    pub fn rule(&self, group: &str, active: bool) {
        let mut state = self.state();
        let id = state.id("0pr");
        state.rules.insert(id, Rule { group: group.to_owned(), active });
    }

    /// Deletes all group rules.
    pub fn delete_rules(&self) {
        self.state().rules.clear();
    }

    /// No list's page is longer than this from now on, whatever `limit` says.
    pub fn page_size(&self, most: usize) {
        self.state().page_size = Some(most);
    }

    /// How lists point to their next page from now on.
    pub fn link_style(&self, style: LinkStyle) {
        self.state().link_style = style;
    }

    /// From now on the next `lists` member lists after each change of this group show its members as they were before.
    pub fn lag(&self, group: &str, lists: usize) {
        self.change_group(group, |group| group.set_lag(lists));
    }

    /// Takes a group out of what the caller's admin role may see.
    pub fn hide_group(&self, id: &str) {
        self.state().hidden.insert(id.to_owned());
    }

    /// Takes a permission from the caller's admin role.
    pub fn forbid(&self, permission: Permission) {
        self.state().forbidden.insert(permission);
    }

    pub fn permit(&self, permission: Permission) {
        self.state().forbidden.remove(&permission);
    }

    /// The next `calls` calls, the token endpoint's too, hear 429; the limit is over 2 s later by the org's clock.
    pub fn limit(&self, calls: usize) {
        self.state().limited = calls;
    }

    /// The next `calls` changes of members hear 409: the user is still being activated.
    pub fn conflict_next(&self, calls: usize) {
        self.state().conflicts = calls;
    }
}

/// A new P-256 key: as a private JWK with this `kid`, and as PKCS#8 in PEM.
fn new_key(kid: &str) -> anyhow::Result<(Value, String)> {
    let pair = KeyPair::generate().context("a key")?;
    let pem = pair.serialize_pem();
    let public = Jwk::from_encoding_key(&EncodingKey::from_ec_pem(pem.as_bytes())?, Algorithm::ES256)?;
    let mut jwk = serde_json::to_value(public)?;
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    jwk["d"] = json!(URL_SAFE_NO_PAD.encode(private_scalar(pair.serialized_der()).context("a P-256 key")?));
    Ok((jwk, pem))
}

/// The private scalar in a PKCS#8 key: in its `ECPrivateKey` (RFC 5915) it is the 32-byte octet string after version 1.
fn private_scalar(pkcs8: &[u8]) -> Option<&[u8]> {
    let before = [0x02, 0x01, 0x01, 0x04, 0x20];
    let start = pkcs8.windows(before.len()).position(|window| window == before)? + before.len();
    pkcs8.get(start..start + 32)
}
