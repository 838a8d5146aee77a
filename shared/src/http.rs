//! The one HTTP client for vendors: one host, redirects refused, answers bounded, passing failures tried again within
//! the deadline. It knows no vendor; what a status means is the caller's business.

mod base;
#[cfg(test)]
mod tests;

pub use base::Base;
pub use reqwest::header;
pub use reqwest::{Client, Method, StatusCode};

use crate::clock::Clock;
use crate::codes::{Code, DeclaredCode as _};
use crate::{Deadline, Error, Result};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(3);
/// One try, from the first byte sent to the last one read.
const TRY: Duration = Duration::from_secs(8);
/// Shorter than any freeze of the execution environment that would leave a dead connection in the pool.
const IDLE_CONNECTION: Duration = Duration::from_secs(10);
/// More than any page of people or shifts; an answer that never ends must not fill the memory.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const TRIES: usize = 3;

/// How the vendor says, with a 429, when to come back.
#[derive(Clone, Copy, Debug)]
pub enum RateLimit {
    /// The header holds the seconds that are left (PagerDuty's `ratelimit-reset`).
    SecondsLeft(&'static str),
    /// The header holds seconds since 1970 (Okta's `x-rate-limit-reset`), by the vendor's clock: its `date` says what that shows.
    Epoch(&'static str),
    /// `Retry-After` holds the seconds that are left; without it the pause is `first`, and twice as long each further time.
    Doubling { first: Duration },
}

impl RateLimit {
    /// How often a call is made at most. Pauses that are long from the start leave room for one more.
    fn tries(self) -> usize {
        if matches!(self, Self::Doubling { .. }) { TRIES + 1 } else { TRIES }
    }
}

/// A call that brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came back, and nothing can have happened: no connection was made.
    NotSent(String),
    /// Nothing came back; whether it had an effect is unknown.
    NoAnswer(String),
    /// The answer points elsewhere. It is not followed: credentials stay with the host they were given for.
    Redirected,
    /// The answer is not what the vendor sends: no JSON, cut short, too long, or of another shape.
    Strange(String),
    /// Told to slow down, for longer than there is time.
    RateLimited,
    /// The deadline had passed before the call could be made.
    OutOfTime,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) | Self::NoAnswer(why) => write!(f, "no answer ({why})"),
            Self::Redirected => f.write_str("the answer is a redirect, which is never followed"),
            Self::Strange(why) => write!(f, "the answer is not the vendor's ({why})"),
            Self::RateLimited => f.write_str("the rate limit is used up (429)"),
            Self::OutOfTime => f.write_str("no time was left to call it"),
        }
    }
}

/// An answer, read to its end. Its `Debug` is the status alone: an answer may hold a token.
#[derive(Clone)]
pub struct Answer {
    /// Its status; anything but a redirect.
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&self.status).finish()
    }
}

impl Answer {
    /// The body as this shape, if it is JSON by its content type and has all that the shape requires.
    ///
    /// # Errors
    /// [`Failure::Strange`]; it quotes nothing of the body.
    pub fn json<T: DeserializeOwned>(&self) -> std::result::Result<T, Failure> {
        let kind = self.header(&CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        if kind != "application/json" && !kind.ends_with("+json") {
            return Err(Failure::Strange(format!("{}, content type {kind:?}", self.status)));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Failure::Strange(format!("{}, {:?} error in line {line} column {column}", self.status, error.classify()))
        })
    }

    /// The body as text, whatever its content type; `None` where it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.body).ok()
    }

    /// A header's text; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// How long a 429 asks to wait, the `nth` in a row (from 0).
    fn wait(&self, limit: RateLimit, nth: u32, clock: &Clock) -> Option<Duration> {
        let number = |name: &str| self.headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
        let seconds = match limit {
            RateLimit::SecondsLeft(name) => number(name),
            RateLimit::Epoch(name) => number(name).map(|reset| {
                let vendors_now = DateTime::parse_from_rfc2822(self.header(&DATE)).map(|date| date.timestamp());
                reset.saturating_sub(vendors_now.unwrap_or_else(|_| clock.now().timestamp()))
            }),
            RateLimit::Doubling { first } => {
                let told = number(RETRY_AFTER.as_str()).map(|left| u64::try_from(left).unwrap_or_default());
                let doubled = || first.saturating_mul(2_u32.saturating_pow(nth));
                return Some(told.map_or_else(doubled, Duration::from_secs));
            }
        };
        let seconds = seconds.or_else(|| number(RETRY_AFTER.as_str()))?;
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }
}

/// One call to make. Its headers are made anew for each try: a proof of possession may be used once.
#[derive(Clone)]
pub struct Request {
    method: Method,
    path: String,
    body: Body,
    /// What logs show instead of the address.
    shown: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Body {
    /// None, and nothing said of it.
    Absent,
    /// None, and `Content-Length: 0` to say so: some servers ask for it (411), and HTTP/1.1 clients leave it out.
    Empty,
    /// Text of this content type.
    Text(Cow<'static, str>, SecretString),
}

impl Request {
    /// A GET of `path`, which begins with `/` and is encoded already, query and all.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Body::Absent)
    }

    #[must_use]
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path, Body::Empty)
    }

    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, Body::Absent)
    }

    #[must_use]
    pub fn post_json(path: impl Into<String>, body: &serde_json::Value) -> Self {
        let body = Body::Text("application/json".into(), body.to_string().into());
        Self::new(Method::POST, path, body)
    }

    #[must_use]
    pub fn post_form(path: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Self::new(Method::POST, path, Body::Text("application/x-www-form-urlencoded".into(), form.into()))
    }

    /// A request with a body of this content type.
    ///
    /// A PATCH is made again after a lost reply, as a PUT is: give it only what sets something to a value, whatever
    /// that was before, and never what adds to it.
    #[must_use]
    pub fn typed(method: Method, path: impl Into<String>, content_type: String, body: SecretString) -> Self {
        Self::new(method, path, Body::Text(content_type.into(), body))
    }

    fn new(method: Method, path: impl Into<String>, body: Body) -> Self {
        Self { method, path: path.into(), body, shown: None }
    }

    /// The same request, with `words` in logs where its address would stand: for a path that is a secret or names
    /// somebody.
    #[must_use]
    pub fn shown_as(mut self, words: &'static str) -> Self {
        self.shown = Some(words);
        self
    }

    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, query and all.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether doing it twice is the same as doing it once; of a PATCH [`Request::typed`] asks it.
    fn is_idempotent(&self) -> bool {
        self.method != Method::POST
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.method).field(&self.shown.unwrap_or(&self.path)).finish()
    }
}

/// A client of one vendor's host.
#[derive(Clone)]
pub struct Http {
    base: Base,
    client: reqwest::Client,
    limit: RateLimit,
    clock: Clock,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.base).finish()
    }
}

impl Http {
    /// A client for `base`; `client` comes from [`client`] and may be shared.
    #[must_use]
    pub fn new(base: Base, client: &reqwest::Client, limit: RateLimit, clock: Clock) -> Self {
        Self { base, client: client.clone(), limit, clock }
    }

    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Makes the call, again while it fails in passing (no connection, no answer, 429, 502 to 504), until the deadline.
    ///
    /// A POST is made again only where the first one cannot have had an effect: no connection was made, or 429. A PATCH that is
    /// refused after a try whose answer was lost ends as [`Failure::NoAnswer`]: it may have had its effect.
    ///
    /// # Errors
    /// [`Failure`]; an answer with an error status is no failure.
    pub async fn send(
        &self,
        request: &Request,
        headers: &impl Fn(&Request, &str) -> Result<HeaderMap>,
        deadline: Deadline,
    ) -> std::result::Result<Answer, Failure> {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_jitter()
            .with_max_times(self.limit.tries() - 1)
            .build();
        let mut limited = 0;
        let mut lost = None;
        loop {
            let outcome = self.once(request, headers, deadline).await;
            match &outcome {
                Err(Failure::NoAnswer(why)) => lost = Some(why.clone()),
                Ok(answer) if is_gateways(answer.status) => lost = Some(answer.status.to_string()),
                _ => {}
            }
            let pause = match &outcome {
                Err(Failure::NotSent(_)) => pauses.next(),
                Err(Failure::NoAnswer(_)) if request.is_idempotent() => pauses.next(),
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    // Where nothing says how long, the pause grows by itself.
                    let told = answer.wait(self.limit, limited, &self.clock);
                    limited += 1;
                    pauses.next().map(|pause| told.unwrap_or(pause).max(pause))
                }
                Ok(answer) if is_gateways(answer.status) && request.is_idempotent() => pauses.next(),
                _ => return with_an_effect(outcome, lost, request),
            };
            match pause {
                Some(pause) if pause < deadline.remaining() => tokio::time::sleep(pause).await,
                _ => {
                    let outcome = with_an_effect(outcome, lost, request);
                    return match outcome {
                        Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => Err(Failure::RateLimited),
                        outcome => outcome,
                    };
                }
            }
        }
    }

    async fn once(
        &self,
        request: &Request,
        headers: &impl Fn(&Request, &str) -> Result<HeaderMap>,
        deadline: Deadline,
    ) -> std::result::Result<Answer, Failure> {
        let deadline = deadline.at_most(TRY);
        if deadline.remaining().is_zero() {
            return Err(Failure::OutOfTime);
        }
        let url = self.base.join(&request.path).map_err(Failure::Strange)?;
        // The address without its query is what signatures cover and what logs may show.
        let bare = url.as_str().split('?').next().unwrap_or_default().to_owned();
        let headers = headers(request, &bare).map_err(|error| Failure::NotSent(error.message().to_owned()))?;
        let mut sending = self.client.request(request.method.clone(), url).headers(headers);
        sending = match &request.body {
            Body::Absent => sending,
            Body::Empty => sending.header(header::CONTENT_LENGTH, 0),
            Body::Text(kind, text) => sending.header(CONTENT_TYPE, kind.as_ref()).body(text.expose_secret().to_owned()),
        };
        let started = tokio::time::Instant::now();
        let outcome = match deadline.bound(exchange(sending)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::NoAnswer(format!("not within {} s", TRY.as_secs()))),
        };
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outcome_text = match &outcome {
            Ok(answer) => answer.status.as_u16().to_string(),
            Err(failure) => failure.to_string(),
        };
        tracing::debug!(code = Code::HttpCall.name(), method = %request.method, url = request.shown.unwrap_or(&bare), outcome = outcome_text, duration_ms, "A vendor was called.");
        outcome
    }
}

/// Said by something in between, which may have passed the request on.
fn is_gateways(status: StatusCode) -> bool {
    (502..=504).contains(&status.as_u16())
}

/// A refusal of a PATCH does not say that an earlier try, whose answer was lost, had no effect either. To be asked who one is
/// (401) is no refusal yet. Of a PUT or a DELETE, which callers repeat, the refusal may be that very effect.
fn with_an_effect(
    outcome: std::result::Result<Answer, Failure>,
    lost: Option<String>,
    request: &Request,
) -> std::result::Result<Answer, Failure> {
    let (Ok(answer), Some(why)) = (&outcome, lost) else { return outcome };
    let is_refused = answer.status.is_client_error() && answer.status != StatusCode::UNAUTHORIZED;
    if request.method == Method::PATCH && is_refused {
        return Err(Failure::NoAnswer(format!("{why}; then {}", answer.status)));
    }
    outcome
}

async fn exchange(sending: reqwest::RequestBuilder) -> std::result::Result<Answer, Failure> {
    let mut response = sending.send().await.map_err(|error| unanswered(&error))?;
    if response.status().is_redirection() {
        return Err(Failure::Redirected);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err(Failure::Strange(format!("longer than {MOST_BYTES} bytes")));
        }
    }
    Ok(Answer { status: response.status(), headers: response.headers().clone(), body: body.freeze() })
}

/// The deepest cause, without the URL, which may hold what is nobody's business.
fn unanswered(error: &reqwest::Error) -> Failure {
    let mut cause = error.source();
    let mut words = String::from("no reason given");
    while let Some(deeper) = cause {
        words = deeper.to_string();
        cause = deeper.source();
    }
    if error.is_connect() { Failure::NotSent(words) } else { Failure::NoAnswer(words) }
}

/// A header value that no log shows, for credentials.
///
/// # Errors
/// What is wrong with the text, which is not quoted: HTTP takes no such characters in a header.
pub fn sensitive(text: impl AsRef<str>) -> std::result::Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(text.as_ref()).map_err(|_| "it has characters that no HTTP header takes".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a text from an answer may be shown: a code or an id, and nothing that could be more.
#[must_use]
pub fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The connections behind every [`Http`]: TLS by rustls with ring, Mozilla's roots as compiled in, HTTP/1.1, no proxy.
///
/// # Errors
/// `TLS_SETUP_FAILED`, never seen: the TLS library refuses its own defaults.
pub fn client() -> Result<reqwest::Client> {
    let broken = |error: String| {
        Error::new(
            Code::TlsSetupFailed,
            format!("The HTTPS client cannot be set up: {error}."),
            "Report it as a defect of Keyturn.",
        )
    };
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE_CONNECTION)
        .user_agent(concat!("keyturn/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| broken(error.to_string()))
}
