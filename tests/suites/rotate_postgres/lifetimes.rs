//! What becomes of clients that keep an old password, and of passwords that nobody replaces.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use chrono::{DateTime, Utc};
use keyturn_tests::lambda::{FunctionError, Lambda};
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::{Value, json};
use tokio_postgres::Client;

async fn step(function: &Lambda, secret: &str, token: &str, step: &str) -> Result<Value, FunctionError> {
    function.invoke(json!({"Step": step, "SecretId": secret, "ClientRequestToken": token})).await.result
}

/// A secret that has turned once, so that sessions of its first user are stale, and the token of the next rotation.
async fn turned(scene: &Scene, user: &str) -> (String, String) {
    scene.login(user, "").await;
    let secret = scene.secret_of(user);
    assert_eq!(scene.rotates(&secret).await, format!("{user}_clone"));
    let token = scene.stage(&secret).unwrap();
    (secret, token)
}

async fn client_of(scene: &Scene, user: &str, name: &str) -> Client {
    let client = scene.postgres.client(user, &scene.password, "postgres").await.unwrap();
    client.batch_execute(&format!("SET application_name = '{name}'")).await.unwrap();
    client
}

#[tokio::test]
async fn clients_that_did_not_follow_are_told_of_before_their_password_goes() {
    let scene = Scene::start(16).await;
    let (secret, token) = turned(&scene, "old").await;
    let _batch = client_of(&scene, "old", "batch").await;
    let report = scene.step(&secret, &token, "createSecret").await.unwrap();
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("STALE_SESSIONS: 1 session(s) of \"old\" are open (batch)"), "{report}");
    let logs = scene.lambda.logs().unwrap();
    for part in ["\"StaleSessions\":1", "\"code\":\"STALE_SESSIONS\""] {
        assert!(logs.contains(part), "{part} is not in the log");
    }
    // It is a warning: the rotation goes on.
    for step in ["setSecret", "testSecret", "finishSecret"] {
        scene.step(&secret, &token, step).await.unwrap();
    }
    // The other way round the user in use has no rights over the next one, of whose sessions it sees little.
    let previous = scene.value(&secret, "AWSPREVIOUS").unwrap();
    let _web = scene.postgres.client("old_clone", previous["password"].as_str().unwrap(), "postgres").await.unwrap();
    let token = scene.stage(&secret).unwrap();
    let report = scene.step(&secret, &token, "createSecret").await.unwrap();
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("STALE_SESSIONS: 1 session(s) of \"old_clone\" are open"), "{report}");
    scene.ends();
}

#[tokio::test]
async fn clients_of_an_owners_other_user_are_told_of_as_well() {
    let scene = Scene::start(16).await;
    scene.sql("CREATE ROLE house NOLOGIN").await;
    scene.admit(ADMIN, "house").await;
    for user in ["house_a", "house_b"] {
        scene.login(user, "IN ROLE house").await;
        scene.sql(&format!("ALTER ROLE {user} SET role = 'house'")).await;
    }
    let secret = scene.owner_secret("house", "house_a", ["house_a", "house_b"], "house");
    let _batch = client_of(&scene, "house_b", "batch").await;
    let function = scene.function("of-an-owner", &[("STALE_SESSIONS", "fail")]).await;
    let token = scene.stage(&secret).unwrap();
    let refusal = Refusal("STALE_SESSIONS", &["1 session(s) of \"house_b\" are open (batch)"]);
    refusal.is(step(&function, &secret, &token, "createSecret").await, "createSecret");
    scene.ends();
}

#[tokio::test]
async fn a_rotation_waits_for_clients_that_did_not_follow_where_that_is_asked_for() {
    let scene = Scene::start(16).await;
    let function = scene.function("patient", &[("STALE_SESSIONS", "fail")]).await;
    let (secret, token) = turned(&scene, "slow").await;
    let batch = client_of(&scene, "slow", "batch").await;
    let refusal = Refusal("STALE_SESSIONS", &["1 session(s) of \"slow\" are open (batch)", "usename = 'slow'"]);
    refusal.is(step(&function, &secret, &token, "createSecret").await, "createSecret");
    assert_eq!(scene.aws.secrets.value(&secret, "AWSPENDING").unwrap(), None);
    drop(batch);
    crate::polling::eventually("the session is gone", async || {
        scene.ask::<i64>("SELECT count(*) FROM pg_stat_activity WHERE usename = 'slow'").await == 0
    })
    .await;
    for name in ["createSecret", "setSecret"] {
        step(&function, &secret, &token, name).await.unwrap();
    }
    // A step that is repeated does not take its own session for a client's.
    for name in ["setSecret", "testSecret", "finishSecret"] {
        step(&function, &secret, &token, name).await.unwrap();
    }
    scene.ends();
}

#[tokio::test]
async fn sessions_of_an_old_password_end_where_that_is_asked_for() {
    for major in [13, 18] {
        let scene = Scene::start(major).await;
        let function = scene.function("strict", &[("STALE_SESSIONS", "terminate")]).await;
        let (secret, token) = turned(&scene, "late").await;
        let (stale, in_use) = (client_of(&scene, "late", "batch").await, scene.client_of(&secret).await);
        scene.stranger("other", "").await;
        let other = client_of(&scene, "other", "batch").await;
        let grant = format!("GRANT pg_signal_backend TO \"{ADMIN}\"");
        if scene.is_16_or_later() {
            // As with a role that the admin has made itself: it may give it away, but does not have its rights.
            scene.sql(&format!("GRANT late TO \"{ADMIN}\" WITH INHERIT FALSE")).await;
        }
        let refusal = Refusal("ADMIN_LACKS_PRIVILEGE", &[&grant]);
        refusal.is(step(&function, &secret, &token, "createSecret").await, "createSecret");
        scene.sql(&grant).await;
        step(&function, &secret, &token, "createSecret").await.unwrap();
        stale.batch_execute("SELECT 1").await.unwrap();
        let report = step(&function, &secret, &token, "setSecret").await.unwrap();
        assert!(report["changes"].to_string().contains("1 session(s) of \\\"late\\\" ended"), "{report}");
        stale.batch_execute("SELECT 1").await.unwrap_err();
        in_use.batch_execute("SELECT 1").await.unwrap();
        other.batch_execute("SELECT 1").await.unwrap();
        scene.sql("SELECT 1").await;
        for name in ["setSecret", "testSecret", "finishSecret"] {
            step(&function, &secret, &token, name).await.unwrap();
        }
        scene.ends();
    }
}

#[tokio::test]
async fn a_finished_rotation_tells_when_the_next_one_is_due() {
    let scene = Scene::start(16).await;
    scene.login("due", "").await;
    let secret = scene.secret_of("due");
    for (days, is_told) in [(None, false), (Some(30), true)] {
        if let Some(days) = days {
            scene.aws.secrets.every_days(&secret, days).unwrap();
        }
        let token = scene.stage(&secret).unwrap();
        let mut report = Value::Null;
        for name in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
            report = step(&scene.lambda, &secret, &token, name).await.unwrap();
        }
        let next = report["next_rotation"].as_str().map(|text| text.parse::<DateTime<Utc>>().unwrap());
        let in_days = next.map(|next| (next - keyturn::clock::now()).num_days());
        assert_eq!(in_days.is_some_and(|days| (28..=30).contains(&days)), is_told, "{report}");
    }
    // Due today: what was read before the end of the rotation is no date of the next one.
    scene.aws.secrets.rotated_days_ago(&secret, 30).unwrap();
    let token = scene.stage(&secret).unwrap();
    let mut report = Value::Null;
    for name in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
        report = step(&scene.lambda, &secret, &token, name).await.unwrap();
    }
    assert_eq!(report["next_rotation"], Value::Null, "{report}");
    scene.ends();
}

#[tokio::test]
async fn a_password_dies_by_itself_if_no_rotation_replaces_it() {
    let scene = Scene::start(16).await;
    let function = scene.function("mortal", &[("PASSWORD_VALID_DAYS", "15")]).await;
    scene.login("short", "VALID UNTIL '2100-01-01'").await;
    let secret = scene.secret_of("short");
    scene.aws.secrets.set_rotation(&secret, &function.invoke_url()).unwrap();
    let days = async |user: &str| -> i32 {
        let sql = "SELECT extract(day FROM rolvaliduntil + interval '1 hour' - now())::int4 FROM pg_roles";
        scene.ask(&format!("{sql} WHERE rolname = '{user}'")).await
    };
    // Whatever the base had: it is the password that is to die.
    for user in ["short_clone", "short", "short_clone"] {
        assert_eq!(scene.rotates(&secret).await, user);
        assert_eq!(days(user).await, 15, "{user}");
    }

    // More than two periods: a password is in use for one, and waits for its turn for another.
    scene.aws.secrets.every_days(&secret, 8).unwrap();
    let token = scene.stage(&secret).unwrap();
    let refusal = Refusal("PASSWORD_VALID_TOO_SHORT", &["is rotated every 8 days", "Set it to 17 or more"]);
    refusal.is(step(&function, &secret, &token, "createSecret").await, "8 days");
    scene.aws.secrets.every_days(&secret, 7).unwrap();

    // Rotation had stopped, and the password is dead: the error has what mends it.
    scene.sql("ALTER ROLE short_clone VALID UNTIL 'yesterday'").await;
    let says = ["CURRENT_PASSWORD_REFUSED", "ALTER ROLE \"short_clone\" VALID UNTIL '20"];
    let refused = step(&function, &secret, &token, "createSecret").await;
    Refusal(says[0], &says[1..]).is(refused, "dead");
    scene.sql("ALTER ROLE short_clone VALID UNTIL '2100-01-01'").await;
    step(&function, &secret, &token, "createSecret").await.unwrap();
    scene.ends();
}
