//! What the templates make, and what becomes of it.

use crate::world::{eventually, list, on_the_cloud, text};
use keyturn_tests::cloud::{Cloud, Template};
use keyturn_tests::source;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The transform makes this one out of the function's `EventInvokeConfig`.
const MADE_BY_SAM: &str = "OncallSyncFunctionEventInvokeConfig";

/// What stays out where the stack is deployed as the suites have it.
const NOT_DEPLOYED: [&str; 4] =
    ["RotatePostgresLogExport", "RotateMongoLogExport", "OncallSyncLogExport", "BreakGlassLogExport"];

const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/6b1f0f3c-0000-4000-8000-00000000c0de";
const LAYER: &str = "arn:aws:lambda:eu-west-1:123456789012:layer:authorities:1";
const SIGNED: &str = "arn:aws:lambda:eu-west-1:123456789012:code-signing-config:csc-0123456789abcdef0";
const ROLE: &str = "arn:aws:iam::123456789012:role/another";
const USUAL_SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:usual-AbCdEf";
const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:another-AbCdEf";

/// Each parameter of a template, with another value than [`usual`] has.
const ROTATION: [(&str, &str); 30] = [
    ("RotatePostgres", "off"),
    ("RotateMongo", "off"),
    ("AlarmEmail", ""),
    ("SubnetIds", "subnet-0000000000000000a"),
    ("SecurityGroupIds", "sg-0000000000000000a"),
    ("PostgresAdminSecretArns", ""),
    ("MongoAdminSecretArns", ""),
    ("AtlasSecretArn", ""),
    ("AtlasProjectIds", ""),
    ("SecretsKeyArns", ""),
    ("PostgresSettings", "{\"STALE_SESSIONS\": \"fail\"}"),
    ("MongoSettings", "{\"STRATEGY\": \"alternating\"}"),
    ("Environment", "staging"),
    ("Architecture", "x86_64"),
    ("CertificateLayerArn", LAYER),
    ("Tracing", "Active"),
    ("CodeSigningConfigArn", SIGNED),
    ("EnvironmentKeyArn", KEY),
    ("CheckSecretArns", SECRET),
    ("PostgresMirrorSecretArns", SECRET),
    ("PostgresIamAdmins", "arn:aws:rds-db:eu-west-1:123456789012:dbuser:db-ABCDEFGHIJKL01234/keyturn"),
    ("RotationEvents", "none"),
    ("LabelUpdatedTargetArn", ""),
    ("LabelUpdatedRoleArn", ROLE),
    ("LogRetentionDays", "3653"),
    ("LogExportArn", "arn:aws:firehose:eu-west-1:123456789012:deliverystream/another"),
    ("LogExportRoleArn", ROLE),
    ("OperationsKeyArn", KEY),
    ("Name", "renamed"),
    ("PermissionsBoundaryArn", "arn:aws:iam::123456789012:policy/boundary"),
];

const ONCALL: [(&str, &str); 23] = [
    ("PagerDutySecretArn", SECRET),
    ("OktaSecretArn", SECRET),
    ("SecretsKeyArns", ""),
    ("AlarmEmail", ""),
    ("DatadogSecretArn", SECRET),
    ("SlackSecretArn", SECRET),
    ("OncallSchedule", "off"),
    ("Path", "/another/path"),
    ("SubnetIds", "subnet-0000000000000000a"),
    ("SecurityGroupIds", "sg-0000000000000000a"),
    ("OncallSettings", "{\"LOG_LEVEL\": \"debug\"}"),
    ("Architecture", "x86_64"),
    ("ReserveConcurrency", "off"),
    ("CertificateLayerArn", LAYER),
    ("Tracing", "Active"),
    ("CodeSigningConfigArn", SIGNED),
    ("EnvironmentKeyArn", KEY),
    ("LogRetentionDays", "3653"),
    ("LogExportArn", "arn:aws:firehose:eu-west-1:123456789012:deliverystream/another"),
    ("LogExportRoleArn", ROLE),
    ("OperationsKeyArn", KEY),
    ("Name", "renamed"),
    ("PermissionsBoundaryArn", "arn:aws:iam::123456789012:policy/boundary"),
];

const BREAK_GLASS: [(&str, &str); 25] = [
    ("AdminSecretArns", SECRET),
    ("SecretsKeyArns", ""),
    ("PermissionSets", "SRE:AROAEXAMPLEID7654321"),
    ("AlarmEmail", ""),
    ("DatadogSecretArn", ""),
    ("SlackSecretArn", ""),
    ("SweepSchedule", "off"),
    ("Path", "/another/path"),
    ("SubnetIds", "subnet-0000000000000000a"),
    ("SecurityGroupIds", "sg-0000000000000000a"),
    ("OncallPath", "/another/oncall-sync"),
    ("OncallName", "another"),
    ("BreakGlassSettings", "{\"LOG_LEVEL\": \"debug\"}"),
    ("Architecture", "x86_64"),
    ("ReserveConcurrency", "off"),
    ("CertificateLayerArn", LAYER),
    ("Tracing", "Active"),
    ("CodeSigningConfigArn", SIGNED),
    ("EnvironmentKeyArn", KEY),
    ("LogRetentionDays", "365"),
    ("LogExportArn", "arn:aws:firehose:eu-west-1:123456789012:deliverystream/another"),
    ("LogExportRoleArn", ROLE),
    ("OperationsKeyArn", KEY),
    ("Name", "renamed"),
    ("PermissionsBoundaryArn", "arn:aws:iam::123456789012:policy/boundary"),
];

#[test]
fn every_resource_of_the_templates_is_made_and_no_other() {
    on_the_cloud(async |cloud| {
        for template in Template::ALL {
            let source = source::read(&template.file()).unwrap();
            let mut expected = names_below(&source, "Resources:");
            expected.retain(|name| !NOT_DEPLOYED.contains(&name.as_str()));
            if template == Template::Oncall {
                expected.insert(MADE_BY_SAM.to_owned());
            }
            assert_eq!(resources(cloud, &template.stack()).await, expected);
            let mut outputs = BTreeSet::new();
            for output in list(&stack(cloud, &template.stack()).await.unwrap()["Outputs"]) {
                outputs.insert(text(&output["OutputKey"]).to_owned());
            }
            assert_eq!(outputs, names_below(&source, "Outputs:"));
        }
    });
}

#[test]
fn deploying_the_same_again_changes_nothing_whether_its_parameters_are_named_or_not() {
    on_the_cloud(async |cloud| {
        for template in Template::ALL {
            for parameters in [cloud.parameters(template), Vec::new()] {
                let said = cloud.deploy_with(template, parameters).await.unwrap();
                assert!(said.contains("No changes to deploy"), "{said}");
            }
        }
    });
}

#[test]
fn each_parameter_of_the_rotations_can_change_alone_and_no_evidence_goes() {
    on_the_cloud(async |cloud| {
        let gone = |parameter: &str| match parameter {
            "RotatePostgres" | "RotateMongo" | "Name" => vec!["role", "alarm"],
            // With the rule that it watches.
            "LabelUpdatedTargetArn" => vec!["alarm"],
            _ => vec![],
        };
        changed_one_by_one(cloud, Template::Rotation, "switched", &ROTATION, gone).await;
    });
}

#[test]
fn each_parameter_of_oncall_can_change_alone_and_neither_evidence_nor_schedule_goes() {
    on_the_cloud(async |cloud| {
        let gone = |parameter: &str| if parameter == "Name" { vec!["role", "alarm", "schedule"] } else { vec![] };
        changed_one_by_one(cloud, Template::Oncall, "turned", &ONCALL, gone).await;
    });
}

#[test]
fn each_parameter_of_break_glass_can_change_alone_and_neither_evidence_nor_sweep_goes() {
    on_the_cloud(async |cloud| {
        let gone = |parameter: &str| if parameter == "Name" { vec!["role", "alarm", "schedule"] } else { vec![] };
        changed_one_by_one(cloud, Template::BreakGlass, "opened", &BREAK_GLASS, gone).await;
    });
}

/// Changes each parameter alone, and back: what is there stays, but for what `gone` says.
async fn changed_one_by_one(
    cloud: &'static Cloud,
    template: Template,
    name: &'static str,
    changes: &[(&str, &str)],
    gone: impl Fn(&str) -> Vec<&'static str>,
) {
    let declared = names_below(&source::read(&template.file()).unwrap(), "Parameters:");
    assert_eq!(changes.iter().map(|(parameter, _)| (*parameter).to_owned()).collect::<BTreeSet<_>>(), declared);
    // What Lambda looks for when it is named.
    cloud.bucket(&format!("{name}-layers")).await.unwrap();
    let zip = source::checkout().join("target/lambda/oncall-sync/bootstrap.zip");
    let layer = json!({"Bucket": format!("{name}-layers"), "Key": "layer.zip", "file": zip});
    cloud.api.call("s3", "put_object", layer).await.unwrap();
    let layer = json!({
        "LayerName": "authorities", "Content": {"S3Bucket": format!("{name}-layers"), "S3Key": "layer.zip"},
    });
    cloud.api.call("lambda", "publish_layer_version", layer).await.unwrap();
    let other = Other::make(cloud, template, name).await;
    let before = other.lasting().await;
    for kind in ["key", "log group", "role", "alarm"] {
        assert!(before.iter().any(|(found, _)| *found == kind), "{kind}: {before:?}");
    }
    for (parameter, value) in changes {
        other.update(&[(parameter, value)]).await;
        let now = other.lasting().await;
        let lost: BTreeSet<&str> = before.difference(&now).map(|(kind, _)| *kind).collect();
        assert_eq!(lost, gone(parameter).into_iter().collect(), "{parameter}: {:?}", before.difference(&now));
        if *parameter == "Name" {
            // Back again it would meet the log groups that were left.
            continue;
        }
        other.update(&[]).await;
        assert!(other.lasting().await.is_superset(&before), "{parameter} and back");
    }
    other.delete().await;
}

#[test]
fn a_second_stack_with_the_same_path_is_refused_before_two_keep_the_same_ledgers() {
    on_the_cloud(async |cloud| {
        let other = Other::of(cloud, Template::Oncall, "second").await;
        other.ask("create_stack", &other.template, &[("Path", "/test/platform/oncall-sync")]).await;
        assert_eq!(other.settled().await, "ROLLBACK_COMPLETE");
        // What a failed first try has made does not stand in the way of the next one.
        assert!(!other.lasting().await.iter().any(|(kind, _)| *kind == "log group"));
        other.delete().await;
    });
}

#[test]
fn a_schedule_that_is_switched_off_is_there_and_does_not_tick_and_the_heartbeat_is_missed() {
    on_the_cloud(async |cloud| {
        for (template, name, schedule, alarm) in [
            (Template::Oncall, "unscheduled", "OncallSchedule", "oncall-sync-heartbeat-missing"),
            (Template::BreakGlass, "unswept", "SweepSchedule", "break-glass-sweep-missing"),
        ] {
            let other = Other::make(cloud, template, name).await;
            let function = if template == Template::Oncall { "oncall-sync" } else { "break-glass" };
            let state = async || {
                let schedule = json!({"Name": format!("{name}-{function}")});
                text(&cloud.api.call("scheduler", "get_schedule", schedule).await.unwrap()["State"]).to_owned()
            };
            assert_eq!(state().await, "ENABLED");
            other.update(&[(schedule, "off")]).await;
            assert_eq!(state().await, "DISABLED");
            assert!(other.lasting().await.contains(&("alarm", format!("{name}-{alarm}"))));
            other.delete().await;
        }
    });
}

#[test]
fn the_schedule_cannot_be_on_where_nobody_would_be_told() {
    on_the_cloud(async |cloud| {
        for template in [Template::Oncall, Template::BreakGlass] {
            let other = Other::of(cloud, template, "silent").await;
            let silent = [("AlarmEmail", ""), ("DatadogSecretArn", ""), ("SlackSecretArn", "")];
            let error = other.try_to("create_stack", &other.template, &silent).await.unwrap_err();
            assert!(error.contains("No break-glass in silence"), "{error}");
        }
    });
}

#[test]
fn an_upgrade_and_its_roll_back_reach_the_function_and_deletion_leaves_only_the_evidence() {
    on_the_cloud(async |cloud| {
        let other = Other::make(cloud, Template::Rotation, "upgraded").await;
        let function = async || {
            let name = json!({"FunctionName": "upgraded-rotate-mongo"});
            let found = cloud.api.call("lambda", "get_function_configuration", name).await.unwrap();
            (found["CodeSha256"].clone(), found["Environment"]["Variables"]["KEYTURN_ENV"].clone())
        };
        let before = function().await;
        assert_eq!(before.1, "prod");

        // Another zip, as a new version brings one.
        let upgraded = other.template.replace(&other.zip("RotateMongoFunction"), &other.zip("RotatePostgresFunction"));
        assert_ne!(upgraded, other.template);
        other.update_to(&upgraded, &[("Environment", "staging")]).await;
        let after = function().await;
        assert_ne!(after.0, before.0);
        assert_eq!(after.1, "staging");
        other.update(&[]).await;
        assert_eq!(function().await, before);

        let evidence = other.lasting().await.into_iter().filter(|(kind, _)| ["log group", "key"].contains(kind));
        let evidence: BTreeSet<_> = evidence.collect();
        other.delete().await;
        assert_eq!(other.lasting().await, evidence);
        for (service, operation, found) in [
            ("lambda", "list_functions", "Functions"),
            ("iam", "list_roles", "Roles"),
            ("cloudwatch", "describe_alarms", "MetricAlarms"),
            ("cloudwatch", "list_dashboards", "DashboardEntries"),
            ("events", "list_rules", "Rules"),
            ("sns", "list_topics", "Topics"),
        ] {
            let all = cloud.api.call(service, operation, json!({})).await.unwrap();
            // Where the account has none left, the list may be missing.
            for one in all[found].as_array().into_iter().flatten() {
                assert!(!one.to_string().contains("upgraded-"), "{service}: {one} is left");
            }
        }
    });
}

#[test]
fn the_templates_of_a_release_work_without_a_transform_from_a_bucket_of_ones_own() {
    on_the_cloud(async |cloud| {
        cloud.bucket("releases").await.unwrap();
        for function in source::functions().unwrap() {
            let zip = source::checkout().join(format!("target/lambda/{function}/bootstrap.zip"));
            let key = format!("v1/keyturn-{function}-arm64.zip");
            let put = json!({"Bucket": "releases", "Key": key, "file": zip});
            cloud.api.call("s3", "put_object", put).await.unwrap();
        }
        for (template, name) in
            [(Template::Rotation, "released"), (Template::Oncall, "published"), (Template::BreakGlass, "handed-out")]
        {
            let mut other = Other::of(cloud, template, name).await;
            let released = format!("target/infra/{}.json", template.stack());
            other.template = source::read(&released).unwrap();
            assert!(!other.template.contains("AWS::Serverless"));
            let code = [("CodeBucket", "releases"), ("CodePrefix", "v1/")];
            other.ask("create_stack", &other.template, &code).await;
            assert_eq!(other.settled().await, "CREATE_COMPLETE");
            other.delete().await;
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

/// What another stack is made with: everything is on.
fn usual(template: Template, name: &str) -> BTreeMap<String, String> {
    let of_all = [
        ("Name", name),
        ("SubnetIds", "subnet-0123456789abcdef0,subnet-0123456789abcdef1"),
        ("SecurityGroupIds", "sg-0123456789abcdef0"),
        ("AlarmEmail", "platform@example.com"),
        ("SecretsKeyArns", KEY),
        ("LogExportArn", "arn:aws:firehose:eu-west-1:123456789012:deliverystream/evidence"),
        ("LogExportRoleArn", "arn:aws:iam::123456789012:role/evidence"),
    ];
    let own = match template {
        Template::Rotation => vec![
            ("RotateMongo", "on"),
            ("PostgresAdminSecretArns", USUAL_SECRET),
            ("MongoAdminSecretArns", USUAL_SECRET),
            ("AtlasSecretArn", USUAL_SECRET),
            ("AtlasProjectIds", "0123456789abcdef01234567"),
            ("LabelUpdatedTargetArn", "arn:aws:sqs:eu-west-1:123456789012:consumers"),
        ],
        Template::Oncall => vec![
            ("PagerDutySecretArn", USUAL_SECRET),
            ("OktaSecretArn", USUAL_SECRET),
            ("DatadogSecretArn", USUAL_SECRET),
            ("SlackSecretArn", USUAL_SECRET),
            ("OncallSchedule", "on"),
        ],
        Template::BreakGlass => vec![
            ("AdminSecretArns", USUAL_SECRET),
            ("PermissionSets", "DBA:AROAEXAMPLEID1234567"),
            ("DatadogSecretArn", USUAL_SECRET),
            ("SlackSecretArn", USUAL_SECRET),
            ("SweepSchedule", "on"),
        ],
    };
    let mut all: BTreeMap<String, String> =
        of_all.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match template {
        Template::Rotation => None,
        Template::Oncall => all.insert("Path".to_owned(), format!("/{name}/oncall-sync")),
        Template::BreakGlass => all.insert("Path".to_owned(), format!("/{name}/break-glass")),
    };
    all
}

/// Another stack from the same template and zips, with everything in it.
struct Other {
    cloud: &'static Cloud,
    of: Template,
    name: &'static str,
    template: String,
}

impl Other {
    async fn make(cloud: &'static Cloud, of: Template, name: &'static str) -> Self {
        let other = Self::of(cloud, of, name).await;
        other.ask("create_stack", &other.template, &[]).await;
        assert_eq!(other.settled().await, "CREATE_COMPLETE");
        other
    }

    async fn of(cloud: &'static Cloud, of: Template, name: &'static str) -> Self {
        let deployed = json!({"StackName": of.stack(), "TemplateStage": "Original"});
        let deployed = cloud.api.call("cloudformation", "get_template", deployed).await.unwrap();
        Self { cloud, of, name, template: text(&deployed["TemplateBody"]).to_owned() }
    }

    /// Where `sam deploy` put a function's zip.
    fn zip(&self, function: &str) -> String {
        let function = self.template.split_once(&format!("\n  {function}:\n")).unwrap().1;
        let uri = function.split_once("CodeUri: ").unwrap().1;
        uri.lines().next().unwrap().to_owned()
    }

    /// What is there by the stack's name that others rely on, or that is evidence: each with its kind.
    async fn lasting(&self) -> BTreeSet<(&'static str, String)> {
        let mut found = BTreeSet::new();
        for (kind, service, operation, all, name) in [
            ("role", "iam", "list_roles", "Roles", "RoleName"),
            ("alarm", "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
            ("log group", "logs", "describe_log_groups", "logGroups", "logGroupName"),
            ("schedule", "scheduler", "list_schedules", "Schedules", "Name"),
        ] {
            let answer = self.cloud.api.call(service, operation, json!({})).await.unwrap();
            let names = answer[all].as_array().into_iter().flatten().map(|one| text(&one[name]).to_owned());
            let own = format!("{}-", self.name);
            found.extend(
                names.filter(|name| name.trim_start_matches("/aws/lambda/").starts_with(&own)).map(|n| (kind, n)),
            );
        }
        let keys = self.cloud.api.call("kms", "list_keys", json!({})).await.unwrap();
        for key in list(&keys["Keys"]) {
            let which = json!({"KeyId": key["KeyId"]});
            let told = self.cloud.api.call("kms", "describe_key", which).await.unwrap();
            let told = &told["KeyMetadata"];
            let own = text(&told["Description"]).starts_with(&format!("{}: ", self.name));
            if own && told["KeyState"] == "Enabled" {
                found.insert(("key", text(&key["KeyId"]).to_owned()));
            }
        }
        found
    }

    async fn update(&self, parameters: &[(&str, &str)]) {
        self.update_to(&self.template, parameters).await;
    }

    async fn update_to(&self, template: &str, parameters: &[(&str, &str)]) {
        self.ask("update_stack", template, parameters).await;
        assert_eq!(self.settled().await, "UPDATE_COMPLETE", "{parameters:?}: {}", self.why().await);
    }

    async fn ask(&self, operation: &str, template: &str, parameters: &[(&str, &str)]) {
        let asked = self.try_to(operation, template, parameters).await;
        asked.unwrap_or_else(|error| panic!("{operation} {parameters:?}: {error}"));
    }

    /// Asks for the stack with these parameters instead of the usual ones. Where the template is too long to be part of a
    /// request, it goes by S3, as it does with `sam deploy`.
    async fn try_to(&self, operation: &str, template: &str, parameters: &[(&str, &str)]) -> Result<(), String> {
        let api = &self.cloud.api;
        let bucket = api.call("s3", "list_buckets", json!({})).await.unwrap();
        let is_sams = |bucket: &&Value| text(&bucket["Name"]).starts_with("aws-sam-cli");
        let bucket = list(&bucket["Buckets"]).iter().find(is_sams).unwrap()["Name"].clone();
        let file = format!("{}.yaml", self.name);
        let put = json!({"Bucket": bucket, "Key": file, "Body": template});
        api.call("s3", "put_object", put).await.unwrap();
        let mut all = usual(self.of, self.name);
        all.extend(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let all: Vec<Value> =
            all.iter().map(|(name, value)| json!({"ParameterKey": name, "ParameterValue": value})).collect();
        let request = json!({
            "StackName": self.name, "TemplateURL": format!("{}/{}/{file}", api.endpoint(), text(&bucket)),
            "Capabilities": ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"], "Parameters": all,
        });
        api.call("cloudformation", operation, request).await.map(drop).map_err(|error| error.to_string())
    }

    async fn delete(&self) {
        let name = json!({"StackName": self.name});
        self.cloud.api.call("cloudformation", "delete_stack", name).await.unwrap();
        let is_gone = async || stack(self.cloud, self.name).await.is_none();
        eventually("the stack is gone", Duration::from_mins(1), is_gone).await;
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

    /// Why it failed, in the words of its first event that says so.
    async fn why(&self) -> String {
        let name = json!({"StackName": self.name});
        let events = self.cloud.api.call("cloudformation", "describe_stack_events", name).await.unwrap();
        let failed = |event: &&Value| text(&event["ResourceStatus"]).ends_with("_FAILED");
        list(&events["StackEvents"])
            .iter()
            .find(failed)
            .map(|event| event["ResourceStatusReason"].to_string())
            .unwrap_or_default()
    }
}
