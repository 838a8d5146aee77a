//! What the template makes, and what becomes of it.

use crate::world::{eventually, list, on_the_cloud, text};
use keyturn_tests::cloud::{Cloud, STACK};
use keyturn_tests::source;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// The transform makes this one out of the function's `EventInvokeConfig`.
const MADE_BY_SAM: &str = "OncallSyncFunctionEventInvokeConfig";

#[test]
fn every_resource_of_the_template_is_made_and_no_other() {
    on_the_cloud(async |cloud| {
        let template = source::read("infra/template.yaml").unwrap();
        let mut expected = names_below(&template, "Resources:");
        expected.insert(MADE_BY_SAM.to_owned());
        assert_eq!(resources(cloud, STACK).await, expected);
        let mut outputs = BTreeSet::new();
        for output in list(&stack(cloud, STACK).await.unwrap()["Outputs"]) {
            outputs.insert(text(&output["OutputKey"]).to_owned());
        }
        assert_eq!(outputs, names_below(&template, "Outputs:"));
    });
}

#[test]
fn deploying_the_same_again_changes_nothing() {
    on_the_cloud(async |cloud| {
        let said = cloud.deploy().await.unwrap();
        assert!(said.contains("No changes to deploy"), "{said}");
    });
}

#[test]
fn a_parameter_that_is_named_no_more_has_its_default_again() {
    on_the_cloud(async |_| {
        // SAM keeps the deployed value of a parameter that it is not told; the deployment tells this file first.
        let told: Value = serde_json::from_str(&source::read("target/infra/parameters.yaml").unwrap()).unwrap();
        let told = told.as_object().unwrap();
        let template = source::read("infra/template.yaml").unwrap();
        assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), names_below(&template, "Parameters:"));
        for (guard, default) in
            [("AllowAnyUsername", "false"), ("AllowAnyProject", "false"), ("AllowRoles", ""), ("OncallSchedule", "off")]
        {
            assert_eq!(told[guard], default, "{guard}");
        }
    });
}

#[test]
fn each_switch_takes_exactly_its_part_out() {
    on_the_cloud(async |cloud| {
        let other = Other::make(cloud, "switched").await;
        let all = resources(cloud, other.name).await;
        let of = |prefixes: &[&str]| -> BTreeSet<String> {
            all.iter().filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).cloned().collect()
        };
        for (switch, value, without) in [
            ("RotatePostgres", "off", of(&["RotatePostgres"])),
            ("RotateMongo", "off", of(&["RotateMongo"])),
            ("OncallSync", "off", of(&["OncallSync", "MissedTicks"])),
            ("OncallSchedule", "off", of(&["OncallSyncHeartbeatMissing"])),
            ("RotationOverdueDays", "0", of(&["RotatePostgresOverdue", "RotateMongoOverdue"])),
            ("AlarmEmail", "", of(&["AlarmEmailSubscription"])),
            ("OperationsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/own", of(&["OperationsKey"])),
        ] {
            assert!(!without.is_empty(), "{switch}");
            other.update(&[(switch, value)]).await;
            let left = resources(cloud, other.name).await;
            assert_eq!(all.difference(&left).cloned().collect::<BTreeSet<_>>(), without, "{switch}");
            assert_eq!(left.difference(&all).count(), 0, "{switch}");
        }
        other.delete().await;
    });
}

#[test]
fn a_second_stack_for_the_same_team_is_refused_before_two_keep_the_same_ledgers() {
    on_the_cloud(async |cloud| {
        let other = Other::of(cloud, "second").await;
        other.ask("create_stack", &other.template, &[("Environment", "test"), ("Team", "platform")]).await;
        assert_eq!(other.settled().await, "ROLLBACK_COMPLETE");
        other.delete().await;
    });
}

#[test]
fn a_schedule_that_is_switched_off_is_there_and_does_not_tick() {
    on_the_cloud(async |cloud| {
        let other = Other::make(cloud, "unscheduled").await;
        let state = async || {
            let schedule = json!({"Name": "unscheduled-oncall-sync"});
            text(&cloud.api.call("scheduler", "get_schedule", schedule).await.unwrap()["State"]).to_owned()
        };
        assert_eq!(state().await, "ENABLED");
        other.update(&[("OncallSchedule", "off")]).await;
        assert_eq!(state().await, "DISABLED");
        other.delete().await;
    });
}

#[test]
fn an_upgrade_and_its_roll_back_reach_the_function_and_deletion_leaves_only_the_key_for_a_month() {
    on_the_cloud(async |cloud| {
        let other = Other::make(cloud, "upgraded").await;
        let function = async || {
            let name = json!({"FunctionName": "upgraded-rotate-mongo"});
            let found = cloud.api.call("lambda", "get_function_configuration", name).await.unwrap();
            (found["CodeSha256"].clone(), found["Environment"]["Variables"]["LOG_LEVEL"].clone())
        };
        let before = function().await;
        assert_eq!(before.1, "info");

        // Another zip, as a new version brings one.
        let upgraded = other.template.replace(&other.zip("RotateMongoFunction"), &other.zip("OncallSyncFunction"));
        assert_ne!(upgraded, other.template);
        other.update_to(&upgraded, &[("LogLevel", "debug")]).await;
        let after = function().await;
        assert_ne!(after.0, before.0);
        assert_eq!(after.1, "debug");
        other.update(&[]).await;
        assert_eq!(function().await, before);

        let key = json!({"StackName": other.name, "LogicalResourceId": "OperationsKey"});
        let key = cloud.api.call("cloudformation", "describe_stack_resource", key).await.unwrap();
        let key = key["StackResourceDetail"]["PhysicalResourceId"].clone();
        other.delete().await;
        let key = cloud.api.call("kms", "describe_key", json!({"KeyId": key})).await.unwrap();
        assert_eq!(key["KeyMetadata"]["KeyState"], "PendingDeletion");
        for (service, operation, found) in [
            ("lambda", "list_functions", "Functions"),
            ("iam", "list_roles", "Roles"),
            ("cloudwatch", "describe_alarms", "MetricAlarms"),
            ("cloudwatch", "list_dashboards", "DashboardEntries"),
            ("logs", "describe_log_groups", "logGroups"),
            ("scheduler", "list_schedules", "Schedules"),
            ("sns", "list_topics", "Topics"),
            ("sqs", "list_queues", "QueueUrls"),
        ] {
            let all = cloud.api.call(service, operation, json!({})).await.unwrap();
            // Where the account has none left, the list may be missing.
            for one in all[found].as_array().into_iter().flatten() {
                assert!(!one.to_string().contains("upgraded-"), "{service}: {one} is left");
            }
        }
    });
}

/// The names that stand two spaces in below a headline of the template.
fn names_below(template: &str, headline: &str) -> BTreeSet<String> {
    let below = template.split_once(&format!("\n{headline}\n")).unwrap().1;
    let is_inside = |line: &&str| line.is_empty() || line.starts_with(' ');
    let name = |line: &str| {
        let name = line.strip_prefix("  ")?.strip_suffix(':')?;
        name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| name.to_owned())
    };
    below.lines().take_while(is_inside).filter_map(name).collect()
}

/// The logical names of a stack's resources, all of which are whole.
async fn resources(cloud: &Cloud, name: &str) -> BTreeSet<String> {
    let found = cloud.api.call("cloudformation", "list_stack_resources", json!({"StackName": name})).await.unwrap();
    let is_left = |resource: &&Value| resource["ResourceStatus"] != "DELETE_COMPLETE";
    let whole = |resource: &Value| {
        let status = text(&resource["ResourceStatus"]);
        assert!(["CREATE_COMPLETE", "UPDATE_COMPLETE"].contains(&status), "{resource}");
        text(&resource["LogicalResourceId"]).to_owned()
    };
    list(&found["StackResourceSummaries"]).iter().filter(is_left).map(whole).collect()
}

/// A stack, if there is one of this name.
async fn stack(cloud: &Cloud, name: &str) -> Option<Value> {
    let found = cloud.api.call("cloudformation", "describe_stacks", json!({"StackName": name})).await;
    found.ok().map(|mut found| found["Stacks"][0].take())
}

/// Another stack from the same template and zips, with everything in it.
struct Other {
    cloud: &'static Cloud,
    name: &'static str,
    template: String,
}

impl Other {
    async fn make(cloud: &'static Cloud, name: &'static str) -> Self {
        let other = Self::of(cloud, name).await;
        other.ask("create_stack", &other.template, &[]).await;
        assert_eq!(other.settled().await, "CREATE_COMPLETE");
        other
    }

    async fn of(cloud: &'static Cloud, name: &'static str) -> Self {
        let deployed = json!({"StackName": STACK, "TemplateStage": "Original"});
        let deployed = cloud.api.call("cloudformation", "get_template", deployed).await.unwrap();
        Self { cloud, name, template: text(&deployed["TemplateBody"]).to_owned() }
    }

    /// Where `sam deploy` put a function's zip.
    fn zip(&self, function: &str) -> String {
        let function = self.template.split_once(&format!("\n  {function}:\n")).unwrap().1;
        let uri = function.split_once("CodeUri: ").unwrap().1;
        uri.lines().next().unwrap().to_owned()
    }

    async fn update(&self, parameters: &[(&str, &str)]) {
        self.update_to(&self.template, parameters).await;
    }

    async fn update_to(&self, template: &str, parameters: &[(&str, &str)]) {
        self.ask("update_stack", template, parameters).await;
        assert_eq!(self.settled().await, "UPDATE_COMPLETE");
    }

    /// The template is too long to be part of a request: it goes by S3, as it does with `sam deploy`.
    async fn ask(&self, operation: &str, template: &str, parameters: &[(&str, &str)]) {
        let api = &self.cloud.api;
        let bucket = api.call("s3", "list_buckets", json!({})).await.unwrap()["Buckets"][0]["Name"].take();
        let file = format!("{}.yaml", self.name);
        let put = json!({"Bucket": bucket, "Key": file, "Body": template});
        api.call("s3", "put_object", put).await.unwrap();
        // A team of its own: there is one oncall-sync for each.
        let usual = [
            ("Team", self.name),
            ("OncallSchedule", "on"),
            ("AlarmEmail", "platform@example.com"),
            ("RotationOverdueDays", "7"),
        ];
        let own = |(name, _): &&(&str, &str)| parameters.iter().all(|(other, _)| other != name);
        let all = usual.iter().filter(own).chain(parameters);
        let all: Vec<Value> = all.map(|(name, value)| json!({"ParameterKey": name, "ParameterValue": value})).collect();
        let request = json!({
            "StackName": self.name, "TemplateURL": format!("{}/{}/{file}", api.endpoint(), text(&bucket)),
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"], "Parameters": all,
        });
        api.call("cloudformation", operation, request).await.unwrap();
    }

    async fn delete(&self) {
        let name = json!({"StackName": self.name});
        self.cloud.api.call("cloudformation", "delete_stack", name).await.unwrap();
        let is_gone = async || stack(self.cloud, self.name).await.is_none();
        eventually("the stack is gone", Duration::from_secs(30), is_gone).await;
    }

    /// What the stack has come to.
    async fn settled(&self) -> String {
        let mut status = Value::Null;
        eventually("the stack settles", Duration::from_mins(1), async || {
            status = stack(self.cloud, self.name).await.unwrap()["StackStatus"].take();
            !text(&status).ends_with("_IN_PROGRESS")
        })
        .await;
        text(&status).to_owned()
    }
}
