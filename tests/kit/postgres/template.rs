//! A data directory made by `initdb` once for each version, and copied for every server: initdb takes a second or two.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::install::{Install, home, run};
use crate::daemon::{copy_tree, give, made_once};

/// A data directory to copy, and the password that its superuser has in every copy until it is changed.
pub(super) struct Template {
    pub(super) data: PathBuf,
    pub(super) password: String,
}

impl Template {
    /// The template of this installation, made now if it is missing.
    pub(super) fn of(install: &Install) -> Result<Self> {
        let name = format!("{}-template-{}", install.version, rustix::process::geteuid().as_raw());
        let folder = made_once(&home(), &name, |target| make(install, target))
            .with_context(|| format!("no template made for {}", install.version))?;
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
    copy_tree(work.path(), target, None)
}
