//! Rotates MongoDB passwords: at Atlas through its Admin API, and on servers of one's own with an admin's credential.

mod apply;
mod atlas;
mod case;
pub mod codes;
mod guards;
mod pattern;
mod places;
mod plan;
mod prove;
mod server;
pub mod settings;
mod survey;
mod systems;
mod user;
mod work;

use atlas::{Atlas, Project};
use case::{AtAtlas, Case, System};
use codes::Code;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::http::{self, Base};
use keyturn::lambda::{Invocation, Start};
use keyturn::password::{PasswordPolicy, Preset};
use keyturn::rotation::{Job, Report, Rotation, Strategy, Target};
use keyturn::secrets::{CURRENT, Secrets};
use keyturn::{Error, Result};
use keyturn_mongo::atlas::ADDRESS;
use keyturn_mongo::login::{Connector, Servers};
use places::Places;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use server::Server;
use settings::Settings;
use std::cell::{Cell, RefCell};
use survey::Survey;
use user::Directory;
use work::Work;

/// The rotation that the environment's settings ask for.
///
/// # Errors
/// `CONFIGURATION_INVALID`, with everything that is wrong.
pub fn build(start: Start) -> Result<impl AsyncFn(&Value, Invocation) -> Result<Report>> {
    let secrets = start.secrets();
    let mut vars = start.vars;
    let settings = Settings::read(&mut vars);
    let passwords = PasswordPolicy::read(Preset::ALPHANUMERIC, &mut vars);
    vars.finish()?;
    let rotation = Rotation::new(FUNCTION, secrets.clone(), passwords, Mongo::new(settings, secrets)?);
    Ok(async move |event: &Value, invocation: Invocation| rotation.handle(event, invocation.deadline).await)
}

/// The function's name, in reports and to servers.
const FUNCTION: &str = "rotate-mongo";

/// Said where a session breaks while it is in use.
const BROKEN: &str = "Secrets Manager tries the rotation again by itself; then the login is looked at first.";

/// Said where an error keeps a step from trying the passwords.
const UNSEEN: &str = "If an earlier try has set the new password and there is one user only, clients with the current one are refused where it is in force, until this is mended and the next try has finished.";

/// A password, and where it was accepted.
struct Proven {
    secret: String,
    password: SecretString,
    system: System,
    servers: Vec<Servers>,
}

/// MongoDB as the system whose passwords are rotated.
struct Mongo {
    settings: Settings,
    secrets: Secrets,
    connector: Connector,
    atlas: Atlas,
    /// The password that testSecret has proven last, with its servers: finishSecret, the next step, need not ask Atlas for them.
    proven: RefCell<Option<Proven>>,
}

impl Mongo {
    fn new(settings: Settings, secrets: Secrets) -> Result<Self> {
        let base = settings.atlas.base.clone().map_or_else(|| Base::parse(ADDRESS), Ok).map_err(|why| {
            Error::new(Core::ConfigurationInvalid, format!("{ADDRESS}: {why}."), "Set ATLAS_API_URL.")
        })?;
        let atlas = Atlas::new(base, &http::client()?, settings.atlas.most_users);
        let connector = Connector::new(FUNCTION, BROKEN, settings.database_ca.clone());
        Ok(Self { settings, secrets, connector, atlas, proven: RefCell::default() })
    }

    /// What the secret is about, once the names alone have been judged.
    fn case(&self, current: &Credential, job: &Job) -> Result<Case> {
        let case = Case::of(&self.settings, current, job)?;
        guards::names(&self.settings.guards, &case, job)?;
        Ok(case)
    }

    /// The survey, unless the plan refuses what it found: only while the project is open can its access token be given back.
    async fn surveyed<D: Directory>(&self, work: &Work<'_, D>, current: &Credential) -> Result<Survey> {
        // Boxed, here and below: logins' futures are large.
        let survey = Box::pin(work.survey(current)).await?;
        self.plan(&survey, work.job)?;
        Ok(survey)
    }

    /// Adds to an error of setSecret or testSecret that came before `Work` could try the passwords which one is in force: an earlier
    /// try of `Strategy::Fixed` may have set the new one.
    async fn with_what_is_in_force<T>(
        &self,
        result: Result<T>,
        has_begun: &Cell<bool>,
        case: &Case,
        [current, pending]: [&Credential; 2],
        job: &Job,
    ) -> Result<T> {
        let Err(error) = result else { return result };
        // Saving a schedule tests the value in use.
        let is_current = pending.password().expose_secret() == current.password().expose_secret();
        if has_begun.get() || is_current || case.strategy == Strategy::Alternating {
            return Err(error);
        }
        let servers = match &case.system {
            System::Server(at) if error.is(Core::AdminPasswordRefused) => &at.servers,
            System::Atlas(AtAtlas { hosts: Some(hosts), .. }) => hosts,
            // Before the guards have accepted the value's servers and admin, nobody logs in there.
            System::Server(_) | System::Atlas(_) => return Err(error.and(UNSEEN)),
        };
        let places = Places::of(&self.connector, vec![servers.clone()], &case.database, job.deadline).await;
        Err(error.and(&Box::pin(apply::in_force(&places, current, pending, job.deadline)).await))
    }
}

impl Target for Mongo {
    type Survey = Survey;

    fn read(&self, text: SecretString, what: &str, job: &Job) -> Result<Credential> {
        case::read(text, what, job)
    }

    fn strategy(&self, job: &Job) -> Result<Strategy> {
        case::strategy_of(&self.settings, job)
    }

    fn unseen(&self) -> Option<&'static str> {
        Some(UNSEEN)
    }

    async fn survey(&self, current: &Credential, job: &Job) -> Result<Survey> {
        let case = self.case(current, job)?;
        match &case.system {
            System::Atlas(at) => {
                Box::pin(self.at_atlas(&case, at, job, false, async |work| self.surveyed(&work, current).await)).await
            }
            System::Server(at) => {
                let survey = async |work: Work<'_, Server<'_>>| self.surveyed(&work, current).await;
                Box::pin(self.at_server(&case, at, [current, current], job, survey)).await
            }
        }
    }

    fn plan(&self, survey: &Survey, job: &Job) -> Result<String> {
        plan::next_user(&self.settings, survey, job)
    }

    fn takes(&self, password: &SecretString, survey: &Survey) -> Result<()> {
        match survey.case.never_taken(password) {
            None => Ok(()),
            Some(why) => Err(Error::new(
                Code::PasswordNotAllowed,
                format!("The new password is not one that its place takes: {why}. Nothing was stored."),
                "Correct PASSWORD_LENGTH, EXCLUDE_CHARACTERS and what else shapes passwords in the function's environment.",
            )),
        }
    }

    fn mismatch(&self, current: &Credential, pending: &Credential, job: &Job) -> Result<Option<String>> {
        let from = Case::of(&self.settings, current, job)?;
        let to = match Case::of(&self.settings, pending, job) {
            Ok(to) => to,
            Err(error) => return Ok(Some(error.message().trim_end_matches('.').to_owned())),
        };
        if from.system != to.system {
            return Ok(Some("it is for other servers, another project or another admin".to_owned()));
        }
        if to.current != from.next {
            return Ok(Some(format!("it is for user {:?} instead of {:?}", to.current, from.next)));
        }
        Ok(from.never_taken(pending.password()).map(|why| format!("its password can never be set: {why}")))
    }

    async fn apply(
        &self,
        current: &Credential,
        pending: &Credential,
        job: &Job,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let case = self.case(current, job).map_err(|error| error.and(UNSEEN))?;
        let has_begun = Cell::new(false);
        let result = match &case.system {
            System::Atlas(at) => {
                let apply = async |work: Work<'_, Project<'_>>| {
                    has_begun.set(true);
                    work.apply(current, pending, still).await
                };
                self.at_atlas(&case, at, job, false, apply).await
            }
            System::Server(at) => {
                let apply = async |work: Work<'_, Server<'_>>| {
                    has_begun.set(true);
                    work.apply(current, pending, still).await
                };
                self.at_server(&case, at, [current, pending], job, apply).await
            }
        };
        self.with_what_is_in_force(result, &has_begun, &case, [current, pending], job).await
    }

    async fn still_accepted(&self, current: &Credential, pending: &Credential, job: &Job) -> Result<()> {
        Box::pin(self.takes_still(current, pending, job)).await
    }

    async fn prove(&self, pending: &Credential, job: &Job) -> Result<()> {
        let current = match self.secrets.read(&job.secret_arn, CURRENT, None, job.deadline).await? {
            Some(stored) => self.read(stored.text, "the AWSCURRENT value", job)?,
            None => pending.clone(),
        };
        let case = self.case(&current, job).map_err(|error| error.and(UNSEEN))?;
        let pending_case = Case::of(&self.settings, pending, job)?;
        if ![&case.current, &case.next].contains(&&pending_case.current) || pending_case.system != case.system {
            return Err(Error::new(
                Core::PendingMismatch,
                format!(
                    "The pending value is for {:?}, at a place and with a name that do not follow AWSCURRENT's ({:?}).",
                    pending_case.current, case.current
                ),
                "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret; its error says what to do.",
            ));
        }
        let current = &current;
        let has_begun = Cell::new(false);
        let result = match &case.system {
            System::Atlas(at) => {
                let prove = async |work: Work<'_, Project<'_>>| {
                    has_begun.set(true);
                    work.prove(pending, current).await
                };
                Box::pin(self.at_atlas(&case, at, job, true, prove)).await
            }
            System::Server(at) => {
                let prove = async |work: Work<'_, Server<'_>>| {
                    has_begun.set(true);
                    work.prove(pending, current).await
                };
                Box::pin(self.at_server(&case, at, [current, pending], job, prove)).await
            }
        };
        let servers = self.with_what_is_in_force(result, &has_begun, &case, [current, pending], job).await?;
        let (secret, password) = (job.secret_arn.clone(), pending.password().clone());
        *self.proven.borrow_mut() = Some(Proven { secret, password, system: case.system, servers });
        Ok(())
    }
}
