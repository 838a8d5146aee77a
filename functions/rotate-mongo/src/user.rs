//! A database user as the system that keeps it describes it: everything that decides what the user may do, no password.

use keyturn::{Deadline, Error, Result};
use keyturn_mongo::{Role, Scope};
use mongodb::bson::Document;
use secrecy::SecretString;
use std::collections::BTreeSet;

/// A database user.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct User {
    pub(crate) name: String,
    /// The authentication database.
    pub(crate) database: String,
    pub(crate) roles: BTreeSet<Role>,
    /// Atlas: empty means everything in the project. Servers know no scopes.
    pub(crate) scopes: BTreeSet<Scope>,
    /// Servers: the SCRAM mechanisms the user has; `None` where the server does not say (DocumentDB, Atlas).
    pub(crate) mechanisms: Option<Vec<String>>,
    /// Servers: `authenticationRestrictions`, as they were read.
    pub(crate) restrictions: Vec<Document>,
    /// Why there is no password to change, in words: `awsIAMType is USER`.
    pub(crate) passwordless: Option<String>,
    /// Atlas: when the user is deleted by itself.
    pub(crate) ends: Option<String>,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is said to be in effect everywhere. Right after a change that may not be true yet.
    Applied,
    /// It is still under way somewhere.
    Pending,
    /// Nobody tells; only a login can.
    Unknown,
}

/// How setting a password ended.
#[derive(Clone, Debug)]
pub(crate) enum Set {
    Confirmed,
    /// No answer came: it may have taken effect, or may still.
    Unanswered(Error),
    /// It is in effect on the primary of a replica set, and no majority of the set has it.
    WithoutMajority(Error),
}

/// How making a user ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Made,
    /// A user of this name is there already: somebody else was first, or a reply was lost.
    Taken,
}

/// Where users are kept and changed: a project at Atlas, or a server of one's own.
pub(crate) trait Directory {
    /// The user of this name; `None` if there is none.
    async fn user(&self, name: &str, deadline: Deadline) -> Result<Option<User>>;

    /// Makes sure that a change can be confirmed: once it has taken effect, it is too late to find out.
    async fn is_ready(&self, deadline: Deadline) -> Result<()>;

    /// Gives the user this password, and changes nothing else about it. Safe to repeat. An error: it has not been changed.
    async fn set_password(&self, user: &User, password: &SecretString, deadline: Deadline) -> Result<Set>;

    /// Makes a user with all that decides what `model` may do.
    async fn create(&self, name: &str, model: &User, password: &SecretString, deadline: Deadline) -> Result<Created>;

    /// Gives the user what decides what `model` may do, in place of what it has. Safe to repeat.
    async fn set_rights(&self, user: &User, model: &User, deadline: Deadline) -> Result<()>;

    /// Makes sure that one more user fits in.
    async fn has_room(&self, deadline: Deadline) -> Result<()>;

    /// Whether a password that is accepted while changes are this far stays so: none is on its way that could replace it, and
    /// it cannot be lost again.
    fn is_lasting(&self, progress: Progress) -> bool;

    /// How far changes have come.
    async fn progress(&self, deadline: Deadline) -> Progress;

    /// Where a person looks the user up, in words.
    fn whereabouts(&self) -> String;
}
