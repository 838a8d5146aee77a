//! Alerts to where people look: Datadog events and Slack messages, and which of these channels took them.
//!
//! Titles and texts hold names that others chose. Each channel makes the whole of them harmless: no markup, no
//! mentions, no invisible characters. Nothing is sent twice where it is unknown whether the first one arrived.

mod channels;
mod conditions;
mod datadog;
mod slack;
#[cfg(test)]
mod tests;

pub use channels::{Channel, Channels};
pub use conditions::Conditions;
pub use datadog::Datadog;
pub use slack::Slack;

use crate::Error;
use crate::codes::Code;
use chrono::{DateTime, Utc};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub title: String,
    /// What it means and what to do.
    pub text: String,
    pub severity: Severity,
    /// What it is about: alerts of one key belong together.
    pub key: String,
    /// Name and value, to search by.
    pub tags: Vec<(&'static str, String)>,
    pub at: DateTime<Utc>,
}

/// How bad it is; the words are those of Datadog's `alert_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A person has to act.
    Error,
    /// A person should look.
    Warning,
    /// Good to know.
    Info,
    /// An earlier alert has cleared.
    Success,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Success => "success",
        })
    }
}

/// The text with nothing in it that mentions anybody or cannot be seen. Line breaks stay.
fn harmless(text: &str) -> String {
    let visible = |c: char| if c != '\n' && is_unseen(c) { ' ' } else { c };
    text.chars().map(visible).collect::<String>().replace('@', "(at)")
}

/// The same, in one line.
fn harmless_line(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// Control characters, and those that reorder or hide what stands beside them.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    let soft = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}');
    let directing = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let tag = matches!(c, '\u{e0000}'..='\u{e007f}');
    c.is_control() || soft || directing || tag
}

/// At most this many characters.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

fn failed(channel: &str, why: impl fmt::Display) -> Error {
    Error::new(
        Code::AlertFailed,
        format!("An alert to {channel} was not taken: {why}."),
        "The log line and the metric still raise the CloudWatch alarm. Look at the secret of the channel; oncall-sync tries it on {\"action\":\"doctor\"}.",
    )
}
