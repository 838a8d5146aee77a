//! A data directory made by `initdb`, which takes a second or two.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::install::{Install, run};
use crate::daemon::{copy_tree, give};

pub(super) fn make(install: &Install, target: &Path) -> Result<()> {
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
