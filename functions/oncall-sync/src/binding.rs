//! What ties one on-call source to one Okta group: the JSON document of each parameter below `CONFIG_PATH`.

use crate::codes::Code;
use chrono::TimeDelta;
use keyturn::ids::{BindingId, GroupId, OktaId, PersonId, PolicyId, RotationId, ScheduleId};
use keyturn::{Error, Result};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const MOST_POST_SHIFT: TimeDelta = TimeDelta::minutes(15);
const LEAST_STALE: TimeDelta = TimeDelta::minutes(5);
const MAX_STALE: TimeDelta = TimeDelta::hours(2);
const GAP_CONFIRM_RUNS: u32 = 2;
/// The source is never asked for more than a day ahead: an end beyond that is not known.
const MOST_STALE: TimeDelta = TimeDelta::hours(24);

/// The schedules and escalation policy whose shifts decide who is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Whoever is on call in any of these schedules.
    Schedules { ids: BTreeSet<ScheduleId>, counted: Counted },
    /// Whoever is on call at these levels of an escalation policy.
    Policy {
        id: PolicyId,
        /// Its levels, counted from one.
        levels: BTreeSet<u32>,
    },
}

/// Which parts of a schedule count. One that is made of layers has none, and counts whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// These rotations alone; `None`: all of them.
    pub rotations: Option<BTreeSet<RotationId>>,
    /// Shifts beside the rotations.
    pub custom_shifts: bool,
}

impl Counted {
    /// Whoever is on call counts.
    #[must_use]
    pub fn everything() -> Self {
        Self { rotations: None, custom_shifts: true }
    }
}

/// The rule for group members that this function did not add.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Outsiders {
    Revoke,
    /// They stay, and an alert is sent.
    Report,
}

/// One binding, all of it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The name of the parameter that holds the document; empty where there is none.
    pub parameter: String,
    /// The last segment of that name.
    pub id: BindingId,
    pub source: Source,
    /// The group that carries the rights.
    pub group: GroupId,
    /// The group's name, to be sure that the id is the one that was meant.
    pub group_name: String,
    /// More people on call than this, and nobody is granted.
    pub max_members: usize,
    /// More grants than this in one run, and nobody is granted.
    pub max_new_per_run: usize,
    /// Only members of this group are ever granted.
    pub eligible_group: Option<GroupId>,
    /// Okta ids of people whose address does not lead to them.
    pub identities: BTreeMap<PersonId, OktaId>,
    /// Persons of the on-call source that stand for "nobody".
    pub placeholders: BTreeSet<PersonId>,
    /// Never taken out of the group: sealed emergency accounts.
    pub keep: BTreeSet<OktaId>,
    /// How long after the end of a shift its engineer stays.
    pub post_shift: TimeDelta,
    /// How long a grant outlives the last reading of the source.
    pub max_stale: TimeDelta,
    /// So many readings in a row must find nobody on call before that counts.
    pub gap_confirm_runs: u32,
    /// People whom the ledger does not know.
    pub out_of_band: Outsiders,
    /// People who are in the group when the ledger begins.
    pub adoption: Outsiders,
}

/// The document as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schedules: Option<BTreeSet<ScheduleId>>,
    rotations: Option<BTreeSet<RotationId>>,
    custom_shifts: Option<bool>,
    escalation_policy: Option<PolicyId>,
    levels: Option<BTreeSet<u32>>,
    okta_group: GroupId,
    group_name: String,
    max_members: Option<usize>,
    max_new_per_run: Option<usize>,
    eligible_group: Option<GroupId>,
    #[serde(default)]
    identities: Identities,
    #[serde(default)]
    placeholders: BTreeSet<PersonId>,
    #[serde(default)]
    keep: BTreeSet<OktaId>,
    #[serde(default, deserialize_with = "duration")]
    post_shift: Option<TimeDelta>,
    #[serde(default, deserialize_with = "duration")]
    max_stale: Option<TimeDelta>,
    gap_confirm_runs: Option<u32>,
    out_of_band: Option<Outsiders>,
    adoption: Option<Outsiders>,
}

/// A map in which no key stands twice: of two identities of one person, nobody could say which one counts.
#[derive(Default)]
struct Identities(BTreeMap<PersonId, OktaId>);

impl<'de> Deserialize<'de> for Identities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Identities {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of PagerDuty ids to Okta ids")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> std::result::Result<Self, A::Error> {
        while let Some((person, okta)) = map.next_entry::<PersonId, OktaId>()? {
            if self.0.insert(person.clone(), okta).is_some() {
                return Err(A::Error::custom(format!("{person} stands twice")));
            }
        }
        Ok(self)
    }
}

/// `"90s"`, `"15m"`, `"2h"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<TimeDelta>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let parsed = humantime::parse_duration(&text)
        .map_err(|_| D::Error::custom(format!("{text:?} is no duration, such as \"15m\"")))?;
    TimeDelta::from_std(parsed).map(Some).map_err(|_| D::Error::custom(format!("{text:?} is too long")))
}

impl Binding {
    /// Reads the document of the parameter called `name`.
    ///
    /// # Errors
    /// `BINDING_INVALID`, with the parameter's name, the path of the key, and what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let id = name.rsplit('/').next().unwrap_or_default();
        let id = BindingId::try_from(id).map_err(|problem| invalid(name, "its name", &problem))?;
        // serde would also take a list, as the values in the order of the keys.
        if !text.trim_start().starts_with('{') {
            return Err(invalid(name, "the document", "it is no JSON object"));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let document: Document = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| invalid(name, &error.path().to_string(), &error.inner().to_string()))?;
        json.end().map_err(|_| invalid(name, ".", "there is something after the document"))?;
        document.check(name, id).map_err(|(path, problem)| invalid(name, path, &problem))
    }

    /// The binding of a ledger that no document names any more: it never grants.
    pub(crate) fn abandoned(id: BindingId, group: GroupId) -> Self {
        Self {
            parameter: String::new(),
            id,
            source: Source::Schedules { ids: BTreeSet::new(), counted: Counted::everything() },
            group,
            group_name: String::new(),
            max_members: 0,
            max_new_per_run: 0,
            eligible_group: None,
            identities: BTreeMap::new(),
            placeholders: BTreeSet::new(),
            keep: BTreeSet::new(),
            post_shift: TimeDelta::zero(),
            max_stale: MAX_STALE,
            gap_confirm_runs: GAP_CONFIRM_RUNS,
            out_of_band: Outsiders::Report,
            adoption: Outsiders::Report,
        }
    }
}

fn invalid(name: &str, path: &str, problem: &str) -> Error {
    let path = if path == "." || path == "?" { "the document" } else { path };
    Error::new(
        Code::BindingInvalid,
        format!("The parameter {name} is no binding: {path}: {problem}."),
        format!(
            "Correct it; until then nothing changes but that recorded shifts end: aws ssm put-parameter --overwrite --name {name} --value file://binding.json"
        ),
    )
}

impl Document {
    fn check(self, parameter: &str, id: BindingId) -> std::result::Result<Binding, (&'static str, String)> {
        if self.rotations.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(("rotations", "at least one, or leave the key out, and all of them count".to_owned()));
        }
        if self.schedules.is_none() && (self.rotations.is_some() || self.custom_shifts.is_some()) {
            return Err(("rotations", "rotations and custom_shifts are of schedules, not of a policy".to_owned()));
        }
        let counted = Counted { rotations: self.rotations, custom_shifts: self.custom_shifts.unwrap_or(true) };
        let source = match (self.schedules, self.escalation_policy, self.levels) {
            (Some(ids), None, None) if (1..=10).contains(&ids.len()) => Source::Schedules { ids, counted },
            (Some(_), None, None) => return Err(("schedules", "one to ten are needed".to_owned())),
            (None, Some(id), Some(levels)) if !levels.is_empty() && !levels.contains(&0) => {
                Source::Policy { id, levels }
            }
            (None, Some(_), _) => {
                return Err(("levels", "an escalation policy needs its levels, counted from 1".to_owned()));
            }
            _ => return Err(("schedules", "either schedules, or escalation_policy with levels".to_owned())),
        };
        if self.group_name.trim().is_empty() || self.group_name.chars().any(char::is_control) {
            return Err(("group_name", "the group's name as Okta shows it".to_owned()));
        }
        let binding = Binding {
            parameter: parameter.to_owned(),
            id,
            source,
            group: self.okta_group,
            group_name: self.group_name,
            max_members: self.max_members.unwrap_or(2),
            max_new_per_run: self.max_new_per_run.or(self.max_members).unwrap_or(2),
            eligible_group: self.eligible_group,
            identities: self.identities.0,
            placeholders: self.placeholders,
            keep: self.keep,
            post_shift: self.post_shift.unwrap_or_default(),
            max_stale: self.max_stale.unwrap_or(MAX_STALE),
            gap_confirm_runs: self.gap_confirm_runs.unwrap_or(GAP_CONFIRM_RUNS),
            out_of_band: self.out_of_band.unwrap_or(Outsiders::Revoke),
            adoption: self.adoption.unwrap_or(Outsiders::Report),
        };
        // Twenty rows of a ledger fit into a parameter.
        if !(1..=20).contains(&binding.max_members) {
            return Err(("max_members", "1 to 20".to_owned()));
        }
        if !(1..=binding.max_members).contains(&binding.max_new_per_run) {
            return Err(("max_new_per_run", "1 to max_members".to_owned()));
        }
        if binding.eligible_group.as_ref() == Some(&binding.group) {
            return Err(("eligible_group", "the group itself says nothing about who may be in it".to_owned()));
        }
        if binding.post_shift > MOST_POST_SHIFT {
            return Err(("post_shift", "15m at most".to_owned()));
        }
        if !(LEAST_STALE..=MOST_STALE).contains(&binding.max_stale) {
            return Err(("max_stale", "5m to 24h".to_owned()));
        }
        if !(1..=60).contains(&binding.gap_confirm_runs) {
            return Err(("gap_confirm_runs", "1 to 60".to_owned()));
        }
        Ok(binding)
    }
}

/// All documents below `CONFIG_PATH`, the good and the bad.
#[derive(Debug, Default)]
pub struct Bindings {
    /// Those that can be followed.
    pub good: Vec<Binding>,
    /// Those that cannot: nothing is changed for them.
    pub bad: BTreeMap<String, Error>,
}

impl Bindings {
    /// Reads every document; a bad one stops nobody else. `holders` are the bindings whose ledger each group has: of
    /// documents that are at odds about a group, that binding's counts. `unread` are documents that are refused already.
    #[must_use]
    pub fn read<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a str)>,
        holders: &BTreeMap<GroupId, BindingId>,
        unread: BTreeMap<String, Error>,
    ) -> Self {
        let mut read = Self { good: Vec::new(), bad: unread };
        for (name, text) in documents {
            match Binding::parse(name, text) {
                Ok(binding) => read.good.push(binding),
                Err(error) => _ = read.bad.insert(name.to_owned(), error),
            }
        }
        // First: a document that is refused below still names the group that no other may fill.
        read.refuse_eligible_groups(holders);
        read.refuse_shared_groups(holders);
        read
    }

    /// Each of two bindings of one group would remove the people of the other. The one that had it first keeps it.
    fn refuse_shared_groups(&mut self, holders: &BTreeMap<GroupId, BindingId>) {
        let mut users: BTreeMap<GroupId, Vec<String>> = BTreeMap::new();
        for binding in &self.good {
            users.entry(binding.group.clone()).or_default().push(binding.parameter.clone());
        }
        // The binding that has the ledger of a group keeps the group while its own document is bad.
        let mut kept = holders.clone();
        kept.retain(|_, holder| self.error_of(holder).is_some());
        self.refuse("okta_group", |Binding { id, group, .. }| {
            let holder = kept.get(group).filter(|holder| *holder != id)?;
            Some(format!("{group} is the group of binding {holder} too"))
        });
        self.refuse("okta_group", |binding| {
            let others: Vec<&str> =
                users[&binding.group].iter().map(String::as_str).filter(|name| *name != binding.parameter).collect();
            let is_another_s = !others.is_empty() && !had_first(holders, binding);
            is_another_s.then(|| format!("{} is the group of {} too", binding.group, others.join(", ")))
        });
    }

    /// Otherwise the author of one document could make anybody eligible for another binding; or stop it, by naming its group
    /// as the one of eligible people.
    fn refuse_eligible_groups(&mut self, holders: &BTreeMap<GroupId, BindingId>) {
        // After a rename the ledger is that of a name without a document, until a tick writes it under the new one.
        let is_gone = |id: &BindingId| self.error_of(id).is_none() && self.good.iter().all(|binding| binding.id != *id);
        let is_left = |binding: &Binding| holders.get(&binding.group).is_some_and(is_gone);
        let held = self.good.iter().filter(|binding| had_first(holders, binding) || is_left(binding));
        let held: BTreeSet<GroupId> = held.map(|binding| binding.group.clone()).collect();
        self.refuse("eligible_group", |binding| {
            let is_held = binding.eligible_group.as_ref().is_some_and(|group| held.contains(group));
            is_held.then(|| "it is the group of another binding".to_owned())
        });
        let eligible: BTreeSet<GroupId> =
            self.good.iter().filter_map(|binding| binding.eligible_group.clone()).collect();
        self.refuse("okta_group", |Binding { group, .. }| {
            eligible.contains(group).then(|| format!("{group} says who is eligible for another binding"))
        });
    }

    /// Refuses the documents that have this problem with this key.
    fn refuse(&mut self, key: &str, problem: impl Fn(&Binding) -> Option<String>) {
        self.good.retain(|binding| match problem(binding) {
            None => true,
            Some(problem) => {
                self.bad.insert(binding.parameter.clone(), invalid(&binding.parameter, key, &problem));
                false
            }
        });
    }

    /// The error of the document of this binding, if it cannot be followed.
    #[must_use]
    pub fn error_of(&self, id: &BindingId) -> Option<&Error> {
        self.bad.iter().find(|(name, _)| name.rsplit('/').next() == Some(id.as_str())).map(|(_, error)| error)
    }
}

/// Whether the ledger of its group is this binding's.
fn had_first(holders: &BTreeMap<GroupId, BindingId>, binding: &Binding) -> bool {
    holders.get(&binding.group) == Some(&binding.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"schedules": ["PSCHED1"], "okta_group": "00g1", "group_name": "break-glass"}"#;

    fn with(key: &str, value: &str) -> String {
        GOOD.replacen('{', &format!("{{\"{key}\": {value}, "), 1)
    }

    #[test]
    fn a_short_document_gets_careful_defaults() {
        let binding = Binding::parse("/keyturn/prod/oncall/shop", GOOD).unwrap();
        assert_eq!(binding.id.as_str(), "shop");
        assert_eq!((binding.max_members, binding.max_new_per_run, binding.gap_confirm_runs), (2, 2, 2));
        assert_eq!((binding.post_shift, binding.max_stale), (TimeDelta::zero(), TimeDelta::hours(2)));
        assert_eq!((binding.out_of_band, binding.adoption), (Outsiders::Revoke, Outsiders::Report));
    }

    #[test]
    fn a_bad_document_is_refused_with_the_path_of_the_key() {
        for (document, path) in [
            ("[]".to_owned(), "the document: "),
            ("{".to_owned(), "the document: "),
            (format!("{GOOD} {GOOD}"), "the document: there is something after"),
            (with("eligable_group", "\"00g2\""), "eligable_group: unknown field"),
            (with("schedules", "[\"P2\"]"), "the document: duplicate field `schedules`"),
            (GOOD.replace("[\"PSCHED1\"]", "[]"), "schedules: one to ten"),
            (GOOD.replace("\"PSCHED1\"", "\"P1\", \"a/b\""), "schedules[1]: \"a/b\" is no id"),
            (with("levels", "[1]"), "schedules: either schedules, or"),
            (with("escalation_policy", "\"P9\""), "schedules: either schedules, or"),
            (with("rotations", "[]"), "rotations: at least one"),
            (with("custom_shifts", "\"no\""), "custom_shifts: invalid type"),
            (
                GOOD.replace(
                    "\"schedules\": [\"PSCHED1\"]",
                    r#""escalation_policy": "P9", "levels": [1], "rotations": ["R1"]"#,
                ),
                "rotations: rotations and custom_shifts are of schedules",
            ),
            (GOOD.replace("\"schedules\": [\"PSCHED1\"]", "\"escalation_policy\": \"P9\""), "levels: an escalation"),
            (
                GOOD.replace("\"schedules\": [\"PSCHED1\"]", "\"escalation_policy\": \"P9\", \"levels\": [0]"),
                "levels: an escalation",
            ),
            (GOOD.replace("break-glass", " "), "group_name: "),
            (with("max_members", "0"), "max_members: 1 to 20"),
            (with("max_members", "-1"), "max_members: invalid value"),
            (with("max_new_per_run", "3"), "max_new_per_run: 1 to max_members"),
            (with("eligible_group", "\"00g1\""), "eligible_group: the group itself"),
            (with("identities", r#"{"P1": "00u1", "P1": "00u2"}"#), "P1 stands twice"),
            (with("identities", r#"{"P1": "https://evil"}"#), "identities.P1: "),
            (with("keep", "[\"\"]"), "keep[0]: "),
            (with("post_shift", "\"16m\""), "post_shift: 15m at most"),
            (with("post_shift", "15"), "post_shift: invalid type"),
            (with("max_stale", "\"soon\""), "max_stale: \"soon\" is no duration"),
            (with("max_stale", "\"1m\""), "max_stale: 5m to 24h"),
            (with("max_stale", "\"2days\""), "max_stale: 5m to 24h"),
            (with("gap_confirm_runs", "0"), "gap_confirm_runs: 1 to 60"),
            (with("out_of_band", "\"ignore\""), "out_of_band: unknown variant"),
        ] {
            let error = Binding::parse("/keyturn/prod/oncall/shop", &document).unwrap_err();
            assert_eq!(error.code(), "BINDING_INVALID");
            assert!(error.message().contains("/keyturn/prod/oncall/shop"), "{error}");
            assert!(error.message().contains(path), "{path} in {error}");
        }
    }

    #[test]
    fn one_group_in_two_new_bindings_stops_both_and_nobody_else() {
        let other = GOOD.replace("00g1", "00g2");
        let bindings = Bindings::read(
            [("/x/a", GOOD), ("/x/b", GOOD), ("/x/c", &other), ("/x/d", "{}")],
            &BTreeMap::new(),
            BTreeMap::new(),
        );
        assert_eq!(bindings.good.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["c"]);
        assert_eq!(bindings.bad.keys().collect::<Vec<_>>(), ["/x/a", "/x/b", "/x/d"]);
        assert!(bindings.bad["/x/a"].message().contains("the group of /x/b too"), "{}", bindings.bad["/x/a"]);
        assert!(bindings.error_of(&"d".try_into().unwrap()).is_some());
        assert!(bindings.error_of(&"c".try_into().unwrap()).is_none());
    }
    #[test]
    fn nobody_makes_themselves_eligible_for_another_binding() {
        let shop = GOOD.replacen('{', "{\"eligible_group\": \"00g9\", ", 1);
        let evil = GOOD.replace("00g1", "00g9");
        let bindings =
            Bindings::read([("/x/shop", shop.as_str()), ("/x/evil", &evil)], &BTreeMap::new(), BTreeMap::new());
        assert_eq!(bindings.good.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["shop"]);
        assert!(bindings.bad["/x/evil"].message().contains("okta_group: 00g9 says who is eligible"), "{bindings:?}");
    }

    #[test]
    fn a_wrong_eligible_group_elsewhere_does_not_stop_a_binding_that_is_renamed() {
        let holders = BTreeMap::from([("00g1".try_into().unwrap(), "shop".try_into().unwrap())]);
        let eligible = GOOD.replace("00g1", "00g2").replacen('{', "{\"eligible_group\": \"00g1\", ", 1);
        for name in ["/x/shop", "/x/store"] {
            let bindings = Bindings::read([(name, GOOD), ("/x/bank", &eligible)], &holders, BTreeMap::new());
            assert_eq!(bindings.good.iter().map(|b| b.parameter.as_str()).collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn a_second_document_that_names_a_group_in_any_way_stops_only_itself() {
        let holders = BTreeMap::from([("00g1".try_into().unwrap(), "shop".try_into().unwrap())]);
        let eligible = GOOD.replace("00g1", "00g2").replacen('{', "{\"eligible_group\": \"00g1\", ", 1);
        for (other, problem) in
            [(GOOD, "00g1 is the group of /x/shop too"), (&eligible, "the group of another binding")]
        {
            let bindings = Bindings::read([("/x/shop", GOOD), ("/x/other", other)], &holders, BTreeMap::new());
            assert_eq!(bindings.good.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["shop"]);
            assert!(bindings.bad["/x/other"].message().contains(problem), "{bindings:?}");
        }
        // Nor does it get the group when the first one has a typo.
        let bindings = Bindings::read([("/x/shop", "{}"), ("/x/other", GOOD)], &holders, BTreeMap::new());
        assert_eq!((bindings.good.len(), bindings.bad.len()), (0, 2), "{bindings:?}");
    }
}
