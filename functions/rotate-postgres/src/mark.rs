//! The mark of a secret on its two users: a piece of the role's comment, which only an admin can write. A second secret for
//! the same users is refused by it; and writing it locks the role until the transaction ends.

use crate::catalog::{Catalog, Role};
use crate::layout::{Base, Turn};
pub(crate) use keyturn_postgres::mark::{secret_in, with};
use keyturn_postgres::{literal, quoted};

/// The users that are marked, so far as they exist: not an owner that logs in itself until the first turn, which other users
/// may share.
pub(crate) fn users<'c>(turn: &Turn, catalog: &'c Catalog) -> Vec<&'c Role> {
    let owner = if let Base::Owner(owner) = &turn.base { Some(owner) } else { None };
    let users = [&turn.current, &turn.pending].into_iter().filter(|name| Some(*name) != owner);
    users.filter_map(|name| catalog.role(name)).collect()
}

/// The statement that gives a role this comment. It locks the role until the transaction ends, and fails for a session without
/// power over the role.
pub(crate) fn comment(role: &str, comment: Option<&str>) -> String {
    format!("COMMENT ON ROLE {} IS {}", quoted(role), comment.map_or_else(|| "NULL".to_owned(), literal))
}
