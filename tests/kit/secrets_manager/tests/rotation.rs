use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{OTHER, TOKEN, labels, refusal, stack};
use crate::aws::Aws;
use crate::secrets_manager::RotationOutcome;
use crate::server::Server;

/// A rotation function in this process, which does the least a rotation needs.
struct Rotator {
    events: Arc<Mutex<Vec<Value>>>,
    server: Server,
}

/// What the function does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// This step fails, this often.
    Fails(&'static str, usize),
    /// It answers well and does nothing.
    Idle,
    /// It keeps the event's `RotationToken` to itself.
    DropsRotationToken,
}

impl Rotator {
    async fn start(client: Client, flaw: Flaw) -> Self {
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&events);
        let invoke = move |body: Bytes| {
            let event: Value = serde_json::from_slice(&body).unwrap();
            let step = event["Step"].clone();
            seen.lock().unwrap().push(event.clone());
            let times = seen.lock().unwrap().iter().filter(|event| event["Step"] == step).count();
            let client = client.clone();
            async move {
                if matches!(flaw, Flaw::Fails(failing, often) if step == failing && times <= often) {
                    return failed("BROKEN");
                }
                if flaw == Flaw::Idle { Ok(()) } else { work(&client, &event, flaw).await }
                    .map_or_else(|code| failed(&code), |()| "null".into_response())
            }
        };
        let routes = Router::new().route("/2015-03-31/functions/rotate/invocations", post(invoke));
        Self { events, server: Server::start(routes).await.unwrap() }
    }

    fn url(&self) -> String {
        format!("{}/2015-03-31/functions/rotate/invocations", self.server.url())
    }

    fn steps(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events.iter().map(|event| event["Step"].as_str().unwrap().to_owned()).collect()
    }
}

fn failed(code: &str) -> Response {
    let body = json!({"errorType": code, "errorMessage": "as planned"});
    ([("x-amz-function-error", "Unhandled")], body.to_string()).into_response()
}

async fn work(client: &Client, event: &Value, flaw: Flaw) -> Result<(), String> {
    let text = |name: &str| event[name].as_str().map(str::to_owned);
    let (id, token) = (text("SecretId").unwrap(), text("ClientRequestToken").unwrap());
    match event["Step"].as_str().unwrap() {
        "createSecret" => {
            let put = client.put_secret_value().secret_id(id).client_request_token(token).secret_string("rotated");
            let shown = text("RotationToken").filter(|_| flaw != Flaw::DropsRotationToken);
            let put = put.version_stages("AWSPENDING").set_rotation_token(shown).send().await;
            put.map(drop).map_err(|error| refusal::<(), _, _>(Err(error)).0)
        }
        "finishSecret" => {
            let described = client.describe_secret().secret_id(&id).send().await.unwrap();
            let stages = described.version_ids_to_stages.unwrap();
            let from = stages.into_iter().find(|(_, stages)| stages.contains(&"AWSCURRENT".to_owned())).unwrap().0;
            let update = client.update_secret_version_stage().secret_id(id).version_stage("AWSCURRENT");
            let update = update.move_to_version_id(token).remove_from_version_id(from).send().await;
            update.map(drop).map_err(|error| refusal::<(), _, _>(Err(error)).0)
        }
        _ => Ok(()),
    }
}

async fn rotated_by(flaw: Flaw) -> (Aws, Client, Rotator) {
    let (aws, client) = stack().await;
    let rotator = Rotator::start(client.clone(), flaw).await;
    aws.secrets.set_rotation("app", &rotator.url()).unwrap();
    (aws, client, rotator)
}

fn error_type(outcome: &RotationOutcome) -> &str {
    outcome.error().map_or("", |error| &error.error_type)
}

#[tokio::test]
async fn a_failing_rotation_is_tried_again_as_a_whole() {
    let (aws, _client, rotator) = rotated_by(Flaw::Fails("setSecret", 2)).await;
    let outcome = aws.secrets.rotate("app").await.unwrap();
    assert!(outcome.succeeded(), "{outcome}");
    assert_eq!(outcome.attempts.len(), 3);
    assert_eq!(rotator.steps()[..4], ["createSecret", "setSecret", "createSecret", "setSecret"]);
    let events = rotator.events.lock().unwrap().clone();
    assert_eq!(events[0], events[2]);
}

#[tokio::test]
async fn a_rotation_that_keeps_failing_stays_pending_and_is_taken_up_again() {
    let (aws, _client, _rotator) = rotated_by(Flaw::Fails("testSecret", 3)).await;
    let failed = aws.secrets.rotate("app").await.unwrap();
    assert_eq!((error_type(&failed), failed.attempts.len()), ("BROKEN", 3));
    assert_eq!(labels(&aws, &failed.token), "AWSPENDING");
    let again = aws.secrets.rotate("app").await.unwrap();
    assert!(again.succeeded() && again.reattempted, "{again}");
    assert_eq!(again.token, failed.token);
}

#[tokio::test]
async fn a_function_that_does_nothing_is_found_out() {
    let (aws, _client, rotator) = rotated_by(Flaw::Idle).await;
    let outcome = aws.secrets.rotate("app").await.unwrap();
    assert_eq!(error_type(&outcome), "RotationFailed");
    assert!(outcome.to_string().contains("was not created by Lambda"), "{outcome}");
    assert_eq!(rotator.steps(), ["createSecret"; 3]);
}

#[tokio::test]
async fn a_function_that_cannot_be_reached_fails_the_rotation() {
    let (aws, _client, rotator) = rotated_by(Flaw::None).await;
    drop(rotator);
    assert_eq!(error_type(&aws.secrets.rotate("app").await.unwrap()), "InvokeFailed");
}

#[tokio::test]
async fn saving_a_schedule_runs_test_secret_on_a_copy_and_leaves_no_trace() {
    let (aws, client) = stack().await;
    let rotator = Rotator::start(client, Flaw::None).await;
    aws.secrets.set_rotation("app", &rotator.url()).unwrap();
    let before = aws.secrets.stages("app").unwrap();
    let outcome = aws.secrets.test_rotation("app").await.unwrap();
    assert!(outcome.succeeded(), "{outcome}");
    assert_eq!(rotator.steps(), ["testSecret"]);
    assert_eq!(aws.secrets.stages("app").unwrap(), before);
}

#[tokio::test]
async fn across_accounts_the_put_has_to_show_the_rotation_token() {
    for (flaw, code) in [(Flaw::None, ""), (Flaw::DropsRotationToken, "InvalidRequestException")] {
        let (aws, client, rotator) = rotated_by(flaw).await;
        let token = aws.secrets.rotate_across_accounts("app").unwrap();
        let outcome = aws.secrets.rotate("app").await.unwrap();
        assert_eq!(rotator.events.lock().unwrap()[0]["RotationToken"], token);
        assert_eq!(error_type(&outcome), code);
        let short = client.put_secret_value().secret_id("app").secret_string("x").rotation_token("short");
        assert_eq!(refusal(short.send().await).0, "ValidationException");
    }
}

#[tokio::test]
async fn a_new_rotation_is_refused_while_one_is_unfinished_which_is_taken_up_again() {
    let (aws, client, _rotator) = rotated_by(Flaw::None).await;
    aws.secrets.stage_pending("app", TOKEN).unwrap();
    let refused = refusal(client.rotate_secret().secret_id("app").client_request_token(OTHER).send().await);
    let message = "A previous rotation isn't complete. That rotation will be reattempted.";
    assert_eq!(refused, ("InvalidRequestException".to_owned(), message.to_owned()));
    until(&aws, "AWSCURRENT").await;
    assert_eq!(labels(&aws, OTHER), "");
}

#[tokio::test]
async fn rotation_needs_a_function_that_may_be_invoked() {
    let (aws, client) = stack().await;
    let rotate = || client.rotate_secret().secret_id("app");
    assert_eq!(refusal(rotate().send().await).0, "InvalidRequestException");
    let unknown = rotate().rotation_lambda_arn("arn:aws:lambda:eu-west-1:123456789012:function:other");
    assert_eq!(refusal(unknown.send().await).0, "AccessDeniedException");
    assert!(aws.secrets.rotate("app").await.is_err());
}

#[tokio::test]
async fn a_cancelled_rotation_says_so() {
    let (aws, client, _rotator) = rotated_by(Flaw::None).await;
    aws.secrets.cancel_rotation("app").unwrap();
    let described = client.describe_secret().secret_id("app").send().await.unwrap();
    assert_eq!(described.rotation_enabled(), Some(false));
}

/// Waits until version `TOKEN` has exactly this label.
async fn until(aws: &Aws, label: &str) {
    let bound = Instant::now() + Duration::from_secs(10);
    while labels(aws, TOKEN) != label {
        assert!(Instant::now() < bound, "{}", labels(aws, TOKEN));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
