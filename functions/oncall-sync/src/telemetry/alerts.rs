//! Alerts: which there are, and their words.

use crate::NAME;
use crate::binding::Binding;
use crate::codes::Code;
use crate::planner::{Notice, Warning};
use chrono::{DateTime, Utc};
use keyturn::Error;
use keyturn::alert::{Alert, Severity};
use keyturn::clock::instant;
use keyturn::codes::DeclaredCode as _;
use keyturn::ids::{BindingId, OktaId};
use keyturn::ledger::{Change, Reason};
use std::collections::BTreeSet;

/// Whether the key of a condition is one of these bindings': the keys begin with the binding's id.
pub(crate) fn is_of_any(bindings: &BTreeSet<&BindingId>) -> impl Fn(&str) -> bool {
    let beginnings: Vec<String> = bindings.iter().map(|id| format!("{id}:")).collect();
    move |key| beginnings.iter().any(|beginning| key.starts_with(beginning))
}

/// The alert of a change. A grant is told before it is made, a revoke when it is done.
pub(crate) fn of_change(binding: &Binding, okta: &OktaId, change: &Change, now: DateTime<Utc>) -> Alert {
    let Binding { id, group, group_name, .. } = binding;
    let about = |shift| format!("{id}:{okta}:{}", shift_of(shift));
    match change {
        Change::Granted { why, until } => {
            let end = until.map_or_else(|| "no end".to_owned(), instant);
            let text = format!(
                "Okta user {okta} gets into group {group_name} ({group}), which carries break-glass rights. Why: {why}. Until: {end}."
            );
            let tags = of_group(binding, [("change", "grant".to_owned())]);
            alert(format!("Break-glass granted: {id}"), text, Severity::Error, about(*until), tags, now)
        }
        Change::Revoked { reason, due } => {
            // An error asks a person to look; a shift that ends is the normal course of things.
            let severity = match reason {
                Reason::Stale | Reason::OutOfBand | Reason::Ineligible => Severity::Error,
                Reason::NotActive | Reason::Gap | Reason::Other => Severity::Warning,
                Reason::ShiftEnded | Reason::LeftSchedule | Reason::Overridden | Reason::Manual => Severity::Info,
            };
            let text = format!("Okta user {okta} was removed from group {group_name} ({group}). Why: {reason}.");
            let tags = of_group(binding, [("change", "revoke".to_owned()), ("reason", reason.to_string())]);
            alert(format!("Break-glass revoked: {id} ({reason})"), text, severity, about(*due), tags, now)
        }
        Change::Other(_) => {
            let text =
                format!("A later version of Keyturn made a change of Okta user {okta} that this one does not know.");
            let tags = of_group(binding, []);
            alert(format!("Break-glass changed: {id}"), text, Severity::Error, about(None), tags, now)
        }
    }
}

pub(crate) fn of_notice(binding: &Binding, notice: &Notice, now: DateTime<Utc>) -> Alert {
    let severity = if *notice == Notice::LedgerLost { Severity::Warning } else { Severity::Error };
    let about = match notice.subject() {
        "" => "open".to_owned(),
        subject => format!("{subject}:open"),
    };
    needs_a_look(binding, notice.code(), &notice.to_string(), severity, &about, now)
}

pub(crate) fn of_warning(binding: &Binding, warning: &Warning, now: DateTime<Utc>) -> Alert {
    let about = format!("{}:{}", warning.subject(), shift_of(Some(warning.from)));
    needs_a_look(binding, warning.code(), &warning.to_string(), Severity::Warning, &about, now)
}

fn needs_a_look(
    binding: &Binding,
    code: Code,
    what: &str,
    severity: Severity,
    about: &str,
    now: DateTime<Utc>,
) -> Alert {
    let Binding { id, group, group_name, .. } = binding;
    let (text, code) = (format!("Binding {id}, group {group_name} ({group}): {what}."), code.name());
    let title = format!("Break-glass: {id} needs a look ({code})");
    let tags = of_group(binding, [("code", code.to_owned())]);
    alert(title, text, severity, format!("{id}:{code}:{about}"), tags, now)
}

pub(crate) fn of_error(binding: &str, error: &Error, now: DateTime<Utc>) -> Alert {
    let title = format!("Break-glass: {binding} is not looked after ({})", error.code());
    let tags = [("binding", binding.to_owned()), ("code", error.code().to_owned())];
    alert(title, error.to_string(), Severity::Error, format!("{binding}:{}", error.code()), tags, now)
}

pub(crate) fn of_credential(vendor: &str, problem: &Error, now: DateTime<Utc>) -> Alert {
    let title = format!("Break-glass: {vendor}'s secret holds no credential that works ({})", problem.code());
    let text = format!(
        "The one from before is still in use, and is lost as soon as the function starts anew. {problem} Then invoke {{\"action\":\"doctor\"}}."
    );
    let tags = [("code", problem.code().to_owned())];
    alert(title, text, Severity::Error, format!("{vendor}:{}", problem.code()), tags, now)
}

pub(crate) fn of_doctor(now: DateTime<Utc>) -> Alert {
    let text = "Somebody asked oncall-sync's doctor whether alerts arrive. They do.".to_owned();
    let tags = [("change", "doctor".to_owned())];
    alert("Break-glass: a test of this channel".to_owned(), text, Severity::Info, "doctor".to_owned(), tags, now)
}

/// Datadog groups events by the key: `binding:user:shift` of a change.
fn shift_of(end: Option<DateTime<Utc>>) -> String {
    end.map_or_else(|| "open".to_owned(), |end| end.timestamp().to_string())
}

type Tags = Vec<(&'static str, String)>;

fn of_group<const N: usize>(binding: &Binding, more: [(&'static str, String); N]) -> Tags {
    let mut tags = vec![("binding", binding.id.to_string()), ("group", binding.group.to_string())];
    tags.extend(more);
    tags
}

fn alert(
    title: String,
    text: String,
    severity: Severity,
    key: String,
    tags: impl IntoIterator<Item = (&'static str, String)>,
    at: DateTime<Utc>,
) -> Alert {
    let tags = [("service", NAME.to_owned())].into_iter().chain(tags).collect();
    Alert { title, text, severity, key, tags, at }
}
