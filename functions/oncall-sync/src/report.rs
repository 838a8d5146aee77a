//! What the function answers.

use crate::ids::{BindingId, OktaId};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The answer to an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// A tick, or `sync`.
    Synced {
        /// Bindings that were looked after.
        bindings: usize,
        /// Documents that cannot be followed.
        refused: usize,
        /// Bindings of which something could not be read.
        unknown: usize,
        /// Bindings with changes that are not seen to be done.
        unfinished: usize,
        /// Who came in.
        granted: Vec<Change>,
        /// Who left.
        revoked: Vec<Change>,
    },
    /// `plan`.
    Planned {
        /// Lines to read.
        plan: Vec<String>,
    },
    /// `grant`.
    Granted {
        /// Where.
        binding: BindingId,
        /// Who.
        user: OktaId,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// `revoke`.
    Revoked {
        /// Where.
        binding: BindingId,
        /// Who.
        user: OktaId,
        /// Until when no tick puts them back.
        held: String,
    },
    /// `doctor`.
    Examined {
        /// Whether nothing is missing.
        healthy: bool,
        /// What was looked at.
        checks: Vec<Check>,
    },
}

/// Somebody came or left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where.
    pub binding: BindingId,
    /// Who.
    pub user: OktaId,
    /// Why they left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// One thing the doctor looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub check: String,
    /// How it is.
    pub ok: bool,
    /// What was found, or what is wrong and what to do about it.
    pub detail: String,
}
