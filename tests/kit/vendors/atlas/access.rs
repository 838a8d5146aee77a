//! Who may call the Admin API, and what they may do there.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::digest;
use super::refusal::{Refused, dead_token, error, unauthorized, unproved};
use super::state::{Endpoint, State};
use crate::vendors::Call;

/// The roles of which changing database users takes one.
const USER_ADMINS: [&str; 2] = ["GROUP_DATABASE_ACCESS_ADMIN", "GROUP_OWNER"];

/// Finds out who calls: the client id or the public key.
pub(super) fn authenticate(state: &mut State, call: &Call, now: DateTime<Utc>) -> Result<String, Refused> {
    let header = call.header("authorization");
    match header.split_once(' ') {
        Some(("Bearer", token)) => {
            let known = state.tokens.get(token).filter(|token| now < token.expires);
            known.map(|token| token.account.clone()).ok_or_else(|| Refused::honest(dead_token()))
        }
        Some(("Digest", _)) => digest::authenticate(state, call),
        // A digest client asks without a proof first, to be given a nonce.
        None if header.is_empty() => Err(Refused::honest(unproved(&state.nonces.challenge(false)))),
        _ => Err(Refused::violation("authorization without a token, or of another scheme", dead_token())),
    }
}

/// Refuses every caller while the address that they seem to call from is on no access list.
pub(super) fn check_address(state: &State) -> Result<(), Refused> {
    let Some(address) = &state.denied_address else { return Ok(()) };
    let detail = format!("IP address {address} is not allowed to access this resource.");
    Err(Refused::honest(error(403, "IP_ADDRESS_NOT_ON_ACCESS_LIST", &detail, &[json!(address)])))
}

/// Refuses a caller who has no role for this endpoint of this project.
pub(super) fn check_role(state: &State, caller: &str, project: &str, endpoint: Endpoint) -> Result<(), Refused> {
    let principal = state.principals.get(caller).ok_or_else(|| Refused::honest(dead_token()))?;
    if let Some(status) = principal.refused.get(&endpoint) {
        return Err(Refused::honest(unauthorized(*status)));
    }
    let roles = principal.roles.get(project);
    let suffices = roles.is_some_and(|roles| match endpoint {
        Endpoint::DatabaseUsers => USER_ADMINS.iter().any(|role| roles.contains(*role)),
        Endpoint::Clusters | Endpoint::FlexClusters | Endpoint::ClusterStatus => !roles.is_empty(),
    });
    if suffices { Ok(()) } else { Err(Refused::honest(unauthorized(403))) }
}
