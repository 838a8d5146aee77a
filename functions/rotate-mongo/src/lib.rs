//! Rotates MongoDB passwords: at Atlas through its Admin API, and on servers of one's own with an admin's credential.

mod atlas;
mod case;
mod causes;
mod config;
mod guards;
mod login;
mod logins;
mod names;
mod server;
mod systems;
mod user;
mod work;

use atlas::Atlas;
use case::{Case, System};
use config::Config;
use keyturn::credential::Credential;
use keyturn::http::{self, Base};
use keyturn::password::{PasswordPolicy, Preset};
use keyturn::rotation::{Job, Rotation, Strategy, Target};
use keyturn::secrets::{CURRENT, Secrets};
use keyturn::{Error, Result, Vars, audit};
use login::Connector;
use secrecy::SecretString;

/// This function's name: the metrics' dimension.
pub const NAME: &str = "rotate-mongo";

/// The rotation that the environment's settings ask for.
///
/// # Errors
/// `CONFIGURATION_INVALID`, with everything that is wrong.
pub fn rotation(mut vars: Vars, secrets: Secrets) -> Result<Rotation<Mongo>> {
    let config = Config::read(&mut vars);
    let passwords = PasswordPolicy::read(Preset::ALPHANUMERIC, &mut vars);
    vars.finish().inspect_err(audit::settings_refused)?;
    Ok(Rotation::new(NAME, secrets.clone(), passwords, Mongo::new(config, secrets)?))
}

/// Where Atlas is, unless `ATLAS_API_URL` says otherwise.
const ATLAS: &str = "https://cloud.mongodb.com";

/// MongoDB as the system whose passwords are rotated.
pub struct Mongo {
    config: Config,
    secrets: Secrets,
    connector: Connector,
    atlas: Atlas,
}

impl Mongo {
    fn new(config: Config, secrets: Secrets) -> Result<Self> {
        let base = config
            .atlas
            .base
            .clone()
            .map_or_else(|| Base::parse(ATLAS), Ok)
            .map_err(|why| Error::new("CONFIGURATION_INVALID", format!("{ATLAS}: {why}."), "Set ATLAS_API_URL."))?;
        let atlas = Atlas::new(base, &http::client()?, config.atlas.version.clone()).taking(config.atlas.most_users);
        let connector = Connector::new(config.database_ca.clone());
        Ok(Self { config, secrets, connector, atlas })
    }

    /// What the secret is about, once the names alone have been judged.
    fn case(&self, current: &Credential, job: &Job) -> Result<Case> {
        let case = Case::of(&self.config, current, job)?;
        guards::names(&self.config.guards, &case, job)?;
        Ok(case)
    }
}

impl Target for Mongo {
    fn read(&self, text: SecretString, what: &str, job: &Job) -> Result<Credential> {
        case::read(text, what, job)
    }

    fn strategy(&self, job: &Job) -> Result<Strategy> {
        case::strategy_of(&self.config, job)
    }

    async fn propose(&self, current: &Credential, job: &Job) -> Result<String> {
        let case = self.case(current, job)?;
        // Boxed: logins' futures are large.
        match &case.system {
            System::Atlas(at) => {
                Box::pin(self.at_atlas(&case, at, job, false, async |work| work.propose(current).await)).await
            }
            System::Server(at) => {
                Box::pin(self.at_server(&case, at, &[current], job, async |work| work.propose(current).await)).await
            }
        }
    }

    fn mismatch(&self, current: &Credential, pending: &Credential, job: &Job) -> Option<String> {
        // What is wrong with the current value, a tag or a setting is not the pending value's fault: the step says it itself.
        let from = Case::of(&self.config, current, job).ok()?;
        let to = match Case::of(&self.config, pending, job) {
            Ok(to) => to,
            Err(error) => return Some(error.message().trim_end_matches('.').to_owned()),
        };
        if from.system != to.system {
            return Some("it is for other servers, another project or another admin".to_owned());
        }
        (to.current != from.next).then(|| format!("it is for user {:?} instead of {:?}", to.current, from.next))
    }

    async fn set(
        &self,
        current: &Credential,
        pending: &Credential,
        job: &Job,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let case = self.case(current, job)?;
        match &case.system {
            System::Atlas(at) => {
                self.at_atlas(&case, at, job, false, async |work| work.set(current, pending, still).await).await
            }
            System::Server(at) => {
                // After a try whose answer was lost, the pending value may be the one that works.
                let holders = [pending, current];
                self.at_server(&case, at, &holders, job, async |work| work.set(current, pending, still).await).await
            }
        }
    }

    async fn test(&self, pending: &Credential, job: &Job) -> Result<()> {
        let current = match self.secrets.read(&job.secret_arn, CURRENT, None, job.deadline).await? {
            Some(stored) => self.read(stored.text, "the AWSCURRENT value", job)?,
            None => pending.clone(),
        };
        let case = self.case(&current, job)?;
        let pending_case = Case::of(&self.config, pending, job)?;
        if ![&case.current, &case.next].contains(&&pending_case.current) || pending_case.system != case.system {
            return Err(Error::new(
                "PENDING_MISMATCH",
                format!(
                    "The pending value is for {:?}, at a place and with a name that do not follow AWSCURRENT's ({:?}).",
                    pending_case.current, case.current
                ),
                "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret; its error says what to do.",
            ));
        }
        let current = &current;
        match &case.system {
            System::Atlas(at) => {
                self.at_atlas(&case, at, job, true, async |work| work.prove(pending, current).await).await
            }
            System::Server(at) => {
                let holders = [pending, current];
                self.at_server(&case, at, &holders, job, async |work| work.prove(pending, current).await).await
            }
        }
    }
}
