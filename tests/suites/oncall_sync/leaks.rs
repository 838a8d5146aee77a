//! Where credentials must not be: the real bootstrap's logs at every level, its answers, the ledger, the alerts.

use crate::secrecy::{Written, leaks};
use keyturn_tests::aws::secrets_client;
use keyturn_tests::lambda::{Invocation, Lambda};
use keyturn_tests::stacks::oncall::{Bound, Engineer, OktaAccess, Oncall, PagerDutyAccess};
use keyturn_tests::vendors::{Call, Reply};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a credential looks like wherever it comes from: headers by name, schemes, and the beginning of every JWT.
const MARKS: [&str; 9] = [
    "authorization",
    "ssws ",
    "bearer ",
    "token token=",
    "eyj",
    "client_assertion",
    "begin private",
    "dd-api-key",
    "/services/t",
];

/// One stack, the real bootstrap on it, and everything that was secret or written at any time.
struct Scene {
    world: Oncall,
    lambda: Lambda,
    shop: Bound,
    bob: Engineer,
    secrets: BTreeSet<String>,
    written: Written,
}

impl Scene {
    async fn start(okta: OktaAccess, pagerduty: PagerDutyAccess) -> Self {
        let builder = Oncall::builder().okta(okta).pagerduty(pagerduty).on_the_machines_clock();
        let world = builder.variable("LOG_LEVEL", "trace").start().await.unwrap();
        let [ann, bob, mallory] = ["ann", "bob", "mallory"].map(|name| world.engineer(name).unwrap());
        let shop = world.bind("shop", &json!({}));
        let (now, hour) = (keyturn::clock::now(), chrono::TimeDelta::hours(1));
        world.pagerduty.shift(&shop.schedule, &ann.pagerduty, now - hour, now + hour * 8);
        let lambda = world.lambda(None).await.unwrap();
        let mut scene = Self { world, lambda, shop, bob, secrets: BTreeSet::new(), written: Vec::new() };
        scene.ask(json!({"action": "sync"})).await;
        scene.world.okta.add(&scene.shop.group, &mallory.okta);
        scene
    }

    /// Asks the function for something and keeps what it answers, together with all secrets of that moment.
    async fn ask(&mut self, event: Value) -> Invocation {
        self.note_stored_secrets();
        let invocation = self.lambda.invoke(event).await;
        let answer = invocation.result.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        self.written.push(("answer", answer));
        self.note_sent_secrets();
        invocation
    }

    /// Asks for something that has to go well.
    async fn well(&mut self, event: Value) {
        let name = event["action"].to_string();
        let answer = self.ask(event).await.result;
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }

    fn note_stored_secrets(&mut self) {
        for id in ["keyturn/pagerduty", "keyturn/okta", "keyturn/datadog", "keyturn/slack"] {
            let text = self.world.aws.secrets.value(id, "AWSCURRENT").unwrap().unwrap();
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => self.secrets.extend(secret_texts(&value)),
                Err(_) => self.secrets.extend([text]),
            }
        }
    }

    /// Everything that proved something to a vendor: headers, forms, and the webhook's address.
    fn note_sent_secrets(&mut self) {
        let world = &self.world;
        let calls = [world.pagerduty.seen(), world.okta.seen(), world.datadog.seen(), world.slack.seen()].concat();
        for call in &calls {
            self.secrets.extend(shown_credentials(call));
        }
        self.secrets.extend(world.okta.access_tokens());
    }

    /// Stores another text in a secret, as an operator would, and has a new environment read it.
    async fn store(&self, id: &str, text: &str) {
        let put = secrets_client(&self.world.aws.client_url()).put_secret_value().secret_id(id).secret_string(text);
        put.send().await.unwrap();
        self.lambda.recycle();
    }

    fn written(&self) -> Written {
        let mut written = self.written.clone();
        written.push(("log", self.lambda.logs().unwrap()));
        written.push(("ledger", self.world.ledger(&self.shop).unwrap().to_string()));
        written.extend(self.world.datadog.seen().iter().map(|call| ("event", body(call))));
        written.extend(self.world.slack.seen().iter().map(|call| ("message", body(call))));
        written
    }
}

fn body(call: &Call) -> String {
    String::from_utf8_lossy(&call.body).into_owned()
}

/// The values in a secret that are worth something; `d` and the like are the private parts of a JWK.
fn secret_texts(secret: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    for (key, value) in secret.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("token" | "client_secret" | "api_key" | "d" | "p" | "q", Value::String(text)) => texts.push(text.clone()),
            ("webhook_url", Value::String(url)) => texts.extend(url.rsplit('/').next().map(str::to_owned)),
            ("private_key", Value::Object(_)) => texts.extend(secret_texts(value)),
            ("private_key", Value::String(pem)) => texts.extend(pem.lines().map(str::to_owned)),
            _ => {}
        }
    }
    texts
}

/// What a request proves its sender by.
fn shown_credentials(call: &Call) -> Vec<String> {
    let headers = ["authorization", "dpop", "dd-api-key"].map(|name| call.header(name));
    let last_words = headers.iter().filter_map(|value| value.split([' ', '=']).next_back());
    let mut shown: Vec<String> = last_words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if call.path.ends_with("/token") {
        let form = url::form_urlencoded::parse(&call.body);
        let proofs = form.filter(|(key, _)| key == "client_secret" || key == "client_assertion");
        shown.extend(proofs.map(|(_, value)| value.into_owned()));
    }
    shown
}

/// Everything the function can be asked for, then everything that can go wrong with its credentials and answers.
async fn go_through_it_all(scene: &mut Scene) {
    let bob = scene.bob.email.clone();
    scene.well(json!({"action": "sync"})).await;
    scene.well(json!({"action": "plan"})).await;
    let grant = json!({"action": "grant", "binding": "shop", "user": bob, "minutes": 30, "reason": "INC-42"});
    scene.well(grant).await;
    scene.well(json!({"action": "revoke", "binding": "shop", "user": bob, "reason": "INC-42 is over"})).await;
    scene.well(json!({"action": "doctor"})).await;
    assert!(scene.ask(json!({"action": "grant", "binding": "shop", "user": bob})).await.result.is_err());

    let group = scene.shop.group.clone();
    let schedule = &scene.shop.schedule;
    let calls =
        ["GET /oncalls".to_owned(), format!("GET /schedules/{schedule}"), format!("GET /v3/schedules/{schedule}")];
    let members = format!("GET /api/v1/groups/{group}/users");
    for reply in
        [401, 403, 500].map(|status| Reply::json(status, &json!({"error": "no"}))).into_iter().chain([Reply::html(200)])
    {
        for call in &calls {
            scene.world.pagerduty.replace(call, 2, reply.clone());
        }
        scene.world.okta.replace(&members, 2, reply.clone());
        scene.world.datadog.replace("POST /api/v1/events", 1, reply.clone());
        scene.world.slack.replace(1, reply);
        scene.ask(json!({"action": "sync"})).await;
        scene.ask(json!({"action": "doctor"})).await;
        scene.lambda.recycle();
    }
}

/// What is stored is wrong: of another kind, cut short, with a typo in a key; each ends with the secret's own value in it.
async fn store_bad_secrets(scene: &mut Scene) {
    for id in ["keyturn/pagerduty", "keyturn/okta", "keyturn/datadog", "keyturn/slack"] {
        let good = scene.world.aws.secrets.value(id, "AWSCURRENT").unwrap().unwrap();
        let mut extra: Value = serde_json::from_str(&good).unwrap();
        extra["tokne"] = json!("S3cretOfAnotherKind");
        scene.secrets.insert("S3cretOfAnotherKind".to_owned());
        let bare = "JustTheS3cretItself";
        for bad in
            [bare.to_owned(), good[..good.len() / 2 + 8].to_owned(), extra.to_string(), json!([bare]).to_string()]
        {
            scene.store(id, &bad).await;
            scene.secrets.insert(bare.to_owned());
            scene.ask(json!({"action": "sync"})).await;
            scene.ask(json!({"action": "doctor"})).await;
        }
        scene.store(id, &good).await;
    }
    scene.well(json!({"action": "sync"})).await;
}

async fn nothing_leaks(okta: OktaAccess, pagerduty: PagerDutyAccess) {
    let mut scene = Scene::start(okta, pagerduty).await;
    go_through_it_all(&mut scene).await;
    store_bad_secrets(&mut scene).await;

    let written = scene.written();
    let log = &written.iter().find(|(place, _)| *place == "log").unwrap().1;
    for code in
        ["HTTP_CALL", "GRANTED", "REVOKED", "TICK_DONE", "ALERT_SENT", "ALERT_FAILED", "_REFUSED", "_SECRET_INVALID"]
    {
        assert!(log.contains(code), "{code} is not in the log: it was never tried");
    }
    assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""));
    assert!(!log.contains("panicked"), "{log}");
    assert!(scene.secrets.len() >= 8, "{} secrets", scene.secrets.len());
    assert!(scene.secrets.iter().all(|secret| secret.len() >= 8), "{:?}", scene.secrets);
    assert_eq!(leaks(&scene.secrets, &MARKS, &written), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn api_tokens_appear_nowhere_whatever_the_function_is_asked_and_whatever_goes_wrong() {
    nothing_leaks(OktaAccess::Token, PagerDutyAccess::Token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_proofs_and_access_tokens_appear_nowhere_whatever_the_function_is_asked_and_whatever_goes_wrong() {
    nothing_leaks(OktaAccess::ServiceApp, PagerDutyAccess::App).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_somebody_writes_into_a_reason_is_found_in_the_ledger_and_the_alerts() {
    let mut scene = Scene::start(OktaAccess::ServiceApp, PagerDutyAccess::App).await;
    let clean = leaks(&scene.secrets, &MARKS, &scene.written());
    assert_eq!(clean, Vec::<String>::new());
    let planted = scene.world.okta.access_tokens().pop().unwrap();
    let event = json!({
        "action": "grant", "binding": "shop", "user": scene.bob.email, "minutes": 30, "reason": planted[..planted.len().min(200)],
    });
    scene.secrets.insert(planted[..planted.len().min(200)].to_owned());
    scene.well(event).await;
    let found = leaks(&scene.secrets, &MARKS, &scene.written());
    for place in ["ledger", "event", "message"] {
        assert!(found.iter().any(|leak| leak.ends_with(&format!("is in the {place}"))), "{place}: {found:?}");
    }
    assert_eq!(scene.world.violations(), Vec::<String>::new());
}

#[test]
fn every_kind_of_credential_would_be_found() {
    let secrets = BTreeSet::from(["S3cret".to_owned()]);
    for text in [
        "token S3cret refused",
        r#"{"headers": {"Authorization": "x"}}"#,
        "SSWS 00abc",
        "Bearer abc",
        "Token token=abc",
        "dpop eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
        "-----BEGIN PRIVATE KEY-----",
        "https://hooks.slack.com/services/T1/B1/x",
    ] {
        assert_eq!(leaks(&secrets, &MARKS, &vec![("log", text.to_owned())]).len(), 1, "{text}");
    }
    assert_eq!(leaks(&secrets, &MARKS, &vec![("log", "An alert was sent.".to_owned())]), Vec::<String>::new());
}
