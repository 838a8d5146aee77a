//! One key turns, and nobody notices: each strategy, at each target.

use super::scene::{created, finishes, put_current, refused, rotates, step};
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_users_password_turns_at_atlas_and_the_old_one_is_dead() {
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    turns_fixed(&stack, &stack.atlas_app("shop").await.unwrap()).await;
    turns_alternating(&stack, &stack.atlas_app("pay").await.unwrap()).await;
    assert_eq!(stack.atlas.live_tokens(), 0, "every token is given back");
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_password_turns_at_atlas_with_an_api_key() {
    let stack = MongoStack::builder().api_key().start().await.unwrap();
    turns_fixed(&stack, &stack.atlas_app("shop").await.unwrap()).await;
    turns_alternating(&stack, &stack.atlas_app("pay").await.unwrap()).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// AWS's managed external secrets keep a service account with its id or its organization's, the Atlas Kubernetes Operator a key.
#[tokio::test(flavor = "multi_thread")]
async fn a_users_password_turns_at_atlas_with_the_credential_that_another_tool_keeps() {
    let [account, key] = [MongoStack::builder(), MongoStack::builder().api_key()];
    let [account, key] = [account.start().await.unwrap(), key.start().await.unwrap()];
    let half = |stack: &MongoStack, name| stack.value(&stack.atlas_arn, "AWSCURRENT").unwrap()[name].clone();
    let [id, secret] = ["client_id", "client_secret"].map(|name| half(&account, name));
    let [public, private] = ["public_key", "private_key"].map(|name| half(&key, name));
    for (stack, credential) in [
        (&account, json!({"clientId": id, "clientSecret": secret, "serviceAccountId": "64b0a1c2d3e4f5a6b7c8d9e0"})),
        (&account, json!({"clientId": id, "clientSecret": secret, "orgId": "64b0a1c2d3e4f5a6b7c8d9e0"})),
        (&key, json!({"orgId": "64b0a1c2d3e4f5a6b7c8d9e0", "publicApiKey": public, "privateApiKey": private})),
    ] {
        put_current(stack, &stack.atlas_arn, &credential.to_string()).await;
        let app =
            stack.atlas_app(&format!("shop{}", credential.as_object().unwrap().contains_key("orgId"))).await.unwrap();
        rotates(stack, &app).await;
        assert_eq!(stack.violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_password_turns_on_a_server_of_ones_own() {
    let stack = MongoStack::start().await.unwrap();
    turns_fixed(&stack, &stack.own_app("shop").await.unwrap()).await;
    turns_alternating(&stack, &stack.own_app("pay").await.unwrap()).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// With one user, clients there are refused until the new value has come to them.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_waits_for_other_regions_and_says_so_where_they_do_not_follow() {
    let stack = MongoStack::start().await.unwrap();
    for app in [stack.own_app("shop").await.unwrap(), stack.atlas_app("pay").await.unwrap()] {
        for (follows_after, warned) in [(2, false), (usize::MAX, true)] {
            let token = created(&stack, &app).await;
            for name in ["setSecret", "testSecret"] {
                step(&stack, &app, &token, name).await.unwrap();
            }
            stack.aws.secrets.replicate(&app.secret, "us-east-1", follows_after).unwrap();
            stack.lambda.set_timeout(if warned { Duration::from_secs(3) } else { Duration::from_mins(1) });
            let report = step(&stack, &app, &token, "finishSecret").await.unwrap();
            let says = report["warnings"][0].as_str().unwrap_or_default();
            assert_eq!(says.starts_with("REPLICA_NOT_IN_SYNC: "), warned, "{report}");
            assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
            stack.lambda.set_timeout(Duration::from_mins(1));
        }
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn turns_fixed(stack: &MongoStack, app: &MongoApp) {
    for _ in 0..2 {
        let before = stack.value(&app.secret, "AWSCURRENT").unwrap();
        let mut after = rotates(stack, app).await;
        assert!(!stack.logs_in(&app.secret, "AWSPREVIOUS").await.unwrap(), "the old password is dead");
        let password = after["password"].as_str().unwrap();
        assert!(password.len() == 40 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "40 of A-Za-z0-9");
        after["password"] = before["password"].clone();
        assert_eq!(after, before, "nothing else has changed");
    }
}

async fn turns_alternating(stack: &MongoStack, app: &MongoApp) {
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    let twin = format!("{}_clone", app.user);
    for expected in [&twin, &app.user, &twin] {
        let after = rotates(stack, app).await;
        assert_eq!(after["username"], json!(expected));
        assert!(stack.logs_in(&app.secret, "AWSPREVIOUS").await.unwrap(), "who has the old value goes on working");
    }
}

/// With one user the old password is dead after setSecret: a pending value that does not fit any more must not be dropped.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_value_after_the_change_is_not_undone_and_the_password_that_works_is_kept() {
    let stack = MongoStack::start().await.unwrap();
    let app = stack.own_app("shop").await.unwrap();
    let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
    let put =
        async |text: &str| client.put_secret_value().secret_id(&app.secret).secret_string(text).send().await.unwrap();
    let before = stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap();
    let mut edited = stack.value(&app.secret, "AWSCURRENT").unwrap();
    edited["api_key"] = json!("added");
    let token = stack.stage(&app.secret).unwrap();
    step(&stack, &app, &token, "createSecret").await.unwrap();
    // Nothing has changed yet: the pending value may go.
    put(&edited.to_string()).await;
    let look = "look before you drop it";
    refused(step(&stack, &app, &token, "setSecret").await, "PENDING_MISMATCH", &["another key", look]);
    put(&before).await;
    for name in ["setSecret", "testSecret"] {
        step(&stack, &app, &token, name).await.unwrap();
    }
    put(&edited.to_string()).await;
    let keep = "do not drop it. Undo what was edited";
    refused(step(&stack, &app, &token, "finishSecret").await, "PENDING_MISMATCH", &["another key", keep]);
    assert_eq!(stack.value(&app.secret, "AWSCURRENT").unwrap(), edited);
    // What the message says helps.
    put(&before).await;
    step(&stack, &app, &token, "finishSecret").await.unwrap();
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// Every client would read a password that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_somebody_replaced_after_its_test_does_not_become_current() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.own_app("shop").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    step(&stack, &app, &token, "createSecret").await.unwrap();
    // Called out of turn, too.
    let says = ["the AWSCURRENT one works"];
    refused(step(&stack, &app, &token, "finishSecret").await, "REVERTED_BY_OTHER_WRITER", &says);
    for name in ["setSecret", "testSecret"] {
        step(&stack, &app, &token, name).await.unwrap();
    }
    stack.mongo.set_password("admin", &app.user, &app.password).await.unwrap();
    refused(step(&stack, &app, &token, "finishSecret").await, "REVERTED_BY_OTHER_WRITER", &says);
    stack.mongo.set_password("admin", &app.user, "of-somebody-else").await.unwrap();
    refused(step(&stack, &app, &token, "finishSecret").await, "PASSWORD_REFUSED", &["look for another writer"]);
    stack.mongo.set_password("admin", &app.user, &app.password).await.unwrap();
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
    finishes(&stack, &app, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_saved_without_rotating_is_tested_and_changes_nothing() {
    let stack = MongoStack::start().await.unwrap();
    for app in [stack.own_app("shop").await.unwrap(), stack.atlas_app("pay").await.unwrap()] {
        let before = stack.mongo.users().await.unwrap();
        let text = stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap();
        let token = stack.stage(&app.secret).unwrap();
        let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
        let put = client.put_secret_value().secret_id(&app.secret).client_request_token(&token);
        put.secret_string(text).version_stages("AWSPENDING").send().await.unwrap();
        let report = step(&stack, &app, &token, "testSecret").await.unwrap();
        assert_eq!(report["outcome"], json!("pending_proven"));
        // Set or finished it would look rotated, with the password that everybody has.
        refused(step(&stack, &app, &token, "setSecret").await, "PENDING_IS_CURRENT_PASSWORD", &["was copied"]);
        assert_eq!(stack.mongo.users().await.unwrap(), before);
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}
