//! One running server process and its folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use tempfile::TempDir;

use super::install::Install;
use super::template::Template;
use crate::certificates::Certificates;
use crate::daemon::{Daemon, Recipe, copy_tree, memory, write_private};

/// The user that every server begins with.
pub(super) const ROOT: &str = "root";

/// The replica set that the server says it is the primary of, unless told otherwise.
pub(super) const REPLICA_SET: &str = "secantus";

/// What a server is started with.
pub(super) struct Plan {
    pub(super) standalone: bool,
    pub(super) certificates: Certificates,
}

/// A server that takes connections. Dropped, it is stopped and its folder removed.
pub(super) struct Server {
    pub(super) port: u16,
    // Dropped in this order: a running server would write into the folder while it is removed.
    daemon: Daemon,
    home: Home,
}

impl Server {
    /// Starts a server. Blocks for a second or so.
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let home = Home::prepare(plan)?;
        let folders = vec![home.folder.path(), plan.certificates.folder()];
        // Killed: nobody will read its data again, and it would take two seconds to say goodbye.
        let recipe = Recipe { name: "secantusdb", log: home.log(), stop: Signal::KILL, folders };
        let (port, daemon) =
            Daemon::on_a_free_port(&recipe, |port| home.command(plan, port), || is_ready(&home.log()))?;
        Ok(Self { port, daemon, home })
    }

    pub(super) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub(super) fn root_password(&self) -> &str {
        &self.home.root_password
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &Path {
        self.home.folder.path()
    }

    /// The file that it logs to.
    pub(super) fn log(&self) -> PathBuf {
        self.home.log()
    }
}

/// A folder that a server can be run in.
struct Home {
    install: Install,
    folder: TempDir,
    root_password: String,
}

impl Home {
    fn prepare(plan: &Plan) -> Result<Self> {
        let install = Install::find()?;
        let template = Template::of(&install)?;
        let scratch = memory().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new().prefix("keyturn-mongo-").tempdir_in(scratch)?;
        let home = Self { install, folder, root_password: template.root_password };
        copy_tree(&template.data, &home.data(), None)?;
        write_private(&home.certificate(), plan.certificates.server_certificate_pem(), None)?;
        write_private(&home.key(), &plan.certificates.server_key_pem(), None)?;
        Ok(home)
    }

    fn command(&self, plan: &Plan, port: u16) -> Command {
        let mut command = self.install.command(self.folder.path(), port);
        command.arg("--auth").arg("--storage-path").arg(self.data());
        command.arg("--tls-cert-file").arg(self.certificate()).arg("--tls-key-file").arg(self.key());
        command.args(plan.standalone.then_some("--standalone"));
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// The server says so itself. A connection would prove less: it could be to somebody else's server.
pub(super) fn is_ready(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|text| text.contains("secantus listening on"))
}
