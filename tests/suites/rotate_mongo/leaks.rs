//! Where credentials must not be: the real bootstrap's logs at every level, its answers, and the servers' logs.

use super::scene::step;
use crate::secrecy::{Written, leaks};
use keyturn_tests::aws::secrets_client;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use keyturn_tests::vendors::{Call, Reply};
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a credential looks like, or what goes with one, in lower case: headers and their schemes, a member of a
/// command, and the messages of SCRAM, plain and in base64.
const MARKS: [&str; 11] = [
    "authorization:",
    "\"authorization\"",
    "bearer ",
    "digest username",
    "response=\"",
    "\"pwd\"",
    "pwd:",
    "c=biws",
    "n,,n=",
    "yz1iaxdz",
    "biwsbj",
];

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// One stack, and everything that was secret or written at any time.
struct Scene {
    stack: MongoStack,
    apps: Vec<MongoApp>,
    secrets: BTreeSet<String>,
    written: Written,
}

impl Scene {
    async fn start(api_key: bool) -> Self {
        let builder = MongoStack::builder().through_proxy().variable("LOG_LEVEL", "trace");
        let builder = if api_key { builder.api_key() } else { builder };
        let stack = builder.start().await.unwrap();
        stack.aws.secrets.set_attempts(1);
        let mut apps = Vec::new();
        for strategy in ["fixed", "alternating"] {
            apps.push(stack.atlas_app(&format!("atlas-{strategy}")).await.unwrap());
            // What Atlas's credential is makes no difference to servers of one's own.
            if !api_key {
                apps.push(stack.own_app(&format!("own-{strategy}")).await.unwrap());
            }
        }
        for app in &apps {
            let strategy = app.database.split_once('-').map(|(_, strategy)| strategy);
            stack.tag(&app.secret, "strategy", strategy.unwrap()).unwrap();
        }
        let secrets = BTreeSet::from([stack.admin_password.clone()]);
        Self { stack, apps, secrets, written: Vec::new() }
    }

    /// Runs a step and keeps what it answers, together with all secrets of that moment.
    async fn step(&mut self, app: &MongoApp, token: &str, name: &str) -> bool {
        let result = step(&self.stack, app, token, name).await;
        let answer = result.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        self.written.push(("answer", answer));
        self.note(app);
        result.is_ok()
    }

    /// A whole rotation, up to the first step that fails, which is given back.
    async fn rotate(&mut self, app: &MongoApp) -> Option<&'static str> {
        let token = self.stack.stage(&app.secret).unwrap();
        for name in STEPS {
            if !self.step(app, &token, name).await {
                return Some(name);
            }
        }
        None
    }

    fn note(&mut self, app: &MongoApp) {
        for secret in [&app.secret, &self.stack.atlas_arn] {
            for label in ["AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"] {
                let text = self.stack.aws.secrets.value(secret, label).unwrap();
                let value: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                self.secrets.extend(secret_texts(&value));
            }
        }
        self.secrets.extend(self.stack.atlas.seen().iter().flat_map(shown_credentials));
        self.secrets.extend(self.stack.atlas.access_tokens());
    }

    async fn note_verifiers(&mut self) {
        for user in self.stack.mongo.users().await.unwrap() {
            self.secrets.extend(verifiers(&user));
        }
    }

    /// Stores another text in a secret, as an operator would.
    async fn store(&mut self, secret: &str, text: &str) {
        let client = secrets_client(&self.stack.aws.client_url());
        client.put_secret_value().secret_id(secret).secret_string(text).send().await.unwrap();
    }

    fn text(&self, secret: &str) -> String {
        self.stack.aws.secrets.value(secret, "AWSCURRENT").unwrap().unwrap()
    }

    fn pending_password(&self, app: &MongoApp) -> String {
        self.stack.value(&app.secret, "AWSPENDING").unwrap()["password"].as_str().unwrap().to_owned()
    }

    fn written(&self) -> Written {
        let mut written = self.written.clone();
        written.push(("log", self.stack.lambda.logs().unwrap()));
        written.push(("server's log", self.stack.mongo.log().unwrap()));
        written.extend(self.stack.violations().into_iter().map(|violation| ("violation", violation)));
        written
    }
}

/// The values in a secret that are worth something.
fn secret_texts(secret: &Value) -> Vec<String> {
    let keys = ["password", "client_secret", "private_key"];
    keys.iter().filter_map(|key| secret[*key].as_str()).map(str::to_owned).collect()
}

/// What a request proves its sender by: the header as a whole, its last word, and what a digest computes.
fn shown_credentials(call: &Call) -> Vec<String> {
    let header = call.header("authorization");
    let (scheme, proof) = header.split_once(' ').unwrap_or_default();
    let mut shown: Vec<String> =
        [header, proof].iter().filter(|text| !text.is_empty()).map(ToString::to_string).collect();
    if scheme == "Digest" {
        let parts = proof.split(", ").filter_map(|part| part.split_once('='));
        let computed = parts.filter(|(name, _)| ["response", "cnonce"].contains(name));
        shown.extend(computed.map(|(_, value)| value.trim_matches('"').to_owned()));
    }
    shown
}

/// What a server keeps of a password, whatever it calls it.
fn verifiers(user: &Document) -> Vec<String> {
    let Ok(credentials) = user.get_document("credentials") else { return Vec::new() };
    let mechanisms = credentials.values().filter_map(Bson::as_document);
    let parts = mechanisms.flat_map(Document::iter).filter(|(name, _)| *name != "iterationCount");
    parts.filter_map(|(_, value)| value.as_str()).map(str::to_owned).collect()
}

async fn rotate_all(scene: &mut Scene) {
    for app in scene.apps.clone() {
        for _ in 0..2 {
            assert_eq!(scene.rotate(&app).await, None, "{}: {:?}", app.user, scene.written.last());
            scene.note_verifiers().await;
        }
    }
}

/// The server or Atlas refuses the change and repeats the password, or all that it was sent.
async fn refuse_the_change(scene: &mut Scene) {
    for app in scene.apps.clone() {
        for words in ["Password PASSWORD is too weak.", "{\"pwd\": \"PASSWORD\"}", "PASSWORD"] {
            let token = scene.stack.stage(&app.secret).unwrap();
            assert!(scene.step(&app, &token, "createSecret").await, "{:?}", scene.written.last());
            let words = words.replace("PASSWORD", &scene.pending_password(&app));
            let refusal = doc! { "ok": 0.0, "code": 2, "codeName": "BadValue", "errmsg": &words };
            let proxy = scene.stack.proxy.as_ref().unwrap();
            let user = scene.stack.value(&app.secret, "AWSPENDING").unwrap()["username"].as_str().unwrap().to_owned();
            if app.database.starts_with("own") {
                proxy.answer("updateUser", 1, refusal);
            } else {
                let detail =
                    json!({"error": 400, "errorCode": "INVALID_PASSWORD", "detail": words, "parameters": [words]});
                let path = format!("/api/atlas/v2/groups/{}/databaseUsers/admin/{user}", scene.stack.project.id());
                scene.stack.atlas.replace(&format!("PATCH {path}"), 1, Reply::json(400, &detail));
            }
            assert!(!scene.step(&app, &token, "setSecret").await);
            for name in &STEPS[1..] {
                assert!(scene.step(&app, &token, name).await, "{:?}", scene.written.last());
            }
        }
    }
}

/// Connections break and answers are garbage, at each call of a rotation in turn. Each rotation ends well all the same.
async fn break_off(scene: &mut Scene) {
    for app in [scene.apps[0].clone(), scene.apps[scene.apps.len() - 1].clone()] {
        scene.stack.faults.reset();
        assert_eq!(scene.rotate(&app).await, None);
        let calls: BTreeSet<String> = scene.stack.faults.recorded().into_iter().collect();
        let faults = [Fault::Garbage, Fault::Status(500, "InternalServiceError"), Fault::Kill];
        scene.stack.faults.reset();
        // All at once: what the next try of a step meets is the next one.
        for (call, fault) in calls.into_iter().zip(faults.into_iter().cycle()) {
            scene.stack.faults.inject(Point { call, moment: Moment::After, fault });
        }
        let token = scene.stack.stage(&app.secret).unwrap();
        for name in STEPS {
            let mut tries = 1;
            while !scene.step(&app, &token, name).await {
                assert!(tries < 100, "{name}: {:?}", scene.written.last());
                tries += 1;
            }
        }
        assert!(scene.stack.faults.struck().len() > 20, "{:?}", scene.stack.faults.struck());
        scene.stack.faults.reset();
    }
}

/// Logins fail: the value in use is not good, or what an admin's or Atlas's secret holds.
async fn fail_to_log_in(scene: &mut Scene) {
    for app in scene.apps.clone() {
        let good = scene.text(&app.secret);
        let mut bad: Value = serde_json::from_str(&good).unwrap();
        bad["password"] = json!("N0tThePasswordOfAnybody");
        scene.store(&app.secret, &bad.to_string()).await;
        assert_eq!(scene.rotate(&app).await, Some("createSecret"));
        scene.store(&app.secret, &good).await;
        let (admin, atlas) = (scene.stack.admin_arn.clone(), scene.stack.atlas_arn.clone());
        let keys = if app.database.starts_with("own") { (admin, "password") } else { (atlas, "client_secret") };
        let good = scene.text(&keys.0);
        let mut bad: Value = serde_json::from_str(&good).unwrap();
        let key = if bad.get(keys.1).is_some() { keys.1 } else { "private_key" };
        bad[key] = json!("An0therWrongSecret");
        scene.secrets.insert("An0therWrongSecret".to_owned());
        scene.store(&keys.0, &bad.to_string()).await;
        scene.stack.lambda.recycle();
        assert_eq!(scene.rotate(&app).await, Some("createSecret"));
        scene.store(&keys.0, &good).await;
    }
}

/// What is stored is wrong: cut short, of another kind, with a typo in a key; each ends with a secret's own value in it.
async fn store_bad_secrets(scene: &mut Scene) {
    const BARE: &str = "JustTheS3cretItself";
    scene.secrets.extend([BARE.to_owned(), "S3cretOfAnotherKind".to_owned()]);
    for app in scene.apps.clone() {
        let of_power = if app.database.starts_with("own") { &scene.stack.admin_arn } else { &scene.stack.atlas_arn };
        for secret in [app.secret.clone(), of_power.clone()] {
            let good = scene.text(&secret);
            let mut extra: Value = serde_json::from_str(&good).unwrap();
            extra["pasword"] = json!("S3cretOfAnotherKind");
            let list = json!([BARE]).to_string();
            let number = json!({"username": "x", "password": {"is": BARE}, "client_id": "x", "client_secret": [BARE]});
            let url = format!("mongodb://user:{BARE}@localhost:1/?password={BARE}");
            let cut_short = good[..good.len() - 3].to_owned();
            for bad in [BARE.to_owned(), cut_short, extra.to_string(), list, number.to_string(), url] {
                scene.store(&secret, &bad).await;
                let token = scene.stack.stage(&app.secret).unwrap();
                scene.step(&app, &token, "createSecret").await;
            }
            scene.store(&secret, &good).await;
        }
    }
    rotate_all(scene).await;
}

async fn nothing_leaks(api_key: bool) {
    let mut scene = Scene::start(api_key).await;
    rotate_all(&mut scene).await;
    refuse_the_change(&mut scene).await;
    fail_to_log_in(&mut scene).await;
    break_off(&mut scene).await;
    rotate_all(&mut scene).await;
    store_bad_secrets(&mut scene).await;

    let written = scene.written();
    let log = &written.iter().find(|(place, _)| *place == "log").unwrap().1;
    let tried = [
        "REVERTED_BY_OTHER_WRITER",
        "ATLAS_CREDENTIAL_REFUSED",
        "ATLAS_SECRET_INVALID",
        "INVALID_PASSWORD",
        "\"level\":\"DEBUG\"",
    ];
    let tried_on_a_server: &[&str] = if api_key { &[] } else { &["ADMIN_PASSWORD_REFUSED", "repeats the password"] };
    for code in tried.iter().chain(tried_on_a_server) {
        assert!(log.contains(code), "{code} is not in the log: it was never tried");
    }
    assert!(!log.contains("panicked"), "{log}");
    assert!(scene.secrets.len() >= 100, "{} secrets", scene.secrets.len());
    assert!(scene.secrets.iter().all(|secret| secret.len() >= 16), "{:?}", scene.secrets);
    assert_eq!(leaks(&scene.secrets, &MARKS, &written), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_access_tokens_appear_nowhere_whatever_goes_wrong() {
    nothing_leaks(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_the_proofs_of_api_keys_appear_nowhere_whatever_goes_wrong() {
    nothing_leaks(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_somebody_writes_into_a_tag_is_found_in_the_answer_and_the_log() {
    let mut scene = Scene::start(false).await;
    let app = scene.apps[0].clone();
    assert_eq!(scene.rotate(&app).await, None);
    assert_eq!(leaks(&scene.secrets, &MARKS, &scene.written()), Vec::<String>::new());
    let planted = scene.stack.value(&app.secret, "AWSCURRENT").unwrap()["password"].as_str().unwrap().to_owned();
    scene.stack.tag(&app.secret, "strategy", &planted).unwrap();
    assert_eq!(scene.rotate(&app).await, Some("createSecret"));
    let found = leaks(&scene.secrets, &MARKS, &scene.written());
    for place in ["answer", "log"] {
        assert!(found.contains(&format!("{planted:?} is in the {place}")), "{place}: {found:?}");
    }
}

#[test]
fn every_kind_of_credential_would_be_found() {
    let secrets = BTreeSet::from(["S3cret".to_owned()]);
    for text in [
        "password S3cret refused",
        "Authorization: Basic abc",
        r#"{"authorization": "x"}"#,
        "Bearer eyJabc",
        r#"Digest username="a", uri="/""#,
        r#"response="1a2b""#,
        r#"{"updateUser": "x", "pwd": "y"}"#,
        "n,,n=shop,r=abc",
        "c=biws,r=abc,p=def",
        "payload: biwsbj1zaG9w",
        "payload: Yz1iaXdzLHI9YWJj",
    ] {
        assert!(!leaks(&secrets, &MARKS, &vec![("log", text.to_owned())]).is_empty(), "{text}");
    }
    assert_eq!(leaks(&secrets, &MARKS, &vec![("log", "A password was set.".to_owned())]), Vec::<String>::new());
}
