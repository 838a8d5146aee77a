//! The local stack: real PostgreSQL servers, strict emulators of what AWS only runs itself, Lambda's Runtime API around
//! the real bootstrap, and one plan of faults for all of them.

#![allow(missing_docs, reason = "not published: what needs no words gets none")]

pub mod aws;
mod aws_json;
pub mod certificates;
pub mod cloud;
mod daemon;
pub mod faults;
pub mod lambda;
pub mod logs;
pub mod mongo;
pub mod postgres;
pub mod rds;
mod relay;
pub mod rotator;
pub mod secrets_manager;
mod server;
pub mod source;
pub mod ssm;
pub mod stacks;
pub mod tcp;
pub mod vendors;
