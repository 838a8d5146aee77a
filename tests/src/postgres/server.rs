//! One running server process and its folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::install::Install;
use super::template::{Template, copy_tree, give, write_private};
use crate::certificates::Certificates;

const START_LIMIT: Duration = Duration::from_mins(1); // of a laptop that builds something else at the same time
const STOP_LIMIT: Duration = Duration::from_secs(15); // the server itself kills what has not ended after five
const POLL: Duration = Duration::from_millis(5);
const PORTS_TO_TRY: usize = 20;

/// Waits for the end of its input, which comes when the test process ends in any way, then stops the server and
/// removes its folders.
const GUARD: &str = r#"read -r line; server=$1; shift; kill -QUIT "$server"
tries=0; while [ $tries -lt 100 ] && kill -0 "$server"; do tries=$((tries + 1)); sleep 0.1; done
rm -rf -- "$@""#;

/// What a server is started with.
pub(super) struct Plan {
    pub(super) major: u32,
    pub(super) settings: String,
    pub(super) hba: String,
    pub(super) certificates: Certificates,
}

/// A server that takes connections. Dropped, it is stopped and its folder removed.
pub(super) struct Server {
    pub(super) port: u16,
    // Dropped in this order: a running server would write into the folder while it is removed.
    process: Process,
    home: Home,
}

impl Server {
    /// Starts a server. Blocks for a second or so.
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let home = Home::prepare(plan)?;
        for _ in 0..PORTS_TO_TRY {
            let port = free_port()?;
            if let Some(process) = home.run(port)? {
                return Ok(Self { port, process, home });
            }
        }
        bail!("{PORTS_TO_TRY} ports were taken by somebody else before PostgreSQL could listen on them")
    }

    /// The process that was started, the parent of all others of this server.
    pub(super) fn pid(&self) -> u32 {
        self.process.server.id()
    }

    /// The password that its superuser has to begin with.
    pub(super) fn first_password(&self) -> &str {
        &self.home.first_password
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
pub(super) struct Home {
    install: Install,
    folder: TempDir,
    certificates: Certificates,
    first_password: String,
}

impl Home {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let install = Install::find(plan.major)?;
        let template = Template::of(&install)?;
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

    /// Runs the server until it takes connections. `None`: the port was taken by somebody else.
    pub(super) fn run(&self, port: u16) -> Result<Option<Process>> {
        Process::start(self, port)?.wait_until_ready(&self.data(), &self.log())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

/// A running server and its guard. Dropped, both are stopped.
pub(super) struct Process {
    server: Child,
    guard: Option<Child>,
}

impl Process {
    fn start(home: &Home, port: u16) -> Result<Self> {
        let output = File::create(home.log()).context("the server log cannot be made")?;
        let mut command = home.install.command("postgres", home.folder.path());
        command.arg("-D").arg(home.data()).args(["-p", &port.to_string()]);
        command.stdout(output.try_clone()?).stderr(output);
        // In groups of their own, or Ctrl-C would reach them too, in no order.
        let server = command.process_group(0).spawn().context("PostgreSQL cannot be run")?;
        let mut process = Self { server, guard: None };
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", &process.server.id().to_string()]).process_group(0);
        guard.arg(home.folder.path()).arg(home.certificates.folder());
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        process.guard = Some(guard.spawn().context("sh cannot be run")?);
        Ok(process)
    }

    /// Waits until connections are taken. `None`: the port was taken by somebody else.
    fn wait_until_ready(mut self, data: &Path, log: &Path) -> Result<Option<Self>> {
        let started = Instant::now();
        let last_words = || fs::read_to_string(log).unwrap_or_default();
        loop {
            if let Some(status) = self.server.try_wait()? {
                if last_words().contains("Address already in use") {
                    return Ok(None);
                }
                bail!("PostgreSQL ended at once ({status}): {}", last_words());
            }
            if is_ready(data) {
                return Ok(Some(self));
            }
            if started.elapsed() > START_LIMIT {
                bail!("PostgreSQL was not ready within {START_LIMIT:?}: {}", last_words());
            }
            sleep(POLL);
        }
    }

    fn stop(&mut self) -> Result<()> {
        let asked = Instant::now();
        // To the server's first process, which then ends the others. SIGKILL would leave them to notice by themselves.
        kill_process(Pid::from_child(&self.server), Signal::QUIT)?;
        while self.server.try_wait()?.is_none() {
            if asked.elapsed() > STOP_LIMIT {
                bail!("PostgreSQL did not stop within {STOP_LIMIT:?}");
            }
            sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = matches!(self.server.try_wait(), Ok(None));
        if running && let Err(error) = self.stop() {
            eprintln!("{error:#}: killing it");
            let _ = self.server.kill().and_then(|()| self.server.wait());
        }
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill().and_then(|()| guard.wait());
        }
    }
}

/// The server says so itself, in the eighth line of its pid file.
fn is_ready(data: &Path) -> bool {
    let status = fs::read_to_string(data.join("postmaster.pid"));
    status.is_ok_and(|text| text.lines().nth(7).is_some_and(|status| status.trim() == "ready"))
}
