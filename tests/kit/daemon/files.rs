//! The folders and files that servers run in.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::Access;

const ROOM: u64 = 2 << 30; // a server takes 10 to 40 MB

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
