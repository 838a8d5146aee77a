//! Who holds power over the databases now, and what each login is tied to.

use crate::login::Record;
use crate::systems::Holder;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt;

/// A database, and who holds power over it.
#[derive(Clone, Debug)]
pub(crate) struct Holders {
    pub(crate) database: String,
    pub(crate) engine: &'static str,
    /// Or why that is not known.
    pub(crate) powers: Result<Vec<Power>, String>,
}

/// A login with power over a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Power {
    pub(crate) login: String,
    pub(crate) powers: Vec<String>,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) tie: Tie,
}

/// What answers for a login. What nothing answers for comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tie {
    Nothing,
    /// A login of this function: the person who opened it.
    Person(String),
    /// The words of the database's document.
    Account(String),
    /// The login of the admin secret of a document of the same server or project.
    AdminSecret(String),
    /// ARN or name of the secret whose value it is.
    Secret(String),
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Person(person) => write!(f, "person {person}"),
            Self::Account(words) => write!(f, "account: {words}"),
            Self::AdminSecret(arn) => write!(f, "admin secret {arn}"),
            Self::Secret(arn) => write!(f, "secret {arn}"),
        }
    }
}

/// What is known of the logins of one database.
pub(crate) struct Known<'k> {
    /// The server or project, as records name it: other documents may be of the same one.
    pub(crate) place: &'k str,
    /// The logins in the admin secrets of the documents of this place, with the secret's ARN; Atlas has none there.
    pub(crate) admins: &'k BTreeMap<String, String>,
    /// The document's words about other logins.
    pub(crate) accounts: &'k BTreeMap<String, String>,
    pub(crate) records: &'k [Record],
}

impl Known<'_> {
    /// Ties each holder to what answers for it.
    pub(crate) fn tied(&self, holders: Vec<Holder>) -> Vec<Power> {
        let mut powers: Vec<Power> = holders.into_iter().map(|holder| self.tie(holder)).collect();
        powers.sort_by(|one, other| (&one.tie, &one.login).cmp(&(&other.tie, &other.login)));
        powers
    }

    fn tie(&self, holder: Holder) -> Power {
        let Holder { login, powers, secret, until } = holder;
        let is_its = |record: &&Record| record.place == self.place && record.login.as_str() == login;
        let tie = if let Some(secret) = secret {
            Tie::Secret(secret)
        } else if let Some(arn) = self.admins.get(&login) {
            Tie::AdminSecret(arn.clone())
        } else if let Some(record) = self.records.iter().find(is_its) {
            Tie::Person(record.person.clone())
        } else if let Some(words) = self.accounts.get(&login) {
            Tie::Account(words.clone())
        } else {
            Tie::Nothing
        };
        Power { login, powers, until, tie }
    }
}
