//! `revoke`: a credential has leaked. First a rotation moves clients to the other user; then the leaked user, which nobody uses
//! any more, loses its password until the next rotation gives it a new one. AWSCURRENT logs in all the while.
//!
//! Each invocation goes as far as it can, and says how to go on: what it goes by are the labels and the server, not a memory.
//!
//! | the leaked version | what is done | state |
//! |---|---|---|
//! | is AWSCURRENT | a rotation is started, unless one is under way | `rotating` |
//! | is not, and sessions of its user are open, or a replica of the secret lags | nothing, but with `force` the next row | `waiting` |
//! | is not, and no session is open | its user's password is taken away, if it logs in; with `force` sessions end | `revoked` |

use super::version_with;
use crate::case::Case;
use crate::catalog::{self, Query, Role};
use crate::codes::Code;
use crate::guards;
use crate::place;
use crate::postgres::Postgres;
use crate::settings::StaleSessions;
use crate::survey::{self, Survey};
use crate::transaction;
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::credential::Credential;
use keyturn::failure::Kind;
use keyturn::rotation::{Job, no_current, replicas};
use keyturn::secrets::{CURRENT, Description, PENDING};
use keyturn::{Error, Result, clock};
use keyturn_postgres::{Login, Place, Session, literal, quoted};
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
    let server = postgres.server(place::of_rotated(&current, "The AWSCURRENT value", job)?, job);
    same_server(&leaked, &server, postgres, job)?;
    let login = Login::new(&leaked, server);
    let probe = probe(postgres, &login, job).await?;
    let is_in_use = user == current.username();
    if is_in_use && probe != Probe::Refused {
        return Ok(go_on(rotated(postgres, description, job).await?, State::Rotating));
    }
    // Sessions outlive the password that began them. Those of the user in use are its clients' of today.
    let mut ended = 0;
    if !is_in_use {
        let session = survey.admin.open(postgres, job.deadline).await?.until(job.deadline);
        // Before anything is done to the user or its sessions: whoever writes a value may name a stranger in it.
        let role = Box::pin(vetted(&survey, &session, &current, user, asked.force)).await?;
        let open = async || transaction::count_sessions(&session, user, probe.pid()).await;
        let waits = |says: &str, sessions: i64| {
            let answer = go_on(
                format!(
                    "{sessions} session(s) of {user:?} are open{says}. Once their clients have read the secret and closed them, ask again; or ask with \"force\": true, which ends them."
                ),
                State::Waiting,
            );
            Revocation { user: Some(user.to_owned()), ..answer }
        };
        // A password that has died by its VALID UNTIL would live again with a later date.
        if probe != Probe::Refused || role.expired {
            let sessions = open().await?;
            if sessions > 0 && !asked.force {
                return Ok(waits("", sessions));
            }
            // Clients in another region may have nothing else to read yet.
            if let Err(lag) = replicas::in_sync(&job.secret_arn, &job.replicas)
                && !asked.force
            {
                let says = format!(
                    "{} Once they have followed, ask again; or with \"force\": true. {}",
                    lag.error.message(),
                    lag.error.remedy()
                );
                return Ok(Revocation { user: Some(user.to_owned()), ..go_on(says, State::Waiting) });
            }
            Box::pin(taken_away(postgres, &session, &current, user, job)).await?;
            if self::probe(postgres, &login, job).await? != Probe::Refused {
                return Err(Error::new(
                    Core::DatabaseBusy,
                    format!("The password of {user:?} was taken away, but still logs in: somebody has set it again."),
                    "Find out who, and ask again.",
                ));
            }
        }
        if asked.force {
            ended = transaction::end_sessions(&session, user).await?;
        } else {
            let sessions = open().await?;
            if sessions > 0 {
                return Ok(waits(", though its password is refused now", sessions));
            }
        }
    }
    let says = format!(
        "The server refuses the password of {user:?} in this version; {ended} session(s) of it were ended. Replicas follow when they have caught up, and were not looked at."
    );
    let at = clock::now().to_rfc3339();
    tracing::warn!(code = Code::CredentialRevoked.name(), user, version, refused_at = at, "{says}");
    let answer = go_on(says, State::Revoked);
    Ok(Revocation { user: Some(user.to_owned()), refused_at: Some(at), next: None, ..answer })
}

/// A value of before the secret moved to another server is another server's matter.
fn same_server(leaked: &Credential, server: &Place, postgres: &Postgres, job: &Job) -> Result<()> {
    let its = postgres.server(place::of_rotated(leaked, "the leaked value", job)?, job);
    if its.address == server.address {
        return Ok(());
    }
    Err(Error::new(
        Code::LeakedElsewhere,
        format!("This version is for {}, and the secret is for {} now.", its.address, server.address),
        format!("There, as an admin: ALTER ROLE {} PASSWORD NULL, and end its sessions.", quoted(leaked.username())),
    ))
}

/// What the server says to the leaked password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Refused,
    /// It is right, but the user is locked, or has no connection left.
    Right,
    /// It logs in; this backend was the probe's.
    LogsIn(i32),
}

impl Probe {
    fn pid(self) -> Option<i32> {
        if let Self::LogsIn(pid) = self { Some(pid) } else { None }
    }
}

/// Errors: the server could not be asked.
async fn probe(postgres: &Postgres, login: &Login, job: &Job) -> Result<Probe> {
    match postgres.connector.open(login, job.deadline).await {
        Ok(session) => Ok(Probe::LogsIn(session.until(job.deadline).pid().await?)),
        Err(failure) => match failure.kind {
            Kind::PasswordRefused => Ok(Probe::Refused),
            Kind::PasswordAccepted => Ok(Probe::Right),
            _ => Err(failure.error),
        },
    }
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

/// Whether a refusal says that the user may not be this secret's, or that the admin may not change it. Anything else that stops
/// a rotation leaves the leaked password alive, and so is no reason to leave it.
fn stops(refusal: &Error) -> bool {
    let whose = [
        Code::PairOfAnotherSecret,
        Code::TwinIsSomebodyElse,
        Code::TwinTooPowerful,
        Code::CurrentNotMember,
        Code::OwnerMissing,
        Code::AdminMissing,
        Code::AdminLacksCreaterole,
        Code::AdminLacksAdminOption,
        Code::AdminLacksRdsPassword,
    ];
    let of_core = [Core::UserMissing, Core::AdminIsTarget, Core::AdminLacksPrivilege];
    whose.iter().any(|code| refusal.is(*code)) || of_core.iter().any(|code| refusal.is(*code))
}

/// The user, who is the other one of the secret's two, and whom the admin may change.
///
/// Errors: `USER_NOT_IN_PAIR`, and the guards' that `stops` names.
async fn vetted(survey: &Survey, session: &Session, current: &Credential, user: &str, force: bool) -> Result<Role> {
    let Survey { admin, .. } = survey;
    let case = Case { stale_sessions: StaleSessions::Warn, ..survey.case.clone() };
    let turn = case.layout.turn(current.username(), user).map_err(|error| {
        error.with_remedy(format!(
            "The secret's tags do not name {user:?} as its user, so this is an admin's to do: ALTER ROLE {} PASSWORD NULL; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}",
            quoted(user),
            literal(user)
        ))
    })?;
    let (database, names) = (&session.place().database, turn.names());
    let query = Query { names: &names, database, admin: &admin.login.user, its_database: database };
    let catalog = catalog::survey(session, query).await?;
    let mut refusals = guards::judge(&case, &turn, &admin.login.user, &catalog).refusals.into_iter();
    if let Some(refusal) = refusals.find(stops) {
        return Err(refusal);
    }
    let acting = guards::acting_admin(&admin.login.user, &catalog)?;
    let role = guards::existing(user, &catalog)?;
    if force {
        guards::may_end_sessions(acting, role)?;
    }
    Ok(role.clone())
}

/// Takes the user's password away, unless a rotation has begun meanwhile.
async fn taken_away(postgres: &Postgres, session: &Session, current: &Credential, user: &str, job: &Job) -> Result<()> {
    // Only as long as nobody rotates: a rotation's setSecret waits for this transaction, and sets its password after it.
    let still = async || {
        let now = postgres.secrets.describe(&job.secret_arn, job.deadline).await?;
        let stored = postgres.secrets.read(&job.secret_arn, CURRENT, None, job.deadline).await?;
        let in_use = stored.and_then(|stored| Credential::parse(stored.text, "the AWSCURRENT value").ok());
        let pending = version_with(&now, PENDING);
        let is_rotating = pending.is_some() && pending != version_with(&now, CURRENT);
        if !is_rotating && in_use.is_some_and(|in_use| in_use.username() == current.username()) {
            return Ok(());
        }
        Err(Error::new(
            Core::CurrentMoved,
            format!("A rotation of {} has begun meanwhile; nothing was changed.", job.secret_arn),
            "Ask again once it has ended.",
        ))
    };
    Ok(transaction::take_password_away(session, user, &still).await?)
}
