//! What an error of a function must say.

use keyturn_tests::lambda::FunctionError;
use serde_json::Value;

/// The code an error must have, and what its message must hold: what happened, and the remedy.
pub(crate) struct Refusal<'a>(pub &'a str, pub &'a [&'a str]);

impl Refusal<'_> {
    #[track_caller]
    pub(crate) fn is(&self, result: Result<Value, FunctionError>, story: &str) {
        let Self(code, says) = self;
        let error = match result {
            Ok(report) => panic!("{story}: not refused with {code}: {report}"),
            Err(error) => error,
        };
        assert_eq!(error.error_type, *code, "{story}: {error}");
        for part in *says {
            assert!(error.error_message.contains(part), "{story}: no {part:?} in: {error}");
        }
    }
}
