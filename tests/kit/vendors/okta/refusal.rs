//! How Okta says no: the Management API's error object and the token endpoint's OAuth errors, as in Okta's list of
//! error codes.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::vendors::Reply;
pub(super) use crate::vendors::refusal::{Refused, oauth_error, random};

pub(super) fn not_found(kind: &str, id: &str) -> Refused {
    Refused::honest(error(404, "E0000007", &format!("Not found: Resource not found: {id} ({kind})")))
}

/// A request that is malformed in general.
pub(super) fn malformed(what: impl Into<String>) -> Refused {
    let what = what.into();
    let reply = error(400, "E0000001", &format!("Api validation failed: {what}"));
    Refused::violation(what, reply)
}

pub(super) fn error(status: u16, code: &str, summary: &str) -> Reply {
    let body = json!({
        "errorCode": code,
        "errorSummary": summary,
        "errorLink": code,
        "errorId": format!("oae{}", random(22)),
        "errorCauses": [],
    });
    Reply::json(status, &body)
}

pub(super) fn no_permission() -> Reply {
    error(403, "E0000006", "You do not have permission to perform the requested action")
}

pub(super) fn invalid_token() -> Reply {
    error(401, "E0000011", "Invalid token provided")
}

pub(super) fn still_activating() -> Reply {
    let summary = "Cannot update this user because they are still being activated. Please try again in a few minutes.";
    error(409, "E0000112", summary)
}

/// The limit is over two seconds from now; the header counts in UTC epoch seconds.
pub(super) fn too_many(now: DateTime<Utc>) -> Reply {
    error(429, "E0000047", "API call exceeded rate limit due to too many requests.")
        .with("x-rate-limit-limit", "600")
        .with("x-rate-limit-remaining", "0")
        .with("x-rate-limit-reset", (now.timestamp() + 2).to_string())
}

/// The error reply that Okta gives with this status.
pub(super) fn of_status(status: u16, now: DateTime<Utc>) -> Reply {
    match status {
        401 => invalid_token(),
        403 => no_permission(),
        404 => error(404, "E0000007", "Not found: Resource not found"),
        409 => still_activating(),
        429 => too_many(now),
        500.. => error(status, "E0000009", "Internal Server Error"),
        _ => error(status, "E0000001", "Api validation failed"),
    }
}
