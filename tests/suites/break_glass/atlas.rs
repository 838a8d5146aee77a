//! Logins at Atlas, on its emulator with a real mongod behind it.

use crate::polling::eventually;
use chrono::{DateTime, Duration, Utc};
use keyturn_tests::faults::Faults;
use keyturn_tests::mongo::Mongo;
use keyturn_tests::stacks::break_glass::{Answer, BINDING, CONFIG_PATH, GROUP, Stack};
use keyturn_tests::vendors::atlas::{Atlas, Project};
use keyturn_tests::vendors::{Call, Reply, TestClock};
use serde_json::{Value, json};
use std::sync::Arc;

const ROLE: &str = "GROUP_DATABASE_ACCESS_ADMIN";

struct Scene {
    stack: Stack,
    atlas: Atlas,
    clock: TestClock,
    project: Project,
    account: String,
    server: Arc<Mongo>,
}

impl Scene {
    /// A project with a cluster `shop`; ann is on call.
    async fn new(roles: &[&str], more: &Value) -> Self {
        let clock = TestClock::at("2026-03-02T09:00:00Z");
        clock.advance(keyturn::clock::now() - clock.now());
        let atlas = Atlas::start(clock.clock(), Faults::none()).await.unwrap();
        let (project, server) = (atlas.project(), Arc::new(Mongo::start().await.unwrap()));
        atlas.add_cluster(&project, "shop", Arc::clone(&server)).unwrap();
        let stack = Stack::without_postgres().variable("ATLAS_API_URL", &atlas.url()).start().await.unwrap();
        let (account, secret) = atlas.service_account(&project, &[ROLE]);
        let secret = json!({"client_id": account, "client_secret": secret});
        let arn = stack.aws.secrets.create("atlas", &secret.to_string()).unwrap();
        let mut document = json!({
            "engine": "atlas", "project": project.id(), "host": "shop.ab1cd.mongodb.net", "roles": roles,
            "admin_secret": arn, "max_minutes": 60, "bindings": [{"binding": BINDING, "group": GROUP}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        stack.document("shop", &document);
        stack.grant("ann", 120);
        Self { stack, atlas, clock, project, account, server }
    }

    async fn usual() -> Self {
        Self::new(&["readWriteAnyDatabase@admin"], &json!({"clusters": ["shop"]})).await
    }

    fn minutes_later(&self, minutes: i64) {
        self.stack.minutes_later(minutes);
        self.clock.advance(Duration::minutes(minutes));
    }

    async fn open(&self) -> Answer {
        self.stack.open("ann", "shop", 60).await.unwrap()
    }

    async fn logs_in(&self, answer: &Answer) -> bool {
        self.server.logs_in("admin", &answer.text("username"), &answer.text("password")).await.unwrap()
    }

    fn logins(&self) -> Vec<String> {
        let users = self.atlas.users(&self.project);
        users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
    }

    fn proper(&self) {
        assert_eq!([self.stack.violations(), self.atlas.violations()].concat(), [""; 0]);
        assert_eq!(self.atlas.live_tokens(), 0, "every token is given back");
    }
}

#[tokio::test]
async fn whoever_is_on_call_gets_a_temporary_user_that_closing_deletes() {
    let scene = Scene::usual().await;
    let checked = scene.stack.event("ops", &json!({"action": "check"})).await.unwrap();
    assert_eq!(checked["healthy"], true, "{checked}");
    let answer = scene.open().await;
    assert_eq!((answer.status, &answer.body["ready"]), (200, &json!(false)), "{answer:?}");
    assert_eq!(answer.text("host"), "shop.ab1cd.mongodb.net");
    let user = scene.atlas.user_json(&scene.project, &answer.text("username"));
    assert_eq!(user["roles"], json!([{"roleName": "readWriteAnyDatabase", "databaseName": "admin"}]));
    assert_eq!(user["scopes"], json!([{"name": "shop", "type": "CLUSTER"}]));
    assert_eq!(user["description"], "Keyturn break-glass: ann@corp.example, INC-42");
    let until: DateTime<Utc> = answer.text("until").parse().unwrap();
    assert_eq!(user["deleteAfterDate"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), until);
    scene.atlas.applied("shop", 1).await.unwrap();
    assert!(scene.logs_in(&answer).await);

    let closed = scene.stack.ask("ann", "DELETE", "/shop", None).await.unwrap();
    assert_eq!((closed.status, scene.logins(), scene.stack.records()), (200, vec![], vec![]), "{closed:?}");
    scene.atlas.applied("shop", 2).await.unwrap();
    assert!(!scene.logs_in(&answer).await);
    scene.proper();
}

#[tokio::test]
async fn atlas_itself_ends_a_login_though_nobody_sweeps_and_a_late_sweep_forgets_it() {
    let scene = Scene::usual().await;
    let answer = scene.open().await;
    scene.atlas.applied("shop", 1).await.unwrap();
    scene.minutes_later(61);
    assert_eq!(scene.logins(), [""; 0]);
    scene.atlas.applied("shop", 2).await.unwrap();
    assert!(!scene.logs_in(&answer).await);
    assert_eq!(scene.stack.sweep().await.unwrap()["closed"], json!([answer.text("username")]));
    assert_eq!(scene.stack.records(), [Value::Null; 0]);
    scene.proper();
}

#[tokio::test]
async fn a_login_whose_grant_is_over_is_deleted_by_the_sweep() {
    let scene = Scene::usual().await;
    let answer = scene.open().await;
    scene.stack.hold("ann");
    assert_eq!(scene.stack.sweep().await.unwrap()["closed"], json!([answer.text("username")]));
    assert_eq!(scene.logins(), [""; 0]);
    scene.proper();
}

#[tokio::test]
async fn a_credential_that_may_only_look_is_refused_before_anything_is_made() {
    let scene = Scene::usual().await;
    for roles in [&["GROUP_READ_ONLY"][..], &[]] {
        scene.atlas.set_roles(&scene.account, &scene.project, roles);
        let answer = scene.open().await;
        assert_eq!((answer.status, answer.code()), (503, "ATLAS_PERMISSION_MISSING"), "{answer:?}");
        assert!(answer.text("remedy").contains("GROUP_DATABASE_ACCESS_ADMIN"), "{answer:?}");
        assert_eq!((scene.logins(), scene.stack.records()), (vec![], vec![]));
    }
    let names: Vec<String> = scene.atlas.seen().iter().map(Call::name).collect();
    assert!(!names.iter().any(|name| name.starts_with("POST") && name.ends_with("databaseUsers")), "{names:?}");
}

#[tokio::test]
async fn what_everybody_may_open_only_reads() {
    let scene = Scene::new(&["readAnyDatabase@admin"], &json!({"read_only": true})).await;
    let mut document: Value = serde_json::from_str(&scene.stack.aws.parameters.below(CONFIG_PATH)[0].1).unwrap();
    document.as_object_mut().unwrap().remove("bindings");
    scene.stack.document("shop", &document);
    let answer = scene.stack.open("zoe", "shop", 5).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let user = scene.atlas.user_json(&scene.project, &answer.text("username"));
    assert_eq!(user["roles"], json!([{"roleName": "readAnyDatabase", "databaseName": "admin"}]));
    for roles in [["readWriteAnyDatabase@admin"], ["atlasAdmin@admin"], ["enableSharding@admin"], ["mine@admin"]] {
        document["roles"] = json!(roles);
        scene.stack.document("shop", &document);
        let answer = scene.stack.open("zoe", "shop", 5).await.unwrap();
        assert_eq!(answer.code(), "ACCESS_TOO_POWERFUL", "{roles:?}: {answer:?}");
    }
    assert_eq!(scene.logins().len(), 1);
    scene.proper();
}

#[tokio::test]
async fn a_user_of_that_name_that_somebody_else_made_is_named_and_left_alone() {
    let scene = Scene::usual().await;
    let post = format!("POST /api/atlas/v2/groups/{}/databaseUsers", scene.project.id());
    let taken = json!({"error": 409, "errorCode": "USER_ALREADY_EXISTS", "detail": "It exists.", "parameters": []});
    scene.atlas.replace(&post, 1, Reply::json(409, &taken));
    let answer = scene.open().await;
    assert_eq!((answer.status, answer.code()), (503, "LOGIN_OF_ANOTHER"), "{answer:?}");
    assert_eq!(scene.stack.records(), [Value::Null; 0], "there is nothing to end");
}

#[tokio::test]
async fn a_full_project_refuses_and_nothing_is_remembered() {
    let scene = Scene::usual().await;
    scene.atlas.fill_users(&scene.project, 100).unwrap();
    let answer = scene.open().await;
    assert_eq!((answer.status, answer.code()), (503, "ATLAS_USER_QUOTA"), "{answer:?}");
    assert!(!answer.text("remedy").contains("strategy"), "{answer:?}");
    assert_eq!((scene.logins().len(), scene.stack.records()), (100, vec![]));
}

#[tokio::test]
async fn a_user_whose_making_was_not_answered_is_deleted_by_the_next_sweep() {
    let scene = Scene::usual().await;
    let post = format!("POST /api/atlas/v2/groups/{}/databaseUsers", scene.project.id());
    scene.atlas.replace(
        &post,
        1,
        Reply::json(500, &json!({"error": 500, "errorCode": "UNEXPECTED_ERROR", "detail": "x"})),
    );
    let answer = scene.open().await;
    assert_eq!((answer.status, answer.code()), (503, "ATLAS_CALL_FAILED"), "{answer:?}");
    let record = scene.stack.records().remove(0);
    assert_eq!(record["failed"], true, "{record}");
    let name = record["login"].as_str().unwrap();
    let body = json!({"username": name, "roles": [{"roleName": "read", "databaseName": "shop"}]});
    scene.atlas.add_user(&scene.project, &body, "a-password").await.unwrap();
    assert_eq!(scene.stack.sweep().await.unwrap()["closed"], json!([name]));
    assert_eq!((scene.logins(), scene.stack.records()), (vec![], vec![]));
}

#[tokio::test]
async fn a_login_beyond_the_first_page_of_users_is_seen() {
    let scene = Scene::usual().await;
    for nth in 0..130 {
        let name = if nth == 129 { "bg_by_hand".to_owned() } else { format!("app_{nth}") };
        let body = json!({"username": name, "x509Type": "MANAGED"});
        scene.atlas.add_user(&scene.project, &body, "").await.unwrap();
    }
    let swept = scene.stack.sweep().await.unwrap();
    assert_eq!(swept["unresolved"], 1, "{swept}");
    assert!(scene.stack.alerts().iter().any(|title| title.contains("bg_by_hand")), "{:?}", scene.stack.alerts());
    assert_eq!(scene.logins().len(), 130);
    scene.proper();
}

#[tokio::test]
async fn the_report_lists_the_projects_users_with_their_roles() {
    let scene = Scene::usual().await;
    let app = json!({"username": "app", "roles": [{"roleName": "dbAdmin", "databaseName": "shop"}]});
    scene.atlas.add_user(&scene.project, &app, "a-password").await.unwrap();
    let answer = scene.open().await;
    let since = scene.clock.now() - Duration::hours(1);
    let report = scene.stack.event("ops", &json!({"action": "report", "since": since.to_rfc3339()})).await.unwrap();
    let powers = report["powers_csv"].as_str().unwrap();
    let row =
        |login: &str| powers.lines().find(|line| line.contains(login)).unwrap_or_else(|| panic!("{login}: {report}"));
    let own = row(&answer.text("username"));
    for part in ["readWriteAnyDatabase@admin", "only on shop", r#""person","ann@corp.example""#, &answer.text("until")]
    {
        assert!(own.contains(part), "{part}: {own}");
    }
    assert!(row("app").contains("dbAdmin@shop") && row("app").contains("nothing"), "{powers}");
    scene.proper();
}

#[tokio::test]
async fn while_atlas_is_away_a_login_overstays_and_goes_as_soon_as_it_is_back() {
    let scene = Scene::usual().await;
    let login = scene.open().await.text("username");
    scene.stack.hold("ann");
    let delete = format!("DELETE /api/atlas/v2/groups/{}/databaseUsers/admin/{login}", scene.project.id());
    scene.atlas.replace(
        &delete,
        1,
        Reply::json(500, &json!({"error": 500, "errorCode": "UNEXPECTED_ERROR", "detail": "x"})),
    );
    let swept = scene.stack.sweep().await.unwrap();
    assert_eq!((&swept["closed"], &swept["overstaying"]), (&json!([]), &json!([login])), "{swept}");
    eventually("it is gone", async || {
        scene.stack.sweep().await.unwrap();
        scene.logins().is_empty()
    })
    .await;
    assert_eq!(scene.stack.records(), [Value::Null; 0]);
}
