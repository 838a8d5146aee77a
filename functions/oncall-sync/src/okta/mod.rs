//! Okta's Management API: groups, their members, and users.

mod account;
mod app;
mod errors;
mod jws;
mod link;
mod membership;
mod people;

pub use account::Account;
pub(crate) use membership::{Membership, Outcome};
pub(crate) use people::{Found, Status, User};

use crate::codes::Code;
use crate::settings::Settings;
use errors::Permission;
use keyturn::http::header::LINK;
use keyturn::http::{Answer, Base, Request, StatusCode};
use keyturn::ids::{GroupId, OktaId};
use keyturn::vendor::{Clients, Proof, Vendor};
use keyturn::{Deadline, Error, Result};
use people::WireUser;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// More than 10,000 members in a break-glass group: something else is wrong.
const MOST_PAGES: usize = 50;
const ACTIVE: &str = "ACTIVE";

/// The client of one organization at Okta.
pub(crate) struct Okta {
    vendor: Vendor<Account>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    /// The name of its profile.
    pub(crate) name: String,
    /// Its type; people are put by hand or by API into an `OKTA_GROUP` only.
    pub(crate) kind: String,
    /// The deployment that its description names, if any.
    pub(crate) owner: Option<String>,
}

impl Group {
    /// The prefix of the word in a group's description that names the deployment which looks after it. Deployments in other
    /// accounts and regions read it there.
    pub(crate) const OWNER: &str = "keyturn:";
}

/// What the rules of an org do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The groups that an active rule fills: it would add again whom this function removes.
    pub(crate) filled: BTreeSet<GroupId>,
    /// How many rules have a form that Okta does not document.
    pub(crate) odd: usize,
}

/// Everyone in a group, each once.
pub(crate) type Members = BTreeMap<OktaId, User>;

impl Okta {
    /// The client of the organization that the settings name.
    pub(crate) fn new(settings: &Settings, clients: &Clients) -> Self {
        let org = settings.okta_org.clone();
        let vendor = Vendor::new(clients, &settings.okta_secret, move |text, client, clock| {
            Account::parse(text, org.as_ref(), client, clock)
        });
        Self { vendor }
    }

    /// Why the credential in use is not the one in the secret, where it is not.
    pub(crate) async fn problem(&self) -> Option<Error> {
        self.vendor.problem().await
    }

    /// Whether Okta answers the credential that is stored in the secret now, whatever it may do.
    ///
    /// # Errors
    /// `CREDENTIAL_MISSING`, `OKTA_SECRET_INVALID`, what reading a secret can say, and what a call can say of the credential.
    pub(crate) async fn check_secret(&self, deadline: Deadline) -> Result<()> {
        let call = Call::get("/api/v1/users?limit=200", Permission::ReadUsers);
        let send = async |account: &Account| account.send(&call.name, &call.request, deadline).await;
        self.vendor.check(deadline, |outcome| call.judge(outcome), send).await.map(drop)
    }

    /// The group; `None` where there is none of this id.
    ///
    /// # Errors
    /// The `OKTA_*` codes, and those of reading the secret; so for every call here.
    pub(crate) async fn group(&self, id: &GroupId, deadline: Deadline) -> Result<Option<Group>> {
        let call = Call::get(format!("/api/v1/groups/{id}"), Permission::ReadGroups);
        let group: Option<WireGroup> = self.read_one(&call, deadline).await?;
        Ok(group.map(|WireGroup { id, kind, profile }| {
            let mut words = profile.description.as_deref().unwrap_or_default().split_whitespace();
            let owner = words.find_map(|word| word.strip_prefix(Group::OWNER)).map(str::to_owned);
            Group { id, name: profile.name, kind, owner }
        }))
    }

    /// Everyone in the group, from every page of the list, or an error.
    ///
    /// # Errors
    /// `OKTA_PAGING_STRANGE` where the pages lead elsewhere or nowhere.
    pub(crate) async fn members(&self, group: &GroupId, deadline: Deadline) -> Result<Members> {
        let path = format!("/api/v1/groups/{group}/users?limit=200");
        let people: Vec<WireUser> = self.read_all(Call::get(path, Permission::ReadGroups), deadline).await?;
        Ok(people.into_iter().map(User::from).map(|user| (user.id.clone(), user)).collect())
    }

    /// What the org's group rules do. One of an unknown form does not hide the others.
    ///
    /// # Errors
    /// `OKTA_PAGING_STRANGE` where the pages lead elsewhere or nowhere.
    pub(crate) async fn rules(&self, deadline: Deadline) -> Result<Rules> {
        let call = Call::get("/api/v1/groups/rules?limit=50", Permission::ReadGroups);
        let rules: Vec<Value> = self.read_all(call, deadline).await?;
        let read: Vec<Option<Vec<GroupId>>> = rules.iter().map(filled_by).collect();
        let odd = read.iter().filter(|rule| rule.is_none()).count();
        Ok(Rules { filled: read.into_iter().flatten().flatten().collect(), odd })
    }

    /// One thing; `None` where it does not exist.
    async fn read_one<T: DeserializeOwned>(&self, call: &Call, deadline: Deadline) -> Result<Option<T>> {
        let answer = self.send(call, deadline).await?;
        match answer.status {
            StatusCode::NOT_FOUND => call.not_found(&answer).map(|()| None),
            _ => call.read(&answer).map(Some),
        }
    }

    /// A whole list, page by page.
    async fn read_all<T: DeserializeOwned>(&self, mut call: Call, deadline: Deadline) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut seen = BTreeSet::from([call.request.path().to_owned()]);
        for _ in 0..MOST_PAGES {
            let answer = self.send(&call, deadline).await?;
            all.extend(call.read::<Vec<T>>(&answer)?);
            let base = self.vendor.account(deadline).await?.base().clone();
            let Some(next) = call.next_page(&base, &answer)? else { return Ok(all) };
            if !seen.insert(next.clone()) {
                return Err(errors::endless(&call.name, "a next page was named before"));
            }
            call.request = Request::get(next);
        }
        Err(errors::endless(&call.name, &format!("more than {MOST_PAGES} pages")))
    }

    async fn send(&self, call: &Call, deadline: Deadline) -> Result<Answer> {
        let send = async |account: &Account| account.send(&call.name, &call.request, deadline).await;
        self.vendor.call(deadline, |outcome| call.judge(outcome), send).await
    }
}

/// A call: what is sent, how errors name it, and what it needs.
struct Call {
    request: Request,
    /// Method and path, without query and without people's names.
    name: String,
    permission: Permission,
}

impl Call {
    fn new(request: Request, permission: Permission) -> Self {
        let name = format!("{} {}", request.method(), without_query(request.path()));
        Self { request, name, permission }
    }

    fn get(path: impl Into<String>, permission: Permission) -> Self {
        Self::new(Request::get(path), permission)
    }

    /// Whether Okta takes the credential, by this outcome.
    fn judge(&self, outcome: &Result<Answer>) -> Proof {
        match outcome {
            Ok(answer) if answer.status.is_success() || self.not_found(answer).is_ok() => Proof::Works,
            Ok(answer) => Code::proof::<Answer>(&Err(self.unexpected(answer))),
            Err(_) => Code::proof(outcome),
        }
    }

    /// The body of a 200, as JSON.
    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T> {
        self.read_at(StatusCode::OK, answer)
    }

    /// Whether the answer says, in Okta's own words, that there is no such thing. A 404 of a proxy's does not count.
    fn not_found(&self, answer: &Answer) -> Result<()> {
        self.read_at::<NotFound>(StatusCode::NOT_FOUND, answer).map(drop)
    }

    fn read_at<T: DeserializeOwned>(&self, status: StatusCode, answer: &Answer) -> Result<T> {
        if answer.status != status {
            return Err(self.unexpected(answer));
        }
        answer.json().map_err(|failure| errors::unanswered(&self.name, &failure))
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        errors::status(&self.name, self.permission, answer)
    }

    /// The path of the next page of the same list.
    fn next_page(&self, base: &Base, answer: &Answer) -> Result<Option<String>> {
        let strange = |why| errors::endless(&self.name, why);
        // A value that is no text is as unreadable as a text without an address.
        let headers = answer.headers.get_all(LINK).iter().map(|value| value.to_str().unwrap_or("?"));
        let Some(address) = link::next(headers).map_err(|_| strange("its Link header cannot be read"))? else {
            return Ok(None);
        };
        let next = base.own_path(&address).ok_or_else(|| strange("the next page is at another address"))?;
        if without_query(&next) == without_query(self.request.path()) {
            Ok(Some(next))
        } else {
            Err(strange("the next page is of another list"))
        }
    }
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

#[derive(Deserialize)]
struct NotFound {
    #[serde(rename = "errorCode")]
    _code: String,
}

#[derive(Deserialize)]
struct WireGroup {
    id: GroupId,
    #[serde(rename = "type")]
    kind: String,
    profile: GroupProfile,
}

#[derive(Deserialize)]
struct GroupProfile {
    name: String,
    description: Option<String>,
}

/// The groups that a rule fills, none if it is not active. `None`: the rule has a form that Okta does not document.
fn filled_by(rule: &Value) -> Option<Vec<GroupId>> {
    if rule.get("status")?.as_str()? != ACTIVE {
        return Some(Vec::new());
    }
    let ids = rule.pointer("/actions/assignUserToGroups/groupIds")?.as_array()?;
    Some(ids.iter().filter_map(|id| GroupId::try_from(id.as_str()?).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn reads_what_okta_sends_and_more_keys_than_it_knows() {
        let group = json!({"id": "00g1", "type": "OKTA_GROUP", "profile": {"name": "Everyone", "description": null}});
        assert_eq!(from_value::<WireGroup>(group).unwrap().profile.name, "Everyone");
        let member = json!({"id": "00u1", "status": "SUSPENDED", "profile": {"login": "a@b.c", "firstName": "A"}});
        assert_eq!(from_value::<WireUser>(member).unwrap().status, "SUSPENDED");
    }

    #[test]
    fn only_an_active_rule_fills_groups_and_an_odd_one_is_told_apart() {
        let rule = |status: &str, actions: Value| json!({"type": "group_rule", "status": status, "actions": actions});
        let assigns = |ids: Value| json!({"assignUserToGroups": {"groupIds": ids}});
        for (rule, groups) in [
            (rule("ACTIVE", assigns(json!(["00g1", "00g2"]))), Some(2)),
            (rule("ACTIVE", assigns(json!(["00g1", null, "../x"]))), Some(1)),
            (rule("INACTIVE", assigns(json!(["00g1"]))), Some(0)),
            (rule("INVALID", Value::Null), Some(0)),
            (rule("ACTIVE", Value::Null), None),
            (rule("ACTIVE", json!({"assignUserToGroups": {}})), None),
            (json!({"id": "0pr1"}), None),
            (Value::Null, None),
            (json!("ACTIVE"), None),
        ] {
            assert_eq!(filled_by(&rule).map(|groups| groups.len()), groups, "{rule}");
        }
    }

    #[test]
    fn what_lacks_a_key_is_not_read() {
        for group in [
            json!({"id": "00g1", "profile": {"name": "x"}}),
            json!({"id": "../x", "type": "", "profile": {"name": ""}}),
        ] {
            assert!(from_value::<WireGroup>(group.clone()).is_err(), "{group}");
        }
        for member in
            [json!({"id": "00u1", "profile": {"login": "a"}}), json!({"id": "00u1", "status": "ACTIVE", "profile": {}})]
        {
            assert!(from_value::<WireUser>(member.clone()).is_err(), "{member}");
        }
    }

    #[test]
    fn errors_name_a_call_without_its_query() {
        assert_eq!(Call::get("/api/v1/groups/rules?limit=50", Permission::ReadGroups).name, "GET /api/v1/groups/rules");
    }
}
