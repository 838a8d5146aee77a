//! Where the deployed functions find Secrets Manager, Parameter Store, RDS and CloudWatch Logs.
//!
//! MiniStack checks every request first: who signed it, and whether that role's policies allow it, but for what it does not
//! know: to which function a rotation is attached. That is judged here. Then the strict emulator answers that has the secret, since MiniStack stages no rotation as the service does; what no emulator has,
//! MiniStack itself answers. Rotations go the other way: the emulators invoke the deployed functions through here, where
//! requests need no signature.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::NAME;
use super::api::{ADMINISTRATOR, AwsApi};
use super::policy::{allows, statements};
use crate::aws::Aws;
use crate::aws_json::{ACCOUNT, REGION};
use crate::rds::Rds;
use crate::secrets_manager::SecretsManager;
use crate::server::Server;

/// What MiniStack says of a request that it would not let through.
const REFUSALS: [&str; 6] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
];

/// A strict emulator, and the function whose secrets it has.
struct Emulator {
    function: &'static str,
    secrets: SecretsManager,
    url: String,
}

/// What is behind the gate.
struct Behind {
    ministack: Arc<AwsApi>,
    emulators: [Emulator; 2],
    rds_url: String,
    /// The gate's own.
    url: String,
}

struct Inner {
    client: reqwest::Client,
    /// Set once it runs: MiniStack has to know where the gate is.
    behind: OnceLock<Behind>,
    used: Mutex<BTreeSet<(&'static str, String)>>,
}

/// The running gate. Dropped, it is gone.
pub(super) struct Gate {
    inner: Arc<Inner>,
    server: Server,
}

/// An answer on its way.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Gate {
    /// Starts one that nobody passes yet.
    pub(super) async fn start() -> Result<Self> {
        let inner =
            Arc::new(Inner { client: keyturn::http::client()?, behind: OnceLock::new(), used: Mutex::default() });
        let routes = Router::new()
            .route("/2015-03-31/functions/{name}/invocations", post(invoke))
            .fallback(call)
            .with_state(Arc::clone(&inner));
        Ok(Self { inner, server: Server::start(routes).await? })
    }

    /// Opens it, with the emulators of both rotation functions behind it.
    pub(super) fn open(&self, ministack: Arc<AwsApi>, postgres: &Aws, mongo: &Aws, rds: &Rds) {
        let emulator = |function, aws: &Aws| Emulator { function, secrets: aws.secrets.clone(), url: aws.url() };
        let emulators = [emulator("rotate-postgres", postgres), emulator("rotate-mongo", mongo)];
        let _ = self.inner.behind.set(Behind { ministack, emulators, rds_url: rds.url(), url: self.url() }); // opened once
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// The URL that invokes a deployed function.
    pub(super) fn invoke_url(&self, function: &str) -> String {
        invoke_url(&self.url(), function)
    }

    /// Every action (as policies name it) that this function was let through with.
    pub(super) fn used(&self, function: &str) -> BTreeSet<String> {
        let used = self.inner.used();
        used.iter().filter(|(by, _)| *by == function).map(|(_, action)| action.clone()).collect()
    }
}

async fn call(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    match inner.call(&headers, body).await {
        Ok(answer) => (answer.status, answer.headers, answer.body).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn invoke(State(inner): State<Arc<Inner>>, Path(function): Path<String>, event: Bytes) -> Response {
    let Some(behind) = inner.behind.get() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let event = serde_json::from_slice(&event).unwrap_or(Value::Null);
    match behind.ministack.invoke(&function, &event).await {
        Ok(report) => report.to_string().into_response(),
        Err(error) => ([("x-amz-function-error", "Unhandled")], json!(error).to_string()).into_response(),
    }
}

impl Inner {
    async fn call(&self, headers: &HeaderMap, body: Bytes) -> Result<Answer> {
        let Behind { ministack, emulators, rds_url, url } = self.behind.get().context("the gate is not open yet")?;
        if let Some(action) = rds_action(headers, &body) {
            let answer = self.pass_on(ministack.endpoint(), headers, body.clone()).await?;
            if answer.status == StatusCode::FORBIDDEN {
                return Ok(answer);
            }
            self.used().insert(("rotate-postgres", action));
            return self.pass_on(rds_url, headers, body).await;
        }
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let action = match target.split_once('.') {
            Some(("secretsmanager", action)) => format!("secretsmanager:{action}"),
            Some(("AmazonSSM", action)) => format!("ssm:{action}"),
            Some(("Logs_20140328", action)) => format!("logs:{action}"),
            _ => bail!("no such service here: {target}"),
        };
        let mut answer = self.pass_on(ministack.endpoint(), headers, body.clone()).await?;
        let request: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if action == "ssm:GetParametersByPath" && answer.is_refused() {
            answer = below_path(ministack, &request, answer).await?;
        }
        if action == "logs:FilterLogEvents" && answer.is_refused() {
            answer = of_log_group(ministack, &request, answer).await?;
        }
        let secret = request["SecretId"].as_str().unwrap_or_default();
        let has_it = |emulator: &&Emulator| emulator.secrets.stages(secret).is_ok();
        let emulator = emulators.iter().find(has_it);
        if answer.is_refused() {
            let (Some(emulator), Some(role)) = (emulator, answer.refused_role()) else { return Ok(answer) };
            let attached = emulator.secrets.rotated_by(secret)?.unwrap_or_default();
            let context = [("secretsmanager:resource/AllowRotationLambdaArn", attached.as_str())];
            let arn = emulator.secrets.arn(secret)?;
            if !allows(&policies(ministack, &role).await?, &action, &arn, &context)? {
                return Ok(answer);
            }
        }
        if is_administrator(headers) {
            if action == "secretsmanager:CreateSecret" {
                // Here it would be rotated as MiniStack does it, there as the service does.
                let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
                let suffix = text(&answer.json()["ARN"]).rsplit('-').next().unwrap_or_default().to_owned();
                let secrets = &emulators[0].secrets;
                let arn = secrets.create_as(&text(&request["Name"]), &suffix, &text(&request["SecretString"]))?;
                for tag in request["Tags"].as_array().into_iter().flatten() {
                    secrets.tag(&arn, &text(&tag["Key"]), &text(&tag["Value"]))?;
                }
            }
            if let Some(arn) = request["RotationLambdaARN"].as_str() {
                let function = arn.rsplit(':').next().unwrap_or_default();
                for emulator in emulators {
                    emulator.secrets.know_function(arn, &invoke_url(url, function));
                }
            }
        } else {
            let of_others = emulator.map_or("oncall-sync", |emulator| emulator.function);
            self.used().insert((if is_break_glass(headers) { "break-glass" } else { of_others }, action));
        }
        match emulator {
            Some(emulator) => self.pass_on(&emulator.url, headers, body).await,
            None => Ok(answer),
        }
    }

    /// Sends a request as it came: every header that may be signed, `host` among them.
    async fn pass_on(&self, to: &str, headers: &HeaderMap, body: Bytes) -> Result<Answer> {
        let mut headers = headers.clone();
        headers.remove(header::CONNECTION);
        headers.remove(header::CONTENT_LENGTH);
        let response = self.client.post(to).headers(headers).body(body).send().await?;
        let (status, mut headers) = (response.status(), response.headers().clone());
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        Ok(Answer { status, headers, body: response.bytes().await? })
    }

    fn used(&self) -> MutexGuard<'_, BTreeSet<(&'static str, String)>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URL that invokes a function.
fn invoke_url(endpoint: &str, function: &str) -> String {
    format!("{endpoint}/2015-03-31/functions/{function}/invocations")
}

/// Whether no function has signed this, but whoever runs the tests.
fn is_administrator(headers: &HeaderMap) -> bool {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    signed.contains(&format!("Credential={ADMINISTRATOR}/"))
}

/// Whether break-glass has signed this: it asks for what other functions ask for as well. `MiniStack` makes the id of a function's
/// key of the function, by the ARN that was invoked first, and its role.
fn is_break_glass(headers: &HeaderMap) -> bool {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let function = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}-break-glass");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/{NAME}-break-glass-{REGION}");
    ["", ":ops", ":url"].iter().any(|alias| {
        let digest = Sha256::digest(format!("{function}{alias}:{role}"));
        let key = digest.iter().take(8).fold(String::new(), |key, byte| key + &format!("{byte:02X}"));
        signed.contains(&format!("Credential=ASIA{key}/"))
    })
}

/// What an action of RDS's query protocol is called in policies.
fn rds_action(headers: &HeaderMap, body: &Bytes) -> Option<String> {
    let is_query = headers.get(header::CONTENT_TYPE)?.to_str().ok()? == "application/x-www-form-urlencoded";
    let mut fields = url::form_urlencoded::parse(body);
    fields.find(|(name, _)| is_query && name == "Action").map(|(_, action)| format!("rds:{action}"))
}

impl Answer {
    fn of(body: &Value) -> Self {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        Self { status: StatusCode::OK, headers: HeaderMap::from_iter([kind]), body: body.to_string().into() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn is_refused(&self) -> bool {
        let kind = self.json();
        let kind = kind["__type"].as_str().unwrap_or_default();
        REFUSALS.contains(&kind.rsplit('#').next().unwrap_or_default())
    }

    /// The role that was refused for want of a permission. Whoever signed wrongly has none here.
    fn refused_role(&self) -> Option<String> {
        let said = self.json();
        let said = said["message"].as_str().or(said["Message"].as_str()).unwrap_or_default();
        let role = said.split("assumed-role/").nth(1)?.split('/').next()?;
        Some(role.to_owned())
    }
}

/// MiniStack takes the resource of `GetParametersByPath` for `*`, which no good policy allows. AWS takes the path: so the
/// role's policies are looked at here.
async fn below_path(api: &AwsApi, request: &Value, refused: Answer) -> Result<Answer> {
    let Some(role) = refused.refused_role() else { return Ok(refused) };
    let path = request["Path"].as_str().unwrap_or_default();
    let resource = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{path}");
    if !allows(&policies(api, &role).await?, "ssm:GetParametersByPath", &resource, &[])? {
        return Ok(refused);
    }
    let mut found = api.call("ssm", "get_parameters_by_path", request.clone()).await?;
    for parameter in found["Parameters"].as_array_mut().into_iter().flatten() {
        parameter.as_object_mut().map(|fields| fields.remove("LastModifiedDate")); // a text here, a number there
    }
    Ok(Answer::of(&found))
}

/// The same of `FilterLogEvents`, for which AWS takes the log group.
async fn of_log_group(api: &AwsApi, request: &Value, refused: Answer) -> Result<Answer> {
    let Some(role) = refused.refused_role() else { return Ok(refused) };
    let group = request["logGroupName"].as_str().unwrap_or_default();
    let resource = format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*");
    if !allows(&policies(api, &role).await?, "logs:FilterLogEvents", &resource, &[])? {
        return Ok(refused);
    }
    Ok(Answer::of(&api.call("logs", "filter_log_events", request.clone()).await?))
}

/// The documents of all policies that are part of this role.
pub(super) async fn policies(api: &AwsApi, role: &str) -> Result<Vec<Value>> {
    let names = api.call("iam", "list_role_policies", json!({"RoleName": role})).await?;
    let mut documents = Vec::new();
    for name in names["PolicyNames"].as_array().into_iter().flatten() {
        let policy = json!({"RoleName": role, "PolicyName": name});
        let document = api.call("iam", "get_role_policy", policy).await?["PolicyDocument"].take();
        ensure!(!statements(&document).is_empty(), "{role}: {name} says nothing");
        documents.push(document);
    }
    Ok(documents)
}
