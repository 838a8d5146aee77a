//! An admin without a stored password: it logs in by an IAM token of RDS.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::postgres::iam::IAM_USER;
use keyturn_tests::stacks::postgres::Stack;
use serde_json::{Value, json};

/// A server behind which RDS checks tokens, and the secret of an admin that shows them, with these keys besides.
async fn scene(name: &str, more: &[(&str, &str)]) -> (Scene, String) {
    // What stands before the database has looked at the token: nobody else comes in without TLS.
    let trusted = format!("hostnossl all \"{IAM_USER}\" 127.0.0.1/32 trust");
    let hba =
        |server: keyturn_tests::postgres::Builder| server.hba(&trusted).hba("host all all 127.0.0.1/32 scram-sha-256");
    let builder = Stack::builder(16).by_iam_token().postgres(hba);
    let scene = Scene::of(builder).await;
    scene.sql(&format!("CREATE ROLE \"{IAM_USER}\" LOGIN CREATEROLE")).await;
    let mut admin =
        json!({"engine": "postgres", "username": IAM_USER, "host": "localhost", "port": scene.database_port()});
    for (key, value) in more {
        admin[*key] = json!(value);
    }
    let admin = scene.aws.secrets.create(name, &admin.to_string()).unwrap();
    (scene, admin)
}

async fn under(scene: &Scene, user: &str, admin: &str) -> Value {
    scene.login(user, "").await;
    scene.admit(IAM_USER, user).await;
    let mut value = scene.of_user(user);
    value["masterarn"] = json!(admin);
    value
}

#[tokio::test]
async fn an_admin_logs_in_by_a_token_where_no_password_of_it_is_stored() {
    let (scene, admin) = scene("by-token", &[("adminauth", "iam")]).await;
    let value = under(&scene, "tokens", &admin).await;
    let secret = scene.secret("tokens", &value).unwrap();
    // Where any secret may be an admin's, nobody's word is taken for using the function's own rights.
    let token = scene.stage(&secret).unwrap();
    let refused = scene.step(&secret, &token, "createSecret").await;
    Refusal("SECRET_KEY_MISSING", &["\"password\""]).is(refused, "not listed");
    let listed = scene.function("listed", &[("ADMIN_SECRET_ARNS", &admin)]).await;
    scene.aws.secrets.set_rotation(&secret, &listed.invoke_url()).unwrap();
    for user in ["tokens_clone", "tokens", "tokens_clone"] {
        assert_eq!(scene.rotates(&secret).await, user);
    }
    // A tag says it as well, whatever the admin's secret holds.
    let plain =
        json!({"username": IAM_USER, "password": "of nobody", "host": "localhost", "port": scene.database_port()});
    let plain = scene.aws.secrets.create("plain", &plain.to_string()).unwrap();
    let value = under(&scene, "tagged", &plain).await;
    let secret = scene.secret("tagged", &value).unwrap();
    scene.aws.secrets.tag(&secret, "keyturn:admin-auth", "iam").unwrap();
    assert_eq!(scene.rotates(&secret).await, "tagged_clone");
    scene.aws.secrets.tag(&secret, "keyturn:admin-auth", "kerberos").unwrap();
    let token = scene.stage(&secret).unwrap();
    let refused = scene.step(&secret, &token, "createSecret").await;
    Refusal("TAG_INVALID", &["neither iam nor password"]).is(refused, "kerberos");
    let logs = scene.lambda.logs().unwrap() + &listed.logs().unwrap();
    assert!(!logs.contains("X-Amz-Signature"), "a token is in the log");
    scene.ends();
}

/// The password as it is goes to RDS alone, and a token alone.
#[tokio::test]
async fn no_password_is_given_away_where_a_token_is_asked_for() {
    let (scene, admin) = scene("with-password", &[("password", "never to be seen")]).await;
    let value = under(&scene, "careful", &admin).await;
    let secret = scene.secret("careful", &value).unwrap();
    let token = scene.stage(&secret).unwrap();
    scene.step(&secret, &token, "createSecret").await.unwrap();
    let refused = scene.step(&secret, &token, "setSecret").await;
    Refusal("AUTH_METHOD_REFUSED", &["asks for the password in clear text", "No password was sent"]).is(refused, "set");
    scene.ends();
}

#[tokio::test]
async fn a_token_that_rds_does_not_take_is_told_with_what_it_needs() {
    let (scene, admin) = scene("unknown", &[("adminauth", "iam")]).await;
    let value = under(&scene, "denied", &admin).await;
    // As with a role that lacks rds-db:connect: what it signs with counts for nothing there.
    let function =
        scene.function("stranger", &[("AWS_SECRET_ACCESS_KEY", "another"), ("ADMIN_SECRET_ARNS", &admin)]).await;
    let secret = scene.secret("denied", &value).unwrap();
    let answer = function.invoke(json!({"action": "check", "secret": secret})).await.result.unwrap();
    assert_eq!(answer["refusals"][0]["code"], json!("ADMIN_TOKEN_REFUSED"), "{answer}");
    assert!(answer["refusals"][0]["remedy"].as_str().unwrap().contains("rds-db:connect"), "{answer}");
    let token = scene.stage(&secret).unwrap();
    let step = |step: &str| json!({"Step": step, "SecretId": secret, "ClientRequestToken": token});
    function.invoke(step("createSecret")).await.result.unwrap();
    let says = ["PAM authentication failed", "GRANT rds_iam TO \"keyturn iam@db\"", "rds-db:connect"];
    Refusal("ADMIN_TOKEN_REFUSED", &says).is(function.invoke(step("setSecret")).await.result, "stranger");
    scene.ends();
}
