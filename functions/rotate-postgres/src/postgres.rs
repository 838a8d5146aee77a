//! Who the function logs in as: the user in use, who has to prove that its password works, and then the admin that the
//! secret names.

use crate::codes::Code;
use crate::errors::WORDS;
use crate::guards;
use crate::place::{self, check_engine};
use crate::rds::{Rds, Resource};
use crate::settings::{PasswordHash, Settings, Tag};
use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::credential::{Credential, Shape};
use keyturn::failure::{Attempt, Failure, Kind};
use keyturn::rotation::Job;
use keyturn::secrets::{CURRENT, Secrets};
use keyturn::{Deadline, Error, Result, admin, diagnosis};
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{Connector, Login, Place, Session, literal, quoted};
use secrecy::{ExposeSecret as _, SecretString};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// PostgreSQL as this deployment reaches it.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) settings: Settings,
    pub(crate) connector: Connector,
    pub(crate) secrets: Secrets,
    rds: Rds,
    /// By secret and by its host's address: the admin's server, where RDS has said that this is another endpoint of it. Each
    /// secret has its own, so that nobody's value decides where another one is changed.
    endpoints: RefCell<BTreeMap<(String, Address), Address>>,
}

/// The admin's credential, which is for the same server as the secret.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) login: Login,
    auth: AdminAuth,
    secret_arn: String,
    /// The secret's own database, where the admin's secret names none: PUBLIC may have lost CONNECT on `postgres`.
    else_in: Option<String>,
}

/// How the admin proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdminAuth {
    Password,
    /// By a token of RDS: its secret holds no password.
    Iam,
}

#[cfg(test)]
impl Admin {
    pub(crate) fn named(user: &str) -> Self {
        let text = format!(r#"{{"username": "{user}", "password": "x", "host": "db"}}"#);
        let (credential, secret_arn) = (Credential::parse(text.into(), "the admin").unwrap(), "arn:admin".to_owned());
        let login = Login::new(&credential, place::of(&credential, "the admin").unwrap());
        Self { login, auth: AdminAuth::Password, secret_arn, else_in: None }
    }
}

impl Admin {
    /// Logs in once, to another database than its own.
    pub(crate) async fn open_in(&self, database: &str, postgres: &Postgres, deadline: Deadline) -> Attempt<Session> {
        let place = Place { database: database.to_owned(), ..self.login.place.clone() };
        let login = Login { place, ..self.login.clone() };
        let there = Self { login, auth: self.auth, secret_arn: self.secret_arn.clone(), else_in: None };
        there.open(postgres, deadline).await
    }

    /// Logs in once.
    pub(crate) async fn open(&self, postgres: &Postgres, deadline: Deadline) -> Attempt<Session> {
        match self.auth {
            AdminAuth::Password => self.open_by_password(postgres, deadline).await,
            AdminAuth::Iam => self.open_by_token(postgres, deadline).await,
        }
    }

    async fn open_by_token(&self, postgres: &Postgres, deadline: Deadline) -> Attempt<Session> {
        let password = postgres.rds.token(&self.login.user, &self.login.place.address).await?;
        let login = Login { password, is_token: true, ..self.login.clone() };
        self.open_as(&postgres.connector, &login, deadline).await.map_err(|failure| match failure.kind {
            Kind::PasswordRefused => token_refused(&self.login, &failure.error).into(),
            // RDS checks tokens by PAM.
            _ if failure.error.is(PostgresCode::IamAuthOnly) => token_refused(&self.login, &failure.error).into(),
            _ => failure,
        })
    }

    /// If the password has just been turned, logs in again with the new one. RDS turns a managed one every 7 days.
    async fn open_by_password(&self, postgres: &Postgres, deadline: Deadline) -> Attempt<Session> {
        let refused = match self.open_as(&postgres.connector, &self.login, deadline).await {
            Err(failure) if failure.kind == Kind::PasswordRefused => failure,
            opened => return opened,
        };
        let read = postgres.secrets.read(&self.secret_arn, CURRENT, None, deadline).await;
        let stored = read.ok().flatten().and_then(|stored| Credential::parse(stored.text, "the admin secret").ok());
        // Of another user the guards know nothing.
        let is_new = |stored: &Credential| {
            stored.username() == self.login.user
                && stored.password().expose_secret() != self.login.password.expose_secret()
        };
        let again = match stored.filter(is_new) {
            Some(stored) => {
                self.open_as(&postgres.connector, &Login::new(&stored, self.login.place.clone()), deadline).await
            }
            None => Err(refused),
        };
        again.map_err(|failure| {
            // Only then is the admin's secret the place to look.
            if failure.kind == Kind::PasswordRefused {
                admin::password_refused(&self.secret_arn, failure.error.message()).into()
            } else {
                failure
            }
        })
    }

    async fn open_as(&self, connector: &Connector, login: &Login, deadline: Deadline) -> Attempt<Session> {
        match (connector.open_once(login, deadline).await, &self.else_in) {
            (Err(failure), Some(database))
                if failure.error.is(PostgresCode::ConnectDenied)
                    || failure.error.is(PostgresCode::DatabaseNotFound) =>
            {
                let place = Place { database: database.clone(), ..login.place.clone() };
                connector.open_once(&Login { place, ..login.clone() }, deadline).await
            }
            (opened, _) => opened,
        }
    }
}

impl Postgres {
    /// `secrets` is where the admin's credential and AWSPREVIOUS are read.
    pub(crate) fn new(settings: Settings, secrets: Secrets, rds: Rds) -> Self {
        let connector =
            Connector::new(&WORDS, settings.database_ca.clone(), settings.password_hash != PasswordHash::Scram);
        Self { settings, connector, secrets, rds, endpoints: RefCell::default() }
    }

    /// Where the server is that a secret means: by another name (a replica's, a proxy's, a CNAME) testSecret and finishSecret
    /// log in.
    pub(crate) fn server(&self, place: Place, job: &Job) -> Place {
        let address = self.by_operator(&place);
        let known = self.endpoints.borrow().get(&(job.secret_arn.clone(), address.clone())).cloned();
        Place { address: known.unwrap_or(address), database: place.database, tls_name: None }
    }

    /// The server of an address, as tags and settings have it.
    fn by_operator(&self, place: &Place) -> Address {
        let named = match &place.tls_name {
            Some(name) => Address::new(name, place.address.port),
            None => place.address.clone(),
        };
        self.settings.server_of(&named).clone()
    }

    /// Reads the admin secret that `current` names, and refuses one that may not be used for it. Once RDS has said that the place
    /// which the secret has `named` is another endpoint of the admin's server, [`Postgres::server`] knows it.
    pub(crate) async fn admin(&self, current: &Credential, named: &Place, job: &Job) -> Result<Admin> {
        let Some(master_arn) = current.master_arn() else {
            return Err(Error::new(
                Core::SecretKeyMissing,
                format!("{} has no key \"masterarn\".", job.secret_arn),
                "Add the ARN of the secret that holds an admin credential for the same server: {\"masterarn\": \"arn:aws:secretsmanager:...\"}",
            ));
        };
        let allowed = self.settings.admin_secret_arns.as_deref();
        let stored = admin::read(&self.secrets, master_arn, allowed, job).await?;
        let what = format!("the admin secret {master_arn}");
        let (admin, auth) = credential_of_admin(stored.text, &what, allowed.is_some(), job)?;
        let (mut at, resource) = match (place::of(&admin, &what), admin.host()) {
            (Err(without_host), None) => {
                let resource = self.managed(&stored.arn, job).await?.ok_or_else(|| nowhere(without_host))?;
                let server = self.rds.server(&resource, job.deadline).await?;
                check_engine(&server.engine, &format!("the server of {what}"))?;
                (place::managed(server.writer), Some(resource))
            }
            (at, _) => {
                let at = at?;
                let resource = Resource::of_host(&at.address.host);
                (at, resource)
            }
        };
        let current = self.by_operator(named);
        if at.address == named.address {
            at.address = current.clone();
        }
        self.same_server(current, &at.address, resource.as_ref(), job).await?;
        let else_in = admin.dbname().is_none().then(|| named.database.clone());
        Ok(Admin { login: Login::new(&admin, at), auth, secret_arn: stored.arn, else_in })
    }

    /// What an admin secret belongs to that RDS manages.
    async fn managed(&self, secret: &str, job: &Job) -> Result<Option<Resource>> {
        Ok(Resource::of_tags(&self.secrets.describe(secret, job.deadline).await?.tags))
    }

    /// The rotated secret and its admin secret mean the same server: by the same name, or by two that RDS knows as one
    /// server's.
    async fn same_server(
        &self,
        current: Address,
        admin: &Address,
        resource: Option<&Resource>,
        job: &Job,
    ) -> Result<()> {
        let verdict = guards::same_server(&current, admin);
        let key = (job.secret_arn.clone(), current);
        let Err(differ) = verdict else {
            self.endpoints.borrow_mut().remove(&key);
            return Ok(());
        };
        if self.endpoints.borrow().get(&key) == Some(admin) {
            return Ok(());
        }
        let Some(resource) = resource else { return Err(differ) };
        match self.rds.leads_to(resource, admin, &key.1, job.deadline).await {
            Ok(true) => {
                self.endpoints.borrow_mut().insert(key, admin.clone());
                Ok(())
            }
            Ok(false) => Err(differ),
            Err(error) => Err(differ.and(&format!("RDS was asked whether they are one server: {}", error.message()))),
        }
    }

    /// Proves that the current credential logs in. Only then may the admin's power be used for this secret. `None`: the server
    /// took the password, but all connections that this user may have are taken.
    pub(crate) async fn prove_current(&self, login: &Login, job: &Job) -> Result<Option<Session>> {
        match self.connector.open(login, job.deadline).await {
            Ok(session) => Ok(Some(session.until(job.deadline))),
            Err(failure) if failure.error.is(PostgresCode::ConnectionLimitReached) => Ok(None),
            Err(Failure { kind: Kind::PasswordRefused, error }) => {
                Err(self.explain_refused_current(&error, login, job).await)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// A password may die by itself: by `PASSWORD_VALID_DAYS`, once rotation has stopped for long, or by a date of somebody's.
    /// The server does not say so.
    fn if_it_has_died(&self, user: &str) -> String {
        let until = self.settings.new_valid_until().unwrap_or_else(|| "infinity".to_owned());
        format!(
            "If its VALID UNTIL has passed (SELECT rolvaliduntil FROM pg_roles WHERE rolname = {}), for both users: ALTER ROLE {} VALID UNTIL '{until}'. Else: ",
            literal(user),
            quoted(user)
        )
    }

    /// Tries AWSPREVIOUS, only to tell the operator more.
    async fn explain_refused_current(&self, refused: &Error, login: &Login, job: &Job) -> Error {
        let read = |text| {
            let previous = Credential::parse(text, "the AWSPREVIOUS value").ok()?;
            let place = self.server(place::of_rotated(&previous, "the AWSPREVIOUS value", job).ok()?, job);
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
            self.if_it_has_died(&login.user) + &remedy,
        )
    }
}

/// Reads an admin secret. One that logs in by IAM holds no password; it is believed only where the operator lists it, since
/// anybody could make one that uses the function's own rights.
///
/// Errors: those of [`Credential::parse`], and `TAG_INVALID`.
fn credential_of_admin(text: SecretString, what: &str, listed: bool, job: &Job) -> Result<(Credential, AdminAuth)> {
    let named = Credential::parse_as(Shape::WITHOUT_PASSWORD, text.clone(), what)?;
    let own = if listed { named.name("adminauth")? } else { None };
    match job.tag(Tag::AdminAuth).or(own.as_deref()) {
        Some("iam") => Ok((named, AdminAuth::Iam)),
        None | Some("password") => Ok((Credential::parse(text, what)?, AdminAuth::Password)),
        Some(_) => Err(job.bad_tag(Tag::AdminAuth, "(or \"adminauth\" of the admin secret) neither iam nor password")),
    }
}

/// An admin secret names no host, and no tag of RDS says whose it is: a copy of one that RDS manages, say.
fn nowhere(without_host: Error) -> Error {
    without_host.with_remedy(
        "Add the database's endpoint: {\"host\": \"...\", \"port\": 5432}. Or let masterarn name the secret that RDS itself keeps for the master user (rds!db-..., rds!cluster-...): its tag aws:rds:primaryDBInstanceArn or aws:rds:primaryDBClusterArn says where the server is.",
    )
}

fn token_refused(login: &Login, refused: &Error) -> Error {
    let user = &login.user;
    Error::new(
        Code::AdminTokenRefused,
        format!("The IAM token of the admin {user:?} does not log in: {}", refused.message()),
        format!(
            "On the instance or cluster switch IAM database authentication on. As its master user: GRANT rds_iam TO {}. Allow the function's role rds-db:connect on arn:aws:rds-db:<region>:<account>:dbuser:<resource id>/{user} (parameter PostgresIamAdmins). The host has to be the endpoint itself, not a name of your own.",
            quoted(user)
        ),
    )
}
