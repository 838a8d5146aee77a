//! The settings of the environment and the tags of a secret: each declared once, and read into types.

use crate::codes::Code;
use crate::pattern::Pattern;
use chrono::{DateTime, Utc};
use keyturn::http::Base;
use keyturn::rotation::{Job, Strategy};
use keyturn::settings::{DeclaredSetting, Vars};
use keyturn::{Error, admin, clock};
use keyturn_mongo::login::ca_file;
use std::path::PathBuf;
use std::time::Duration;
use strum::{Display, EnumIter, EnumMessage, EnumProperty, IntoStaticStr};

const USUAL_PATTERN: &str = "{service...}_{env}_{role}";

/// Long enough for a mongos to forget what it knew of a user (`userCacheInvalidationIntervalSecs`, 30 s unless set).
const SETTLE: u64 = 40;

/// The doc comment of a variant is its meaning in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Setting {
    /// what `{env}` stands for in user names
    #[strum(props(default = "required", example = "prod"))]
    KeyturnEnv,
    /// for secrets that say nothing: `mongodb-atlas` or `mongo`
    #[strum(props(example = "mongodb-atlas"))]
    Engine,
    /// for secrets without the tag: `fixed` or `alternating`
    #[strum(props(default = "fixed"))]
    Strategy,
    /// the secret with Atlas's credential
    #[strum(props(example = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:atlas-AbCdEf"))]
    AtlasSecretId,
    /// comma list: the only projects that may be touched
    #[strum(props(default = "none", example = "32b6e34b3d91647abb20e7b8"))]
    AtlasProjectIds,
    /// how many database users the project takes (`atlas.project.security.databaseAccess.users`)
    #[strum(props(default = "100"))]
    AtlasUserLimit,
    /// `public`, `peering`, or the id of a private endpoint (`vpce-...`)
    #[strum(props(default = "public"))]
    AtlasNetwork,
    /// where Atlas's Admin API is; https, or http on loopback
    #[strum(props(default = "https://cloud.mongodb.com"))]
    AtlasApiUrl,
    /// comma list: the only admin secrets that may be used
    #[strum(props(default = "none", example = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:admin-AbCdEf"))]
    AdminSecretArns,
    /// PEM file of the only authorities to trust for databases (DocumentDB: RDS's bundle)
    #[strum(props(default = "Mozilla's roots", example = "/opt/database-ca.pem"))]
    DatabaseCaFile,
    /// how long a change that is said to be applied may still be refused; 1 to 300, not below the servers'
    /// `userCacheInvalidationIntervalSecs`
    #[strum(props(default = "40"))]
    SettleSeconds,
    /// where the rights of the two differ, make the twin like its base instead of refusing (a base that lacks what is in use
    /// is refused all the same)
    #[strum(props(default = "false", example = "true"))]
    SyncRoles,
    /// comma list of what user names look like: `{x}` is one segment, `{x...}` several with `_`
    #[strum(props(default = "{service...}_{env}_{role}"))]
    UsernamePatterns,
    /// override: users of any name
    #[strum(props(default = "false", example = "true"))]
    AllowAnyUsername,
    /// comma list of users that are protected besides `admin`, `break_glass_*`, `mms-*` and `serviceadmin`; a `*` at the end
    /// stands for anything
    #[strum(props(default = "none", example = "dba_*"))]
    ProtectedUsers,
    /// override, comma list: these protected users (never the admin itself)
    #[strum(props(default = "none", example = "mms-reports"))]
    AllowProtectedUsers,
    /// override, comma list of `role@database`: these roles, which are forbidden otherwise
    #[strum(props(default = "none", example = "backup@admin"))]
    AllowRoles,
    /// comma list of databases on which users may have no role, besides `admin`, `local` and `config`
    #[strum(props(default = "none", example = "billing"))]
    ForbiddenDatabases,
    /// override, comma list: roles on these databases, which are forbidden otherwise
    #[strum(props(default = "none", example = "admin"))]
    AllowDatabases,
    /// comma list of pairs: users of the one name pattern have roles on databases of the other only
    #[strum(props(default = "none", example = "shop_pr_{n}_app=shop_pr_{n}"))]
    DatabasePatterns,
    /// override: Atlas projects that are not among `ATLAS_PROJECT_IDS`
    #[strum(props(default = "false", example = "true"))]
    AllowAnyProject,
    /// when every override ends by itself (RFC 3339); without it no override can be set
    #[strum(props(default = "required with an override", example = "2026-12-31T00:00:00Z"))]
    AllowUntil,
}

impl DeclaredSetting for Setting {}

/// The tags of a secret that are read here. They decide whose power is used. Tags take no commas: lists stand apart by spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
pub enum Tag {
    /// `mongodb-atlas` or `mongo`
    #[strum(
        serialize = "keyturn:engine",
        props(default = "the secret's `engine`, then `ENGINE`, then what is set up", example = "mongodb-atlas")
    )]
    Engine,
    /// `fixed` or `alternating`
    #[strum(serialize = "keyturn:strategy", props(default = "`STRATEGY`", example = "fixed"))]
    Strategy,
    /// the user; for alternating the base of the two
    #[strum(serialize = "keyturn:username", props(default = "the secret's", example = "reports_prod_rw"))]
    Username,
    /// project id
    #[strum(
        serialize = "keyturn:atlas-project",
        props(default = "the only one of `ATLAS_PROJECT_IDS`", example = "32b6e34b3d91647abb20e7b8")
    )]
    AtlasProject,
    /// names of the clusters to log in to
    #[strum(serialize = "keyturn:atlas-clusters", props(default = "all in the user's scopes", example = "Cluster0"))]
    AtlasClusters,
    /// `rs0/h1:27017 h2:27017`: where to log in
    #[strum(
        serialize = "keyturn:hosts",
        props(default = "from Atlas, or the secret", example = "rs0/h1.example.com:27017 h2.example.com:27017")
    )]
    Hosts,
    /// the database that keeps the user (own servers)
    #[strum(serialize = "keyturn:auth-db", props(default = "admin"))]
    AuthDb,
}

impl DeclaredSetting for Tag {}

/// How many database users a project takes, unless the limit was raised (Atlas service limits).
pub(crate) const MOST_USERS: usize = 100;

/// The settings of the environment, read once at start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// For secrets that name none.
    pub(crate) engine: Option<Engine>,
    /// For secrets without a tag for it.
    pub(crate) strategy: Strategy,
    pub(crate) database_ca: Option<PathBuf>,
    pub(crate) settle: Duration,
    pub(crate) sync_roles: bool,
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
    pub(crate) base: Option<Base>,
    /// The secret with its credential.
    pub(crate) secret: Option<String>,
    pub(crate) projects: Vec<String>,
    pub(crate) any_project: bool,
    pub(crate) overrides: Overrides,
    /// How many database users a project takes.
    pub(crate) most_users: usize,
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

/// When the settings that override a guard end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overrides {
    until: Option<DateTime<Utc>>,
}

/// Which users may be touched.
#[derive(Clone, Debug)]
pub(crate) struct GuardSettings {
    pub(crate) overrides: Overrides,
    /// What `{env}` stands for in user names.
    pub(crate) environment: Option<String>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) any_username: bool,
    /// Users of the one may have roles on databases of the other alone.
    pub(crate) database_patterns: Vec<(Pattern, Pattern)>,
    /// Besides those that always are.
    pub(crate) protected: Vec<String>,
    pub(crate) allowed_users: Vec<String>,
    /// Besides those that always are.
    pub(crate) forbidden_databases: Vec<String>,
    pub(crate) allowed_databases: Vec<String>,
    /// Each `role@database`.
    pub(crate) allowed_roles: Vec<String>,
}

impl Settings {
    /// Reads the settings; what is wrong with them is noted in `vars`.
    pub(crate) fn read(vars: &mut Vars) -> Self {
        let settle = vars.parsed(Setting::SettleSeconds, seconds).unwrap_or(SETTLE);
        let overrides = Overrides::read(vars);
        Self {
            engine: vars.parsed(Setting::Engine, Engine::parse),
            strategy: vars.parsed(Setting::Strategy, strategy).unwrap_or(Strategy::Fixed),
            database_ca: vars.parsed(Setting::DatabaseCaFile, ca_file),
            settle: Duration::from_secs(settle),
            sync_roles: vars.flag(Setting::SyncRoles),
            admin_secret_arns: vars.parsed(Setting::AdminSecretArns, admin::secret_arns).unwrap_or_default(),
            atlas: AtlasSettings::read(vars, overrides),
            guards: GuardSettings::read(vars, overrides),
        }
    }
}

impl AtlasSettings {
    fn read(vars: &mut Vars, overrides: Overrides) -> Self {
        Self {
            base: vars.parsed(Setting::AtlasApiUrl, Base::parse),
            secret: vars.text(Setting::AtlasSecretId),
            projects: vars.parsed(Setting::AtlasProjectIds, projects).unwrap_or_default(),
            any_project: vars.flag(Setting::AllowAnyProject),
            overrides,
            most_users: vars.parsed(Setting::AtlasUserLimit, user_limit).unwrap_or(MOST_USERS),
            network: vars.parsed(Setting::AtlasNetwork, network).unwrap_or(Network::Public),
        }
    }
}

impl Overrides {
    const SETTINGS: [Setting; 5] = [
        Setting::AllowAnyUsername,
        Setting::AllowProtectedUsers,
        Setting::AllowRoles,
        Setting::AllowDatabases,
        Setting::AllowAnyProject,
    ];

    fn read(vars: &mut Vars) -> Self {
        let until = vars.parsed(Setting::AllowUntil, instant);
        if vars.text(Setting::AllowUntil).is_none() {
            let is_set = |setting: &Setting| vars.text(*setting).is_some_and(|value| value != "false");
            if let Some(setting) = Self::SETTINGS.into_iter().find(is_set) {
                vars.mistake(Setting::AllowUntil, &format!("not set, so that {setting} would never end"));
            }
        }
        Self { until }
    }

    /// Whether this setting lets through what a guard would have refused, which the audit line then names. It counts to the end
    /// of a rotation that began under it: stopped half-way, clients may be without a password that works.
    pub(crate) fn allow(self, setting: Setting, job: &Job) -> bool {
        let Some(until) = self.until else { return false };
        let has_ended = clock::now() >= until;
        if has_ended {
            let ended = format!("{setting} has ended on {until}, so that it lets no new rotation begin.");
            job.warn(&Error::of(Code::OverrideEnded, ended));
        }
        if has_ended && !job.has_begun {
            return false;
        }
        job.overridden(setting);
        true
    }
}

impl GuardSettings {
    fn read(vars: &mut Vars, overrides: Overrides) -> Self {
        let environment = vars.parsed(Setting::KeyturnEnv, segment);
        let any_username = vars.flag(Setting::AllowAnyUsername);
        let patterns = vars.parsed(Setting::UsernamePatterns, |text| items(text).map(Pattern::parse).collect());
        let patterns = patterns.unwrap_or_else(|| Pattern::parse(USUAL_PATTERN).into_iter().collect::<Vec<_>>());
        if environment.is_none() && !any_username && patterns.iter().any(|pattern| pattern.has("env")) {
            vars.mistake(
                Setting::KeyturnEnv,
                "not set, so that nothing says which users are this deployment's (not needed with USERNAME_PATTERNS without {env}, or with ALLOW_ANY_USERNAME=true)",
            );
        }
        let database_patterns = vars.parsed(Setting::DatabasePatterns, |text| items(text).map(pair).collect());
        let allowed_roles = vars.parsed(Setting::AllowRoles, |text| items(text).map(role).collect());
        Self {
            overrides,
            environment,
            patterns,
            any_username,
            database_patterns: database_patterns.unwrap_or_default(),
            protected: list(vars, Setting::ProtectedUsers),
            allowed_users: list(vars, Setting::AllowProtectedUsers),
            forbidden_databases: list(vars, Setting::ForbiddenDatabases),
            allowed_databases: list(vars, Setting::AllowDatabases),
            allowed_roles: allowed_roles.unwrap_or_default(),
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

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).map_err(|_| "no date and time of RFC 3339".to_owned())
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

fn user_limit(text: &str) -> Result<usize, String> {
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

fn list(vars: &Vars, setting: Setting) -> Vec<String> {
    vars.text(setting).map(|text| items(&text).map(str::to_owned).collect()).unwrap_or_default()
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_without_an_end_is_refused() {
        for (setting, value) in [("ALLOW_ROLES", "backup@admin"), ("ALLOW_ANY_PROJECT", "true")] {
            let mut vars = Vars::of([("KEYTURN_ENV", "prod"), (setting, value)]);
            let _ = Settings::read(&mut vars);
            let error = vars.finish().unwrap_err().to_string();
            assert_eq!(error.matches(&format!("{setting} would never end")).count(), 1, "{error}");
        }
        let mut vars = Vars::of([("KEYTURN_ENV", "prod"), ("ALLOW_ANY_PROJECT", "false"), ("ALLOW_ROLES", "")]);
        let _ = Settings::read(&mut vars);
        vars.finish().unwrap();
    }

    #[test]
    fn the_environment_has_to_be_said() {
        let mut vars = Vars::of([]);
        let _ = Settings::read(&mut vars);
        assert!(vars.finish().unwrap_err().message().contains("KEYTURN_ENV: not set"));
        for setting in [("KEYTURN_ENV", "prod"), ("ALLOW_ANY_USERNAME", "true"), ("USERNAME_PATTERNS", "{service}_app")]
        {
            let mut vars = Vars::of([setting, ("ALLOW_UNTIL", "2999-12-31T00:00:00Z")]);
            let settings = Settings::read(&mut vars);
            vars.finish().unwrap();
            assert_eq!((settings.strategy, settings.settle), (Strategy::Fixed, Duration::from_secs(40)));
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
            ("ATLAS_PROJECT_IDS", "shop"),
            ("ALLOW_ANY_PROJECT", "1"),
            ("ATLAS_USER_LIMIT", "many"),
            ("ATLAS_NETWORK", "private"),
            ("KEYTURN_ENV", "prod_eu"),
            ("USERNAME_PATTERNS", "{service"),
            ("ALLOW_ANY_USERNAME", "on"),
            ("DATABASE_PATTERNS", "a_{n}"),
            ("ALLOW_ROLES", "backup"),
            ("ALLOW_UNTIL", "tomorrow"),
        ];
        let mut vars = Vars::of(settings);
        let _ = Settings::read(&mut vars);
        let error = vars.finish().unwrap_err().to_string();
        for (name, _) in settings {
            assert!(error.contains(&format!("{name}: ")), "{name} in {error}");
        }
    }
}
