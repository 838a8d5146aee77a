//! Opening what keeps the users, for one step's work: an Atlas project, or a session on a server.

use crate::atlas::{Cluster, Project};
use crate::case::{AtAtlas, AtServer, Case, System};
use crate::codes::Code;
use crate::guards;
use crate::places::Places;
use crate::server::{Holders, Power, Server};
use crate::user::{Directory, User};
use crate::work::Work;
use crate::{Mongo, Proven};
use keyturn::codes::{Code as Core, DeclaredCode as _};
use keyturn::credential::Credential;
use keyturn::rotation::{Job, Strategy};
use keyturn::secrets::{CURRENT, Stored};
use keyturn::{Error, Result, admin};
use keyturn_mongo::Scope;
use keyturn_mongo::login::{ADMIN_DATABASE, Login, Servers};
use secrecy::ExposeSecret as _;

impl Mongo {
    /// Does `task` with a project at Atlas. Its access token is given back after the last step, and after a failure.
    pub(crate) async fn at_atlas<T>(
        &self,
        case: &Case,
        at: &AtAtlas,
        job: &Job,
        is_last: bool,
        task: impl AsyncFnOnce(Work<'_, Project<'_>>) -> Result<T>,
    ) -> Result<T> {
        let secret = self.atlas_secret(job).await?;
        let project = self.atlas.project(&secret.text, &at.project)?;
        let look_and_work = async {
            let Found { user, servers, unasked } = self.look_around(&project, case, at, job).await?;
            let places = Places::of(&self.connector, servers, &case.database, job.deadline).await;
            let places = Places { unasked, ..places };
            task(Work { mongo: self, job, case, directory: &project, places: &places, user }).await
        };
        let result = look_and_work.await;
        if is_last || result.is_err() {
            project.leave().await;
        }
        result
    }

    /// Does `task` with a session on a server: an admin's or, where there is none, the user's own. After a try whose answer was lost,
    /// the pending value may be the one that works.
    pub(crate) async fn at_server<T>(
        &self,
        case: &Case,
        at: &AtServer,
        [current, pending]: [&Credential; 2],
        job: &Job,
        task: impl AsyncFnOnce(Work<'_, Server<'_>>) -> Result<T>,
    ) -> Result<T> {
        let places = Places::of(&self.connector, vec![at.servers.clone()], &case.database, job.deadline).await;
        let places = places.of_one_cluster()?;
        let server = match self.admin_secret(at, job).await? {
            Some(secret) => self.as_admin(case, at, &secret, job).await?,
            None => self.as_itself(case, &places, [pending, current], job).await?,
        };
        let result = match existing(&server, case, job).await {
            Ok(user) => task(Work { mongo: self, job, case, directory: &server, places: &places, user }).await,
            Err(error) => Err(error),
        };
        server.leave().await;
        result
    }

    /// Where the user in use logs in. Atlas is asked for that only if testSecret, the step before, has run elsewhere.
    pub(crate) async fn places<'p>(&'p self, case: &'p Case, pending: &Credential, job: &Job) -> Result<Places<'p>> {
        let is_of_this_rotation = |proven: &Proven| {
            proven.secret == job.secret_arn
                && proven.system == case.system
                && proven.password.expose_secret() == pending.password().expose_secret()
        };
        if let Some(Proven { servers, .. }) = self.proven.take().filter(is_of_this_rotation) {
            return Ok(Places { connector: &self.connector, servers, database: &case.database, unasked: None });
        }
        let servers = match &case.system {
            System::Server(at) => vec![at.servers.clone()],
            System::Atlas(AtAtlas { hosts: Some(hosts), .. }) => vec![hosts.clone()],
            System::Atlas(at) => {
                let secret = self.atlas_secret(job).await?;
                let project = self.atlas.project(&secret.text, &at.project)?;
                let found = self.look_around(&project, case, at, job).await;
                project.leave().await;
                found?.servers
            }
        };
        Ok(Places::of(&self.connector, servers, &case.database, job.deadline).await)
    }

    async fn atlas_secret(&self, job: &Job) -> Result<Stored> {
        let Some(id) = &self.settings.atlas.secret else {
            return Err(Error::of(
                Code::AtlasSecretMissing,
                "The function is not set up for Atlas: ATLAS_SECRET_ID is not set.",
            ));
        };
        self.secrets.read(id, CURRENT, None, job.deadline).await?.ok_or_else(|| {
            Error::of(
                Code::AtlasSecretMissing,
                format!("The secret {id} (ATLAS_SECRET_ID) does not exist or has no AWSCURRENT value."),
            )
        })
    }

    /// The user in use, and the clusters where it logs in.
    async fn look_around(&self, project: &Project<'_>, case: &Case, at: &AtAtlas, job: &Job) -> Result<Found> {
        if let Some(hosts) = &at.hosts {
            project.watch(at.clusters.clone().unwrap_or_default(), true);
            let user = existing(project, case, job).await?;
            return Ok(Found { user, servers: vec![hosts.clone()], unasked: None });
        }
        let (user, mut clusters, flex) = tokio::try_join!(
            existing(project, case, job),
            project.clusters(job.deadline),
            project.flex_clusters(job.deadline)
        )?;
        let unasked = flex.is_none().then_some("flex clusters were not asked: Atlas did not list them");
        clusters.extend(flex.into_iter().flatten());
        let clusters = in_scope(clusters, &user, at, job)?;
        let servers = clusters.iter().map(|cluster| self.reached(cluster)).collect::<Result<_>>()?;
        let of_many = clusters.len();
        let watched: Vec<_> =
            clusters.into_iter().filter(|cluster| !cluster.is_flex).map(|cluster| cluster.name).collect();
        let all = watched.len() == of_many;
        project.watch(watched, all);
        Ok(Found { user, servers, unasked })
    }

    /// Where a cluster is, by the network that the operator chose.
    fn reached(&self, cluster: &Cluster) -> Result<Servers> {
        let unreachable = |why: &str| {
            Error::new(
                Code::ClusterHasNoAddress,
                format!("Cluster {:?} {why}.", cluster.name),
                "Correct ATLAS_NETWORK (public, peering, or the id of a private endpoint of this cluster), or wait until the cluster is up; the tag keyturn:hosts names hosts by hand.",
            )
        };
        let text = cluster
            .address(&self.settings.atlas.network)
            .ok_or_else(|| unreachable("has no address in the network that ATLAS_NETWORK names"))?;
        Servers::parse(text, Some(&cluster.name))
            .map_err(|why| unreachable(&format!("has an address that cannot be used: {why}")))
    }

    /// The admin secret: the one that the value names, if the operator allows it; else the only one that is allowed.
    async fn admin_secret(&self, at: &AtServer, job: &Job) -> Result<Option<Stored>> {
        let allowed = &self.settings.admin_secret_arns;
        let named = match (&at.admin, allowed.as_slice()) {
            (Some(named), _) => named,
            (None, []) => return Ok(None),
            (None, [only]) => only,
            (None, _) => {
                return Err(Error::new(
                    Code::AdminNotNamed,
                    format!("{} has no key \"masterarn\", and ADMIN_SECRET_ARNS names several.", job.secret_arn),
                    "Add the ARN of the secret that holds the admin of this server: {\"masterarn\": \"arn:aws:secretsmanager:...\"}",
                ));
            }
        };
        Ok(Some(admin::read(&self.secrets, named, Some(allowed), job).await?))
    }

    async fn as_admin(&self, case: &Case, at: &AtServer, secret: &Stored, job: &Job) -> Result<Server<'_>> {
        let what = format!("the admin secret {}", secret.arn);
        let admin = Credential::parse(secret.text.clone(), &what)?;
        guards::not_the_admin(case, admin.username())?;
        let servers = admin.host().map(|host| Servers::own(host, admin.port(), &what)).transpose()?;
        guards::same_servers(at, servers.as_ref(), &secret.arn)?;
        let login =
            self.connector.log_in(&at.servers, admin.username(), ADMIN_DATABASE, admin.password(), job.deadline);
        match login.await? {
            Login::Accepted(session) => Ok(Server::new(session, Power::Admin(secret.arn.clone()), &case.database)),
            Login::Refused(why) => Err(admin::password_refused(&secret.arn, &why)),
        }
    }

    async fn as_itself<'p>(
        &'p self,
        case: &Case,
        places: &'p Places<'_>,
        credentials: [&'p Credential; 2],
        job: &Job,
    ) -> Result<Server<'p>> {
        if case.strategy == Strategy::Alternating {
            return Err(Error::new(
                Code::AdminNotNamed,
                format!("{} alternates between two users, which takes an admin, and none is named.", job.secret_arn),
                "Set ADMIN_SECRET_ARNS in the function's environment, and \"masterarn\" in the secret.",
            ));
        }
        let holders = Holders { connector: &self.connector, servers: &places.servers, credentials };
        match holders.log_in(&case.database, job.deadline).await? {
            Login::Accepted(session) => Ok(Server::new(session, Power::Own(holders), &case.database)),
            Login::Refused(why) => Err(self.current_refused(places, job, case, credentials[1], &why).await),
        }
    }
}

/// What was found at Atlas.
struct Found {
    user: User,
    servers: Vec<Servers>,
    /// What was not asked, and why.
    unasked: Option<&'static str>,
}

async fn existing(directory: &impl Directory, case: &Case, job: &Job) -> Result<User> {
    directory.user(&case.current, job.deadline).await?.ok_or_else(|| {
        Error::new(
            Core::UserMissing,
            format!("There is no user {:?} in {}, which the value of {} is for.", case.current, case.database, job.secret_arn),
            "Correct the secret or its tag keyturn:username, or make the user. A user of another database than admin (AWS's functions take the secret's \"dbname\" for that) is named by the tag keyturn:auth-db.",
        )
    })
}

/// The clusters that the user may log in to, fewer where the tag names some.
fn in_scope(mut clusters: Vec<Cluster>, user: &User, at: &AtAtlas, job: &Job) -> Result<Vec<Cluster>> {
    let scoped = |cluster: &Cluster| {
        user.scopes.is_empty() || user.scopes.iter().any(|scope| scope.kind == "CLUSTER" && scope.name == cluster.name)
    };
    clusters.retain(scoped);
    let lost = |scope: &&Scope| scope.kind == "CLUSTER" && clusters.iter().all(|cluster| cluster.name != scope.name);
    let missing = |what: String, remedy: &str| Err(Error::new(Code::ClusterNotFound, what, remedy));
    if let Some(scope) = user.scopes.iter().find(lost) {
        return missing(
            format!(
                "{:?} is limited to {:?}, which Atlas does not list among the clusters of project {}.",
                user.name, scope.name, at.project
            ),
            "Correct the user's scopes, or name the hosts by the tag keyturn:hosts.",
        );
    }
    let of_user = clusters.iter().map(|cluster| cluster.name.clone()).collect::<Vec<_>>().join(", ");
    if let Some(named) = &at.clusters {
        if let Some(stranger) = named.iter().find(|name| clusters.iter().all(|cluster| cluster.name != **name)) {
            return missing(
                format!(
                    "The tag keyturn:atlas-clusters of {} names {stranger:?}, which is not among the clusters of {:?} ({of_user}).",
                    job.secret_arn, user.name
                ),
                "Correct the tag, or the user's scopes.",
            );
        }
        clusters.retain(|cluster| named.contains(&cluster.name));
    }
    if clusters.is_empty() {
        return missing(
            format!("There is no cluster in project {} that {:?} may log in to.", at.project, user.name),
            "Correct the user's scopes or the secret's project.",
        );
    }
    let mut asleep = Vec::new();
    clusters.retain(|cluster| {
        // A paused cluster takes no login; Atlas brings the change to it before it starts again.
        cluster.asleep().is_none_or(|why| {
            tracing::warn!(
                code = Code::ClusterLeftOut.name(),
                cluster = cluster.name,
                why,
                "This cluster is not asked whether it accepts the password."
            );
            asleep.push(format!("{:?} {why}", cluster.name));
            false
        })
    });
    if clusters.is_empty() {
        return missing(
            format!(
                "No cluster that {:?} may log in to is up, so nothing can be proven: {}.",
                user.name,
                asleep.join(", ")
            ),
            "Let Secrets Manager rotate again once one is up: atlas clusters start <name>",
        );
    }
    Ok(clusters)
}
