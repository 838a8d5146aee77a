//! A data directory with its first user, who can be made only while the server asks nobody to log in.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use mongodb::Client;
use mongodb::bson::doc;
use rustix::process::Signal;
use tokio::runtime::Handle;

use super::install::Install;
use super::server::{ROOT, is_ready};
use crate::daemon::{Daemon, Recipe, copy_tree, memory, write_private};

/// Makes a template's folder. Blocks, inside a runtime.
pub(super) fn make(install: &Install, target: &Path) -> Result<()> {
    let scratch = memory().unwrap_or_else(std::env::temp_dir);
    let work = tempfile::Builder::new().prefix("keyturn-mongo-first-").tempdir_in(scratch)?;
    let (data, log) = (work.path().join("data"), work.path().join("log"));
    // Asked to end, so that everything is on disk.
    let recipe = Recipe { name: "secantusdb", log: log.clone(), stop: Signal::TERM, folders: vec![work.path()] };
    let command = |port| {
        let mut command = install.command(work.path(), port);
        command.arg("--storage-path").arg(&data);
        command
    };
    let (port, daemon) = Daemon::on_a_free_port(&recipe, command, || is_ready(&log))?;
    let password = super::new_password();
    Handle::current().block_on(make_root(port, &password))?;
    drop(daemon);

    fs::create_dir(target)?;
    copy_tree(&data, &target.join("data"), None)?;
    write_private(&target.join("password"), &password, None)
}

async fn make_root(port: u16, password: &str) -> Result<()> {
    let client = Client::with_options(super::options(port))?;
    let user = doc! { "createUser": ROOT, "pwd": password, "roles": ["root"], "mechanisms": ["SCRAM-SHA-256"] };
    client.database("admin").run_command(user).await.context("the first user is not made")?;
    Ok(())
}
