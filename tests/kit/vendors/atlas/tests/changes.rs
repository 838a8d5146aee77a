use std::time::Duration;

use serde_json::json;

use super::{Scene, no};
use crate::mongo::Mongo;

const LONG: Duration = Duration::from_hours(1);

async fn logs_in(server: &Mongo, password: &str) -> bool {
    server.logs_in("admin", "app", password).await.unwrap()
}

#[tokio::test]
async fn a_held_change_is_pending_until_it_is_released() {
    let scene = Scene::with_user().await;
    scene.atlas.add_cluster_without_server(&scene.project, "other").unwrap();
    assert_eq!(scene.status("main").await, "APPLIED");
    scene.atlas.hold("main");
    for cluster in ["main", "other"] {
        scene.atlas.set_delay(cluster, Duration::ZERO);
    }
    scene.set_password("second-password").await;
    scene.atlas.applied("other", 1).await.unwrap();
    assert_eq!(scene.status("main").await, "PENDING");
    scene.atlas.release("main");
    scene.atlas.applied("main", 1).await.unwrap();
    assert_eq!(scene.status("main").await, "APPLIED");
    scene.assert_proper();
}

#[tokio::test]
async fn a_change_takes_as_long_as_the_test_says() {
    let scene = Scene::with_user().await;
    scene.atlas.set_delay("main", LONG);
    scene.set_password("second-password").await;
    assert_eq!(scene.status("main").await, "PENDING");
    scene.assert_proper();
}

#[tokio::test]
async fn applied_may_be_stale_right_after_a_change() {
    let scene = Scene::with_user().await;
    scene.atlas.hold("main");
    scene.atlas.stale_applied("main", 2);
    for _ in 0..2 {
        scene.set_password("second-password").await;
        let said = [scene.status("main").await, scene.status("main").await, scene.status("main").await];
        assert_eq!(said, ["APPLIED", "APPLIED", "PENDING"]);
    }
    scene.assert_proper();
}

#[tokio::test]
async fn what_is_refused_changes_no_cluster() {
    let scene = Scene::with_user().await;
    scene.atlas.hold("main");
    assert_eq!(scene.patch(&json!({"password": "short"})).await.refusal(), no(400, "SHORT_PASSWORD"));
    assert_eq!(scene.status("main").await, "APPLIED");
    scene.atlas.applied("main", 0).await.unwrap();
}

#[tokio::test]
async fn a_change_that_the_server_refuses_is_a_violation() {
    let (scene, _server) = Scene::with_server().await;
    scene.patch(&json!({"roles": [{"roleName": "noSuchRole", "databaseName": "shop"}]})).await;
    scene.atlas.applied("main", 1).await.unwrap();
    scene.assert_violation("cluster main: app");
}

#[tokio::test]
async fn nothing_is_applied_once_the_emulator_is_gone() {
    let (scene, server) = Scene::with_server().await;
    scene.atlas.hold("main");
    scene.set_password("second-password").await;
    let cluster = scene.atlas.cluster("main");
    drop(scene);
    tokio::time::timeout(Duration::from_secs(10), cluster.abandoned()).await.unwrap();
    cluster.hold(false);
    assert!(logs_in(&server, "first-password").await);
}
