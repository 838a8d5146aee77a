//! What the org holds: users, groups, rules, apps, tokens, and what the test has arranged for the next calls.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, SecondsFormat, Utc};
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::paging::{Cursor, LinkStyle};
use super::refusal::random;

/// What the caller's admin role allows, in the words of Okta's custom roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// `okta.groups.members.manage`: adding and removing members.
    MembersManage,
    /// `okta.groups.read`: groups, their members, group rules; and which groups a list of a user's groups shows.
    GroupsRead,
    /// `okta.users.read`: users.
    UsersRead,
}

pub(super) struct User {
    pub id: String,
    pub login: String,
    pub email: String,
    pub status: String,
    /// Okta is changing `status` to this one.
    pub transition: Option<&'static str>,
    created: DateTime<Utc>,
}

impl User {
    pub(super) fn shown(&self, url: &str) -> Value {
        json!({
            "id": self.id,
            "status": self.status,
            "transitioningToStatus": self.transition,
            "created": stamp(self.created),
            "activated": null,
            "statusChanged": null,
            "lastLogin": null,
            "lastUpdated": stamp(self.created),
            "passwordChanged": null,
            "type": {"id": "oty00000000000000001"},
            "profile": {
                "firstName": "Given",
                "lastName": "Family",
                "mobilePhone": null,
                "secondEmail": null,
                "login": self.login,
                "email": self.email,
            },
            "credentials": {"provider": {"type": "OKTA", "name": "OKTA"}},
            "_links": {"self": {"href": format!("{url}/api/v1/users/{}", self.id)}},
        })
    }
}

pub(super) struct Group {
    id: String,
    pub name: String,
    pub description: Option<String>,
    pub kind: String,
    members: BTreeSet<String>,
    created: DateTime<Utc>,
    changed: DateTime<Utc>,
    lag: usize,
    /// The members before the last change, and how many more lists show them.
    stale: Option<(BTreeSet<String>, usize)>,
}

impl Group {
    pub(super) fn shown(&self, url: &str) -> Value {
        json!({
            "id": self.id,
            "created": stamp(self.created),
            "lastUpdated": stamp(self.created),
            "lastMembershipUpdated": stamp(self.changed),
            "objectClass": ["okta:user_group"],
            "type": self.kind,
            "profile": {"name": self.name, "description": self.description},
            "_links": {"users": {"href": format!("{url}/api/v1/groups/{}/users", self.id)}},
        })
    }

    pub(super) fn members(&self) -> &BTreeSet<String> {
        &self.members
    }

    /// Every change from now on is hidden from this many member lists.
    pub(super) fn set_lag(&mut self, lists: usize) {
        self.lag = lists;
        self.stale = None;
    }

    pub(super) fn add(&mut self, user: &str, now: DateTime<Utc>) {
        if !self.members.contains(user) {
            self.before_change(now);
            self.members.insert(user.to_owned());
        }
    }

    pub(super) fn remove(&mut self, user: &str, now: DateTime<Utc>) {
        if self.members.contains(user) {
            self.before_change(now);
            self.members.remove(user);
        }
    }

    fn before_change(&mut self, now: DateTime<Utc>) {
        self.changed = now;
        self.stale = (self.lag > 0).then(|| (self.members.clone(), self.lag));
    }

    /// The members as the next list shows them.
    pub(super) fn list(&mut self) -> Vec<String> {
        match &mut self.stale {
            Some((before, lists)) if *lists > 0 => {
                *lists -= 1;
                before.iter().cloned().collect()
            }
            _ => self.members.iter().cloned().collect(),
        }
    }
}

pub(super) struct Rule {
    pub group: String,
    pub active: bool,
}

impl Rule {
    pub(super) fn shown(&self, id: &str) -> Value {
        json!({
            "id": id,
            "type": "group_rule",
            "status": if self.active { "ACTIVE" } else { "INACTIVE" },
            "name": format!("fills {}", self.group),
            "conditions": {"expression": {"value": "user.department==\"DBA\"", "type": "urn:okta:expression:1.0"}},
            "actions": {"assignUserToGroups": {"groupIds": [self.group]}},
        })
    }
}

/// A service app as Okta knows it.
pub(super) struct App {
    pub kid: String,
    pub key: Jwk,
    pub scopes: BTreeSet<String>,
}

/// An access token, bound to the key that proved itself when it was issued.
pub(super) struct Token {
    pub scopes: BTreeSet<String>,
    pub thumbprint: String,
    pub expires: DateTime<Utc>,
}

#[derive(Default)]
pub(super) struct State {
    /// Where the emulator listens, without a slash at the end.
    pub url: String,
    ids: u32,
    pub users: BTreeMap<String, User>,
    pub groups: BTreeMap<String, Group>,
    /// Groups outside of the resource sets of the caller's admin role.
    pub hidden: BTreeSet<String>,
    pub rules: BTreeMap<String, Rule>,
    pub cursors: HashMap<String, Cursor>,
    pub page_size: Option<usize>,
    pub link_style: LinkStyle,
    pub forbidden: BTreeSet<Permission>,
    pub limited: usize,
    pub conflicts: usize,
    pub ssws: Option<String>,
    pub apps: HashMap<String, App>,
    pub tokens: HashMap<String, Token>,
    pub nonce: String,
    /// The `jti` of every assertion and proof so far.
    pub spent: HashSet<String>,
}

impl State {
    pub(super) fn new() -> Self {
        Self { ssws: Some(format!("00{}", random(40))), nonce: random(32), ..Self::default() }
    }

    /// Twenty characters, in the order in which they were asked for.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{:017}", self.ids)
    }

    pub(super) fn add_user(
        &mut self,
        login: &str,
        email: &str,
        status: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<String> {
        let taken = self.users.values().any(|user| user.login.eq_ignore_ascii_case(login));
        anyhow::ensure!(!taken, "a second user with the login {login}");
        let id = self.id("00u");
        let user = User {
            id: id.clone(),
            login: login.to_owned(),
            email: email.to_owned(),
            status: status.to_owned(),
            transition: None,
            created: now,
        };
        self.users.insert(id.clone(), user);
        Ok(id)
    }

    pub(super) fn add_group(&mut self, name: &str, kind: &str, now: DateTime<Utc>) -> String {
        let id = self.id("00g");
        let group = Group {
            id: id.clone(),
            name: name.to_owned(),
            description: None,
            kind: kind.to_owned(),
            members: BTreeSet::new(),
            created: now,
            changed: now,
            lag: 0,
            stale: None,
        };
        self.groups.insert(id.clone(), group);
        id
    }

    /// The groups of a user that the caller's admin role may see.
    pub(super) fn groups_of(&self, user: &str) -> Vec<String> {
        let visible = |id: &String| !self.hidden.contains(id) && !self.forbidden.contains(&Permission::GroupsRead);
        let of_user = self.groups.iter().filter(|(id, group)| group.members.contains(user) && visible(id));
        of_user.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn delete_user(&mut self, id: &str, now: DateTime<Utc>) {
        self.users.remove(id);
        for group in self.groups.values_mut() {
            group.remove(id, now);
        }
    }
}

/// A time stamp as Okta writes it.
fn stamp(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
