//! Slack: incoming webhooks ("Sending messages using incoming webhooks" and "Formatting message text", Slack API).

use super::{Alert, cut, failed, harmless, harmless_line};
use crate::clock::Clock;
use crate::codes::Code;
use crate::fields::Fields;
use crate::http::header::HeaderMap;
use crate::http::{Base, Client, Http, RateLimit, Request, StatusCode};
use crate::{Deadline, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

const HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];
/// In characters; Slack takes 3000 in a section, escapes included, and an escape has five for one.
const SECTION: usize = 3000;

/// A channel at Slack, by its incoming webhook. Whoever knows the webhook's address may write there: it is a secret.
pub struct Slack {
    http: Http,
    path: SecretString,
}

impl Slack {
    /// Reads the secret, `{"webhook_url"}`.
    ///
    /// # Errors
    /// `SLACK_SECRET_INVALID`, naming the key that is wrong and never its value.
    pub fn parse(secret: &SecretString, client: &Client, clock: &Clock) -> Result<Self> {
        Self::read(secret, client, clock).map_err(|problem| {
            Error::new(
                Code::SlackSecretInvalid,
                format!("Slack's secret cannot be used: {problem}."),
                "Store {\"webhook_url\":\"https://hooks.slack.com/services/...\"}: aws secretsmanager put-secret-value --secret-id <id> --secret-string file://slack.json",
            )
        })
    }

    fn read(secret: &SecretString, client: &Client, clock: &Clock) -> std::result::Result<Self, String> {
        let mut fields = Fields::read(secret)?;
        let webhook = fields.required("webhook_url")?;
        fields.finish()?;
        let wrong = || format!("\"webhook_url\" is no https address of a webhook at {}", HOSTS.join(" or "));
        let url = Url::parse(&webhook).map_err(|_| wrong())?;
        let anonymous = url.username().is_empty() && url.password().is_none();
        if !anonymous || url.path() == "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong());
        }
        let origin = url.origin().ascii_serialization();
        let base = Base::parse_known(&origin, |host| HOSTS.contains(&host)).map_err(|_| wrong())?;
        let http = Http::new(base, client, RateLimit::SecondsLeft("retry-after"), clock.clone());
        Ok(Self { http, path: url.path().into() })
    }

    /// Posts the alert as a message.
    ///
    /// # Errors
    /// `ALERT_FAILED`.
    pub async fn post(&self, alert: &Alert, deadline: Deadline) -> Result<()> {
        let request = Request::post_json(self.path.expose_secret(), &message(alert)).shown_as("Slack's webhook");
        let answer = self.http.send(&request, &|_, _| Ok(HeaderMap::new()), deadline).await;
        let answer = answer.map_err(|failure| failed("Slack", failure))?;
        match answer.status {
            StatusCode::OK if answer.text().map(str::trim) == Some("ok") => Ok(()),
            StatusCode::OK => Err(failed("Slack", "the answer is 200, but not Slack's")),
            status => Err(failed("Slack", format!("the answer is {status}"))),
        }
    }
}

/// In a plain text block Slack reads no markup and no mentions; `text` is what notifications show.
pub(super) fn message(alert: &Alert) -> Value {
    let title = harmless_line(&format!("{}: {}", alert.severity.to_string().to_uppercase(), alert.title));
    let whole = format!("{title}\n{}", harmless(&alert.text));
    json!({
        "text": escaped(&title, SECTION),
        "blocks": [{
            "type": "section",
            "text": {"type": "plain_text", "text": escaped(&whole, SECTION), "emoji": false},
        }],
    })
}

/// Slack's three control characters as entities, and at most this many characters with them, none of them halved.
fn escaped(text: &str, most: usize) -> String {
    let entity = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        c => c.to_string(),
    };
    let mut out = String::new();
    let mut length = 0;
    for piece in cut(text, most).chars().map(entity) {
        length += piece.chars().count();
        if length > most {
            break;
        }
        out.push_str(&piece);
    }
    out
}
