//! How a server process is started.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rustix::process::Signal;

use super::install::{Install, home};
use super::template;
use crate::certificates::Certificates;
use crate::daemon::{Daemon, Instance, LOG, Recipe, Template, copy_tree, memory, write_private};

/// The user that every server begins with.
pub(super) const ROOT: &str = "root";

/// The replica set that the server says it is the primary of, unless told otherwise.
pub(super) const REPLICA_SET: &str = "secantus";

/// Starts a server, and gives back the password of [`ROOT`]. Blocks for a second or so, inside a runtime.
pub(super) fn start(standalone: bool, certificates: &Certificates) -> Result<(Instance, String)> {
    let install = Install::find()?;
    let template = Template::of(&home(), install.version, |target| template::make(&install, target))?;
    let scratch = memory().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("keyturn-mongo-").tempdir_in(scratch)?;
    let [data, certificate, key, log] = ["data", "server.crt", "server.key", LOG].map(|name| folder.path().join(name));
    copy_tree(&template.data, &data, None)?;
    write_private(&certificate, certificates.server_certificate_pem(), None)?;
    write_private(&key, &certificates.server_key_pem(), None)?;
    let command = |port| {
        let mut command = install.command(folder.path(), port);
        command.arg("--auth").arg("--storage-path").arg(&data);
        command.arg("--tls-cert-file").arg(&certificate).arg("--tls-key-file").arg(&key);
        command.args(standalone.then_some("--standalone"));
        command
    };
    // Killed: nobody will read its data again, and it would take two seconds to say goodbye.
    let folders = vec![folder.path(), certificates.folder()];
    let recipe = Recipe { name: "secantusdb", log: log.clone(), stop: Signal::KILL, folders };
    let started = Daemon::on_a_free_port(&recipe, command, || is_ready(&log))?;
    Ok((Instance::new(started, folder), template.password))
}

/// The server says so itself. A connection would prove less: it could be to somebody else's server.
pub(super) fn is_ready(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|text| text.contains("secantus listening on"))
}
