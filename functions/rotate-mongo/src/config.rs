//! What the operator sets per deployment, read once at start.

use crate::atlas::{ApiVersion, MOST_USERS};
use crate::login::ca_file;
use crate::names::Pattern;
use keyturn::http::Base;
use keyturn::rotation::Strategy;
use keyturn::{Vars, admin};
use std::path::PathBuf;
use std::time::Duration;

const USUAL_PATTERN: &str = "{service...}_{env}_{role}";

/// Long enough for a mongos to forget what it knew of a user (`userCacheInvalidationIntervalSecs`, 30 s unless set).
const SETTLE: u64 = 40;

/// The function's settings. Every field is a row of README's table.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ENGINE`: for secrets that name none.
    pub(crate) engine: Option<Engine>,
    /// `STRATEGY`: for secrets without a tag for it.
    pub(crate) strategy: Strategy,
    /// `DATABASE_CA_FILE`: the PEM file of the certificates to trust instead of Mozilla's.
    pub(crate) database_ca: Option<PathBuf>,
    /// `SETTLE_SECONDS`: how long a change that is said to be applied may still be refused at a login.
    pub(crate) settle: Duration,
    /// `SYNC_ROLES`: a twin is given its base's rights where they differ.
    pub(crate) sync_roles: bool,
    /// `ADMIN_SECRET_ARNS`: the admin secrets that may be used.
    pub(crate) admin_secret_arns: Vec<String>,
    pub(crate) atlas: AtlasSettings,
    pub(crate) guards: GuardSettings,
}

/// Where users are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Atlas,
    Server,
}

impl Engine {
    /// As secrets, tags and `ENGINE` spell it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "mongodb-atlas" => Ok(Self::Atlas),
            "mongo" => Ok(Self::Server),
            _ => Err(format!("{text:?} is neither mongodb-atlas nor mongo")),
        }
    }
}

/// How Atlas is reached.
#[derive(Clone, Debug)]
pub(crate) struct AtlasSettings {
    /// `ATLAS_API_URL`.
    pub(crate) base: Option<Base>,
    /// `ATLAS_API_VERSION`.
    pub(crate) version: ApiVersion,
    /// `ATLAS_SECRET_ID`.
    pub(crate) secret: Option<String>,
    /// `ATLAS_PROJECT_IDS`.
    pub(crate) projects: Vec<String>,
    /// `ALLOW_ANY_PROJECT`.
    pub(crate) any_project: bool,
    /// `ATLAS_USER_LIMIT`: how many database users a project takes.
    pub(crate) most_users: u64,
    /// `ATLAS_NETWORK`.
    pub(crate) network: Network,
}

/// Which of a cluster's addresses are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Public,
    /// By network peering.
    Peering,
    /// By the private endpoint of this id.
    Endpoint(String),
}

/// Which users may be touched.
#[derive(Clone, Debug)]
pub(crate) struct GuardSettings {
    /// `KEYTURN_ENV`: what `{env}` stands for in user names.
    pub(crate) environment: Option<String>,
    /// `USERNAME_PATTERNS`.
    pub(crate) patterns: Vec<Pattern>,
    /// `ALLOW_ANY_USERNAME`.
    pub(crate) any_username: bool,
    /// `DATABASE_PATTERNS`: users of the one may have roles on databases of the other alone.
    pub(crate) database_patterns: Vec<(Pattern, Pattern)>,
    /// `PROTECTED_USERS`, besides those that always are.
    pub(crate) protected: Vec<String>,
    /// `ALLOW_PROTECTED_USERS`.
    pub(crate) allowed_users: Vec<String>,
    /// `FORBIDDEN_DATABASES`, besides those that always are.
    pub(crate) forbidden_databases: Vec<String>,
    /// `ALLOW_DATABASES`.
    pub(crate) allowed_databases: Vec<String>,
    /// `ALLOW_ROLES`, each `role@database`.
    pub(crate) allowed_roles: Vec<String>,
}

impl Config {
    /// Reads the settings; what is wrong with them is noted in `vars`.
    pub(crate) fn read(vars: &mut Vars) -> Self {
        Self {
            engine: vars.parsed("ENGINE", "mongodb-atlas", Engine::parse),
            strategy: vars.parsed("STRATEGY", "fixed", strategy).unwrap_or(Strategy::Fixed),
            database_ca: vars.parsed("DATABASE_CA_FILE", "/opt/database-ca.pem", ca_file),
            settle: Duration::from_secs(vars.parsed("SETTLE_SECONDS", "40", seconds).unwrap_or(SETTLE)),
            sync_roles: flag(vars, "SYNC_ROLES"),
            admin_secret_arns: vars
                .parsed(
                    "ADMIN_SECRET_ARNS",
                    "arn:aws:secretsmanager:eu-west-1:123456789012:secret:admin-AbCdEf",
                    admin::secret_arns,
                )
                .unwrap_or_default(),
            atlas: AtlasSettings::read(vars),
            guards: GuardSettings::read(vars),
        }
    }
}

impl AtlasSettings {
    fn read(vars: &mut Vars) -> Self {
        Self {
            base: vars.parsed("ATLAS_API_URL", "https://cloud.mongodb.com", Base::parse),
            version: vars.parsed("ATLAS_API_VERSION", "2023-01-01", ApiVersion::parse).unwrap_or_default(),
            secret: vars.text("ATLAS_SECRET_ID"),
            projects: vars.parsed("ATLAS_PROJECT_IDS", "32b6e34b3d91647abb20e7b8", projects).unwrap_or_default(),
            any_project: flag(vars, "ALLOW_ANY_PROJECT"),
            most_users: vars.parsed("ATLAS_USER_LIMIT", "100", user_limit).unwrap_or(MOST_USERS),
            network: vars.parsed("ATLAS_NETWORK", "public", network).unwrap_or(Network::Public),
        }
    }
}

impl GuardSettings {
    fn read(vars: &mut Vars) -> Self {
        let environment = vars.parsed("KEYTURN_ENV", "prod", segment);
        let any_username = flag(vars, "ALLOW_ANY_USERNAME");
        let patterns =
            vars.parsed("USERNAME_PATTERNS", USUAL_PATTERN, |text| items(text).map(Pattern::parse).collect());
        let patterns = patterns.unwrap_or_else(|| Pattern::parse(USUAL_PATTERN).into_iter().collect::<Vec<_>>());
        if environment.is_none() && !any_username && patterns.iter().any(|pattern| pattern.has("env")) {
            vars.note(["KEYTURN_ENV: not set, so that nothing says which users are this deployment's, for example KEYTURN_ENV=prod (or USERNAME_PATTERNS without {env}, or ALLOW_ANY_USERNAME=true)".to_owned()]);
        }
        Self {
            environment,
            patterns,
            any_username,
            database_patterns: vars
                .parsed("DATABASE_PATTERNS", "shop_pr_{n}_app=shop_pr_{n}", |text| items(text).map(pair).collect())
                .unwrap_or_default(),
            protected: list(vars, "PROTECTED_USERS"),
            allowed_users: list(vars, "ALLOW_PROTECTED_USERS"),
            forbidden_databases: list(vars, "FORBIDDEN_DATABASES"),
            allowed_databases: list(vars, "ALLOW_DATABASES"),
            allowed_roles: vars
                .parsed("ALLOW_ROLES", "backup@admin", |text| items(text).map(role).collect())
                .unwrap_or_default(),
        }
    }
}

/// The strategy, as the tag and `STRATEGY` spell it.
pub(crate) fn strategy(text: &str) -> Result<Strategy, String> {
    match text {
        "fixed" => Ok(Strategy::Fixed),
        "alternating" => Ok(Strategy::Alternating),
        _ => Err(format!("{text:?} is neither fixed nor alternating")),
    }
}

fn flag(vars: &mut Vars, name: &str) -> bool {
    let value = vars.parsed(name, "true", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    });
    value.unwrap_or_default()
}

fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seconds) if (1..=300).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds from 1 to 300".to_owned()),
    }
}

fn projects(text: &str) -> Result<Vec<String>, String> {
    match items(text).find(|id| !is_project_id(id)) {
        Some(stranger) => Err(format!("{stranger:?} is no project id")),
        None => Ok(items(text).map(str::to_owned).collect()),
    }
}

fn user_limit(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err("not a number of users".to_owned()),
    }
}

/// Project ids are 24 hexadecimal digits.
pub(crate) fn is_project_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn network(text: &str) -> Result<Network, String> {
    match text {
        "public" => Ok(Network::Public),
        "peering" => Ok(Network::Peering),
        id if id.starts_with("vpce-") => Ok(Network::Endpoint(id.to_owned())),
        _ => Err("not public, peering, or the id of a private endpoint (vpce-...)".to_owned()),
    }
}

fn segment(text: &str) -> Result<String, String> {
    let is_segment = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_segment { Ok(text.to_owned()) } else { Err("more than letters, digits and dashes".to_owned()) }
}

fn pair(text: &str) -> Result<(Pattern, Pattern), String> {
    let (user, database) = text.split_once('=').ok_or_else(|| format!("{text:?} has no '='"))?;
    Ok((Pattern::parse(user)?, Pattern::parse(database)?))
}

fn role(text: &str) -> Result<String, String> {
    match text.split_once('@') {
        Some((role, database)) if !role.is_empty() && !database.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no role@database")),
    }
}

fn list(vars: &Vars, name: &str) -> Vec<String> {
    vars.text(name).map(|text| items(&text).map(str::to_owned).collect()).unwrap_or_default()
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_to_be_said() {
        let mut vars = Vars::of([]);
        let _ = Config::read(&mut vars);
        assert!(vars.finish().unwrap_err().message().contains("KEYTURN_ENV: not set"));
        for setting in [("KEYTURN_ENV", "prod"), ("ALLOW_ANY_USERNAME", "true"), ("USERNAME_PATTERNS", "{service}_app")]
        {
            let mut vars = Vars::of([setting]);
            let config = Config::read(&mut vars);
            vars.finish().unwrap();
            assert_eq!((config.strategy, config.settle), (Strategy::Fixed, Duration::from_secs(40)));
        }
    }

    #[test]
    fn every_bad_setting_is_named() {
        let settings = [
            ("ENGINE", "postgres"),
            ("STRATEGY", "single"),
            ("DATABASE_CA_FILE", "/does/not/exist.pem"),
            ("SETTLE_SECONDS", "301"),
            ("SYNC_ROLES", "yes"),
            ("ADMIN_SECRET_ARNS", "admin"),
            ("ATLAS_API_URL", "http://cloud.mongodb.com"),
            ("ATLAS_API_VERSION", "latest"),
            ("ATLAS_PROJECT_IDS", "shop"),
            ("ALLOW_ANY_PROJECT", "1"),
            ("ATLAS_USER_LIMIT", "many"),
            ("ATLAS_NETWORK", "private"),
            ("KEYTURN_ENV", "prod_eu"),
            ("USERNAME_PATTERNS", "{service"),
            ("ALLOW_ANY_USERNAME", "on"),
            ("DATABASE_PATTERNS", "a_{n}"),
            ("ALLOW_ROLES", "backup"),
        ];
        let mut vars = Vars::of(settings);
        let _ = Config::read(&mut vars);
        let error = vars.finish().unwrap_err().to_string();
        for (name, _) in settings {
            assert!(error.contains(&format!("{name}: ")), "{name} in {error}");
        }
    }
}
