//! Atlas: a temporary database user for each login. Atlas deletes it by itself at its `deleteAfterDate`, whatever becomes of this
//! function. What is made or deleted is on its way to the clusters for a moment after the answer.

use super::{Closed, Holder, Made, NotMade, Opening};
use crate::codes::Code;
use crate::document::{AtlasDocument, Document, MongoRole, Who};
use crate::login::{LoginName, PREFIX, Record};
use crate::settings::Settings;
use chrono::{DateTime, SecondsFormat, Utc};
use keyturn::codes::Code as Core;
use keyturn::http::{self, Answer, Base, StatusCode};
use keyturn::secrets::Stored;
use keyturn::{Deadline, Error, Result};
use keyturn_mongo::atlas::{self, ADDRESS, ADMIN, Needs, Remedies, USERS, user_path};
use keyturn_mongo::codes::Code as Shared;
use keyturn_mongo::{Role, Scope};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

const REMEDIES: Remedies = Remedies {
    credential: "Store {\"client_id\":\"mdb_sa_id_...\",\"client_secret\":\"mdb_sa_sk_...\"} or {\"public_key\":\"...\",\"private_key\":\"...\"} in the document's \"admin_secret\": aws secretsmanager put-secret-value --secret-id <ARN> --secret-string file://atlas.json",
    quota: "Delete users that nobody needs (atlas dbusers list --projectId <id>), or have MongoDB raise the project's limit (atlas.project.security.databaseAccess.users).",
    failure: "If it is Atlas's fault (5xx), ask again; a login that is to end is tried again by the next sweep.",
};

/// Built-in roles that only read.
const READING: [&str; 2] = ["read", "readAnyDatabase"];
/// No login is called like this.
const NOBODY: &str = "bg_nobody";
/// Atlas takes no longer description, in characters.
const LONGEST_DESCRIPTION: usize = 100;

pub(crate) struct Atlas(atlas::Atlas);

/// A project, with the credential of the document's secret.
pub(crate) struct Project<'s> {
    client: atlas::Project<'s>,
    engine: &'s AtlasDocument,
    is_read_only: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewUser<'a> {
    database_name: &'a str,
    group_id: &'a str,
    username: &'a str,
    password: &'a str,
    roles: Vec<Role>,
    scopes: Vec<Scope>,
    delete_after_date: String,
    description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    username: String,
    #[serde(default)]
    roles: Vec<Role>,
    /// Absent and empty mean the same: every cluster.
    #[serde(default)]
    scopes: Vec<Scope>,
    delete_after_date: Option<DateTime<Utc>>,
}

impl Atlas {
    pub(crate) fn new(settings: &Settings, http: &http::Client) -> Result<Self> {
        let base = settings.atlas_api.clone().map_or_else(|| Base::parse(ADDRESS), Ok);
        let base = base.map_err(|why| Error::of(Core::ConfigurationInvalid, format!("{ADDRESS}: {why}.")))?;
        Ok(Self(atlas::Atlas::new(base, http, &REMEDIES)))
    }

    /// Calls nobody yet.
    pub(super) fn connect<'s>(
        &'s self,
        document: &Document,
        engine: &'s AtlasDocument,
        admin: &Stored,
    ) -> Result<Project<'s>> {
        let is_read_only = document.who == Who::Anybody;
        Ok(Project { client: self.0.project(&admin.text, &engine.project)?, engine, is_read_only })
    }
}

impl Project<'_> {
    /// Atlas judges the credential's roles before it looks who is to be changed, and whoever may change a user may make and
    /// delete one. No role of a database user reaches users: those are changed by the Admin API alone.
    ///
    /// # Errors
    /// The `ATLAS_*` codes; so for every call here.
    pub(super) async fn vet(&self, deadline: Deadline) -> Result<()> {
        let writes = self.engine.roles.iter().find(|role| !READING.contains(&role.name.as_str()));
        if self.is_read_only
            && let Some(MongoRole { name, database }) = writes
        {
            return Err(Error::new(
                Code::AccessTooPowerful,
                format!("The document is \"read_only\", and nothing says that {name}@{database} only reads."),
                format!("Take one of {} for it.", READING.join(", ")),
            ));
        }
        let call = self.client.patch(&user_path(ADMIN, NOBODY)?, USERS, &json!({}))?;
        let answer = self.client.send(&call, deadline).await?;
        match answer.status {
            status if status.is_success() || status == StatusCode::BAD_REQUEST => Ok(()),
            _ if is_missing(&answer) => Ok(()),
            _ => Err(call.unexpected(&answer)),
        }
    }

    /// A POST is sent once: who gets no answer does not know whether the user is there.
    pub(super) async fn make(&self, opening: &Opening<'_>, deadline: Deadline) -> std::result::Result<Made, NotMade> {
        let Opening { record, password } = opening;
        let certainly = |error| NotMade { error, is_certain: true };
        let user = NewUser {
            database_name: ADMIN,
            group_id: self.client.id(),
            username: record.login.as_str(),
            password: password.expose_secret(),
            roles: self.engine.roles.iter().map(role).collect(),
            scopes: self
                .engine
                .clusters
                .iter()
                .map(|name| Scope { name: name.clone(), kind: "CLUSTER".to_owned() })
                .collect(),
            delete_after_date: record.until.to_rfc3339_opts(SecondsFormat::Secs, true),
            description: description(record),
        };
        let call = self.client.post("/databaseUsers", USERS, &user).map_err(certainly)?.hiding(password);
        match self.client.send(&call, deadline).await {
            Ok(answer) if answer.status.is_success() => Ok(Made { ready: false }),
            Ok(answer) if answer.status == StatusCode::CONFLICT && !atlas::code(&answer).is_empty() => {
                Err(certainly(Error::of(
                    Code::LoginOfAnother,
                    format!("Somebody else has made the user {} {}.", record.login, self.client.whereabouts()),
                )))
            }
            Ok(answer) => Err(NotMade { error: call.unexpected(&answer), is_certain: answer.status.is_client_error() }),
            Err(error) => {
                let is_certain = !error.is(Shared::AtlasUnreachable) && !error.is(Shared::AtlasAnswerStrange);
                Err(NotMade { error, is_certain })
            }
        }
    }

    /// Safe to repeat. The clusters end the user's sessions when they hear of it.
    pub(super) async fn close(&self, login: &LoginName, deadline: Deadline) -> Result<Closed> {
        let call = self.client.delete(&user_path(ADMIN, login.as_str())?, USERS)?;
        let answer = self.client.send(&call, deadline).await?;
        match answer.status {
            status if status.is_success() => Ok(Closed::Gone),
            _ if is_missing(&answer) => Ok(Closed::Absent),
            _ => Err(call.unexpected(&answer)),
        }
    }

    pub(super) async fn logins(&self, deadline: Deadline) -> Result<Vec<String>> {
        let users = self.users(deadline).await?;
        Ok(users.into_iter().map(|user| user.username).filter(|name| name.starts_with(PREFIX)).collect())
    }

    pub(super) async fn holders(&self, deadline: Deadline) -> Result<Vec<Holder>> {
        let holder = |User { username, roles, scopes, delete_after_date }: User| {
            let mut powers: Vec<String> = roles.iter().map(Role::to_string).collect();
            if !scopes.is_empty() {
                let names: Vec<&str> = scopes.iter().map(|scope| scope.name.as_str()).collect();
                powers.push(format!("only on {}", names.join(", ")));
            }
            Holder { login: username, powers, secret: None, until: delete_after_date }
        };
        Ok(self.users(deadline).await?.into_iter().map(holder).collect())
    }

    async fn users(&self, deadline: Deadline) -> Result<Vec<User>> {
        self.client.pages("/databaseUsers", USERS, Needs::Users, deadline).await
    }

    /// Gives the access token back.
    pub(super) async fn leave(self) {
        self.client.leave().await;
    }
}

fn role(MongoRole { name, database }: &MongoRole) -> Role {
    Role { name: name.clone(), database: database.clone(), collection: None }
}

fn description(Record { person, reason, .. }: &Record) -> String {
    format!("Keyturn break-glass: {person}, {reason}").chars().take(LONGEST_DESCRIPTION).collect()
}

fn is_missing(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND && atlas::code(answer) == "USERNAME_NOT_FOUND"
}
