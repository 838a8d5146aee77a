//! Access tokens of a PagerDuty app with Scoped OAuth ("Obtaining an App OAuth Token" at developer.pagerduty.com).

use super::errors::{Call, unfit};
use super::shape::shape;
use crate::codes::Code;
use chrono::TimeDelta;
use keyturn::clock::Clock;
use keyturn::fields::Fields;
use keyturn::http::header::{HeaderMap, HeaderValue};
use keyturn::http::{Answer, Http, is_code, sensitive};
use keyturn::oauth::{Grant, TokenCache};
use keyturn::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// What an app must be allowed to.
const SCOPES: [&str; 3] = ["schedules.read", "oncalls.read", "users.read"];
/// How long before its end a token is used no more.
const EARLY: TimeDelta = TimeDelta::minutes(5);
const PATH: &str = "/oauth/token";

/// An app's credential, and the `Authorization` header with the token it was given last.
pub(super) struct App {
    identity: Http,
    account: String,
    client_id: String,
    client_secret: SecretString,
    authorization: TokenCache<HeaderValue>,
}

impl App {
    /// Reads what the account's secret says of an app.
    pub(super) fn read(
        fields: &mut Fields,
        identity: Http,
        region: &str,
        clock: &Clock,
    ) -> std::result::Result<Self, String> {
        let subdomain = fields.required("subdomain")?;
        // It becomes part of a list of scopes, which a space in it would lengthen.
        if !subdomain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(unfit("subdomain"));
        }
        Ok(Self {
            identity,
            account: format!("as_account-{region}.{subdomain}"),
            client_id: fields.required("client_id")?,
            client_secret: fields.required("client_secret")?.into(),
            authorization: TokenCache::new(EARLY, clock.clone()),
        })
    }

    /// The header for a call.
    pub(super) async fn authorization(&self, deadline: Deadline) -> Result<HeaderValue> {
        self.authorization.get(async || self.ask(deadline).await).await.map(|header| HeaderValue::clone(&header))
    }

    /// A header with a new token, and its life in seconds.
    async fn ask(&self, deadline: Deadline) -> Result<(HeaderValue, i64)> {
        let scope = format!("{} {}", self.account, SCOPES.join(" "));
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose_secret()),
            ("scope", &scope),
        ];
        let call = Call::post_form(PATH, &fields);
        let answer = self.identity.send(&call.request, &|_, _| Ok(HeaderMap::new()), deadline).await;
        let answer = answer.map_err(|failure| call.failed(&failure))?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let grant: Grant = shape(call.json(&answer)?).map_err(|why| call.strange(&why))?;
        if !grant.token_type.eq_ignore_ascii_case("bearer") {
            return Err(call.strange("not a bearer token"));
        }
        self.check_scopes(&grant)?;
        let header = sensitive(format!("Bearer {}", grant.access_token));
        let header = header.map_err(|_| call.strange("a token that no header can carry"))?;
        Ok((header, grant.expires_in))
    }

    /// A scope that the app may not have is left out of the grant without a word.
    fn check_scopes(&self, grant: &Grant) -> Result<()> {
        let [schedules, oncalls, users] = SCOPES;
        let missing = grant.missing(&[schedules, oncalls, users, &self.account]);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Code::PagerdutyScopeMissing,
            format!("PagerDuty's app was not granted {}.", missing.join(" ")),
            format!(
                "In PagerDuty, under Integrations, App Registration, give the app the scopes {}.",
                SCOPES.join(" ")
            ),
        ))
    }
}

/// The token endpoint says no; its error code is OAuth's (RFC 6749, 5.2).
fn refused(answer: &Answer) -> Error {
    let body: Value = answer.json().unwrap_or_default();
    let code = body["error"].as_str().filter(|code| is_code(code)).unwrap_or("no reason given");
    let what = format!("PagerDuty answered POST {PATH} with {}: {code}.", answer.status);
    let is_refused = answer.status.is_client_error();
    Error::of(if is_refused { Code::PagerdutyCredentialRefused } else { Code::PagerdutyCallFailed }, what)
}
