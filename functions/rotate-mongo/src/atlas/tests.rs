//! The client against a server that answers as each test says, one thread a connection.

use super::*;
use crate::settings::MOST_USERS;
use crate::settings::Network;
use crate::user::{Role, Scope};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tokio::net::TcpSocket;

const GROUP: &str = "64b1c0ffee64b1c0ffee64b1";
const ROOT: &str = "/api/atlas/v2/groups/64b1c0ffee64b1c0ffee64b1";
const KEY: &str = r#"{"public_key":"abcdefgh","private_key":"priv-ate"}"#;
const ACCOUNT: &str = r#"{"client_id":"mdb_sa_id_1","client_secret":"mdb_sa_sk_1"}"#;
const TOKEN: &str = r#"{"access_token":"tok-1","expires_in":3600,"token_type":"Bearer"}"#;
const CHALLENGE: &str = "Digest realm=\"MMS Public API\", nonce=\"n1\", algorithm=MD5, qop=\"auth\", stale=false";

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Seen {
    /// `GET /path?query`
    call: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An answer: status, further headers, body.
struct Reply(u16, &'static str, String);

#[expect(clippy::needless_pass_by_value, reason = "most are made for the call")]
fn json_reply(status: u16, body: impl ToString) -> Reply {
    Reply(status, "content-type: application/vnd.atlas.2023-01-01+json\r\n", body.to_string())
}

fn failure(status: u16, code: &str, parameters: &Value) -> Reply {
    let body =
        json!({"error": status, "errorCode": code, "detail": "It failed.", "reason": "x", "parameters": parameters});
    json_reply(status, body)
}

struct Server {
    base: Base,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = Base::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), &record, &*answer));
            }
        });
        Self { base, seen }
    }

    fn atlas(&self) -> Atlas {
        Atlas::new(self.base.clone(), &keyturn::http::client().unwrap(), MOST_USERS)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn calls(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.call).collect()
    }
}

fn serve(mut stream: TcpStream, record: &Mutex<Vec<Seen>>, answer: &impl Fn(&Seen, usize) -> Reply) {
    let seen = read(&mut stream);
    let nth = {
        let mut record = record.lock().unwrap();
        record.push(seen.clone());
        record.len()
    };
    let Reply(status, headers, body) = answer(&seen, nth);
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
}

fn read(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: Vec<_> = rest.lines().filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let call = first.trim_end_matches(" HTTP/1.1").to_owned();
    Seen { call, headers, body: String::from_utf8(body).unwrap() }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
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

/// A server with tokens, which answers API calls as told.
fn with_tokens(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |seen, _| match seen.call.as_str() {
        "POST /api/oauth/token" => json_reply(200, TOKEN),
        "POST /api/oauth/revoke" => Reply(200, "", String::new()),
        _ => answer(seen),
    })
}

/// The outcome of asking for a user when the API answers this.
async fn outcome(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Result<Option<User>> {
    let server = with_tokens(move |_| reply());
    server.atlas().project(&ACCOUNT.into(), GROUP)?.user("app_rw", soon()).await
}

#[tokio::test]
async fn a_user_is_read_with_a_token_that_serves_further_calls() {
    let server = with_tokens(|_| json_reply(200, user_json("a/b %@\u{e4}")));
    let atlas = server.atlas();
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
    let atlas = server.atlas();
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    let (model, password) = (user("app_rw"), "correct horse \"b\u{e4}ttery".into());
    project.set_password(&model, &password, soon()).await.unwrap();
    project.set_rights(&user("twin"), &model, soon()).await.unwrap();
    assert_eq!(project.create("twin", &model, &password, soon()).await.unwrap(), Created::Made);
    let seen = server.seen();
    assert_eq!(seen[1].call, format!("PATCH {ROOT}/databaseUsers/admin/app_rw"));
    assert_eq!(seen[1].json(), json!({"password": "correct horse \"b\u{e4}ttery"}));
    let roles = json!([
        {"roleName": "read", "databaseName": "app", "collectionName": "logs"},
        {"roleName": "readWrite", "databaseName": "app"},
    ]);
    let scopes = json!([{"name": "one", "type": "CLUSTER"}]);
    assert_eq!(seen[2].call, format!("PATCH {ROOT}/databaseUsers/admin/twin"));
    assert_eq!(seen[2].json(), json!({"roles": roles, "scopes": scopes}));
    assert_eq!(seen[3].call, format!("POST {ROOT}/databaseUsers"));
    let made = json!({
        "databaseName": "admin", "groupId": GROUP, "username": "twin", "password": "correct horse \"b\u{e4}ttery",
        "roles": roles, "scopes": scopes,
    });
    assert_eq!(seen[3].json(), made);
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
async fn every_refusal_has_its_code_and_its_remedy() {
    let none = json!([]);
    for (status, code, parameters, expected, said) in [
        (401, "UNAUTHORIZED", &none, "ATLAS_CREDENTIAL_REFUSED", "401, UNAUTHORIZED"),
        (401, "USER_UNAUTHORIZED", &none, "ATLAS_PERMISSION_MISSING", "GROUP_DATABASE_ACCESS_ADMIN"),
        (403, "USER_UNAUTHORIZED", &none, "ATLAS_PERMISSION_MISSING", "USER_UNAUTHORIZED: It failed."),
        (403, "IP_ADDRESS_NOT_ON_ACCESS_LIST", &json!(["203.0.113.9"]), "ATLAS_IP_NOT_ALLOWED", "203.0.113.9 is not"),
        (403, "IP_ADDRESS_NOT_ON_ACCESS_LIST", &json!([7, "<b>"]), "ATLAS_IP_NOT_ALLOWED", "the function's address"),
        (403, "ORG_REQUIRES_ACCESS_LIST", &none, "ATLAS_IP_NOT_ALLOWED", "NAT gateway"),
        (403, "GROUP_USERS_LIMIT_EXCEEDED", &json!([100]), "ATLAS_USER_QUOTA", "strategy \"fixed\""),
        (406, "INVALID_VERSION_DATE", &none, "ATLAS_API_VERSION_GONE", "Deploy a newer version"),
        (410, "VERSION_GONE", &none, "ATLAS_API_VERSION_GONE", "VERSION_GONE"),
        (500, "UNEXPECTED_ERROR", &none, "ATLAS_CALL_FAILED", "500, UNEXPECTED_ERROR: It failed."),
        (400, "two words", &none, "ATLAS_CALL_FAILED", "failed: 400: It failed."),
    ] {
        let (code, parameters) = (code.to_owned(), parameters.clone());
        let error = outcome(move || failure(status, &code, &parameters)).await.unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
        let name = format!("GET {ROOT}/databaseUsers/admin/app_rw at Atlas");
        assert!(error.message().starts_with(&name) && error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_atlas_is_called_so() {
    let html = |status| move || Reply(status, "content-type: text/html\r\n", "<html>s3cret</html>".to_owned());
    for status in [200, 403, 500] {
        let error = outcome(html(status)).await.unwrap_err();
        assert_eq!(error.code(), "ATLAS_ANSWER_STRANGE", "{error}");
        assert!(error.message().contains(&status.to_string()) && !error.to_string().contains("s3cret"), "{error}");
    }
    let moved = || Reply(302, "location: https://evil.example/\r\n", String::new());
    assert_eq!(outcome(moved).await.unwrap_err().code(), "ATLAS_ANSWER_STRANGE");
    let nobody = TcpSocket::new_v4().unwrap(); // bound and not listening: the port is ours, and refuses
    nobody.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let base = Base::parse(&format!("http://{}", nobody.local_addr().unwrap())).unwrap();
    let atlas = Atlas::new(base, &keyturn::http::client().unwrap(), MOST_USERS);
    let in_a_moment = Deadline::after(Duration::from_millis(100));
    let error = atlas.project(&KEY.into(), GROUP).unwrap().user("app_rw", in_a_moment).await.unwrap_err();
    assert_eq!(error.code(), "ATLAS_UNREACHABLE");
}

#[tokio::test]
async fn a_password_that_atlas_quotes_is_not_shown() {
    let server = with_tokens(|seen| {
        let detail = format!("The password {} is too common.\r\nChoose.", seen.json()["password"]);
        json_reply(400, json!({"error": 400, "errorCode": "PASSWORD_TOO_COMMON", "detail": detail}))
    });
    let atlas = server.atlas();
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
async fn a_429_is_waited_for_as_its_header_says_and_no_number_of_its_body_is_a_time() {
    // The path, the number of requests and the minutes: 10 s are too long for this deadline, one second would not be.
    let limited = || failure(429, "RATE_LIMITED", &json!(["api/atlas", 1, 1]));
    assert_eq!(outcome(limited).await.unwrap_err().code(), "ATLAS_THROTTLED");
    let server = Server::start(move |seen, nth| match nth {
        1 => json_reply(200, TOKEN),
        2 => {
            let Reply(status, _, body) = failure(429, "RATE_LIMITED_TOKEN_BUCKET", &json!(["api/atlas", 60]));
            Reply(status, "content-type: application/json\r\nretry-after: 0\r\n", body)
        }
        _ => json_reply(200, user_json(seen.call.rsplit('/').next().unwrap())),
    });
    let atlas = server.atlas();
    atlas.project(&ACCOUNT.into(), GROUP).unwrap().user("app_rw", soon()).await.unwrap();
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn a_user_that_exists_already_is_taken() {
    for (reply, taken) in [
        (|| failure(409, "USER_ALREADY_EXISTS", &json!([])) as Reply, true),
        (|| Reply(409, "content-type: text/html\r\n", "<html>".to_owned()), false),
    ] as [(fn() -> Reply, bool); 2]
    {
        let server = with_tokens(move |_| reply());
        let atlas = server.atlas();
        let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
        let created = project.create("twin", &user("app_rw"), &"long enough".into(), soon()).await;
        assert_eq!(created.ok(), taken.then_some(Created::Taken));
    }
}

#[tokio::test]
async fn a_project_has_room_below_a_hundred_users() {
    for (count, room) in [(99, true), (100, false)] {
        let server = with_tokens(move |_| json_reply(200, json!({"results": [], "totalCount": count})));
        let atlas = server.atlas();
        let outcome = atlas.project(&ACCOUNT.into(), GROUP).unwrap().has_room(soon()).await;
        assert_eq!(outcome.map_err(|error| error.code()), if room { Ok(()) } else { Err("ATLAS_USER_QUOTA") });
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
async fn all_pages_of_clusters_are_read() {
    for (total, pages) in [(0, 1), (1, 1), (5, 3)] {
        let server = with_tokens(move |seen| page(seen, total, 2));
        let atlas = server.atlas();
        let clusters = atlas.project(&ACCOUNT.into(), GROUP).unwrap().clusters(soon()).await.unwrap();
        let names: Vec<_> = clusters.iter().map(|cluster| cluster.name.clone()).collect();
        assert_eq!(names, (0..total).map(|n| format!("c{n}")).collect::<Vec<_>>());
        assert_eq!(server.calls().len() - 1, pages);
    }
    let short = with_tokens(|_| json_reply(200, json!({"results": [], "totalCount": 3})));
    let atlas = short.atlas();
    let error = atlas.project(&ACCOUNT.into(), GROUP).unwrap().clusters(soon()).await.unwrap_err();
    assert_eq!(error.code(), "ATLAS_ANSWER_STRANGE");
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
    let atlas = server.atlas();
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
    let atlas = server.atlas();
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
    let atlas = server.atlas();
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

/// Answers only the token that was given last, the second one onwards.
fn revoking() -> Server {
    let minted = Mutex::new(0);
    Server::start(move |seen, _| match seen.call.as_str() {
        "POST /api/oauth/token" => {
            let mut minted = minted.lock().unwrap();
            *minted += 1;
            let token = json!({"access_token": format!("tok-{minted}"), "expires_in": 3600, "token_type": "bearer"});
            json_reply(200, token)
        }
        "POST /api/oauth/revoke" => Reply(200, "", String::new()),
        _ if seen.header("authorization") == "Bearer tok-1" => failure(401, "UNAUTHORIZED", &json!([])),
        _ => json_reply(200, json!({"changeStatus": "APPLIED"})),
    })
}

fn count(server: &Server, call: &str) -> usize {
    server.calls().iter().filter(|seen| *seen == call).count()
}

#[tokio::test]
async fn a_token_that_ended_is_replaced_once_for_all_calls_at_the_same_time() {
    let server = revoking();
    let atlas = server.atlas();
    let names = (0..4).map(|n| format!("c{n}")).collect();
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    project.watch(names, true);
    assert_eq!(project.progress(soon()).await, Progress::Applied);
    assert_eq!(count(&server, "POST /api/oauth/token"), 2);
    assert_eq!(server.calls().len(), 2 + 4 + 4);
}

#[tokio::test]
async fn leaving_gives_the_token_back() {
    let server = with_tokens(|_| json_reply(200, user_json("app_rw")));
    let atlas = server.atlas();
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    project.leave().await;
    assert!(server.seen().is_empty());
    project.user("app_rw", soon()).await.unwrap();
    project.leave().await;
    project.leave().await;
    project.user("app_rw", soon()).await.unwrap();
    assert_eq!((count(&server, "POST /api/oauth/revoke"), count(&server, "POST /api/oauth/token")), (1, 2));
    let revoke = server.seen().remove(2);
    assert_eq!(revoke.body, "token=tok-1&token_type_hint=access_token");
    assert_eq!(revoke.header("authorization"), "Basic bWRiX3NhX2lkXzE6bWRiX3NhX3NrXzE=");
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_not_used_again() {
    for (lifetime, minted) in [(60, 2), (120, 1)] {
        let server = Server::start(move |seen, _| {
            let token = json!({"access_token": "t", "expires_in": lifetime, "token_type": "Bearer"});
            json_reply(200, if seen.call.ends_with("token") { token } else { user_json("app_rw") })
        });
        let atlas = server.atlas();
        let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
        project.user("app_rw", soon()).await.unwrap();
        project.user("app_rw", soon()).await.unwrap();
        assert_eq!(count(&server, "POST /api/oauth/token"), minted);
    }
}

#[tokio::test]
async fn a_token_that_is_not_given_says_why() {
    let oauth = |status, error: &str| json_reply(status, json!({"error": error, "error_description": "s3cret"}));
    let refusals: [(Reply, &str); 6] = [
        (oauth(401, "invalid_client"), "ATLAS_CREDENTIAL_REFUSED"),
        (oauth(400, "invalid_client"), "ATLAS_CREDENTIAL_REFUSED"),
        (oauth(403, "access_denied"), "ATLAS_TOKEN_LIMIT"),
        (oauth(400, "invalid_request"), "ATLAS_CALL_FAILED"),
        (json_reply(200, json!({"access_token": "t", "expires_in": 1, "token_type": "DPoP"})), "ATLAS_ANSWER_STRANGE"),
        (Reply(200, "content-type: text/html\r\n", "s3cret".to_owned()), "ATLAS_ANSWER_STRANGE"),
    ];
    for (reply, code) in refusals {
        let reply = Mutex::new(Some(reply));
        let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap());
        let atlas = server.atlas();
        let error = atlas.project(&ACCOUNT.into(), GROUP).unwrap().user("app_rw", soon()).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().starts_with("POST /api/oauth/token at Atlas"), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

/// A server of nonces: the first is refused when it is used the second time, as too old or for good.
fn digesting(stale: bool) -> Server {
    let given = Mutex::new(0);
    Server::start(move |seen, _| {
        let header = seen.header("authorization");
        let challenge = |stale: bool| {
            let mut given = given.lock().unwrap();
            *given += 1;
            let challenge = CHALLENGE.replace("n1", &format!("n{given}")).replace("=false", &format!("={stale}"));
            Reply(401, Box::leak(format!("www-authenticate: {challenge}\r\n").into_boxed_str()), String::new())
        };
        match header {
            "" => challenge(false),
            header if header.contains("nonce=\"n1\"") && header.contains("nc=00000002") => challenge(stale),
            _ => json_reply(200, user_json("app_rw")),
        }
    })
}

#[tokio::test]
async fn a_nonce_is_used_until_it_is_stale() {
    let server = digesting(true);
    let atlas = server.atlas();
    let project = atlas.project(&KEY.into(), GROUP).unwrap();
    for _ in 0..3 {
        project.user("app_rw", soon()).await.unwrap();
    }
    let used = |seen: Seen| {
        let header = seen.header("authorization").to_owned();
        let part = |name: &str| header.split(name).nth(1).unwrap_or_default().chars().take(8).collect::<String>();
        format!("{} {}", part("nonce=\"").chars().take(2).collect::<String>(), part("nc="))
    };
    let used: Vec<_> = server.seen().into_iter().map(used).collect();
    assert_eq!(used, [" ", "n1 00000001", "n1 00000002", "n2 00000001", "n2 00000002"]);
    let target = format!("uri=\"{ROOT}/databaseUsers/admin/app_rw\"");
    assert!(server.seen()[1].header("authorization").contains(&target));
    project.leave().await;
    assert_eq!(server.calls().len(), 5);
}

#[tokio::test]
async fn a_key_that_is_refused_is_not_tried_again() {
    let server = digesting(false);
    let atlas = server.atlas();
    let project = atlas.project(&KEY.into(), GROUP).unwrap();
    project.user("app_rw", soon()).await.unwrap();
    let error = project.user("app_rw", soon()).await.unwrap_err();
    assert_eq!((error.code(), server.calls().len()), ("ATLAS_CREDENTIAL_REFUSED", 3));
    assert!(!error.to_string().contains("priv-ate"));
}

#[tokio::test]
async fn a_nonce_that_is_always_stale_is_renewed_once() {
    let header = "www-authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", stale=true\r\n";
    let server = Server::start(move |_, _| Reply(401, header, String::new()));
    let atlas = server.atlas();
    let error = atlas.project(&KEY.into(), GROUP).unwrap().user("app_rw", soon()).await.unwrap_err();
    assert_eq!((error.code(), server.calls().len()), ("ATLAS_CREDENTIAL_REFUSED", 3));
}

#[tokio::test]
async fn a_digest_that_cannot_be_made_is_said_so() {
    let header = "www-authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n";
    let server = Server::start(move |_, _| Reply(401, header, String::new()));
    let atlas = server.atlas();
    let error = atlas.project(&KEY.into(), GROUP).unwrap().user("app_rw", soon()).await.unwrap_err();
    assert_eq!(error.code(), "ATLAS_ANSWER_STRANGE");
    assert!(error.message().contains("another algorithm than MD5"), "{error}");
}

#[tokio::test]
async fn calls_at_the_same_time_count_on_nonces_of_their_own() {
    let given = Mutex::new(0);
    let server = Server::start(move |seen, _| {
        if seen.header("authorization").is_empty() {
            let mut given = given.lock().unwrap();
            *given += 1;
            let challenge = CHALLENGE.replace("n1", &format!("n{given}"));
            return Reply(401, Box::leak(format!("www-authenticate: {challenge}\r\n").into_boxed_str()), String::new());
        }
        json_reply(200, json!({"changeStatus": "APPLIED"}))
    });
    let atlas = server.atlas();
    let names = (0..3).map(|n| format!("c{n}")).collect();
    let project = atlas.project(&KEY.into(), GROUP).unwrap();
    project.watch(names, true);
    for _ in 0..2 {
        assert_eq!(project.progress(soon()).await, Progress::Applied);
    }
    let first = server.seen().iter().filter(|seen| seen.header("authorization").contains("nc=00000001")).count();
    let second = server.seen().iter().filter(|seen| seen.header("authorization").contains("nc=00000002")).count();
    assert_eq!((server.calls().len(), first, second), (3 + 3 + 3, 3, 3));
}

#[test]
fn what_no_path_can_name_is_refused_before_a_call() {
    for name in ["", ".", ".."] {
        assert!(call::segment(name).is_err(), "{name}");
    }
    assert_eq!(call::segment("a/../b%2e?#").unwrap(), "a%2F..%2Fb%252e%3F%23");
    let server = Server::start(|_, _| Reply(200, "", String::new()));
    let error = server.atlas().project(&"{}".into(), GROUP).err().unwrap();
    assert_eq!(error.code(), "ATLAS_SECRET_INVALID");
}

#[test]
fn a_person_is_shown_the_way_to_the_users() {
    let server = Server::start(|_, _| Reply(200, "", String::new()));
    let atlas = server.atlas();
    let words = atlas.project(&KEY.into(), GROUP).unwrap().whereabouts();
    assert!(words.contains(GROUP) && words.contains("Database Access"), "{words}");
}
