//! How a server process is started, alone or as a member of a replica set.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use rustix::process::Signal;
use tokio::time::sleep;

use super::install::{Install, VERSION, home};
use super::{code, template};
use crate::certificates::Certificates;
use crate::daemon::{Daemon, Instance, LOG, Recipe, Template, copy_tree, memory, write_private};

/// The user that every server begins with.
pub(super) const ROOT: &str = "root";

/// The replica set that a server is a member of, unless it stands alone.
pub(super) const REPLICA_SET: &str = "rs0";

const ELECTION: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// How a server differs from an ordinary one.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    pub(super) standalone: bool,
    /// It begins with nothing, and gets everything from other members.
    pub(super) empty: bool,
    /// Sees no certificate, hangs up.
    pub(super) demands_certificates: bool,
    /// Each `name=value`.
    pub(super) parameters: Vec<String>,
    pub(super) max_connections: Option<u32>,
}

/// Starts a server, and gives back the password of [`ROOT`]. Blocks for half a second or so, inside a runtime.
pub(super) fn start(choices: &Choices, certificates: &Certificates) -> Result<(Instance, String)> {
    let install = Install::find()?;
    let template = Template::of(&home(), VERSION, |target| template::make(&install, target))?;
    let scratch = memory().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("keyturn-mongo-").tempdir_in(scratch)?;
    let [data, pem, key, log] = ["data", "server.pem", "members.key", LOG].map(|name| folder.path().join(name));
    if choices.empty {
        fs::create_dir(&data)?;
    } else {
        copy_tree(&template.data, &data, None)?;
    }
    let both = format!("{}{}", certificates.server_certificate_pem(), certificates.server_key_pem());
    write_private(&pem, &both, None)?;
    // Members know each other by it. The root's password is as secret, and the same in every copy.
    write_private(&key, &template.password, None)?;
    let command = |port| {
        let mut command = install.command(&data, port);
        command.args(["--tlsMode", "requireTLS", "--tlsCertificateKeyFile"]).arg(&pem);
        command.arg("--tlsCAFile").arg(certificates.ca_file()).arg("--keyFile").arg(&key);
        if !choices.demands_certificates {
            command.arg("--tlsAllowConnectionsWithoutCertificates");
        }
        if !choices.standalone {
            command.args(["--replSet", REPLICA_SET]);
        }
        for parameter in &choices.parameters {
            command.args(["--setParameter", parameter]);
        }
        if let Some(most) = choices.max_connections {
            command.args(["--maxConns", &most.to_string()]);
        }
        command
    };
    // Killed: nobody will read its data again.
    let folders = vec![folder.path(), certificates.folder()];
    let recipe = Recipe { name: "mongod", log: log.clone(), stop: Signal::KILL, folders };
    let started = Daemon::on_a_free_port(&recipe, command, || is_ready(&log))?;
    Ok((Instance::new(started, folder), template.password))
}

/// The server says so itself. A connection would prove less: it could be to somebody else's server.
pub(super) fn is_ready(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|text| text.contains("\"msg\":\"Waiting for connections\""))
}

/// The configuration of a set with these members, of which the last ones are arbiters.
pub(super) fn configuration(version: i32, hosts: &[String], arbiters: usize) -> Document {
    let members = hosts.iter().enumerate().map(|(id, host)| {
        let id = i32::try_from(id).unwrap_or_default();
        let is_arbiter = hosts.len() - arbiters <= id.unsigned_abs() as usize;
        // The first one is the primary: where another one wins the first election, it takes over.
        let priority = if is_arbiter { 0 } else { i32::from(id == 0) + 1 };
        doc! { "_id": id, "host": host, "arbiterOnly": is_arbiter, "priority": priority }
    });
    // Elections take as long as they must, and no longer: nobody is far away here.
    let settings = doc! { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500 };
    doc! { "_id": REPLICA_SET, "version": version, "members": members.collect::<Vec<_>>(), "settings": settings }
}

/// Makes a copy of the template the primary of this set: it knows it under another host.
pub(super) async fn configure(root: &Client, hosts: &[String], arbiters: usize) -> Result<()> {
    let command = doc! { "replSetReconfig": configuration(2, hosts, arbiters), "force": true };
    match root.database("admin").run_command(command).await {
        // A member that changes its state may hang up on its clients.
        Err(error) if code(&error).is_some() => Err(error).context("the replica set is not configured"),
        _ => until_primary(root).await,
    }
}

/// Waits until this member takes writes.
pub(super) async fn until_primary(client: &Client) -> Result<()> {
    let started = Instant::now();
    loop {
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
        if hello.as_ref().is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
            return Ok(());
        }
        ensure!(started.elapsed() < ELECTION, "no primary within {ELECTION:?}: {hello:?}");
        sleep(POLL).await;
    }
}
