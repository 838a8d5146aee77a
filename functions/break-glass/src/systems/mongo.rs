//! MongoDB servers of one's own: a user of `admin` for each login. No server ends a user by itself: the sweep is all there is.

mod rights;

use super::{Closed, Holder, Made, NotMade, Opening};
use crate::codes::Code;
use crate::document::{Document as Config, MongoDocument, MongoRole};
use crate::login::{LoginName, PREFIX};
use crate::settings::Settings;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::join_all;
use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::{self, RETRY_FOR};
use keyturn::secrets::Stored;
use keyturn::{Deadline, Error, Result, admin};
use keyturn_mongo::login::{ADMIN_DATABASE, Connector, Login, Servers, Session, majority};
use keyturn_mongo::{CommandFailure, Role, WRITE_CONCERN_FAILED};
use mongodb::bson::{Bson, Document, doc};
use secrecy::ExposeSecret as _;
use std::collections::BTreeSet;
use std::time::Duration;

/// Said where a session breaks while it is in use.
const BROKEN: &str = "Ask again; a login that is to end is tried again by the next sweep.";
const DEFAULT_PORT: u16 = 27017;
/// The server's codes: no such user; there is one already ("User already exists", and `DuplicateKey` of versions that leave it to
/// the index).
const USER_NOT_FOUND: i32 = 11;
const USER_EXISTS: [i32; 2] = [51_003, 11_000];
/// How long what a login has under way may take to end.
const OPERATIONS_END: Duration = Duration::from_secs(5);
/// How long another member may take for all of that: it may be away.
const ELSEWHERE: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) struct Mongo {
    connector: Connector,
}

/// The admin's session.
pub(crate) struct Admin<'s> {
    connector: &'s Connector,
    document: &'s Config,
    engine: &'s MongoDocument,
    credential: Credential,
    /// ARN of the secret with the credential.
    secret: String,
    session: Session,
}

impl Mongo {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { connector: Connector::new("break-glass", BROKEN, settings.database_ca_file.clone()) }
    }

    pub(super) async fn connect<'s>(
        &'s self,
        document: &'s Config,
        engine: &'s MongoDocument,
        stored: &Stored,
        deadline: Deadline,
    ) -> Result<Admin<'s>> {
        let hosts = engine.hosts.join(",");
        let text = engine.replica_set.as_ref().map_or_else(|| hosts.clone(), |set| format!("{set}/{hosts}"));
        let servers = Servers::own(&text, None, &format!("The document of {}", document.name)).map_err(|error| {
            error.with_remedy(
                "Correct \"hosts\" in the document: host:port of each member. For Atlas, \"engine\" is \"atlas\".",
            )
        })?;
        let what = format!("the admin secret {}", stored.arn);
        let credential = Credential::parse(stored.text.clone(), &what)?;
        if let Some(host) = credential.host() {
            let of_admin = Servers::own(host, credential.port(), &what).map_err(|error| {
                error.with_remedy(
                    "Correct \"host\" in that secret, or leave it out; or correct \"admin_secret\" in the document.",
                )
            })?;
            if !of_admin.hosts().iter().any(|host| servers.hosts().contains(host)) {
                return Err(Error::new(
                    Core::AdminOfAnotherServer,
                    format!("{what} is for {of_admin}, and the document of {} for {servers}.", document.name),
                    "Correct \"hosts\" in the document, or \"admin_secret\".",
                ));
            }
        }
        let login =
            self.connector.log_in(&servers, credential.username(), ADMIN_DATABASE, credential.password(), deadline);
        match login.await? {
            Login::Accepted(session) => {
                let secret = stored.arn.clone();
                Ok(Admin { connector: &self.connector, document, engine, credential, secret, session })
            }
            Login::Refused(why) => Err(admin::password_refused(&stored.arn, &why)),
        }
    }
}

impl Admin<'_> {
    /// Sent once: who gets no answer does not know whether the user is there. Without a list of mechanisms the user gets those
    /// that the server does.
    pub(super) async fn make(&self, opening: &Opening<'_>, deadline: Deadline) -> std::result::Result<Made, NotMade> {
        let Opening { record, password } = opening;
        let command = doc! {
            "createUser": record.login.as_str(),
            "pwd": password.expose_secret(),
            "roles": role_documents(&self.engine.roles),
            "customData": {
                "by": "keyturn break-glass",
                "who": &record.person,
                "why": &record.reason,
                "until": record.until.to_rfc3339_opts(SecondsFormat::Secs, true),
            },
            "writeConcern": majority(),
        };
        match self.session.run(ADMIN_DATABASE, command, "making the login", deadline).await {
            Ok(_) => Ok(Made { ready: true }),
            Err(failed) if failed.server_code().is_some_and(|code| USER_EXISTS.contains(&code)) => {
                let error = Error::of(
                    Code::LoginOfAnother,
                    format!("Somebody else has made the user {} at {}.", record.login, self.session.servers()),
                );
                Err(NotMade { error, is_certain: true })
            }
            Err(failed) => {
                let is_certain = failed.answer.is_some() && !failed.is_transient();
                Err(NotMade { error: failed.into(), is_certain })
            }
        }
    }

    /// Once the user is dropped, every connection that it has open is refused whatever it sends; what it has begun before goes
    /// on, and is ended one by one.
    ///
    /// Safe to repeat: of a user that is gone already, what it has under way is ended all the same.
    pub(super) async fn close(&self, login: &LoginName, deadline: Deadline) -> Result<Closed> {
        // Cursors and transactions that wait for their client. Of a user that is gone it cannot be asked for: those end by themselves,
        // since nobody can go on with them.
        let sessions = doc! { "killAllSessions": [{ "user": login.as_str(), "db": ADMIN_DATABASE }] };
        let _ = self.session.run(ADMIN_DATABASE, sessions, "ending the login's sessions", deadline).await;
        // A drop that no majority has confirmed is no success, and repeated it would look like one.
        let passes =
            |failed: &CommandFailure| failed.is_transient() && failed.server_code() != Some(WRITE_CONCERN_FAILED);
        let drop = doc! { "dropUser": login.as_str(), "writeConcern": majority() };
        let dropped = failure::retry(deadline, RETRY_FOR, passes, async |deadline| {
            self.session.run(ADMIN_DATABASE, drop.clone(), "dropping the login", deadline).await
        });
        let closed = match dropped.await {
            Ok(_) => Closed::Gone,
            Err(failed) if failed.server_code() == Some(USER_NOT_FOUND) => Closed::Absent,
            Err(failed) => return Err(failed.into()),
        };
        let elsewhere = async {
            let others = self.others(deadline).await?;
            let ended = join_all(others.iter().map(|host| self.end_operations_at(host, login, deadline))).await;
            ended.into_iter().collect::<Result<()>>()
        };
        tokio::try_join!(end_operations(&self.session, login, deadline), elsewhere)?;
        Ok(closed)
    }

    /// Where else a login may be logged in: the other members of the replica set, and what the document names besides (a hidden
    /// member, another router).
    async fn others(&self, deadline: Deadline) -> Result<BTreeSet<Address>> {
        let hello = doc! { "hello": 1 };
        let hello = self.session.run(ADMIN_DATABASE, hello, "asking for the members", deadline).await?;
        let members = ["hosts", "passives"].into_iter().flat_map(|list| texts(&hello, list));
        let members = members.filter_map(|host| Address::parse(host, DEFAULT_PORT).ok());
        let mut all: BTreeSet<Address> = members.chain(self.session.servers().hosts().iter().cloned()).collect();
        match hello.get_str("me").ok().and_then(|me| Address::parse(me, DEFAULT_PORT).ok()) {
            Some(me) => _ = all.remove(&me),
            // It is no member of a replica set, and the only one there is.
            None if all.len() == 1 => all.clear(),
            None => {}
        }
        Ok(all)
    }

    /// A member that does not answer is not waited for: it gets the drop when it is back, and then takes nothing from the login.
    /// One that answers has to have heard of the drop: until then it lets the login in.
    async fn end_operations_at(&self, host: &Address, login: &LoginName, deadline: Deadline) -> Result<()> {
        let (server, password) = (Servers::alone(host), self.credential.password());
        let deadline = deadline.at_most(ELSEWHERE);
        let admin =
            self.connector.log_in(&server, self.credential.username(), ADMIN_DATABASE, password, deadline).await;
        let Ok(Login::Accepted(session)) = admin else { return Ok(()) };
        let ended = async {
            follows(&session, login, deadline).await?;
            end_operations(&session, login, deadline).await
        };
        let ended = ended.await;
        session.close().await;
        ended
    }

    pub(super) async fn logins(&self, deadline: Deadline) -> Result<Vec<String>> {
        let holders = self.holders(deadline).await?;
        Ok(holders.into_iter().map(|holder| holder.login).filter(|name| name.starts_with(PREFIX)).collect())
    }

    /// The users of `admin`, where administrators are.
    pub(super) async fn holders(&self, deadline: Deadline) -> Result<Vec<Holder>> {
        let all = doc! { "usersInfo": 1 };
        let answer = self.session.run(ADMIN_DATABASE, all, "listing users", deadline).await?;
        let holder = |user: &Document| {
            let until = user.get_document("customData").and_then(|data| data.get_str("until"));
            Holder {
                login: user.get_str("user").unwrap_or_default().to_owned(),
                powers: documents(user, "roles").map(|role| named(role).to_string()).collect(),
                secret: None,
                until: until.ok().and_then(|until| until.parse::<DateTime<Utc>>().ok()),
            }
        };
        Ok(documents(&answer, "users").map(holder).collect())
    }

    pub(super) async fn leave(self) {
        self.session.close().await;
    }
}

/// Waits until this server, which may follow another one, has not got the login any more.
async fn follows(session: &Session, login: &LoginName, deadline: Deadline) -> Result<()> {
    let question = doc! { "usersInfo": { "user": login.as_str(), "db": ADMIN_DATABASE } };
    loop {
        let answer = session.run(ADMIN_DATABASE, question.clone(), "looking for the login", deadline).await?;
        if documents(&answer, "users").next().is_none() {
            return Ok(());
        }
        if deadline.remaining() < 4 * LOOK_AGAIN {
            return Err(Error::new(
                Code::SessionsRemain,
                format!("{} has not heard yet that {login} is dropped, and lets it in.", session.servers()),
                "Nothing: the next sweep looks again. If it goes on, look how far that member is behind: rs.printSecondaryReplicationInfo()",
            ));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Ends what a login has under way at this server, until there is nothing.
async fn end_operations(session: &Session, login: &LoginName, deadline: Deadline) -> Result<()> {
    let of_login = doc! { "$elemMatch": { "user": login.as_str(), "db": ADMIN_DATABASE } };
    let operations = doc! {
        "aggregate": 1,
        "cursor": {},
        "pipeline": [
            { "$currentOp": { "allUsers": true } },
            { "$match": { "active": true, "effectiveUsers": of_login } },
            { "$project": { "opid": 1 } },
        ],
    };
    let within = deadline.at_most(OPERATIONS_END);
    loop {
        let answer = session.run(ADMIN_DATABASE, operations.clone(), "looking what the login does", deadline).await?;
        let found: Vec<&Bson> = answer
            .get_document("cursor")
            .ok()
            .into_iter()
            .flat_map(|cursor| documents(cursor, "firstBatch"))
            .filter_map(|operation| operation.get("opid"))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        if within.remaining() < LOOK_AGAIN {
            return Err(Error::new(
                Code::SessionsRemain,
                format!("What {login} has under way at {} did not end.", session.servers()),
                "Nothing: the next sweep ends it. If it goes on, look what it waits for: db.currentOp({\"effectiveUsers.user\": /^bg_/})",
            ));
        }
        for operation in found {
            let kill = doc! { "killOp": 1, "op": operation.clone() };
            session.run(ADMIN_DATABASE, kill, "ending what the login does", deadline).await?;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn role_documents(roles: &[MongoRole]) -> Vec<Document> {
    roles.iter().map(|role| doc! { "role": &role.name, "db": &role.database }).collect()
}

fn named(role: &Document) -> Role {
    let text = |key| role.get_str(key).unwrap_or_default().to_owned();
    Role { name: text("role"), database: text("db"), collection: None }
}

fn documents<'a>(document: &'a Document, key: &str) -> impl Iterator<Item = &'a Document> {
    document.get_array(key).ok().into_iter().flatten().filter_map(Bson::as_document)
}

fn texts<'a>(document: &'a Document, key: &str) -> impl Iterator<Item = &'a str> {
    document.get_array(key).ok().into_iter().flatten().filter_map(Bson::as_str)
}
