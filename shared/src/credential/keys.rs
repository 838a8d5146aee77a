//! The known keys of a secret, read with their types; every refusal names the secret and the key, never a value.

use std::collections::HashSet;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::document::{Members, decode, elements, kind, position, span};
use crate::codes::Code;
use crate::{Error, Result};

/// The keys with a meaning of their own. Only `username` and `password` ever change; their copies sit under other keys.
pub(super) const KNOWN: [&str; 11] = [
    "engine",
    "host",
    "port",
    "username",
    "password",
    "dbname",
    "ssl",
    "masterarn",
    "dbInstanceIdentifier",
    "dbClusterIdentifier",
    "testQueries",
];

/// The top object of a secret, and which secret that is.
pub(super) struct Keys<'t> {
    what: &'t str,
    members: Vec<(String, &'t str)>,
}

impl<'t> Keys<'t> {
    /// Refuses a key that is there twice: which of the two counts depends on who reads it.
    pub(super) fn new(what: &'t str, text: &str, Members(members): Members<'t>) -> Result<Self> {
        let mut seen = HashSet::new();
        for (key, value) in &members {
            if !seen.insert(key) {
                return Err(duplicate(what, key, position(text, span(text, value).start)));
            }
        }
        Ok(Self { what, members })
    }

    /// A key that must be there, must be a string and must not be empty.
    fn required(&self, key: &str) -> Result<Zeroizing<String>> {
        let raw = self.raw(key).ok_or_else(|| {
            Error::new(
                Code::SecretKeyMissing,
                format!("In {}, key \"{key}\" is missing.", self.what),
                format!("Add \"{key}\" to the secret's JSON."),
            )
        })?;
        let value = self.string(key, raw)?;
        if value.is_empty() { Err(self.invalid(key, "is empty")) } else { Ok(value) }
    }

    /// A name or address: a string without control characters, absent when null or empty.
    pub(super) fn name(&self, key: &str) -> Result<Option<String>> {
        let Some(value) = self.optional(key) else { return Ok(None) };
        let value = self.string(key, value)?;
        self.refuse_control_characters(key, &value)?;
        Ok((!value.is_empty()).then(|| value.to_string()))
    }

    /// Like [`Keys::name`], but the empty string is refused: it would not mean "not set" to other readers of the secret.
    pub(super) fn non_empty_name(&self, key: &str) -> Result<Option<String>> {
        let name = self.name(key)?;
        match (&name, self.optional(key)) {
            (None, Some(_)) => Err(self.invalid(key, "is empty")),
            _ => Ok(name),
        }
    }

    /// The first of these keys that is there; the first of all where none is.
    pub(super) fn first(&self, keys: &'static [&'static str]) -> &'static str {
        let there = keys.iter().copied().find(|key| self.has(key));
        there.or_else(|| keys.first().copied()).unwrap_or_default()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.optional(key).is_some()
    }

    pub(super) fn username(&self, key: &str) -> Result<String> {
        let username = self.required(key)?;
        self.refuse_control_characters(key, &username)?;
        Ok(username.to_string())
    }

    pub(super) fn password(&self, key: &str) -> Result<SecretString> {
        let password = self.required(key)?;
        if password.contains('\0') {
            return Err(self.invalid(key, "holds a NUL character, which no database accepts"));
        }
        Ok(SecretString::from(password.as_str()))
    }

    /// A TCP port, as a number (5432, 5432.0) or in a string ("5432").
    pub(super) fn port(&self) -> Result<Option<u16>> {
        let Some(raw) = self.optional("port") else { return Ok(None) };
        let port = match kind(raw) {
            // A whole float prints without a fraction, so that one integer parser decides for all number forms.
            "a number" => raw.parse::<f64>().ok().and_then(|number| number.to_string().parse::<u16>().ok()),
            "a string" => decode(raw).and_then(|text| text.trim().parse().ok()),
            found => return Err(self.wrong_type("port", "a number or a string of digits", found)),
        };
        match port {
            Some(port) if port > 0 => Ok(Some(port)),
            _ => Err(self.invalid("port", "is not a whole number from 1 to 65535")),
        }
    }

    pub(super) fn test_queries(&self) -> Result<Vec<String>> {
        let queries = self.strings("testQueries")?.unwrap_or_default();
        if queries.iter().any(|query| query.contains('\0')) {
            return Err(self.invalid("testQueries", "holds a NUL character"));
        }
        Ok(queries)
    }

    fn strings(&self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(raw) = self.optional(key) else { return Ok(None) };
        let Some(values) = elements(raw) else {
            return Err(self.wrong_type(key, "an array of strings", kind(raw)));
        };
        if let Some(other) = values.iter().find(|value| kind(value) != "a string") {
            return Err(self.wrong_type(key, "an array of strings", &format!("an array that holds {}", kind(other))));
        }
        let strings: Result<Vec<_>> = values.iter().map(|value| Ok(self.string(key, value)?.to_string())).collect();
        strings.map(Some)
    }

    fn raw(&self, key: &str) -> Option<&'t str> {
        self.members.iter().find(|(name, _)| name == key).map(|&(_, raw)| raw)
    }

    fn optional(&self, key: &str) -> Option<&'t str> {
        self.raw(key).filter(|raw| *raw != "null")
    }

    fn string(&self, key: &str, raw: &str) -> Result<Zeroizing<String>> {
        match kind(raw) {
            "a string" => decode(raw).ok_or_else(|| self.invalid(key, "holds an escape that is no character")),
            found => Err(self.wrong_type(key, "a string", found)),
        }
    }

    fn refuse_control_characters(&self, key: &str, value: &str) -> Result<()> {
        if value.chars().any(char::is_control) { Err(self.invalid(key, "holds a control character")) } else { Ok(()) }
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &str) -> Error {
        Error::new(
            Code::SecretKeyWrongType,
            format!("In {}, key \"{key}\" must be {expected} but is {found}.", self.what),
            format!("Store \"{key}\" as {expected}."),
        )
    }

    fn invalid(&self, key: &str, problem: &str) -> Error {
        Error::new(
            Code::SecretKeyInvalid,
            format!("In {}, key \"{key}\" {problem}.", self.what),
            format!("Correct \"{key}\" in the secret's JSON."),
        )
    }
}

fn duplicate(what: &str, key: &str, (line, column): (usize, usize)) -> Error {
    // Any other key is content: somebody may have pasted a password where a key belongs.
    let name = KNOWN.iter().find(|known| **known == key).map_or("a key".to_owned(), |known| format!("key \"{known}\""));
    Error::new(
        Code::SecretKeyDuplicate,
        format!("In {what}, {name} appears a second time, with a value at line {line}, column {column}."),
        "Store the secret with each key once.",
    )
}
