//! Commands for a person to paste into mongosh.

use mongodb::bson::{Document, doc};

/// A command for mongosh, to be pasted.
#[must_use]
pub fn run_in(database: &str, command: &Document) -> String {
    let command = serde_json::to_string(command).unwrap_or_default();
    format!("db.getSiblingDB({}).runCommand({command})", serde_json::Value::from(database))
}

/// These actions on a database.
#[must_use]
pub fn privilege(database: &str, actions: &[&str]) -> Document {
    doc! { "resource": { "db": database, "collection": "" }, "actions": actions.to_vec() }
}

/// A role in `admin`, where a role may hold rights on any database.
#[must_use]
pub fn make_role(name: &str, privileges: &[Document]) -> Document {
    doc! { "createRole": name, "privileges": privileges.to_vec(), "roles": [] }
}

#[must_use]
pub fn grant(user: &str, role: &str, database: &str) -> Document {
    doc! { "grantRolesToUser": user, "roles": [{ "role": role, "db": database }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_paste_are_quoted() {
        assert_eq!(
            run_in("a\"b", &grant("o'neil\"", "userAdmin", "shop")),
            r#"db.getSiblingDB("a\"b").runCommand({"grantRolesToUser":"o'neil\"","roles":[{"role":"userAdmin","db":"shop"}]})"#
        );
        assert_eq!(
            run_in("admin", &make_role("ownPassword", &[privilege("shop", &["changeOwnPassword"])])),
            r#"db.getSiblingDB("admin").runCommand({"createRole":"ownPassword","privileges":[{"resource":{"db":"shop","collection":""},"actions":["changeOwnPassword"]}],"roles":[]})"#
        );
    }
}
