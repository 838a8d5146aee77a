//! `revoke`: what a team does when a password has leaked.

use crate::polling::eventually;
use crate::refusal::Refusal;
use crate::rotate_postgres::clients::Clients;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::{ADMIN, Stack};
use serde_json::{Value, json};

async fn asked(scene: &Scene, event: &Value) -> Value {
    let answer = scene.lambda.invoke(event.clone()).await.result.unwrap();
    assert!(!answer.to_string().contains(&scene.password), "the answer tells a password");
    answer
}

/// The first answer for the credential in use, once the rotation that it starts has ended: the event that goes on.
async fn rotated(scene: &Scene, secret: &str) -> Value {
    let answer = asked(scene, &json!({"action": "revoke", "secret": secret})).await;
    assert_eq!(answer["state"], "rotating", "{answer}");
    let leaked = answer["version"].as_str().unwrap().to_owned();
    eventually("the rotation has ended", async || {
        scene.aws.secrets.version(secret, "AWSCURRENT").unwrap().is_some_and(|version| version != leaked)
    })
    .await;
    answer["next"].clone()
}

async fn logs_in(scene: &Scene, user: &str, password: &str) -> bool {
    scene.postgres.client(user, password, "postgres").await.is_ok()
}

#[tokio::test]
async fn a_leaked_password_is_dead_once_nobody_uses_it_and_clients_notice_nothing() {
    for major in [13, 18] {
        let scene = Scene::start(major).await;
        scene.login("leaky", "").await;
        let secret = scene.secret_of("leaky");
        let client = scene.postgres.client("leaky", &scene.password, "postgres").await.unwrap();
        let next = rotated(&scene, &secret).await;
        let waiting = asked(&scene, &next).await;
        assert_eq!((&waiting["state"], &waiting["user"]), (&json!("waiting"), &json!("leaky")), "{waiting}");
        assert!(waiting["says"][0].as_str().unwrap().starts_with("1 session(s) of \"leaky\" are open"), "{waiting}");
        assert!(logs_in(&scene, "leaky", &scene.password).await, "it was to wait");
        client.batch_execute("SELECT 1").await.unwrap();
        drop(client);
        let mut revoked = Value::Null;
        eventually("the sessions are closed", async || {
            scene.client_of(&secret).await; // clients go on
            revoked = asked(&scene, &waiting["next"]).await;
            revoked["state"] == "revoked"
        })
        .await;
        assert!(!logs_in(&scene, "leaky", &scene.password).await);
        assert!(revoked["refused_at"].as_str().unwrap().starts_with("20") && revoked["next"].is_null(), "{revoked}");
        assert!(scene.lambda.logs().unwrap().contains("CREDENTIAL_REVOKED"));
        scene.client_of(&secret).await;
        // Asked again it says so, and the next rotation goes on as ever.
        assert_eq!(asked(&scene, &next).await["state"], "revoked");
        assert_eq!(scene.rotates(&secret).await, "leaky");
        assert_eq!(asked(&scene, &next).await["state"], "revoked");
        scene.ends();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_under_load_see_no_failed_login_while_a_leaked_password_is_revoked() {
    let scene = Scene::of(Stack::builder(18).postgres(|server| server.setting("max_connections", "300"))).await;
    let app = scene.app("busy").await.unwrap();
    let leaked = scene.value(&app.secret, "AWSCURRENT").unwrap()["password"].as_str().unwrap().to_owned();
    // Each of these has a session most of the time, and all of them together leave the machine time for the rotation.
    let clients = Clients::start(&scene, &app, 200, "SELECT pg_sleep(4)");
    let mut pooled = Vec::new();
    for _ in 0..10 {
        pooled.push(scene.postgres.client("busy", &leaked, &app.name).await.unwrap());
    }
    clients.after_more_logins(100).await;
    let next = rotated(&scene, &app.secret).await;
    // Every client has read the secret, as the answer asks for; a pool has not closed its sessions yet.
    clients.caught_up().await;
    let waiting = asked(&scene, &next).await;
    assert_eq!(waiting["state"], "waiting", "{waiting}");
    scene.postgres.client("busy", &leaked, &app.name).await.unwrap();
    for session in pooled.drain(..) {
        session.batch_execute("SELECT 1").await.unwrap();
    }
    eventually("the pool has closed its sessions", async || asked(&scene, &next).await["state"] == "revoked").await;
    scene.postgres.client("busy", &leaked, &app.name).await.unwrap_err();
    clients.after_more_logins(200).await;
    let seen = clients.stop().await;
    assert!(seen.logins >= 400, "{seen:?}");
    assert_eq!(seen.failures, Vec::<String>::new());
    scene.ends();
}

#[tokio::test]
async fn with_force_open_sessions_of_the_leaked_user_end_and_no_other_ones() {
    let scene = Scene::start(16).await;
    scene.login("stolen", "").await;
    let secret = scene.secret_of("stolen");
    let thief = scene.postgres.client("stolen", &scene.password, "postgres").await.unwrap();
    // A client calls itself what it likes.
    thief.batch_execute("SET application_name = 'keyturn rotate-postgres'").await.unwrap();
    let mut next = rotated(&scene, &secret).await;
    let in_use = scene.client_of(&secret).await;
    assert_eq!(asked(&scene, &next).await["state"], "waiting");
    next["force"] = json!(true);
    scene.sql(&format!("GRANT stolen TO \"{ADMIN}\" WITH INHERIT FALSE")).await;
    let grant = format!("GRANT pg_signal_backend TO \"{ADMIN}\"");
    Refusal("ADMIN_LACKS_PRIVILEGE", &[&grant]).is(scene.lambda.invoke(next.clone()).await.result, "without the right");
    assert!(logs_in(&scene, "stolen", &scene.password).await, "nothing was changed");
    scene.sql(&grant).await;
    let revoked = asked(&scene, &next).await;
    assert_eq!(revoked["state"], "revoked", "{revoked}");
    thief.batch_execute("SELECT 1").await.unwrap_err();
    assert!(!logs_in(&scene, "stolen", &scene.password).await);
    in_use.batch_execute("SELECT 1").await.unwrap();
    scene.client_of(&secret).await;
    scene.ends();
}

#[tokio::test]
async fn a_session_that_outlives_its_password_is_not_forgotten() {
    let scene = Scene::start(16).await;
    scene.login("lasting", "").await;
    let secret = scene.secret_of("lasting");
    let thief = scene.postgres.client("lasting", &scene.password, "postgres").await.unwrap();
    let mut next = rotated(&scene, &secret).await;
    // As after a try of this action that ended between the password and the sessions.
    scene.sql("ALTER ROLE lasting PASSWORD NULL").await;
    let waiting = asked(&scene, &next).await;
    assert_eq!(waiting["state"], "waiting", "{waiting}");
    assert!(waiting["says"][0].as_str().unwrap().contains("though its password is refused now"), "{waiting}");
    next["force"] = json!(true);
    let revoked = asked(&scene, &next).await;
    assert!(revoked["says"][0].as_str().unwrap().contains("1 session(s) of it were ended"), "{revoked}");
    thief.batch_execute("SELECT 1").await.unwrap_err();
    scene.ends();
}

#[tokio::test]
async fn an_expired_password_does_not_come_back_with_a_later_date() {
    let scene = Scene::start(16).await;
    scene.login("expired", "").await;
    let secret = scene.secret_of("expired");
    let next = rotated(&scene, &secret).await;
    scene.sql("ALTER ROLE expired VALID UNTIL 'yesterday'").await;
    assert_eq!(asked(&scene, &next).await["state"], "revoked");
    scene.sql("ALTER ROLE expired VALID UNTIL 'infinity'").await;
    assert!(!logs_in(&scene, "expired", &scene.password).await);
    scene.ends();
}

#[tokio::test]
async fn a_leaked_user_that_somebody_locked_stays_locked_and_a_rotation_under_way_is_let_be() {
    let scene = Scene::start(16).await;
    scene.login("shut", "").await;
    let secret = scene.secret_of("shut");
    let next = rotated(&scene, &secret).await;
    // A rotation that is under way has the user's next password: it is not taken away from it.
    let token = scene.stage(&secret).unwrap();
    scene.step(&secret, &token, "createSecret").await.unwrap();
    Refusal("CURRENT_MOVED", &["has begun meanwhile"]).is(scene.lambda.invoke(next.clone()).await.result, "under way");
    scene.step(&secret, &token, "setSecret").await.unwrap();
    assert_eq!(asked(&scene, &next).await["state"], "revoked", "the rotation has replaced it");
    for step in ["testSecret", "finishSecret"] {
        scene.step(&secret, &token, step).await.unwrap();
    }
    let next = rotated(&scene, &secret).await;
    scene.sql("ALTER ROLE shut NOLOGIN").await;
    assert_eq!(asked(&scene, &next).await["state"], "revoked");
    let locked: bool = scene.ask("SELECT NOT rolcanlogin FROM pg_authid WHERE rolname = 'shut'").await;
    let without: bool = scene.ask("SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'shut'").await;
    assert!(locked && without);
    scene.ends();
}

/// Whoever writes a value may name anybody in an old version of it.
#[tokio::test]
async fn sessions_and_passwords_of_strangers_are_let_be_whatever_a_version_says() {
    let scene = Scene::start(16).await;
    scene.sql(&format!("GRANT pg_signal_backend TO \"{ADMIN}\"")).await;
    scene.login("rogue", "").await;
    let client = keyturn_tests::aws::secrets_client(&scene.aws.client_url());
    // A clone's name proves nothing: this one is nobody's clone.
    for (name, code) in [("stranger", "USER_NOT_IN_PAIR"), ("rogue_clone", "TWIN_IS_SOMEBODY_ELSE")] {
        scene.login(name, "").await;
        let session = scene.postgres.client(name, &scene.password, "postgres").await.unwrap();
        for password in ["guessed", &scene.password] {
            let mut named = scene.of_user(name);
            named["password"] = json!(password);
            let secret = scene.secret(&format!("{name}-{}", password.len()), &named).unwrap();
            let version = scene.aws.secrets.version(&secret, "AWSCURRENT").unwrap().unwrap();
            let own = scene.of_user("rogue").to_string();
            client.put_secret_value().secret_id(&secret).secret_string(own).send().await.unwrap();
            let event = json!({"action": "revoke", "secret": secret, "version": version, "force": true});
            Refusal(code, &[name]).is(scene.lambda.invoke(event).await.result, name);
        }
        session.batch_execute("SELECT 1").await.unwrap();
        assert!(logs_in(&scene, name, &scene.password).await);
    }
    scene.ends();
}

#[tokio::test]
async fn what_cannot_be_revoked_is_refused() {
    let scene = Scene::start(16).await;
    scene.login("plain", "").await;
    let secret = scene.aws.secrets.create("plain", &scene.of_user("plain").to_string()).unwrap();
    let ask = async |event: Value| scene.lambda.invoke(event).await.result;
    let refusal = Refusal("ROTATION_DISABLED", &["cannot be moved to the other user"]);
    refusal.is(ask(json!({"action": "revoke", "secret": secret})).await, "no rotation");
    let unknown = json!({"action": "revoke", "secret": secret, "version": "11111111-2222-4333-8444-555555555555"});
    Refusal("VERSION_UNKNOWN", &["list-secret-version-ids"]).is(ask(unknown).await, "unknown version");
    // The owner of the layout's first turn is none of its two users: only an admin may take its password.
    scene.login("home", "").await;
    scene.sql("CREATE TABLE hearth (); ALTER TABLE hearth OWNER TO home").await;
    let secret = scene.owner_secret("home", "home", ["home_a", "home_b"], "home");
    let next = rotated(&scene, &secret).await;
    let says = ["ALTER ROLE \"home\" PASSWORD NULL"];
    Refusal("USER_NOT_IN_PAIR", &says).is(scene.lambda.invoke(next).await.result, "the owner");
    scene.ends();
}
