//! Places: current, pending and admin must mean the same server, and the current user must prove itself first.

use super::names::clear_pending;
use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::{Value, json};

pub(super) async fn stories(scene: &Scene) {
    a_pending_value_for_another_place_is_refused(scene).await;
    an_admin_of_another_server_is_refused(scene).await;
    the_same_host_spelled_differently_is_the_same(scene).await;
    an_alias_the_operator_vouches_for_is_accepted(scene).await;
    the_admin_is_not_used_for_a_current_user_that_cannot_log_in(scene).await;
}

async fn a_pending_value_for_another_place_is_refused(scene: &Scene) {
    scene.login("moved", "").await;
    for (n, (key, value, says)) in [
        ("host", json!("elsewhere.example.com"), "it is for elsewhere.example.com:"),
        ("port", json!(1), "it is for localhost:1/postgres instead of localhost:"),
        ("dbname", json!("template1"), "/template1 instead of localhost:"),
        ("dbname", Value::Null, "/postgres instead of localhost:"),
        ("masterarn", json!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:other"), "key \"masterarn\" differs"),
        ("api_token", json!("added"), "another key than the credential's differs"),
        ("engine", json!("aurora-postgresql"), "(the current one may have been edited since): key \"engine\" differs"),
        ("engine", json!("mysql"), "no PostgreSQL host"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut current = scene.of_user("moved");
        if value.is_null() {
            current["dbname"] = json!("template1");
        }
        let secret = scene.secret(&format!("moved-{n}"), &current).unwrap();
        let token = scene.stage(&secret).unwrap();
        let mut pending = scene.of_user("moved_clone");
        pending[key] = value;
        scene.put_pending(&secret, &token, &pending).await;
        let clear = clear_pending(&secret, &token);
        for step in ["createSecret", "setSecret"] {
            scene.refuses_step(&secret, &token, step, &Refusal("PENDING_MISMATCH", &[says, &clear])).await;
        }
    }
}

async fn an_admin_of_another_server_is_refused(scene: &Scene) {
    scene.login("remote", "").await;
    let port = scene.database_port();
    for (n, (host, port)) in [("elsewhere.example.com", port), ("localhost", port ^ 1)].into_iter().enumerate() {
        let mut admin = scene.of_user(ADMIN);
        (admin["host"], admin["port"]) = (json!(host), json!(port));
        let mut value = scene.of_user("remote");
        value["masterarn"] =
            json!(scene.aws.secrets.create(&format!("admin-elsewhere-{n}"), &admin.to_string()).unwrap());
        let secret = scene.secret(&format!("remote-{n}"), &value).unwrap();
        let alias = format!("HOST_ALIASES=localhost:{}={host}:{port}", scene.database_port());
        scene.refuses(&secret, "remote_clone", Refusal("ADMIN_OF_ANOTHER_SERVER", &[&alias])).await;
    }
}

async fn the_same_host_spelled_differently_is_the_same(scene: &Scene) {
    scene.login("shouting", "").await;
    let mut value = scene.of_user("shouting");
    value["host"] = json!("LocalHost.");
    let secret = scene.secret("shouting", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "shouting_clone");
    assert_eq!(scene.value(&secret, "AWSCURRENT").unwrap()["host"], "LocalHost.");
}

async fn an_alias_the_operator_vouches_for_is_accepted(scene: &Scene) {
    scene.login("replica", "").await;
    let mut value = scene.of_user("replica");
    value["host"] = json!("127.0.0.1");
    let secret = scene.secret("replica", &value).unwrap();
    scene.refuses(&secret, "replica_clone", Refusal("ADMIN_OF_ANOTHER_SERVER", &["HOST_ALIASES=127.0.0.1:"])).await;

    let port = scene.database_port();
    let aliases = format!("127.0.0.1:{port}=LOCALHOST:{port}");
    let function = scene.function("with-aliases", &[("HOST_ALIASES", &aliases)]).await;
    let secret = scene.secret("replica-after", &value).unwrap();
    scene.aws.secrets.set_rotation(&secret, &function.invoke_url()).unwrap();
    assert_eq!(scene.rotates(&secret).await, "replica_clone");
}

/// Whoever writes a secret must know a password of the user already: the admin's power is no oracle and no lever.
async fn the_admin_is_not_used_for_a_current_user_that_cannot_log_in(scene: &Scene) {
    scene.login("forged", "").await;
    let mut value = scene.of_user("forged");
    value["password"] = json!("guessed");
    let secret = scene.secret("forged", &value).unwrap();
    let before = scene.logins_of(ADMIN);
    let says = ["nothing was changed", "\"forged\"", "aws secretsmanager put-secret-value"];
    scene.refuses(&secret, "forged_clone", Refusal("CURRENT_PASSWORD_REFUSED", &says)).await;

    // Even where the pending credential works.
    let token = scene.stage(&secret).unwrap();
    scene.login("forged_clone", "IN ROLE forged").await;
    scene.put_pending(&secret, &token, &scene.of_user("forged_clone")).await;
    scene.refuses_step(&secret, &token, "setSecret", &Refusal("CURRENT_PASSWORD_REFUSED", &says)).await;
    assert_eq!(scene.logins_of(ADMIN), before, "the admin has logged in");

    // After a good rotation somebody changes the clone's password: the value before still works, and the message says so.
    scene.login("reset", "").await;
    let secret = scene.secret_of("reset");
    assert_eq!(scene.rotates(&secret).await, "reset_clone");
    scene.sql("ALTER ROLE reset_clone PASSWORD NULL").await;
    let before = scene.logins_of(ADMIN);
    let says = ["AWSPREVIOUS value (user \"reset\") does log in", "--version-stage AWSCURRENT"];
    scene.refuses(&secret, "reset", Refusal("CURRENT_PASSWORD_REFUSED", &says)).await;
    assert_eq!(scene.logins_of(ADMIN), before, "the admin has logged in");
}
