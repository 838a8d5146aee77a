//! Slack, as far as a sender of alerts sees it: one incoming webhook.

use std::ops::Deref;
use std::sync::{Mutex, OnceLock};

use keyturn::clock::Clock;
use rand::distr::{Alphanumeric, SampleString as _};
use serde_json::{Map, Value};

use super::{Call, Front, Reply, Requests, Vendor, lock};
use crate::faults::Faults;

/// A webhook's team and channel; the secret follows.
const PLACE: [&str; 2] = ["T0ACME001", "B0ONCALL1"];

/// The webhook's secret: made once per process, so that fault plans can name its path.
fn secret() -> &'static str {
    static SECRET: OnceLock<String> = OnceLock::new();
    SECRET.get_or_init(|| Alphanumeric.sample_string(&mut rand::rng(), 24))
}

pub struct Slack(Front<Webhook>);

impl Slack {
    /// Starts it without messages. Its calls are `Slack ...` in fault plans.
    pub async fn start(clock: Clock, faults: Faults) -> anyhow::Result<Self> {
        Ok(Self(Front::start(Webhook::default(), clock, faults).await?))
    }

    /// The webhook's whole URL. Its path is a secret.
    #[must_use]
    pub fn webhook_url(&self) -> String {
        let [team, channel] = PLACE;
        format!("{}/services/{team}/{channel}/{}", self.0.url(), secret())
    }

    /// The messages that were posted.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        lock(&self.0.vendor().posted).clone()
    }

    /// Answers the next `times` posts to the webhook with `reply` instead.
    pub fn replace(&self, times: usize, reply: Reply) {
        let [team, channel] = PLACE;
        self.0.replace(&format!("POST /services/{team}/{channel}/{}", secret()), times, reply);
    }
}

impl Deref for Slack {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.0
    }
}

#[derive(Default)]
struct Webhook {
    posted: Mutex<Vec<Value>>,
}

impl Vendor for Webhook {
    const NAME: &'static str = "Slack";

    fn answer(&self, call: &Call) -> Result<Reply, (String, Reply)> {
        let path: Vec<&str> = call.path.split('/').skip(1).collect();
        let ["services", team, channel, word] = path[..] else {
            return Err(("no webhook's path".to_owned(), text(404, "no_service")));
        };
        let message = message(call)?;
        if [team, channel] != PLACE {
            return Ok(text(404, "no_service"));
        }
        if word != secret() {
            return Ok(text(403, "invalid_token"));
        }
        let plain = strings(&message).into_iter().all(is_plain);
        lock(&self.posted).push(message);
        let reply = text(200, "ok");
        if plain {
            Ok(reply)
        } else {
            Err(("mentions somebody or holds a link: <, > or & is not escaped".into(), reply))
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        match status {
            429 => text(429, "rate_limited").with("retry-after", "1"),
            _ => text(status, "rollup_error"),
        }
    }
}

/// Slack answers webhooks with a word, said to be HTML.
fn text(status: u16, word: &str) -> Reply {
    Reply { status, body: word.to_owned(), ..Reply::default() }.with("content-type", "text/html")
}

/// The message of a well-formed post: `text`, and perhaps `blocks`.
fn message(call: &Call) -> Result<Value, (String, Reply)> {
    let wrong = |why: &str, word: &str| Err((why.to_owned(), text(400, word)));
    if call.method != "POST" || !call.query.is_empty() || call.header("content-type") != "application/json" {
        return wrong("not a POST of JSON", "invalid_payload");
    }
    let Ok(message) = serde_json::from_slice::<Map<String, Value>>(&call.body) else {
        return wrong("the body is no JSON object", "invalid_payload");
    };
    if message.get("text").and_then(Value::as_str).is_none_or(|text| text.is_empty() || text.len() > 40_000) {
        return wrong("`text` is missing, empty or too long", "no_text");
    }
    let known = |(name, value): (&String, &Value)| match name.as_str() {
        "text" => true,
        "blocks" => value.as_array().is_some_and(|blocks| (1..=50).contains(&blocks.len())),
        _ => false,
    };
    if !message.iter().all(known) {
        return wrong("a message is a `text`, and perhaps 1 to 50 `blocks`", "invalid_payload");
    }
    let is_section = |block: &Value| {
        let text = block["text"]["text"].as_str().unwrap_or_default();
        block["type"] == "section"
            && ["plain_text", "mrkdwn"].iter().any(|kind| block["text"]["type"] == *kind)
            && (1..=3000).contains(&text.chars().count())
    };
    if !message.get("blocks").and_then(Value::as_array).into_iter().flatten().all(is_section) {
        return wrong("a block is a section with a text of 1 to 3000 characters", "invalid_blocks");
    }
    Ok(Value::Object(message))
}

/// Every string in a message.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Whether Slack shows the text as it stands. `<!channel>`, `<@U1>` and `<https://...>` begin with what must be
/// escaped.
fn is_plain(text: &str) -> bool {
    let escaped = |rest: &str| ["amp;", "lt;", "gt;"].iter().any(|entity| rest.starts_with(entity));
    !text.contains(['<', '>']) && text.split('&').skip(1).all(escaped)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::vendors::TestClock;

    fn client() -> reqwest::Client {
        keyturn::http::client().unwrap()
    }

    async fn slack() -> Slack {
        Slack::start(TestClock::at("2026-06-01T12:00:00Z").clock(), Faults::none()).await.unwrap()
    }

    async fn post(url: &str, body: &Value) -> (u16, String) {
        let reply = client().post(url).json(body).send().await.unwrap();
        assert_eq!(reply.headers()["content-type"], "text/html");
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    fn said(status: u16, word: &str) -> (u16, String) {
        (status, word.to_owned())
    }

    #[tokio::test]
    async fn another_webhook_is_refused_and_no_violation() {
        let slack = slack().await;
        let url = slack.webhook_url();
        let message = json!({"text": "hello"});
        assert_eq!(post(&url.replace(secret(), "other"), &message).await, said(403, "invalid_token"));
        assert_eq!(post(&url.replace(PLACE[1], "B2"), &message).await, said(404, "no_service"));
        assert_eq!((slack.messages().len(), slack.violations()), (0, Vec::new()));
    }

    #[tokio::test]
    async fn mentions_links_and_raw_ampersands_are_violations() {
        let slack = slack().await;
        let texts = ["<!channel> look", "<@U024BE7LH>", "<https://example.com|here>", "A & B", "> quoted"];
        for text in texts {
            assert_eq!(post(&slack.webhook_url(), &json!({"text": text})).await, said(200, "ok"));
        }
        let hidden =
            json!({"text": "a", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "<!here>"}}]});
        assert_eq!(post(&slack.webhook_url(), &hidden).await, said(200, "ok"));
        assert_eq!(slack.violations().len(), texts.len() + 1);
    }

    #[tokio::test]
    async fn malformed_messages_are_violations() {
        let slack = slack().await;
        let url = slack.webhook_url();
        assert_eq!(post(&url, &json!(["text"])).await, said(400, "invalid_payload"));
        assert_eq!(post(&url, &json!({"text": ""})).await, said(400, "no_text"));
        assert_eq!(post(&url, &json!({"text": "a", "link_names": 1})).await, said(400, "invalid_payload"));
        assert_eq!(post(&url, &json!({"text": "a", "blocks": []})).await, said(400, "invalid_payload"));
        assert_eq!(post(&url.replace("services", "hooks"), &json!({"text": "a"})).await, said(404, "no_service"));
        let plain = client().post(&url).body("{\"text\":\"a\"}").send().await.unwrap();
        assert_eq!(plain.status(), 400);
        assert_eq!((slack.messages().len(), slack.violations().len()), (0, 6));
    }

    #[tokio::test]
    async fn a_reply_can_be_replaced() {
        let slack = slack().await;
        slack.replace(1, Reply::html(503));
        let message = json!({"text": "hello"});
        assert_eq!(post(&slack.webhook_url(), &message).await.0, 503);
        assert_eq!(post(&slack.webhook_url(), &message).await.0, 200);
    }
}
