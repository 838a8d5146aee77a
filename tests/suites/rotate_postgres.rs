//! `rotate-postgres`: whole rotations, on every version of PostgreSQL where the version makes a difference.

mod actions;
mod attacker;
mod causes;
mod checks;
mod clients;
mod crash;
mod guards;
mod iam;
mod input;
mod leaks;
mod lifetimes;
mod mirrors;
mod rds;
mod repair;
mod replicas;
mod revoke;
mod rotation;
mod scene;
mod service;
mod takeover;
