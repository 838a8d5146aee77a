//! The client against a server that says and does what it is told, one connection after the other.

use super::*;
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Mutex;
use tokio::net::TcpSocket;

const RESET: RateLimit = RateLimit::SecondsLeft("ratelimit-reset");

enum Act {
    /// Sends this and closes.
    Say(String),
    /// Reads the request and closes without a word.
    Cut,
    /// Reads the request and says nothing for as long as the client waits.
    Hang,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.requests().len()
    }
}

fn say(head: &str, body: &str) -> Act {
    Act::Say(format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn json_ok() -> Act {
    say("200 OK\r\ncontent-type: application/json", r#"{"fine":true}"#)
}

/// A server for as many connections as there are acts.
fn server(acts: Vec<Act>) -> (Base, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = Base::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let seen = Seen::default();
    let record = seen.clone();
    std::thread::spawn(move || {
        for act in acts {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            record.0.lock().unwrap().push(request);
            match act {
                // The client may have enough before the end.
                Act::Say(text) => drop(stream.write_all(text.as_bytes())),
                Act::Cut => {}
                Act::Hang => drop(stream.read(&mut [0])),
            }
        }
    });
    (base, seen)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn clock() -> Clock {
    Clock::of(|| "2026-06-01T12:00:00Z".parse().unwrap())
}

fn http(base: &Base) -> Http {
    Http::new(base.clone(), &client().unwrap(), RESET, clock())
}

#[expect(clippy::unnecessary_wraps, reason = "what `send` takes")]
fn no_headers(_: &Request, _: &str) -> Result<HeaderMap> {
    Ok(HeaderMap::new())
}

async fn send(base: &Base, request: Request) -> std::result::Result<Answer, Failure> {
    http(base).send(&request, &no_headers, Deadline::after(Duration::from_secs(20))).await
}

fn post() -> Request {
    Request::post_json("/events", &serde_json::json!({"text": "hello"}))
}

#[tokio::test]
async fn a_get_that_was_cut_is_made_again_with_new_headers() {
    let (base, seen) = server(vec![Act::Cut, json_ok()]);
    let proofs = Cell::new(0);
    let headers = |_: &Request, address: &str| {
        assert!(address.ends_with("/users/P1"), "{address}");
        proofs.set(proofs.get() + 1);
        Ok(HeaderMap::from_iter([(header::AUTHORIZATION, proofs.get().into())]))
    };
    let deadline = Deadline::after(Duration::from_secs(20));
    let answer = http(&base).send(&Request::get("/users/P1?limit=1"), &headers, deadline).await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>(), Ok(serde_json::json!({"fine": true})));
    let requests = seen.requests();
    assert!(requests[0].starts_with("get /users/p1?limit=1 http/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("authorization: 1\r\n") && requests[1].contains("authorization: 2\r\n"));
}

#[tokio::test]
async fn a_post_is_made_once_where_it_may_have_had_an_effect() {
    let (base, seen) = server(vec![Act::Cut, say("200 OK", "")]);
    assert!(matches!(send(&base, post()).await, Err(Failure::NoAnswer(_))));
    assert_eq!(seen.count(), 1);
    let (base, seen) = server(vec![say("503 Service Unavailable", ""), say("200 OK", "")]);
    assert_eq!(send(&base, post()).await.unwrap().status, 503);
    assert_eq!(seen.count(), 1);
}

#[tokio::test]
async fn a_post_that_was_turned_away_is_made_again() {
    let limited = || say("429 Too Many Requests\r\nratelimit-reset: 0", "");
    let (base, seen) = server(vec![limited(), say("202 Accepted", "")]);
    assert_eq!(send(&base, post()).await.unwrap().status, 202);
    assert_eq!(seen.count(), 2);
    assert!(seen.requests()[1].contains("content-type: application/json\r\n"));
    assert!(seen.requests()[1].ends_with("{\"text\":\"hello\"}"));
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_not_sent() {
    let nobody = TcpSocket::new_v4().unwrap(); // bound and not listening: the port is ours, and refuses
    nobody.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let base = Base::parse(&format!("http://{}", nobody.local_addr().unwrap())).unwrap();
    assert!(matches!(send(&base, post()).await, Err(Failure::NotSent(_))));
}

#[tokio::test]
async fn a_put_says_that_it_has_no_body_each_time() {
    let (base, seen) = server(vec![Act::Cut, say("204 No Content", "")]);
    assert_eq!(send(&base, Request::put("/groups/1/users/2")).await.unwrap().status, 204);
    for request in seen.requests() {
        assert_eq!(request.matches("content-length: 0\r\n").count(), 1, "{request}");
    }
    assert_eq!(seen.count(), 2);
}

#[tokio::test]
async fn the_last_answer_of_a_vendor_that_stays_down_is_given_back() {
    let down = || say("502 Bad Gateway", "");
    let (base, seen) = server(vec![down(), down(), down(), json_ok()]);
    assert_eq!(send(&base, Request::get("/")).await.unwrap().status, 502);
    assert_eq!(seen.count(), TRIES);
}

#[tokio::test]
async fn a_429_waits_as_long_as_the_vendor_says() {
    let limited = say("429 Too Many Requests\r\nratelimit-reset: 1", "");
    let (base, _) = server(vec![limited, json_ok()]);
    let started = tokio::time::Instant::now();
    assert_eq!(send(&base, Request::get("/")).await.unwrap().status, 200);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_429_that_outlasts_the_deadline_is_given_up_at_once() {
    let limited = say("429 Too Many Requests\r\nratelimit-reset: 60", "");
    let (base, seen) = server(vec![limited, json_ok()]);
    let started = tokio::time::Instant::now();
    assert_eq!(send(&base, Request::get("/")).await.unwrap_err(), Failure::RateLimited);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(seen.count(), 1);
}

#[tokio::test]
async fn a_429_without_a_word_on_when_is_tried_a_few_times() {
    let limited = || say("429 Too Many Requests", "");
    let (base, seen) = server(vec![limited(), limited(), limited(), json_ok()]);
    assert_eq!(send(&base, Request::get("/")).await.unwrap_err(), Failure::RateLimited);
    assert_eq!(seen.count(), TRIES);
}

/// An answer without a network.
fn answer(headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
    let header = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), header::HeaderValue::from_static(value))
    };
    let headers = headers.iter().map(header).collect();
    Answer { status: StatusCode::OK, headers, body: Bytes::from_static(body.as_bytes()) }
}

#[test]
fn each_vendor_says_in_its_own_way_when_to_come_back() {
    const EPOCH: RateLimit = RateLimit::Epoch("x-rate-limit-reset");
    // 1780315200 is noon of 2026-06-01, which our clock shows. Okta's is an hour ahead in the second and third.
    let ahead = ("date", "Mon, 01 Jun 2026 13:00:00 GMT");
    let waits = |limit, headers: &[_]| answer(headers, "").wait(limit, 0, &clock()).map(|wait| wait.as_secs());
    assert_eq!(waits(EPOCH, &[("x-rate-limit-reset", "1780315207")]), Some(7));
    assert_eq!(waits(EPOCH, &[("x-rate-limit-reset", "1780318809"), ahead]), Some(9));
    assert_eq!(waits(EPOCH, &[("x-rate-limit-reset", "1780318800"), ahead]), Some(0));
    assert_eq!(waits(EPOCH, &[("x-rate-limit-reset", "1780315200")]), Some(0));
    assert_eq!(waits(EPOCH, &[("x-rate-limit-reset", "-9223372036854775808")]), Some(0));
    assert_eq!(waits(EPOCH, &[("retry-after", "4")]), Some(4));
    assert_eq!(waits(RESET, &[("ratelimit-reset", " 5 ")]), Some(5));
    assert_eq!(waits(RESET, &[("ratelimit-reset", "-5")]), Some(0));
    assert_eq!(waits(RESET, &[("ratelimit-reset", "soon"), ("retry-after", "6")]), Some(6));
    assert_eq!(waits(RESET, &[("x-rate-limit-reset", "9")]), None);
}

const DOUBLING: RateLimit = RateLimit::Doubling { first: Duration::from_secs(10) };

#[test]
fn a_pause_is_told_by_a_header_or_doubles() {
    let wait = |headers: &[_], nth| answer(headers, "7").wait(DOUBLING, nth, &clock()).unwrap().as_secs();
    assert_eq!(wait(&[("retry-after", "3")], 0), 3);
    assert_eq!(wait(&[("retry-after", "0")], 0), 0);
    assert_eq!(wait(&[("retry-after", "-3")], 0), 0);
    assert_eq!(wait(&[("retry-after", "Mon, 01 Jun 2026 12:00:03 GMT")], 0), 10);
    assert_eq!([0, 1, 2].map(|nth| wait(&[], nth)), [10, 20, 40], "whatever number is in the body");
    assert_eq!(answer(&[], "").wait(DOUBLING, u32::MAX, &clock()), Some(Duration::from_secs(10) * u32::MAX));
}

#[tokio::test]
async fn a_429_with_long_pauses_is_made_four_times_within_the_deadline() {
    let limited = |seconds| say(&format!("429 Too Many Requests\r\nretry-after: {seconds}"), "");
    let (base, seen) = server(vec![limited("0"), limited("0"), limited("0"), limited("0"), json_ok()]);
    let http = Http::new(base, &client().unwrap(), DOUBLING, clock());
    let deadline = Deadline::after(Duration::from_secs(20));
    let outcome = http.send(&Request::get("/"), &no_headers, deadline).await;
    assert_eq!((outcome.unwrap_err(), seen.count()), (Failure::RateLimited, 4));
    let (base, seen) = server(vec![limited("21"), json_ok()]);
    let http = Http::new(base, &client().unwrap(), DOUBLING, clock());
    let outcome = http.send(&Request::get("/"), &no_headers, deadline).await;
    assert_eq!((outcome.unwrap_err(), seen.count()), (Failure::RateLimited, 1));
}

#[tokio::test]
async fn a_patch_that_was_cut_is_made_again_with_its_own_content_type() {
    let (base, seen) = server(vec![Act::Cut, json_ok()]);
    let kind = "application/vnd.vendor.2023-01-01+json".to_owned();
    let patch = Request::typed(Method::PATCH, "/users/1", kind, "{\"a\":1}".into());
    assert_eq!(send(&base, patch).await.unwrap().status, 200);
    assert_eq!(seen.count(), 2);
    for request in seen.requests() {
        assert!(request.starts_with("patch /users/1 http/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/vnd.vendor.2023-01-01+json\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    }
}

/// Else a change that has taken effect would be taken for one that was refused.
#[tokio::test]
async fn a_refusal_says_nothing_of_an_earlier_try_whose_answer_was_lost() {
    let limited = || say("429 Too Many Requests\r\nratelimit-reset: 600", "");
    let patch = || Request::typed(Method::PATCH, "/user", "application/json".to_owned(), "{}".to_owned().into());
    for (request, acts, unknown) in [
        (patch(), vec![Act::Cut, limited()], true),
        (patch(), vec![say("502 Bad Gateway", ""), limited()], true),
        (patch(), vec![Act::Cut, say("403 Forbidden", "")], true),
        (patch(), vec![Act::Cut, json_ok()], false),
        (patch(), vec![say("403 Forbidden", "")], false),
        // 401: the caller gets a new token or nonce, and sends the PATCH again.
        (patch(), vec![Act::Cut, say("401 Unauthorized", "")], false),
        (Request::put("/members/1"), vec![Act::Cut, limited()], false),
        // Not there any more: that may be what the first one did.
        (Request::delete("/members/1"), vec![Act::Cut, say("404 Not Found", "")], false),
        (Request::get("/user"), vec![Act::Cut, say("403 Forbidden", "")], false),
    ] {
        let (base, _) = server(acts);
        let outcome = send(&base, request.clone()).await;
        assert_eq!(matches!(outcome, Err(Failure::NoAnswer(_))), unknown, "{request:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_refused_and_nobody_else_is_called() {
    let (elsewhere, never) = server(vec![json_ok()]);
    let moved = say(&format!("302 Found\r\nlocation: {}", elsewhere.address("/")), "");
    let (base, seen) = server(vec![moved]);
    assert_eq!(send(&base, Request::get("/")).await.unwrap_err(), Failure::Redirected);
    assert_eq!((seen.count(), never.count()), (1, 0));
}

#[tokio::test]
async fn a_path_that_leads_to_another_host_is_not_called() {
    let (elsewhere, never) = server(vec![json_ok()]);
    let (base, seen) = server(vec![json_ok()]);
    let path = elsewhere.address("/").replace("http:", "");
    assert!(matches!(send(&base, Request::get(path)).await, Err(Failure::Strange(_))));
    assert_eq!((seen.count(), never.count()), (0, 0));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_kept() {
    let (base, _) = server(vec![say("200 OK", &"x".repeat(MOST_BYTES + 1))]);
    assert!(matches!(send(&base, Request::get("/")).await, Err(Failure::Strange(_))));
}

#[tokio::test]
async fn an_answer_that_was_cut_short_is_none() {
    let half = || Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\"".to_owned());
    let (base, seen) = server(vec![half(), half(), half()]);
    assert!(matches!(send(&base, Request::get("/")).await, Err(Failure::NoAnswer(_))));
    assert_eq!(seen.count(), TRIES);
}

#[test]
fn only_json_that_is_called_json_is_read() {
    for (kind, body, fine) in [
        ("application/json", r#"{"a":1}"#, true),
        ("application/json; charset=utf-8", r#"{"a":1}"#, true),
        ("application/vnd.pagerduty+json;version=2", r#"{"a":1}"#, true),
        ("text/html", r#"{"a":1}"#, false),
        ("application/json", "<html>please sign in</html>", false),
        ("application/json", r#"{"a":1"#, false),
        ("application/json", r#"{"b":1}"#, false),
        ("application/json", "", false),
    ] {
        #[derive(serde::Deserialize)]
        struct Shape {
            #[serde(rename = "a")]
            _a: u8,
        }
        let read = answer(&[("content-type", kind)], body).json::<Shape>();
        assert_eq!(read.is_ok(), fine, "{kind}: {body}");
        assert!(!read.is_err_and(|failure| failure.to_string().contains("sign in")));
    }
}

#[tokio::test]
async fn a_call_ends_at_the_deadline() {
    let (base, seen) = server(vec![Act::Hang]);
    let started = tokio::time::Instant::now();
    let deadline = Deadline::after(Duration::from_millis(300));
    let outcome = http(&base).send(&Request::get("/"), &no_headers, deadline).await;
    assert!(matches!(outcome, Err(Failure::NoAnswer(_))), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
    let outcome = http(&base).send(&Request::get("/"), &no_headers, deadline).await;
    assert_eq!(outcome.unwrap_err(), Failure::OutOfTime);
    assert_eq!(seen.count(), 1);
}

#[test]
fn what_a_secret_path_is_called_by_is_all_that_is_shown() {
    let request = Request::get("/services/T1/B1/hush").shown_as("the webhook");
    assert_eq!(format!("{request:?}"), r#"Request(GET, "the webhook")"#);
}

#[test]
fn a_base_is_https_or_on_this_machine_and_nothing_but_a_host() {
    for (text, fine) in [
        ("https://api.pagerduty.com", true),
        ("https://api.pagerduty.com/", true),
        ("https://api.pagerduty.com:8443", true),
        ("http://127.0.0.1:4000", true),
        ("http://localhost:4000", true),
        ("http://[::1]:4000", true),
        ("http://api.pagerduty.com", false),
        ("http://127.0.0.1.evil.example", false),
        ("https://api.pagerduty.com/v3", false),
        ("https://api.pagerduty.com/?x=1", false),
        ("https://api.pagerduty.com/#x", false),
        ("https://ana@api.pagerduty.com", false),
        ("https://:word@api.pagerduty.com", false),
        ("ftp://api.pagerduty.com", false),
        ("api.pagerduty.com", false),
        ("https://", false),
        ("", false),
    ] {
        assert_eq!(Base::parse(text).is_ok(), fine, "{text}");
    }
}

#[test]
fn a_base_from_a_secret_is_a_known_host_on_its_usual_port() {
    let known = |host: &str| host.ends_with(".okta.com");
    for (text, fine) in [
        ("https://acme.okta.com", true),
        ("https://ACME.okta.com", true),
        ("https://acme.okta.com:443", true),
        ("http://127.0.0.1:4000", true),
        ("https://acme.okta.com:8443", false),
        ("https://acme.okta.com.evil.example", false),
        ("https://evil.example", false),
        ("https://acme.okta.com@evil.example", false),
        ("http://acme.okta.com", false),
    ] {
        assert_eq!(Base::parse_known(text, known).is_ok(), fine, "{text}");
    }
}

#[test]
fn a_path_stays_at_its_base() {
    let base = Base::parse("https://acme.okta.com").unwrap();
    for (path, address) in [
        ("/api/v1/users?limit=1", Some("https://acme.okta.com/api/v1/users?limit=1")),
        ("/api/../admin", Some("https://acme.okta.com/admin")),
        ("//evil.example/api", None),
        ("/\\evil.example/api", None),
        ("https://evil.example/api", None),
        ("http://acme.okta.com/api", None),
        ("//ana@acme.okta.com/api", None),
    ] {
        assert_eq!(base.join(path).ok().map(String::from).as_deref(), address, "{path}");
    }
    assert_eq!(base.address("/oauth2/v1/token"), "https://acme.okta.com/oauth2/v1/token");
}

#[test]
fn an_address_of_another_origin_is_not_ones_own() {
    let base = Base::parse("https://acme.okta.com").unwrap();
    for (address, path) in [
        ("https://acme.okta.com/api/v1/users?after=a%2Fb&limit=1", Some("/api/v1/users?after=a%2Fb&limit=1")),
        ("https://acme.okta.com:443/api", Some("/api")),
        ("https://acme.okta.com:8443/api", None),
        ("http://acme.okta.com/api", None),
        ("https://evil.example/api", None),
        ("https://acme.okta.com@evil.example/api", None),
        ("https://ana:word@acme.okta.com/api", None),
        ("/api", None),
        ("", None),
    ] {
        assert_eq!(base.own_path(address).as_deref(), path, "{address}");
    }
}

#[test]
fn only_a_code_or_an_id_is_shown() {
    for text in ["E0000007", "oaeRwQWXFRqJnjaICescyUwX0", "invalid_client", "GROUP_NOT_FOUND", "oae-1"] {
        assert!(is_code(text), "{text}");
    }
    for text in ["", "ann@acme.com", "GROUP NOT", "Not found: ann", &"a".repeat(65)] {
        assert!(!is_code(text), "{text}");
    }
}
