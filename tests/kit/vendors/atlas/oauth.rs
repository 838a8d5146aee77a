//! `/api/oauth`: access tokens for service accounts, one hour long and at most a hundred at a time.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use url::form_urlencoded;

use super::refusal::{Refused, oauth_error, random};
use super::state::{Credential, State, Token};
use crate::vendors::{Call, Reply};

pub(super) const TOKEN: &str = "/api/oauth/token";
/// Where they are given back.
pub(super) const REVOKE: &str = "/api/oauth/revoke";

/// How long a token is good for, in seconds.
const LIFETIME: i64 = 3600;
/// How many tokens of one service account may be alive.
const MOST_TOKENS: usize = 100;

fn invalid_request(what: &str) -> Refused {
    Refused::violation(what, oauth_error(400, "invalid_request", what))
}

/// `POST /api/oauth/token`. The IP access list does not matter here.
pub(super) fn issue(state: &mut State, call: &Call, now: DateTime<Utc>) -> Result<Reply, Refused> {
    if call.header("accept") != "application/json" {
        return Err(invalid_request("Accept is not application/json"));
    }
    let form = form(call, &["grant_type"])?;
    if form["grant_type"] != "client_credentials" {
        let description = "The grant type is not client_credentials";
        return Err(Refused::violation(description, oauth_error(400, "unsupported_grant_type", description)));
    }
    let account = authenticate(state, call)?;
    if state.live_tokens(&account, now) >= MOST_TOKENS {
        let description = "The service account has too many active access tokens.";
        return Err(Refused::honest(oauth_error(403, "access_denied", description)));
    }
    let token = mint(state, &account, now);
    let body = json!({"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"});
    Ok(Reply::json(200, &body))
}

/// Makes a token, without asking who wants it.
pub(super) fn mint(state: &mut State, account: &str, now: DateTime<Utc>) -> String {
    let token = format!("eyJ{}", random(60));
    let expires = now + Duration::seconds(LIFETIME);
    state.tokens.insert(token.clone(), Token { account: account.to_owned(), expires });
    state.minted.push(token.clone());
    token
}

/// `POST /api/oauth/revoke`. A token that is not known, or not the account's, is no error (RFC 7009).
pub(super) fn revoke(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let form = form(call, &["token", "token_type_hint"])?;
    if form["token_type_hint"] != "access_token" {
        return Err(invalid_request("token_type_hint is not access_token"));
    }
    let account = authenticate(state, call)?;
    if state.tokens.get(&form["token"]).is_some_and(|token| token.account == account) {
        state.tokens.remove(&form["token"]);
    }
    Ok(Reply::empty(200))
}

/// The form's fields, which must be these and no others.
fn form(call: &Call, wanted: &[&str]) -> Result<BTreeMap<String, String>, Refused> {
    if !call.query.is_empty() {
        return Err(invalid_request("a query where none belongs"));
    }
    let kind = call.header("content-type").split(';').next().unwrap_or_default();
    if kind != "application/x-www-form-urlencoded" {
        return Err(invalid_request("the content type is not application/x-www-form-urlencoded"));
    }
    let pairs: Vec<_> = form_urlencoded::parse(&call.body).into_owned().collect();
    let fields: BTreeMap<String, String> = pairs.iter().cloned().collect();
    if pairs.len() != wanted.len() || !fields.keys().eq(wanted) {
        return Err(invalid_request("the form's fields are not the ones of this request"));
    }
    Ok(fields)
}

/// The service account whose id and secret the `Basic` header holds.
fn authenticate(state: &State, call: &Call) -> Result<String, Refused> {
    let pair = basic(call.header("authorization"));
    let (id, secret) = pair.ok_or_else(|| {
        let description = "The header has no client id and secret.";
        Refused::violation("no Basic authorization", oauth_error(401, "invalid_client", description))
    })?;
    match state.principals.get(&id).map(|principal| &principal.credential) {
        Some(Credential::ServiceAccount(right)) if *right == secret => Ok(id),
        _ => Err(Refused::honest(oauth_error(401, "invalid_client", "The client id or secret is wrong."))),
    }
}

fn basic(header: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
