//! The core of Keyturn: secret rotation as AWS Secrets Manager drives it, apart from any database.
//!
//! A function brings a [`rotation::Target`]; everything else about a rotation is here.

pub mod admin;
#[cfg(feature = "alert")]
pub mod alert;
pub mod audit;
mod aws_call;
pub mod clock;
pub mod credential;
mod deadline;
mod error;
#[cfg(feature = "http")]
pub mod fields;
#[cfg(feature = "http")]
pub mod http;
pub mod lambda;
mod log;
pub mod metrics;
#[cfg(feature = "parameters")]
pub mod parameters;
pub mod password;
pub mod rotation;
pub mod secrets;
mod vars;

pub use deadline::{Deadline, Elapsed};
pub use error::{Error, Result};
pub use vars::Vars;
