//! Servers that are not like others: mechanisms that are switched off, majorities that are missing, primaries that step down,
//! connections that are used up, certificates that are demanded, addresses that are not let in.

use super::scene::{created, finishes, password, put_current, put_pending, refused, rotates, step};
use crate::polling::eventually;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::mongo::set::ReplicaSet;
use keyturn_tests::mongo::{Mongo, Users};
use keyturn_tests::stacks::mongo::{ADMIN, MongoApp, MongoStack, make_admin};
use keyturn_tests::vendors::atlas::Endpoint;
use mongodb::bson::{Document, doc};
use serde_json::json;
use std::time::Duration;

/// An application on another server, which is at `host`.
pub(super) async fn app_at(stack: &MongoStack, users: &Users, host: &str, name: &str) -> MongoApp {
    let app = stack.own_app(name).await.unwrap();
    let roles = [doc! { "role": "readWrite", "db": name }];
    users.as_root("admin", doc! { "createUser": &app.user, "pwd": &app.password, "roles": &roles }).await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["host"] = json!(host);
    value.as_object_mut().unwrap().remove("port");
    put_current(stack, &app.secret, &value.to_string()).await;
    app
}

/// Makes the rotation's admin at `host`, where from now on the stack's admin secret says it is.
pub(super) async fn admin_at(stack: &MongoStack, users: &Users, host: &str) {
    make_admin(users, &stack.admin_password).await.unwrap();
    admin_is_at(stack, host).await;
}

async fn admin_is_at(stack: &MongoStack, host: &str) {
    let admin = json!({"engine": "mongo", "host": host, "username": ADMIN, "password": stack.admin_password});
    put_current(stack, &stack.admin_arn, &admin.to_string()).await;
}

async fn logs_in(stack: &MongoStack, users: &Users, app: &MongoApp, label: &str) -> bool {
    let value = stack.value(&app.secret, label).unwrap();
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    users.logs_in("admin", &text("username"), &text("password")).await.unwrap()
}

async fn turns(stack: &MongoStack, users: &Users, app: &MongoApp) {
    let outcome = stack.rotate(&app.secret).await.unwrap();
    assert!(outcome.succeeded(), "{}: {outcome}", app.user);
    assert!(logs_in(stack, users, app, "AWSCURRENT").await, "{}", app.user);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_one_mechanism_only_takes_new_passwords_for_that_one() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    for (nth, mechanism) in ["SCRAM-SHA-256", "SCRAM-SHA-1"].into_iter().enumerate() {
        let builder = Mongo::builder().certificates(stack.mongo.certificates());
        let server = builder.parameter("authenticationMechanisms", mechanism).start().await.unwrap();
        let host = server.address();
        admin_at_with(&stack, &server, &host, mechanism).await;
        for strategy in ["fixed", "alternating"] {
            let name = format!("{strategy}{nth}");
            let app = stack.own_app(&name).await.unwrap();
            let roles = [doc! { "role": "readWrite", "db": &name }];
            let user =
                doc! { "createUser": &app.user, "pwd": &app.password, "roles": &roles, "mechanisms": [mechanism] };
            server.as_root("admin", user).await.unwrap();
            // A user of the time when the server did both: the record lists both.
            lists_both(&server, &app.user).await;
            let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
            value["port"] = json!(server.port());
            put_current(&stack, &app.secret, &value.to_string()).await;
            stack.tag(&app.secret, "strategy", strategy).unwrap();
            for _ in 0..3 {
                turns(&stack, &server, &app).await;
            }
        }
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn admin_at_with(stack: &MongoStack, server: &Mongo, host: &str, mechanism: &str) {
    let roles = [doc! { "role": "userAdminAnyDatabase", "db": "admin" }];
    let pwd = &stack.admin_password;
    let admin = doc! { "createUser": ADMIN, "pwd": pwd, "roles": &roles, "mechanisms": [mechanism] };
    server.as_root("admin", admin).await.unwrap();
    admin_is_at(stack, host).await;
}

async fn lists_both(server: &Mongo, user: &str) {
    let of = |user: &Document| user.get_document("credentials").unwrap().clone();
    let found = server.users().await.unwrap();
    let mut credentials = of(found.iter().find(|found| found.get_str("user").is_ok_and(|name| name == user)).unwrap());
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256"] {
        if !credentials.contains_key(mechanism) {
            let length = if mechanism == "SCRAM-SHA-1" { [24, 28] } else { [40, 44] };
            let key = |bytes: usize| format!("{}=", "A".repeat(bytes - 1));
            let salt = if mechanism == "SCRAM-SHA-1" {
                format!("{}==", "A".repeat(22))
            } else {
                format!("{}==", "A".repeat(38))
            };
            assert_eq!(salt.len(), length[0]);
            let made = doc! { "iterationCount": 10_000, "salt": salt, "storedKey": key(length[1]), "serverKey": key(length[1]) };
            credentials.insert(mechanism, made);
        }
    }
    let change = doc! { "q": { "user": user }, "u": { "$set": { "credentials": credentials } } };
    server.as_root("admin", doc! { "update": "system.users", "updates": [change] }).await.unwrap();
    let listed = server.user("admin", user).await.unwrap().unwrap();
    assert_eq!(listed.get_array("mechanisms").unwrap().len(), 2, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_changed_or_it_is_changed_back() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let mut set = ReplicaSet::start(stack.mongo.certificates(), 2, 1).await.unwrap();
    let host = set.address();
    admin_at(&stack, &set, &host).await;
    let [app, other] = [app_at(&stack, &set, &host, "fixed").await, app_at(&stack, &set, &host, "taking_turns").await];
    stack.tag(&other.secret, "strategy", "alternating").unwrap();
    turns(&stack, &set, &app).await;
    turns(&stack, &set, &other).await;
    let tokens = [created(&stack, &app).await, created(&stack, &other).await];

    // The primary goes on without its only secondary: it finds out when it next writes.
    set.stop(1);
    for _ in 0..2 {
        let result = step(&stack, &app, &tokens[0], "setSecret").await;
        let error = result.as_ref().unwrap_err().error_message.clone();
        refused(result, "DATABASE_UNAVAILABLE", &["majority"]);
        println!("without a majority: {error}");
        assert!(logs_in(&stack, &set, &app, "AWSCURRENT").await, "clients go on working: {error}");
    }
    let result = step(&stack, &app, &tokens[0], "setSecret").await;
    refused(result, "DATABASE_UNAVAILABLE", &["has a primary that no majority of the replica set follows"]);
    refused(step(&stack, &other, &tokens[1], "setSecret").await, "DATABASE_UNAVAILABLE", &["majority"]);
    assert!(logs_in(&stack, &set, &other, "AWSCURRENT").await);
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_steps_down_or_dies_is_waited_for_and_nobody_is_refused() {
    let stack = MongoStack::start().await.unwrap();
    let mut set = ReplicaSet::start(stack.mongo.certificates(), 3, 0).await.unwrap();
    let host = set.address();
    admin_at(&stack, &set, &host).await;
    let app = app_at(&stack, &set, &host, "shop").await;
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    turns(&stack, &set, &app).await;
    let (outcome, stepped) = tokio::join!(stack.rotate(&app.secret), set.step_down());
    stepped.unwrap();
    assert!(outcome.as_ref().unwrap().succeeded(), "{}", outcome.unwrap());
    assert!(logs_in(&stack, &set, &app, "AWSCURRENT").await && logs_in(&stack, &set, &app, "AWSPREVIOUS").await);
    let fixed = app_at(&stack, &set, &host, "fixed").await;
    let (outcome, stepped) = tokio::join!(stack.rotate(&fixed.secret), set.step_down());
    stepped.unwrap();
    assert!(outcome.as_ref().unwrap().succeeded(), "{}", outcome.unwrap());
    assert!(logs_in(&stack, &set, &fixed, "AWSCURRENT").await);
    // A member is gone: a majority is still there.
    set.stop(2);
    turns(&stack, &set, &app).await;
    turns(&stack, &set, &fixed).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_login_from_the_server_is_said() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    connections_are_used_up(&stack).await;
    a_certificate_is_demanded(&stack).await;
    an_address_is_not_let_in(&stack).await;
    a_password_is_percent_encoded(&stack).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// The password has been changed, and then something stops every try before it looks at the servers: clients are refused, and
/// the error is the only one who could say so.
#[tokio::test(flavor = "multi_thread")]
async fn what_stops_a_try_at_its_beginning_says_that_clients_are_refused() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.own_app("shop").await.unwrap();
    let token = created(&stack, &app).await;
    let admin = stack.value(&stack.admin_arn, "AWSCURRENT").unwrap();
    let mut outdated = admin.clone();
    outdated["password"] = json!("outdated");
    put_current(&stack, &stack.admin_arn, &outdated.to_string()).await;
    let result = step(&stack, &app, &token, "setSecret").await;
    let untouched = result.as_ref().unwrap_err().error_message.clone();
    refused(result, "ADMIN_PASSWORD_REFUSED", &[]);
    assert!(!untouched.contains("in force"), "{untouched}");
    put_current(&stack, &stack.admin_arn, &admin.to_string()).await;
    step(&stack, &app, &token, "setSecret").await.unwrap();

    let says = [&*format!("In force: {}: the new password.", stack.mongo.address())];
    put_current(&stack, &stack.admin_arn, &outdated.to_string()).await;
    for name in ["setSecret", "testSecret"] {
        refused(step(&stack, &app, &token, name).await, "ADMIN_PASSWORD_REFUSED", &says);
    }
    put_current(&stack, &stack.admin_arn, &admin.to_string()).await;
    stack.mongo.set_roles("admin", &app.user, &[("root", "admin")]).await.unwrap();
    refused(step(&stack, &app, &token, "setSecret").await, "ROLE_FORBIDDEN", &says);
    stack.mongo.set_roles("admin", &app.user, &[("readWrite", "shop")]).await.unwrap();
    let unseen = "If an earlier try has set the new password and there is one user only, clients with the current one are refused";
    stack.tag(&app.secret, "engine", "mongodb").unwrap();
    for name in ["setSecret", "testSecret", "finishSecret"] {
        refused(step(&stack, &app, &token, name).await, "TAG_INVALID", &[unseen]);
    }
    stack.tag(&app.secret, "engine", "").unwrap();
    finishes(&stack, &app, &token).await;

    // Saving a schedule tests the value in use: nobody is refused.
    let saved = stack.own_app("saved").await.unwrap();
    let current = stack.value(&saved.secret, "AWSCURRENT").unwrap().to_string();
    let token = put_pending(&stack, &saved.secret, &current).await;
    put_current(&stack, &stack.admin_arn, &outdated.to_string()).await;
    let result = step(&stack, &saved, &token, "testSecret").await;
    let words = result.as_ref().unwrap_err().error_message.clone();
    refused(result, "ADMIN_PASSWORD_REFUSED", &[]);
    assert!(!words.contains("in force"), "{words}");
    put_current(&stack, &stack.admin_arn, &admin.to_string()).await;

    let app = stack.atlas_app("pay").await.unwrap();
    let token = created(&stack, &app).await;
    step(&stack, &app, &token, "setSecret").await.unwrap();
    stack.atlas.refuse(&stack.principal, Endpoint::Clusters, 403);
    for name in ["setSecret", "testSecret"] {
        let says = [
            "If an earlier try has set the new password and there is one user only, clients with the current one are refused",
        ];
        refused(step(&stack, &app, &token, name).await, "ATLAS_PERMISSION_MISSING", &says);
    }
    stack.atlas.permit(&stack.principal, Endpoint::Clusters);
    finishes(&stack, &app, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// A person stores a new password, in the database and as AWSCURRENT, between two steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_stored_after_set_secret_is_not_called_the_old_one() {
    let stack = MongoStack::start().await.unwrap();
    let app = stack.own_app("shop").await.unwrap();
    let token = created(&stack, &app).await;
    step(&stack, &app, &token, "setSecret").await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["password"] = json!("Of-a-person-1");
    stack.mongo.set_password("admin", &app.user, "Of-a-person-1").await.unwrap();
    put_current(&stack, &app.secret, &value.to_string()).await;
    let place = format!("In force: {}: the current password.", stack.mongo.address());
    let says = ["the AWSCURRENT one works: since setSecret, something has set that one", "a new value", &place];
    refused(step(&stack, &app, &token, "testSecret").await, "REVERTED_BY_OTHER_WRITER", &says);
    refused(step(&stack, &app, &token, "finishSecret").await, "REVERTED_BY_OTHER_WRITER", &says[..2]);
    assert_eq!(stack.value(&app.secret, "AWSCURRENT").unwrap(), value, "it stands");
    finishes(&stack, &app, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// Between the change and the login that is to prove it.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_sets_on_a_server_while_the_new_password_is_proven_stays_and_is_said() {
    let stack = MongoStack::builder().through_proxy().start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    for strategy in ["fixed", "alternating"] {
        let app = stack.own_app(strategy).await.unwrap();
        stack.tag(&app.secret, "strategy", strategy).unwrap();
        rotates(&stack, &app).await; // so that there is a twin
        let token = created(&stack, &app).await;
        let user = stack.value(&app.secret, "AWSPENDING").unwrap()["username"].as_str().unwrap().to_owned();
        stack.faults.reset();
        let fault = Fault::Slow(Duration::from_secs(1));
        stack.faults.inject(Point { call: "setSecret mongo updateUser #1".to_owned(), moment: Moment::After, fault });
        let theirs = async {
            eventually("the change", async || !stack.faults.struck().is_empty()).await;
            stack.mongo.set_password("admin", &user, "Of-somebody-1").await.unwrap();
        };
        let (result, ()) = tokio::join!(step(&stack, &app, &token, "setSecret"), theirs);
        let says: [&str; 2] = match strategy {
            "fixed" => ["something else set another one, which was left as it is", "neither password"],
            _ => ["was set, and is refused", "is in use and untouched"],
        };
        refused(result, "PASSWORD_NOT_TAKEN", &says);
        assert!(stack.mongo.logs_in("admin", &user, "Of-somebody-1").await.unwrap(), "{strategy}: it stays");
        stack.mongo.set_password("admin", &user, &password(&stack, &app, "AWSPENDING")).await.unwrap();
        finishes(&stack, &app, &token).await;
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// DocumentDB's rule is known by the name of its host, before anybody looks for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pending_password_that_document_db_never_takes_is_refused_by_its_rule() {
    let stack = MongoStack::start().await.unwrap();
    let mut value = stack.own_credential("shop", "shop_test_rw", "a-good-password");
    value["host"] = json!("shop.cluster-c1a2.eu-west-1.docdb.amazonaws.com");
    let secret = stack.secret("shop", &value).unwrap();
    value["password"] = json!("with/a/slash");
    let token = put_pending(&stack, &secret, &value.to_string()).await;
    let result = stack.step(&secret, &token, "createSecret").await;
    let says = ["its password can never be set: DocumentDB takes 8 to 100 printable characters without / \" @"];
    refused(result, "PENDING_MISMATCH", &says);
}

/// As in a failover: the command is made again, or, where no majority confirms it, undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_server_fails_once_locks_nobody_out() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let [fixed, turning] = [stack.own_app("fixed").await.unwrap(), stack.own_app("turning").await.unwrap()];
    stack.tag(&turning.secret, "strategy", "alternating").unwrap();
    let fail = async |how: Document| {
        let mut data = doc! { "failCommands": ["createUser", "updateUser"] };
        data.extend(how);
        let fail = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
        stack.mongo.as_root("admin", fail).await.unwrap();
    };
    let [not_primary, shutting_down, interrupted] = [10_107, 91, 11_602].map(|code| doc! { "errorCode": code });
    for how in [not_primary, shutting_down, interrupted, doc! { "closeConnection": true }] {
        for app in [&fixed, &turning] {
            fail(how.clone()).await;
            rotates(&stack, app).await;
        }
    }
    let unconfirmed = doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    fail(unconfirmed).await;
    let token = created(&stack, &fixed).await;
    let says = ["The current password is back", "the current password."];
    refused(step(&stack, &fixed, &token, "setSecret").await, "DATABASE_UNAVAILABLE", &says);
    assert!(stack.logs_in(&fixed.secret, "AWSCURRENT").await.unwrap());
    finishes(&stack, &fixed, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn create_is_refused(stack: &MongoStack, app: &MongoApp, code: &str, says: &[&str]) {
    let token = stack.stage(&app.secret).unwrap();
    refused(step(stack, app, &token, "createSecret").await, code, says);
    assert!(stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap().is_none());
}

async fn connections_are_used_up(stack: &MongoStack) {
    let builder = Mongo::builder().certificates(stack.mongo.certificates()).standalone();
    let server = builder.max_connections(5).start().await.unwrap();
    let app = stack.own_app("crowded").await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["port"] = json!(server.port());
    put_current(stack, &app.secret, &value.to_string()).await;
    admin_is_at(stack, &server.address()).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap());
    }
    eventually("they are counted", async || server.log().unwrap().matches("Connection accepted").count() >= 5).await;
    create_is_refused(stack, &app, "TLS_NOT_OFFERED", &["has no connection left", "maxIncomingConnections"]).await;
}

async fn a_certificate_is_demanded(stack: &MongoStack) {
    let builder = Mongo::builder().certificates(stack.mongo.certificates());
    let server = builder.demand_certificates().start().await.unwrap();
    let app = stack.own_app("uncertified").await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["port"] = json!(server.port());
    put_current(stack, &app.secret, &value.to_string()).await;
    admin_is_at(stack, &server.address()).await;
    create_is_refused(stack, &app, "DATABASE_UNREACHABLE", &["allowConnectionsWithoutCertificates"]).await;
}

async fn an_address_is_not_let_in(stack: &MongoStack) {
    admin_is_at(stack, &stack.mongo.address()).await;
    let app = stack.own_app("elsewhere").await.unwrap();
    let only = [doc! { "clientSource": ["10.0.0.0/8"] }];
    let restrict = doc! { "updateUser": &app.user, "authenticationRestrictions": &only };
    stack.mongo.as_root("admin", restrict).await.unwrap();
    let says = ["has authenticationRestrictions", "they must name the function's"];
    create_is_refused(stack, &app, "CURRENT_PASSWORD_REFUSED", &says).await;
}

async fn a_password_is_percent_encoded(stack: &MongoStack) {
    let app = stack.own_app("encoded").await.unwrap();
    stack.mongo.set_password("admin", &app.user, "p@ss/word:1").await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["password"] = json!("p%40ss%2Fword%3A1");
    put_current(stack, &app.secret, &value.to_string()).await;
    let says = ["is percent-encoded", "Store it decoded."];
    create_is_refused(stack, &app, "CURRENT_PASSWORD_REFUSED", &says).await;
    // Also where no admin is named.
    value.as_object_mut().unwrap().remove("masterarn");
    let alone = stack.function("alone", &[("ADMIN_SECRET_ARNS", "")]).await.unwrap();
    let secret = stack.secret("encoded-alone", &value).unwrap();
    let token = stack.stage(&secret).unwrap();
    let create = json!({"Step": "createSecret", "SecretId": secret, "ClientRequestToken": token});
    refused(alone.invoke(create).await.result, "CURRENT_PASSWORD_REFUSED", &says);
    value["password"] = json!("p@ss/word:1");
    put_current(stack, &app.secret, &value.to_string()).await;
    rotates(stack, &app).await;
}

/// Whoever is cut off in between leaves a twin that works, and the next try goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_is_given_roles_before_others_are_taken_and_is_never_without_any() {
    let stack = MongoStack::builder().through_proxy().variable("SYNC_ROLES", "true").start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.own_app("shop").await.unwrap();
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    let twin = format!("{}_clone", app.user);
    let roles = async || stack.mongo.user("admin", &twin).await.unwrap().unwrap().get_array("roles").unwrap().len();
    for _ in 0..2 {
        rotates(&stack, &app).await;
    }
    // Nothing of what it had is among what it is to have.
    stack.mongo.set_roles("admin", &app.user, &[("read", "catalogue")]).await.unwrap();
    let token = created(&stack, &app).await;
    for (call, left) in [("grantRolesToUser", 1), ("revokeRolesFromUser", 2)] {
        stack.faults.reset();
        let point = Point { call: format!("setSecret mongo {call} #1"), moment: Moment::Before, fault: Fault::Kill };
        stack.faults.inject(point.clone());
        step(&stack, &app, &token, "setSecret").await.unwrap_err();
        assert_eq!(stack.faults.struck(), [point]);
        assert_eq!(roles().await, left);
    }
    finishes(&stack, &app, &token).await;
    assert_eq!(roles().await, 1);
    // What an earlier version left behind: no roles at all.
    rotates(&stack, &app).await;
    stack.mongo.set_roles("admin", &twin, &[]).await.unwrap();
    rotates(&stack, &app).await;
    assert_eq!(roles().await, 1);
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_can_never_be_set_is_not_stored() {
    let stack = MongoStack::builder().variable("PASSWORD_LENGTH", "7").start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.atlas_app("short").await.unwrap();
    create_is_refused(&stack, &app, "PASSWORD_NOT_ALLOWED", &["8 characters", "PASSWORD_LENGTH"]).await;
    // One that was stored before is said to be of no use, and how to get rid of it.
    let usual = stack.function("usual", &[("PASSWORD_LENGTH", "")]).await.unwrap();
    usual.set_timeout(Duration::from_mins(1));
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["password"] = json!("short");
    let token = super::scene::put_pending(&stack, &app.secret, &value.to_string()).await;
    let result = step(&stack, &app, &token, "createSecret").await;
    refused(result, "PENDING_MISMATCH", &["its password can never be set: Atlas takes 8 characters at least"]);
    assert_ne!(password(&stack, &app, "AWSCURRENT"), "short");
    let own = stack.own_app("fine").await.unwrap();
    let token = created(&stack, &own).await;
    finishes(&stack, &own, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}
