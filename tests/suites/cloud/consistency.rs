//! `infra/` names what the code has, all of it, and nothing else.

use crate::world::{list, on_the_cloud, text};
use keyturn::metrics::Metric;
use keyturn_tests::cloud::{Cloud, FUNCTIONS, STACK};
use keyturn_tests::source;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What stands before a setting's name where the code looks it up.
const LOOKUPS: [&str; 7] = ["text(", "raw(", "parsed(", "vars,", "flag(", "set(", "vars("];

/// Looked up, and no setting of the template: Lambda's own, and the SDK's for whoever has no deployment.
const NOT_DEPLOYED: [&str; 2] = ["AWS_LAMBDA_FUNCTION_NAME", "AWS_ENDPOINT_URL_SECRETS_MANAGER"];

#[test]
fn every_setting_of_the_template_is_read_and_every_one_read_is_in_the_template() {
    on_the_cloud(async |cloud| {
        for function in FUNCTIONS {
            let name = json!({"FunctionName": Cloud::deployed(function)});
            let found = cloud.api.call("lambda", "get_function_configuration", name).await.unwrap();
            let deployed = found["Environment"]["Variables"].as_object().unwrap().keys().cloned();
            let deployed: BTreeSet<String> = deployed.collect();
            // Passwords are for rotations.
            let mut source = source::shipped(&format!("functions/{function}/src")).unwrap();
            source += &source::read("shared/src/lambda.rs").unwrap();
            if function != "oncall-sync" {
                source += &source::read("shared/src/password.rs").unwrap();
            }
            assert_eq!(deployed, settings(&source), "{function}");
        }
        // Whatever were looked up in some other way than those known here would be in README's tables all the same.
        let everything = ["shared/src", "functions"].map(|folder| source::shipped(folder).unwrap()).concat();
        let found = settings(&everything);
        let missed: Vec<String> = settings_of_readme().difference(&found).cloned().collect();
        assert!(missed.is_empty(), "{missed:?}");
    });
}

#[test]
fn every_metric_is_watched_and_every_one_watched_is_measured() {
    on_the_cloud(async |cloud| {
        let mut watched = BTreeSet::new();
        let ours = json!({"AlarmNamePrefix": format!("{STACK}-")});
        let alarms = cloud.api.call("cloudwatch", "describe_alarms", ours).await.unwrap();
        let ours = list(&alarms["MetricAlarms"]).iter().filter(|alarm| alarm["Namespace"] == "Keyturn");
        watched.extend(ours.map(|alarm| text(&alarm["MetricName"]).to_owned()));
        let dashboard = cloud.api.call("cloudwatch", "get_dashboard", json!({"DashboardName": STACK})).await.unwrap();
        let dashboard: Value = serde_json::from_str(text(&dashboard["DashboardBody"])).unwrap();
        for widget in list(&dashboard["widgets"]) {
            let metrics = list(&widget["properties"]["metrics"]).iter().map(list);
            watched.extend(metrics.filter(|metric| metric[0] == "Keyturn").map(|metric| text(&metric[1]).to_owned()));
        }
        let monitors: Value = serde_json::from_str(&source::read("infra/datadog/monitors.json").unwrap()).unwrap();
        let in_datadog = of_monitors(&monitors);
        assert!(!in_datadog.is_empty());
        for word in monitors.to_string().split(|c: char| !c.is_ascii_alphanumeric() && !":-".contains(c)) {
            if let Some(function) = word.strip_prefix("function:") {
                assert!(FUNCTIONS.iter().any(|name| Cloud::deployed(name).starts_with(function)), "{word}");
            }
        }
        watched.extend(in_datadog);
        let measured: BTreeSet<String> = Metric::NAMES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(watched, measured);
    });
}

/// The settings that a source looks up.
fn settings(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let parts: Vec<&str> = source.split('"').collect();
    for pair in parts.windows(2) {
        let (before, name) = (pair[0].trim_end(), pair[1]);
        let is_setting = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        if is_setting && LOOKUPS.iter().any(|lookup| before.ends_with(lookup)) && !NOT_DEPLOYED.contains(&name) {
            found.insert(name.to_owned());
        }
    }
    found
}

/// The settings in README's tables of variables.
fn settings_of_readme() -> BTreeSet<String> {
    let readme = source::read("README.md").unwrap();
    let mut found = BTreeSet::new();
    for table in readme.split("| variable | default | meaning |\n|---|---|---|\n").skip(1) {
        for row in table.lines().take_while(|line| line.starts_with('|')) {
            let names = row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2);
            found.extend(names.map(str::to_owned));
        }
    }
    found
}

/// The metrics that the queries of Datadog's monitors name, in Datadog's or in our spelling of them.
fn of_monitors(monitors: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for word in monitors.to_string().split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_') {
        if let Some(name) = word.to_lowercase().strip_prefix("keyturn.") {
            let name = name.replace('_', "");
            let ours = Metric::NAMES.iter().find(|metric| metric.to_lowercase() == name);
            found.insert(ours.map_or(name, |metric| (*metric).to_owned()));
        }
    }
    found
}
