//! Datadog: v1 events, which monitors watch ("Post an event" and "Validate API key", Datadog API reference).

use super::{Alert, cut, failed, harmless, harmless_line};
use crate::clock::Clock;
use crate::codes::Code;
use crate::fields::Fields;
use crate::http::header::{HeaderMap, HeaderValue};
use crate::http::{Answer, Base, Client, Http, RateLimit, Request, StatusCode};
use crate::{Deadline, Error, Result};
use secrecy::SecretString;
use serde_json::{Value, json};

/// "Getting Started with Datadog Sites", column site parameter, and the API reference's list of hosts.
const SITES: [&str; 9] = [
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "datadoghq.eu",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "ddog-gov.com",
    "us2.ddog-gov.com",
];
/// In characters, of a title; nothing longer is shown whole.
const TITLE: usize = 100;
/// In characters, of a text: Datadog shows no more.
const TEXT: usize = 4000;
/// In bytes, of an aggregation key, which Datadog counts in characters.
const KEY: usize = 100;
/// In characters, of a tag ("Getting Started with Tags").
const TAG: usize = 200;

pub struct Datadog {
    http: Http,
    api_key: HeaderValue,
}

impl Datadog {
    /// Reads the secret, `{"api_key","site"}`; `place` is where Datadog is instead, if it is elsewhere.
    ///
    /// # Errors
    /// `DATADOG_SECRET_INVALID`, naming the key that is wrong and never its value.
    pub fn parse(secret: &SecretString, place: Option<&Base>, client: &Client, clock: &Clock) -> Result<Self> {
        Self::read(secret, place, client, clock).map_err(|problem| {
            Error::new(
                Code::DatadogSecretInvalid,
                format!("Datadog's secret cannot be used: {problem}."),
                "Store {\"api_key\":\"...\",\"site\":\"datadoghq.eu\"}: aws secretsmanager put-secret-value --secret-id <id> --secret-string file://datadog.json",
            )
        })
    }

    fn read(
        secret: &SecretString,
        place: Option<&Base>,
        client: &Client,
        clock: &Clock,
    ) -> std::result::Result<Self, String> {
        let mut fields = Fields::read(secret)?;
        let (api_key, site) = (fields.required("api_key")?, fields.required("site")?);
        fields.finish()?;
        if !SITES.contains(&site.as_str()) {
            return Err(format!("\"site\" is none of {}", SITES.join(" ")));
        }
        let mut api_key = HeaderValue::from_str(&api_key)
            .map_err(|_| "\"api_key\" holds characters that it cannot hold".to_owned())?;
        api_key.set_sensitive(true);
        let base = place.cloned().map_or_else(|| Base::parse(&format!("https://api.{site}")), Ok)?;
        let http = Http::new(base, client, RateLimit::SecondsLeft("x-ratelimit-reset"), clock.clone());
        Ok(Self { http, api_key })
    }

    /// Posts the alert as an event.
    ///
    /// # Errors
    /// `ALERT_FAILED`.
    pub async fn post(&self, alert: &Alert, deadline: Deadline) -> Result<()> {
        let answer = self.send(&Request::post_json("/api/v1/events", &event(alert)), deadline).await?;
        match answer.status {
            StatusCode::ACCEPTED => Ok(()),
            status => Err(failed("Datadog", format!("the answer is {status}"))),
        }
    }

    /// Makes sure that the API key is one of this site's.
    ///
    /// # Errors
    /// `ALERT_FAILED`.
    pub async fn validate(&self, deadline: Deadline) -> Result<()> {
        let answer = self.send(&Request::get("/api/v1/validate"), deadline).await?;
        let body: Value = answer.json().map_err(|failure| failed("Datadog", failure))?;
        if answer.status.is_success() && body["valid"] == true {
            Ok(())
        } else {
            Err(failed("Datadog", format!("the API key is not valid at this site ({})", answer.status)))
        }
    }

    async fn send(&self, request: &Request, deadline: Deadline) -> Result<Answer> {
        let headers = HeaderMap::from_iter([(HEADER, self.api_key.clone())]);
        let answer = self.http.send(request, &|_, _| Ok(headers.clone()), deadline).await;
        answer.map_err(|failure| failed("Datadog", failure))
    }
}

const HEADER: crate::http::header::HeaderName = crate::http::header::HeaderName::from_static("dd-api-key");

pub(super) fn event(alert: &Alert) -> Value {
    json!({
        "title": cut(&plain(&harmless_line(&alert.title)), TITLE),
        "text": cut(&plain(&harmless(&alert.text)), TEXT),
        "alert_type": alert.severity.to_string(),
        "aggregation_key": &alert.key[..alert.key.floor_char_boundary(KEY)],
        "tags": alert.tags.iter().map(|(name, value)| tag(name, value)).collect::<Vec<_>>(),
        "date_happened": alert.at.timestamp(),
        "source_type_name": "keyturn",
        "priority": "normal",
    })
}

/// Three percent signs begin and end a block of Markdown.
fn plain(text: &str) -> String {
    text.replace("%%", "% %")
}

/// As Datadog itself would write it: lower case, and `_` for what a tag cannot hold.
fn tag(name: &str, value: &str) -> String {
    let fit = |c: char| if c.is_alphanumeric() || "_-:./".contains(c) { c } else { '_' };
    let whole: String = format!("{name}:{value}").to_lowercase().chars().map(fit).collect();
    cut(&whole, TAG).to_owned()
}
