//! What servers say to a login.

use crate::polling::eventually;
use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::postgres::fakes::{FakePostgres, Manner};
use keyturn_tests::stacks::postgres::Stack;
use postgres_protocol::password;
use serde_json::json;

#[tokio::test]
async fn a_login_that_fails_says_why() {
    let scene = Scene::of(Stack::builder(16).postgres(|server| {
        server
            .hba("hostssl all barred 127.0.0.1/32 reject")
            .hba("hostssl all trusted 127.0.0.1/32 trust")
            .hba("hostssl all clear 127.0.0.1/32 password")
            .hba("hostssl all identified 127.0.0.1/32 ident")
            .hba("hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-ca")
            .hba("hostssl all +unlisted_gate 127.0.0.1/32 scram-sha-256")
            .hba("hostssl \"/^(?!unlisted)\" all 127.0.0.1/32 scram-sha-256")
    }))
    .await;
    a_password_that_the_server_refuses(&scene).await;
    a_password_that_the_server_accepts_and_then_something_else(&scene).await;
    a_way_of_authentication_that_proves_nothing_or_gives_the_password_away(&scene).await;
    an_entry_in_pg_hba_conf_that_is_missing_or_rejects(&scene).await;
    an_entry_for_a_groups_members_lets_the_twin_in_once_it_exists(&scene).await;
    a_certificate_that_is_not_the_hosts(&scene).await;
    an_entry_that_demands_a_certificate_of_the_client(&scene).await;
    a_real_server_without_tls(&scene).await;
    scene.ends();
}

async fn a_password_that_the_server_refuses(scene: &Scene) {
    // All alike to the server: a wrong password, no such user, no password set, one whose time is over.
    let past = "VALID UNTIL '2001-01-01'";
    for (user, sql) in [
        ("wrong", "ALTER ROLE wrong PASSWORD 'another'"),
        ("absent", "DROP ROLE absent"),
        ("bare", "ALTER ROLE bare PASSWORD NULL"),
        ("expired", &format!("ALTER ROLE expired {past}")),
    ] {
        scene.stranger(user, "").await;
        scene.sql(sql).await;
        let refused = format!("localhost:{} refused the password of {user:?}", scene.database_port());
        let says = [&refused, "no such user", "VALID UNTIL is past", "aws secretsmanager put-secret-value"];
        scene
            .refuses(&scene.secret_of(user), &format!("{user}_clone"), Refusal("CURRENT_PASSWORD_REFUSED", &says))
            .await;
    }

    // In testSecret it is the pending user's.
    scene.login("untested", "").await;
    let secret = scene.secret_of("untested");
    let token = scene.pending(&secret, "untested_clone").await;
    let says = [
        "refused the password of \"untested_clone\"",
        "SELECT rolcanlogin, rolvaliduntil FROM pg_roles WHERE rolname = 'untested_clone'",
    ];
    scene.refuses_step(&secret, &token, "testSecret", &Refusal("PASSWORD_REFUSED", &says)).await;
}

async fn a_password_that_the_server_accepts_and_then_something_else(scene: &Scene) {
    scene.sql("CREATE DATABASE private").await;
    scene.sql("REVOKE CONNECT ON DATABASE private FROM PUBLIC").await;
    for (user, sql, database, code, what, remedy) in [
        (
            "retired",
            "ALTER ROLE retired NOLOGIN",
            "postgres",
            "ROLE_CANNOT_LOG_IN",
            "the role may not log in",
            "ALTER ROLE \"retired\" LOGIN",
        ),
        (
            "lost",
            "SELECT",
            "nowhere",
            "DATABASE_NOT_FOUND",
            "there is no database \"nowhere\"",
            "Correct \"dbname\" in the secret",
        ),
        (
            "outside",
            "SELECT",
            "private",
            "CONNECT_DENIED",
            "it lacks CONNECT on database \"private\"",
            "GRANT CONNECT ON DATABASE \"private\" TO \"outside\"",
        ),
    ] {
        scene.login(user, "").await;
        scene.sql(sql).await;
        let mut value = scene.of_user(user);
        value["dbname"] = json!(database);
        let secret = scene.secret(user, &value).unwrap();
        let valid = format!("The password of {user:?} at localhost:{} is valid, but {what}.", scene.database_port());
        scene.refuses(&secret, &format!("{user}_clone"), Refusal(code, &[&valid, remedy])).await;
    }
    // Of a database without a free connection, too, the admin reads instead, and the pending user has to get in.
    scene.login("packed", "").await;
    scene.sql("CREATE DATABASE packed CONNECTION LIMIT 0").await;
    let mut value = scene.of_user("packed");
    value["dbname"] = json!("packed");
    let secret = scene.secret("packed", &value).unwrap();
    let token = scene.stage(&secret).unwrap();
    for step in ["createSecret", "setSecret"] {
        scene.step(&secret, &token, step).await.unwrap();
    }
    let says = ["\"packed\" has as many connections as it may have", "ALTER DATABASE \"packed\" CONNECTION LIMIT -1"];
    scene.refuses_step(&secret, &token, "testSecret", &Refusal("CONNECTION_LIMIT_REACHED", &says)).await;
    // The other user would have no connection either.
    scene.login("limited", "CONNECTION LIMIT 0").await;
    let says = ["neither could log in", "ALTER ROLE \"limited\" CONNECTION LIMIT -1"];
    scene.refuses(&scene.secret_of("limited"), "limited_clone", Refusal("CONNECTION_LIMIT_REACHED", &says)).await;
    // A user in use without a free connection is proven by its password; a pending one has to show what it may do.
    scene.sql("ALTER ROLE limited CONNECTION LIMIT -1").await;
    let secret = scene.secret("limited-after", &scene.of_user("limited")).unwrap();
    let token = scene.stage(&secret).unwrap();
    for step in ["createSecret", "setSecret"] {
        scene.step(&secret, &token, step).await.unwrap();
    }
    scene.sql("ALTER ROLE limited_clone CONNECTION LIMIT 0").await;
    let says = ["the user's own connection limit is reached", "ALTER ROLE \"limited_clone\" CONNECTION LIMIT -1"];
    scene.refuses_step(&secret, &token, "testSecret", &Refusal("CONNECTION_LIMIT_REACHED", &says)).await;
}

async fn a_way_of_authentication_that_proves_nothing_or_gives_the_password_away(scene: &Scene) {
    for (user, code, what, remedy) in [
        (
            "trusted",
            "AUTH_METHOD_REFUSED",
            "lets this user in without asking for the password",
            "Have pg_hba.conf ask for scram-sha-256",
        ),
        (
            "clear",
            "AUTH_METHOD_REFUSED",
            "asks for the password in clear text. No password was sent.",
            "REVOKE rds_iam FROM \"clear\"",
        ),
        (
            "identified",
            "IAM_AUTH_ONLY",
            "does not take passwords from \"identified\"",
            "REVOKE rds_iam FROM \"identified\"",
        ),
    ] {
        scene.login(user, "").await;
        scene.refuses(&scene.secret_of(user), &format!("{user}_clone"), Refusal(code, &[what, remedy])).await;
    }

    // The same from servers that would note what they are sent.
    for (n, (manner, code, what, users)) in [
        (Manner::AsksForPlainPassword, "AUTH_METHOD_REFUSED", "asks for the password in clear text", true),
        (Manner::TrustsEverybody, "AUTH_METHOD_REFUSED", "lets this user in without asking for the password", true),
        (Manner::RefusesTls, "TLS_NOT_OFFERED", "does not offer TLS", false),
        (Manner::DemandsCertificate, "CLIENT_CERTIFICATE_DEMANDED", "demands a client certificate", false),
    ]
    .into_iter()
    .enumerate()
    {
        let fake = FakePostgres::start(manner, scene.postgres.certificates()).await.unwrap();
        let (secret, place) = scene.secret_at(&format!("fake-{n}"), "localhost", fake.port());
        scene.refuses(&secret, "app_clone", Refusal(code, &[&place, what])).await;
        let seen = fake.seen();
        assert!(seen.connections > 0 && seen.passwords == 0 && seen.statements == 0, "{manner:?}: {seen:?}");
        assert_eq!(seen.users.is_empty(), !users, "{manner:?}: a client went on without TLS");
    }
}

async fn an_entry_in_pg_hba_conf_that_is_missing_or_rejects(scene: &Scene) {
    scene.login("barred", "").await;
    let says = [
        "lets \"barred\" into \"postgres\" over TLS",
        "pg_hba.conf rejects connection",
        "hostssl all all <the function's network> scram-sha-256",
    ];
    scene.refuses(&scene.secret_of("barred"), "barred_clone", Refusal("HBA_REFUSED", &says)).await;

    scene.sql("CREATE DATABASE unlisted").await;
    scene.login("keyless", "").await;
    let mut value = scene.of_user("keyless");
    value["dbname"] = json!("unlisted");
    let secret = scene.secret("keyless", &value).unwrap();
    let says = ["into \"unlisted\" over TLS", "no pg_hba.conf entry for host", "hostssl all all"];
    scene.refuses(&secret, "keyless_clone", Refusal("HBA_REFUSED", &says)).await;
}

/// Before its first rotation the twin is in no group, so the server refuses it by that line: that is no reason to stop.
async fn an_entry_for_a_groups_members_lets_the_twin_in_once_it_exists(scene: &Scene) {
    scene.sql("CREATE ROLE unlisted_gate NOLOGIN").await;
    scene.login("gated", "IN ROLE unlisted_gate").await;
    let mut value = scene.of_user("gated");
    value["dbname"] = json!("unlisted");
    let secret = scene.secret("gated", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "gated_clone");
    assert_eq!(scene.rotates(&secret).await, "gated");
}

async fn a_certificate_that_is_not_the_hosts(scene: &Scene) {
    scene.login("secure", "").await;
    // Another spelling of 127.0.0.1, which the certificate does not name.
    let (secret, place) = scene.secret_at("misnamed", "127.1", scene.database_port());
    let says = [format!("The TLS handshake with {place} failed"), "DATABASE_CA_FILE".to_owned(), "mismatch".to_owned()];
    let says: Vec<&str> = says.iter().map(String::as_str).collect();
    scene.refuses(&secret, "app_clone", Refusal("TLS_UNTRUSTED", &says)).await;

    let stranger = keyturn_tests::certificates::Certificates::new().unwrap();
    let function = scene
        .function("with-another-authority", &[("DATABASE_CA_FILE", &stranger.ca_file().display().to_string())])
        .await;
    let secret = scene.secret_of("secure");
    scene.aws.secrets.set_rotation(&secret, &function.invoke_url()).unwrap();
    let outcome = scene.rotate(&secret).await.unwrap();
    let error = outcome.error().unwrap().clone();
    Refusal("TLS_UNTRUSTED", &["unable to get local issuer certificate", "set DATABASE_CA_FILE to its PEM file"])
        .is(Err(error), "another authority");
    assert_eq!(scene.aws.secrets.value(&secret, "AWSPENDING").unwrap(), None);
}

async fn an_entry_that_demands_a_certificate_of_the_client(scene: &Scene) {
    scene.sql(&format!("ALTER SYSTEM SET ssl_ca_file = '{}'", scene.postgres.certificates().ca_file().display())).await;
    scene.sql("SELECT pg_reload_conf()").await;
    scene.login("certified", "").await;
    let secret = scene.secret_of("certified");
    let token = scene.stage(&secret).unwrap();
    // Until the server has read its configuration anew, it says that it cannot check certificates.
    eventually("a server that checks certificates", async || {
        scene.step(&secret, &token, "createSecret").await.is_err_and(|e| e.error_type != "LOGIN_FAILED")
    })
    .await;
    let says = ["requires a valid client certificate", "before the one that demands it, without clientcert"];
    scene.refuses(&secret, "certified_clone", Refusal("CLIENT_CERTIFICATE_DEMANDED", &says)).await;
}

async fn a_real_server_without_tls(scene: &Scene) {
    scene.login("bygone", "").await;
    let secret = scene.secret_of("bygone");
    let reload = async |sql: &str, state: &str| {
        scene.sql(sql).await;
        scene.sql("SELECT pg_reload_conf()").await;
        eventually(state, async || scene.ask::<String>("SHOW ssl").await == state).await;
    };
    reload("ALTER SYSTEM SET ssl = off", "off").await;
    let says = ["does not offer TLS", "ssl = on", "never connects in clear text"];
    // Other processes of the server may take the change a moment later than this session.
    let token = scene.stage(&secret).unwrap();
    eventually("no TLS", async || {
        scene.step(&secret, &token, "testSecret").await.is_err_and(|e| e.error_type != "TLS_UNTRUSTED")
    })
    .await;
    scene.refuses(&secret, "bygone_clone", Refusal("TLS_NOT_OFFERED", &says)).await;
    reload("ALTER SYSTEM RESET ssl", "on").await;
    assert_eq!(scene.rotates(&scene.secret("bygone-after", &scene.of_user("bygone")).unwrap()).await, "bygone_clone");
}

/// A pooler refuses the second user before setSecret has created it, in its own words: setSecret creates it all the same.
#[tokio::test]
async fn a_pooler_that_words_every_refusal_alike_is_no_obstacle() {
    let scene = Scene::of(Stack::builder(17).through_a_pooler()).await;
    scene.login("pooled", "").await;
    let secret = scene.secret_of("pooled");
    for user in ["pooled_clone", "pooled", "pooled_clone"] {
        assert_eq!(scene.rotates(&secret).await, user);
    }
    scene.stranger("outdated", "").await;
    scene.sql("ALTER ROLE outdated PASSWORD 'another'").await;
    let says = ["did not let \"outdated\" in: SASL authentication failed (SQLSTATE 08P01)", "auth_query"];
    scene.refuses(&scene.secret_of("outdated"), "outdated_clone", Refusal("LOGIN_FAILED", &says)).await;
    // A pooler may lead a login to another user: that one's password is not this secret's to change.
    scene.stranger("victim", "").await;
    scene.stranger("forced_victim", "").await;
    let says = ["The login of \"forced_victim\"", "became a session of \"victim\""];
    let refusal = Refusal("LOGGED_IN_AS_SOMEBODY_ELSE", &says);
    scene.refuses(&scene.secret_of("forced_victim"), "forced_victim_clone", refusal).await;
    scene.ends();
}

#[tokio::test]
async fn a_login_trigger_that_refuses_a_user_is_not_taken_for_a_wrong_password() {
    let scene = Scene::start(17).await;
    for sql in [
        "CREATE FUNCTION keep_out() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF session_user LIKE 'unwanted%' THEN RAISE 'not at night' USING ERRCODE = upper(substr(session_user, 10)); END IF;
        END $$",
        "CREATE EVENT TRIGGER keep_out ON login EXECUTE FUNCTION keep_out()",
        "ALTER EVENT TRIGGER keep_out ENABLE ALWAYS",
    ] {
        scene.sql(sql).await;
    }
    // It may say anything, also what the server says of a password, of pg_hba.conf or of a database.
    for state in ["P0001", "28P01", "28000", "42501", "3D000"] {
        let user = format!("unwanted_{}", state.to_lowercase());
        scene.login(&user, "").await;
        let valid =
            format!("The password of {user:?} at localhost:{} is valid, but the session", scene.database_port());
        let raised = format!("not at night (SQLSTATE {state})");
        let says = [&valid, &raised, "FROM pg_event_trigger WHERE evtevent = 'login'"];
        scene.refuses(&scene.secret_of(&user), &format!("{user}_clone"), Refusal("SESSION_REFUSED", &says)).await;
    }
    scene.ends();
}

#[tokio::test]
async fn a_module_that_checks_passwords_and_refuses_a_hash_is_named() {
    let builder = Stack::builder(16).postgres(|server| server.setting("shared_preload_libraries", "passwordcheck"));
    let scene = Scene::of(builder).await;
    scene.login("checked", "").await;
    scene.login("checked_clone", "IN ROLE checked").await;
    let secret = scene.secret_of("checked");
    // The one thing that this module finds out about a hash: that the password is the user's name.
    let mut value = scene.value(&secret, "AWSCURRENT").unwrap();
    value["username"] = json!("checked_clone");
    value["password"] = json!("checked_clone");
    let token = scene.stage(&secret).unwrap();
    scene.put_pending(&secret, &token, &value).await;
    let says = ["while changing the user", "this function sends a hash", "credcheck.encrypted_password_allowed = on"];
    scene.refuses_step(&secret, &token, "setSecret", &Refusal("PASSWORD_HASH_REFUSED", &says)).await;
    scene.ends();
}

#[tokio::test]
async fn md5_hashes_are_replaced_or_refused_as_the_operator_says() {
    let scene = Scene::of(
        Stack::builder(18)
            .postgres(|server| server.setting("password_encryption", "md5").hba("hostssl all all 127.0.0.1/32 md5")),
    )
    .await;
    let hash = |user: &str| format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'");
    for user in ["ancient", "wary", "keen"] {
        scene.login(user, "").await;
        scene.sql(&format!("ALTER ROLE {user} PASSWORD '{}'", password::md5(scene.password.as_bytes(), user))).await;
    }

    // As the server says, which is md5 here, for a user that has such a hash; the clone's hash, too.
    let secret = scene.secret_of("ancient");
    assert_eq!(scene.rotates(&secret).await, "ancient_clone");
    assert!(scene.ask::<String>(&hash("ancient_clone")).await.starts_with("md5"));

    // A user with a SCRAM password gets a SCRAM hash again: a line of pg_hba.conf may accept SCRAM only.
    scene.login("modern", "").await;
    let sets = "SET password_encryption = 'scram-sha-256'; ALTER ROLE modern PASSWORD ";
    scene.sql(&format!("{sets}'{}'; RESET password_encryption", scene.password)).await;
    let secret = scene.secret_of("modern");
    for user in ["modern_clone", "modern"] {
        assert_eq!(scene.rotates(&secret).await, user);
        assert!(scene.ask::<String>(&hash(user)).await.starts_with("SCRAM-SHA-256$"));
    }

    let scram = scene.function("with-scram", &[("PASSWORD_HASH", "scram")]).await;
    let secret = scene.secret_of("wary");
    let before = scene.roles().await;
    let token = scene.stage(&secret).unwrap();
    let event = json!({"Step": "createSecret", "SecretId": secret, "ClientRequestToken": token});
    let says = [
        "\"wary\"",
        "asks for an MD5 answer",
        "No password was sent",
        "give \"wary\" a SCRAM password",
        "PASSWORD_HASH=auto",
    ];
    Refusal("AUTH_METHOD_REFUSED", &says).is(scram.invoke(event).await.result, "an MD5 hash");
    assert_eq!(scene.roles().await, before);

    // The server's operator turns to SCRAM: the rotation replaces the hashes one by one, and the function may insist on it then.
    scene.sql("ALTER DATABASE postgres SET password_encryption = 'scram-sha-256'").await;
    let secret = scene.secret_of("keen");
    for user in ["keen_clone", "keen"] {
        assert_eq!(scene.rotates(&secret).await, user);
        assert!(scene.ask::<String>(&hash(user)).await.starts_with("SCRAM-SHA-256$4096:"));
    }
    scene.aws.secrets.set_rotation(&secret, &scram.invoke_url()).unwrap();
    assert_eq!(scene.rotates(&secret).await, "keen_clone");
    scene.ends();
}
