//! Alerts: which there are, and their words. An opening is told while it is made, a closing when it is done.

use crate::NAME;
use crate::login::{Record, Why};
use chrono::{DateTime, Utc};
use keyturn::Error;
use keyturn::alert::{Alert, Severity};
use keyturn::clock::instant;

pub(crate) fn of_opening(record: &Record, now: DateTime<Utc>) -> Alert {
    let Record { database, login, person, reason, until, .. } = record;
    let on_call =
        record.opener.as_ref().map_or_else(String::new, |opener| format!(" On call by binding {}.", opener.binding));
    let text = format!(
        "{person} gets the login {login} on database {database}. Why: {reason}. Until: {}.{on_call}",
        instant(*until)
    );
    of_login(format!("Database opened: {database} ({person})"), text, Severity::Error, record, "open", now)
}

/// Corrects what [`of_opening`] has said.
pub(crate) fn of_failed_opening(record: &Record, error: &Error, is_certain: bool, now: DateTime<Utc>) -> Alert {
    let Record { database, login, person, .. } = record;
    let what =
        if is_certain { "was not made" } else { "may not have been made; the sweep ends it at its time if it was" };
    let text = format!("The login {login} of {person} on database {database} {what}. {error}");
    of_login(
        format!("Database not opened: {database} ({})", error.code()),
        text,
        Severity::Error,
        record,
        "not_made",
        now,
    )
}

pub(crate) fn of_closing(record: &Record, why: Why, now: DateTime<Utc>) -> Alert {
    let Record { database, login, person, .. } = record;
    // A grant that ends before its time was taken away by somebody: that asks a person to look.
    let severity = if why == Why::GrantOver { Severity::Warning } else { Severity::Info };
    let text = format!("The login {login} of {person} on database {database} is ended. Why: {why}.");
    of_login(format!("Database closed: {database} ({why})"), text, severity, record, "close", now)
}

pub(crate) fn of_problem(about: &str, error: &Error, now: DateTime<Utc>) -> Alert {
    let tags = vec![("service", NAME.to_owned()), ("code", error.code().to_owned())];
    Alert {
        title: format!("Break-glass: {about} needs a look ({})", error.code()),
        text: error.to_string(),
        severity: Severity::Error,
        key: format!("{about}:{}", error.code()),
        tags,
        at: now,
    }
}

fn of_login(
    title: String,
    text: String,
    severity: Severity,
    record: &Record,
    change: &str,
    at: DateTime<Utc>,
) -> Alert {
    let tags =
        vec![("service", NAME.to_owned()), ("database", record.database.to_string()), ("change", change.to_owned())];
    Alert { title, text, severity, key: record.login.to_string(), tags, at }
}
