//! What one secret is about: where its user is kept, who that is, and who comes next; from its tags, its value, and the
//! settings.
//!
//! The value may be edited by the application itself, so it never decides whose power is used: the project and the admin
//! come from tags and settings, and what the value says of them must agree.

use crate::config::{Config, Engine, is_project_id, strategy};
use crate::login::Servers;
use crate::names::{base_of, twin_of};
use keyturn::credential::{Credential, Shape};
use keyturn::rotation::{Job, Strategy};
use keyturn::{Error, Result};

/// The database that keeps users, unless somebody chose another.
const ADMIN_DATABASE: &str = "admin";

const ENGINE: &str = "keyturn:engine";
const USERNAME: &str = "keyturn:username";
const STRATEGY: &str = "keyturn:strategy";
const PROJECT: &str = "keyturn:atlas-project";
const CLUSTERS: &str = "keyturn:atlas-clusters";
const AUTH_DATABASE: &str = "keyturn:auth-db";
const HOSTS: &str = "keyturn:hosts";

/// One secret's rotation.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) system: System,
    pub(crate) strategy: Strategy,
    /// The authentication database.
    pub(crate) database: String,
    /// The user that gave the two their name; the only one where there is one.
    pub(crate) base: String,
    /// The user in use.
    pub(crate) current: String,
    /// The user that the pending value is for.
    pub(crate) next: String,
}

/// Where the user is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum System {
    Atlas(AtAtlas),
    Server(AtServer),
}

/// A project at Atlas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AtAtlas {
    pub(crate) project: String,
    /// The clusters to log in to, where the tag names some.
    pub(crate) clusters: Option<Vec<String>>,
    /// Where to log in, where the tag says so and Atlas need not be asked.
    pub(crate) hosts: Option<Servers>,
}

/// A server of one's own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AtServer {
    pub(crate) servers: Servers,
    /// Whether a tag names the servers: the value of the secret then has no say in where an admin logs in.
    pub(crate) tagged: bool,
    /// The admin secret that the value names.
    pub(crate) admin: Option<String>,
}

/// Reads a value of a secret in any shape this function knows.
///
/// Errors: those of [`Credential::parse`].
pub(crate) fn read(text: secrecy::SecretString, what: &str, job: &Job) -> Result<Credential> {
    let shape = Shape {
        usernames: &["username", "mongoUser"],
        passwords: &["password", "mongoPassword"],
        hosts: &["host", "mongoHostname", "clusterUrl"],
        username: tag(job, USERNAME).map(str::to_owned),
    };
    Credential::parse_as(shape, text, what)
}

/// Whose password is changed: by the secret's tag, else as the operator set it.
///
/// Errors: `TAG_INVALID`.
pub(crate) fn strategy_of(config: &Config, job: &Job) -> Result<Strategy> {
    match tag(job, STRATEGY) {
        Some(text) => strategy(text).map_err(|why| bad_tag(job, STRATEGY, &why, "fixed")),
        None => Ok(config.strategy),
    }
}

impl Case {
    /// The case of a secret with this value.
    ///
    /// Errors: `TAG_INVALID`, `ENGINE_UNKNOWN`, `USERNAME_MISMATCH`, `USERNAME_NOT_IN_SECRET`, `PROJECT_UNKNOWN`,
    /// `PROJECT_NOT_ALLOWED`, `PROJECT_MISMATCH`, `AUTH_DATABASE_NOT_ADMIN`, `ATLAS_NEEDS_ITS_API`, `SECRET_KEY_MISSING`.
    pub(crate) fn of(config: &Config, credential: &Credential, job: &Job) -> Result<Self> {
        let strategy = strategy_of(config, job)?;
        let database = tag(job, AUTH_DATABASE).unwrap_or(ADMIN_DATABASE).to_owned();
        let system = match engine(config, credential, job)? {
            Engine::Atlas => System::Atlas(atlas(config, credential, job, &database)?),
            Engine::Server => System::Server(server(credential, job)?),
        };
        let current = credential.username().to_owned();
        let (base, next) = turn(strategy, credential, job)?;
        Ok(Self { system, strategy, database, base, current, next })
    }
}

/// The base, and who comes next.
fn turn(strategy: Strategy, credential: &Credential, job: &Job) -> Result<(String, String)> {
    let current = credential.username();
    if strategy == Strategy::Fixed {
        return match tag(job, USERNAME) {
            Some(tagged) if tagged != current => Err(foreign(job, current, &format!("{tagged:?}"))),
            _ => Ok((current.to_owned(), current.to_owned())),
        };
    }
    if !credential.holds_username() {
        return Err(Error::new(
            "USERNAME_NOT_IN_SECRET",
            format!(
                "{} is to alternate between two users, but its value names none: clients could not know which.",
                job.secret_arn
            ),
            "Add \"username\" to the secret's JSON and let clients read it, or set the tag keyturn:strategy=fixed.",
        ));
    }
    let base = tag(job, USERNAME).or_else(|| base_of(current)).unwrap_or(current);
    let twin = twin_of(base);
    match current {
        _ if current == base => Ok((base.to_owned(), twin)),
        _ if current == twin => Ok((base.to_owned(), base.to_owned())),
        _ => Err(foreign(job, current, &format!("{base:?} nor {twin:?}"))),
    }
}

fn foreign(job: &Job, current: &str, expected: &str) -> Error {
    Error::new(
        "USERNAME_MISMATCH",
        format!(
            "The value of {} is for user {current:?}, which is not {expected} of its tag {USERNAME}.",
            job.secret_arn
        ),
        "Correct the secret's value, or its tag.",
    )
}

fn engine(config: &Config, credential: &Credential, job: &Job) -> Result<Engine> {
    if let Some(text) = tag(job, ENGINE) {
        return Engine::parse(text).map_err(|why| bad_tag(job, ENGINE, &why, "mongodb-atlas"));
    }
    let unknown = |what: String| {
        Error::new(
            "ENGINE_UNKNOWN",
            format!("{} {what}.", job.secret_arn),
            format!(
                "Say which it is: aws secretsmanager tag-resource --secret-id {} --tags Key={ENGINE},Value=mongodb-atlas (or mongo, for servers of your own)",
                job.secret_arn
            ),
        )
    };
    if let Some(text) = credential.engine() {
        return Engine::parse(text).map_err(|why| unknown(format!("has an engine that is not this function's: {why}")));
    }
    let configured = match (config.atlas.secret.is_some(), config.admin_secret_arns.is_empty()) {
        (true, true) => Some(Engine::Atlas),
        (false, false) => Some(Engine::Server),
        _ => None,
    };
    config
        .engine
        .or(configured)
        .ok_or_else(|| unknown("does not say whether its user is at Atlas or on a server of your own".to_owned()))
}

fn atlas(config: &Config, credential: &Credential, job: &Job, database: &str) -> Result<AtAtlas> {
    if database != ADMIN_DATABASE {
        return Err(Error::new(
            "AUTH_DATABASE_NOT_ADMIN",
            format!(
                "{} has the tag {AUTH_DATABASE}={database}, but users with a password are in admin at Atlas.",
                job.secret_arn
            ),
            format!(
                "Take the tag off: aws secretsmanager untag-resource --secret-id {} --tag-keys {AUTH_DATABASE}",
                job.secret_arn
            ),
        ));
    }
    let project = project(config, job)?;
    if let Some(said) = credential.name("groupId")?
        && said != project
    {
        return Err(Error::new(
            "PROJECT_MISMATCH",
            format!("The value of {} has groupId {said:?}, but the secret is for project {project}.", job.secret_arn),
            format!("Correct the value, or the tag {PROJECT}."),
        ));
    }
    let clusters = tag(job, CLUSTERS).map(|text| words(text).map(str::to_owned).collect());
    let hosts = tag(job, HOSTS).map(|text| Servers::parse(&joined(text), None)).transpose();
    let hosts = hosts.map_err(|why| bad_tag(job, HOSTS, &why, "rs0/h1.example.com:27017 h2.example.com:27017"))?;
    Ok(AtAtlas { project, clusters, hosts })
}

/// The project comes from the tag or, where the settings allow only one, from them.
fn project(config: &Config, job: &Job) -> Result<String> {
    let allowed = &config.atlas.projects;
    let project = match (tag(job, PROJECT), allowed.as_slice()) {
        (Some(id), _) if is_project_id(id) => id.to_owned(),
        (Some(_), _) => return Err(bad_tag(job, PROJECT, "not 24 hexadecimal digits", "32b6e34b3d91647abb20e7b8")),
        (None, [only]) => return Ok(only.clone()),
        (None, _) => {
            return Err(Error::new(
                "PROJECT_UNKNOWN",
                format!("{} does not say in which Atlas project its user is.", job.secret_arn),
                format!(
                    "aws secretsmanager tag-resource --secret-id {} --tags Key={PROJECT},Value=<project id>",
                    job.secret_arn
                ),
            ));
        }
    };
    if !allowed.contains(&project) {
        if !config.atlas.any_project {
            return Err(Error::new(
                "PROJECT_NOT_ALLOWED",
                format!("{} is for Atlas project {project}, which is not among ATLAS_PROJECT_IDS.", job.secret_arn),
                "Correct the tag, or add the project to the function's ATLAS_PROJECT_IDS (or set ALLOW_ANY_PROJECT=true).",
            ));
        }
        job.overridden("ALLOW_ANY_PROJECT");
    }
    Ok(project)
}

fn server(credential: &Credential, job: &Job) -> Result<AtServer> {
    let tagged = tag(job, HOSTS);
    let servers = match (tagged, credential.host()) {
        (Some(text), _) => Servers::own(&joined(text), None, &format!("The tag {HOSTS} of {}", job.secret_arn))?,
        (None, Some(host)) => {
            Servers::own(host, credential.port(), &format!("The host in the value of {}", job.secret_arn))?
        }
        (None, None) => {
            return Err(Error::new(
                "SECRET_KEY_MISSING",
                format!("Neither the value of {} nor its tag {HOSTS} says where the server is.", job.secret_arn),
                "Add \"host\" (and \"port\") to the secret's JSON, or set the tag.",
            ));
        }
    };
    Ok(AtServer { servers, tagged: tagged.is_some(), admin: credential.master_arn().map(str::to_owned) })
}

/// Tag values take no commas: what is a list stands apart by spaces there.
fn joined(text: &str) -> String {
    words(text).collect::<Vec<_>>().join(",")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',']).filter(|word| !word.is_empty())
}

/// A tag's value; one that is empty counts as not there.
fn tag<'j>(job: &'j Job, name: &str) -> Option<&'j str> {
    job.tags.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

fn bad_tag(job: &Job, name: &str, why: &str, example: &str) -> Error {
    Error::new(
        "TAG_INVALID",
        format!("The tag {name} of {} is {why}.", job.secret_arn),
        format!("aws secretsmanager tag-resource --secret-id {} --tags \"Key={name},Value={example}\"", job.secret_arn),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::{Deadline, Vars};
    use std::time::Duration;

    /// What README of the examples says of each model: its tags, and what they make of it.
    #[test]
    fn the_examples_of_secrets_are_what_their_names_say() {
        let project = "0123456789abcdef01234567";
        let mut vars = Vars::of([("KEYTURN_ENV", "prod"), ("ATLAS_PROJECT_IDS", project)]);
        let config = Config::read(&mut vars);
        vars.finish().unwrap();
        let turns = [
            ("engine", "mongodb-atlas"),
            ("strategy", "alternating"),
            ("username", "reports_prod_rw"),
            ("atlas-project", project),
        ];
        let named = [("engine", "mongodb-atlas"), ("username", "reports_prod_rw")];
        for (text, tags, at_atlas, next) in [
            (
                include_str!("../../../infra/examples/secrets/rotate-mongo/atlas-fixed.json"),
                &[][..],
                true,
                "reports_prod_rw",
            ),
            (
                include_str!("../../../infra/examples/secrets/rotate-mongo/atlas-alternating.json"),
                &turns,
                true,
                "reports_prod_rw_clone",
            ),
            (
                include_str!("../../../infra/examples/secrets/rotate-mongo/password-only.json"),
                &named,
                true,
                "reports_prod_rw",
            ),
            (
                include_str!("../../../infra/examples/secrets/rotate-mongo/own-server.json"),
                &[],
                false,
                "reports_prod_rw",
            ),
            (
                include_str!("../../../infra/examples/secrets/rotate-mongo/documentdb.json"),
                &[],
                false,
                "reports_prod_rw",
            ),
            (
                include_str!("../../../infra/examples/secrets/rotate-mongo/mongo-hostname.json"),
                &[("engine", "mongo")],
                false,
                "reports_prod_rw",
            ),
        ] {
            let tags = tags.iter().map(|(key, value)| (format!("keyturn:{key}"), (*value).to_owned()));
            let job = Job::of("arn:app", tags, Deadline::after(Duration::ZERO));
            let credential = read(text.to_owned().into(), "the example", &job).unwrap();
            let case = Case::of(&config, &credential, &job).unwrap();
            let current = "reports_prod_rw";
            assert_eq!((case.current.as_str(), case.next.as_str()), (current, next), "{text}");
            assert_eq!(matches!(case.system, System::Atlas(_)), at_atlas, "{text}");
        }
    }

    #[test]
    fn the_example_of_an_admin_is_one_of_the_servers_of_the_example() {
        let job = Job::of("arn:app", [], Deadline::after(Duration::ZERO));
        let at = |text: &str| server(&Credential::parse(text.to_owned().into(), "the example").unwrap(), &job).unwrap();
        let application = at(include_str!("../../../infra/examples/secrets/rotate-mongo/own-server.json"));
        let admin = at(include_str!("../../../infra/examples/secrets/rotate-mongo/own-server-admin.json"));
        assert_eq!(application.servers, admin.servers);
    }
}
