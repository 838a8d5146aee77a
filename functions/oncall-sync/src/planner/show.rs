//! A plan as a person reads it: stable, one line a fact.

use super::{Facts, Notice, Plan};
use crate::knowledge::{Members, Reading};
use keyturn::clock::instant;
use keyturn::ids::OktaId;
use std::collections::BTreeSet;
use std::fmt;

/// A plan as lines, with what it was made from, in an order that does not depend on chance.
#[must_use]
pub(crate) fn lines(facts: &Facts<'_>, plan: &Plan) -> Vec<String> {
    let Facts { binding, reading, members, now, .. } = facts;
    let person = |okta: &OktaId| match members.listed().and_then(|members| members.get(okta)) {
        Some(member) => format!("{} ({okta})", member.login),
        None => okta.to_string(),
    };
    let mut lines = vec![format!("{}: group {} ({})", binding.id, binding.group_name, binding.group)];
    lines.push(match reading {
        Reading::Unknown { why } => format!("  source: unknown: {} ({})", why.message(), why.code()),
        Reading::Known { shifts, .. } => {
            let on_call = shifts.iter().filter(|shift| shift.covers(*now)).map(|shift| shift.person.as_str());
            let on_call: Vec<&str> = on_call.collect::<BTreeSet<_>>().into_iter().collect();
            match on_call.as_slice() {
                [] => "  source: known, nobody is on call".to_owned(),
                people => format!("  source: known, on call: {}", people.join(", ")),
            }
        }
    });
    lines.push(match members {
        Members::Unknown { why } => format!("  members: unknown: {} ({})", why.message(), why.code()),
        Members::Complete(members) if members.is_empty() => "  members: nobody".to_owned(),
        Members::Complete(members) => {
            format!("  members: {}", members.keys().map(person).collect::<Vec<_>>().join(", "))
        }
    });
    for revoke in &plan.revokes {
        let due = revoke.due.map(|due| format!(" since {}", instant(due))).unwrap_or_default();
        lines.push(format!("  revoke {}: {}{due}", person(&revoke.okta), revoke.reason));
    }
    for grant in &plan.grants {
        let until = grant.until.map_or_else(|| "without an end".to_owned(), |end| format!("until {}", instant(end)));
        let name = grant.person.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
        lines.push(format!("  grant {}: on call{name} {until}", person(&grant.okta)));
    }
    lines.extend(plan.notices.iter().map(|notice| format!("  note: {notice}")));
    if plan.is_quiet() {
        lines.push("  nothing to change".to_owned());
    }
    lines
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
            Self::NotGrantedByHand { okta, why } => {
                write!(f, "the grant by hand of {okta} was announced, and is not seen to be done: {why}")
            }
            Self::NotRevoked { okta, why } => write!(f, "{okta} is to leave the group and could not be removed: {why}"),
            Self::StateUnknown { okta } => {
                write!(
                    f,
                    "a later version of Keyturn put {okta} into a state that this one does not know; nothing is done"
                )
            }
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
