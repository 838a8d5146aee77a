//! oncall-sync runs by itself, one at a time, and what could not run is kept.

use crate::world::{on_the_cloud, text, ticked};
use keyturn_tests::cloud::{ACCOUNT, Cloud, NAME, PATH, REGION, Template};
use keyturn_tests::stacks::oncall::TIMEOUT;
use serde_json::{Value, json};

#[test]
fn whoever_is_on_call_comes_in_without_anybody_invoking_anything() {
    on_the_cloud(async |cloud| {
        ticked(cloud).await;
        let ledger = format!("{PATH}/ledgers/shop.{}", cloud.shop.group);
        let ledger = cloud.api.call("ssm", "get_parameter", json!({"Name": ledger})).await.unwrap();
        assert!(text(&ledger["Parameter"]["Value"]).contains(&cloud.ann.okta), "{ledger}");
        assert_eq!(cloud.oncall.violations(), Vec::<String>::new());
    });
}

#[test]
fn the_deployed_oncall_sync_answers_doctor_that_everything_is_well() {
    on_the_cloud(async |cloud| {
        let report = cloud.api.invoke(&Cloud::deployed("oncall-sync"), &json!({"action": "doctor"})).await.unwrap();
        assert_eq!(report["healthy"], json!(true), "{report}");
    });
}

#[test]
fn a_tick_is_never_tried_again_nor_late_nor_lost_nor_two_at_a_time() {
    on_the_cloud(async |cloud| {
        let function = Cloud::deployed("oncall-sync");
        let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-missed-ticks");

        let schedule = cloud.api.call("scheduler", "get_schedule", json!({"Name": function})).await.unwrap();
        assert_eq!(schedule["ScheduleExpression"], "rate(1 minute)");
        assert_eq!(schedule["State"], "ENABLED");
        assert_eq!(schedule["FlexibleTimeWindow"], json!({"Mode": "OFF"}));
        let target = &schedule["Target"];
        assert_eq!(target["Arn"], format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"));
        assert_eq!(serde_json::from_str::<Value>(text(&target["Input"])).unwrap(), json!({"action": "sync"}));
        assert_eq!(target["RetryPolicy"], json!({"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}));
        assert_eq!(target["DeadLetterConfig"], json!({"Arn": queue}));

        // The look ahead is of the same function, and of no hurry.
        let forecast = json!({"Name": format!("{function}-forecast")});
        let forecast = cloud.api.call("scheduler", "get_schedule", forecast).await.unwrap();
        assert_eq!(
            (&forecast["ScheduleExpression"], &forecast["State"]),
            (&json!("cron(17 6 * * ? *)"), &json!("ENABLED"))
        );
        assert_eq!(forecast["Target"]["Arn"], target["Arn"]);
        let input: Value = serde_json::from_str(text(&forecast["Target"]["Input"])).unwrap();
        assert_eq!(input, json!({"action": "forecast"}));

        let which = json!({"FunctionName": function, "Qualifier": "$LATEST"});
        let events = cloud.api.call("lambda", "get_function_event_invoke_config", which).await.unwrap();
        assert_eq!(events["MaximumRetryAttempts"], 0);
        assert_eq!(events["MaximumEventAgeInSeconds"], 60);
        assert_eq!(events["DestinationConfig"]["OnFailure"]["Destination"], queue);

        // MiniStack takes no concurrency from CloudFormation: what CloudFormation is told has to do.
        let processed = json!({"StackName": Template::Oncall.stack(), "TemplateStage": "Processed"});
        let processed = cloud.api.call("cloudformation", "get_template", processed).await.unwrap();
        let properties = &processed["TemplateBody"]["Resources"]["OncallSyncFunction"]["Properties"];
        let reserved = &properties["ReservedConcurrentExecutions"]["Fn::If"];
        assert_eq!((&reserved[0], &reserved[1]), (&json!("IsReserved"), &json!(1)), "{properties}");
        assert_eq!(properties["Timeout"], TIMEOUT.as_secs());
    });
}
