//! break-glass sweeps by itself, and nobody but Lambda says who asks.

use crate::world::{OPENS, eventually, granted_by_hand, on_the_cloud, text};
use keyturn_tests::cloud::{ACCOUNT, Cloud, DATABASE, NAME, REGION, Template};
use keyturn_tests::source;
use keyturn_tests::stacks::break_glass::TIMEOUT;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn people_ask_by_the_url_on_one_alias_and_the_sweep_comes_every_minute_on_the_other() {
    on_the_cloud(async |cloud| {
        let function = Cloud::deployed("break-glass");
        let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}");
        let url = json!({"FunctionName": function, "Qualifier": "url"});
        let url = cloud.api.call("lambda", "get_function_url_config", url).await.unwrap();
        // MiniStack leaves the alias out of the ARN that it answers with; it was asked for the alias's URL.
        assert_eq!(url["AuthType"], "AWS_IAM", "{url}");
        assert!(text(&url["FunctionArn"]).starts_with(&arn), "{url}");
        assert!(url["Cors"].is_null(), "{url}");
        let output = json!({"StackName": Template::BreakGlass.stack()});
        let stack = cloud.api.call("cloudformation", "describe_stacks", output).await.unwrap();
        assert!(stack.to_string().contains(text(&url["FunctionUrl"])), "{stack}");

        let schedule = cloud.api.call("scheduler", "get_schedule", json!({"Name": function})).await.unwrap();
        assert_eq!(
            (&schedule["ScheduleExpression"], &schedule["State"]),
            (&json!("rate(1 minute)"), &json!("ENABLED"))
        );
        let target = &schedule["Target"];
        assert_eq!(target["Arn"], format!("{arn}:ops"));
        assert_eq!(serde_json::from_str::<Value>(text(&target["Input"])).unwrap(), json!({"action": "sweep"}));
        let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-missed-sweeps");
        assert_eq!(target["RetryPolicy"], json!({"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}));
        assert_eq!(target["DeadLetterConfig"], json!({"Arn": queue}));
        let which = json!({"FunctionName": function, "Qualifier": "ops"});
        let events = cloud.api.call("lambda", "get_function_event_invoke_config", which).await.unwrap();
        assert_eq!((&events["MaximumRetryAttempts"], &events["MaximumEventAgeInSeconds"]), (&json!(0), &json!(60)));
        assert_eq!(events["DestinationConfig"]["OnFailure"]["Destination"], queue);
        let found = json!({"FunctionName": function});
        let found = cloud.api.call("lambda", "get_function_configuration", found).await.unwrap();
        assert_eq!(found["Timeout"], TIMEOUT.as_secs());

        // Nobody here has invoked it. MiniStack's scheduler leaves the alias out, and without it the function takes nothing.
        let has_come = async || {
            let log = cloud.log("break-glass").await.unwrap();
            log.iter().any(|line| line.contains("\"SWEPT\"") || line.contains("An event without a caller on no alias"))
        };
        eventually("the schedule has invoked it", Duration::from_secs(100), has_come).await;
        let swept = cloud.api.invoke(&format!("{function}:ops"), &json!({"action": "sweep"})).await.unwrap();
        assert_eq!(swept["overstaying"], json!([]), "{swept}");
    });
}

#[test]
fn whoever_is_on_call_opens_a_database_by_the_deployed_function_and_it_is_gone_when_closed() {
    on_the_cloud(async |cloud| {
        let _alone = OPENS.lock().await;
        let path = format!("/{DATABASE}");
        let opening = json!({"minutes": 10, "reason": "INC-42"});
        let mut opened = None;
        eventually("the database is open", Duration::from_mins(4), async || {
            let answer = cloud.ask_break_glass(&cloud.ann, "POST", &path, &opening).await.unwrap();
            assert!(answer.status == 200 || ["LEDGER_UNKNOWN", "NOT_GRANTED"].contains(&answer.code()), "{answer:?}");
            if answer.status != 200 {
                granted_by_hand(cloud).await;
            }
            opened = (answer.status == 200).then_some(answer);
            opened.is_some()
        })
        .await;
        let opened = opened.unwrap();
        let (login, password) = (opened.text("username"), opened.text("password"));
        let client = cloud.postgres.postgres.client(&login, &password, DATABASE).await.unwrap();
        client.batch_execute("CREATE TABLE mine ()").await.unwrap();
        let closed = cloud.ask_break_glass(&cloud.ann, "DELETE", &path, &json!({})).await.unwrap();
        assert!(closed.body["closed"].to_string().contains(&login), "{closed:?}");
        assert!(client.batch_execute("SELECT 1").await.is_err());
        assert!(cloud.postgres.postgres.client(&login, &password, DATABASE).await.is_err());
    });
}

#[test]
fn an_event_that_claims_to_come_from_the_url_is_taken_on_no_other_alias() {
    on_the_cloud(async |cloud| {
        let claims = json!({"rawPath": "/", "requestContext": {"http": {"method": "GET", "path": "/"}}});
        let function = Cloud::deployed("break-glass");
        for (invoked, event) in [
            (format!("{function}:ops"), &claims),
            (function.clone(), &claims),
            (function.clone(), &json!({"action": "sweep"})),
            (format!("{function}:url"), &json!({"action": "sweep"})),
        ] {
            let error = cloud.api.invoke(&invoked, event).await.unwrap_err();
            assert_eq!(error.error_type, "ALIAS_REFUSED", "{invoked}: {error}");
        }
    });
}

#[test]
fn a_caller_may_not_invoke_the_function_directly_and_an_operator_only_where_nobody_is_named() {
    on_the_cloud(async |cloud| {
        let function = Cloud::deployed("break-glass");
        for (policy, may) in [("caller", None), ("operator", Some("ops"))] {
            let name = format!("night-{policy}");
            let trust = json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": "sts:AssumeRole",
                "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
            }]});
            let role = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
            cloud.api.call("iam", "create_role", role).await.unwrap();
            let document = source::read(&format!("infra/examples/policies/break-glass-{policy}.json")).unwrap();
            let put = json!({"RoleName": name, "PolicyName": policy, "PolicyDocument": document});
            cloud.api.call("iam", "put_role_policy", put).await.unwrap();
            let credentials = cloud.api.role(&format!("arn:aws:iam::{ACCOUNT}:role/{name}")).await.unwrap();
            for alias in [Some("url"), Some("ops"), None] {
                let mut call = json!({"FunctionName": function, "Payload": "{\"action\": \"check\"}"});
                if let Some(alias) = alias {
                    call["Qualifier"] = json!(alias);
                }
                let answer = cloud.api.call_as(&credentials, None, ("lambda", "invoke", call)).await;
                // MiniStack compares the function's ARN without its alias: that the operator may use `ops` is judged elsewhere
                // (`tests/suites/break_glass/policies.rs`).
                if alias != may || alias.is_none() {
                    let error = answer.unwrap_err();
                    assert_eq!(error.code, "AccessDeniedException", "{policy} on {alias:?}: {error}");
                }
            }
        }
    });
}
