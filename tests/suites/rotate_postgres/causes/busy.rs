//! What passes: others at work on the same roles, a server with no connection left or on its way up or down.

use crate::polling::eventually;
use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::Stack;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

#[tokio::test]
async fn two_rotations_of_one_application_do_not_overlap() {
    let scene = Scene::start(16).await;
    scene.login("shared", "").await;
    let secret = scene.secret_of("shared");
    let token = scene.stage(&secret).unwrap();
    scene.step(&secret, &token, "createSecret").await.unwrap();

    // Any login can hold an advisory lock; this one takes power over the role.
    let anybody = scene.postgres.client("shared", &scene.password, "postgres").await.unwrap();
    anybody.batch_execute("SELECT pg_advisory_lock(hashtextextended('shared', 0))").await.unwrap();
    assert!(anybody.batch_execute("COMMENT ON ROLE shared IS 'mine'").await.is_err());
    let other = scene.postgres.admin_client().await.unwrap();
    other.batch_execute("BEGIN; COMMENT ON ROLE shared IS 'another rotation'").await.unwrap();
    scene.lambda.set_timeout(Duration::from_secs(4));
    let says = [
        "Another transaction holds the lock of \"shared\" or \"shared_clone\" on localhost:",
        "lets go when its transaction ends",
        "pg_locks",
    ];
    scene.refuses_step(&secret, &token, "setSecret", &Refusal("ROTATION_LOCKED", &says)).await;

    // Once it lets go, the same step goes through, in time.
    scene.lambda.set_timeout(Duration::from_secs(30));
    let (step, ()) = tokio::join!(scene.step(&secret, &token, "setSecret"), async {
        let refusals = || scene.postgres.server_log().unwrap().matches("due to lock timeout").count();
        let before = refusals();
        // The first try does not wait; the next one stands in the queue.
        eventually("the rotation meets the lock", async || refusals() > before).await;
        other.batch_execute("COMMIT").await.unwrap();
    });
    step.unwrap();
    // What the comment said when the lock was free counts.
    let comment: String = scene.ask("SELECT shobj_description('shared'::regrole, 'pg_authid')").await;
    assert_eq!(comment, format!("another rotation [keyturn {secret}]"));
    scene.step(&secret, &token, "testSecret").await.unwrap();
    scene.ends();
}

/// Whoever writes the comment first has the users: what the other one read before is outdated.
#[tokio::test]
async fn a_mark_that_another_rotation_writes_meanwhile_is_seen() {
    let scene = Scene::start(16).await;
    scene.login("twin_a", "").await;
    scene.login("twin_b", "").await;
    let secret = scene.pair_secret("pair", "twin_a", ["twin_a", "twin_b"]);
    let token = scene.pending(&secret, "twin_b").await;
    let other = scene.postgres.admin_client().await.unwrap();
    let mark =
        "BEGIN; COMMENT ON ROLE twin_a IS '[keyturn arn:other]'; COMMENT ON ROLE twin_b IS '[keyturn arn:other]'";
    other.batch_execute(mark).await.unwrap();
    let hash = "SELECT rolpassword FROM pg_authid WHERE rolname = 'twin_b'";
    let before: String = scene.ask(hash).await;
    let (step, ()) = tokio::join!(scene.step(&secret, &token, "setSecret"), async {
        eventually("the rotation stands in the queue", async || {
            scene.ask("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'keyturn%' AND wait_event_type = 'Lock' AND query LIKE '%''3000ms''%')").await
        })
        .await;
        other.batch_execute("COMMIT").await.unwrap();
    });
    Refusal("PAIR_OF_ANOTHER_SECRET", &["arn:other"]).is(step, "setSecret");
    assert_eq!(scene.ask::<String>(hash).await, before);
    let marks = "SELECT string_agg(shobj_description(oid, 'pg_authid'), ' ') FROM pg_roles WHERE rolname LIKE 'twin__'";
    assert_eq!(scene.ask::<String>(marks).await, "[keyturn arn:other] [keyturn arn:other]");
    scene.ends();
}

/// PostgreSQL takes a comment's lock before it asks whether the session may write it.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_asks_for_the_lock_again_and_again_does_not_keep_it() {
    let scene = Scene::start(16).await;
    scene.login("target", "").await;
    scene.stranger("pest", "").await;
    let secret = scene.secret_of("target");
    assert_eq!(scene.rotates(&secret).await, "target_clone");
    let pestering = "DO $$ BEGIN LOOP BEGIN COMMENT ON ROLE target IS 'x'; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$";
    let mut pests = Vec::new();
    for _ in 0..24 {
        let pest = scene.postgres.client("pest", &scene.password, "postgres").await.unwrap();
        pests.push(tokio::spawn(async move { pest.batch_execute(pestering).await }));
    }
    let busy = "SELECT count(*) >= 20 FROM pg_stat_activity WHERE usename = 'pest' AND query LIKE 'DO%'";
    eventually("they are at it", async || scene.ask(busy).await).await;
    let token = scene.stage(&secret).unwrap();
    for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
        scene.step(&secret, &token, step).await.unwrap_or_else(|e| panic!("{step}: {e}"));
    }
    assert!(pests.iter().all(|pest| !pest.is_finished()), "they have given up");
    scene.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pest'").await;
    scene.ends();
}

#[tokio::test]
async fn a_rotation_waits_for_somebody_who_changes_the_same_role_and_goes_on() {
    // Up to 15 a grant does not lock its role.
    let scene = Scene::start(15).await;
    for (user, others_work, ending) in [
        // "tuple concurrently updated".
        ("twofold", "ALTER ROLE twofold_clone CONNECTION LIMIT 7", "COMMIT"),
        ("undone", "ALTER ROLE undone_clone CONNECTION LIMIT 7", "ROLLBACK"),
        // A clone that appears meanwhile: 23505 on pg_authid_rolname_index.
        ("born", "CREATE ROLE born_clone LOGIN IN ROLE born", "COMMIT"),
    ] {
        scene.login(user, "").await;
        if user != "born" {
            scene.login(&format!("{user}_clone"), &format!("IN ROLE {user}")).await;
        }
        let secret = scene.secret_of(user);
        let other = scene.postgres.admin_client().await.unwrap();
        other.batch_execute(&format!("BEGIN; {others_work}")).await.unwrap();
        let (clone, ()) = tokio::join!(scene.rotates(&secret), async {
            eventually("the rotation waits", async || {
                scene.ask("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'keyturn%' AND wait_event_type = 'Lock')").await
            })
            .await;
            other.batch_execute(ending).await.unwrap();
        });
        assert_eq!(clone, format!("{user}_clone"));
        let mine: bool = scene.ask(&format!("SELECT pg_has_role('{clone}', '{user}', 'USAGE')")).await;
        assert!(mine, "{user}");
    }
    let log = scene.postgres.server_log().unwrap();
    for collision in ["tuple concurrently updated", "pg_authid_rolname_index"] {
        assert!(log.contains(collision), "nothing has collided: {collision}");
    }
    scene.ends();
}

#[tokio::test]
async fn a_lock_that_is_never_let_go_ends_the_step_with_its_cause() {
    let scene = Scene::start(16).await;
    scene.login("stuck", "").await;
    scene.login("stuck_clone", "IN ROLE stuck").await;
    let secret = scene.secret_of("stuck");
    let token = scene.pending(&secret, "stuck_clone").await;
    let other = scene.postgres.admin_client().await.unwrap();
    other.batch_execute("BEGIN; ALTER ROLE stuck_clone CONNECTION LIMIT 7").await.unwrap();

    scene.lambda.set_timeout(Duration::from_secs(5));
    let says = [
        "had not answered when the invocation's time was nearly up (while changing the user)",
        "FROM pg_stat_activity WHERE application_name = 'keyturn rotate-postgres'",
    ];
    Refusal("DATABASE_UNREACHABLE", &says).is(scene.step(&secret, &token, "setSecret").await, "setSecret");
    sessions_end(&scene).await;
    other.batch_execute("ROLLBACK").await.unwrap();
    scene.lambda.set_timeout(Duration::from_secs(30));
    scene.step(&secret, &token, "setSecret").await.unwrap();
    assert!(scene.step(&secret, &token, "testSecret").await.is_ok());
    scene.ends();
}

/// The function has cancelled its statement, and its sessions end: else the next try would wait for their locks.
async fn sessions_end(scene: &Scene) {
    let cancelled = || scene.postgres.server_log().unwrap().contains("due to user request");
    eventually("the server is told to stop", async || cancelled()).await;
    let gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'keyturn%')";
    eventually("the sessions are gone", async || scene.ask(gone).await).await;
}

/// A password that only the primary has is lost in a failover: clients must not get it before.
#[tokio::test]
async fn a_commit_that_waits_for_a_standby_is_not_cut_short() {
    let scene = Scene::of(Stack::builder(16).postgres(|server| {
        server
            .setting("max_wal_senders", "1")
            .setting("wal_level", "replica")
            .setting("synchronous_standby_names", "absent")
            .setting("synchronous_commit", "local")
    }))
    .await;
    scene.login("synced", "").await;
    let secret = scene.secret_of("synced");
    let token = scene.stage(&secret).unwrap();
    scene.step(&secret, &token, "createSecret").await.unwrap();
    scene.sql("ALTER ROLE rotation_admin SET synchronous_commit = on").await;

    scene.lambda.set_timeout(Duration::from_secs(4));
    let says = ["had not answered when the invocation's time was nearly up (while committing)"];
    Refusal("DATABASE_UNREACHABLE", &says).is(scene.step(&secret, &token, "setSecret").await, "setSecret");
    let made = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'synced_clone')";
    assert!(!scene.ask::<bool>(made).await, "the commit was taken for done");
    // Not even where somebody else cuts it short does the next try go on without the standby.
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(scene.ask::<i64>(cancel).await, 1, "the function's COMMIT did not wait any more");
    eventually("the commit is taken for done", async || scene.ask(made).await).await;
    Refusal("DATABASE_UNREACHABLE", &says).is(scene.step(&secret, &token, "setSecret").await, "setSecret again");

    scene.sql("ALTER SYSTEM SET synchronous_standby_names = ''").await;
    scene.sql("SELECT pg_reload_conf()").await;
    scene.lambda.set_timeout(Duration::from_secs(30));
    for step in ["setSecret", "testSecret", "finishSecret"] {
        scene.step(&secret, &token, step).await.unwrap_or_else(|e| panic!("{step}: {e}"));
    }
    scene.ends();
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_tried_again_and_then_named() {
    let scene = Scene::of(Stack::builder(16).postgres(|server| server.setting("max_connections", "8"))).await;
    scene.login("queued", "").await;
    let secret = scene.secret_of("queued");
    // All but the three that are kept for superusers, and this scene's own.
    let mut crowd = Vec::new();
    while let Ok(client) = scene.postgres.client("queued", &scene.password, "postgres").await {
        crowd.push(client);
        assert!(crowd.len() < 8);
    }
    let says = ["has no connection left: ", "Raise max_connections", "SELECT usename, count(*) FROM pg_stat_activity"];
    scene.refuses(&secret, "queued_clone", Refusal("TOO_MANY_CLIENTS", &says)).await;

    // They go while the function tries.
    let secret = scene.secret("queued-after", &scene.of_user("queued")).unwrap();
    let (clone, ()) = tokio::join!(scene.rotates(&secret), async {
        let refusals =
            || scene.postgres.server_log().unwrap().matches("remaining connection slots are reserved").count();
        let before = refusals();
        eventually("the function is refused", async || refusals() > before).await;
        crowd.clear();
    });
    assert_eq!(clone, "queued_clone");
    scene.ends();
}

#[tokio::test]
async fn a_server_that_shuts_down_is_told_from_one_that_is_not_there() {
    let scene = Scene::start(16).await;
    scene.login("late", "").await;
    let secret = scene.secret_of("late");
    let before = scene.roles().await;
    // A smart shutdown waits for sessions to end, and this scene has one.
    kill_process(Pid::from_raw(i32::try_from(scene.postgres.pid()).unwrap()).unwrap(), Signal::TERM).unwrap();
    eventually("the server takes no connections", async || scene.postgres.admin_client().await.is_err()).await;
    let says =
        ["takes no connections now: the database system is shutting down (SQLSTATE 57P03)", "Try again when it is up"];
    let token = scene.stage(&secret).unwrap();
    Refusal("DATABASE_UNAVAILABLE", &says).is(scene.step(&secret, &token, "createSecret").await, "createSecret");
    assert_eq!(scene.aws.secrets.value(&secret, "AWSPENDING").unwrap(), None);
    let token = scene.pending(&secret, "late_clone").await;
    Refusal("DATABASE_UNAVAILABLE", &says).is(scene.step(&secret, &token, "setSecret").await, "setSecret");
    assert_eq!(scene.roles().await, before);
    scene.ends();
}
