//! The client against a server that answers as each test says.

mod answering;

use super::*;
use answering::{ACCOUNT, GROUP, ROOT, Reply, Seen, Server, TOKEN, failure, json_reply, soon, with_tokens};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use tokio::net::TcpSocket;

const KEY: &str = r#"{"public_key":"abcdefgh","private_key":"priv-ate"}"#;
const CHALLENGE: &str = "Digest realm=\"MMS Public API\", nonce=\"n1\", algorithm=MD5, qop=\"auth\", stale=false";
const USER: &str = r#"{"username":"app_rw"}"#;
const REMEDIES: Remedies = Remedies { credential: "Store one", quota: "Delete some.", failure: "Try again." };

fn atlas(server: &Server) -> Atlas {
    Atlas::new(server.base.clone(), &keyturn::http::client().unwrap(), &REMEDIES)
}

/// Asks for a user.
async fn ask(project: &Project<'_>, deadline: Deadline) -> Result<Value> {
    let call = project.get(&user_path(ADMIN, "app_rw")?, USERS, Needs::Users)?;
    call.read(&project.send(&call, deadline).await?)
}

/// The outcome of asking when the API answers this.
async fn outcome(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Result<Value> {
    let server = with_tokens(move |_| reply());
    ask(&atlas(&server).project(&ACCOUNT.into(), GROUP)?, soon()).await
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
        (403, "GROUP_USERS_LIMIT_EXCEEDED", &json!([100]), "ATLAS_USER_QUOTA", "Delete some."),
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
    let atlas = Atlas::new(base, &keyturn::http::client().unwrap(), &REMEDIES);
    let in_a_moment = Deadline::after(Duration::from_millis(100));
    let error = ask(&atlas.project(&KEY.into(), GROUP).unwrap(), in_a_moment).await.unwrap_err();
    assert_eq!(error.code(), "ATLAS_UNREACHABLE");
}

#[tokio::test]
async fn a_429_is_waited_for_as_its_header_says_and_no_number_of_its_body_is_a_time() {
    // The path, the number of requests and the minutes: 10 s are too long for this deadline, one second would not be.
    let limited = || failure(429, "RATE_LIMITED", &json!(["api/atlas", 1, 1]));
    assert_eq!(outcome(limited).await.unwrap_err().code(), "ATLAS_THROTTLED");
    let server = Server::start(move |_, nth| match nth {
        1 => json_reply(200, TOKEN),
        2 => {
            let Reply(status, _, body) = failure(429, "RATE_LIMITED_TOKEN_BUCKET", &json!(["api/atlas", 60]));
            Reply(status, "content-type: application/json\r\nretry-after: 0\r\n", body)
        }
        _ => json_reply(200, USER),
    });
    let atlas = atlas(&server);
    ask(&atlas.project(&ACCOUNT.into(), GROUP).unwrap(), soon()).await.unwrap();
    assert_eq!(server.calls().len(), 3);
}

/// A page of a list of numbers.
fn page(seen: &Seen, total: usize, a_page: usize) -> Reply {
    let number: usize = seen.call.split("pageNum=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
    let results: Vec<_> = ((number - 1) * a_page..total).take(a_page).collect();
    json_reply(200, json!({"results": results, "totalCount": total, "links": []}))
}

#[tokio::test]
async fn all_pages_of_a_list_are_read() {
    for (total, pages) in [(0, 1), (1, 1), (5, 3)] {
        let server = with_tokens(move |seen| page(seen, total, 2));
        let atlas = atlas(&server);
        let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
        let numbers: Vec<usize> = project.pages("/clusters", USERS, Needs::Clusters, soon()).await.unwrap();
        assert_eq!(numbers, (0..total).collect::<Vec<_>>());
        assert_eq!(server.calls().len() - 1, pages);
    }
    let short = with_tokens(|_| json_reply(200, json!({"results": [], "totalCount": 3})));
    let atlas = atlas(&short);
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    let error = project.pages::<usize>("/clusters", USERS, Needs::Clusters, soon()).await.unwrap_err();
    assert_eq!(error.code(), "ATLAS_ANSWER_STRANGE");
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
        _ => json_reply(200, USER),
    })
}

fn count(server: &Server, call: &str) -> usize {
    server.calls().iter().filter(|seen| *seen == call).count()
}

#[tokio::test]
async fn a_token_that_ended_is_replaced_once_for_all_calls_at_the_same_time() {
    let server = revoking();
    let atlas = atlas(&server);
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    join_all((0..4).map(|_| ask(&project, soon()))).await.into_iter().for_each(|answer| _ = answer.unwrap());
    assert_eq!(count(&server, "POST /api/oauth/token"), 2);
    assert_eq!(server.calls().len(), 2 + 4 + 4);
}

#[tokio::test]
async fn leaving_gives_the_token_back() {
    let server = with_tokens(|_| json_reply(200, USER));
    let atlas = atlas(&server);
    let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
    project.leave().await;
    assert!(server.seen().is_empty());
    ask(&project, soon()).await.unwrap();
    project.leave().await;
    project.leave().await;
    ask(&project, soon()).await.unwrap();
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
            json_reply(200, if seen.call.ends_with("token") { token } else { json!({}) })
        });
        let atlas = atlas(&server);
        let project = atlas.project(&ACCOUNT.into(), GROUP).unwrap();
        ask(&project, soon()).await.unwrap();
        ask(&project, soon()).await.unwrap();
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
        let atlas = atlas(&server);
        let error = ask(&atlas.project(&ACCOUNT.into(), GROUP).unwrap(), soon()).await.unwrap_err();
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
            _ => json_reply(200, USER),
        }
    })
}

#[tokio::test]
async fn a_nonce_is_used_until_it_is_stale() {
    let server = digesting(true);
    let atlas = atlas(&server);
    let project = atlas.project(&KEY.into(), GROUP).unwrap();
    for _ in 0..3 {
        ask(&project, soon()).await.unwrap();
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
    let atlas = atlas(&server);
    let project = atlas.project(&KEY.into(), GROUP).unwrap();
    ask(&project, soon()).await.unwrap();
    let error = ask(&project, soon()).await.unwrap_err();
    assert_eq!((error.code(), server.calls().len()), ("ATLAS_CREDENTIAL_REFUSED", 3));
    assert!(!error.to_string().contains("priv-ate"));
}

#[tokio::test]
async fn a_nonce_that_is_always_stale_is_renewed_once() {
    let header = "www-authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", stale=true\r\n";
    let server = Server::start(move |_, _| Reply(401, header, String::new()));
    let atlas = atlas(&server);
    let error = ask(&atlas.project(&KEY.into(), GROUP).unwrap(), soon()).await.unwrap_err();
    assert_eq!((error.code(), server.calls().len()), ("ATLAS_CREDENTIAL_REFUSED", 3));
}

#[tokio::test]
async fn a_digest_that_cannot_be_made_is_said_so() {
    let header = "www-authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n";
    let server = Server::start(move |_, _| Reply(401, header, String::new()));
    let atlas = atlas(&server);
    let error = ask(&atlas.project(&KEY.into(), GROUP).unwrap(), soon()).await.unwrap_err();
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
        json_reply(200, USER)
    });
    let atlas = atlas(&server);
    let project = atlas.project(&KEY.into(), GROUP).unwrap();
    for _ in 0..2 {
        join_all((0..3).map(|_| ask(&project, soon()))).await.into_iter().for_each(|answer| _ = answer.unwrap());
    }
    let first = server.seen().iter().filter(|seen| seen.header("authorization").contains("nc=00000001")).count();
    let second = server.seen().iter().filter(|seen| seen.header("authorization").contains("nc=00000002")).count();
    assert_eq!((server.calls().len(), first, second), (3 + 3 + 3, 3, 3));
}

#[test]
fn what_no_path_can_name_is_refused_before_a_call() {
    for name in ["", ".", ".."] {
        assert!(segment(name).is_err(), "{name}");
    }
    assert_eq!(segment("a/../b%2e?#").unwrap(), "a%2F..%2Fb%252e%3F%23");
    let server = Server::start(|_, _| Reply(200, "", String::new()));
    let error = atlas(&server).project(&"{}".into(), GROUP).err().unwrap();
    assert_eq!(error.code(), "ATLAS_SECRET_INVALID");
}

#[test]
fn a_person_is_shown_the_way_to_the_users() {
    let server = Server::start(|_, _| Reply(200, "", String::new()));
    let atlas = atlas(&server);
    let words = atlas.project(&KEY.into(), GROUP).unwrap().whereabouts();
    assert!(words.contains(GROUP) && words.contains("Database Access"), "{words}");
}
