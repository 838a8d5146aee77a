//! A data directory with its first user and the configuration of a replica set, for every server to be a copy of.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use mongodb::Client;
use mongodb::bson::doc;
use rustix::process::Signal;
use tokio::runtime::Handle;

use super::install::Install;
use super::server::{REPLICA_SET, ROOT, configuration, is_ready, until_primary};
use crate::daemon::{Daemon, Recipe, copy_tree, memory, write_private};

/// Makes a template's folder. Blocks, inside a runtime.
pub(super) fn make(install: &Install, target: &Path) -> Result<()> {
    let scratch = memory().unwrap_or_else(std::env::temp_dir);
    let work = tempfile::Builder::new().prefix("keyturn-mongo-first-").tempdir_in(scratch)?;
    let (data, log) = (work.path().join("data"), work.path().join("log"));
    fs::create_dir(&data)?;
    // Asked to end, so that everything is on disk.
    let recipe = Recipe { name: "mongod", log: log.clone(), stop: Signal::TERM, folders: vec![work.path()] };
    let command = |port| {
        let mut command = install.command(&data, port);
        command.args(["--replSet", REPLICA_SET]);
        command
    };
    let (port, daemon) = Daemon::on_a_free_port(&recipe, command, || is_ready(&log))?;
    let password = super::new_password();
    Handle::current().block_on(begin(port, &password))?;
    drop(daemon);

    fs::create_dir(target)?;
    copy_tree(&data, &target.join("data"), None)?;
    write_private(&target.join("password"), &password, None)
}

async fn begin(port: u16, password: &str) -> Result<()> {
    let client = Client::with_options(super::options(port))?;
    let admin = client.database("admin");
    let only = [format!("localhost:{port}")];
    admin.run_command(doc! { "replSetInitiate": configuration(1, &only, 0) }).await.context("no replica set begun")?;
    until_primary(&client).await?;
    // Said once: with an arbiter, the server would not take a new configuration without it.
    let concern = doc! { "setDefaultRWConcern": 1, "defaultWriteConcern": { "w": 1 } };
    admin.run_command(concern).await.context("no default write concern set")?;
    let user = doc! { "createUser": ROOT, "pwd": password, "roles": ["root"] };
    admin.run_command(user).await.context("the first user is not made")?;
    client.shutdown().immediate(true).await;
    Ok(())
}
