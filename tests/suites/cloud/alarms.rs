//! What watches the functions, and that it hears what they say.

use crate::world::{eventually, list, on_the_cloud, text, ticked};
use keyturn_tests::cloud::{ACCOUNT, AwsApi, Cloud, PREFIX, REGION, STACK};
use keyturn_tests::source;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Name (after the stack's), function, metric, statistic, seconds of a period, periods, comparison, threshold, what
/// missing data is.
type Expected = (&'static str, &'static str, &'static str, &'static str, u64, u64, &'static str, f64, &'static str);

const AT_LEAST: &str = "GreaterThanOrEqualToThreshold";
const BELOW: &str = "LessThanThreshold";
const DAY: u64 = 86400;

/// What Lambda itself counts: also of a function that could not say anything.
const LAMBDA_ERRORS: &str = "Errors";

const ALARMS: [Expected; 12] = [
    ("oncall-sync-alert-failed", "oncall-sync", "AlertFailed", "Sum", 300, 1, AT_LEAST, 1.0, "notBreaching"),
    ("oncall-sync-brake-pulled", "oncall-sync", "BrakePulled", "Maximum", 60, 1, AT_LEAST, 1.0, "notBreaching"),
    ("oncall-sync-heartbeat-missing", "oncall-sync", "RunsOk", "Sum", 60, 5, BELOW, 1.0, "breaching"),
    ("oncall-sync-overstay", "oncall-sync", "OverstaySeconds", "Maximum", 60, 1, AT_LEAST, 300.0, "notBreaching"),
    (
        "oncall-sync-source-unknown",
        "oncall-sync",
        "SourceAgeSeconds",
        "Maximum",
        60,
        3,
        AT_LEAST,
        600.0,
        "notBreaching",
    ),
    ("oncall-sync-unresolved", "oncall-sync", "Unresolved", "Maximum", 60, 5, AT_LEAST, 1.0, "notBreaching"),
    ("rotate-mongo-errors", "rotate-mongo", LAMBDA_ERRORS, "Sum", 300, 1, AT_LEAST, 1.0, "notBreaching"),
    ("rotate-mongo-failed", "rotate-mongo", "StepFailed", "Sum", 300, 1, AT_LEAST, 1.0, "notBreaching"),
    ("rotate-mongo-overdue", "rotate-mongo", "RotationFinished", "Sum", DAY, 7, BELOW, 1.0, "breaching"),
    ("rotate-postgres-errors", "rotate-postgres", LAMBDA_ERRORS, "Sum", 300, 1, AT_LEAST, 1.0, "notBreaching"),
    ("rotate-postgres-failed", "rotate-postgres", "StepFailed", "Sum", 300, 1, AT_LEAST, 1.0, "notBreaching"),
    ("rotate-postgres-overdue", "rotate-postgres", "RotationFinished", "Sum", DAY, 7, BELOW, 1.0, "breaching"),
];

#[test]
fn every_alarm_watches_what_it_should_and_tells_the_topic() {
    on_the_cloud(async |cloud| {
        let topic = cloud.physical_id("AlarmTopic").await.unwrap();
        let alarms = alarms(cloud).await;
        assert_eq!(alarms.len(), ALARMS.len());
        for (name, function, metric, statistic, period, periods, comparison, threshold, missing) in ALARMS {
            let name = format!("{STACK}-{name}");
            let alarm = alarms.iter().find(|alarm| alarm["AlarmName"] == name).unwrap_or_else(|| panic!("no {name}"));
            let is_lambdas = metric == LAMBDA_ERRORS;
            let (namespace, dimension) =
                if is_lambdas { ("AWS/Lambda", "FunctionName") } else { ("Keyturn", "Function") };
            assert_eq!(alarm["Namespace"], namespace, "{name}");
            assert_eq!(alarm["MetricName"], metric, "{name}");
            let dimensions = json!([{"Name": dimension, "Value": Cloud::deployed(function)}]);
            assert_eq!(alarm["Dimensions"], dimensions, "{name}");
            assert_eq!(alarm["Statistic"], statistic, "{name}");
            assert_eq!((&alarm["Period"], &alarm["EvaluationPeriods"]), (&json!(period), &json!(periods)), "{name}");
            assert_eq!(
                (&alarm["ComparisonOperator"], &alarm["Threshold"]),
                (&json!(comparison), &json!(threshold)),
                "{name}"
            );
            assert_eq!(alarm["TreatMissingData"], missing, "{name}");
            assert_eq!(alarm["ActionsEnabled"], json!(true), "{name}");
            assert_eq!((&alarm["AlarmActions"], &alarm["OKActions"]), (&json!([topic]), &json!([topic])), "{name}");
            let runbook = text(&alarm["AlarmDescription"]).split_once("Runbook ").unwrap().1;
            assert!(source::read(runbook).is_ok(), "{name}: {runbook} is not there");
        }
    });
}

#[test]
fn alarms_reach_the_topic_and_whoever_subscribed() {
    on_the_cloud(async |cloud| {
        let topic = cloud.physical_id("AlarmTopic").await.unwrap();
        let found = cloud.api.call("sns", "get_topic_attributes", json!({"TopicArn": topic})).await.unwrap();
        let policy: Value = serde_json::from_str(text(&found["Attributes"]["Policy"])).unwrap();
        let [statement] = list(&policy["Statement"]) else { panic!("{policy}") };
        assert_eq!(statement["Principal"], json!({"Service": "cloudwatch.amazonaws.com"}));
        assert_eq!((&statement["Action"], &statement["Resource"]), (&json!("sns:Publish"), &json!(topic)));
        assert_eq!(statement["Condition"], json!({"StringEquals": {"aws:SourceAccount": ACCOUNT}}));
        let found = cloud.api.call("sns", "list_subscriptions_by_topic", json!({"TopicArn": topic})).await.unwrap();
        let is_email = |one: &&Value| one["Protocol"] == "email";
        let email = list(&found["Subscriptions"]).iter().find(is_email).unwrap();
        assert_eq!(email["Endpoint"], "platform@example.com");
    });
}

#[test]
fn a_step_that_fails_raises_its_functions_alarm_and_the_message_arrives() {
    on_the_cloud(async |cloud| {
        let queue = Queue::on_the_topic(cloud).await;
        for (function, alarm) in
            [("rotate-postgres", "rotate-postgres-failed"), ("rotate-mongo", "rotate-mongo-failed")]
        {
            let event = json!({
                "Step": "createSecret", "SecretId": format!("{PREFIX}/never-made"),
                "ClientRequestToken": "8f1d2c3b-0000-4000-8000-00000000c0de",
            });
            cloud.api.invoke(&Cloud::deployed(function), &event).await.unwrap_err();
            let mut failed = None;
            eventually("the failure is in the log", Duration::from_secs(10), async || {
                failed = metrics(cloud, function).await.into_iter().find(|metric| metric["MetricName"] == "StepFailed");
                failed.is_some()
            })
            .await;
            let failed = failed.unwrap();
            let alarm = format!("{STACK}-{alarm}");
            assert_eq!(watchers(cloud, &failed).await, std::slice::from_ref(&alarm));
            // MiniStack makes no metrics of log lines: this is what CloudWatch makes of this one.
            put(&cloud.api, failed).await;
            let state = cloud.api.call("cloudwatch", "describe_alarms", json!({"AlarmNames": [alarm]})).await.unwrap();
            assert_eq!(state["MetricAlarms"][0]["StateValue"], "ALARM", "{state}");
            let heard = async || queue.has_heard_of(&alarm).await;
            eventually("the message arrives", Duration::from_secs(10), heard).await;
        }
    });
}

#[test]
fn the_alarms_of_oncall_sync_hear_of_each_tick_and_a_good_tick_raises_none() {
    on_the_cloud(async |cloud| {
        ticked(cloud).await;
        let mut heard = BTreeSet::new();
        for metric in metrics(cloud, "oncall-sync").await {
            heard.extend(watchers(cloud, &metric).await);
            // That a ledger begins is for a person to look at: the alarm that takes five periods is not raised by one tick.
            let at_once = |alarm: &&Expected| alarm.1 == "oncall-sync" && (alarm.5 == 1 || alarm.6 == BELOW);
            let raised = ALARMS.iter().filter(at_once).find(|alarm| metric["MetricName"] == alarm.2);
            if let Some((name, .., comparison, threshold, _)) = raised {
                let value = metric["Value"].as_f64().unwrap();
                let breaches = if *comparison == BELOW { value < *threshold } else { value >= *threshold };
                assert!(!breaches, "{name}: {metric}");
            }
        }
        // How long somebody overstayed is said only when somebody did.
        let of_oncall = ALARMS.iter().filter(|alarm| alarm.1 == "oncall-sync" && alarm.2 != "OverstaySeconds");
        assert_eq!(heard, of_oncall.map(|alarm| format!("{STACK}-{}", alarm.0)).collect());
    });
}

#[test]
fn the_dashboard_shows_metrics_of_the_deployed_functions() {
    on_the_cloud(async |cloud| {
        let found = cloud.api.call("cloudwatch", "get_dashboard", json!({"DashboardName": STACK})).await.unwrap();
        let body: Value = serde_json::from_str(text(&found["DashboardBody"])).unwrap();
        for widget in list(&body["widgets"]) {
            let properties = &widget["properties"];
            assert_eq!(properties["region"], REGION, "{widget}");
            for metric in list(&properties["metrics"]) {
                let [namespace, name, dimension, value, ..] = list(metric) else { panic!("{metric}") };
                if namespace == "AWS/SQS" {
                    assert_eq!((text(dimension), text(value)), ("QueueName", "keyturn-missed-ticks"));
                    continue;
                }
                assert_eq!((text(namespace), text(dimension)), ("Keyturn", "Function"));
                let of_rotation =
                    ["Step", "Rotation", "StaleSessions"].iter().any(|prefix| text(name).starts_with(prefix));
                let functions = if of_rotation { &["rotate-postgres", "rotate-mongo"][..] } else { &["oncall-sync"] };
                assert!(functions.iter().any(|function| *value == Cloud::deployed(function)), "{metric}");
            }
        }
    });
}

/// The alarms of the deployed stack.
async fn alarms(cloud: &Cloud) -> Vec<Value> {
    let ours = json!({"AlarmNamePrefix": format!("{STACK}-")});
    let mut found = cloud.api.call("cloudwatch", "describe_alarms", ours).await.unwrap();
    match found["MetricAlarms"].take() {
        Value::Array(alarms) => alarms,
        other => panic!("{other}"),
    }
}

/// The names of the alarms that watch a metric with exactly these dimensions.
async fn watchers(cloud: &Cloud, metric: &Value) -> Vec<String> {
    let watches = |alarm: &&Value| {
        ["MetricName", "Dimensions"].iter().all(|part| alarm[*part] == metric[*part]) && alarm["Namespace"] == "Keyturn"
    };
    alarms(cloud).await.iter().filter(watches).map(|alarm| text(&alarm["AlarmName"]).to_owned()).collect()
}

/// What CloudWatch makes of the metric lines (EMF) in a function's log, as `PutMetricData` takes it.
async fn metrics(cloud: &Cloud, function: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for line in cloud.log(function).await.unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten() {
            assert_eq!(directive["Namespace"], "Keyturn");
            for (set, metric) in list(&directive["Dimensions"])
                .iter()
                .flat_map(|set| list(&directive["Metrics"]).iter().map(move |metric| (set, metric)))
            {
                let dimension = |name: &Value| json!({"Name": name, "Value": line[text(name)]});
                all.push(json!({
                    "MetricName": metric["Name"], "Unit": metric["Unit"], "Value": line[text(&metric["Name"])],
                    "Dimensions": list(set).iter().map(dimension).collect::<Vec<_>>(),
                    "Timestamp": line["_aws"]["Timestamp"].as_i64().unwrap() / 1000,
                }));
            }
        }
    }
    all
}

async fn put(api: &AwsApi, metric: Value) {
    let data = json!({"Namespace": "Keyturn", "MetricData": [metric]});
    api.call("cloudwatch", "put_metric_data", data).await.unwrap();
}

/// A queue that hears what the topic is told.
struct Queue {
    cloud: &'static Cloud,
    url: Value,
}

impl Queue {
    async fn on_the_topic(cloud: &'static Cloud) -> Self {
        let api = &cloud.api;
        let url = api.call("sqs", "create_queue", json!({"QueueName": "on-duty"})).await.unwrap()["QueueUrl"].take();
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:on-duty");
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
        }]});
        let policy = json!({"QueueUrl": url, "Attributes": {"Policy": policy.to_string()}});
        api.call("sqs", "set_queue_attributes", policy).await.unwrap();
        let topic = cloud.physical_id("AlarmTopic").await.unwrap();
        let subscription = json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": arn});
        api.call("sns", "subscribe", subscription).await.unwrap();
        Self { cloud, url }
    }

    /// Whether a message that was not read yet says that this alarm was raised.
    async fn has_heard_of(&self, alarm: &str) -> bool {
        let receive = json!({"QueueUrl": self.url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0});
        let found = self.cloud.api.call("sqs", "receive_message", receive).await.unwrap();
        found["Messages"].as_array().into_iter().flatten().any(|message| {
            let envelope: Value = serde_json::from_str(text(&message["Body"])).unwrap();
            let told: Value = serde_json::from_str(text(&envelope["Message"])).unwrap();
            told["AlarmName"] == alarm && told["NewStateValue"] == "ALARM"
        })
    }
}
