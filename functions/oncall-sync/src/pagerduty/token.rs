//! Access tokens of a PagerDuty app with Scoped OAuth ("Obtaining an App OAuth Token" at developer.pagerduty.com).

use super::account::authorization;
use super::refusal::{CREDENTIAL_REFUSED, failed, is_word};
use super::shape::shape;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock::Clock;
use keyturn::http::header::{HeaderMap, HeaderValue};
use keyturn::http::{Answer, Failure, Http, Request};
use keyturn::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

/// What an app must be allowed to.
const SCOPES: [&str; 3] = ["schedules.read", "oncalls.read", "users.read"];
/// How long before its end a token is used no more.
const EARLY: TimeDelta = TimeDelta::minutes(5);
const PATH: &str = "/oauth/token";

/// An app's credential, and the token it was given last.
pub(super) struct App {
    identity: Http,
    account: String,
    client_id: String,
    client_secret: SecretString,
    clock: Clock,
    issued: Mutex<Option<Issued>>,
}

struct Issued {
    authorization: HeaderValue,
    good_until: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Grant {
    access_token: String,
    token_type: String,
    scope: String,
    /// In seconds; 86400 in the documentation.
    expires_in: u32,
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
        Self { identity, account, client_id, client_secret, clock, issued: Mutex::default() }
    }

    /// The header for a call. Whoever comes while a token is being asked for waits for that one.
    pub(super) async fn authorization(&self, deadline: Deadline) -> Result<HeaderValue> {
        let mut issued = self.issued.lock().await;
        if let Some(issued) = issued.as_ref().filter(|issued| self.clock.now() < issued.good_until) {
            return Ok(issued.authorization.clone());
        }
        let asked_at = self.clock.now();
        let grant = self.ask(deadline).await?;
        self.check_scopes(&grant.scope)?;
        let authorization = authorization(&format!("Bearer {}", grant.access_token))
            .ok_or_else(|| strange("a token that no header can carry"))?;
        let good_until = asked_at + TimeDelta::seconds(i64::from(grant.expires_in)) - EARLY;
        *issued = Some(Issued { authorization: authorization.clone(), good_until });
        Ok(authorization)
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
    fn check_scopes(&self, granted: &str) -> Result<()> {
        let wanted = SCOPES.into_iter().chain([self.account.as_str()]);
        let missing: Vec<&str> = wanted.filter(|scope| !granted.split_whitespace().any(|one| one == *scope)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            "PAGERDUTY_SCOPE_MISSING",
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
    let code = body["error"].as_str().filter(|code| is_word(code)).unwrap_or("no reason given");
    let what = format!("PagerDuty answered POST {PATH} with {}: {code}.", answer.status);
    if answer.status.is_client_error() {
        let remedy = "Correct \"client_id\", \"client_secret\", \"subdomain\" or \"region\" (us or eu) in the secret.";
        return Error::new(CREDENTIAL_REFUSED, what, remedy);
    }
    let remedy = "The next run tries again; if it goes on, see https://status.pagerduty.com.";
    Error::new("PAGERDUTY_CALL_FAILED", what, remedy)
}
