//! Who the function logs in as: the user in use, who has to prove that its password works, and then the admin that the
//! secret names.

use crate::codes::Code;
use crate::guards;
use crate::place::Place;
use crate::session::{Connector, Login, Session};
use crate::settings::Settings;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::{Attempt, Failure, Kind};
use keyturn::rotation::Job;
use keyturn::secrets::Secrets;
use keyturn::{Deadline, Error, Result, admin, diagnosis};

/// PostgreSQL as this deployment reaches it.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) settings: Settings,
    pub(crate) connector: Connector,
    pub(crate) secrets: Secrets,
}

/// The admin's credential, which is for the same server as the secret.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) login: Login,
    secret_arn: String,
    /// The secret's own database, where the admin's secret names none: PUBLIC may have lost CONNECT on `postgres`.
    else_in: Option<String>,
}

#[cfg(test)]
impl Admin {
    pub(crate) fn named(user: &str) -> Self {
        let text = format!(r#"{{"username": "{user}", "password": "x", "host": "db"}}"#);
        let (credential, secret_arn) = (Credential::parse(text.into(), "the admin").unwrap(), "arn:admin".to_owned());
        let login = Login::new(&credential, Place::of(&credential, "the admin").unwrap());
        Self { login, secret_arn, else_in: None }
    }
}

impl Admin {
    /// Logs in once.
    pub(crate) async fn open(&self, connector: &Connector, deadline: Deadline) -> Attempt<Session> {
        let opened = match (connector.open_once(&self.login, deadline).await, &self.else_in) {
            (Err(failure), Some(database))
                if failure.error.is(Code::ConnectDenied) || failure.error.is(Code::DatabaseNotFound) =>
            {
                let place = Place { database: database.clone(), ..self.login.place.clone() };
                connector.open_once(&Login { place, ..self.login.clone() }, deadline).await
            }
            (opened, _) => opened,
        };
        opened.map_err(|failure| self.explain(failure))
    }

    /// Says that it was the admin's password that did not work: only then is the admin's secret the place to look.
    fn explain(&self, failure: Failure) -> Failure {
        if failure.kind == Kind::PasswordRefused {
            admin::password_refused(&self.secret_arn, failure.error.message()).into()
        } else {
            failure
        }
    }
}

impl Postgres {
    /// `secrets` is where the admin's credential and AWSPREVIOUS are read.
    pub(crate) fn new(settings: Settings, secrets: Secrets) -> Self {
        let connector = Connector::new(settings.database_ca.clone(), settings.password_hash);
        Self { settings, connector, secrets }
    }

    /// Where the server is that a secret means: an alias (a replica, a proxy) is where testSecret and finishSecret log in.
    pub(crate) fn server(&self, place: Place) -> Place {
        let address = self.settings.server_of(&place.address).clone();
        Place { address, ..place }
    }

    /// Reads the admin secret that `current` names, and refuses one that may not be used for it.
    pub(crate) async fn admin(&self, current: &Credential, place: &Place, job: &Job) -> Result<Admin> {
        let Some(named) = current.master_arn() else {
            return Err(Error::new(
                Core::SecretKeyMissing,
                format!("{} has no key \"masterarn\".", job.secret_arn),
                "Add the ARN of the secret that holds an admin credential for the same server: {\"masterarn\": \"arn:aws:secretsmanager:...\"}",
            ));
        };
        let allowed = self.settings.admin_secret_arns.as_deref();
        let stored = admin::read(&self.secrets, named, allowed, job).await?;
        let what = format!("the admin secret {named}");
        let admin = Credential::parse(stored.text, &what)?;
        let at = Place::of(&admin, &what)?;
        guards::same_server(&place.address, &at.address)?;
        let else_in = admin.dbname().is_none().then(|| place.database.clone());
        Ok(Admin { login: Login::new(&admin, at), secret_arn: stored.arn, else_in })
    }

    /// Proves that the current credential logs in. Only then may the admin's power be used for this secret. `None`: the server
    /// took the password, but all connections that this user may have are taken.
    pub(crate) async fn prove_current(&self, login: &Login, job: &Job) -> Result<Option<Session>> {
        match self.connector.open(login, job.deadline).await {
            Ok(session) => Ok(Some(session.until(job.deadline))),
            Err(failure) if failure.error.is(Code::ConnectionLimitReached) => Ok(None),
            Err(Failure { kind: Kind::PasswordRefused, error }) => {
                Err(self.explain_refused_current(&error, login, job).await)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Tries AWSPREVIOUS, only to tell the operator more.
    async fn explain_refused_current(&self, refused: &Error, login: &Login, job: &Job) -> Error {
        let read = |text| {
            let previous = Credential::parse(text, "the AWSPREVIOUS value").ok()?;
            let place = Place::of(&previous, "the AWSPREVIOUS value").ok()?;
            (place.address == login.place.address).then_some(previous)
        };
        let works = async |previous: &Credential| {
            let previous = Login::new(previous, login.place.clone());
            self.connector.open_once(&previous, job.deadline).await.is_ok()
        };
        let secret = &job.secret_arn;
        let remedy = match diagnosis::previous_that_works(&self.secrets, job, read, works).await {
            Some(previous) => format!(
                "The AWSPREVIOUS value (user {:?}) does log in. Make it current again, then rotate: {}",
                previous.username(),
                diagnosis::back_to_previous(secret)
            ),
            None => format!(
                "Someone changed the password outside the rotation. Put the right one into the secret, then rotate: aws secretsmanager put-secret-value --secret-id {secret} --secret-string file://secret.json"
            ),
        };
        Error::new(
            Core::CurrentPasswordRefused,
            format!("The AWSCURRENT credential does not log in, so nothing was changed. {}", refused.message()),
            remedy,
        )
    }
}
