//! Who may be granted at all. The people who matter are asked for one by one: a group of eligible people may have more
//! members than anybody wants to list every minute.

use super::{AT_ONCE, View, each};
use crate::codes::Code;
use crate::knowledge::{Eligible, Identity, Reading};
use crate::lock;
use crate::okta::Okta;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use keyturn::clock::Clock;
use keyturn::codes::Code as Core;
use keyturn::ids::{GroupId, OktaId};
use keyturn::{Deadline, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// How long a yes counts for somebody who is in the group already. Everybody else is asked for each time.
const KEPT_FOR: TimeDelta = TimeDelta::minutes(5);

/// What Okta said of each person last.
#[derive(Debug)]
pub(crate) struct Eligibility {
    clock: Clock,
    asked: Mutex<BTreeMap<OktaId, Asked>>,
}

#[derive(Debug)]
struct Asked {
    at: DateTime<Utc>,
    /// The groups of eligible people that the person is in.
    groups: BTreeSet<GroupId>,
}

/// What has to be known of a person.
#[derive(Debug, Default)]
struct Question {
    groups: BTreeSet<GroupId>,
    /// The person would come in: a yes from before is no fresh proof.
    newcomer: bool,
}

/// The groups of eligible people that each person is in, or why nobody knows.
type Answers = BTreeMap<OktaId, Result<BTreeSet<GroupId>>>;

impl Eligibility {
    #[must_use]
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, asked: Mutex::default() }
    }

    /// Finds out for every binding who of the people who matter to it is eligible.
    pub(super) async fn ask_for(&self, views: &mut [View], okta: &Okta, deadline: Deadline) {
        let mut questions: BTreeMap<OktaId, Question> = BTreeMap::new();
        for view in &*views {
            let Some(group) = &view.binding.eligible_group else { continue };
            for (person, newcomer) in people(view) {
                let question = questions.entry(person).or_default();
                question.groups.insert(group.clone());
                question.newcomer |= newcomer;
            }
        }
        let answers = self.answers(questions, okta, deadline).await;
        let unseen = unseen_groups(&answers, views, okta, deadline).await;
        for view in views {
            view.eligible = match &view.binding.eligible_group {
                None => Eligible::Everyone,
                Some(group) => eligible(people(view).into_keys(), group, &answers, unseen.get(group)),
            };
        }
    }

    /// Whether somebody is in a group of eligible people at this moment.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) async fn is_in(
        &self,
        person: &OktaId,
        group: &GroupId,
        okta: &Okta,
        deadline: Deadline,
    ) -> Result<bool> {
        let groups = okta.groups_of(person, deadline).await?;
        if !groups.contains(group) {
            okta.group(group, deadline).await?.ok_or_else(|| unseen(group))?;
        }
        Ok(groups.contains(group))
    }

    async fn answers(&self, questions: BTreeMap<OktaId, Question>, okta: &Okta, deadline: Deadline) -> Answers {
        let mut answers = Answers::new();
        let mut open = Vec::new();
        for (person, question) in questions {
            match self.kept(&person, &question) {
                Some(groups) => _ = answers.insert(person, Ok(groups)),
                None => open.push((person, question)),
            }
        }
        self.in_turn(&mut open);
        let asked = stream::iter(open)
            .map(|(person, question)| async move { (okta.groups_of(&person, deadline).await, person, question) })
            .buffer_unordered(AT_ONCE);
        for (groups, person, question) in asked.collect::<Vec<_>>().await {
            let groups = groups.map(|groups| &groups & &question.groups);
            self.remember(&person, &groups);
            answers.insert(person, groups);
        }
        answers
    }

    /// Those who wait for a grant come first, then those who were asked for longest ago: there may not be time for all.
    fn in_turn(&self, open: &mut [(OktaId, Question)]) {
        let asked = lock(&self.asked);
        open.sort_by_key(|(person, question)| (!question.newcomer, asked.get(person).map(|asked| asked.at)));
    }

    fn remember(&self, person: &OktaId, groups: &Result<BTreeSet<GroupId>>) {
        let now = self.clock.now();
        let mut asked = lock(&self.asked);
        asked.retain(|_, asked| now - asked.at < KEPT_FOR * 2);
        if let Ok(groups) = groups {
            asked.insert(person.clone(), Asked { at: now, groups: groups.clone() });
        }
    }

    /// The groups of a yes from before that answers the whole question.
    fn kept(&self, person: &OktaId, question: &Question) -> Option<BTreeSet<GroupId>> {
        let asked = lock(&self.asked);
        let kept = asked.get(person).filter(|asked| self.clock.now() - asked.at < KEPT_FOR)?;
        (!question.newcomer && kept.groups.is_superset(&question.groups)).then(|| kept.groups.clone())
    }
}

/// The people who matter to a binding, and whether each of them would come in. Of anybody else in the group nothing depends
/// on it.
fn people(view: &View) -> BTreeMap<OktaId, bool> {
    let remembered = view.ledger.known().into_iter().flat_map(|ledger| ledger.people.keys().cloned());
    let mut people: BTreeMap<OktaId, bool> = remembered.map(|okta| (okta, false)).collect();
    let members = view.members.listed();
    if let Reading::Known { shifts, .. } = &view.reading {
        for shift in shifts {
            if let Identity::Known(okta) = &shift.okta {
                people.insert(okta.clone(), members.is_some_and(|members| !members.contains_key(okta)));
            }
        }
    }
    people.retain(|okta, _| !view.binding.keep.contains(okta));
    people
}

/// The groups of eligible people that somebody is not in, and that Okta does not show to this role, or not now: then no list
/// of a person's groups has them, and a missing one says nothing.
async fn unseen_groups(answers: &Answers, views: &[View], okta: &Okta, deadline: Deadline) -> BTreeMap<GroupId, Error> {
    let missed = views.iter().filter_map(|view| {
        let group = view.binding.eligible_group.clone()?;
        let is_missed = |person| matches!(answers.get(person), Some(Ok(groups)) if !groups.contains(&group));
        people(view).keys().any(is_missed).then_some(group)
    });
    let seen = each(missed, async |group| okta.group(group, deadline).await?.ok_or_else(|| unseen(group)));
    seen.await.into_iter().filter_map(|(group, seen)| Some((group, seen.err()?))).collect()
}

fn eligible(
    people: impl Iterator<Item = OktaId>,
    group: &GroupId,
    answers: &Answers,
    unseen: Option<&Error>,
) -> Eligible {
    let (mut known, mut unknown) = (BTreeMap::new(), None);
    for person in people {
        let is_in = answers.get(&person).map(|groups| groups.as_ref().map(|groups| groups.contains(group)));
        match (is_in, unseen) {
            (Some(Ok(true)), _) => _ = known.insert(person, true),
            (Some(Ok(false)), None) => _ = known.insert(person, false),
            (Some(Ok(false)), Some(error)) | (Some(Err(error)), _) => unknown = Some(error.clone()),
            (None, _) => unknown = Some(not_asked()),
        }
    }
    match unknown {
        Some(why) => Eligible::Unknown { why, known },
        None => Eligible::Only(known.into_iter().filter_map(|(person, is)| is.then_some(person)).collect()),
    }
}

/// What is known before anybody was asked for.
pub(super) fn nobody_asked() -> Eligible {
    Eligible::Unknown { why: not_asked(), known: BTreeMap::new() }
}

fn not_asked() -> Error {
    Error::of(Core::InternalDefect, "Okta was not asked who is eligible.")
}

/// No answer about anybody counts while the group itself is not to be seen.
pub(crate) fn unseen(group: &GroupId) -> Error {
    Error::new(
        Code::GroupNotFound,
        format!("Okta has no group {group}, which says who is eligible, or does not show it to this role."),
        "Correct eligible_group in the binding's document, or put the group into the resource set of the role that looks people up (infra/okta has the calls).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: for<'a> TryFrom<&'a str, Error = String>>(text: &str) -> T {
        T::try_from(text).unwrap()
    }

    #[test]
    fn whoever_waits_for_a_grant_is_asked_for_first_and_then_whoever_was_asked_for_longest_ago() {
        let eligibility = Eligibility::new(Clock::system());
        let ago = |minutes| Asked { at: DateTime::UNIX_EPOCH - TimeDelta::minutes(minutes), groups: BTreeSet::new() };
        lock(&eligibility.asked).extend([(id("00u1"), ago(1)), (id("00u2"), ago(3)), (id("00u3"), ago(2))]);
        let mut open: Vec<(OktaId, Question)> =
            ["00u1", "00u2", "00u3", "00u4"].map(|person| (id(person), Question::default())).into();
        open.push((id("00uNew"), Question { newcomer: true, ..Question::default() }));
        eligibility.in_turn(&mut open);
        let turns: Vec<&str> = open.iter().map(|(person, _)| person.as_str()).collect();
        assert_eq!(turns, ["00uNew", "00u4", "00u2", "00u3", "00u1"]);
    }

    #[test]
    fn a_yes_is_kept_for_who_is_in_and_a_no_for_nobody() {
        let eligibility = Eligibility::new(Clock::of(|| DateTime::UNIX_EPOCH));
        let (ann, dba, admins): (OktaId, GroupId, GroupId) = (id("00u1"), id("00g1"), id("00g2"));
        eligibility.remember(&ann, &Ok(BTreeSet::from([dba.clone()])));
        let kept = |groups: &[&GroupId], newcomer| {
            let groups = groups.iter().map(|group| (*group).clone()).collect();
            eligibility.kept(&ann, &Question { groups, newcomer }).is_some()
        };
        assert!(kept(&[&dba], false));
        assert!(!kept(&[&dba], true) && !kept(&[&admins], false) && !kept(&[&dba, &admins], false));
    }

    #[test]
    fn a_missing_group_is_a_no_only_where_the_group_is_to_be_seen() {
        let (ann, bob, dba): (OktaId, OktaId, GroupId) = (id("00u1"), id("00u2"), id("00g1"));
        let answers =
            Answers::from([(ann.clone(), Ok(BTreeSet::from([dba.clone()]))), (bob.clone(), Ok(BTreeSet::new()))]);
        let people = || [ann.clone(), bob.clone()].into_iter();
        assert!(eligible(people(), &dba, &answers, None).excludes(&bob));
        let hidden = eligible(people(), &dba, &answers, Some(&unseen(&dba)));
        assert!(hidden.admits(&ann) && !hidden.admits(&bob) && !hidden.excludes(&bob));
        let cid = id("00u3");
        let asked_too_little = eligible(people().chain([id("00u3")]), &dba, &answers, None);
        assert!(asked_too_little.excludes(&bob) && !asked_too_little.excludes(&cid) && !asked_too_little.admits(&cid));
    }
}
