//! Lambda: the invoke API in front of real bootstrap processes, each behind a Runtime API of its own.
//!
//! One execution environment takes one invocation at a time; a second one at the same time gets a second environment.
//! An idle environment is used again (a warm start).

mod environment;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::aws_json::uuid;
use crate::faults::Faults;
use crate::server::Server;
use environment::{End, Environment, Job, Processes};

/// The whole of a failure that a caller of Lambda gets to see.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionError {
    /// The function's stable error code, or Lambda's own (`Runtime.ExitError`, `Sandbox.Timedout`).
    pub error_type: String,
    pub error_message: String,
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.error_message)
    }
}

/// One invocation, as it went.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub result: Result<Value, FunctionError>,
    /// From request to answer, a cold start included.
    pub duration: Duration,
}

/// What all environments of one function have in common.
struct Function {
    name: String,
    bootstrap: PathBuf,
    variables: Vec<(String, String)>,
    faults: Faults,
    timeout: Mutex<Duration>,
    idle: Mutex<Vec<Environment>>,
    processes: Processes,
    log: NamedTempFile,
    cold_starts: Arc<Mutex<Vec<Duration>>>,
    peak_memory: Mutex<Option<u64>>,
    cpu_times: Mutex<Vec<Duration>>,
}

/// One function, deployed. Dropped, its processes are killed.
pub struct Lambda {
    function: Arc<Function>,
    server: Server,
}

impl Lambda {
    /// Deploys the bootstrap at this path under this name. No process starts before the first invocation.
    pub async fn start(
        name: &str,
        bootstrap: PathBuf,
        variables: Vec<(String, String)>,
        faults: Faults,
    ) -> anyhow::Result<Self> {
        let bootstrap = bootstrap.canonicalize().with_context(|| format!("no bootstrap at {}", bootstrap.display()))?;
        let processes = Processes::default();
        let killed = processes.clone();
        faults.on_kill(move || killed.kill_all());
        let function = Arc::new(Function {
            name: name.to_owned(),
            bootstrap,
            variables,
            faults,
            timeout: Mutex::new(Duration::from_secs(30)),
            idle: Mutex::default(),
            processes,
            log: NamedTempFile::new().context("a file for the function's log")?,
            cold_starts: Arc::default(),
            peak_memory: Mutex::default(),
            cpu_times: Mutex::default(),
        });
        let routes = Router::new()
            .route("/2015-03-31/functions/{name}/invocations", post(invocations))
            .with_state(Arc::clone(&function));
        let server = Server::start(routes).await?;
        Ok(Self { function, server })
    }

    /// The endpoint of Lambda's API (what `aws lambda invoke --endpoint-url` takes).
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    #[must_use]
    pub fn invoke_url(&self) -> String {
        format!("{}/2015-03-31/functions/{}/invocations", self.url(), self.function.name)
    }

    pub async fn invoke(&self, payload: Value) -> Invocation {
        self.invoke_by(None, &payload).await
    }

    /// The same by an alias.
    pub async fn invoke_by(&self, qualifier: Option<&str>, payload: &Value) -> Invocation {
        let started = Instant::now();
        let answer = self.function.invoke(Bytes::from(payload.to_string()), qualifier).await;
        let result = answer.map(|body| serde_json::from_slice(&body).unwrap_or(Value::Null));
        Invocation { result, duration: started.elapsed() }
    }

    /// How long an invocation may take; 30 seconds unless said otherwise.
    pub fn set_timeout(&self, timeout: Duration) {
        *lock(&self.function.timeout) = timeout;
    }

    /// Everything that the function's processes ever wrote to stdout and stderr.
    pub fn logs(&self) -> anyhow::Result<String> {
        let bytes = std::fs::read(self.function.log.path()).context("reading the function's log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How long each cold start took, from the process's start to its first request for work.
    #[must_use]
    pub fn cold_starts(&self) -> Vec<Duration> {
        lock(&self.function.cold_starts).clone()
    }

    /// The most memory (resident, in bytes) that a process had needed at the end of an invocation. Linux only.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        *lock(&self.function.peak_memory)
    }

    /// The CPU time that each answered invocation took; one that starts a process pays for the start. Linux only.
    #[must_use]
    pub fn cpu_times(&self) -> Vec<Duration> {
        lock(&self.function.cpu_times).clone()
    }

    /// Takes the idle environments away, so that the next invocation is a cold start.
    pub fn recycle(&self) {
        lock(&self.function.idle).clear();
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        self.function.processes.kill_all();
        self.recycle();
    }
}

impl Function {
    async fn invoke(&self, payload: Bytes, qualifier: Option<&str>) -> Result<Bytes, FunctionError> {
        let id = uuid();
        loop {
            let idle = lock(&self.idle).pop();
            let warm = idle.is_some();
            let mut environment = match idle {
                Some(environment) => environment,
                None => self.new_environment().await?,
            };
            let timeout = *lock(&self.timeout);
            let qualifier = qualifier.map(str::to_owned);
            match environment.run(Job { id: id.clone(), payload: payload.clone(), timeout, qualifier }).await {
                End::Answered(result) => {
                    self.note_use(&mut environment);
                    lock(&self.idle).push(environment);
                    return result;
                }
                // It died of old age in between: Lambda takes another one, and the caller never knows.
                End::NotTaken(_) if warm => {}
                End::NotTaken(error) | End::Died(error) => return Err(error),
            }
        }
    }

    async fn new_environment(&self) -> Result<Environment, FunctionError> {
        Environment::start(self).await.map_err(|error| FunctionError {
            error_type: "Runtime.InvalidEntrypoint".to_owned(),
            error_message: format!("{error:#}"),
        })
    }

    fn note_use(&self, environment: &mut Environment) {
        let mut peak = lock(&self.peak_memory);
        *peak = (*peak).max(environment.peak_memory());
        if let Some(cpu) = environment.cpu_time() {
            lock(&self.cpu_times).push(cpu.saturating_sub(environment.cpu_noted));
            environment.cpu_noted = cpu;
        }
    }
}

/// Lambda's invoke API, for synchronous invocations.
async fn invocations(
    State(function): State<Arc<Function>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    payload: Bytes,
) -> Response {
    // As the API has it, an alias may stand in the name: `cargo lambda invoke` has no other way to say one.
    let (name, alias) = name.split_once(':').map_or((&*name, None), |(name, alias)| (name, Some(alias)));
    if name != function.name {
        let body = json!({"Type": "User", "Message": format!("Function not found: {name}")});
        let kind = [("x-amzn-errortype", "ResourceNotFoundException")];
        return (StatusCode::NOT_FOUND, kind, body.to_string()).into_response();
    }
    if headers.get("x-amz-invocation-type").is_some_and(|kind| kind != "RequestResponse") {
        let body = json!({"Type": "User", "Message": "only RequestResponse invocations are emulated"});
        let kind = [("x-amzn-errortype", "InvalidParameterValueException")];
        return (StatusCode::BAD_REQUEST, kind, body.to_string()).into_response();
    }
    let version = ("x-amz-executed-version", "$LATEST");
    let qualifier = alias.or_else(|| uri.query().and_then(|query| query.strip_prefix("Qualifier=")));
    match function.invoke(payload, qualifier).await {
        Ok(body) => ([version, ("content-type", "application/json")], body).into_response(),
        Err(error) => {
            let headers = [version, ("content-type", "application/json"), ("x-amz-function-error", "Unhandled")];
            (headers, json!(error).to_string()).into_response()
        }
    }
}

/// Invokes whatever answers Lambda's invoke API at this URL: a [`Lambda`], or `cargo lambda watch`.
pub(crate) async fn invoke_at(client: &reqwest::Client, url: &str, payload: &Value) -> Result<Value, FunctionError> {
    let unreachable = |error: &reqwest::Error| FunctionError {
        error_type: "InvokeFailed".to_owned(),
        error_message: format!("{url}: {error}"),
    };
    let response = client.post(url).json(payload).send().await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let failed = !status.is_success() || response.headers().contains_key("x-amz-function-error");
    let body = response.bytes().await.map_err(|error| unreachable(&error))?;
    if !failed {
        return Ok(serde_json::from_slice(&body).unwrap_or(Value::Null));
    }
    Err(serde_json::from_slice(&body).unwrap_or_else(|_| FunctionError {
        error_type: "InvokeFailed".to_owned(),
        error_message: format!("{url}: {status}: {}", String::from_utf8_lossy(&body)),
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
