//! End to end: the real bootstrap, real servers, strict emulators.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps a test fails it like the test itself would")]

mod aws_function;
mod causes;
mod checks;
mod clients;
mod crash;
mod docs;
mod examples;
mod guards;
mod input;
mod leaks;
mod mongo;
mod oncall;
mod rotation;
mod scene;
mod secrecy;
mod service;
mod takeover;
