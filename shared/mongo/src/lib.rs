//! What the functions for MongoDB share: logging in to servers, and calling Atlas's Admin API.

pub mod atlas;
pub mod codes;
mod errors;
pub mod login;
mod role;
pub mod shell;

pub use errors::{Answer, CommandFailure, WRITE_CONCERN_FAILED};
pub use role::{Role, Scope};
