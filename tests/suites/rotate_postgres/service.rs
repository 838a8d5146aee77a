//! What Secrets Manager does to the function: labels out of place, retries, races, throttling, silence.

use crate::rotate_postgres::checks::{STEPS, effects, failure, log, login, password, put, roles, steps, user};
use keyturn_tests::aws::{Aws, Refusal, secrets_client};
use keyturn_tests::faults::{Fault, Faults, Moment, Point};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::rotator::built;
use keyturn_tests::stacks::postgres::{ADMIN, Stack};
use serde_json::json;
use std::time::{Duration, Instant};

fn point(call: &str, moment: Moment, fault: Fault) -> Point {
    Point { call: call.to_owned(), moment, fault }
}

fn no_violations(stack: &Stack) {
    assert_eq!(stack.aws.violations(), Vec::<String>::new());
}

/// Waits until a fault has begun to strike.
async fn until_struck(stack: &Stack, faults: usize) {
    let bound = Instant::now() + Duration::from_secs(20);
    while stack.faults.struck().len() < faults {
        assert!(Instant::now() < bound, "no such call: {:?}", stack.faults.recorded());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_version_that_is_not_this_rotations_is_refused_in_every_step_and_nothing_is_touched() {
    let stack = Stack::builder(16).through_proxy().start().await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let previous = stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap().unwrap();
    stack.rotate(&app.secret).await.unwrap();
    let orphan = stack.stage(&app.secret).unwrap();
    let token = stack.stage(&app.secret).unwrap();
    let (before, labels) = (roles(&stack).await, stack.aws.secrets.stages(&app.secret).unwrap());
    stack.faults.reset();
    for (token, code) in [
        ("00000000-0000-4000-8000-000000000000", "TOKEN_UNKNOWN"),
        (orphan.as_str(), "TOKEN_UNKNOWN"), // Secrets Manager does not list a version without labels
        (previous.as_str(), "TOKEN_NOT_PENDING"),
    ] {
        for step in STEPS {
            let error = stack.step(&app.secret, token, step).await.unwrap_err();
            assert_eq!(error.error_type, code, "{step}: {error}");
            assert!(
                error.error_message.contains(token) && error.error_message.contains("aws secretsmanager rotate-secret"),
                "{error}"
            );
        }
    }
    stack.aws.secrets.cancel_rotation(&app.secret).unwrap();
    for step in STEPS {
        let error = stack.step(&app.secret, &token, step).await.unwrap_err();
        assert_eq!(error.error_type, "ROTATION_DISABLED", "{step}: {error}");
    }
    assert_eq!(effects(&stack), Vec::<String>::new());
    assert_eq!((roles(&stack).await, stack.aws.secrets.stages(&app.secret).unwrap()), (before, labels));
    no_violations(&stack);
}

#[tokio::test]
async fn a_step_of_a_rotation_that_is_over_succeeds_without_a_write_or_a_login() {
    let stack = Stack::builder(16).through_proxy().start().await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let token = stack.rotate(&app.secret).await.unwrap().token;
    let before = (roles(&stack).await, stack.aws.secrets.stages(&app.secret).unwrap());
    assert!(!effects(&stack).is_empty(), "nothing would be noticed");
    stack.faults.reset();
    for step in STEPS {
        let answer = stack.step(&app.secret, &token, step).await.unwrap();
        assert_eq!(answer, json!({"step": step, "outcome": "already_current"}));
    }
    assert_eq!(effects(&stack), Vec::<String>::new());
    assert_eq!((roles(&stack).await, stack.aws.secrets.stages(&app.secret).unwrap()), before);
    no_violations(&stack);
}

#[tokio::test]
async fn every_step_run_twice_and_out_of_order_ends_with_the_one_first_password() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    steps(&stack, &app, &token, &["createSecret"]).await;
    let first = password(&stack, &app.secret, "AWSPENDING");
    let again = ["createSecret", "setSecret", "setSecret", "createSecret", "testSecret", "setSecret", "testSecret"];
    steps(&stack, &app, &token, &again).await;
    steps(&stack, &app, &token, &["finishSecret", "finishSecret", "setSecret"]).await;
    assert_eq!(password(&stack, &app.secret, "AWSCURRENT"), first);
    assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap().0, "shop_clone");
    no_violations(&stack);
}

#[tokio::test]
async fn two_invocations_of_a_step_at_the_same_time_agree_on_one_password() {
    let stack = Stack::start(16).await.unwrap();
    for name in ["a", "b", "c"] {
        let app = stack.app(name).await.unwrap();
        for _ in 0..2 {
            let token = stack.stage(&app.secret).unwrap();
            let both = async |step: &str| {
                let (one, other) =
                    tokio::join!(stack.step(&app.secret, &token, step), stack.step(&app.secret, &token, step));
                (one.unwrap(), other.unwrap())
            };
            let (one, other) = both("createSecret").await;
            let mut outcomes = [one["outcome"].as_str().unwrap(), other["outcome"].as_str().unwrap()];
            outcomes.sort_unstable();
            assert_eq!(outcomes, ["pending_created", "pending_kept"]);
            let pending = password(&stack, &app.secret, "AWSPENDING");
            for step in &STEPS[1..] {
                both(step).await;
            }
            assert_eq!(password(&stack, &app.secret, "AWSCURRENT"), pending);
            login(&stack, &app, "AWSCURRENT").await.unwrap();
            login(&stack, &app, "AWSPREVIOUS").await.unwrap();
        }
    }
    no_violations(&stack);
}

#[tokio::test]
async fn a_password_that_somebody_else_put_first_is_kept_if_it_fits_and_refused_if_not() {
    let stack = Stack::start(16).await.unwrap();
    for (name, user, code) in [("a", "a_clone", None), ("b", "victim", Some("PENDING_MISMATCH"))] {
        let app = stack.app(name).await.unwrap();
        let token = stack.stage(&app.secret).unwrap();
        let call = format!("createSecret PutSecretValue {name} AWSPENDING #1");
        let struck = stack.faults.struck().len() + 1;
        stack.faults.inject(point(&call, Moment::Before, Fault::Slow(Duration::from_millis(500))));
        let foreign = stack.credential(name, user, "the-first-one-wins").to_string();
        let somebody = async {
            until_struck(&stack, struck).await;
            put(&stack, &app.secret, Some(&token), Some("AWSPENDING"), &foreign).await;
        };
        let (result, ()) = tokio::join!(stack.step(&app.secret, &token, "createSecret"), somebody);
        assert_eq!(stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap().unwrap(), foreign);
        if let Some(code) = code {
            assert_eq!(result.unwrap_err().error_type, code);
            continue;
        }
        assert_eq!(result.unwrap()["outcome"], "pending_kept");
        steps(&stack, &app, &token, &STEPS[1..]).await;
        assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap().0, user);
    }
    no_violations(&stack);
}

#[tokio::test]
async fn reads_that_lag_behind_writes_are_waited_for_and_a_value_that_never_comes_is_not() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for lag in 1..=4 {
        stack.aws.secrets.lag_pending(lag);
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded() && outcome.attempts.len() == 1, "lag {lag}: {outcome}");
        stack.aws.secrets.lag_pending(0);
    }
    // createSecret is called again before the value of its first run can be seen.
    let token = stack.stage(&app.secret).unwrap();
    steps(&stack, &app, &token, &["createSecret"]).await;
    let first = password(&stack, &app.secret, "AWSPENDING");
    stack.aws.secrets.lag_pending(2);
    steps(&stack, &app, &token, &["createSecret"]).await;
    assert_eq!(password(&stack, &app.secret, "AWSPENDING"), first);
    stack.aws.secrets.lag_pending(0);

    let before = roles(&stack).await;
    let token = stack.stage(&app.secret).unwrap();
    for step in ["setSecret", "testSecret"] {
        let invocation =
            stack.lambda.invoke(json!({"Step": step, "SecretId": app.secret, "ClientRequestToken": token})).await;
        let error = invocation.result.unwrap_err();
        assert_eq!(error.error_type, "PENDING_HAS_NO_VALUE", "{error}");
        assert!(
            error.error_message.contains(&token) && error.error_message.contains("createSecret has not run"),
            "{error}"
        );
        assert!(invocation.duration < Duration::from_secs(6), "{:?}", invocation.duration);
    }
    stack.step(&app.secret, &token, "finishSecret").await.unwrap_err();
    assert_eq!(roles(&stack).await, before);
    login(&stack, &app, "AWSCURRENT").await.unwrap();
    no_violations(&stack);
}

#[tokio::test]
async fn a_current_label_that_somebody_moved_meanwhile_is_left_where_it_is() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let old = stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap();
    let token = stack.stage(&app.secret).unwrap();
    steps(&stack, &app, &token, &STEPS[..3]).await;
    let update = "finishSecret UpdateSecretVersionStage shop AWSCURRENT #1";
    stack.faults.inject(point(update, Moment::Before, Fault::Slow(Duration::from_millis(500))));
    let by_hand = format!("{old} ");
    let somebody = async {
        until_struck(&stack, 1).await;
        put(&stack, &app.secret, None, None, &by_hand).await;
    };
    let (result, ()) = tokio::join!(stack.step(&app.secret, &token, "finishSecret"), somebody);
    let error = result.unwrap_err();
    let now = stack.aws.secrets.version(&app.secret, "AWSCURRENT").unwrap().unwrap();
    assert_eq!(error.error_type, "CURRENT_MOVED", "{error}");
    assert!(error.error_message.contains(&now) && error.error_message.contains(&token), "{error}");
    assert_eq!(stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap(), by_hand);
    login(&stack, &app, "AWSCURRENT").await.unwrap();
    no_violations(&stack);
}

/// Cuts or garbles one Secrets Manager call after the other, each in a rotation of its own.
async fn survives(fault: Fault, moment: Moment) {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    stack.rotate(&app.secret).await.unwrap();
    stack.faults.reset();
    stack.rotate(&app.secret).await.unwrap();
    let calls = stack.faults.recorded();
    assert!(calls.len() >= 10, "{calls:?}");
    for call in &calls {
        stack.faults.reset();
        stack.faults.inject(point(call, moment, fault.clone()));
        let before = user(&stack, &app);
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert_eq!(stack.faults.struck().len(), 1, "{call} was never made");
        assert!(outcome.succeeded(), "{fault:?} {moment:?} {call}: {outcome}");
        // What no SDK tries again by itself, a reply that is not AWS's, the service's next attempt gets over.
        match outcome.attempts[0].error() {
            Some(error) if fault == Fault::Garbage => {
                assert_eq!(error.error_type, "AWS_UNREACHABLE", "{call}: {error}");
                assert!(error.error_message.contains("no reply of Secrets Manager's"), "{error}");
                assert_eq!(outcome.attempts.len(), 2, "{call}: {outcome}");
            }
            _ => assert_eq!(
                outcome.attempts.len(),
                1,
                "the function gets over it alone: {fault:?} {moment:?} {call}: {outcome}"
            ),
        }
        assert_ne!(user(&stack, &app), before, "{call}: exactly one turn");
        login(&stack, &app, "AWSCURRENT").await.unwrap();
        login(&stack, &app, "AWSPREVIOUS").await.unwrap();
    }
    log(&stack, &[&password(&stack, &app.secret, "AWSCURRENT")]);
    no_violations(&stack);
}

#[tokio::test]
async fn a_call_to_aws_that_is_cut_off_before_it_counts_is_made_again() {
    survives(Fault::Cut, Moment::Before).await;
}

#[tokio::test]
async fn a_call_to_aws_whose_reply_is_lost_is_not_done_twice() {
    survives(Fault::Cut, Moment::After).await;
}

#[tokio::test]
async fn a_call_to_aws_whose_reply_is_garbled_is_not_done_twice() {
    survives(Fault::Garbage, Moment::After).await;
}

#[tokio::test]
async fn a_gateway_error_in_front_of_aws_is_tried_again() {
    survives(Fault::Status(503, "ServiceUnavailable"), Moment::Before).await;
}

#[tokio::test]
async fn throttling_and_internal_errors_are_tried_again_within_the_same_invocation() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for (action, refusal) in [
        ("DescribeSecret", Refusal::Throttling),
        ("GetSecretValue", Refusal::InternalError),
        ("PutSecretValue", Refusal::Throttling),
        ("UpdateSecretVersionStage", Refusal::InternalError),
    ] {
        stack.aws.refuse(action, refusal, 2);
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded() && outcome.attempts.len() == 1, "{action} {refusal:?}: {outcome}");
    }
    login(&stack, &app, "AWSCURRENT").await.unwrap();
    no_violations(&stack);
}

#[tokio::test]
async fn what_aws_keeps_refusing_is_explained_and_the_rotation_goes_through_once_it_is_allowed() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for (action, refusal, code, remedy) in [
        ("DescribeSecret", Refusal::AccessDenied, "AWS_ACCESS_DENIED", "\"secretsmanager:DescribeSecret\""),
        ("GetSecretValue", Refusal::AccessDenied, "AWS_ACCESS_DENIED", "\"secretsmanager:GetSecretValue\""),
        ("PutSecretValue", Refusal::AccessDenied, "AWS_ACCESS_DENIED", "\"secretsmanager:PutSecretValue\""),
        (
            "UpdateSecretVersionStage",
            Refusal::AccessDenied,
            "AWS_ACCESS_DENIED",
            "\"secretsmanager:UpdateSecretVersionStage\"",
        ),
        ("GetSecretValue", Refusal::KmsAccessDenied, "KMS_DENIED", "kms:Decrypt"),
        ("GetSecretValue", Refusal::DecryptionFailure, "KMS_DENIED", "the key has to be enabled"),
        ("PutSecretValue", Refusal::EncryptionFailure, "KMS_DENIED", "kms:GenerateDataKey"),
        ("PutSecretValue", Refusal::Throttling, "AWS_THROTTLED", "tries the rotation again by itself"),
        ("DescribeSecret", Refusal::InternalError, "AWS_CALL_FAILED", "tries the rotation again by itself"),
    ] {
        stack.aws.refuse(action, refusal, usize::MAX);
        stack.aws.secrets.set_attempts(1);
        let error = failure(&stack.rotate(&app.secret).await.unwrap());
        assert_eq!(error.error_type, code, "{action} {refusal:?}: {error}");
        for part in [action, remedy, app.secret.as_str()] {
            assert!(error.error_message.contains(part), "{part}: {error}");
        }
        login(&stack, &app, "AWSCURRENT").await.unwrap();
        stack.aws.allow_all();
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded() && outcome.reattempted, "{action} {refusal:?}: {outcome}");
        login(&stack, &app, "AWSCURRENT").await.unwrap();
    }
    no_violations(&stack);
}

#[tokio::test]
async fn an_admin_secret_that_may_not_be_read_is_named() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let call = "createSecret GetSecretValue admin AWSCURRENT #1";
    stack.faults.inject(point(call, Moment::Before, Fault::Status(400, "AccessDeniedException")));
    let error = failure(&stack.rotate(&app.secret).await.unwrap());
    assert_eq!(error.error_type, "AWS_ACCESS_DENIED");
    assert!(error.error_message.contains(&stack.admin_arn), "{error}");
    no_violations(&stack);
}

#[tokio::test]
async fn an_aws_that_does_not_answer_is_reported_before_lambda_ends_the_invocation() {
    let stack = Stack::start(16).await.unwrap();
    let hour = Fault::Slow(Duration::from_hours(1));
    for (name, call) in [
        ("a", "createSecret DescribeSecret a #1"),
        ("b", "createSecret PutSecretValue b AWSPENDING #1"),
        ("c", "testSecret GetSecretValue c AWSPENDING #1"),
        ("d", "finishSecret UpdateSecretVersionStage d AWSCURRENT #1"),
    ] {
        let app = stack.app(name).await.unwrap();
        stack.lambda.set_timeout(Duration::from_secs(30));
        let token = stack.stage(&app.secret).unwrap();
        let (step, action) = (call.split(' ').next().unwrap(), call.split(' ').nth(1).unwrap());
        let at = STEPS.iter().position(|s| *s == step).unwrap();
        steps(&stack, &app, &token, &STEPS[..at]).await;
        stack.faults.inject(point(call, Moment::Before, hour.clone()));
        stack.lambda.set_timeout(Duration::from_secs(3));
        let error = stack.step(&app.secret, &token, step).await.unwrap_err();
        assert_eq!(error.error_type, "AWS_UNREACHABLE", "{call}: {error}");
        assert!(error.error_message.contains(action) && error.error_message.contains(&app.secret), "{error}");
        stack.lambda.set_timeout(Duration::from_secs(30));
        steps(&stack, &app, &token, &STEPS[at..]).await;
        login(&stack, &app, "AWSCURRENT").await.unwrap();
    }
    no_violations(&stack);
}

/// A loopback URL at which nothing listens.
fn dead_url() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn an_endpoint_at_which_nothing_listens_is_reported_with_what_a_vpc_needs() {
    let stack = Stack::builder(16).variable("AWS_ENDPOINT_URL", &dead_url()).start().await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    let error = stack.step(&app.secret, &token, "createSecret").await.unwrap_err();
    assert_eq!(error.error_type, "AWS_UNREACHABLE", "{error}");
    assert!(
        error.error_message.contains("DescribeSecret") && error.error_message.contains("interface endpoint"),
        "{error}"
    );
}

#[tokio::test]
async fn the_endpoint_variable_of_awss_own_functions_is_honoured_after_the_sdks() {
    let faults = Faults::none();
    let aws = Aws::start(faults.clone()).await.unwrap();
    let secret = aws.secrets.create("shop", "{}").unwrap();
    let dead = dead_url();
    let (ours, sdks) = ("SECRETS_MANAGER_ENDPOINT", "AWS_ENDPOINT_URL_SECRETS_MANAGER");
    for (settings, code) in [
        (vec![(ours, aws.url())], "TOKEN_UNKNOWN"),
        (vec![(ours, aws.url()), ("AWS_ENDPOINT_URL", dead.clone())], "TOKEN_UNKNOWN"),
        (vec![(ours, dead.clone()), (sdks, aws.url())], "TOKEN_UNKNOWN"),
        (vec![(ours, dead), ("AWS_ENDPOINT_URL", aws.url())], "AWS_UNREACHABLE"),
    ] {
        let variables = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let bootstrap = built("rotate-postgres").unwrap();
        let lambda = Lambda::start("rotate-postgres", bootstrap, variables, faults.clone()).await.unwrap();
        let event = json!({"Step": "finishSecret", "SecretId": secret, "ClientRequestToken": "t"});
        assert_eq!(lambda.invoke(event).await.result.unwrap_err().error_type, code, "{settings:?}");
    }
    assert_eq!(aws.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn the_token_of_a_rotation_across_accounts_goes_back_to_aws_and_nowhere_else() {
    let stack = Stack::builder(16).variable("LOG_LEVEL", "trace").start().await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let token = stack.aws.secrets.rotate_across_accounts(&app.secret).unwrap();
    for _ in 0..2 {
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
    }
    stack.aws.secrets.set_attempts(1);
    for refusal in [Refusal::AccessDenied, Refusal::InternalError] {
        stack.aws.refuse("PutSecretValue", refusal, usize::MAX);
        let error = failure(&stack.rotate(&app.secret).await.unwrap());
        assert!(!error.to_string().contains(&token));
    }
    // Without it the put is refused, so the rotations above did show it.
    stack.aws.allow_all();
    let version = stack.aws.secrets.version(&app.secret, "AWSPENDING").unwrap().unwrap();
    stack.step(&app.secret, &version, "createSecret").await.unwrap_err();
    log(&stack, &[&token]);
    no_violations(&stack);
}

#[tokio::test]
async fn saving_a_schedule_without_rotating_proves_the_current_credential_and_changes_nothing() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for user in ["shop", "shop_clone", "shop"] {
        assert_eq!(crate::rotate_postgres::checks::user(&stack, &app), user);
        let before = (roles(&stack).await, stack.aws.secrets.stages(&app.secret).unwrap());
        let outcome = stack.aws.secrets.test_rotation(&app.secret).await.unwrap();
        assert!(outcome.succeeded(), "{user}: {outcome}");
        assert_eq!((roles(&stack).await, stack.aws.secrets.stages(&app.secret).unwrap()), before);
        assert!(stack.rotate(&app.secret).await.unwrap().succeeded());
    }
    // A credential that does not work is found out when the schedule is saved, not when it is due.
    stack.postgres.execute("ALTER ROLE shop_clone PASSWORD NULL").await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let error = failure(&stack.aws.secrets.test_rotation(&app.secret).await.unwrap());
    assert_eq!(error.error_type, "PASSWORD_REFUSED", "{error}");
    no_violations(&stack);
}

#[tokio::test]
async fn a_value_put_by_hand_in_the_middle_ends_the_rotation_it_takes_the_label_from() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let by_hand = stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap();
    for done in 0..3 {
        let token = stack.stage(&app.secret).unwrap();
        steps(&stack, &app, &token, &STEPS[..done]).await;
        put(&stack, &app.secret, None, Some("AWSPENDING"), &by_hand).await;
        for step in &STEPS[done..] {
            let error = stack.step(&app.secret, &token, step).await.unwrap_err();
            assert!(["TOKEN_NOT_PENDING", "TOKEN_UNKNOWN"].contains(&error.error_type.as_str()), "{step}: {error}");
        }
        assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap().0, "shop");
    }
    no_violations(&stack);
}

#[tokio::test]
async fn a_current_password_corrected_by_hand_in_the_middle_is_what_the_rotation_goes_on_from() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for done in 0..4 {
        let token = stack.stage(&app.secret).unwrap();
        steps(&stack, &app, &token, &STEPS[..done]).await;
        let (user, corrected) = (user(&stack, &app), format!("by-hand-{done}"));
        stack.postgres.execute(&format!("ALTER ROLE {user} PASSWORD '{corrected}'")).await.unwrap();
        put(&stack, &app.secret, None, None, &stack.credential("shop", &user, &corrected).to_string()).await;
        steps(&stack, &app, &token, &STEPS[done..]).await;
        assert_ne!(login(&stack, &app, "AWSCURRENT").await.unwrap().0, user);
        assert_eq!(login(&stack, &app, "AWSPREVIOUS").await.unwrap().0, user);
        assert_eq!(password(&stack, &app.secret, "AWSPREVIOUS"), corrected);
    }
    no_violations(&stack);
}

/// A corrected `masterarn`, a new key of the team's own: gone, were the pending value of before made current.
#[tokio::test]
async fn an_edit_of_the_value_in_the_middle_is_not_undone() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for done in 1..4 {
        let token = stack.stage(&app.secret).unwrap();
        steps(&stack, &app, &token, &STEPS[..done]).await;
        let mut edited = stack.value(&app.secret, "AWSCURRENT").unwrap();
        edited["API_KEY"] = json!(format!("edit {done}"));
        put(&stack, &app.secret, None, None, &edited.to_string()).await;
        for step in [&STEPS[0], &STEPS[1], &STEPS[3]] {
            let error = stack.step(&app.secret, &token, step).await.unwrap_err();
            assert_eq!(error.error_type, "PENDING_MISMATCH", "{step} after {done}: {error}");
        }
        assert_eq!(stack.value(&app.secret, "AWSCURRENT").unwrap(), edited);
        // The command of the message, and then the next rotation.
        let client = secrets_client(&stack.aws.client_url());
        let clear = client.update_secret_version_stage().secret_id(&app.secret).version_stage("AWSPENDING");
        clear.remove_from_version_id(&token).send().await.unwrap();
        assert!(stack.rotate(&app.secret).await.unwrap().succeeded());
        let value = stack.value(&app.secret, "AWSCURRENT").unwrap();
        assert_eq!(value["API_KEY"], edited["API_KEY"]);
        assert_ne!(value["username"], edited["username"]);
    }
    no_violations(&stack);
}

#[tokio::test]
async fn a_rotation_that_failed_again_and_again_goes_through_once_its_cause_is_gone() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for turn in ["shop_clone", "shop"] {
        stack.postgres.execute(&format!("ALTER ROLE {ADMIN} NOLOGIN")).await.unwrap();
        let mut kept = Vec::new();
        for _ in 0..2 {
            let outcome = stack.rotate(&app.secret).await.unwrap();
            assert_eq!(outcome.attempts.len(), 3, "{outcome}");
            assert_eq!(failure(&outcome).error_type, "ROLE_CANNOT_LOG_IN", "{outcome}");
            kept.push((outcome.token, password(&stack, &app.secret, "AWSPENDING")));
            login(&stack, &app, "AWSCURRENT").await.unwrap();
        }
        stack.postgres.execute(&format!("ALTER ROLE {ADMIN} LOGIN")).await.unwrap();
        let outcome = stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded() && outcome.reattempted, "{outcome}");
        kept.push((outcome.token, password(&stack, &app.secret, "AWSCURRENT")));
        kept.dedup();
        assert_eq!(kept.len(), 1, "one token, one password");
        assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap().0, turn);
        login(&stack, &app, "AWSPREVIOUS").await.unwrap();
    }
    no_violations(&stack);
}
