//! What the audit lines of `oncall-sync` and of this function say.

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// The codes that a report is made of: `oncall-sync`'s.
pub(crate) const OF_GROUPS: [&str; 4] = ["GRANT_INTENDED", "REVOKE_ASKED", "GRANTED", "REVOKED"];
/// This function's own.
pub(crate) const OF_LOGINS: [&str; 2] = ["OPENED", "CLOSED"];

/// A filter pattern of CloudWatch Logs for lines with one of these codes.
pub(crate) fn pattern(codes: &[&str]) -> String {
    let terms: Vec<String> = codes.iter().map(|code| format!("($.code = \"{code}\")")).collect();
    format!("{{ {} }}", terms.join(" || "))
}

/// An audit line. Lines are ordered by their time.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    #[serde(rename = "ts")]
    pub(crate) at: DateTime<Utc>,
    #[serde(flatten)]
    pub(crate) said: Said,
}

/// Of two lines of one instant, the first of these comes first.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(tag = "code", rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Said {
    GrantIntended {
        binding: String,
        group: String,
        user: String,
        /// Empty where the shift has no end.
        until: String,
        why: String,
    },
    /// By hand.
    RevokeAsked {
        binding: String,
        user: String,
        reason: String,
    },
    /// The group shows the person.
    Granted {
        binding: String,
        group: String,
        user: String,
        /// Earlier versions of `oncall-sync` do not say it.
        #[serde(default)]
        login: String,
    },
    /// The group does not show the person any more.
    Revoked {
        binding: String,
        group: String,
        user: String,
        #[serde(default)]
        login: String,
        reason: String,
        #[serde(default)]
        overstay_s: i64,
    },
    Opened {
        database: String,
        login: String,
        person: String,
        reason: String,
        until: DateTime<Utc>,
    },
    Closed {
        database: String,
        login: String,
        person: String,
        /// Why it was opened.
        reason: String,
        /// Why it was closed.
        why: String,
        opened_at: DateTime<Utc>,
        until: DateTime<Utc>,
        closed_at: DateTime<Utc>,
    },
}

impl Line {
    /// Reads a line of a log; `None` where it has another form than the functions give it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_both_functions_are_read() {
        let head = r#"{"ts":"2026-11-29T12:00:00.123Z","level":"INFO","msg":"x","#;
        for rest in [
            r#""code":"GRANT_INTENDED","binding":"shop","group":"00g1","user":"00u1","pagerduty_user":"P1","until":"","why":"on call"}"#,
            r#""code":"REVOKE_ASKED","binding":"shop","user":"00u1","reason":"INC-7"}"#,
            r#""code":"GRANTED","binding":"shop","group":"00g1","user":"00u1"}"#,
            r#""code":"GRANTED","binding":"shop","group":"00g1","user":"00u1","login":"ann@corp.example"}"#,
            r#""code":"REVOKED","binding":"shop","group":"00g1","user":"00u1","reason":"shift_ended","overstay_s":12}"#,
            r#""code":"OPENED","database":"orders","login":"bg_ann","person":"ann@corp.example","reason":"INC-7","until":"2026-11-29T13:00:00Z","binding":"shop"}"#,
            r#""code":"CLOSED","database":"orders","login":"bg_ann","person":"ann@corp.example","reason":"INC-7","why":"closed","opened_at":"2026-11-29T12:00:00Z","until":"2026-11-29T13:00:00Z","closed_at":"2026-11-29T12:30:00Z","binding":""}"#,
        ] {
            assert!(Line::parse(&format!("{head}{rest}")).is_some(), "{rest}");
        }
    }

    #[test]
    fn a_line_of_another_form_is_none() {
        for text in
            ["", "START RequestId: 1", "{}", r#"{"ts":"2026-11-29T12:00:00Z","code":"SWEPT"}"#, r#"{"code":"GRANTED"}"#]
        {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_pattern_names_each_code() {
        assert_eq!(pattern(&OF_LOGINS), r#"{ ($.code = "OPENED") || ($.code = "CLOSED") }"#);
    }
}
