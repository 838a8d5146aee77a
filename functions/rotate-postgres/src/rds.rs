//! The RDS API: where the server of an admin secret is that RDS manages, and which other endpoints lead to a server. It is
//! asked only where the secrets do not say so themselves, and what it says is kept as long as the environment lives.

use crate::codes::Code;
use aws_sdk_rds::Client;
use aws_sdk_rds::auth_token::{self, AuthTokenGenerator};
use aws_sdk_rds::config::Region;
use aws_sdk_rds::types::DbInstance;
use keyturn::address::Address;
use keyturn::aws_call::{Call, within};
use keyturn::lambda::SdkConfig;
use keyturn::{Deadline, Error, Result};
use keyturn_postgres::DEFAULT_PORT;
use keyturn_postgres::rds::{DOMAIN, region_of};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// Something that RDS runs, by its ARN or its identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Instance(String),
    Cluster(String),
}

impl Resource {
    /// What a managed secret belongs to, by the tags that RDS gives it ("Password management with Amazon RDS and AWS Secrets
    /// Manager", Amazon RDS User Guide). Their letter case differs between AWS's pages.
    pub(crate) fn of_tags(tags: &HashMap<String, String>) -> Option<Self> {
        let tag = |name: &str| tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, arn)| arn.clone());
        tag("aws:rds:primaryDBInstanceArn")
            .map(Self::Instance)
            .or_else(|| tag("aws:rds:primaryDBClusterArn").map(Self::Cluster))
    }

    /// Whose endpoint this is, by its form: `shop.c1a2b3.eu-west-1.rds.amazonaws.com` is an instance's, and a cluster's has
    /// `cluster-` before the second part. Reader and custom endpoints (`cluster-ro-`, `cluster-custom-`) are nobody's writer.
    pub(crate) fn of_host(host: &str) -> Option<Self> {
        let (identifier, rest) = host.strip_suffix(DOMAIN)?.split_once('.')?;
        let (kind, _region) = rest.split_once('.')?;
        match kind.strip_prefix("cluster-") {
            None if is_proxy(host) => None,
            None => Some(Self::Instance(identifier.to_owned())),
            Some(id) if id.contains('-') => None,
            Some(_) => Some(Self::Cluster(identifier.to_owned())),
        }
    }

    fn name(&self) -> &str {
        let (Self::Instance(name) | Self::Cluster(name)) = self;
        name
    }
}

/// A server, as RDS knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) engine: String,
    /// Where it takes changes.
    pub(crate) writer: Address,
    /// Other endpoints that lead to its data: a cluster's reader and custom ones.
    endpoints: Vec<Address>,
    /// Instances with endpoints of their own that do so as well: a cluster's members, an instance's replicas.
    instances: Vec<String>,
}

/// RFC 3986's unreserved characters stay as they are, as in the canonical query of a signature.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug)]
pub(crate) struct Rds {
    aws: SdkConfig,
    client: Client,
    known: RefCell<BTreeMap<Resource, Server>>,
}

impl Rds {
    pub(crate) fn new(aws: &SdkConfig) -> Self {
        Self { aws: aws.clone(), client: Client::new(aws), known: RefCell::default() }
    }

    /// What `user` logs in with at an instance or cluster that takes IAM tokens: a request to RDS, signed with the function's own
    /// credentials, and valid for 15 minutes ("Connecting to your DB instance using IAM authentication", Amazon RDS User Guide).
    ///
    /// Errors: `ADMIN_TOKEN_REFUSED`.
    pub(crate) async fn token(&self, user: &str, server: &Address) -> Result<SecretString> {
        let mut config = auth_token::Config::builder()
            .hostname(&server.host)
            .port(u64::from(server.port))
            .username(utf8_percent_encode(user, IN_QUERY).to_string());
        if let Some(region) = region_of(&server.host) {
            config = config.region(Region::new(region.to_owned()));
        }
        let config = config.build().map_err(|e| not_signed(user, &e.to_string()))?;
        let token = Box::pin(AuthTokenGenerator::new(config).auth_token(&self.aws)).await;
        token.map(|token| token.as_str().into()).map_err(|e| not_signed(user, &e.to_string()))
    }

    /// Where the server is.
    ///
    /// Errors: `RDS_ENDPOINT_UNKNOWN`, and the `AWS_*` codes.
    pub(crate) async fn server(&self, resource: &Resource, deadline: Deadline) -> Result<Server> {
        if let Some(server) = self.known.borrow().get(resource) {
            return Ok(server.clone());
        }
        let server = match resource {
            Resource::Instance(name) => self.server_of_instance(name, deadline).await,
            Resource::Cluster(name) => self.server_of_cluster(name, deadline).await,
        };
        let server = server?.ok_or_else(|| unknown(resource))?;
        self.known.borrow_mut().insert(resource.clone(), server.clone());
        Ok(server)
    }

    /// Whether `server`, and `other` as well, are endpoints of the resource's data, by their whole names and ports.
    pub(crate) async fn leads_to(
        &self,
        resource: &Resource,
        server: &Address,
        other: &Address,
        deadline: Deadline,
    ) -> Result<bool> {
        let Server { writer, endpoints, instances, .. } = self.server(resource, deadline).await?;
        let mut unknown: Vec<&Address> =
            [server, other].into_iter().filter(|address| **address != writer && !endpoints.contains(address)).collect();
        for name in instances {
            if unknown.is_empty() {
                break;
            }
            let endpoint = self.instance(&name, deadline).await?.and_then(|instance| endpoint(&instance));
            unknown.retain(|address| endpoint.as_ref() != Some(*address));
        }
        Ok(unknown.is_empty())
    }

    async fn server_of_instance(&self, name: &str, deadline: Deadline) -> Result<Option<Server>> {
        let Some(instance) = self.instance(name, deadline).await? else { return Ok(None) };
        let (Some(writer), Some(engine)) = (endpoint(&instance), instance.engine()) else { return Ok(None) };
        let engine = engine.to_owned();
        if let Some(cluster) = instance.db_cluster_identifier() {
            let cluster = self.server_of_cluster(cluster, deadline).await?;
            return Ok(cluster.map(|cluster| {
                let endpoints = cluster.endpoints.into_iter().chain([cluster.writer]).collect();
                Server { engine, writer, endpoints, ..cluster }
            }));
        }
        // A replica in another region is listed by its ARN; only that region's RDS knows its endpoint.
        let replicas = instance.read_replica_db_instance_identifiers().iter();
        let instances = replicas.filter(|id| !id.starts_with("arn:")).cloned().collect();
        Ok(Some(Server { engine, writer, endpoints: Vec::new(), instances }))
    }

    async fn server_of_cluster(&self, name: &str, deadline: Deadline) -> Result<Option<Server>> {
        let call = self.client.describe_db_clusters().db_cluster_identifier(name).send();
        // Boxed, here and below: the SDK's futures are large.
        let found = match Box::pin(within(deadline, call)).await {
            Ok(found) => found.db_clusters.unwrap_or_default(),
            Err(failed) if failed.code() == Some("DBClusterNotFoundFault") => return Ok(None),
            Err(failed) => return Err(failed.explain(&Call::rds("DescribeDBClusters", name))),
        };
        let Some(cluster) = found.first() else { return Ok(None) };
        let (Some(host), Some(engine)) = (cluster.endpoint(), cluster.engine()) else { return Ok(None) };
        let port = cluster.port().and_then(|port| u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT);
        let at = |host: &str| Address::new(host, port);
        let named = cluster.reader_endpoint().into_iter().chain(cluster.custom_endpoints().iter().map(String::as_str));
        let members = cluster.db_cluster_members().iter().filter_map(|member| member.db_instance_identifier());
        Ok(Some(Server {
            engine: engine.to_owned(),
            writer: at(host),
            endpoints: named.map(at).collect(),
            instances: members.map(str::to_owned).collect(),
        }))
    }

    async fn instance(&self, name: &str, deadline: Deadline) -> Result<Option<DbInstance>> {
        let call = self.client.describe_db_instances().db_instance_identifier(name).send();
        match Box::pin(within(deadline, call)).await {
            Ok(found) => Ok(found.db_instances.unwrap_or_default().into_iter().next()),
            Err(failed) if failed.code() == Some("DBInstanceNotFound") => Ok(None),
            Err(failed) => Err(failed.explain(&Call::rds("DescribeDBInstances", name))),
        }
    }
}

/// Whether this is an endpoint of RDS Proxy.
pub(crate) fn is_proxy(host: &str) -> bool {
    let kind = host.strip_suffix(DOMAIN).and_then(|rest| rest.split('.').nth(1));
    kind.is_some_and(|kind| kind.starts_with("proxy-"))
}

fn not_signed(user: &str, why: &str) -> Error {
    Error::new(
        Code::AdminTokenRefused,
        format!("No IAM token could be made for the admin {user:?}: {why}."),
        "Look at the function's role and region.",
    )
}

/// An instance that is being made has none yet.
fn endpoint(instance: &DbInstance) -> Option<Address> {
    let endpoint = instance.endpoint()?;
    Some(Address::new(endpoint.address()?, u16::try_from(endpoint.port()?).ok()?))
}

fn unknown(resource: &Resource) -> Error {
    let look = match resource {
        Resource::Instance(_) => {
            "aws rds describe-db-instances --query 'DBInstances[].[DBInstanceArn,DBInstanceStatus,Endpoint.Address]'"
        }
        Resource::Cluster(_) => "aws rds describe-db-clusters --query 'DBClusters[].[DBClusterArn,Status,Endpoint]'",
    };
    Error::new(
        Code::RdsEndpointUnknown,
        format!("RDS knows no endpoint of {} in this account and region.", resource.name()),
        format!(
            "For one of another account or region, or one that is gone, name another admin secret in masterarn, with \"host\". Else see whether it is there, and available: {look}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_managed_secret_names_its_server_in_a_tag_of_any_letter_case() {
        let of = |tags: &[(&str, &str)]| {
            Resource::of_tags(&tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let instance = Some(Resource::Instance("arn:db".to_owned()));
        for name in ["aws:rds:primaryDBInstanceArn", "aws:rds:primarydbinstancearn", "AWS:RDS:PRIMARYDBINSTANCEARN"] {
            assert_eq!(of(&[("team", "shop"), (name, "arn:db")]), instance);
        }
        let cluster = Some(Resource::Cluster("arn:cluster".to_owned()));
        assert_eq!(of(&[("aws:rds:primaryDBClusterArn", "arn:cluster")]), cluster);
        assert_eq!(of(&[("aws:rds:other", "arn:db")]), None);
    }

    #[test]
    fn an_endpoint_says_whose_it_is() {
        let instance = |name: &str| Some(Resource::Instance(name.to_owned()));
        let cluster = |name: &str| Some(Resource::Cluster(name.to_owned()));
        for (host, resource) in [
            ("shop.c1a2b3c4.eu-west-1.rds.amazonaws.com", instance("shop")),
            ("shop-replica.c1a2b3c4.eu-west-1.rds.amazonaws.com", instance("shop-replica")),
            ("shop.cluster-c1a2b3c4.eu-west-1.rds.amazonaws.com", cluster("shop")),
            ("shop.cluster-ro-c1a2b3c4.eu-west-1.rds.amazonaws.com", None),
            ("reports.cluster-custom-c1a2b3c4.eu-west-1.rds.amazonaws.com", None),
            ("pool.proxy-c1a2b3c4.eu-west-1.rds.amazonaws.com", None),
            ("shop.eu-west-1.rds.amazonaws.com", None),
            ("shop.rds.amazonaws.com", None),
            ("shop.c1a2b3c4.eu-west-1.rds.amazonaws.com.evil.example", None),
            ("localhost", None),
        ] {
            assert_eq!(Resource::of_host(host), resource, "{host}");
        }
    }
}
