use super::{ADMIN, Scene, no};
use crate::vendors::atlas::{Endpoint, Project};

const UNAUTHORIZED: &str = "USER_UNAUTHORIZED";

#[tokio::test]
async fn database_users_take_the_least_role_or_ownership() {
    let scene = Scene::with_user().await;
    let id = scene.account.0.as_str();
    for (roles, status) in [
        (vec!["GROUP_READ_ONLY"], 403),
        (vec!["GROUP_OWNER"], 200),
        (vec!["GROUP_READ_ONLY", ADMIN], 200),
        (vec!["ORG_OWNER"], 403),
    ] {
        scene.atlas.set_roles(id, &scene.project, &roles);
        let answer = scene.get("/databaseUsers/admin/app").await;
        assert_eq!(answer.status, status, "{roles:?}");
        if status == 403 {
            assert_eq!(answer.refusal(), no(403, UNAUTHORIZED));
        }
        assert_eq!(scene.get("/clusters").await.status, 200);
    }
    scene.assert_proper();
}

#[tokio::test]
async fn a_role_counts_in_its_own_project() {
    let mut scene = Scene::with_user().await;
    let other = scene.atlas.project();
    let theirs = std::mem::replace(&mut scene.project, other);
    assert_eq!(scene.get("/clusters").await.refusal(), no(403, UNAUTHORIZED));
    scene.atlas.set_roles(&scene.account.0, &scene.project, &[ADMIN]);
    assert_eq!(scene.get("/databaseUsers/admin/app").await.refusal(), no(404, "USERNAME_NOT_FOUND"));
    scene.project = theirs;
    assert_eq!(scene.get("/databaseUsers/admin/app").await.status, 200);
    scene.assert_proper();
}

#[tokio::test]
async fn an_unknown_project_is_not_found() {
    let mut scene = Scene::new().await;
    assert!(scene.project.id().len() == 24 && scene.project.id().chars().all(|c| c.is_ascii_hexdigit()));
    scene.project = Project("64b0a1c20000000000000404".to_owned());
    assert_eq!(scene.get("/clusters").await.refusal(), no(404, "GROUP_NOT_FOUND"));
    scene.assert_proper();
}

#[tokio::test]
async fn a_test_can_refuse_any_endpoint_with_either_status() {
    let scene = Scene::with_user().await;
    let id = scene.account.0.as_str();
    for (endpoint, rest) in [
        (Endpoint::DatabaseUsers, "/databaseUsers"),
        (Endpoint::Clusters, "/clusters"),
        (Endpoint::FlexClusters, "/flexClusters"),
        (Endpoint::ClusterStatus, "/clusters/main/status"),
    ] {
        for status in [401, 403] {
            scene.atlas.refuse(id, endpoint, status);
            assert_eq!(scene.get(rest).await.refusal(), no(status, UNAUTHORIZED));
        }
        scene.atlas.permit(id, endpoint);
        assert_eq!(scene.get(rest).await.status, 200);
    }
    scene.assert_proper();
}
