//! What goes over the wire to a server of one's own, command by command, and what its answers come to.

use super::scene::{refused, rotates, step};
use crate::polling::eventually;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::mongo::proxy::MongoProxy;
use keyturn_tests::stacks::mongo::{ADMIN, MongoApp, MongoStack};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SHA_256: &[&str] = &["SCRAM-SHA-256"];
const BOTH: &[&str] = &["SCRAM-SHA-1", "SCRAM-SHA-256"];

fn proxy(stack: &MongoStack) -> &MongoProxy {
    stack.proxy.as_ref().unwrap()
}

/// The commands of this name since they were last forgotten, without what the driver adds to each.
fn sent(stack: &MongoStack, name: &str) -> Vec<Document> {
    sent_through(proxy(stack), name)
}

fn sent_through(proxy: &MongoProxy, name: &str) -> Vec<Document> {
    let mut commands = proxy.commands();
    commands.retain(|command| command.keys().next().is_some_and(|first| first == name));
    for command in &mut commands {
        command.remove("lsid");
        let added: Vec<String> = command.keys().filter(|key| key.starts_with('$')).cloned().collect();
        for key in added {
            command.remove(key);
        }
    }
    commands
}

fn majority() -> Document {
    doc! { "w": "majority", "wtimeout": 5000_i64 }
}

fn password(stack: &MongoStack, app: &MongoApp, label: &str) -> String {
    stack.value(&app.secret, label).unwrap()["password"].as_str().unwrap().to_owned()
}

fn twin_of(app: &MongoApp) -> String {
    format!("{}_clone", app.user)
}

/// What `usersInfo` says of these users.
fn users(users: Vec<Document>) -> Document {
    doc! { "users": users, "ok": 1.0 }
}

fn described(name: &str, database: &str, more: Document) -> Document {
    let mut user = doc! { "user": name, "db": "admin", "roles": [{ "role": "readWrite", "db": database }] };
    user.extend(more);
    user
}

async fn alternating(stack: &MongoStack, name: &str) -> MongoApp {
    let app = stack.own_app(name).await.unwrap();
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    app
}

async fn as_root(stack: &MongoStack, database: &str, command: Document) {
    let (root, password) = stack.mongo.root();
    let client = stack.mongo.client("admin", root, password).unwrap();
    client.database(database).run_command(command).await.unwrap();
}

/// Starts a rotation up to its pending value. Gives back its token.
async fn created(stack: &MongoStack, app: &MongoApp) -> String {
    let token = stack.stage(&app.secret).unwrap();
    step(stack, app, &token, "createSecret").await.unwrap();
    proxy(stack).forget();
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admins_commands_change_what_they_have_to_and_nothing_else() {
    let stack = MongoStack::builder().through_proxy().variable("SYNC_ROLES", "true").start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    a_password_is_set_alone_and_for_the_same_mechanisms(&stack).await;
    a_server_that_tells_no_mechanisms_is_sent_none(&stack).await;
    a_twin_is_made_as_a_copy(&stack).await;
    rights_are_synced_without_the_password(&stack).await;
    a_server_without_restrictions_is_not_asked_for_them(&stack).await;
    a_password_rule_is_told_without_the_password(&stack).await;
    an_admin_without_the_right_is_told_which(&stack).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn a_password_is_set_alone_and_for_the_same_mechanisms(stack: &MongoStack) {
    for (name, mechanisms) in [("new", SHA_256), ("both", BOTH)] {
        let app = stack.own_app(name).await.unwrap();
        as_root(stack, "admin", doc! { "dropUser": &app.user }).await;
        let roles = [doc! { "role": "readWrite", "db": name }];
        let make = doc! { "createUser": &app.user, "pwd": &app.password, "roles": &roles, "mechanisms": mechanisms };
        as_root(stack, "admin", make).await;
        proxy(stack).forget();
        rotates(stack, &app).await;
        let expected = doc! {
            "updateUser": &app.user, "pwd": password(stack, &app, "AWSCURRENT"), "mechanisms": mechanisms,
            "writeConcern": majority(),
        };
        assert_eq!(sent(stack, "updateUser"), [expected]);
        let after = stack.mongo.user("admin", &app.user).await.unwrap().unwrap();
        assert_eq!(after.get_array("mechanisms").unwrap().len(), mechanisms.len(), "{after}");
        let commands = proxy(stack).commands();
        let names: Vec<&String> = commands.iter().filter_map(|command| command.keys().next()).collect();
        let known = ["connectionStatus", "usersInfo", "updateUser"];
        assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
    }
}

/// DocumentDB tells no mechanisms, and has its own rules for them.
async fn a_server_that_tells_no_mechanisms_is_sent_none(stack: &MongoStack) {
    let app = alternating(stack, "silent").await;
    let base = described(&app.user, "silent", doc! {});
    proxy(stack).answer("usersInfo", 4, users(vec![base.clone()]));
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    let [made] = &sent(stack, "createUser")[..] else { panic!("{:?}", sent(stack, "createUser")) };
    assert!(!made.contains_key("mechanisms") && !made.contains_key("authenticationRestrictions"), "{made}");
    step(stack, &app, &token, "testSecret").await.unwrap();
    step(stack, &app, &token, "finishSecret").await.unwrap();

    let app = stack.own_app("silence").await.unwrap();
    let token = created(stack, &app).await;
    proxy(stack).answer("usersInfo", 1, users(vec![described(&app.user, "silence", doc! {})]));
    step(stack, &app, &token, "setSecret").await.unwrap();
    let pwd = password(stack, &app, "AWSPENDING");
    assert_eq!(sent(stack, "updateUser"), [doc! { "updateUser": &app.user, "pwd": pwd, "writeConcern": majority() }]);
    assert!(stack.logs_in(&app.secret, "AWSPENDING").await.unwrap());
}

async fn a_twin_is_made_as_a_copy(stack: &MongoStack) {
    let app = alternating(stack, "copy").await;
    let restrictions = [doc! { "clientSource": ["127.0.0.0/8"] }];
    let more = doc! {
        "updateUser": &app.user, "pwd": &app.password, "mechanisms": BOTH, "authenticationRestrictions": &restrictions,
    };
    as_root(stack, "admin", more).await;
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    let expected = doc! {
        "createUser": twin_of(&app), "pwd": password(stack, &app, "AWSPENDING"),
        "roles": [{ "role": "readWrite", "db": "copy" }],
        "authenticationRestrictions": &restrictions, "mechanisms": BOTH, "writeConcern": majority(),
    };
    assert_eq!(sent(stack, "createUser"), [expected]);
    assert_eq!(sent(stack, "updateUser"), Vec::<Document>::new(), "it was made with its password");
    for asked in sent(stack, "usersInfo") {
        assert!(asked.get_bool("showAuthenticationRestrictions").unwrap() && !asked.contains_key("showCredentials"));
    }
    step(stack, &app, &token, "testSecret").await.unwrap();
    step(stack, &app, &token, "finishSecret").await.unwrap();
}

async fn rights_are_synced_without_the_password(stack: &MongoStack) {
    let app = alternating(stack, "sync").await;
    rotates(stack, &app).await;
    rotates(stack, &app).await;
    let wanted = [("readWrite", "sync"), ("read", "reports")];
    stack.mongo.set_roles("admin", &app.user, &wanted).await.unwrap();
    proxy(stack).forget();
    rotates(stack, &app).await;
    let difference = doc! {
        "grantRolesToUser": twin_of(&app), "roles": [{ "role": "read", "db": "reports" }], "writeConcern": majority(),
    };
    assert_eq!(sent(stack, "grantRolesToUser"), [difference]);
    assert_eq!(sent(stack, "revokeRolesFromUser"), Vec::<Document>::new());
    for update in sent(stack, "updateUser") {
        assert!(!update.contains_key("roles"), "whoever sends all has to be allowed to revoke any: {update}");
    }
    restrictions_are_synced_as_well(stack).await;
}

async fn restrictions_are_synced_as_well(stack: &MongoStack) {
    let app = alternating(stack, "narrow").await;
    rotates(stack, &app).await;
    rotates(stack, &app).await;
    let restrictions = doc! { "authenticationRestrictions": [{ "clientSource": ["127.0.0.0/8"] }] };
    let mut restrict = doc! { "updateUser": &app.user };
    restrict.extend(restrictions.clone());
    as_root(stack, "admin", restrict).await;
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    let mut expected = doc! { "updateUser": twin_of(&app) };
    expected.extend(restrictions);
    expected.insert("writeConcern", majority());
    assert_eq!(sent(stack, "updateUser").first(), Some(&expected));
}

/// DocumentDB refuses a question that it does not know.
async fn a_server_without_restrictions_is_not_asked_for_them(stack: &MongoStack) {
    let app = stack.own_app("docdb").await.unwrap();
    let unknown = doc! { "ok": 0.0, "code": 303, "errmsg": "Feature not supported: showAuthenticationRestrictions" };
    proxy(stack).forget();
    proxy(stack).answer("usersInfo", 1, unknown);
    let token = stack.stage(&app.secret).unwrap();
    step(stack, &app, &token, "createSecret").await.unwrap();
    let user = doc! { "user": &app.user, "db": "admin" };
    let first = doc! { "usersInfo": user.clone(), "showAuthenticationRestrictions": true };
    assert_eq!(sent(stack, "usersInfo"), [first, doc! { "usersInfo": user }]);
}

async fn a_password_rule_is_told_without_the_password(stack: &MongoStack) {
    let app = stack.own_app("rule").await.unwrap();
    let token = created(stack, &app).await;
    let pending = password(stack, &app, "AWSPENDING");
    let rule = "Password must be from 8 to 100 printable characters";
    for (words, told) in [(rule.to_owned(), rule), (format!("{rule}: {pending}"), "its message repeats the password")] {
        proxy(stack).answer("updateUser", 1, doc! { "ok": 0.0, "code": 2, "errmsg": words });
        let result = step(stack, &app, &token, "setSecret").await;
        let text = format!("{result:?}");
        refused(result, "PASSWORD_NOT_ALLOWED", &[told, "PASSWORD_LENGTH", &app.user]);
        assert!(!text.contains(&pending));
    }
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "nothing has changed");
    step(stack, &app, &token, "setSecret").await.unwrap();
}

async fn an_admin_without_the_right_is_told_which(stack: &MongoStack) {
    let (one, two) = (stack.own_app("poor").await.unwrap(), alternating(stack, "poorer").await);
    let (token, token_of_two) = (created(stack, &one).await, created(stack, &two).await);
    let look = doc! { "resource": { "db": "admin", "collection": "" }, "actions": ["viewUser"] };
    stack.mongo.make_role("looker", vec![look], &[]).await.unwrap();
    stack.mongo.set_roles("admin", ADMIN, &[("looker", "admin")]).await.unwrap();
    let to_set = doc! { "resource": { "db": "admin", "collection": "" }, "actions": ["viewUser", "changePassword"] };
    let actions = ["viewUser", "changePassword", "createUser", "setAuthenticationRestriction"];
    let to_make = doc! { "resource": { "db": "admin", "collection": "" }, "actions": actions.as_slice() };
    let to_hand_on = doc! { "resource": { "db": "poorer", "collection": "" }, "actions": ["grantRole", "revokeRole"] };
    for (app, token, privileges) in [(&one, &token, vec![to_set]), (&two, &token_of_two, vec![to_make, to_hand_on])] {
        let error = step(stack, app, token, "setSecret").await.unwrap_err();
        assert_eq!(error.error_type, "ADMIN_LACKS_PRIVILEGE", "{error}");
        assert!(error.error_message.contains(&stack.admin_arn), "{error}");
        let role = doc! { "createRole": "keyturn_rotation_added", "privileges": privileges, "roles": [] };
        let roles = [doc! { "role": "keyturn_rotation_added", "db": "admin" }];
        let grant = doc! { "grantRolesToUser": ADMIN, "roles": &roles };
        assert_eq!(commands(&error.error_message), [("admin".to_owned(), role), ("admin".to_owned(), grant)]);
        assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "nothing has changed");
    }
    stack.mongo.set_roles("admin", ADMIN, &[("read", "shop")]).await.unwrap();
    let token = stack.stage(&one.secret).unwrap();
    refused(step(stack, &one, &token, "createSecret").await, "ADMIN_LACKS_PRIVILEGE", &["\"viewUser\""]);
    stack.mongo.set_roles("admin", ADMIN, &[("keyturn_rotation", "admin")]).await.unwrap();
    rotates(stack, &one).await;
    rotates(stack, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_changes_its_own_password_where_there_is_no_admin_and_it_has_the_right() {
    let roles = "changeOwnPassword_admin@admin,looker@admin";
    let builder = MongoStack::builder().through_proxy().variable("ADMIN_SECRET_ARNS", "");
    let stack = builder.variable("ALLOW_ROLES", roles).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    // Looking at oneself takes no role: this one is there to be allowed.
    let look = doc! { "resource": { "db": "admin", "collection": "" }, "actions": ["viewUser"] };
    stack.mongo.make_role("looker", vec![look], &[]).await.unwrap();
    let app = without_admin(&stack, "shop").await;
    its_right_is_missing_and_can_be_given_by_pasting(&stack, &app).await;

    proxy(&stack).forget();
    rotates(&stack, &app).await;
    let [update] = &sent(&stack, "updateUser")[..] else { panic!("{:?}", sent(&stack, "updateUser")) };
    assert_eq!(update.get_str("updateUser").unwrap(), app.user);
    assert!(!stack.faults.recorded().iter().any(|call| call.contains(ADMIN)), "nobody else logs in");
    a_lost_reply_is_no_harm(&stack, &app).await;

    // Making another user takes an admin.
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    let token = stack.stage(&app.secret).unwrap();
    refused(step(&stack, &app, &token, "createSecret").await, "ADMIN_NOT_NAMED", &["ADMIN_SECRET_ARNS"]);
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn without_admin(stack: &MongoStack, name: &str) -> MongoApp {
    let app = stack.own_app(name).await.unwrap();
    stack.mongo.set_roles("admin", &app.user, &[("readWrite", name), ("looker", "admin")]).await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value.as_object_mut().unwrap().remove("masterarn");
    let secret = stack.secret(&format!("{name}-alone"), &value).unwrap();
    MongoApp { secret, ..app }
}

async fn its_right_is_missing_and_can_be_given_by_pasting(stack: &MongoStack, app: &MongoApp) {
    let outcome = stack.rotate(&app.secret).await.unwrap();
    let error = outcome.error().unwrap();
    assert_eq!(error.error_type, "CHANGE_OWN_PASSWORD_MISSING", "{error}");
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "nothing has changed");
    assert!(error.error_message.contains("ALLOW_ROLES=changeOwnPassword_admin@admin"), "{error}");
    let pasted = commands(&error.error_message);
    assert_eq!(pasted.len(), 2, "{error}");
    for (database, command) in pasted {
        as_root(stack, &database, command).await;
    }
}

/// The `db.getSiblingDB("admin").runCommand({...})` in a text.
fn commands(text: &str) -> Vec<(String, Document)> {
    let found = text.split("db.getSiblingDB(\"").skip(1);
    let read = |found: &str| {
        let (database, rest) = found.split_once("\").runCommand(").unwrap();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let command = values.next().unwrap().unwrap();
        (database.to_owned(), serde_json::from_value(command).unwrap())
    };
    found.map(read).collect()
}

/// The user's session may be of a password that is not good any more: it logs in with the one that works, and sets the new
/// password again, to hear that a majority has it.
async fn a_lost_reply_is_no_harm(stack: &MongoStack, app: &MongoApp) {
    for moment in [Moment::Before, Moment::After] {
        stack.faults.reset();
        proxy(stack).forget();
        let lost = Point { call: "setSecret mongo updateUser #1".to_owned(), moment, fault: Fault::Cut };
        stack.faults.inject(lost.clone());
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert_eq!(stack.faults.struck(), [lost]);
        assert!(outcome.succeeded() && outcome.attempts.len() == 1, "{outcome}");
        let [first, second] = &sent(stack, "updateUser")[..] else { panic!("{:?}", sent(stack, "updateUser")) };
        assert_eq!(first, second, "one password");
        assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_still_remembers_the_old_password_is_waited_for() {
    let stack = MongoStack::builder().through_proxy().variable("SETTLE_SECONDS", "60").start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let second = MongoProxy::start(&stack.mongo, stack.faults.clone()).await.unwrap();
    let hosts = format!("{},{}", proxy(&stack).address(), second.address());
    admin_is_for(&stack, &hosts).await;
    second.pretend_mongos();
    proxy(&stack).pretend_mongos();
    for strategy in ["fixed", "alternating"] {
        let app = stack.own_app(strategy).await.unwrap();
        stack.tag(&app.secret, "strategy", strategy).unwrap();
        stack.tag(&app.secret, "hosts", &hosts.replace(',', " ")).unwrap();
        waits_for(&stack, &second, &app).await;
        rotates(&stack, &app).await;
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// Stores other hosts in the admin's secret.
async fn admin_is_for(stack: &MongoStack, hosts: &str) {
    let mut admin = stack.value(&stack.admin_arn, "AWSCURRENT").unwrap();
    admin["host"] = json!(hosts);
    let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
    client.put_secret_value().secret_id(&stack.admin_arn).secret_string(admin.to_string()).send().await.unwrap();
}

async fn waits_for(stack: &MongoStack, second: &MongoProxy, app: &MongoApp) {
    let token = created(stack, app).await;
    second.forget();
    let user = stack.value(&app.secret, "AWSPENDING").unwrap()["username"].as_str().unwrap().to_owned();
    let made = if user == app.user { "updateUser" } else { "createUser" };
    stack.faults.reset();
    let fault = Fault::Slow(Duration::from_secs(1));
    stack.faults.inject(Point { call: format!("setSecret mongo {made} #1"), moment: Moment::After, fault });
    let done = AtomicBool::new(false);
    let set = async {
        let report = step(stack, app, &token, "setSecret").await;
        done.store(true, Ordering::Relaxed);
        report.unwrap()
    };
    let stale = async {
        eventually("the change", async || !stack.faults.struck().is_empty()).await;
        second.hold_logins_of(&user, true);
        let logins = || stack.faults.recorded().iter().filter(|call| call.contains(&format!("login {user} "))).count();
        let before = logins();
        eventually("more logins", async || logins() >= before + 6).await;
        assert!(!done.load(Ordering::Relaxed), "{user}: one of two is not enough");
        second.hold_logins_of(&user, false);
    };
    let (report, ()) = tokio::join!(set, stale);
    let everywhere = format!("accepted by {}, {} after", proxy(stack).address(), second.address());
    assert!(report["changes"].to_string().contains(&everywhere), "{report}");
    let changes = [proxy(stack), second].map(|through| sent_through(through, made)).concat();
    assert_eq!(changes.len(), 1, "set once: {changes:?}");
    step(stack, app, &token, "testSecret").await.unwrap();
    step(stack, app, &token, "finishSecret").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_tls_hears_a_greeting_in_tls_and_nothing_more() {
    let stack = MongoStack::start().await.unwrap();
    let app = stack.own_app("shop").await.unwrap();
    let (port, heard) = plain_port().await;
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    (value["ssl"], value["port"]) = (json!(false), json!(port));
    let secret = stack.secret("plain", &value).unwrap();
    admin_is_for(&stack, &format!("localhost:{port}")).await;
    let plain = MongoApp { secret, ..app };
    let token = stack.stage(&plain.secret).unwrap();
    let names = format!("localhost:{port}");
    refused(step(&stack, &plain, &token, "createSecret").await, "TLS_NOT_OFFERED", &[&names, "requireTLS"]);
    let heard = heard.lock().unwrap().clone();
    assert!(!heard.is_empty());
    for bytes in heard {
        assert!(bytes.starts_with(&[0x16, 0x03]), "no TLS handshake: {bytes:?}");
        let text = String::from_utf8_lossy(&bytes);
        assert!(![ADMIN, &plain.user, &plain.password, &stack.admin_password].iter().any(|word| text.contains(*word)));
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// A port that answers whatever it hears in clear text, and remembers what it heard, connection by connection.
async fn plain_port() -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let hearing = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.unwrap_or_default();
            bytes.truncate(read);
            hearing.lock().unwrap().push(bytes);
            let _ = stream.write_all(b"SSH-2.0-something in clear text\r\n").await;
            // What comes after an answer in clear text counts as well.
            let mut more = Vec::new();
            let _ = stream.read_to_end(&mut more).await;
            hearing.lock().unwrap().extend((!more.is_empty() && more[0] != 0x15).then_some(more));
        }
    });
    (port, heard)
}
