//! The ledger of oncall-sync: one record for each person of a binding's group, in one of six states. Parameter Store keeps
//! one parameter for each binding and group.
//!
//! oncall-sync's `planner` has the table of the states' transitions.

mod first_format;
mod later;
#[cfg(test)]
mod tests;

use crate::alert::Channel;
use crate::ids::{BindingId, GroupId, OktaId, PersonId};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use strum::{Display, IntoStaticStr};

/// The format that is written.
const FORMAT: u32 = 2;
const WRONG_FORM: &str = "it has not the form of a ledger";
/// So many changes of one person are kept for a channel that takes nothing.
const MOST_UNTOLD: usize = 4;

/// Everything remembered of one binding's group.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Ledger {
    format: u32,
    pub group: GroupId,
    /// One more with each write: of two ledgers of one group (its binding was renamed), the higher one counts.
    pub serial: u64,
    /// The parameter's version that this text was written as. Another one means that somebody else wrote it, perhaps a text
    /// of long ago.
    #[serde(default)]
    pub version: i64,
    /// The binding that has had this group since: its ledger counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<BindingId>,
    /// It is not what stands in the parameter, which cannot be read or is older.
    #[serde(skip)]
    pub restored: bool,
    /// The last reading of the source that was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Readings that found nobody on call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    #[serde(default)]
    pub people: BTreeMap<OktaId, Person>,
    #[serde(skip)]
    unknown: Vec<later::Unknown>,
}

/// Readings that found nobody on call.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// How many in a row.
    pub readings: u32,
    /// The last of them: one reading counts once, however often it is planned with.
    pub last: DateTime<Utc>,
}

/// One person in one group.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Person {
    /// The Okta user's login and address, for people who read the ledger; empty until the group has shown the person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub login: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub email: String,
    pub state: State,
    /// Changes whose alert is still to be taken by a channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<Untold>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Has a right to be in the group.
    Granted(Granted),
    /// Was in the group when there was no ledger and nobody could say who was on call.
    Adopted { until: DateTime<Utc> },
    /// Was in the group before the ledger began, and stays by the binding's `adoption`.
    Tolerated,
    /// Is to be removed, until the group no longer shows the person.
    Leaving(Leaving),
    /// Was revoked by hand, and must not be put back.
    Held(Hold),
    /// Is out; the record is kept until every channel has taken the alert.
    Left { at: DateTime<Utc> },
    /// A state of a later version of Keyturn.
    #[serde(untagged)]
    Other(Value),
}

/// The claims that somebody has, each with its end.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Granted {
    pub since: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_call: Option<ShiftClaim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<HandClaim>,
    /// The group has shown the person since the grant.
    pub shown: bool,
}

/// The claim of somebody who is on call.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ShiftClaim {
    /// The person's id at the on-call source.
    pub person: PersonId,
    /// When the shift ends, as the source said last; absent where it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_end: Option<DateTime<Utc>>,
    /// When the claim ends whatever happens, unless a later reading confirms it.
    pub until: DateTime<Utc>,
}

/// The claim of somebody who was granted by hand.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct HandClaim {
    pub until: DateTime<Utc>,
    pub reason: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Leaving {
    pub reason: Reason,
    /// When that was decided.
    pub since: DateTime<Utc>,
    /// When the person should have left, where there was a time for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// When the removal was decided: by hand, or because somebody had put the person back.
    pub since: DateTime<Utc>,
    /// When the shift ends, as the source said last. Absent where no end is known: until the source does not name the person
    /// any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// The person's id at the on-call source, if it has named them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// The group no longer shows the person.
    pub out: bool,
    /// The reason that was given.
    #[serde(default)]
    pub reason: String,
}

/// Why somebody leaves.
#[derive(Clone, Copy, Debug, Deserialize, Display, IntoStaticStr, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// The shift is over.
    ShiftEnded,
    /// They were on call without an end, and are not any more.
    LeftSchedule,
    /// An override gave the rest of the shift to somebody else.
    Overridden,
    /// Okta does not let them in any more.
    NotActive,
    /// They are not in the group of eligible people.
    Ineligible,
    /// Nobody but a person at Okta put them there.
    OutOfBand,
    /// The source could not be read for too long.
    Stale,
    /// The source says, again and again, that nobody is on call.
    Gap,
    /// Revoked by hand, or the end of a grant by hand.
    Manual,
    /// A reason of a later version of Keyturn.
    #[serde(other)]
    Other,
}

impl Reason {
    /// As logs, alerts, plans and ledgers say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A change, and the channels that have not taken its alert yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Untold {
    pub change: Change,
    pub channels: BTreeSet<Channel>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The person gets in; `until` is absent where the shift has no end.
    Granted {
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    Revoked {
        reason: Reason,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<DateTime<Utc>>,
    },
    /// A change of a later version of Keyturn.
    #[serde(untagged)]
    Other(Value),
}

/// A ledger, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    Known(Ledger),
    /// There is none: the first run, or somebody deleted it. This one begins: nobody is in it but who is held.
    Never(Ledger),
    /// There is one, and neither it nor an earlier version can be read.
    Unreadable {
        /// When somebody wrote it last.
        since: Option<DateTime<Utc>>,
    },
}

impl Remembered {
    #[must_use]
    pub fn known(&self) -> Option<&Ledger> {
        match self {
            Self::Known(ledger) => Some(ledger),
            Self::Never(_) | Self::Unreadable { .. } => None,
        }
    }

    pub fn known_mut(&mut self) -> Option<&mut Ledger> {
        match self {
            Self::Known(ledger) => Some(ledger),
            Self::Never(_) | Self::Unreadable { .. } => None,
        }
    }
}

impl Ledger {
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        Self {
            format: FORMAT,
            group,
            serial: 0,
            version: 0,
            moved_to: None,
            restored: false,
            confirmed_at: None,
            gap: None,
            people: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    /// Reads a ledger of this format, a later one or the first.
    ///
    /// # Errors
    /// What is wrong with it, in words that quote nothing of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let value: Value = serde_json::from_str(text).map_err(|_| "it is no JSON")?;
        if value.get("format").is_none() {
            return first_format::read(value).map_err(|_| WRONG_FORM);
        }
        let mut ledger = Self::deserialize(&value).map_err(|_| WRONG_FORM)?;
        // Only a later format has other states and changes.
        if ledger.format <= FORMAT && ledger.people.values().any(Person::is_of_a_later_version) {
            return Err(WRONG_FORM);
        }
        ledger.unknown = later::unknown(&value, &serde_json::to_value(&ledger).map_err(|_| WRONG_FORM)?);
        Ok(ledger)
    }

    /// The text to store.
    pub fn text(&self) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(self)?;
        later::add(&self.unknown, &mut value);
        Ok(value.to_string())
    }

    /// Whether this text is the last that the function wrote. The first format does not say.
    #[must_use]
    pub fn is_of_version(&self, version: i64) -> bool {
        self.version == version
    }

    /// Somebody's state.
    #[must_use]
    pub fn state(&self, okta: &OktaId) -> Option<&State> {
        self.people.get(okta).map(|person| &person.state)
    }

    /// Puts somebody into a state, and leaves everything else that is known of the person.
    pub fn put(&mut self, okta: &OktaId, state: State) -> &mut Person {
        let person = self.people.entry(okta.clone()).or_insert_with(|| Person::new(State::Tolerated));
        person.state = state;
        person
    }

    /// The group no longer shows the person.
    pub fn has_left(&mut self, okta: &OktaId, now: DateTime<Utc>) {
        let Some(person) = self.people.get_mut(okta) else { return };
        match &mut person.state {
            State::Held(hold) => hold.out = true,
            _ => person.state = State::Left { at: now },
        }
        self.forget_left(okta);
    }

    /// The group shows the person, under this login and address.
    pub fn has_come(&mut self, okta: &OktaId, login: &str, email: &str) {
        if let Some(person) = self.people.get_mut(okta)
            && let State::Granted(granted) = &mut person.state
        {
            granted.shown = true;
            login.clone_into(&mut person.login);
            email.clone_into(&mut person.email);
        }
    }

    /// Whether a change of this person is begun, and the ledger does not know yet that the group shows it.
    #[must_use]
    pub fn is_begun(&self, okta: &OktaId) -> bool {
        match self.state(okta) {
            Some(State::Granted(granted)) => !granted.shown,
            Some(State::Held(hold)) => !hold.out,
            state => matches!(state, Some(State::Leaving(_))),
        }
    }

    /// The changes that are done and still to be told; `is_accepted` says whom Okta has just said to have removed.
    #[must_use]
    pub fn news(&self, is_accepted: impl Fn(&OktaId) -> bool) -> Vec<(OktaId, Untold)> {
        // A grant that another change follows was made, or is over.
        let is_last =
            |person: &Person, change: &Change| person.untold.last().is_some_and(|last| last.change == *change);
        let is_done = |okta: &OktaId, person: &Person, change: &Change| match (change, &person.state) {
            (Change::Revoked { .. }, State::Leaving(_)) => is_accepted(okta),
            (Change::Revoked { .. }, State::Held(hold)) => hold.out || is_accepted(okta),
            (Change::Granted { .. }, State::Granted(granted)) => granted.shown || !is_last(person, change),
            _ => true,
        };
        let of_person = |(okta, person): (&OktaId, &Person)| {
            let done = person.untold.iter().filter(|untold| is_done(okta, person, &untold.change));
            done.map(|untold| (okta.clone(), untold.clone())).collect::<Vec<_>>()
        };
        self.people.iter().flat_map(of_person).collect()
    }

    /// All channels but these have taken the alert of a change.
    pub fn was_told(&mut self, okta: &OktaId, change: &Change, untaken: &BTreeSet<Channel>) {
        let Some(person) = self.people.get_mut(okta) else { return };
        for untold in person.untold.iter_mut().filter(|untold| untold.change == *change) {
            untold.channels.retain(|channel| untaken.contains(channel));
        }
        person.untold.retain(|untold| !untold.channels.is_empty());
        self.forget_left(okta);
    }

    /// Nothing of somebody who left is kept once everything is told.
    pub fn forget_left(&mut self, okta: &OktaId) {
        self.people.retain(|other, person| {
            other != okta || !matches!(person.state, State::Left { .. }) || !person.untold.is_empty()
        });
    }

    /// The same, without what moves on with every reading and every write.
    fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        lasting.confirmed_at = None;
        (lasting.serial, lasting.version) = (0, 0);
        for person in lasting.people.values_mut() {
            if let State::Granted(Granted { since, on_call: Some(on_call), .. }) = &mut person.state {
                on_call.until = *since;
            }
        }
        lasting
    }

    /// Whether `next` has to be stored in place of this: something changed, or people in it live on a confirmation that
    /// was stored longer than `refresh` ago.
    #[must_use]
    pub fn is_outdated_by(&self, next: &Self, refresh: TimeDelta) -> bool {
        let old = match (self.confirmed_at, next.confirmed_at) {
            // The other way round, too: the clock may have been set back.
            (Some(stored), Some(read)) => (read - stored).abs() >= refresh,
            (stored, read) => stored != read,
        };
        // Somebody who is named again after a while has an old end stored, however young the last confirmation is.
        let other_end = |(okta, person): (&OktaId, &Person)| {
            let stored = self.people.get(okta).and_then(Person::on_call);
            let next = person.on_call();
            stored.zip(next).is_some_and(|(stored, next)| (next.until - stored.until).abs() >= refresh)
        };
        // The first format is written anew: it does not say whether somebody put it back.
        self.version == 0
            || self.moved_to.is_some()
            || self.lasting() != next.lasting()
            || (old && next.people.values().any(Person::lives_on_a_reading))
            || next.people.iter().any(other_end)
    }
}

impl Person {
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { login: String::new(), email: String::new(), state, untold: Vec::new() }
    }

    fn is_of_a_later_version(&self) -> bool {
        let other = |untold: &Untold| matches!(untold.change, Change::Other(_));
        matches!(self.state, State::Other(_)) || self.untold.iter().any(other)
    }

    /// Whether there is anything left to do about the person where the group cannot be listed.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        match &self.state {
            State::Granted(_) | State::Adopted { .. } | State::Leaving(_) | State::Left { .. } | State::Other(_) => {
                true
            }
            State::Held(hold) => !hold.out,
            State::Tolerated => false,
        }
    }

    fn lives_on_a_reading(&self) -> bool {
        self.on_call().is_some()
    }

    #[must_use]
    pub fn on_call(&self) -> Option<&ShiftClaim> {
        match &self.state {
            State::Granted(granted) => granted.on_call.as_ref(),
            _ => None,
        }
    }

    /// A removal that was decided on was not done, and is not to be told of any more.
    pub fn forget_removal(&mut self) {
        self.untold.pop_if(|untold| matches!(untold.change, Change::Revoked { .. }));
    }

    /// Forgets a grant of which no channel has taken the alert: each grant is announced before it is made. Gives back whether
    /// there was one. Beside other changes it may stand for an earlier grant in the same words.
    pub fn forget_grant(&mut self) -> bool {
        let is_unannounced = match self.untold.as_slice() {
            [Untold { change: Change::Granted { .. }, channels }] => *channels == Channel::all(),
            _ => false,
        };
        if is_unannounced {
            self.untold.clear();
        }
        is_unannounced
    }

    /// Notes a change whose alert every channel shall take.
    pub fn tell(&mut self, change: Change) {
        self.untold.retain(|untold| untold.change != change);
        self.untold.push(Untold { change, channels: Channel::all() });
        // A channel that is gone for good must not fill the parameter.
        let surplus = self.untold.len().saturating_sub(MOST_UNTOLD);
        self.untold.drain(..surplus);
    }
}
