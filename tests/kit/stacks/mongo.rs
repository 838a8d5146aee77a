//! Everything `rotate-mongo` works with: MongoDB servers of one's own and behind Atlas, Secrets Manager, and the real
//! bootstrap.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use keyturn::clock::Clock;
use mongodb::bson::doc;
use rand::distr::{Alphanumeric, SampleString as _};
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::faults::Faults;
use crate::lambda::Lambda;
use crate::mongo::proxy::MongoProxy;
use crate::mongo::{Mongo, Users};
use crate::rotator::{Rotator, built, environment};
use crate::vendors::atlas::{Atlas, Project};

/// The user that changes others' passwords on a server of one's own, with no more rights than the manual asks for.
pub const ADMIN: &str = "rotation_admin";

/// What `{env}` stands for in this stack's user names.
pub const ENVIRONMENT: &str = "test";

/// The role at Atlas that the manual asks for.
const ATLAS_ROLE: &str = "GROUP_DATABASE_ACCESS_ADMIN";

/// A running stack. Dropped, all of it is gone.
pub struct MongoStack {
    rotator: Rotator,
    /// The server of one's own.
    pub mongo: Arc<Mongo>,
    pub atlas: Atlas,
    pub project: Project,
    /// The servers behind its clusters, which are called `cluster0`, `cluster1` ...; the first one is `mongo`.
    pub clusters: Vec<Arc<Mongo>>,
    /// The ARN of the admin's secret.
    pub admin_arn: String,
    pub admin_password: String,
    /// The ARN of the secret with Atlas's credential.
    pub atlas_arn: String,
    /// The id (or public key) of that credential, as the emulator's handles take it.
    pub principal: String,
    /// What stands between the function and the server of one's own, where it was asked for.
    pub proxy: Option<MongoProxy>,
    host: String,
}

/// A stack to be started.
#[must_use]
pub struct Builder {
    environment: Vec<(String, String)>,
    bootstrap: Option<PathBuf>,
    clusters: usize,
    api_key: bool,
    through_proxy: bool,
}

/// An application: a user with `readWrite` on a database of its own, and the secret its clients read.
#[derive(Clone, Debug)]
pub struct MongoApp {
    pub database: String,
    /// Its (base) user: `<database>_test_rw`.
    pub user: String,
    /// The password it began with.
    pub password: String,
    pub secret: String,
}

impl Deref for MongoStack {
    type Target = Rotator;

    fn deref(&self) -> &Rotator {
        &self.rotator
    }
}

impl MongoStack {
    /// Starts a stack with one server, which is also the one cluster at Atlas.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// A stack with choices of its own.
    pub fn builder() -> Builder {
        Builder { environment: Vec::new(), bootstrap: None, clusters: 1, api_key: false, through_proxy: false }
    }

    /// An application on the server of one's own, with a secret of AWS's shape.
    pub async fn own_app(&self, name: &str) -> Result<MongoApp> {
        let (user, password) = (user_of(name), new_password());
        self.mongo.make_user("admin", &user, &password, &[("readWrite", name)]).await?;
        let secret = self.secret(name, &self.own_credential(name, &user, &password))?;
        Ok(MongoApp { database: name.to_owned(), user, password, secret })
    }

    /// The JSON of a secret made for AWS's `SecretsManagerMongoDBRotation`.
    #[must_use]
    pub fn own_credential(&self, database: &str, user: &str, password: &str) -> Value {
        let port = self.database_port();
        json!({
            "engine": "mongo", "host": self.host, "username": user, "password": password, "dbname": database,
            "port": port, "ssl": true, "masterarn": self.admin_arn,
        })
    }

    /// The port of the server of one's own: the proxy's where there is one.
    #[must_use]
    pub fn database_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.mongo.port(), MongoProxy::port)
    }

    /// An application at Atlas, with the secret that a team of Atlas's has.
    pub async fn atlas_app(&self, name: &str) -> Result<MongoApp> {
        self.atlas_app_with(name, &json!({})).await
    }

    /// The same, with more said of the user (`scopes`, `x509Type` ...).
    pub async fn atlas_app_with(&self, name: &str, more: &Value) -> Result<MongoApp> {
        let (user, password) = (user_of(name), new_password());
        let mut body = json!({
            "databaseName": "admin", "groupId": self.project.id(), "username": user,
            "roles": [{"roleName": "readWrite", "databaseName": name}],
        });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        self.atlas.add_user(&self.project, &body, &password).await?;
        let secret = self.atlas_secret(name, &self.atlas_credential(name, &user, &password))?;
        Ok(MongoApp { database: name.to_owned(), user, password, secret })
    }

    /// The JSON of a secret for Atlas.
    #[must_use]
    pub fn atlas_credential(&self, database: &str, user: &str, password: &str) -> Value {
        json!({
            "username": user, "password": password, "clusterUrl": "mongodb+srv://cluster0.ab1cd.mongodb.net",
            "databaseName": database, "groupId": self.project.id(),
        })
    }

    /// A secret with the tag that says that its user is at Atlas.
    pub fn atlas_secret(&self, name: &str, credential: &Value) -> Result<String> {
        let secret = self.secret(name, credential)?;
        self.tag(&secret, "engine", "mongodb-atlas")?;
        Ok(secret)
    }

    /// Sets the tag `keyturn:<name>`.
    pub fn tag(&self, secret: &str, name: &str, value: &str) -> Result<()> {
        self.aws.secrets.tag(secret, &format!("keyturn:{name}"), value)
    }

    /// Whether the credential under a label logs in on every server behind Atlas (or on the own one, which is the first).
    pub async fn logs_in(&self, secret: &str, label: &str) -> Result<bool> {
        let value = self.value(secret, label)?;
        let part = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        for server in &self.clusters {
            if !server.logs_in("admin", &part("username"), &part("password")).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same function with another environment, besides what every function of this stack has.
    pub async fn function(&self, name: &str, variables: &[(&str, &str)]) -> Result<Lambda> {
        let own = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = environment(&self.usual(), own);
        Lambda::start(name, built("rotate-mongo")?, environment, self.faults.clone()).await
    }

    /// What no correct client would have sent, to any of the emulators.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        [self.aws.violations(), self.atlas.violations()].concat()
    }

    fn usual(&self) -> [(&'static str, String); 9] {
        usual(&self.rotator.aws, &self.mongo, &self.atlas, &self.project, &self.atlas_arn, &self.admin_arn)
    }
}

fn usual(
    aws: &Aws,
    mongo: &Mongo,
    atlas: &Atlas,
    project: &Project,
    atlas_arn: &str,
    admin_arn: &str,
) -> [(&'static str, String); 9] {
    [
        ("AWS_ENDPOINT_URL", aws.url()),
        ("DATABASE_CA_FILE", mongo.certificates().ca_file().display().to_string()),
        ("ATLAS_API_URL", atlas.url()),
        ("ATLAS_SECRET_ID", atlas_arn.to_owned()),
        ("ATLAS_PROJECT_IDS", project.id().to_owned()),
        ("ADMIN_SECRET_ARNS", admin_arn.to_owned()),
        ("KEYTURN_ENV", ENVIRONMENT.to_owned()),
        ("ALLOW_UNTIL", "2999-12-31T00:00:00Z".to_owned()),
        // Nothing here keeps what it knew of a user for long.
        ("SETTLE_SECONDS", "2".to_owned()),
    ]
}

fn user_of(name: &str) -> String {
    format!("{name}_{ENVIRONMENT}_rw")
}

fn new_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 24)
}

impl Builder {
    /// Sets a variable of the function's environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs this bootstrap instead of the one built beside the running program.
    pub fn bootstrap(mut self, path: PathBuf) -> Self {
        self.bootstrap = Some(path);
        self
    }

    /// Puts this many clusters into the project, each a server of its own.
    pub fn clusters(mut self, clusters: usize) -> Self {
        self.clusters = clusters;
        self
    }

    /// Uses a pair of API keys at Atlas (HTTP digest) instead of a service account (OAuth).
    pub fn api_key(mut self) -> Self {
        self.api_key = true;
        self
    }

    /// Lets every connection to the server of one's own pass the proxy that records commands and carries out faults.
    /// Atlas's clusters are reached past it.
    pub fn through_proxy(mut self) -> Self {
        self.through_proxy = true;
        self
    }

    pub async fn start(self) -> Result<MongoStack> {
        let faults = Faults::none();
        let first = if self.through_proxy { Mongo::builder().standalone() } else { Mongo::builder() };
        let (mongo, aws, atlas) =
            tokio::try_join!(first.start(), Aws::start(faults.clone()), Atlas::start(Clock::system(), faults.clone()))?;
        let mongo = Arc::new(mongo);
        let proxy = if self.through_proxy { Some(MongoProxy::start(&mongo, faults.clone()).await?) } else { None };
        let project = atlas.project();
        let mut clusters = Vec::new();
        for n in 0..self.clusters {
            let server = if n == 0 {
                Arc::clone(&mongo)
            } else {
                Arc::new(Mongo::builder().certificates(mongo.certificates()).start().await?)
            };
            atlas.add_cluster(&project, &format!("cluster{n}"), Arc::clone(&server))?;
            clusters.push(server);
        }

        let admin_password = new_password();
        make_admin(&mongo, &admin_password).await?;
        let port = proxy.as_ref().map_or(mongo.port(), MongoProxy::port);
        let host = "localhost".to_owned();
        let admin =
            json!({"engine": "mongo", "host": host, "port": port, "username": ADMIN, "password": admin_password});
        let admin_arn = aws.secrets.create("admin", &admin.to_string())?;
        let (principal, credential) = if self.api_key {
            let (public, private) = atlas.api_key(&project, &[ATLAS_ROLE]);
            (public.clone(), json!({"public_key": public, "private_key": private}))
        } else {
            let (id, secret) = atlas.service_account(&project, &[ATLAS_ROLE]);
            (id.clone(), json!({"client_id": id, "client_secret": secret}))
        };
        let atlas_arn = aws.secrets.create("atlas", &credential.to_string())?;

        let bootstrap = match self.bootstrap {
            Some(path) => path,
            None => built("rotate-mongo")?,
        };
        let usual = usual(&aws, &mongo, &atlas, &project, &atlas_arn, &admin_arn);
        let environment = environment(&usual, self.environment);
        let lambda = Lambda::start("rotate-mongo", bootstrap, environment, faults.clone()).await?;
        lambda.set_timeout(Duration::from_mins(1));
        let rotator = Rotator { lambda, aws, faults };
        Ok(MongoStack {
            rotator,
            mongo,
            atlas,
            project,
            clusters,
            admin_arn,
            admin_password,
            atlas_arn,
            principal,
            proxy,
            host,
        })
    }
}

/// Makes the rotation's admin, with what the manual asks for on a server of one's own: to see users, to change their
/// passwords, and, for taking turns, to make them and to hand on the roles of application databases.
pub async fn make_admin(mongo: &Users, password: &str) -> Result<()> {
    let of_users = ["viewUser", "changePassword", "createUser", "setAuthenticationRestriction"];
    let privileges = vec![
        doc! {"resource": {"db": "admin", "collection": ""}, "actions": of_users.as_slice()},
        doc! {"resource": {"db": "", "collection": ""}, "actions": ["grantRole", "revokeRole"]},
    ];
    mongo.make_role("keyturn_rotation", privileges, &[]).await?;
    mongo.make_user("admin", ADMIN, password, &[("keyturn_rotation", "admin")]).await
}
