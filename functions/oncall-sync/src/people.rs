//! Who somebody of PagerDuty is at Okta. Found out once, then remembered across ticks: an unchanged person costs nothing.

use crate::binding::Binding;
use crate::ids::{OktaId, PagerDutyId};
use crate::knowledge::Identity;
use crate::okta::{Found, Okta, Status, User};
use crate::pagerduty::{Email, PagerDuty};
use crate::planner::Grant;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock::Clock;
use keyturn::{Deadline, Result};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Addresses move from one person to another seldom; whoever is granted is looked at again just before.
const KNOWN_FOR: TimeDelta = TimeDelta::hours(1);
/// An address that PagerDuty said so shortly ago need not be asked for again.
const FRESH: TimeDelta = TimeDelta::minutes(2);
/// What is missing may be added any moment, but not be asked for with every tick.
const MISSING_FOR: TimeDelta = TimeDelta::minutes(5);

/// What was found out.
#[derive(Debug)]
pub struct People {
    clock: Clock,
    found: Mutex<HashMap<PagerDutyId, Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    email: Option<String>,
    /// When PagerDuty said that address last.
    said_at: DateTime<Utc>,
    identity: Identity,
    until: DateTime<Utc>,
}

/// The address by which somebody was found, as PagerDuty has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// This one; `None`: they have none any more.
    Said(Option<String>),
    /// Nobody went by an address: the document, or whoever granted by hand, names the Okta user.
    Pinned,
}

impl Address {
    /// Whether it is that user's, if it matters.
    #[must_use]
    pub fn is_of(&self, user: &User) -> bool {
        match self {
            Self::Pinned => true,
            Self::Said(email) => email.as_ref().is_some_and(|email| email.to_lowercase() == user.email.to_lowercase()),
        }
    }
}

impl People {
    /// Nobody yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, found: Mutex::default() }
    }

    /// The Okta user of `pagerduty`, whose address the source may have said. What goes wrong on the way leaves them
    /// unresolved, and is tried again with the next tick.
    pub async fn identify(
        &self,
        pagerduty: &PagerDutyId,
        email: &Email,
        vendors: (&PagerDuty, &Okta),
        deadline: Deadline,
    ) -> Identity {
        if let Some(known) = self.remembered(pagerduty, email) {
            return known;
        }
        match self.look_up(pagerduty, email, vendors, deadline).await {
            Ok((email, identity)) => {
                let lasts = if matches!(identity, Identity::Known(_)) { KNOWN_FOR } else { MISSING_FOR };
                let now = self.clock.now();
                let remembered = Remembered { email, said_at: now, identity: identity.clone(), until: now + lasts };
                self.found().insert(pagerduty.clone(), remembered);
                identity
            }
            // Who they were is as good a guess as any: it lets them stay, and a grant looks at the address again.
            Err(error) => match self.found().get(pagerduty).map(|known| known.identity.clone()) {
                Some(identity @ Identity::Known(_)) => identity,
                _ => Identity::Unresolved(format!("{} ({})", error.message(), error.code())),
            },
        }
    }

    /// Forgets somebody, so that the next tick finds out anew.
    pub fn forget(&self, okta: &OktaId) {
        self.found().retain(|_, known| known.identity != Identity::Known(okta.clone()));
    }

    /// The address that led to the Okta user of a grant; asked for again if PagerDuty said it long ago.
    ///
    /// # Errors
    /// What PagerDuty's client says.
    pub async fn address_of(
        &self,
        grant: &Grant,
        binding: &Binding,
        source: &PagerDuty,
        deadline: Deadline,
    ) -> Result<Address> {
        let Some(id) = &grant.pagerduty else { return Ok(Address::Pinned) };
        if binding.identities.get(id) == Some(&grant.okta) {
            return Ok(Address::Pinned);
        }
        let known = self.found().get(id).filter(|known| self.clock.now() - known.said_at <= FRESH).cloned();
        match known {
            Some(known) => Ok(Address::Said(known.email)),
            None => Ok(Address::Said(source.email(id, deadline).await?)),
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, HashMap<PagerDutyId, Remembered>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, pagerduty: &PagerDutyId, email: &Email) -> Option<Identity> {
        let now = self.clock.now();
        let mut found = self.found();
        let known = found.get_mut(pagerduty).filter(|known| now < known.until)?;
        let said = match email {
            Email::NotSaid => return Some(known.identity.clone()),
            Email::Known(said) => Some(said),
            Email::Without => None,
        };
        if known.email.as_ref() != said {
            // Another address by now: who that is has to be found out anew, and what was said before is void.
            known.said_at = DateTime::UNIX_EPOCH;
            return None;
        }
        known.said_at = now;
        Some(known.identity.clone())
    }

    async fn look_up(
        &self,
        pagerduty: &PagerDutyId,
        email: &Email,
        (source, okta): (&PagerDuty, &Okta),
        deadline: Deadline,
    ) -> Result<(Option<String>, Identity)> {
        let email = match email {
            Email::Known(email) => Some(email.clone()),
            Email::Without => None,
            Email::NotSaid => source.email(pagerduty, deadline).await?,
        };
        let Some(email) = email else {
            return Ok((None, Identity::Unresolved("no email address at PagerDuty".to_owned())));
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
