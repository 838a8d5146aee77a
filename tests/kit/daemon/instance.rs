//! One running server with a folder of its own.

use std::fs;
#[cfg(test)]
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::Daemon;

/// The file in a server's folder that it logs to.
pub(crate) const LOG: &str = "log";

/// A server that takes connections. Dropped, it is stopped and its folder removed.
pub(crate) struct Instance {
    pub(crate) port: u16,
    // Dropped in this order: a running server would write into the folder while it is removed.
    daemon: Daemon,
    folder: TempDir,
}

impl Instance {
    pub(crate) fn new((port, daemon): (u16, Daemon), folder: TempDir) -> Self {
        Self { port, daemon, folder }
    }

    /// The process that was started, the parent of all others of this server.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    #[cfg(test)]
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything that the server has logged so far.
    pub(crate) fn log(&self) -> Result<String> {
        let log = fs::read(self.folder.path().join(LOG)).context("the server log cannot be read")?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }
}
