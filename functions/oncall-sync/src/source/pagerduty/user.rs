//! `GET /users`.

use super::shape::{User, shape};
use crate::source::shift::Email;
use keyturn::ids::PersonId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

#[derive(Deserialize)]
struct One {
    user: User,
}

#[derive(Deserialize)]
struct List {
    #[serde(rename = "users")]
    _users: Vec<IgnoredAny>,
}

/// The email address in an answer to `GET /users/{id}`. `None`: the user is deleted, or has none.
pub(super) fn read_email(answer: Value, id: &PersonId) -> Result<Option<String>, String> {
    let One { user } = shape(answer)?;
    if user.id != *id {
        return Err("another user than asked for".to_owned());
    }
    let is_deleted = user.is_deleted();
    match user.email {
        _ if is_deleted => Ok(None),
        Email::Known(email) => Ok(Some(email)),
        Email::Without => Ok(None),
        Email::NotSaid => Err("a user without the key email".to_owned()),
    }
}

/// Whether this is an answer to `GET /users`.
pub(super) fn check_list(answer: Value) -> Result<(), String> {
    shape::<List>(answer).map(|_| ())
}
