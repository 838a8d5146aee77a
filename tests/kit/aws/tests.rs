use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::error::ProvideErrorMetadata as _;

use super::{Aws, Refusal, secrets_client};
use crate::faults::{Fault, Faults, Moment, Point};

const GET: &str = "createSecret GetSecretValue app AWSCURRENT #1";
const PUT: &str = "createSecret PutSecretValue app AWSPENDING #1";
const TOKEN: &str = "11111111-2222-4333-8444-555555555555";

/// A stack with the secret `app`, in step createSecret, in which one thing goes wrong.
async fn stack(call: &str, moment: Moment, fault: Fault) -> Aws {
    let faults = Faults::none();
    faults.enter_step("createSecret");
    faults.inject(Point { call: call.to_owned(), moment, fault });
    let aws = Aws::start(faults).await.unwrap();
    aws.secrets.create("app", "{}").unwrap();
    aws.secrets.stage_pending("app", TOKEN).unwrap();
    aws
}

/// What the function's read of the current value ends in: "ok", AWS's error type, or "" when there was no reply.
async fn get(aws: &Aws) -> String {
    let sent = secrets_client(&aws.url()).get_secret_value().secret_id("app").send().await;
    sent.map_or_else(|error| error.code().unwrap_or_default().to_owned(), |_| "ok".to_owned())
}

/// Whether the function's put of the pending value seems to it to have worked.
async fn put(aws: &Aws) -> bool {
    let put = secrets_client(&aws.url()).put_secret_value().secret_id("app").client_request_token(TOKEN);
    put.secret_string("{\"new\":1}").version_stages("AWSPENDING").send().await.is_ok()
}

#[tokio::test]
async fn the_functions_calls_are_recorded_and_nobody_elses() {
    let aws = stack("none", Moment::Before, Fault::Cut).await;
    secrets_client(&aws.client_url()).get_secret_value().secret_id("app").send().await.unwrap();
    get(&aws).await;
    get(&aws).await;
    assert!(put(&aws).await);
    assert_eq!(aws.front.faults.recorded(), [GET, "createSecret GetSecretValue app AWSCURRENT #2", PUT]);
    assert_eq!(aws.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_connection_cut_before_the_call_leaves_it_without_effect() {
    let aws = stack(PUT, Moment::Before, Fault::Cut).await;
    assert!(!put(&aws).await);
    assert_eq!(aws.secrets.value("app", "AWSPENDING").unwrap(), None);
}

#[tokio::test]
async fn a_connection_cut_after_the_call_leaves_its_effect() {
    let aws = stack(PUT, Moment::After, Fault::Cut).await;
    assert!(!put(&aws).await);
    assert_eq!(aws.secrets.value("app", "AWSPENDING").unwrap().as_deref(), Some("{\"new\":1}"));
}

#[tokio::test]
async fn a_cut_connection_says_nothing_at_all() {
    let aws = stack(GET, Moment::Before, Fault::Cut).await;
    assert_eq!(get(&aws).await, "");
    assert_eq!(get(&aws).await, "ok");
}

#[tokio::test]
async fn a_status_fault_is_an_aws_error() {
    let aws = stack(GET, Moment::Before, Fault::Status(429, "ThrottlingException")).await;
    assert_eq!(get(&aws).await, "ThrottlingException");
    assert_eq!(get(&aws).await, "ok");
}

#[tokio::test]
async fn garbage_is_a_success_that_cannot_be_read() {
    let aws = stack(GET, Moment::After, Fault::Garbage).await;
    let error = secrets_client(&aws.url()).get_secret_value().secret_id("app").send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_slow_call_still_answers() {
    let aws = stack(GET, Moment::Before, Fault::Slow(Duration::from_millis(50))).await;
    let started = Instant::now();
    assert_eq!(get(&aws).await, "ok");
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_kill_has_happened_before_the_call_goes_on() {
    let aws = stack(PUT, Moment::Before, Fault::Kill).await;
    let (killed, seen) = std::sync::mpsc::channel();
    aws.front.faults.on_kill(move || killed.send(()).unwrap());
    assert!(!put(&aws).await);
    assert!(seen.try_recv().is_ok());
    assert_eq!(aws.secrets.value("app", "AWSPENDING").unwrap(), None);
}

#[tokio::test]
async fn an_action_is_refused_as_often_as_planned() {
    for (refusal, code) in [
        (Refusal::AccessDenied, "AccessDeniedException"),
        (Refusal::KmsAccessDenied, "AccessDeniedException"),
        (Refusal::DecryptionFailure, "DecryptionFailure"),
        (Refusal::EncryptionFailure, "EncryptionFailure"),
        (Refusal::Throttling, "ThrottlingException"),
        (Refusal::InternalError, "InternalServiceError"),
    ] {
        let aws = stack("none", Moment::Before, Fault::Cut).await;
        aws.refuse("GetSecretValue", refusal, 2);
        assert_eq!([get(&aws).await, get(&aws).await, get(&aws).await], [code, code, "ok"]);
    }
}

#[tokio::test]
async fn refusals_strike_the_function_alone_and_can_be_taken_back() {
    let aws = stack("none", Moment::Before, Fault::Cut).await;
    aws.refuse("GetSecretValue", Refusal::AccessDenied, usize::MAX);
    secrets_client(&aws.client_url()).get_secret_value().secret_id("app").send().await.unwrap();
    assert_eq!(get(&aws).await, "AccessDeniedException");
    aws.allow_all();
    assert_eq!(get(&aws).await, "ok");
}

/// Sends what no SDK sends, and gives back the status and the violation.
async fn raw(target: &str, signature: Option<&str>, body: &'static str) -> (u16, String) {
    let aws = Aws::start(Faults::none()).await.unwrap();
    let client = keyturn::http::client().unwrap();
    let mut request = client.post(aws.url()).header("content-type", "application/x-amz-json-1.1");
    request = request.header("x-amz-target", target).header("x-amz-date", "20260101T000000Z").body(body);
    if let Some(signature) = signature {
        request = request.header("authorization", signature);
    }
    let status = request.send().await.unwrap().status().as_u16();
    (status, aws.violations().join("\n"))
}

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/secretsmanager/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature=00";

#[tokio::test]
async fn unknown_actions_are_violations() {
    let (status, violation) = raw("secretsmanager.ListSecrets", Some(SIGNATURE), "{}").await;
    assert_eq!(status, 400);
    assert!(violation.contains("unknown action ListSecrets"), "{violation}");
}

#[tokio::test]
async fn unknown_services_are_violations() {
    let (_, violation) = raw("AWSKMS.Decrypt", Some(SIGNATURE), "{}").await;
    assert!(violation.contains("unknown target AWSKMS.Decrypt"), "{violation}");
}

#[tokio::test]
async fn unknown_fields_are_violations() {
    let body = r#"{"SecretId":"app","Label":"AWSCURRENT"}"#;
    let (status, violation) = raw("secretsmanager.GetSecretValue", Some(SIGNATURE), body).await;
    assert_eq!(status, 400);
    assert!(violation.contains("unknown field `Label`"), "{violation}");
}

#[tokio::test]
async fn missing_fields_are_violations() {
    let (_, violation) = raw("secretsmanager.GetSecretValue", Some(SIGNATURE), "{}").await;
    assert!(violation.contains("missing field `SecretId`"), "{violation}");
}

#[tokio::test]
async fn unsigned_requests_are_violations() {
    let (_, violation) = raw("secretsmanager.GetSecretValue", None, "{}").await;
    assert!(violation.contains("MissingAuthenticationTokenException"), "{violation}");
}

#[tokio::test]
async fn a_signature_for_another_service_is_a_violation() {
    let (_, violation) = raw("AmazonSSM.GetParameter", Some(SIGNATURE), "{}").await;
    assert!(violation.contains("IncompleteSignatureException"), "{violation}");
}
