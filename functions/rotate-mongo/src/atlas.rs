//! Atlas: users are read and changed through the Admin API v2 (mongodb.com/docs/api/doc/atlas-admin-api-v2).
//!
//! Writes are safe to repeat: a PATCH sets, and a POST of a user who exists changes nothing and says so.

mod shape;
#[cfg(test)]
mod tests;

use crate::codes::Code;
use crate::user::{Created, Directory, Progress, Set, User};
use futures_util::future::join_all;
use keyturn::codes::DeclaredCode as _;
use keyturn::http::{Base, Client, StatusCode};
use keyturn::{Deadline, Result};
use keyturn_mongo::atlas::{self, ADMIN, Needs, Page, Remedies, USERS, segment, user_path};
use keyturn_mongo::codes::Code as Shared;
use secrecy::{ExposeSecret as _, SecretString};
pub(crate) use shape::Cluster;
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a cluster's status may take to come.
const STATUS: Duration = Duration::from_secs(5);
/// For how long a change may be put off, by a 429 or by answers that are lost: whoever asks for it has just looked whether it is
/// still wanted, and later another rotation may be under way, whose password it would replace.
const PUT_OFF: Duration = Duration::from_secs(15);
/// The revisions of the API that calls speak besides that of users. Of clusters, the revision 2023-01-01 ends on 2026-11-30, and
/// flex clusters are in no list but their own.
const STATUS_OF_CLUSTERS: &str = "2023-01-01";
const CLUSTERS: &str = "2024-08-05";
const FLEX_CLUSTERS: &str = "2024-11-13";

const REMEDIES: Remedies = Remedies {
    credential: "Store {\"client_id\":\"mdb_sa_id_...\",\"client_secret\":\"mdb_sa_sk_...\"} or {\"public_key\":\"...\",\"private_key\":\"...\"}: aws secretsmanager put-secret-value --secret-id <ATLAS_SECRET_ID> --secret-string file://atlas.json",
    quota: "Delete users that nobody needs (atlas dbusers list --projectId <id>), raise the project's limit (atlas.project.security.databaseAccess.users) and set ATLAS_USER_LIMIT to it, or use the strategy \"fixed\", which needs one user only.",
    failure: "If it is Atlas's fault (5xx), Secrets Manager's next try may do.",
};

/// Atlas, for projects that take so many users.
pub(crate) struct Atlas {
    client: atlas::Atlas,
    most_users: usize,
}

impl Atlas {
    /// At this address; `client` may be shared.
    pub(crate) fn new(base: Base, client: &Client, most_users: usize) -> Self {
        Self { client: atlas::Atlas::new(base, client, &REMEDIES), most_users }
    }

    /// One project, with the credential in this secret. Nothing is called yet.
    ///
    /// # Errors
    /// `ATLAS_SECRET_INVALID`, which quotes no value.
    pub(crate) fn project(&self, secret: &SecretString, group_id: &str) -> Result<Project<'_>> {
        let (client, watched) = (self.client.project(secret, group_id)?, OnceCell::new());
        Ok(Project { client, most_users: self.most_users, watched, explained: AtomicBool::default() })
    }
}

/// A project, as the holder of one credential sees it.
pub(crate) struct Project<'a> {
    client: atlas::Project<'a>,
    most_users: usize,
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
        self.client.pages("/clusters", CLUSTERS, Needs::Clusters, deadline).await
    }

    /// Every flex cluster of the project, which are in no other list; `None` where Atlas does not list them to this credential.
    pub(crate) async fn flex_clusters(&self, deadline: Deadline) -> Result<Option<Vec<Cluster>>> {
        match self.client.pages::<Cluster>("/flexClusters", FLEX_CLUSTERS, Needs::Clusters, deadline).await {
            Ok(mut clusters) => {
                for cluster in &mut clusters {
                    cluster.is_flex = true;
                }
                Ok(Some(clusters))
            }
            Err(error) if error.is(Shared::AtlasPermissionMissing) || error.is(Shared::AtlasApiVersionGone) => {
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

    /// Gives an access token back: see [`atlas::Project::leave`].
    pub(crate) async fn leave(&self) {
        self.client.leave().await;
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
        let path = format!("/clusters/{}/status", segment(&watched.cluster)?);
        let call = self.client.get(&path, STATUS_OF_CLUSTERS, Needs::Clusters)?;
        let answer = self.client.send(&call, deadline).await?;
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            watched.refused.store(true, Ordering::Relaxed);
        }
        let status: shape::Status = call.read(&answer)?;
        match status.change_status.as_str() {
            "APPLIED" => Ok(Progress::Applied),
            "PENDING" => Ok(Progress::Pending),
            _ => Err(call.strange("changeStatus is neither APPLIED nor PENDING")),
        }
    }
}

impl Directory for Project<'_> {
    async fn user(&self, name: &str, deadline: Deadline) -> Result<Option<User>> {
        let call = self.client.get(&user_path(ADMIN, name)?, USERS, Needs::Users)?;
        let answer = self.client.send(&call, deadline).await?;
        if answer.status == StatusCode::NOT_FOUND && atlas::code(&answer) == "USERNAME_NOT_FOUND" {
            return Ok(None);
        }
        let user = call.read::<shape::User>(&answer)?.read();
        if user.name == name && user.database == ADMIN {
            Ok(Some(user))
        } else {
            Err(call.strange("it is about another user"))
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
        let call = self.client.patch(&path, USERS, &body)?.hiding(password);
        match self.client.send(&call, deadline.at_most(PUT_OFF)).await {
            Ok(answer) if answer.status.is_success() => Ok(Set::Confirmed),
            Ok(answer) if answer.status.is_server_error() => Ok(Set::Unanswered(call.unexpected(&answer))),
            Ok(answer) => Err(call.unexpected(&answer)),
            Err(error) if error.is(Shared::AtlasUnreachable) || error.is(Shared::AtlasAnswerStrange) => {
                Ok(Set::Unanswered(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&self, name: &str, model: &User, password: &SecretString, deadline: Deadline) -> Result<Created> {
        let body = shape::NewUser {
            database_name: ADMIN,
            group_id: self.client.id(),
            username: name,
            password: password.expose_secret(),
            rights: shape::Rights::of(model),
        };
        let call = self.client.post("/databaseUsers", USERS, &body)?.hiding(password);
        let answer = self.client.send(&call, deadline.at_most(PUT_OFF)).await?;
        match answer.status {
            status if status.is_success() => Ok(Created::Made),
            StatusCode::CONFLICT if !atlas::code(&answer).is_empty() => Ok(Created::Taken),
            _ => Err(call.unexpected(&answer)),
        }
    }

    async fn set_rights(&self, user: &User, model: &User, deadline: Deadline) -> Result<()> {
        let path = user_path(&user.database, &user.name)?;
        let call = self.client.patch(&path, USERS, &shape::Rights::of(model))?;
        self.client.change(&call, deadline.at_most(PUT_OFF)).await
    }

    async fn has_room(&self, deadline: Deadline) -> Result<()> {
        let path = "/databaseUsers?itemsPerPage=1&includeCount=true";
        let call = self.client.get(path, USERS, Needs::Users)?;
        let answer = self.client.send(&call, deadline).await?;
        let page: Page<serde::de::IgnoredAny> = call.read(&answer)?;
        if page.total < self.most_users { Ok(()) } else { Err(call.full(&format!("{} are there", page.total))) }
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
        self.client.whereabouts()
    }
}
