//! What the function answers.

use chrono::{DateTime, Utc};
use keyturn::ids::{BindingId, OktaId};
use serde::Serialize;

/// The answer to an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// A tick, or `sync`.
    Synced {
        /// Number of bindings that were planned and applied.
        bindings: usize,
        /// Number of documents that are refused.
        refused: usize,
        /// Number of bindings with a source, group or eligible group that could not be read.
        unknown: usize,
        /// Number of bindings with a change that the group does not show yet.
        unfinished: usize,
        granted: Vec<Change>,
        revoked: Vec<Change>,
    },
    /// `plan`.
    Planned {
        /// The lines of `planner::lines`.
        plan: Vec<String>,
    },
    /// `forecast`.
    Forecast {
        /// Number of bindings with a source, or people on call, of whom not everything is known.
        unknown: usize,
        /// Number of things that a person should mend.
        warnings: usize,
        /// For each binding its group, who is on call when, and the warnings.
        forecast: Vec<String>,
    },
    /// `grant`.
    Granted { binding: BindingId, user: OktaId, until: DateTime<Utc> },
    /// `revoke`.
    Revoked {
        binding: BindingId,
        user: OktaId,
        /// Until when no tick adds the person again, in words.
        held: String,
    },
    /// `doctor`.
    Examined {
        /// Whether every check is ok.
        healthy: bool,
        checks: Vec<Check>,
    },
}

/// A person who was added to, or removed from, a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub binding: BindingId,
    pub user: OktaId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub check: String,
    pub ok: bool,
    /// What was found, or what is wrong and what to do about it.
    pub detail: String,
}
