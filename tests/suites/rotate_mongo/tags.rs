//! The tags of a secret: what they say counts, before the secret's value and the function's settings.

use super::scene::{created, finishes, put_pending, refused, step};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::mongo::{ADMIN, MongoApp, MongoStack};
use keyturn_tests::tcp::closed_port;
use mongodb::bson::doc;
use serde_json::{Value, json};

/// Where a rotation has taken place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Own,
    Atlas,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_says_whose_password_is_changed_and_where() {
    let stack = MongoStack::start().await.unwrap();
    a_tag_that_cannot_be_read_is_refused_with_the_command_to_correct_it(&stack).await;
    an_empty_tag_is_none(&stack).await;
    the_engine_comes_from_the_tag_then_the_value_then_the_settings(&stack).await;
    the_strategy_comes_from_the_tag_then_the_settings(&stack).await;
    the_project_comes_from_the_tag_where_several_are_allowed(&stack).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_says_on_which_servers_the_user_logs_in() {
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    hosts_in_a_tag_stand_apart_by_spaces(&stack).await;
    hosts_of_two_replica_sets_are_two_places(&stack).await;
    a_tag_narrows_the_clusters(&stack).await;
    users_may_be_kept_in_another_database(&stack).await;
    the_network_is_the_operators_choice(&stack).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn a_tag_that_cannot_be_read_is_refused_with_the_command_to_correct_it(stack: &MongoStack) {
    for (at, tag, value, code, example) in [
        (At::Own, "strategy", "single", "TAG_INVALID", "fixed"),
        (At::Atlas, "strategy", "ALTERNATING", "TAG_INVALID", "fixed"),
        (At::Own, "engine", "mongodb", "TAG_INVALID", "mongodb-atlas"),
        (At::Atlas, "atlas-project", "shop", "TAG_INVALID", "32b6e34b3d91647abb20e7b8"),
        (At::Atlas, "atlas-project", "../../orgs/aaaaaaaaaaaaaa", "TAG_INVALID", "32b6e34b3d91647abb20e7b8"),
        (At::Atlas, "hosts", "h1:0", "TAG_INVALID", "rs0/h1.example.com:27017 h2.example.com:27017"),
        (At::Atlas, "hosts", "mongodb://u:hunter2@h1", "TAG_INVALID", "rs0/h1.example.com:27017 h2.example.com:27017"),
        (At::Own, "hosts", "h1:x h2", "HOSTS_INVALID", "host:port"),
        (At::Own, "hosts", "mongodb+srv://u:hunter2@h1", "HOSTS_INVALID", "host:port"),
    ] {
        let app = app(stack, at, &format!("bad-{tag}-{}", value.len())).await;
        stack.tag(&app.secret, tag, value).unwrap();
        let before = stack.mongo.users().await.unwrap();
        let example = if code == "TAG_INVALID" {
            format!(
                "aws secretsmanager tag-resource --secret-id {} --tags \"Key=keyturn:{tag},Value={example}\"",
                app.secret
            )
        } else {
            example.to_owned()
        };
        let says = [&format!("he tag keyturn:{tag} of {}", app.secret), example.as_str()];
        let token = stack.stage(&app.secret).unwrap();
        refused(stack.step(&app.secret, &token, "createSecret").await, code, &says);
        assert_eq!(stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap(), None, "{tag}={value}");
        let mut pending = stack.value(&app.secret, "AWSCURRENT").unwrap();
        pending["password"] = json!("PutByHandAndKnownToNobody");
        let token = put_pending(stack, &app.secret, &pending.to_string()).await;
        for step in ["setSecret", "testSecret"] {
            refused(stack.step(&app.secret, &token, step).await, code, &says);
        }
        assert!(stack.mongo.users().await.unwrap() == before, "{tag}={value}");
    }
    assert!(!stack.lambda.logs().unwrap().contains("hunter2"), "a tag with a credential is not quoted");
}

async fn an_empty_tag_is_none(stack: &MongoStack) {
    for at in [At::Own, At::Atlas] {
        let app = app(stack, at, "blank").await;
        let names = ["username", "strategy", "atlas-project", "atlas-clusters", "auth-db", "hosts"];
        for (name, blank) in names.into_iter().zip(["", " "].into_iter().cycle()) {
            stack.tag(&app.secret, name, blank).unwrap();
        }
        assert_eq!(rotates(stack, &app.secret).await, at);
    }
}

async fn the_engine_comes_from_the_tag_then_the_value_then_the_settings(stack: &MongoStack) {
    let at_atlas = function(stack, "engine-atlas", &[("ENGINE", "mongodb-atlas")]).await;
    let own = function(stack, "engine-mongo", &[("ENGINE", "mongo")]).await;
    let only_atlas = function(stack, "only-atlas", &[("ADMIN_SECRET_ARNS", "")]).await;
    let only_own = function(stack, "only-own", &[("ATLAS_SECRET_ID", "")]).await;
    let neither = function(stack, "neither", &[("ATLAS_SECRET_ID", ""), ("ADMIN_SECRET_ARNS", "")]).await;

    // Both are set up, and nothing says which.
    let said = |engine: &str| if engine.is_empty() { Value::Null } else { json!(engine) };
    let make = async |name: &str, tag: &str, engine: &str| secret_of_either(stack, name, tag, &said(engine)).await;
    let says = ["at Atlas or on a server of your own", "--tags Key=keyturn:engine,Value=mongodb-atlas"];
    for (name, function) in [("both", &stack.lambda), ("none", &neither)] {
        let secret = make(&format!("silent-{name}"), "", "").await;
        let token = stack.stage(&secret).unwrap();
        let event = json!({"Step": "createSecret", "SecretId": secret, "ClientRequestToken": token});
        refused(function.invoke(event).await.result, "ENGINE_UNKNOWN", &says);
    }
    let secret = make("postgres", "", "postgres").await;
    let token = stack.stage(&secret).unwrap();
    refused(
        stack.step(&secret, &token, "createSecret").await,
        "ENGINE_UNKNOWN",
        &["\"postgres\" is neither mongodb-atlas nor mongo"],
    );

    for (n, (function, tag, engine, expected)) in [
        (&at_atlas, "", "", At::Atlas),
        (&own, "", "", At::Own),
        (&only_atlas, "", "", At::Atlas),
        (&only_own, "", "", At::Own),
        (&own, "", "mongodb-atlas", At::Atlas),
        (&at_atlas, "", "mongo", At::Own),
        (&own, "mongodb-atlas", "mongo", At::Atlas),
        (&at_atlas, "mongo", "mongodb-atlas", At::Own),
        (&at_atlas, "mongo", "postgres", At::Own),
    ]
    .into_iter()
    .enumerate()
    {
        let secret = make(&format!("engine-{n}"), tag, engine).await;
        stack.aws.secrets.set_rotation(&secret, &function.invoke_url()).unwrap();
        assert_eq!(rotates(stack, &secret).await, expected, "tag {tag:?}, value {engine:?}");
    }
}

async fn the_strategy_comes_from_the_tag_then_the_settings(stack: &MongoStack) {
    let alternating = function(stack, "alternating", &[("STRATEGY", "alternating")]).await;
    for at in [At::Own, At::Atlas] {
        for (name, function, tag, turns) in [
            ("by-default", &stack.lambda, "", false),
            ("by-setting", &alternating, "", true),
            ("by-tag", &alternating, "fixed", false),
            ("by-other-tag", &stack.lambda, "alternating", true),
        ] {
            let app = app(stack, at, name).await;
            stack.aws.secrets.set_rotation(&app.secret, &function.invoke_url()).unwrap();
            stack.tag(&app.secret, "strategy", tag).unwrap();
            assert_eq!(rotates(stack, &app.secret).await, at);
            let user = stack.value(&app.secret, "AWSCURRENT").unwrap()["username"].clone();
            let twin = format!("{}_clone", app.user);
            assert_eq!(user, json!(if turns { &twin } else { &app.user }), "{name}");
        }
    }
}

async fn the_project_comes_from_the_tag_where_several_are_allowed(stack: &MongoStack) {
    let second = stack.atlas.project();
    let both = format!("{},{}", second.id(), stack.project.id());
    let function = function(stack, "two-projects", &[("ATLAS_PROJECT_IDS", &both)]).await;
    let app = app(stack, At::Atlas, "projected").await;
    stack.aws.secrets.set_rotation(&app.secret, &function.invoke_url()).unwrap();
    stack.tag(&app.secret, "atlas-project", stack.project.id()).unwrap();
    assert_eq!(rotates(stack, &app.secret).await, At::Atlas);
}

async fn hosts_in_a_tag_stand_apart_by_spaces(stack: &MongoStack) {
    let port = stack.database_port();
    // An admin's secret as RDS makes it: where the server is, the tag says alone.
    let admin = json!({"username": ADMIN, "password": stack.admin_password}).to_string();
    let admin = stack.aws.secrets.create("homeless", &admin).unwrap();
    let function = function(stack, "homeless-admin", &[("ADMIN_SECRET_ARNS", &admin)]).await;
    for (n, hosts) in [
        format!("localhost:{port}"),
        format!("rs0/localhost:{port} localhost:1"),
        format!("  rs0/localhost:1   127.0.0.1:{port} "),
        format!("mongodb://localhost:1 localhost:{port}/?replicaSet=rs0"),
    ]
    .into_iter()
    .enumerate()
    {
        for at in [At::Own, At::Atlas] {
            // What the value says of the place does not matter then.
            let app = app(stack, at, &format!("hosts-{n}")).await;
            let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
            (value["host"], value["masterarn"]) = (json!("no-such-host.invalid"), Value::Null);
            super::scene::put_current(stack, &app.secret, &value.to_string()).await;
            stack.tag(&app.secret, "hosts", &hosts).unwrap();
            stack.aws.secrets.set_rotation(&app.secret, &function.invoke_url()).unwrap();
            assert_eq!(rotates(stack, &app.secret).await, at, "{hosts}");
            let asked = stack.atlas.seen().into_iter().find(|call| call.path.ends_with("/clusters"));
            assert!(asked.is_none(), "Atlas was asked where its clusters are");
        }
    }
    // A replica set of another name is not the one that was meant.
    let app = app(stack, At::Own, "hosts-wrong-set").await;
    stack.tag(&app.secret, "hosts", &format!("other/localhost:{port}")).unwrap();
    let token = stack.stage(&app.secret).unwrap();
    let refusal = stack.step(&app.secret, &token, "createSecret").await.unwrap_err();
    assert_eq!(refusal.error_type, "REPLICA_SET_NAME_WRONG", "{refusal}");
}

/// A driver that is given the hosts of two replica sets takes one of them and drops the other without a word.
async fn hosts_of_two_replica_sets_are_two_places(stack: &MongoStack) {
    let [first, second] = [0, 1].map(|nth| stack.clusters[nth].address());
    let create = async |app: &MongoApp, hosts: String| {
        stack.tag(&app.secret, "hosts", &hosts).unwrap();
        let token = stack.stage(&app.secret).unwrap();
        stack.step(&app.secret, &token, "createSecret").await
    };
    let both = format!("{first} {second}");
    let at_atlas = app(stack, At::Atlas, "two-sets").await;
    stack.atlas.revert("cluster1", &at_atlas.user, "Somebody-elses-1").await.unwrap();
    let refusal = create(&at_atlas, both.clone()).await;
    refused(refusal, "CURRENT_PASSWORD_REFUSED", &[&format!("{second}: Authentication failed")]);
    stack.atlas.revert("cluster1", &at_atlas.user, &at_atlas.password).await.unwrap();
    let token = stack.aws.secrets.version(&at_atlas.secret, "AWSPENDING").unwrap().unwrap();
    stack.step(&at_atlas.secret, &token, "createSecret").await.unwrap();
    let report = stack.step(&at_atlas.secret, &token, "setSecret").await.unwrap();
    let named = [format!("accepted by {first}, {second} after"), format!("accepted by {second}, {first} after")];
    assert!(named.iter().any(|named| report["changes"].to_string().contains(named)), "{report}");
    finishes(stack, &at_atlas, &token).await;
    // Over the wire, one command changes one of them.
    let own = app(stack, At::Own, "two-own-sets").await;
    refused(create(&own, both).await, "HOSTS_INVALID", &["2 replica sets", &first, &second, "of one cluster"]);
    // Nobody knows of what a host is a member that does not answer: the set's name would tell.
    let nobody = format!("localhost:{}", closed_port().unwrap());
    let says = [format!("{nobody} cannot be reached")];
    refused(create(&at_atlas, format!("{first} {nobody}")).await, "DATABASE_UNREACHABLE", &[&says[0]]);
    stack.tag(&at_atlas.secret, "hosts", &format!("rs0/{first} {nobody}")).unwrap();
    assert_eq!(rotates(stack, &at_atlas.secret).await, At::Atlas);
}

/// The user may log in on both clusters; on the second one it has got another password in the meantime.
async fn a_tag_narrows_the_clusters(stack: &MongoStack) {
    let app = app(stack, At::Atlas, "narrowed").await;
    stack.atlas.revert("cluster1", &app.user, "Somebody-elses-1").await.unwrap();
    let says = ["cluster1", "so nothing was changed"];
    for tag in ["", "cluster1", "cluster1 cluster0"] {
        stack.tag(&app.secret, "atlas-clusters", tag).unwrap();
        let token = stack.stage(&app.secret).unwrap();
        refused(stack.step(&app.secret, &token, "createSecret").await, "CURRENT_PASSWORD_REFUSED", &says);
    }
    stack.tag(&app.secret, "atlas-clusters", " cluster0 ").unwrap();
    assert_eq!(rotates(stack, &app.secret).await, At::Atlas);
    let of_other = stack.atlas.seen().into_iter().find(|call| call.path.contains("/clusters/cluster1"));
    assert!(of_other.is_none(), "a cluster out of scope was waited for");
}

/// The user of the same name in `admin` is another one.
async fn users_may_be_kept_in_another_database(stack: &MongoStack) {
    let actions = ["viewUser", "changePassword", "changeOwnPassword", "createUser"];
    let privilege = doc! {"resource": {"db": "shop", "collection": ""}, "actions": actions.as_slice()};
    stack.mongo.make_role("users_of_shop", vec![privilege], &[]).await.unwrap();
    let roles = [("keyturn_rotation", "admin"), ("users_of_shop", "admin")];
    stack.mongo.set_roles("admin", ADMIN, &roles).await.unwrap();

    let (user, other, password) = ("kept_test_rw", "Of-the-user-in-admin-1", "Of-the-user-in-shop-1");
    stack.mongo.make_user("admin", user, other, &[("readWrite", "shop")]).await.unwrap();
    stack.mongo.make_user("shop", user, password, &[("readWrite", "shop")]).await.unwrap();
    let secret = stack.secret("kept", &stack.own_credential("shop", user, password)).unwrap();
    let token = stack.stage(&secret).unwrap();
    refused(stack.step(&secret, &token, "createSecret").await, "CURRENT_PASSWORD_REFUSED", &["so nothing was changed"]);
    let unknown = stack.own_credential("shop", "only-in-shop_test_rw", password);
    stack.mongo.make_user("shop", "only-in-shop_test_rw", password, &[("readWrite", "shop")]).await.unwrap();
    let unknown = stack.secret("kept-only-in-shop", &unknown).unwrap();
    let token = stack.stage(&unknown).unwrap();
    refused(stack.step(&unknown, &token, "createSecret").await, "USER_MISSING", &["in admin", "keyturn:auth-db"]);

    stack.tag(&secret, "auth-db", "shop").unwrap();
    for strategy in ["fixed", "fixed", "alternating", "alternating"] {
        stack.tag(&secret, "strategy", strategy).unwrap();
        let outcome = stack.rotate(&secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
        let value = stack.value(&secret, "AWSCURRENT").unwrap();
        let part = |key: &str| value[key].as_str().unwrap().to_owned();
        assert!(stack.mongo.logs_in("shop", &part("username"), &part("password")).await.unwrap(), "{strategy}");
    }
    assert!(stack.mongo.user("shop", "kept_test_rw_clone").await.unwrap().is_some());
    assert!(stack.mongo.user("admin", "kept_test_rw_clone").await.unwrap().is_none());
    assert!(stack.mongo.logs_in("admin", user, other).await.unwrap(), "the other user of this name is untouched");
}

async fn the_network_is_the_operators_choice(stack: &MongoStack) {
    let peering = function(stack, "peering", &[("ATLAS_NETWORK", "peering")]).await;
    let endpoint = function(stack, "endpoint", &[("ATLAS_NETWORK", "vpce-2")]).await;
    let good = format!("mongodb://localhost:{}/?ssl=true&authSource=admin", stack.database_port());
    let bad = "mongodb://localhost:1/?ssl=true";
    let way = |ids: &[&str], address: &str| {
        let endpoints: Vec<Value> = ids.iter().map(|id| json!({"endpointId": id, "providerName": "AWS"})).collect();
        json!({"connectionString": address, "endpoints": endpoints, "type": "MONGOD"})
    };
    for (name, function, addresses) in [
        (
            "public",
            &stack.lambda,
            json!({"standard": good, "private": bad, "privateEndpoint": [way(&["vpce-2"], bad)]}),
        ),
        ("peering", &peering, json!({"standard": bad, "private": good, "privateEndpoint": [way(&["vpce-2"], bad)]})),
        (
            "endpoint",
            &endpoint,
            json!({"standard": bad, "private": bad, "privateEndpoint": [way(&["vpce-1"], bad), way(&["vpce-3", "vpce-2"], &good)]}),
        ),
    ] {
        let app = one_cluster_app(stack, name).await;
        stack.aws.secrets.set_rotation(&app.secret, &function.invoke_url()).unwrap();
        stack.atlas.describe_cluster("cluster0", &json!({"connectionStrings": addresses}));
        assert_eq!(rotates(stack, &app.secret).await, At::Atlas, "{name}");
    }

    let nothing = json!({"standard": null, "private": null, "privateEndpoint": [way(&["vpce-1"], &good)]});
    stack.atlas.describe_cluster("cluster0", &json!({"connectionStrings": nothing}));
    for (name, function) in [("no-public", &stack.lambda), ("no-peering", &peering), ("no-endpoint", &endpoint)] {
        let app = one_cluster_app(stack, name).await;
        let token = stack.stage(&app.secret).unwrap();
        let event = json!({"Step": "createSecret", "SecretId": app.secret, "ClientRequestToken": token});
        let says = ["\"cluster0\" has no address", "Correct ATLAS_NETWORK", "keyturn:hosts"];
        refused(function.invoke(event).await.result, "CLUSTER_HAS_NO_ADDRESS", &says);
    }
}

/// A user that may log in on the first cluster alone.
async fn one_cluster_app(stack: &MongoStack, name: &str) -> MongoApp {
    let scopes = json!({"scopes": [{"name": "cluster0", "type": "CLUSTER"}]});
    stack.atlas_app_with(name, &scopes).await.unwrap()
}

async fn app(stack: &MongoStack, at: At, name: &str) -> MongoApp {
    match at {
        At::Own => stack.own_app(&format!("{name}-own")).await.unwrap(),
        At::Atlas => stack.atlas_app(&format!("{name}-at")).await.unwrap(),
    }
}

/// A user that Atlas knows and the server too, and a secret that could be for either.
async fn secret_of_either(stack: &MongoStack, name: &str, tag: &str, engine: &Value) -> String {
    let user = format!("{name}_test_rw");
    let body = json!({"username": user, "roles": [{"roleName": "readWrite", "databaseName": "shop"}]});
    stack.atlas.add_user(&stack.project, &body, "Of-either-system-1").await.unwrap();
    let mut value = stack.own_credential("shop", &user, "Of-either-system-1");
    value["engine"] = engine.clone();
    value.as_object_mut().unwrap().remove("masterarn");
    let secret = stack.secret(name, &value).unwrap();
    stack.tag(&secret, "engine", tag).unwrap();
    secret
}

async fn function(stack: &MongoStack, name: &str, settings: &[(&str, &str)]) -> Lambda {
    stack.function(name, settings).await.unwrap()
}

/// Rotates, and says by whom the password was set.
async fn rotates(stack: &MongoStack, secret: &str) -> At {
    stack.atlas.forget();
    let outcome = stack.rotate(secret).await.unwrap();
    assert!(outcome.succeeded(), "{outcome}");
    let value = stack.value(secret, "AWSCURRENT").unwrap();
    let part = |key: &str| value[key].as_str().unwrap().to_owned();
    assert!(stack.mongo.logs_in("admin", &part("username"), &part("password")).await.unwrap(), "{value}");
    let changes = |call: &keyturn_tests::vendors::Call| call.path.contains("/databaseUsers") && call.method != "GET";
    if stack.atlas.seen().iter().any(changes) { At::Atlas } else { At::Own }
}

/// It gets the change before it lets anybody in, whoever named it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_paused_is_left_out_and_not_called_missing() {
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.atlas_app("shop").await.unwrap();
    stack.tag(&app.secret, "atlas-clusters", "cluster0 cluster1").unwrap();
    stack.atlas.describe_cluster("cluster1", &json!({"paused": true}));
    let token = created(&stack, &app).await;
    let report = step(&stack, &app, &token, "setSecret").await.unwrap();
    assert!(report["changes"].to_string().contains("accepted by cluster0 after"), "{report}");
    stack.atlas.describe_cluster("cluster0", &json!({"paused": true}));
    let says = ["No cluster that ", "is up", "\"cluster0\" is paused, \"cluster1\" is paused", "atlas clusters start"];
    refused(step(&stack, &app, &token, "testSecret").await, "CLUSTER_NOT_FOUND", &says);
    stack.atlas.describe_cluster("cluster0", &json!({"paused": false}));
    finishes(&stack, &app, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}
