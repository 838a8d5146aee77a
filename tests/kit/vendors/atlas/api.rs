//! The Admin API's endpoints, each as strict as its documentation, or stricter.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::access;
use super::cluster::Wanted;
use super::oauth;
use super::paging::{self, check_query, page};
use super::refusal::{Refused, error, malformed};
use super::state::{Endpoint, Holdings, State};
use super::users::DatabaseUser;
use crate::vendors::request::decoded_path;
use crate::vendors::{Call, Reply};

/// More a project does not hold, unless support has raised the limit ("Create One Database User").
const MOST_USERS: usize = 100;

type Answer = Result<Reply, Refused>;

/// What is asked for, of one project.
enum Request<'a> {
    ListUsers,
    MakeUser,
    GetUser { database: &'a str, name: &'a str },
    PatchUser { database: &'a str, name: &'a str },
    DeleteUser { database: &'a str, name: &'a str },
    ListClusters,
    ListFlexClusters,
    ClusterStatus { cluster: &'a str },
}

impl<'a> Request<'a> {
    /// The project's id, and what is asked of it.
    fn read(method: &str, path: &[&'a str]) -> Option<(&'a str, Self)> {
        let ["", "api", "atlas", "v2", "groups", project, rest @ ..] = path else { return None };
        let request = match (method, rest) {
            ("GET", ["databaseUsers"]) => Self::ListUsers,
            ("POST", ["databaseUsers"]) => Self::MakeUser,
            ("GET", ["databaseUsers", database, name]) => Self::GetUser { database, name },
            ("PATCH", ["databaseUsers", database, name]) => Self::PatchUser { database, name },
            ("DELETE", ["databaseUsers", database, name]) => Self::DeleteUser { database, name },
            ("GET", ["clusters"]) => Self::ListClusters,
            ("GET", ["flexClusters"]) => Self::ListFlexClusters,
            ("GET", ["clusters", cluster, "status"]) => Self::ClusterStatus { cluster },
            _ => return None,
        };
        Some((project, request))
    }

    fn endpoint(&self) -> Endpoint {
        match self {
            Self::ListUsers
            | Self::MakeUser
            | Self::GetUser { .. }
            | Self::PatchUser { .. }
            | Self::DeleteUser { .. } => Endpoint::DatabaseUsers,
            Self::ListClusters => Endpoint::Clusters,
            Self::ListFlexClusters => Endpoint::FlexClusters,
            Self::ClusterStatus { .. } => Endpoint::ClusterStatus,
        }
    }

    fn is_list(&self) -> bool {
        matches!(self, Self::ListUsers | Self::ListClusters | Self::ListFlexClusters)
    }

    fn has_body(&self) -> bool {
        matches!(self, Self::MakeUser | Self::PatchUser { .. })
    }
}

pub(super) fn answer(state: &mut State, call: &Call, now: DateTime<Utc>) -> Answer {
    state.end_users(now);
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", oauth::TOKEN) => return oauth::issue(state, call, now),
        ("POST", oauth::REVOKE) => return oauth::revoke(state, call),
        _ => {}
    }
    let path = decoded_path(call).map_err(malformed)?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (project, request) = Request::read(call.method.as_str(), &path).ok_or_else(|| no_such_endpoint(call))?;
    let version = check_form(call, &request)?;
    let caller = access::authenticate(state, call, now)?;
    access::check_address(state)?;
    if !state.projects.contains_key(project) {
        let detail = format!("No group with ID {project} exists.");
        return Err(Refused::honest(error(404, "GROUP_NOT_FOUND", &detail, &[json!(project)])));
    }
    access::check_role(state, &caller, project, request.endpoint())?;
    let url = state.url.clone();
    let holdings = state.projects.entry(project.to_owned()).or_default();
    let (status, body) = carry_out(holdings, &url, project, call, &request, now)?;
    if body.is_null() {
        return Ok(Reply::empty(status));
    }
    let kind = format!("{};charset=utf-8", media_type(&version));
    Ok(Reply { status, body: body.to_string(), ..Reply::default() }.with("content-type", kind))
}

fn no_such_endpoint(call: &Call) -> Refused {
    let detail = format!("Cannot find resource {}.", call.path);
    Refused::violation("no such endpoint", error(404, "RESOURCE_NOT_FOUND", &detail, &[json!(call.path)]))
}

fn media_type(version: &str) -> String {
    format!("application/vnd.atlas.{version}+json")
}

/// Checks all that does not depend on who calls, and gives the version that was asked for.
fn check_form(call: &Call, request: &Request<'_>) -> Result<String, Refused> {
    let version = check_version(request.endpoint(), call)?;
    check_query(call, if request.is_list() { &paging::PARAMETERS } else { &[] })?;
    match (request.has_body(), call.body.is_empty()) {
        (false, false) => return Err(malformed("a body where none belongs")),
        (true, _) if call.header("content-type") != media_type(&version) => {
            return Err(not_acceptable(Some("Content-Type is not the versioned media type")));
        }
        _ => {}
    }
    Ok(version)
}

fn check_version(endpoint: Endpoint, call: &Call) -> Result<String, Refused> {
    let accepted = call.header("accept");
    let date = accepted.strip_prefix("application/vnd.atlas.").and_then(|rest| rest.strip_suffix("+json"));
    let date = date.ok_or_else(|| not_acceptable(Some("Accept is not the versioned media type")))?;
    if endpoint.ended().contains(&date) {
        let detail = format!("The requested version {date} of this resource has been removed.");
        return Err(Refused::honest(error(410, "VERSION_GONE", &detail, &[json!(date)])));
    }
    if endpoint.versions().contains(&date) { Ok(date.to_owned()) } else { Err(not_acceptable(None)) }
}

fn not_acceptable(violation: Option<&str>) -> Refused {
    let reply = error(406, "INVALID_VERSION_DATE", "Invalid accept header or version date.", &[]);
    Refused { violation: violation.map(str::to_owned), reply }
}

fn carry_out(
    holdings: &mut Holdings,
    url: &str,
    project: &str,
    call: &Call,
    request: &Request<'_>,
    now: DateTime<Utc>,
) -> Result<(u16, Value), Refused> {
    match *request {
        Request::ListUsers => {
            let users: Vec<Value> = holdings.users.iter().map(|user| user.shown(url)).collect();
            Ok((200, page(url, call, &users)?))
        }
        Request::MakeUser => make_user(holdings, url, project, &body(call)?, now),
        Request::GetUser { database, name } => {
            let user = holdings.user(database, name).ok_or_else(|| no_such_user(name))?;
            Ok((200, user.shown(url)))
        }
        Request::PatchUser { database, name } => patch_user(holdings, url, [database, name], &body(call)?, now),
        Request::DeleteUser { database, name } => {
            holdings.user(database, name).ok_or_else(|| no_such_user(name))?;
            holdings.delete(|user| user.database() == database && user.name() == name);
            Ok((204, Value::Null))
        }
        Request::ListClusters | Request::ListFlexClusters => {
            let flex = matches!(request, Request::ListFlexClusters);
            let listed = holdings.clusters.iter().filter(|cluster| cluster.is_flex() == flex);
            let clusters: Vec<Value> = listed.map(|cluster| cluster.shown()).collect();
            Ok((200, page(url, call, &clusters)?))
        }
        Request::ClusterStatus { cluster } => {
            let found = holdings.cluster(cluster).filter(|cluster| !cluster.is_flex());
            let status = found.map(|cluster| cluster.status());
            let status = status.ok_or_else(|| no_such_cluster(cluster, project))?;
            Ok((200, json!({"changeStatus": status})))
        }
    }
}

fn body(call: &Call) -> Result<Map<String, Value>, Refused> {
    let reply = || error(400, "MALFORMED_JSON", "Received JSON is malformed.", &[]);
    serde_json::from_slice(&call.body).map_err(|_| Refused::violation("the body is no JSON object", reply()))
}

fn no_such_user(name: &str) -> Refused {
    let detail = format!("No user with username {name} exists.");
    Refused::honest(error(404, "USERNAME_NOT_FOUND", &detail, &[json!(name)]))
}

fn no_such_cluster(name: &str, project: &str) -> Refused {
    let detail = format!("No cluster named {name} exists in group {project}.");
    Refused::honest(error(404, "CLUSTER_NOT_FOUND", &detail, &[json!(name), json!(project)]))
}

fn make_user(
    holdings: &mut Holdings,
    url: &str,
    project: &str,
    body: &Map<String, Value>,
    now: DateTime<Utc>,
) -> Result<(u16, Value), Refused> {
    let user = DatabaseUser::requested(project, body, now)?;
    if holdings.user(user.database(), user.name()).is_some() {
        let detail = format!("A user with username {} already exists.", user.name());
        return Err(Refused::honest(error(409, "USER_ALREADY_EXISTS", &detail, &[json!(user.name())])));
    }
    if holdings.users.len() >= MOST_USERS {
        let detail = format!("Groups can contain at most {MOST_USERS} database users.");
        return Err(Refused::honest(error(403, "GROUP_USERS_LIMIT_EXCEEDED", &detail, &[json!(MOST_USERS)])));
    }
    if user.has_password() {
        for cluster in holdings.clusters.iter().filter(|cluster| user.covers(cluster.name())) {
            cluster.change(user.login(), Wanted::Here { password: true, roles: true });
        }
    }
    let shown = user.shown(url);
    holdings.users.push(user);
    Ok((201, shown))
}

fn patch_user(
    holdings: &mut Holdings,
    url: &str,
    [database, name]: [&str; 2],
    body: &Map<String, Value>,
    now: DateTime<Utc>,
) -> Result<(u16, Value), Refused> {
    let user = holdings.user_mut(database, name).ok_or_else(|| no_such_user(name))?;
    let before = user.clone();
    user.patch(body, now)?;
    let user = user.clone();
    if user.has_password() {
        let wanted = Wanted::Here { password: body.contains_key("password"), roles: body.contains_key("roles") };
        for cluster in &holdings.clusters {
            match (before.covers(cluster.name()), user.covers(cluster.name())) {
                (_, true) => cluster.change(user.login(), wanted),
                (true, false) => cluster.change(user.login(), Wanted::Gone),
                (false, false) => {}
            }
        }
    }
    Ok((200, user.shown(url)))
}
