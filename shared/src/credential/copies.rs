//! Which strings of a secret repeat the credential, and what they become.

use zeroize::Zeroizing;

use super::document::{Leaf, decode};
use super::{keywords, url};

/// The old and the new credential.
pub(super) struct Change<'c> {
    pub old_username: &'c str,
    pub old_password: &'c str,
    pub username: &'c str,
    pub password: &'c str,
    /// The database's host, where the secret names it.
    pub host: Option<&'c str>,
}

impl Change<'_> {
    /// What a string of the document becomes; nothing if it stays.
    pub fn apply(&self, leaf: &Leaf<'_>) -> Option<Zeroizing<String>> {
        let text = decode(leaf.raw)?;
        let new =
            self.named(leaf, &text).or_else(|| url::rewrite(&text, self)).or_else(|| keywords::rewrite(&text, self))?;
        (new != text).then_some(new)
    }

    /// Whether a connection string for this user is ours to rewrite. It may name the new user already: AWS's own function
    /// leaves connection strings as they are, so after a time under it they are one or more rotations behind.
    pub fn is_user(&self, name: &str) -> bool {
        name == self.old_username || name == self.username
    }

    /// A copy under a key that says what it is.
    fn named(&self, leaf: &Leaf<'_>, text: &str) -> Option<Zeroizing<String>> {
        let name = normalized(leaf.key.as_deref()?);
        if text == self.old_password && without(&name, &PASSWORDS).is_some() {
            return Some(Zeroizing::new(self.password.to_owned()));
        }
        let system = without(&name, &USERS)?;
        (text == self.old_username && !self.has_another_password(system, leaf))
            .then(|| Zeroizing::new(self.username.to_owned()))
    }

    /// Whether `smtp_user` has an `smtp_password` that is not ours: the user of another system, who is called the same.
    fn has_another_password(&self, system: &str, leaf: &Leaf<'_>) -> bool {
        let of_system = |key: &str| without(&normalized(key), &PASSWORDS) == Some(system);
        let mut passwords = leaf.siblings.iter().filter(|(key, _)| of_system(key)).filter_map(|(_, raw)| decode(raw));
        passwords.any(|password| *password != self.old_password)
    }
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
