//! testSecret: what it proves before clients get the new credential.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use serde_json::json;

#[tokio::test]
async fn a_pending_user_that_is_not_all_it_should_be_never_becomes_current() {
    let scene = Scene::start(16).await;
    a_clone_whose_membership_was_taken_away_meanwhile(&scene).await;
    an_owners_user_whose_membership_was_taken_away_meanwhile(&scene).await;
    a_user_that_may_not_act_as_its_owner(&scene).await;
    a_test_query_that_fails(&scene).await;
    a_test_query_cannot_write(&scene).await;
    test_queries_that_pass(&scene).await;
    scene.ends();
}

/// A rotation of `secret` that has come to the end of setSecret.
async fn set(scene: &Scene, secret: &str) -> String {
    let token = scene.stage(secret).unwrap();
    for step in ["createSecret", "setSecret"] {
        scene.step(secret, &token, step).await.unwrap_or_else(|e| panic!("{step} {secret}: {e}"));
    }
    token
}

async fn a_clone_whose_membership_was_taken_away_meanwhile(scene: &Scene) {
    scene.login("torn", "").await;
    let secret = scene.secret_of("torn");
    let token = set(scene, &secret).await;
    scene.sql("REVOKE torn FROM torn_clone GRANTED BY rotation_admin").await;
    // The server itself only warns at login.
    let says = ["\"torn_clone\" should act as \"torn\" but acts as \"torn_clone\"", "GRANT \"torn\" TO \"torn_clone\""];
    scene.refuses_step(&secret, &token, "testSecret", &Refusal("ROLE_NOT_ASSUMED", &says)).await;
    // setSecret mends it.
    scene.sql(says[1]).await;
    for step in ["setSecret", "testSecret", "finishSecret"] {
        scene.step(&secret, &token, step).await.unwrap_or_else(|e| panic!("{step}: {e}"));
    }
}

async fn owner(scene: &Scene, name: &str) -> String {
    scene.sql(&format!("CREATE ROLE {name} NOLOGIN")).await;
    scene.admit(keyturn_tests::stacks::postgres::ADMIN, name).await;
    scene.login(&format!("{name}_a"), &format!("IN ROLE {name}")).await;
    scene.sql(&format!("ALTER ROLE {name}_a SET role = '{name}'")).await;
    let (first, second) = (format!("{name}_a"), format!("{name}_b"));
    scene.owner_secret(name, &first, [&first, &second], name)
}

async fn an_owners_user_whose_membership_was_taken_away_meanwhile(scene: &Scene) {
    let secret = owner(scene, "estate").await;
    let token = set(scene, &secret).await;
    scene.sql("REVOKE estate FROM estate_b GRANTED BY rotation_admin").await;
    let says = ["\"estate_b\" has not got the rights of \"estate\"", "GRANT \"estate\" TO \"estate_b\""];
    scene.refuses_step(&secret, &token, "testSecret", &Refusal("MEMBERSHIP_HAS_NO_EFFECT", &says)).await;
    // Here setSecret alone mends it: the mark says that the user is this secret's.
    for step in ["setSecret", "testSecret", "finishSecret"] {
        scene.step(&secret, &token, step).await.unwrap_or_else(|e| panic!("{step}: {e}"));
    }
}

async fn a_user_that_may_not_act_as_its_owner(scene: &Scene) {
    let secret = owner(scene, "lodge").await;
    let token = set(scene, &secret).await;
    scene.sql("GRANT lodge TO lodge_b WITH SET FALSE GRANTED BY rotation_admin").await;
    let says = ["\"lodge_b\" should act as \"lodge\" but acts as \"lodge_b\"", "would belong to the wrong role"];
    scene.refuses_step(&secret, &token, "testSecret", &Refusal("ROLE_NOT_ASSUMED", &says)).await;
}

async fn with_queries(scene: &Scene, user: &str, queries: &[&str]) -> (String, String) {
    scene.login(user, "").await;
    let mut value = scene.of_user(user);
    value["testQueries"] = json!(queries);
    let secret = scene.secret(user, &value).unwrap();
    let token = set(scene, &secret).await;
    (secret, token)
}

async fn a_test_query_that_fails(scene: &Scene) {
    let (secret, token) = with_queries(scene, "curious", &["SELECT 1", "SELECT * FROM secrets_of_the_house"]).await;
    let says = ["Query 2 of the secret's \"testQueries\" failed", "Run it as that user to see why"];
    let error = scene.step(&secret, &token, "testSecret").await.unwrap_err();
    assert!(!error.error_message.contains("secrets_of_the_house"), "the query's text was told: {error}");
    scene.refuses_step(&secret, &token, "testSecret", &Refusal("TEST_QUERY_FAILED", &says)).await;
}

async fn a_test_query_cannot_write(scene: &Scene) {
    scene.sql("CREATE TABLE ledger (); GRANT INSERT ON ledger TO PUBLIC").await;
    for (user, query) in
        [("scribe", "INSERT INTO ledger DEFAULT VALUES"), ("forger", "COMMIT; INSERT INTO ledger DEFAULT VALUES")]
    {
        let (secret, token) = with_queries(scene, user, &[query]).await;
        let says = ["Query 1 of the secret's \"testQueries\" failed", "in a read-only transaction"];
        scene.refuses_step(&secret, &token, "testSecret", &Refusal("TEST_QUERY_FAILED", &says)).await;
    }
    assert_eq!(scene.ask::<i64>("SELECT count(*) FROM ledger").await, 0);
}

async fn test_queries_that_pass(scene: &Scene) {
    let (secret, token) = with_queries(scene, "content", &["SELECT 1", "SELECT count(*) FROM pg_roles"]).await;
    scene.step(&secret, &token, "testSecret").await.unwrap();
    let log = scene.postgres.server_log().unwrap();
    let asked =
        |line: &str| line.contains("content_clone@postgres LOG:") && line.ends_with("SELECT count(*) FROM pg_roles");
    assert!(log.lines().any(asked), "the query was never run");
}
