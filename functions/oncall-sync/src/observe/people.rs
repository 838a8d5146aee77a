//! Who a person of the on-call source is at Okta. Found out once, then remembered across ticks: an unchanged person costs
//! nothing.

use crate::binding::Binding;
use crate::ids::{OktaId, PersonId};
use crate::knowledge::Identity;
use crate::okta::{Found, Okta, Status, User};
use crate::planner::Grant;
use crate::source::OnCallSource;
use crate::source::shift::Email;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock::Clock;
use keyturn::{Deadline, Result};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Addresses seldom move from one person to another; a grant compares them again just before.
const KNOWN_FOR: TimeDelta = TimeDelta::hours(1);
/// An address that was read so shortly ago is not asked for again.
const FRESH: TimeDelta = TimeDelta::minutes(2);
/// A user who is missing at Okta may be added any moment, but is not searched for with every tick.
const MISSING_FOR: TimeDelta = TimeDelta::minutes(5);

#[derive(Debug)]
pub(crate) struct People {
    clock: Clock,
    found: Mutex<HashMap<PersonId, Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    email: Option<String>,
    /// When the source gave that address last.
    said_at: DateTime<Utc>,
    identity: Identity,
    until: DateTime<Utc>,
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
    /// unresolved, and is tried again with the next tick.
    pub(crate) async fn identify(
        &self,
        person: &PersonId,
        email: &Email,
        vendors: (&OnCallSource, &Okta),
        deadline: Deadline,
    ) -> Identity {
        if let Some(known) = self.remembered(person, email) {
            return known;
        }
        match self.look_up(person, email, vendors, deadline).await {
            Ok((email, identity)) => {
                let lasts = if matches!(identity, Identity::Known(_)) { KNOWN_FOR } else { MISSING_FOR };
                let now = self.clock.now();
                let remembered = Remembered { email, said_at: now, identity: identity.clone(), until: now + lasts };
                self.found().insert(person.clone(), remembered);
                identity
            }
            // The user found before stays: that removes nobody, and a grant compares the address again.
            Err(error) => match self.found().get(person).map(|known| known.identity.clone()) {
                Some(identity @ Identity::Known(_)) => identity,
                _ => Identity::Unresolved(format!("{} ({})", error.message(), error.code())),
            },
        }
    }

    /// Forgets an Okta user, so that the next tick looks the person up again.
    pub(crate) fn forget(&self, okta: &OktaId) {
        self.found().retain(|_, known| known.identity != Identity::Known(okta.clone()));
    }

    /// The address that led to the Okta user of a grant; asked for again if it was read long ago.
    ///
    /// # Errors
    /// What the source's client says.
    pub(crate) async fn address_of(
        &self,
        grant: &Grant,
        binding: &Binding,
        source: &OnCallSource,
        deadline: Deadline,
    ) -> Result<Address> {
        let Some(id) = &grant.person else { return Ok(Address::Pinned) };
        if binding.identities.get(id) == Some(&grant.okta) {
            return Ok(Address::Pinned);
        }
        let known = self.found().get(id).filter(|known| self.clock.now() - known.said_at <= FRESH).cloned();
        match known {
            Some(known) => Ok(Address::Said(known.email)),
            None => Ok(Address::Said(source.email(id, deadline).await?)),
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, HashMap<PersonId, Remembered>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, person: &PersonId, email: &Email) -> Option<Identity> {
        let now = self.clock.now();
        let mut found = self.found();
        let known = found.get_mut(person).filter(|known| now < known.until)?;
        let said = match email {
            Email::NotSaid => return Some(known.identity.clone()),
            Email::Known(said) => Some(said),
            Email::Without => None,
        };
        if known.email.as_ref() != said {
            // Another address by now: the user has to be looked up again, and the address from before is void.
            known.said_at = DateTime::UNIX_EPOCH;
            return None;
        }
        known.said_at = now;
        Some(known.identity.clone())
    }

    async fn look_up(
        &self,
        person: &PersonId,
        email: &Email,
        (source, okta): (&OnCallSource, &Okta),
        deadline: Deadline,
    ) -> Result<(Option<String>, Identity)> {
        let email = match email {
            Email::Known(email) => Some(email.clone()),
            Email::Without => None,
            Email::NotSaid => source.email(person, deadline).await?,
        };
        let Some(email) = email else {
            return Ok((None, Identity::Unresolved(format!("no email address at {}", source.name()))));
        };
        let identity = match okta.find(&email, deadline).await? {
            Found::One(user) if user.status == Status::Active => Identity::Known(user.id),
            Found::One(_) => Identity::Unresolved("not ACTIVE at Okta".to_owned()),
            Found::Nobody => Identity::Unresolved("no user of that email address at Okta".to_owned()),
            Found::Several => Identity::Unresolved("several users of that email address at Okta".to_owned()),
        };
        Ok((Some(email), identity))
    }
}
