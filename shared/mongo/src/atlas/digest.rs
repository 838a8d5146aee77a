//! HTTP digest authentication (RFC 7616), as far as Atlas asks for it: MD5 with `qop=auth`.

use keyturn::http::header::{HeaderMap, WWW_AUTHENTICATE};
use md5::{Digest as _, Md5};
use mongodb::bson::Uuid;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the server wants to see proven. Texts are as they stand between the quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// The nonce of the call before was too old, and nothing else was wrong with it.
    pub(super) stale: bool,
}

impl Challenge {
    /// The challenge of a 401; `None` where there is no digest in it.
    ///
    /// # Errors
    /// Why none of its digests can be answered, in words.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let headers = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let offers = headers.flat_map(schemes).filter(|offer| offer.name.eq_ignore_ascii_case("digest"));
        let mut outcome = Ok(None);
        for offer in offers {
            match offer.challenge() {
                Ok(challenge) => return Ok(Some(challenge)),
                Err(why) => outcome = Err(why),
            }
        }
        outcome
    }
}

/// A nonce in use. One call at a time: the server may insist that its counter grows.
pub(super) struct Session {
    challenge: Challenge,
    uses: AtomicU32,
}

impl Session {
    pub(super) fn new(challenge: Challenge) -> Self {
        Self { challenge, uses: AtomicU32::new(0) }
    }

    /// The `Authorization` for one call; `target` is its path with its query. Each is to be used once.
    pub(super) fn authorization(&self, user: &str, password: &SecretString, method: &str, target: &str) -> String {
        let Challenge { realm, nonce, opaque, .. } = &self.challenge;
        let count = format!("{:08x}", self.uses.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        // Random, and the operating system's.
        let own = Uuid::new().to_string();
        let secret = hash(&[user, realm, password.expose_secret()]);
        let response = hash(&[&secret, nonce, &count, &own, "auth", &hash(&[method, target])]);
        let opaque = opaque.as_ref().map(|opaque| format!(", opaque=\"{opaque}\"")).unwrap_or_default();
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{target}\", algorithm=MD5, \
             response=\"{response}\", qop=auth, nc={count}, cnonce=\"{own}\"{opaque}"
        )
    }
}

/// MD5 of these, with colons between them, in hexadecimal.
fn hash(parts: &[&str]) -> String {
    let mut md5 = Md5::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            md5.update(":");
        }
        md5.update(part);
    }
    md5.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One scheme that a `WWW-Authenticate` offers.
struct Offer<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Offer<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn challenge(&self) -> Result<Challenge, String> {
        let needed = |name| self.parameter(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let algorithm = self.parameter("algorithm").unwrap_or("MD5");
        if !algorithm.eq_ignore_ascii_case("MD5") {
            return Err("it asks for a digest by another algorithm than MD5".to_owned());
        }
        let qop = self.parameter("qop").unwrap_or_default();
        if !qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")) {
            return Err("it asks for a digest of another kind than qop=auth".to_owned());
        }
        Ok(Challenge {
            realm: self.parameter("realm").ok_or("it asks for a digest without a realm")?.to_owned(),
            nonce: needed("nonce").ok_or("it asks for a digest without a nonce")?,
            opaque: self.parameter("opaque").map(str::to_owned),
            stale: self.parameter("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

/// The schemes of a header: each begins with a name, and has parameters between commas.
fn schemes(header: &str) -> Vec<Offer<'_>> {
    let mut offers: Vec<Offer<'_>> = Vec::new();
    for item in items(header) {
        let end = item.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(item.len());
        let (word, rest) = (&item[..end], item[end..].trim());
        let parameter = if let Some(value) = rest.strip_prefix('=') {
            Some((word, value))
        } else {
            offers.push(Offer { name: word, parameters: Vec::new() });
            rest.split_once('=').map(|(name, value)| (name.trim(), value))
        };
        if let (Some(offer), Some((name, value))) = (offers.last_mut(), parameter) {
            offer.parameters.push((name, unquoted(value.trim())));
        }
    }
    offers
}

/// What stands between commas, except those in quotes.
fn items(header: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let separates = move |c: char| {
        let plain = !escaped;
        escaped = quoted && plain && c == '\\';
        quoted ^= plain && c == '"';
        c == ',' && !quoted
    };
    header.split(separates).map(str::trim).filter(|item| !item.is_empty())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').map_or(value, |text| text.strip_suffix('"').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::http::header::HeaderValue;
    use proptest::prelude::*;

    const ATLAS: &str =
        r#"Digest realm="MMS Public API", domain="", nonce="kl0/b=", algorithm=MD5, qop="auth", stale=false"#;

    fn read(headers: &[&str]) -> Result<Option<Challenge>, String> {
        let header = |text: &&str| (WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(header) {
            map.append(name, value);
        }
        Challenge::of(&map)
    }

    fn challenge(realm: &str, nonce: &str, opaque: Option<&str>, stale: bool) -> Challenge {
        let opaque = opaque.map(str::to_owned);
        Challenge { realm: realm.to_owned(), nonce: nonce.to_owned(), opaque, stale }
    }

    #[test]
    fn reads_a_challenge_in_every_form() {
        let mms = challenge("MMS Public API", "kl0/b=", None, false);
        for headers in [
            &[ATLAS][..],
            &["Basic realm=\"a, Digest nonce=b\"", ATLAS],
            &[&format!("Negotiate, Basic realm=\"x\", {ATLAS}")],
            &[&format!("{ATLAS}, Basic realm=\"x\"")],
            &[r#"DIGEST REALM="MMS Public API" , , Nonce = "kl0/b=" ,qop="auth-int, AUTH""#],
            &[r#"Digest realm="R", nonce="n", algorithm=SHA-256, qop="auth""#, ATLAS],
        ] {
            assert_eq!(read(headers), Ok(Some(mms.clone())), "{headers:?}");
        }
        let odd = r#"Digest qop=auth,stale=TRUE,opaque="a,\"b\\",nonce=n,realm="""#;
        assert_eq!(read(&[odd]), Ok(Some(challenge("", "n", Some(r#"a,\"b\\"#), true))));
    }

    #[test]
    fn without_a_digest_there_is_no_challenge() {
        for header in ["", "Basic realm=\"x\"", "Bearer error=\"invalid_token\"", "nonce=\"n\"", ",,"] {
            assert_eq!(read(&[header]), Ok(None), "{header}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn a_digest_of_another_kind_is_refused_in_words() {
        for (header, why) in [
            (r#"Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess"#, "algorithm"),
            (r#"Digest realm="r", nonce="n", qop="auth-int""#, "qop=auth"),
            (r#"Digest realm="r", nonce="n""#, "qop=auth"),
            (r#"Digest nonce="n", qop="auth""#, "realm"),
            (r#"Digest realm="r", qop="auth", nonce="""#, "nonce"),
            ("Digest", "qop"),
        ] {
            assert!(read(&[header]).is_err_and(|told| told.contains(why)), "{header}");
        }
    }

    /// RFC 7616, 3.9.1, and RFC 2617, 3.5.
    #[test]
    fn the_answer_is_that_of_the_standards_examples() {
        let secret = hash(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let own = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let call = hash(&["GET", "/dir/index.html"]);
        assert_eq!(hash(&[&secret, nonce, "00000001", own, "auth", &call]), "8ca523f5e9506fed4657c9700eebdbec");
        let secret = hash(&["Mufasa", "testrealm@host.com", "Circle Of Life"]);
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        assert_eq!(hash(&[&secret, nonce, "00000001", "0a4f113b", "auth", &call]), "6629fae49393a05397450978507c4ef1");
    }

    fn field<'a>(header: &'a str, name: &str) -> &'a str {
        let offers = schemes(header);
        offers[0].parameters.iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn each_call_counts_on_and_brings_its_own_nonce() {
        let session = Session::new(challenge("MMS Public API", "n1", Some("o"), false));
        let target = "/api/x?itemsPerPage=1";
        let made = [(); 2].map(|()| session.authorization("pub", &"priv".into(), "GET", target));
        for (at, header) in made.iter().enumerate() {
            let field = |name| field(header, name);
            assert_eq!((field("username"), field("realm"), field("nonce")), ("pub", "MMS Public API", "n1"));
            assert_eq!((field("uri"), field("qop"), field("opaque")), (target, "auth", "o"));
            assert_eq!(field("nc"), format!("{:08x}", at + 1));
            let call = hash(&["GET", target]);
            let secret = hash(&["pub", "MMS Public API", "priv"]);
            let expected = hash(&[&secret, "n1", field("nc"), field("cnonce"), "auth", &call]);
            assert_eq!(field("response"), expected);
            assert!(!header.contains("priv"));
        }
        assert_ne!(field(&made[0], "cnonce"), field(&made[1], "cnonce"));
    }

    proptest! {
        #[test]
        fn never_panics(header in "[a-zD =,\"\\\\é]{0,60}|Digest \\PC{0,40}") {
            for offer in schemes(&header) {
                let _ = offer.challenge();
            }
        }
    }
}
