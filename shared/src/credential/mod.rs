//! A secret's JSON: a typed view of the known keys over a text that stays as it was written.
//!
//! A new value is made by replacing pieces of the old text, so that order, spacing, number forms and unknown keys come
//! back byte for byte: other readers of the secret may depend on any of them.

mod change;
mod copies;
mod document;
mod follows;
mod keys;
mod keywords;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::ops::Range;

use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use self::change::Change;
use self::document::{Members, Unwalkable, encode, kind, leaves, position, span, splice};
use self::keys::{KNOWN, Keys};
use crate::codes::Code;
use crate::{Error, Result};

/// Under which keys a secret holds its credential. Of several, the first that is there counts.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Keys of the user's name.
    pub usernames: &'static [&'static str],
    /// Keys of the password.
    pub passwords: &'static [&'static str],
    /// Keys of the server's address.
    pub hosts: &'static [&'static str],
    /// The user's name where the secret holds none, because it is said elsewhere.
    pub username: Option<String>,
}

impl Shape {
    /// AWS's own: `username`, `password`, `host`.
    pub const AWS: Self = Self { usernames: &["username"], passwords: &["password"], hosts: &["host"], username: None };

    /// The same for a login that needs no stored password.
    pub const WITHOUT_PASSWORD: Self = Self { passwords: &[], ..Self::AWS };
}

/// One value of a secret that holds a database credential. `Debug` leaves out the text and the password.
#[derive(Clone)]
pub struct Credential {
    what: String,
    text: SecretString,
    shape: Shape,
    holds_username: bool,
    username: String,
    password: SecretString,
    engine: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    dbname: Option<String>,
    master_arn: Option<String>,
    test_queries: Vec<String>,
}

impl Credential {
    /// Reads a secret's text. `what` says in errors which value it is, such as "the current value (AWSCURRENT) of
    /// secret arn:...". No error repeats any of the text.
    ///
    /// Errors: `SECRET_NOT_JSON`, `SECRET_NOT_OBJECT`, `SECRET_KEY_DUPLICATE`, `SECRET_KEY_MISSING`,
    /// `SECRET_KEY_WRONG_TYPE`, `SECRET_KEY_INVALID`.
    pub fn parse(text: SecretString, what: &str) -> Result<Self> {
        Self::parse_as(Shape::AWS, text, what)
    }

    /// The same for a secret of this shape.
    ///
    /// Errors: those of [`Credential::parse`].
    pub fn parse_as(shape: Shape, text: SecretString, what: &str) -> Result<Self> {
        let object = object(text.expose_secret(), what)?;
        let keys = Keys::new(what, text.expose_secret(), object)?;
        let username = keys.first(shape.usernames);
        Ok(Self {
            what: what.to_owned(),
            holds_username: keys.has(username),
            username: match &shape.username {
                Some(name) if !keys.has(username) => name.clone(),
                _ => keys.username(username)?,
            },
            password: match shape.passwords {
                [] => SecretString::default(),
                passwords => keys.password(keys.first(passwords))?,
            },
            engine: keys.non_empty_name("engine")?,
            host: keys.non_empty_name(keys.first(shape.hosts))?,
            port: keys.port()?,
            dbname: keys.name("dbname")?,
            master_arn: keys.name("masterarn")?,
            test_queries: keys.test_queries()?,
            shape,
            text,
        })
    }

    /// The whole secret as it is stored.
    #[must_use]
    pub fn text(&self) -> &SecretString {
        &self.text
    }

    /// Key `engine`, such as `postgres`.
    #[must_use]
    pub fn engine(&self) -> Option<&str> {
        self.engine.as_deref()
    }

    /// Key `host` (or its like in another shape), as it is written.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Key `port`, whether stored as a number or as a string.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Key `username`; never empty, without control characters.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Whether the secret holds the user's name itself, so that a new value can name another user.
    #[must_use]
    pub fn holds_username(&self) -> bool {
        self.holds_username
    }

    /// A top key of the team's own that is a name or an address; absent when null or empty.
    ///
    /// Errors: `SECRET_KEY_WRONG_TYPE`, `SECRET_KEY_INVALID` (control characters).
    pub fn name(&self, key: &str) -> Result<Option<String>> {
        let text = self.text.expose_secret();
        Keys::new(&self.what, text, object(text, &self.what)?)?.name(key)
    }

    /// Whether the secret has this top key, with another value than null.
    ///
    /// Errors: none that reading the secret has not met.
    pub fn has(&self, key: &str) -> Result<bool> {
        let text = self.text.expose_secret();
        Ok(Keys::new(&self.what, text, object(text, &self.what)?)?.has(key))
    }

    /// Key `password`; never empty, without NUL.
    #[must_use]
    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// Key `dbname`; absent when empty.
    #[must_use]
    pub fn dbname(&self) -> Option<&str> {
        self.dbname.as_deref()
    }

    /// Key `masterarn`: the secret of the admin who may change this user's password; absent when empty.
    #[must_use]
    pub fn master_arn(&self) -> Option<&str> {
        self.master_arn.as_deref()
    }

    /// Key `testQueries`: what the new user must be able to run.
    #[must_use]
    pub fn test_queries(&self) -> &[String] {
        &self.test_queries
    }

    /// The same document with another username and password: the two keys, and every copy of them in the rest of the
    /// document (keys such as `DB_PASSWORD`, connection URLs, keyword strings), at any depth.
    ///
    /// Errors: `SECRET_KEY_INVALID` when the new username or password could not be stored (empty, control characters).
    pub fn with(&self, username: &str, password: &SecretString) -> Result<Self> {
        let text = self.text.expose_secret();
        let change = Change {
            old_username: &self.username,
            old_password: self.password.expose_secret(),
            username,
            password: password.expose_secret(),
            host: self.host().map(url::bare_host),
        };
        let mut replacements: Vec<(Range<usize>, Zeroizing<String>)> = Vec::new();
        let untouched: Vec<Range<usize>> = object(text, &self.what)?
            .0
            .iter()
            .filter(|(key, _)| KNOWN.contains(&key.as_str()) && !self.is_credential(key))
            .map(|(_, value)| span(text, value))
            .collect();
        for leaf in leaves(text, text.trim()).map_err(|problem| unwalkable(&problem, text, &self.what))? {
            let place = span(text, leaf.raw);
            if untouched.iter().any(|known| known.contains(&place.start)) {
                continue;
            }
            if let Some(new) = copies::rewrite(&leaf, &change) {
                replacements.push((place, encode(&new)));
            }
        }
        let new = SecretString::from(splice(text, &replacements).as_str());
        let new = Self::parse_as(self.shape.clone(), new, &format!("the new value made from {}", self.what))?;
        Ok(Self { what: self.what.clone(), ..new })
    }

    /// Says what else than its credential `pending` changes of this value; `None` where that is nothing. This value may have
    /// been edited since `pending` was made, and the edit would be undone.
    ///
    /// Errors: those of [`Credential::with`].
    pub fn edited_since(&self, pending: &Self) -> Result<Option<String>> {
        let made = self.with(&pending.username, &pending.password)?;
        let difference =
            follows::difference(pending.text.expose_secret(), made.text.expose_secret(), self.text.expose_secret());
        Ok(difference.map(|key| match key {
            "" => "another key than the credential's differs".to_owned(),
            key => format!("key \"{key}\" differs"),
        }))
    }

    fn is_credential(&self, key: &str) -> bool {
        self.shape.usernames.contains(&key) || self.shape.passwords.contains(&key)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("engine", &self.engine)
            .field("host", &self.host().map(url::bare_host))
            .field("port", &self.port)
            .field("username", &self.username)
            .field("dbname", &self.dbname)
            .field("master_arn", &self.master_arn)
            .finish_non_exhaustive()
    }
}

/// The members of the top object, once the whole text is known to be JSON that can be walked.
fn object<'t>(text: &'t str, what: &str) -> Result<Members<'t>> {
    let value =
        serde_json::from_str::<&RawValue>(text).map_err(|error| not_json(what, error.line(), error.column()))?;
    if !value.get().starts_with('{') {
        return Err(Error::new(
            Code::SecretNotObject,
            format!("The text of {what} is {}, not a JSON object.", kind(value.get())),
            "Store the secret as a JSON object with at least the keys \"username\" and \"password\".",
        ));
    }
    leaves(text, value.get()).map_err(|problem| unwalkable(&problem, text, what))?;
    Members::of(value.get()).map_err(|error| not_json(what, error.line(), error.column()))
}

fn not_json(what: &str, line: usize, column: usize) -> Error {
    Error::new(
        Code::SecretNotJson,
        format!("The text of {what} is not JSON: it breaks at line {line}, column {column}."),
        "Store the secret as a JSON object with at least the keys \"username\" and \"password\".",
    )
}

fn unwalkable(problem: &Unwalkable, text: &str, what: &str) -> Error {
    let (problem, offset) = match problem {
        Unwalkable::TooDeep(offset) => ("is nested too deep", offset),
        Unwalkable::BadKey(offset) => ("has a key with an escape that is no character", offset),
    };
    let (line, column) = position(text, *offset);
    Error::new(
        Code::SecretNotJson,
        format!("The JSON of {what} {problem}, in the value that starts at line {line}, column {column}."),
        "Store the secret as a flat JSON object.",
    )
}
