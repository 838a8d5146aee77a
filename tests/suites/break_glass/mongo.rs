//! Logins on MongoDB servers of one's own, on a real mongod.

use crate::polling::eventually;
use crate::secrecy::leaks;
use chrono::{DateTime, Duration, Utc};
use futures_util::future::join_all;
use keyturn_tests::mongo::set::ReplicaSet;
use keyturn_tests::mongo::{Mongo, Users, code};
use keyturn_tests::stacks::break_glass::{ADMIN, Answer, BINDING, GROUP, Stack};
use mongodb::bson::{Document, doc};
use mongodb::error::Result as Answered;
use mongodb::options::{ReadPreference, SelectionCriteria};
use mongodb::{Client, ClientSession};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PASSWORD: &str = "of-the-admin-alone";
/// What the manual says that the admin needs, for roles of `admin`.
const RIGHTS: [(&str, &str); 8] = [
    ("admin", "createUser"),
    ("admin", "dropUser"),
    ("admin", "grantRole"),
    ("admin", "viewRole"),
    ("admin", "viewUser"),
    ("", "inprog"),
    ("", "killAnySession"),
    ("", "killop"),
];

fn privileges<'r>(rights: impl IntoIterator<Item = &'r (&'r str, &'r str)>) -> Vec<Document> {
    let privilege = |(database, action): &(&str, &str)| match *database {
        "" => doc! { "resource": { "cluster": true }, "actions": [*action] },
        database => doc! { "resource": { "db": database, "collection": "" }, "actions": [*action] },
    };
    rights.into_iter().map(privilege).collect()
}

/// A stack beside this server, whose admin has these rights and nothing else.
async fn beside(users: &Users, rights: Vec<Document>) -> Stack {
    users.make_role("break_glass", rights, &[]).await.unwrap();
    users.make_user("admin", ADMIN, PASSWORD, &[("break_glass", "admin")]).await.unwrap();
    let authority = users.certificates().ca_file().display().to_string();
    let stack = Stack::without_postgres().variable("DATABASE_CA_FILE", &authority).start().await.unwrap();
    stack.aws.secrets.create("mongo-admin", &json!({"username": ADMIN, "password": PASSWORD}).to_string()).unwrap();
    stack
}

/// Puts the document of the database `shop`.
fn document(stack: &Stack, hosts: &[String], set: Option<&str>, roles: &[&str], more: &Value) {
    let mut document = json!({
        "engine": "mongodb", "hosts": hosts, "roles": roles, "max_minutes": 60,
        "admin_secret": stack.aws.secrets.arn("mongo-admin").unwrap(),
        "bindings": [{"binding": BINDING, "group": GROUP}],
    });
    if let Some(set) = set {
        document["replica_set"] = set.into();
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        document[key] = value.clone();
    }
    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    stack.document("shop", &document);
}

/// A server, and a stack whose database `shop` gives these roles; ann is on call.
async fn scene(roles: &[&str], more: &Value) -> (Mongo, Stack) {
    let mongo = Mongo::start().await.unwrap();
    let stack = beside(&mongo, privileges(&RIGHTS)).await;
    document(&stack, &[mongo.address()], mongo.replica_set(), roles, more);
    stack.grant("ann", 120);
    (mongo, stack)
}

async fn opened(stack: &Stack, users: &Users) -> (Answer, Client) {
    let answer = stack.open("ann", "shop", 60).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let client = users.client("admin", &answer.text("username"), &answer.text("password")).unwrap();
    (answer, client)
}

async fn closed(stack: &Stack) {
    let answer = stack.ask("ann", "DELETE", "/shop", None).await.unwrap();
    assert_eq!((answer.status, stack.records()), (200, vec![]), "{answer:?}");
}

/// The users that begin like the function's.
async fn logins(users: &Users) -> Vec<String> {
    let name = |user: &Document| user.get_str("user").unwrap().to_owned();
    users.users().await.unwrap().iter().map(name).filter(|name| name.starts_with("bg_")).collect()
}

async fn filled(client: &Client) {
    let documents: Vec<Document> = (0..100).map(|n| doc! { "_id": n }).collect();
    let insert = doc! { "insert": "orders", "documents": documents, "writeConcern": { "w": "majority" } };
    client.database("shop").run_command(insert).await.unwrap();
}

fn endless() -> Document {
    let function = doc! { "body": "function() { sleep(1000); return true; }", "args": [], "lang": "js" };
    doc! { "aggregate": "orders", "cursor": {}, "pipeline": [{ "$match": { "$expr": { "$function": function } } }] }
}

/// What a login has under way at the server of this client.
async fn under_way(root: &Client, login: &str) -> usize {
    let of_login = doc! { "$match": { "active": true, "effectiveUsers.user": login } };
    let command = doc! { "aggregate": 1, "cursor": {}, "pipeline": [{ "$currentOp": { "allUsers": true } }, of_login] };
    let answer = root.database("admin").run_command(command).await.unwrap();
    answer.get_document("cursor").unwrap().get_array("firstBatch").unwrap().len()
}

fn refused<T>(answer: Answered<T>) -> Option<i32> {
    answer.err().as_ref().and_then(code)
}

#[tokio::test]
async fn whoever_is_on_call_gets_a_user_of_their_own_until_the_end() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin", "clusterMonitor@admin"], &json!({})).await;
    let checked = stack.event("ops", &json!({"action": "check"})).await.unwrap();
    assert_eq!(checked["healthy"], true, "{checked}");
    let (answer, client) = opened(&stack, &mongo).await;
    let login = answer.text("username");
    assert_eq!((&answer.body["ready"], &answer.body["hosts"]), (&json!(true), &json!([mongo.address()])));
    filled(&client).await;
    let user = mongo.user("admin", &login).await.unwrap().unwrap();
    let data = user.get_document("customData").unwrap();
    assert_eq!((data.get_str("who").unwrap(), data.get_str("why").unwrap()), ("ann@corp.example", "INC-42"));
    assert_eq!(data.get_str("until").unwrap().parse::<DateTime<Utc>>().unwrap().to_string(), {
        let until: DateTime<Utc> = answer.text("until").parse().unwrap();
        until.to_string()
    });
    let roles = user.get_array("roles").unwrap();
    assert_eq!(roles.len(), 2, "{roles:?}");

    stack.clock.advance(Duration::minutes(59));
    assert_eq!(stack.sweep().await.unwrap()["closed"], json!([]));
    client.database("shop").run_command(doc! { "find": "orders" }).await.unwrap();
    stack.minutes_later(2);
    assert_eq!(stack.sweep().await.unwrap()["closed"], json!([login]));
    assert_eq!(logins(&mongo).await, [""; 0]);
    assert!(!mongo.logs_in("admin", &login, &answer.text("password")).await.unwrap());
    assert_eq!(stack.records(), [Value::Null; 0]);
    assert_eq!(stack.violations(), [""; 0]);
}

#[tokio::test]
async fn what_is_logged_in_when_a_login_ends_can_do_nothing_more_and_what_it_has_begun_ends() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin"], &json!({})).await;
    let (answer, client) = opened(&stack, &mongo).await;
    let login = answer.text("username");
    filled(&client).await;
    let shop = client.database("shop");
    let cursor = shop.run_command(doc! { "find": "orders", "batchSize": 2 }).await.unwrap();
    let cursor = cursor.get_document("cursor").unwrap().get_i64("id").unwrap();
    let mut transaction: ClientSession = client.start_session().await.unwrap();
    transaction.start_transaction().await.unwrap();
    shop.collection::<Document>("orders").delete_one(doc! { "_id": 1 }).session(&mut transaction).await.unwrap();
    let other = mongo.client("admin", &login, &answer.text("password")).unwrap();
    let long = tokio::spawn(async move { other.database("shop").run_command(endless()).await });
    let (root, password) = mongo.root();
    let root = mongo.client("admin", root, password).unwrap();
    eventually("it is under way", async || under_way(&root, &login).await > 0).await;

    closed(&stack).await;
    assert_eq!(under_way(&root, &login).await, 0);
    assert!(long.await.unwrap().is_err(), "it went on to its end");
    for command in [
        doc! { "find": "orders" },
        doc! { "getMore": cursor, "collection": "orders" },
        doc! { "insert": "orders", "documents": [{ "_id": 1000 }] },
    ] {
        assert_eq!(refused(shop.run_command(command.clone()).await), Some(13), "{command}");
    }
    assert!(transaction.commit_transaction().await.is_err());
    // Nothing waits for the transaction's lock, and nothing of it is there.
    let root_shop = root.database("shop");
    root_shop
        .run_command(doc! { "delete": "orders", "deletes": [{ "q": { "_id": 1 }, "limit": 1 }], "maxTimeMS": 2000 })
        .await
        .unwrap();
    assert_eq!(logins(&mongo).await, [""; 0]);
}

#[tokio::test]
async fn closing_that_broke_off_after_the_drop_is_finished_by_the_next_sweep() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin"], &json!({})).await;
    let (answer, client) = opened(&stack, &mongo).await;
    let login = answer.text("username");
    filled(&client).await;
    let long = tokio::spawn(async move { client.database("shop").run_command(endless()).await });
    let (root, password) = mongo.root();
    let root = mongo.client("admin", root, password).unwrap();
    eventually("it is under way", async || under_way(&root, &login).await > 0).await;
    mongo.drop_user("admin", &login).await.unwrap();
    assert_eq!(under_way(&root, &login).await, 1, "a drop alone ends nothing");
    stack.minutes_later(61);
    assert_eq!(stack.sweep().await.unwrap()["closed"], json!([login]));
    assert_eq!((under_way(&root, &login).await, stack.records()), (0, vec![]));
    assert!(long.await.unwrap().is_err());
}

#[tokio::test]
async fn what_a_login_reads_on_a_secondary_ends_with_it() {
    let certificates = keyturn_tests::certificates::Certificates::new().unwrap();
    let set = ReplicaSet::start(&certificates, 2, 1).await.unwrap();
    let stack = beside(&set, privileges(&RIGHTS)).await;
    // One host stands for the set: the others are asked for.
    document(&stack, &set.hosts()[..1], Some("rs0"), &["readWriteAnyDatabase@admin"], &json!({}));
    stack.grant("ann", 60);
    let (answer, client) = opened(&stack, &set).await;
    let login = answer.text("username");
    filled(&client).await;
    let secondary = || SelectionCriteria::ReadPreference(ReadPreference::Secondary { options: None });
    let shop = client.database("shop");
    let long = {
        let shop = shop.clone();
        tokio::spawn(async move { shop.run_command(endless()).selection_criteria(secondary()).await })
    };
    let (root, password) = set.root();
    let root = set.client("admin", root, password).unwrap();
    let reads = async || {
        let of_login = doc! { "$match": { "active": true, "effectiveUsers.user": &login } };
        let operations = doc! { "$currentOp": { "allUsers": true } };
        let command = doc! { "aggregate": 1, "cursor": {}, "pipeline": [operations, of_login] };
        let answer = root.database("admin").run_command(command).selection_criteria(secondary()).await.unwrap();
        answer.get_document("cursor").unwrap().get_array("firstBatch").unwrap().len()
    };
    eventually("it reads", async || reads().await > 0).await;
    closed(&stack).await;
    assert_eq!(reads().await, 0);
    assert!(long.await.unwrap().is_err());
    let find = shop.run_command(doc! { "find": "orders" }).selection_criteria(secondary()).await;
    assert_eq!(refused(find), Some(13));
}

/// The commands that a remedy gives to be pasted.
fn commands(remedy: &str) -> Vec<(String, Document)> {
    let pieces = remedy.split("db.getSiblingDB(\"").skip(1);
    let command = |piece: &str| {
        let (database, rest) = piece.split_once("\").runCommand(").unwrap();
        let text = &rest[..=rest.rfind('}').unwrap()];
        (database.to_owned(), serde_json::from_str(text).unwrap())
    };
    pieces.map(command).collect()
}

#[tokio::test]
async fn a_right_that_the_admin_lacks_is_named_before_anything_is_made_and_the_remedy_grants_it() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin"], &json!({})).await;
    for lacking in RIGHTS {
        let others = privileges(RIGHTS.iter().filter(|right| **right != lacking));
        mongo.as_root("admin", doc! { "updateRole": "break_glass", "privileges": others }).await.unwrap();
        let answer = stack.open("ann", "shop", 5).await.unwrap();
        assert_eq!((answer.status, answer.code()), (503, "ADMIN_LACKS_PRIVILEGE"), "{lacking:?}: {answer:?}");
        assert!(answer.text("message").contains(&format!("lacks {} on", lacking.1)), "{lacking:?}: {answer:?}");
        assert_eq!((logins(&mongo).await, stack.records()), (vec![], vec![]), "{lacking:?}");
        for (database, command) in commands(&answer.text("remedy")) {
            mongo.as_root(&database, command).await.unwrap();
        }
        assert_eq!(stack.open("ann", "shop", 5).await.unwrap().status, 200, "{lacking:?}");
        closed(&stack).await;
        // The next right is asked for of an admin that has the remedy's role already, without this one.
        let role = doc! { "updateRole": "keyturn_break_glass", "privileges": [] };
        mongo.as_root("admin", role).await.unwrap();
    }
    assert_eq!(stack.alerts().iter().filter(|title| title.starts_with("Database opened")).count(), RIGHTS.len());
}

#[tokio::test]
async fn a_role_of_another_database_asks_for_rights_there_alone() {
    let mongo = Mongo::start().await.unwrap();
    let rights = RIGHTS.iter().filter(|(_, action)| !["grantRole", "viewRole"].contains(action));
    let stack = beside(&mongo, privileges(rights.chain(&[("shop", "grantRole"), ("shop", "viewRole")]))).await;
    document(&stack, &[mongo.address()], None, &["readWrite@shop"], &json!({}));
    stack.grant("ann", 60);
    let (_, client) = opened(&stack, &mongo).await;
    filled(&client).await;
    assert_eq!(refused(client.database("store").run_command(doc! { "find": "orders" }).await), Some(13));
    document(&stack, &[mongo.address()], None, &["readWrite@shop", "read@store"], &json!({}));
    let answer = stack.open("ann", "shop", 5).await.unwrap();
    assert_eq!(answer.code(), "ADMIN_LACKS_PRIVILEGE");
    assert!(answer.text("message").contains("lacks grantRole, viewRole on \"store\""), "{answer:?}");
}

#[tokio::test]
async fn roles_with_which_a_login_could_lengthen_its_life_are_refused_unless_the_document_allows_them() {
    let mongo = Mongo::start().await.unwrap();
    let everything = doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] };
    let stack = beside(&mongo, vec![everything]).await;
    stack.grant("ann", 60);
    mongo.make_role("boss", vec![], &[("userAdmin", "shop")]).await.unwrap();
    let users = doc! { "db": "admin", "collection": "system.users" };
    mongo.make_role("clerk", vec![doc! { "resource": users, "actions": ["update"] }], &[]).await.unwrap();
    for role in [
        "root@admin",
        "__system@admin",
        "userAdminAnyDatabase@admin",
        "clusterAdmin@admin",
        "clusterManager@admin",
        "hostManager@admin",
        "backup@admin",
        "userAdmin@admin",
        "userAdmin@shop",
        "dbOwner@admin",
        "dbOwner@shop",
        "restore@admin",
        "boss@admin",
        "clerk@admin",
    ] {
        document(&stack, &[mongo.address()], None, &["read@shop", role], &json!({}));
        let answer = stack.open("ann", "shop", 5).await.unwrap();
        assert_eq!((answer.status, answer.code()), (503, "ACCESS_TOO_POWERFUL"), "{role}: {answer:?}");
        assert!(answer.text("message").contains(role) && answer.text("remedy").contains("allow_power"), "{answer:?}");
        assert_eq!((logins(&mongo).await, stack.records()), (vec![], vec![]), "{role}");
        document(&stack, &[mongo.address()], None, &["read@shop", role], &json!({"allow_power": true}));
        assert_eq!(stack.open("ann", "shop", 5).await.unwrap().status, 200, "{role}");
        closed(&stack).await;
    }
    for role in ["readWriteAnyDatabase@admin", "dbAdminAnyDatabase@admin", "clusterMonitor@admin", "readWrite@admin"] {
        document(&stack, &[mongo.address()], None, &[role], &json!({}));
        assert_eq!(stack.open("ann", "shop", 5).await.unwrap().status, 200, "{role}");
        closed(&stack).await;
    }
}

#[tokio::test]
async fn what_everybody_may_open_only_reads() {
    let read_only = json!({"read_only": true, "bindings": null});
    let (mongo, stack) = scene(&["readAnyDatabase@admin"], &read_only).await;
    let answer = stack.open("zoe", "shop", 5).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let client = mongo.client("admin", &answer.text("username"), &answer.text("password")).unwrap();
    client.database("shop").run_command(doc! { "find": "orders" }).await.unwrap();
    let orders = doc! { "db": "shop", "collection": "orders" };
    mongo
        .make_role("mover", vec![doc! { "resource": orders, "actions": ["renameCollectionSameDB"] }], &[])
        .await
        .unwrap();
    for role in ["readWriteAnyDatabase@admin", "dbAdmin@admin", "hostManager@admin", "mover@admin"] {
        document(&stack, &[mongo.address()], None, &[role], &read_only);
        let answer = stack.open("zoe", "shop", 5).await.unwrap();
        assert_eq!(answer.code(), "ACCESS_TOO_POWERFUL", "{answer:?}");
        assert!(answer.text("message").contains("read_only"), "{answer:?}");
    }
}

#[tokio::test]
async fn documents_and_admins_that_do_not_fit_are_refused_by_name() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin"], &json!({})).await;
    for (hosts, roles, code) in [
        (mongo.address(), ["nothing@admin"], "ACCESS_MISSING"),
        ("c0-shard-00-00.ab1cd.mongodb.net".to_owned(), ["read@admin"], "ATLAS_NEEDS_ITS_API"),
        ("h1:x".to_owned(), ["read@admin"], "HOSTS_INVALID"),
    ] {
        document(&stack, &[hosts], None, &roles, &json!({}));
        let answer = stack.open("ann", "shop", 5).await.unwrap();
        assert_eq!(answer.code(), code, "{answer:?}");
        assert!(answer.text("remedy").contains("in the document"), "{answer:?}");
    }
    let as_admin = |name: &str, value: &Value| {
        let arn = stack.aws.secrets.create(name, &value.to_string()).unwrap();
        document(&stack, &[mongo.address()], None, &["read@admin"], &json!({"admin_secret": arn}));
    };
    for (value, code) in [
        (json!({"username": ADMIN, "password": "wrong"}), "ADMIN_PASSWORD_REFUSED"),
        (json!({"username": ADMIN, "password": PASSWORD, "host": "elsewhere.example.com"}), "ADMIN_OF_ANOTHER_SERVER"),
    ] {
        as_admin(code, &value);
        let answer = stack.open("ann", "shop", 5).await.unwrap();
        assert_eq!(answer.code(), code, "{answer:?}");
    }
    as_admin("good", &json!({"username": ADMIN, "password": PASSWORD, "host": mongo.address()}));
    assert_eq!(stack.open("ann", "shop", 5).await.unwrap().status, 200);
    assert_eq!(logins(&mongo).await.len(), 1);
}

#[tokio::test]
async fn a_server_without_sha_1_makes_logins_that_get_in() {
    let mongo = Mongo::builder().parameter("authenticationMechanisms", "SCRAM-SHA-256").start().await.unwrap();
    let stack = beside(&mongo, privileges(&RIGHTS)).await;
    document(&stack, &[mongo.address()], None, &["readWriteAnyDatabase@admin"], &json!({}));
    stack.grant("ann", 60);
    let (_, client) = opened(&stack, &mongo).await;
    filled(&client).await;
}

#[tokio::test]
async fn a_login_that_nobody_knows_is_told_and_left_alone() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin"], &json!({})).await;
    let (answer, _) = opened(&stack, &mongo).await;
    mongo.make_user("admin", "bg_by_hand", "a-password", &[("read", "shop")]).await.unwrap();
    mongo.make_user("shop", "bg_elsewhere", "a-password", &[("read", "shop")]).await.unwrap();
    let swept = stack.sweep().await.unwrap();
    assert_eq!((&swept["unresolved"], &swept["open"]), (&json!(1), &json!(1)), "{swept}");
    assert!(stack.alerts().iter().any(|title| title.contains("bg_by_hand")), "{:?}", stack.alerts());
    stack.minutes_later(61);
    stack.sweep().await.unwrap();
    assert_eq!(logins(&mongo).await, ["bg_by_hand", "bg_elsewhere"], "{answer:?}");
}

#[tokio::test]
async fn the_report_lists_the_users_of_admin_with_their_roles() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin", "clusterMonitor@admin"], &json!({})).await;
    let (answer, _) = opened(&stack, &mongo).await;
    let since = stack.clock.now() - Duration::hours(1);
    let report = stack.event("ops", &json!({"action": "report", "since": since.to_rfc3339()})).await.unwrap();
    let powers = report["powers_csv"].as_str().unwrap();
    let row =
        |login: &str| powers.lines().find(|line| line.contains(login)).unwrap_or_else(|| panic!("{login}: {report}"));
    let own = row(&answer.text("username"));
    for part in
        ["readWriteAnyDatabase@admin", "clusterMonitor@admin", r#""person","ann@corp.example""#, &answer.text("until")]
    {
        assert!(own.contains(part), "{part}: {own}");
    }
    assert!(row("root").contains("root@admin") && row(ADMIN).contains("admin secret"), "{powers}");
}

#[tokio::test]
async fn two_sweeps_at_once_end_a_login_once() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin"], &json!({})).await;
    opened(&stack, &mongo).await;
    stack.minutes_later(61);
    for swept in join_all([stack.sweep(), stack.sweep(), stack.sweep()]).await {
        assert_eq!(swept.unwrap()["overstaying"], json!([]));
    }
    assert_eq!((logins(&mongo).await, stack.records()), (vec![], vec![]));
}

#[tokio::test]
async fn no_password_is_in_the_functions_log_the_servers_or_the_record() {
    let (mongo, stack) = scene(&["readWriteAnyDatabase@admin"], &json!({})).await;
    let lambda = stack.lambda(None).await.unwrap();
    let body = json!({"minutes": 5, "reason": "INC-42"});
    let event = stack.url_event("ann", "POST", "/shop", Some(&body));
    let answer = lambda.invoke_by(Some("url"), &event).await.result.unwrap();
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    assert!(mongo.logs_in("admin", &text("username"), &text("password")).await.unwrap(), "{answer}");
    let written = vec![
        ("function's log", lambda.logs().unwrap()),
        ("server's log", mongo.log().unwrap()),
        ("records", format!("{:?}", stack.records())),
    ];
    assert!(written.iter().all(|(_, log)| log.contains(&text("username"))), "somebody wrote nothing: {written:?}");
    assert_eq!(leaks(&BTreeSet::from([text("password"), PASSWORD.to_owned()]), &[], &written), [""; 0]);
}
