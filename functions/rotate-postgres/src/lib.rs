//! Rotates PostgreSQL passwords between two alternating users, so that the one in use is never touched.

mod catalog;
mod causes;
pub mod config;
mod guards;
mod handshake;
mod layout;
pub mod place;
mod prove;
mod reconcile;
mod session;
mod set;
mod tls;
mod verifier;

use backon::{ExponentialBuilder, Retryable as _};
use causes::{Attempt, Failure, Kind};
use config::Config;
use keyturn::credential::Credential;
use keyturn::password::{PasswordPolicy, Preset};
use keyturn::rotation::{Job, Rotation, Target};
use keyturn::secrets::{CURRENT, PREVIOUS, Secrets};
use keyturn::{Deadline, Error, Result, Vars, admin, audit};
use layout::{Layout, Turn};
use place::{Place, Server};
use session::{Connector, Login};
use std::time::Duration;

/// This function's name: the metrics' dimension.
pub const NAME: &str = "rotate-postgres";

/// How long passing failures are tried again within one invocation; after that, Secrets Manager does it.
const RETRY_FOR: Duration = Duration::from_secs(5);

/// How long the last of those tries may take: with it, even a network that answers late is reported in under 15 s.
const LAST_TRY: Duration = Duration::from_secs(7);

/// How long a replica may lag behind before a password that the writer knows counts as refused.
const REPLICA_LAG: Duration = Duration::from_secs(15);

/// The rotation that the environment's settings ask for.
///
/// # Errors
/// `CONFIGURATION_INVALID`, with everything that is wrong.
pub fn rotation(mut vars: Vars, secrets: Secrets) -> Result<Rotation<Postgres>> {
    let config = Config::read(&mut vars);
    let passwords = PasswordPolicy::read(Preset::SAFE, &mut vars);
    vars.finish().inspect_err(audit::settings_refused)?;
    Ok(Rotation::new(NAME, secrets.clone(), passwords, Postgres::new(config, secrets)))
}

/// PostgreSQL as the system whose passwords are rotated.
#[derive(Debug)]
pub struct Postgres {
    config: Config,
    secrets: Secrets,
    connector: Connector,
}

/// The admin's credential, proven to be for the same server as the secret.
struct Admin {
    login: Login,
    secret: String,
}

impl Admin {
    /// Says whose password it was that did not work: only then is the admin's secret the place to look.
    fn explain(&self, failure: Failure) -> Failure {
        if failure.kind != Kind::PasswordRefused {
            return failure;
        }
        let message = format!("The admin credential in {} does not log in. {}", self.secret, failure.error.message());
        Failure::permanent(
            "ADMIN_PASSWORD_REFUSED",
            message,
            format!(
                "Put the admin's working credential into {}, and see to it that its own rotation works.",
                self.secret
            ),
        )
    }
}

impl Postgres {
    /// With these settings; `secrets` is where admin credentials are read.
    #[must_use]
    pub fn new(config: Config, secrets: Secrets) -> Self {
        let connector = Connector::new(config.database_ca.clone(), config.password_hash);
        Self { config, secrets, connector }
    }

    /// Reads the admin secret that `current` names, and refuses one that is not for this.
    async fn admin(&self, current: &Credential, place: &Place, job: &Job) -> Result<Admin> {
        let Some(named) = current.master_arn() else {
            return Err(Error::new(
                "SECRET_KEY_MISSING",
                format!("{} has no key \"masterarn\".", job.secret_arn),
                "Add the ARN of the secret that holds an admin credential for the same server: {\"masterarn\": \"arn:aws:secretsmanager:...\"}",
            ));
        };
        let stored = self.secrets.read(named, CURRENT, None, job.deadline).await?.ok_or_else(|| {
            Error::new(
                "ADMIN_SECRET_MISSING",
                format!("The admin secret {named} (masterarn) does not exist or has no AWSCURRENT value."),
                "Correct masterarn, or store the admin's credential there.",
            )
        })?;
        // By the ARN it was found under: masterarn may be a name, or an ARN without its six random characters.
        admin::may_be_used(self.config.admin_secret_arns.as_deref(), &job.secret_arn, &stored.arn)?;
        let what = format!("the admin secret {named}");
        let admin = Credential::parse(stored.text, &what)?;
        let at = Place::of(&admin, &what)?;
        guards::same_server(&self.config, &place.server, &at.server)?;
        Ok(Admin { login: Login::new(&admin, at), secret: stored.arn })
    }

    /// Proves that the current credential logs in. Only then may the admin's power be used for this secret.
    async fn prove_current(&self, login: &Login, job: &Job) -> Result<session::Session> {
        match self.open(login, job.deadline).await {
            Ok(session) => {
                let session = session.until(job.deadline);
                let actual = session.identify().await?;
                // Behind a pooler, a login may be the pooler's own and lead to another role.
                if actual != login.user {
                    return Err(causes::somebody_else(&login.user, &actual, &login.place).error);
                }
                Ok(session)
            }
            Err(Failure { kind: Kind::PasswordRefused, error }) => {
                Err(self.explain_refused_current(&error, login, job).await)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Looks at the previous value, only to tell the operator more.
    async fn explain_refused_current(&self, refused: &Error, login: &Login, job: &Job) -> Error {
        let previous = match self.secrets.read(&job.secret_arn, PREVIOUS, None, job.deadline).await {
            Ok(Some(stored)) => Credential::parse(stored.text, "the AWSPREVIOUS value").ok(),
            _ => None,
        };
        let works = match &previous {
            Some(previous) => {
                self.connector.open(&Login::new(previous, login.place.clone()), job.deadline).await.is_ok()
            }
            None => false,
        };
        let hint = match previous {
            Some(previous) if works => format!(
                "The AWSPREVIOUS value (user {:?}) does log in: make it current again with aws secretsmanager update-secret-version-stage --version-stage AWSCURRENT, then rotate.",
                previous.username()
            ),
            _ => "Someone changed the password outside the rotation: put the right one into the secret (aws secretsmanager put-secret-value), then rotate.".to_owned(),
        };
        Error::new(
            "CURRENT_PASSWORD_REFUSED",
            format!("The AWSCURRENT credential does not log in, so nothing was changed. {}", refused.message()),
            hint,
        )
    }

    async fn open(&self, login: &Login, deadline: Deadline) -> Attempt<session::Session> {
        self.open_while(login, deadline, RETRY_FOR, Failure::is_transient).await
    }

    /// Tries again for `patience` while the failure is a `passing` one. No try begins after that, and none goes on for long.
    async fn open_while(
        &self,
        login: &Login,
        deadline: Deadline,
        patience: Duration,
        passing: impl Fn(&Failure) -> bool,
    ) -> Attempt<session::Session> {
        let (tries_end, all_ends) = (deadline.at_most(patience), deadline.at_most(patience + LAST_TRY));
        (|| self.connector.open(login, all_ends))
            .retry(backoff(patience))
            .when(|failure| passing(failure) && !tries_end.remaining().is_zero())
            .await
    }

    async fn set_as_admin(
        &self,
        admin: &Admin,
        wanted: &set::Wanted<'_>,
        deadline: Deadline,
        still: &impl AsyncFn() -> Result<()>,
    ) -> Attempt<Vec<String>> {
        // A new connection for every try: after a failover the old one may lead to the old writer.
        let (tries_end, connects_end) = (deadline.at_most(RETRY_FOR), deadline.at_most(RETRY_FOR + LAST_TRY));
        let attempt = || async {
            let session = self
                .connector
                .open(&admin.login, connects_end)
                .await
                .map_err(|failure| admin.explain(failure))?
                .until(deadline);
            set::transaction(&session, wanted, deadline, still).await
        };
        attempt
            .retry(backoff(RETRY_FOR))
            .when(|failure: &Failure| failure.is_transient() && !tries_end.remaining().is_zero())
            .await
    }

    fn is_alias(&self, server: &Server) -> bool {
        self.config.host_aliases.iter().any(|pair| pair.alias == *server)
    }
}

impl Target for Postgres {
    /// Logs in as the current user to look at the roles: every guard that can speak does so before anything is written.
    async fn propose(&self, current: &Credential, job: &Job) -> Result<String> {
        let place = Place::of(current, "The AWSCURRENT value")?;
        let layout = Layout::of(current)?;
        // Names alone may already be impossible: whether the current user is a clone (so that its base comes next) or not.
        layout.after(current.username(), |_, _| true).or_else(|_| layout.after(current.username(), |_, _| false))?;
        let login = Login::new(current, place.clone());
        let (admin, session) = tokio::try_join!(self.admin(current, &place, job), self.prove_current(&login, job))?;
        let admin = admin.login.user;
        let mut names = layout.names(current.username());
        names.push(admin.clone());
        let facts = catalog::read(&session, &names, &admin, layout.likely_base(current.username())).await?;
        let turn = layout.after(current.username(), |login, base| facts.is_clone_of(login, base))?;
        guards::roles(&turn, &admin, &facts)?;
        Ok(turn.pending)
    }

    fn mismatch(&self, current: &Credential, pending: &Credential, _job: &Job) -> Option<String> {
        let of = |credential| Place::of(credential, "it").ok();
        let (Some(from), Some(to)) = (of(current), of(pending)) else {
            return Some("one of them names no PostgreSQL host".to_owned());
        };
        if from != to {
            return Some(format!(
                "it is for {}/{} instead of {}/{}",
                to.server, to.database, from.server, from.database
            ));
        }
        if current.engine() != pending.engine() {
            return Some(format!("its engine is {:?} instead of {:?}", pending.engine(), current.engine()));
        }
        let turn = Layout::of(current).and_then(|layout| layout.turn(current.username(), pending.username()));
        turn.err().map(|e| e.message().trim_end_matches('.').to_owned())
    }

    async fn set(
        &self,
        current: &Credential,
        pending: &Credential,
        job: &Job,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let place = Place::of(current, "The AWSCURRENT value")?;
        let turn: Turn = Layout::of(current)?.turn(current.username(), pending.username())?;
        let (current_login, pending_login) = (Login::new(current, place.clone()), Login::new(pending, place.clone()));
        let (admin, _, tried) =
            tokio::try_join!(self.admin(current, &place, job), self.prove_current(&current_login, job), async {
                Ok(self.open(&pending_login, job.deadline).await)
            },)?;
        let password = match tried {
            Ok(_) => None,
            // Setting a password that the server has accepted before is harmless, and makes the role one that may log in.
            Err(Failure { kind: Kind::PasswordRefused | Kind::PasswordAccepted, .. }) => Some(pending.password()),
            Err(failure) => return Err(failure.error),
        };
        let wanted = set::Wanted { turn: &turn, admin: &admin.login.user, password, hash: self.config.password_hash };
        Ok(self.set_as_admin(&admin, &wanted, job.deadline, &still).await?)
    }

    async fn test(&self, pending: &Credential, job: &Job) -> Result<()> {
        let place = Place::of(pending, "The AWSPENDING value")?;
        let layout = Layout::of(pending)?;
        let login = Login::new(pending, place);
        let lagging = self.is_alias(&login.place.server);
        let passing = |failure: &Failure| failure.is_transient() || (lagging && failure.kind == Kind::PasswordRefused);
        let patience = if lagging { REPLICA_LAG } else { RETRY_FOR };
        let session = self.open_while(&login, job.deadline, patience, passing).await?;
        Ok(prove::session(&session.until(job.deadline), &layout, pending).await?)
    }
}

/// Doubling pauses with jitter, together not longer than `patience`.
fn backoff(patience: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_total_delay(Some(patience))
        .without_max_times()
}
