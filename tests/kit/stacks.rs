//! What each function runs in, all of it put together: servers, emulators, and the function itself.

pub mod break_glass;
pub mod mongo;
pub mod oncall;
pub mod postgres;
