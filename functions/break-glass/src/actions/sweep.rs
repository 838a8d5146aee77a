//! The sweep, every minute: ends each login whose time or grant is over, with its sessions.

use super::{ALERT, AT_ONCE};
use crate::BreakGlass;
use crate::answer::Swept;
use crate::codes::Code;
use crate::document::{DatabaseName, Document};
use crate::grant::Standing;
use crate::login::{LoginName, Record, State, Why};
use crate::store::{Found, Ledgers};
use crate::systems::{Closed, Connected};
use crate::telemetry::{alerts, audit};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longer than any invocation: after it, a login that is not there will not come any more.
const OPENING: TimeDelta = TimeDelta::minutes(2);
/// How often every database is looked at for logins without a record; one with a login to end is looked at in any case.
const STRAYS: TimeDelta = TimeDelta::minutes(15);
/// How long one database may take.
const VISIT: Duration = Duration::from_secs(20);

/// The result of a visit to one database.
#[derive(Default)]
struct Visited {
    closed: Vec<(Record, Why)>,
    /// May still be used, and why.
    overstaying: Vec<(Record, Error)>,
    /// Logins without a record, where it was looked for them.
    strays: Option<(DatabaseName, BTreeMap<String, Error>)>,
    /// Errors that a person has to look at, by login or database.
    problems: BTreeMap<String, Error>,
}

impl BreakGlass {
    /// # Errors
    /// Only where Parameter Store cannot be read; what fails at one database is logged and counted.
    pub(crate) async fn sweep(&self, deadline: Deadline) -> Result<Swept> {
        let now = self.clock.now();
        let (documents, records) = tokio::join!(self.store.documents(deadline), self.store.records(deadline));
        let (documents, Found { good: records, bad }) = (documents?, records?);
        let openers = records.iter().filter_map(|record| record.opener.as_ref());
        let ledgers = self.store.ledgers(openers, deadline).await;
        let mut problems: BTreeMap<String, Error> = documents.bad.into_iter().chain(bad).collect();
        problems.extend(ledgers.unread().map(|(name, error)| (name.to_owned(), error.clone())));
        let open = records.iter().filter(|record| record.state == State::Open).count();

        let (mut due, mut to_tell) = (BTreeMap::<DatabaseName, Vec<(Record, Why)>>::new(), Vec::new());
        for record in &records {
            match (&record.state, over(record, &ledgers, now)) {
                (State::Open, Some(why)) => due.entry(record.database.clone()).or_default().push((record.clone(), why)),
                (State::Open, None) if record.untold.is_empty() => {}
                _ => to_tell.push(record),
            }
        }
        let looks_for_strays = self.strays_looked_for.get().is_none_or(|last| now - last >= STRAYS);
        if looks_for_strays {
            self.strays_looked_for.set(Some(now));
        }
        let known: BTreeSet<&str> = records.iter().map(|record| record.login.as_str()).collect();
        let mut visits = Vec::new();
        for document in &documents.good {
            let mut due = due.remove(&document.name).unwrap_or_default();
            due.sort_by_key(|(record, _)| urgency(record));
            if looks_for_strays || !due.is_empty() {
                visits.push((document, due));
            }
        }
        // Should the time not be enough for all.
        visits
            .sort_by_key(|(_, due)| due.first().map_or((true, DateTime::<Utc>::MAX_UTC), |(first, _)| urgency(first)));
        let visit = async |(document, due): (&Document, Vec<(Record, Why)>)| {
            Box::pin(self.visit(document, due, &known, deadline.at_most(VISIT))).await
        };
        let mut visited: Vec<Visited> = stream::iter(visits).map(visit).buffer_unordered(AT_ONCE).collect().await;
        for (database, due) in due {
            visited.push(without_document(&database, due));
        }

        let (mut gone, mut overstaying) = (Vec::new(), Vec::new());
        let mut strays = self.strays.take();
        strays.retain(|database, _| documents.good.iter().any(|document| document.name == *database));
        for Visited { closed, overstaying: staying, strays: of_database, problems: found } in visited {
            gone.extend(closed);
            strays.extend(of_database);
            for (mut record, error) in staying {
                if record.due_since.is_none() {
                    record.due_since = Some(record.until.min(now));
                    self.store.put(&record, deadline).await.unwrap_or_else(|error| audit::error(&error));
                }
                audit::overstays(&record, &error, now);
                problems.insert(record.login.to_string(), error);
                overstaying.push(record.login);
            }
            problems.extend(found);
        }
        // Until somebody has looked again they are still there.
        problems.extend(strays.values().flatten().map(|(login, error)| (login.clone(), error.clone())));
        self.strays.replace(strays);
        let closed: Vec<LoginName> = gone.iter().map(|(record, _)| record.login.clone()).collect();
        self.forget(gone, deadline).await;
        for record in to_tell {
            self.tell_again(record, deadline).await;
        }
        let unresolved = self.tell(&problems, now, deadline).await;
        audit::swept(open, closed.len(), unresolved);
        Ok(Swept { open: open - closed.len(), closed, overstaying, unresolved })
    }

    /// Ends what is over in one database, and looks for logins that nobody knows.
    async fn visit(
        &self,
        document: &Document,
        due: Vec<(Record, Why)>,
        known: &BTreeSet<&str>,
        deadline: Deadline,
    ) -> Visited {
        let mut visited = Visited::default();
        let connected = async {
            let admin = self.admin(document, deadline).await?;
            Box::pin(self.systems.connect(document, &admin, deadline)).await
        };
        let connected = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                visited.overstaying = due.into_iter().map(|(record, _)| (record, error.clone())).collect();
                visited.problems.insert(document.name.to_string(), error);
                return visited;
            }
        };
        for (record, why) in due {
            match self.end(&connected, document, &record, deadline).await {
                // Its opening may still be under way.
                Ok(Closed::Absent) if self.may_still_come(&record) => {}
                Ok(Closed::Gone | Closed::Absent) => visited.closed.push((record, why)),
                Ok(Closed::Disabled(error)) => {
                    visited.problems.insert(record.login.to_string(), error);
                }
                Err(error) => visited.overstaying.push((record, error)),
            }
        }
        match self.strays(&connected, known, deadline).await {
            Ok(strays) => {
                let strays = strays.into_iter().map(|login| (login.clone(), stray(document, &login)));
                visited.strays = Some((document.name.clone(), strays.collect()));
            }
            Err(error) => {
                visited.problems.insert(format!("{}: logins", document.name), error);
            }
        }
        connected.leave().await;
        visited
    }

    async fn strays(
        &self,
        connected: &Connected<'_>,
        known: &BTreeSet<&str>,
        deadline: Deadline,
    ) -> Result<Vec<String>> {
        let logins = Box::pin(connected.logins(deadline)).await?;
        let mut strays: Vec<String> = logins.into_iter().filter(|login| !known.contains(login.as_str())).collect();
        if !strays.is_empty() {
            // They may have been opened since the records were read, under any of the documents that name this server.
            let records = self.store.records(deadline).await?.good;
            strays.retain(|login| records.iter().all(|record| record.login.as_str() != login));
        }
        Ok(strays)
    }

    /// Whether the login may still be made by an opening that is under way.
    pub(super) fn may_still_come(&self, record: &Record) -> bool {
        self.clock.now() - record.opened_at < OPENING
    }

    /// Sends again what a channel has not taken.
    async fn tell_again(&self, record: &Record, deadline: Deadline) {
        let mut record = record.clone();
        let now = self.clock.now();
        if !record.untold.is_empty() {
            record.untold = self
                .channels
                .send(&alerts::of_opening(&record, record.opened_at), &record.untold, deadline.at_most(ALERT))
                .await;
        }
        if let State::Closed { why, at, untold } = record.state.clone() {
            let untold =
                self.channels.send(&alerts::of_closing(&record, why, at), &untold, deadline.at_most(ALERT)).await;
            // A channel that is gone for good must not keep records for ever.
            let untold = if now - at > TimeDelta::days(1) { BTreeSet::new() } else { untold };
            if untold.is_empty() {
                record.untold.clear();
            }
            record.state = State::Closed { why, at, untold };
        }
        self.forget_told(&record, deadline).await;
    }

    /// Logs and alerts what a person has to look at; says how much it is.
    async fn tell(&self, problems: &BTreeMap<String, Error>, now: DateTime<Utc>, deadline: Deadline) -> usize {
        let alert = |(about, error): (&String, &Error)| {
            audit::error(error);
            (format!("{about}:{}", error.code()), alerts::of_problem(about, error, now))
        };
        let alerts = problems.iter().map(alert).collect();
        let untaken = self.channels.tell(&alerts, &self.conditions, |_| false, deadline).await;
        audit::alerts_untaken(untaken);
        problems.len()
    }
}

/// The sort key of logins that are to be ended. Those that no sweep has failed to end come first, since the others may take
/// their whole time again; among them, the one that ended earliest.
fn urgency(record: &Record) -> (bool, DateTime<Utc>) {
    (record.due_since.is_some(), record.until)
}

/// Why a login is over, if it is. While nobody knows whether its person is on call, its own end counts alone.
fn over(record: &Record, ledgers: &Ledgers, now: DateTime<Utc>) -> Option<Why> {
    if record.failed {
        return Some(Why::NotMade);
    }
    if record.closing {
        return Some(Why::Closed);
    }
    if record.until <= now {
        return Some(Why::TimeOver);
    }
    let opener = record.opener.as_ref()?;
    match Standing::of(opener, ledgers.of(opener), &record.person, now) {
        Standing::Granted { .. } | Standing::Unknown(_) => None,
        Standing::Held | Standing::Over | Standing::Stranger => Some(Why::GrantOver),
    }
}

fn without_document(database: &DatabaseName, due: Vec<(Record, Why)>) -> Visited {
    let error = Error::new(
        Code::DocumentInvalid,
        format!("Logins of {database} are over, and its document is gone or refused, so that they cannot be ended."),
        "Put the document back; once the logins are closed it can go.",
    );
    let overstaying = due.into_iter().map(|(record, _)| (record, error.clone())).collect();
    Visited { overstaying, ..Visited::default() }
}

fn stray(document: &Document, login: &str) -> Error {
    Error::of(
        Code::StrayLogin,
        format!(
            "The login {login:?} in {} begins like this function's, and has no record: this function did not make it, or the record was deleted.",
            document.name
        ),
    )
}
