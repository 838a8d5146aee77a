//! MiniStack, a local AWS that runs Lambda functions as processes and checks signatures and IAM policies.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use tempfile::TempDir;

use super::api::ADMINISTRATOR;
use super::tool;
use crate::aws_json::{ACCOUNT, REGION};
use crate::daemon::{Daemon, Recipe};

/// A running MiniStack. Dropped, it is stopped and its folder removed.
pub(super) struct MiniStack {
    port: u16,
    // Dropped in this order.
    _daemon: Daemon,
    folder: TempDir,
}

impl MiniStack {
    /// Starts one with this folder, whose functions find Parameter Store, RDS and logs at this endpoint. Blocks for a second or two.
    pub(super) fn start(folder: TempDir, gate: &str) -> Result<Self> {
        let (program, home) = (tool("cloud")?, folder.path());
        let log = home.join("ministack.log");
        let command = |port: u16| {
            let port = port.to_string();
            let mut command = Command::new(&program);
            command.args(["-m", "ministack"]).current_dir(home).env_clear();
            command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", &port).env("PORT", &port);
            command.env("HOME", home).env("TMPDIR", home).env("S3_DATA_DIR", home.join("s3"));
            command.env("AUTH", "true").env("MINISTACK_ACCOUNT_ID", ACCOUNT);
            command.env("AWS_ACCESS_KEY_ID", ADMINISTRATOR).env("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR);
            command.env("MINISTACK_REGION", REGION).env("AWS_DEFAULT_REGION", REGION);
            // Where there is Docker, it would look for containers to remove.
            command.env("DOCKER_HOST", format!("unix://{}", home.join("no-docker").display()));
            // The functions inherit it. AWS_ENDPOINT_URL itself would take precedence over their own settings.
            command.env("AWS_ENDPOINT_URL_SSM", gate).env("AWS_ENDPOINT_URL_RDS", gate);
            command.env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", gate);
            command
        };
        // Killed: nothing of it is kept, and it would wait long for idle connections. Functions end without their Runtime API.
        let recipe = Recipe { name: "ministack", log: log.clone(), stop: Signal::KILL, folders: vec![home] };
        let is_ready = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("Running on http"));
        let (port, daemon) = Daemon::on_a_free_port(&recipe, command, is_ready)?;
        Ok(Self { port, _daemon: daemon, folder })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A folder that goes with it.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
