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
async fn a_change_concerns_the_clusters_in_the_users_scopes() {
    let scene = Scene::with_user().await;
    scene.atlas.add_cluster_without_server(&scene.project, "other").unwrap();
    let statuses = async || [scene.status("main").await, scene.status("other").await];
    scene.atlas.hold("main");
    scene.atlas.hold("other");
    let body = json!({
        "databaseName": "admin", "groupId": scene.project.id(), "username": "scoped", "password": "first-password",
        "roles": [{"roleName": "read", "databaseName": "shop"}], "scopes": [{"name": "other", "type": "CLUSTER"}],
    });
    assert_eq!(scene.post(&body).await.status, 201);
    assert_eq!(statuses().await, ["APPLIED", "PENDING"]);
    scene.atlas.release("other");
    scene.atlas.applied("other", 1).await.unwrap();
    scene.set_password("second-password").await;
    assert_eq!(statuses().await[0], "PENDING");
    scene.atlas.applied("other", 2).await.unwrap();
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
async fn the_real_server_follows_in_order_and_once() {
    let (scene, server) = Scene::with_server().await;
    assert!(logs_in(&server, "first-password").await);
    scene.atlas.hold("main");
    for password in ["second-password", "third-password", "fourth-password"] {
        scene.set_password(password).await;
    }
    assert!(logs_in(&server, "first-password").await);
    scene.atlas.release("main");
    scene.atlas.applied("main", 3).await.unwrap();
    assert!(logs_in(&server, "fourth-password").await);
    assert!(!logs_in(&server, "third-password").await);

    scene.atlas.revert("main", "app", "first-password").await.unwrap();
    assert_eq!(scene.status("main").await, "APPLIED");
    assert!(logs_in(&server, "first-password").await);

    scene.atlas.ignore_next_change("main");
    scene.set_password("fifth-password").await;
    scene.atlas.applied("main", 4).await.unwrap();
    assert!(!logs_in(&server, "fifth-password").await);
    scene.set_password("fifth-password").await;
    scene.atlas.applied("main", 5).await.unwrap();
    assert!(logs_in(&server, "fifth-password").await);
    scene.assert_proper();
}

#[tokio::test]
async fn users_come_to_the_servers_in_their_scopes_and_leave_them() {
    let (scene, server) = Scene::with_server().await;
    scene.atlas.add_cluster_without_server(&scene.project, "other").unwrap();
    let roles = async || {
        let user = server.user("admin", "app").await.unwrap().unwrap();
        user.get_array("roles").unwrap()[0].as_document().unwrap().get_str("role").unwrap().to_owned()
    };
    scene.patch(&json!({"roles": [{"roleName": "read", "databaseName": "shop"}]})).await;
    scene.atlas.applied("main", 1).await.unwrap();
    assert_eq!(roles().await, "read");
    scene.patch(&json!({"scopes": [{"name": "other", "type": "CLUSTER"}]})).await;
    scene.atlas.applied("main", 2).await.unwrap();
    assert!(server.user("admin", "app").await.unwrap().is_none());
    scene.patch(&json!({"scopes": []})).await;
    scene.atlas.applied("main", 3).await.unwrap();
    assert!(logs_in(&server, "first-password").await);
    assert_eq!(roles().await, "read");
    scene.assert_proper();
}

#[tokio::test]
async fn a_change_that_the_server_refuses_is_a_violation() {
    let (scene, _server) = Scene::with_server().await;
    scene.patch(&json!({"roles": [{"roleName": "noSuchRole", "databaseName": "shop"}]})).await;
    scene.atlas.applied("main", 1).await.unwrap();
    scene.assert_violation("cluster main: app");
}

#[tokio::test]
async fn the_list_of_clusters_leads_to_the_real_server() {
    let (scene, server) = Scene::with_server().await;
    let list = scene.get("/clusters").await.json();
    let standard = list["results"][0]["connectionStrings"]["standard"].as_str().unwrap().to_owned();
    assert_eq!(standard, format!("mongodb://{}/?ssl=true&authSource=admin&replicaSet=secantus", server.address()));
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
