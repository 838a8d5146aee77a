//! RDS's API, as far as a rotation asks it: `DescribeDBInstances` and `DescribeDBClusters` in the AWS query protocol, version
//! 2014-10-31. What the service would refuse is refused, and what no correct client sends is noted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use crate::aws_json::{ACCOUNT, REGION, check_signature, uuid};
use crate::server::Server;

const VERSION: &str = "2014-10-31";

/// An instance, as tests describe it.
#[derive(Clone, Debug, Default)]
pub struct Instance {
    pub id: String,
    pub engine: String,
    /// Without one it is still being made.
    pub endpoint: Option<(String, u16)>,
    /// Its replicas' identifiers; those in other regions as ARNs.
    pub replicas: Vec<String>,
    pub cluster: Option<String>,
    /// The ARN of the admin's secret, where RDS manages it.
    pub managed_secret: Option<String>,
    pub network: Option<Network>,
}

/// Where an instance is in its VPC.
#[derive(Clone, Debug)]
pub struct Network {
    pub vpc: String,
    pub subnets: Vec<String>,
    pub security_group: String,
}

/// A cluster, as tests describe it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub id: String,
    pub engine: String,
    pub endpoint: String,
    pub reader: Option<String>,
    pub custom: Vec<String>,
    pub port: u16,
}

#[derive(Default)]
struct Inner {
    instances: Mutex<Vec<Instance>>,
    clusters: Mutex<Vec<Cluster>>,
    denied: Mutex<bool>,
    calls: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
}

/// The running emulator. Dropped, it is gone.
pub struct Rds {
    inner: Arc<Inner>,
    server: Server,
}

impl Rds {
    pub async fn start() -> anyhow::Result<Self> {
        let inner = Arc::<Inner>::default();
        let server = Server::start(Router::new().fallback(call).with_state(Arc::clone(&inner))).await?;
        Ok(Self { inner, server })
    }

    /// The endpoint (`AWS_ENDPOINT_URL_RDS`).
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Adds an instance and gives its ARN.
    #[must_use]
    pub fn add_instance(&self, instance: Instance) -> String {
        let arn = instance_arn(&instance.id);
        lock(&self.inner.instances).push(instance);
        arn
    }

    /// Adds a cluster and gives its ARN.
    #[must_use]
    pub fn add_cluster(&self, cluster: Cluster) -> String {
        let arn = cluster_arn(&cluster.id);
        lock(&self.inner.clusters).push(cluster);
        arn
    }

    /// The function's role lacks the actions from now on, or has them again.
    pub fn deny(&self, denied: bool) {
        *lock(&self.inner.denied) = denied;
    }

    /// Every call so far: its action, and what it asked for.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.inner.calls).clone()
    }

    /// Every request so far that no correct client would have sent.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.inner.violations).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn instance_arn(id: &str) -> String {
    format!("arn:aws:rds:{REGION}:{ACCOUNT}:db:{id}")
}

fn cluster_arn(id: &str) -> String {
    format!("arn:aws:rds:{REGION}:{ACCOUNT}:cluster:{id}")
}

/// A status, the service's code, and its words.
type Failure = (StatusCode, &'static str, String);

async fn call(State(inner): State<Arc<Inner>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answer = read(&method, &uri, &headers, &body).and_then(|fields| inner.answer(fields));
    let (status, text) = match answer {
        Ok(text) => (StatusCode::OK, text),
        Err((status, code, message)) => {
            if status == StatusCode::BAD_REQUEST {
                lock(&inner.violations).push(format!("{code}: {message}"));
            }
            let error = format!("<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>");
            (status, format!("<ErrorResponse><Error>{error}</Error><RequestId>{}</RequestId></ErrorResponse>", uuid()))
        }
    };
    (status, [("content-type", "text/xml")], text).into_response()
}

fn violation(message: impl Into<String>) -> Failure {
    (StatusCode::BAD_REQUEST, "InvalidParameterValue", message.into())
}

fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<BTreeMap<String, String>, Failure> {
    if method != Method::POST || uri.path() != "/" || uri.query().is_some() {
        return Err(violation(format!("{method} {uri} is not POST /")));
    }
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    // botocore names the character set as well.
    if content_type.split(';').next() != Some("application/x-www-form-urlencoded") {
        return Err(violation(format!("content type {content_type}")));
    }
    check_signature(headers, "rds").map_err(|failure| violation(failure.message))?;
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let count = fields.len();
    let fields: BTreeMap<String, String> = fields.into_iter().collect();
    if fields.len() != count {
        return Err(violation("a parameter is there twice"));
    }
    if fields.get("Version").map(String::as_str) != Some(VERSION) {
        return Err(violation("no such version of the API"));
    }
    Ok(fields)
}

impl Inner {
    fn answer(&self, mut fields: BTreeMap<String, String>) -> Result<String, Failure> {
        fields.remove("Version");
        let action = fields.remove("Action").unwrap_or_default();
        let asked = fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
        lock(&self.calls).push(format!("{action} {asked}"));
        if *lock(&self.denied) {
            let message = format!(
                "User: arn:aws:sts::{ACCOUNT}:assumed-role/keyturn/keyturn is not authorized to perform: rds:{action} because no identity-based policy allows the rds:{action} action"
            );
            return Err((StatusCode::FORBIDDEN, "AccessDenied", message));
        }
        let (list, items) = match action.as_str() {
            "DescribeDBInstances" => ("DBInstances", self.instances(fields)?),
            "DescribeDBClusters" => ("DBClusters", self.clusters(fields)?),
            _ => return Err(violation(format!("unknown action {action}"))),
        };
        Ok(format!(
            "<{action}Response xmlns=\"http://rds.amazonaws.com/doc/{VERSION}/\"><{action}Result><{list}>{items}</{list}></{action}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
            uuid()
        ))
    }

    fn instances(&self, mut fields: BTreeMap<String, String>) -> Result<String, Failure> {
        let Some(asked) = fields.remove("DBInstanceIdentifier") else {
            return Err(violation("no role here may list all instances"));
        };
        nothing_else(&fields)?;
        let all = lock(&self.instances);
        let is = |instance: &&Instance| instance.id == asked || instance_arn(&instance.id) == asked;
        let Some(instance) = all.iter().find(is) else {
            return Err((StatusCode::NOT_FOUND, "DBInstanceNotFound", format!("DBInstance {asked} not found.")));
        };
        Ok(written(instance))
    }

    fn clusters(&self, mut fields: BTreeMap<String, String>) -> Result<String, Failure> {
        let asked = fields.remove("DBClusterIdentifier").unwrap_or_default();
        nothing_else(&fields)?;
        let all = lock(&self.clusters);
        let found = all.iter().find(|cluster| cluster.id == asked || cluster_arn(&cluster.id) == asked);
        let Some(cluster) = found else {
            let message = format!("DBCluster {asked} not found.");
            return Err((StatusCode::NOT_FOUND, "DBClusterNotFoundFault", message));
        };
        let Cluster { id, engine, endpoint, reader, custom, port } = cluster;
        let reader = tagged("ReaderEndpoint", reader.as_slice());
        let custom = tagged("member", custom);
        let members = lock(&self.instances);
        let members = members.iter().filter(|instance| instance.cluster.as_ref() == Some(id));
        let members: Vec<String> = members
            .map(|member| {
                format!(
                    "<DBInstanceIdentifier>{}</DBInstanceIdentifier><IsClusterWriter>false</IsClusterWriter>",
                    member.id
                )
            })
            .collect();
        let members = tagged("DBClusterMember", &members);
        Ok(format!(
            "<DBCluster><DBClusterIdentifier>{id}</DBClusterIdentifier><DBClusterArn>{}</DBClusterArn><Engine>{engine}</Engine><Endpoint>{endpoint}</Endpoint>{reader}<CustomEndpoints>{custom}</CustomEndpoints><DBClusterMembers>{members}</DBClusterMembers><Port>{port}</Port><Status>available</Status></DBCluster>",
            cluster_arn(id)
        ))
    }
}

fn nothing_else(fields: &BTreeMap<String, String>) -> Result<(), Failure> {
    fields.keys().next().map_or(Ok(()), |name| Err(violation(format!("{name} is no parameter here"))))
}

fn written(instance: &Instance) -> String {
    let Instance { id, engine, endpoint, replicas, cluster, managed_secret, network } = instance;
    let mut text = format!(
        "<DBInstance><DBInstanceIdentifier>{id}</DBInstanceIdentifier><DBInstanceArn>{}</DBInstanceArn><Engine>{engine}</Engine>",
        instance_arn(id)
    );
    if let Some((host, port)) = endpoint {
        let zone = "<HostedZoneId>Z29XKXDKYMONMX</HostedZoneId>";
        let _ = write!(text, "<Endpoint><Address>{host}</Address><Port>{port}</Port>{zone}</Endpoint>");
    }
    if let Some(cluster) = cluster {
        let _ = write!(text, "<DBClusterIdentifier>{cluster}</DBClusterIdentifier>");
    }
    if let Some(secret) = managed_secret {
        let _ = write!(
            text,
            "<MasterUserSecret><SecretArn>{secret}</SecretArn><SecretStatus>active</SecretStatus></MasterUserSecret>"
        );
    }
    if let Some(Network { vpc, subnets, security_group }) = network {
        let subnet =
            |id: &String| format!("<SubnetIdentifier>{id}</SubnetIdentifier><SubnetStatus>Active</SubnetStatus>");
        let subnets = tagged("Subnet", &subnets.iter().map(subnet).collect::<Vec<_>>());
        let _ = write!(text, "<DBSubnetGroup><VpcId>{vpc}</VpcId><Subnets>{subnets}</Subnets></DBSubnetGroup>");
        let group = format!("<VpcSecurityGroupId>{security_group}</VpcSecurityGroupId><Status>active</Status>");
        let groups = tagged("VpcSecurityGroupMembership", &[group]);
        let _ = write!(text, "<VpcSecurityGroups>{groups}</VpcSecurityGroups>");
    }
    let replicas = tagged("ReadReplicaDBInstanceIdentifier", replicas);
    let _ = write!(text, "<ReadReplicaDBInstanceIdentifiers>{replicas}</ReadReplicaDBInstanceIdentifiers>");
    text + "<DBInstanceStatus>available</DBInstanceStatus></DBInstance>"
}

/// Each value in an element of this name.
fn tagged(name: &str, values: &[String]) -> String {
    values.iter().fold(String::new(), |text, value| text + &format!("<{name}>{value}</{name}>"))
}
