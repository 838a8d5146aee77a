//! AWS as the function sees it: Secrets Manager, Parameter Store and CloudWatch Logs behind one endpoint, with the stack's faults.
//!
//! There are two listeners. What the function calls is recorded in the fault plan and struck by it; everybody else (a
//! client that watches a secret, a test) goes in by the other door, where nothing goes wrong.

mod clients;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::Value;

pub use clients::{function_config, logs_client, parameters_client, secrets_client};

use crate::aws_json::{ACCOUNT, Failure, Request, Service, respond};
use crate::faults::{Fault, Faults, Moment};
use crate::logs::LogGroups;
use crate::secrets_manager::{Asker, SecretsManager};
use crate::server::{Server, cut};
use crate::ssm::ParameterStore;
use crate::tcp;

/// What AWS answers instead of doing what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The function's role lacks the action.
    AccessDenied,
    /// The function's role may not use the KMS key.
    KmsAccessDenied,
    /// The KMS key cannot decrypt (disabled, about to be deleted).
    DecryptionFailure,
    /// The KMS key cannot encrypt (disabled, about to be deleted).
    EncryptionFailure,
    /// Too many requests.
    Throttling,
    /// AWS has a bad day.
    InternalError,
}

impl Refusal {
    fn failure(self, request: &Request) -> Failure {
        let service = request.service.signing_name();
        match self {
            Self::AccessDenied => {
                let action = &request.action;
                let message = format!(
                    "User: arn:aws:sts::{ACCOUNT}:assumed-role/keyturn/keyturn is not authorized to perform: \
                     {service}:{action} because no identity-based policy allows the {service}:{action} action"
                );
                Failure::new("AccessDeniedException", message)
            }
            Self::KmsAccessDenied => Failure::new("AccessDeniedException", "Access to KMS is not allowed"),
            Self::DecryptionFailure => Failure::new(
                "DecryptionFailure",
                "Secrets Manager can't decrypt the protected secret text using the provided KMS key.",
            ),
            Self::EncryptionFailure => Failure::new(
                "EncryptionFailure",
                "Secrets Manager can't encrypt the protected secret text using the provided KMS key.",
            ),
            Self::Throttling => Failure::new("ThrottlingException", "Rate exceeded"),
            Self::InternalError => {
                let kind = match request.service {
                    Service::SecretsManager => "InternalServiceError",
                    Service::ParameterStore => "InternalServerError",
                    Service::Logs => "ServiceUnavailableException",
                };
                Failure::new(kind, "An error occurred on the server side.").with_status(500)
            }
        }
    }
}

struct Planned {
    action: String,
    refusal: Refusal,
    times: usize,
}

struct Front {
    secrets: SecretsManager,
    parameters: ParameterStore,
    logs: LogGroups,
    faults: Faults,
    planned: Mutex<Vec<Planned>>,
    latency: Mutex<Duration>,
    violations: Mutex<Vec<String>>,
}

/// The running emulators. Dropped, they are gone.
pub struct Aws {
    /// Secrets Manager, to set up and to look at.
    pub secrets: SecretsManager,
    /// Parameter Store, to set up and to look at.
    pub parameters: ParameterStore,
    /// CloudWatch Logs, to set up.
    pub logs: LogGroups,
    front: Arc<Front>,
    for_function: Server,
    for_clients: Server,
}

impl Aws {
    /// Starts the services on free loopback ports.
    pub async fn start(faults: Faults) -> anyhow::Result<Self> {
        let secrets = SecretsManager::new()?;
        let parameters = ParameterStore::default();
        let logs = LogGroups::default();
        let front = Arc::new(Front {
            secrets: secrets.clone(),
            parameters: parameters.clone(),
            logs: logs.clone(),
            faults,
            planned: Mutex::default(),
            latency: Mutex::default(),
            violations: Mutex::default(),
        });
        let for_function = Server::start(Router::new().fallback(function_call).with_state(Arc::clone(&front))).await?;
        let for_clients = Server::start(Router::new().fallback(client_call).with_state(Arc::clone(&front))).await?;
        Ok(Self { secrets, parameters, logs, front, for_function, for_clients })
    }

    /// The endpoint for the function under test (`AWS_ENDPOINT_URL`): recorded, and struck by faults.
    #[must_use]
    pub fn url(&self) -> String {
        self.for_function.url()
    }

    /// The endpoint for everybody else: the same state, no records, no faults.
    #[must_use]
    pub fn client_url(&self) -> String {
        self.for_clients.url()
    }

    /// Refuses the function's next `times` calls of an action.
    pub fn refuse(&self, action: &str, refusal: Refusal, times: usize) {
        lock(&self.front.planned).push(Planned { action: action.to_owned(), refusal, times });
    }

    /// Takes every refusal back that is still to come.
    pub fn allow_all(&self) {
        lock(&self.front.planned).clear();
    }

    /// Lets each of the function's calls take this much longer, as over a network.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.front.latency) = latency;
    }

    /// Every request so far that no correct client would have sent. Empty at the end of a good test.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.front.violations).clone()
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.secrets.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn function_call(
    State(front): State<Arc<Front>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = match Request::read(&method, &uri, &headers, &body) {
        Ok(request) => request,
        Err(failure) => return front.reply(&Err(failure)),
    };
    let call = front.faults.begin(&front.call_name(&request));
    let latency = *lock(&front.latency);
    tcp::pause(latency).await;
    if let Some(fault) = front.faults.at(&call, Moment::Before).await {
        return carry_out(&fault);
    }
    let answer = match front.refusal(&request) {
        Some(failure) => Err(failure),
        None => front.answer(request, Asker::Function),
    };
    let reply = front.reply(&answer);
    match front.faults.at(&call, Moment::After).await {
        Some(fault) => carry_out(&fault),
        None => reply,
    }
}

async fn client_call(
    State(front): State<Arc<Front>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = Request::read(&method, &uri, &headers, &body).and_then(|request| front.answer(request, Asker::Client));
    front.reply(&answer)
}

impl Front {
    fn call_name(&self, request: &Request) -> String {
        match request.service {
            Service::SecretsManager => self.secrets.call_name(request),
            Service::ParameterStore => ParameterStore::call_name(request),
            Service::Logs => LogGroups::call_name(request),
        }
    }

    fn refusal(&self, request: &Request) -> Option<Failure> {
        let mut planned = lock(&self.planned);
        let next = planned.iter_mut().find(|planned| planned.action == request.action && planned.times > 0)?;
        next.times -= 1;
        Some(next.refusal.failure(request))
    }

    fn answer(&self, request: Request, asker: Asker) -> Result<Value, Failure> {
        match request.service {
            Service::SecretsManager => self.secrets.answer(request, asker),
            Service::ParameterStore => self.parameters.answer(request),
            Service::Logs => self.logs.answer(request),
        }
    }

    fn reply(&self, answer: &Result<Value, Failure>) -> Response {
        if let Err(failure) = answer
            && failure.violation
        {
            lock(&self.violations).push(format!("{}: {}", failure.kind, failure.message));
        }
        respond(answer)
    }
}

/// A killed function never sees a reply; `Slow` has been waited for in the plan and does not come here.
fn carry_out(fault: &Fault) -> Response {
    match fault {
        Fault::Status(status, kind) => respond(&Err(Failure::new(kind, "Injected fault").with_status(*status))),
        Fault::Garbage => Html("<html><body>Bad gateway</body></html>").into_response(),
        Fault::Kill | Fault::Cut | Fault::Slow(_) => cut(),
    }
}
