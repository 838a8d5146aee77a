mod changes;
mod clusters;
mod digest;
mod form;
mod roles;
mod tokens;
mod users;

use std::sync::Arc;

use digest_auth::{AuthContext, WwwAuthenticateHeader};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Atlas, Project};
use crate::faults::Faults;
use crate::mongo::Mongo;
use crate::vendors::TestClock;

const NOON: &str = "2026-03-02T12:00:00Z";
const MEDIA_TYPE: &str = "application/vnd.atlas.2023-01-01+json";
const FORM: &str = "application/x-www-form-urlencoded";
const ADMIN: &str = "GROUP_DATABASE_ACCESS_ADMIN";

fn client() -> reqwest::Client {
    keyturn::http::client().unwrap()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The status, and the error's code where it has one.
    fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["error"], self.status, "{body}");
        (self.status, body["errorCode"].as_str().unwrap_or_default().to_owned())
    }
}

fn no(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// An organisation with one project, called by a correct client of a service account that may change database users.
struct Scene {
    atlas: Atlas,
    clock: TestClock,
    faults: Faults,
    project: Project,
    account: (String, String),
    token: String,
}

impl Scene {
    async fn new() -> Self {
        let (clock, faults) = (TestClock::at(NOON), Faults::none());
        let atlas = Atlas::start(clock.clock(), faults.clone()).await.unwrap();
        let project = atlas.project();
        let account = atlas.service_account(&project, &[ADMIN]);
        let mut scene = Self { atlas, clock, faults, project, account, token: String::new() };
        scene.token = scene.fresh_token().await;
        scene
    }

    /// The same with a cluster without a server, `main`, and a user, `app`.
    async fn with_user() -> Self {
        let scene = Self::new().await;
        scene.atlas.add_cluster_without_server(&scene.project, "main").unwrap();
        scene.add_user("app").await;
        scene
    }

    /// The same with a real server behind `main`.
    async fn with_server() -> (Self, Arc<Mongo>) {
        let (scene, server) = (Self::new().await, Arc::new(Mongo::start().await.unwrap()));
        scene.atlas.add_cluster(&scene.project, "main", Arc::clone(&server)).unwrap();
        scene.add_user("app").await;
        (scene, server)
    }

    async fn add_user(&self, name: &str) {
        let body = json!({"username": name, "roles": [{"roleName": "readWrite", "databaseName": "shop"}]});
        self.atlas.add_user(&self.project, &body, "first-password").await.unwrap();
    }

    fn token_request(&self, (id, secret): &(String, String)) -> RequestBuilder {
        let request = client().post(format!("{}/api/oauth/token", self.atlas.url())).basic_auth(id, Some(secret));
        let request = request.header("accept", "application/json").header("content-type", FORM);
        request.body("grant_type=client_credentials")
    }

    async fn token_of(&self, account: &(String, String)) -> String {
        let answer = Answer::of(self.token_request(account)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    async fn fresh_token(&self) -> String {
        self.token_of(&self.account).await
    }

    fn target(&self, rest: &str) -> String {
        format!("/api/atlas/v2/groups/{}{rest}", self.project.id())
    }

    /// A request that lacks nothing but authorization.
    fn bare(&self, method: Method, target: &str) -> RequestBuilder {
        client().request(method, format!("{}{target}", self.atlas.url())).header("accept", media_type(target))
    }

    fn request(&self, method: Method, rest: &str) -> RequestBuilder {
        self.bare(method, &self.target(rest)).bearer_auth(&self.token)
    }

    async fn get(&self, rest: &str) -> Answer {
        Answer::of(self.request(Method::GET, rest)).await
    }

    async fn send(&self, method: Method, rest: &str, body: &Value) -> Answer {
        let request = self.request(method, rest).header("content-type", MEDIA_TYPE);
        Answer::of(request.body(body.to_string())).await
    }

    async fn post(&self, body: &Value) -> Answer {
        self.send(Method::POST, "/databaseUsers", body).await
    }

    async fn patch(&self, body: &Value) -> Answer {
        self.send(Method::PATCH, "/databaseUsers/admin/app", body).await
    }

    async fn set_password(&self, password: &str) {
        let answer = self.patch(&json!({"password": password})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    async fn status(&self, cluster: &str) -> String {
        let answer = self.get(&format!("/clusters/{cluster}/status")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["changeStatus"].as_str().unwrap().to_owned()
    }

    fn assert_proper(&self) {
        assert_eq!(self.atlas.violations(), Vec::<String>::new());
    }

    /// Asserts that there was exactly one violation, with this text in it.
    fn assert_violation(&self, text: &str) {
        let violations = self.atlas.violations();
        assert!(violations.len() == 1 && violations[0].contains(text), "{text}: {violations:?}");
    }
}

/// That of the resource's own revision.
fn media_type(target: &str) -> &'static str {
    match target.split('?').next().unwrap_or_default().rsplit('/').next() {
        Some("clusters") => "application/vnd.atlas.2024-08-05+json",
        Some("flexClusters") => "application/vnd.atlas.2024-11-13+json",
        _ => MEDIA_TYPE,
    }
}

/// A client of an API key, with the challenge it has been given.
struct DigestClient {
    key: (String, String),
    challenge: WwwAuthenticateHeader,
}

impl DigestClient {
    async fn new(scene: &Scene) -> Self {
        let key = scene.atlas.api_key(&scene.project, &[ADMIN]);
        Self { key, challenge: challenge(scene).await }
    }

    /// The next `Authorization` header.
    fn authorization(&mut self, method: &str, target: &str) -> String {
        let (public, private) = &self.key;
        let context =
            AuthContext::new_with_method(public.as_str(), private.as_str(), target, None::<&[u8]>, method.into());
        self.challenge.respond(&context).unwrap().to_string()
    }

    async fn get(&mut self, scene: &Scene, rest: &str) -> Answer {
        let target = scene.target(rest);
        let authorization = self.authorization("GET", &target);
        Answer::of(scene.bare(Method::GET, &target).header("authorization", authorization)).await
    }
}

/// What a client without a proof is told.
async fn challenge(scene: &Scene) -> WwwAuthenticateHeader {
    let answer = Answer::of(scene.bare(Method::GET, &scene.target("/clusters"))).await;
    assert_eq!(answer.refusal(), no(401, ""));
    digest_auth::parse(answer.header("www-authenticate")).unwrap()
}
