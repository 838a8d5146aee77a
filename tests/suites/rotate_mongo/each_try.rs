//! The fault matrix: something goes wrong at a call of setSecret, testSecret or finishSecret, once or from then on. After every
//! single try the servers are asked, past the function: no client is refused without a word on where, and none stays refused
//! where the current password could have been put back.

use super::crash::{changes_itself, store};
use crate::prove::{long_form, tell};
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::lambda::FunctionError;
use keyturn_tests::mongo::Mongo;
use keyturn_tests::mongo::proxy::MongoProxy;
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How many points a matrix has in the short form.
const SHORT: usize = 12;
/// How often a point is tried that no call came by: how often logins are looked at depends on the machine.
const TRIES: usize = 8;
/// More calls of one kind than a step makes.
const ALL_LATER_ONES: usize = 60;

#[derive(Clone, Copy, PartialEq)]
enum At {
    /// Two clusters, of which the second one is behind the proxy.
    Atlas,
    /// A server of one's own, by an admin.
    Own,
    /// The same, by the user itself.
    Itself,
}

/// What the first try that meets a fault starts from.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Fixed,
    /// An earlier try has left the new password at the first cluster, and the current one at the second.
    Half,
    Alternating,
}

/// A fault at one call, or at this call and all later ones of its kind in the step.
#[derive(Clone)]
struct Trouble {
    point: Point,
    lasts: bool,
}

/// A step that failed.
struct Failed {
    step: &'static str,
    error: FunctionError,
}

struct Matrix {
    stack: MongoStack,
    app: MongoApp,
    start: Start,
    /// What the secret held at first.
    first: Value,
    /// By the names that messages give them.
    places: Vec<(String, Arc<Mongo>)>,
    _second_cluster: Option<MongoProxy>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.point, if self.lasts { " and later" } else { "" })
    }
}

impl Trouble {
    /// No try can put a password back while these calls fail.
    fn keeps_from_putting_back(&self) -> bool {
        let calls = ["PATCH", "updateUser", "DescribeSecret", "oauth"];
        self.lasts && calls.iter().any(|call| self.point.call.contains(call))
    }

    fn inject(&self, stack: &MongoStack) {
        let (kind, nth) = self.point.call.rsplit_once('#').unwrap();
        let first: usize = nth.parse().unwrap();
        let last = if self.lasts { first + ALL_LATER_ONES } else { first };
        for nth in first..=last {
            stack.faults.inject(Point { call: format!("{kind}#{nth}"), ..self.point.clone() });
        }
    }
}

impl Matrix {
    async fn new(at: At, start: Start) -> Self {
        let builder = match at {
            At::Atlas => MongoStack::builder().clusters(2),
            At::Own => MongoStack::builder().through_proxy(),
            At::Itself => MongoStack::builder()
                .through_proxy()
                .variable("ADMIN_SECRET_ARNS", "")
                .variable("ALLOW_ROLES", "own_password@admin"),
        };
        let stack = builder.start().await.unwrap();
        stack.lambda.set_timeout(Duration::from_secs(12));
        let (app, mut second_cluster) = match at {
            At::Own => (stack.own_app("shop").await.unwrap(), None),
            At::Itself => (changes_itself(&stack, "shop").await, None),
            At::Atlas => {
                let proxy = MongoProxy::start(&stack.clusters[1], stack.faults.clone()).await.unwrap();
                (stack.atlas_app("shop").await.unwrap(), Some(proxy))
            }
        };
        let places = match &mut second_cluster {
            None => vec![(stack.proxy.as_ref().unwrap().address(), Arc::clone(&stack.mongo))],
            Some(proxy) => {
                let standard = format!("mongodb://{}/?ssl=true&authSource=admin", proxy.address());
                stack.atlas.describe_cluster("cluster1", &json!({"connectionStrings": {"standard": standard}}));
                let named = stack.clusters.iter().enumerate();
                named.map(|(nth, server)| (format!("cluster{nth}"), Arc::clone(server))).collect()
            }
        };
        if start == Start::Alternating {
            stack.tag(&app.secret, "strategy", "alternating").unwrap();
        }
        let first = stack.value(&app.secret, "AWSCURRENT").unwrap();
        let matrix = Self { stack, app, start, first, places, _second_cluster: second_cluster };
        let token = matrix.prepared().await;
        // Now there is a twin.
        matrix.steps(&token).await.unwrap_or_else(|failed| panic!("{}: {}", failed.step, failed.error));
        matrix
    }

    /// A rotation that has come to where the faults begin.
    async fn prepared(&self) -> String {
        let Self { stack, app, .. } = self;
        stack.faults.reset();
        // Who is killed gives no token back, and only so many may live.
        stack.atlas.expire_tokens();
        if self.start == Start::Alternating {
            store(stack, &app.secret, &self.first).await;
        }
        let token = stack.stage(&app.secret).unwrap();
        self.step(&token, "createSecret").await;
        if self.start == Start::Half {
            self.step(&token, "setSecret").await;
            let old = stack.value(&app.secret, "AWSCURRENT").unwrap();
            stack.atlas.revert("cluster1", &app.user, old["password"].as_str().unwrap()).await.unwrap();
        }
        stack.faults.reset();
        token
    }

    async fn step(&self, token: &str, step: &str) {
        let result = self.stack.step(&self.app.secret, token, step).await;
        result.unwrap_or_else(|error| panic!("{step}: {error}"));
    }

    /// The steps to the first one that fails.
    async fn steps(&self, token: &str) -> Result<(), Failed> {
        for step in ["setSecret", "testSecret", "finishSecret"] {
            let result = self.stack.step(&self.app.secret, token, step).await;
            result.map_err(|error| Failed { step, error })?;
        }
        Ok(())
    }

    /// The names of the calls that every clean try makes.
    async fn calls(&self) -> BTreeSet<String> {
        let mut calls: Option<BTreeSet<String>> = None;
        for _ in 0..2 {
            let token = self.prepared().await;
            self.steps(&token).await.unwrap_or_else(|failed| panic!("{}: {}", failed.step, failed.error));
            let made: BTreeSet<String> = self.stack.faults.recorded().into_iter().collect();
            calls = Some(calls.map_or_else(|| made.clone(), |calls| &calls & &made));
        }
        calls.unwrap()
    }

    /// Whether a call came by the point; an error says what was wrong with the try, or with the next one.
    async fn survives(&self, trouble: &Trouble) -> Result<bool, String> {
        let token = self.prepared().await;
        trouble.inject(&self.stack);
        let ended = self.steps(&token).await;
        let has_struck = !self.stack.faults.struck().is_empty();
        self.stack.faults.reset();
        let judged = self.judged(trouble, &ended).await;
        let mut wrong: Vec<String> = judged.err().into_iter().collect();
        if let Err(Failed { step, error }) = ended {
            wrong = wrong.into_iter().map(|wrong| format!("{wrong}, said {step}: {error}")).collect();
            self.step(&token, "createSecret").await;
            let next = self.steps(&token).await;
            wrong.extend(next.err().map(|next| format!("the next try: {}: {}", next.step, next.error)));
        }
        if !self.stack.logs_in(&self.app.secret, "AWSCURRENT").await.unwrap() {
            wrong.push("AWSCURRENT is refused in the end".to_owned());
        }
        if wrong.is_empty() { Ok(has_struck) } else { Err(format!("{trouble}: {}", wrong.join("; "))) }
    }

    /// Tries until a call has come by the point.
    async fn meets(&self, trouble: &Trouble) -> Result<(), String> {
        for _ in 0..TRIES {
            if self.survives(trouble).await? {
                return Ok(());
            }
        }
        Err(format!("never came by: {trouble}"))
    }

    /// Where a place is, and what the error says of it.
    async fn judged(&self, trouble: &Trouble, ended: &Result<(), Failed>) -> Result<(), String> {
        for nth in 0..self.stack.clusters.len() {
            self.stack.atlas.applied(&format!("cluster{nth}"), 0).await.unwrap();
        }
        let mut refusing = Vec::new();
        for (place, server) in &self.places {
            let mut works = Vec::new();
            for label in ["AWSCURRENT", "AWSPENDING"] {
                works.push(match self.stack.value(&self.app.secret, label) {
                    Ok(value) => {
                        let text = |key: &str| value[key].as_str().unwrap().to_owned();
                        server.logs_in("admin", &text("username"), &text("password")).await.unwrap()
                    }
                    Err(_) => false,
                });
            }
            if !works.contains(&true) {
                return Err(format!("neither password works at {place}"));
            }
            if !works[0] {
                refusing.push(place);
            }
        }
        let Err(Failed { step, error }) = ended else {
            return if refusing.is_empty() { Ok(()) } else { Err(format!("clients are refused at {refusing:?}")) };
        };
        if self.start == Start::Alternating && !refusing.is_empty() {
            return Err(format!("the user in use is refused at {refusing:?}"));
        }
        let died = ["Runtime.", "Sandbox."].iter().any(|kind| error.error_type.starts_with(kind));
        if died && trouble.point.fault == Fault::Kill {
            return Ok(());
        }
        // A place that is away for the function may be so for the last look, too.
        let is_said = |place: &&&String| {
            let told = ["the new password", "unknown"].map(|what| format!("{place}: {what}"));
            told.iter().any(|told| error.error_message.contains(told))
        };
        let nobody_looked = error.error_message.contains(UNSEEN);
        if let Some(place) = refusing.iter().find(|place| !is_said(place) && !nobody_looked) {
            return Err(format!("no word on {place}"));
        }
        let may_refuse = *step != "setSecret"
            || self.start == Start::Half
            || error.error_type == "CHANGE_PENDING"
            || trouble.keeps_from_putting_back();
        if !may_refuse && !refusing.is_empty() {
            return Err(format!("the current password was not put back at {refusing:?}"));
        }
        Ok(())
    }
}

/// What an error says where the places or the passwords could not be read.
const UNSEEN: &str = "clients with the current one are refused where it is in force";

/// Every call, every fault, before and after, once and lasting; in the short form a sample, spread over all of them.
fn troubles(calls: &BTreeSet<String>, turn: usize) -> Vec<Trouble> {
    let mut all = Vec::new();
    for call in calls {
        let is_http = !call.contains(" mongo ");
        let statuses = [Fault::Status(503, "ServiceUnavailable"), Fault::Status(429, "ThrottlingException")];
        let once = [Fault::Kill, Fault::Cut, Fault::Garbage]
            .into_iter()
            .chain(statuses.clone().into_iter().filter(|_| is_http));
        let lasting = [Fault::Cut].into_iter().chain(statuses.into_iter().filter(|_| is_http).take(1));
        for (lasts, fault) in once.map(|fault| (false, fault)).chain(lasting.map(|fault| (true, fault))) {
            for moment in [Moment::Before, Moment::After] {
                let point = Point { call: call.clone(), moment, fault: fault.clone() };
                all.push(Trouble { point, lasts });
            }
        }
    }
    if long_form() {
        return all;
    }
    let stride = all.len() / SHORT;
    all.into_iter().skip(turn * 5 % stride).step_by(stride).collect()
}

async fn every_try_ends_well(at: At, start: Start, turn: usize, name: &str) {
    let matrix = Matrix::new(at, start).await;
    let troubles = troubles(&matrix.calls().await, turn);
    let mut wrong = Vec::new();
    for trouble in &troubles {
        wrong.extend(matrix.meets(trouble).await.err());
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), troubles.len(), wrong.join("\n"));
    assert_eq!(matrix.stack.violations(), Vec::<String>::new());
    tell(&format!("fault matrix of mongo, {name}: {} tries end with every place named or let in", troubles.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_while_atlas_sets_the_password_clients_are_let_in_or_the_error_says_where_not() {
    every_try_ends_well(At::Atlas, Start::Fixed, 0, "one user at Atlas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_after_half_a_change_at_atlas_the_error_says_where_clients_are_refused() {
    every_try_ends_well(At::Atlas, Start::Half, 1, "half a change at Atlas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_while_atlas_sets_the_twin_nobody_is_refused() {
    every_try_ends_well(At::Atlas, Start::Alternating, 2, "two users at Atlas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_while_an_admin_sets_the_password_clients_are_let_in_or_the_error_says_where_not() {
    every_try_ends_well(At::Own, Start::Fixed, 3, "one user on a server").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_while_a_user_sets_its_own_password_clients_are_let_in_or_the_error_says_where_not() {
    every_try_ends_well(At::Itself, Start::Fixed, 4, "a user changes itself").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_while_an_admin_sets_the_twin_nobody_is_refused() {
    every_try_ends_well(At::Own, Start::Alternating, 5, "two users on a server").await;
}
