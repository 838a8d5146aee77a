//! The one deployment that all tests look at.

use keyturn_tests::cloud::{Cloud, NAME, REGION};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// It lives as long as this program, and what it started ends with it.
static WORLD: LazyLock<(Runtime, Cloud)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let cloud = runtime.block_on(Cloud::start(18)).unwrap_or_else(|error| panic!("{error:#}"));
    (runtime, cloud)
});

/// Whoever closes a database closes all that they have open there: one test at a time opens it.
pub(crate) static OPENS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Has oncall-sync write its ledger anew: a text that another test has put there is not believed.
pub(crate) async fn granted_by_hand(cloud: &Cloud) {
    let grant =
        json!({"action": "grant", "binding": "shop", "user": cloud.ann.email, "minutes": 60, "reason": "INC-42"});
    let _ = cloud.api.invoke(&Cloud::deployed("oncall-sync"), &grant).await; // refused before its first tick
}

/// Plays a test on it.
pub(crate) fn on_the_cloud(test: impl AsyncFnOnce(&'static Cloud)) {
    let (runtime, cloud) = &*WORLD;
    runtime.block_on(test(cloud));
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, limit: Duration, mut so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !so().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for the first tick of the schedule. Nobody here ever invokes oncall-sync for a tick.
pub(crate) async fn ticked(cloud: &Cloud) {
    let people = [&cloud.ann];
    let is_in = async || cloud.oncall.members(&cloud.shop, &people) == ["ann"];
    eventually("somebody on call comes in", Duration::from_secs(100), is_in).await;
    // The log is written after the function has answered.
    let told = async || cloud.log("oncall-sync").await.unwrap().iter().any(|line| line.contains("\"RunsOk\""));
    eventually("the tick is in the log", Duration::from_mins(1), told).await;
}

/// A text of a JSON document.
#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A list of a JSON document.
#[track_caller]
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

/// The widgets of all dashboards.
pub(crate) async fn widgets(cloud: &Cloud) -> Vec<Value> {
    let mut all = Vec::new();
    for part in ["rotation", "oncall", "break-glass"] {
        let name = json!({"DashboardName": format!("{NAME}-{part}-{REGION}")});
        let found = cloud.api.call("cloudwatch", "get_dashboard", name).await.unwrap();
        let body: Value = serde_json::from_str(text(&found["DashboardBody"])).unwrap();
        all.extend(list(&body["widgets"]).iter().cloned());
    }
    all
}
