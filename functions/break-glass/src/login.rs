//! A login of a person: its name, and the record of it in Parameter Store, which is written before the login is made and
//! deleted after it is gone.

use crate::document::{DatabaseName, Document, Opener};
use chrono::{DateTime, Utc};
use keyturn::alert::Channel;
use rand::TryRng as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What the name of each login begins with.
pub(crate) const PREFIX: &str = "bg_";
/// PostgreSQL's limit, in bytes; MongoDB's is higher.
const LONGEST: usize = 63;
/// An underscore, the minute, an underscore and the random part.
const TAIL: usize = 1 + 12 + 1 + RANDOM;
const RANDOM: usize = 6;
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const FORMAT: u32 = 1;

/// `bg_<person>_<yyyymmddhhmm>_<random>`: whoever reads a database's log sees who it is. The random part keeps two openings of
/// a person in one minute apart, and two people whose addresses differ only in what a name cannot hold; nobody can guess a name
/// and make a role of it in advance.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct LoginName(String);

impl LoginName {
    /// A new one.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub(crate) fn new(person: &str, now: DateTime<Utc>) -> Result<Self, rand::rngs::SysError> {
        let mut random = [0; RANDOM];
        rand::rngs::SysRng.try_fill_bytes(&mut random)?;
        let random: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        let plain = |c: char| if is_plain(c) { c } else { '_' };
        let person: String =
            person.to_ascii_lowercase().chars().map(plain).take(LONGEST - PREFIX.len() - TAIL).collect();
        Ok(Self(format!("{PREFIX}{person}_{}_{random}", now.format("%Y%m%d%H%M"))))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-')
}

impl TryFrom<String> for LoginName {
    type Error = String;

    /// Nothing but a name of this form is ever dropped.
    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| {
            let (rest, random) = rest.rsplit_once('_')?;
            let (person, minute) = rest.rsplit_once('_')?;
            let is_minute = minute.len() == 12 && minute.bytes().all(|b| b.is_ascii_digit());
            let is_random = random.len() == RANDOM && random.bytes().all(|b| ALPHABET.contains(&b));
            (is_minute && is_random && !person.is_empty() && person.chars().all(|c| is_plain(c) || c == '_'))
                .then_some(())
        });
        if parts.is_some() && text.len() <= LONGEST {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is no name of a login"))
        }
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is remembered of a login.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Record {
    format: u32,
    pub(crate) database: DatabaseName,
    pub(crate) login: LoginName,
    /// The Okta login.
    pub(crate) person: String,
    pub(crate) reason: String,
    pub(crate) opened_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub(crate) until: DateTime<Utc>,
    /// The server or project where it was made, as the document named it then.
    pub(crate) place: String,
    /// Whose ledger grants it; absent where nobody needs to be on call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) opener: Option<Opener>,
    #[serde(default, skip_serializing_if = "is_open")]
    pub(crate) state: State,
    /// Its opening failed, and nobody knows whether it was made: nobody has its password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) failed: bool,
    /// Its person has asked for its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) closing: bool,
    /// Since when it should be gone, where a sweep could not end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due_since: Option<DateTime<Utc>>,
    /// Channels that have not taken the alert of its opening.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) untold: BTreeSet<Channel>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It may be there.
    #[default]
    Open,
    /// It is gone; the record is kept until these channels have taken the alert.
    Closed { why: Why, at: DateTime<Utc>, untold: BTreeSet<Channel> },
}

fn is_open(state: &State) -> bool {
    *state == State::Open
}

/// Why a login was closed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, strum::Display, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Why {
    /// Its person closed it.
    Closed,
    TimeOver,
    /// The shift is over, or somebody revoked it by hand.
    GrantOver,
    /// The opening failed; whether it was made is not known.
    NotMade,
}

impl Record {
    pub(crate) fn new(
        document: &Document,
        login: LoginName,
        person: &str,
        reason: &str,
        [opened_at, until]: [DateTime<Utc>; 2],
        opener: Option<Opener>,
    ) -> Self {
        Self {
            format: FORMAT,
            database: document.name.clone(),
            login,
            person: person.to_owned(),
            reason: reason.to_owned(),
            opened_at,
            until,
            place: document.engine.place(),
            opener,
            state: State::Open,
            failed: false,
            closing: false,
            due_since: None,
            untold: BTreeSet::new(),
        }
    }

    /// Reads what stands in the parameter `<path>/<database>/<login>`; the name of the parameter has to say the same.
    ///
    /// # Errors
    /// What is wrong with it, in words that quote nothing of it.
    pub(crate) fn parse(text: &str, parameter: &str) -> Result<Self, &'static str> {
        let record: Self = serde_json::from_str(text).map_err(|_| "it has not the form of a record")?;
        let mut names = parameter.rsplit('/');
        let is_its = names.next() == Some(record.login.as_str()) && names.next() == Some(record.database.as_str());
        match (record.format, is_its) {
            (FORMAT, true) => Ok(record),
            (FORMAT, false) => Err("it is about another login"),
            _ => Err("a later version of Keyturn wrote it"),
        }
    }

    /// The name of its parameter.
    pub(crate) fn parameter(&self, path: &str) -> String {
        format!("{path}/{}/{}", self.database, self.login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noon() -> DateTime<Utc> {
        "2026-11-29T12:34:56Z".parse().unwrap()
    }

    #[test]
    fn a_login_is_named_after_its_person() {
        let name = LoginName::new("Ann.O'Neil@corp.example", noon()).unwrap();
        assert!(name.as_str().starts_with("bg_ann.o_neil_corp.example_202611291234_"), "{name}");
        assert_ne!(name, LoginName::new("Ann.O'Neil@corp.example", noon()).unwrap(), "twice in one minute");
    }

    #[test]
    fn only_a_name_of_this_form_is_ever_touched() {
        for text in [
            "postgres",
            "bg_",
            "bg_ann",
            "bg_ann_202611291234",
            "bg_ann_202611291234_abc",
            "bg__202611291234_abcdef",
            "BG_ann_202611291234_abcdef",
            "bg_a\"n_202611291234_abcdef",
            "bg_ann_202611291234_abcde1",
        ] {
            assert!(LoginName::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert!(LoginName::try_from("bg_a_n_202611291234_abcde2".to_owned()).is_ok());
    }

    #[test]
    fn a_record_speaks_of_the_login_that_its_parameter_names() {
        let login = LoginName::new("ann@corp.example", noon()).unwrap();
        let text = serde_json::json!({
            "format": 1, "database": "shop", "login": login, "person": "ann@corp.example", "reason": "INC-42",
            "opened_at": noon(), "until": noon(), "place": "postgres db:5432",
        })
        .to_string();
        let name = format!("/logins/shop/{login}");
        let record = Record::parse(&text, &name).unwrap();
        assert_eq!(
            (record.parameter("/logins"), serde_json::to_string(&record).unwrap().len()),
            (name.clone(), text.len())
        );
        assert_eq!(Record::parse(&text, &name.replace("shop", "store")), Err("it is about another login"));
        assert_eq!(
            Record::parse(&text.replace("\"format\":1", "\"format\":2"), &name),
            Err("a later version of Keyturn wrote it")
        );
        assert!(Record::parse("{}", &name).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_person_is_called_the_name_is_one_that_is_read_again(person in "\\PC{1,80}") {
            let name = LoginName::new(&person, noon()).unwrap();
            prop_assert!(name.as_str().len() <= LONGEST);
            prop_assert_eq!(LoginName::try_from(name.as_str().to_owned()), Ok(name));
        }
    }
}
