//! The days to come: what the planner would say at every instant at which a shift begins or ends.

use super::duty::Duty;
use super::{Facts, Notice, Plan, plan};
use crate::binding::Binding;
use crate::codes::Code;
use crate::knowledge::{Eligible, Identity, Member, Members, Reading, Shift, Standing};
use chrono::{DateTime, Utc};
use keyturn::Error;
use keyturn::clock::instant;
use keyturn::ids::{OktaId, PersonId};
use keyturn::ledger::{Ledger, Remembered};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is to come of one binding.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// They follow each other without a break.
    pub(crate) stretches: Vec<Stretch>,
    /// In the order in which they come true.
    pub(crate) warnings: Vec<Warning>,
    /// People who will be on call, and of whom a vendor did not say whether they may be granted, by the reason.
    pub(crate) undecided: Vec<(Error, BTreeSet<PersonId>)>,
}

/// A time in which the same people are on call; nobody: a gap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    pub(crate) people: BTreeSet<PersonId>,
}

/// What a person should mend before it comes true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) from: DateTime<Utc>,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Gap { until: DateTime<Utc> },
    Notice(Notice),
}

impl Warning {
    pub(crate) fn code(&self) -> Code {
        match &self.what {
            What::Gap { .. } => Code::GapAhead,
            What::Notice(Notice::Brake { .. }) => Code::BrakeAhead,
            What::Notice(_) => Code::NoGrantAhead,
        }
    }

    /// When a gap ends. `None`: this is no gap.
    pub(crate) fn gap_until(&self) -> Option<DateTime<Utc>> {
        match &self.what {
            What::Gap { until } => Some(*until),
            What::Notice(_) => None,
        }
    }

    /// Whom it is about, if anybody.
    pub(crate) fn subject(&self) -> &str {
        match &self.what {
            What::Gap { .. } => "",
            What::Notice(notice) => notice.subject(),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Gap { until } => {
                write!(f, "nobody is on call from {} to {}", instant(self.from), instant(*until))
            }
            What::Notice(notice) => write!(f, "from {}: {notice}", instant(self.from)),
        }
    }
}

/// What is to come from `now` to `until`, if the source does not change. `shifts` are all that touch this time.
#[must_use]
pub(crate) fn ahead(
    binding: &Binding,
    shifts: &[Shift],
    eligible: &Eligible,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Ahead {
    let ends = shifts.iter().flat_map(|shift| [shift.start, shift.end]).flatten();
    let mut instants: BTreeSet<DateTime<Utc>> = ends.filter(|at| now < *at && *at < until).collect();
    instants.extend([now, until]);
    let instants: Vec<DateTime<Utc>> = instants.into_iter().collect();
    let mut ahead = Ahead { undecided: undecided(binding, shifts, eligible), ..Ahead::default() };
    let (mut before, mut told) = (None, BTreeSet::new());
    for pair in instants.windows(2) {
        let reading = Reading::Known { shifts: shifts.to_vec(), read_at: pair[0] };
        let duty = Duty::of(binding, &reading, pair[0]);
        let okta: BTreeSet<OktaId> = duty.people.keys().cloned().collect();
        // Who is in the group now is for the ticks to say.
        let inside = before.replace(okta.clone()).unwrap_or(okta);
        let mut notices = noted(binding, &reading, eligible, &inside, pair[0]);
        notices.retain(|notice| !ahead.is_undecided(notice));
        if !notices.iter().any(is_brake) {
            told.retain(|notice| !is_brake(notice));
        }
        for notice in notices {
            // A brake is one as long as it holds, with whatever numbers.
            let is_told = told.contains(&notice) || is_brake(&notice) && told.iter().any(is_brake);
            if !is_told {
                ahead.warnings.push(Warning { from: pair[0], what: What::Notice(notice.clone()) });
                told.insert(notice);
            }
        }
        let people = duty.people.into_values().map(|on_call| on_call.person).chain(duty.unresolved.into_keys());
        ahead.add(Stretch { from: pair[0], until: pair[1], people: people.collect() });
    }
    let gaps = ahead.stretches.iter().filter(|stretch| stretch.people.is_empty());
    let gaps = gaps.map(|gap| Warning { from: gap.from, what: What::Gap { until: gap.until } });
    ahead.warnings.extend(gaps.collect::<Vec<_>>());
    ahead.warnings.sort_by_key(|warning| warning.from);
    ahead
}

fn undecided(binding: &Binding, shifts: &[Shift], eligible: &Eligible) -> Vec<(Error, BTreeSet<PersonId>)> {
    let mut undecided: Vec<(Error, BTreeSet<PersonId>)> = Vec::new();
    for shift in shifts.iter().filter(|shift| !binding.placeholders.contains(&shift.person)) {
        let why = match (&shift.okta, eligible) {
            (Identity::Unknown(why), _) => why,
            (Identity::Known(okta), Eligible::Unknown { why, known })
                if !known.contains_key(okta) && !binding.keep.contains(okta) =>
            {
                why
            }
            _ => continue,
        };
        match undecided.iter_mut().find(|(other, _)| other == why) {
            Some((_, people)) => _ = people.insert(shift.person.clone()),
            None => undecided.push((why.clone(), BTreeSet::from([shift.person.clone()]))),
        }
    }
    undecided
}

fn is_brake(notice: &Notice) -> bool {
    matches!(notice, Notice::Brake { .. })
}

impl Ahead {
    fn is_undecided(&self, notice: &Notice) -> bool {
        let Notice::NotGranted { person, .. } = notice else { return false };
        self.undecided.iter().any(|(_, people)| people.contains(person))
    }

    fn add(&mut self, stretch: Stretch) {
        match self.stretches.last_mut() {
            Some(last) if last.people == stretch.people => last.until = stretch.until,
            _ => self.stretches.push(stretch),
        }
    }
}

/// What the planner would note about the people on call, with these in the group.
fn noted(
    binding: &Binding,
    reading: &Reading,
    eligible: &Eligible,
    inside: &BTreeSet<OktaId>,
    now: DateTime<Utc>,
) -> BTreeSet<Notice> {
    let member = |okta: &OktaId| (okta.clone(), Member { may_stay: true, login: String::new(), email: String::new() });
    // Sealed accounts are there for good.
    let members = Members::Complete(inside.iter().chain(&binding.keep).map(member).collect::<BTreeMap<_, _>>());
    let ledger = Remembered::Known(Ledger::new(binding.group.clone()));
    let standing = Standing::Followed;
    let Plan { mut notices, .. } =
        plan(Facts { binding, standing, reading, members: &members, eligible, ledger: &ledger, now });
    notices.retain(|notice| matches!(notice, Notice::Brake { .. } | Notice::NotGranted { .. }));
    notices
}
