//! Where the server is, and how it is run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::daemon::tools;

/// The pinned packages; the server's own comes first.
const PINS: &str = include_str!("../../tools/secantusdb.txt");

/// Runs the server with empty modules in place of those that it loads for geography alone, which nobody asks it for: they
/// are large, and slow to load. So with the parser of a configuration file that it is not given, where Python has none.
/// A password is hashed 5,000 times, the least that mongod allows, instead of 15,000: the suites log in thousands of times.
const PROGRAM: &str = r#"
import sys, types

class Empty(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        return type(name, (Exception,), {})

for name in ("s2sphere", "shapely", "shapely.errors", "shapely.geometry", "shapely.geometry.base", "tomli"):
    sys.modules[name] = Empty(name)

from secantus import auth
from secantus.cli import main

for mechanism in auth._MECH_PARAMS.values():
    mechanism["default_iterations"] = 5000
sys.exit(main())
"#;

pub(super) struct Install {
    pub(super) version: &'static str,
    folder: PathBuf,
}

impl Install {
    /// The server as `tests/tools/install.py` left it.
    pub(super) fn find() -> Result<Self> {
        let version = PINS.lines().find_map(|line| line.strip_prefix("secantusdb=="));
        let version = version.and_then(|rest| rest.split_whitespace().next()).context("no secantusdb is pinned")?;
        let folder = home().join(version);
        ensure!(
            folder.join("python3").exists(),
            "secantusdb {version} is not installed: run tests/tools/install.py secantusdb"
        );
        Ok(Self { version, folder })
    }

    /// A command that runs the server in this folder, on this port of 127.0.0.1, with none of our environment.
    pub(super) fn command(&self, folder: &Path, port: u16) -> Command {
        // The Python that it was installed for: its modules are compiled for that one. -s: no modules of this account.
        let mut command = Command::new(self.folder.join("python3"));
        command.args(["-s", "-B", "-c", PROGRAM]).current_dir(folder);
        command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")]);
        command.env("PYTHONPATH", &self.folder);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--cache-size", "64M"]);
        command
    }
}

/// The folder that servers and templates are installed in.
pub(super) fn home() -> PathBuf {
    tools().join("secantusdb")
}
