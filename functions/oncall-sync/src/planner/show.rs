//! A plan as a person reads it: stable, one line a fact.

use super::{Notice, Plan};
use crate::binding::Binding;
use crate::ids::OktaId;
use crate::knowledge::{Members, Reading};
use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt;

/// A plan, with what it was made from.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    /// Whose.
    pub(crate) binding: &'a Binding,
    /// What the source said.
    pub(crate) reading: &'a Reading,
    /// Who is in the group.
    pub(crate) members: &'a Members,
    /// What shall be done.
    pub(crate) plan: &'a Plan,
    /// When.
    pub(crate) now: DateTime<Utc>,
}

impl Shown<'_> {
    /// The lines, in an order that does not depend on chance.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { binding, plan, .. } = self;
        let mut lines = vec![format!("{}: group {} ({})", binding.id, binding.group_name, binding.group)];
        lines.push(self.source());
        lines.push(self.members());
        for revoke in &plan.revokes {
            let due = revoke.due.map(|due| format!(" since {}", instant(due))).unwrap_or_default();
            lines.push(format!("  revoke {}: {}{due}", self.person(&revoke.okta), revoke.reason));
        }
        for grant in &plan.grants {
            let until =
                grant.until.map_or_else(|| "without an end".to_owned(), |end| format!("until {}", instant(end)));
            let name = grant.person.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
            lines.push(format!("  grant {}: on call{name} {until}", self.person(&grant.okta)));
        }
        lines.extend(plan.notices.iter().map(|notice| format!("  note: {notice}")));
        if plan.is_quiet() {
            lines.push("  nothing to change".to_owned());
        }
        lines
    }

    fn source(&self) -> String {
        match self.reading {
            Reading::Unknown { why } => format!("  source: unknown: {} ({})", why.message(), why.code()),
            Reading::Known { shifts, .. } => {
                let mut people: Vec<&str> =
                    shifts.iter().filter(|shift| shift.covers(self.now)).map(|shift| shift.person.as_str()).collect();
                people.sort_unstable();
                people.dedup();
                match people.as_slice() {
                    [] => "  source: known, nobody is on call".to_owned(),
                    people => format!("  source: known, on call: {}", people.join(", ")),
                }
            }
        }
    }

    fn members(&self) -> String {
        match self.members {
            Members::Unknown { why } => format!("  members: unknown: {} ({})", why.message(), why.code()),
            Members::Complete(members) if members.is_empty() => "  members: nobody".to_owned(),
            Members::Complete(members) => {
                let people: Vec<String> = members.keys().map(|okta| self.person(okta)).collect();
                format!("  members: {}", people.join(", "))
            }
        }
    }

    fn person(&self, okta: &OktaId) -> String {
        match self.members {
            Members::Complete(members) => {
                members.get(okta).map_or_else(|| okta.to_string(), |member| format!("{} ({okta})", member.login))
            }
            Members::Unknown { .. } => okta.to_string(),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brake { on_call, grants } => write!(
                f,
                "{on_call} on call and {grants} to be granted is more than max_members or max_new_per_run allows; nobody is granted"
            ),
            Self::NotGranted { person, why } => write!(f, "{person} is on call and gets nothing: {why}"),
            Self::Outsider { okta } => write!(f, "{okta} is in the group without being on call, and stays"),
            Self::NotRevoked { okta, why } => write!(f, "{okta} is to leave the group and could not be removed: {why}"),
            Self::LedgerLost => {
                f.write_str("there is no ledger yet, or it was lost; who is in the group is judged by \"adoption\"")
            }
            Self::LedgerUnreadable { restored: true } => f.write_str(
                "the ledger cannot be read, or somebody else wrote it; the last version that the function wrote counts",
            ),
            Self::LedgerUnreadable { restored: false } => f.write_str(
                "the ledger and its earlier versions cannot be read; nobody is granted or revoked until one can be",
            ),
        }
    }
}

/// An instant, for people to read.
pub(crate) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
