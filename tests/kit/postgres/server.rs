//! How a server process is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use tempfile::TempDir;

use super::install::{Install, home};
use super::template;
use crate::certificates::Certificates;
use crate::daemon::{Daemon, Instance, LOG, Recipe, Template, copy_tree, give, write_private};

pub(super) struct Plan {
    pub(super) major: u32,
    pub(super) settings: String,
    pub(super) hba: String,
    pub(super) certificates: Certificates,
}

/// Starts a server, and gives back the password that its superuser has to begin with. Blocks for a second or so.
pub(super) fn start(plan: &Plan) -> Result<(Instance, String)> {
    let home = Home::prepare(plan)?;
    let started = Daemon::on_a_free_port(&home.recipe(), |port| home.command(port), || is_ready(&home.data()))?;
    Ok((Instance::new(started, home.folder), home.first_password))
}

/// A folder that a server can be run in.
pub(super) struct Home {
    install: Install,
    folder: TempDir,
    certificates: Certificates,
    first_password: String,
}

impl Home {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let install = Install::find(plan.major)?;
        let template = Template::of(&home(), install.version, |target| template::make(&install, target))?;
        let folder = tempfile::Builder::new().prefix("keyturn-postgres-").tempdir_in(&install.scratch)?;
        give(folder.path(), install.account)?;
        let certificates = plan.certificates.clone();
        let home = Self { install, folder, certificates, first_password: template.password };
        copy_tree(&template.data, &home.data(), home.install.account)?;
        for (name, text) in [
            ("postgresql.conf", plan.settings.as_str()),
            ("pg_hba.conf", &plan.hba),
            ("server.crt", plan.certificates.server_certificate_pem()),
            ("server.key", &plan.certificates.server_key_pem()),
        ] {
            write_private(&home.data().join(name), text, home.install.account)?;
        }
        Ok(home)
    }

    /// How the server is run here. Asked to end by a signal to its first process, it ends the others too; SIGKILL would
    /// leave them to notice by themselves.
    pub(super) fn recipe(&self) -> Recipe<'_> {
        let folders = vec![self.folder.path(), self.certificates.folder()];
        Recipe { name: "PostgreSQL", log: self.folder.path().join(LOG), stop: Signal::QUIT, folders }
    }

    pub(super) fn command(&self, port: u16) -> Command {
        let mut command = self.install.command("postgres", self.folder.path());
        command.arg("-D").arg(self.data()).args(["-p", &port.to_string()]);
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// The server says so itself, in the eighth line of its pid file.
fn is_ready(data: &Path) -> bool {
    let status = fs::read_to_string(data.join("postmaster.pid"));
    status.is_ok_and(|text| text.lines().nth(7).is_some_and(|status| status.trim() == "ready"))
}
