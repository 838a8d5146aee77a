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
    id: PersonId,
    #[serde(rename = "type")]
    _kind: UserKind,
    summary: Option<String>,
    #[serde(default = "not_said", deserialize_with = "email")]
    email: Email,
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

#[derive(Deserialize)]
struct OneUser {
    user: User,
}

#[derive(Deserialize)]
struct Users {
    #[serde(rename = "users")]
    _users: Vec<IgnoredAny>,
}

/// Whose shift it is.
pub(super) fn who(user: Option<User>) -> Who {
    match user {
        Some(user) if user.deleted_at.is_none() => Who::Person { id: user.id, name: user.summary, email: user.email },
        _ => Who::Nobody,
    }
}

/// The email address in an answer to `GET /users/{id}`. `None`: the user is deleted, or has none.
pub(super) fn read_email(answer: Value, id: &PersonId) -> Result<Option<String>, String> {
    let OneUser { user } = shape(answer)?;
    if user.id != *id {
        return Err("another user than asked for".to_owned());
    }
    match who(Some(user)) {
        Who::Person { email: Email::NotSaid, .. } => Err("a user without the key email".to_owned()),
        Who::Person { email: Email::Known(email), .. } => Ok(Some(email)),
        Who::Person { email: Email::Without, .. } | Who::Nobody => Ok(None),
    }
}

/// Whether this is an answer to `GET /users`.
pub(super) fn check_users(answer: Value) -> Result<(), String> {
    shape::<Users>(answer).map(drop)
}

/// A shift that ends before it begins is none.
pub(super) fn shift(who: Who, start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Result<Shift, String> {
    match (start, end) {
        (Some(start), Some(end)) if end < start => Err("a shift that ends before it begins".to_owned()),
        _ => Ok(Shift { who, start, end }),
    }
}
