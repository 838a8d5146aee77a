//! The REST API: who may come in, and what answers where.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use keyturn::clock::Clock;

use super::account::Account;
use super::request::{Refused, check_headers, error};
use super::{oncalls, schedules};
use crate::vendors::{Call, Reply, Vendor, lock};

/// The API's side of an account.
pub(super) struct Api {
    pub(super) account: Arc<Mutex<Account>>,
    pub(super) clock: Clock,
}

impl Vendor for Api {
    const NAME: &'static str = "PagerDuty";

    fn answer(&self, call: &Call) -> Result<Reply, Refused> {
        check_headers(call)?;
        let account = &mut *lock(&self.account);
        let now = self.clock.now();
        if let Some(limit) = account.limits.pop_front() {
            return Ok(limit);
        }
        let Some(pass) = admit(account, now, call.header("authorization"))? else { return Ok(error(401)) };
        let path: Vec<&str> = call.path.split('/').skip(1).collect();
        match path[..] {
            ["schedules", id] if pass.allows("schedules.read") => schedules::layers(account, id, call),
            ["v3", "schedules", id] if pass.allows("schedules.read") => schedules::shifts(account, id, call),
            ["oncalls"] if pass.allows("oncalls.read") => oncalls::oncalls(account, now, call),
            ["users"] if pass.allows("users.read") => oncalls::users(account, call),
            ["users", id] if pass.allows("users.read") => oncalls::user(account, id, call),
            ["schedules" | "users", _] | ["v3", "schedules", _] | ["oncalls" | "users"] => Ok(error(403)),
            _ => Err(("unknown path".to_owned(), error(404))),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        error(status)
    }
}

/// What a caller may do.
enum Pass<'a> {
    /// An API key may do everything.
    Everything,
    /// An access token may do what it was granted.
    Scopes(&'a [String]),
}

impl Pass<'_> {
    fn allows(&self, scope: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Scopes(scopes) => scopes.iter().any(|granted| granted == scope),
        }
    }
}

/// Lets a caller in, if the credential is good and the account lives in this region.
fn admit<'a>(account: &'a Account, now: DateTime<Utc>, authorization: &str) -> Result<Option<Pass<'a>>, Refused> {
    let refused = |why: &str| Err((why.to_owned(), error(401)));
    let is_key = |text: &str| account.token.as_deref() == Some(text);
    let pass = if let Some(key) = authorization.strip_prefix("Token token=") {
        if account.issued.contains_key(key) {
            return refused("an access token sent as an API key");
        }
        is_key(key).then_some(Pass::Everything)
    } else if let Some(token) = authorization.strip_prefix("Bearer ") {
        if is_key(token) {
            return refused("an API key sent as an access token");
        }
        let issued = account.issued.get(token).filter(|issued| issued.expires > now);
        issued.map(|issued| Pass::Scopes(&issued.scopes))
    } else {
        return refused("neither `Token token=` nor `Bearer`");
    };
    Ok(pass.filter(|_| !account.abroad))
}
