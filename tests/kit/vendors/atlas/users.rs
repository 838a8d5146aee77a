//! Database users: what the API shows of them, and how a body changes them.

use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::cluster::Login;
use super::refusal::{Refused, error, invalid_attribute};

/// All that a body may hold. `links` is what the API says itself; sent back, it means nothing.
const MEMBERS: [&str; 14] = [
    "awsIAMType",
    "databaseName",
    "deleteAfterDate",
    "description",
    "groupId",
    "labels",
    "ldapAuthType",
    "links",
    "oidcAuthType",
    "password",
    "roles",
    "scopes",
    "username",
    "x509Type",
];

/// Ways to prove oneself other than by a password.
const AUTH_TYPES: [&str; 4] = ["awsIAMType", "ldapAuthType", "oidcAuthType", "x509Type"];

/// Atlas takes no shorter password, in characters.
const SHORTEST_PASSWORD: usize = 8;

/// The most that Atlas takes, in characters.
const LONGEST_DESCRIPTION: usize = 100;

/// How long a temporary user may live ("Create One Database User in One Project": `deleteAfterDate`).
const LONGEST_LIFE: TimeDelta = TimeDelta::weeks(1);

/// How a path holds a name.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'$');

/// A database user of a project.
#[derive(Clone)]
pub(super) struct DatabaseUser {
    /// As the API shows it, without `links`.
    shown: Map<String, Value>,
    /// Empty where the user has none.
    password: String,
}

impl DatabaseUser {
    /// A user with this body's members, and what is usual for the rest.
    pub(super) fn new(project: &str, body: &Map<String, Value>) -> Result<Self, Refused> {
        let shown = json!({
            "awsIAMType": "NONE", "databaseName": "admin", "groupId": project, "labels": [], "ldapAuthType": "NONE",
            "oidcAuthType": "NONE", "roles": [], "scopes": [], "x509Type": "NONE",
        });
        let shown = shown.as_object().cloned().unwrap_or_default();
        let mut user = Self { shown, password: String::new() };
        check_shapes(body)?;
        user.take(body);
        check_password(&user, body)?;
        Ok(user)
    }

    /// A body for a new user: it must have what Atlas requires.
    pub(super) fn requested(project: &str, body: &Map<String, Value>, now: DateTime<Utc>) -> Result<Self, Refused> {
        for required in ["databaseName", "groupId", "roles", "username"] {
            if !body.contains_key(required) {
                return Err(missing(required));
            }
        }
        check_project(project, body)?;
        check_end(body, now)?;
        let user = Self::new(project, body)?;
        if user.has_password() && user.password.is_empty() {
            return Err(missing("password"));
        }
        Ok(user)
    }

    /// Replaces what the body names: a member that is sent replaces the old one as a whole.
    pub(super) fn patch(&mut self, body: &Map<String, Value>, now: DateTime<Utc>) -> Result<(), Refused> {
        check_shapes(body)?;
        let project = self.text("groupId").to_owned();
        check_project(&project, body)?;
        check_end(body, now)?;
        self.check_fixed(body, &["username"], "DATABASE_USERNAME_CANNOT_BE_CHANGED", "username")?;
        self.check_fixed(body, &["databaseName"], "DATABASE_NAME_CANNOT_BE_CHANGED", "authentication database")?;
        self.check_fixed(body, &AUTH_TYPES, "AUTH_TYPE_CANNOT_BE_CHANGED", "authentication type")?;
        check_password(self, body)?;
        self.take(body);
        Ok(())
    }

    fn take(&mut self, body: &Map<String, Value>) {
        for (name, value) in body {
            match name.as_str() {
                "password" => value.as_str().unwrap_or_default().clone_into(&mut self.password),
                "links" => {}
                _ => _ = self.shown.insert(name.clone(), value.clone()),
            }
        }
    }

    fn check_fixed(&self, body: &Map<String, Value>, names: &[&str], code: &str, what: &str) -> Result<(), Refused> {
        let changed = names.iter().any(|&name| body.get(name).is_some_and(|value| Some(value) != self.shown.get(name)));
        if !changed {
            return Ok(());
        }
        let detail = format!("Cannot modify the {what} of an existing database user.");
        Err(Refused::honest(error(409, code, &detail, &[])))
    }

    fn text(&self, name: &str) -> &str {
        self.shown.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.text("username")
    }

    pub(super) fn database(&self) -> &str {
        self.text("databaseName")
    }

    /// When the user goes by itself.
    pub(super) fn ends(&self) -> Option<DateTime<Utc>> {
        instant(self.shown.get("deleteAfterDate")?)
    }

    /// Whether the user proves themselves by a password, and so exists on the servers.
    pub(super) fn has_password(&self) -> bool {
        AUTH_TYPES.iter().all(|name| self.text(name) == "NONE")
    }

    /// Whether the user may use this cluster: no scopes are all of them.
    pub(super) fn covers(&self, cluster: &str) -> bool {
        let scopes = self.shown.get("scopes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        scopes.is_empty() || scopes.iter().any(|scope| scope["type"] == "CLUSTER" && scope["name"] == cluster)
    }

    /// What the servers know of the user.
    pub(super) fn login(&self) -> Login {
        let roles = self.shown.get("roles").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |role: &Value, name: &str| role[name].as_str().unwrap_or_default().to_owned();
        Login {
            database: self.database().to_owned(),
            name: self.name().to_owned(),
            password: self.password.clone(),
            roles: roles.iter().map(|role| (text(role, "roleName"), text(role, "databaseName"))).collect(),
        }
    }

    /// As the API shows it.
    pub(super) fn shown(&self, url: &str) -> Value {
        let encode = |text| utf8_percent_encode(text, SEGMENT).to_string();
        let (project, database, name) = (self.text("groupId"), encode(self.database()), encode(self.name()));
        let own = format!("{url}/api/atlas/v2/groups/{project}/databaseUsers/{database}/{name}");
        let mut shown = Value::Object(self.shown.clone());
        shown["links"] = json!([{"href": own, "rel": "self"}]);
        shown
    }
}

fn missing(name: &str) -> Refused {
    let detail = format!("The required attribute {name} was not specified.");
    let reply = error(400, "MISSING_ATTRIBUTE", &detail, &[json!(name)]);
    Refused::violation(format!("missing attribute {name}"), reply)
}

fn check_project(project: &str, body: &Map<String, Value>) -> Result<(), Refused> {
    match body.get("groupId") {
        Some(other) if other != project => {
            let detail = format!("The specified group ID {other} does not match the URL.");
            Err(Refused::violation(
                "groupId is not the path's",
                error(400, "GROUP_MISMATCH", &detail, std::slice::from_ref(other)),
            ))
        }
        _ => Ok(()),
    }
}

/// A date in the future, of the next week.
fn check_end(body: &Map<String, Value>, now: DateTime<Utc>) -> Result<(), Refused> {
    match body.get("deleteAfterDate").map(instant) {
        None => Ok(()),
        Some(Some(end)) if end > now && end <= now + LONGEST_LIFE => Ok(()),
        Some(_) => Err(invalid_attribute("deleteAfterDate")),
    }
}

fn instant(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|instant| instant.to_utc())
}

fn check_shapes(body: &Map<String, Value>) -> Result<(), Refused> {
    let wrong = body.iter().find(|(name, value)| !fits(name, value));
    wrong.map_or(Ok(()), |(name, _)| Err(invalid_attribute(name)))
}

fn fits(name: &str, value: &Value) -> bool {
    let all = |fits: fn(&Value) -> bool| value.as_array().is_some_and(|entries| entries.iter().all(fits));
    match name {
        "description" => value.as_str().is_some_and(|text| text.chars().count() <= LONGEST_DESCRIPTION),
        "labels" | "links" => value.is_array(),
        "roles" => all(is_role) && value != &json!([]),
        "scopes" => all(is_scope),
        "databaseName" => value == "admin" || value == "$external",
        _ => MEMBERS.contains(&name) && value.is_string(),
    }
}

fn is_role(role: &Value) -> bool {
    let known = ["collectionName", "databaseName", "roleName"];
    let only_known = role.as_object().is_some_and(|role| role.keys().all(|name| known.contains(&name.as_str())));
    only_known && role["databaseName"].is_string() && role["roleName"].is_string()
}

fn is_scope(scope: &Value) -> bool {
    let kinds = ["CLUSTER", "DATA_LAKE", "STREAM"];
    scope["name"].is_string() && scope["type"].as_str().is_some_and(|kind| kinds.contains(&kind))
}

fn check_password(user: &DatabaseUser, body: &Map<String, Value>) -> Result<(), Refused> {
    let Some(password) = body.get("password").and_then(Value::as_str) else { return Ok(()) };
    if !user.has_password() {
        return Err(invalid_attribute("password"));
    }
    if password.chars().count() < SHORTEST_PASSWORD {
        return Err(Refused::honest(error(400, "SHORT_PASSWORD", "The specified password is too short.", &[])));
    }
    Ok(())
}
