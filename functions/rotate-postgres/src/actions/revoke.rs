//! `revoke`: a credential has leaked. First a rotation moves clients to the other user; then the leaked user, which nobody uses
//! any more, loses its password until the next rotation gives it a new one. AWSCURRENT logs in all the while.
//!
//! Each invocation goes as far as it can, and says how to go on: what it goes by are the labels and the server, not a memory.
//!
//! | the leaked version | what is done | state |
//! |---|---|---|
//! | is AWSCURRENT | a rotation is started, unless one is under way | `rotating` |
//! | is not; its password is refused | nothing: it is dead | `revoked` |
//! | is not; sessions of its user are open | nothing, but with `force` the next row | `waiting` |
//! | is not, and no session is open | its user's password is taken away, and with `force` its sessions end | `revoked` |

use super::version_with;
use crate::catalog;
use crate::codes::Code;
use crate::guards;
use crate::layout::Turn;
use crate::place::Place;
use crate::postgres::Postgres;
use crate::session::{Login, Session};
use crate::survey::{self, Survey};
use crate::transaction;
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::credential::Credential;
use keyturn::failure::Kind;
use keyturn::rotation::{Job, no_current};
use keyturn::secrets::{CURRENT, Description, PENDING};
use keyturn::{Error, Result, clock};
use serde::Serialize;
use serde_json::{Value, json};

/// How far the revocation has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    action: &'static str,
    secret: String,
    /// The version that leaked.
    version: String,
    state: State,
    /// The user whose password is dead, or is to die; not known before the rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// From when on the leaked password was seen to be refused, as RFC 3339 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_at: Option<String>,
    /// This answer in sentences, for people: `jq -r '.says[]'`.
    says: Vec<String>,
    /// The event that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Rotating,
    Waiting,
    Revoked,
}

/// What is asked for.
pub(super) struct Asked<'e> {
    /// The version that leaked; AWSCURRENT's, where none is named.
    pub(super) version: Option<&'e str>,
    /// Ends open sessions instead of waiting for their end.
    pub(super) force: bool,
}

/// Errors: those of a rotation's createSecret, `ROTATION_DISABLED`, `VERSION_UNKNOWN`, `CURRENT_MOVED`.
pub(super) async fn revoke(
    postgres: &Postgres,
    description: &Description,
    job: &Job,
    asked: &Asked<'_>,
) -> Result<Revocation> {
    let current = version_with(description, CURRENT).ok_or_else(|| no_current(&job.secret_arn))?;
    let version = asked.version.unwrap_or(current);
    let go_on = |says: String, state| Revocation {
        action: "revoke",
        secret: job.secret_arn.clone(),
        version: version.to_owned(),
        state,
        user: None,
        refused_at: None,
        says: vec![says],
        next: Some(json!({"action": "revoke", "secret": job.secret_arn, "version": version})),
    };
    if version == current {
        return Ok(go_on(rotated(postgres, description, job).await?, State::Rotating));
    }
    let of = async |label: &str, token: Option<&str>| {
        postgres.secrets.read(&job.secret_arn, label, token, job.deadline).await
    };
    let (stored, leaked) = Box::pin(async { tokio::join!(of(CURRENT, None), leaked(postgres, version, job)) }).await;
    let stored = stored?.ok_or_else(|| no_current(&job.secret_arn))?;
    let (current, leaked) = (Credential::parse(stored.text, "the AWSCURRENT value")?, leaked?);
    let user = leaked.username();
    let survey = Box::pin(survey::survey(postgres, &current, job)).await?;
    let named = Place::of_rotated(&current, "The AWSCURRENT value", job)?;
    let login = Login::new(&leaked, postgres.server(named, job));
    let revoked = |says: String| {
        let at = clock::now().to_rfc3339();
        tracing::warn!(code = Code::CredentialRevoked.name(), user, version, refused_at = at, "{says}");
        let answer = go_on(says, State::Revoked);
        Revocation { user: Some(user.to_owned()), refused_at: Some(at), next: None, ..answer }
    };
    if is_refused(postgres, &login, job).await? {
        return Ok(revoked(format!("The password of {user:?} in this version is refused by the server.")));
    }
    if user == current.username() {
        return Ok(go_on(rotated(postgres, description, job).await?, State::Rotating));
    }
    let turn = survey.case.layout.turn(current.username(), user)?;
    let sessions = survey.catalog.role(user).map_or(0, |role| role.sessions);
    if sessions > 0 && !asked.force {
        let answer = go_on(
            format!(
                "{sessions} session(s) of {user:?} are open: clients that have not read the secret yet. Let them read it, and ask again; or ask with \"force\": true, which ends them."
            ),
            State::Waiting,
        );
        return Ok(Revocation { user: Some(user.to_owned()), ..answer });
    }
    let session = survey.admin.open(postgres, job.deadline).await?.until(job.deadline);
    let ended = Box::pin(taken_away(postgres, &survey, &session, &turn, job, asked.force)).await?;
    if !is_refused(postgres, &login, job).await? {
        return Err(Error::new(
            Core::DatabaseBusy,
            format!("The password of {user:?} was taken away, but still logs in: somebody else has set it again."),
            "Find out who, and ask again.",
        ));
    }
    Ok(revoked(format!("The password of {user:?} in this version is dead; {ended} session(s) of it were ended.")))
}

/// Has clients moved to the other user, and says so.
async fn rotated(postgres: &Postgres, description: &Description, job: &Job) -> Result<String> {
    let secret = &job.secret_arn;
    if description.rotation_enabled != Some(true) {
        return Err(Error::new(
            Core::RotationDisabled,
            format!("Rotation is switched off for {secret}, so its clients cannot be moved to the other user."),
            format!("Attach it first: infra/examples/attach/cli.sh {secret} rotate-postgres"),
        ));
    }
    let pending = version_with(description, PENDING);
    if pending.is_some_and(|pending| Some(pending) != version_with(description, CURRENT)) {
        return Ok("A rotation is under way; if it is stuck, {\"action\": \"explain\"} says why. Once it has ended, ask again as `next` has it.".to_owned());
    }
    postgres.secrets.rotate(secret, job.deadline).await?;
    Ok("This version is in use, so a rotation was started. Once it has ended, ask again as `next` has it.".to_owned())
}

async fn leaked(postgres: &Postgres, version: &str, job: &Job) -> Result<Credential> {
    let stored = postgres.secrets.version(&job.secret_arn, version, job.deadline).await?;
    let stored = stored.ok_or_else(|| {
        Error::new(
            Code::VersionUnknown,
            format!("{} has no version {version}, or it holds no value.", job.secret_arn),
            format!(
                "Name one of these: aws secretsmanager list-secret-version-ids --include-deprecated --secret-id {}",
                job.secret_arn
            ),
        )
    })?;
    Credential::parse(stored.text, &format!("the value of version {version}"))
}

/// Whether the server refuses the password.
///
/// Errors: it could not be asked.
async fn is_refused(postgres: &Postgres, login: &Login, job: &Job) -> Result<bool> {
    match postgres.connector.open(login, job.deadline).await {
        Ok(_) => Ok(false),
        Err(failure) => match failure.kind {
            Kind::PasswordRefused => Ok(true),
            Kind::PasswordAccepted => Ok(false),
            _ => Err(failure.error),
        },
    }
}

/// Takes the user's password away, and ends its sessions where that is asked for. Gives back how many.
async fn taken_away(
    postgres: &Postgres,
    survey: &Survey,
    session: &Session,
    turn: &Turn,
    job: &Job,
    force: bool,
) -> Result<i64> {
    let Survey { case, admin, .. } = survey;
    let query = catalog::Query {
        names: [&turn.current, &turn.pending].into_iter().cloned().chain(turn.base().map(str::to_owned)).collect(),
        database: session.place().database.clone(),
        admin: admin.login.user.clone(),
        its_database: session.place().database.clone(),
        valid_days: 0,
    };
    let catalog = catalog::survey(session, &query).await?;
    // A user that is locked stays locked, but may well get another password.
    let locks = [Code::RoleCannotLogIn, Code::PasswordExpired, Code::StaleSessions];
    let mut refusals = guards::judge(case, turn, &admin.login.user, &catalog).refusals.into_iter();
    if let Some(refusal) = refusals.find(|refusal| !locks.iter().any(|lock| refusal.is(*lock))) {
        return Err(refusal);
    }
    if let (Some(user), true) = (catalog.role(&turn.pending), force) {
        guards::may_end_sessions(guards::acting_admin(&admin.login.user, &catalog)?, user)?;
    }
    // Only as long as nobody rotates: a rotation's setSecret waits for this transaction, and sets its password after it.
    let still = async || {
        let now = postgres.secrets.describe(&job.secret_arn, job.deadline).await?;
        let stored = postgres.secrets.read(&job.secret_arn, CURRENT, None, job.deadline).await?;
        let user = stored.and_then(|stored| Credential::parse(stored.text, "the AWSCURRENT value").ok());
        let pending = version_with(&now, PENDING);
        let is_rotating = pending.is_some() && pending != version_with(&now, CURRENT);
        if !is_rotating && user.is_some_and(|current| current.username() == turn.current) {
            return Ok(());
        }
        Err(Error::new(
            Core::CurrentMoved,
            format!("A rotation of {} has begun meanwhile; nothing was changed.", job.secret_arn),
            "Ask again once it has ended.",
        ))
    };
    transaction::take_password_away(session, &turn.pending, &still).await?;
    if force { Ok(transaction::end_sessions(session, &turn.pending).await?) } else { Ok(0) }
}
