//! Whether a secret is in anything that was written.

use std::collections::BTreeSet;

/// Texts that somebody wrote, each with the place it was found in.
pub(crate) type Written = Vec<(&'static str, String)>;

/// Everywhere one of the secrets, or the mark of one (in lower case), is found.
pub(crate) fn leaks(secrets: &BTreeSet<String>, marks: &[&str], written: &Written) -> Vec<String> {
    let mut found = Vec::new();
    for (place, text) in written {
        let lower = text.to_lowercase();
        let secrets = secrets.iter().filter(|secret| text.contains(secret.as_str())).map(String::as_str);
        let marks = marks.iter().copied().filter(|mark| lower.contains(mark));
        found.extend(secrets.chain(marks).map(|what| format!("{what:?} is in the {place}")));
    }
    found
}
