//! Who may call the Management API: an SSWS token, or an access token with a proof for every call.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::proof::{self, Bad};
use super::refusal::{Refused, invalid_token, no_permission};
use super::state::{Permission, State};
use crate::vendors::{Call, Reply};

pub(super) enum Caller {
    /// An API token: it may do whatever its admin may.
    Ssws,
    /// A service app whose token has these scopes.
    App(BTreeSet<String>),
}

impl Permission {
    /// The scopes of which an access token needs one.
    fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::MembersManage => &["okta.groups.manage"],
            Self::GroupsRead => &["okta.groups.read", "okta.groups.manage"],
            Self::UsersRead => &["okta.users.read", "okta.users.manage"],
        }
    }
}

impl Caller {
    /// Finds out who calls. `path` is decoded: Okta compares a proof's `htu` with the decoded address.
    pub(super) fn of(state: &mut State, call: &Call, path: &str, now: DateTime<Utc>) -> Result<Self, Refused> {
        match call.header("authorization").split_once(' ') {
            Some(("SSWS", token)) if state.ssws.as_deref() == Some(token) => Ok(Self::Ssws),
            Some(("SSWS", _)) => Err(Refused::honest(invalid_token())),
            Some(("DPoP", token)) => Self::of_access_token(state, call, path, token, now),
            Some((scheme, _)) => Err(Refused::violation(format!("authorization scheme {scheme}"), invalid_token())),
            None => Err(Refused::violation("no Authorization header", invalid_token())),
        }
    }

    fn of_access_token(
        state: &mut State,
        call: &Call,
        path: &str,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, Refused> {
        let url = format!("{}{path}", state.url);
        let proof = proof::check(state, call, &url, Some(token), now).map_err(|bad| bad_proof(&bad))?;
        let known = state.tokens.get(token).filter(|token| now < token.expires);
        let known = known.ok_or_else(|| Refused::honest(invalid_token()))?;
        if known.thumbprint != proof.thumbprint {
            let bad = Bad { what: "The DPoP proof JWT is by another key than the access token's.", honest: false };
            return Err(bad_proof(&bad));
        }
        Ok(Self::App(known.scopes.clone()))
    }

    /// Refuses a caller whose token or admin role lacks this permission.
    pub(super) fn need(&self, state: &State, permission: Permission, call: &Call) -> Result<(), Refused> {
        let scopes = permission.scopes();
        let in_scope = match self {
            Self::Ssws => true,
            Self::App(granted) => scopes.iter().any(|scope| granted.contains(*scope)),
        };
        if !in_scope {
            return Err(Refused::honest(insufficient_scope(&state.url, scopes[0], &call.path)));
        }
        if state.forbidden.contains(&permission) {
            return Err(Refused::honest(no_permission()));
        }
        Ok(())
    }
}

/// 403 without a body: the header says which scope is missing.
fn insufficient_scope(url: &str, scope: &str, resource: &str) -> Reply {
    let description = "The access token provided does not contain the required scopes.";
    let challenge = format!(
        "DPoP authorization_uri=\"{url}/oauth2/v1/authorize\", realm=\"{url}\", scope=\"{scope}\", \
         error=\"insufficient_scope\", error_description=\"{description}\", resource=\"{resource}\""
    );
    Reply::empty(403).with("www-authenticate", challenge)
}

/// 400 without a body: the header says what is wrong with the proof.
fn bad_proof(bad: &Bad) -> Refused {
    let challenge = format!("DPoP error=\"invalid_dpop_proof\", error_description=\"{}\"", bad.what);
    let reply = Reply::empty(400).with("www-authenticate", challenge);
    if bad.honest { Refused::honest(reply) } else { Refused::violation(bad.what, reply) }
}
