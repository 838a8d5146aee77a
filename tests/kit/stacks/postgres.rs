//! Everything together: a PostgreSQL server with an admin, Secrets Manager, and the real `rotate-postgres` bootstrap.

use crate::aws::Aws;
use crate::faults::Faults;
use crate::lambda::Lambda;
use crate::postgres::proxy::{Logins, PostgresProxy};
use crate::postgres::{self, Postgres};
use crate::relay::Relay;
use crate::rotator::{Rotator, built, environment};
use anyhow::Result;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde_json::{Value, json};
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// The role that rotates: no superuser, but `CREATEROLE`, as on RDS.
pub const ADMIN: &str = "rotation_admin";

/// A running stack. Dropped, all of it is gone.
pub struct Stack {
    rotator: Rotator,
    pub postgres: Postgres,
    /// The ARN of the admin's secret.
    pub admin_arn: String,
    pub admin_password: String,
    between: Between,
}

/// The proxy or relay that the function connects to instead of the server.
enum Between {
    Nothing,
    Proxy(PostgresProxy),
    Relay(Relay),
}

impl Between {
    fn port(&self) -> Option<u16> {
        match self {
            Self::Nothing => None,
            Self::Proxy(proxy) => Some(proxy.port()),
            Self::Relay(relay) => Some(relay.port()),
        }
    }
}

/// The time that each call of AWS, and each round trip to the database, takes longer than on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub aws: Duration,
    pub database: Duration,
}

/// A stack to be started.
#[must_use]
pub struct Builder {
    postgres: postgres::Builder,
    environment: Vec<(String, String)>,
    bootstrap: Option<PathBuf>,
    through_proxy: Option<Logins>,
    through_relay: bool,
    as_deployed: bool,
}

/// An application: a database of its own, the role that owns it, and the secret its clients read.
#[derive(Clone, Debug)]
pub struct App {
    /// The base role (clone layout) or the owner (owner layout), and the database.
    pub name: String,
    pub secret: String,
}

impl Deref for Stack {
    type Target = Rotator;

    fn deref(&self) -> &Rotator {
        &self.rotator
    }
}

impl Stack {
    /// Starts a stack on this major version of PostgreSQL.
    pub async fn start(major: u32) -> Result<Self> {
        Self::builder(major).start().await
    }

    /// A stack with choices of its own.
    pub fn builder(major: u32) -> Builder {
        Builder {
            postgres: Postgres::builder(major),
            environment: Vec::new(),
            bootstrap: None,
            through_proxy: None,
            through_relay: false,
            as_deployed: false,
        }
    }

    /// The port that secrets name: that of what stands in between, if anything does.
    #[must_use]
    pub fn database_port(&self) -> u16 {
        self.between.port().unwrap_or(self.postgres.port())
    }

    /// Puts AWS and the database this far away from now on. The database can only be moved on a stack with a relay.
    pub fn set_latency(&self, latency: Latency) {
        self.aws.set_latency(latency.aws);
        if let Between::Relay(relay) = &self.between {
            relay.set_round_trip(latency.database);
        }
    }

    /// An application as AWS's function expects it: one login, which owns everything; clone layout.
    pub async fn app(&self, name: &str) -> Result<App> {
        let password = self.postgres.make_login(name, "").await?;
        self.share(name).await?;
        let secret = self.secret(name, &self.credential(name, name, &password))?;
        Ok(App { name: name.to_owned(), secret })
    }

    /// An application in owner layout: `<name>` owns, `<name>_a` and `<name>_b` log in; `_a` exists and is in use.
    pub async fn owner_app(&self, name: &str) -> Result<App> {
        let (role, first) = (escape_identifier(name), format!("{name}_a"));
        self.postgres.execute(&format!("CREATE ROLE {role} NOLOGIN")).await?;
        self.share(name).await?;
        let password = self.postgres.make_login(&first, &format!("IN ROLE {role}")).await?;
        // What the manual asks for: what the first login makes before its own turn comes must belong to the owner too.
        self.postgres
            .execute(&format!("ALTER ROLE {} SET role = {}", escape_identifier(&first), escape_literal(name)))
            .await?;
        let credential = self.credential(name, &first, &password);
        // From PostgreSQL 16 on, power over a role that somebody else made has to be given.
        if self.postgres.major() >= 16 {
            self.postgres.execute(&format!("GRANT {} TO {ADMIN} WITH ADMIN OPTION", escape_identifier(&first))).await?;
        }
        let secret = self.secret(name, &credential)?;
        self.in_owner_layout(&secret, [&first, &format!("{name}_b")], name)?;
        Ok(App { name: name.to_owned(), secret })
    }

    /// Tags a secret for owner layout.
    pub fn in_owner_layout(&self, secret: &str, users: [&str; 2], owner: &str) -> Result<()> {
        self.in_pair_layout(secret, users)?;
        self.aws.secrets.tag(secret, "keyturn:owner", owner)
    }

    /// Tags a secret for pair layout.
    pub fn in_pair_layout(&self, secret: &str, users: [&str; 2]) -> Result<()> {
        self.aws.secrets.tag(secret, "keyturn:usernames", &users.join(" "))
    }

    /// Gives a role a database that only it may enter, and the admin its power over the role.
    async fn share(&self, name: &str) -> Result<()> {
        let role = escape_identifier(name);
        self.postgres.execute(&format!("CREATE DATABASE {role} OWNER {role}")).await?;
        self.postgres.execute(&format!("REVOKE CONNECT ON DATABASE {role} FROM PUBLIC")).await?;
        if self.postgres.major() >= 16 {
            self.postgres.execute(&format!("GRANT {role} TO {ADMIN} WITH ADMIN OPTION")).await?;
        }
        Ok(())
    }

    /// The JSON of a secret made for AWS's `SecretsManagerRDSPostgreSQLRotationMultiUser`.
    #[must_use]
    pub fn credential(&self, database: &str, user: &str, password: &str) -> Value {
        json!({
            "engine": "postgres", "host": "localhost", "username": user, "password": password,
            "dbname": database, "port": self.database_port(), "masterarn": self.admin_arn,
        })
    }
}

impl Builder {
    /// Sets a variable of the function's environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes the server before it starts.
    pub fn postgres(mut self, change: impl FnOnce(postgres::Builder) -> postgres::Builder) -> Self {
        self.postgres = change(self.postgres);
        self
    }

    /// Runs this bootstrap instead of the one built beside the running program.
    pub fn bootstrap(mut self, path: PathBuf) -> Self {
        self.bootstrap = Some(path);
        self
    }

    /// Lets every connection of the function pass the proxy that records statements and carries out faults.
    pub fn through_proxy(mut self) -> Self {
        self.through_proxy = Some(Logins::PassedOn);
        self
    }

    /// Lets every connection of the function pass a proxy that treats logins as `PgBouncer` does.
    pub fn through_a_pooler(mut self) -> Self {
        self.through_proxy = Some(Logins::OfAPooler);
        self
    }

    /// Puts what RDS does with IAM database authentication between the function and the database: `IAM_USER` shows a token.
    pub fn by_iam_token(mut self) -> Self {
        self.through_proxy = Some(Logins::ByIamToken);
        self
    }

    /// Lets every connection of the function pass a relay, which can put the database further away.
    pub fn through_relay(mut self) -> Self {
        self.through_relay = true;
        self
    }

    /// Sets what `infra/rotation.yaml` always sets: which admin secret may be used, and what OpenSSL shall not read.
    pub fn as_deployed(mut self) -> Self {
        self.as_deployed = true;
        self
    }

    pub async fn start(self) -> Result<Stack> {
        let faults = Faults::none();
        let (postgres, aws) = tokio::try_join!(self.postgres.start(), Aws::start(faults.clone()))?;
        let between = if let Some(logins) = self.through_proxy {
            let (port, certificates) = (postgres.port(), postgres.certificates());
            Between::Proxy(PostgresProxy::start(port, certificates, faults.clone(), logins).await?)
        } else if self.through_relay {
            Between::Relay(Relay::start(postgres.port()).await?)
        } else {
            Between::Nothing
        };
        let admin_password = postgres.make_admin(ADMIN).await?;
        let port = between.port().unwrap_or(postgres.port());
        let admin = json!({
            "engine": "postgres", "host": "localhost", "username": ADMIN, "password": admin_password,
            "dbname": "postgres", "port": port,
        });
        let admin_arn = aws.secrets.create("admin", &admin.to_string())?;
        let bootstrap = match self.bootstrap {
            Some(path) => path,
            None => built("rotate-postgres")?,
        };
        let ca_file = postgres.certificates().ca_file().display().to_string();
        let mut usual = vec![("AWS_ENDPOINT_URL", aws.url()), ("DATABASE_CA_FILE", ca_file)];
        if self.as_deployed {
            usual.extend([("ADMIN_SECRET_ARNS", admin_arn.clone()), ("SSL_CERT_FILE", "/dev/null".to_owned())]);
        } else {
            usual.push(("ADMIN_SECRET_ARNS", "any".to_owned()));
        }
        let environment = environment(&usual, self.environment);
        let lambda = Lambda::start("rotate-postgres", bootstrap, environment, faults.clone()).await?;
        Ok(Stack { rotator: Rotator { lambda, aws, faults }, postgres, admin_arn, admin_password, between })
    }
}
