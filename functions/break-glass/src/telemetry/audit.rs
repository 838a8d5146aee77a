//! What happened, one function each: the JSON line, and the metrics.

use crate::NAME;
use crate::caller::Caller;
use crate::codes::Code;
use crate::document::DatabaseName;
use crate::login::{Record, Why};
use chrono::{DateTime, Utc};
use keyturn::Error;
use keyturn::clock::instant;
use keyturn::codes::DeclaredCode as _;
use keyturn::metrics::{self, Metric};

/// What the schedule or an operator asked failed as a whole; a sweep that did is counted.
pub(crate) fn failed(action: &str, error: &Error) {
    tracing::error!(code = error.code(), action, remedy = error.remedy(), "{}", error.message());
    if action == "sweep" {
        metrics::emit(NAME, &[Metric::RunsOk(0)]);
    }
}

pub(crate) fn error(error: &Error) {
    tracing::error!(code = error.code(), remedy = error.remedy(), "{}", error.message());
}

/// A person was not answered.
pub(crate) fn refused(error: &Error) {
    tracing::warn!(code = error.code(), remedy = error.remedy(), "{}", error.message());
    metrics::emit(NAME, &[Metric::OpenRefused(1)]);
}

pub(crate) fn open_refused(caller: &Caller, database: &DatabaseName, reason: &str, error: &Error) {
    let (person, why) = (caller.person.as_str(), error.code());
    tracing::warn!(
        code = Code::OpenRefused.name(),
        database = database.as_str(),
        person,
        reason,
        why,
        remedy = error.remedy(),
        "{person} was not given a login on {database}: {}",
        error.message()
    );
    metrics::emit_of_binding(NAME, database.as_str(), &[Metric::OpenRefused(1)]);
}

pub(crate) fn opened(record: &Record) {
    let Record { database, login, person, reason, .. } = record;
    let until = instant(record.until);
    tracing::info!(
        code = Code::Opened.name(),
        database = database.as_str(),
        login = login.as_str(),
        person,
        reason,
        until,
        binding = binding(record),
        "{person} has the login {login} on {database} until {until}: {reason}."
    );
    metrics::emit_of_binding(NAME, database.as_str(), &[Metric::LoginsOpened(1)]);
}

pub(crate) fn closed(record: &Record, why: Why, at: DateTime<Utc>) {
    let Record { database, login, person, reason, .. } = record;
    let (reason_of_end, opened_at, until): (&str, _, _) =
        (why.into(), instant(record.opened_at), instant(record.until));
    tracing::info!(
        code = Code::Closed.name(),
        database = database.as_str(),
        login = login.as_str(),
        person,
        reason,
        why = reason_of_end,
        opened_at,
        until,
        closed_at = instant(at),
        binding = binding(record),
        "The login {login} of {person} on {database} is gone: {why}."
    );
    metrics::emit_of_binding(NAME, database.as_str(), &[Metric::LoginsClosed(1)]);
}

/// A login is over and could not be ended.
pub(crate) fn overstays(record: &Record, error: &Error, now: DateTime<Utc>) {
    let Record { database, login, person, .. } = record;
    let seconds = (now - record.due_since.unwrap_or(now)).num_seconds().max(0).unsigned_abs();
    tracing::error!(
        code = Code::LoginOverstays.name(),
        database = database.as_str(),
        login = login.as_str(),
        person,
        overstay_seconds = seconds,
        why = error.code(),
        remedy = error.remedy(),
        "The login {login} of {person} on {database} could not be ended: {}",
        error.message()
    );
    metrics::emit_of_binding(NAME, database.as_str(), &[Metric::OverstaySeconds(seconds)]);
}

fn binding(record: &Record) -> &str {
    record.opener.as_ref().map_or("", |opener| opener.binding.as_str())
}

/// So many alerts were not taken by a channel now.
pub(crate) fn alerts_untaken(untaken: usize) {
    if untaken > 0 {
        metrics::emit(NAME, &[Metric::AlertFailed(count(untaken))]);
    }
}

pub(crate) fn swept(open: usize, closed: usize, unresolved: usize) {
    tracing::info!(code = Code::Swept.name(), open, closed, unresolved, "The sweep is done.");
    metrics::emit(NAME, &[Metric::RunsOk(1), Metric::Unresolved(count(unresolved))]);
}

pub(crate) fn answered(action: &str) {
    tracing::info!(code = Code::Answered.name(), action, "Answered; nothing was changed.");
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
