//! What the Atlas secret holds, and how calls are authorized with it: a service account's access tokens (OAuth 2.0
//! client credentials, RFC 6749 4.4; given back by RFC 7009), or an API key's digests.

use super::call::Call;
use super::digest::{Challenge, Session};
use super::errors::{self, Remedies};
use crate::codes::Code;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use keyturn::clock::Clock;
use keyturn::codes::DeclaredCode as _;
use keyturn::defect::lock;
use keyturn::fields::Fields;
use keyturn::http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use keyturn::http::{Answer, Http, Request, StatusCode, sensitive};
use keyturn::oauth::{Grant, TokenCache};
use keyturn::{Deadline, Result};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOKEN_PATH: &str = "/api/oauth/token";
const TOKEN_CALL: &str = "POST /api/oauth/token";
const REVOKE_PATH: &str = "/api/oauth/revoke";
/// A token is given up this long before its end, so that none ends on the way.
const BEFORE_THE_END: TimeDelta = TimeDelta::minutes(1);
/// Giving a token back must not use up the second that an invocation keeps to report in.
const LEAVE: Duration = Duration::from_millis(800);

/// A form in which people keep a credential: the keys of its two halves, and those that may stand beside them.
struct Shape {
    id: &'static str,
    secret: &'static str,
    beside: &'static [&'static str],
    is_account: bool,
}

/// Ours; that of a service account among AWS's managed external secrets; that of the Atlas Kubernetes Operator.
const SHAPES: [Shape; 4] = [
    Shape { id: "client_id", secret: "client_secret", beside: &[], is_account: true },
    Shape { id: "public_key", secret: "private_key", beside: &[], is_account: false },
    Shape { id: "clientId", secret: "clientSecret", beside: &["serviceAccountId", "orgId"], is_account: true },
    Shape { id: "publicApiKey", secret: "privateApiKey", beside: &["orgId"], is_account: false },
];

/// A name that is safe between quotes and before a colon.
fn name(fields: &mut Fields, key: &str) -> std::result::Result<Option<String>, String> {
    let Some(text) = fields.optional(key)? else { return Ok(None) };
    let text = text.trim();
    if text.chars().all(|c| c.is_ascii_graphic() && !"\"\\:".contains(c)) {
        Ok(Some(text.to_owned()))
    } else {
        Err(format!("{key:?} has characters that no such id has"))
    }
}

fn password(fields: &mut Fields, key: &str) -> std::result::Result<SecretString, String> {
    fields.required(key).map(|text| text.trim().into())
}

fn basic(id: &str, secret: &SecretString) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{}", secret.expose_secret())))
}

/// The access tokens of all service accounts, by client id.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Arc<TokenCache<Token>>>>);

impl Tokens {
    fn of(&self, id: &str) -> Arc<TokenCache<Token>> {
        let cache = || Arc::new(TokenCache::new(BEFORE_THE_END, Clock::system()));
        Arc::clone(lock(&self.0).entry(id.to_owned()).or_insert_with(cache))
    }
}

/// An access token.
struct Token {
    text: SecretString,
    /// The same as calls bring it.
    header: HeaderValue,
}

/// How calls are authorized.
pub(super) enum Access {
    Account(Account),
    Key(Key),
}

impl Access {
    /// Reads the secret. An account's token is in `tokens`.
    ///
    /// # Errors
    /// What is wrong, in words, without any value.
    pub(super) fn parse(secret: &SecretString, tokens: &Tokens) -> std::result::Result<Self, String> {
        let mut fields = Fields::read(secret)?;
        for Shape { id, secret, beside, is_account } in &SHAPES {
            let Some(id) = name(&mut fields, id)? else { continue };
            let secret = password(&mut fields, secret)?;
            for key in *beside {
                // It says nothing that is needed here.
                let _ = fields.optional(key)?;
            }
            fields.finish()?;
            return Ok(if *is_account {
                Self::Account(Account { cache: tokens.of(&id), id, secret })
            } else {
                Self::Key(Key { public: id, private: secret, rested: Mutex::default() })
            });
        }
        Err("\"client_id\" or \"public_key\" is missing".to_owned())
    }

    /// Makes a call.
    ///
    /// # Errors
    /// The call brought no answer, or the credential cannot be used. A refused call is an answer.
    pub(super) async fn send(&self, http: &Http, call: &Call<'_>, deadline: Deadline) -> Result<Answer> {
        match self {
            Self::Account(account) => account.send(http, call, deadline).await,
            Self::Key(key) => key.send(http, call, deadline).await,
        }
    }

    /// Gives back what must not be kept, as far as that goes in a moment.
    pub(super) async fn leave(&self, http: &Http) {
        if let Self::Account(account) = self {
            account.leave(http).await;
        }
    }
}

/// A service account.
pub(super) struct Account {
    id: String,
    secret: SecretString,
    cache: Arc<TokenCache<Token>>,
}

impl Account {
    async fn send(&self, http: &Http, call: &Call<'_>, deadline: Deadline) -> Result<Answer> {
        let token = self.token(http, call.remedies, deadline).await?;
        let answer = once(http, call, || Some(Ok(token.header.clone())), deadline).await?;
        // 401 is also said of a role that is missing: another token would not help, and this one is still good.
        if answer.status != StatusCode::UNAUTHORIZED || errors::code(&answer) == errors::ROLE_MISSING {
            return Ok(answer);
        }
        // It ended meanwhile, or somebody revoked it.
        self.cache.forget(&token).await;
        let token = self.token(http, call.remedies, deadline).await?;
        once(http, call, || Some(Ok(token.header.clone())), deadline).await
    }

    async fn token(&self, http: &Http, remedies: &Remedies, deadline: Deadline) -> Result<Arc<Token>> {
        self.cache.get(async || self.mint(http, remedies, deadline).await).await
    }

    /// A new token, and its life in seconds.
    async fn mint(&self, http: &Http, remedies: &Remedies, deadline: Deadline) -> Result<(Token, i64)> {
        let request = Request::post_form(TOKEN_PATH, &[("grant_type", "client_credentials")]);
        let answer = self.post(http, &request, deadline).await?;
        if !answer.status.is_success() {
            return Err(errors::no_token(TOKEN_CALL, &answer, remedies));
        }
        let grant: Grant = answer.json().map_err(|failure| errors::unanswered(TOKEN_CALL, &failure))?;
        if !grant.token_type.eq_ignore_ascii_case("bearer") {
            return Err(errors::strange(TOKEN_CALL, "the token is not of type Bearer"));
        }
        let header = sensitive(format!("Bearer {}", grant.access_token))
            .map_err(|why| errors::strange(TOKEN_CALL, &format!("the token cannot be sent: {why}")))?;
        Ok((Token { text: grant.access_token.into(), header }, grant.expires_in))
    }

    async fn leave(&self, http: &Http) {
        let Some(token) = self.cache.take().await else { return };
        let form = [("token", token.text.expose_secret()), ("token_type_hint", "access_token")];
        let request = Request::post_form(REVOKE_PATH, &form);
        match self.post(http, &request, Deadline::after(LEAVE)).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => not_revoked(answer.status.as_str()),
            Err(error) => not_revoked(error.message()),
        }
    }

    async fn post(&self, http: &Http, request: &Request, deadline: Deadline) -> Result<Answer> {
        let accept = HeaderValue::from_static("application/json");
        let authorization = header(&basic(&self.id, &self.secret))?;
        let headers = HeaderMap::from_iter([(ACCEPT, accept), (AUTHORIZATION, authorization)]);
        let call = format!("POST {}", request.path());
        let answer = http.send(request, &|_, _| Ok(headers.clone()), deadline).await;
        answer.map_err(|failure| errors::unanswered(&call, &failure))
    }
}

fn not_revoked(why: &str) {
    tracing::info!(
        code = Code::AtlasTokenNotRevoked.name(),
        why,
        "An access token of Atlas was not given back: it ends by itself within the hour."
    );
}

/// An API key.
pub(super) struct Key {
    public: String,
    private: SecretString,
    /// Nonces that no call is using. Calls at the same time use different ones: each one's counter must grow in order.
    rested: Mutex<Vec<Session>>,
}

impl Key {
    async fn send(&self, http: &Http, call: &Call<'_>, deadline: Deadline) -> Result<Answer> {
        let mut session = lock(&self.rested).pop();
        let mut renewed = false;
        loop {
            let authorization = || session.as_ref().map(|session| self.authorization(session, &call.request));
            let answer = once(http, call, authorization, deadline).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                lock(&self.rested).extend(session);
                return Ok(answer);
            }
            let challenge = Challenge::of(&answer.headers).map_err(|why| errors::strange(&call.name, &why))?;
            let Some(challenge) = challenge else { return Ok(answer) };
            // Without a nonce the refusal was an invitation. With one, only its age is a reason to try again, once.
            if session.is_some() {
                if renewed || !challenge.stale {
                    return Ok(answer);
                }
                renewed = true;
            }
            session = Some(Session::new(challenge));
        }
    }

    fn authorization(&self, session: &Session, request: &Request) -> Result<HeaderValue> {
        let (method, target) = (request.method().as_str(), request.path());
        header(&session.authorization(&self.public, &self.private, method, target))
    }
}

/// Makes a call with this `Authorization`, which is made anew for each try, or without one.
async fn once(
    http: &Http,
    call: &Call<'_>,
    authorization: impl Fn() -> Option<Result<HeaderValue>>,
    deadline: Deadline,
) -> Result<Answer> {
    let headers = |_: &Request, _: &str| {
        let mut headers = HeaderMap::from_iter([(ACCEPT, call.accept.clone())]);
        if let Some(value) = authorization() {
            headers.insert(AUTHORIZATION, value?);
        }
        Ok(headers)
    };
    http.send(&call.request, &headers, deadline).await.map_err(|failure| errors::unanswered(&call.name, &failure))
}

/// The value of an `Authorization`.
fn header(text: &str) -> Result<HeaderValue> {
    sensitive(text).map_err(|why| errors::unmade(&format!("the credential cannot be sent: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn parse(secret: &Value) -> std::result::Result<Access, String> {
        Access::parse(&secret.to_string().into(), &Tokens::default())
    }

    #[test]
    fn takes_the_examples_of_both_kinds() {
        let account = include_str!("../../../../infra/examples/secrets/rotate-mongo/atlas-service-account.json");
        assert!(matches!(Access::parse(&account.into(), &Tokens::default()), Ok(Access::Account(_))));
        let key = include_str!("../../../../infra/examples/secrets/rotate-mongo/atlas-api-key.json");
        assert!(matches!(Access::parse(&key.into(), &Tokens::default()), Ok(Access::Key(_))));
    }

    #[test]
    fn takes_both_kinds_of_credentials() {
        let account = parse(&json!({"client_id": "mdb_sa_id_1", "client_secret": " mdb_sa_sk_2\n"}));
        let Ok(Access::Account(Account { id, secret, .. })) = account else { panic!("no account") };
        assert_eq!((id.as_str(), secret.expose_secret()), ("mdb_sa_id_1", "mdb_sa_sk_2"));
        assert_eq!(basic(&id, &secret), "Basic bWRiX3NhX2lkXzE6bWRiX3NhX3NrXzI=");
        let key = parse(&json!({"public_key": "abcdefgh", "private_key": "1-2-3"}));
        let Ok(Access::Key(Key { public, private, .. })) = key else { panic!("no key") };
        assert_eq!((public.as_str(), private.expose_secret()), ("abcdefgh", "1-2-3"));
    }

    #[test]
    fn takes_the_shapes_of_managed_external_secrets_and_of_the_kubernetes_operator() {
        let managed = json!({"clientId": "mdb_sa_id_1", "clientSecret": "mdb_sa_sk_2", "serviceAccountId": "0123"});
        assert!(matches!(parse(&managed), Ok(Access::Account(account)) if account.id == "mdb_sa_id_1"));
        let managed = json!({"clientId": "mdb_sa_id_1", "clientSecret": "mdb_sa_sk_2", "orgId": "0123"});
        assert!(matches!(parse(&managed), Ok(Access::Account(_))));
        let operator = json!({"orgId": "0123", "publicApiKey": "abcdefgh", "privateApiKey": "1-2-3"});
        assert!(matches!(parse(&operator), Ok(Access::Key(key)) if key.public == "abcdefgh"));
        assert!(parse(&json!({"clientId": "a", "privateApiKey": "b"})).is_err());
    }

    #[test]
    fn says_what_is_wrong_and_quotes_no_value() {
        for (secret, why) in [
            (json!(["s3cret"]), "no JSON object"),
            (json!({}), "\"client_id\" or \"public_key\" is missing"),
            (json!({"client_secret": "s3cret"}), "is missing"),
            (json!({"client_id": "s3cret"}), "\"client_secret\" is missing"),
            (json!({"public_key": "s3cret"}), "\"private_key\" is missing"),
            (json!({"public_key": "a", "private_key": 7}), "\"private_key\" is no text"),
            (json!({"client_id": "a", "client_secret": " "}), "\"client_secret\" is no text, or empty"),
            (json!({"client_id": "s3cret:", "client_secret": "b"}), "\"client_id\" has characters"),
            (json!({"public_key": "s3cret\"", "private_key": "b"}), "\"public_key\" has characters"),
            (json!({"public_key": "s3\r\ncret", "private_key": "b"}), "\"public_key\" has characters"),
            (json!({"client_id": "a", "client_secret": "b", "public_key": "s3cret"}), "\"public_key\" is not a key"),
            (json!({"client_id": "a", "client_secret": "b", "S3cret": ""}), "not known"),
        ] {
            let told = parse(&secret).err().unwrap_or_else(|| panic!("{secret}"));
            assert!(told.contains(why), "{told}");
            assert!(!told.to_lowercase().contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn what_is_between_invocations_is_one_token_for_each_account() {
        let tokens = Tokens::default();
        let [one, same, other] = ["a", "a", "b"].map(|id| tokens.of(id));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}", key in "client_id|public_key|private_key", value in "\\PC{0,30}") {
            let _ = Access::parse(&text.as_str().into(), &Tokens::default()).is_ok();
            let _ = parse(&json!({ key: value, "client_secret": value })).is_ok();
        }
    }
}
