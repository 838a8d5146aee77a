//! `explain`: where each label sits, since when, what its value logs in to; and what stops the rotation, if something does.

use super::check::examine;
use super::{Finding, told, version_with};
use crate::guards::Verdict;
use crate::place;
use crate::postgres::Postgres;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::Kind;
use keyturn::rotation::{Job, drop_pending, follows, keep_pending};
use keyturn::secrets::{CURRENT, Description, PENDING, PREVIOUS, Stored};
use keyturn::{Error, Result};
use keyturn_postgres::{Login, Place};
use secrecy::ExposeSecret as _;
use serde::Serialize;

/// Where a rotation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    action: &'static str,
    secret: String,
    /// A pending version waits to become current.
    under_way: bool,
    /// This answer in sentences, for people: `jq -r '.says[]'`.
    says: Vec<String>,
    versions: Vec<Version>,
    /// Findings that do not stop the rotation, such as a replica that lags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Finding>,
    /// What stops the rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Finding>,
    /// What to do, or to run, next; nothing where nothing is stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The version with a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Version {
    label: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    login: Attempted,
}

/// How a value's login went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Attempted {
    LogsIn,
    /// The server refused the password.
    Refused,
    /// The version holds no value, one that cannot be read, or one for another server, which gets no password from here.
    NotTried(String),
    /// The server could not be asked, or had another objection.
    Unknown(String),
}

/// Errors: what reading the secret's labels can say.
pub(super) async fn explain(postgres: &Postgres, description: &Description, job: &Job) -> Result<Explanation> {
    let read = async |label| postgres.secrets.read(&job.secret_arn, label, None, job.deadline).await;
    let (current, pending, previous) =
        Box::pin(async { tokio::join!(read(CURRENT), read(PENDING), read(PREVIOUS)) }).await;
    let current = Value::of(current?);
    let server = current.place(job).map(|place| postgres.server(place, job));
    let mut versions = Vec::new();
    let pending = Value::of(pending?);
    let previous = Value::of(previous?);
    for (label, value) in [(CURRENT, &current), (PENDING, &pending), (PREVIOUS, &previous)] {
        if let Some(id) = version_with(description, label) {
            let login = value.tried(postgres, server.as_ref(), job).await;
            let user = value.credential.as_ref().ok().map(|credential| credential.username().to_owned());
            versions.push(Version { label, id: id.to_owned(), since: value.since.clone(), user, login });
        }
    }
    let token = version_with(description, PENDING).filter(|token| Some(*token) != version_with(description, CURRENT));
    let Verdict { refusals, warnings } = Box::pin(examine(postgres, description, job)).await.verdict;
    let refusal = match (token, &current.credential) {
        (Some(token), Ok(current)) => {
            let works = versions.iter().any(|version| version.label == PENDING && version.login == Attempted::LogsIn);
            kept_from_following(postgres, current, &pending, token, works, job)
        }
        _ => None,
    };
    let refusal = refusal.or(refusals.into_iter().next());
    let next = match (&refusal, token) {
        (Some(refusal), _) => Some(refusal.remedy().to_owned()),
        (None, Some(_)) => Some(format!("aws secretsmanager rotate-secret --secret-id {}", job.secret_arn)),
        (None, None) => None,
    };
    let mut says: Vec<String> = versions.iter().map(Version::sentence).collect();
    says.push(match (token, &refusal) {
        (None, None) => "No rotation is under way, and the next one would go through.".to_owned(),
        (None, Some(_)) => "No rotation is under way. The next one would be refused:".to_owned(),
        (Some(_), None) => {
            "A rotation is under way, and nothing stops it: Secrets Manager takes the pending version up again."
                .to_owned()
        }
        (Some(_), Some(_)) => "A rotation is stuck:".to_owned(),
    });
    says.extend(refusal.iter().map(|error| format!("{}: {}", error.code(), error.message())));
    says.extend(next.iter().map(|next| format!("To do: {next}")));
    says.extend(warnings.iter().flat_map(|warning| told("Warning", warning)));
    Ok(Explanation {
        action: "explain",
        secret: job.secret_arn.clone(),
        under_way: token.is_some(),
        says,
        versions,
        warnings: warnings.iter().map(Finding::from).collect(),
        refusal: refusal.as_ref().map(Finding::from),
        next,
    })
}

/// The error that the next step of the rotation under way ends with, where the AWSPENDING value does not follow the AWSCURRENT one.
fn kept_from_following(
    postgres: &Postgres,
    current: &Credential,
    pending: &Value,
    token: &str,
    works: bool,
    job: &Job,
) -> Option<Error> {
    // As the steps say.
    let may_be_the_only_one = |pending: &Credential| {
        works
            && pending.username() == current.username()
            && pending.password().expose_secret() != current.password().expose_secret()
    };
    let remedy = if pending.credential.as_ref().is_ok_and(may_be_the_only_one) {
        keep_pending(&job.secret_arn)
    } else {
        format!("Drop the pending version, then rotate again: {}", drop_pending(&job.secret_arn, token))
    };
    let refusal = match &pending.credential {
        Err(error) if error.is(Core::PendingHasNoValue) => return None,
        Err(error) => Ok(Some(error.clone())),
        Ok(pending) => follows(postgres, current, pending, job),
    };
    refusal.map_or_else(Some, |refusal| refusal.map(|refusal| refusal.with_remedy(remedy)))
}

/// A value as it is stored.
struct Value {
    credential: Result<Credential>,
    since: Option<String>,
}

impl Value {
    fn of(stored: Option<Stored>) -> Self {
        let Some(stored) = stored else {
            let empty = Error::new(Core::PendingHasNoValue, "The version holds no value.", "");
            return Self { credential: Err(empty), since: None };
        };
        Self { credential: Credential::parse(stored.text, "the value"), since: stored.created }
    }

    fn place(&self, job: &Job) -> Option<Place> {
        place::of_rotated(self.credential.as_ref().ok()?, "the value", job).ok()
    }

    /// Tries the value at `server`, where the current one belongs, and nowhere else: whoever writes a value may name servers
    /// that collect passwords.
    async fn tried(&self, postgres: &Postgres, server: Option<&Place>, job: &Job) -> Attempted {
        let credential = match &self.credential {
            Ok(credential) => credential,
            Err(error) => return Attempted::NotTried(error.message().to_owned()),
        };
        let place = self.place(job).map(|place| postgres.server(place, job));
        let Some(place) = place.filter(|place| server.is_some_and(|server| server.address == place.address)) else {
            return Attempted::NotTried("It is for another server than the current value.".to_owned());
        };
        match postgres.connector.open_once(&Login::new(credential, place), job.deadline).await {
            Ok(_) => Attempted::LogsIn,
            Err(failure) if failure.kind == Kind::PasswordRefused => Attempted::Refused,
            Err(failure) => Attempted::Unknown(failure.error.to_string()),
        }
    }
}

impl Version {
    fn sentence(&self) -> String {
        let Self { label, id, since, user, login } = self;
        let since = since.as_ref().map(|since| format!(", made {since}")).unwrap_or_default();
        let user = user.as_ref().map(|user| format!(" (user {user:?})")).unwrap_or_default();
        let login = match login {
            Attempted::LogsIn => "logs in".to_owned(),
            Attempted::Refused => "is refused by the server".to_owned(),
            Attempted::NotTried(why) => format!("was not tried: {}", why.trim_end_matches('.')),
            Attempted::Unknown(why) => format!("could not be tried: {}", why.trim_end_matches('.')),
        };
        format!("{label} is version {id}{since}{user}; it {login}.")
    }
}
