//! The actions: a person asks for `open`, `close` and `list`, the schedule for `sweep`, operators for `report` and `check`.

mod check;
mod close;
mod open;
pub(crate) mod report;
mod sweep;

use crate::BreakGlass;
use crate::answer::{Answer, Http};
use crate::caller::Caller;
use crate::codes::Code;
use crate::document::{DatabaseName, Document};
use crate::event::{Ask, Operation, Request, UrlEvent};
use crate::login::{Record, State, Why};
use crate::store;
use crate::systems::{Closed, Connected};
use crate::telemetry::{alerts, audit};
use futures_util::stream::{self, StreamExt as _};
use keyturn::alert::Channel;
use keyturn::secrets::{CURRENT, Stored};
use keyturn::{Deadline, Error, Result, defect};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Databases that are visited, and alerts that are sent, at a time.
const AT_ONCE: usize = 8;
/// How long a person is answered for: the function's few places at a time are the sweep's as well.
const PERSON: Duration = Duration::from_secs(25);
/// How long a channel may take: what is to be remembered of it is written after that.
const ALERT: Duration = Duration::from_secs(10);

impl BreakGlass {
    pub(crate) async fn operate(&self, operation: &Operation, deadline: Deadline) -> Result<Answer> {
        match operation {
            Operation::Sweep {} => Box::pin(self.sweep(deadline)).await.map(Answer::Swept),
            Operation::Check {} => Box::pin(self.check(deadline)).await.map(Answer::Checked),
            Operation::Report { since, until } => {
                Box::pin(self.report(*since, *until, deadline)).await.map(Answer::Reported)
            }
        }
    }

    /// Answers a person; a refusal is an answer, too.
    pub(crate) async fn answer_person(&self, event: &Value, arn: &str, deadline: Deadline) -> Answer {
        let deadline = deadline.at_most(PERSON);
        let answered = Box::pin(defect::caught(async {
            let request = UrlEvent::parse(event, arn, &self.settings).inspect_err(audit::refused)?;
            self.answer_request(&request, deadline).await
        }));
        Answer::Http(answered.await.unwrap_or_else(|error| Http::refused(&error)))
    }

    async fn answer_request(&self, request: &Request, deadline: Deadline) -> Result<Http> {
        let Request { caller, ask } = request;
        match ask {
            Ask::Open { database, lasts, reason } => {
                let opened = Box::pin(defect::caught(self.open(caller, database, *lasts, reason, deadline))).await;
                opened.inspect_err(|error| audit::open_refused(caller, database, reason, error))
            }
            Ask::Close { database, login } => {
                let closed = Box::pin(defect::caught(self.close(caller, database, login.as_ref(), deadline))).await;
                closed.inspect_err(audit::refused)
            }
            Ask::List => self.list(caller, deadline).await.inspect_err(audit::refused),
        }
    }

    /// Lists the databases that the caller's permission set may open, the logins that are open there, and all of the caller's own.
    async fn list(&self, caller: &Caller, deadline: Deadline) -> Result<Http> {
        let (documents, records) = tokio::join!(self.store.documents(deadline), self.store.records(deadline));
        let documents = documents?.good;
        let is_shown = |record: &Record| {
            let document = documents.iter().find(|document| document.name == record.database);
            let is_admitted = document.is_some_and(|document| document.admits(&caller.permission_set));
            record.state == State::Open && (is_admitted || caller.is(&record.person))
        };
        let open: Vec<Record> = records?.good.into_iter().filter(is_shown).collect();
        let admitted = documents.iter().filter(|document| document.admits(&caller.permission_set));
        let databases: Vec<&DatabaseName> = admitted.map(|document| &document.name).collect();
        Ok(Http::open(&databases, &open))
    }

    /// The document of a database that the caller may ask for.
    async fn document_for(&self, caller: &Caller, database: &DatabaseName, deadline: Deadline) -> Result<Document> {
        let document = self.store.document(database, deadline).await?;
        if document.admits(&caller.permission_set) { Ok(document) } else { Err(store::unknown(database)) }
    }

    /// The admin's credential.
    async fn admin(&self, document: &Document, deadline: Deadline) -> Result<Stored> {
        let stored = self.secrets.read(&document.admin_secret, CURRENT, None, deadline).await?;
        stored.ok_or_else(|| {
            Error::of(
                Code::AdminSecretUnknown,
                format!(
                    "The admin secret {} of {} does not exist, or has no value.",
                    document.admin_secret, document.name
                ),
            )
        })
    }

    /// Ends a login where it was made.
    ///
    /// # Errors
    /// Its person may still be able to use it.
    async fn end(
        &self,
        connected: &Connected<'_>,
        document: &Document,
        record: &Record,
        deadline: Deadline,
    ) -> Result<Closed> {
        // At another server it is not, which would look as if it were gone.
        if record.place != document.engine.place() {
            return Err(Error::of(
                Code::PlaceChanged,
                format!(
                    "The login {} was made at {}, and the document of {} names {}.",
                    record.login,
                    record.place,
                    document.name,
                    document.engine.place()
                ),
            ));
        }
        Box::pin(connected.close(&record.login, deadline)).await
    }

    /// Logins are gone: says so, and forgets each once every channel has taken the alert.
    ///
    /// Safe to repeat: it is said again then, and the record deleted.
    async fn forget(&self, gone: Vec<(Record, Why)>, deadline: Deadline) {
        let at = self.clock.now();
        // The log does not wait for any channel.
        for (record, why) in &gone {
            audit::closed(record, *why, at);
        }
        let tell = async |(mut record, why): (Record, Why)| {
            let alert = alerts::of_closing(&record, why, at);
            let untold = self.channels.send(&alert, &Channel::all(), deadline.at_most(ALERT)).await;
            audit::alerts_untaken(untold.len());
            record.state = State::Closed { why, at, untold };
            self.forget_told(&record, deadline).await;
        };
        stream::iter(gone).map(tell).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Deletes the record of a closed login, or keeps it for the channels that have not taken its alerts.
    async fn forget_told(&self, record: &Record, deadline: Deadline) {
        let is_told = |untold: &BTreeSet<_>| untold.is_empty() && record.untold.is_empty();
        let stored = match &record.state {
            State::Closed { untold, .. } if is_told(untold) => self.store.delete(record, deadline).await,
            _ => self.store.put(record, deadline).await,
        };
        // The record as it was is still there: the next sweep finds that the login is gone, and comes here again.
        if let Err(error) = stored {
            audit::error(&error);
        }
    }
}
