//! A panic while an event is handled is a defect of Keyturn. It is answered like every error, under `INTERNAL_DEFECT`, and
//! its payload, which may hold anything, is shown nowhere.

use crate::codes::{Code, DeclaredCode as _};
use crate::{Error, Result};
use futures_util::FutureExt as _;
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

tokio::task_local! {
    /// Where the work under [`caught`] panicked: a place in the source.
    static PLACE: RefCell<String>;
}

/// Keeps the payload of every panic out of the log. A panic under [`caught`] is told by the error it becomes; any other is
/// logged here.
pub(crate) fn hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| place(at.file(), at.line())).unwrap_or_default();
        // A second panic, while the first one unwinds, ends the process: then nobody else tells of it.
        let told_later = PLACE.try_with(|kept| kept.replace(place.clone()).is_empty()).unwrap_or(false);
        if !told_later {
            tracing::error!(code = Code::InternalDefect.name(), place, "A task panicked; this is a defect of Keyturn.");
        }
    }));
}

/// A place in the source, without the folder of the build machine that a dependency's source lay in.
fn place(file: &str, line: u32) -> String {
    let in_registry = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    format!("{}:{line}", in_registry.map_or(file, |(_, file)| file))
}

/// Does `work`; a panic in it becomes the error `INTERNAL_DEFECT`.
///
/// # Errors
/// What `work` gives, or `INTERNAL_DEFECT`.
pub async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let work = async {
        // Nothing that `work` has touched is looked at afterwards but what its own locks guard.
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                Code::InternalDefect,
                format!("The function panicked at {}.", PLACE.with(|place| place.borrow().clone())),
                "This is a defect of Keyturn: report it with the log lines of this invocation.",
            )),
        }
    };
    PLACE.scope(RefCell::default(), work).await
}

/// A poisoned mutex is used on: no value behind one is changed in several steps.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_names_no_folder_of_the_build_machine() {
        assert_eq!(place("shared/src/defect.rs", 7), "shared/src/defect.rs:7");
        let dependency = "/home/ci/.cargo/registry/src/index.example-0a1b/lambda_runtime-1.5.0/src/lib.rs";
        assert_eq!(place(dependency, 7), "lambda_runtime-1.5.0/src/lib.rs:7");
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error_that_names_the_place_and_not_the_payload() {
        hook();
        let error = caught::<()>(async { panic!("hunter2") }).await.unwrap_err();
        assert_eq!(error.code(), "INTERNAL_DEFECT");
        assert!(error.message().contains("src/defect.rs:"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert_eq!(caught(async { Ok(1) }).await, Ok(1));
    }
}
