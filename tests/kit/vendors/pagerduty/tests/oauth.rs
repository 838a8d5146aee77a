//! Credentials: API keys, apps and their tokens, regions.

use serde_json::{Value, json};

use super::{client, get, pagerduty, request};
use crate::vendors::pagerduty::{OauthApp, PagerDuty};

const WANTED: &str = "as_account-us.acme schedules.read oncalls.read users.read";

/// A token request's status and reply.
async fn token(pagerduty: &PagerDuty, app: &OauthApp, scope: &str) -> (u16, Value) {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials").append_pair("scope", scope);
    form.append_pair("client_id", &app.client_id).append_pair("client_secret", &app.client_secret);
    post(pagerduty, form.finish()).await
}

async fn post(pagerduty: &PagerDuty, form: String) -> (u16, Value) {
    let request = client().post(format!("{}/oauth/token", pagerduty.identity_url())).body(form);
    let reply = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

/// The status that a path answers a token with.
async fn status(pagerduty: &PagerDuty, token: &Value, path: &str) -> u16 {
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    request(pagerduty, path).header("authorization", bearer).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_missing_scope_is_left_out_silently_and_refused_later() {
    let pagerduty = pagerduty().await;
    let app = pagerduty.oauth_app(&["schedules.read", "users.read"]);
    let (code, reply) = token(&pagerduty, &app, WANTED).await;
    assert_eq!((code, &reply["scope"]), (200, &json!("as_account-us.acme schedules.read users.read")));
    let id = pagerduty.schedule("db");
    assert_eq!(status(&pagerduty, &reply, &format!("/schedules/{id}")).await, 200);
    assert_eq!(status(&pagerduty, &reply, &format!("/v3/schedules/{id}")).await, 400);
    assert_eq!(status(&pagerduty, &reply, "/oncalls").await, 403);
    assert_eq!(status(&pagerduty, &reply, "/users").await, 200);
    let none = pagerduty.oauth_app(&[]);
    assert_eq!(token(&pagerduty, &none, WANTED).await.1["scope"], json!("as_account-us.acme"));
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn wrong_credentials_and_accounts_are_refused() {
    let pagerduty = pagerduty().await;
    let app = pagerduty.oauth_app(&["users.read"]);
    let wrong = OauthApp { client_secret: "wrong".to_owned(), ..app.clone() };
    assert_eq!(token(&pagerduty, &wrong, WANTED).await, (401, json!({"error": "invalid_client"})));
    let invalid = (400, json!({"error": "invalid_scope"}));
    assert_eq!(token(&pagerduty, &app, "as_account-us.other users.read").await, invalid);
    assert_eq!(token(&pagerduty, &app, "as_account-eu.acme users.read").await, invalid);
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn malformed_token_requests_are_violations() {
    let pagerduty = pagerduty().await;
    let app = pagerduty.oauth_app(&["users.read"]);
    let form = format!("client_id={}&client_secret={}", app.client_id, app.client_secret);
    let scope = "scope=as_account-us.acme";
    assert_eq!(token(&pagerduty, &app, "users.read").await.0, 400);
    for fields in [
        format!("grant_type=password&{scope}"),
        format!("grant_type=client_credentials&{scope}&{scope}"),
        format!("grant_type=client_credentials&{scope}&audience=a"),
        "grant_type=client_credentials".to_owned(),
    ] {
        assert_eq!(post(&pagerduty, format!("{form}&{fields}")).await.0, 400);
    }
    let json = client().post(format!("{}/oauth/token", pagerduty.identity_url())).json(&json!({}));
    assert_eq!(json.send().await.unwrap().status(), 400);
    assert_eq!(pagerduty.violations().len(), 6);
}

#[tokio::test]
async fn credentials_can_be_taken_away() {
    let pagerduty = pagerduty().await;
    let app = pagerduty.oauth_app(&["users.read"]);
    let (_, reply) = token(&pagerduty, &app, WANTED).await;
    let key = format!("Token token={}", pagerduty.token());
    pagerduty.expire_tokens();
    assert_eq!(status(&pagerduty, &reply, "/users").await, 401);
    assert_eq!(get(&pagerduty, "/users").await.0, 200);
    pagerduty.revoke_token();
    let refused = request(&pagerduty, "/users").header("authorization", key).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(pagerduty.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn the_wrong_region_answers_401_to_good_credentials() {
    let pagerduty = pagerduty().await;
    let app = pagerduty.oauth_app(&["users.read"]);
    pagerduty.wrong_region();
    assert_eq!(get(&pagerduty, "/users").await.0, 401);
    assert_eq!(token(&pagerduty, &app, WANTED).await.0, 400);
    let (code, reply) = token(&pagerduty, &app, "as_account-eu.acme users.read").await;
    assert_eq!((code, status(&pagerduty, &reply, "/users").await), (200, 401));
}

#[tokio::test]
async fn the_two_hosts_are_watched_and_replaced_as_one() {
    let pagerduty = pagerduty().await;
    let app = pagerduty.oauth_app(&["users.read"]);
    pagerduty.replace("POST /oauth/token", 1, crate::vendors::Reply::html(200));
    pagerduty.replace("GET /users", 1, crate::vendors::Reply::empty(503));
    let url = format!("{}/oauth/token", pagerduty.identity_url());
    assert_eq!(client().post(url).send().await.unwrap().headers()["content-type"], "text/html");
    assert_eq!(get(&pagerduty, "/users").await.0, 503);
    assert_eq!(token(&pagerduty, &app, WANTED).await.0, 200);
    let names: Vec<String> = pagerduty.seen().iter().map(crate::vendors::Call::name).collect();
    assert_eq!(names, ["GET /users", "POST /oauth/token", "POST /oauth/token"]);
    pagerduty.forget();
    assert_eq!(pagerduty.seen().len(), 0);
}
