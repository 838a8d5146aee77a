//! `.local` in the checkout: environment files for functions and clients, as long as the stacks are up.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The folder, with the names of the files that were written. Dropped, it removes them.
pub(super) struct Folder {
    path: PathBuf,
    written: RefCell<Vec<String>>,
}

impl Folder {
    /// Makes it, unless it is there.
    pub(super) fn make() -> Result<Self> {
        let path = path();
        fs::create_dir_all(&path).with_context(|| format!("{} not made", path.display()))?;
        Ok(Self { path, written: RefCell::default() })
    }

    /// Writes an environment file, with what every AWS client has to know added.
    pub(super) fn write(&self, name: &str, settings: &[(&str, &str)]) -> Result<()> {
        let access = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
        ];
        let text = settings.iter().chain(&access).fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={value}"); // a String takes everything
            text
        });
        let path = self.path.join(name);
        self.written.borrow_mut().push(name.to_owned());
        fs::write(&path, text).with_context(|| format!("{} not written", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for name in self.written.borrow().iter() {
            let _ = fs::remove_file(self.path.join(name)); // gone already is as good
        }
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(".local")
}

/// The file for clients of the Secrets Manager that has this secret: each stack has its own.
pub(super) fn client_environment(secret: &str) -> String {
    format!("aws-{secret}.env")
}

/// The address of that Secrets Manager.
pub(super) fn endpoint(secret: &str) -> Result<String> {
    let path = path().join(client_environment(secret));
    let settings = fs::read_to_string(&path)
        .with_context(|| format!("no local stack is up that has the secret {secret}: start it with make local"))?;
    let endpoint = settings.lines().find_map(|line| line.strip_prefix("AWS_ENDPOINT_URL="));
    Ok(endpoint.with_context(|| format!("{} names no endpoint", path.display()))?.to_owned())
}
