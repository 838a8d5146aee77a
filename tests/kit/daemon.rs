//! What the real servers of the stack have in common: a process that does not outlive its test, a folder copied from a
//! template, a free port.

mod files;
mod instance;
mod template;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use files::{Account, copy_tree, give, memory, tools, write_private};
pub(crate) use instance::{Instance, LOG};
pub(crate) use template::Template;

const START_LIMIT: Duration = Duration::from_mins(1); // of a laptop that builds something else at the same time
const STOP_LIMIT: Duration = Duration::from_secs(15); // PostgreSQL itself kills what has not ended after five
const POLL: Duration = Duration::from_millis(5);
const PORTS_TO_TRY: usize = 20;

/// Waits for the end of its input, which comes when the test process ends in any way, then stops the server and
/// removes its folders.
const GUARD: &str = r#"read -r line; server=$1; signal=$2; shift 2; kill "-$signal" "$server"
tries=0; while [ $tries -lt 100 ] && kill -0 "$server"; do tries=$((tries + 1)); sleep 0.1; done
rm -rf -- "$@""#;

/// How a server is run.
pub(crate) struct Recipe<'a> {
    pub(crate) name: &'static str,
    pub(crate) log: PathBuf,
    pub(crate) stop: Signal,
    /// What to remove when the test process ends without stopping it.
    pub(crate) folders: Vec<&'a Path>,
}

/// A running server and its guard. Dropped, both are stopped.
pub(crate) struct Daemon {
    name: &'static str,
    stop: Signal,
    server: Child,
    guard: Option<Child>,
}

impl Daemon {
    /// Runs a server on a port that nobody else has; `command` makes the command for a port. Gives back the port too.
    pub(crate) fn on_a_free_port(
        recipe: &Recipe<'_>,
        command: impl Fn(u16) -> Command,
        is_ready: impl Fn() -> bool,
    ) -> Result<(u16, Self)> {
        for _ in 0..PORTS_TO_TRY {
            let port = free_port()?;
            if let Some(daemon) = Self::run(recipe, command(port), &is_ready)? {
                return Ok((port, daemon));
            }
        }
        bail!("{PORTS_TO_TRY} ports were taken by somebody else before {} could listen on them", recipe.name)
    }

    /// Runs a server until it takes connections. `None`: its port was taken by somebody else.
    pub(crate) fn run(recipe: &Recipe<'_>, command: Command, is_ready: impl Fn() -> bool) -> Result<Option<Self>> {
        Self::start(recipe, command)?.wait_until_ready(&recipe.log, is_ready)
    }

    /// The process that was started, the parent of all others of this server.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    fn start(recipe: &Recipe<'_>, mut command: Command) -> Result<Self> {
        let Recipe { name, log, stop, folders } = recipe;
        let output = File::create(log).context("the server log cannot be made")?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // In groups of their own, or Ctrl-C would reach them too, in no order.
        let server = command.process_group(0).spawn().with_context(|| format!("{name} cannot be run"))?;
        let mut daemon = Self { name, stop: *stop, server, guard: None };
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", &daemon.pid().to_string(), &stop.as_raw().to_string()]).args(folders);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        daemon.guard = Some(guard.spawn().context("sh cannot be run")?);
        Ok(daemon)
    }

    fn wait_until_ready(mut self, log: &Path, is_ready: impl Fn() -> bool) -> Result<Option<Self>> {
        let started = Instant::now();
        let last_words = || fs::read_to_string(log).unwrap_or_default();
        loop {
            if let Some(status) = self.server.try_wait()? {
                if last_words().contains("Address already in use") {
                    return Ok(None);
                }
                bail!("{} ended at once ({status}): {}", self.name, last_words());
            }
            if is_ready() {
                return Ok(Some(self));
            }
            if started.elapsed() > START_LIMIT {
                bail!("{} was not ready within {START_LIMIT:?}: {}", self.name, last_words());
            }
            sleep(POLL);
        }
    }

    fn end(&mut self) -> Result<()> {
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.server), self.stop)?;
        while self.server.try_wait()?.is_none() {
            if asked.elapsed() > STOP_LIMIT {
                bail!("{} did not stop within {STOP_LIMIT:?}", self.name);
            }
            sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let running = matches!(self.server.try_wait(), Ok(None));
        if running && let Err(error) = self.end() {
            eprintln!("{error:#}: killing it");
            let _ = self.server.kill().and_then(|()| self.server.wait());
        }
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill().and_then(|()| guard.wait());
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}
