//! What the admin must be allowed, and what a login must not be.

use super::{Admin, documents, named, role_documents, texts};
use crate::codes::Code;
use crate::document::Who;
use keyturn::codes::Code as Core;
use keyturn::{Deadline, Error, Result};
use keyturn_mongo::Role;
use keyturn_mongo::login::{ADMIN_DATABASE, Session};
use keyturn_mongo::shell::{grant, make_role, run_in};
use mongodb::bson::{Document, doc};
use std::collections::{BTreeMap, BTreeSet};

/// The role that the remedy makes for the admin.
const ROLE: &str = "keyturn_break_glass";
/// What the admin needs on the whole server: to end sessions, and what is under way.
const ON_SERVER: [&str; 3] = ["inprog", "killAnySession", "killop"];
/// What it needs on `admin`, which keeps the logins.
const ON_ADMIN: [&str; 3] = ["createUser", "dropUser", "viewUser"];
/// What it needs on the database of each role that a login gets.
const ON_ROLES: [&str; 2] = ["grantRole", "viewRole"];
/// Whoever has one of these can make another user, or keep the admin from dropping this one: a server without a primary, or one
/// that takes no writes or no connections, drops nobody.
const POWER: [&str; 18] = [
    "anyAction",
    "changePassword",
    "closeAllDatabases",
    "createUser",
    "dropConnections",
    "dropRole",
    "dropUser",
    "fsync",
    "grantRole",
    "internal",
    "killAnySession",
    "killop",
    "replSetConfigure",
    "replSetStateChange",
    "revokeRole",
    "setParameter",
    "setUserWriteBlockMode",
    "shutdown",
];
/// Of the collections that keep users and roles, these are power as well.
const WRITING: [&str; 11] = [
    "anyAction",
    "collMod",
    "convertToCapped",
    "createCollection",
    "createIndex",
    "dropCollection",
    "dropDatabase",
    "dropIndex",
    "insert",
    "remove",
    "update",
];
/// The actions that leave everything as it is (mongodb.com/docs/v6.0/reference/privilege-actions), a user's own operations apart.
const READING: [&str; 36] = [
    "changeStream",
    "checkFreeMonitoringStatus",
    "collStats",
    "connPoolStats",
    "dbHash",
    "dbStats",
    "find",
    "getClusterParameter",
    "getCmdLineOpts",
    "getDatabaseVersion",
    "getDefaultRWConcern",
    "getLog",
    "getParameter",
    "getShardMap",
    "getShardVersion",
    "hostInfo",
    "indexStats",
    "inprog",
    "killCursors",
    "listCollections",
    "listDatabases",
    "listIndexes",
    "listSearchIndexes",
    "listSessions",
    "listShards",
    "netstat",
    "operationMetrics",
    "planCacheRead",
    "queryStatsRead",
    "queryStatsReadTransformed",
    "replSetGetConfig",
    "replSetGetStatus",
    "serverStatus",
    "shardingState",
    "top",
    "useUUID",
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Resource {
    Server,
    Database(String),
}

impl Resource {
    /// Whether a privilege on this `resource` is one on the whole of this.
    fn is_in(&self, resource: &Document) -> bool {
        let is_set = |key| resource.get_bool(key).unwrap_or(false);
        let is = |key, values: &[&str]| resource.get_str(key).is_ok_and(|text| values.contains(&text));
        is_set("anyResource")
            || match self {
                Self::Server => is_set("cluster"),
                Self::Database(name) => is("db", &["", name]) && is("collection", &[""]),
            }
    }

    fn privilege(&self, actions: &BTreeSet<&str>) -> Document {
        let resource = match self {
            Self::Server => doc! { "cluster": true },
            Self::Database(name) => doc! { "db": name, "collection": "" },
        };
        doc! { "resource": resource, "actions": actions.iter().copied().collect::<Vec<_>>() }
    }
}

impl Admin<'_> {
    /// # Errors
    /// `ADMIN_LACKS_PRIVILEGE`, `ACCESS_MISSING`, `ACCESS_TOO_POWERFUL`.
    pub(in crate::systems) async fn vet(&self, deadline: Deadline) -> Result<()> {
        self.vet_admin(deadline).await?;
        self.vet_roles(deadline).await
    }

    async fn vet_admin(&self, deadline: Deadline) -> Result<()> {
        let status = doc! { "connectionStatus": 1, "showPrivileges": true };
        let status = self.session.run(ADMIN_DATABASE, status, "reading what the admin may do", deadline).await?;
        let held: Vec<&Document> = status
            .get_document("authInfo")
            .ok()
            .into_iter()
            .flat_map(|info| documents(info, "authenticatedUserPrivileges"))
            .collect();
        let mut needed = BTreeMap::from([
            (Resource::Server, BTreeSet::from(ON_SERVER)),
            (Resource::Database(ADMIN_DATABASE.to_owned()), BTreeSet::from(ON_ADMIN)),
        ]);
        for role in &self.engine.roles {
            needed.entry(Resource::Database(role.database.clone())).or_default().extend(ON_ROLES);
        }
        let is_held = |resource: &Resource, action: &str| {
            let allows = |privilege: &&Document| {
                privilege.get_document("resource").is_ok_and(|held| resource.is_in(held))
                    && texts(privilege, "actions").any(|held| held == action || held == "anyAction")
            };
            held.iter().any(allows)
        };
        for (resource, actions) in &mut needed {
            actions.retain(|action| !is_held(resource, action));
        }
        needed.retain(|_, actions| !actions.is_empty());
        if needed.is_empty() { Ok(()) } else { Err(self.lacks(&needed)) }
    }

    fn lacks(&self, needed: &BTreeMap<Resource, BTreeSet<&str>>) -> Error {
        let Session { user, auth_db, roles, .. } = &self.session;
        let what = needed.iter().map(|(resource, actions)| {
            let actions = actions.iter().copied().collect::<Vec<_>>().join(", ");
            match resource {
                Resource::Server => format!("{actions} on the server"),
                Resource::Database(name) => format!("{actions} on {name:?}"),
            }
        });
        let what = what.collect::<Vec<_>>().join("; ");
        let privileges: Vec<Document> = needed.iter().map(|(resource, actions)| resource.privilege(actions)).collect();
        let commands = if roles.iter().any(|role| role.name == ROLE && role.database == ADMIN_DATABASE) {
            run_in(ADMIN_DATABASE, &doc! { "grantPrivilegesToRole": ROLE, "privileges": privileges })
        } else {
            let (made, granted) = (make_role(ROLE, &privileges), grant(user, ROLE, ADMIN_DATABASE));
            format!("{}; {}", run_in(ADMIN_DATABASE, &made), run_in(auth_db, &granted))
        };
        Error::new(
            Core::AdminLacksPrivilege,
            format!(
                "The admin {user}@{auth_db} at {} lacks {what} (its credential is in {}).",
                self.session.servers(),
                self.secret
            ),
            format!("As an administrator: {commands}"),
        )
    }

    async fn vet_roles(&self, deadline: Deadline) -> Result<()> {
        let question = doc! { "rolesInfo": role_documents(&self.engine.roles), "showPrivileges": true };
        let answer = self.session.run(ADMIN_DATABASE, question, "reading what logins may do", deadline).await?;
        let found: BTreeMap<Role, &Document> = documents(&answer, "roles").map(|role| (named(role), role)).collect();
        for wanted in &self.engine.roles {
            let wanted = Role { name: wanted.name.clone(), database: wanted.database.clone(), collection: None };
            let Some(role) = found.get(&wanted) else {
                return Err(Error::new(
                    Code::AccessMissing,
                    format!("{} has no role {wanted}.", self.session.servers()),
                    "Make it, or correct \"roles\" in the document.",
                ));
            };
            let privileges: Vec<&Document> = documents(role, "inheritedPrivileges").collect();
            if self.document.who == Who::Anybody
                && let Some(action) = privileges
                    .iter()
                    .find_map(|privilege| texts(privilege, "actions").find(|action| !READING.contains(action)))
            {
                return Err(Error::new(
                    Code::AccessTooPowerful,
                    format!(
                        "The role {wanted} can do more than read ({action}), and the document of {} is read_only.",
                        self.document.name
                    ),
                    "Give roles in the document that only read.",
                ));
            }
            if !self.document.allow_power
                && let Some(action) = privileges.iter().find_map(|privilege| power(privilege))
            {
                return Err(Error::new(
                    Code::AccessTooPowerful,
                    format!("Whoever has the role {wanted} can change how long a login lasts ({action})."),
                    "Give another role in the document; or write \"allow_power\": true into it: then the sweep alone ends a login, and not one that its person has made meanwhile.",
                ));
            }
        }
        Ok(())
    }
}

/// An action of this privilege with which a login could lengthen its own life.
fn power(privilege: &Document) -> Option<&str> {
    let resource = privilege.get_document("resource").ok()?;
    let of_users = ["system.users", "system.roles"];
    let reaches_users = resource.get_bool("anyResource").unwrap_or(false)
        || resource.get_str("collection").is_ok_and(|name| of_users.contains(&name));
    one_of(privilege, &POWER).or_else(|| one_of(privilege, &WRITING).filter(|_| reaches_users))
}

fn one_of<'p>(privilege: &'p Document, actions: &[&str]) -> Option<&'p str> {
    texts(privilege, "actions").find(|action| actions.contains(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privilege_covers_what_its_resource_names_or_everything() {
        let shop = Resource::Database("shop".to_owned());
        for (resource, server, database) in [
            (doc! { "cluster": true }, true, false),
            (doc! { "anyResource": true }, true, true),
            (doc! { "db": "shop", "collection": "" }, false, true),
            (doc! { "db": "", "collection": "" }, false, true),
            (doc! { "db": "store", "collection": "" }, false, false),
            (doc! { "db": "shop", "collection": "orders" }, false, false),
        ] {
            assert_eq!((Resource::Server.is_in(&resource), shop.is_in(&resource)), (server, database), "{resource}");
        }
    }

    #[test]
    fn writing_the_collections_that_keep_users_is_power() {
        let writing = |resource: Document| doc! { "resource": resource, "actions": ["find", "update"] };
        assert_eq!(power(&writing(doc! { "db": "admin", "collection": "" })), None);
        assert_eq!(power(&writing(doc! { "db": "admin", "collection": "system.users" })), Some("update"));
        assert_eq!(power(&writing(doc! { "anyResource": true })), Some("update"));
        let on_cluster = |action: &str| doc! { "resource": { "cluster": true }, "actions": [action] };
        assert_eq!(power(&on_cluster("replSetGetStatus")), None);
        assert_eq!(power(&on_cluster("replSetConfigure")), Some("replSetConfigure"));
    }
}
