//! Why a database does not do what it is asked: every cause has a code, names host, user and phase, and says what to do.

mod busy;
mod logins;
mod network;
mod proofs;
mod writer;
