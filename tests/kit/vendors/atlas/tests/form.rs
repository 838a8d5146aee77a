use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{Answer, MEDIA_TYPE, Scene, no};
use crate::faults::{Fault, Moment, Point};
use crate::vendors::Reply;
use crate::vendors::atlas::RateLimit;

fn versioned(date: &str) -> String {
    format!("application/vnd.atlas.{date}+json")
}

async fn accepting(scene: &Scene, accept: &str) -> Answer {
    let url = format!("{}{}", scene.atlas.url(), scene.target("/clusters"));
    Answer::of(super::client().get(url).bearer_auth(&scene.token).header("accept", accept)).await
}

#[tokio::test]
async fn retired_and_unknown_versions_are_honest_refusals() {
    let scene = Scene::new().await;
    assert_eq!(accepting(&scene, MEDIA_TYPE).await.refusal(), no(410, "VERSION_GONE"));
    assert_eq!(accepting(&scene, &versioned("2022-01-01")).await.refusal(), no(406, "INVALID_VERSION_DATE"));
    scene.assert_proper();
}

#[tokio::test]
async fn any_other_media_type_is_a_violation() {
    for accept in ["application/json", "*/*", "application/vnd.atlas.2024-08-05+csv"] {
        let scene = Scene::new().await;
        assert_eq!(accepting(&scene, accept).await.refusal(), no(406, "INVALID_VERSION_DATE"));
        scene.assert_violation("Accept");
    }
    for kind in ["application/json", ""] {
        let scene = Scene::with_user().await;
        let request = scene.request(Method::PATCH, "/databaseUsers/admin/app").header("content-type", kind);
        let answer = Answer::of(request.body(r#"{"password": "second-password"}"#)).await;
        assert_eq!(answer.refusal(), no(406, "INVALID_VERSION_DATE"));
        scene.assert_violation("Content-Type");
    }
}

#[tokio::test]
async fn careless_requests_are_violations() {
    for (method, rest, text) in [
        (Method::DELETE, "/databaseUsers", "no such endpoint"),
        (Method::GET, "/databaseUsers/app", "no such endpoint"),
        (Method::GET, "/clusters/main", "no such endpoint"),
        (Method::GET, "/databaseUsers?itemsPerPage=0", "itemsPerPage"),
        (Method::GET, "/databaseUsers?itemsPerPage=501", "itemsPerPage"),
        (Method::GET, "/databaseUsers?pageNum=0", "pageNum"),
        (Method::GET, "/databaseUsers?includeCount=yes", "includeCount"),
        (Method::GET, "/clusters?pretty=true", "pretty"),
        (Method::GET, "/clusters?pageNum=1&pageNum=2", "pageNum"),
        (Method::GET, "/databaseUsers/admin/app?itemsPerPage=1", "itemsPerPage"),
        (Method::GET, "/databaseUsers/admin/%FF", "UTF-8"),
    ] {
        let scene = Scene::with_user().await;
        let answer = Answer::of(scene.request(method, rest)).await;
        assert!((400..405).contains(&answer.refusal().0), "{rest}");
        scene.assert_violation(text);
    }
    let scene = Scene::with_user().await;
    assert_eq!(Answer::of(scene.request(Method::GET, "/clusters").body("{}")).await.status, 400);
    scene.assert_violation("body");
}

#[tokio::test]
async fn a_rate_limit_is_said_in_a_header_or_not_at_all() {
    let scene = Scene::new().await;
    let name = format!("GET {}", scene.target("/clusters"));
    let shown = |answer: &Answer| (answer.header("retry-after").to_owned(), answer.json()["parameters"][1].clone());
    for (said, header, parameter) in [(RateLimit::Header(7), "7", json!(7)), (RateLimit::Unsaid, "", json!(100))] {
        scene.atlas.limit(&name, 2, said);
        for _ in 0..2 {
            let answer = scene.get("/clusters?pageNum=1").await;
            assert_eq!((answer.refusal().0, shown(&answer)), (429, (header.to_owned(), parameter.clone())));
            assert_eq!(scene.get("/databaseUsers").await.status, 200);
        }
        assert_eq!(scene.get("/clusters").await.status, 200);
    }
    scene.assert_proper();
}

#[tokio::test]
async fn faults_strike_by_the_calls_name_and_replies_are_replaced() {
    let scene = Scene::with_user().await;
    scene.atlas.set_delay("main", Duration::ZERO);
    let name = format!("PATCH {}", scene.target("/databaseUsers/admin/app"));
    let point = |nth: u8, moment, fault| Point { call: format!(" atlas {name} #{nth}"), moment, fault };
    scene.faults.inject(point(1, Moment::Before, Fault::Status(500, "")));
    scene.faults.inject(point(2, Moment::After, Fault::Status(429, "")));
    let body = json!({"password": "second-password"});
    assert_eq!(scene.patch(&body).await.refusal(), no(500, "UNEXPECTED_ERROR"));
    let limited = scene.patch(&body).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "1"));
    scene.atlas.applied("main", 1).await.unwrap();
    scene.atlas.replace(&name, 1, Reply::html(502));
    assert_eq!(scene.patch(&body).await.status, 502);
    assert_eq!(scene.faults.struck().len(), 2);
    let sent = scene.atlas.seen().into_iter().rev().find(|call| call.method == "PATCH").unwrap();
    assert_eq!((sent.body.as_ref(), sent.target.as_str()), (body.to_string().as_bytes(), sent.path.as_str()));
    scene.atlas.forget();
    assert_eq!((scene.atlas.seen().len(), scene.atlas.most_at_once()), (0, 0));
    scene.assert_proper();
}
