//! Settings from the environment: read in one place, all mistakes reported at once.

use crate::{Error, Result};
use std::collections::HashMap;

type Source = Box<dyn Fn(&str) -> Option<String>>;

/// Where settings come from, and what was wrong with those read so far.
pub struct Vars {
    source: Source,
    mistakes: Vec<String>,
}

impl Vars {
    /// The environment of this process.
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
        Self { source: Box::new(source), mistakes: Vec::new() }
    }

    /// The setting as it stands. One that is set but empty counts as not set, as in every deployment template.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// The setting as it stands, empty or not: for the few where empty means something.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<String> {
        (self.source)(name)
    }

    /// The setting read by `parse`. What `parse` refuses is noted as a mistake, with `example` to copy.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        example: &str,
        parse: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) -> Option<T> {
        let value = self.text(name)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.mistakes.push(format!("{name}: {problem}, for example {name}={example}"));
                None
            }
        }
    }

    /// Adds mistakes that somebody else found in these settings.
    pub fn note(&mut self, mistakes: impl IntoIterator<Item = String>) {
        self.mistakes.extend(mistakes);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `CONFIGURATION_INVALID`, naming every setting that was refused, what is wrong with it, and an example.
    pub fn finish(self) -> Result<()> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            "CONFIGURATION_INVALID",
            format!(
                "The function's environment has {} bad setting(s): {}.",
                self.mistakes.len(),
                self.mistakes.join("; ")
            ),
            "Correct them in the function's configuration; the README has the table of settings.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_every_mistake_at_once_with_an_example() {
        let mut vars = Vars::of([("PORT", "x"), ("MODE", "loud"), ("EMPTY", "")]);
        assert_eq!(vars.parsed("PORT", "5432", |v| v.parse::<u16>().map_err(|_| "not a port".to_owned())), None);
        assert_eq!(vars.parsed::<()>("MODE", "quiet", |_| Err("not a mode".to_owned())), None);
        assert_eq!(vars.parsed::<()>("EMPTY", "x", |_| Err("never asked".to_owned())), None);
        let error = vars.finish().unwrap_err();
        assert_eq!(error.code(), "CONFIGURATION_INVALID");
        assert!(error.message().contains("PORT: not a port, for example PORT=5432; MODE: not a mode"), "{error}");
    }

    #[test]
    fn a_good_environment_passes() {
        let mut vars = Vars::of([("PORT", "5432")]);
        assert_eq!(vars.parsed("PORT", "5432", |v| v.parse::<u16>().map_err(|e| e.to_string())), Some(5432));
        assert!(vars.finish().is_ok());
    }
}
