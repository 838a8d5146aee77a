//! A database login for whoever is on call, end to end: what happens to people and to the databases.

mod atlas;
mod callers;
mod closing;
mod crash;
mod examples;
mod guards;
mod mongo;
mod opening;
mod policies;
mod report;
mod script;
mod sweep;
