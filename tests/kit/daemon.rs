//! What the real servers of the stack have in common: a process that does not outlive its test, a folder copied from a
//! template, a free port.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::Access;
use rustix::process::{Pid, Signal, kill_process};

const START_LIMIT: Duration = Duration::from_mins(1); // of a laptop that builds something else at the same time
const STOP_LIMIT: Duration = Duration::from_secs(15); // PostgreSQL itself kills what has not ended after five
const POLL: Duration = Duration::from_millis(5);
const PORTS_TO_TRY: usize = 20;
const ROOM: u64 = 2 << 30; // a server takes 10 to 40 MB

/// Waits for the end of its input, which comes when the test process ends in any way, then stops the server and
/// removes its folders.
const GUARD: &str = r#"read -r line; server=$1; signal=$2; shift 2; kill "-$signal" "$server"
tries=0; while [ $tries -lt 100 ] && kill -0 "$server"; do tries=$((tries + 1)); sleep 0.1; done
rm -rf -- "$@""#;

/// How a server is run.
pub(crate) struct Recipe<'a> {
    /// The server's name, for errors.
    pub(crate) name: &'static str,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// The signal that ends it.
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

/// An account other than ours, for when we are root and the server refuses to run as root.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A folder in memory with room for many servers, where there is one: a thousand small files are slow on a busy disk.
/// Containers often have a few megabytes of it only.
pub(crate) fn memory() -> Option<PathBuf> {
    let folder = PathBuf::from("/dev/shm");
    let space = rustix::fs::statvfs(&folder).ok()?;
    let writable = rustix::fs::access(&folder, Access::WRITE_OK).is_ok();
    (writable && space.f_bavail * space.f_frsize >= ROOM).then_some(folder)
}

/// The folder that tools are installed in, `.tools` of the checkout.
pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(".tools")
}

/// The folder of this name in `folder`, made now by `make` (which is given the path to put it at) if it is missing: one
/// of several test processes makes it, the others wait.
pub(crate) fn made_once(folder: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let target = folder.join(name);
    if target.exists() {
        return Ok(target);
    }
    let lock = File::create(folder.join(format!(".{name}.lock"))).context("the template cannot be locked")?;
    lock.lock().context("the template cannot be locked")?;
    if !target.exists() {
        // Made next to the target and then renamed, so that it is whole or absent: a rename stays on one file system.
        let new = tempfile::Builder::new().prefix(".new-template-").tempdir_in(folder)?;
        make(&new.path().join("template"))?;
        fs::rename(new.path().join("template"), &target)?;
    }
    Ok(target)
}

/// Copies a folder of files and folders with their permissions, for this account if one is named.
pub(crate) fn copy_tree(from: &Path, to: &Path, account: Option<Account>) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("{} not made", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            copy_tree(&entry, &to, account)?;
        } else {
            fs::copy(&entry, &to).with_context(|| format!("{} not copied", entry.display()))?;
            give(&to, account)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    give(to, account)
}

/// Writes a file that its owner alone can read, and makes this account the owner.
pub(crate) fn write_private(path: &Path, text: &str, account: Option<Account>) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs::write(path, text).with_context(|| format!("{} not written", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    give(path, account)
}

/// Makes the account the owner of this file, where there is one that is not ours.
pub(crate) fn give(path: &Path, account: Option<Account>) -> Result<()> {
    let Some(Account { uid, gid }) = account else { return Ok(()) };
    chown(path, Some(uid), Some(gid)).with_context(|| format!("{} not given away", path.display()))
}
