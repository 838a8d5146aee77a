use serde_json::json;

use super::{Scene, no};

#[tokio::test]
async fn clusters_are_listed_with_their_addresses() {
    let scene = Scene::with_user().await;
    let list = scene.get("/clusters").await.json();
    let main = &list["results"][0];
    assert_eq!((&list["totalCount"], &main["name"], &main["stateName"]), (&json!(1), &json!("main"), &json!("IDLE")));
    assert_eq!((&main["clusterType"], &main["mongoDBVersion"]), (&json!("REPLICASET"), &json!("8.0.4")));
    let address = "main-shard-00-00.abcde.mongodb.net:27017";
    let standard = format!("mongodb://{address}/?ssl=true&authSource=admin&replicaSet=atlas-main-shard-0");
    assert_eq!(main["connectionStrings"]["standard"], standard);
    scene.assert_proper();
}

#[tokio::test]
async fn a_test_says_what_a_cluster_looks_like() {
    let scene = Scene::with_user().await;
    let private = json!([{
        "connectionString": "mongodb://pl-0.abcde.mongodb.net:1024/?ssl=true",
        "endpoints": [{"endpointId": "vpce-1", "providerName": "AWS", "region": "EU_WEST_1"}],
        "type": "MONGOD",
    }]);
    let members = json!({"clusterType": "SHARDED", "connectionStrings": {"privateEndpoint": private}});
    scene.atlas.describe_cluster("main", &members);
    let main = scene.get("/clusters").await.json()["results"][0].clone();
    assert_eq!((&main["clusterType"], &main["name"]), (&json!("SHARDED"), &json!("main")));
    assert_eq!(main["connectionStrings"]["privateEndpoint"], private);
    assert!(main["connectionStrings"]["standard"].is_string());
    scene.assert_proper();
}

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
