//! Which things people are told, in which words, and over which channels.

use crate::binding::Binding;
use crate::kept::Kept;
use crate::planner::{Grant, Notice, Reason, Revoke};
use crate::{NAME, audit};
use chrono::{DateTime, SecondsFormat, Utc};
use keyturn::alert::{Alert, Datadog, Severity, Slack};
use keyturn::{Deadline, Result};

/// Wherever alerts go. With none, the log and the metrics say it alone.
pub struct Channels {
    /// Events that monitors watch.
    pub datadog: Option<Kept<Datadog>>,
    /// Messages that people read.
    pub slack: Option<Kept<Slack>>,
}

impl Channels {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.datadog.is_none() && self.slack.is_none()
    }

    /// Sends an alert to every channel at once, each once; gives back how many did not take it.
    pub(crate) async fn send(&self, alert: &Alert, deadline: Deadline) -> usize {
        let (datadog, slack) = tokio::join!(
            post("datadog", self.datadog.as_ref(), alert, deadline, async |datadog| datadog
                .post(alert, deadline)
                .await),
            post("slack", self.slack.as_ref(), alert, deadline, async |slack| slack.post(alert, deadline).await),
        );
        datadog + slack
    }
}

/// Posts to one channel, if it is set. Gives back how many alerts it did not take.
async fn post<T>(
    name: &'static str,
    channel: Option<&Kept<T>>,
    alert: &Alert,
    deadline: Deadline,
    post: impl AsyncFn(&T) -> Result<()>,
) -> usize {
    let Some(kept) = channel else { return 0 };
    let sent = match kept.get(deadline).await {
        Ok(account) => {
            let sent = post(&account).await;
            if sent.is_err() {
                // Whatever was wrong, the secret may have been replaced.
                kept.forget(&account).await;
            }
            sent
        }
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => {
            audit::alerted(&alert.title, name);
            0
        }
        Err(error) => {
            audit::alert_failed(&alert.title, &error);
            1
        }
    }
}

/// Somebody gets administrator's rights.
pub(crate) fn of_grant(binding: &Binding, grant: &Grant, why: &str, now: DateTime<Utc>) -> Alert {
    let until = grant.shift_end.map_or_else(|| "no end".to_owned(), instant);
    let text = format!(
        "Okta user {} gets into group {} ({}), which carries break-glass rights. Why: {why}. Until: {until}.",
        grant.okta, binding.group_name, binding.group,
    );
    alert(binding, format!("Break-glass granted: {}", binding.id), text, Severity::Error, now)
        .about(grant.okta.as_str(), grant.shift_end)
        .tagged("change", "grant")
        .finish()
}

/// Somebody loses them.
pub(crate) fn of_revoke(binding: &Binding, revoke: &Revoke, now: DateTime<Utc>) -> Alert {
    // What nobody planned is for people to look at; the rest is the normal course of things.
    let severity = match revoke.reason {
        Reason::Stale | Reason::OutOfBand | Reason::Ineligible => Severity::Error,
        Reason::NotActive | Reason::Gap => Severity::Warning,
        Reason::ShiftEnded | Reason::LeftSchedule | Reason::Overridden | Reason::Manual => Severity::Info,
    };
    let text = format!(
        "Okta user {} is taken out of group {} ({}). Why: {}.",
        revoke.okta, binding.group_name, binding.group, revoke.reason,
    );
    alert(binding, format!("Break-glass revoked: {} ({})", binding.id, revoke.reason), text, severity, now)
        .about(revoke.okta.as_str(), revoke.due)
        .tagged("change", "revoke")
        .tagged("reason", revoke.reason.as_str())
        .finish()
}

/// A person should know this.
pub(crate) fn of_notice(binding: &Binding, notice: &Notice, now: DateTime<Utc>) -> Alert {
    let severity = if *notice == Notice::LedgerLost { Severity::Warning } else { Severity::Error };
    let text = format!("Binding {}, group {} ({}): {notice}.", binding.id, binding.group_name, binding.group);
    alert(binding, format!("Break-glass: {} needs a look ({})", binding.id, notice.code()), text, severity, now)
        .about(notice.code(), None)
        .tagged("code", notice.code())
        .finish()
}

/// A binding is not followed, or only in part.
pub(crate) fn of_error(binding: &str, error: &keyturn::Error, now: DateTime<Utc>) -> Alert {
    Alert {
        title: format!("Break-glass: {binding} is not looked after ({})", error.code()),
        text: error.to_string(),
        severity: Severity::Error,
        key: format!("{binding}:{}", error.code()),
        tags: vec![("service", NAME.to_owned()), ("binding", binding.to_owned()), ("code", error.code().to_owned())],
        at: now,
    }
}

/// The doctor tries the channel.
pub(crate) fn of_doctor(now: DateTime<Utc>) -> Alert {
    Alert {
        title: "Break-glass: a test of this channel".to_owned(),
        text: "Somebody asked oncall-sync's doctor whether alerts arrive. They do.".to_owned(),
        severity: Severity::Info,
        key: "doctor".to_owned(),
        tags: vec![("service", NAME.to_owned()), ("change", "doctor".to_owned())],
        at: now,
    }
}

struct Draft(Alert);

fn alert(binding: &Binding, title: String, text: String, severity: Severity, at: DateTime<Utc>) -> Draft {
    let tags =
        vec![("service", NAME.to_owned()), ("binding", binding.id.to_string()), ("group", binding.group.to_string())];
    Draft(Alert { title, text, severity, key: binding.id.to_string(), tags, at })
}

impl Draft {
    /// Completes the key, `binding:user:shift`, by which Datadog puts events together.
    fn about(mut self, what: &str, shift: Option<DateTime<Utc>>) -> Self {
        let shift = shift.map_or_else(|| "open".to_owned(), |end| end.timestamp().to_string());
        self.0.key = format!("{}:{what}:{shift}", self.0.key);
        self
    }

    fn tagged(mut self, name: &'static str, value: &str) -> Self {
        self.0.tags.push((name, value.to_owned()));
        self
    }

    fn finish(self) -> Alert {
        self.0
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
