//! Every service of the local AWS by AWS's own client: `infra/tools/aws.py`, in processes beside this one.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::tool;
use crate::aws_json::REGION;
use crate::lambda::FunctionError;
use crate::source::checkout;

/// What the administrator of the local AWS signs with. Every other key belongs to a role.
pub(super) const ADMINISTRATOR: &str = "local";

/// Why the local AWS did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub code: String,
    pub message: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

/// A client of every service. Calls at the same time use a process each.
pub struct AwsApi {
    endpoint: String,
    idle: Mutex<Vec<Bridge>>,
}

impl AwsApi {
    pub(super) fn new(endpoint: String) -> Self {
        Self { endpoint, idle: Mutex::default() }
    }

    /// The endpoint of every service.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What every AWS client has to know to be the administrator here.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", ADMINISTRATOR),
            ("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR),
        ]
    }

    /// Calls an operation (named as in Python: `get_secret_value`) as the administrator.
    pub async fn call(&self, service: &str, operation: &str, parameters: Value) -> Result<Value, ApiError> {
        self.ask(json!({"service": service, "operation": operation, "parameters": parameters})).await
    }

    /// Calls an operation with the credentials that [`AwsApi::role`] gave, at another endpoint where one is named.
    pub async fn call_as(
        &self,
        credentials: &Value,
        endpoint: Option<&str>,
        (service, operation, parameters): (&str, &str, Value),
    ) -> Result<Value, ApiError> {
        let request = json!({
            "service": service, "operation": operation, "parameters": parameters, "credentials": credentials,
            "endpoint": endpoint,
        });
        self.ask(request).await
    }

    /// Credentials of the role with this ARN.
    pub async fn role(&self, arn: &str) -> Result<Value, ApiError> {
        let session = json!({"RoleArn": arn, "RoleSessionName": "test"});
        Ok(self.call("sts", "assume_role", session).await?["Credentials"].take())
    }

    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value, FunctionError> {
        let failed = |error_message: String| FunctionError { error_type: "InvokeFailed".to_owned(), error_message };
        let parameters = json!({"FunctionName": function, "Payload": event.to_string()});
        let reply = self.call("lambda", "invoke", parameters).await.map_err(|error| failed(error.to_string()))?;
        let payload = reply["Payload"].as_str().unwrap_or_default();
        if reply["FunctionError"].is_null() {
            return serde_json::from_str(payload).map_err(|error| failed(format!("{error}: {payload}")));
        }
        Err(serde_json::from_str(payload).unwrap_or_else(|_| failed(payload.to_owned())))
    }

    async fn ask(&self, request: Value) -> Result<Value, ApiError> {
        let idle = self.idle().pop();
        let environment = self.environment().map(|(name, value)| (name, value.to_owned()));
        let asking = tokio::task::spawn_blocking(move || {
            let mut bridge = idle.map_or_else(|| Bridge::start(environment), Ok)?;
            let answer = bridge.ask(&request)?;
            anyhow::Ok((bridge, answer))
        });
        let asked = asking.await.map_err(anyhow::Error::from).and_then(|asked| asked);
        let (bridge, mut answer) =
            asked.map_err(|error| ApiError { code: "BridgeFailed".to_owned(), message: format!("{error:#}") })?;
        self.idle().push(bridge);
        if answer["error"].is_null() {
            return Ok(answer["ok"].take());
        }
        let part = |name: &str| answer["error"][name].as_str().unwrap_or_default().to_owned();
        Err(ApiError { code: part("code"), message: part("message") })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Bridge>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process of `aws.py`. It ends with its input, so with this program, however that ends.
struct Bridge {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Bridge {
    fn start<const N: usize>(environment: [(&str, String); N]) -> Result<Self> {
        let mut command = Command::new(tool("cloud")?);
        command.arg(checkout().join("infra/tools/aws.py")).env_clear().envs(environment);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null");
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("infra/tools/aws.py cannot be run")?;
        let requests = process.stdin.take().context("no input of aws.py")?;
        let answers = BufReader::new(process.stdout.take().context("no output of aws.py")?);
        Ok(Self { process, requests, answers })
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}").context("aws.py takes no request")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("aws.py gives no answer")?;
        ensure!(!answer.is_empty(), "aws.py ended: {request}");
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait()); // gone already is as good
    }
}
