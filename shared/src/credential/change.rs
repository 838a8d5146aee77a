//! A change of the credential, which every form of copy in a secret follows.

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
    /// Whether a connection string for this user is ours to rewrite. It may name the new user already: AWS's own function
    /// leaves connection strings as they are, so after a time under it they are one or more rotations behind.
    pub(super) fn is_user(&self, name: &str) -> bool {
        name == self.old_username || name == self.username
    }
}
