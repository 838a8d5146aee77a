//! A client with keys of its own asks for tokens and uses them, once correctly and then with one thing wrong at a time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Duration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::refusal::random;
use super::tests::{Answer, NOON, client};
use super::{Okta, Permission, ServiceApp, new_key};
use crate::faults::Faults;
use crate::vendors::TestClock;

const SCOPES: [&str; 2] = ["okta.groups.manage", "okta.users.read"];

/// A claim or a header member to change: its name and its value, or `null` to leave it out.
type Change = (&'static str, Value);

/// A client in the middle of a talk: it knows the nonce, and the proof key is not the app's.
struct Scene {
    okta: Okta,
    clock: TestClock,
    app: ServiceApp,
    proof_key: (Value, String),
    nonce: String,
    group: String,
}

impl Scene {
    async fn new() -> Self {
        let clock = TestClock::at(NOON);
        let okta = Okta::start(clock.clock(), Faults::none()).await.unwrap();
        let app = okta.service_app(&SCOPES).unwrap();
        let group = okta.group("break-glass");
        let mut scene = Self { okta, clock, app, proof_key: new_key("proof").unwrap(), nonce: String::new(), group };
        let answer = scene.ask(None, None, None).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("use_dpop_nonce")));
        answer.header("dpop-nonce").clone_into(&mut scene.nonce);
        assert!(!scene.nonce.is_empty());
        scene
    }

    fn token_url(&self) -> String {
        format!("{}/oauth2/v1/token", self.okta.url())
    }

    fn assertion(&self, change: Option<Change>) -> String {
        let now = self.clock.now().timestamp();
        let id = self.app.client_id.as_str();
        let mut claims = json!({
            "iss": id, "sub": id, "aud": self.token_url(), "iat": now, "exp": now + 300, "jti": random(20),
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.app.kid.clone());
        match change {
            Some(("kid", kid)) => header.kid = kid.as_str().map(str::to_owned),
            change => apply(&mut claims, change),
        }
        sign(&header, &claims, &self.app.pem)
    }

    /// A proof for this call; a change of `typ` or `jwk` is one of its header.
    fn proof(&self, method: &str, url: &str, token: Option<&str>, change: Option<Change>) -> String {
        let ath = token.map(|token| URL_SAFE_NO_PAD.encode(Sha256::digest(token)));
        let mut claims = json!({
            "htm": method, "htu": url, "iat": self.clock.now().timestamp(), "jti": random(20), "nonce": self.nonce,
        });
        apply(&mut claims, ath.map(|ath| ("ath", json!(ath))));
        let (jwk, pem) = &self.proof_key;
        let mut header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": public(jwk)});
        match change {
            Some(change) if ["typ", "jwk"].contains(&change.0) => apply(&mut header, Some(change)),
            change => apply(&mut claims, change),
        }
        sign_raw(&header, &claims, pem)
    }

    /// Asks for a token, with one thing changed in the form, the assertion or the proof.
    async fn ask(&self, form: Option<Change>, assertion: Option<Change>, proof: Option<Change>) -> Answer {
        let assertion = self.assertion(assertion);
        let proof = self.proof("POST", &self.token_url(), None, proof);
        self.send(form, &assertion, Some(&proof)).await
    }

    async fn send(&self, form: Option<Change>, assertion: &str, proof: Option<&str>) -> Answer {
        let mut fields = json!({
            "grant_type": "client_credentials",
            "scope": "okta.groups.manage okta.users.read",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        });
        apply(&mut fields, form);
        let pairs = fields.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap()));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = client().post(self.token_url()).header("accept", "application/json");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        Answer::of(proof.into_iter().fold(request, |request, proof| request.header("dpop", proof))).await
    }

    async fn token(&self) -> String {
        let answer = self.ask(None, None, None).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    async fn call(&self, scheme: &str, token: &str, target: &str, proof: &str) -> Answer {
        let request = client().get(format!("{}{target}", self.okta.url())).header("accept", "application/json");
        Answer::of(request.header("authorization", format!("{scheme} {token}")).header("dpop", proof)).await
    }

    /// Reads the group as a correct client does, with one thing changed in the proof.
    async fn read(&self, token: &str, change: Option<Change>) -> Answer {
        let target = format!("/api/v1/groups/{}", self.group);
        let proof = self.proof("GET", &format!("{}{target}", self.okta.url()), Some(token), change);
        self.call("DPoP", token, &target, &proof).await
    }

    fn assert_violation(&self, text: &str) {
        let violations = self.okta.violations();
        assert!(violations.len() == 1 && violations[0].contains(text), "{text}: {violations:?}");
    }

    fn assert_proper(&self) {
        assert_eq!(self.okta.violations(), Vec::<String>::new());
    }
}

fn apply(object: &mut Value, change: Option<Change>) {
    match change {
        Some((name, Value::Null)) => drop(object.as_object_mut().unwrap().remove(name)),
        Some((name, value)) => object[name] = value,
        None => {}
    }
}

fn public(jwk: &Value) -> Value {
    json!({"kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"]})
}

fn sign(header: &Header, claims: &Value, pem: &str) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_ec_pem(pem.as_bytes()).unwrap()).unwrap()
}

/// Signs with a header of any shape.
fn sign_raw(header: &Value, claims: &Value, pem: &str) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_rotated_nonce_is_asked_for_again() {
    let mut scene = Scene::new().await;
    scene.okta.rotate_nonce();
    let answer = scene.ask(None, None, None).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("use_dpop_nonce")));
    answer.header("dpop-nonce").clone_into(&mut scene.nonce);
    scene.token().await;
    scene.assert_proper();
}

#[tokio::test]
async fn scopes_that_are_not_granted_are_left_out_without_a_word() {
    let scene = Scene::new().await;
    scene.okta.set_scopes(&scene.app.client_id, &["okta.users.read"]);
    let answer = scene.ask(None, None, None).await;
    assert_eq!((answer.status, &answer.json()["scope"]), (200, &json!("okta.users.read")));
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let answer = scene.read(&token, None).await;
    assert_eq!((answer.status, answer.body.as_str()), (403, ""));
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains("okta.groups.read"),
        "{challenge}"
    );
    let answer = scene.ask(Some(("scope", json!("okta.apps.read"))), None, None).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_scope")));
    scene.assert_proper();
}

#[tokio::test]
async fn the_admin_role_holds_for_apps_too() {
    let scene = Scene::new().await;
    let token = scene.token().await;
    scene.okta.forbid(Permission::GroupsRead);
    assert_eq!(scene.read(&token, None).await.json()["errorCode"], "E0000006");
}

#[tokio::test]
async fn a_token_ends_by_the_orgs_clock_or_at_once() {
    let scene = Scene::new().await;
    let token = scene.token().await;
    scene.clock.advance(Duration::seconds(3599));
    assert_eq!(scene.read(&token, None).await.status, 200);
    scene.clock.advance(Duration::seconds(1));
    let answer = scene.read(&token, None).await;
    assert_eq!((answer.status, &answer.json()["errorCode"]), (401, &json!("E0000011")));
    let token = scene.token().await;
    scene.okta.expire_tokens();
    assert_eq!(scene.read(&token, None).await.status, 401);
    scene.assert_proper();
}

#[tokio::test]
async fn wrong_forms_are_violations() {
    for (change, error) in [
        (("grant_type", json!("password")), "unsupported_grant_type"),
        (("client_assertion_type", json!("jwt")), "invalid_request"),
        (("scope", Value::Null), "invalid_request"),
        (("client_id", json!("0oa")), "invalid_request"),
    ] {
        let scene = Scene::new().await;
        let answer = scene.ask(Some(change), None, None).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!(error)));
        assert_eq!(scene.okta.violations().len(), 1);
    }
}

#[tokio::test]
async fn wrong_assertions_are_refused() {
    let now = TestClock::at(NOON).now().timestamp();
    for (change, violation) in [
        (("aud", json!("https://corp.okta.com")), true),
        (("iss", json!("0oa404")), true),
        (("jti", Value::Null), true),
        (("kid", Value::Null), true),
        (("exp", Value::Null), true),
        (("exp", json!(now + 3601)), true),
        (("kid", json!("other")), false),
    ] {
        let scene = Scene::new().await;
        let answer = scene.ask(None, Some(change.clone()), None).await;
        assert_eq!((answer.status, &answer.json()["error"]), (401, &json!("invalid_client")), "{change:?}");
        assert_eq!(scene.okta.violations().len(), usize::from(violation), "{change:?}");
    }
}

#[tokio::test]
async fn a_clients_clock_may_be_five_minutes_off_and_no_more() {
    for (minutes, status) in [(-5, 401), (-4, 200), (5, 200), (6, 401)] {
        let scene = Scene::new().await;
        let answer = {
            let proof = scene.proof("POST", &scene.token_url(), None, None);
            scene.clock.advance(Duration::minutes(minutes));
            let assertion = scene.assertion(None);
            scene.clock.advance(Duration::minutes(-minutes));
            scene.send(None, &assertion, Some(&proof)).await
        };
        assert_eq!(answer.status, status, "{minutes} minutes: {}", answer.body);
        scene.assert_proper();
    }
}

#[tokio::test]
async fn an_assertion_by_another_key_is_refused_and_one_works_once() {
    let mut scene = Scene::new().await;
    let assertion = scene.assertion(None);
    let proof = || scene.proof("POST", &scene.token_url(), None, None);
    assert_eq!(scene.send(None, &assertion, Some(&proof())).await.status, 200);
    assert_eq!(scene.send(None, &assertion, Some(&proof())).await.status, 401);
    scene.assert_violation("jti");
    scene.app.pem = new_key("other").unwrap().1;
    let answer = scene.ask(None, None, None).await;
    assert_eq!(answer.json()["error_description"], "The client_assertion signature is invalid.");
}

#[tokio::test]
async fn wrong_proofs_get_no_token() {
    for (change, violation) in [
        (("typ", json!("JWT")), true),
        (("jwk", new_key("private").unwrap().0), true),
        (("jwk", public(&new_key("other").unwrap().0)), true),
        (("jwk", Value::Null), true),
        (("htm", json!("GET")), true),
        (("htu", json!("http://127.0.0.1/oauth2/v1/token")), true),
        (("ath", json!("x")), true),
        (("jti", Value::Null), true),
        (("iat", Value::Null), true),
        (("iat", json!(TestClock::at(NOON).now().timestamp() - 301)), false),
        (("iat", json!(TestClock::at(NOON).now().timestamp() + 301)), false),
    ] {
        let scene = Scene::new().await;
        let answer = scene.ask(None, None, Some(change.clone())).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_dpop_proof")), "{change:?}");
        assert_eq!(scene.okta.violations().len(), usize::from(violation), "{change:?}");
    }
}

#[tokio::test]
async fn a_proof_must_be_there_and_works_once() {
    let scene = Scene::new().await;
    let answer = scene.send(None, &scene.assertion(None), None).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_dpop_proof")));
    scene.assert_violation("missing");
    let proof = scene.proof("POST", &scene.token_url(), None, None);
    assert_eq!(scene.send(None, &scene.assertion(None), Some(&proof)).await.status, 200);
    assert_eq!(scene.send(None, &scene.assertion(None), Some(&proof)).await.status, 400);
}

#[tokio::test]
async fn wrong_proofs_open_no_door_of_the_api() {
    for (change, violation) in [
        (("htm", json!("PUT")), true),
        (("htu", json!("http://127.0.0.1/")), true),
        (("ath", Value::Null), true),
        (("ath", json!(URL_SAFE_NO_PAD.encode(Sha256::digest("another token")))), true),
        (("jti", Value::Null), true),
        (("iat", json!(TestClock::at(NOON).now().timestamp() - 301)), false),
    ] {
        let scene = Scene::new().await;
        let token = scene.token().await;
        let answer = scene.read(&token, Some(change.clone())).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, ""), "{change:?}");
        assert!(answer.header("www-authenticate").contains("invalid_dpop_proof"), "{change:?}");
        assert_eq!(scene.okta.violations().len(), usize::from(violation), "{change:?}");
    }
}

#[tokio::test]
async fn a_token_is_good_with_its_own_key_and_scheme_only() {
    let mut scene = Scene::new().await;
    let token = scene.token().await;
    let target = format!("/api/v1/groups/{}", scene.group);
    let url = format!("{}{target}", scene.okta.url());
    let proof = scene.proof("GET", &url, Some(&token), None);
    assert_eq!(scene.call("Bearer", &token, &target, &proof).await.status, 401);
    scene.assert_violation("Bearer");
    assert_eq!(scene.call("DPoP", &token, &target, &proof).await.status, 200);
    assert_eq!(scene.call("DPoP", &token, &target, &proof).await.status, 400, "a replayed proof");
    scene.proof_key = new_key("other").unwrap();
    assert_eq!(scene.read(&token, None).await.status, 400);
    assert!(scene.okta.violations()[2].contains("another key"), "{:?}", scene.okta.violations());
}
