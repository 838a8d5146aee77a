//! The database systems in which logins are made: PostgreSQL, Atlas, and MongoDB servers of one's own.

pub(crate) mod atlas;
pub(crate) mod mongo;
pub(crate) mod postgres;

use crate::document::{Document, Engine};
use crate::login::{LoginName, Record};
use crate::settings::Settings;
use chrono::{DateTime, Utc};
use keyturn::secrets::Stored;
use keyturn::{Deadline, Error, Result};
use secrecy::SecretString;
use serde::Serialize;

/// The clients of every system.
pub(crate) struct Systems {
    postgres: postgres::Postgres,
    atlas: atlas::Atlas,
    mongo: mongo::Mongo,
}

/// A login to be made.
pub(crate) struct Opening<'o> {
    pub(crate) record: &'o Record,
    pub(crate) password: &'o SecretString,
}

/// A login was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// It can be used at once; else in a moment, when the system has brought it to its servers.
    pub(crate) ready: bool,
}

/// A login was not made, or nobody knows.
#[derive(Clone, Debug)]
pub(crate) struct NotMade {
    pub(crate) error: Error,
    /// There is certainly none.
    pub(crate) is_certain: bool,
}

/// How far closing came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The login and its sessions are gone.
    Gone,
    /// There was no such login.
    Absent,
    /// Nobody can use it and its sessions are gone, but it could not be dropped.
    Disabled(Error),
}

/// A login with power over a database, of whatever origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    pub(crate) login: String,
    /// What it can do, in the system's own words.
    pub(crate) powers: Vec<String>,
    /// The secret whose value it is, where the system's own records say so.
    pub(crate) secret: Option<String>,
    pub(crate) until: Option<DateTime<Utc>>,
}

/// A database, with its admin logged in.
pub(crate) enum Connected<'s> {
    Postgres(postgres::Admin<'s>),
    Atlas(atlas::Project<'s>),
    Mongodb(mongo::Admin<'s>),
}

impl Systems {
    /// Calls nobody yet.
    ///
    /// # Errors
    /// `CONFIGURATION_INVALID`.
    pub(crate) fn new(settings: &Settings, http: &keyturn::http::Client) -> Result<Self> {
        Ok(Self {
            postgres: postgres::Postgres::new(settings),
            atlas: atlas::Atlas::new(settings, http)?,
            mongo: mongo::Mongo::new(settings),
        })
    }

    /// Logs the admin in whose secret this is, and reads what opening and closing depend on.
    ///
    /// # Errors
    /// What the admin's secret, the way to the server and the login can say.
    pub(crate) async fn connect<'s>(
        &'s self,
        document: &'s Document,
        admin: &Stored,
        deadline: Deadline,
    ) -> Result<Connected<'s>> {
        match &document.engine {
            Engine::Postgres(engine) => {
                self.postgres.connect(document, engine, admin, deadline).await.map(Connected::Postgres)
            }
            Engine::Atlas(engine) => self.atlas.connect(document, engine, admin).map(Connected::Atlas),
            Engine::Mongodb(engine) => {
                self.mongo.connect(document, engine, admin, deadline).await.map(Connected::Mongodb)
            }
        }
    }
}

impl Connected<'_> {
    /// Whether a login can be made, and ended again; changes nothing.
    ///
    /// # Errors
    /// What the admin lacks, with the command that grants it; an access with the power to lengthen its own life.
    pub(crate) async fn vet(&self, deadline: Deadline) -> Result<()> {
        match self {
            Self::Postgres(admin) => admin.vet().await,
            Self::Atlas(project) => project.vet(deadline).await,
            Self::Mongodb(admin) => admin.vet(deadline).await,
        }
    }

    /// Makes a login. Once its record is stored this is safe to give up at any point: whatever is there then ends with the record.
    pub(crate) async fn make(&self, opening: &Opening<'_>, deadline: Deadline) -> std::result::Result<Made, NotMade> {
        match self {
            Self::Postgres(admin) => admin.make(opening).await,
            Self::Atlas(project) => project.make(opening, deadline).await,
            Self::Mongodb(admin) => admin.make(opening, deadline).await,
        }
    }

    /// Ends a login's sessions and drops it. Safe to repeat, and to give up at any point.
    ///
    /// # Errors
    /// Its person may still be able to use it.
    pub(crate) async fn close(&self, login: &LoginName, deadline: Deadline) -> Result<Closed> {
        match self {
            Self::Postgres(admin) => admin.close(login).await,
            Self::Atlas(project) => project.close(login, deadline).await,
            Self::Mongodb(admin) => admin.close(login, deadline).await,
        }
    }

    /// The names of all logins that begin like this function's.
    pub(crate) async fn logins(&self, deadline: Deadline) -> Result<Vec<String>> {
        match self {
            Self::Postgres(admin) => admin.logins().await,
            Self::Atlas(project) => project.logins(deadline).await,
            Self::Mongodb(admin) => admin.logins(deadline).await,
        }
    }

    /// Everybody who holds power over the database.
    pub(crate) async fn holders(&self, deadline: Deadline) -> Result<Vec<Holder>> {
        match self {
            Self::Postgres(admin) => admin.holders().await,
            Self::Atlas(project) => project.holders(deadline).await,
            Self::Mongodb(admin) => admin.holders(deadline).await,
        }
    }

    /// Says goodbye, as far as that matters.
    pub(crate) async fn leave(self) {
        match self {
            Self::Postgres(_) => {}
            Self::Atlas(project) => project.leave().await,
            Self::Mongodb(admin) => admin.leave().await,
        }
    }
}
