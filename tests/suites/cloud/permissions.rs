//! Each function may do what it does, on what is its own, and nothing else.

use crate::world::{OPENS, eventually, granted_by_hand, list, on_the_cloud, text, ticked};
use keyturn_tests::cloud::policy::{items, statements};
use keyturn_tests::cloud::{ACCOUNT, ApiError, BREAK_GLASS_PATH, Cloud, DATABASE, NAME, PATH, REGION, Template};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Statements whose actions the code never calls, and who needs them instead.
const OF_OTHERS: [(&str, &str); 8] = [
    ("WriteLog", "Lambda writes what the function prints"),
    ("JoinVpc", "Lambda puts the function into the VPC"),
    ("KeepVpcFromTheCode", "takes the one before from the code"),
    ("UseKeysOfSecrets", "Secrets Manager decrypts in the function's name"),
    ("StartRotations", "Secrets Manager asks for it when revoke starts a rotation"),
    ("LogInAsAdmins", "RDS asks for it when a token is shown; the code signs tokens, and calls nothing"),
    ("CheckBeforeAttaching", "the same calls of `check`, for secrets that no rotation is attached to yet"),
    ("KeepEventsThatCameTooLate", "Lambda keeps events that it could not hand over"),
];

/// Each function, and the logical name of its role.
const ROLES: [(&str, &str); 4] = [
    ("rotate-postgres", "RotatePostgresRole"),
    ("rotate-mongo", "RotateMongoRole"),
    ("oncall-sync", "OncallSyncRole"),
    ("break-glass", "BreakGlassRole"),
];

#[test]
fn every_action_that_is_allowed_is_used_and_every_one_used_is_allowed() {
    on_the_cloud(async |cloud| {
        let postgres = cloud.postgres_app("measured-sql").await.unwrap();
        assert!(cloud.postgres.rotate(&postgres.secret).await.unwrap().succeeded());
        let managed = cloud.managed_app().await.unwrap();
        let outcome = cloud.postgres.rotate(&managed.secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
        revoked(cloud, &postgres.secret).await;
        let mongo = cloud.atlas_app("measured").await.unwrap();
        assert!(cloud.mongo.rotate(&mongo.secret).await.unwrap().succeeded());
        ticked(cloud).await;
        overwritten(cloud).await;
        opened_and_closed(cloud).await;
        let ops = format!("{}:ops", Cloud::deployed("break-glass"));
        let report = json!({"action": "report", "since": keyturn::clock::now() - chrono::TimeDelta::hours(1)});
        let report = cloud.api.invoke(&ops, &report).await.unwrap();
        assert!(!report["unknown"].to_string().contains("AWS_ACCESS_DENIED"), "{}", report["unknown"]);
        for (function, role) in ROLES {
            let mut allowed = BTreeSet::new();
            for statement in of_the_code(cloud, role).await {
                assert_eq!(statement["Effect"], "Allow", "{statement}");
                allowed.extend(items(&statement["Action"]).into_iter().map(str::to_owned));
            }
            assert_eq!(cloud.used(function), allowed, "{function}");
        }
    });
}

/// Somebody who is on call opens a database by the deployed function, and closes it.
async fn opened_and_closed(cloud: &Cloud) {
    let _alone = OPENS.lock().await;
    let path = format!("/{DATABASE}");
    let ask = async |method: &str, body: Value| cloud.ask_break_glass(&cloud.ann, method, &path, &body).await.unwrap();
    // While another test has just written the ledger, it is not believed.
    let is_open = async || {
        let is_open = ask("POST", json!({"minutes": 10, "reason": "INC-42"})).await.status == 200;
        if !is_open {
            granted_by_hand(cloud).await;
        }
        is_open
    };
    eventually("the database is open", Duration::from_mins(4), is_open).await;
    let answer = ask("DELETE", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A leaked password is made useless by the deployed function, which rotates by itself.
async fn revoked(cloud: &Cloud, secret: &str) {
    let function = Cloud::deployed("rotate-postgres");
    let mut event = json!({"action": "revoke", "secret": secret});
    let is_dead = async || {
        let answer = cloud.api.invoke(&function, &event).await.unwrap();
        if !answer["next"].is_null() {
            event = answer["next"].clone();
        }
        answer["state"] == "revoked"
    };
    eventually("the password is dead", Duration::from_mins(1), is_dead).await;
}

#[test]
fn no_statement_reaches_further_than_this_team_and_this_function() {
    on_the_cloud(async |cloud| {
        for (function, role) in ROLES {
            for statement in all(cloud, role).await {
                assert!(statement["NotAction"].is_null() && statement["NotResource"].is_null(), "{statement}");
                for action in items(&statement["Action"]) {
                    assert!(!action.contains('*'), "{role}: {action}");
                    for resource in items(&statement["Resource"]) {
                        // AWS takes no narrower resource for network interfaces.
                        let is_fine = action.starts_with("ec2:") || is_narrow(cloud, function, action, resource);
                        assert!(is_fine, "{role}: {action} on {resource}");
                    }
                }
                if items(&statement["Resource"]).iter().any(|one| one.ends_with(":secret:*")) {
                    let own = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", Cloud::deployed(function));
                    let attached = json!({"StringEquals": {"secretsmanager:resource/AllowRotationLambdaArn": own}});
                    assert_eq!(statement["Condition"], attached, "{role}");
                }
                if items(&statement["Action"]).iter().any(|action| action.starts_with("kms:")) {
                    let via = format!("secretsmanager.{REGION}.amazonaws.com");
                    let secrets = format!("arn:aws:secretsmanager:{REGION}:*:secret:*");
                    let bound = json!({
                        "StringEquals": {"kms:ViaService": via},
                        "StringLike": {"kms:EncryptionContext:SecretARN": secrets},
                    });
                    assert_eq!(statement["Condition"], bound, "{role}");
                }
            }
        }
    });
}

#[test]
fn nobody_but_lambda_takes_a_functions_role_and_nobody_but_the_scheduler_that_of_the_ticks() {
    on_the_cloud(async |cloud| {
        let trusts = async |role: &str| {
            let name = cloud.physical_id(role).await.unwrap();
            let found = cloud.api.call("iam", "get_role", json!({"RoleName": name})).await.unwrap();
            let trust = found["Role"]["AssumeRolePolicyDocument"].clone();
            let [statement] = statements(&trust) else { panic!("{trust}") };
            (statement["Principal"].clone(), statement["Condition"].clone())
        };
        for (_, role) in ROLES {
            assert_eq!(trusts(role).await, (json!({"Service": "lambda.amazonaws.com"}), Value::Null));
        }
        let group = format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/default");
        let condition = json!({"StringEquals": {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": group}});
        assert_eq!(trusts("OncallSyncTickRole").await, (json!({"Service": "scheduler.amazonaws.com"}), condition));
        let mut ticks = BTreeSet::new();
        for statement in all(cloud, "OncallSyncTickRole").await {
            ticks.insert((text(&statement["Action"]).to_owned(), text(&statement["Resource"]).to_owned()));
        }
        let function = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", Cloud::deployed("oncall-sync"));
        let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-missed-ticks");
        let expected = [("lambda:InvokeFunction".to_owned(), function), ("sqs:SendMessage".to_owned(), queue)];
        assert_eq!(ticks, BTreeSet::from(expected));

        let group = format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/default");
        let condition = json!({"StringEquals": {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": group}});
        assert_eq!(trusts("SweepRole").await, (json!({"Service": "scheduler.amazonaws.com"}), condition));
        let mut sweeps = BTreeSet::new();
        for statement in all(cloud, "SweepRole").await {
            sweeps.insert((text(&statement["Action"]).to_owned(), text(&statement["Resource"]).to_owned()));
        }
        // Not on the alias of the function URL, where it could say that somebody asks.
        let alias = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}:ops", Cloud::deployed("break-glass"));
        let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-missed-sweeps");
        let expected = [("lambda:InvokeFunction".to_owned(), alias), ("sqs:SendMessage".to_owned(), queue)];
        assert_eq!(sweeps, BTreeSet::from(expected));
    });
}

#[test]
fn secrets_manager_of_this_account_alone_may_invoke_the_rotations() {
    on_the_cloud(async |cloud| {
        for function in ["rotate-postgres", "rotate-mongo"] {
            let name = json!({"FunctionName": Cloud::deployed(function)});
            let found = cloud.api.call("lambda", "get_policy", name).await.unwrap();
            let policy: Value = serde_json::from_str(text(&found["Policy"])).unwrap();
            let [statement] = statements(&policy) else { panic!("{policy}") };
            assert_eq!(statement["Effect"], "Allow");
            assert_eq!(statement["Principal"], json!({"Service": "secretsmanager.amazonaws.com"}));
            assert_eq!(statement["Action"], "lambda:InvokeFunction");
            assert_eq!(statement["Condition"], json!({"StringEquals": {"AWS:SourceAccount": ACCOUNT}}));
        }
        // The schedules have roles of their own, and who may ask break-glass, their own policies say. MiniStack answers with an
        // empty policy where AWS has none.
        for function in ["oncall-sync", "break-glass"] {
            let name = json!({"FunctionName": Cloud::deployed(function)});
            let found = cloud.api.call("lambda", "get_policy", name).await.unwrap();
            assert!(text(&found["Policy"]).contains("\"Statement\": []"), "{found}");
        }
    });
}

#[test]
fn a_secret_that_no_rotation_by_the_function_is_attached_to_is_refused_before_anything_is_written() {
    on_the_cloud(async |cloud| {
        for (function, rotator, other) in
            [("rotate-postgres", &*cloud.postgres, "rotate-mongo"), ("rotate-mongo", &*cloud.mongo, "rotate-postgres")]
        {
            for (case, by) in [("of nobody", None), ("the other rotation's", Some(other))] {
                let name = format!("strange/{function}-{}", by.unwrap_or("nobody"));
                let secret = cloud.secret_by(rotator, &name, by).await.unwrap();
                for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
                    let event = json!({
                        "Step": step, "SecretId": secret, "ClientRequestToken": "8f1d2c3b-0000-4000-8000-00000000c0de",
                    });
                    let error = cloud.api.invoke(&Cloud::deployed(function), &event).await.unwrap_err();
                    assert_eq!(error.error_type, "AWS_ACCESS_DENIED", "{function}, {case}: {error}");
                    assert!(error.error_message.contains("secretsmanager:DescribeSecret"), "{case}: {error}");
                    assert!(error.error_message.contains(&secret), "{case}: {error}");
                }
                assert_eq!(rotator.aws.secrets.stages(&secret).unwrap().len(), 1, "{case}");
            }
        }
    });
}

#[test]
fn a_listed_secret_can_be_checked_before_a_rotation_is_attached_and_nothing_more() {
    on_the_cloud(async |cloud| {
        let function = Cloud::deployed("rotate-postgres");
        let ask = async |secret: &str| cloud.api.invoke(&function, &json!({"action": "check", "secret": secret})).await;
        let answer = ask(&cloud.unattached).await.unwrap();
        assert_eq!(answer["ready"], true, "{answer}");
        let unlisted = cloud.secret_by(&cloud.postgres, "strange/unlisted", None).await.unwrap();
        assert_eq!(ask(&unlisted).await.unwrap_err().error_type, "AWS_ACCESS_DENIED");
        let write = ("secretsmanager", "put_secret_value", json!({"SecretId": cloud.unattached, "SecretString": "{}"}));
        let error = as_role(cloud, "RotatePostgresRole", write).await.unwrap_err();
        assert_eq!(error.code, "AccessDeniedException", "{error}");
    });
}

#[test]
fn a_role_may_neither_read_nor_write_what_is_not_its_functions() {
    on_the_cloud(async |cloud| {
        let app = cloud.postgres_app("private").await.unwrap().secret;
        let made = json!({"Name": format!("{PATH}/not-listed"), "SecretString": "{}"});
        let elsewhere = cloud.api.call("secretsmanager", "create_secret", made).await.unwrap()["ARN"].take();
        let made = json!({"Name": "databases/unlisted-admin", "SecretString": "{}"});
        let unlisted = cloud.api.call("secretsmanager", "create_secret", made).await.unwrap()["ARN"].take();
        let (postgres_admin, mongo_admin) = (json!(cloud.postgres.admin_arn), json!(cloud.mongo.admin_arn));
        let atlas = json!(cloud.mongo.atlas_arn);
        let (app, okta) = (json!(app), json!(cloud.vendors[1]));

        let read = |secret: &Value| ("secretsmanager", "get_secret_value", json!({"SecretId": secret}));
        let write =
            |secret: &Value| ("secretsmanager", "put_secret_value", json!({"SecretId": secret, "SecretString": "{}"}));
        let parameter = |name: &str| {
            let named = json!({"Name": format!("{PATH}/{name}"), "Value": "{}", "Type": "String"});
            ("ssm", "put_parameter", named)
        };
        let named = json!({"Name": format!("{BREAK_GLASS_PATH}/databases/mine"), "Value": "{}", "Type": "String"});
        let document = ("ssm", "put_parameter", named);
        let invoke = ("lambda", "invoke", json!({"FunctionName": Cloud::deployed("oncall-sync"), "Payload": "{}"}));
        for (role, may, may_not) in [
            (
                "RotatePostgresRole",
                vec![read(&app), read(&postgres_admin)],
                vec![
                    read(&mongo_admin),
                    read(&atlas),
                    read(&okta),
                    read(&unlisted),
                    write(&postgres_admin),
                    write(&okta),
                    parameter("bindings/shop"),
                    parameter("ledgers/shop"),
                    invoke.clone(),
                ],
            ),
            (
                "RotateMongoRole",
                vec![read(&mongo_admin), read(&atlas)],
                vec![
                    read(&app),
                    read(&postgres_admin),
                    read(&okta),
                    read(&unlisted),
                    write(&app),
                    write(&atlas),
                    write(&mongo_admin),
                    parameter("bindings/shop"),
                    parameter("ledgers/shop"),
                    invoke.clone(),
                ],
            ),
            (
                "OncallSyncRole",
                vec![read(&okta)],
                vec![
                    read(&app),
                    read(&postgres_admin),
                    read(&atlas),
                    read(&elsewhere),
                    read(&unlisted),
                    write(&okta),
                    parameter("bindings/shop"),
                    parameter("elsewhere"),
                    invoke.clone(),
                ],
            ),
            (
                "BreakGlassRole",
                vec![read(&postgres_admin)],
                vec![
                    read(&app),
                    read(&mongo_admin),
                    read(&okta),
                    read(&unlisted),
                    write(&postgres_admin),
                    parameter("ledgers/shop"),
                    document,
                    invoke,
                ],
            ),
        ] {
            for call in may {
                let answer = as_role(cloud, role, call.clone()).await;
                assert!(answer.is_ok(), "{role}: {call:?}: {answer:?}");
            }
            for call in may_not {
                let answer = as_role(cloud, role, call.clone()).await;
                let error = answer.expect_err(&format!("{role}: {call:?}"));
                assert_eq!(error.code, "AccessDeniedException", "{role}: {call:?}: {error}");
            }
        }
    });
}

#[test]
fn logs_and_alarms_are_encrypted_with_a_key_that_their_services_alone_may_use() {
    on_the_cloud(async |cloud| {
        for (template, functions, days, tells) in [
            (Template::Rotation, &["rotate-postgres", "rotate-mongo"][..], 90, vec!["cloudwatch", "events"]),
            (Template::Oncall, &["oncall-sync"], 365, vec!["cloudwatch"]),
            (Template::BreakGlass, &["break-glass"], 3653, vec!["cloudwatch"]),
        ] {
            let stack = template.stack();
            let key = cloud.physical_id_in(&stack, "OperationsKey").await.unwrap();
            for function in functions {
                let group = json!({"logGroupNamePrefix": format!("/aws/lambda/{}", Cloud::deployed(function))});
                let groups = cloud.api.call("logs", "describe_log_groups", group).await.unwrap();
                let [group] = list(&groups["logGroups"]) else { panic!("{groups}") };
                assert_eq!(group["retentionInDays"], days);
                assert_eq!(group["kmsKeyId"], format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"));
            }
            // MiniStack does not say what key a topic has.
            let processed = json!({"StackName": stack, "TemplateStage": "Processed"});
            let processed = cloud.api.call("cloudformation", "get_template", processed).await.unwrap();
            let topic = &processed["TemplateBody"]["Resources"]["AlarmTopic"]["Properties"]["KmsMasterKeyId"];
            assert!(topic.to_string().contains("OperationsKey"), "{topic}");

            let policy = json!({"KeyId": key, "PolicyName": "default"});
            let policy = cloud.api.call("kms", "get_key_policy", policy).await.unwrap();
            let policy: Value = serde_json::from_str(text(&policy["Policy"])).unwrap();
            let mut services = BTreeSet::new();
            for statement in statements(&policy) {
                if let Some(service) = statement["Principal"]["Service"].as_str() {
                    assert!(!statement["Condition"].is_null(), "{statement}");
                    services.insert(service.to_owned());
                } else {
                    assert_eq!(statement["Principal"], json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}));
                }
            }
            let logs = format!("logs.{REGION}.amazonaws.com");
            let tells = tells.into_iter().map(|service| format!("{service}.amazonaws.com"));
            assert_eq!(services, tells.chain([logs]).collect());
        }
    });
}

/// Somebody else writes a ledger: its earlier versions are read with the next tick. The text stays the same, as other
/// tests read it meanwhile.
async fn overwritten(cloud: &Cloud) {
    let name = format!("{PATH}/ledgers/shop.{}", cloud.shop.group);
    let is_read = async || {
        let ledger = &cloud.api.call("ssm", "get_parameter", json!({"Name": name})).await.unwrap()["Parameter"];
        let text: Value = serde_json::from_str(ledger["Value"].as_str().unwrap()).unwrap();
        // At first, and when an event that was going on has written it again.
        if text["version"] == ledger["Version"] {
            let same = json!({"Name": name, "Value": ledger["Value"], "Type": "String", "Overwrite": true});
            cloud.api.call("ssm", "put_parameter", same).await.unwrap();
        }
        cloud.used("oncall-sync").contains("ssm:GetParameterHistory")
    };
    eventually("the earlier versions are read", Duration::from_mins(3), is_read).await;
}

/// Calls with what a function's role may do, where the functions themselves find Secrets Manager.
async fn as_role(cloud: &Cloud, role: &str, call: (&str, &str, Value)) -> Result<Value, ApiError> {
    let name = cloud.physical_id(role).await.unwrap();
    let credentials = cloud.api.role(&format!("arn:aws:iam::{ACCOUNT}:role/{name}")).await.unwrap();
    let endpoint = (call.0 == "secretsmanager").then(|| cloud.secrets_manager_url());
    cloud.api.call_as(&credentials, endpoint.as_deref(), call).await
}

/// Every statement of a role.
async fn all(cloud: &Cloud, role: &str) -> Vec<Value> {
    let policies = cloud.policies(role).await.unwrap();
    policies.iter().flat_map(statements).cloned().collect()
}

/// Every statement of a role that is there for the code's own calls.
async fn of_the_code(cloud: &Cloud, role: &str) -> Vec<Value> {
    let is_of_others = |statement: &Value| OF_OTHERS.iter().any(|(sid, _)| statement["Sid"] == *sid);
    all(cloud, role).await.into_iter().filter(|statement| !is_of_others(statement)).collect()
}

/// Whether a resource is the function's own, as far as names go.
fn is_narrow(cloud: &Cloud, function: &str, action: &str, resource: &str) -> bool {
    let service = action.split(':').next().unwrap();
    let Some(rest) = resource.strip_prefix(&format!("arn:aws:{service}:{REGION}:{ACCOUNT}:")) else { return false };
    let listed: Vec<&String> = match function {
        "rotate-postgres" => {
            let admins = [&cloud.postgres.admin_arn, &cloud.managed_arn, &cloud.unattached];
            admins.into_iter().chain(&cloud.mirrors).collect()
        }
        "rotate-mongo" => vec![&cloud.mongo.admin_arn, &cloud.mongo.atlas_arn],
        "break-glass" => [&cloud.postgres.admin_arn].into_iter().chain(&cloud.vendors[2..]).collect(),
        _ => cloud.vendors.iter().collect(),
    };
    let prefix = match (service, function) {
        // The condition that the rotation is attached goes with it.
        ("secretsmanager", "rotate-postgres" | "rotate-mongo") if rest == "secret:*" => return true,
        ("secretsmanager", _) => return listed.iter().any(|arn| *arn == resource),
        ("ssm", "oncall-sync") if action == "ssm:PutParameter" => format!("parameter{PATH}/ledgers/"),
        ("ssm", "oncall-sync") => format!("parameter{PATH}/"),
        ("ssm", "break-glass") if action == "ssm:GetParameter" && rest.contains("/ledgers/") => {
            format!("parameter{PATH}/ledgers/")
        }
        ("ssm", "break-glass") if ["ssm:PutParameter", "ssm:DeleteParameter"].contains(&action) => {
            format!("parameter{BREAK_GLASS_PATH}/logins/")
        }
        ("ssm", "break-glass") => format!("parameter{BREAK_GLASS_PATH}/"),
        ("logs", "break-glass") if action == "logs:FilterLogEvents" => {
            let logs =
                ["break-glass", "oncall-sync"].map(|of| format!("log-group:/aws/lambda/{}:*", Cloud::deployed(of)));
            return logs.iter().any(|log| log == rest);
        }
        ("logs", _) => format!("log-group:/aws/lambda/{}:", Cloud::deployed(function)),
        ("sqs", "oncall-sync") => format!("{NAME}-missed-ticks"),
        ("sqs", "break-glass") => format!("{NAME}-missed-sweeps"),
        // Which one an admin's secret belongs to, its tag says.
        ("lambda", "rotate-postgres") => format!("function:{}", Cloud::deployed(function)),
        ("rds-db", "rotate-postgres") => "dbuser:db-".to_owned(),
        ("rds", "rotate-postgres") => return ["db:*", "cluster:*"].contains(&rest),
        ("kms", _) => "key/6b1f0f3c".to_owned(),
        _ => return false,
    };
    rest.starts_with(&prefix)
}
