//! What happened, one function each: the JSON line, and the metrics of a tick.

use crate::NAME;
use crate::binding::Binding;
use crate::codes::Code;
use crate::event::SYNC;
use crate::planner::{Grant, Revoke, Settled};
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::Error;
use keyturn::codes::DeclaredCode as _;
use keyturn::ids::{BindingId, OktaId};
use keyturn::metrics::{self, Metric};
use std::fmt;

/// An event failed as a whole; a tick that did is counted.
pub(crate) fn failed(action: &str, error: &Error) {
    tracing::error!(code = error.code(), action, remedy = error.remedy(), "{}", error.message());
    if action == SYNC {
        metrics::emit(NAME, &[Metric::RunsOk(0)]);
    }
}

pub(crate) fn stranger_among_ledgers(name: &str) {
    tracing::warn!(
        code = Code::LedgerNameUnknown.name(),
        parameter = name,
        "The parameter {name} is below LEDGER_PATH, but is not named like a ledger; it is left alone."
    );
}

/// `why` quotes nothing of the ledger's values.
pub(crate) fn ledger_unreadable(name: &str, why: &str) {
    tracing::error!(
        code = Code::LedgerUnreadable.name(),
        parameter = name,
        why,
        "The ledger {name} cannot be read; an earlier version of it is looked for."
    );
}

pub(crate) fn error(error: &Error) {
    tracing::error!(code = error.code(), remedy = error.remedy(), "{}", error.message());
}

/// Grants of its binding wait, revokes go on.
pub(crate) fn ledger_not_stored(binding: &BindingId, error: &Error) {
    tracing::error!(
        code = error.code(),
        binding = binding.as_str(),
        remedy = error.remedy(),
        "The ledger of binding {binding} was not stored: {}",
        error.message()
    );
}

/// Okta did not list its group rules, or some of them; the rules that were read last count.
pub(crate) fn rules_unreadable(error: &Error) {
    tracing::warn!(
        code = Code::GroupRulesUnreadable.name(),
        remedy = error.remedy(),
        "The org's group rules cannot be read, so a new one that fills a binding's group would not be noticed. {}",
        error.message()
    );
}

/// A document that is refused is something that a person has to mend.
pub(crate) fn document_refused(parameter: &str) {
    let binding = parameter.rsplit('/').next().unwrap_or_default();
    metrics::emit_of_binding(NAME, binding, &[Metric::Unresolved(1)]);
}

/// A credential from before is in use, which the next start of the function does not have.
pub(crate) fn credential_not_used(vendor: &str, problem: &Error) {
    tracing::error!(
        code = problem.code(),
        vendor,
        remedy = problem.remedy(),
        "{vendor}'s secret holds no credential that works; the one from before is in use. {}",
        problem.message()
    );
    metrics::emit_of_binding(NAME, vendor, &[Metric::Unresolved(1)]);
}

/// Part of what a plan needs is unknown.
pub(crate) fn unknown(binding: &BindingId, what: &str, error: &Error) {
    tracing::warn!(
        code = error.code(),
        binding = binding.as_str(),
        unknown = what,
        remedy = error.remedy(),
        "Unknown for binding {binding} ({what}): {}",
        error.message()
    );
}

/// A person should know this, or mend it before it comes true.
pub(crate) fn noticed(binding: &BindingId, code: Code, what: &impl fmt::Display) {
    tracing::warn!(code = code.name(), binding = binding.as_str(), "Binding {binding}: {what}.");
}

pub(crate) fn revoke_asked(binding: &BindingId, user: &OktaId, reason: &str) {
    tracing::info!(
        code = Code::RevokeAsked.name(),
        binding = binding.as_str(),
        user = user.as_str(),
        reason,
        "A revoke of Okta user {user} in binding {binding} was asked for by hand."
    );
}

pub(crate) fn revoke_intended(binding: &Binding, revoke: &Revoke) {
    let Binding { id, group, .. } = binding;
    tracing::info!(
        code = Code::RevokeIntended.name(),
        binding = id.as_str(),
        group = group.as_str(),
        user = revoke.okta.as_str(),
        reason = revoke.reason.as_str(),
        "Okta user {} will be removed from group {group} (binding {id}): {}.",
        revoke.okta,
        revoke.reason
    );
}

pub(crate) fn grant_intended(binding: &Binding, grant: &Grant) {
    let Binding { id, group, .. } = binding;
    let Grant { why, .. } = grant;
    let until = grant.until.map(|end| end.to_rfc3339()).unwrap_or_default();
    tracing::info!(
        code = Code::GrantIntended.name(),
        binding = id.as_str(),
        group = group.as_str(),
        user = grant.okta.as_str(),
        pagerduty_user = grant.person.as_ref().map_or("", |id| id.as_str()),
        until,
        why,
        "Okta user {} will be added to group {group} (binding {id}): {why}.",
        grant.okta
    );
}

/// The group was read and shows a change of this tick, or of an earlier one. `login` is the person's, as far as it is known.
pub(crate) fn settled(binding: &Binding, settled: &Settled, login: &str, now: DateTime<Utc>) {
    let Binding { id, group, .. } = binding;
    match settled {
        Settled::Granted(okta) => tracing::info!(
            code = Code::Granted.name(),
            binding = id.as_str(),
            group = group.as_str(),
            user = okta.as_str(),
            login,
            "Okta user {okta} was added to group {group} (binding {id})."
        ),
        Settled::Revoked(revoke @ Revoke { okta, reason, .. }) => tracing::info!(
            code = Code::Revoked.name(),
            binding = id.as_str(),
            group = group.as_str(),
            user = okta.as_str(),
            login,
            reason = reason.as_str(),
            overstay_s = revoke.overstay(now).num_seconds(),
            "Okta user {okta} was removed from group {group} (binding {id}): {reason}."
        ),
    }
}

/// A change was not made, or the group does not show it yet.
pub(crate) fn unfinished(binding: &Binding, change: &str, user: &OktaId, why: &str) {
    let Binding { id, group, .. } = binding;
    tracing::error!(
        code = Code::ChangeUnfinished.name(),
        binding = id.as_str(),
        group = group.as_str(),
        change,
        user = user.as_str(),
        why,
        "The {change} of Okta user {user} in group {group} (binding {id}) is not finished; the next tick goes on with it."
    );
}

/// What one binding's tick came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) source_age: Option<TimeDelta>,
    pub(crate) members: Option<usize>,
    pub(crate) granted: usize,
    pub(crate) revoked: usize,
    pub(crate) unresolved: usize,
    pub(crate) brake_pulled: bool,
    /// The longest that a person stayed, or still stays, past the end of the grant.
    pub(crate) overstay: Option<TimeDelta>,
}

pub(crate) fn binding_done(binding: &BindingId, tally: &Tally) {
    let seconds = |time: TimeDelta| u64::try_from(time.num_seconds()).unwrap_or_default();
    let mut metrics = vec![
        Metric::Grants(count(tally.granted)),
        Metric::Revokes(count(tally.revoked)),
        Metric::Unresolved(count(tally.unresolved)),
        Metric::BrakePulled(u64::from(tally.brake_pulled)),
    ];
    metrics.extend(tally.source_age.map(|age| Metric::SourceAgeSeconds(seconds(age))));
    metrics.extend(tally.members.map(|members| Metric::Members(count(members))));
    metrics.extend(tally.overstay.map(|time| Metric::OverstaySeconds(seconds(time))));
    metrics::emit_of_binding(NAME, binding.as_str(), &metrics);
}

pub(crate) fn forecast_done(warnings: usize, failed: usize) {
    tracing::info!(code = Code::ForecastDone.name(), warnings, alerts_failed = failed, "A forecast is over.");
    alerts_failed(failed);
}

/// Counts the alerts that a channel has not taken, of an event that is no tick.
pub(crate) fn alerts_failed(failed: usize) {
    metrics::emit(NAME, &[Metric::AlertFailed(count(failed))]);
}

pub(crate) fn tick_done(fine: bool, bad_documents: usize, alerts_failed: usize, duration_ms: u64) {
    tracing::info!(code = Code::TickDone.name(), fine, bad_documents, alerts_failed, duration_ms, "A tick is over.");
    metrics::emit(NAME, &[Metric::RunsOk(u64::from(fine)), Metric::AlertFailed(count(alerts_failed))]);
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
