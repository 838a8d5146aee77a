//! The crash matrix: the function is stopped before and after every external call of a rotation, and the service tries again.

use crate::matrix::{Watcher, points};
use crate::polling::eventually;
use crate::prove::tell;
use keyturn_tests::aws::secrets_client;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::mongo::{Builder, MongoApp, MongoStack};
use mongodb::bson::doc;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often a point is tried that a rotation did not come by: how often it is asked whether a change has arrived depends
/// on the machine.
const TRIES: usize = 8;

/// Who keeps the user, and whose power changes it.
#[derive(Clone, Copy, PartialEq)]
enum At {
    /// A server of one's own, by an admin.
    Own,
    /// A server of one's own, by the user itself.
    Itself,
    Atlas,
    AtlasWithKey,
}

/// Where every rotation of the matrix starts from.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Fixed,
    /// The twin does not exist yet.
    NoTwin,
    /// The base is current, its twin exists.
    Twin,
}

/// One run of the matrix.
struct Matrix {
    stack: Arc<MongoStack>,
    app: MongoApp,
    at: At,
    start: Start,
    /// What the secret held at first.
    first: Value,
}

impl At {
    fn builder(self) -> Builder {
        let builder = MongoStack::builder().through_proxy();
        match self {
            Self::Own | Self::Atlas => builder,
            Self::Itself => builder.variable("ADMIN_SECRET_ARNS", "").variable("ALLOW_ROLES", "own_password@admin"),
            Self::AtlasWithKey => builder.api_key(),
        }
    }

    async fn app(self, stack: &MongoStack, name: &str) -> MongoApp {
        match self {
            Self::Own => stack.own_app(name).await.unwrap(),
            Self::Itself => changes_itself(stack, name).await,
            Self::Atlas | Self::AtlasWithKey => {
                // The clusters' addresses are the proxy's, so that logins are points of the matrix, too.
                let address = format!("mongodb://localhost:{}/?ssl=true&authSource=admin", stack.database_port());
                stack.atlas.describe_cluster("cluster0", &json!({"connectionStrings": {"standard": address}}));
                stack.atlas_app(name).await.unwrap()
            }
        }
    }
}

/// An application whose user changes its own password, and has the right to.
pub(super) async fn changes_itself(stack: &MongoStack, name: &str) -> MongoApp {
    let app = stack.own_app(name).await.unwrap();
    let actions = ["changeOwnPassword", "viewUser"];
    let privilege = doc! {"resource": {"db": "admin", "collection": ""}, "actions": actions.as_slice()};
    stack.mongo.make_role("own_password", vec![privilege], &[]).await.unwrap();
    let roles = [("readWrite", name), ("own_password", "admin")];
    stack.mongo.set_roles("admin", &app.user, &roles).await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value.as_object_mut().unwrap().remove("masterarn");
    store(stack, &app.secret, &value).await;
    app
}

/// Makes a value current, as a person would.
pub(super) async fn store(stack: &MongoStack, secret: &str, value: &Value) {
    let client = secrets_client(&stack.aws.client_url());
    client.put_secret_value().secret_id(secret).secret_string(value.to_string()).send().await.unwrap();
}

/// Looks all the time, past the proxy and its faults, which password is good.
fn watch(matrix: &Matrix) -> Watcher {
    let (stack, app, start) = (Arc::clone(&matrix.stack), matrix.app.clone(), matrix.start);
    let mut values = BTreeMap::new();
    Watcher::start(Duration::from_millis(200), move || {
        let second = second_value(&stack, &app, &mut values);
        let (stack, app) = (Arc::clone(&stack), app.clone());
        async move { second.into_iter().chain(lockout(&stack, &app, start).await).collect() }
    })
}

/// A version that has another value than it had.
fn second_value(stack: &MongoStack, app: &MongoApp, values: &mut BTreeMap<String, String>) -> Option<String> {
    let version = stack.aws.secrets.version(&app.secret, "AWSPENDING").unwrap()?;
    let value = stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap()?;
    if stack.aws.secrets.version(&app.secret, "AWSPENDING").unwrap().as_ref() != Some(&version) {
        return None;
    }
    let before = values.insert(version.clone(), value.clone());
    before.filter(|before| *before != value).map(|_| format!("version {version} has a second value"))
}

/// AWSCURRENT does not log in; where there is one user only, AWSPENDING neither: some third password is in force.
async fn lockout(stack: &MongoStack, app: &MongoApp, start: Start) -> Option<String> {
    let labelled = |label| stack.aws.secrets.value(&app.secret, label).unwrap();
    let before = (labelled("AWSCURRENT"), labelled("AWSPENDING"));
    let mut good = logs_in(stack, before.0.as_deref()).await;
    if !good && start == Start::Fixed {
        // The change goes one way: had AWSPENDING been tried first, it could have come in between.
        good = logs_in(stack, before.1.as_deref()).await;
    }
    // A credential that lost its label while it was used proves nothing.
    let unmoved = (labelled("AWSCURRENT"), labelled("AWSPENDING")) == before;
    (!good && unmoved).then(|| format!("locked out: {}", stack.faults.recorded().last().cloned().unwrap_or_default()))
}

async fn logs_in(stack: &MongoStack, value: Option<&str>) -> bool {
    let Some(value) = value else { return false };
    let value: Value = serde_json::from_str(value).unwrap();
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    stack.mongo.logs_in("admin", &text("username"), &text("password")).await.unwrap()
}

impl Matrix {
    async fn new(at: At, start: Start) -> Self {
        let stack = Arc::new(at.builder().start().await.unwrap());
        let app = at.app(&stack, "shop").await;
        if start != Start::Fixed {
            stack.tag(&app.secret, "strategy", "alternating").unwrap();
        }
        let first = stack.value(&app.secret, "AWSCURRENT").unwrap();
        let matrix = Self { stack, app, at, start, first };
        if start == Start::Twin {
            // Now there is a twin.
            assert!(matrix.stack.rotate(&matrix.app.secret).await.unwrap().succeeded());
        }
        matrix
    }

    /// Goes back to the start. The base's password is never changed where two take turns.
    async fn prepare(&self) {
        let Self { stack, app, at, start, first } = self;
        if *start != Start::Fixed {
            store(stack, &app.secret, first).await;
        }
        let twin = format!("{}_clone", app.user);
        if *start == Start::NoTwin && stack.mongo.user("admin", &twin).await.unwrap().is_some() {
            stack.mongo.drop_user("admin", &twin).await.unwrap();
            if matches!(at, At::Atlas | At::AtlasWithKey) {
                stack.atlas.forget_user(&stack.project, &twin);
            }
        }
        // Who is killed gives no token back, and only so many may live.
        stack.atlas.expire_tokens();
        stack.faults.reset();
    }

    /// The names of all external calls of a clean rotation.
    async fn calls(&self) -> BTreeSet<String> {
        self.prepare().await;
        let outcome = self.stack.rotate(&self.app.secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
        self.stack.faults.recorded().into_iter().collect()
    }

    /// Whether a rotation came by this point. If so, it has converged.
    async fn converges(&self, point: &Point) -> bool {
        self.prepare().await;
        let Self { stack, app, .. } = self;
        stack.faults.inject(point.clone());
        let outcome = stack.rotate(&app.secret).await.unwrap();
        let story = || format!("{point}\n{outcome}{}", stack.lambda.logs().unwrap());
        assert!(outcome.succeeded(), "{}", story());
        assert_eq!(stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap(), Some(outcome.token.clone()));
        assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "{}", story());
        let old_one_works = stack.logs_in(&app.secret, "AWSPREVIOUS").await.unwrap();
        assert_eq!(old_one_works, self.start != Start::Fixed, "{}", story());
        stack.faults.struck() == std::slice::from_ref(point)
    }
}

async fn every_point_converges(at: At, start: Start, fault: Fault, turn: usize, name: &str) {
    let matrix = Matrix::new(at, start).await;
    // Twice: what is asked only sometimes, while a change is under way, is no point.
    let calls: BTreeSet<String> = matrix.calls().await.intersection(&matrix.calls().await).cloned().collect();
    matrix.prepare().await;
    let watcher = watch(&matrix);
    let points = points(calls.clone(), &fault, turn);
    for point in &points {
        let mut tries = 1;
        while !matrix.converges(point).await {
            assert!(tries < TRIES, "never came by: {point}\n{}", matrix.stack.lambda.logs().unwrap());
            tries += 1;
        }
    }
    all_slow(&matrix, &calls).await;
    let (looks, found) = watcher.stop().await;
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(matrix.stack.violations(), Vec::<String>::new());
    let promise = if start == Start::Fixed { "AWSCURRENT or AWSPENDING" } else { "AWSCURRENT" };
    tell(&format!(
        "crash matrix of mongo, {name}: {} points converge; {promise} logged in {looks} of {looks} times meanwhile",
        points.len()
    ));
}

/// Each answer comes late, all in one rotation: nothing is lost, and nothing is tried again.
async fn all_slow(matrix: &Matrix, calls: &BTreeSet<String>) {
    matrix.prepare().await;
    for call in calls {
        let fault = Fault::Slow(Duration::from_millis(100));
        matrix.stack.faults.inject(Point { call: call.clone(), moment: Moment::After, fault });
    }
    let outcome = matrix.stack.rotate(&matrix.app.secret).await.unwrap();
    assert!(outcome.succeeded() && outcome.attempts.len() == 1, "{outcome}");
    assert!(matrix.stack.logs_in(&matrix.app.secret, "AWSCURRENT").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_an_admin_sets_the_password_it_converges_and_no_third_password_is_in_force() {
    every_point_converges(At::Own, Start::Fixed, Fault::Kill, 0, "killed, one user on a server").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_while_a_user_sets_its_own_password_it_converges_and_no_third_password_is_in_force() {
    every_point_converges(At::Itself, Start::Fixed, Fault::Cut, 1, "cut off, a user changes itself").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_the_twin_is_made_on_a_server_nobody_is_locked_out() {
    every_point_converges(At::Own, Start::NoTwin, Fault::Kill, 2, "killed, twin is made on a server").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_while_the_twin_is_set_on_a_server_nobody_is_locked_out() {
    every_point_converges(At::Own, Start::Twin, Fault::Cut, 3, "cut off, twin is set on a server").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_atlas_sets_the_password_it_converges_and_no_third_password_is_in_force() {
    every_point_converges(At::Atlas, Start::Fixed, Fault::Kill, 4, "killed, one user at Atlas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_while_atlas_sets_the_password_by_an_api_key_it_converges_and_no_third_password_is_in_force() {
    every_point_converges(At::AtlasWithKey, Start::Fixed, Fault::Cut, 5, "cut off, one user at Atlas by API key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_the_twin_is_made_at_atlas_nobody_is_locked_out() {
    every_point_converges(At::Atlas, Start::NoTwin, Fault::Kill, 6, "killed, twin is made at Atlas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_the_twin_is_set_at_atlas_nobody_is_locked_out() {
    every_point_converges(At::Atlas, Start::Twin, Fault::Kill, 7, "killed, twin is set at Atlas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_invocations_of_a_step_at_the_same_time_agree_on_one_password() {
    let stack = MongoStack::start().await.unwrap();
    for strategy in ["fixed", "alternating"] {
        let own = stack.own_app(&format!("own-{strategy}")).await.unwrap();
        let atlas = stack.atlas_app(&format!("atlas-{strategy}")).await.unwrap();
        for app in [own, atlas] {
            stack.tag(&app.secret, "strategy", strategy).unwrap();
            for _ in 0..2 {
                each_step_twice_at_once(&stack, &app).await;
                assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
                let old_one_works = stack.logs_in(&app.secret, "AWSPREVIOUS").await.unwrap();
                assert_eq!(old_one_works, strategy == "alternating");
            }
        }
    }
    assert_eq!(stack.atlas.live_tokens(), 0);
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_invocation_sets_between_two_looks_is_not_taken_for_a_wrong_password() {
    let stack = MongoStack::builder().through_proxy().start().await.unwrap();
    let (app, proxy) = (stack.own_app("shop").await.unwrap(), stack.proxy.as_ref().unwrap());
    let token = stack.stage(&app.secret).unwrap();
    stack.step(&app.secret, &token, "createSecret").await.unwrap();
    let pending = stack.value(&app.secret, "AWSPENDING").unwrap()["password"].as_str().unwrap().to_owned();
    // The other one has set it. This one looked for the pending password before, and for the current one after that.
    stack.mongo.set_password("admin", &app.user, &pending).await.unwrap();
    proxy.hold_logins_of(&app.user, true);
    stack.faults.reset();
    for nth in [1, 2] {
        let call = format!("setSecret mongo login {} #{nth}", app.user);
        let fault = Fault::Slow(Duration::from_secs(1));
        stack.faults.inject(Point { call, moment: Moment::After, fault });
    }
    let both_refused = async {
        eventually("both logins", async || stack.faults.struck().len() == 2).await;
        proxy.hold_logins_of(&app.user, false);
    };
    let (set, ()) = tokio::join!(stack.step(&app.secret, &token, "setSecret"), both_refused);
    set.unwrap_or_else(|error| panic!("{error}"));
    assert!(stack.logs_in(&app.secret, "AWSPENDING").await.unwrap());
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn each_step_twice_at_once(stack: &MongoStack, app: &MongoApp) {
    let token = stack.stage(&app.secret).unwrap();
    let both = async |step: &str| {
        let (one, other) = tokio::join!(stack.step(&app.secret, &token, step), stack.step(&app.secret, &token, step));
        [one, other].map(|result| result.unwrap_or_else(|error| panic!("{} {step}: {error}", app.user)))
    };
    let mut outcomes = both("createSecret").await.map(|report| report["outcome"].as_str().unwrap().to_owned());
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["pending_created", "pending_kept"]);
    let pending = stack.value(&app.secret, "AWSPENDING").unwrap();
    for step in ["setSecret", "testSecret", "finishSecret"] {
        both(step).await;
    }
    assert_eq!(stack.value(&app.secret, "AWSCURRENT").unwrap(), pending);
}
