//! Who held what, and when: made from audit lines, `oncall-sync`'s ledgers and the records of logins.
//!
//! A holding without an end in the log is `Still` only if the ledger, or the record of the login, says so; else its end is
//! unknown.

use super::line::{Line, Said};
use crate::login::{Record, State as RecordState};
use chrono::{DateTime, Utc};
use keyturn::ledger::{Granted, Ledger, Person, State};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Somebody had access to something for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) what: What,
    /// The Okta login; of a group's member the Okta id where no login is known.
    pub(crate) person: String,
    /// The login in the database; of a group's member the Okta id.
    pub(crate) account: String,
    pub(crate) begin: Begin,
    /// When it should end at the latest, as was said at its beginning or is remembered now.
    pub(crate) planned: Option<DateTime<Utc>>,
    pub(crate) end: End,
    pub(crate) why_begun: String,
    pub(crate) why_ended: String,
    pub(crate) sources: BTreeSet<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Database(String),
    Group { binding: String, group: String },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name) => write!(f, "database {name}"),
            Self::Group { binding, group } => write!(f, "group {binding} ({group})"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    At(DateTime<Utc>),
    /// Before the period: the log begins with its end.
    Before,
    /// Nothing says when; not before this.
    Unknown(DateTime<Utc>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    At(DateTime<Utc>),
    /// It goes on.
    Still,
    /// Nothing says when; not after this.
    Unknown(DateTime<Utc>),
}

/// What says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Source {
    Log,
    Ledger,
    Record,
}

/// From when to when is asked, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) since: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    /// Everything is read as it is now: what began in the period may have ended after it.
    pub(crate) now: DateTime<Utc>,
}

/// A ledger that could be read, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct GroupLedger {
    pub(crate) binding: String,
    pub(crate) ledger: Ledger,
}

impl Holding {
    /// When it began at the earliest, as far as the period goes.
    pub(crate) fn from(&self, period: Period) -> DateTime<Utc> {
        match self.begin {
            Begin::At(at) | Begin::Unknown(at) => at,
            Begin::Before => period.since,
        }
    }

    /// When it ended at the latest.
    pub(crate) fn to(&self, period: Period) -> DateTime<Utc> {
        match self.end {
            End::At(at) | End::Unknown(at) => at,
            End::Still => period.now,
        }
    }
}

/// Everything that was held in the period, in the order of its beginning.
pub(crate) fn holdings(
    lines: Vec<Line>,
    ledgers: &BTreeMap<String, GroupLedger>,
    records: &[Record],
    period: Period,
) -> Vec<Holding> {
    // Lines come in any order, and may come twice.
    let lines: BTreeSet<Line> = lines.into_iter().collect();
    let mut holdings = of_groups(&lines, ledgers, period);
    holdings.extend(of_logins(&lines, records, period));
    holdings.retain(|holding| holding.from(period) <= period.until && holding.to(period) >= period.since);
    holdings.sort_by(|one, other| {
        let key = |holding: &Holding| (holding.from(period), holding.person.clone(), holding.what.clone());
        key(one).cmp(&key(other)).then_with(|| one.account.cmp(&other.account))
    });
    holdings
}

/// What the lines have said so far of one person in one group.
#[derive(Default)]
struct Membership {
    binding: String,
    intended: Option<Intended>,
    open: Option<Holding>,
    /// When the last holding ended.
    left: Option<DateTime<Utc>>,
}

#[derive(Clone)]
struct Intended {
    at: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    why: String,
}

fn of_groups(lines: &BTreeSet<Line>, ledgers: &BTreeMap<String, GroupLedger>, period: Period) -> Vec<Holding> {
    let names = names(lines, ledgers);
    let login_of = |user: &str| names.get(user).cloned().unwrap_or_else(|| user.to_owned());
    let mut memberships: BTreeMap<(&str, &str), Membership> = BTreeMap::new();
    let mut asked: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut done = Vec::new();
    for Line { at, said } in lines {
        match said {
            Said::GrantIntended { binding, group, user, until, why } => {
                let membership = memberships.entry((group, user)).or_default();
                membership.binding.clone_from(binding);
                membership.intended = Some(Intended { at: *at, until: until.parse().ok(), why: why.clone() });
            }
            Said::RevokeAsked { binding, user, reason } => {
                asked.insert((binding, user), reason);
            }
            Said::Granted { binding, group, user, .. } => {
                let membership = memberships.entry((group, user)).or_default();
                membership.binding.clone_from(binding);
                let intended = membership.intended.take();
                let (until, why) = intended.map_or((None, String::new()), |intended| (intended.until, intended.why));
                if let Some(open) = &mut membership.open {
                    // Granted for another reason while it went on, or said twice.
                    open.planned = open.planned.max(until);
                    if !why.is_empty() && open.why_begun != why {
                        open.why_begun = joined(&open.why_begun, &why);
                    }
                } else {
                    let begin = Begin::At(*at);
                    let mut holding = member([group, binding], user, login_of(user), begin, period.now);
                    (holding.planned, holding.why_begun) = (until, why);
                    membership.open = Some(holding);
                }
            }
            Said::Revoked { binding, group, user, reason, overstay_s, .. } => {
                let membership = memberships.entry((group, user)).or_default();
                membership.binding.clone_from(binding);
                let intended = membership.intended.take();
                let mut holding = membership.open.take().unwrap_or_else(|| {
                    let begin = match (&intended, membership.left) {
                        _ if reason == "out_of_band" => Begin::Unknown(membership.left.unwrap_or(period.since)),
                        (Some(intended), _) => Begin::At(intended.at),
                        (None, Some(left)) => Begin::Unknown(left),
                        (None, None) => Begin::Before,
                    };
                    let mut holding = member([group, binding], user, login_of(user), begin, period.now);
                    if let (Begin::At(_), Some(intended)) = (begin, intended) {
                        (holding.planned, holding.why_begun) = (intended.until, intended.why);
                    }
                    holding
                });
                let by_hand = asked.remove(&(binding.as_str(), user.as_str())).filter(|_| reason == "manual");
                holding.why_ended = by_hand.map_or_else(|| reason.clone(), |given| format!("{reason}: {given}"));
                if *overstay_s > 0 {
                    holding.why_ended = format!("{} ({overstay_s} s late)", holding.why_ended);
                }
                holding.end = End::At(*at);
                membership.left = Some(*at);
                done.push(holding);
            }
            Said::Opened { .. } | Said::Closed { .. } => {}
        }
    }
    for (group, GroupLedger { binding, ledger }) in ledgers {
        for (user, person) in &ledger.people {
            let membership = memberships.entry((group, user.as_str())).or_default();
            if let Some(Standing { since, planned, why }) = Standing::of(person) {
                let begin = match since {
                    Some(since) => Begin::At(since.max(membership.left.unwrap_or(since))),
                    None => Begin::Unknown(membership.left.unwrap_or(period.since)),
                };
                let holding = membership.open.get_or_insert_with(|| {
                    let mut holding =
                        member([group, binding], user.as_str(), login_of(user.as_str()), begin, period.now);
                    (holding.why_begun, holding.sources) = (why.to_owned(), BTreeSet::new());
                    holding
                });
                holding.end = End::Still;
                holding.planned = planned.or(holding.planned);
                holding.sources.insert(Source::Ledger);
            }
        }
    }
    for ((group, user), membership) in memberships {
        // A grant that was intended and never seen counts where no ledger says how it went.
        let intended = membership.intended.filter(|_| membership.open.is_none() && !ledgers.contains_key(group));
        let unseen = intended.map(|intended| {
            let begin = Begin::Unknown(intended.at);
            let mut holding = member([group, &membership.binding], user, login_of(user), begin, period.now);
            (holding.planned, holding.why_begun) = (intended.until, intended.why);
            holding
        });
        done.extend(membership.open.or(unseen));
    }
    done
}

fn member([group, binding]: [&str; 2], user: &str, person: String, begin: Begin, now: DateTime<Utc>) -> Holding {
    Holding {
        what: What::Group { binding: binding.to_owned(), group: group.to_owned() },
        person,
        account: user.to_owned(),
        begin,
        planned: None,
        // What follows says another, or nothing does.
        end: End::Unknown(now),
        why_begun: String::new(),
        why_ended: String::new(),
        sources: BTreeSet::from([Source::Log]),
    }
}

fn joined(one: &str, other: &str) -> String {
    if one.is_empty() { other.to_owned() } else { format!("{one}; {other}") }
}

/// The logins of Okta users, as the latest line or a ledger has them.
fn names(lines: &BTreeSet<Line>, ledgers: &BTreeMap<String, GroupLedger>) -> BTreeMap<String, String> {
    let of_ledgers = ledgers.values().flat_map(|of_group| &of_group.ledger.people);
    let of_ledgers = of_ledgers.map(|(user, person)| (user.as_str(), person.login.as_str()));
    let of_lines = lines.iter().filter_map(|line| match &line.said {
        Said::Granted { user, login, .. } | Said::Revoked { user, login, .. } => Some((user.as_str(), login.as_str())),
        _ => None,
    });
    let known = of_lines.chain(of_ledgers).filter(|(_, login)| !login.is_empty());
    known.map(|(user, login)| (user.to_owned(), login.to_owned())).collect()
}

/// What a ledger says of somebody who is in the group.
struct Standing<'l> {
    since: Option<DateTime<Utc>>,
    planned: Option<DateTime<Utc>>,
    why: &'l str,
}

impl<'l> Standing<'l> {
    /// `None`: the person is not in the group, or the ledger is of a later version and nobody knows.
    fn of(person: &'l Person) -> Option<Self> {
        let nameless = |why| Some(Self { since: None, planned: None, why });
        match &person.state {
            State::Granted(Granted { since, on_call, by_hand, .. }) => {
                let ends = [on_call.as_ref().map(|claim| claim.until), by_hand.as_ref().map(|claim| claim.until)];
                let why = by_hand.as_ref().map_or("on call", |claim| claim.reason.as_str());
                Some(Self { since: Some(*since), planned: ends.into_iter().flatten().max(), why })
            }
            State::Adopted { .. } | State::Tolerated => nameless("was in the group before the ledger began"),
            State::Leaving(_) => nameless("is being removed"),
            State::Held(hold) if !hold.out => nameless("is being removed"),
            State::Held(_) | State::Left { .. } | State::Other(_) => None,
        }
    }
}

/// What is known of one login in a database.
#[derive(Default)]
struct Login<'a> {
    opened: Option<&'a Line>,
    closed: Option<&'a Line>,
    record: Option<&'a Record>,
}

fn of_logins(lines: &BTreeSet<Line>, records: &[Record], period: Period) -> Vec<Holding> {
    let mut logins: BTreeMap<(&str, &str), Login<'_>> = BTreeMap::new();
    for line in lines {
        match &line.said {
            Said::Opened { database, login, .. } => {
                logins.entry((database, login)).or_default().opened.get_or_insert(line);
            }
            // It is said again where the record could not be deleted: the first line counts.
            Said::Closed { database, login, .. } => {
                logins.entry((database, login)).or_default().closed.get_or_insert(line);
            }
            _ => {}
        }
    }
    for record in records {
        logins.entry((record.database.as_str(), record.login.as_str())).or_default().record = Some(record);
    }
    logins.into_iter().filter_map(|((database, account), login)| login.holding(database, account, period)).collect()
}

impl Login<'_> {
    fn holding(&self, database: &str, account: &str, period: Period) -> Option<Holding> {
        let of_line = |line: &Line| match &line.said {
            Said::Opened { person, reason, until, .. } => Some((person.clone(), line.at, *until, reason.clone())),
            Said::Closed { person, reason, until, opened_at, .. } => {
                Some((person.clone(), *opened_at, *until, reason.clone()))
            }
            _ => None,
        };
        let of_record =
            |record: &Record| (record.person.clone(), record.opened_at, record.until, record.reason.clone());
        // The record and the last line have the instant before the login was made, the first line one after.
        let begun = self.closed.and_then(of_line).or(self.record.map(of_record)).or(self.opened.and_then(of_line));
        let (person, began_at, planned, why_begun) = begun?;
        let (end, why_ended) = match (self.closed.map(|line| &line.said), self.record.map(|record| &record.state)) {
            (Some(Said::Closed { closed_at, why, .. }), _) => (End::At(*closed_at), why.clone()),
            (_, Some(RecordState::Closed { why, at, .. })) => (End::At(*at), why.to_string()),
            (_, Some(RecordState::Open)) => (End::Still, String::new()),
            _ => (End::Unknown(period.now), String::new()),
        };
        let is_said = self.opened.is_some() || self.closed.is_some();
        let sources = [(is_said, Source::Log), (self.record.is_some(), Source::Record)];
        Some(Holding {
            what: What::Database(database.to_owned()),
            person,
            account: account.to_owned(),
            begin: Begin::At(began_at),
            planned: Some(planned),
            end,
            why_begun,
            why_ended,
            sources: sources.into_iter().filter(|(is, _)| *is).map(|(_, source)| source).collect(),
        })
    }
}
