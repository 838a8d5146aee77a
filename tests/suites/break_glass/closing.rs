//! Closing: what happens to the sessions, and to what a person has made.

use crate::polling::eventually;
use keyturn_tests::stacks::break_glass::Stack;
use serde_json::{Value, json};

#[tokio::test]
async fn a_person_who_is_done_closes_their_own_logins_and_nobody_elses() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    stack.grant("bob", 60);
    let (ann, again) = (stack.open("ann", "shop", 30).await.unwrap(), stack.open("ann", "shop", 30).await.unwrap());
    let bob = stack.open("bob", "shop", 30).await.unwrap();
    let session = stack.log_in(&ann).await.unwrap();
    let theirs = stack.ask("ann", "DELETE", &format!("/shop?login={}", bob.text("username")), None).await.unwrap();
    assert_eq!((theirs.status, theirs.code()), (404, "NOTHING_OPEN"));
    let one = stack.ask("ann", "DELETE", &format!("/shop?login={}", ann.text("username")), None).await.unwrap();
    assert_eq!((one.status, &one.body), (200, &json!({"closed": [ann.text("username")]})));
    assert!(session.simple_query("SELECT 1").await.is_err(), "the session goes on");
    assert!(stack.log_in(&ann).await.is_err());
    stack.log_in(&again).await.unwrap();
    let all = stack.ask("ann", "DELETE", "/shop", None).await.unwrap();
    assert_eq!(all.body, json!({"closed": [again.text("username")]}));
    assert_eq!(stack.roles().await.unwrap(), [bob.text("username")]);
    assert_eq!(stack.records().len(), 1);
    assert_eq!(stack.ask("ann", "DELETE", "/shop", None).await.unwrap().code(), "NOTHING_OPEN");
    assert!(stack.alerts().contains(&"Database closed: shop (closed)".to_owned()), "{:?}", stack.alerts());
}

#[tokio::test]
async fn what_a_person_made_stays_and_belongs_to_the_access_role() {
    for major in 13..=18 {
        let stack = Stack::start(major).await.unwrap();
        stack.database("store", &json!({})).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let login = answer.text("username");
        let session = stack.log_in(&answer).await.unwrap();
        // As the access role, as themselves, and with what they were given by name.
        session
            .batch_execute(
                "CREATE TABLE shared_table (id int); CREATE SCHEMA theirs; GRANT ALL ON SCHEMA theirs TO PUBLIC;
                SET ROLE NONE; CREATE TABLE theirs.own_table (id int); CREATE TEMP TABLE gone (id int);
                ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            )
            .await
            .unwrap();
        stack.postgres().execute_in("shop", &format!("GRANT SELECT ON shared_table TO {login}")).await.ok();
        // And in another database.
        stack
            .postgres()
            .execute_in(
                "store",
                &format!("CREATE TABLE elsewhere (id int); ALTER TABLE elsewhere OWNER TO \"{login}\""),
            )
            .await
            .unwrap();
        stack.postgres().execute("GRANT CONNECT ON DATABASE store TO PUBLIC").await.unwrap();
        let closed = stack.ask("ann", "DELETE", "/shop", None).await.unwrap();
        assert_eq!(closed.body, json!({"closed": [login]}), "{major}");
        assert_eq!((stack.roles().await.unwrap(), stack.records()), (vec![], vec![]), "{major}");
        for (database, table) in [("shop", "shared_table"), ("shop", "own_table"), ("store", "elsewhere")] {
            let client =
                stack.postgres().client("postgres", stack.postgres().superuser_password(), database).await.unwrap();
            let sql = format!("SELECT tableowner::text FROM pg_tables WHERE tablename = '{table}'");
            let owner: String = client.query_one(&sql, &[]).await.unwrap().get(0);
            assert_eq!(owner, "shop_admin", "{major}: {table}");
        }
        assert_eq!(stack.violations(), [""; 0]);
    }
}

#[tokio::test]
async fn a_person_cannot_keep_the_admin_from_ending_the_login() {
    for major in [13, 15, 16, 18] {
        let stack = Stack::start(major).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let login = answer.text("username");
        let session = stack.log_in(&answer).await.unwrap();
        for sql in [
            format!("SET ROLE NONE; REVOKE \"{login}\" FROM break_glass_admin"),
            format!("ALTER ROLE \"{login}\" VALID UNTIL 'infinity'"),
            format!("ALTER ROLE \"{login}\" SET role = '{login}'"),
            format!("ALTER ROLE \"{login}\" CREATEROLE"),
            format!("ALTER ROLE \"{login}\" PASSWORD 'hunter2'"),
        ] {
            // Some of it the server allows: it must not matter.
            let _ = session.batch_execute(&sql).await;
        }
        let sql =
            format!("SELECT isfinite(rolvaliduntil) AND NOT rolcreaterole FROM pg_roles WHERE rolname = '{login}'");
        let row = stack.postgres().admin_client().await.unwrap().query_one(&sql, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{major}: the login was lengthened");
        stack.minutes_later(31);
        let swept = stack.sweep().await.unwrap();
        assert_eq!(swept["closed"], json!([login]), "{major}: {swept}");
        assert_eq!(stack.roles().await.unwrap(), [""; 0], "{major}");
        assert!(session.simple_query("SELECT 1").await.is_err(), "{major}");
    }
}

#[tokio::test]
async fn a_session_that_holds_its_own_role_is_ended_with_it() {
    for major in [13, 16, 18] {
        let stack = Stack::start(major).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let login = answer.text("username");
        let mut sessions = Vec::new();
        for _ in 0..3 {
            let session = stack.log_in(&answer).await.unwrap();
            // The second and third wait for the first.
            let sql = format!("SET ROLE NONE; BEGIN; ALTER ROLE \"{login}\" PASSWORD 'hunter2'");
            let held = tokio::time::timeout(std::time::Duration::from_millis(300), session.batch_execute(&sql)).await;
            assert_eq!(held.is_ok(), sessions.is_empty(), "{major}");
            sessions.push(session);
        }
        stack.hold("ann");
        let swept = stack.sweep().await.unwrap();
        assert_eq!((&swept["closed"], &swept["overstaying"]), (&json!([login]), &json!([])), "{major}: {swept}");
        for session in &sessions {
            assert!(session.simple_query("SELECT 1").await.is_err(), "{major}: a session goes on");
        }
        assert_eq!(stack.roles().await.unwrap(), [""; 0], "{major}");
    }
}

#[tokio::test]
async fn a_connection_that_is_slow_to_start_does_not_survive_the_login() {
    for major in [13, 16, 18] {
        let stack = Stack::start(major).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let slow = stack.slow_log_in(&answer, "-c post_auth_delay=8");
        let client = stack.postgres().admin_client().await.unwrap();
        eventually("it has shown its password", async || {
            let sql = "SELECT count(*) FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
                WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND a.usesysid IS NULL";
            client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        stack.hold("ann");
        let swept = stack.sweep().await.unwrap();
        assert_eq!(swept["closed"], json!([answer.text("username")]), "{major}: {swept}");
        assert!(slow.await.unwrap().is_err(), "{major}: it came in after the end");
    }
}

#[tokio::test]
async fn whoever_was_made_a_member_of_the_login_is_none_after_its_end() {
    let stack = Stack::start(13).await.unwrap();
    stack.postgres().make_login("friend", "").await.unwrap();
    stack.grant("ann", 60);
    let answer = stack.open("ann", "shop", 30).await.unwrap();
    let login = answer.text("username");
    let session = stack.log_in(&answer).await.unwrap();
    session.batch_execute(&format!("SET ROLE NONE; GRANT \"{login}\" TO friend")).await.unwrap();
    // Which keeps the login from being dropped.
    let sql = format!("CREATE SCHEMA others; GRANT USAGE ON SCHEMA others TO \"{login}\"");
    stack.postgres().execute_in("shop", &sql).await.unwrap();
    stack.hold("ann");
    let swept = stack.sweep().await.unwrap();
    assert_eq!((&swept["overstaying"], &swept["unresolved"]), (&json!([]), &json!(1)), "{swept}");
    let sql = "SELECT count(*) FROM pg_auth_members WHERE pg_get_userbyid(roleid) LIKE 'bg\\_%' AND member <> 'break_glass_admin'::regrole
        OR pg_get_userbyid(member) LIKE 'bg\\_%'";
    let row = stack.postgres().admin_client().await.unwrap().query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn whoever_owns_the_database_cannot_keep_the_admin_out_of_the_end() {
    for (setting, is_dropped) in [
        ("ALTER DATABASE shop SET default_transaction_read_only = on", true),
        ("ALTER DATABASE shop SET role = 'shop_admin'", true),
        ("ALTER DATABASE shop SET search_path = 'theirs'", true),
        // These keep it from giving away what is there.
        ("ALTER DATABASE shop CONNECTION LIMIT 0", false),
        ("REVOKE CONNECT ON DATABASE shop FROM PUBLIC, shop_admin", false),
    ] {
        let stack = Stack::start(18).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let session = stack.log_in(&answer).await.unwrap();
        let own = "SET ROLE NONE; CREATE SCHEMA theirs; CREATE TABLE theirs.own (id int); SET ROLE shop_admin; ";
        session.batch_execute(&format!("{own}{setting}")).await.unwrap();
        stack.minutes_later(31);
        let swept = stack.sweep().await.unwrap();
        assert_eq!(swept["overstaying"], json!([]), "{setting}: {swept}");
        assert!(session.simple_query("SELECT 1").await.is_err(), "{setting}: the session goes on");
        assert!(stack.log_in(&answer).await.is_err(), "{setting}");
        assert_eq!(stack.roles().await.unwrap().is_empty(), is_dropped, "{setting}: {swept}");
        assert_eq!(swept["unresolved"], i32::from(!is_dropped), "{setting}: {swept}");
    }
}

#[tokio::test]
async fn a_login_that_cannot_be_dropped_is_locked_and_told_with_the_statements() {
    for major in [13, 18] {
        let stack = Stack::start(major).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let login = answer.text("username");
        let session = stack.log_in(&answer).await.unwrap();
        // Somebody else's object, and a grant that only they can take back.
        let sql = format!("CREATE SCHEMA others; GRANT USAGE ON SCHEMA others TO \"{login}\"");
        stack.postgres().execute_in("shop", &sql).await.unwrap();
        stack.minutes_later(31);
        let swept = stack.sweep().await.unwrap();
        assert_eq!(
            (&swept["closed"], &swept["overstaying"], &swept["unresolved"]),
            (&json!([]), &json!([]), &json!(1)),
            "{major}: {swept}"
        );
        assert!(session.simple_query("SELECT 1").await.is_err(), "{major}: the session goes on");
        assert!(stack.log_in(&answer).await.is_err(), "{major}");
        let events = stack.datadog.events();
        let told = events.iter().find(|event| event["title"].as_str().unwrap().contains("LOGIN_NOT_DROPPED")).unwrap();
        assert!(told["text"].as_str().unwrap().contains("DROP OWNED BY"), "{told}");
        assert_eq!(stack.records().len(), 1, "it is still looked after");
        assert!(told["text"].as_str().unwrap().contains("As RDS's master user"), "{told}");
        // As the remedy says.
        let sql =
            format!("REASSIGN OWNED BY \"{login}\" TO shop_admin; DROP OWNED BY \"{login}\"; DROP ROLE \"{login}\"");
        stack.postgres().execute_in("shop", &sql).await.unwrap();
        let swept = stack.sweep().await.unwrap();
        assert_eq!((&swept["closed"], &swept["unresolved"]), (&json!([login]), &json!(0)), "{swept}");
        assert_eq!(stack.records(), [Value::Null; 0]);
    }
}

/// The document is not what it was when the login was made.
#[tokio::test]
async fn a_login_is_locked_and_its_sessions_end_though_its_access_has_another_name_by_now() {
    for major in [13, 18] {
        let stack = Stack::start(major).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let session = stack.log_in(&answer).await.unwrap();
        stack.postgres().execute("ALTER ROLE shop_admin RENAME TO shop_owner").await.unwrap();
        stack.hold("ann");
        let swept = stack.sweep().await.unwrap();
        assert_eq!((&swept["closed"], &swept["unresolved"]), (&json!([]), &json!(1)), "{major}: {swept}");
        assert!(session.simple_query("SELECT 1").await.is_err(), "{major}: the session goes on");
        assert!(stack.log_in(&answer).await.is_err(), "{major}");
        stack.postgres().execute("ALTER ROLE shop_owner RENAME TO shop_admin").await.unwrap();
        assert_eq!(stack.sweep().await.unwrap()["closed"], json!([answer.text("username")]), "{major}");
    }
}

#[tokio::test]
async fn a_person_and_the_sweep_may_end_a_login_at_the_same_time() {
    for _ in 0..4 {
        let stack = Stack::start(17).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 30).await.unwrap();
        let _session = stack.log_in(&answer).await.unwrap();
        stack.hold("ann");
        let (closed, swept) = tokio::join!(stack.ask("ann", "DELETE", "/shop", None), stack.sweep());
        let (closed, swept) = (closed.unwrap(), swept.unwrap());
        assert_eq!((closed.status, &swept["unresolved"]), (200, &json!(0)), "{closed:?} {swept}");
        assert_eq!((stack.roles().await.unwrap(), stack.records()), (vec![], vec![]));
    }
}

/// Hours before its end.
#[tokio::test]
async fn what_a_person_could_not_close_the_sweep_closes_and_tells_meanwhile() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    let answer = stack.open("ann", "shop", 60).await.unwrap();
    let login = answer.text("username");
    let sql = format!("CREATE SCHEMA others; GRANT USAGE ON SCHEMA others TO \"{login}\"");
    stack.postgres().execute_in("shop", &sql).await.unwrap();
    let refused = stack.ask("ann", "DELETE", "/shop", None).await.unwrap();
    assert_eq!((refused.status, refused.code()), (503, "LOGIN_NOT_DROPPED"), "{refused:?}");
    assert_eq!(stack.sweep().await.unwrap()["unresolved"], 1);
    assert!(stack.alerts().join("\n").contains("LOGIN_NOT_DROPPED"), "{:?}", stack.alerts());
    stack.postgres().execute_in("shop", "DROP SCHEMA others").await.unwrap();
    assert_eq!(stack.sweep().await.unwrap()["closed"], json!([login]));
    assert!(stack.alerts().contains(&"Database closed: shop (closed)".to_owned()), "{:?}", stack.alerts());
}
