//! A service app: how it gets its access tokens (`private_key_jwt`, RFC 7523) and proves that they are its own (`DPoP`,
//! RFC 9449).

use super::errors;
use super::jws::{self, Key};
use crate::codes::Code;
use crate::lock;
use chrono::{DateTime, TimeDelta};
use keyturn::clock::Clock;
use keyturn::http::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue};
use keyturn::http::{Answer, Http, Request, StatusCode, sensitive};
use keyturn::oauth::{Grant, TokenCache};
use keyturn::{Deadline, Result};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::sync::Mutex;

/// What the calls of this crate need.
const SCOPES: [&str; 3] = ["okta.groups.read", "okta.groups.manage", "okta.users.read"];
const TOKEN_PATH: &str = "/oauth2/v1/token";
const TOKEN_CALL: &str = "POST /oauth2/v1/token";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const PROOF: HeaderName = HeaderName::from_static("dpop");
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// How long an assertion holds; Okta takes up to an hour.
const ASSERTION_SECONDS: i64 = 300;
/// A token is given up this long before its end, so that none ends on the way.
const BEFORE_THE_END: TimeDelta = TimeDelta::minutes(5);
/// A first refusal may name the nonce, a second one may show that our clock is wrong.
const TRIES: usize = 3;
/// `Date` counts whole seconds and takes a while to arrive: less than this says nothing of a clock.
const CLOCKS_AGREE: i64 = 5;

/// A service app with its keys, its current token, and what Okta asked for in earlier answers.
pub(super) struct App {
    client_id: String,
    key_id: Option<String>,
    key: Key,
    proof_key: Key,
    proof_header: Value,
    clock: Clock,
    token: TokenCache<Token>,
    heard: Mutex<Heard>,
}

/// An access token.
pub(super) struct Token {
    text: SecretString,
    /// Whether it is of use only together with proofs; Okta says so.
    bound: bool,
}

/// What the answers so far asked to be put into proofs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    /// The authorization server's last nonce.
    token_nonce: Option<String>,
    /// The API's last nonce, if it ever sent one.
    api_nonce: Option<String>,
    /// How many seconds Okta's clock is ahead of ours.
    ahead: i64,
}

impl App {
    /// With the app's client id, and its private key under the id that Okta knows it by.
    pub(super) fn new(
        client_id: String,
        key_id: Option<String>,
        key: Key,
        clock: Clock,
    ) -> std::result::Result<Self, String> {
        let proof_key = Key::ephemeral()?;
        let jwk = proof_key.public_ec_jwk().ok_or("no key for proofs")?;
        let proof_header = json!({"typ": "dpop+jwt", "alg": proof_key.algorithm(), "jwk": jwk});
        let (token, heard) = (TokenCache::new(BEFORE_THE_END, clock.clone()), Mutex::default());
        Ok(Self { client_id, key_id, key, proof_key, proof_header, clock, token, heard })
    }

    /// Makes a call to the API with a token, asking for one if there is none.
    pub(super) async fn send(&self, http: &Http, call: &str, request: &Request, deadline: Deadline) -> Result<Answer> {
        let token = self.token.get(async || self.ask(http, deadline).await).await?;
        self.exchange(http, Some(&token), call, |_| Ok(request.clone()), deadline).await
    }

    /// A new token, and its life in seconds.
    async fn ask(&self, http: &Http, deadline: Deadline) -> Result<(Token, i64)> {
        let address = http.base().address(TOKEN_PATH);
        let request = |heard: &Heard| self.token_request(&address, heard);
        token_of(&self.exchange(http, None, TOKEN_CALL, request, deadline).await?)
    }

    /// Makes a call to the API, or without a token to the authorization server; again while a refusal brings to light what the
    /// proof lacked. Not a retry of the same: each proof is another one, made from what the answer before asked for.
    async fn exchange(
        &self,
        http: &Http,
        token: Option<&Token>,
        call: &str,
        request: impl Fn(&Heard) -> Result<Request>,
        deadline: Deadline,
    ) -> Result<Answer> {
        let mut tries = 1;
        loop {
            let before = lock(&self.heard).clone();
            let request = request(&before)?;
            let headers = |request: &Request, url: &str| self.headers(token, request, url, &before);
            let answer =
                http.send(&request, &headers, deadline).await.map_err(|failure| errors::unanswered(call, &failure))?;
            self.listen(token, &answer);
            let refused = matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
            if !refused || tries == TRIES || before == *lock(&self.heard) {
                return Ok(answer);
            }
            tries += 1;
        }
    }

    fn token_request(&self, address: &str, heard: &Heard) -> Result<Request> {
        let mut header = json!({"typ": "JWT", "alg": self.key.algorithm()});
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let now = self.now(heard);
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": address,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": jws::unique_id()?,
        });
        let assertion = self.key.sign(&header, &claims)?;
        Ok(Request::post_form(
            TOKEN_PATH,
            &[
                ("grant_type", "client_credentials"),
                ("scope", &SCOPES.join(" ")),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", &assertion),
            ],
        ))
    }

    fn headers(&self, token: Option<&Token>, request: &Request, url: &str, heard: &Heard) -> Result<HeaderMap> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        if let Some(token) = token {
            let scheme = if token.bound { "DPoP" } else { "Bearer" };
            headers.insert(AUTHORIZATION, header(format!("{scheme} {}", token.text.expose_secret()))?);
        }
        if token.is_none_or(|token| token.bound) {
            // Okta compares with the address as it reads once decoded (okta-sdk-python issue 541).
            let url = percent_decode_str(url).decode_utf8_lossy();
            let mut claims =
                json!({"htm": request.method().as_str(), "htu": url, "iat": self.now(heard), "jti": jws::unique_id()?});
            let nonce = if token.is_some() { &heard.api_nonce } else { &heard.token_nonce };
            if let Some(nonce) = nonce {
                claims["nonce"] = nonce.as_str().into();
            }
            if let Some(token) = token {
                claims["ath"] = jws::hash(token.text.expose_secret()).into();
            }
            headers.insert(PROOF, header(self.proof_key.sign(&self.proof_header, &claims)?)?);
        }
        Ok(headers)
    }

    /// Takes note of a new nonce, and of how Okta's clock stands against ours.
    fn listen(&self, token: Option<&Token>, answer: &Answer) {
        let mut heard = lock(&self.heard);
        let nonce = answer.header(&NONCE);
        if !nonce.is_empty() {
            let kept = if token.is_some() { &mut heard.api_nonce } else { &mut heard.token_nonce };
            *kept = Some(nonce.to_owned());
        }
        if let Ok(date) = DateTime::parse_from_rfc2822(answer.header(&DATE)) {
            let ahead = date.timestamp() - self.clock.now().timestamp();
            if (ahead - heard.ahead).abs() >= CLOCKS_AGREE {
                heard.ahead = ahead;
            }
        }
    }

    /// Seconds since 1970 by Okta's clock.
    fn now(&self, heard: &Heard) -> i64 {
        self.clock.now().timestamp() + heard.ahead
    }
}

fn token_of(answer: &Answer) -> Result<(Token, i64)> {
    if !answer.status.is_success() {
        return Err(match errors::oauth_error(answer).as_str() {
            "invalid_scope" => errors::scopes_missing(&SCOPES),
            "invalid_client" => errors::refused(TOKEN_CALL, answer),
            _ if answer.status == StatusCode::UNAUTHORIZED => errors::refused(TOKEN_CALL, answer),
            _ => errors::failed(Code::OktaCallFailed, TOKEN_CALL, answer),
        });
    }
    let grant: Grant = answer.json().map_err(|failure| errors::unanswered(TOKEN_CALL, &failure))?;
    let bound = match grant.token_type.to_ascii_lowercase().as_str() {
        "dpop" => true,
        "bearer" => false,
        _ => return Err(errors::strange(TOKEN_CALL, "the token is neither of type DPoP nor Bearer")),
    };
    let missing = grant.missing(&SCOPES);
    if !missing.is_empty() {
        return Err(errors::scopes_missing(&missing));
    }
    Ok((Token { text: grant.access_token.into(), bound }, grant.expires_in))
}

fn header(text: String) -> Result<HeaderValue> {
    sensitive(text).map_err(|_| errors::strange(TOKEN_CALL, "the token has characters that no header takes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(clock: Clock) -> App {
        App::new("0oa1".to_owned(), Some("k1".to_owned()), Key::ephemeral().unwrap(), clock).unwrap()
    }

    fn claims(jws: &str) -> Value {
        use base64::Engine as _;
        let text = jws.split('.').nth(1).unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn a_proof_names_the_call_the_token_and_the_nonce_and_is_used_once() {
        let app = app(Clock::of(|| DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default()));
        let token = Token { text: "secret-token".into(), bound: true };
        let heard = Heard { api_nonce: Some("n1".to_owned()), token_nonce: Some("n2".to_owned()), ahead: -90 };
        let url = "https://acme.okta.com/api/v1/users/ann%40acme.com";
        let request = Request::get("/api/v1/users/ann%40acme.com?limit=2");
        let made = app.headers(Some(&token), &request, url, &heard).unwrap();
        assert_eq!(made[AUTHORIZATION], "DPoP secret-token");
        assert!(made[AUTHORIZATION].is_sensitive() && made[PROOF].is_sensitive());
        let proof = claims(made[PROOF].to_str().unwrap());
        assert_eq!(proof["htm"], "GET");
        assert_eq!(proof["htu"], "https://acme.okta.com/api/v1/users/ann@acme.com");
        assert_eq!(proof["nonce"], "n1");
        assert_eq!(proof["iat"], 1_799_999_910);
        assert_eq!(proof["ath"], jws::hash("secret-token"));
        let again = app.headers(Some(&token), &request, url, &heard).unwrap();
        assert_ne!(claims(again[PROOF].to_str().unwrap())["jti"], proof["jti"]);
    }

    #[test]
    fn a_bearer_token_goes_without_proof() {
        let token = Token { text: "t".into(), bound: false };
        let request = Request::get("/");
        let made = app(Clock::system()).headers(Some(&token), &request, "u", &Heard::default()).unwrap();
        assert_eq!(made[AUTHORIZATION], "Bearer t");
        assert!(!made.contains_key(PROOF));
    }
}
