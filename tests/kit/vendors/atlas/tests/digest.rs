use reqwest::Method;

use super::{Answer, DigestClient, Scene, challenge, no};

#[tokio::test]
async fn a_wrong_key_is_told_so_and_gets_a_new_nonce() {
    let scene = Scene::new().await;
    let mut client = DigestClient::new(&scene).await;
    let (public, private) = client.key.clone();
    for key in [(public, "wrong".to_owned()), ("wrong".to_owned(), private), scene.account.clone()] {
        client.key = key;
        let answer = client.get(&scene, "/clusters").await;
        assert_eq!(answer.refusal(), no(401, ""));
        let fresh = digest_auth::parse(answer.header("www-authenticate")).unwrap();
        assert!(!fresh.stale && fresh.nonce != client.challenge.nonce);
    }
    scene.assert_proper();
}

#[tokio::test]
async fn a_stale_nonce_is_told_apart_from_a_wrong_key() {
    let scene = Scene::new().await;
    let mut client = DigestClient::new(&scene).await;
    assert_eq!(client.get(&scene, "/clusters").await.status, 200);
    scene.atlas.expire_nonces();
    let answer = client.get(&scene, "/clusters").await;
    assert_eq!(answer.refusal(), no(401, ""));
    client.challenge = digest_auth::parse(answer.header("www-authenticate")).unwrap();
    assert!(client.challenge.stale);
    assert_eq!(client.get(&scene, "/clusters").await.status, 200);
    scene.atlas.expire_nonces();
    client.key.1 = "wrong".to_owned();
    assert!(client.get(&scene, "/clusters").await.header("www-authenticate").contains("stale=false"));
    scene.assert_proper();
}

#[tokio::test]
async fn a_nonce_lives_for_as_many_requests_as_the_test_says() {
    let scene = Scene::new().await;
    scene.atlas.nonce_life(2);
    let mut client = DigestClient::new(&scene).await;
    for status in [200, 200, 401] {
        assert_eq!(client.get(&scene, "/clusters").await.status, status);
    }
    scene.assert_proper();
}

#[tokio::test]
async fn a_nonce_count_is_used_once() {
    let scene = Scene::new().await;
    let mut client = DigestClient::new(&scene).await;
    let target = scene.target("/clusters");
    let authorization = client.authorization("GET", &target);
    for status in [200, 401] {
        let request = scene.bare(Method::GET, &target).header("authorization", &authorization);
        assert_eq!(Answer::of(request).await.status, status);
    }
    scene.assert_violation("nc does not grow");
}

#[tokio::test]
async fn the_uri_is_the_request_target_byte_for_byte() {
    let scene = Scene::new().await;
    let mut client = DigestClient::new(&scene).await;
    let target = scene.target("/databaseUsers?itemsPerPage=1&includeCount=true");
    for signed in [scene.target("/databaseUsers"), format!("{}{target}", scene.atlas.url())] {
        let authorization = client.authorization("GET", &signed);
        let request = scene.bare(Method::GET, &target).header("authorization", authorization);
        assert_eq!(Answer::of(request).await.status, 401);
    }
    let violations = scene.atlas.violations();
    assert!(violations.len() == 2 && violations.iter().all(|what| what.contains("target")), "{violations:?}");
}

#[tokio::test]
async fn the_proof_covers_the_method() {
    let scene = Scene::new().await;
    let mut client = DigestClient::new(&scene).await;
    let target = scene.target("/clusters");
    let authorization = client.authorization("PATCH", &target);
    let request = scene.bare(Method::GET, &target).header("authorization", authorization);
    assert_eq!(Answer::of(request).await.status, 401);
}

#[tokio::test]
async fn careless_proofs_are_violations() {
    let changes: [(&str, &str, &str); 8] = [
        ("Digest ", "Digest x", "parse"),
        ("realm=\"MMS Public API\"", "realm=\"MMS\"", "realm"),
        ("nonce=\"", "nonce=\"0", "never given"),
        ("qop=auth,", "qop=auth-int,", "qop"),
        ("qop=auth,", "qop=\"auth\",", "quoted"),
        ("algorithm=MD5", "algorithm=SHA-256", "algorithm"),
        ("nc=00000001", "nc=1", "quoted"),
        ("nc=00000001", "nc=\"00000001\"", "quoted"),
    ];
    for (right, wrong, text) in changes {
        let scene = Scene::new().await;
        let mut client = DigestClient::new(&scene).await;
        let target = scene.target("/clusters");
        let right_one = client.authorization("GET", &target);
        assert!(right_one.contains(right), "{right_one}");
        let authorization = right_one.replacen(right, wrong, 1);
        let authorization = if text == "parse" { "Digest nonsense".to_owned() } else { authorization };
        let request = scene.bare(Method::GET, &target).header("authorization", authorization);
        assert_eq!(Answer::of(request).await.status, 401, "{wrong}");
        scene.assert_violation(text);
    }
}

#[tokio::test]
async fn a_scheme_without_a_token_is_a_violation() {
    for header in ["Bearer ", "Bearer", "Basic YTpi", "Digest"] {
        let scene = Scene::new().await;
        challenge(&scene).await;
        scene.assert_proper();
        let request = scene.bare(Method::GET, &scene.target("/clusters")).header("authorization", header);
        assert_eq!(Answer::of(request).await.status, 401, "{header}");
        scene.assert_violation("scheme");
    }
}
