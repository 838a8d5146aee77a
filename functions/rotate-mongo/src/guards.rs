//! What must be true of a user before anybody's power is used on it. Pure: facts in, verdict out.
//!
//! Whoever can write a secret could otherwise have the password of a stronger user set to one that they can read.

use crate::case::{AtServer, Case};
use crate::codes::Code;
use crate::pattern::Captured;
use crate::settings::{GuardSettings, Setting, Settings};
use crate::user::User;
use keyturn::codes::Code as Core;
use keyturn::rotation::Job;
use keyturn::{Error, Result};
use keyturn_mongo::Role;
use keyturn_mongo::login::Servers;
use std::collections::BTreeSet;

/// Built-in roles with power over users, over the cluster, or over every database.
const FORBIDDEN_ROLES: [&str; 11] = [
    "readWriteAnyDatabase",
    "dbAdminAnyDatabase",
    "userAdminAnyDatabase",
    "root",
    "atlasAdmin",
    "__system",
    "clusterAdmin",
    "clusterManager",
    "hostManager",
    "backup",
    "restore",
];

/// The server's own databases: whoever may write in them may change users or the cluster.
const FORBIDDEN_DATABASES: [&str; 3] = ["admin", "local", "config"];

/// Users of people, of the vendors, and for emergencies. A `*` at the end stands for anything.
const PROTECTED_USERS: [&str; 4] = ["admin", "break_glass_*", "mms-*", "serviceadmin"];

/// What the names alone say; asked before anything is called.
///
/// Errors: `USER_PROTECTED`, `USERNAME_NOT_ALLOWED`.
pub(crate) fn names(settings: &GuardSettings, case: &Case, job: &Job) -> Result<()> {
    for name in BTreeSet::from([&case.base, &case.current, &case.next]) {
        protected(settings, name, job)?;
    }
    username(settings, &case.base, job)
}

/// What a user is and may do.
///
/// Errors: `USER_HAS_NO_PASSWORD`, `USER_ENDS`, `USER_HAS_NO_ROLES`, `ROLE_FORBIDDEN`, `DATABASE_FORBIDDEN`,
/// `DATABASE_NOT_OF_USER`.
pub(crate) fn user(settings: &GuardSettings, case: &Case, user: &User, job: &Job) -> Result<()> {
    takes_passwords(user)?;
    has_roles(user)?;
    may_be_rotated(settings, case, user, job)
}

/// The same of the user that is next, and how its rights stand to those of the user in use. With `SYNC_ROLES` it may have no roles,
/// as a rotation that was cut off by an earlier version left it: it is given its base's.
///
/// Errors: those of [`user`], and `ROLES_DIFFER`.
pub(crate) fn twin(
    settings: &Settings,
    case: &Case,
    twin: &User,
    in_use: &User,
    sync: bool,
    job: &Job,
) -> Result<Rights> {
    takes_passwords(twin)?;
    if !sync || case.next == case.base {
        has_roles(twin)?;
    }
    may_be_rotated(&settings.guards, case, twin, job)?;
    same_rights(twin, in_use, case, sync, job)
}

fn has_roles(user: &User) -> Result<()> {
    if user.roles.is_empty() {
        return Err(Error::of(
            Code::UserHasNoRoles,
            format!("{:?} has no roles: it is no application's user, or somebody is taking it out of use.", user.name),
        ));
    }
    Ok(())
}

fn may_be_rotated(settings: &GuardSettings, case: &Case, user: &User, job: &Job) -> Result<()> {
    for role in &user.roles {
        roles(settings, user, role, job)?;
        databases(settings, user, role, job)?;
    }
    databases_of(settings, case, user)
}

/// How the rights of the user that is next stand to those of the user in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Nothing has to be done.
    Fit,
    /// The twin has to be given its base's.
    ToSync,
}

/// The two users of a turn have the same rights: then it gives nobody more than they have. With `sync` the base is the model:
/// its twin is made like it; and when the base is next itself, it may have more, but must not lack what is in use.
fn same_rights(next: &User, in_use: &User, case: &Case, sync: bool, job: &Job) -> Result<Rights> {
    let elsewhere = next.scopes != in_use.scopes || next.restrictions != in_use.restrictions;
    if next.roles == in_use.roles && !elsewhere {
        return Ok(Rights::Fit);
    }
    let base_is_next = case.next == case.base;
    if sync && (!base_is_next || (!elsewhere && next.roles.is_superset(&in_use.roles))) {
        job.overridden(Setting::SyncRoles);
        return Ok(if base_is_next { Rights::Fit } else { Rights::ToSync });
    }
    let remedy = if sync {
        format!(
            "{:?} is the model of the two. Give it what is in use, or take that from {:?} first.",
            next.name, in_use.name
        )
    } else {
        format!(
            "Make them the same, or let each rotation make the twin like its base: {}=true in the function's environment.",
            Setting::SyncRoles
        )
    };
    Err(Error::new(
        Code::RolesDiffer,
        format!(
            "{:?} and {:?} take turns but have not the same rights: {}.",
            next.name,
            in_use.name,
            difference(next, in_use)
        ),
        remedy,
    ))
}

fn difference(twin: &User, model: &User) -> String {
    let list = |roles: Vec<&Role>| roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (more, less) = (
        twin.roles.difference(&model.roles).collect::<Vec<_>>(),
        model.roles.difference(&twin.roles).collect::<Vec<_>>(),
    );
    let mut says = Vec::new();
    if !more.is_empty() {
        says.push(format!("{:?} has also {}", twin.name, list(more)));
    }
    if !less.is_empty() {
        says.push(format!("it lacks {}", list(less)));
    }
    if twin.scopes != model.scopes {
        says.push("their scopes differ".to_owned());
    }
    if twin.restrictions != model.restrictions {
        says.push("their authenticationRestrictions differ".to_owned());
    }
    says.join("; ")
}

/// An admin logs in only where its own secret says its server is or, if that says nothing, where a tag does: a server
/// named by the rotated secret's value alone could be anybody's.
///
/// Errors: `ADMIN_OF_ANOTHER_SERVER`.
pub(crate) fn same_servers(at: &AtServer, admin: Option<&Servers>, secret: &str) -> Result<()> {
    let within = |admin: &Servers| at.servers.hosts().iter().all(|host| admin.hosts().contains(host));
    // The tag stands in for an admin's secret that names no server, as RDS makes them.
    if admin.map_or(at.tagged, within) {
        return Ok(());
    }
    let of_admin = admin.map_or("names no server".to_owned(), |servers| format!("is for {servers}"));
    Err(Error::new(
        Core::AdminOfAnotherServer,
        format!("The secret is for {}, but its admin secret {secret} {of_admin}.", at.servers),
        "Let the admin's secret name the same hosts and ports: \"host\": \"h1.example.com:27017,h2.example.com:27017\". Where it names none, the rotated secret's tag keyturn:hosts counts.",
    ))
}

/// The admin's own password is not rotated with its own power.
///
/// Errors: `ADMIN_IS_TARGET`.
pub(crate) fn not_the_admin(case: &Case, admin: &str) -> Result<()> {
    if case.current != admin && case.next != admin {
        return Ok(());
    }
    Err(Error::new(
        Core::AdminIsTarget,
        format!("The admin {admin:?} is the user (or one of the two) whose password this secret rotates."),
        "Use an admin of its own, with userAdmin on the database that keeps the users.",
    ))
}

fn protected(settings: &GuardSettings, name: &str, job: &Job) -> Result<()> {
    let is = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    if !PROTECTED_USERS.into_iter().any(is) && !settings.protected.iter().any(|pattern| is(pattern)) {
        return Ok(());
    }
    let is_allowed = settings.allowed_users.iter().any(|allowed| allowed == name);
    if is_allowed && settings.overrides.allow(Setting::AllowProtectedUsers, job) {
        return Ok(());
    }
    Err(Error::new(
        Code::UserProtected,
        format!("{name:?} is a protected user: people or emergencies depend on it."),
        format!(
            "Rotate an application's user, or allow this one: {}={name} in the function's environment.",
            Setting::AllowProtectedUsers
        ),
    ))
}

fn username(settings: &GuardSettings, name: &str, job: &Job) -> Result<()> {
    let known: Captured = settings.environment.iter().map(|env| ("env".to_owned(), env.clone())).collect();
    if settings.patterns.iter().any(|pattern| pattern.read(name, &known).is_some()) {
        return Ok(());
    }
    if settings.any_username && settings.overrides.allow(Setting::AllowAnyUsername, job) {
        return Ok(());
    }
    let patterns = settings.patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let environment = settings.environment.as_deref().unwrap_or_default();
    Err(Error::new(
        Code::UsernameNotAllowed,
        format!(
            "{name:?} is not a user of this deployment: its name is not {patterns} with {{env}} = {environment:?}."
        ),
        "Attach the function of that environment, or correct USERNAME_PATTERNS or KEYTURN_ENV (or set ALLOW_ANY_USERNAME=true). A user called ..._clone takes turns: tag its secret keyturn:strategy=alternating.",
    ))
}

/// Refuses a user that has no password to change, or is about to go.
fn takes_passwords(user: &User) -> Result<()> {
    if let Some(why) = &user.passwordless {
        return Err(Error::new(
            Code::UserHasNoPassword,
            format!("{:?} has no password to rotate: {why}.", user.name),
            "Cancel the rotation of this secret (aws secretsmanager cancel-rotate-secret), or make a user with a password.",
        ));
    }
    if let Some(end) = &user.ends {
        return Err(Error::of(
            Code::UserEnds,
            format!("{:?} is a temporary user: Atlas deletes it on {end}.", user.name),
        ));
    }
    Ok(())
}

fn roles(settings: &GuardSettings, user: &User, role: &Role, job: &Job) -> Result<()> {
    if !FORBIDDEN_ROLES.contains(&role.name.as_str()) || is_allowed(settings, role, job) {
        return Ok(());
    }
    Err(Error::new(
        Code::RoleForbidden,
        format!("{:?} has the role {role}, which is too powerful for a password that applications read.", user.name),
        format!(
            "Give it roles on its own databases only, or allow it: {}={} in the function's environment.",
            Setting::AllowRoles,
            role.grant()
        ),
    ))
}

fn databases(settings: &GuardSettings, user: &User, role: &Role, job: &Job) -> Result<()> {
    let database = &role.database;
    let is_forbidden =
        FORBIDDEN_DATABASES.contains(&database.as_str()) || settings.forbidden_databases.contains(database);
    if !is_forbidden || is_allowed(settings, role, job) {
        return Ok(());
    }
    if settings.allowed_databases.contains(database) && settings.overrides.allow(Setting::AllowDatabases, job) {
        return Ok(());
    }
    Err(Error::new(
        Code::DatabaseForbidden,
        format!("{:?} has the role {role}, and {database} is no database of an application.", user.name),
        format!(
            "Take the role away, or allow it (a custom role lives in admin): {}={} or {}={database} in the function's environment.",
            Setting::AllowRoles,
            role.grant(),
            Setting::AllowDatabases
        ),
    ))
}

fn is_allowed(settings: &GuardSettings, role: &Role, job: &Job) -> bool {
    settings.allowed_roles.contains(&role.grant()) && settings.overrides.allow(Setting::AllowRoles, job)
}

fn databases_of(settings: &GuardSettings, case: &Case, user: &User) -> Result<()> {
    for (of_user, of_database) in &settings.database_patterns {
        let Some(captured) = of_user.read(&case.base, &Captured::new()) else { continue };
        if let Some(role) = user.roles.iter().find(|role| of_database.read(&role.database, &captured).is_none()) {
            return Err(Error::of(
                Code::DatabaseNotOfUser,
                format!("{:?} has the role {role}, but users named {of_user} belong on {of_database} only.", user.name),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
