//! End to end: the real bootstrap, real servers, strict emulators.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps a test fails it like the test itself would")]

mod aws_function;
mod boundaries;
mod break_glass;
mod defects;
mod documents;
mod matrix;
mod oncall_sync;
mod parameters;
mod polling;
mod prove;
mod refusal;
mod rotate_mongo;
mod rotate_postgres;
mod secrecy;

use keyturn::codes::{self, DeclaredCode};
use keyturn::settings::{self, DeclaredSetting};
use std::fmt::Debug;
use strum::{EnumMessage, IntoEnumIterator};

/// Code that functions share, beside the core.
struct Library {
    name: &'static str,
    folder: &'static str,
    codes: Vec<codes::Entry>,
    variants: Vec<String>,
}

fn libraries() -> [Library; 2] {
    [
        library::<::keyturn_mongo::codes::Code>("keyturn-mongo", "shared/mongo"),
        library::<::keyturn_postgres::codes::Code>("keyturn-postgres", "shared/postgres"),
    ]
}

fn library<C>(name: &'static str, folder: &'static str) -> Library
where
    C: DeclaredCode + EnumMessage + IntoEnumIterator + Debug,
{
    Library { name, folder, codes: codes::entries::<C>(), variants: variants::<C>() }
}

/// A function, for the tests that look at all of them.
struct Function {
    name: &'static str,
    draws_passwords: bool,
    codes: Vec<codes::Entry>,
    /// The names of its codes in the source.
    variants: Vec<String>,
    settings: Vec<settings::Entry>,
}

fn functions() -> [Function; 4] {
    [
        of::<::break_glass::codes::Code, ::break_glass::settings::Setting>("break-glass", false),
        of::<::rotate_postgres::codes::Code, ::rotate_postgres::settings::Setting>("rotate-postgres", true),
        of::<::rotate_mongo::codes::Code, ::rotate_mongo::settings::Setting>("rotate-mongo", true),
        of::<::oncall_sync::codes::Code, ::oncall_sync::settings::Setting>("oncall-sync", false),
    ]
}

fn of<C, S>(name: &'static str, draws_passwords: bool) -> Function
where
    C: DeclaredCode + EnumMessage + IntoEnumIterator + Debug,
    S: DeclaredSetting + IntoEnumIterator,
{
    let (codes, settings) = (codes::entries::<C>(), settings::entries::<S>());
    Function { name, draws_passwords, codes, variants: variants::<C>(), settings }
}

fn variants<C: IntoEnumIterator + Debug>() -> Vec<String> {
    C::iter().map(|code| format!("{code:?}")).collect()
}
