//! Checks that a binding's group is the one that its document means, and one that no rule fills.

use crate::audit;
use crate::binding::Binding;
use crate::codes::Code;
use crate::ids::GroupId;
use crate::okta::Okta;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::clock::Clock;
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Groups are renamed, and rules made, seldom.
const GOOD_FOR: TimeDelta = TimeDelta::hours(1);

const FAILED_FOR: TimeDelta = TimeDelta::seconds(30);

/// The groups that a rule fills, or why nobody can tell, and until when that counts.
type Rules = (DateTime<Utc>, Result<BTreeSet<GroupId>>);

/// Groups that were found to be right, each until when that counts.
#[derive(Debug)]
pub(crate) struct Groups {
    clock: Clock,
    good: Mutex<BTreeMap<(GroupId, String), DateTime<Utc>>>,
    rules: tokio::sync::Mutex<Option<Rules>>,
}

impl Groups {
    #[must_use]
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, good: Mutex::default(), rules: tokio::sync::Mutex::default() }
    }

    /// Checks a binding's group, once an hour.
    ///
    /// # Errors
    /// `GROUP_NOT_FOUND`, `GROUP_NAME_DIFFERS`, `GROUP_TYPE_REFUSED`, `GROUP_FILLED_BY_RULE`, and the `OKTA_*` codes.
    pub(crate) async fn check(&self, binding: &Binding, okta: &Okta, deadline: Deadline) -> Result<()> {
        let key = (binding.group.clone(), binding.group_name.clone());
        let now = self.clock.now();
        if self.good().get(&key).is_some_and(|until| now < *until) {
            return Ok(());
        }
        let (group, filled) =
            tokio::try_join!(okta.group(&binding.group, deadline), self.is_filled(&binding.group, okta, deadline))?;
        let id = &binding.group;
        let group = group.ok_or_else(|| {
            Error::new(
                Code::GroupNotFound,
                format!("Okta has no group {id}."),
                "Correct okta_group in the binding's document.",
            )
        })?;
        if group.name != binding.group_name {
            return Err(Error::new(
                Code::GroupNameDiffers,
                format!("The group {id} is called {:?}, not {:?}.", group.name, binding.group_name),
                "Correct okta_group or group_name in the binding's document, whichever is wrong.",
            ));
        }
        if group.kind != "OKTA_GROUP" {
            return Err(Error::new(
                Code::GroupTypeRefused,
                format!("The group {id} is of type {}: its members come from elsewhere.", group.kind),
                "Make a group at Okta itself for this binding.",
            ));
        }
        if filled {
            return Err(Error::new(
                Code::GroupFilledByRule,
                format!("An active group rule fills the group {id}: whoever is taken out of it would be put back."),
                "Deactivate the rule, or make a group for this binding alone.",
            ));
        }
        self.good().insert(key, now + GOOD_FOR);
        Ok(())
    }

    /// Forgets what was found, so that the next check asks Okta.
    pub(crate) async fn forget(&self) {
        self.good().clear();
        *self.rules.lock().await = None;
    }

    fn good(&self) -> MutexGuard<'_, BTreeMap<(GroupId, String), DateTime<Utc>>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a rule fills this binding's group; the rules of the whole org are read once for all bindings.
    async fn is_filled(&self, group: &GroupId, okta: &Okta, deadline: Deadline) -> Result<bool> {
        let mut rules = self.rules.lock().await;
        let now = self.clock.now();
        if let Some((_, filled)) = rules.as_ref().filter(|(until, _)| now < *until) {
            return filled.clone().map(|filled| filled.contains(group));
        }
        let filled = match okta.filled_by_rules(deadline).await {
            // A role for this one group may not read the org's rules: a warning says so, and the doctor.
            Err(error) if error.is(Code::OktaForbidden) => {
                audit::rules_unreadable(&error);
                Ok(BTreeSet::new())
            }
            filled => filled,
        };
        // A failure counts for a while, so that not every binding of this tick asks again.
        let until = now + if filled.is_ok() { GOOD_FOR } else { FAILED_FOR };
        let answer = filled.clone().map(|filled| filled.contains(group));
        *rules = Some((until, filled));
        answer
    }
}
