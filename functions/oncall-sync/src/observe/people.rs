//! Who a person of the on-call source is at Okta. Found out once, then remembered across ticks: an unchanged person who can
//! be granted costs nothing.

use crate::binding::Binding;
use crate::codes::Code;
use crate::knowledge::{Identity, Members};
use crate::lock;
use crate::okta::{Found, Okta, Status, User};
use crate::planner::Grant;
use crate::source::pagerduty::PagerDuty;
use crate::source::shift::Email;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock::Clock;
use keyturn::ids::{OktaId, PersonId};
use keyturn::{Deadline, Error, Result};
use std::collections::HashMap;
use std::sync::Mutex;

/// Addresses seldom move from one person to another; a grant compares them again just before.
const KNOWN_FOR: TimeDelta = TimeDelta::hours(1);
/// An address that was read so shortly ago is not asked for again.
const FRESH: TimeDelta = TimeDelta::minutes(2);
const NOT_ACTIVE: &str = "not ACTIVE at Okta";

#[derive(Debug)]
pub(crate) struct People {
    clock: Clock,
    found: Mutex<HashMap<PersonId, Remembered>>,
}

/// Who a person is. Only who can be granted is remembered: whoever is activated in an incident is wanted by the next tick.
#[derive(Clone, Debug)]
struct Remembered {
    email: Option<String>,
    /// When the source gave that address last.
    said_at: DateTime<Utc>,
    okta: OktaId,
    until: DateTime<Utc>,
}

/// What is found out about a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Person {
    Known(OktaId),
    /// Known, and not let in by Okta for the moment: keeps what was granted, and is granted nothing.
    Interrupted(OktaId),
    /// Nobody can be named with certainty, for this reason.
    Unresolved(String),
    /// A vendor did not answer.
    Unknown(Error),
}

impl Person {
    /// Who that is for a binding whose group has these members.
    pub(super) fn in_group(&self, members: &Members) -> Identity {
        match self {
            Self::Known(okta) => Identity::Known(okta.clone()),
            Self::Interrupted(okta) => match members {
                Members::Complete(members) if !members.contains_key(okta) => {
                    Identity::Unresolved(NOT_ACTIVE.to_owned())
                }
                _ => Identity::Known(okta.clone()),
            },
            Self::Unresolved(why) => Identity::Unresolved(why.clone()),
            Self::Unknown(why) => Identity::Unknown(why.clone()),
        }
    }
}

/// The address by which an Okta user was found, as the source has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `None`: the person has none any more.
    Said(Option<String>),
    /// No address was used: the document, or the grant by hand, names the Okta user.
    Pinned,
}

impl Address {
    /// Whether it is this user's; a pinned user needs none.
    #[must_use]
    pub(crate) fn is_of(&self, user: &User) -> bool {
        match self {
            Self::Pinned => true,
            Self::Said(email) => email.as_ref().is_some_and(|email| email.to_lowercase() == user.email.to_lowercase()),
        }
    }
}

impl People {
    #[must_use]
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, found: Mutex::default() }
    }

    /// The Okta user of `person`, whose address the source may have said already. What goes wrong on the way leaves them
    /// unknown, and is tried again with the next tick.
    pub(super) async fn identify(
        &self,
        person: &PersonId,
        email: &Email,
        vendors: (&PagerDuty, &Okta),
        deadline: Deadline,
    ) -> Person {
        if let Some(known) = self.remembered(person, email) {
            return Person::Known(known);
        }
        match self.look_up(person, email, vendors, deadline).await {
            Ok((email, found)) => {
                self.remember(person, email, &found);
                found
            }
            // The user found before stays: that removes nobody, and a grant compares the address again.
            Err(error) => match lock(&self.found).get(person) {
                Some(known) => Person::Known(known.okta.clone()),
                None if Code::is_forbidden(&error) => {
                    Person::Unresolved(format!("{} ({})", error.message(), error.code()))
                }
                None => Person::Unknown(error),
            },
        }
    }

    fn remember(&self, person: &PersonId, email: Option<String>, found: &Person) {
        let now = self.clock.now();
        match found {
            Person::Known(okta) => {
                let known = Remembered { email, said_at: now, okta: okta.clone(), until: now + KNOWN_FOR };
                lock(&self.found).insert(person.clone(), known);
            }
            Person::Interrupted(_) | Person::Unresolved(_) | Person::Unknown(_) => _ = lock(&self.found).remove(person),
        }
    }

    /// Forgets an Okta user, so that the next tick looks the person up again.
    pub(crate) fn forget(&self, okta: &OktaId) {
        lock(&self.found).retain(|_, known| known.okta != *okta);
    }

    /// The address that led to the Okta user of a grant; asked for again if it was read long ago.
    ///
    /// # Errors
    /// What the source's client says.
    pub(crate) async fn address_of(
        &self,
        grant: &Grant,
        binding: &Binding,
        source: &PagerDuty,
        deadline: Deadline,
    ) -> Result<Address> {
        let Some(id) = &grant.person else { return Ok(Address::Pinned) };
        if binding.identities.get(id) == Some(&grant.okta) {
            return Ok(Address::Pinned);
        }
        let known = lock(&self.found).get(id).filter(|known| self.clock.now() - known.said_at <= FRESH).cloned();
        match known {
            Some(known) => Ok(Address::Said(known.email)),
            None => Ok(Address::Said(source.email(id, deadline).await?)),
        }
    }

    fn remembered(&self, person: &PersonId, email: &Email) -> Option<OktaId> {
        let now = self.clock.now();
        let mut found = lock(&self.found);
        let known = found.get_mut(person).filter(|known| now < known.until)?;
        let said = match email {
            Email::NotSaid => return Some(known.okta.clone()),
            Email::Known(said) => Some(said),
            Email::Without => None,
        };
        if known.email.as_ref() != said {
            // Another address by now: the user has to be looked up again, and the address from before is void.
            known.said_at = DateTime::UNIX_EPOCH;
            return None;
        }
        known.said_at = now;
        Some(known.okta.clone())
    }

    async fn look_up(
        &self,
        person: &PersonId,
        email: &Email,
        (source, okta): (&PagerDuty, &Okta),
        deadline: Deadline,
    ) -> Result<(Option<String>, Person)> {
        let email = match email {
            Email::Known(email) => Some(email.clone()),
            Email::Without => None,
            Email::NotSaid => source.email(person, deadline).await?,
        };
        let Some(email) = email else {
            return Ok((None, Person::Unresolved(format!("no email address at {}", PagerDuty::NAME))));
        };
        let unresolved = |why: &str| Person::Unresolved(why.to_owned());
        let person = match okta.find(&email, deadline).await? {
            Found::One(user) => match user.status {
                Status::Active => Person::Known(user.id),
                Status::Interrupted => Person::Interrupted(user.id),
                Status::Barred => unresolved(NOT_ACTIVE),
            },
            Found::Nobody => unresolved("no user of that email address at Okta"),
            Found::Several => unresolved("several users of that email address at Okta"),
        };
        Ok((Some(email), person))
    }
}
