//! A server's data directory, made once for each version and copied for every server that is started.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A data directory to copy, and the password that its first user has in every copy.
pub(crate) struct Template {
    pub(crate) data: PathBuf,
    pub(crate) password: String,
}

impl Template {
    /// The template of this version in `folder`. If it is missing, `make` makes it at the path that it is given: a folder
    /// `data` and a file `password`.
    pub(crate) fn of(folder: &Path, version: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let name = format!("{version}-template-{}", rustix::process::geteuid().as_raw());
        let template = made_once(folder, &name, make).with_context(|| format!("no template made for {version}"))?;
        let password = fs::read_to_string(template.join("password")).context("the template has no password")?;
        Ok(Self { data: template.join("data"), password })
    }
}

/// The folder of this name in `folder`, made now by `make` (which is given the path to put it at) if it is missing: one
/// of several test processes makes it, the others wait.
fn made_once(folder: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
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
