//! What one secret is about: where its user is kept, who that is, and who comes next; from its tags, its value, and the
//! settings.
//!
//! The value may be edited by the application itself, so it never decides whose power is used: the project and the admin
//! come from tags and settings, and what the value says of them must agree.

use crate::codes::Code;
use crate::settings::{Engine, Setting, Settings, Tag, is_project_id, strategy};
use keyturn::alternation::{base_of, twin_of};
use keyturn::codes::Code as Core;
use keyturn::credential::{Credential, Shape};
use keyturn::rotation::{Job, Strategy};
use keyturn::{Error, Result};
use keyturn_mongo::login::{ADMIN_DATABASE, Servers};
use secrecy::{ExposeSecret as _, SecretString};

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
pub(crate) fn read(text: SecretString, what: &str, job: &Job) -> Result<Credential> {
    let shape = Shape {
        usernames: &["username", "mongoUser"],
        passwords: &["password", "mongoPassword"],
        hosts: &["host", "mongoHostname", "clusterUrl"],
        username: job.tag(Tag::Username).map(str::to_owned),
    };
    Credential::parse_as(shape, text, what)
}

/// Whose password is changed: by the secret's tag, else as the operator set it.
///
/// Errors: `TAG_INVALID`.
pub(crate) fn strategy_of(settings: &Settings, job: &Job) -> Result<Strategy> {
    match job.tag(Tag::Strategy) {
        Some(text) => strategy(text).map_err(|why| job.bad_tag(Tag::Strategy, &why)),
        None => Ok(settings.strategy),
    }
}

impl Case {
    /// The case of a secret with this value.
    ///
    /// Errors: `TAG_INVALID`, `ENGINE_UNKNOWN`, `USERNAME_MISMATCH`, `USERNAME_NOT_IN_SECRET`, `PROJECT_UNKNOWN`,
    /// `PROJECT_NOT_ALLOWED`, `PROJECT_MISMATCH`, `AUTH_DATABASE_NOT_ADMIN`, `ATLAS_NEEDS_ITS_API`, `SECRET_KEY_MISSING`.
    pub(crate) fn of(settings: &Settings, credential: &Credential, job: &Job) -> Result<Self> {
        let strategy = strategy_of(settings, job)?;
        let database = job.tag(Tag::AuthDb).unwrap_or(ADMIN_DATABASE).to_owned();
        let system = match engine(settings, credential, job)? {
            Engine::Atlas => System::Atlas(atlas(settings, credential, job, &database)?),
            Engine::Server => System::Server(server(credential, job)?),
        };
        let current = credential.username().to_owned();
        let (base, next) = turn(strategy, credential, job)?;
        Ok(Self { system, strategy, database, base, current, next })
    }

    /// Why a password can never be set here, by the vendor's published rules; `None` where it can.
    pub(crate) fn never_taken(&self, password: &SecretString) -> Option<String> {
        let text = password.expose_secret();
        let length = text.chars().count();
        match &self.system {
            System::Atlas(_) if length < 8 => Some("Atlas takes 8 characters at least".to_owned()),
            System::Server(at) if at.servers.are_document_db() => {
                let fits =
                    (8..=100).contains(&length) && text.bytes().all(|b| b.is_ascii_graphic() && !b"/\"@".contains(&b));
                (!fits).then(|| "DocumentDB takes 8 to 100 printable characters without / \" @".to_owned())
            }
            System::Atlas(_) | System::Server(_) => None,
        }
    }
}

/// The base, and who comes next.
fn turn(strategy: Strategy, credential: &Credential, job: &Job) -> Result<(String, String)> {
    let current = credential.username();
    if strategy == Strategy::Fixed {
        return match job.tag(Tag::Username) {
            Some(tagged) if tagged != current => Err(foreign(job, current, &format!("{tagged:?}"))),
            _ => Ok((current.to_owned(), current.to_owned())),
        };
    }
    if !credential.holds_username() {
        return Err(Error::of(
            Code::UsernameNotInSecret,
            format!(
                "{} is to alternate between two users, but its value names none: clients could not know which.",
                job.secret_arn
            ),
        ));
    }
    let base = job.tag(Tag::Username).or_else(|| base_of(current)).unwrap_or(current);
    let twin = twin_of(base);
    match current {
        _ if current == base => Ok((base.to_owned(), twin)),
        _ if current == twin => Ok((base.to_owned(), base.to_owned())),
        _ => Err(foreign(job, current, &format!("{base:?} nor {twin:?}"))),
    }
}

fn foreign(job: &Job, current: &str, expected: &str) -> Error {
    Error::of(
        Code::UsernameMismatch,
        format!(
            "The value of {} is for user {current:?}, which is not {expected} of its tag {}.",
            job.secret_arn,
            Tag::Username
        ),
    )
}

fn engine(settings: &Settings, credential: &Credential, job: &Job) -> Result<Engine> {
    if let Some(text) = job.tag(Tag::Engine) {
        return Engine::parse(text).map_err(|why| job.bad_tag(Tag::Engine, &why));
    }
    let unknown = |what: String| {
        Error::new(
            Core::EngineUnknown,
            format!("{} {what}.", job.secret_arn),
            format!(
                "Say which it is: aws secretsmanager tag-resource --secret-id {} --tags Key={},Value=mongodb-atlas (or mongo, for servers of your own)",
                job.secret_arn,
                Tag::Engine
            ),
        )
    };
    if let Some(text) = credential.engine() {
        return Engine::parse(text).map_err(|why| unknown(format!("has an engine that is not this function's: {why}")));
    }
    let configured = match (settings.atlas.secret.is_some(), settings.admin_secret_arns.is_empty()) {
        (true, true) => Some(Engine::Atlas),
        (false, false) => Some(Engine::Server),
        _ => None,
    };
    settings
        .engine
        .or(configured)
        .ok_or_else(|| unknown("does not say whether its user is at Atlas or on a server of your own".to_owned()))
}

fn atlas(settings: &Settings, credential: &Credential, job: &Job, database: &str) -> Result<AtAtlas> {
    if database != ADMIN_DATABASE {
        return Err(Error::new(
            Code::AuthDatabaseNotAdmin,
            format!(
                "{} has the tag {}={database}, but users with a password are in admin at Atlas.",
                job.secret_arn,
                Tag::AuthDb
            ),
            format!(
                "Take the tag off: aws secretsmanager untag-resource --secret-id {} --tag-keys {}",
                job.secret_arn,
                Tag::AuthDb
            ),
        ));
    }
    let project = project(settings, job)?;
    if let Some(said) = credential.name("groupId")?
        && said != project
    {
        return Err(Error::of(
            Code::ProjectMismatch,
            format!("The value of {} has groupId {said:?}, but the secret is for project {project}.", job.secret_arn),
        ));
    }
    let clusters = job.tag(Tag::AtlasClusters).map(|text| words(text).map(str::to_owned).collect());
    let hosts = job.tag(Tag::Hosts).map(|text| Servers::parse(&joined(text), None)).transpose();
    let hosts = hosts.map_err(|why| job.bad_tag(Tag::Hosts, &why))?;
    Ok(AtAtlas { project, clusters, hosts })
}

/// The project comes from the tag or, where the settings allow only one, from them.
fn project(settings: &Settings, job: &Job) -> Result<String> {
    let allowed = &settings.atlas.projects;
    let project = match (job.tag(Tag::AtlasProject), allowed.as_slice()) {
        (Some(id), _) if is_project_id(id) => id.to_owned(),
        (Some(_), _) => return Err(job.bad_tag(Tag::AtlasProject, "not 24 hexadecimal digits")),
        (None, [only]) => return Ok(only.clone()),
        (None, _) => {
            return Err(Error::new(
                Code::ProjectUnknown,
                format!("{} does not say in which Atlas project its user is.", job.secret_arn),
                format!(
                    "aws secretsmanager tag-resource --secret-id {} --tags Key={},Value=<project id>",
                    job.secret_arn,
                    Tag::AtlasProject
                ),
            ));
        }
    };
    let may_be_any = || settings.atlas.any_project && settings.atlas.overrides.allow(Setting::AllowAnyProject, job);
    if !allowed.contains(&project) && !may_be_any() {
        return Err(Error::of(
            Code::ProjectNotAllowed,
            format!("{} is for Atlas project {project}, which is not among ATLAS_PROJECT_IDS.", job.secret_arn),
        ));
    }
    Ok(project)
}

fn server(credential: &Credential, job: &Job) -> Result<AtServer> {
    let tagged = job.tag(Tag::Hosts);
    let servers = match (tagged, credential.host()) {
        (Some(text), _) => Servers::own(&joined(text), None, &format!("The tag {} of {}", Tag::Hosts, job.secret_arn))?,
        (None, Some(host)) => {
            Servers::own(host, credential.port(), &format!("The host in the value of {}", job.secret_arn))?
        }
        (None, None) => {
            return Err(Error::new(
                Core::SecretKeyMissing,
                format!("Neither the value of {} nor its tag {} says where the server is.", job.secret_arn, Tag::Hosts),
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

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::{Deadline, Vars};
    use std::time::Duration;

    /// What infra/examples/README.md says of each model: its tags, and what they make of it.
    #[test]
    fn the_examples_of_secrets_are_what_their_names_say() {
        let project = "0123456789abcdef01234567";
        let mut vars = Vars::of([("KEYTURN_ENV", "prod"), ("ATLAS_PROJECT_IDS", project)]);
        let settings = Settings::read(&mut vars);
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
                include_str!("../../../infra/examples/secrets/rotate-mongo/managed-external.json"),
                &[("engine", "mongodb-atlas")],
                true,
                "reports_prod_rw",
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
            let case = Case::of(&settings, &credential, &job).unwrap();
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

    #[test]
    fn a_password_that_its_place_never_takes_is_known() {
        let vars = [("KEYTURN_ENV", "prod"), ("ATLAS_PROJECT_IDS", "0123456789abcdef01234567")];
        let mut vars = Vars::of(vars);
        let settings = Settings::read(&mut vars);
        vars.finish().unwrap();
        let takes = |engine: &str, host: &str, password: &str| {
            let job = Job::of("arn:app", [], Deadline::after(Duration::ZERO));
            let value =
                serde_json::json!({"engine": engine, "host": host, "username": "reports_prod_rw", "password": "x"});
            let credential = read(value.to_string().into(), "the value", &job).unwrap();
            Case::of(&settings, &credential, &job).unwrap().never_taken(&password.into()).is_none()
        };
        let [shortest, longest, too_long] = [8, 100, 101].map(|length| "p".repeat(length));
        for host in [
            "shop.cluster-c1a2.eu-west-1.docdb.amazonaws.com",
            "shop.c1a2.docdb.cn-north-1.amazonaws.com.cn",
            "shop-1234.eu-west-1.docdb-elastic.amazonaws.com",
        ] {
            assert!(takes("mongo", host, &shortest) && takes("mongo", host, &longest), "{host}");
            for refused in
                ["seven77", &too_long, "slash/slash", "quo\"quote", "at@at@at@", "umlaut\u{e4}\u{e4}", "a blank one"]
            {
                assert!(!takes("mongo", host, refused), "{host}: {refused}");
            }
        }
        // A name of one's own may lead to anything.
        assert!(takes("mongo", "mongo.example.com", "a/b") && takes("mongo", "mongo.example.com", &too_long));
        assert!(
            takes("mongodb-atlas", "c0.ab1cd.mongodb.net", "at@/\"at@")
                && !takes("mongodb-atlas", "c0.ab1cd.mongodb.net", "seven77")
        );
    }
}
