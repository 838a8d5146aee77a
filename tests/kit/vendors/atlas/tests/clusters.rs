use super::{Scene, no};

#[tokio::test]
async fn clusters_belong_to_one_project_and_have_one_name() {
    let mut scene = Scene::with_user().await;
    assert!(scene.atlas.add_cluster_without_server(&scene.project, "main").is_err());
    scene.project = scene.atlas.project();
    scene.atlas.set_roles(&scene.account.0, &scene.project, &["GROUP_READ_ONLY"]);
    assert_eq!(scene.get("/clusters").await.json()["totalCount"], 0);
    assert_eq!(scene.get("/clusters/main/status").await.refusal(), no(404, "CLUSTER_NOT_FOUND"));
    scene.assert_proper();
}
