//! A change of one user's password that is half made: no try ends with clients refused at a place where the old password could
//! have been put back, and every error says which password is in force where.

use super::scene::{
    away, back, created, finishes, password, patches, put_current, refused, rotates, sets, step, user_path,
};
use crate::polling::eventually;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::mongo::Mongo;
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use keyturn_tests::vendors::Reply;
use keyturn_tests::vendors::atlas::{Endpoint, RateLimit};
use serde_json::json;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

const NORMAL: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_let_in_again_where_a_change_cannot_be_completed() {
    let stack = MongoStack::builder().clusters(2).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    a_cluster_is_lost_while_it_is_waited_for(&stack).await;
    a_cluster_is_lost_between_two_tries(&stack).await;
    a_cluster_is_lost_before_the_test(&stack).await;
    for untold in [Untold::Refused(401), Untold::Refused(403), Untold::HostsByHand] {
        the_change_is_never_taken_and_no_status_is_told(&stack, untold).await;
    }
    somebody_else_sets_a_third_password_meanwhile(&stack).await;
    assert_eq!(stack.atlas.live_tokens(), 0, "every token is given back");
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// One user's clients are refused with the old value wherever they get through: they need the new one now. Two users' clients
/// can wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_lost_after_the_test_keeps_the_new_password_from_two_users_clients_alone() {
    let stack = &MongoStack::builder().clusters(2).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    stack.lambda.set_timeout(Duration::from_secs(12));
    for strategy in ["fixed", "alternating"] {
        let app = stack.atlas_app(&format!("tested-{strategy}")).await.unwrap();
        stack.tag(&app.secret, "strategy", strategy).unwrap();
        let token = created(stack, &app).await;
        for name in ["setSecret", "testSecret"] {
            step(stack, &app, &token, name).await.unwrap();
        }
        away(stack, "cluster1");
        // Another environment asks Atlas where the clusters are.
        stack.lambda.recycle();
        let finish = async || step(stack, &app, &token, "finishSecret").await;
        if strategy == "alternating" {
            refused(finish().await, "DATABASE_UNREACHABLE", &["cannot be reached"]);
            back(stack, "cluster1");
        }
        finish().await.unwrap();
        back(stack, "cluster1");
        assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());

        // And where Atlas does not say.
        let token = created(stack, &app).await;
        for name in ["setSecret", "testSecret"] {
            step(stack, &app, &token, name).await.unwrap();
        }
        let finish = async || step(stack, &app, &token, "finishSecret").await;
        stack.lambda.recycle();
        stack.atlas.refuse(&stack.principal, Endpoint::Clusters, 500);
        if strategy == "alternating" {
            refused(finish().await, "ATLAS_CALL_FAILED", &["clusters at Atlas failed: 500"]);
            stack.atlas.permit(&stack.principal, Endpoint::Clusters);
        }
        finish().await.unwrap();
        stack.atlas.permit(&stack.principal, Endpoint::Clusters);
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// In time, the current password is put back at the cluster that has taken the new one.
async fn a_cluster_is_lost_while_it_is_waited_for(stack: &MongoStack) {
    let app = stack.atlas_app("waited").await.unwrap();
    let token = created(stack, &app).await;
    let new = password(stack, &app, "AWSPENDING");
    stack.atlas.hold("cluster1");
    stack.lambda.set_timeout(Duration::from_secs(12));
    let losing = async {
        eventually("one has taken it", async || accepts(stack, 0, &app, &new).await).await;
        away(stack, "cluster1");
    };
    let (result, ()) = tokio::join!(step(stack, &app, &token, "setSecret"), losing);
    // The function knows the cluster's address since the step began: it is still there, and refuses.
    refused(result, "CHANGE_PENDING", &["cluster0: the new password, cluster1: the current password"]);
    stack.lambda.set_timeout(Duration::from_secs(20));
    let result = step(stack, &app, &token, "setSecret").await;
    is_put_back(stack, &app, result, "DATABASE_UNREACHABLE").await;
    assert_eq!(patches(stack, &app.user), [sets(&new), sets(&app.password)]);
    nothing_is_changed_until_it_is_back(stack, &app, &token).await;
}

async fn a_cluster_is_lost_between_two_tries(stack: &MongoStack) {
    let app = stack.atlas_app("between").await.unwrap();
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    away(stack, "cluster1");
    stack.lambda.set_timeout(Duration::from_secs(20));
    let result = step(stack, &app, &token, "setSecret").await;
    is_put_back(stack, &app, result, "DATABASE_UNREACHABLE").await;
    nothing_is_changed_until_it_is_back(stack, &app, &token).await;
}

/// For longer than a change may wait that nobody is locked out by.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_password_is_put_back_though_atlas_puts_that_off() {
    let stack = &MongoStack::builder().clusters(2).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.atlas_app("put-off").await.unwrap();
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    away(stack, "cluster1");
    stack.lambda.set_timeout(Duration::from_secs(20));
    stack.atlas.limit(&format!("PATCH {}", user_path(stack, &app.user)), 1, RateLimit::Header(20));
    let result = step(stack, &app, &token, "setSecret").await;
    is_put_back(stack, &app, result, "DATABASE_UNREACHABLE").await;
    nothing_is_changed_until_it_is_back(stack, &app, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// For longer than one call is tried.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_password_is_put_back_though_atlas_is_down_for_a_while() {
    let stack = &MongoStack::builder().clusters(2).start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.atlas_app("down").await.unwrap();
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    away(stack, "cluster1");
    stack.lambda.set_timeout(NORMAL);
    stack.faults.reset();
    for nth in 1..=9 {
        let call = format!("setSecret atlas PATCH {} #{nth}", user_path(stack, &app.user));
        let fault = Fault::Status(503, "ServiceUnavailable");
        stack.faults.inject(Point { call, moment: Moment::Before, fault });
    }
    let result = step(stack, &app, &token, "setSecret").await;
    assert_eq!(stack.faults.struck().len(), 9);
    is_put_back(stack, &app, result, "DATABASE_UNREACHABLE").await;
    nothing_is_changed_until_it_is_back(stack, &app, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// A primary that is cut off, say: nobody is told, and another one takes its place meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_leaves_time_to_look_and_to_go_on() {
    let stack = MongoStack::builder().through_proxy().start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    stack.lambda.set_timeout(NORMAL);
    for moment in [Moment::Before, Moment::After] {
        let app = stack.own_app(&format!("{moment:?}").to_lowercase()).await.unwrap();
        let token = created(&stack, &app).await;
        let fault = Fault::Slow(Duration::from_hours(1));
        stack.faults.inject(Point { call: "setSecret mongo updateUser #1".to_owned(), moment, fault });
        let report = step(&stack, &app, &token, "setSecret").await.unwrap();
        assert!(report["changes"].to_string().contains("accepted by "), "{report}");
        stack.faults.reset();
        finishes(&stack, &app, &token).await;
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// The pending password is the only one in force by then, whatever the tags say.
#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_is_changed_after_the_change_does_not_cost_the_password_that_works() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let app = stack.own_app("shop").await.unwrap();
    let token = created(&stack, &app).await;
    step(&stack, &app, &token, "setSecret").await.unwrap();
    stack.tag(&app.secret, "strategy", "alternating").unwrap();
    let says =
        ["do not drop it. Undo what was edited during this rotation, the tags", "are refused where it is in force"];
    for name in ["createSecret", "setSecret", "finishSecret"] {
        refused(step(&stack, &app, &token, name).await, "PENDING_IS_CURRENT_USER", &says);
    }
    stack.tag(&app.secret, "strategy", "sometimes").unwrap();
    refused(step(&stack, &app, &token, "setSecret").await, "TAG_INVALID", &says[1..]);
    stack.tag(&app.secret, "strategy", "fixed").unwrap();
    // Nor does another user's credential, stored as the current one.
    let before = stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap();
    let mut spare = stack.value(&app.secret, "AWSCURRENT").unwrap();
    (spare["username"], spare["password"]) = (json!("spare_test_rw"), json!("OfTheSpareUser-1"));
    put_current(&stack, &app.secret, &spare.to_string()).await;
    refused(step(&stack, &app, &token, "setSecret").await, "PENDING_MISMATCH", &["look before you drop it"]);
    put_current(&stack, &app.secret, &before).await;
    finishes(&stack, &app, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn a_cluster_is_lost_before_the_test(stack: &MongoStack) {
    let app = stack.atlas_app("untested").await.unwrap();
    let token = created(stack, &app).await;
    step(stack, &app, &token, "setSecret").await.unwrap();
    away(stack, "cluster1");
    let says = ["puts the current one back", "In force: cluster0: the new password, cluster1: unknown."];
    refused(step(stack, &app, &token, "testSecret").await, "DATABASE_UNREACHABLE", &says);
    back(stack, "cluster1");
    finishes(stack, &app, &token).await;
}

/// Why nobody says whether a change is applied.
#[derive(Clone, Copy, Debug)]
enum Untold {
    /// Atlas refuses to say it, with this status.
    Refused(u16),
    /// By `keyturn:hosts` nobody knows which clusters there are.
    HostsByHand,
}

/// It is refused for longer than any change takes: that is an answer, too.
async fn the_change_is_never_taken_and_no_status_is_told(stack: &MongoStack, untold: Untold) {
    let mut places = ["cluster0", "cluster1"].map(str::to_owned);
    let name = match untold {
        Untold::Refused(status) => format!("blind{status}"),
        Untold::HostsByHand => "by-hand".to_owned(),
    };
    let app = stack.atlas_app(&name).await.unwrap();
    match untold {
        Untold::Refused(status) => stack.atlas.refuse(&stack.principal, Endpoint::ClusterStatus, status),
        Untold::HostsByHand => {
            places = [0, 1].map(|nth| stack.clusters[nth].address());
            stack.tag(&app.secret, "hosts", &places.join(" ")).unwrap();
        }
    }
    let token = created(stack, &app).await;
    stack.atlas.ignore_next_change("cluster1");
    let again = async {
        eventually("it is set", async || patches(stack, &app.user).len() == 1).await;
        let [old, new] = ["AWSCURRENT", "AWSPENDING"].map(|label| password(stack, &app, label));
        eventually("one takes it", async || accepts(stack, 0, &app, &new).await).await;
        assert!(accepts(stack, 1, &app, &old).await);
        stack.atlas.ignore_next_change("cluster1");
    };
    let (result, ()) = tokio::join!(step(stack, &app, &token, "setSecret"), again);
    let [first, second] = &places;
    let back = "The current password is back, and works at ";
    let says = [format!("{first}: accepted"), format!("{second}: "), back.to_owned()];
    refused(result, "PASSWORD_NOT_TAKEN", &[&says[0], &says[1], &says[2]]);
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "clients go on working");
    for nth in [0, 1] {
        assert!(accepts(stack, nth, &app, &app.password).await, "{untold:?}: {}", places[nth]);
    }
    stack.atlas.permit(&stack.principal, Endpoint::ClusterStatus);
    finishes(stack, &app, &token).await;
}

async fn somebody_else_sets_a_third_password_meanwhile(stack: &MongoStack) {
    let app = stack.atlas_app("third").await.unwrap();
    let token = created(stack, &app).await;
    stack.atlas.ignore_next_change("cluster1");
    stack.atlas.revert("cluster1", &app.user, "of-somebody-else").await.unwrap();
    // Before the change: nobody's password is taken from them.
    let result = step(stack, &app, &token, "setSecret").await;
    refused(result, "CURRENT_PASSWORD_REFUSED", &["so nothing was changed: cluster1: "]);
    assert_eq!(patches(stack, &app.user).len(), 0);
    stack.atlas.revert("cluster1", &app.user, &app.password).await.unwrap();
    // After it: both are refused there, and the message says so.
    let meanwhile = async {
        for nth in 1..=2 {
            eventually("it is set", async || patches(stack, &app.user).len() == nth).await;
            stack.atlas.revert("cluster1", &app.user, "of-somebody-else").await.unwrap();
            stack.atlas.ignore_next_change("cluster1");
        }
    };
    let (result, ()) = tokio::join!(step(stack, &app, &token, "setSecret"), meanwhile);
    let says = ["cluster1: neither password", "something else sets this user's password"];
    refused(result, "PASSWORD_NOT_TAKEN", &says);
    stack.atlas.release("cluster1");
    stack.atlas.revert("cluster1", &app.user, &app.password).await.unwrap();
    finishes(stack, &app, &token).await;
}

async fn is_put_back(
    stack: &MongoStack,
    app: &MongoApp,
    result: Result<serde_json::Value, keyturn_tests::lambda::FunctionError>,
    code: &str,
) {
    refused(result, code, &["cannot be reached", "is back where it can be proven: cluster0: accepted; "]);
    assert!(accepts(stack, 0, app, &app.password).await, "clients go on working where they can");
}

async fn nothing_is_changed_until_it_is_back(stack: &MongoStack, app: &MongoApp, token: &str) {
    let so_far = patches(stack, &app.user).len();
    let result = step(stack, app, token, "setSecret").await;
    refused(result, "DATABASE_UNREACHABLE", &["cannot be reached", "Nothing was changed."]);
    assert_eq!(patches(stack, &app.user).len(), so_far);
    back(stack, "cluster1");
    stack.atlas.release("cluster1");
    stack.lambda.set_timeout(NORMAL);
    finishes(stack, app, token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_change_makes_nobody_wait() {
    // Longer than this test would wait.
    let stack = MongoStack::builder().variable("SETTLE_SECONDS", "300").start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let (other, app) = (stack.atlas_app("other").await.unwrap(), stack.atlas_app("mine").await.unwrap());
    let other_token = created(&stack, &other).await;
    let token = created(&stack, &app).await;
    let new = password(&stack, &app, "AWSPENDING");
    stack.atlas.set_delay("cluster0", Duration::from_secs(2));
    let mut setting = pin!(step(&stack, &app, &token, "setSecret"));
    // Quiet before ours: then theirs comes, and is under way for as long as it likes.
    let theirs = async {
        eventually("ours is on its way", async || patches(&stack, &app.user).len() == 1).await;
        eventually("it is in force", async || accepts(&stack, 0, &app, &new).await).await;
    };
    stack.atlas.set_delay("cluster0", Duration::from_secs(2));
    let holding = async {
        eventually("ours is on its way", async || stack.atlas.is_changing("cluster0")).await;
        stack.atlas.set_delay("cluster0", Duration::from_hours(1));
        let _ = step(&stack, &other, &other_token, "setSecret").await;
    };
    let mut holding = pin!(holding);
    let result = tokio::select! {
        result = &mut setting => result,
        () = &mut holding => panic!("theirs is held"),
    };
    theirs.await;
    let report = result.unwrap();
    assert!(report["changes"].to_string().contains("accepted by cluster0 after"), "{report}");
    assert_eq!(patches(&stack, &other.user).len(), 1, "theirs was on its way");
    step(&stack, &app, &token, "testSecret").await.unwrap();
    step(&stack, &app, &token, "finishSecret").await.unwrap();
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// A place accepts the current password until it gets to the change before: that proves nothing yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_put_back_is_not_said_to_work_before_atlas_is_through() {
    let stack = MongoStack::builder().variable("SETTLE_SECONDS", "300").start().await.unwrap();
    stack.lambda.set_timeout(Duration::from_secs(8));
    stack.atlas.refuse(&stack.principal, Endpoint::ClusterStatus, 403);
    let app = stack.atlas_app("shop").await.unwrap();
    let token = created(&stack, &app).await;
    stack.atlas.hold("cluster0");
    let result = step(&stack, &app, &token, "setSecret").await;
    let says = [
        "was set again, and works at cluster0; Atlas may still be applying",
        "In force: cluster0: the current password.",
    ];
    refused(result, "CHANGE_NOT_PROVEN", &says);
    stack.atlas.release("cluster0");
    stack.atlas.applied("cluster0", 2).await.unwrap();
    stack.atlas.permit(&stack.principal, Endpoint::ClusterStatus);
    stack.lambda.set_timeout(NORMAL);
    finishes(&stack, &app, &token).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flex_cluster_has_to_accept_the_password_like_any_other() {
    let stack = MongoStack::start().await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let server = Arc::new(Mongo::builder().certificates(stack.mongo.certificates()).start().await.unwrap());
    stack.atlas.add_flex_cluster(&stack.project, "flexible", Arc::clone(&server)).unwrap();
    for strategy in ["fixed", "alternating"] {
        let app = stack.atlas_app(strategy).await.unwrap();
        stack.tag(&app.secret, "strategy", strategy).unwrap();
        let token = created(&stack, &app).await;
        let value = stack.value(&app.secret, "AWSPENDING").unwrap();
        let (user, new) = (value["username"].as_str().unwrap(), value["password"].as_str().unwrap());
        stack.atlas.hold("flexible");
        let mut setting = pin!(step(&stack, &app, &token, "setSecret"));
        let looking =
            eventually("the other one accepts it", async || stack.mongo.logs_in("admin", user, new).await.unwrap());
        tokio::select! {
            result = &mut setting => panic!("not waited for: {result:?}"),
            () = looking => {}
        }
        stack.atlas.release("flexible");
        let report = setting.await.unwrap();
        assert!(report["changes"].to_string().contains("accepted by cluster0, flexible after"), "{report}");
        assert!(server.logs_in("admin", user, new).await.unwrap());
        finishes(&stack, &app, &token).await;
        rotates(&stack, &app).await;
    }
    // Where Atlas does not list them to this credential, or has no such list, nobody says that they were asked.
    let list = format!("GET /api/atlas/v2/groups/{}/flexClusters", stack.project.id());
    let unknown = json!({"error": 404, "errorCode": "RESOURCE_NOT_FOUND", "detail": "Cannot find resource."});
    stack.atlas.replace(&list, 2, Reply::json(404, &unknown));
    for status in [404, 403] {
        let app = stack.atlas_app(&format!("unlisted{status}")).await.unwrap();
        let token = created(&stack, &app).await;
        let report = step(&stack, &app, &token, "setSecret").await.unwrap();
        let said = report["changes"].to_string();
        assert!(said.contains("accepted by cluster0 after") && said.contains("flex clusters were not asked"), "{said}");
        assert!(stack.lambda.logs().unwrap().contains("\"FLEX_CLUSTERS_UNKNOWN\""));
        stack.atlas.refuse(&stack.principal, Endpoint::FlexClusters, 403);
    }
    // A scope that names one is then a cluster that is not listed.
    let limited = json!({"scopes": [{"name": "flexible", "type": "CLUSTER"}]});
    let app = stack.atlas_app_with("scoped", &limited).await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    refused(step(&stack, &app, &token, "createSecret").await, "CLUSTER_NOT_FOUND", &["\"flexible\""]);
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn accepts(stack: &MongoStack, cluster: usize, app: &MongoApp, password: &str) -> bool {
    stack.clusters[cluster].logs_in("admin", &app.user, password).await.unwrap()
}
