//! What servers answer about users, read.

use crate::user::User;
use keyturn::failure::words;
use keyturn_mongo::Role;
use mongodb::bson::{Bson, Document, doc};
use std::collections::BTreeSet;

/// The user in an answer to `usersInfo`.
pub(super) fn known_user(answer: &Document, name: &str, database: &str) -> Option<User> {
    let found = documents(answer, "users").find(|user| text(user, "user") == name && text(user, "db") == database)?;
    let mechanisms = mechanisms(found);
    Some(User {
        name: name.to_owned(),
        database: database.to_owned(),
        roles: documents(found, "roles").map(role).collect(),
        scopes: BTreeSet::new(),
        restrictions: documents(found, "authenticationRestrictions").cloned().collect(),
        passwordless: passwordless(database, mechanisms.as_deref()),
        mechanisms,
        ends: None,
    })
}

/// Roles as commands take them.
pub(super) fn role_documents(roles: &BTreeSet<Role>) -> Vec<Document> {
    roles.iter().map(|role| doc! { "role": &role.name, "db": &role.database }).collect()
}

fn role(found: &Document) -> Role {
    Role { name: text(found, "role").to_owned(), database: text(found, "db").to_owned(), collection: None }
}

fn mechanisms(found: &Document) -> Option<Vec<String>> {
    let listed = found.get_array("mechanisms").ok()?;
    Some(listed.iter().filter_map(Bson::as_str).map(str::to_owned).collect())
}

/// Users of `$external` prove themselves elsewhere: by X.509, LDAP, Kerberos or IAM.
fn passwordless(database: &str, mechanisms: Option<&[String]>) -> Option<String> {
    if database == "$external" {
        return Some("it is a user of $external, who proves itself elsewhere".to_owned());
    }
    match mechanisms? {
        [] => Some("it has no credentials".to_owned()),
        mechanisms if mechanisms.iter().any(|mechanism| mechanism.starts_with("SCRAM-")) => None,
        mechanisms => Some(format!("its mechanism is {}", words(&mechanisms.join(", ")))),
    }
}

fn documents<'a>(document: &'a Document, key: &str) -> impl Iterator<Item = &'a Document> {
    document.get_array(key).ok().into_iter().flatten().filter_map(Bson::as_document)
}

fn text<'a>(document: &'a Document, key: &str) -> &'a str {
    document.get_str(key).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(user: Document) -> Document {
        doc! { "users": [user], "ok": 1.0 }
    }

    #[test]
    fn a_user_is_read_with_all_that_decides_what_it_may_do() {
        let restriction = doc! { "clientSource": ["10.0.0.0/8"] };
        let found = doc! {
            "_id": "shop.u", "user": "u", "db": "shop", "roles": [{ "role": "readWrite", "db": "shop" }],
            "authenticationRestrictions": [restriction.clone()], "mechanisms": ["SCRAM-SHA-256"],
        };
        let user = known_user(&answer(found.clone()), "u", "shop").unwrap();
        assert_eq!(user.roles.iter().map(ToString::to_string).collect::<Vec<_>>(), ["readWrite@shop"]);
        assert_eq!(user.restrictions, [restriction]);
        assert_eq!(user.mechanisms.as_deref(), Some(&["SCRAM-SHA-256".to_owned()][..]));
        assert_eq!(user.passwordless, None);
        assert_eq!(role_documents(&user.roles), [doc! { "role": "readWrite", "db": "shop" }]);
        assert_eq!(known_user(&answer(found), "u", "admin"), None);
        assert_eq!(known_user(&doc! { "users": [], "ok": 1 }, "u", "shop"), None);
    }

    #[test]
    fn users_without_a_password_are_known() {
        let read = |db: &str, user: Document| known_user(&answer(user), "u", db).unwrap();
        let user = |db: &str| doc! { "user": "u", "db": db, "roles": [] };
        assert!(read("admin", user("admin")).passwordless.is_none());
        assert!(read("admin", user("admin")).mechanisms.is_none());
        assert!(read("$external", user("$external")).passwordless.is_some());
        for mechanisms in [vec![], vec!["external"], vec!["MONGODB-X509"]] {
            let mut user = user("admin");
            user.insert("mechanisms", mechanisms.clone());
            assert!(read("admin", user).passwordless.is_some(), "{mechanisms:?}");
        }
    }
}
