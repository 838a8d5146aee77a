use std::collections::BTreeSet;

use chrono::Duration;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{LinkStyle, Okta, Permission};
use crate::faults::{Fault, Faults, Moment, Point};
use crate::vendors::TestClock;

pub(super) const NOON: &str = "2026-03-02T12:00:00Z";

pub(super) fn client() -> reqwest::Client {
    keyturn::http::client().unwrap()
}

pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub(super) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn code(&self) -> String {
        let body = self.json();
        assert!(body["errorId"].as_str().unwrap().starts_with("oae"), "{body}");
        body["errorCode"].as_str().unwrap().to_owned()
    }

    fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.body);
        let list = self.json();
        list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The status and the error's code.
    fn refusal(&self) -> (u16, String) {
        (self.status, self.code())
    }

    fn links(&self) -> Vec<&str> {
        self.headers.get_all("link").iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// An org with one group, called by a correct client.
struct Scene {
    okta: Okta,
    clock: TestClock,
    faults: Faults,
    group: String,
}

impl Scene {
    async fn new() -> Self {
        let (clock, faults) = (TestClock::at(NOON), Faults::none());
        let okta = Okta::start(clock.clock(), faults.clone()).await.unwrap();
        let group = okta.group("break-glass");
        Self { okta, clock, faults, group }
    }

    fn user(&self, name: &str) -> String {
        self.okta.user(&format!("{name}@corp.example"), &format!("{name}@mail.example")).unwrap()
    }

    /// That many members, in the order in which lists show them.
    fn fill(&self, members: usize) -> Vec<String> {
        let ids: Vec<String> = (0..members).map(|nth| self.user(&format!("member{nth}"))).collect();
        for id in &ids {
            self.okta.add(&self.group, id);
        }
        ids
    }

    fn request(&self, method: Method, target: &str) -> reqwest::RequestBuilder {
        let request = client().request(method, format!("{}/api/v1{target}", self.okta.url()));
        request.header("accept", "application/json").header("authorization", format!("SSWS {}", self.okta.ssws_token()))
    }

    async fn get(&self, target: &str) -> Answer {
        Answer::of(self.request(Method::GET, target)).await
    }

    async fn put(&self, user: &str) -> Answer {
        let target = format!("/groups/{}/users/{user}", self.group);
        Answer::of(self.request(Method::PUT, &target).header("content-length", "0")).await
    }

    async fn delete(&self, user: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, &format!("/groups/{}/users/{user}", self.group))).await
    }

    fn list(&self) -> String {
        format!("/groups/{}/users", self.group)
    }

    async fn list_page(&self) -> Answer {
        self.get(&format!("{}?limit=200", self.list())).await
    }

    async fn search(&self, expression: &str) -> Answer {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("search", expression).finish();
        self.get(&format!("/users?{query}")).await
    }

    fn assert_proper(&self) {
        assert_eq!(self.okta.violations(), Vec::<String>::new());
    }

    /// Asserts that there was exactly one violation, with this text in it.
    fn assert_violation(&self, text: &str) {
        let violations = self.okta.violations();
        assert!(violations.len() == 1 && violations[0].contains(text), "{violations:?}");
    }
}

fn set(ids: &[&String]) -> BTreeSet<String> {
    ids.iter().map(|&id| id.clone()).collect()
}

#[tokio::test]
async fn a_put_without_content_length_is_refused() {
    let scene = Scene::new().await;
    let ann = scene.user("ann");
    let target = format!("{}/{ann}", scene.list());
    let answer = Answer::of(scene.request(Method::PUT, &target)).await;
    assert_eq!(answer.status, 411);
    assert_eq!(scene.okta.members(&scene.group), BTreeSet::new());
    scene.assert_violation("Content-Length");
}

#[tokio::test]
async fn a_put_with_a_body_is_refused() {
    let scene = Scene::new().await;
    let ann = scene.user("ann");
    let target = format!("{}/{ann}", scene.list());
    assert_eq!(Answer::of(scene.request(Method::PUT, &target).body("{}")).await.status, 400);
    assert_eq!(scene.okta.members(&scene.group), BTreeSet::new());
    scene.assert_violation("body");
}

#[tokio::test]
async fn careless_requests_are_violations() {
    for (method, target, text) in [
        (Method::GET, "/groups", "no such endpoint"),
        (Method::POST, "/users/00u1", "no such endpoint"),
        (Method::GET, "/users?q=ann", "query parameter q"),
        (Method::GET, "/users?filter=x", "query parameter filter"),
        (Method::GET, "/groups/rules?limit=201", "limit"),
        (Method::GET, "/groups/rules?limit=0", "limit"),
        (Method::GET, "/groups/rules?limit=5&limit=5", "twice"),
        (Method::GET, "/groups/rules?limit=5&after=guess", "cursor"),
        (Method::GET, "/users/00u1?expand=x", "query parameter expand"),
    ] {
        let scene = Scene::new().await;
        let answer = Answer::of(scene.request(method, target)).await;
        assert!((400..500).contains(&answer.status), "{target}");
        scene.assert_violation(text);
    }
}

#[tokio::test]
async fn a_get_has_no_body_and_asks_for_json() {
    let scene = Scene::new().await;
    let body = scene.request(Method::GET, &scene.list()).body("{}");
    assert_eq!(Answer::of(body).await.refusal(), (400, "E0000001".to_owned()));
    let scene = Scene::new().await;
    let authorization = format!("SSWS {}", scene.okta.ssws_token());
    let url = format!("{}/api/v1/groups/{}", scene.okta.url(), scene.group);
    let answer = Answer::of(client().get(url).header("authorization", authorization)).await;
    assert_eq!(answer.refusal(), (400, "E0000021".to_owned()));
    scene.assert_violation("Accept");
}

#[tokio::test]
async fn unknown_users_and_groups_are_honest_refusals() {
    let scene = Scene::new().await;
    let (ann, missing) = (scene.user("ann"), (404, "E0000007".to_owned()));
    assert_eq!(scene.put("00u404").await.refusal(), missing);
    assert_eq!(scene.delete("00u404").await.refusal(), missing);
    assert_eq!(scene.get("/users/nobody%40corp.example").await.refusal(), missing);
    scene.okta.delete_group(&scene.group);
    assert_eq!(scene.get(&format!("/groups/{}", scene.group)).await.refusal(), missing);
    assert_eq!(scene.list_page().await.refusal(), missing);
    assert_eq!(scene.delete(&ann).await.refusal(), missing);
    scene.assert_proper();
}

#[tokio::test]
async fn only_groups_of_oktas_own_take_members() {
    for (kind, status, code) in [("APP_GROUP", 403, "E0000006"), ("BUILT_IN", 501, "E0000060")] {
        let mut scene = Scene::new().await;
        let ann = scene.user("ann");
        scene.group = scene.okta.group_of_type("mirrored", kind);
        assert_eq!(scene.put(&ann).await.refusal(), (status, code.to_owned()));
        assert_eq!(scene.okta.members(&scene.group), BTreeSet::new());
    }
}

/// Reads the list to its end by its links and gives the ids and every page's `Link` headers.
async fn read_all(scene: &Scene) -> (Vec<String>, Vec<Vec<String>>) {
    let (mut ids, mut headers) = (Vec::new(), Vec::new());
    let mut target = format!("{}?limit=200", scene.list());
    loop {
        let answer = scene.get(&target).await;
        ids.extend(answer.ids());
        let links: Vec<String> = answer.links().into_iter().map(str::to_owned).collect();
        let all = links.join(", ");
        headers.push(links);
        let parts: Vec<&str> = all.split('<').skip(1).collect();
        let next = parts.iter().find(|part| !part.contains("rel=\"self\""));
        let Some(next) = next else { return (ids, headers) };
        let url = next.split('>').next().unwrap();
        url.strip_prefix(&format!("{}/api/v1", scene.okta.url())).unwrap().clone_into(&mut target);
    }
}

#[tokio::test]
async fn odd_links_take_every_form() {
    let scene = Scene::new().await;
    scene.fill(4);
    scene.okta.page_size(1);
    scene.okta.link_style(LinkStyle::Odd);
    let (_, headers) = read_all(&scene).await;
    let all = headers.concat().join("\n");
    for form in ["; rel=next", ";rel=\"NEXT\"", ";  REL = \"next\"", "title=\"page; 2, rel=self\"", "after=a,b;"] {
        assert!(all.contains(form), "{form}: {all}");
    }
}

#[tokio::test]
async fn hostile_links_lead_elsewhere() {
    let scene = Scene::new().await;
    scene.fill(2);
    scene.okta.page_size(1);
    let https = scene.okta.url().replace("http:", "https:");
    for (style, origin) in [
        (LinkStyle::ForeignOrigin, "https://okta.example"),
        (LinkStyle::OtherScheme, https.as_str()),
        (LinkStyle::OtherPort, "http://127.0.0.1:1"),
    ] {
        scene.okta.link_style(style);
        let answer = scene.list_page().await;
        let next = answer.links()[1];
        assert!(next.starts_with(&format!("<{origin}/api/v1/groups/")) && next.ends_with("rel=\"next\""), "{next}");
    }
}

#[tokio::test]
async fn an_endless_list_never_says_that_it_is_over() {
    let scene = Scene::new().await;
    let members = scene.fill(2);
    scene.okta.page_size(1);
    scene.okta.link_style(LinkStyle::Endless);
    let mut target = format!("{}?limit=200", scene.list());
    let mut seen = BTreeSet::new();
    for turn in 0..7 {
        let answer = scene.get(&target).await;
        assert_eq!(answer.ids(), [members[turn % 2].clone()]);
        let next = answer.links()[1].split(['<', '>']).nth(1).unwrap().to_owned();
        next.split("/api/v1").nth(1).unwrap().clone_into(&mut target);
        assert!(seen.insert(next), "an address came twice");
    }
    scene.okta.link_style(LinkStyle::Loop);
    let answer = scene.list_page().await;
    let addresses: Vec<_> = answer.links().iter().map(|link| link.split('>').next().unwrap().to_owned()).collect();
    assert_eq!(addresses[0], addresses[1]);
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let scene = Scene::new().await;
    scene.fill(2);
    scene.okta.page_size(1);
    let next = scene.list_page().await.links()[1].split("after=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!(scene.get(&format!("/groups/rules?after={next}")).await.status, 400);
    scene.assert_violation("cursor");
}

#[tokio::test]
async fn lagging_lists_show_the_members_before_the_last_change() {
    let scene = Scene::new().await;
    let (ann, bob) = (scene.user("ann"), scene.user("bob"));
    scene.okta.add(&scene.group, &ann);
    scene.okta.lag(&scene.group, 2);
    assert_eq!(scene.list_page().await.ids(), std::slice::from_ref(&ann));
    scene.put(&bob).await;
    assert_eq!(scene.okta.members(&scene.group), set(&[&ann, &bob]));
    for expected in [vec![&ann], vec![&ann], vec![&ann, &bob]] {
        assert_eq!(scene.list_page().await.ids().iter().collect::<Vec<_>>(), expected);
    }
    scene.delete(&ann).await;
    assert_eq!(scene.list_page().await.ids(), [ann, bob.clone()]);
    scene.okta.lag(&scene.group, 0);
    assert_eq!(scene.list_page().await.ids(), [bob]);
}

#[tokio::test]
async fn each_permission_can_be_missing() {
    let scene = Scene::new().await;
    let ann = scene.user("ann");
    let group = format!("/groups/{}", scene.group);
    let denied = (403, "E0000006".to_owned());
    scene.okta.forbid(Permission::MembersManage);
    assert_eq!([scene.put(&ann).await.refusal(), scene.delete(&ann).await.refusal()], [denied.clone(), denied.clone()]);
    scene.okta.permit(Permission::MembersManage);
    assert_eq!(scene.put(&ann).await.status, 204);
    scene.okta.forbid(Permission::GroupsRead);
    for target in [group, scene.list(), "/groups/rules".to_owned()] {
        assert_eq!(scene.get(&target).await.refusal(), denied);
    }
    scene.okta.forbid(Permission::UsersRead);
    assert_eq!(scene.get(&format!("/users/{ann}")).await.refusal(), denied);
    assert_eq!(scene.search("profile.email eq \"a\"").await.refusal(), denied);
    scene.assert_proper();
}

#[tokio::test]
async fn a_revoked_api_token_is_refused_honestly() {
    let scene = Scene::new().await;
    let token = scene.okta.ssws_token();
    scene.okta.revoke_ssws();
    let url = format!("{}/api/v1/groups/{}", scene.okta.url(), scene.group);
    for (token, violations) in [(format!("SSWS {token}"), 0), (format!("Bearer {token}"), 1), (String::new(), 2)] {
        let request = client().get(&url).header("accept", "application/json").header("authorization", token);
        assert_eq!(Answer::of(request).await.refusal(), (401, "E0000011".to_owned()));
        assert_eq!(scene.okta.violations().len(), violations);
    }
}

#[tokio::test]
async fn a_rate_limit_counts_in_epoch_seconds_of_the_orgs_clock() {
    let scene = Scene::new().await;
    scene.okta.limit(2);
    scene.clock.advance(Duration::seconds(5));
    for _ in 0..2 {
        let answer = scene.list_page().await;
        assert_eq!(answer.refusal(), (429, "E0000047".to_owned()));
        assert_eq!(answer.header("x-rate-limit-reset"), (scene.clock.now().timestamp() + 2).to_string());
        assert_eq!(answer.header("date"), "Mon, 02 Mar 2026 12:00:05 GMT");
    }
    assert_eq!(scene.list_page().await.status, 200);
    scene.assert_proper();
}

#[tokio::test]
async fn a_status_fault_speaks_oktas_dialect() {
    let scene = Scene::new().await;
    for (status, code) in [(429, "E0000047"), (503, "E0000009"), (403, "E0000006")] {
        scene.faults.reset();
        let call = format!(" okta GET /api/v1/groups/{} #1", scene.group);
        scene.faults.inject(Point { call, moment: Moment::Before, fault: Fault::Status(status, "") });
        let answer = scene.get(&format!("/groups/{}", scene.group)).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()));
        assert_eq!(answer.header("x-rate-limit-reset").is_empty(), status != 429);
    }
}

#[tokio::test]
async fn a_conflict_changes_nothing_and_passes() {
    let scene = Scene::new().await;
    let ann = scene.user("ann");
    scene.okta.conflict_next(1);
    assert_eq!(scene.put(&ann).await.refusal(), (409, "E0000112".to_owned()));
    assert_eq!(scene.okta.members(&scene.group), BTreeSet::new());
    assert_eq!(scene.put(&ann).await.status, 204);
}

#[tokio::test]
async fn the_groups_of_a_user_come_in_pages_and_only_those_that_the_role_may_see() {
    let scene = Scene::new().await;
    let [ann, bob] = ["ann", "bob"].map(|name| scene.user(name));
    let groups: Vec<String> = (0..5).map(|nth| scene.okta.group(&format!("team{nth}"))).collect();
    for group in &groups {
        scene.okta.add(group, &ann);
    }
    let list = format!("/users/{ann}/groups");
    assert_eq!(scene.get(&list).await.ids(), groups);
    assert_eq!(scene.get("/users/ann@corp.example/groups?limit=200").await.ids(), groups, "by login, too");
    assert_eq!(scene.get(&format!("/users/{bob}/groups")).await.ids(), Vec::<String>::new());
    scene.okta.page_size(2);
    let page = scene.get(&list).await;
    assert_eq!(page.ids(), groups[..2]);
    assert!(page.links()[1].contains("/groups?after=") && page.links()[1].ends_with("rel=\"next\""));
    scene.okta.page_size(200);
    scene.okta.hide_group(&groups[1]);
    assert_eq!(scene.get(&list).await.ids().len(), 4);
    assert_eq!(scene.get(&format!("/groups/{}", groups[1])).await.refusal(), (403, "E0000006".to_owned()));
    scene.okta.forbid(Permission::GroupsRead);
    assert_eq!(scene.get(&list).await.ids(), Vec::<String>::new());
    assert_eq!(scene.get("/users/00uNobody/groups").await.refusal(), (404, "E0000007".to_owned()));
    scene.okta.forbid(Permission::UsersRead);
    assert_eq!(scene.get(&list).await.refusal(), (403, "E0000006".to_owned()));
    scene.assert_proper();
}
