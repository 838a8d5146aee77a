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
    pub(super) fn honest(reply: Reply) -> Self {
        Self { violation: None, reply }
    }

    pub(super) fn violation(what: impl Into<String>, reply: Reply) -> Self {
        Self { violation: Some(what.into()), reply }
    }
}

/// The emulator's answer to a refused request, as [`super::Vendor::answer`] gives it.
pub(super) fn answer(refused: Refused) -> Result<Reply, (String, Reply)> {
    match refused.violation {
        None => Ok(refused.reply),
        Some(violation) => Err((violation, refused.reply)),
    }
}

/// The token endpoint's error object (RFC 6749).
pub(super) fn oauth_error(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, &json!({"error": error, "error_description": description}))
}

pub(super) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
