//! One execution environment: a bootstrap process and the Runtime API it asks for work.

use std::path::Path as FilePath;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::{Function, FunctionError, lock};
use crate::aws_json::{ACCOUNT, REGION};
use crate::faults::Faults;
use crate::postgres::iam::{ACCESS_KEY, SECRET_KEY};
use crate::server::{Server, cut};

/// What Lambda gives a function to start in.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a process is asked whether it still lives.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// One invocation on its way to a process.
pub(super) struct Job {
    pub(super) id: String,
    pub(super) payload: Bytes,
    pub(super) timeout: Duration,
    /// The alias or version that was invoked.
    pub(super) qualifier: Option<String>,
}

/// How an environment came to the end of an invocation.
pub(super) enum End {
    /// The function answered; the environment can be used again.
    Answered(Result<Bytes, FunctionError>),
    /// The process never asked for work.
    NotTaken(FunctionError),
    /// The process took the invocation and then exited, or ran out of time and was killed.
    Died(FunctionError),
}

/// What a process tells its Runtime API.
enum Event {
    Taken,
    Answered(Result<Bytes, FunctionError>),
    InitFailed(FunctionError),
}

/// Why there was no event.
enum Silence {
    Exited(Option<ExitStatus>),
    TimedOut,
}

/// A child process, killed when dropped.
struct Process(Mutex<Child>);

impl Process {
    /// Kills and waits: once this returns the process does nothing more.
    fn kill(&self) {
        let mut child = lock(&self.0);
        let _ = child.kill(); // fails only for a process that has gone already
        let _ = child.wait();
    }

    /// Waits until the process is gone; its status, where the system tells.
    async fn exited(&self) -> Option<ExitStatus> {
        loop {
            let polled = lock(&self.0).try_wait();
            match polled {
                Ok(None) => tokio::time::sleep(EXIT_POLL).await,
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Every process of one function, idle or not.
#[derive(Clone, Default)]
pub(super) struct Processes(Arc<Mutex<Vec<Weak<Process>>>>);

impl Processes {
    fn add(&self, process: &Arc<Process>) {
        let mut all = lock(&self.0);
        all.retain(|process| process.strong_count() > 0);
        all.push(Arc::downgrade(process));
    }

    pub(super) fn kill_all(&self) {
        let all: Vec<_> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
        for process in all {
            process.kill();
        }
    }
}

pub(super) struct Environment {
    process: Arc<Process>,
    jobs: mpsc::Sender<Job>,
    events: mpsc::UnboundedReceiver<Event>,
    /// The process's CPU time at the end of its last invocation.
    pub(super) cpu_noted: Duration,
    _server: Server,
}

impl Environment {
    /// Opens a Runtime API and starts a process on it.
    pub(super) async fn start(function: &Function) -> anyhow::Result<Self> {
        let (jobs, waiting) = mpsc::channel(1);
        let (notify, events) = mpsc::unbounded_channel();
        let api = Arc::new(RuntimeApi {
            arn: format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", function.name),
            faults: function.faults.clone(),
            waiting: AsyncMutex::new(waiting),
            running: Mutex::default(),
            notify,
            spawned: Mutex::default(),
            cold_starts: Arc::clone(&function.cold_starts),
        });
        let server = Server::start(routes(Arc::clone(&api))).await?;
        let mut command = command(function, &server.authority())?;
        *lock(&api.spawned) = Some(Instant::now());
        let child = command.spawn().with_context(|| format!("starting {}", function.bootstrap.display()))?;
        let process = Arc::new(Process(Mutex::new(child)));
        function.processes.add(&process);
        Ok(Self { process, jobs, events, cpu_noted: Duration::ZERO, _server: server })
    }

    /// Has the process do one invocation.
    pub(super) async fn run(&mut self, job: Job) -> End {
        let (id, timeout) = (job.id.clone(), job.timeout);
        if self.jobs.send(job).await.is_err() {
            return End::NotTaken(exit_error(&id, None));
        }
        match self.event(INIT_TIMEOUT).await {
            Ok(Event::Taken) => {}
            Ok(Event::InitFailed(error) | Event::Answered(Err(error))) => return End::NotTaken(error),
            Ok(Event::Answered(Ok(_))) | Err(Silence::TimedOut) => {
                return End::NotTaken(timeout_error(&id, INIT_TIMEOUT));
            }
            Err(Silence::Exited(status)) => return End::NotTaken(exit_error(&id, status)),
        }
        match self.event(timeout).await {
            Ok(Event::Answered(result)) => End::Answered(result),
            Ok(Event::InitFailed(error)) => End::Died(error),
            Ok(Event::Taken) => End::Died(exit_error(&id, None)),
            Err(Silence::Exited(status)) => End::Died(exit_error(&id, status)),
            Err(Silence::TimedOut) => {
                self.process.kill();
                End::Died(timeout_error(&id, timeout))
            }
        }
    }

    async fn event(&mut self, limit: Duration) -> Result<Event, Silence> {
        let process = Arc::clone(&self.process);
        tokio::select! {
            biased;
            event = self.events.recv() => event.ok_or(Silence::Exited(None)),
            status = process.exited() => self.events.try_recv().map_err(|_| Silence::Exited(status)),
            () = tokio::time::sleep(limit) => Err(Silence::TimedOut),
        }
    }

    /// The most resident memory the process has had so far, in bytes.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", lock(&self.process.0).id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// How long the process's threads have run on a processor so far.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", lock(&self.process.0).id())).ok()?;
        // A thread may end while its neighbours are read.
        let times =
            threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
        times.map(|line| Some(Duration::from_nanos(line.split(' ').next()?.parse().ok()?))).sum()
    }
}

/// The process as Lambda starts it: nothing of our own environment gets in.
fn command(function: &Function, runtime_api: &str) -> anyhow::Result<Command> {
    let name = &function.name;
    let root = function.bootstrap.parent().unwrap_or(FilePath::new("/"));
    let log = || {
        let file = std::fs::OpenOptions::new().append(true).open(function.log.path());
        file.map(Stdio::from).context("opening the function's log")
    };
    let mut command = Command::new(&function.bootstrap);
    command
        .current_dir(root)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin")
        .env("LANG", "en_US.UTF-8")
        .env("TZ", ":UTC")
        .env("_HANDLER", "bootstrap")
        .env("LAMBDA_TASK_ROOT", root)
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]local")
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_SESSION_TOKEN", "local")
        .envs(function.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log()?)
        .stderr(log()?);
    Ok(command)
}

fn exit_error(id: &str, status: Option<ExitStatus>) -> FunctionError {
    let reason = match status {
        Some(status) if !status.success() => format!("Runtime exited with error: {status}"),
        _ => "Runtime exited without providing a reason".to_owned(),
    };
    FunctionError {
        error_type: "Runtime.ExitError".to_owned(),
        error_message: format!("RequestId: {id} Error: {reason}"),
    }
}

fn timeout_error(id: &str, timeout: Duration) -> FunctionError {
    let now = keyturn::clock::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let seconds = timeout.as_secs_f64();
    FunctionError {
        error_type: "Sandbox.Timedout".to_owned(),
        error_message: format!("{now} {id} Task timed out after {seconds:.2} seconds"),
    }
}

/// The Runtime API of one environment.
struct RuntimeApi {
    arn: String,
    faults: Faults,
    waiting: AsyncMutex<mpsc::Receiver<Job>>,
    /// The id of the invocation the process has taken and not answered.
    running: Mutex<Option<String>>,
    notify: mpsc::UnboundedSender<Event>,
    /// When the process started; taken by its first request for work.
    spawned: Mutex<Option<Instant>>,
    cold_starts: Arc<Mutex<Vec<Duration>>>,
}

fn routes(api: Arc<RuntimeApi>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .with_state(api)
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Response {
    if let Some(spawned) = lock(&api.spawned).take() {
        lock(&api.cold_starts).push(spawned.elapsed());
    }
    let Some(job) = api.waiting.lock().await.recv().await else { cut() };
    let event: Value = serde_json::from_slice(&job.payload).unwrap_or(Value::Null);
    api.faults.enter_step(event["Step"].as_str().unwrap_or_default());
    *lock(&api.running) = Some(job.id.clone());
    let _ = api.notify.send(Event::Taken);
    let deadline = keyturn::clock::now() + job.timeout;
    let qualifier = job.qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", job.id.clone()),
        ("lambda-runtime-deadline-ms", deadline.timestamp_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", format!("{}{qualifier}", api.arn)),
        ("lambda-runtime-trace-id", format!("Root=1-00000000-{};Sampled=0", job.id.replace('-', ""))),
    ];
    (headers, job.payload).into_response()
}

async fn response(State(api): State<Arc<RuntimeApi>>, Path(id): Path<String>, body: Bytes) -> Response {
    api.answered(&id, Ok(body))
}

async fn error(State(api): State<Arc<RuntimeApi>>, Path(id): Path<String>, body: Bytes) -> Response {
    api.answered(&id, Err(reported(&body)))
}

async fn init_error(State(api): State<Arc<RuntimeApi>>, body: Bytes) -> Response {
    let _ = api.notify.send(Event::InitFailed(reported(&body)));
    accepted()
}

impl RuntimeApi {
    fn answered(&self, id: &str, result: Result<Bytes, FunctionError>) -> Response {
        if lock(&self.running).take_if(|running| running == id).is_none() {
            let body = json!({"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"});
            return (StatusCode::BAD_REQUEST, body.to_string()).into_response();
        }
        let _ = self.notify.send(Event::Answered(result));
        accepted()
    }
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, json!({"status": "OK"}).to_string()).into_response()
}

/// The error a function reports, which need not be well-formed.
fn reported(body: &Bytes) -> FunctionError {
    serde_json::from_slice(body).unwrap_or_else(|_| FunctionError {
        error_type: "Unhandled".to_owned(),
        error_message: String::from_utf8_lossy(body).into_owned(),
    })
}
