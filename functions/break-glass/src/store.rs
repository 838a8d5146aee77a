//! What lies in Parameter Store: the documents of databases, `oncall-sync`'s ledgers, and the records of logins.

use crate::codes::Code;
use crate::document::{DatabaseName, Document, Opener};
use crate::login::Record;
use crate::settings::Settings;
use keyturn::parameters::{Kind, Parameter, Parameters};
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Store {
    parameters: Parameters,
    config_path: String,
    state_path: String,
    ledger_path: String,
}

/// Ledgers by the name of their parameter.
pub(crate) struct Ledgers {
    path: String,
    read: BTreeMap<String, Result<Option<Parameter>>>,
}

impl Ledgers {
    /// The ledger of an opener, if there is one; or why nobody knows.
    pub(crate) fn of(&self, opener: &Opener) -> std::result::Result<Option<&Parameter>, &'static str> {
        match self.read.get(&opener.ledger(&self.path)) {
            // SecureStrings are not decrypted: `oncall-sync` writes none.
            Some(Ok(Some(ledger))) if ledger.kind == Kind::Text => Ok(Some(ledger)),
            Some(Err(_)) => Err("Parameter Store did not give it"),
            _ => Ok(None),
        }
    }

    /// What Parameter Store did not give, with the reason.
    pub(crate) fn unread(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.read.iter().filter_map(|(name, read)| Some((name.as_str(), read.as_ref().err()?)))
    }
}

/// Everything that was found at a path: what can be used, and what is wrong with the rest, by the name of its parameter.
pub(crate) struct Found<T> {
    pub(crate) good: Vec<T>,
    pub(crate) bad: BTreeMap<String, Error>,
}

impl Store {
    pub(crate) fn new(parameters: Parameters, settings: &Settings) -> Self {
        let Settings { config_path, state_path, ledger_path, .. } = settings.clone();
        Self { parameters, config_path, state_path, ledger_path }
    }

    /// # Errors
    /// `DATABASE_UNKNOWN`, `DOCUMENT_INVALID`, and the `AWS_*` codes; so for every call here.
    pub(crate) async fn document(&self, database: &DatabaseName, deadline: Deadline) -> Result<Document> {
        let name = format!("{}/{database}", self.config_path);
        let parameter = self.parameters.get(&name, deadline).await?;
        let parameter = parameter.ok_or_else(|| unknown(database))?;
        document(&parameter)
    }

    pub(crate) async fn documents(&self, deadline: Deadline) -> Result<Found<Document>> {
        let parameters = self.parameters.below(&self.config_path, deadline).await?;
        Ok(sorted(parameters, document))
    }

    /// The ledgers of these openers. One that cannot be read stops no other.
    pub(crate) async fn ledgers<'o>(&self, openers: impl Iterator<Item = &'o Opener>, deadline: Deadline) -> Ledgers {
        let names: BTreeSet<String> = openers.map(|opener| opener.ledger(&self.ledger_path)).collect();
        Ledgers { path: self.ledger_path.clone(), read: self.parameters.get_many(names, deadline).await }
    }

    /// The records of a database's logins.
    pub(crate) async fn records_of(&self, database: &DatabaseName, deadline: Deadline) -> Result<Found<Record>> {
        let parameters = self.parameters.below(&format!("{}/{database}", self.state_path), deadline).await?;
        Ok(sorted(parameters, record))
    }

    /// The records of all logins.
    pub(crate) async fn records(&self, deadline: Deadline) -> Result<Found<Record>> {
        let parameters = self.parameters.anywhere_below(&self.state_path, deadline).await?;
        Ok(sorted(parameters, record))
    }

    /// Safe to repeat: the same record again.
    pub(crate) async fn put(&self, record: &Record, deadline: Deadline) -> Result<()> {
        let text = serde_json::to_string(record).map_err(|error| {
            Error::of(Code::RecordUnreadable, format!("The record of {} cannot be written: {error}.", record.login))
        })?;
        self.parameters.put(&record.parameter(&self.state_path), &text, deadline).await?;
        Ok(())
    }

    /// Safe to repeat.
    pub(crate) async fn delete(&self, record: &Record, deadline: Deadline) -> Result<()> {
        self.parameters.delete(&record.parameter(&self.state_path), deadline).await
    }
}

fn document(parameter: &Parameter) -> Result<Document> {
    let last = parameter.name.rsplit('/').next().unwrap_or_default().to_owned();
    let name = DatabaseName::try_from(last).map_err(|why| {
        Error::of(
            Code::DocumentInvalid,
            format!("The name of the parameter {} is no database's: {why}.", parameter.name),
        )
    })?;
    Document::parse(name, &parameter.name, &parameter.value)
}

fn record(parameter: &Parameter) -> Result<Record> {
    Record::parse(&parameter.value, &parameter.name).map_err(|why| {
        Error::of(Code::RecordUnreadable, format!("The record {} cannot be read: {why}.", parameter.name))
    })
}

fn sorted<T>(parameters: Vec<Parameter>, read: impl Fn(&Parameter) -> Result<T>) -> Found<T> {
    let mut found = Found { good: Vec::new(), bad: BTreeMap::new() };
    for parameter in parameters {
        match read(&parameter) {
            Ok(one) => found.good.push(one),
            Err(error) => {
                found.bad.insert(parameter.name, error);
            }
        }
    }
    found
}

/// The same words whether there is none or the caller may not open it.
pub(crate) fn unknown(database: &DatabaseName) -> Error {
    Error::of(Code::DatabaseUnknown, format!("There is no database {database} that this permission set may open."))
}
