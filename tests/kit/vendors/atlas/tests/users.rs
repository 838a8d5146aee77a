use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Scene, no};

fn new_user(scene: &Scene, name: &str) -> Value {
    json!({
        "databaseName": "admin", "groupId": scene.project.id(), "username": name, "password": "first-password",
        "roles": [{"roleName": "readWrite", "databaseName": "shop"}],
    })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn without(mut body: Value, name: &str) -> Value {
    body.as_object_mut().unwrap().remove(name);
    body
}

#[tokio::test]
async fn a_new_user_is_shown_with_all_fields_but_the_password() {
    let scene = Scene::new().await;
    let made = scene.post(&new_user(&scene, "a/b@c d")).await;
    assert_eq!(made.status, 201);
    let shown = scene.get("/databaseUsers/admin/a%2Fb%40c%20d").await;
    let href = format!("{}{}", scene.atlas.url(), scene.target("/databaseUsers/admin/a%2Fb%40c%20d"));
    let expected = json!({
        "awsIAMType": "NONE", "databaseName": "admin", "groupId": scene.project.id(), "labels": [],
        "ldapAuthType": "NONE", "links": [{"href": href, "rel": "self"}], "oidcAuthType": "NONE",
        "roles": [{"roleName": "readWrite", "databaseName": "shop"}], "scopes": [], "username": "a/b@c d",
        "x509Type": "NONE",
    });
    assert_eq!((shown.status, &shown.json(), &made.json()), (200, &expected, &expected));
    assert_eq!(scene.atlas.user_json(&scene.project, "a/b@c d"), expected);
    assert_eq!(scene.atlas.user_json(&scene.project, "nobody"), Value::Null);
    scene.assert_proper();
}

#[tokio::test]
async fn users_that_are_not_there_are_not_found() {
    let scene = Scene::with_user().await;
    for rest in ["/databaseUsers/admin/nobody", "/databaseUsers/%24external/app", "/databaseUsers/$external/app"] {
        assert_eq!(scene.get(rest).await.refusal(), no(404, "USERNAME_NOT_FOUND"));
    }
    let answer = scene.send(Method::PATCH, "/databaseUsers/admin/nobody", &json!({})).await;
    assert_eq!(answer.refusal(), no(404, "USERNAME_NOT_FOUND"));
    assert_eq!(answer.json()["parameters"], json!(["nobody"]));
    scene.atlas.forget_user(&scene.project, "app");
    assert_eq!(scene.get("/databaseUsers/admin/app").await.refusal(), no(404, "USERNAME_NOT_FOUND"));
    scene.assert_proper();
}

#[tokio::test]
async fn a_second_user_of_a_name_and_the_hundred_and_first_are_refused() {
    let scene = Scene::new().await;
    assert_eq!(scene.post(&new_user(&scene, "app")).await.status, 201);
    assert_eq!(scene.post(&new_user(&scene, "app")).await.refusal(), no(409, "USER_ALREADY_EXISTS"));
    scene.atlas.fill_users(&scene.project, 99).unwrap();
    assert_eq!(scene.post(&new_user(&scene, "last")).await.status, 201);
    let refused = scene.post(&new_user(&scene, "too_many")).await;
    assert_eq!(refused.refusal(), no(403, "GROUP_USERS_LIMIT_EXCEEDED"));
    assert_eq!(refused.json()["parameters"], json!([100]));
    assert_eq!(scene.atlas.users(&scene.project).len(), 100);
    scene.assert_proper();
}

#[tokio::test]
async fn lists_come_in_pages() {
    let scene = Scene::new().await;
    scene.atlas.fill_users(&scene.project, 5).unwrap();
    let mut names = Vec::new();
    for nth in 1..=4 {
        let page = scene.get(&format!("/databaseUsers?itemsPerPage=2&pageNum={nth}")).await.json();
        assert_eq!(page["totalCount"], 5);
        let links = page["links"].as_array().unwrap();
        assert_eq!(links.iter().any(|link| link["rel"] == "next"), nth < 3, "{links:?}");
        names.extend(page["results"].as_array().unwrap().iter().map(|user| user["username"].clone()));
    }
    assert_eq!(names, (0..5).map(|nth| json!(format!("filler_{nth}"))).collect::<Vec<_>>());
    let page = scene.get("/databaseUsers?itemsPerPage=1&includeCount=true").await.json();
    assert_eq!((&page["totalCount"], page["results"].as_array().unwrap().len()), (&json!(5), 1));
    assert_eq!(scene.get("/databaseUsers?includeCount=false").await.json()["totalCount"], Value::Null);
    scene.assert_proper();
}

#[tokio::test]
async fn a_password_alone_changes_nothing_else() {
    let scene = Scene::with_user().await;
    let before = scene.atlas.users(&scene.project);
    scene.set_password("second-password").await;
    assert_eq!(scene.atlas.users(&scene.project), before);
    scene.assert_proper();
}

#[tokio::test]
async fn each_member_of_a_patch_replaces_the_old_one_wholesale() {
    let scene = Scene::with_user().await;
    let roles = json!([{"roleName": "read", "databaseName": "stock"}]);
    let scopes = json!([{"name": "main", "type": "CLUSTER"}]);
    let answer = scene.patch(&json!({"roles": roles, "scopes": scopes, "description": "the shop"})).await.json();
    assert_eq!((&answer["roles"], &answer["scopes"], &answer["description"]), (&roles, &scopes, &json!("the shop")));
    let echoed = scene.atlas.user_json(&scene.project, "app");
    assert_eq!(scene.patch(&echoed).await.json(), echoed);
    assert_eq!(scene.patch(&json!({})).await.json(), echoed);
    scene.assert_proper();
}

#[tokio::test]
async fn short_passwords_are_refused() {
    let scene = Scene::with_user().await;
    assert_eq!(scene.patch(&json!({"password": "1234567"})).await.refusal(), no(400, "SHORT_PASSWORD"));
    assert_eq!(scene.patch(&json!({"password": "12345678"})).await.status, 200);
    let short = with(new_user(&scene, "new"), "password", json!("1234567"));
    assert_eq!(scene.post(&short).await.refusal(), no(400, "SHORT_PASSWORD"));
    assert_eq!(scene.atlas.user_json(&scene.project, "new"), Value::Null);
    scene.assert_proper();
}

#[tokio::test]
async fn what_names_a_user_cannot_be_changed() {
    let scene = Scene::with_user().await;
    for (body, code) in [
        (json!({"username": "other"}), "DATABASE_USERNAME_CANNOT_BE_CHANGED"),
        (json!({"databaseName": "$external"}), "DATABASE_NAME_CANNOT_BE_CHANGED"),
        (json!({"x509Type": "MANAGED"}), "AUTH_TYPE_CANNOT_BE_CHANGED"),
    ] {
        assert_eq!(scene.patch(&body).await.refusal(), no(409, code));
    }
    scene.assert_proper();
}

#[tokio::test]
async fn a_new_user_needs_what_the_documentation_requires() {
    for required in ["databaseName", "groupId", "roles", "username", "password"] {
        let scene = Scene::new().await;
        let answer = scene.post(&without(new_user(&scene, "app"), required)).await;
        assert_eq!(answer.refusal(), no(400, "MISSING_ATTRIBUTE"));
        assert_eq!(answer.json()["parameters"], json!([required]));
        scene.assert_violation(required);
    }
}

#[tokio::test]
async fn careless_bodies_are_violations() {
    for (name, value) in [
        ("pwd", json!("second-password")),
        ("password", json!(12_345_678)),
        ("roles", json!([])),
        ("roles", json!([{"role": "read", "db": "shop"}])),
        ("scopes", json!(["main"])),
        ("groupId", json!("64b0a1c20000000000000404")),
    ] {
        let scene = Scene::with_user().await;
        let before = scene.atlas.users(&scene.project);
        let answer = scene.patch(&with(json!({}), name, value.clone())).await;
        assert_eq!(answer.status, 400, "{name} {value}");
        scene.assert_violation(name);
        assert_eq!((scene.atlas.users(&scene.project), scene.status("main").await), (before, "APPLIED".to_owned()));
    }
    let scene = Scene::with_user().await;
    let request = scene.request(Method::POST, "/databaseUsers").header("content-type", super::MEDIA_TYPE);
    assert_eq!(Answer::of(request.body("[1]")).await.refusal(), no(400, "MALFORMED_JSON"));
    scene.assert_violation("JSON");
}

#[tokio::test]
async fn users_of_other_auth_types_take_no_password() {
    let scene = Scene::new().await;
    scene.atlas.add_cluster_without_server(&scene.project, "main").unwrap();
    let body = json!({"username": "app", "oidcAuthType": "USER", "deleteAfterDate": "2026-03-05T00:00:00Z"});
    scene.atlas.add_user(&scene.project, &body, "").await.unwrap();
    let shown = scene.get("/databaseUsers/admin/app").await.json();
    assert_eq!((&shown["oidcAuthType"], &shown["deleteAfterDate"]), (&json!("USER"), &json!("2026-03-05T00:00:00Z")));
    let answer = scene.patch(&json!({"password": "second-password"})).await;
    assert_eq!(answer.refusal(), no(400, "INVALID_ATTRIBUTE"));
    scene.assert_violation("password");
}

#[tokio::test]
async fn no_two_users_of_a_name_are_added() {
    let scene = Scene::with_user().await;
    let again = scene.atlas.add_user(&scene.project, &json!({"username": "app"}), "first-password").await;
    assert!(again.unwrap_err().to_string().contains("second user"));
    let short = scene.atlas.add_user(&scene.project, &json!({"username": "b"}), "short").await;
    assert!(short.unwrap_err().to_string().contains("SHORT_PASSWORD"));
    assert!(scene.atlas.add_user(&scene.project, &json!({}), "first-password").await.is_err());
}
