//! What the operator sets per deployment, read once at start.

use keyturn::Vars;
use keyturn::http::Base;
use keyturn::settings::{DeclaredSetting, path, switch};
use strum::{EnumIter, EnumMessage, EnumProperty, IntoStaticStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Setting {
    /// path in Parameter Store; each parameter directly below it is the document of one binding
    #[strum(props(default = "required", example = "/keyturn/prod/oncall"))]
    ConfigPath,
    /// another path in Parameter Store; one ledger for each binding and group is kept directly below it
    #[strum(props(default = "required", example = "/keyturn/prod/oncall-ledger"))]
    LedgerPath,
    /// secret with PagerDuty's credential; read anew every 5 minutes, and when refused
    #[strum(props(default = "required", example = "keyturn/pagerduty"))]
    PagerdutySecretId,
    /// secret with Okta's credential; read anew every 5 minutes, and when refused
    #[strum(props(default = "required", example = "keyturn/okta"))]
    OktaSecretId,
    /// secret of a channel for alerts: Datadog
    #[strum(props(default = "none", example = "keyturn/datadog"))]
    DatadogSecretId,
    /// secret of a channel for alerts: Slack
    #[strum(props(default = "none", example = "keyturn/slack"))]
    SlackSecretId,
    /// `on` or `off`: whether the schedule runs; where it is off, `grant` is refused, since nobody would end it
    #[strum(props(default = "on"))]
    Schedule,
    /// this deployment's name in the descriptions of groups (`keyturn:<owner>`): a group that names another one is left alone
    #[strum(props(default = "none", example = "123456789012/eu-west-1/prod/oncall"))]
    Owner,
    /// for a custom domain; https, or http on loopback
    #[strum(props(default = "the secret's `org_url`", example = "https://login.example.com"))]
    OktaOrgUrl,
    /// another address of PagerDuty's REST API; https, or http on loopback
    #[strum(props(default = "the vendor's", example = "https://api.eu.pagerduty.com"))]
    PagerdutyApiUrl,
    /// another address of PagerDuty's token endpoint; https, or http on loopback
    #[strum(props(default = "the vendor's", example = "https://identity.pagerduty.com"))]
    PagerdutyIdentityUrl,
    /// another address of Datadog's API; https, or http on loopback
    #[strum(props(default = "the vendor's", example = "https://api.datadoghq.eu"))]
    DatadogApiUrl,
}

impl DeclaredSetting for Setting {}

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Without a slash at its end; so is `ledger_path`.
    pub(crate) config_path: String,
    pub(crate) ledger_path: String,
    pub(crate) pagerduty_secret: String,
    pub(crate) okta_secret: String,
    pub(crate) datadog_secret: Option<String>,
    pub(crate) slack_secret: Option<String>,
    pub(crate) is_scheduled: bool,
    pub(crate) owner: Option<String>,
    pub(crate) pagerduty_api: Option<Base>,
    pub(crate) pagerduty_identity: Option<Base>,
    pub(crate) okta_org: Option<Base>,
    pub(crate) datadog_api: Option<Base>,
}

impl Settings {
    /// Reads the settings; what is wrong with them is noted in `vars`.
    pub(crate) fn read(vars: &mut Vars) -> Self {
        let settings = Self {
            config_path: vars.required(Setting::ConfigPath, path).unwrap_or_default(),
            ledger_path: vars.required(Setting::LedgerPath, path).unwrap_or_default(),
            pagerduty_secret: vars.required(Setting::PagerdutySecretId, |id| Ok(id.to_owned())).unwrap_or_default(),
            okta_secret: vars.required(Setting::OktaSecretId, |id| Ok(id.to_owned())).unwrap_or_default(),
            datadog_secret: vars.text(Setting::DatadogSecretId),
            slack_secret: vars.text(Setting::SlackSecretId),
            is_scheduled: vars.parsed(Setting::Schedule, switch).unwrap_or(true),
            owner: vars.text(Setting::Owner),
            pagerduty_api: vars.parsed(Setting::PagerdutyApiUrl, Base::parse),
            pagerduty_identity: vars.parsed(Setting::PagerdutyIdentityUrl, Base::parse),
            okta_org: vars.parsed(Setting::OktaOrgUrl, Base::parse),
            datadog_api: vars.parsed(Setting::DatadogApiUrl, Base::parse),
        };
        if !settings.config_path.is_empty() && settings.config_path == settings.ledger_path {
            vars.mistake(Setting::LedgerPath, "the same as CONFIG_PATH, so that ledgers would be read as bindings");
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_or_bad_setting_is_named_at_once() {
        let mut vars = Vars::of([
            ("CONFIG_PATH", "keyturn"),
            ("OKTA_SECRET_ID", "keyturn/okta"),
            ("OKTA_ORG_URL", "http://login.example.com"),
            ("DATADOG_API_URL", "https://api.datadoghq.eu/v1"),
        ]);
        let _ = Settings::read(&mut vars);
        let error = vars.finish().unwrap_err();
        assert_eq!(error.code(), "CONFIGURATION_INVALID");
        for problem in [
            "CONFIG_PATH: not a path",
            "LEDGER_PATH: not set",
            "PAGERDUTY_SECRET_ID: not set",
            "OKTA_ORG_URL: plain http to login.example.com",
            "DATADOG_API_URL: something after the host",
        ] {
            assert!(error.message().contains(problem), "{problem} in {error}");
        }
        assert!(!error.message().contains("OKTA_SECRET_ID"), "{error}");
    }

    #[test]
    fn ledgers_are_not_stored_among_the_bindings() {
        let mut vars = Vars::of([
            ("CONFIG_PATH", "/keyturn"),
            ("LEDGER_PATH", "/keyturn/"),
            ("PAGERDUTY_SECRET_ID", "p"),
            ("OKTA_SECRET_ID", "o"),
        ]);
        let _ = Settings::read(&mut vars);
        assert!(vars.finish().unwrap_err().message().contains("LEDGER_PATH: the same as CONFIG_PATH"));
    }
}
