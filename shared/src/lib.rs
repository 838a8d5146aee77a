//! The core of Keyturn: secret rotation as AWS Secrets Manager drives it, apart from any database.
//!
//! A function brings a [`rotation::Target`]; everything else about a rotation is here.

pub mod audit;
pub mod clock;
pub mod credential;
mod deadline;
mod error;
pub mod lambda;
mod log;
pub mod metrics;
pub mod password;
pub mod rotation;
pub mod secrets;
mod vars;

pub use deadline::{Deadline, Elapsed};
pub use error::{Error, Result};
pub use vars::Vars;
