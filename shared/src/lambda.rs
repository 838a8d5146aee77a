//! Start-up of a function: logging, the AWS SDK, and the loop that hands events to a handler.

#[cfg(feature = "logs")]
use crate::logs::Logs;
#[cfg(feature = "parameters")]
use crate::parameters::Parameters;
use crate::secrets::Secrets;
use crate::settings::{Setting, Vars};
use crate::{Deadline, Error, Result, clock, defect, log, metrics};
use aws_config::BehaviorVersion;
pub use aws_config::SdkConfig;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use tracing::Level;

/// Amazon's root certificates ("Amazon Trust Services", repository of roots) and no others: parsing the system's whole
/// trust store takes longer than everything else at start.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// Shorter than any freeze of the execution environment that would leave a dead connection in the pool.
const IDLE_CONNECTION: Duration = Duration::from_secs(10);

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.code().to_owned(), error_message: error.to_string() }
    }
}

/// One event's turn.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub deadline: Deadline,
    /// As the caller named the function: an alias or version stands at its end.
    pub invoked_arn: String,
}

/// What a function is built from: its settings, and the clients of AWS.
pub struct Start {
    pub vars: Vars,
    aws: SdkConfig,
}

impl Start {
    /// Secrets Manager. `SECRETS_MANAGER_ENDPOINT`, which AWS's own rotation functions read, is honoured after the SDK's
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        let mut config = aws_sdk_secretsmanager::config::Builder::from(&self.aws);
        if self.vars.text(Setting::AwsEndpointUrlSecretsManager).is_none()
            && let Some(url) = self.vars.text(Setting::SecretsManagerEndpoint)
        {
            config = config.endpoint_url(url);
        }
        Secrets::new(aws_sdk_secretsmanager::Client::from_conf(config.build()))
    }

    /// What a client of another service is made from.
    #[must_use]
    pub fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// Parameter Store.
    #[cfg(feature = "parameters")]
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        Parameters::new(aws_sdk_ssm::Client::new(&self.aws))
    }

    /// CloudWatch Logs.
    #[cfg(feature = "logs")]
    #[must_use]
    pub fn logs(&self) -> Logs {
        Logs::new(aws_sdk_cloudwatchlogs::Client::new(&self.aws))
    }
}

/// Runs a function until Lambda ends the process: logging and the SDK first, then `build`, then each event to what was
/// built, with its [`Invocation`]. Where `build` refuses the settings, each event is answered with that refusal.
///
/// # Errors
/// When Lambda's Runtime API cannot be spoken to.
pub fn run<H, R>(build: impl FnOnce(Start) -> Result<H>) -> std::result::Result<(), lambda_runtime::Error>
where
    H: AsyncFn(&Value, Invocation) -> Result<R>,
    R: Serialize,
{
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut vars = Vars::environment();
        start_logging(&mut vars);
        let aws = aws(&mut vars).await;
        let handler = build(Start { vars, aws }).inspect_err(|error| {
            tracing::error!(code = error.code(), remedy = error.remedy(), "{}", error.message());
        });
        let handler = &handler;
        lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
            let deadline = Deadline::of_invocation(event.context.deadline(), clock::now().into());
            let invocation = Invocation { deadline, invoked_arn: event.context.invoked_function_arn };
            match handler {
                Ok(handler) => handler(&event.payload, invocation).await,
                Err(error) => Err(error.clone()),
            }
        }))
        .await
    })
}

/// Starts logging at `LOG_LEVEL`, and names the metrics after the deployed function.
fn start_logging(vars: &mut Vars) {
    if let Some(name) = vars.text(Setting::AwsLambdaFunctionName) {
        metrics::deployed_as(name);
    }
    let level = vars.parsed(Setting::LogLevel, |value| {
        value.parse().map_err(|_| "not one of trace, debug, info, warn, error".to_owned())
    });
    log::start(level.unwrap_or(Level::INFO));
    defect::hook();
}

/// The AWS SDK's configuration: credentials and region as every SDK finds them, standard retries, and an HTTPS client that
/// trusts Amazon's roots, or those in `AWS_CA_BUNDLE` (path of a PEM file) instead.
///
/// Mistakes in the endpoint variables and the bundle are noted in `vars`.
async fn aws(vars: &mut Vars) -> SdkConfig {
    for endpoint in [
        Setting::AwsEndpointUrl,
        Setting::AwsEndpointUrlSecretsManager,
        Setting::AwsEndpointUrlRds,
        Setting::AwsEndpointUrlSsm,
        Setting::AwsEndpointUrlCloudwatchLogs,
        Setting::SecretsManagerEndpoint,
    ] {
        vars.parsed(endpoint, check_endpoint);
    }
    let bundle = vars.parsed(Setting::AwsCaBundle, read_bundle);
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(https_client(bundle.as_deref().unwrap_or(AMAZON_ROOTS)))
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(3))
                .operation_attempt_timeout(Duration::from_secs(8))
                .build(),
        );
    config.load().await
}

/// Every certificate in it must be one: the SDK's client would find out only at the first call, and panic.
fn read_bundle(path: &str) -> std::result::Result<Vec<u8>, String> {
    let pem = std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(format!("{path} is no PEM file of certificates")),
    }
}

fn https_client(roots: &[u8]) -> SharedHttpClient {
    let mut client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    // `build` never fails today; were it to, servers would still be verified, by the system's roots.
    if let Ok(context) = TlsContext::builder().with_trust_store(TrustStore::empty().with_pem_certificate(roots)).build()
    {
        client = client.tls_context(context);
    }
    client.pool_idle_timeout(IDLE_CONNECTION).build_https()
}

/// Plain HTTP is for this machine only: tests and the local stack.
fn check_endpoint(url: &str) -> std::result::Result<(), String> {
    let rest = match url.split_once("://") {
        Some(("https", _)) => return Ok(()),
        Some(("http", rest)) => rest,
        _ => return Err("not an https URL".to_owned()),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // "localhost:80@elsewhere" is a user and a password at another host: only digits make a port.
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let host = authority.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(authority, |(host, _)| host);
    if ["localhost", "127.0.0.1", "[::1]"].contains(&host) {
        Ok(())
    } else {
        Err("plain http outside this machine".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Code;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (url, fine) in [
            ("https://secretsmanager.eu-west-1.amazonaws.com", true),
            ("http://127.0.0.1:4566", true),
            ("http://localhost", true),
            ("http://[::1]:80/x", true),
            ("http://10.0.0.1:4566", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://localhost@evil.example/", false),
            ("http://localhost:80@evil.example/", false),
            ("ftp://localhost", false),
            ("secretsmanager", false),
        ] {
            assert_eq!(check_endpoint(url).is_ok(), fine, "{url}");
        }
    }

    #[test]
    fn a_bundle_that_the_client_could_not_read_is_refused() {
        let path = std::env::temp_dir().join(format!("keyturn-bundle-{}.pem", std::process::id()));
        let roots = String::from_utf8(AMAZON_ROOTS.to_vec()).unwrap();
        for (text, fine) in
            [(roots.as_str(), true), ("", false), (&roots[..roots.len() - 60], false), ("certificate", false)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_bundle(path.to_str().unwrap()).is_ok(), fine, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_error_reaches_lambda_under_its_code_with_its_remedy() {
        let diagnostic = Diagnostic::from(Error::new(Code::InternalDefect, "It broke.", "Mend it."));
        assert_eq!(diagnostic.error_type, "INTERNAL_DEFECT");
        assert_eq!(diagnostic.error_message, "It broke. Mend it.");
    }
}
