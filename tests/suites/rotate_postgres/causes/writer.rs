//! Servers that take no changes.

use crate::polling::eventually;
use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::{ADMIN, Stack};
use tokio_postgres::error::SqlState;

#[tokio::test]
async fn a_server_that_is_read_only_by_its_setting_is_named_and_left_alone() {
    let scene = Scene::start(16).await;
    scene.login("frozen", "").await;
    let secret = scene.secret_of("frozen");
    scene.sql("ALTER DATABASE postgres SET default_transaction_read_only = on").await;
    let says = ["is read-only: a replica, or the old writer after a failover", "\"host\" name the writer"];
    scene.refuses_to_set(&secret, "frozen_clone", &Refusal("DATABASE_READ_ONLY", &says)).await;

    // After a failover the name leads to the new writer in a moment: the function tries again, on a new connection.
    let token = scene.pending(&secret, "frozen_clone").await;
    let before = scene.logins_of(ADMIN);
    let (step, ()) = tokio::join!(scene.step(&secret, &token, "setSecret"), async {
        eventually("the function tries again", async || scene.logins_of(ADMIN) >= before + 2).await;
        scene
            .sql("SET default_transaction_read_only = off; ALTER DATABASE postgres RESET default_transaction_read_only")
            .await;
    });
    step.unwrap();
    scene.ends();
}

#[tokio::test]
async fn a_standby_is_no_writer() {
    let scene = turned_standby(true).await;
    let secret = scene.secret_of("copied");
    let token = scene.pending(&secret, "copied_clone").await;
    let says = ["is read-only: a replica", "(for Aurora, the cluster endpoint)"];
    Refusal("DATABASE_READ_ONLY", &says).is(scene.step(&secret, &token, "setSecret").await, "setSecret");
    scene.ends();
}

#[tokio::test]
async fn a_server_that_is_not_up_yet_is_told_from_one_that_is_not_there() {
    let scene = turned_standby(false).await;
    let secret = scene.secret_of("copied");
    let token = scene.stage(&secret).unwrap();
    let says = ["takes no connections now: the database system is ", "(SQLSTATE 57P03)", "Try again when it is up"];
    Refusal("DATABASE_UNAVAILABLE", &says).is(scene.step(&secret, &token, "createSecret").await, "createSecret");
    assert_eq!(scene.aws.secrets.value(&secret, "AWSPENDING").unwrap(), None);
    scene.ends();
}

/// A server that crashes and, asked so by a file, comes up as a standby; one that waits for its primary may be let answer
/// queries or not.
async fn turned_standby(answers: bool) -> Scene {
    let scene = Scene::of(Stack::builder(16).postgres(|server| {
        server.setting("wal_level", "replica").setting("hot_standby", if answers { "on" } else { "off" })
    }))
    .await;
    scene.login("copied", "").await;
    let data: String = scene.ask("SHOW data_directory").await;
    scene.sql(&format!("COPY (SELECT 1 WHERE false) TO '{data}/standby.signal'; CHECKPOINT")).await;
    // One process of it dies, and the server starts all of them again.
    let _ = scene.superuser.batch_execute("COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'").await;
    eventually("the server is a standby", async || match scene.postgres.admin_client().await {
        Ok(client) => client.query_one("SELECT pg_is_in_recovery()", &[]).await.is_ok_and(|row| row.get(0)),
        Err(error) => {
            !answers && is_starting(&error) && scene.postgres.server_log().unwrap().contains("entering standby mode")
        }
    })
    .await;
    scene
}

fn is_starting(error: &anyhow::Error) -> bool {
    error.downcast_ref().and_then(tokio_postgres::Error::code) == Some(&SqlState::CANNOT_CONNECT_NOW)
}
