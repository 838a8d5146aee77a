//! What the stories have in common.

use crate::refusal::Refusal;
use keyturn_tests::lambda::FunctionError;
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use keyturn_tests::tcp::closed_port;
use serde_json::{Value, json};

/// Rotates as the service does; the new credential logs in everywhere.
pub(super) async fn rotates(stack: &MongoStack, app: &MongoApp) -> Value {
    let before = stack.value(&app.secret, "AWSCURRENT").unwrap();
    let outcome = stack.rotate(&app.secret).await.unwrap();
    assert!(outcome.succeeded(), "{}: {outcome}", app.user);
    let after = stack.value(&app.secret, "AWSCURRENT").unwrap();
    assert_ne!(before, after, "{}", app.user);
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "{}", app.user);
    after
}

/// Runs one step of a rotation that has this token.
pub(super) async fn step(stack: &MongoStack, app: &MongoApp, token: &str, step: &str) -> Result<Value, FunctionError> {
    stack.step(&app.secret, token, step).await
}

/// The error must have this code, and its message must hold these parts: what happened, and the remedy.
#[track_caller]
pub(super) fn refused(result: Result<Value, FunctionError>, code: &str, says: &[&str]) {
    Refusal(code, says).is(result, code);
}

/// A pending value for `user`, put by hand, with a password that no server knows. Gives back its token.
pub(super) async fn pending(stack: &MongoStack, app: &MongoApp, user: &str) -> String {
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["username"] = json!(user);
    value["password"] = json!("PutByHandAndKnownToNobody0000000000000");
    put_pending(stack, &app.secret, &value.to_string()).await
}

/// A pending value put by hand. Gives back its token.
pub(super) async fn put_pending(stack: &MongoStack, secret: &str, text: &str) -> String {
    let token = stack.stage(secret).unwrap();
    let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
    let put = client.put_secret_value().secret_id(secret).client_request_token(&token);
    put.secret_string(text).version_stages("AWSPENDING").send().await.unwrap();
    token
}

/// A rotation that has come to its pending value, and no further. Gives back its token.
pub(super) async fn created(stack: &MongoStack, app: &MongoApp) -> String {
    let token = stack.stage(&app.secret).unwrap();
    step(stack, app, &token, "createSecret").await.unwrap();
    token
}

/// The steps after createSecret; what was pending is current then, and logs in everywhere.
pub(super) async fn finishes(stack: &MongoStack, app: &MongoApp, token: &str) {
    for name in ["setSecret", "testSecret", "finishSecret"] {
        step(stack, app, token, name).await.unwrap_or_else(|error| panic!("{} {name}: {error}", app.user));
    }
    assert_eq!(stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap().as_deref(), Some(token));
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "{}", app.user);
}

/// The password of the value under a label.
pub(super) fn password(stack: &MongoStack, app: &MongoApp, label: &str) -> String {
    stack.value(&app.secret, label).unwrap()["password"].as_str().unwrap().to_owned()
}

/// What a secret's owner stores by hand: it is current at once.
pub(super) async fn put_current(stack: &MongoStack, secret: &str, text: &str) {
    let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
    client.put_secret_value().secret_id(secret).secret_string(text).send().await.unwrap();
}

/// The path of a user at Atlas.
pub(super) fn user_path(stack: &MongoStack, user: &str) -> String {
    format!("/api/atlas/v2/groups/{}/databaseUsers/admin/{user}", stack.project.id())
}

/// The bodies of every `PATCH` of a user at Atlas, in order.
pub(super) fn patches(stack: &MongoStack, user: &str) -> Vec<String> {
    let call = format!("PATCH {}", user_path(stack, user));
    let seen = stack.atlas.seen().into_iter().filter(|seen| seen.name() == call);
    seen.map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect()
}

/// A PATCH that sets this password and nothing else, to the byte.
pub(super) fn sets(password: &str) -> String {
    format!("{{\"password\":\"{password}\"}}")
}

/// From now on nobody listens where Atlas says that this cluster is.
pub(super) fn away(stack: &MongoStack, cluster: &str) {
    let nobody = format!("localhost:{}", closed_port().unwrap());
    connect(stack, cluster, &nobody);
}

/// The cluster is where its server is again.
pub(super) fn back(stack: &MongoStack, cluster: &str) {
    let nth: usize = cluster.trim_start_matches("cluster").parse().unwrap();
    connect(stack, cluster, &stack.clusters[nth].address());
}

fn connect(stack: &MongoStack, cluster: &str, address: &str) {
    let standard = format!("mongodb://{address}/?ssl=true&authSource=admin");
    stack.atlas.describe_cluster(cluster, &json!({"connectionStrings": {"standard": standard}}));
}
