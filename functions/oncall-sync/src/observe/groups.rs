//! Checks that a binding's group is the one that its document means, and one that no rule fills.

use crate::binding::Binding;
use crate::codes::Code;
use crate::lock;
use crate::okta::{Group, Okta, Rules};
use crate::telemetry::audit;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::clock::Clock;
use keyturn::ids::{BindingId, GroupId};
use keyturn::vendor::AT_ONCE;
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Groups are renamed, and rules made, seldom.
const GOOD_FOR: TimeDelta = TimeDelta::hours(1);
/// What is wrong, or could not be read, is asked for again by the next tick.
const BAD_FOR: TimeDelta = TimeDelta::seconds(30);

/// Groups that were found to be right, each until when that counts, and what is known of the org's rules.
#[derive(Debug)]
pub(crate) struct Groups {
    clock: Clock,
    /// The setting `OWNER`: this deployment's name in the descriptions of groups at Okta.
    owner: Option<String>,
    good: Mutex<BTreeMap<(GroupId, String), DateTime<Utc>>>,
    verdict: tokio::sync::Mutex<Verdict>,
}

/// The last word on the org's rules. It stands for as long as they cannot be read.
#[derive(Debug, Default)]
struct Verdict {
    filled: BTreeSet<GroupId>,
    /// When they are read again; `None`: now.
    again_at: Option<DateTime<Utc>>,
    /// It was said that they cannot be read.
    told: bool,
}

impl Groups {
    #[must_use]
    pub(crate) fn new(clock: Clock, owner: Option<String>) -> Self {
        Self { clock, owner, good: Mutex::default(), verdict: tokio::sync::Mutex::default() }
    }

    /// The bindings whose group is not what the document says, is filled by a rule, or could not be checked.
    pub(crate) async fn refused(
        &self,
        bindings: &[Binding],
        okta: &Okta,
        deadline: Deadline,
    ) -> BTreeMap<BindingId, Error> {
        let check = async |binding: &Binding| (binding.id.clone(), self.check(binding, okta, deadline).await);
        let checks = stream::iter(bindings).map(check).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let (checks, filled) = tokio::join!(checks, self.filled(bindings, okta, deadline));
        let mut refused: BTreeMap<BindingId, Error> =
            checks.into_iter().filter_map(|(id, check)| Some((id, check.err()?))).collect();
        for Binding { id, group, .. } in bindings.iter().filter(|binding| filled.contains(&binding.group)) {
            refused.entry(id.clone()).or_insert_with(|| filled_by_rule(group));
        }
        refused
    }

    /// Forgets what was found, so that the next check asks Okta. The verdict on the rules stands until they are read.
    pub(crate) async fn forget(&self) {
        lock(&self.good).clear();
        self.verdict.lock().await.again_at = None;
    }

    /// Forgets what was found of one group.
    pub(crate) fn forget_one(&self, group: &GroupId) {
        lock(&self.good).retain(|(good, _), _| good != group);
    }

    /// The word that an administrator has to add to a group's description at Okta; `None` where it names a deployment already.
    pub(crate) fn missing_mark(&self, group: &Group) -> Option<String> {
        let owner = self.owner.as_ref().filter(|_| group.owner.is_none())?;
        Some(format!("{}{owner}", Group::OWNER))
    }

    /// Checks a group's id, name, type and owner, once an hour.
    async fn check(&self, binding: &Binding, okta: &Okta, deadline: Deadline) -> Result<()> {
        let key = (binding.group.clone(), binding.group_name.clone());
        let now = self.clock.now();
        if lock(&self.good).get(&key).is_some_and(|until| now < *until) {
            return Ok(());
        }
        let id = &binding.group;
        let group = okta
            .group(id, deadline)
            .await?
            .ok_or_else(|| Error::of(Code::GroupNotFound, format!("Okta has no group {id}.")))?;
        if group.name != binding.group_name {
            return Err(Error::of(
                Code::GroupNameDiffers,
                format!("The group {id} is called {:?}, not {:?}.", group.name, binding.group_name),
            ));
        }
        if group.kind != "OKTA_GROUP" {
            return Err(Error::of(
                Code::GroupTypeRefused,
                format!("The group {id} is of type {}: its members come from elsewhere.", group.kind),
            ));
        }
        if let (Some(ours), Some(theirs)) = (&self.owner, &group.owner)
            && ours != theirs
        {
            return Err(Error::of(
                Code::GroupOfAnother,
                format!("The group {id} is looked after by {theirs}, says its description; this is {ours}."),
            ));
        }
        lock(&self.good).insert(key, now + GOOD_FOR);
        Ok(())
    }

    /// The groups that a rule fills, as far as anybody knows; the rules of the whole org are read once for all bindings.
    ///
    /// That reading is advisory: whatever goes wrong with it is a warning, and it gets half of the time.
    async fn filled(&self, bindings: &[Binding], okta: &Okta, deadline: Deadline) -> BTreeSet<GroupId> {
        let mut verdict = self.verdict.lock().await;
        let now = self.clock.now();
        if !bindings.is_empty() && verdict.again_at.is_none_or(|again| again <= now) {
            let rules = okta.rules(deadline.at_most(deadline.remaining() / 2)).await;
            if let Some(warning) = verdict.learn(rules, bindings, now) {
                audit::rules_unreadable(&warning);
            }
        }
        verdict.filled.clone()
    }
}

impl Verdict {
    /// Takes in what a reading brought. Gives back the warning to say: one for as long as the same is wrong.
    fn learn(&mut self, rules: Result<Rules>, bindings: &[Binding], now: DateTime<Utc>) -> Option<Error> {
        let wrong = match rules {
            Ok(rules) => {
                self.filled = rules.filled;
                (rules.odd > 0).then(|| odd(rules.odd))
            }
            Err(error) => Some(error),
        };
        // A rule that was taken off frees its group with the next tick.
        let refuses = bindings.iter().any(|binding| self.filled.contains(&binding.group));
        self.again_at = Some(now + if wrong.is_some() || refuses { BAD_FOR } else { GOOD_FOR });
        let new = wrong.is_some() && !self.told;
        self.told = wrong.is_some();
        wrong.filter(|_| new)
    }
}

fn odd(rules: usize) -> Error {
    Error::of(Code::GroupRulesUnreadable, format!("Group rules of a form that Okta does not document: {rules}."))
}

fn filled_by_rule(group: &GroupId) -> Error {
    Error::of(
        Code::GroupFilledByRule,
        format!("An active group rule fills the group {group}: whoever is taken out of it would be put back."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(filled: &[&str], odd: usize) -> Rules {
        Rules { filled: filled.iter().map(|id| GroupId::try_from(*id).unwrap()).collect(), odd }
    }

    fn unread() -> Result<Rules> {
        Err(Error::new(Code::OktaCallFailed, "500.", "Wait."))
    }

    fn shop() -> Vec<Binding> {
        vec![Binding::abandoned(BindingId::try_from("shop").unwrap(), GroupId::try_from("00g1").unwrap())]
    }

    #[test]
    fn a_group_that_is_gone_voids_the_check_of_no_other() {
        let groups = Groups::new(Clock::of(|| DateTime::UNIX_EPOCH), None);
        let key = |id: &str| (GroupId::try_from(id).unwrap(), "break-glass".to_owned());
        let until = DateTime::UNIX_EPOCH + GOOD_FOR;
        lock(&groups.good).extend([(key("00g1"), until), (key("00g2"), until)]);
        groups.forget_one(&key("00g1").0);
        assert_eq!(*lock(&groups.good), BTreeMap::from([(key("00g2"), until)]));
    }

    #[test]
    fn the_last_verdict_stands_and_a_warning_is_said_once_while_it_lasts() {
        let (mut verdict, shop, now) = (Verdict::default(), shop(), DateTime::UNIX_EPOCH);
        let mut said = |rules| verdict.learn(rules, &shop, now).is_some();
        assert_eq!(
            [Ok(rules(&["00g1"], 0)), unread(), unread(), Ok(rules(&["00g1"], 2))].map(&mut said),
            [false, true, false, false]
        );
        assert!(verdict.filled.contains(&shop[0].group));
        let mut said = |rules| verdict.learn(rules, &shop, now).is_some();
        assert_eq!(
            [Ok(rules(&[], 0)), Ok(rules(&[], 1)), unread(), Ok(rules(&[], 0)), unread()].map(&mut said),
            [false, true, false, false, true]
        );
        assert!(verdict.filled.is_empty());
    }

    #[test]
    fn what_is_wrong_is_read_again_with_the_next_tick_and_what_is_right_in_an_hour() {
        let (shop, now) = (shop(), DateTime::UNIX_EPOCH);
        for (read, again_in) in [
            (Ok(rules(&[], 0)), GOOD_FOR),
            (Ok(rules(&["00gOther"], 0)), GOOD_FOR),
            (Ok(rules(&["00g1"], 0)), BAD_FOR),
            (Ok(rules(&[], 1)), BAD_FOR),
            (unread(), BAD_FOR),
        ] {
            let mut verdict = Verdict::default();
            verdict.learn(read.clone(), &shop, now);
            assert_eq!(verdict.again_at, Some(now + again_in), "{read:?}");
        }
    }
}
