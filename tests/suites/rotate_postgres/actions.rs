//! `check` and `explain`: what people ask for by hand. Both say what is, and change nothing.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::aws::secrets_client;
use keyturn_tests::postgres::fakes::{FakePostgres, Manner};
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::{Value, json};

async fn asked(scene: &Scene, action: &str, secret: &str) -> Value {
    let before = scene.roles().await;
    let text = |label| scene.aws.secrets.version(secret, label).unwrap();
    let labels = || [text("AWSCURRENT"), text("AWSPENDING"), text("AWSPREVIOUS")];
    let stood = labels();
    let answer = scene.lambda.invoke(json!({"action": action, "secret": secret})).await.result.unwrap();
    assert_eq!(scene.roles().await, before, "{action} has changed a role");
    assert_eq!(labels(), stood, "{action} has changed a label");
    for secret_text in [scene.password.as_str(), &scene.admin_password] {
        assert!(!answer.to_string().contains(secret_text), "{action} tells a password");
    }
    answer
}

/// Whether one of the sentences holds this.
fn says(answer: &Value, part: &str) -> bool {
    answer["says"].as_array().unwrap().iter().any(|sentence| sentence.as_str().unwrap().contains(part))
}

#[tokio::test]
async fn an_operator_sees_what_a_rotation_would_do_before_anything_is_attached() {
    let scene = Scene::start(16).await;
    scene.login("first", "CONNECTION LIMIT 9").await;
    let secret = scene.aws.secrets.create("first", &scene.of_user("first").to_string()).unwrap();
    let check = asked(&scene, "check", "first").await;
    let changes = [
        "\"first_clone\" created, password set, connection limit 9",
        "acts as \"first\"",
        "\"first\" marked as this secret's",
        "\"first_clone\" marked as this secret's",
    ];
    let server = format!("localhost:{}/postgres", scene.database_port());
    let would = json!({"layout": "clone", "server": server, "from": "first", "to": "first_clone", "changes": changes,
        "notice": check["would"]["notice"], "stale_sessions": 0});
    assert_eq!((&check["ready"], &check["secret"], &check["would"]), (&json!(true), &json!(secret), &would));
    for part in [
        "Rotation is not switched on",
        "clients from \"first\" to \"first_clone\"",
        "What clients can notice: Both users act as the role that owns what they make",
        "Nothing was changed",
    ] {
        assert!(says(&check, part), "no {part:?} in {check}");
    }

    // And then it does.
    scene.aws.secrets.set_rotation(&secret, &scene.lambda.invoke_url()).unwrap();
    assert_eq!(scene.rotates(&secret).await, "first_clone");
    // Who still has the value of before would be refused after the next turn.
    let _stale = scene.postgres.client("first", &scene.password, "postgres").await.unwrap();
    let check = asked(&scene, "check", &secret).await;
    assert_eq!((&check["would"]["to"], &check["would"]["stale_sessions"]), (&json!("first"), &json!(1)));
    assert!(says(&check, "Warning STALE_SESSIONS: 1 session(s) of \"first\" are open"), "{check}");
    scene.ends();
}

#[tokio::test]
async fn a_check_says_what_would_stop_a_rotation_and_what_to_do() {
    let scene = Scene::start(16).await;
    scene.stranger("made", "").await;
    let secret = scene.secret_of("made");
    let refused = async |secret: &str, code: &str, remedy: &str| {
        let check = asked(&scene, "check", secret).await;
        assert_eq!((&check["ready"], &check["refusals"][0]["code"]), (&json!(false), &json!(code)), "{check}");
        assert!(check["refusals"][0]["remedy"].as_str().unwrap().contains(remedy), "{check}");
        assert!(says(&check, &format!("A rotation would be refused, {code}")), "{check}");
    };
    let grant = format!("GRANT \"made\" TO \"{ADMIN}\" WITH ADMIN OPTION");
    refused(&secret, "ADMIN_LACKS_ADMIN_OPTION", &grant).await;
    scene.sql(&grant).await;
    assert_eq!(asked(&scene, "check", &secret).await["ready"], json!(true));

    // All at once, so that a newcomer does not mend one thing after the other.
    scene.login("begun", "").await;
    scene.login("begun_clone", "CREATEDB IN ROLE begun").await;
    scene.sql("ALTER ROLE begun_clone NOLOGIN").await;
    let check = asked(&scene, "check", &scene.secret_of("begun")).await;
    let codes: Vec<&Value> = check["refusals"].as_array().unwrap().iter().map(|refusal| &refusal["code"]).collect();
    assert_eq!(codes, ["ROLE_CANNOT_LOG_IN", "TWIN_TOO_POWERFUL"], "{check}");

    // What createSecret cannot see: that the admin's own password is outdated.
    let mut admin = scene.of_user(ADMIN);
    admin["password"] = json!("outdated");
    let admin = scene.aws.secrets.create("outdated", &admin.to_string()).unwrap();
    let mut value = scene.of_user("made");
    value["masterarn"] = json!(admin);
    let secret = scene.secret("under-an-outdated-admin", &value).unwrap();
    refused(&secret, "ADMIN_PASSWORD_REFUSED", &admin).await;
    let secret = scene.secret_text("no-secret", "not JSON").unwrap();
    refused(&secret, "SECRET_NOT_JSON", "JSON object").await;
    scene.ends();
}

#[tokio::test]
async fn a_stuck_rotation_is_explained_with_the_command_that_frees_it() {
    let scene = Scene::start(16).await;
    scene.login("shop", "").await;
    let secret = scene.secret_of("shop");
    assert_eq!(scene.rotates(&secret).await, "shop_clone");
    let idle = asked(&scene, "explain", &secret).await;
    assert_eq!((&idle["under_way"], &idle["next"]), (&json!(false), &Value::Null), "{idle}");
    assert!(says(&idle, "No rotation is under way, and the next one would go through"), "{idle}");
    let logins = |answer: &Value| -> Vec<Value> {
        answer["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| json!([version["label"], version["login"]]))
            .collect()
    };
    assert_eq!(logins(&idle), ["AWSCURRENT", "AWSPREVIOUS"].map(|label| json!([label, "logs_in"])), "{idle}");
    assert!(idle["versions"][0]["since"].as_str().unwrap().ends_with('Z'), "{idle}");

    // The admin is locked: setSecret fails, again and again.
    scene.sql(&format!("ALTER ROLE {ADMIN} NOLOGIN")).await;
    let token = scene.stage(&secret).unwrap();
    scene.step(&secret, &token, "createSecret").await.unwrap();
    scene.step(&secret, &token, "setSecret").await.unwrap_err();
    let stuck = asked(&scene, "explain", &secret).await;
    assert_eq!(
        (&stuck["under_way"], &stuck["refusal"]["code"]),
        (&json!(true), &json!("ROLE_CANNOT_LOG_IN")),
        "{stuck}"
    );
    assert!(stuck["next"].as_str().unwrap().contains(&format!("ALTER ROLE \"{ADMIN}\" LOGIN")), "{stuck}");
    assert_eq!(logins(&stuck)[..2], [json!(["AWSCURRENT", "logs_in"]), json!(["AWSPENDING", "refused"])]);
    scene.sql(&format!("ALTER ROLE {ADMIN} LOGIN")).await;
    let free = asked(&scene, "explain", &secret).await;
    assert_eq!(free["next"], json!(format!("aws secretsmanager rotate-secret --secret-id {secret}")), "{free}");

    // Somebody edits the value meanwhile.
    let mut edited = scene.value(&secret, "AWSCURRENT").unwrap();
    edited["note"] = json!("added");
    let client = secrets_client(&scene.aws.client_url());
    client.put_secret_value().secret_id(&secret).secret_string(edited.to_string()).send().await.unwrap();
    let stuck = asked(&scene, "explain", &secret).await;
    assert_eq!(stuck["refusal"]["code"], json!("PENDING_MISMATCH"), "{stuck}");
    let drop = format!("--version-stage AWSPENDING --remove-from-version-id {token}");
    assert!(stuck["next"].as_str().unwrap().ends_with(&drop), "{stuck}");
    let clear = client.update_secret_version_stage().secret_id(&secret).version_stage("AWSPENDING");
    clear.remove_from_version_id(&token).send().await.unwrap();
    assert_eq!(scene.rotates(&secret).await, "shop");

    // Somebody changes the password behind its back: the value of before still works.
    scene.sql("ALTER ROLE shop PASSWORD NULL").await;
    let lost = asked(&scene, "explain", &secret).await;
    assert_eq!(lost["refusal"]["code"], json!("CURRENT_PASSWORD_REFUSED"), "{lost}");
    assert!(lost["next"].as_str().unwrap().contains("--version-stage AWSCURRENT --move-to-version-id"), "{lost}");
    scene.ends();
}

#[tokio::test]
async fn a_value_for_another_server_is_not_tried_there() {
    let scene = Scene::start(16).await;
    scene.login("moved", "").await;
    let secret = scene.secret_of("moved");
    let token = scene.stage(&secret).unwrap();
    let thief = FakePostgres::start(Manner::AsksForPlainPassword, scene.postgres.certificates()).await.unwrap();
    let mut elsewhere = scene.of_user("moved_clone");
    elsewhere["port"] = json!(thief.port());
    scene.put_pending(&secret, &token, &elsewhere).await;
    let answer = asked(&scene, "explain", &secret).await;
    assert_eq!(answer["refusal"]["code"], json!("PENDING_MISMATCH"), "{answer}");
    assert_eq!(
        answer["versions"][1]["login"],
        json!({"not_tried": "It is for another server than the current value."})
    );
    assert_eq!(thief.seen().connections, 0, "the pending password was tried there");
    scene.ends();
}

#[tokio::test]
async fn a_question_that_is_none_is_refused() {
    let scene = Scene::start(16).await;
    for (event, says) in [
        (json!({"action": "check"}), "\"secret\" is missing"),
        (json!({"action": "rotate", "secret": "x"}), "none of check, explain, revoke, repair-ownership"),
        (json!({"action": "revoke", "secret": "x", "force": "yes"}), "neither true nor false"),
        (json!({"action": 1, "secret": "x"}), "action is not a string"),
        (json!({"action": "check", "secret": "a\nb"}), "secret holds a control character"),
    ] {
        if event["action"] == "rotate" {
            scene.secret_text("x", "{}").unwrap();
        }
        let answered = scene.lambda.invoke(event).await.result;
        Refusal("EVENT_INVALID", &[says]).is(answered, says);
    }
    let unknown = scene.lambda.invoke(json!({"action": "check", "secret": "nobody"})).await.result;
    Refusal("SECRET_NOT_FOUND", &["nobody"]).is(unknown, "unknown");
    scene.ends();
}
