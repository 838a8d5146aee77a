//! End to end: the real bootstrap, real servers, strict emulators.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps a test fails it like the test itself would")]

mod aws_function;
mod documents;
mod matrix;
mod oncall_sync;
mod polling;
mod prove;
mod refusal;
mod rotate_mongo;
mod rotate_postgres;
mod secrecy;
