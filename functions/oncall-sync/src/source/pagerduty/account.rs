//! The account at PagerDuty: what its secret says, and calls that carry its credential.

use super::errors::{Call, is_own_refusal, unfit};
use super::token::App;
use crate::codes::Code;
use keyturn::clock::Clock;
use keyturn::fields::Fields;
use keyturn::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use keyturn::http::{Answer, Base, Client, Http, RateLimit, StatusCode, sensitive};
use keyturn::{Deadline, Error, Result};
use secrecy::SecretString;

/// How PagerDuty says when to come back: the seconds that are left ("REST API Rate Limits").
const LIMIT: RateLimit = RateLimit::SecondsLeft("ratelimit-reset");

/// Where PagerDuty is, if not where it usually is: `PAGERDUTY_API_URL` and `PAGERDUTY_IDENTITY_URL`.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub api: Option<Base>,
    pub identity: Option<Base>,
}

/// An account's credential, and the connection it is used on.
pub struct Account {
    api: Http,
    access: Access,
}

enum Access {
    /// A REST API key, as the header that carries it.
    Key(HeaderValue),
    /// An app with Scoped OAuth.
    App(Box<App>),
}

impl Account {
    /// Reads the secret: `{"token"[,"region"]}` or `{"client_id","client_secret","subdomain","region"}`.
    ///
    /// # Errors
    /// `PAGERDUTY_SECRET_INVALID`, naming the key that is wrong and never its value.
    pub fn parse(secret: &SecretString, places: &Places, client: &Client, clock: &Clock) -> Result<Self> {
        Self::read(secret, places, client, clock).map_err(|problem| {
            Error::of(Code::PagerdutySecretInvalid, format!("PagerDuty's secret cannot be used: {problem}."))
        })
    }

    fn read(
        secret: &SecretString,
        places: &Places,
        client: &Client,
        clock: &Clock,
    ) -> std::result::Result<Self, String> {
        let mut fields = Fields::read(secret)?;
        let region = fields.optional("region")?;
        let host = match region.as_deref() {
            None | Some("us") => "https://api.pagerduty.com",
            Some("eu") => "https://api.eu.pagerduty.com",
            Some(_) => return Err("\"region\" is neither us nor eu".to_owned()),
        };
        let http = |place: Option<&Base>, usual: &str| {
            let base = place.cloned().map_or_else(|| Base::parse(usual), Ok)?;
            Ok::<_, String>(Http::new(base, client, LIMIT, clock.clone()))
        };
        let access = if let Some(token) = fields.optional("token")? {
            Access::Key(sensitive(format!("Token token={token}")).map_err(|_| unfit("token"))?)
        } else {
            let region = region.ok_or("it has neither \"token\" nor \"region\"")?;
            let identity = http(places.identity.as_ref(), "https://identity.pagerduty.com")?;
            Access::App(Box::new(App::read(&mut fields, identity, &region, clock)?))
        };
        fields.finish()?;
        Ok(Self { api: http(places.api.as_ref(), host)?, access })
    }

    /// Whether requests carry a token that has to be asked for.
    pub(super) fn asks_for_tokens(&self) -> bool {
        matches!(self.access, Access::App(_))
    }

    /// The header with the credential, for which an app may have to ask.
    ///
    /// # Errors
    /// The codes of the request for a token.
    pub(super) async fn authorization(&self, deadline: Deadline) -> Result<HeaderValue> {
        match &self.access {
            Access::Key(header) => Ok(header.clone()),
            Access::App(app) => app.authorization(deadline).await,
        }
    }

    /// Asks, and gives back what is an answer (2xx) or PagerDuty's own "there is no such thing" (400, 404).
    pub(super) async fn ask(&self, call: &Call, deadline: Deadline) -> Result<Answer> {
        let headers = headers(self.authorization(deadline).await?);
        let answer = self.api.send(&call.request, &|_, _| Ok(headers.clone()), deadline).await;
        let answer = answer.map_err(|failure| call.failed(&failure))?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND if is_own_refusal(&answer) => Ok(answer),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
                Err(call.strange(&format!("{} without PagerDuty's error object", answer.status)))
            }
            _ => Err(call.refused(&answer)),
        }
    }
}

/// The headers that PagerDuty's REST API asks for ("Versioning", "Content Type").
fn headers(authorization: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/vnd.pagerduty+json;version=2")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (AUTHORIZATION, authorization),
    ])
}
