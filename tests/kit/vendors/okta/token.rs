//! `POST /oauth2/v1/token`: an access token for a service app that signs an assertion, bound to the key of a `DPoP`
//! proof.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use url::form_urlencoded;

use super::proof::{self, TOLERANCE};
use super::refusal::{Refused, oauth_error, random};
use super::state::{State, Token};
use crate::vendors::{Call, Reply};

pub(super) const PATH: &str = "/oauth2/v1/token";

/// How long a token is good for, in seconds.
const LIFETIME: i64 = 3600;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

struct Form {
    scopes: BTreeSet<String>,
    assertion: String,
}

pub(super) fn issue(state: &mut State, call: &Call, now: DateTime<Utc>) -> Result<Reply, Refused> {
    let url = format!("{}{PATH}", state.url);
    let form = read(call)?;
    let client_id = authenticate(state, &form.assertion, &url, now)?;
    let thumbprint = prove(state, call, &url, now)?;
    let granted = state.apps.get(&client_id).map(|app| &app.scopes & &form.scopes).unwrap_or_default();
    if granted.is_empty() {
        let description = "One or more scopes are not configured for the authorization server resource.";
        return Err(Refused::honest(oauth_error(400, "invalid_scope", description)));
    }
    let token = random(64);
    let scope = granted.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let expires = now + Duration::seconds(LIFETIME);
    state.tokens.insert(token.clone(), Token { scopes: granted, thumbprint, expires });
    let body = json!({"token_type": "DPoP", "expires_in": LIFETIME, "access_token": token, "scope": scope});
    Ok(Reply::json(200, &body))
}

fn invalid_request(what: &str) -> Refused {
    Refused::violation(what, oauth_error(400, "invalid_request", what))
}

fn read(call: &Call) -> Result<Form, Refused> {
    let kind = call.header("content-type").split(';').next().unwrap_or_default();
    if kind != "application/x-www-form-urlencoded" {
        return Err(invalid_request("the content type is not application/x-www-form-urlencoded"));
    }
    let pairs: Vec<_> = form_urlencoded::parse(&call.body).into_owned().collect();
    let fields: BTreeMap<String, String> = pairs.iter().cloned().collect();
    let wanted = ["client_assertion", "client_assertion_type", "grant_type", "scope"];
    if pairs.len() != wanted.len() || !fields.keys().eq(wanted) {
        return Err(invalid_request("the form's fields are not the four of client_credentials"));
    }
    if fields["grant_type"] != "client_credentials" {
        let description = "The grant type is not client_credentials";
        return Err(Refused::violation(description, oauth_error(400, "unsupported_grant_type", description)));
    }
    if fields["client_assertion_type"] != ASSERTION_TYPE {
        return Err(invalid_request("client_assertion_type is not jwt-bearer"));
    }
    let scopes = fields["scope"].split(' ').map(str::to_owned).collect();
    Ok(Form { scopes, assertion: fields["client_assertion"].clone() })
}

fn wrong_client(description: &str) -> Refused {
    Refused::honest(oauth_error(401, "invalid_client", description))
}

fn wrong_assertion(description: &str) -> Refused {
    Refused::violation(description, oauth_error(401, "invalid_client", description))
}

/// Checks the assertion and says which app it is by. A wrong key or id is a mistake in a setting, and a time that is
/// off a mistake of a clock: both are honest.
fn authenticate(state: &mut State, assertion: &str, url: &str, now: DateTime<Utc>) -> Result<String, Refused> {
    let header = proof::header(assertion).ok_or_else(|| wrong_assertion("The client_assertion is not a JWT."))?;
    let kid = header["kid"].as_str().ok_or_else(|| wrong_assertion("The client_assertion has no kid."))?;
    let known = state.apps.iter().find(|(_, app)| app.kid == kid);
    let (client_id, app) = known.ok_or_else(|| wrong_client("The client_assertion's kid is not known."))?;
    let client_id = client_id.clone();
    let claims = proof::claims(assertion, &app.key);
    let claims = claims.ok_or_else(|| wrong_client("The client_assertion signature is invalid."))?;
    if claims["iss"] != claims["sub"] {
        return Err(wrong_assertion("The client_assertion's issuer and subject differ."));
    }
    if claims["sub"] != client_id.as_str() {
        return Err(wrong_client("The client_assertion's subject is not the client of this key."));
    }
    if claims["aud"] != url {
        return Err(wrong_assertion("The client_assertion's audience is not the endpoint invoked."));
    }
    if !proof::spend(state, &claims) {
        return Err(wrong_assertion("The client_assertion's jti is missing or has been used before."));
    }
    let expires = claims["exp"].as_i64().ok_or_else(|| wrong_assertion("The client_assertion has no exp."))?;
    let issued = claims["iat"].as_i64().unwrap_or(now.timestamp());
    if claims["iat"].is_i64() && expires - issued > LIFETIME {
        return Err(wrong_assertion("The client_assertion is meant to live longer than an hour."));
    }
    if expires <= now.timestamp() {
        return Err(wrong_client("The client_assertion token is expired."));
    }
    if expires > now.timestamp() + LIFETIME {
        return Err(wrong_client("The client_assertion token has an expiration too far into the future."));
    }
    if issued > now.timestamp() + TOLERANCE {
        return Err(wrong_client("The client_assertion was issued in the future."));
    }
    Ok(client_id)
}

/// Checks the proof and its nonce and gives the thumbprint of the key.
fn prove(state: &mut State, call: &Call, url: &str, now: DateTime<Utc>) -> Result<String, Refused> {
    let proof = proof::check(state, call, url, None, now).map_err(|bad| {
        let reply = oauth_error(400, "invalid_dpop_proof", bad.what);
        if bad.honest { Refused::honest(reply) } else { Refused::violation(bad.what, reply) }
    })?;
    if proof.nonce.as_ref() != Some(&state.nonce) {
        let reply = oauth_error(400, "use_dpop_nonce", "Authorization server requires nonce in DPoP proof.");
        return Err(Refused::honest(reply.with("dpop-nonce", state.nonce.clone())));
    }
    Ok(proof.thumbprint)
}
