//! AWS JSON 1.1, the protocol of Secrets Manager, Parameter Store and CloudWatch Logs: strict reading of requests, replies, errors.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The region everything in the local stack lives in.
pub const REGION: &str = "eu-west-1";
/// The account everything in the local stack belongs to.
pub const ACCOUNT: &str = "123456789012";

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// The services behind the one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    SecretsManager,
    ParameterStore,
    Logs,
}

impl Service {
    fn of_target(prefix: &str) -> Option<Self> {
        match prefix {
            "secretsmanager" => Some(Self::SecretsManager),
            "AmazonSSM" => Some(Self::ParameterStore),
            "Logs_20140328" => Some(Self::Logs),
            _ => None,
        }
    }

    /// The name of the service in `SigV4` credential scopes and in IAM actions.
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::ParameterStore => "ssm",
            Self::Logs => "logs",
        }
    }
}

pub(crate) struct Request {
    pub(crate) service: Service,
    pub(crate) action: String,
    pub(crate) body: Value,
}

#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) message: String,
    /// The request breaks the protocol; no correct client sends it.
    pub(crate) violation: bool,
}

impl Failure {
    /// A refusal that a correct client must expect.
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { status: 400, kind: kind.to_owned(), message: message.into(), violation: false }
    }

    /// A request that no correct client sends.
    pub(crate) fn violation(kind: &str, message: impl Into<String>) -> Self {
        Self { violation: true, ..Self::new(kind, message) }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

impl Request {
    /// Reads a request, or says what is wrong with it.
    pub(crate) fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Self, Failure> {
        if method != Method::POST || uri.path() != "/" || uri.query().is_some() {
            return Err(Failure::violation("UnknownOperationException", format!("{method} {uri} is not POST /")));
        }
        let content_type = header(headers, "content-type")?;
        if content_type != CONTENT_TYPE {
            return Err(Failure::violation("UnknownOperationException", format!("content type {content_type}")));
        }
        let target = header(headers, "x-amz-target")?;
        let (service, action) = target
            .split_once('.')
            .and_then(|(prefix, action)| Some((Service::of_target(prefix)?, action.to_owned())))
            .ok_or_else(|| Failure::violation("UnknownOperationException", format!("unknown target {target}")))?;
        check_signature(headers, service.signing_name())?;
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Failure::violation("SerializationException", format!("{target}: {error}")))?;
        Ok(Self { service, action, body })
    }

    /// The body as this action's fields; a field it does not know is an error.
    pub(crate) fn fields<T: DeserializeOwned>(self) -> Result<T, Failure> {
        serde_json::from_value(self.body)
            .map_err(|error| Failure::violation("ValidationException", format!("{}: {error}", self.action)))
    }

    /// The reply to an action that this emulator does not have.
    pub(crate) fn unknown_action(&self) -> Failure {
        Failure::violation("UnknownOperationException", format!("unknown action {}", self.action))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Failure> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Failure::violation("MissingHeaderException", format!("header {name} is missing")))
}

/// Looks at the form of the signature only: the emulator knows no secret keys.
pub(crate) fn check_signature(headers: &HeaderMap, service: &str) -> Result<(), Failure> {
    let authorization = header(headers, "authorization")
        .map_err(|failure| Failure { kind: "MissingAuthenticationTokenException".to_owned(), ..failure })?;
    header(headers, "x-amz-date")?;
    let scope = format!("/{REGION}/{service}/aws4_request");
    let well_formed = authorization.starts_with("AWS4-HMAC-SHA256 Credential=")
        && authorization.split([' ', ',']).any(|part| part.starts_with("Credential=") && part.ends_with(&scope))
        && authorization.contains("SignedHeaders=")
        && authorization.contains("Signature=");
    if well_formed {
        return Ok(());
    }
    let message = format!("the Authorization header is no SigV4 signature for {scope}");
    Err(Failure::violation("IncompleteSignatureException", message))
}

pub(crate) fn respond(reply: &Result<Value, Failure>) -> Response {
    let request_id = uuid();
    match reply {
        Ok(body) => {
            ([("content-type", CONTENT_TYPE), ("x-amzn-requestid", &request_id)], body.to_string()).into_response()
        }
        Err(failure) => {
            let status = axum::http::StatusCode::from_u16(failure.status).unwrap_or_default();
            let body = json!({"__type": failure.kind, "Message": failure.message});
            let headers = [
                ("content-type", CONTENT_TYPE),
                ("x-amzn-requestid", &request_id),
                ("x-amzn-errortype", &failure.kind),
            ];
            (status, headers, body.to_string()).into_response()
        }
    }
}

/// A random (version 4) UUID.
pub(crate) fn uuid() -> String {
    let random: u128 = rand::random();
    let fixed = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{fixed:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Seconds since 1970, as AWS JSON writes times.
pub(crate) fn epoch_seconds() -> f64 {
    SystemTime::from(keyturn::clock::now()).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
