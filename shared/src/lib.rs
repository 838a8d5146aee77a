//! The core of Keyturn: secret rotation as AWS Secrets Manager drives it, apart from any database, and what every function
//! needs beside it. A rotation function brings a [`rotation::Target`].

pub mod address;
pub mod admin;
#[cfg(feature = "alert")]
pub mod alert;
pub mod alternation;
pub mod aws_call;
pub mod clock;
pub mod codes;
pub mod credential;
mod deadline;
pub mod defect;
pub mod diagnosis;
mod error;
pub mod failure;
#[cfg(feature = "http")]
pub mod fields;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "ledger")]
pub mod ids;
pub mod lambda;
#[cfg(feature = "ledger")]
pub mod ledger;
mod log;
#[cfg(feature = "logs")]
pub mod logs;
pub mod metrics;
#[cfg(feature = "http")]
pub mod oauth;
#[cfg(feature = "parameters")]
pub mod parameters;
pub mod password;
pub mod rotation;
pub mod secrets;
pub mod settings;
#[cfg(feature = "alert")]
pub mod vendor;

pub use deadline::{Deadline, Elapsed};
pub use error::{Error, Result};
pub use settings::Vars;
