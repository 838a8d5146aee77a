//! What the operator sets per deployment, read once at start.

use keyturn::Vars;
use keyturn::http::Base;

/// The function's settings. Every field is a row of README's table.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `CONFIG_PATH`: one binding in each parameter directly below it.
    pub config_path: String,
    /// `LEDGER_PATH`: one ledger in each parameter directly below it.
    pub ledger_path: String,
    /// `PAGERDUTY_SECRET_ID`.
    pub pagerduty_secret: String,
    /// `OKTA_SECRET_ID`.
    pub okta_secret: String,
    /// `DATADOG_SECRET_ID`; `None`: no events there.
    pub datadog_secret: Option<String>,
    /// `SLACK_SECRET_ID`; `None`: no messages there.
    pub slack_secret: Option<String>,
    /// `PAGERDUTY_API_URL`, instead of the region's.
    pub pagerduty_api: Option<Base>,
    /// `PAGERDUTY_IDENTITY_URL`, instead of PagerDuty's.
    pub pagerduty_identity: Option<Base>,
    /// `OKTA_ORG_URL`, instead of the secret's `org_url`: for custom domains.
    pub okta_org: Option<Base>,
    /// `DATADOG_API_URL`, instead of the site's.
    pub datadog_api: Option<Base>,
}

impl Settings {
    /// Reads the settings; what is wrong with them is noted in `vars`.
    #[must_use]
    pub fn read(vars: &mut Vars) -> Self {
        let settings = Self {
            config_path: required(vars, "CONFIG_PATH", "/keyturn/prod/oncall", path),
            ledger_path: required(vars, "LEDGER_PATH", "/keyturn/prod/oncall-ledger", path),
            pagerduty_secret: required(vars, "PAGERDUTY_SECRET_ID", "keyturn/pagerduty", |id| Ok(id.to_owned())),
            okta_secret: required(vars, "OKTA_SECRET_ID", "keyturn/okta", |id| Ok(id.to_owned())),
            datadog_secret: vars.text("DATADOG_SECRET_ID"),
            slack_secret: vars.text("SLACK_SECRET_ID"),
            pagerduty_api: vars.parsed("PAGERDUTY_API_URL", "https://api.eu.pagerduty.com", Base::parse),
            pagerduty_identity: vars.parsed("PAGERDUTY_IDENTITY_URL", "https://identity.pagerduty.com", Base::parse),
            okta_org: vars.parsed("OKTA_ORG_URL", "https://login.example.com", Base::parse),
            datadog_api: vars.parsed("DATADOG_API_URL", "https://api.datadoghq.eu", Base::parse),
        };
        if !settings.config_path.is_empty() && settings.config_path == settings.ledger_path {
            vars.note(["LEDGER_PATH: the same as CONFIG_PATH, so that ledgers would be read as bindings".to_owned()]);
        }
        settings
    }
}

fn required(vars: &mut Vars, name: &str, example: &str, parse: fn(&str) -> Result<String, String>) -> String {
    if vars.text(name).is_none() {
        vars.note([format!("{name}: not set, for example {name}={example}")]);
    }
    vars.parsed(name, example, parse).unwrap_or_default()
}

fn path(value: &str) -> Result<String, String> {
    let path = value.trim_end_matches('/');
    if path.starts_with('/') && path.len() > 1 {
        Ok(path.to_owned())
    } else {
        Err("not a path of Parameter Store, which begins with \"/\"".to_owned())
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
