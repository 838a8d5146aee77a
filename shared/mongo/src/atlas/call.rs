//! One call to the Admin API: what is sent, how errors name it, and what it needs.

use super::errors::{self, Needs, Remedies};
use keyturn::http::header::HeaderValue;
use keyturn::http::{Answer, Method, Request};
use keyturn::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// All but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call.
pub struct Call<'a> {
    pub(super) request: Request,
    /// Method and path, without query.
    pub(super) name: String,
    pub(super) accept: HeaderValue,
    needs: Needs,
    pub(super) remedies: &'static Remedies,
    /// The password in its body: nothing that holds it is shown.
    hidden: Option<&'a SecretString>,
}

impl<'a> Call<'a> {
    pub(super) fn get(
        group: &str,
        path: &str,
        version: &str,
        needs: Needs,
        remedies: &'static Remedies,
    ) -> Result<Self> {
        Self::new(Request::get(below(group, path)), version, needs, remedies)
    }

    pub(super) fn patch(
        group: &str,
        path: &str,
        version: &str,
        body: &impl Serialize,
        remedies: &'static Remedies,
    ) -> Result<Self> {
        let request = Request::typed(Method::PATCH, below(group, path), media_type(version), json(body)?);
        Self::new(request, version, Needs::Users, remedies)
    }

    pub(super) fn post(
        group: &str,
        path: &str,
        version: &str,
        body: &impl Serialize,
        remedies: &'static Remedies,
    ) -> Result<Self> {
        let request = Request::typed(Method::POST, below(group, path), media_type(version), json(body)?);
        Self::new(request, version, Needs::Users, remedies)
    }

    pub(super) fn delete(group: &str, path: &str, version: &str, remedies: &'static Remedies) -> Result<Self> {
        Self::new(Request::delete(below(group, path)), version, Needs::Users, remedies)
    }

    fn new(request: Request, version: &str, needs: Needs, remedies: &'static Remedies) -> Result<Self> {
        let name = format!("{} {}", request.method(), request.path().split('?').next().unwrap_or_default());
        let accept = HeaderValue::try_from(media_type(version))
            .map_err(|_| errors::unmade("its media type cannot be a header"))?;
        Ok(Self { request, name, accept, needs, remedies, hidden: None })
    }

    /// The same, with a password that must not be shown.
    #[must_use]
    pub fn hiding(mut self, password: &'a SecretString) -> Self {
        self.hidden = Some(password);
        self
    }

    /// What a good answer holds.
    ///
    /// # Errors
    /// What any other answer means.
    pub fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T> {
        if !answer.status.is_success() {
            return Err(self.unexpected(answer));
        }
        answer.json().map_err(|failure| errors::unanswered(&self.name, &failure))
    }

    /// What an answer of this status means.
    #[must_use]
    pub fn unexpected(&self, answer: &Answer) -> Error {
        errors::status(&self.name, self.needs, answer, self.hidden, self.remedies)
    }

    /// The answer is not what Atlas sends; `why` quotes nothing of it.
    #[must_use]
    pub fn strange(&self, why: &str) -> Error {
        errors::strange(&self.name, why)
    }

    /// The project takes no further user; `why` says how that is known.
    #[must_use]
    pub fn full(&self, why: &str) -> Error {
        errors::full(&self.name, why, self.remedies)
    }
}

fn media_type(version: &str) -> String {
    format!("application/vnd.atlas.{version}+json")
}

/// The whole path of what belongs to a project.
fn below(group: &str, path: &str) -> String {
    format!("/api/atlas/v2/groups/{group}{path}")
}

fn json(body: &impl Serialize) -> Result<SecretString> {
    serde_json::to_string(body).map(SecretString::from).map_err(|_| errors::unmade("its body is no JSON"))
}

/// A name as one segment of a path.
///
/// # Errors
/// Names that no path can hold: an empty one, and dots alone, which lead elsewhere even when they are escaped.
pub fn segment(name: &str) -> Result<String> {
    if ["", ".", ".."].contains(&name) {
        return Err(errors::unmade("a name in its path is empty or only dots"));
    }
    Ok(utf8_percent_encode(name, ESCAPED).to_string())
}
