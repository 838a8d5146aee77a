//! PostgreSQL for functions that change its roles: connections with verified TLS, logins that give no password away, statements
//! that end with the invocation's time, and what each failure means.

pub mod codes;
mod errors;
mod handshake;
pub mod mark;
mod place;
pub mod rds;
mod session;
mod tls;
mod verifier;
mod words;

pub use errors::{literal, quoted};
pub use place::{DEFAULT_PORT, Place};
pub use session::{Connector, Login, Parameter, Session};
pub use tls::read_certificates;
pub use tokio_postgres::Row;
pub use tokio_postgres::types::Type;
pub use verifier::scram;
pub use words::Words;
