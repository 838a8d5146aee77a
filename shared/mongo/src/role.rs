//! Roles and scopes of users, as servers and Atlas have them.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A role on a database; at Atlas perhaps on one collection of it. In JSON it is as Atlas has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Role {
    #[serde(rename = "roleName")]
    pub name: String,
    #[serde(rename = "databaseName")]
    pub database: String,
    // Atlas may send an empty name where none was given.
    #[serde(rename = "collectionName", default, deserialize_with = "filled", skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
}

fn filled<'de, D: Deserializer<'de>>(text: D) -> std::result::Result<Option<String>, D::Error> {
    Ok(Option::deserialize(text)?.filter(|text: &String| !text.is_empty()))
}

impl Role {
    /// `role@database`, as `ALLOW_ROLES` spells it.
    #[must_use]
    pub fn grant(&self) -> String {
        format!("{}@{}", self.name, self.database)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.database)?;
        self.collection.as_ref().map_or(Ok(()), |collection| write!(f, ".{collection}"))
    }
}

/// What a user is limited to at Atlas: a cluster, a data lake, a stream instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Scope {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}
