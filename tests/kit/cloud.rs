//! The whole of it in a local AWS: the packaged functions, deployed by `sam deploy` from the templates in `infra/`, with
//! IAM enforced, on real databases and strict emulators.

mod api;
mod gate;
mod ministack;
pub mod policy;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::process::Command;

pub use crate::aws_json::{ACCOUNT, REGION};
pub use api::{ApiError, AwsApi};

use crate::certificates::Certificates;
use crate::daemon::tools;
use crate::rds::{Cluster, Instance, Network, Rds};
use crate::rotator::Rotator;
use crate::source::{checkout, functions};
use crate::stacks::break_glass::Answer;
use crate::stacks::mongo::{ENVIRONMENT, MongoApp, MongoStack};
use crate::stacks::oncall::{Bound, CONFIG_PATH, Engineer, Oncall};
use crate::stacks::postgres::{ADMIN, App, Stack};
use gate::Gate;
use ministack::MiniStack;

/// The parameter `Name` of all stacks: the prefix of the names of functions, roles, log groups and alarms.
pub const NAME: &str = "keyturn";
/// What the names of the secrets here begin with. To the functions a name means nothing.
pub const PREFIX: &str = "/test/platform";
/// Below it oncall-sync's bindings and ledgers are.
pub const PATH: &str = "/test/platform/oncall-sync";
/// Below it break-glass's documents and records are.
pub const BREAK_GLASS_PATH: &str = "/test/platform/break-glass";
/// A database that whoever is on call may open: its name, and that of its document. People act as `<name>_admin`.
pub const DATABASE: &str = "night";
/// A permission set whose holders may ask, and the id of its role.
const PERMISSION_SET: (&str, &str) = ("DBA", "AROAEXAMPLEID1234567");
/// The queue that is handed each secret's new version, once a test has made it.
pub const CONSUMERS: &str = "consumers";
/// What the functions take for the only addresses of their secrets' keys; nothing here is encrypted with it.
const KEY_ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/6b1f0f3c-0000-4000-8000-00000000c0de";

/// The user of [`Cloud::managed_app`].
const MIRRORED: &str = "mirrored";

const DEPLOY_LIMIT: Duration = Duration::from_mins(5);

/// The templates in `infra/` that are deployed, each as a stack of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    Rotation,
    Oncall,
    BreakGlass,
}

impl Template {
    pub const ALL: [Self; 3] = [Self::Rotation, Self::Oncall, Self::BreakGlass];

    fn name(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Oncall => "oncall",
            Self::BreakGlass => "break-glass",
        }
    }

    /// The path of its file in the checkout.
    #[must_use]
    pub fn file(self) -> String {
        format!("infra/{}.yaml", self.name())
    }

    /// What the stack is called.
    #[must_use]
    pub fn stack(self) -> String {
        format!("{NAME}-{}", self.name())
    }
}

/// A deployment. Dropped, all of it is gone.
pub struct Cloud {
    pub api: Arc<AwsApi>,
    /// What rotate-postgres works with. Its own function is the packaged bootstrap on the local Runtime API.
    pub postgres: Stack,
    /// What knows where the server of [`Cloud::managed_app`]'s admin is.
    pub rds: Rds,
    /// An admin's secret as RDS keeps it: without a host.
    pub managed_arn: String,
    /// Mirrors of the two users of [`Cloud::managed_app`].
    pub mirrors: Vec<String>,
    /// What rotate-mongo works with; its own function likewise.
    pub mongo: MongoStack,
    /// What oncall-sync works with, on the machine's clock.
    pub oncall: Oncall,
    /// The binding `shop`.
    pub shop: Bound,
    /// Somebody who is on call for it.
    pub ann: Engineer,
    /// A secret that `check` may read, though no rotation is attached to it.
    pub unattached: String,
    /// The credentials of PagerDuty, Okta, Datadog and Slack.
    pub vendors: [String; 4],
    gate: Gate,
    ministack: MiniStack,
}

impl Cloud {
    /// Starts everything, and deploys the zips that `make package` made, with a PostgreSQL server of this version.
    pub async fn start(major: u32) -> Result<Self> {
        ensure!(cfg!(target_os = "linux"), "Linux alone runs what is packaged for Lambda");
        let gate = Gate::start().await?;
        let folder = tempfile::Builder::new().prefix("keyturn-cloud-").tempdir()?;
        let unpacked = folder.path().join("unpacked");
        let bootstrap = |name: &str| unpacked.join(name).join("bootstrap");
        unpack(&unpacked).await?;
        let gate_url = gate.url();
        let starting = async { tokio::task::spawn_blocking(move || MiniStack::start(folder, &gate_url)).await? };
        let (ministack, rds, mut postgres, mut mongo, oncall) = tokio::try_join!(
            starting,
            Rds::start(),
            Stack::builder(major).bootstrap(bootstrap("rotate-postgres")).start(),
            MongoStack::builder().bootstrap(bootstrap("rotate-mongo")).start(),
            Oncall::builder().on_the_machines_clock().start(),
        )?;
        let api = Arc::new(AwsApi::new(ministack.url()));
        gate.open(Arc::clone(&api), &postgres.aws, &mongo.aws, &rds);

        postgres.admin_arn = moved(&api, &postgres, "databases/postgres-admin", &postgres.admin_arn).await?;
        let managed_arn = managed(&api, &postgres, &rds).await?;
        let mut mirrors = Vec::new();
        for user in [MIRRORED.to_owned(), format!("{MIRRORED}_clone")] {
            let text = json!({"username": user, "password": "of before"}).to_string();
            mirrors.push(secret_of(&api, &postgres, &format!("proxies/{user}"), &[], &text).await?);
        }
        mongo.admin_arn = moved(&api, &mongo, "databases/mongo-admin", &mongo.admin_arn).await?;
        mongo.atlas_arn = moved(&api, &mongo, "databases/atlas", &mongo.atlas_arn).await?;
        let vendors = credentials(&api, &oncall).await?;
        let (shop, ann) = on_call(&api, &oncall).await?;
        database(&api, &postgres, &shop).await?;
        let made = postgres.app("unattached").await?.secret;
        let text = postgres.value(&made, "AWSCURRENT")?.to_string();
        let unattached = secret_of(&api, &postgres, "made-before/unattached", &[], &text).await?;
        let cloud = Self {
            api,
            postgres,
            rds,
            managed_arn,
            mirrors,
            mongo,
            oncall,
            shop,
            ann,
            unattached,
            vendors,
            gate,
            ministack,
        };
        for template in Template::ALL {
            cloud.deploy(template).await?;
        }
        Ok(cloud)
    }

    /// Does what `make deploy` does (again) with the example's answers and these parameters, without its question, and gives
    /// back what it printed.
    pub async fn deploy(&self, template: Template) -> Result<String> {
        self.deploy_with(template, self.parameters(template)).await
    }

    /// The same with other parameters.
    pub async fn deploy_with(&self, template: Template, told: Vec<(String, Value)>) -> Result<String> {
        let parameters = self.ministack.folder().join(format!("{}.parameters.yaml", template.name()));
        fs::write(&parameters, Value::Object(told.into_iter().collect()).to_string())?;
        let mut command = Command::new(tool("sam")?);
        command.args(["-m", "samcli", "deploy", "--config-env", template.name()]).current_dir(checkout());
        command.arg("--config-file").arg(checkout().join("infra/samconfig.example.toml"));
        command.args(["--no-confirm-changeset", "--no-progressbar"]);
        command.args(["--parameter-overrides", "file://target/lambda/architecture.yaml"]);
        command.arg(format!("file://{}", parameters.display()));
        command.env_clear().env("SAM_CLI_TELEMETRY", "0");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.ministack.folder()).envs(self.api.environment());
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(DEPLOY_LIMIT, command.output()).await.context("sam deploy hangs")??;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        ensure!(output.status.success(), "sam deploy ended with {}:\n{said}", output.status);
        Ok(said)
    }

    /// What a stack is deployed with: everything is on.
    #[must_use]
    pub fn parameters(&self, template: Template) -> Vec<(String, Value)> {
        let (postgres, mongo, oncall) = (&self.postgres, &self.mongo, &self.oncall);
        let endpoint = self.gate.url();
        let ca_file = |certificates: &Certificates| certificates.ca_file().display().to_string();
        let of_all = [
            // Nothing is in a VPC here, but Lambda is told one and the roles may join it.
            ("SubnetIds", "subnet-0123456789abcdef0,subnet-0123456789abcdef1".to_owned()),
            ("SecurityGroupIds", "sg-0123456789abcdef0".to_owned()),
            ("SecretsKeyArns", KEY_ARN.to_owned()),
            ("AlarmEmail", "platform@example.com".to_owned()),
        ];
        let own = match template {
            Template::Rotation => vec![
                ("RotateMongo", "on".to_owned()),
                ("RotationEvents", "all".to_owned()),
                ("LabelUpdatedTargetArn", format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{CONSUMERS}")),
                ("Environment", ENVIRONMENT.to_owned()),
                ("CheckSecretArns", self.unattached.clone()),
                ("PostgresAdminSecretArns", format!("{},{}", postgres.admin_arn, self.managed_arn)),
                ("PostgresMirrorSecretArns", self.mirrors.join(",")),
                ("PostgresIamAdmins", format!("arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:db-ABCDEFGHIJKL01234/keyturn")),
                ("MongoAdminSecretArns", mongo.admin_arn.clone()),
                ("AtlasSecretArn", mongo.atlas_arn.clone()),
                ("AtlasProjectIds", mongo.project.id().to_owned()),
                (
                    "PostgresSettings",
                    json!({
                        "DATABASE_CA_FILE": ca_file(postgres.postgres.certificates()), "EXCLUDE_CHARACTERS": "x",
                        "SECRETS_MANAGER_ENDPOINT": endpoint,
                    })
                    .to_string(),
                ),
                (
                    "MongoSettings",
                    json!({
                        "ATLAS_API_URL": mongo.atlas.url(), "SETTLE_SECONDS": 2, "EXCLUDE_CHARACTERS": "x",
                        "DATABASE_CA_FILE": ca_file(mongo.mongo.certificates()), "SECRETS_MANAGER_ENDPOINT": endpoint,
                    })
                    .to_string(),
                ),
            ],
            Template::Oncall => {
                let [pagerduty, okta, datadog, slack] = self.vendors.clone();
                let settings = json!({
                    "OKTA_ORG_URL": oncall.okta.url(), "PAGERDUTY_API_URL": oncall.pagerduty.url(),
                    "PAGERDUTY_IDENTITY_URL": oncall.pagerduty.identity_url(), "DATADOG_API_URL": oncall.datadog.url(),
                    "SECRETS_MANAGER_ENDPOINT": endpoint,
                });
                vec![
                    ("Path", PATH.to_owned()),
                    ("OncallSchedule", "on".to_owned()),
                    ("PagerDutySecretArn", pagerduty),
                    ("OktaSecretArn", okta),
                    ("DatadogSecretArn", datadog),
                    ("SlackSecretArn", slack),
                    ("OncallSettings", settings.to_string()),
                ]
            }
            Template::BreakGlass => {
                let [_, _, datadog, slack] = self.vendors.clone();
                let settings = json!({
                    "DATADOG_API_URL": oncall.datadog.url(), "SECRETS_MANAGER_ENDPOINT": endpoint,
                    "DATABASE_CA_FILE": ca_file(postgres.postgres.certificates()),
                });
                let (set, role) = PERMISSION_SET;
                vec![
                    ("AdminSecretArns", postgres.admin_arn.clone()),
                    ("PermissionSets", format!("{set}:{role}")),
                    ("Path", BREAK_GLASS_PATH.to_owned()),
                    ("OncallPath", PATH.to_owned()),
                    ("OncallName", NAME.to_owned()),
                    ("SweepSchedule", "on".to_owned()),
                    ("DatadogSecretArn", datadog),
                    ("SlackSecretArn", slack),
                    ("BreakGlassSettings", settings.to_string()),
                ]
            }
        };
        of_all.into_iter().chain(own).map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }

    /// The endpoint of the Secrets Manager whose rotations are the service's. MiniStack has every other service.
    #[must_use]
    pub fn secrets_manager_url(&self) -> String {
        self.gate.url()
    }

    /// What a function is called where it is deployed.
    #[must_use]
    pub fn deployed(function: &str) -> String {
        format!("{NAME}-{function}")
    }

    /// The packaged bootstrap of a function, unpacked.
    #[must_use]
    pub fn bootstrap(&self, function: &str) -> PathBuf {
        self.ministack.folder().join("unpacked").join(function).join("bootstrap")
    }

    /// What somebody asks break-glass by its function URL, whose part is played here: it tells the function who has signed, and
    /// `MiniStack` does not.
    pub async fn ask_break_glass(&self, person: &Engineer, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let ((set, role), session) = (PERMISSION_SET, &person.email);
        let iam = json!({
            "accountId": ACCOUNT, "callerId": format!("{role}:{session}"),
            "userArn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_{set}_0123456789abcdef/{session}"),
        });
        let event = json!({
            "version": "2.0", "rawPath": path, "rawQueryString": "", "isBase64Encoded": false, "body": body.to_string(),
            "requestContext": {"authorizer": {"iam": iam}, "http": {"method": method, "path": path}},
        });
        let answer = self.api.invoke(&format!("{}:url", Self::deployed("break-glass")), &event).await;
        Answer::read(&answer.map_err(|error| anyhow::anyhow!("{error}"))?)
    }

    /// Every action that this function was let through with so far.
    #[must_use]
    pub fn used(&self, function: &str) -> BTreeSet<String> {
        self.gate.used(function)
    }

    /// Calls Secrets Manager where rotations are the service's, as the administrator.
    pub async fn secrets_manager(&self, operation: &str, parameters: Value) -> Result<Value, ApiError> {
        self.api.call_as(&Value::Null, Some(&self.gate.url()), ("secretsmanager", operation, parameters)).await
    }

    /// A new bucket.
    pub async fn bucket(&self, name: &str) -> Result<()> {
        let here = json!({"Bucket": name, "CreateBucketConfiguration": {"LocationConstraint": REGION}});
        self.api.call("s3", "create_bucket", here).await?;
        Ok(())
    }

    /// An instance at the server of [`Cloud::postgres`], and the ARN of its admin's secret, which RDS manages.
    pub async fn managed_instance(&self, id: &str) -> Result<String> {
        let text = json!({"username": ADMIN, "password": self.postgres.admin_password}).to_string();
        let secret = secret_of(&self.api, &self.postgres, &format!("rds!{id}"), &[], &text).await?;
        let network = Some(self.network(id).await?);
        let instance = self.rds.add_instance(Instance {
            id: id.to_owned(),
            engine: "postgres".to_owned(),
            endpoint: Some(("localhost".to_owned(), self.postgres.postgres.port())),
            managed_secret: Some(secret.clone()),
            network,
            ..Instance::default()
        });
        self.postgres.aws.secrets.tag(&secret, "aws:rds:primaryDBInstanceArn", &instance)?;
        Ok(secret)
    }

    /// A VPC with two subnets and a security group.
    async fn network(&self, name: &str) -> Result<Network> {
        let made = async |operation: &str, parameters: Value, path: &str| {
            let made = self.api.call("ec2", operation, parameters).await?;
            anyhow::Ok(made.pointer(path).and_then(Value::as_str).context("nothing was made")?.to_owned())
        };
        let vpc = made("create_vpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId").await?;
        let mut subnets = Vec::new();
        for (zone, block) in [("a", "10.0.0.0/24"), ("b", "10.0.1.0/24")] {
            let subnet = json!({"VpcId": vpc, "CidrBlock": block, "AvailabilityZone": format!("{REGION}{zone}")});
            subnets.push(made("create_subnet", subnet, "/Subnet/SubnetId").await?);
        }
        let group = json!({"GroupName": name, "Description": name, "VpcId": vpc});
        let security_group = made("create_security_group", group, "/GroupId").await?;
        Ok(Network { vpc, subnets, security_group })
    }

    /// The documents of the policies of the role with this logical name.
    pub async fn policies(&self, role: &str) -> Result<Vec<Value>> {
        gate::policies(&self.api, &self.physical_id(role).await?).await
    }

    /// What a resource of the stacks is called where it is deployed, if its logical name begins with its function's or is a sweep's.
    pub async fn physical_id(&self, resource: &str) -> Result<String> {
        let template = match resource {
            _ if resource.starts_with("Rotate") => Template::Rotation,
            _ if resource.starts_with("BreakGlass") || resource.starts_with("Sweep") => Template::BreakGlass,
            _ => Template::Oncall,
        };
        self.physical_id_in(&template.stack(), resource).await
    }

    /// The same of any stack.
    pub async fn physical_id_in(&self, stack: &str, resource: &str) -> Result<String> {
        let which = json!({"StackName": stack, "LogicalResourceId": resource});
        let found = self.api.call("cloudformation", "describe_stack_resource", which).await?;
        let id = found["StackResourceDetail"]["PhysicalResourceId"].as_str();
        Ok(id.with_context(|| format!("{resource} has no name"))?.to_owned())
    }

    /// Everything that a deployed function has written to its log.
    pub async fn log(&self, function: &str) -> Result<Vec<String>> {
        let group = json!({"logGroupName": format!("/aws/lambda/{}", Self::deployed(function))});
        let found = self.api.call("logs", "filter_log_events", group).await?;
        let events = found["events"].as_array().context("no log")?;
        Ok(events.iter().filter_map(|event| event["message"].as_str().map(str::to_owned)).collect())
    }

    /// An application whose user takes turns with its clone; its secret is rotated by the deployed rotate-postgres.
    pub async fn postgres_app(&self, name: &str) -> Result<App> {
        let app = self.postgres.app(name).await?;
        let name = format!("{PREFIX}/{name}");
        let secret = self.attached(&self.postgres, &name, &app.secret, "rotate-postgres", &[]).await?;
        Ok(App { secret, ..app })
    }

    /// The same with an admin whose secret RDS manages, and with mirrors.
    pub async fn managed_app(&self) -> Result<App> {
        let name = MIRRORED;
        let app = self.postgres.app(name).await?;
        let mut value = self.postgres.value(&app.secret, "AWSCURRENT")?;
        // The endpoint of the cluster's member, so that RDS is asked for it, too.
        (value["masterarn"], value["host"]) = (json!(self.managed_arn), json!("127.0.0.1"));
        let secret = self.postgres.secret(&format!("managed-{name}"), &value)?;
        let [tag, twins] = [format!("keyturn:mirror.{name}"), format!("keyturn:mirror.{name}_clone")];
        let [one, other] = [&self.mirrors[0], &self.mirrors[1]];
        let tags = [(tag.as_str(), one.as_str()), (twins.as_str(), other)];
        let secret =
            self.attached(&self.postgres, &format!("{PREFIX}/{name}"), &secret, "rotate-postgres", &tags).await?;
        Ok(App { secret, ..app })
    }

    /// An application at Atlas; its secret is rotated by the deployed rotate-mongo.
    pub async fn atlas_app(&self, name: &str) -> Result<MongoApp> {
        let app = self.mongo.atlas_app(name).await?;
        let tags = [("keyturn:engine", "mongodb-atlas")];
        let secret =
            self.attached(&self.mongo, &format!("{PREFIX}/{name}"), &app.secret, "rotate-mongo", &tags).await?;
        Ok(MongoApp { secret, ..app })
    }

    /// The same on a server of one's own.
    pub async fn mongo_app(&self, name: &str) -> Result<MongoApp> {
        let app = self.mongo.own_app(name).await?;
        let name = format!("{PREFIX}/{name}");
        let secret = self.attached(&self.mongo, &name, &app.secret, "rotate-mongo", &[]).await?;
        Ok(MongoApp { secret, ..app })
    }

    /// A secret in the one account and in the other, that no function of ours rotates, or this one.
    pub async fn secret_by(&self, rotator: &Rotator, name: &str, function: Option<&str>) -> Result<String> {
        let arn = secret_of(&self.api, rotator, name, &[], "{}").await?;
        if let Some(function) = function {
            rotator.aws.secrets.set_rotation(&arn, &self.gate.invoke_url(&Self::deployed(function)))?;
        }
        Ok(arn)
    }

    /// A copy of a secret under another name and with these tags, and the rotation by a deployed function attached.
    async fn attached(
        &self,
        rotator: &Rotator,
        name: &str,
        secret: &str,
        function: &str,
        tags: &[(&str, &str)],
    ) -> Result<String> {
        let text = rotator.value(secret, "AWSCURRENT")?.to_string();
        let arn = secret_of(&self.api, rotator, name, tags, &text).await?;
        rotator.aws.secrets.set_rotation(&arn, &self.gate.invoke_url(&Self::deployed(function)))?;
        Ok(arn)
    }
}

/// The program that runs this installation's Python with its packages.
fn tool(name: &str) -> Result<PathBuf> {
    let program = tools().join(name).join("run");
    ensure!(program.is_file(), ".tools/{name} is not installed: run make validate, or tests/tools/install.py {name}");
    Ok(program)
}

/// Unpacks what is deployed, into a folder for each function.
async fn unpack(folder: &Path) -> Result<()> {
    for function in functions()? {
        let zip = checkout().join("target/lambda").join(&function).join("bootstrap.zip");
        ensure!(zip.is_file(), "{} is not there: run make package", zip.display());
        unzip(&zip, &folder.join(function)).await?;
    }
    Ok(())
}

async fn unzip(zip: &Path, to: &Path) -> Result<()> {
    let output = Command::new(tool("cloud")?).args(["-m", "zipfile", "-e"]).args([zip, to]).output().await?;
    ensure!(output.status.success(), "{}: {}", zip.display(), String::from_utf8_lossy(&output.stderr));
    let bootstrap = to.join("bootstrap");
    fs::set_permissions(&bootstrap, Permissions::from_mode(0o755))
        .with_context(|| format!("no bootstrap in {}", zip.display()))
}

/// Makes a secret in MiniStack, where its tags count, and the same in the emulator that answers for it.
async fn secret_of(api: &AwsApi, rotator: &Rotator, name: &str, tags: &[(&str, &str)], text: &str) -> Result<String> {
    let arn = secret(api, name, tags, text).await?;
    let suffix = arn.rsplit('-').next().unwrap_or_default();
    let same = rotator.aws.secrets.create_as(name, suffix, text)?;
    ensure!(same == arn, "{same} is not {arn}");
    for (key, value) in tags {
        rotator.aws.secrets.tag(&arn, key, value)?;
    }
    Ok(arn)
}

async fn secret(api: &AwsApi, name: &str, tags: &[(&str, &str)], text: &str) -> Result<String> {
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    let made = json!({"Name": name, "SecretString": text, "Tags": tags});
    let made = api.call("secretsmanager", "create_secret", made).await?;
    Ok(made["ARN"].as_str().context("a secret without an ARN")?.to_owned())
}

/// The same secret under a name that MiniStack knows too.
async fn moved(api: &AwsApi, rotator: &Rotator, name: &str, secret: &str) -> Result<String> {
    secret_of(api, rotator, name, &[], &rotator.value(secret, "AWSCURRENT")?.to_string()).await
}

/// The admin's secret as RDS keeps it for a cluster, and that cluster.
async fn managed(api: &AwsApi, stack: &Stack, rds: &Rds) -> Result<String> {
    let (engine, endpoint) = ("aurora-postgresql".to_owned(), "localhost".to_owned());
    let port = stack.postgres.port();
    let id = "shop".to_owned();
    let cluster = rds.add_cluster(Cluster { id: id.clone(), engine, endpoint, port, ..Cluster::default() });
    let endpoint = Some(("127.0.0.1".to_owned(), port));
    let _ = rds.add_instance(Instance { id: "shop-1".to_owned(), endpoint, cluster: Some(id), ..Instance::default() });
    let text = json!({"username": ADMIN, "password": stack.admin_password}).to_string();
    let arn = secret_of(api, stack, "databases/rds-managed", &[], &text).await?;
    // Nobody but RDS may give a tag of this name.
    stack.aws.secrets.tag(&arn, "aws:rds:primaryDBClusterArn", &cluster)?;
    Ok(arn)
}

/// The secrets of oncall-sync's vendors.
async fn credentials(api: &AwsApi, world: &Oncall) -> Result<[String; 4]> {
    let make = async |vendor: &str| {
        let text = world.aws.secrets.value(&format!("keyturn/{vendor}"), "AWSCURRENT")?;
        let text = text.with_context(|| format!("{vendor} has no credential"))?;
        secret(api, &format!("{PATH}/{vendor}"), &[], &text).await
    };
    Ok([make("pagerduty").await?, make("okta").await?, make("datadog").await?, make("slack").await?])
}

/// Gives oncall-sync a binding, with somebody on call from now on.
async fn on_call(api: &AwsApi, world: &Oncall) -> Result<(Bound, Engineer)> {
    let (shop, ann) = (world.bind("shop", &json!({})), world.engineer("ann")?);
    let now = keyturn::clock::now();
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, now - TimeDelta::hours(1), now + TimeDelta::hours(8));
    let document = world.aws.parameters.value(&format!("{CONFIG_PATH}/shop")).context("no document")?;
    let parameter = json!({
        "Name": format!("{PATH}/bindings/shop"), "Value": document, "Type": "String",
    });
    api.call("ssm", "put_parameter", parameter).await?;
    Ok((shop, ann))
}

/// Gives break-glass a database to open for whoever is granted by this binding.
async fn database(api: &AwsApi, stack: &Stack, shop: &Bound) -> Result<()> {
    let server = &stack.postgres;
    let access = format!("{DATABASE}_admin");
    let with = if server.major() >= 16 { "ADMIN TRUE, INHERIT TRUE, SET TRUE" } else { "ADMIN OPTION" };
    for statement in [
        format!("CREATE ROLE {access} NOLOGIN"),
        format!("GRANT {access} TO {ADMIN} WITH {with}"),
        format!("GRANT pg_signal_backend TO {ADMIN}"),
        format!("CREATE DATABASE {DATABASE} OWNER {access}"),
    ] {
        server.execute(&statement).await?;
    }
    let document = json!({
        "engine": "postgres", "host": "localhost", "port": server.port(), "dbname": DATABASE, "access": access,
        "admin_secret": stack.admin_arn, "max_minutes": 60, "bindings": [{"binding": shop.id, "group": shop.group}],
    });
    let parameter = json!({
        "Name": format!("{BREAK_GLASS_PATH}/databases/{DATABASE}"), "Value": document.to_string(), "Type": "String",
    });
    api.call("ssm", "put_parameter", parameter).await?;
    Ok(())
}
