//! What the operator sets per deployment, read once at start.

use crate::caller::PermissionSet;
use keyturn::Vars;
use keyturn::http::Base;
use keyturn::settings::{DeclaredSetting, path, switch};
use std::path::PathBuf;
use strum::{EnumIter, EnumMessage, EnumProperty, IntoStaticStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Setting {
    /// path in Parameter Store; each parameter directly below it is the document of one database
    #[strum(props(default = "required", example = "/keyturn/prod/databases"))]
    ConfigPath,
    /// another path; each open login has a record below it
    #[strum(props(default = "required", example = "/keyturn/prod/logins"))]
    StatePath,
    /// the path of `oncall-sync`'s ledgers, which say who is on call; only read
    #[strum(props(default = "required", example = "/keyturn/prod/oncall-ledger"))]
    LedgerPath,
    /// the permission sets of IAM Identity Center whose holders may ask, each with the id of its role in this account, separated
    /// by commas
    #[strum(props(default = "required", example = "DatabaseOnCall:AROAEXAMPLEID1234567"))]
    PermissionSets,
    /// secret of a channel for alerts: Datadog
    #[strum(props(default = "none", example = "keyturn/datadog"))]
    DatadogSecretId,
    /// secret of a channel for alerts: Slack
    #[strum(props(default = "none", example = "keyturn/slack"))]
    SlackSecretId,
    /// `on` or `off`: whether the sweep runs each minute; where it is off, no login is opened, since nobody would end its sessions
    #[strum(props(default = "on"))]
    Schedule,
    /// the alias of the function that has the function URL
    #[strum(props(default = "url"))]
    UrlAlias,
    /// the alias that takes the sweep, the report and the check
    #[strum(props(default = "ops"))]
    OpsAlias,
    /// the log group of `oncall-sync`, for the report
    #[strum(props(default = "none", example = "/keyturn/prod/oncall-sync"))]
    OncallLogGroup,
    /// set by Lambda: the function's own log group, for the report
    #[strum(props(default = "none", only = "variable"))]
    AwsLambdaLogGroupName,
    /// PEM file of the only authorities to trust for databases
    #[strum(props(default = "RDS's and Mozilla's, compiled in", example = "/opt/ca.pem"))]
    DatabaseCaFile,
    /// you need not set it: OpenSSL reads this file at its start, and the function does not use it. The stack names an empty one
    /// (`/dev/null`), which saves 36 ms of CPU in a cold start
    #[strum(props(default = "OpenSSL's own", example = "/dev/null"))]
    SslCertFile,
    /// another address of Atlas; https, or http on loopback
    #[strum(props(default = "the vendor's", example = "https://cloud.mongodb.com"))]
    AtlasApiUrl,
    /// another address of Datadog's API; https, or http on loopback
    #[strum(props(default = "the vendor's", example = "https://api.datadoghq.eu"))]
    DatadogApiUrl,
}

impl DeclaredSetting for Setting {}

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Without a slash at its end; so are the other two.
    pub(crate) config_path: String,
    pub(crate) state_path: String,
    pub(crate) ledger_path: String,
    pub(crate) permission_sets: Vec<PermissionSet>,
    pub(crate) datadog_secret: Option<String>,
    pub(crate) slack_secret: Option<String>,
    pub(crate) is_scheduled: bool,
    pub(crate) url_alias: String,
    pub(crate) ops_alias: String,
    pub(crate) oncall_logs: Option<String>,
    pub(crate) own_logs: Option<String>,
    /// PEM certificates, and the file that they are in: the two drivers ask for one of them each.
    pub(crate) database_ca: Option<Vec<u8>>,
    pub(crate) database_ca_file: Option<PathBuf>,
    pub(crate) atlas_api: Option<Base>,
    pub(crate) datadog_api: Option<Base>,
}

impl Settings {
    /// Reads the settings; what is wrong with them is noted in `vars`.
    pub(crate) fn read(vars: &mut Vars) -> Self {
        let settings = Self {
            config_path: vars.required(Setting::ConfigPath, path).unwrap_or_default(),
            state_path: vars.required(Setting::StatePath, path).unwrap_or_default(),
            ledger_path: vars.required(Setting::LedgerPath, path).unwrap_or_default(),
            permission_sets: vars.required(Setting::PermissionSets, PermissionSet::list).unwrap_or_default(),
            datadog_secret: vars.text(Setting::DatadogSecretId),
            slack_secret: vars.text(Setting::SlackSecretId),
            is_scheduled: vars.parsed(Setting::Schedule, switch).unwrap_or(true),
            url_alias: vars.text(Setting::UrlAlias).unwrap_or_else(|| "url".to_owned()),
            ops_alias: vars.text(Setting::OpsAlias).unwrap_or_else(|| "ops".to_owned()),
            oncall_logs: vars.text(Setting::OncallLogGroup),
            own_logs: vars.text(Setting::AwsLambdaLogGroupName),
            database_ca: vars.parsed(Setting::DatabaseCaFile, keyturn_postgres::read_certificates),
            database_ca_file: vars.text(Setting::DatabaseCaFile).map(PathBuf::from),
            atlas_api: vars.parsed(Setting::AtlasApiUrl, Base::parse),
            datadog_api: vars.parsed(Setting::DatadogApiUrl, Base::parse),
        };
        if settings.url_alias == settings.ops_alias {
            vars.mistake(
                Setting::OpsAlias,
                "the same as URL_ALIAS, so that whoever runs the sweep could say who they are",
            );
        }
        let paths = [&settings.config_path, &settings.state_path, &settings.ledger_path];
        let is_below =
            |one: &str, other: &str| !other.is_empty() && format!("{one}/").starts_with(&format!("{other}/"));
        let overlaps = |one: usize, other: usize| one != other && is_below(paths[one], paths[other]);
        if (0..3).any(|one| (0..3).any(|other| overlaps(one, other))) {
            vars.mistake(Setting::StatePath, "CONFIG_PATH, STATE_PATH and LEDGER_PATH must not lie in one another");
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("CONFIG_PATH", "/keyturn/databases"),
        ("STATE_PATH", "/keyturn/logins/"),
        ("LEDGER_PATH", "/keyturn/ledger"),
        ("PERMISSION_SETS", "DBA:AROAEXAMPLEID1234567"),
    ];

    fn refused(changes: &[(&str, &str)]) -> String {
        let settings = GOOD.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut vars = Vars::from_pairs(settings);
        let _ = Settings::read(&mut vars);
        vars.finish().map_or_else(|error| error.message().to_owned(), |()| String::new())
    }

    #[test]
    fn every_missing_or_bad_setting_is_named_at_once() {
        assert_eq!(refused(&[]), "");
        let told = refused(&[("CONFIG_PATH", "keyturn"), ("PERMISSION_SETS", "DBA"), ("SCHEDULE", "yes")]);
        for problem in ["CONFIG_PATH: not a path", "PERMISSION_SETS: \"DBA\" is not", "SCHEDULE: neither on nor off"] {
            assert!(told.contains(problem), "{problem} in {told}");
        }
    }

    #[test]
    fn whoever_runs_the_sweep_cannot_say_who_they_are() {
        assert!(refused(&[("OPS_ALIAS", "url")]).contains("OPS_ALIAS: the same as URL_ALIAS"));
    }

    #[test]
    fn records_documents_and_ledgers_lie_apart() {
        for path in ["/keyturn/databases", "/keyturn/ledger/logins", "/keyturn"] {
            assert!(refused(&[("STATE_PATH", path)]).contains("must not lie in one another"), "{path}");
        }
    }
}
