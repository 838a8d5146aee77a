use chrono::TimeDelta;
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

#[tokio::test]
async fn a_temporary_user_goes_by_itself_and_its_servers_hear_of_it() {
    let (scene, server) = Scene::with_server().await;
    let body = with(new_user(&scene, "guest"), "deleteAfterDate", json!("2026-03-02T13:00:00Z"));
    assert_eq!(scene.post(&body).await.status, 201);
    scene.atlas.applied("main", 1).await.unwrap();
    assert!(server.user("admin", "guest").await.unwrap().is_some());
    scene.clock.advance(TimeDelta::minutes(59));
    assert_eq!(scene.get("/databaseUsers/admin/guest").await.json()["deleteAfterDate"], "2026-03-02T13:00:00Z");
    scene.clock.advance(TimeDelta::minutes(1));
    assert_eq!(scene.atlas.user_json(&scene.project, "guest"), Value::Null);
    scene.atlas.applied("main", 2).await.unwrap();
    assert!(server.user("admin", "guest").await.unwrap().is_none());
    scene.assert_proper();
}

#[tokio::test]
async fn a_temporary_user_ends_within_a_week() {
    for end in ["2026-03-02T12:00:00Z", "2026-03-09T12:00:01Z", "2026-03-03", "soon"] {
        let scene = Scene::with_user().await;
        let body = with(new_user(&scene, "guest"), "deleteAfterDate", json!(end));
        assert_eq!(scene.post(&body).await.refusal(), no(400, "INVALID_ATTRIBUTE"), "{end}");
        scene.assert_violation("deleteAfterDate");
        assert_eq!(scene.atlas.user_json(&scene.project, "guest"), Value::Null);
        let scene = Scene::with_user().await;
        assert_eq!(
            scene.patch(&json!({"deleteAfterDate": end})).await.refusal(),
            no(400, "INVALID_ATTRIBUTE"),
            "{end}"
        );
        scene.assert_violation("deleteAfterDate");
    }
    let scene = Scene::new().await;
    let body = with(new_user(&scene, "guest"), "deleteAfterDate", json!("2026-03-09T12:00:00Z"));
    assert_eq!(scene.post(&body).await.status, 201);
}

#[tokio::test]
async fn a_deleted_user_is_gone_from_the_servers_later_and_cannot_be_deleted_twice() {
    let (scene, server) = Scene::with_server().await;
    let deleted = Answer::of(scene.request(Method::DELETE, "/databaseUsers/admin/app")).await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    scene.atlas.applied("main", 1).await.unwrap();
    assert!(server.user("admin", "app").await.unwrap().is_none());
    let again = Answer::of(scene.request(Method::DELETE, "/databaseUsers/admin/app")).await;
    assert_eq!(again.refusal(), no(404, "USERNAME_NOT_FOUND"));
    scene.assert_proper();
}
