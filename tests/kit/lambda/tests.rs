use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Lambda, invoke_at};
use crate::faults::{Fault, Faults, Moment, Point};

/// The fake function, with our PATH behind the usual one, so that its shebang finds Python wherever it is installed.
async fn start(faults: Faults, variables: &[(&str, &str)]) -> Lambda {
    let bootstrap = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kit/lambda/fake-bootstrap");
    let mut variables: Vec<_> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    variables.push(("PATH".to_owned(), format!("/usr/bin:/bin:{}", option_env!("PATH").unwrap_or_default())));
    Lambda::start("fake", bootstrap, variables, faults).await.unwrap()
}

async fn succeed(lambda: &Lambda, event: Value) -> Value {
    lambda.invoke(event).await.result.unwrap()
}

async fn fail(lambda: &Lambda, event: Value) -> (String, String) {
    let error = lambda.invoke(event).await.result.unwrap_err();
    (error.error_type, error.error_message)
}

fn alive(pid: &Value) -> bool {
    let asked = Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status();
    asked.unwrap().success()
}

async fn until(what: impl Fn() -> bool) {
    let bound = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < bound, "it never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_process_gets_lambdas_environment_and_nothing_of_ours() {
    let lambda = start(Faults::none(), &[("CUSTOM", "yes")]).await;
    let answer = succeed(&lambda, json!({})).await;
    let environment = &answer["environment"];
    assert_eq!(environment["CUSTOM"], "yes");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "fake");
    assert_eq!(environment["AWS_LAMBDA_LOG_GROUP_NAME"], "/aws/lambda/fake");
    assert_eq!(environment["AWS_REGION"], "eu-west-1");
    assert!(environment.get("CARGO_MANIFEST_DIR").is_none());
}

#[tokio::test]
async fn an_invocation_carries_its_id_deadline_and_arn() {
    let lambda = start(Faults::none(), &[]).await;
    let answer = succeed(&lambda, json!({})).await;
    let headers = &answer["headers"];
    assert_eq!(headers["lambda-runtime-aws-request-id"].as_str().unwrap().len(), 36);
    assert_eq!(headers["lambda-runtime-invoked-function-arn"], "arn:aws:lambda:eu-west-1:123456789012:function:fake");
    assert!(headers["lambda-runtime-trace-id"].as_str().unwrap().starts_with("Root="));
    let deadline: i64 = headers["lambda-runtime-deadline-ms"].as_str().unwrap().parse().unwrap();
    let left = deadline - keyturn::clock::now().timestamp_millis();
    assert!((20_000..=30_000).contains(&left), "{left}");
}

#[tokio::test]
async fn an_exit_in_the_middle_is_an_exit_error() {
    let lambda = start(Faults::none(), &[]).await;
    let (kind, message) = fail(&lambda, json!({"exit": 3})).await;
    assert_eq!(kind, "Runtime.ExitError");
    assert!(message.ends_with("Runtime exited with error: exit status: 3"), "{message}");
    succeed(&lambda, json!({})).await;
    assert_eq!(lambda.cold_starts().len(), 2);
}

#[tokio::test]
async fn an_environment_that_exits_while_idle_is_replaced_silently() {
    let lambda = start(Faults::none(), &[]).await;
    let first = succeed(&lambda, json!({"exit_after": true})).await;
    let second = succeed(&lambda, json!({})).await;
    assert_ne!(first["pid"], second["pid"]);
}

#[tokio::test]
async fn a_function_that_takes_too_long_is_killed() {
    let lambda = start(Faults::none(), &[]).await;
    let pid = succeed(&lambda, json!({})).await["pid"].clone();
    lambda.set_timeout(Duration::from_millis(100));
    let (kind, message) = fail(&lambda, json!({"hang": true})).await;
    assert_eq!(kind, "Sandbox.Timedout");
    assert!(message.ends_with("Task timed out after 0.10 seconds"), "{message}");
    assert!(!alive(&pid));
}

#[tokio::test]
async fn a_failed_start_reports_its_own_error() {
    let lambda = start(Faults::none(), &[("FAIL_INIT", "1")]).await;
    assert_eq!(fail(&lambda, json!({})).await, ("CONFIG".to_owned(), "no database".to_owned()));
}

#[tokio::test]
async fn the_fault_plan_learns_the_step_and_can_kill() {
    let faults = Faults::none();
    let lambda = start(faults.clone(), &[]).await;
    let pid = succeed(&lambda, json!({"Step": "setSecret"})).await["pid"].clone();
    let call = faults.begin("SELECT");
    assert_eq!(call, "setSecret SELECT #1");
    faults.inject(Point { call: call.clone(), moment: Moment::Before, fault: Fault::Kill });
    let hanging = lambda.invoke(json!({"Step": "setSecret", "print": "at work", "hang": true}));
    let kill = async {
        until(|| lambda.logs().unwrap().contains("at work")).await;
        assert!(alive(&pid));
        faults.at(&call, Moment::Before).await;
        assert!(!alive(&pid));
    };
    let (invocation, ()) = tokio::join!(hanging, kill);
    assert_eq!(invocation.result.unwrap_err().error_type, "Runtime.ExitError");
}

#[tokio::test]
async fn dropped_it_leaves_no_process() {
    let lambda = start(Faults::none(), &[]).await;
    let pid = succeed(&lambda, json!({})).await["pid"].clone();
    drop(lambda);
    assert!(!alive(&pid));
}

#[tokio::test]
async fn the_invoke_api_marks_failures() {
    let lambda = start(Faults::none(), &[]).await;
    let client = keyturn::http::client().unwrap();
    let post = async |url: String, event: Value| client.post(url).json(&event).send().await.unwrap();
    let good = post(lambda.invoke_url(), json!({"n": 1})).await;
    assert_eq!((good.status().as_u16(), good.headers().get("x-amz-function-error")), (200, None));
    let bad = post(lambda.invoke_url(), json!({"fail": "why"})).await;
    assert_eq!((bad.status().as_u16(), &bad.headers()["x-amz-function-error"]), (200, &"Unhandled".parse().unwrap()));
    assert_eq!(bad.json::<Value>().await.unwrap(), json!({"errorType": "CODE", "errorMessage": "why"}));
    for by_alias in [
        format!("{}:live", lambda.invoke_url().trim_end_matches("/invocations")) + "/invocations",
        format!("{}?Qualifier=live", lambda.invoke_url()),
    ] {
        let answer = post(by_alias, json!({})).await.json::<Value>().await.unwrap();
        let arn = answer["headers"]["lambda-runtime-invoked-function-arn"].as_str().unwrap();
        assert!(arn.ends_with(":function:fake:live"), "{arn}");
    }
    let unknown = post(lambda.invoke_url().replace("fake", "other"), json!({})).await;
    assert_eq!(unknown.status().as_u16(), 404);
    let error = invoke_at(&client, &lambda.invoke_url(), &json!({"fail": "why"})).await.unwrap_err();
    assert_eq!(error.to_string(), "CODE: why");
}
