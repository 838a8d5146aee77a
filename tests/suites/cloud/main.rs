//! The packaged functions as they are deployed: `sam deploy` into a local AWS with IAM enforced, on real databases and
//! strict emulators. Needs `make package`; `make validate` runs it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps a test fails it like the test itself would")]

mod alarms;
mod break_glass;
mod consistency;
mod oncall;
mod permissions;
mod quickstart;
mod resources;
mod rotation;
mod world;
