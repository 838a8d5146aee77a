//! What is proven by counting, and how much of it is counted.

use std::io::Write as _;

/// Whether everything is tried, as `make prove` does, or a part that stands for it.
pub(crate) fn long_form() -> bool {
    std::env::var_os("KEYTURN_PROVE").is_some()
}

/// Past the test runner's capture: the counts are part of what `make test` tells.
pub(crate) fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
