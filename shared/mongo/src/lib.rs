//! What the functions for MongoDB share: logging in to servers, and calling Atlas's Admin API.

pub mod atlas;
pub mod codes;
mod errors;
pub mod login;
mod role;

pub use errors::{Answer, CommandFailure, refused};
pub use role::{Role, Scope};
