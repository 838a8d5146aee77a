//! What says how a database is opened: the JSON document of each parameter below `CONFIG_PATH`.

use crate::codes::Code;
use chrono::TimeDelta;
use keyturn::address::Address;
use keyturn::ids::{BindingId, GroupId};
use keyturn::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const MOST_MINUTES: i64 = 12 * 60;
const MOST_CONNECTIONS: u32 = 100;

/// A database: the last segment of its document's parameter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct DatabaseName(String);

impl DatabaseName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DatabaseName {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let is_name =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if is_name { Ok(Self(text)) } else { Err("letters, digits, - and _, 64 at most".to_owned()) }
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A group that opens a database: whoever the ledger of this binding and group says is granted may ask.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opener {
    pub(crate) binding: BindingId,
    pub(crate) group: GroupId,
}

impl Opener {
    /// The name of the ledger's parameter.
    pub(crate) fn ledger(&self, path: &str) -> String {
        format!("{path}/{}.{}", self.binding, self.group)
    }
}

/// A role of MongoDB: `name@database`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(crate) struct MongoRole {
    pub(crate) name: String,
    pub(crate) database: String,
}

impl TryFrom<String> for MongoRole {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.split_once('@') {
            Some((name, database)) if !name.is_empty() && !database.is_empty() => {
                Ok(Self { name: name.to_owned(), database: database.to_owned() })
            }
            _ => Err(format!("{text:?} is not <role>@<database>")),
        }
    }
}

/// One document, all of it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) name: DatabaseName,
    /// ARN of the secret with the admin's credential; at Atlas of a service account's or an API key's.
    pub(crate) admin_secret: String,
    pub(crate) who: Who,
    pub(crate) longest: TimeDelta,
    /// Only holders of these permission sets may ask; `None`: of any that is listed.
    permission_sets: Option<BTreeSet<String>>,
    /// The access may change how long its own logins last.
    pub(crate) allow_power: bool,
    /// What is known of other logins, for the report.
    pub(crate) accounts: BTreeMap<String, String>,
    pub(crate) engine: Engine,
}

/// Who may open a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever is granted now by one of these.
    OnCall(Vec<Opener>),
    /// Whoever holds a permission set: what is opened can only read.
    Anybody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres(PostgresDocument),
    Atlas(AtlasDocument),
    Mongodb(MongoDocument),
}

impl Engine {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Atlas(_) => "atlas",
            Self::Mongodb(_) => "mongodb",
        }
    }

    /// The server or project, in one text that two of them can be compared by.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Postgres(engine) => format!("postgres {}", Address::new(&engine.host, engine.port)),
            Self::Atlas(engine) => format!("atlas {}", engine.project),
            Self::Mongodb(engine) => format!("mongodb {}", engine.hosts.join(",")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostgresDocument {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    /// The role that people act as.
    pub(crate) access: String,
    pub(crate) connections: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtlasDocument {
    pub(crate) project: String,
    /// The name that clients connect to (`mongodb+srv`).
    pub(crate) host: String,
    pub(crate) roles: Vec<MongoRole>,
    /// The clusters that logins are for; none: all of the project.
    pub(crate) clusters: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MongoDocument {
    /// `host` or `host:port`, one or more of one replica set or of routers.
    pub(crate) hosts: Vec<String>,
    pub(crate) replica_set: Option<String>,
    pub(crate) roles: Vec<MongoRole>,
}

/// The document as it is written: the keys of every engine and those of one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    engine: EngineName,
    admin_secret: String,
    #[serde(default)]
    bindings: Vec<Opener>,
    #[serde(default)]
    read_only: bool,
    #[serde(deserialize_with = "minutes")]
    max_minutes: TimeDelta,
    permission_sets: Option<BTreeSet<String>>,
    #[serde(default)]
    allow_power: bool,
    #[serde(default)]
    accounts: BTreeMap<String, String>,
    // postgres
    host: Option<String>,
    port: Option<u16>,
    dbname: Option<String>,
    access: Option<String>,
    connections: Option<u32>,
    // atlas
    project: Option<String>,
    roles: Option<Vec<MongoRole>>,
    clusters: Option<Vec<String>>,
    // mongodb
    hosts: Option<Vec<String>>,
    replica_set: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EngineName {
    Postgres,
    Atlas,
    Mongodb,
}

fn minutes<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<TimeDelta, D::Error> {
    let minutes = i64::deserialize(deserializer)?;
    let lasts = (1..=MOST_MINUTES).contains(&minutes).then(|| TimeDelta::minutes(minutes));
    lasts.ok_or_else(|| serde::de::Error::custom(format!("max_minutes is 1 to {MOST_MINUTES}")))
}

impl Document {
    /// Reads the document of a database.
    ///
    /// # Errors
    /// `DOCUMENT_INVALID`, naming the key.
    pub(crate) fn parse(name: DatabaseName, parameter: &str, text: &str) -> Result<Self> {
        Self::read(name, text).map_err(|problem| {
            Error::new(
                Code::DocumentInvalid,
                format!("The document {parameter} is refused: {problem}."),
                format!("Correct it: aws ssm put-parameter --overwrite --type String --name {parameter} --value file://database.json"),
            )
        })
    }

    fn read(name: DatabaseName, text: &str) -> std::result::Result<Self, String> {
        let mut written: Written =
            serde_json::from_str(text).map_err(|error| keyturn::failure::words(&error.to_string()))?;
        if !written.admin_secret.starts_with("arn:") || !written.admin_secret.contains(":secretsmanager:") {
            return Err("admin_secret is not the ARN of a secret".to_owned());
        }
        let who = match (written.read_only, written.bindings.is_empty()) {
            (true, true) => Who::Anybody,
            (false, false) => Who::OnCall(std::mem::take(&mut written.bindings)),
            (true, false) => {
                return Err("read_only: nobody needs to be on call, so there can be no bindings".to_owned());
            }
            (false, true) => return Err("bindings is missing: nobody could ask".to_owned()),
        };
        if written.permission_sets.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err("permission_sets is empty: nobody could ask".to_owned());
        }
        let engine = written.take_engine()?;
        Ok(Self {
            name,
            admin_secret: written.admin_secret,
            who,
            longest: written.max_minutes,
            permission_sets: written.permission_sets,
            allow_power: written.allow_power,
            accounts: written.accounts,
            engine,
        })
    }

    /// Whether holders of this permission set may ask.
    pub(crate) fn admits(&self, permission_set: &str) -> bool {
        self.permission_sets.as_ref().is_none_or(|sets| sets.contains(permission_set))
    }
}

impl Written {
    /// The part of one engine; what is left then belongs to another one.
    fn take_engine(&mut self) -> std::result::Result<Engine, String> {
        let engine = match self.engine {
            EngineName::Postgres => {
                let connections = self.connections.take().unwrap_or(5);
                if !(1..=MOST_CONNECTIONS).contains(&connections) {
                    return Err(format!("connections is 1 to {MOST_CONNECTIONS}"));
                }
                Engine::Postgres(PostgresDocument {
                    host: host(needed("host", self.host.take())?)?,
                    port: self.port.take().unwrap_or(5432),
                    database: needed("dbname", self.dbname.take())?,
                    access: needed("access", self.access.take())?,
                    connections,
                })
            }
            EngineName::Atlas => {
                let project = needed("project", self.project.take())?;
                if project.len() != 24 || !project.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err("project is 24 hexadecimal digits".to_owned());
                }
                Engine::Atlas(AtlasDocument {
                    project,
                    host: host(needed("host", self.host.take())?)?,
                    roles: some("roles", self.roles.take())?,
                    clusters: self.clusters.take().unwrap_or_default(),
                })
            }
            EngineName::Mongodb => Engine::Mongodb(MongoDocument {
                hosts: some("hosts", self.hosts.take())?,
                replica_set: self.replica_set.take(),
                roles: some("roles", self.roles.take())?,
            }),
        };
        let left = [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("dbname", self.dbname.is_some()),
            ("access", self.access.is_some()),
            ("connections", self.connections.is_some()),
            ("project", self.project.is_some()),
            ("roles", self.roles.is_some()),
            ("clusters", self.clusters.is_some()),
            ("hosts", self.hosts.is_some()),
            ("replica_set", self.replica_set.is_some()),
        ];
        match left.into_iter().find(|(_, is_left)| *is_left) {
            Some((key, _)) => Err(format!("{key} is no key of engine {:?}", engine.name())),
            None => Ok(engine),
        }
    }
}

fn needed(key: &str, value: Option<String>) -> std::result::Result<String, String> {
    value
        .filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
        .ok_or_else(|| format!("{key} is missing, or empty"))
}

fn some<T>(key: &str, list: Option<Vec<T>>) -> std::result::Result<Vec<T>, String> {
    list.filter(|list| !list.is_empty()).ok_or_else(|| format!("{key} is missing, or empty"))
}

/// A name as DNS has them: it goes into a URL and into commands.
fn host(text: String) -> std::result::Result<String, String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    if text.bytes().all(fine) && !text.starts_with('-') {
        Ok(text)
    } else {
        Err("host is not the name of a host".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn postgres() -> Value {
        json!({
            "engine": "postgres", "host": "db.example.com", "dbname": "shop", "access": "shop_admin", "max_minutes": 60,
            "admin_secret": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:admin-AbCdEf",
            "bindings": [{"binding": "shop", "group": "00g1"}],
        })
    }

    fn read(document: &Value) -> std::result::Result<Document, String> {
        Document::read("shop".to_owned().try_into().unwrap(), &document.to_string())
    }

    #[test]
    fn a_document_of_each_engine_is_read() {
        let read_whole = |document: &Value| read(document).unwrap_or_else(|why| panic!("{document}: {why}"));
        let document = read_whole(&postgres());
        assert_eq!(document.longest, TimeDelta::hours(1));
        assert!(matches!(&document.engine, Engine::Postgres(p) if p.port == 5432 && p.connections == 5));
        assert!(document.admits("DBA"));
        let secret = postgres()["admin_secret"].clone();
        let opener = postgres()["bindings"].clone();
        read_whole(&json!({
            "engine": "atlas", "project": "0123456789abcdef01234567", "host": "shop.ab1cd.mongodb.net", "max_minutes": 5,
            "admin_secret": secret, "bindings": opener, "roles": ["readWriteAnyDatabase@admin"], "clusters": ["shop"],
        }));
        let narrow = read_whole(&json!({
            "engine": "mongodb", "hosts": ["db1:27017"], "replica_set": "rs0", "max_minutes": 720, "admin_secret": secret,
            "read_only": true, "roles": ["read@shop"], "permission_sets": ["Support"],
        }));
        assert!(narrow.who == Who::Anybody && narrow.admits("Support") && !narrow.admits("DBA"));
    }

    #[test]
    fn the_documents_that_people_copy_are_read() {
        for (name, text, engine) in [
            ("postgres", include_str!("../../../infra/examples/secrets/databases/postgres.json"), "postgres"),
            ("read-only", include_str!("../../../infra/examples/secrets/databases/read-only.json"), "postgres"),
            ("atlas", include_str!("../../../infra/examples/secrets/databases/atlas.json"), "atlas"),
            ("mongodb", include_str!("../../../infra/examples/secrets/databases/mongodb.json"), "mongodb"),
        ] {
            let document = Document::read(name.to_owned().try_into().unwrap(), text);
            let document = document.unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_eq!(document.engine.name(), engine, "{name}");
            assert_eq!(document.who == Who::Anybody, name == "read-only", "{name}");
        }
    }

    #[test]
    fn what_is_not_fully_understood_is_refused_with_the_key() {
        let with = |key: &str, value: Value| {
            let mut document = postgres();
            document[key] = value;
            document
        };
        let without = |key: &str| {
            let mut document = postgres();
            document.as_object_mut().unwrap().remove(key);
            document
        };
        for (document, problem) in [
            (json!([]), "invalid"),
            (with("engine", json!("mysql")), "unknown variant"),
            (with("max_minutes", json!(0)), "max_minutes is 1 to 720"),
            (with("max_minutes", json!(721)), "max_minutes is 1 to 720"),
            (without("max_minutes"), "max_minutes"),
            (without("access"), "access is missing"),
            (with("access", json!("")), "access is missing"),
            (with("host", json!("db.example.com/x")), "host is not"),
            (with("host", json!("-oProxyCommand")), "host is not"),
            (with("bindings", json!([])), "bindings is missing"),
            (with("read_only", json!(true)), "read_only"),
            (with("permission_sets", json!([])), "permission_sets is empty"),
            (with("roles", json!(["root@admin"])), "roles is no key of engine \"postgres\""),
            (with("connections", json!(0)), "connections is 1 to 100"),
            (with("admin_secret", json!("admin")), "admin_secret is not"),
            (with("minutes", json!(5)), "unknown field"),
        ] {
            let told = read(&document).unwrap_err();
            assert!(told.contains(problem), "{document}: {told}");
        }
    }
}
