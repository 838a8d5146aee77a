//! The client's use against a server that answers as each test says.

use super::*;
use crate::settings::{MOST_USERS, Network};
use answering::{ACCOUNT, GROUP, ROOT, Reply, Seen, Server, failure, json_reply, soon, with_tokens};
use keyturn_mongo::{Role, Scope};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;

// The client's own tests have the same server.
#[path = "../../../../shared/mongo/src/atlas/tests/answering.rs"]
mod answering;

fn atlas(server: &Server) -> Atlas {
    Atlas::new(server.base.clone(), &keyturn::http::client().unwrap(), MOST_USERS)
}

/// The JSON that was sent.
fn sent(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap()
}

fn user_json(name: &str) -> Value {
    json!({
        "awsIAMType": "NONE", "databaseName": "admin", "groupId": GROUP, "labels": [], "ldapAuthType": "NONE",
        "oidcAuthType": "NONE", "x509Type": "NONE", "username": name, "links": [],
        "roles": [
            {"databaseName": "app", "roleName": "readWrite"},
            {"databaseName": "app", "roleName": "read", "collectionName": "logs"},
        ],
        "scopes": [{"name": "one", "type": "CLUSTER"}],
    })
}

fn user(name: &str) -> User {
    let role = |role: &str, collection: Option<&str>| Role {
        name: role.to_owned(),
        database: "app".to_owned(),
        collection: collection.map(str::to_owned),
    };
    User {
        name: name.to_owned(),
        database: "admin".to_owned(),
        roles: [role("readWrite", None), role("read", Some("logs"))].into(),
        scopes: [Scope { kind: "CLUSTER".to_owned(), name: "one".to_owned() }].into(),
        mechanisms: None,
        restrictions: Vec::new(),
        passwordless: None,
        ends: None,
    }
}

/// The outcome of asking for a user when the API answers this.
async fn outcome(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Result<Option<User>> {
    let server = with_tokens(move |_| reply());
    atlas(&server).project(&ACCOUNT.into(), GROUP)?.user("app_rw", soon()).await
}

#[tokio::test]
async fn a_user_is_read_with_a_token_that_serves_further_calls() {
    let server = with_tokens(|_| json_reply(200, user_json("a/b %@\u{e4}")));
    let atlas = atlas(&server);
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    assert!(server.seen().is_empty(), "a token was asked for before it was needed");
    assert_eq!(project.user("a/b %@\u{e4}", soon()).await.unwrap(), Some(user("a/b %@\u{e4}")));
    let warm = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    warm.user("a/b %@\u{e4}", soon()).await.unwrap();
    let path = format!("GET {ROOT}/databaseUsers/admin/a%2Fb%20%25%40%C3%A4");
    assert_eq!(server.calls(), ["POST /api/oauth/token", &path, &path]);
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), "Basic bWRiX3NhX2lkXzE6bWRiX3NhX3NrXzE=");
    assert_eq!(seen[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(
        (seen[0].header("accept"), seen[0].body.as_str()),
        ("application/json", "grant_type=client_credentials")
    );
    assert_eq!(seen[1].header("authorization"), "Bearer tok-1");
    assert_eq!(seen[1].header("accept"), "application/vnd.atlas.2023-01-01+json");
}

#[tokio::test]
async fn writes_send_what_they_change_and_nothing_else() {
    let server = with_tokens(|seen| json_reply(if seen.call.starts_with("POST") { 201 } else { 200 }, "{}"));
    let atlas = atlas(&server);
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    let (model, password) = (user("app_rw"), "correct horse \"b\u{e4}ttery".into());
    project.set_password(&model, &password, soon()).await.unwrap();
    project.set_rights(&user("twin"), &model, soon()).await.unwrap();
    assert_eq!(project.create("twin", &model, &password, soon()).await.unwrap(), Created::Made);
    let seen = server.seen();
    assert_eq!(seen[1].call, format!("PATCH {ROOT}/databaseUsers/admin/app_rw"));
    assert_eq!(sent(&seen[1]), json!({"password": "correct horse \"b\u{e4}ttery"}));
    let roles = json!([
        {"roleName": "read", "databaseName": "app", "collectionName": "logs"},
        {"roleName": "readWrite", "databaseName": "app"},
    ]);
    let scopes = json!([{"name": "one", "type": "CLUSTER"}]);
    assert_eq!(seen[2].call, format!("PATCH {ROOT}/databaseUsers/admin/twin"));
    assert_eq!(sent(&seen[2]), json!({"roles": roles, "scopes": scopes}));
    assert_eq!(seen[3].call, format!("POST {ROOT}/databaseUsers"));
    let made = json!({
        "databaseName": "admin", "groupId": GROUP, "username": "twin", "password": "correct horse \"b\u{e4}ttery",
        "roles": roles, "scopes": scopes,
    });
    assert_eq!(sent(&seen[3]), made);
    for call in &seen[1..] {
        assert_eq!(call.header("content-type"), "application/vnd.atlas.2023-01-01+json");
    }
}

#[tokio::test]
async fn a_user_that_is_missing_is_none_and_nothing_else_is() {
    assert_eq!(outcome(|| failure(404, "USERNAME_NOT_FOUND", &json!([]))).await.unwrap(), None);
    for (reply, code) in [
        (failure(404, "GROUP_NOT_FOUND", &json!([])), "ATLAS_PROJECT_NOT_FOUND"),
        (Reply(404, "content-type: text/html\r\n", "<html>not here</html>".to_owned()), "ATLAS_ANSWER_STRANGE"),
        (json_reply(404, "{}"), "ATLAS_CALL_FAILED"),
    ] {
        let reply = Mutex::new(Some(reply));
        let error = outcome(move || reply.lock().unwrap().take().unwrap()).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[tokio::test]
async fn another_user_than_the_one_asked_for_is_not_taken_for_it() {
    let error = outcome(|| json_reply(200, user_json("other"))).await.unwrap_err();
    assert_eq!(error.code(), "ATLAS_ANSWER_STRANGE");
    let mut bare = user_json("app_rw");
    bare.as_object_mut().unwrap().remove("roles");
    let error = outcome(move || json_reply(200, &bare)).await.unwrap_err();
    assert_eq!(error.code(), "ATLAS_ANSWER_STRANGE");
}

#[tokio::test]
async fn a_user_without_a_password_or_with_an_end_is_told_apart() {
    for (member, value, passwordless, ends) in [
        ("awsIAMType", "USER", Some("awsIAMType is USER"), None),
        ("x509Type", "MANAGED", Some("x509Type is MANAGED"), None),
        ("oidcAuthType", "IDP_GROUP", Some("oidcAuthType is IDP_GROUP"), None),
        ("ldapAuthType", "GROUP", Some("ldapAuthType is GROUP"), None),
        ("deleteAfterDate", "2026-06-08T12:00:00Z", None, Some("2026-06-08T12:00:00Z")),
    ] {
        let mut json = user_json("app_rw");
        json[member] = value.into();
        let user = outcome(move || json_reply(200, &json)).await.unwrap().unwrap();
        assert_eq!((user.passwordless.as_deref(), user.ends.as_deref()), (passwordless, ends));
    }
    let mut json = user_json("app_rw");
    json["deleteAfterDate"] = Value::Null;
    json.as_object_mut().unwrap().remove("scopes");
    let user = outcome(move || json_reply(200, &json)).await.unwrap().unwrap();
    assert_eq!((user.scopes, user.ends, user.passwordless), (BTreeSet::new(), None, None));
}

#[tokio::test]
async fn a_password_that_atlas_quotes_is_not_shown() {
    let server = with_tokens(|seen| {
        let detail = format!("The password {} is too common.\r\nChoose.", sent(seen)["password"]);
        json_reply(400, json!({"error": 400, "errorCode": "PASSWORD_TOO_COMMON", "detail": detail}))
    });
    let atlas = atlas(&server);
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    let (model, password) = (user("app_rw"), "hunter2hunter2".into());
    let set = project.set_password(&model, &password, soon()).await.unwrap_err();
    let created = project.create("twin", &model, &password, soon()).await.unwrap_err();
    for error in [set, created] {
        assert!(error.message().ends_with("failed: 400, PASSWORD_TOO_COMMON."), "{error}");
    }
    let error = project.set_rights(&model, &model, soon()).await.unwrap_err();
    assert!(error.message().ends_with("The password null is too common.  Choose."), "{error}");
}

#[tokio::test]
async fn a_user_that_exists_already_is_taken() {
    for (reply, taken) in [
        (|| failure(409, "USER_ALREADY_EXISTS", &json!([])) as Reply, true),
        (|| Reply(409, "content-type: text/html\r\n", "<html>".to_owned()), false),
    ] as [(fn() -> Reply, bool); 2]
    {
        let server = with_tokens(move |_| reply());
        let atlas = atlas(&server);
        let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
        let created = project.create("twin", &user("app_rw"), &"long enough".into(), soon()).await;
        assert_eq!(created.ok(), taken.then_some(Created::Taken));
    }
}

#[tokio::test]
async fn a_project_has_room_below_a_hundred_users() {
    for (count, room) in [(99, true), (100, false)] {
        let server = with_tokens(move |_| json_reply(200, json!({"results": [], "totalCount": count})));
        let atlas = atlas(&server);
        match atlas.project(&ACCOUNT.into(), GROUP).unwrap().has_room(soon()).await {
            Ok(()) => assert!(room),
            Err(error) => {
                assert!(!room && error.is(Shared::AtlasUserQuota), "{error}");
                assert!(error.to_string().contains("strategy \"fixed\""), "{error}");
            }
        }
        assert_eq!(server.calls()[1], format!("GET {ROOT}/databaseUsers?itemsPerPage=1&includeCount=true"));
    }
}

/// A page of clusters, the ones from this number on.
fn page(seen: &Seen, total: usize, a_page: usize) -> Reply {
    let number: usize = seen.call.split("pageNum=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
    let numbers = ((number - 1) * a_page..total).take(a_page);
    let results: Vec<_> = numbers.map(|n| json!({"name": format!("c{n}"), "stateName": "IDLE"})).collect();
    json_reply(200, json!({"results": results, "totalCount": total, "links": []}))
}

#[tokio::test]
async fn a_cluster_is_reached_by_the_network_that_was_chosen() {
    let server = with_tokens(|_| {
        let strings = json!({
            "standard": "mongodb://a:27017/?ssl=true", "standardSrv": "mongodb+srv://x", "private": "mongodb://b:1",
            "privateEndpoint": [
                {"connectionString": "mongodb://c:1", "srvConnectionString": "mongodb+srv://y", "type": "MONGOD",
                 "endpoints": [{"endpointId": "vpce-1", "providerName": "AWS"}, {"region": "x"}]},
                {"srvConnectionString": "mongodb+srv://z"},
            ],
        });
        json_reply(200, json!({"results": [{"name": "one", "connectionStrings": strings}], "totalCount": 1}))
    });
    let atlas = atlas(&server);
    let clusters = atlas.project(&ACCOUNT.into(), GROUP).unwrap().clusters(soon()).await.unwrap();
    let by = |network| clusters[0].address(&network);
    assert_eq!(by(Network::Public), Some("mongodb://a:27017/?ssl=true"));
    assert_eq!(by(Network::Peering), Some("mongodb://b:1"));
    assert_eq!(by(Network::Endpoint("vpce-1".to_owned())), Some("mongodb://c:1"));
    assert_eq!(by(Network::Endpoint("vpce-2".to_owned())), None);
    assert_eq!(clusters[0].asleep(), None);
}

#[tokio::test]
async fn each_resource_is_asked_for_in_its_own_revision() {
    let server = with_tokens(|seen| page(seen, 1, 2));
    let atlas = atlas(&server);
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    assert!(!project.clusters(soon()).await.unwrap()[0].is_flex);
    assert!(project.flex_clusters(soon()).await.unwrap().unwrap()[0].is_flex);
    let asked = |list: &str| {
        let seen = server.seen().into_iter().find(|seen| seen.call.contains(list)).unwrap();
        seen.header("accept").to_owned()
    };
    assert_eq!(asked("/clusters?"), "application/vnd.atlas.2024-08-05+json");
    assert_eq!(asked("/flexClusters?"), "application/vnd.atlas.2024-11-13+json");
}

/// What is known when the clusters answer these.
async fn progress(replies: &[fn() -> Reply]) -> (Progress, Server) {
    let copies = replies.to_vec();
    let server = with_tokens(move |seen| {
        let number: usize = seen.call.trim_end_matches("/status").rsplit("/c%20").next().unwrap().parse().unwrap();
        copies[number]()
    });
    let atlas = atlas(&server);
    let names = (0..replies.len()).map(|n| format!("c {n}")).collect();
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    project.watch(names, true);
    let known = project.progress(soon()).await;
    assert_eq!(known, project.progress(soon()).await, "asked again");
    (known, server)
}

#[tokio::test]
async fn progress_is_that_of_all_watched_clusters() {
    let applied = || json_reply(200, json!({"changeStatus": "APPLIED"}));
    let pending = || json_reply(200, json!({"changeStatus": "PENDING"}));
    let refused = || failure(403, "USER_UNAUTHORIZED", &json!([]));
    let unknown: [fn() -> Reply; 5] = [
        refused,
        || failure(401, "UNAUTHORIZED", &json!([])),
        || failure(404, "CLUSTER_NOT_FOUND", &json!([])),
        || json_reply(200, json!({"changeStatus": "SOON"})),
        || Reply(200, "content-type: text/html\r\n", String::new()),
    ];
    assert_eq!(progress(&[applied, applied]).await.0, Progress::Applied);
    assert_eq!(progress(&[applied, pending, refused]).await.0, Progress::Pending);
    assert_eq!(progress(&[]).await.0, Progress::Unknown);
    for reply in unknown {
        assert_eq!(progress(&[applied, reply]).await.0, Progress::Unknown);
    }
}

#[tokio::test]
async fn a_cluster_that_atlas_does_not_tell_about_is_not_asked_about_again() {
    let (_, server) =
        progress(&[|| json_reply(200, json!({"changeStatus": "PENDING"})), || failure(403, "X", &json!([]))]).await;
    let asked = |name: &str| server.calls().iter().filter(|call| call.contains(name)).count();
    assert_eq!((asked("/clusters/c%200/status"), asked("/clusters/c%201/status")), (2, 1));
}
