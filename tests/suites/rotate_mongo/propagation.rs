//! A change at Atlas arrives later than it is said, or never: a password is current only once every cluster accepts it.

use super::scene::{self, created, password, patches, put_current, refused, rotates, sets, step, user_path};
use crate::polling::eventually;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use keyturn_tests::vendors::atlas::Endpoint;
use serde_json::{Value, json};
use std::pin::pin;
use std::time::Duration;

const NORMAL: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_password_becomes_current_only_when_every_cluster_accepts_it() {
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    // What fails here shall fail at once, not three times.
    stack.aws.secrets.set_attempts(1);
    said_to_be_applied_too_early(&stack).await;
    one_cluster_lags(&stack).await;
    pending_past_the_deadline(&stack, "late", &["cluster1"]).await;
    pending_past_the_deadline(&stack, "latest", &["cluster0", "cluster1"]).await;
    somebody_elses_change_is_under_way(&stack).await;
    ignored_once(&stack).await;
    ignored_twice(&stack).await;
    ignored_twice_after_a_change(&stack).await;
    the_reply_to_a_patch_is_lost(&stack).await;
    every_reply_to_a_patch_is_lost(&stack).await;
    only_clusters_in_scope(&stack).await;
    for status in [403, 401] {
        the_status_is_not_told(&stack, status).await;
    }
    the_status_is_not_told_and_time_is_up(&stack).await;
    writes_are_exact(&stack);
    assert_eq!(stack.atlas.live_tokens(), 0, "every token is given back");
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// Right after a PATCH, Atlas may still say APPLIED of the change before.
async fn said_to_be_applied_too_early(stack: &MongoStack) {
    let app = stack.atlas_app("early").await.unwrap();
    stack.atlas.stale_applied("cluster1", usize::MAX);
    stack.atlas.set_delay("cluster1", Duration::from_millis(600));
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    assert!(stack.logs_in(&app.secret, "AWSPENDING").await.unwrap(), "it was waited for");
    assert_eq!(patches(stack, &app.user).len(), 1);
    stack.atlas.stale_applied("cluster1", 0);
    stack.atlas.set_delay("cluster1", Duration::from_millis(50));
    finishes(stack, &app, &token).await;
}

async fn one_cluster_lags(stack: &MongoStack) {
    let app = stack.atlas_app("lag").await.unwrap();
    let token = created(stack, &app).await;
    let new = password(stack, &app, "AWSPENDING");
    stack.atlas.hold("cluster1");
    let mut setting = pin!(step(stack, &app, &token, "setSecret"));
    let looking = async {
        eventually("the first cluster accepts it", async || accepts(stack, 0, &app, &new).await).await;
        // Time enough for one that takes a login at the first cluster for all.
        let so_far = status_calls(stack, "cluster0");
        eventually("it goes on asking", async || status_calls(stack, "cluster0") > so_far + 2).await;
    };
    tokio::select! {
        result = &mut setting => panic!("not waited for: {result:?}"),
        () = looking => {}
    }
    assert!(!accepts(stack, 1, &app, &new).await);
    stack.atlas.release("cluster1");
    setting.await.unwrap();
    assert!(accepts(stack, 1, &app, &new).await);
    assert_eq!(patches(stack, &app.user), [sets(&new)]);
    finishes(stack, &app, &token).await;
}

/// The next try finds the change under way and waits for it. Where no cluster shows it yet, it sets the same password again:
/// what is under way may be somebody else's.
async fn pending_past_the_deadline(stack: &MongoStack, name: &str, slow: &[&str]) {
    let app = stack.atlas_app(name).await.unwrap();
    for cluster in slow {
        stack.atlas.hold(cluster);
    }
    stack.lambda.set_timeout(Duration::from_secs(8));
    let outcome = stack.rotate(&app.secret).await.unwrap();
    let refused_meanwhile =
        "Clients with the current one are refused wherever the new one is in force, until the next try";
    let in_force = ["In force: cluster0: the ", "cluster1: the current password"];
    let says = [&["is still being applied", "that try goes on with it", refused_meanwhile][..], &in_force].concat();
    refused(Err(outcome.error().unwrap().clone()), "CHANGE_PENDING", &says);
    let took = outcome.attempts[0].steps.last().unwrap().duration;
    println!("{name}: CHANGE_PENDING after {:.1} s of 8", took.as_secs_f64());
    let set = sets(&password(stack, &app, "AWSPENDING"));
    assert_eq!(patches(stack, &app.user), std::slice::from_ref(&set));

    stack.lambda.set_timeout(NORMAL);
    let so_far = status_calls(stack, "cluster1");
    let releasing = async {
        eventually("the next try asks", async || status_calls(stack, "cluster1") > so_far + 1).await;
        for cluster in slow {
            stack.atlas.release(cluster);
        }
    };
    let (outcome, ()) = tokio::join!(stack.rotate(&app.secret), releasing);
    let outcome = outcome.unwrap();
    assert!(outcome.succeeded() && outcome.reattempted, "{outcome}");
    let expected = if slow.len() == 1 { vec![set] } else { vec![set.clone(), set] };
    assert_eq!(patches(stack, &app.user), expected, "{name}");
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
}

/// PENDING may be about another user: the password is set all the same, at once.
async fn somebody_elses_change_is_under_way(stack: &MongoStack) {
    let (other, app) = (stack.atlas_app("other").await.unwrap(), stack.atlas_app("mine").await.unwrap());
    let tokens = [created(stack, &other).await, created(stack, &app).await];
    both(stack, Changes::Hold);
    stack.lambda.set_timeout(Duration::from_secs(6));
    refused(step(stack, &other, &tokens[0], "setSecret").await, "CHANGE_PENDING", &[]);
    stack.lambda.set_timeout(Duration::from_secs(12));
    refused(step(stack, &app, &tokens[1], "setSecret").await, "CHANGE_PENDING", &[]);
    assert_eq!(patches(stack, &app.user).len(), 1, "it was not waited for in vain");
    both(stack, Changes::Release);
    stack.lambda.set_timeout(NORMAL);
    for (app, token) in [(&other, &tokens[0]), (&app, &tokens[1])] {
        eventually("it arrives", async || stack.logs_in(&app.secret, "AWSPENDING").await.unwrap()).await;
        finishes(stack, app, token).await;
        assert_eq!(patches(stack, &app.user).len(), 1);
    }
}

async fn ignored_once(stack: &MongoStack) {
    let app = stack.atlas_app("ignored").await.unwrap();
    stack.atlas.ignore_next_change("cluster1");
    rotates(stack, &app).await;
    let set = sets(&password(stack, &app, "AWSCURRENT"));
    assert_eq!(patches(stack, &app.user), [set.clone(), set], "the same password again");
}

/// One cluster has the new password, the other one will not take it: both are put back.
async fn ignored_twice(stack: &MongoStack) {
    let app = stack.atlas_app("defiant").await.unwrap();
    let token = created(stack, &app).await;
    stack.atlas.ignore_next_change("cluster1");
    let result = ignoring_again(stack, &app, 1, step(stack, &app, &token, "setSecret")).await;
    let page = format!("/v2/{}#/security/database/users", stack.project.id());
    refused(
        result,
        "PASSWORD_NOT_TAKEN",
        &["The current password is back, and works at cluster0, cluster1.", "cluster1", &page],
    );
    let [old, new] = ["AWSCURRENT", "AWSPENDING"].map(|label| password(stack, &app, label));
    assert_eq!(patches(stack, &app.user), [sets(&new), sets(&new), sets(&old)]);
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "clients go on working");
    assert!(!accepts(stack, 0, &app, &new).await);
    finishes(stack, &app, &token).await;
}

/// An earlier try has changed one cluster: the current password logged in everywhere before that, so it is put back.
async fn ignored_twice_after_a_change(stack: &MongoStack) {
    let app = stack.atlas_app("half").await.unwrap();
    let token = created(stack, &app).await;
    stack.atlas.hold("cluster1");
    stack.atlas.ignore_next_change("cluster1");
    stack.lambda.set_timeout(Duration::from_secs(8));
    refused(step(stack, &app, &token, "setSecret").await, "CHANGE_PENDING", &[]);
    stack.lambda.set_timeout(NORMAL);
    assert_eq!(patches(stack, &app.user).len(), 1);
    stack.atlas.release("cluster1");
    stack.atlas.ignore_next_change("cluster1");
    let result = ignoring_again(stack, &app, 2, step(stack, &app, &token, "setSecret")).await;
    refused(result, "PASSWORD_NOT_TAKEN", &["The current password is back, and works at cluster0, cluster1."]);
    let [old, new] = ["AWSCURRENT", "AWSPENDING"].map(|label| sets(&password(stack, &app, label)));
    assert_eq!(patches(stack, &app.user), [new.clone(), new.clone(), new, old]);
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "clients go on working");
    finishes(stack, &app, &token).await;
}

async fn the_reply_to_a_patch_is_lost(stack: &MongoStack) {
    let app = stack.atlas_app("lost").await.unwrap();
    lose_replies(stack, &app, 1);
    rotates(stack, &app).await;
    let set = sets(&password(stack, &app, "AWSCURRENT"));
    assert_eq!(patches(stack, &app.user), [set.clone(), set], "one password");
}

async fn every_reply_to_a_patch_is_lost(stack: &MongoStack) {
    let app = stack.atlas_app("gone").await.unwrap();
    lose_replies(stack, &app, 4);
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    assert!(stack.logs_in(&app.secret, "AWSPENDING").await.unwrap(), "a login tells that it was taken");
    let seen = patches(stack, &app.user);
    let expected = sets(&password(stack, &app, "AWSPENDING"));
    assert!(seen.len() >= 4 && seen.iter().all(|one| *one == expected), "one password: {seen:?}");
    finishes(stack, &app, &token).await;
    assert_eq!(patches(stack, &app.user), seen, "it has worked, so nothing is set again");
}

fn lose_replies(stack: &MongoStack, app: &MongoApp, times: usize) {
    let call = format!("setSecret atlas PATCH {}", user_path(stack, &app.user));
    for nth in 1..=times {
        stack.faults.inject(Point { call: format!("{call} #{nth}"), moment: Moment::After, fault: Fault::Cut });
    }
}

async fn only_clusters_in_scope(stack: &MongoStack) {
    let scopes = json!({"scopes": [{"name": "cluster1", "type": "CLUSTER"}]});
    let app = stack.atlas_app_with("scoped", &scopes).await.unwrap();
    // A change of somebody else's that is under way at the other one is none of its business.
    stack.atlas.hold("cluster0");
    let so_far = status_calls(stack, "cluster0");
    let outcome = stack.rotate(&app.secret).await.unwrap();
    stack.atlas.release("cluster0");
    assert!(outcome.succeeded(), "{outcome}");
    assert!(accepts(stack, 1, &app, &password(stack, &app, "AWSCURRENT")).await);
    assert!(stack.clusters[0].user("admin", &app.user).await.unwrap().is_none());
    assert_eq!(status_calls(stack, "cluster0"), so_far, "it is not watched");
    assert_eq!(stack.atlas.user_json(&stack.project, &app.user)["scopes"], scopes["scopes"]);
}

/// A credential without a role for clusters' status: logins alone tell.
async fn the_status_is_not_told(stack: &MongoStack, status: u16) {
    let app = stack.atlas_app(&format!("blind{status}")).await.unwrap();
    stack.atlas.refuse(&stack.principal, Endpoint::ClusterStatus, status);
    stack.atlas.set_delay("cluster1", Duration::from_secs(1));
    let so_far = status_calls(stack, "cluster1");
    let (minted, explained) = (stack.atlas.access_tokens().len(), times_explained(stack));
    rotates(stack, &app).await;
    assert_eq!(status_calls(stack, "cluster1"), so_far + 1, "{status}: a no is not asked for twice");
    assert_eq!(stack.atlas.access_tokens().len(), minted + 1, "{status}: a role that is missing ends no token");
    assert_eq!(patches(stack, &app.user).len(), 1);
    assert_eq!(times_explained(stack), explained + 1, "{status}");
    stack.atlas.set_delay("cluster1", Duration::from_millis(50));
    stack.atlas.permit(&stack.principal, Endpoint::ClusterStatus);
}

fn times_explained(stack: &MongoStack) -> usize {
    stack.lambda.logs().unwrap().matches("\"ATLAS_PROGRESS_UNKNOWN\"").count()
}

/// Nothing says that the change is still coming: nobody is left refused at the cluster that has taken it.
async fn the_status_is_not_told_and_time_is_up(stack: &MongoStack) {
    let app = stack.atlas_app("blindlate").await.unwrap();
    let token = created(stack, &app).await;
    stack.atlas.refuse(&stack.principal, Endpoint::ClusterStatus, 403);
    stack.atlas.hold("cluster1");
    stack.lambda.set_timeout(Duration::from_secs(8));
    let says = ["was not accepted everywhere", "The current password is back", "Secrets Manager tries again"];
    refused(step(stack, &app, &token, "setSecret").await, "CHANGE_NOT_PROVEN", &says);
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "clients go on working");
    stack.lambda.set_timeout(NORMAL);
    stack.atlas.release("cluster1");
    stack.atlas.permit(&stack.principal, Endpoint::ClusterStatus);
    let [old, new] = ["AWSCURRENT", "AWSPENDING"].map(|label| sets(&password(stack, &app, label)));
    finishes(stack, &app, &token).await;
    assert_eq!(patches(stack, &app.user), [new.clone(), old, new]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_writes_meanwhile_is_named_and_stays() {
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    reverted_between_set_and_test(&stack).await;
    reverted_between_test_and_finish(&stack).await;
    reverted_at_one_cluster(&stack).await;
    reverted_before_the_rotation(&stack).await;
    labels_moved_while_waiting_for_somebody_elses_change(&stack).await;
    labels_moved_before_the_second_patch(&stack).await;
    labels_moved_before_the_rollback(&stack).await;
    writes_are_exact(&stack);
    assert_eq!(stack.atlas.live_tokens(), 0, "every token is given back");
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn reverted_between_set_and_test(stack: &MongoStack) {
    let app = stack.atlas_app("reverted").await.unwrap();
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    revert(stack, &app, &["cluster0", "cluster1"], &app.password).await;
    let says = ["the AWSCURRENT one works", "since setSecret, something has set that one", "activity feed"];
    refused(step(stack, &app, &token, "testSecret").await, "REVERTED_BY_OTHER_WRITER", &says);
    assert_eq!(patches(stack, &app.user).len(), 1, "a test changes nothing");
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
    finishes(stack, &app, &token).await;
}

/// Every client would read a password that is refused.
async fn reverted_between_test_and_finish(stack: &MongoStack) {
    let app = stack.atlas_app("retaken").await.unwrap();
    let token = created(stack, &app).await;
    for name in ["setSecret", "testSecret"] {
        step(stack, &app, &token, name).await.unwrap();
    }
    revert(stack, &app, &["cluster0", "cluster1"], &app.password).await;
    let says = ["the AWSCURRENT one works", "since setSecret, something has set that one"];
    refused(step(stack, &app, &token, "finishSecret").await, "REVERTED_BY_OTHER_WRITER", &says);
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
    finishes(stack, &app, &token).await;
}

async fn reverted_at_one_cluster(stack: &MongoStack) {
    let app = stack.atlas_app("onesided").await.unwrap();
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    revert(stack, &app, &["cluster1"], &app.password).await;
    refused(step(stack, &app, &token, "testSecret").await, "PASSWORD_REFUSED", &["cluster1: Authentication failed"]);
    finishes(stack, &app, &token).await;
    let set = sets(&password(stack, &app, "AWSCURRENT"));
    assert_eq!(patches(stack, &app.user), [set.clone(), set]);
}

async fn reverted_before_the_rotation(stack: &MongoStack) {
    let app = stack.atlas_app("resynced").await.unwrap();
    rotates(stack, &app).await;
    revert(stack, &app, &["cluster0", "cluster1"], &app.password).await;
    let token = stack.stage(&app.secret).unwrap();
    let says = ["the AWSPREVIOUS one works", "Nothing was changed", "aws secretsmanager update-secret-version-stage"];
    let result = step(stack, &app, &token, "createSecret").await;
    let words = result.as_ref().unwrap_err().error_message.clone();
    refused(result, "REVERTED_BY_OTHER_WRITER", &says);
    assert_eq!(stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap(), None);
    assert_eq!(patches(stack, &app.user).len(), 1, "that of the first rotation");

    let [previous, current] = ["AWSPREVIOUS", "AWSCURRENT"].map(|label| version(stack, &app, label));
    let command = format!(
        "update-secret-version-stage --secret-id {} --version-stage AWSCURRENT --move-to-version-id <id of AWSPREVIOUS> --remove-from-version-id <id of AWSCURRENT>",
        app.secret
    );
    assert!(words.contains(&command), "{words}");
    let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
    let back = client.update_secret_version_stage().secret_id(&app.secret).version_stage("AWSCURRENT");
    back.move_to_version_id(previous).remove_from_version_id(current).send().await.unwrap();
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "clients work again");
    rotates(stack, &app).await;
}

async fn labels_moved_while_waiting_for_somebody_elses_change(stack: &MongoStack) {
    let (other, app) = (stack.atlas_app("busy").await.unwrap(), stack.atlas_app("moved").await.unwrap());
    let tokens = [created(stack, &other).await, created(stack, &app).await];
    both(stack, Changes::Hold);
    stack.lambda.set_timeout(Duration::from_secs(6));
    refused(step(stack, &other, &tokens[0], "setSecret").await, "CHANGE_PENDING", &[]);
    stack.lambda.set_timeout(Duration::from_secs(12));
    let so_far = status_calls(stack, "cluster1");
    let moving = async {
        eventually("it waits", async || status_calls(stack, "cluster1") > so_far).await;
        move_current(stack, &app).await;
    };
    let (result, ()) = tokio::join!(step(stack, &app, &tokens[1], "setSecret"), moving);
    refused(result, "CURRENT_MOVED", &["was moved while setSecret was at work"]);
    assert_eq!(patches(stack, &app.user), Vec::<String>::new());
    both(stack, Changes::Release);
    stack.lambda.set_timeout(NORMAL);
    finishes(stack, &other, &tokens[0]).await;
    finishes(stack, &app, &tokens[1]).await;
}

async fn labels_moved_before_the_second_patch(stack: &MongoStack) {
    let app = stack.atlas_app("overtaken").await.unwrap();
    let token = created(stack, &app).await;
    stack.atlas.ignore_next_change("cluster1");
    let moving = async {
        eventually("it is set", async || patches(stack, &app.user).len() == 1).await;
        move_current(stack, &app).await;
    };
    let (result, ()) = tokio::join!(step(stack, &app, &token, "setSecret"), moving);
    refused(result, "CURRENT_MOVED", &["was moved while setSecret was at work"]);
    assert_eq!(patches(stack, &app.user).len(), 1);
    finishes(stack, &app, &token).await;
}

async fn labels_moved_before_the_rollback(stack: &MongoStack) {
    let app = stack.atlas_app("outrun").await.unwrap();
    let token = created(stack, &app).await;
    stack.atlas.ignore_next_change("cluster1");
    let moving = async {
        eventually("it is set again", async || patches(stack, &app.user).len() == 2).await;
        move_current(stack, &app).await;
    };
    let setting = ignoring_again(stack, &app, 1, step(stack, &app, &token, "setSecret"));
    let (result, ()) = tokio::join!(setting, moving);
    refused(result, "PASSWORD_NOT_TAKEN", &["The current password could not be put back", "AWSCURRENT of"]);
    let set = sets(&password(stack, &app, "AWSPENDING"));
    assert_eq!(patches(stack, &app.user), [set.clone(), set], "an old password takes no newer one's place");
    finishes(stack, &app, &token).await;
}

/// The same value as a new version, as an operator stores it whose editor breaks its lines.
async fn move_current(stack: &MongoStack, app: &MongoApp) {
    let value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    put_current(stack, &app.secret, &format!("{value:#}")).await;
}

async fn revert(stack: &MongoStack, app: &MongoApp, clusters: &[&str], password: &str) {
    for cluster in clusters {
        stack.atlas.revert(cluster, &app.user, password).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_is_made_set_and_checked_at_atlas_while_the_other_one_works_at_every_instant() {
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    a_twin_is_a_copy(&stack).await;
    the_project_is_full(&stack).await;
    the_reply_to_a_post_is_lost(&stack).await;
    somebody_else_makes_the_twin(&stack).await;
    the_twins_rights_have_drifted(&stack).await;
    the_twin_lost_a_role(&stack).await;
    writes_are_exact(&stack);
    assert_eq!(stack.atlas.live_tokens(), 0, "every token is given back");
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn a_twin_is_a_copy(stack: &MongoStack) {
    let rights = json!({
        "roles": [
            {"roleName": "readWrite", "databaseName": "copied"},
            {"roleName": "read", "databaseName": "catalogue"},
            {"roleName": "readWrite", "databaseName": "catalogue", "collectionName": "orders"},
        ],
        "scopes": [{"name": "cluster0", "type": "CLUSTER"}, {"name": "cluster1", "type": "CLUSTER"}],
    });
    let app = alternating(stack, "copied", &rights).await;
    let twin = format!("{}_clone", app.user);
    for next in [&twin, &app.user, &twin] {
        let after = watched(stack, &app, rotates(stack, &app)).await;
        assert_eq!(after["username"], json!(next));
    }
    let [model, copy] = [&app.user, &twin].map(|user| stack.atlas.user_json(&stack.project, user));
    for member in ["roles", "scopes"] {
        assert_eq!(sorted(&copy[member]), sorted(&model[member]), "{member}");
    }
    assert_eq!((posts(stack, &twin), patches(stack, &twin).len(), patches(stack, &app.user).len()), (1, 1, 1));
}

async fn the_project_is_full(stack: &MongoStack) {
    let app = alternating(stack, "full", &json!({})).await;
    let twin = format!("{}_clone", app.user);
    let token = stack.stage(&app.secret).unwrap();
    stack.atlas.fill_users(&stack.project, 100).unwrap();
    let says = ["takes no further database user (100 are there)", "atlas dbusers list", "the strategy \"fixed\""];
    refused(step(stack, &app, &token, "createSecret").await, "ATLAS_USER_QUOTA", &says);
    assert_eq!(stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap(), None, "nothing was written");

    // It is full by the time of setSecret, and even between the count and the making.
    stack.atlas.forget_user(&stack.project, "filler_99");
    step(stack, &app, &token, "createSecret").await.unwrap();
    stack.atlas.fill_users(&stack.project, 100).unwrap();
    refused(step(stack, &app, &token, "setSecret").await, "ATLAS_USER_QUOTA", &says);
    assert_eq!(posts(stack, &twin), 0);
    let list = format!("GET /api/atlas/v2/groups/{}/databaseUsers", stack.project.id());
    stack.atlas.replace(&list, 1, keyturn_tests::vendors::Reply::json(200, &json!({"results": [], "totalCount": 99})));
    refused(step(stack, &app, &token, "setSecret").await, "ATLAS_USER_QUOTA", &["GROUP_USERS_LIMIT_EXCEEDED"]);
    assert_eq!(stack.atlas.user_json(&stack.project, &twin), Value::Null);

    for user in stack.atlas.users(&stack.project) {
        let name = user["username"].as_str().unwrap();
        if name.starts_with("filler_") {
            stack.atlas.forget_user(&stack.project, name);
        }
    }
    watched(stack, &app, finishes(stack, &app, &token)).await;
}

async fn the_reply_to_a_post_is_lost(stack: &MongoStack) {
    let app = alternating(stack, "unheard", &json!({})).await;
    let twin = format!("{}_clone", app.user);
    let token = created(stack, &app).await;
    let post = format!("atlas POST /api/atlas/v2/groups/{}/databaseUsers", stack.project.id());
    let nth =
        1 + stack.faults.recorded().iter().filter(|call| call.starts_with(&format!("setSecret {post} #"))).count();
    let call = format!("setSecret {post} #{nth}");
    stack.faults.inject(Point { call, moment: Moment::After, fault: Fault::Cut });
    refused(step(stack, &app, &token, "setSecret").await, "ATLAS_UNREACHABLE", &["POST /api/atlas/v2/groups/"]);
    assert_eq!(posts(stack, &twin), 1, "what may have worked is not sent again");
    watched(stack, &app, finishes(stack, &app, &token)).await;
    assert_eq!(posts(stack, &twin), 1);
}

/// Two invocations at the same time: the slower one hears 409, and takes the user as it is.
async fn somebody_else_makes_the_twin(stack: &MongoStack) {
    let app = alternating(stack, "raced", &json!({})).await;
    let twin = format!("{}_clone", app.user);
    let token = created(stack, &app).await;
    stack.atlas.add_user(&stack.project, &named(&twin, "readWrite", "raced"), "of-somebody-else").await.unwrap();
    let missing = json!({"error": 404, "errorCode": "USERNAME_NOT_FOUND", "detail": "", "parameters": []});
    let get = format!("GET {}", user_path(stack, &twin));
    stack.atlas.replace(&get, 1, keyturn_tests::vendors::Reply::json(404, &missing));
    watched(stack, &app, finishes(stack, &app, &token)).await;
    assert_eq!((posts(stack, &twin), patches(stack, &twin).len()), (1, 1));
}

async fn the_twins_rights_have_drifted(stack: &MongoStack) {
    let scopes = json!({"scopes": [{"name": "cluster0", "type": "CLUSTER"}, {"name": "cluster1", "type": "CLUSTER"}]});
    let app = alternating(stack, "drifted", &scopes).await;
    let twin = format!("{}_clone", app.user);
    stack.atlas.add_user(&stack.project, &named(&twin, "read", "elsewhere"), "of-somebody-else").await.unwrap();
    let before = (stack.atlas.users(&stack.project), stack.mongo.users().await.unwrap());
    let says = ["has also read@elsewhere", "it lacks readWrite@drifted", "their scopes differ", "SYNC_ROLES=true"];
    let token = stack.stage(&app.secret).unwrap();
    refused(step(stack, &app, &token, "createSecret").await, "ROLES_DIFFER", &says);
    assert_eq!(stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap(), None);
    let token = super::scene::pending(stack, &app, &twin).await;
    for name in ["setSecret", "testSecret"] {
        refused(step(stack, &app, &token, name).await, "ROLES_DIFFER", &says);
    }
    assert_eq!((stack.atlas.users(&stack.project), stack.mongo.users().await.unwrap()), before, "nothing was changed");

    let syncing = stack.function("syncing", &[("SYNC_ROLES", "true")]).await.unwrap();
    let event = |step| json!({"Step": step, "SecretId": app.secret, "ClientRequestToken": token});
    let report = watched(stack, &app, syncing.invoke(event("setSecret"))).await.result.unwrap();
    syncing.invoke(event("testSecret")).await.result.unwrap();
    assert_eq!(report["overrides"], json!(["SYNC_ROLES"]));
    let changes = report["changes"].as_array().unwrap();
    assert_eq!(changes[0], json!(format!("{twin:?} has the rights of {:?} now", app.user)));
    let rights = r#"{"roles":[{"roleName":"readWrite","databaseName":"drifted"}],"scopes":[{"name":"cluster0","type":"CLUSTER"},{"name":"cluster1","type":"CLUSTER"}]}"#;
    assert_eq!(patches(stack, &twin), [rights.to_owned(), sets(&password(stack, &app, "AWSPENDING"))]);
    watched(stack, &app, finishes(stack, &app, &token)).await;
}

/// After setSecret somebody takes a role from the twin: at one cluster's server, or in Atlas.
async fn the_twin_lost_a_role(stack: &MongoStack) {
    let roles = json!({"roles": [
        {"roleName": "readWrite", "databaseName": "robbed"}, {"roleName": "read", "databaseName": "catalogue"},
    ]});
    let app = alternating(stack, "robbed", &roles).await;
    let twin = format!("{}_clone", app.user);
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    let server = &stack.clusters[1];
    server.set_roles("admin", &twin, &[("readWrite", "robbed")]).await.unwrap();
    let says = ["logs in, but without read@catalogue"];
    refused(step(stack, &app, &token, "testSecret").await, "ROLES_DIFFER", &says);
    server.set_roles("admin", &twin, &[("readWrite", "robbed"), ("read", "catalogue")]).await.unwrap();
    step(stack, &app, &token, "testSecret").await.unwrap();

    stack.atlas.forget_user(&stack.project, &twin);
    refused(
        step(stack, &app, &token, "testSecret").await,
        "USER_MISSING",
        &[&twin, "aws secretsmanager rotate-secret"],
    );
    for server in &stack.clusters {
        server.drop_user("admin", &twin).await.unwrap();
    }
    let new = password(stack, &app, "AWSPENDING");
    stack.atlas.add_user(&stack.project, &named(&twin, "readWrite", "robbed"), &new).await.unwrap();
    refused(step(stack, &app, &token, "testSecret").await, "ROLES_DIFFER", &["it lacks read@catalogue"]);
    let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
    assert_eq!(current["username"], json!(app.user), "who is in use stays in use");
}

async fn alternating(stack: &MongoStack, name: &str, more: &Value) -> MongoApp {
    let app = stack.atlas_app_with(name, more).await.unwrap();
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    app
}

fn named(user: &str, role: &str, database: &str) -> Value {
    json!({"username": user, "roles": [{"roleName": role, "databaseName": database}]})
}

/// Does it while AWSCURRENT is tried again and again, on every cluster: it logs in each time.
async fn watched<T>(stack: &MongoStack, app: &MongoApp, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut logins = 0;
    loop {
        tokio::select! {
            result = &mut work => {
                println!("{}: AWSCURRENT logged in {logins} times meanwhile", app.user);
                return result;
            }
            works = stack.logs_in(&app.secret, "AWSCURRENT") => assert!(works.unwrap(), "{} is dead", app.user),
        }
        logins += 1;
    }
}

/// Does it, and has the second cluster ignore the change after the `nth` as well.
async fn ignoring_again<T>(stack: &MongoStack, app: &MongoApp, nth: usize, setting: impl Future<Output = T>) -> T {
    let ignoring = async {
        eventually("it is set", async || patches(stack, &app.user).len() == nth).await;
        // The status is asked for once the PATCH is answered, and so has used up the first one to be ignored.
        let so_far = status_calls(stack, "cluster1");
        eventually("it is watched", async || status_calls(stack, "cluster1") > so_far).await;
        stack.atlas.ignore_next_change("cluster1");
    };
    tokio::join!(setting, ignoring).0
}

#[derive(Clone, Copy)]
enum Changes {
    Hold,
    Release,
}

fn both(stack: &MongoStack, what: Changes) {
    for cluster in ["cluster0", "cluster1"] {
        match what {
            Changes::Hold => stack.atlas.hold(cluster),
            Changes::Release => stack.atlas.release(cluster),
        }
    }
}

/// The steps after createSecret, once Atlas is through with every change: what is still under way is set again.
async fn finishes(stack: &MongoStack, app: &MongoApp, token: &str) {
    for cluster in ["cluster0", "cluster1"] {
        stack.atlas.applied(cluster, 0).await.unwrap();
    }
    scene::finishes(stack, app, token).await;
}

async fn accepts(stack: &MongoStack, cluster: usize, app: &MongoApp, password: &str) -> bool {
    stack.clusters[cluster].logs_in("admin", &app.user, password).await.unwrap()
}

fn status_calls(stack: &MongoStack, cluster: &str) -> usize {
    let call = format!("GET /api/atlas/v2/groups/{}/clusters/{cluster}/status", stack.project.id());
    stack.atlas.seen().iter().filter(|seen| seen.name() == call).count()
}

fn version(stack: &MongoStack, app: &MongoApp, label: &str) -> String {
    stack.aws.secrets.version(&app.secret, label).unwrap().unwrap()
}

fn posts(stack: &MongoStack, user: &str) -> usize {
    let bodies = stack.atlas.seen().into_iter().filter(|seen| seen.name().ends_with("/databaseUsers"));
    let bodies = bodies.filter_map(|seen| serde_json::from_slice::<Value>(&seen.body).ok());
    bodies.filter(|body| body["username"] == user).count()
}

fn sorted(list: &Value) -> Vec<String> {
    let mut entries: Vec<String> = list.as_array().unwrap().iter().map(Value::to_string).collect();
    entries.sort();
    entries
}

/// A password is set alone; roles and scopes are set alone; a new user has what the API documents, and nothing else.
fn writes_are_exact(stack: &MongoStack) {
    let mut counted = [0; 3];
    for call in stack.atlas.seen().iter().filter(|call| call.path.contains("/databaseUsers")) {
        let text = std::str::from_utf8(&call.body).unwrap();
        let members = serde_json::from_str::<serde_json::Map<String, Value>>(text).unwrap_or_default();
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        match (call.method.as_str(), names.as_slice()) {
            ("GET", []) => {}
            ("PATCH", ["password"]) => {
                assert_eq!(text, sets(members["password"].as_str().unwrap()));
                counted[0] += 1;
            }
            ("PATCH", ["roles", "scopes"]) => counted[1] += 1,
            ("POST", ["databaseName", "groupId", "password", "roles", "scopes", "username"]) => {
                assert_eq!(
                    (&members["databaseName"], &members["groupId"]),
                    (&json!("admin"), &json!(stack.project.id()))
                );
                counted[2] += 1;
            }
            (method, names) => panic!("{method} {} with {names:?}", call.path),
        }
    }
    let [passwords, rights, users] = counted;
    println!("at Atlas: {passwords} passwords set, {rights} users given rights, {users} made");
}
