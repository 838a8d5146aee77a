//! What watches the functions, and that it hears what they say.

use crate::world::{eventually, list, on_the_cloud, text, ticked, widgets};
use keyturn_tests::cloud::{ACCOUNT, AwsApi, CONSUMERS, Cloud, NAME, PREFIX, REGION, Template};
use keyturn_tests::source;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Name (after the stack's), function, metric, statistic, seconds of a period, periods, comparison, threshold, what
/// missing data is.
type Expected = (&'static str, &'static str, &'static str, &'static str, u64, u64, &'static str, f64, &'static str);

const AT_LEAST: &str = "GreaterThanOrEqualToThreshold";
const BELOW: &str = "LessThanThreshold";

/// What Lambda itself counts: also of a function that could not say anything.
const LAMBDA_ERRORS: &str = "Errors";

const ALARMS: [Expected; 17] = [
    ("break-glass-alert-failed", "break-glass", "AlertFailed", "Sum", 300, 1, AT_LEAST, 1.0, "notBreaching"),
    ("break-glass-opened", "break-glass", "LoginsOpened", "Sum", 60, 1, AT_LEAST, 1.0, "notBreaching"),
    ("break-glass-overstay", "break-glass", "OverstaySeconds", "Maximum", 60, 1, AT_LEAST, 90.0, "notBreaching"),
    ("break-glass-sweep-missing", "break-glass", "RunsOk", "Sum", 60, 3, BELOW, 1.0, "breaching"),
    ("break-glass-unresolved", "break-glass", "Unresolved", "Maximum", 60, 16, AT_LEAST, 1.0, "notBreaching"),
    ("label-updated-failed", "label-updated", "FailedInvocations", "Sum", 60, 1, AT_LEAST, 1.0, "notBreaching"),
    ("oncall-sync-alert-failed", "oncall-sync", "AlertFailed", "Sum", 300, 1, AT_LEAST, 1.0, "notBreaching"),
    ("oncall-sync-brake-pulled", "oncall-sync", "BrakePulled", "Maximum", 60, 1, AT_LEAST, 1.0, "notBreaching"),
    ("oncall-sync-granted", "oncall-sync", "Grants", "Sum", 60, 1, AT_LEAST, 1.0, "notBreaching"),
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
    ("rotate-mongo-errors", "rotate-mongo", LAMBDA_ERRORS, "Sum", 60, 1, AT_LEAST, 1.0, "ignore"),
    ("rotate-mongo-failed", "rotate-mongo", "StepFailed", "Sum", 60, 1, AT_LEAST, 1.0, "ignore"),
    ("rotate-postgres-errors", "rotate-postgres", LAMBDA_ERRORS, "Sum", 60, 1, AT_LEAST, 1.0, "ignore"),
    ("rotate-postgres-failed", "rotate-postgres", "StepFailed", "Sum", 60, 1, AT_LEAST, 1.0, "ignore"),
];

#[test]
fn every_alarm_watches_what_it_should_and_tells_the_topic() {
    on_the_cloud(async |cloud| {
        let alarms = alarms(cloud).await;
        assert_eq!(alarms.len(), ALARMS.len());
        for (name, function, metric, statistic, period, periods, comparison, threshold, missing) in ALARMS {
            let topic = topic(cloud, template_of(function)).await;
            let name = format!("{NAME}-{name}");
            let alarm = alarms.iter().find(|alarm| alarm["AlarmName"] == name).unwrap_or_else(|| panic!("no {name}"));
            let (namespace, dimension) = match metric {
                LAMBDA_ERRORS => ("AWS/Lambda", "FunctionName"),
                "FailedInvocations" => ("AWS/Events", "RuleName"),
                _ => ("Keyturn", "Function"),
            };
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
            assert_eq!(alarm["AlarmActions"], json!([topic]), "{name}");
            // That nobody was granted in the next minute is no news.
            let told_of_the_end = if ["Grants", "LoginsOpened"].contains(&metric) { json!([]) } else { json!([topic]) };
            assert_eq!(alarm["OKActions"], told_of_the_end, "{name}");
            let runbook = text(&alarm["AlarmDescription"]).split_once("Runbook ").unwrap().1;
            assert!(source::read(runbook).is_ok(), "{name}: {runbook} is not there");
        }
    });
}

#[test]
fn alarms_and_events_of_this_account_alone_reach_the_topics_and_whoever_subscribed() {
    on_the_cloud(async |cloud| {
        for template in Template::ALL {
            let topic = topic(cloud, template).await;
            let found = cloud.api.call("sns", "get_topic_attributes", json!({"TopicArn": topic})).await.unwrap();
            let policy: Value = serde_json::from_str(text(&found["Attributes"]["Policy"])).unwrap();
            let alarms = json!({"StringEquals": {"aws:SourceAccount": ACCOUNT}});
            let mut expected = vec![("cloudwatch.amazonaws.com", alarms)];
            if template == Template::Rotation {
                let rules = ["rotations", "overdue"]
                    .map(|rule| format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{NAME}-{rule}"));
                expected.push(("events.amazonaws.com", json!({"ArnEquals": {"aws:SourceArn": rules}})));
            }
            assert_eq!(list(&policy["Statement"]).len(), expected.len(), "{policy}");
            for (statement, (service, condition)) in list(&policy["Statement"]).iter().zip(expected) {
                assert_eq!(statement["Principal"], json!({"Service": service}));
                assert_eq!((&statement["Action"], &statement["Resource"]), (&json!("sns:Publish"), &json!(topic)));
                assert_eq!(statement["Condition"], condition);
            }
            let subscriptions = json!({"TopicArn": topic});
            let found = cloud.api.call("sns", "list_subscriptions_by_topic", subscriptions).await.unwrap();
            let is_email = |one: &&Value| one["Protocol"] == "email";
            let email = list(&found["Subscriptions"]).iter().find(is_email).unwrap();
            assert_eq!(email["Endpoint"], "platform@example.com");
        }
    });
}

#[test]
fn the_topic_is_told_of_each_secret_whose_rotation_ended_also_where_the_function_was_never_invoked() {
    on_the_cloud(async |cloud| {
        let queue = Queue::on_the_topic(cloud, "told").await;
        let secret = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop-AbCdEf");
        // Nobody but AWS may send in its own name: what comes is made to come from here, for as long as this takes.
        let rule =
            cloud.api.call("events", "describe_rule", json!({"Name": format!("{NAME}-rotations")})).await.unwrap();
        let pattern = text(&rule["EventPattern"]);
        let ours =
            |source: &str| json!({"Name": rule["Name"], "EventPattern": pattern.replace("aws.secretsmanager", source)});
        assert!(pattern.contains("aws.secretsmanager"), "{pattern}");
        cloud.api.call("events", "put_rule", ours("test.secretsmanager")).await.unwrap();
        for event in ["RotationFailed", "RotationAbandoned", "RotationSucceeded", "RotationStarted"] {
            // As CloudTrail hands on what Secrets Manager itself does.
            let detail = json!({
                "eventSource": "secretsmanager.amazonaws.com", "eventName": event, "eventType": "AwsServiceEvent",
                "additionalEventData": {"SecretId": secret},
            });
            let entry = json!({
                "Source": "test.secretsmanager", "DetailType": "AWS Service Event via CloudTrail",
                "Detail": detail.to_string(),
            });
            let sent = cloud.api.call("events", "put_events", json!({"Entries": [entry]})).await.unwrap();
            assert_eq!(sent["FailedEntryCount"], 0, "{sent}");
            if event != "RotationStarted" {
                let says = format!("{event} of {secret} at ");
                let heard = async || queue.messages().await.iter().any(|message| message.contains(&says));
                eventually(&says, Duration::from_mins(1), heard).await;
            }
        }
        assert!(!queue.messages().await.iter().any(|message| message.contains("RotationStarted")));
        cloud.api.call("events", "put_rule", ours("aws.secretsmanager")).await.unwrap();
    });
}

#[test]
fn a_step_that_fails_raises_its_functions_alarm_and_the_message_arrives() {
    on_the_cloud(async |cloud| {
        let queue = Queue::on_the_topic(cloud, "on-duty").await;
        for (function, alarm) in
            [("rotate-postgres", "rotate-postgres-failed"), ("rotate-mongo", "rotate-mongo-failed")]
        {
            let event = json!({
                "Step": "createSecret", "SecretId": format!("{PREFIX}/never-made"),
                "ClientRequestToken": "8f1d2c3b-0000-4000-8000-00000000c0de",
            });
            cloud.api.invoke(&Cloud::deployed(function), &event).await.unwrap_err();
            let mut failed = None;
            eventually("the failure is in the log", Duration::from_mins(1), async || {
                failed = metrics(cloud, function).await.into_iter().find(|metric| metric["MetricName"] == "StepFailed");
                failed.is_some()
            })
            .await;
            let failed = failed.unwrap();
            let alarm = format!("{NAME}-{alarm}");
            assert_eq!(watchers(cloud, &failed).await, std::slice::from_ref(&alarm));
            // MiniStack makes no metrics of log lines: this is what CloudWatch makes of this one.
            put(&cloud.api, failed).await;
            let state = cloud.api.call("cloudwatch", "describe_alarms", json!({"AlarmNames": [alarm]})).await.unwrap();
            assert_eq!(state["MetricAlarms"][0]["StateValue"], "ALARM", "{state}");
            let heard = async || queue.has_heard_of(&alarm).await;
            eventually("the message arrives", Duration::from_mins(1), heard).await;
        }
    });
}

#[test]
fn consumers_are_handed_the_event_as_soon_as_a_secret_has_a_new_current_value() {
    on_the_cloud(async |cloud| {
        let url = queue(cloud, CONSUMERS, "events.amazonaws.com").await;
        let call = async |operation, parameters| cloud.api.call("secretsmanager", operation, parameters).await.unwrap();
        let made = call("create_secret", json!({"Name": "consumed", "SecretString": "{}"})).await;
        let put = json!({"SecretId": made["ARN"], "SecretString": "{\"password\": \"another\"}"});
        let put = call("put_secret_value", put).await;
        let is_told = async || {
            let receive = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0});
            let found = cloud.api.call("sqs", "receive_message", receive).await.unwrap();
            found["Messages"].as_array().into_iter().flatten().any(|message| {
                let event: Value = serde_json::from_str(text(&message["Body"])).unwrap();
                event["resources"] == json!([made["ARN"]]) && event["detail"]["versionId"] == put["VersionId"]
            })
        };
        eventually("the event arrives", Duration::from_mins(1), is_told).await;
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
            // That somebody was granted is told of a good tick as well.
            let at_once = |alarm: &&Expected| {
                alarm.1 == "oncall-sync" && alarm.2 != "Grants" && (alarm.5 == 1 || alarm.6 == BELOW)
            };
            let raised = ALARMS.iter().filter(at_once).find(|alarm| metric["MetricName"] == alarm.2);
            if let Some((name, .., comparison, threshold, _)) = raised {
                let value = metric["Value"].as_f64().unwrap();
                let breaches = if *comparison == BELOW { value < *threshold } else { value >= *threshold };
                assert!(!breaches, "{name}: {metric}");
            }
        }
        // How long somebody overstayed is said only when somebody did.
        let of_oncall = ALARMS.iter().filter(|alarm| alarm.1 == "oncall-sync" && alarm.2 != "OverstaySeconds");
        assert_eq!(heard, of_oncall.map(|alarm| format!("{NAME}-{}", alarm.0)).collect());
    });
}

#[test]
fn the_dashboard_shows_metrics_of_the_deployed_functions() {
    on_the_cloud(async |cloud| {
        for widget in widgets(cloud).await {
            let properties = &widget["properties"];
            assert_eq!(properties["region"], REGION, "{widget}");
            if widget["type"] == "log" {
                for part in text(&properties["query"]).split("SOURCE '").skip(1) {
                    let group = part.split('\'').next().unwrap();
                    let groups = json!({"logGroupNamePrefix": group});
                    let found = cloud.api.call("logs", "describe_log_groups", groups).await.unwrap();
                    assert_eq!(list(&found["logGroups"]).len(), 1, "{group}");
                }
                continue;
            }
            for metric in list(&properties["metrics"]) {
                let [namespace, name, dimension, value, ..] = list(metric) else { panic!("{metric}") };
                if namespace == "AWS/SQS" {
                    assert_eq!(text(dimension), "QueueName");
                    assert!(["keyturn-missed-ticks", "keyturn-missed-sweeps"].contains(&text(value)), "{metric}");
                    continue;
                }
                assert_eq!((text(namespace), text(dimension)), ("Keyturn", "Function"));
                let of_rotation =
                    ["Step", "Rotation", "StaleSessions"].iter().any(|prefix| text(name).starts_with(prefix));
                let functions =
                    if of_rotation { ["rotate-postgres", "rotate-mongo"] } else { ["oncall-sync", "break-glass"] };
                assert!(functions.iter().any(|function| *value == Cloud::deployed(function)), "{metric}");
            }
        }
    });
}

/// The template that has this function.
fn template_of(function: &str) -> Template {
    match function {
        "oncall-sync" => Template::Oncall,
        "break-glass" => Template::BreakGlass,
        _ => Template::Rotation,
    }
}

/// The topic of a stack.
async fn topic(cloud: &Cloud, template: Template) -> String {
    cloud.physical_id_in(&template.stack(), "AlarmTopic").await.unwrap()
}

/// The alarms of all stacks.
async fn alarms(cloud: &Cloud) -> Vec<Value> {
    let ours = json!({"AlarmNamePrefix": format!("{NAME}-")});
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

/// A queue that this service may send to; gives its URL.
async fn queue(cloud: &Cloud, name: &str, service: &str) -> Value {
    let url = cloud.api.call("sqs", "create_queue", json!({"QueueName": name})).await.unwrap()["QueueUrl"].take();
    let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": service}, "Action": "sqs:SendMessage", "Resource": arn,
    }]});
    let policy = json!({"QueueUrl": url, "Attributes": {"Policy": policy.to_string()}});
    cloud.api.call("sqs", "set_queue_attributes", policy).await.unwrap();
    url
}

/// A queue that hears what the rotations' topic is told.
struct Queue {
    cloud: &'static Cloud,
    url: Value,
}

impl Queue {
    async fn on_the_topic(cloud: &'static Cloud, name: &str) -> Self {
        let url = queue(cloud, name, "sns.amazonaws.com").await;
        let topic = topic(cloud, Template::Rotation).await;
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
        let subscription = json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": arn});
        cloud.api.call("sns", "subscribe", subscription).await.unwrap();
        Self { cloud, url }
    }

    /// What the topic was told and nobody has taken.
    async fn messages(&self) -> Vec<String> {
        let receive = json!({"QueueUrl": self.url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0});
        let found = self.cloud.api.call("sqs", "receive_message", receive).await.unwrap();
        let message = |one: &Value| {
            let envelope: Value = serde_json::from_str(text(&one["Body"])).unwrap();
            text(&envelope["Message"]).to_owned()
        };
        found["Messages"].as_array().into_iter().flatten().map(message).collect()
    }

    /// Whether this alarm was raised.
    async fn has_heard_of(&self, alarm: &str) -> bool {
        self.messages().await.iter().any(|message| {
            let told: Value = serde_json::from_str(message).unwrap_or_default();
            told["AlarmName"] == alarm && told["NewStateValue"] == "ALARM"
        })
    }
}
