//! The one error type: a declared code, what happened, and what to do about it.

use crate::codes::DeclaredCode;
use std::fmt;
use strum::EnumMessage;

/// An error a person can act on. `Display` is the message and the remedy; neither ever holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: &'static str,
    message: String,
    remedy: String,
}

/// Shorthand for results with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `message` is one sentence that says what happened; `remedy` the command, grant or setting that mends it.
    pub fn new(code: impl DeclaredCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.name(), message: message.into(), remedy: remedy.into() }
    }

    /// An error whose remedy is the declared one of its code.
    pub fn of(code: impl DeclaredCode + EnumMessage, message: impl Into<String>) -> Self {
        Self::new(code, message, code.get_message().unwrap_or_default())
    }

    /// The code's name, which is also the `errorType` that Lambda reports.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Whether the error has this code.
    #[must_use]
    pub fn is(&self, code: impl DeclaredCode) -> bool {
        self.code == code.name()
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// The same error, with one more sentence of what happened.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.message = format!("{} {more}", self.message);
        self
    }

    /// The same error with another remedy, for a caller who knows more.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.message, self.remedy)
    }
}

impl std::error::Error for Error {}
