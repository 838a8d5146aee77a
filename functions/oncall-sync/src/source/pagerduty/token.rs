//! Access tokens of a PagerDuty app with Scoped OAuth ("Obtaining an App OAuth Token" at developer.pagerduty.com).

use super::errors::failed;
use super::shape::shape;
use crate::codes::Code;
use chrono::TimeDelta;
use keyturn::clock::Clock;
use keyturn::http::header::{HeaderMap, HeaderValue};
use keyturn::http::{Answer, Failure, Http, Request, is_code, sensitive};
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
    pub(super) fn new(
        identity: Http,
        region: &str,
        subdomain: &str,
        client_id: String,
        client_secret: SecretString,
        clock: Clock,
    ) -> Self {
        let account = format!("as_account-{region}.{subdomain}");
        Self { identity, account, client_id, client_secret, authorization: TokenCache::new(EARLY, clock) }
    }

    /// The header for a call.
    pub(super) async fn authorization(&self, deadline: Deadline) -> Result<HeaderValue> {
        let ask = async || {
            let grant = self.ask(deadline).await?;
            self.check_scopes(&grant)?;
            let header = sensitive(format!("Bearer {}", grant.access_token));
            let header = header.map_err(|_| strange("a token that no header can carry"))?;
            Ok((header, grant.expires_in))
        };
        self.authorization.get(ask).await.map(|header| HeaderValue::clone(&header))
    }

    async fn ask(&self, deadline: Deadline) -> Result<Grant> {
        let scope = format!("{} {}", self.account, SCOPES.join(" "));
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose_secret()),
            ("scope", &scope),
        ];
        let request = Request::post_form(PATH, &fields);
        let answer = self.identity.send(&request, &|_, _| Ok(HeaderMap::new()), deadline).await;
        let answer = answer.map_err(|failure| failed(&said(), &failure))?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let body = answer.json().map_err(|failure| failed(&said(), &failure))?;
        let grant: Grant = shape(body).map_err(|why| strange(&why))?;
        if grant.token_type.eq_ignore_ascii_case("bearer") { Ok(grant) } else { Err(strange("not a bearer token")) }
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

fn said() -> String {
    format!("POST {PATH}")
}

fn strange(why: &str) -> Error {
    failed(&said(), &Failure::Strange(why.to_owned()))
}

/// The token endpoint says no; its error code is OAuth's (RFC 6749, 5.2).
fn refused(answer: &Answer) -> Error {
    let body: Value = answer.json().unwrap_or_default();
    let code = body["error"].as_str().filter(|code| is_code(code)).unwrap_or("no reason given");
    let what = format!("PagerDuty answered POST {PATH} with {}: {code}.", answer.status);
    let is_refused = answer.status.is_client_error();
    Error::of(if is_refused { Code::PagerdutyCredentialRefused } else { Code::PagerdutyCallFailed }, what)
}
