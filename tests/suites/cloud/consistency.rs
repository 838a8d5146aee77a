//! `infra/` names what the code has, all of it, and nothing else.

use crate::world::{list, on_the_cloud, text, widgets};
use keyturn::metrics::Metric;
use keyturn_tests::cloud::{Cloud, NAME};
use keyturn_tests::source::{self, functions};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn every_variable_that_a_template_sets_is_a_declared_setting() {
    on_the_cloud(async |cloud| {
        for function in functions().unwrap() {
            let name = json!({"FunctionName": Cloud::deployed(&function)});
            let found = cloud.api.call("lambda", "get_function_configuration", name).await.unwrap();
            let deployed = found["Environment"]["Variables"].as_object().unwrap().keys().cloned();
            let unknown: Vec<String> = deployed.filter(|name| !declared(&function).contains(name)).collect();
            assert_eq!(unknown, [""; 0], "{function}");
        }
    });
}

#[test]
fn every_metric_is_watched_and_every_one_watched_is_measured() {
    on_the_cloud(async |cloud| {
        let mut watched = BTreeSet::new();
        let ours = json!({"AlarmNamePrefix": format!("{NAME}-")});
        let alarms = cloud.api.call("cloudwatch", "describe_alarms", ours).await.unwrap();
        let ours = list(&alarms["MetricAlarms"]).iter().filter(|alarm| alarm["Namespace"] == "Keyturn");
        watched.extend(ours.map(|alarm| text(&alarm["MetricName"]).to_owned()));
        for widget in widgets(cloud).await {
            let metrics = widget["properties"]["metrics"].as_array().into_iter().flatten().map(list);
            watched.extend(metrics.filter(|metric| metric[0] == "Keyturn").map(|metric| text(&metric[1]).to_owned()));
        }
        let monitors: Value = serde_json::from_str(&source::read("infra/datadog/monitors.json").unwrap()).unwrap();
        let in_datadog = of_monitors(&monitors);
        assert!(!in_datadog.is_empty());
        for word in monitors.to_string().split(|c: char| !c.is_ascii_alphanumeric() && !":-".contains(c)) {
            if let Some(function) = word.strip_prefix("function:") {
                let functions = functions().unwrap();
                assert!(functions.iter().any(|name| Cloud::deployed(name).starts_with(function)), "{word}");
            }
        }
        watched.extend(in_datadog);
        let measured: BTreeSet<String> = Metric::NAMES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(watched, measured);
    });
}

/// The settings that a function declares, by its manual's table (which another test compares with the declarations).
fn declared(function: &str) -> BTreeSet<String> {
    let manual = source::read(&format!("functions/{function}/README.md")).unwrap();
    let (_, table) = manual.split_once("<!-- settings -->\n").unwrap();
    let (table, _) = table.split_once("<!-- end of settings -->").unwrap();
    table.lines().filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
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
