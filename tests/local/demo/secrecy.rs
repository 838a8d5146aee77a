//! The search for passwords and tokens in clear.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use keyturn_tests::stacks::mongo::MongoStack;
use keyturn_tests::stacks::oncall::Oncall;
use keyturn_tests::stacks::postgres::{ADMIN, Stack};
use postgres_protocol::escape::escape_literal;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const SAMPLED_EVERY: Duration = Duration::from_millis(10);
/// How much of a verifier is shown.
const SHOWN: usize = 8;
const SCRAM: &str = "SCRAM-SHA-256$";

/// Every password, or token, that was in use.
#[derive(Default)]
pub(super) struct Credentials(BTreeSet<String>);

impl Credentials {
    /// Begins with those of the administrators.
    pub(super) fn of_the_stack(stack: &Stack) -> Self {
        Self([stack.admin_password.as_str(), stack.postgres.superuser_password()].map(str::to_owned).into())
    }

    /// Begins with those of the administrators, and with the keys to Atlas.
    pub(super) fn of_the_mongo_stack(stack: &MongoStack) -> Result<Self> {
        let atlas = stack.value(&stack.atlas_arn, "AWSCURRENT")?;
        let roots = stack.clusters.iter().map(|server| server.root().1.to_owned());
        let mut all: BTreeSet<String> = roots.collect();
        all.insert(stack.admin_password.clone());
        all.extend(["client_secret", "private_key"].iter().filter_map(|key| atlas[key].as_str().map(str::to_owned)));
        Ok(Self(all))
    }

    /// Adds the one in this credential.
    pub(super) fn remember(&mut self, credential: &Value) {
        self.0.extend(credential["password"].as_str().map(str::to_owned));
    }

    pub(super) fn remember_each(&mut self, secrets: Vec<String>) {
        self.0.extend(secrets);
    }

    /// Adds what the function was given for the four vendors.
    pub(super) fn remember_tokens(&mut self, world: &Oncall) {
        let webhook = world.slack.webhook_url();
        // The host of a webhook is no secret.
        let path = webhook.splitn(4, '/').last().unwrap_or_default().to_owned();
        self.0.extend([world.pagerduty.token(), world.okta.ssws_token(), world.datadog.api_key(), path]);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of them are in this text: as they are, or as SQL, JSON or a URL writes them.
    pub(super) fn hits(&self, text: &str) -> u64 {
        self.0.iter().filter(|password| spellings(password).iter().any(|spelling| text.contains(spelling))).count()
            as u64
    }
}

fn spellings(password: &str) -> [String; 4] {
    let quoted = |text: String| text.trim_matches(['\'', '"']).to_owned();
    let url = password.bytes().fold(String::new(), |mut url, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ => {
                let _ = write!(url, "%{byte:02X}"); // a String takes everything
            }
        }
        url
    });
    [password.to_owned(), quoted(escape_literal(password)), quoted(Value::from(password).to_string()), url]
}

/// Looks at what the server says it is doing, all the time.
pub(super) struct Sampler {
    seen: Arc<Mutex<BTreeSet<String>>>,
    sampling: JoinHandle<Result<()>>,
}

impl Sampler {
    pub(super) async fn start(stack: &Stack) -> Result<Self> {
        let superuser = stack.postgres.admin_client().await?;
        let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let sampling = tokio::spawn(async move {
            let activity = superuser
                .prepare("SELECT concat_ws(' ', usename, application_name, query) FROM pg_stat_activity")
                .await?;
            loop {
                let rows = superuser.query(&activity, &[]).await?;
                let lines = rows.iter().map(|row| row.get::<_, String>(0).replace('\n', " "));
                noted.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
                sleep(SAMPLED_EVERY).await;
            }
        });
        Ok(Self { seen, sampling })
    }

    /// Stops, and gives back every different line that was seen.
    pub(super) async fn finish(self) -> Result<String> {
        self.sampling.abort();
        match (&mut { self.sampling }).await {
            Ok(ended) => ended.context("sampling pg_stat_activity")?,
            Err(stopped) if stopped.is_cancelled() => {}
            Err(panicked) => return Err(panicked).context("sampling pg_stat_activity"),
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.iter().map(String::as_str).collect::<Vec<_>>().join("\n"))
    }
}

/// How the function set a password, from the server's log, the verifier shortened.
pub(super) fn statement_with_verifier(server_log: &str) -> Option<String> {
    let line = server_log.lines().rfind(|line| line.contains(&format!("{ADMIN}@")) && line.contains(SCRAM))?;
    let statement =
        line.split_once("statement: ").or(line.split_once("execute ")).map_or(line, |(_, statement)| statement);
    let start = ["ALTER ROLE", "CREATE ROLE"].iter().filter_map(|words| statement.find(words)).min()?;
    let (before, verifier) = statement[start..].split_once(SCRAM)?;
    let (iterations, salt) = verifier.split_once(':')?;
    let salt: String = salt.chars().take(SHOWN).collect();
    Some(format!("{before}{SCRAM}{iterations}:{salt}…'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_however_it_is_written() {
        let mut passwords = Credentials::default();
        passwords.remember(&serde_json::json!({"password": r#"it's "100%" \ ok"#}));
        for text in [r#"it's "100%" \ ok"#, r#"{"a": "it's \"100%\" \\ ok"}"#, "x=it%27s%20%22100%25%22%20%5C%20ok&"] {
            assert_eq!(passwords.hits(text), 1, "{text}");
        }
        assert_eq!(passwords.hits("nothing of that"), 0);
    }

    #[test]
    fn a_verifier_is_shown_and_not_given_away() {
        let log = "2026 [1] rotation_admin@shop LOG:  statement: ALTER ROLE \"shop\" LOGIN PASSWORD 'SCRAM-SHA-256$4096:c2FsdHNhbHQ=$stored:server'";
        let shown = statement_with_verifier(log).unwrap();
        assert_eq!(shown, "ALTER ROLE \"shop\" LOGIN PASSWORD 'SCRAM-SHA-256$4096:c2FsdHNh…'");
    }
}
