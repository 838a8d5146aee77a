//! Atlas: users are read and changed through the Admin API v2 (mongodb.com/docs/api/doc/atlas-admin-api-v2).
//!
//! Writes are safe to repeat: a PATCH sets, and a POST of a user who exists changes nothing and says so.

mod access;
mod call;
mod digest;
mod errors;
mod shape;
#[cfg(test)]
mod tests;

use crate::codes::Code;
use crate::user::{Created, Directory, Progress, Set, User};
use access::{Access, Tokens};
use call::Call;
use errors::Needs;
use futures_util::future::join_all;
use keyturn::clock::Clock;
use keyturn::codes::DeclaredCode as _;
use keyturn::http::{Answer, Base, Client, Http, RateLimit, StatusCode};
use keyturn::{Deadline, Result};
use secrecy::{ExposeSecret as _, SecretString};
pub(crate) use shape::Cluster;
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The database that users with a password authenticate at.
const ADMIN: &str = "admin";
/// How long a cluster's status may take to come.
const STATUS: Duration = Duration::from_secs(5);
const CLUSTERS_A_PAGE: usize = 100;
/// More pages than any project has: a list that is longer is none of Atlas's.
const MOST_PAGES: usize = 100;
/// The revisions of the API that calls speak, one for each resource: the date is a part of the media type. Of clusters, the
/// revision 2023-01-01 ends on 2026-11-30, and flex clusters are in no list but their own.
const USERS: &str = "2023-01-01";
const STATUS_OF_CLUSTERS: &str = "2023-01-01";
const CLUSTERS: &str = "2024-08-05";
const FLEX_CLUSTERS: &str = "2024-11-13";
/// Atlas's own advice where a 429 does not say how long to wait: 10 s, then 20, then 40.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// Atlas, and the access tokens that outlive an invocation.
pub(crate) struct Atlas {
    http: Http,
    tokens: Tokens,
    most_users: usize,
}

impl Atlas {
    /// At this address, for projects that take `most_users` users; `client` may be shared.
    pub(crate) fn new(base: Base, client: &Client, most_users: usize) -> Self {
        let limit = RateLimit::Doubling { first: FIRST_PAUSE };
        Self { http: Http::new(base, client, limit, Clock::system()), tokens: Tokens::default(), most_users }
    }

    /// One project, with the credential in this secret: `{"client_id","client_secret"}` of a service account, or
    /// `{"public_key","private_key"}`. Nothing is called yet.
    ///
    /// # Errors
    /// `ATLAS_SECRET_INVALID`, which quotes no value.
    pub(crate) fn project(&self, secret: &SecretString, group_id: &str) -> Result<Project<'_>> {
        let access = Access::parse(secret, &self.tokens).map_err(|why| errors::secret_invalid(&why))?;
        let (group, watched) = (group_id.to_owned(), OnceCell::new());
        Ok(Project { atlas: self, access, group, watched, explained: AtomicBool::default() })
    }
}

/// A project, as the holder of one credential sees it.
pub(crate) struct Project<'a> {
    atlas: &'a Atlas,
    access: Access,
    group: String,
    /// The clusters whose status is asked for, and whether those are all that a change has to come to: Atlas tells no status of flex
    /// clusters.
    watched: OnceCell<(Vec<Watched>, bool)>,
    /// Whether it was said why the progress is unknown.
    explained: AtomicBool,
}

/// A cluster whose status is asked for.
struct Watched {
    cluster: String,
    /// Atlas does not tell this credential: asking again would not help.
    refused: AtomicBool,
}

impl Project<'_> {
    /// Has [`Directory::progress`] ask about these clusters, which may be `all` that there are.
    pub(crate) fn watch(&self, clusters: Vec<String>, all: bool) {
        let watched = |cluster| Watched { cluster, refused: AtomicBool::default() };
        self.watched.get_or_init(|| (clusters.into_iter().map(watched).collect(), all));
    }

    /// Every cluster of the project.
    ///
    /// # Errors
    /// The `ATLAS_*` codes; so for every call here.
    pub(crate) async fn clusters(&self, deadline: Deadline) -> Result<Vec<Cluster>> {
        self.pages("/clusters", CLUSTERS, deadline).await
    }

    /// Every flex cluster of the project, which are in no other list; `None` where Atlas does not list them to this credential.
    pub(crate) async fn flex_clusters(&self, deadline: Deadline) -> Result<Option<Vec<Cluster>>> {
        match self.pages("/flexClusters", FLEX_CLUSTERS, deadline).await {
            Ok(mut clusters) => {
                for cluster in &mut clusters {
                    cluster.is_flex = true;
                }
                Ok(Some(clusters))
            }
            Err(error) if error.is(Code::AtlasPermissionMissing) || error.is(Code::AtlasApiVersionGone) => {
                let why = error.message();
                tracing::warn!(
                    code = Code::FlexClustersUnknown.name(),
                    why,
                    "Atlas does not list flex clusters to this credential: they are not asked whether they accept the password."
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A list, from all of its pages.
    async fn pages(&self, list: &str, version: &str, deadline: Deadline) -> Result<Vec<Cluster>> {
        let mut clusters = Vec::new();
        for number in 1..=MOST_PAGES {
            let path = format!("{list}?itemsPerPage={CLUSTERS_A_PAGE}&pageNum={number}&includeCount=true");
            let call = Call::get(&self.group, &path, version, Needs::Clusters)?;
            let page: shape::Page<Cluster> = call.read(&self.send(&call, deadline).await?)?;
            let read = page.results.len();
            clusters.extend(page.results);
            if clusters.len() >= page.total {
                return Ok(clusters);
            }
            if read == 0 || number == MOST_PAGES {
                let why = format!("page {number} leaves {} of {} out", page.total - clusters.len(), page.total);
                return Err(errors::strange(&call.name, &why));
            }
        }
        Ok(clusters)
    }

    /// Gives an access token back. Nothing depends on it: one that stays ends within the hour, but only a hundred may
    /// live at a time.
    pub(crate) async fn leave(&self) {
        self.access.leave(&self.atlas.http).await;
    }

    async fn send(&self, call: &Call<'_>, deadline: Deadline) -> Result<Answer> {
        self.access.send(&self.atlas.http, call, deadline).await
    }

    /// Makes a call whose answer holds nothing of interest.
    async fn change(&self, call: &Call<'_>, deadline: Deadline) -> Result<()> {
        let answer = self.send(call, deadline).await?;
        if answer.status.is_success() { Ok(()) } else { Err(call.unexpected(&answer)) }
    }

    /// What is known of a watched cluster; why nothing is, is said once.
    async fn status(&self, watched: &Watched, deadline: Deadline) -> Progress {
        if watched.refused.load(Ordering::Relaxed) {
            return Progress::Unknown;
        }
        self.ask_status(watched, deadline).await.unwrap_or_else(|error| {
            if !self.explained.swap(true, Ordering::Relaxed) {
                let (cluster, why) = (&watched.cluster, error.message());
                tracing::info!(
                    code = Code::AtlasProgressUnknown.name(),
                    cluster,
                    why,
                    "Atlas does not tell whether a change is applied: logins alone will show it."
                );
            }
            Progress::Unknown
        })
    }

    async fn ask_status(&self, watched: &Watched, deadline: Deadline) -> Result<Progress> {
        let path = format!("/clusters/{}/status", call::segment(&watched.cluster)?);
        let call = Call::get(&self.group, &path, STATUS_OF_CLUSTERS, Needs::Clusters)?;
        let answer = self.send(&call, deadline).await?;
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            watched.refused.store(true, Ordering::Relaxed);
        }
        let status: shape::Status = call.read(&answer)?;
        match status.change_status.as_str() {
            "APPLIED" => Ok(Progress::Applied),
            "PENDING" => Ok(Progress::Pending),
            _ => Err(errors::strange(&call.name, "changeStatus is neither APPLIED nor PENDING")),
        }
    }
}

impl Directory for Project<'_> {
    async fn user(&self, name: &str, deadline: Deadline) -> Result<Option<User>> {
        let call = Call::get(&self.group, &user_path(ADMIN, name)?, USERS, Needs::Users)?;
        let answer = self.send(&call, deadline).await?;
        if answer.status == StatusCode::NOT_FOUND && errors::code(&answer) == "USERNAME_NOT_FOUND" {
            return Ok(None);
        }
        let user = call.read::<shape::User>(&answer)?.read();
        if user.name == name && user.database == ADMIN {
            Ok(Some(user))
        } else {
            Err(errors::strange(&call.name, "it is about another user"))
        }
    }

    /// Atlas keeps the change and brings it to its clusters, whatever happens to them.
    async fn is_ready(&self, _deadline: Deadline) -> Result<()> {
        Ok(())
    }

    // The password alone: Atlas replaces each member that is sent.
    async fn set_password(&self, user: &User, password: &SecretString, deadline: Deadline) -> Result<Set> {
        let body = shape::Password { password: password.expose_secret() };
        let path = user_path(&user.database, &user.name)?;
        let call = Call::patch(&self.group, &path, USERS, &body)?.hiding(password);
        match self.send(&call, deadline).await {
            Ok(answer) if answer.status.is_success() => Ok(Set::Confirmed),
            Ok(answer) if answer.status.is_server_error() => Ok(Set::Unanswered(call.unexpected(&answer))),
            Ok(answer) => Err(call.unexpected(&answer)),
            Err(error) if error.is(Code::AtlasUnreachable) || error.is(Code::AtlasAnswerStrange) => {
                Ok(Set::Unanswered(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&self, name: &str, model: &User, password: &SecretString, deadline: Deadline) -> Result<Created> {
        let body = shape::NewUser {
            database_name: ADMIN,
            group_id: &self.group,
            username: name,
            password: password.expose_secret(),
            rights: shape::Rights::of(model),
        };
        let call = Call::post(&self.group, "/databaseUsers", USERS, &body)?.hiding(password);
        let answer = self.send(&call, deadline).await?;
        match answer.status {
            status if status.is_success() => Ok(Created::Made),
            StatusCode::CONFLICT if !errors::code(&answer).is_empty() => Ok(Created::Taken),
            _ => Err(call.unexpected(&answer)),
        }
    }

    async fn set_rights(&self, user: &User, model: &User, deadline: Deadline) -> Result<()> {
        let path = user_path(&user.database, &user.name)?;
        let call = Call::patch(&self.group, &path, USERS, &shape::Rights::of(model))?;
        self.change(&call, deadline).await
    }

    async fn has_room(&self, deadline: Deadline) -> Result<()> {
        let path = "/databaseUsers?itemsPerPage=1&includeCount=true";
        let call = Call::get(&self.group, path, USERS, Needs::Users)?;
        let answer = self.send(&call, deadline).await?;
        let page: shape::Page<serde::de::IgnoredAny> = call.read(&answer)?;
        if page.total < self.atlas.most_users {
            Ok(())
        } else {
            Err(errors::full(&call.name, &format!("{} are there", page.total)))
        }
    }

    fn is_lasting(&self, progress: Progress) -> bool {
        progress == Progress::Applied
    }

    async fn progress(&self, deadline: Deadline) -> Progress {
        // Advice only: told to slow down, it does without.
        let deadline = deadline.at_most(STATUS);
        let Some((watched, all)) = self.watched.get() else { return Progress::Unknown };
        let known = join_all(watched.iter().map(|watched| self.status(watched, deadline))).await;
        if known.contains(&Progress::Pending) {
            Progress::Pending
        } else if known.is_empty() || !all || known.contains(&Progress::Unknown) {
            Progress::Unknown
        } else {
            Progress::Applied
        }
    }

    fn whereabouts(&self) -> String {
        let page = self.atlas.http.base().address(&format!("/v2/{}#/security/database/users", self.group));
        format!("at Atlas, project {}, Database Access: {page}", self.group)
    }
}

/// The path of a user below the project.
fn user_path(database: &str, name: &str) -> Result<String> {
    Ok(format!("/databaseUsers/{}/{}", call::segment(database)?, call::segment(name)?))
}
