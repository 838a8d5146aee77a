//! How Atlas says no: the Admin API's error object and the token endpoint's OAuth errors, as in Atlas's list of error
//! codes.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::vendors::Reply;
pub(super) use crate::vendors::refusal::{Refused, oauth_error, random};

/// A request that is malformed in general.
pub(super) fn malformed(what: impl Into<String>) -> Refused {
    let what = what.into();
    let detail = format!("The request content produced the validation error: {what}.");
    Refused::violation(what.clone(), error(400, "VALIDATION_ERROR", &detail, &[json!(what)]))
}

/// A member of a body that Atlas does not take, or not like this.
pub(super) fn invalid_attribute(name: &str) -> Refused {
    let detail = format!("Invalid attribute {name} specified.");
    let reply = error(400, "INVALID_ATTRIBUTE", &detail, &[json!(name)]);
    Refused::violation(format!("invalid attribute {name}"), reply)
}

pub(super) fn error(status: u16, code: &str, detail: &str, parameters: &[Value]) -> Reply {
    let body = json!({
        "detail": detail,
        "error": status,
        "errorCode": code,
        "parameters": parameters,
        "reason": reason(status),
    });
    Reply::json(status, &body)
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

/// 401 for a caller who has not proved anything yet: the part in front of the API knows no error codes.
pub(super) fn unproved(challenge: &str) -> Reply {
    let detail = "You are not authorized for this resource.";
    let body = json!({"detail": detail, "error": 401, "reason": reason(401)});
    Reply::json(401, &body).with("www-authenticate", challenge)
}

/// 401 for an access token that is not, or no longer, good.
pub(super) fn dead_token() -> Reply {
    error(401, "UNAUTHORIZED", "You are not authorized for this resource.", &[])
}

/// The caller's role does not suffice: 403, or 401 in older parts of the API.
pub(super) fn unauthorized(status: u16) -> Reply {
    error(status, "USER_UNAUTHORIZED", "Current user is not authorized to perform this action.", &[])
}

/// How a 429 says when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// In a `Retry-After` header, with this many seconds; the body's parameters say it, too.
    Header(u64),
    /// Not at all: the body's parameters are the path, a number of requests and of minutes.
    Unsaid,
}

/// 429, for the call whose path this is. What a token bucket's parameters mean is in "Atlas Administration API Rate
/// Limits": the endpoint, seconds to wait, capacity, and tokens per seconds.
pub(super) fn too_many(path: &str, said: RateLimit) -> Reply {
    let endpoint = path.trim_start_matches('/');
    match said {
        RateLimit::Header(seconds) => bucket(endpoint, seconds).with("retry-after", seconds.to_string()),
        RateLimit::Unsaid => {
            let detail = format!("Resource {endpoint} is limited.");
            error(429, "RATE_LIMITED", &detail, &[json!(endpoint), json!(100), json!(1)])
        }
    }
}

fn bucket(endpoint: &str, seconds: u64) -> Reply {
    let detail = format!("Rate limit exceeded for {endpoint}. Please retry after {seconds} seconds.");
    let parameters = [json!(endpoint), json!(seconds), json!(10), json!(5), json!(60)];
    error(429, "RATE_LIMITED_TOKEN_BUCKET", &detail, &parameters)
}

/// The error reply that Atlas gives with this status.
pub(super) fn of_status(status: u16) -> Reply {
    match status {
        401 => dead_token(),
        403 => unauthorized(403),
        404 => error(404, "RESOURCE_NOT_FOUND", "Cannot find resource.", &[]),
        429 => too_many("/api/atlas/v2", RateLimit::Header(1)),
        _ => error(status, "UNEXPECTED_ERROR", "Unexpected error.", &[]),
    }
}
