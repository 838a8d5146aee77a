//! The Management API's endpoints, each as strict as its documentation.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::access::Caller;
use super::paging::{Page, page};
use super::refusal::{Refused, error, malformed, no_permission, not_found, still_activating, too_many};
use super::search::Search;
use super::state::{Group, Permission, State, User};
use super::token;
use crate::vendors::request::{WrongParameter, decoded_path, wrong_parameter};
use crate::vendors::{Call, Reply};

type Answer = Result<Reply, Refused>;

pub(super) fn answer(state: &mut State, call: &Call, now: DateTime<Utc>) -> Answer {
    let path = decoded_path(call).map_err(malformed)?;
    check_accept(call)?;
    if state.limited > 0 {
        state.limited -= 1;
        return Err(Refused::honest(too_many(now)));
    }
    if (call.method.as_str(), call.path.as_str()) == ("POST", token::PATH) {
        check_query(call, &[])?;
        return token::issue(state, call, now);
    }
    let caller = Caller::of(state, call, &path.join("/"), now)?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["", "api", "v1", "groups", "rules"]) => list_rules(state, &caller, call),
        ("GET", ["", "api", "v1", "groups", group]) => get_group(state, &caller, call, group),
        ("GET", ["", "api", "v1", "groups", group, "users"]) => list_members(state, &caller, call, group),
        ("PUT", ["", "api", "v1", "groups", group, "users", user]) => {
            check_content_length(call)?;
            change_members(state, &caller, call, [group, user], now)
        }
        ("DELETE", ["", "api", "v1", "groups", group, "users", user]) => {
            change_members(state, &caller, call, [group, user], now)
        }
        ("GET", ["", "api", "v1", "users"]) => find_users(state, &caller, call),
        ("GET", ["", "api", "v1", "users", user]) => get_user(state, &caller, call, user),
        ("GET", ["", "api", "v1", "users", user, "groups"]) => list_groups_of(state, &caller, call, user),
        _ => {
            let reply = error(405, "E0000022", "The endpoint does not support the provided HTTP method");
            Err(Refused::violation("no such endpoint", reply))
        }
    }
}

fn check_accept(call: &Call) -> Result<(), Refused> {
    if call.header("accept") == "application/json" {
        return Ok(());
    }
    let reply =
        error(400, "E0000021", "Bad request. Accept and/or Content-Type headers likely do not match supported values.");
    Err(Refused::violation("Accept is not application/json", reply))
}

/// Each parameter is one of the endpoint's and comes once.
fn check_query(call: &Call, allowed: &[&str]) -> Result<(), Refused> {
    match wrong_parameter(call, allowed) {
        Some(WrongParameter::Twice(_)) => Err(malformed("a query parameter comes twice")),
        Some(WrongParameter::Unknown(name)) => Err(malformed(format!("unknown query parameter {name}"))),
        None => Ok(()),
    }
}

fn check_no_body(call: &Call) -> Result<(), Refused> {
    if call.body.is_empty() { Ok(()) } else { Err(malformed("a body where none belongs")) }
}

/// A proxy in front of the API wants to know a PUT's length even where it has no body.
fn check_content_length(call: &Call) -> Result<(), Refused> {
    if call.headers.contains_key("content-length") {
        return Ok(());
    }
    Err(Refused::violation("PUT without Content-Length", Reply::html(411)))
}

fn get_group(state: &State, caller: &Caller, call: &Call, id: &str) -> Answer {
    check_query(call, &[])?;
    check_no_body(call)?;
    caller.need(state, Permission::GroupsRead, call)?;
    let group = state.groups.get(id).ok_or_else(|| not_found("UserGroup", id))?;
    check_visible(state, id)?;
    Ok(Reply::json(200, &group.shown(&state.url)))
}

fn list_members(state: &mut State, caller: &Caller, call: &Call, id: &str) -> Answer {
    check_query(call, &["limit", "after"])?;
    check_no_body(call)?;
    caller.need(state, Permission::GroupsRead, call)?;
    if !state.groups.contains_key(id) {
        return Err(not_found("UserGroup", id));
    }
    check_visible(state, id)?;
    let list = |state: &mut State| {
        let listed = state.groups.get_mut(id).map(Group::list).unwrap_or_default();
        listed.into_iter().filter(|user| state.users.contains_key(user)).collect()
    };
    let page = page(state, call, 200, list)?;
    Ok(users(state, page))
}

/// Whether the group is in a resource set of the caller's admin role.
fn check_visible(state: &State, group: &str) -> Result<(), Refused> {
    if state.hidden.contains(group) { Err(Refused::honest(no_permission())) } else { Ok(()) }
}

fn list_rules(state: &mut State, caller: &Caller, call: &Call) -> Answer {
    check_query(call, &["limit", "after"])?;
    check_no_body(call)?;
    caller.need(state, Permission::GroupsRead, call)?;
    let page = page(state, call, 50, |state| state.rules.keys().cloned().collect())?;
    let rules = page.ids.iter().filter_map(|id| Some(state.rules.get(id)?.shown(id))).collect();
    Ok(page.link(Reply::json(200, &Value::Array(rules))))
}

fn users(state: &State, page: Page) -> Reply {
    let users = page.ids.iter().filter_map(|id| Some(state.users.get(id)?.shown(&state.url))).collect();
    page.link(Reply::json(200, &Value::Array(users)))
}

fn change_members(
    state: &mut State,
    caller: &Caller,
    call: &Call,
    [group, user]: [&str; 2],
    now: DateTime<Utc>,
) -> Answer {
    check_query(call, &[])?;
    check_no_body(call)?;
    caller.need(state, Permission::MembersManage, call)?;
    if state.conflicts > 0 {
        state.conflicts -= 1;
        return Err(Refused::honest(still_activating()));
    }
    let known = state.users.contains_key(user);
    let changed = state.groups.get_mut(group).ok_or_else(|| not_found("UserGroup", group))?;
    if !known {
        return Err(not_found("User", user));
    }
    match changed.kind.as_str() {
        "OKTA_GROUP" if call.method == "PUT" => changed.add(user, now),
        "OKTA_GROUP" => changed.remove(user, now),
        "BUILT_IN" => return Err(Refused::honest(error(501, "E0000060", "Unsupported operation."))),
        _ => return Err(Refused::honest(no_permission())),
    }
    Ok(Reply::empty(204))
}

fn find_users(state: &mut State, caller: &Caller, call: &Call) -> Answer {
    check_query(call, &["search", "limit", "after"])?;
    check_no_body(call)?;
    caller.need(state, Permission::UsersRead, call)?;
    let Some(search) = call.query("search") else {
        // The plain list leaves out whoever left for good, a search does not.
        let listed = |state: &mut State| {
            let users = state.users.iter().filter(|(_, user)| user.status != "DEPROVISIONED");
            users.map(|(id, _)| id.clone()).collect()
        };
        let page = page(state, call, 200, listed)?;
        return Ok(users(state, page));
    };
    let search = Search::parse(search).ok_or_else(|| {
        let reply = error(400, "E0000031", "Invalid search criteria.");
        Refused::violation("a search for something else than one email or login", reply)
    })?;
    let page = page(state, call, 200, |state| found(state, &search))?;
    Ok(users(state, page))
}

/// Whom a search finds; upper and lower case are the same to it.
fn found(state: &State, search: &Search) -> Vec<String> {
    let matches = state.users.iter().filter(|(_, user)| match search {
        Search::Email(email) => user.email.to_lowercase() == email.to_lowercase(),
        Search::Login(login) => user.login.to_lowercase() == login.to_lowercase(),
    });
    matches.map(|(id, _)| id.clone()).collect()
}

fn get_user(state: &State, caller: &Caller, call: &Call, name: &str) -> Answer {
    check_query(call, &[])?;
    check_no_body(call)?;
    caller.need(state, Permission::UsersRead, call)?;
    Ok(Reply::json(200, &user_named(state, name)?.shown(&state.url)))
}

/// The groups of a user, in pages. Its scope is that of users, and it leaves out what the caller's role may not see.
fn list_groups_of(state: &mut State, caller: &Caller, call: &Call, name: &str) -> Answer {
    check_query(call, &["limit", "after"])?;
    check_no_body(call)?;
    caller.need(state, Permission::UsersRead, call)?;
    let user = user_named(state, name)?.id.clone();
    let page = page(state, call, 200, |state| state.groups_of(&user))?;
    let groups = page.ids.iter().filter_map(|id| Some(state.groups.get(id)?.shown(&state.url))).collect();
    Ok(page.link(Reply::json(200, &Value::Array(groups))))
}

/// Takes an id, a login, or a login's part before the @ where only one user has it.
fn user_named<'a>(state: &'a State, name: &str) -> Result<&'a User, Refused> {
    let by_login = || state.users.values().find(|user| user.login.to_lowercase() == name.to_lowercase());
    let by_short_name = || {
        let short = |login: &str| login.split('@').next().unwrap_or_default().to_lowercase();
        let mut matches = state.users.values().filter(|user| short(&user.login) == name.to_lowercase());
        matches.next().filter(|_| matches.next().is_none())
    };
    let user = state.users.get(name).or_else(by_login).or_else(by_short_name);
    user.ok_or_else(|| not_found("User", name))
}
