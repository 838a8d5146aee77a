//! Which strings of a secret repeat the credential, and what they become.

use zeroize::Zeroizing;

use super::change::Change;
use super::document::{Leaf, decode};
use super::{keywords, url};

/// What a string of the document becomes after a change; nothing if it stays.
pub(super) fn rewrite(leaf: &Leaf<'_>, change: &Change<'_>) -> Option<Zeroizing<String>> {
    let text = decode(leaf.raw)?;
    let new = named(leaf, &text, change)
        .or_else(|| url::rewrite(&text, change))
        .or_else(|| keywords::rewrite(&text, change))?;
    (new != text).then_some(new)
}

/// A copy under a key that says what it is.
fn named(leaf: &Leaf<'_>, text: &str, change: &Change<'_>) -> Option<Zeroizing<String>> {
    let name = normalized(leaf.key.as_deref()?);
    if text == change.old_password && without(&name, &PASSWORDS).is_some() {
        return Some(Zeroizing::new(change.password.to_owned()));
    }
    let system = without(&name, &USERS)?;
    (text == change.old_username && !has_another_password(system, leaf, change))
        .then(|| Zeroizing::new(change.username.to_owned()))
}

/// Whether `smtp_user` has an `smtp_password` that is not ours: the user of another system, who is called the same.
fn has_another_password(system: &str, leaf: &Leaf<'_>, change: &Change<'_>) -> bool {
    let of_system = |key: &str| without(&normalized(key), &PASSWORDS) == Some(system);
    let mut passwords = leaf.siblings.iter().filter(|(key, _)| of_system(key)).filter_map(|(_, raw)| decode(raw));
    passwords.any(|password| *password != change.old_password)
}

const PASSWORDS: [&str; 4] = ["password", "passwd", "pwd", "pass"];
const USERS: [&str; 3] = ["username", "user", "login"];

fn normalized(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// What stands before the ending, if the name has one of them.
fn without<'n>(name: &'n str, endings: &[&str]) -> Option<&'n str> {
    endings.iter().find_map(|ending| name.strip_suffix(ending))
}
