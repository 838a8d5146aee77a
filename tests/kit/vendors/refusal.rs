//! How Okta and Atlas say no, as far as they agree.

use rand::distr::{Alphanumeric, SampleString as _};
use serde_json::json;

use super::Reply;

/// A request that is not answered as its sender wished.
pub(super) struct Refused {
    /// What no correct client would have sent; `None` for a no that the best client may hear.
    pub violation: Option<String>,
    pub reply: Reply,
}

impl Refused {
    pub fn honest(reply: Reply) -> Self {
        Self { violation: None, reply }
    }

    pub fn violation(what: impl Into<String>, reply: Reply) -> Self {
        Self { violation: Some(what.into()), reply }
    }
}

/// The token endpoint's error object (RFC 6749).
pub(super) fn oauth_error(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, &json!({"error": error, "error_description": description}))
}

/// Random letters and digits.
pub(super) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
