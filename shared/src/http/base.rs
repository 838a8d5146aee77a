//! Where a vendor is: checked once, and the only place its credentials go.

use std::fmt;
use url::Url;

/// The address of a vendor's API: `https` (or plain `http` on this machine), a host, and nothing after it.
#[derive(Clone, PartialEq, Eq)]
pub struct Base(Url);

impl Base {
    /// Reads an address that the operator set in the function's environment: any host, but https.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL ({error})"))?;
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" if !host.is_empty() => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(format!("plain http to {host}, outside this machine")),
            _ => return Err(format!("{text:?} is no https URL")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user or a password in a URL".to_owned());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("something after the host {host}"));
        }
        Ok(Self(url))
    }

    /// Reads an address that came with a secret or a document: https, and a host that `known` knows.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse_known(text: &str, known: impl Fn(&str) -> bool) -> Result<Self, String> {
        let base = Self::parse(text)?;
        let host = base.host();
        let usual_port = base.0.port().is_none();
        if is_loopback(host) || (known(host) && usual_port) {
            Ok(base)
        } else {
            Err(format!("{host} is not a host of this vendor"))
        }
    }

    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The address of a path, which begins with `/`.
    pub(super) fn join(&self, path: &str) -> Result<Url, String> {
        let url = self.0.join(path).map_err(|error| format!("{error} in a path"))?;
        // "//elsewhere/" is a path that leads to another host.
        if self.has_origin_of(&url) { Ok(url) } else { Err("a path that leads to another host".to_owned()) }
    }

    /// The path and query of an absolute address at this very origin; `None` for any other.
    #[must_use]
    pub fn own_path(&self, address: &str) -> Option<String> {
        let url = Url::parse(address).ok().filter(|url| self.has_origin_of(url))?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some(format!("{}{query}", url.path()))
    }

    /// The address of a path, as text.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }

    fn has_origin_of(&self, url: &Url) -> bool {
        url.origin() == self.0.origin() && url.username().is_empty() && url.password().is_none()
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

fn is_loopback(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}
