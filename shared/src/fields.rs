//! A vendor's secret: a JSON object, each of its keys known. What is wrong is said without any value.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

/// The secret's keys, taken out one by one.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the secret.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn read(secret: &SecretString) -> Result<Self, String> {
        serde_json::from_str(secret.expose_secret()).map(Self).map_err(|_| "it is no JSON object".to_owned())
    }

    /// The value of a key, whatever it is.
    pub fn value(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// The text of a key that may be missing.
    ///
    /// # Errors
    /// It is there, but no text, or empty.
    pub fn optional(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(_) => Err(format!("{key:?} is no text, or empty")),
        }
    }

    /// The text of a key that must be there.
    ///
    /// # Errors
    /// It is missing, no text, or empty.
    pub fn required(&mut self, key: &str) -> Result<String, String> {
        self.optional(key)?.ok_or_else(|| format!("{key:?} is missing"))
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// A key that is not known; it is named if it looks like a key, since it may be a secret in the wrong place.
    pub fn finish(self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) if is_a_name(key) => Err(format!("{key:?} is not a key of it, or not beside the others")),
            Some(_) => Err("one of its keys is not known".to_owned()),
        }
    }
}

/// Whether it looks like a key of a document.
fn is_a_name(text: &str) -> bool {
    text.len() <= 32 && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}
