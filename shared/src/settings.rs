//! Settings from the environment: each declared once with its name, default and meaning, all mistakes reported at once.
//!
//! Every crate has an enum `Setting`. The doc comment of a variant is its meaning, `props(default = "...")` what holds where
//! it is not set, `props(example = "...")` what a mistake shows to copy. The manuals' tables are generated from these
//! enums, and the deployment templates are compared with them. `props(only = "variable")`: not in `KEYTURN_SETTINGS`, which
//! holds what has no variable of its own.

use crate::codes::{Code, meaning};
use crate::{Error, Result};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use strum::{EnumIter, EnumMessage, EnumProperty, IntoEnumIterator, IntoStaticStr};

/// A declared setting of the environment, or a declared tag of a secret.
pub trait DeclaredSetting: Copy + Into<&'static str> + EnumMessage + EnumProperty {
    /// The variable's or tag's name.
    fn name(self) -> &'static str {
        self.into()
    }

    /// What a mistake shows to copy: the declared example, else the default.
    fn example(self) -> &'static str {
        self.get_str("example").or_else(|| self.get_str("default")).unwrap_or_default()
    }
}

/// A setting as the manuals list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: String,
}

/// Every declared setting, in the order of its declaration.
#[must_use]
pub fn entries<S: DeclaredSetting + IntoEnumIterator>() -> Vec<Entry> {
    let entry = |setting: S| Entry {
        name: setting.name(),
        default: setting.get_str("default").unwrap_or_default(),
        meaning: meaning(&setting),
    };
    S::iter().map(entry).collect()
}

/// The settings that every function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Setting {
    /// `trace`, `debug`, `info`, `warn`, `error`; for Keyturn's own lines, libraries stay at `warn`
    #[strum(props(default = "info"))]
    LogLevel,
    /// another endpoint of Secrets Manager, as AWS's functions have it; https, or http on loopback
    #[strum(props(default = "AWS's", example = "https://vpce-0123.secretsmanager.eu-west-1.vpce.amazonaws.com"))]
    SecretsManagerEndpoint,
    /// PEM file of the only authorities to trust for AWS
    #[strum(props(default = "Amazon's roots", example = "/opt/ca.pem"))]
    AwsCaBundle,
    /// the SDK's own variable: another endpoint for every service of AWS
    #[strum(props(default = "AWS's", only = "variable", example = "https://vpce-0123.eu-west-1.vpce.amazonaws.com"))]
    AwsEndpointUrl,
    /// the same for Secrets Manager alone
    #[strum(props(
        default = "AWS's",
        only = "variable",
        example = "https://vpce-0123.secretsmanager.eu-west-1.vpce.amazonaws.com"
    ))]
    AwsEndpointUrlSecretsManager,
    /// the same for RDS alone, which only `rotate-postgres` calls
    #[strum(props(
        default = "AWS's",
        only = "variable",
        example = "https://vpce-0123.rds.eu-west-1.vpce.amazonaws.com"
    ))]
    AwsEndpointUrlRds,
    /// the same for Parameter Store alone, which `oncall-sync` and `break-glass` call
    #[strum(props(
        default = "AWS's",
        only = "variable",
        example = "https://vpce-0123.ssm.eu-west-1.vpce.amazonaws.com"
    ))]
    AwsEndpointUrlSsm,
    /// the same for CloudWatch Logs alone, which only `break-glass` calls
    #[strum(props(
        default = "AWS's",
        only = "variable",
        example = "https://vpce-0123.logs.eu-west-1.vpce.amazonaws.com"
    ))]
    AwsEndpointUrlCloudwatchLogs,
    /// set by Lambda: the dimension of the metrics
    #[strum(props(default = "the crate's name", only = "variable"))]
    AwsLambdaFunctionName,
    /// a JSON object with settings of this table that have no variable of their own, but those that begin with `AWS_ENDPOINT`
    /// or `AWS_LAMBDA`
    #[strum(props(default = "none", only = "variable", example = "{\"LOG_LEVEL\": \"debug\"}"))]
    KeyturnSettings,
}

impl DeclaredSetting for Setting {}

type Source = Box<dyn Fn(&str) -> Option<String>>;

/// Where settings come from, and what was wrong with those read so far.
pub struct Vars {
    source: Source,
    /// The settings in the JSON object of `KEYTURN_SETTINGS`, by name.
    document: BTreeMap<String, String>,
    /// The names that the function has looked up in `document`: whatever else stands there is refused.
    asked: RefCell<BTreeSet<&'static str>>,
    mistakes: Vec<String>,
}

impl Vars {
    /// The environment of this process, and what `KEYTURN_SETTINGS` adds to it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn environment() -> Self {
        Self::from_source(|name| std::env::var(name).ok())
    }

    /// These settings and no others.
    #[must_use]
    pub fn of<const N: usize>(settings: [(&str, &str); N]) -> Self {
        Self::from_pairs(settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    /// The same from pairs of a name and a value.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let settings: HashMap<String, String> = pairs.into_iter().collect();
        Self::from_source(move |name| settings.get(name).cloned())
    }

    fn from_source(source: impl Fn(&str) -> Option<String> + 'static) -> Self {
        let (document, asked) = (BTreeMap::new(), RefCell::default());
        let mut vars = Self { source: Box::new(source), document, asked, mistakes: Vec::new() };
        vars.document = vars.parsed(Setting::KeyturnSettings, read_document).unwrap_or_default();
        vars
    }

    /// The value. One that is set but empty counts as not set, as in every deployment template.
    #[must_use]
    pub fn text(&self, setting: impl DeclaredSetting) -> Option<String> {
        self.raw(setting).filter(|value| !value.is_empty())
    }

    /// The value, empty or not: for the few settings where empty means something.
    #[must_use]
    pub fn raw(&self, setting: impl DeclaredSetting) -> Option<String> {
        let variable = (self.source)(setting.name());
        if setting.get_str("only") == Some("variable") {
            return variable;
        }
        // A variable counts even if it is empty: templates set those that IAM depends on, and `KEYTURN_SETTINGS` must not add to them.
        variable.or_else(|| {
            self.asked.borrow_mut().insert(setting.name());
            self.document.get(setting.name()).cloned()
        })
    }

    /// The value as `parse` reads it; `None` where it is not set. What `parse` refuses is noted as a mistake.
    pub fn parsed<T>(
        &mut self,
        setting: impl DeclaredSetting,
        parse: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) -> Option<T> {
        let value = self.text(setting)?;
        parse(&value).map_err(|problem| self.mistake(setting, &problem)).ok()
    }

    /// The value of a setting that must be set.
    pub fn required<T>(
        &mut self,
        setting: impl DeclaredSetting,
        parse: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) -> Option<T> {
        if self.text(setting).is_none() {
            self.mistake(setting, "not set");
        }
        self.parsed(setting, parse)
    }

    /// `true` or `false`; not set is false.
    pub fn flag(&mut self, setting: impl DeclaredSetting) -> bool {
        let read = |value: &str| value.parse().map_err(|_| "neither true nor false".to_owned());
        self.parsed(setting, read).unwrap_or(false)
    }

    /// Notes what is wrong with a setting, with the example to copy.
    pub fn mistake(&mut self, setting: impl DeclaredSetting, problem: &str) {
        let (name, example) = (setting.name(), setting.example());
        self.mistakes.push(format!("{name}: {problem}, for example {name}={example}"));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `CONFIGURATION_INVALID`, naming every setting that was refused, what is wrong with it, and an example.
    pub fn finish(mut self) -> Result<()> {
        let unknown = self.document.keys().filter(|name| !self.asked.borrow().contains(name.as_str()));
        let unknown: Vec<String> = unknown
            .map(|name| format!("{name} is no setting that can stand here (or has a variable of its own)"))
            .collect();
        for problem in unknown {
            self.mistake(Setting::KeyturnSettings, &problem);
        }
        if self.mistakes.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Code::ConfigurationInvalid,
            format!(
                "The function's environment has {} bad setting(s): {}.",
                self.mistakes.len(),
                self.mistakes.join("; ")
            ),
            "Correct them in the function's configuration; the function's README has the table of settings.",
        ))
    }
}

/// Reads a setting that is `on` or `off`.
///
/// # Errors
/// It is neither.
pub fn switch(value: &str) -> std::result::Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("neither on nor off".to_owned()),
    }
}

/// Reads a path of Parameter Store, and gives it back without a slash at its end.
///
/// # Errors
/// It does not begin with a slash, or is nothing else.
pub fn path(value: &str) -> std::result::Result<String, String> {
    let path = value.trim_end_matches('/');
    if path.starts_with('/') && path.len() > 1 {
        Ok(path.to_owned())
    } else {
        Err("not a path of Parameter Store, which begins with \"/\"".to_owned())
    }
}

fn read_document(text: &str) -> std::result::Result<BTreeMap<String, String>, String> {
    let settings: BTreeMap<String, Value> =
        serde_json::from_str(text).map_err(|_| "not a JSON object, such as {\"NAME\": \"value\"}".to_owned())?;
    let value = |(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
        _ => Err(format!("{name} is neither a text, a number, nor true or false")),
    };
    settings.into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
    #[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
    enum Some {
        /// where the server
        /// listens
        #[strum(props(default = "5432"))]
        Port,
        #[strum(props(example = "quiet"))]
        Mode,
        #[strum(props(example = "true", only = "variable"))]
        Loud,
    }

    impl DeclaredSetting for Some {}

    #[test]
    fn reports_every_mistake_at_once_with_an_example() {
        let mut vars = Vars::of([("PORT", "x"), ("LOUD", "on")]);
        assert_eq!(vars.parsed(Some::Port, |v| v.parse::<u16>().map_err(|_| "not a port".to_owned())), None);
        assert_eq!(vars.required::<()>(Some::Mode, |_| Err("never asked".to_owned())), None);
        assert!(!vars.flag(Some::Loud));
        let error = vars.finish().unwrap_err();
        assert_eq!(error.code(), "CONFIGURATION_INVALID");
        let expected = "PORT: not a port, for example PORT=5432; MODE: not set, for example MODE=quiet; \
                        LOUD: neither true nor false, for example LOUD=true";
        assert!(error.message().contains(expected), "{error}");
    }

    #[test]
    fn a_good_environment_passes_and_empty_is_not_set() {
        let mut vars = Vars::of([("PORT", "5432"), ("LOUD", "true"), ("MODE", "")]);
        assert_eq!(vars.parsed(Some::Port, |v| v.parse::<u16>().map_err(|e| e.to_string())), Option::Some(5432));
        assert!(vars.flag(Some::Loud));
        assert_eq!(vars.text(Some::Mode), None);
        assert!(vars.finish().is_ok());
    }

    #[test]
    fn one_variable_may_hold_the_settings_that_have_none_of_their_own() {
        let document = r#"{"PORT": 5433, "MODE": "quiet"}"#;
        let mut vars = Vars::of([("KEYTURN_SETTINGS", document)]);
        assert_eq!(vars.parsed(Some::Port, |v| v.parse::<u16>().map_err(|e| e.to_string())), Option::Some(5433));
        assert_eq!(vars.text(Some::Mode).as_deref(), Option::Some("quiet"));
        assert!(vars.finish().is_ok());
    }

    #[test]
    fn what_has_a_variable_of_its_own_cannot_be_decided_elsewhere() {
        for variable in ["", "loud"] {
            let vars = Vars::of([("KEYTURN_SETTINGS", r#"{"MODE": "quiet"}"#), ("MODE", variable)]);
            assert_ne!(vars.text(Some::Mode).as_deref(), Option::Some("quiet"));
            assert!(vars.finish().unwrap_err().message().contains("MODE is no setting that can stand here"));
        }
    }

    #[test]
    fn what_is_no_setting_of_the_function_is_refused() {
        for (document, problem) in [
            (r#"{"MODES": "quiet"}"#, "MODES is no setting"),
            (r#"{"LOUD": "true"}"#, "LOUD is no setting"),
            (r#"{"MODE": ["quiet"]}"#, "MODE is neither"),
            ("MODE=quiet", "not a JSON object"),
        ] {
            let mut vars = Vars::of([("KEYTURN_SETTINGS", document)]);
            assert!(vars.text(Some::Mode).is_none() && !vars.flag(Some::Loud), "{document}");
            let error = vars.finish().unwrap_err();
            assert!(error.message().contains(&format!("KEYTURN_SETTINGS: {problem}")), "{error}");
        }
    }

    #[test]
    fn a_declaration_is_a_row_of_a_table() {
        let [port, mode, ..] = &entries::<Some>()[..] else { panic!() };
        assert_eq!((port.name, port.default, port.meaning.as_str()), ("PORT", "5432", "where the server listens"));
        assert_eq!(mode.default, "");
    }
}
