//! The checkout as text, for tests that compare what is written in several places.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("")
}

/// A file of the checkout.
pub fn read(path: &str) -> Result<String> {
    fs::read_to_string(checkout().join(path)).with_context(|| format!("{path} cannot be read"))
}

/// The names of the functions: each has a folder.
pub fn functions() -> Result<Vec<String>> {
    let folders = fs::read_dir(checkout().join("functions"))?;
    let mut names: Vec<String> =
        folders.map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

/// The source of what is shipped in a folder of the checkout, without its unit tests.
pub fn shipped(folder: &str) -> Result<String> {
    of_folder(&checkout().join(folder))
}

fn of_folder(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        let is_test =
            path.file_name().is_some_and(|name| name == "tests" || name == "tests.rs" || name == "properties.rs");
        if path.is_dir() && !is_test {
            text.push_str(&of_folder(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test {
            let source = fs::read_to_string(&path)?;
            text.push_str(source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
        }
    }
    Ok(text)
}
