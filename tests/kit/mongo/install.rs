//! Where mongod is, and how it is run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::daemon::tools;

/// What names the template of data directories: another version would need another one.
pub(super) const VERSION: &str = "6.0";

pub(super) struct Install {
    program: PathBuf,
}

impl Install {
    /// The server as `tests/tools/install.py` left it.
    pub(super) fn find() -> Result<Self> {
        let program = home().join("fiftyone/db/bin/mongod");
        ensure!(program.exists(), "mongod is not installed: run tests/tools/install.py mongod");
        Ok(Self { program })
    }

    /// A command that runs the server with its data in this folder, on this port of loopback, with none of our environment.
    /// A password is hashed 5,000 times, the least that it allows: the suites log in thousands of times. Small files: they are
    /// in memory, and there are many servers.
    pub(super) fn command(&self, data: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")]);
        command.arg("--dbpath").arg(data).args([
            "--bind_ip",
            "localhost",
            "--port",
            &port.to_string(),
            "--nounixsocket",
        ]);
        command.args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "8"]);
        command.args(["--wiredTigerEngineConfigString", "log=(file_max=1MB,prealloc=false)"]);
        for parameter in [
            "scramIterationCount=5000",
            "scramSHA256IterationCount=5000",
            "diagnosticDataCollectionEnabled=false",
            "ttlMonitorEnabled=false",
            "enableTestCommands=1",
        ] {
            command.args(["--setParameter", parameter]);
        }
        command
    }
}

/// The folder that server and templates are installed in.
pub(super) fn home() -> PathBuf {
    tools().join("mongod")
}
