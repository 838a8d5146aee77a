//! Where the server programs are, and the account they run under.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::daemon::{Account, memory, tools};

/// The pinned builds, one a line: major, platform, version, hash.
const PINS: &str = include_str!("../../tools/postgres.txt");

/// One installed server version, in a place that its account can read.
pub(super) struct Install {
    pub(super) version: &'static str,
    pub(super) programs: PathBuf,
    pub(super) account: Option<Account>,
    /// A folder for data directories that the account can reach.
    pub(super) scratch: PathBuf,
}

impl Install {
    /// The server of this major version, as `tests/tools/install.py` left it.
    pub(super) fn find(major: u32) -> Result<Self> {
        let version = pinned(major)?;
        let installed = home().join(version);
        ensure!(
            installed.join("bin/postgres").exists(),
            "PostgreSQL {version} is not installed: run tests/tools/install.py postgres {major}"
        );
        if !rustix::process::geteuid().is_root() {
            let scratch = memory().unwrap_or_else(std::env::temp_dir);
            return Ok(Self { version, programs: installed.join("bin"), account: None, scratch });
        }
        let account = nobody()?;
        let temporary = reachable_temporary_folder()?;
        let readable = ["bin/postgres", "share/postgresql/postgres.bki"].iter().all(|f| is_open(&installed.join(f)));
        let home = if readable { installed } else { copy(&installed, &temporary, version)? };
        let scratch = memory().filter(|folder| is_open(folder)).unwrap_or(temporary);
        Ok(Self { version, programs: home.join("bin"), account: Some(account), scratch })
    }

    /// A command of this installation that runs under its account, with none of our environment.
    pub(super) fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")]).current_dir(folder);
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// The folder that servers and templates are installed in.
pub(super) fn home() -> PathBuf {
    tools().join("postgres")
}

fn pinned(major: u32) -> Result<&'static str> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-x64",
        ("macos", "aarch64") => "darwin-arm64",
        (system, machine) => bail!("no PostgreSQL is pinned for {system} on {machine}"),
    };
    let version = PINS.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [m, p, version, _] if p == platform && m.parse() == Ok(major) => Some(version),
        _ => None,
    });
    version.with_context(|| format!("PostgreSQL {major} has no build for {platform} in tests/tools/postgres.txt"))
}

fn nobody() -> Result<Account> {
    let passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    let account = passwd.lines().find_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
        ["nobody", _, uid, gid, ..] => Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? }),
        _ => None,
    });
    account.context("PostgreSQL refuses to run as root and there is no usable account nobody: run as an ordinary user")
}

fn reachable_temporary_folder() -> Result<PathBuf> {
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    let found = candidates.into_iter().find(|folder| folder.is_dir() && is_open(folder));
    found.context("every temporary folder is closed to the account nobody, which PostgreSQL has to run under")
}

/// Whether everybody may read this file, and pass through the folders above it.
fn is_open(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    path.ancestors().all(|part| {
        let wanted = if part.is_file() { 0o004 } else { 0o001 };
        fs::metadata(part).is_ok_and(|found| found.mode() & wanted == wanted)
    })
}

/// Copies the installation once to where the account can read it. Only root, who we are here, can write to the copy.
fn copy(installed: &Path, scratch: &Path, version: &str) -> Result<PathBuf> {
    let target = scratch.join(format!("keyturn-{}-postgres-{version}", rustix::process::geteuid().as_raw()));
    if !target.exists() {
        let new = tempfile::Builder::new().prefix("keyturn-postgres-copy-").tempdir_in(scratch)?;
        let copy = new.path().join("copy");
        // Another process does it, so that no descriptor open for writing is inherited and makes a program "busy".
        run(Command::new("cp").arg("-RP").args([installed, &copy]))?;
        run(Command::new("chmod").args(["-R", "a+rX,go-w"]).arg(&copy))?;
        if let Err(error) = fs::rename(&copy, &target) {
            ensure!(target.exists(), "{} not made: {error}", target.display()); // else another process was faster
        }
    }
    let found = fs::symlink_metadata(&target).with_context(|| format!("{} cannot be read", target.display()))?;
    ensure!(
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.permissions().mode() & 0o022 == 0,
        "{} was not made by us: somebody else could have changed it, so remove it",
        target.display()
    );
    Ok(target)
}

/// Runs a command to its end; what it printed becomes the error.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().with_context(|| format!("{program} cannot be run"))?;
    let printed = [done.stdout, done.stderr].concat();
    ensure!(done.status.success(), "{program} failed ({}): {}", done.status, String::from_utf8_lossy(&printed));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_major_version_is_pinned_on_the_platform_that_ci_runs_on() {
        for major in 13..=18 {
            assert!(PINS.contains(&format!("\n{major} linux-x64 {major}.")), "{major}");
        }
        assert!(pinned(9).unwrap_err().to_string().contains("PostgreSQL 9 has no build"));
    }

    #[test]
    fn a_copy_for_another_account_is_made_once_and_only_trusted_while_it_is_ours() {
        let (from, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("bin")).unwrap();
        fs::write(from.path().join("bin/postgres"), "program").unwrap();
        fs::set_permissions(from.path(), fs::Permissions::from_mode(0o700)).unwrap();

        let first = copy(from.path(), scratch.path(), "1.2").unwrap();
        let second = copy(from.path(), scratch.path(), "1.2").unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);

        fs::set_permissions(&first, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(copy(from.path(), scratch.path(), "1.2").unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn a_closed_folder_above_a_file_closes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!is_open(&file));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(is_open(&file) || !is_open(&std::env::temp_dir()));
    }
}
