//! What happened, one function each: the JSON line, and the metrics of a tick.

use crate::NAME;
use crate::ids::{BindingId, OktaId};
use crate::look::View;
use crate::planner::{Grant, Notice, Revoke};
use chrono::TimeDelta;
use keyturn::Error;
use keyturn::metrics::{self, Metric};

/// The function's settings are wrong: every event will be answered with this.
pub(crate) fn settings_refused(error: &Error) {
    keyturn::audit::settings_refused(error);
}

/// An event, or a whole tick, failed.
pub(crate) fn failed(action: &str, error: &Error) {
    tracing::error!(code = error.code(), action, remedy = error.remedy(), "{}", error.message());
}

/// A parameter among the ledgers is none.
pub(crate) fn stranger_among_ledgers(name: &str) {
    tracing::warn!(
        code = "LEDGER_NAME_UNKNOWN",
        parameter = name,
        "A parameter below LEDGER_PATH is not named like a ledger; it is left alone."
    );
}

/// A ledger cannot be read; it counts as lost.
pub(crate) fn ledger_unreadable(name: &str) {
    tracing::error!(
        code = "LEDGER_UNREADABLE",
        parameter = name,
        "A ledger cannot be read. It counts as lost and will be begun anew."
    );
}

/// A ledger could not be stored: grants of its binding wait, revokes go on.
pub(crate) fn ledger_not_stored(binding: &BindingId, error: &Error) {
    tracing::error!(
        code = error.code(),
        binding = binding.as_str(),
        remedy = error.remedy(),
        "The ledger was not stored: {}",
        error.message()
    );
}

/// A credential could not be read again; the one from before is used.
pub(crate) fn credential_is_old(secret_id: &str, error: &Error) {
    tracing::warn!(
        code = error.code(),
        secret_id,
        remedy = error.remedy(),
        "A credential was not read again, so the one from before is used. {}",
        error.message()
    );
}

/// Nobody can tell whether a rule fills a group.
pub(crate) fn rules_unreadable(error: &Error) {
    tracing::warn!(
        code = "GROUP_RULES_UNREADABLE",
        remedy = error.remedy(),
        "The org's group rules cannot be read, so a rule that fills a binding's group would not be noticed. {}",
        error.message()
    );
}

/// A binding's document cannot be followed.
pub(crate) fn binding_refused(error: &Error) {
    tracing::error!(code = error.code(), remedy = error.remedy(), "{}", error.message());
}

/// Part of what a plan needs is unknown.
pub(crate) fn unknown(binding: &BindingId, what: &str, error: &Error) {
    tracing::warn!(
        code = error.code(),
        binding = binding.as_str(),
        unknown = what,
        remedy = error.remedy(),
        "Unknown: {}",
        error.message()
    );
}

/// A person should know this.
pub(crate) fn noticed(binding: &BindingId, notice: &Notice) {
    tracing::warn!(code = notice.code(), binding = binding.as_str(), "{notice}");
}

/// Somebody is about to leave.
pub(crate) fn revoke_intended(view: &View, revoke: &Revoke) {
    tracing::info!(
        code = "REVOKE_INTENDED",
        binding = view.binding.id.as_str(),
        group = view.binding.group.as_str(),
        user = revoke.okta.as_str(),
        reason = revoke.reason.as_str(),
        "Somebody will be taken out of the group."
    );
}

/// Somebody is about to come in.
pub(crate) fn grant_intended(view: &View, grant: &Grant, why: &str) {
    let until = grant.shift_end.map(|end| end.to_rfc3339()).unwrap_or_default();
    tracing::info!(
        code = "GRANT_INTENDED",
        binding = view.binding.id.as_str(),
        group = view.binding.group.as_str(),
        user = grant.okta.as_str(),
        pagerduty_user = grant.pagerduty.as_ref().map_or("", |id| id.as_str()),
        until,
        why,
        "Somebody will be put into the group."
    );
}

/// Somebody has left for certain.
pub(crate) fn revoked(view: &View, revoke: &Revoke, overstay: Option<TimeDelta>) {
    let overstay_s = overstay.map_or(0, |time| time.num_seconds().max(0));
    tracing::info!(
        code = "REVOKED",
        binding = view.binding.id.as_str(),
        group = view.binding.group.as_str(),
        user = revoke.okta.as_str(),
        reason = revoke.reason.as_str(),
        overstay_s,
        "Somebody is out of the group."
    );
}

/// Somebody has come in for certain.
pub(crate) fn granted(view: &View, grant: &Grant) {
    tracing::info!(
        code = "GRANTED",
        binding = view.binding.id.as_str(),
        group = view.binding.group.as_str(),
        user = grant.okta.as_str(),
        "Somebody is in the group."
    );
}

/// A change was not made, or could not be seen to be; the next tick goes on with it.
pub(crate) fn unfinished(view: &View, what: &str, user: &OktaId, why: &str) {
    tracing::error!(
        code = "CHANGE_UNFINISHED",
        binding = view.binding.id.as_str(),
        group = view.binding.group.as_str(),
        change = what,
        user = user.as_str(),
        why,
        "A change of the group is not finished; the next tick goes on with it."
    );
}

/// A channel did not take an alert.
pub(crate) fn alert_failed(title: &str, error: &Error) {
    tracing::error!(code = error.code(), alert = title, remedy = error.remedy(), "{}", error.message());
}

/// An alert was taken.
pub(crate) fn alerted(title: &str, channel: &'static str) {
    tracing::info!(code = "ALERT_SENT", alert = title, channel, "An alert was sent.");
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
    /// The longest anybody stayed, or still stays, past their time.
    pub(crate) overstay: Option<TimeDelta>,
}

/// One binding was looked after.
pub(crate) fn binding_done(binding: &BindingId, tally: &Tally) {
    let seconds = |time: TimeDelta| u64::try_from(time.num_seconds()).unwrap_or_default();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
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

/// A tick ended.
pub(crate) fn tick_done(fine: bool, bad_documents: usize, alerts_failed: usize, duration_ms: u64) {
    tracing::info!(code = "TICK_DONE", fine, bad_documents, alerts_failed, duration_ms, "A tick is over.");
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    metrics::emit(NAME, &[Metric::RunsOk(u64::from(fine)), Metric::AlertFailed(count(alerts_failed))]);
}
