//! The OAuth token endpoint, on a host of its own that serves both regions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use keyturn::clock::Clock;
use serde_json::json;

use super::account::{Account, Issued, SUBDOMAIN};
use super::request::Refused;
use crate::aws_json::uuid;
use crate::vendors::{Call, Reply, Vendor, lock};

/// How long an app's access token lives ("App OAuth Token" in PagerDuty's documentation).
const LIFETIME: TimeDelta = TimeDelta::hours(24);

/// The token endpoint's side of an account.
pub(super) struct Identity {
    pub(super) account: Arc<Mutex<Account>>,
    pub(super) clock: Clock,
}

impl Vendor for Identity {
    const NAME: &'static str = "PagerDuty identity";

    fn answer(&self, call: &Call) -> Result<Reply, Refused> {
        let form = form(call)?;
        let account = &mut *lock(&self.account);
        let app = account.apps.iter().find(|app| app.client_id == form["client_id"]);
        let Some(app) = app.filter(|app| app.client_secret == form["client_secret"]) else {
            return Ok(denied(401, "invalid_client"));
        };
        let scope = &form["scope"];
        let Some(home) = scope.split(' ').find(|word| word.starts_with("as_account-")) else {
            return Err(("no `as_account-` scope".to_owned(), denied(400, "invalid_scope")));
        };
        if home != format!("as_account-{}.{SUBDOMAIN}", account.region()) {
            return Ok(denied(400, "invalid_scope"));
        }
        // what the app may not have is left out without a word
        let granted: Vec<String> =
            scope.split(' ').filter(|word| app.scopes.iter().any(|own| own == word)).map(str::to_owned).collect();
        let token = format!("pdus+_0XBPWQQ_{}", uuid());
        let said = format!("{home} {}", granted.join(" "));
        account.issued.insert(token.clone(), Issued { expires: self.clock.now() + LIFETIME, scopes: granted });
        Ok(Reply::json(
            200,
            &json!({
                "access_token": token,
                "scope": said.trim_end(),
                "token_type": "bearer",
                "expires_in": LIFETIME.num_seconds(),
            }),
        ))
    }

    fn refusal(&self, status: u16) -> Reply {
        denied(status, "temporarily_unavailable")
    }
}

fn denied(status: u16, error: &str) -> Reply {
    Reply::json(status, &json!({"error": error}))
}

/// The request's four fields, each of them once.
fn form(call: &Call) -> Result<BTreeMap<String, String>, Refused> {
    let wrong = |why: &str| Err((why.to_owned(), denied(400, "invalid_request")));
    if call.path != "/oauth/token" || !call.query.is_empty() {
        return Err(("unknown path or query".to_owned(), denied(404, "not_found")));
    }
    if call.method != "POST" || call.header("content-type") != "application/x-www-form-urlencoded" {
        return wrong("not a POST of a form");
    }
    if !call.header("authorization").is_empty() {
        return wrong("the client's secret belongs into the form alone");
    }
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(&call.body).into_owned().collect();
    let fields: BTreeMap<String, String> = pairs.iter().cloned().collect();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    if pairs.len() != fields.len() || names != ["client_id", "client_secret", "grant_type", "scope"] {
        return wrong("the form's fields are client_id, client_secret, grant_type and scope");
    }
    if fields["grant_type"] != "client_credentials" {
        return Err(("another grant type".to_owned(), denied(400, "unsupported_grant_type")));
    }
    Ok(fields)
}
