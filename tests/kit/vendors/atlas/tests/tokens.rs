use chrono::Duration;

use super::{Answer, FORM, Scene, client, no};

fn oauth_error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
}

async fn revoke(scene: &Scene, token: &str) -> Answer {
    let (id, secret) = &scene.account;
    let url = format!("{}/api/oauth/revoke", scene.atlas.url());
    let request = client().post(url).basic_auth(id, Some(secret)).header("content-type", FORM);
    Answer::of(request.body(format!("token={token}&token_type_hint=access_token"))).await
}

#[tokio::test]
async fn expired_and_revoked_tokens_are_refused() {
    let mut scene = Scene::new().await;
    assert!(scene.account.0.starts_with("mdb_sa_id_") && scene.account.1.starts_with("mdb_sa_sk_"));
    assert_eq!(revoke(&scene, &scene.token).await.status, 200);
    assert_eq!(revoke(&scene, "unknown").await.status, 200);
    assert_eq!(scene.get("/clusters").await.refusal(), no(401, "UNAUTHORIZED"));
    scene.token = scene.fresh_token().await;
    assert_eq!(scene.get("/clusters").await.status, 200);
    scene.atlas.expire_tokens();
    assert_eq!(scene.get("/clusters").await.refusal(), no(401, "UNAUTHORIZED"));
    scene.assert_proper();
}

#[tokio::test]
async fn nobody_revokes_the_tokens_of_others() {
    let scene = Scene::new().await;
    let other = scene.atlas.service_account(&scene.project, &[]);
    let theirs = scene.token_of(&other).await;
    assert_eq!((revoke(&scene, &theirs).await.status, scene.atlas.live_tokens()), (200, 2));
    scene.assert_proper();
}

#[tokio::test]
async fn a_wrong_secret_is_an_honest_refusal() {
    let scene = Scene::new().await;
    let (id, secret) = scene.account.clone();
    for pair in [(id.clone(), "mdb_sa_sk_wrong".to_owned()), ("mdb_sa_id_wrong".to_owned(), secret)] {
        let answer = Answer::of(scene.token_request(&pair)).await;
        assert_eq!(oauth_error(&answer), no(401, "invalid_client"));
    }
    let key = scene.atlas.api_key(&scene.project, &[]);
    assert_eq!(oauth_error(&Answer::of(scene.token_request(&key)).await), no(401, "invalid_client"));
    scene.assert_proper();
}

#[tokio::test]
async fn a_service_account_has_a_hundred_tokens() {
    let scene = Scene::new().await;
    scene.atlas.fill_tokens(98);
    scene.fresh_token().await;
    let refused = Answer::of(scene.token_request(&scene.account)).await;
    assert_eq!((oauth_error(&refused), scene.atlas.live_tokens()), (no(403, "access_denied"), 100));
    assert_eq!(revoke(&scene, &scene.token).await.status, 200);
    scene.fresh_token().await;
    scene.clock.advance(Duration::hours(1));
    scene.fresh_token().await;
    assert_eq!(scene.atlas.live_tokens(), 1);
    scene.assert_proper();
}

#[tokio::test]
async fn the_access_list_applies_to_the_use_of_a_token_only() {
    let mut scene = Scene::new().await;
    scene.atlas.deny_address("203.0.113.9");
    scene.token = scene.fresh_token().await;
    let answer = scene.get("/clusters").await;
    assert_eq!(answer.refusal(), no(403, "IP_ADDRESS_NOT_ON_ACCESS_LIST"));
    assert_eq!(answer.json()["parameters"], serde_json::json!(["203.0.113.9"]));
    assert_eq!(revoke(&scene, &scene.token).await.status, 200);
    scene.atlas.allow_address();
    scene.token = scene.fresh_token().await;
    assert_eq!(scene.get("/clusters").await.status, 200);
    scene.assert_proper();
}

#[tokio::test]
async fn careless_token_requests_are_violations() {
    let scene = Scene::new().await;
    let url = format!("{}/api/oauth/token", scene.atlas.url());
    let (id, secret) = &scene.account;
    let good = |url: &str| client().post(url).header("accept", "application/json").header("content-type", FORM);
    let all = "grant_type=client_credentials";
    let requests = [
        good(&url).body(all),
        good(&url).bearer_auth(&scene.token).body(all),
        good(&url).basic_auth(id, Some(secret)).body("grant_type=password"),
        good(&url).basic_auth(id, Some(secret)).body("grant_type=client_credentials&scope=all"),
        good(&url).basic_auth(id, Some(secret)).body(""),
        good(&format!("{url}?pretty=true")).basic_auth(id, Some(secret)).body(all),
        client().post(&url).basic_auth(id, Some(secret)).header("content-type", FORM).body(all),
        client().post(&url).basic_auth(id, Some(secret)).header("accept", "application/json").body(all),
        good(&format!("{}/api/oauth/revoke", scene.atlas.url())).basic_auth(id, Some(secret)).body("token=1"),
    ];
    let count = requests.len();
    for request in requests {
        assert!((400..402).contains(&Answer::of(request).await.status));
    }
    assert_eq!((scene.atlas.violations().len(), scene.atlas.live_tokens()), (count, 1));
}
