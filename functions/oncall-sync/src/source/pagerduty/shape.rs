//! From JSON to the shapes that PagerDuty documents, with errors that quote nothing of it.

use crate::source::shift::{Email, Shift, Who};
use chrono::{DateTime, Utc};
use keyturn::ids::PersonId;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The JSON as this shape; else where it differs.
pub(super) fn shape<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(body).map_err(|error| format!("another shape at {}", error.path()))
}

/// A key that must be there, though it may be null.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// A user: whole, or a reference to one.
#[derive(Deserialize)]
pub(super) struct User {
    pub(super) id: PersonId,
    #[serde(rename = "type")]
    _kind: UserKind,
    summary: Option<String>,
    #[serde(default = "not_said", deserialize_with = "email")]
    pub(super) email: Email,
    deleted_at: Option<IgnoredAny>,
}

/// Anything else is something that may not be treated as a person.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum UserKind {
    User,
    UserReference,
}

fn not_said() -> Email {
    Email::NotSaid
}

fn email<'de, D: Deserializer<'de>>(from: D) -> Result<Email, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    Ok(text.filter(|text| !text.trim().is_empty()).map_or(Email::Without, Email::Known))
}

impl User {
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }
}

/// Whose shift it is.
pub(super) fn who(user: Option<User>) -> Who {
    match user {
        Some(user) if !user.is_deleted() => Who::Person { id: user.id, name: user.summary, email: user.email },
        _ => Who::Nobody,
    }
}

/// A shift that ends before it begins is none.
pub(super) fn shift(who: Who, start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Result<Shift, String> {
    match (start, end) {
        (Some(start), Some(end)) if end < start => Err("a shift that ends before it begins".to_owned()),
        _ => Ok(Shift { who, start, end }),
    }
}
