//! A data directory made by `initdb` once for each version, and copied for every server: initdb takes a second or two.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::install::{Account, Install, run, tools};

/// A data directory to copy, and the password that its superuser has in every copy until it is changed.
pub(super) struct Template {
    pub(super) data: PathBuf,
    pub(super) password: String,
}

impl Template {
    /// The template of this installation, made now if it is missing.
    pub(super) fn of(install: &Install) -> Result<Self> {
        let name = format!("{}-template-{}", install.version, rustix::process::geteuid().as_raw());
        let folder = tools().join(&name);
        if !folder.exists() {
            let lock = File::create(tools().join(format!(".{name}.lock"))).context("the template cannot be locked")?;
            lock.lock().context("the template cannot be locked")?;
            if !folder.exists() {
                make(install, &folder).with_context(|| format!("no template made for {}", install.version))?;
            }
        }
        let password = fs::read_to_string(folder.join("password")).context("the template has no password")?;
        Ok(Self { data: folder.join("data"), password })
    }
}

fn make(install: &Install, target: &Path) -> Result<()> {
    let work = tempfile::Builder::new().prefix("keyturn-initdb-").tempdir_in(&install.scratch)?;
    let (data, password) = (work.path().join("data"), work.path().join("password"));
    fs::create_dir(&data)?;
    fs::write(&password, super::new_password())?;
    for path in [work.path(), &data, &password] {
        give(path, install.account)?;
    }
    let mut initdb = install.command("initdb", work.path());
    initdb.arg("--pgdata").arg(&data).arg("--pwfile").arg(&password);
    initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
    run(initdb.args(["--no-sync", "--wal-segsize=1"]))?; // small segments: there is one to copy for each server

    // Copied next to the target and then renamed, so that it is whole or absent: a rename stays on one file system.
    let new = tempfile::Builder::new().prefix(".new-template-").tempdir_in(tools())?;
    copy_tree(work.path(), &new.path().join("template"), None)?;
    fs::rename(new.path().join("template"), target)?;
    Ok(())
}

/// Copies a folder of files and folders with their permissions, for this account if one is named.
pub(super) fn copy_tree(from: &Path, to: &Path, account: Option<Account>) -> Result<()> {
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
pub(super) fn write_private(path: &Path, text: &str, account: Option<Account>) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs::write(path, text).with_context(|| format!("{} not written", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    give(path, account)
}

/// Makes the account the owner of this file, where there is one that is not ours.
pub(super) fn give(path: &Path, account: Option<Account>) -> Result<()> {
    let Some(Account { uid, gid }) = account else { return Ok(()) };
    chown(path, Some(uid), Some(gid)).with_context(|| format!("{} not given away", path.display()))
}
