//! What PagerDuty, Okta, Atlas, Datadog and Slack have in common as emulators: every request is recorded, checked, and
//! struck by the stack's faults; a reply can be replaced by any other.

pub mod atlas;
pub mod datadog;
pub mod okta;
pub mod pagerduty;
mod refusal;
mod request;
pub mod slack;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use keyturn::clock::Clock;
use serde_json::Value;

use crate::faults::{Fault, Faults, Moment};
use crate::server::{Server, cut};

/// A clock whose hands the test turns.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<DateTime<Utc>>>);

impl TestClock {
    /// Starts at this instant (RFC 3339) and stands still.
    #[must_use]
    pub fn at(instant: &str) -> Self {
        Self(Arc::new(Mutex::new(parse(instant))))
    }

    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        *lock(&self.0)
    }

    pub fn advance(&self, by: Duration) {
        *lock(&self.0) += by;
    }

    /// Turns it to this instant (RFC 3339).
    pub fn set(&self, instant: &str) {
        *lock(&self.0) = parse(instant);
    }

    /// The clock to hand to the code under test and to the emulators.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::of(move || hands.now())
    }
}

#[expect(clippy::expect_used, reason = "a constant in a test or in the demo")]
fn parse(instant: &str) -> DateTime<Utc> {
    instant.parse().expect("an instant in RFC 3339")
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `PUT` ...
    pub method: Method,
    /// The request target as it was sent: the path and, after a `?`, the query, both still percent-encoded.
    pub target: String,
    pub path: String,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// A header's text; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The first query value of this name.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `GET /schedules/P1`: what fault plans and replaced replies go by, without the query.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// One reply on its way out.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    /// Headers; several of one name are allowed.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string(), ..Self::default() }.with("content-type", "application/json")
    }

    /// A reply without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A proxy's or a login page's HTML.
    #[must_use]
    pub fn html(status: u16) -> Self {
        let body = "<html><body>please sign in</body></html>".to_owned();
        Self { status, body, ..Self::default() }.with("content-type", "text/html")
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn response(self) -> Response {
        let mut response = self.body.into_response();
        response.headers_mut().clear();
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (axum::http::HeaderName::try_from(name), axum::http::HeaderValue::try_from(value))
            {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// What a request is answered by, and how the vendor says no.
pub(crate) trait Vendor: Send + Sync + 'static {
    /// The vendor's name in fault plans.
    const NAME: &'static str;

    /// Answers a request. `Err` holds what no correct client would have sent, and the reply it gets.
    fn answer(&self, call: &Call) -> Result<Reply, (String, Reply)>;

    /// The vendor's own error reply with this status (429 with its rate-limit headers).
    fn refusal(&self, status: u16) -> Reply;
}

struct Shared<V> {
    vendor: V,
    clock: Clock,
    faults: Faults,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    seen: Mutex<Vec<Call>>,
    violations: Mutex<Vec<String>>,
    replaced: Mutex<Vec<Replaced>>,
    crowd: Mutex<Crowd>,
}

/// Requests that are being answered at the same time.
#[derive(Default)]
struct Crowd {
    now: usize,
    most: usize,
}

/// One request, for as long as it is being answered.
struct Present<'a>(&'a Mutex<Crowd>);

impl<'a> Present<'a> {
    fn enter(crowd: &'a Mutex<Crowd>) -> Self {
        let mut inside = lock(crowd);
        inside.now += 1;
        inside.most = inside.most.max(inside.now);
        Self(crowd)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        lock(self.0).now -= 1;
    }
}

struct Replaced {
    call: String,
    times: usize,
    reply: Reply,
}

/// A loopback listener, what has come in there, and what is answered instead of the vendor's own answer.
pub struct Requests {
    record: Arc<Record>,
    server: Server,
}

impl Requests {
    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    #[must_use]
    pub fn seen(&self) -> Vec<Call> {
        lock(&self.record.seen).clone()
    }

    pub fn forget(&self) {
        lock(&self.record.seen).clear();
        lock(&self.record.crowd).most = 0;
    }

    /// How many requests were under way at the same time, at most, since they were forgotten.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        lock(&self.record.crowd).most
    }

    /// What no correct client would have sent.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.record.violations).clone()
    }

    /// Answers the next `times` requests of this name (`GET /schedules/P1`, no query) with `reply` instead; nothing else
    /// happens.
    pub fn replace(&self, call: &str, times: usize, reply: Reply) {
        lock(&self.record.replaced).push(Replaced { call: call.to_owned(), times, reply });
    }
}

/// A vendor behind a loopback listener.
pub(crate) struct Front<V> {
    shared: Arc<Shared<V>>,
    requests: Requests,
}

impl<V: Vendor> Front<V> {
    /// Starts it on a free port.
    pub(crate) async fn start(vendor: V, clock: Clock, faults: Faults) -> anyhow::Result<Self> {
        let record = Arc::<Record>::default();
        let shared = Arc::new(Shared { vendor, clock, faults, record: Arc::clone(&record) });
        let server = Server::start(Router::new().fallback(handle::<V>).with_state(Arc::clone(&shared))).await?;
        Ok(Self { shared, requests: Requests { record, server } })
    }

    pub(crate) fn vendor(&self) -> &V {
        &self.shared.vendor
    }
}

impl<V> Deref for Front<V> {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.requests
    }
}

impl<V: Vendor> Shared<V> {
    fn replacement(&self, name: &str) -> Option<Reply> {
        let mut replaced = lock(&self.record.replaced);
        let next = replaced.iter_mut().find(|next| next.call == name && next.times > 0)?;
        next.times -= 1;
        Some(next.reply.clone())
    }

    fn reply(&self, call: &Call) -> Reply {
        self.replacement(&call.name()).unwrap_or_else(|| {
            self.vendor.answer(call).unwrap_or_else(|(violation, reply)| {
                lock(&self.record.violations).push(format!("{}: {}: {violation}", V::NAME, call.name()));
                reply
            })
        })
    }

    fn carry_out(&self, fault: &Fault) -> Reply {
        match fault {
            Fault::Status(status, _) => self.vendor.refusal(*status),
            Fault::Garbage => Reply::html(200),
            Fault::Kill | Fault::Cut | Fault::Slow(_) => cut(),
        }
    }
}

async fn handle<V: Vendor>(
    State(shared): State<Arc<Shared<V>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let _present = Present::enter(&shared.record.crowd);
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query = query.map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    let call = Call { method, target: uri.to_string(), path: uri.path().to_owned(), query, headers, body };
    lock(&shared.record.seen).push(call.clone());
    let name = shared.faults.begin(&format!("{} {}", V::NAME, call.name()));
    let reply = if let Some(fault) = shared.faults.at(&name, Moment::Before).await {
        shared.carry_out(&fault)
    } else {
        let reply = shared.reply(&call);
        let lost = shared.faults.at(&name, Moment::After).await;
        lost.map_or(reply, |fault| shared.carry_out(&fault))
    };
    let date = shared.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    reply.with("date", date).response()
}

/// How often each request was made, by its name.
#[must_use]
pub fn tally(calls: &[Call]) -> BTreeMap<String, usize> {
    calls.iter().fold(BTreeMap::new(), |mut tally, call| {
        *tally.entry(call.name()).or_default() += 1;
        tally
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
