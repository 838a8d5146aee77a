//! The documents say what the code does, and what they point at is there.

mod generated;
mod links;
