//! What the Okta secret holds: where the organization is, and how calls to it are authorized.

use super::app::App;
use super::errors;
use super::jws::Key;
use crate::codes::Code;
use keyturn::clock::Clock;
use keyturn::fields::Fields;
use keyturn::http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use keyturn::http::{Answer, Base, Client, Http, RateLimit, Request, sensitive};
use keyturn::{Deadline, Error, Result};
use secrecy::SecretString;
use serde_json::{Map, Value};

/// Where Okta has its customers' organizations.
const DOMAINS: [&str; 5] = ["okta.com", "oktapreview.com", "okta-emea.com", "okta-gov.com", "okta.mil"];

/// An organization at Okta, and the credential for it.
pub struct Account {
    http: Http,
    access: Access,
}

enum Access {
    /// An API token; the header as it is sent.
    Token(HeaderValue),
    App(Box<App>),
}

impl Account {
    /// Reads the secret: `{"org_url","token"}`, or `{"org_url","client_id","private_key"}` and perhaps `"kid"`.
    ///
    /// The private key is a JWK (as an object or as text) or PEM text with PKCS#8, RSA or EC P-256. `base_override`,
    /// from the function's environment, wins over `org_url` and may be a custom domain.
    ///
    /// # Errors
    /// `OKTA_SECRET_INVALID`, which names the key and quotes no value.
    pub fn parse(secret: &SecretString, base_override: Option<&Base>, client: &Client, clock: &Clock) -> Result<Self> {
        Self::read(secret, base_override, client, clock)
            .map_err(|why| Error::of(Code::OktaSecretInvalid, format!("The Okta secret is not usable: {why}.")))
    }

    fn read(
        secret: &SecretString,
        base_override: Option<&Base>,
        client: &Client,
        clock: &Clock,
    ) -> std::result::Result<Self, String> {
        let mut fields = Fields::read(secret)?;
        let base = match base_override {
            Some(base) => {
                fields.value("org_url");
                base.clone()
            }
            None => base(&fields.required("org_url")?)?,
        };
        let access = access(&mut fields, clock)?;
        fields.finish()?;
        let http = Http::new(base, client, RateLimit::Epoch("x-rate-limit-reset"), clock.clone());
        Ok(Self { http, access })
    }

    /// Where the organization is.
    #[must_use]
    pub(crate) fn base(&self) -> &Base {
        self.http.base()
    }

    /// Makes a call, which errors name `call`.
    pub(super) async fn send(&self, call: &str, request: &Request, deadline: Deadline) -> Result<Answer> {
        let token = match &self.access {
            Access::Token(token) => token,
            Access::App(app) => return app.send(&self.http, call, request, deadline).await,
        };
        let accept = HeaderValue::from_static("application/json");
        let headers =
            |_: &Request, _: &str| Ok(HeaderMap::from_iter([(ACCEPT, accept.clone()), (AUTHORIZATION, token.clone())]));
        self.http.send(request, &headers, deadline).await.map_err(|failure| errors::unanswered(call, &failure))
    }
}

/// The organization's address.
fn base(text: &str) -> std::result::Result<Base, String> {
    let base = Base::parse_known(text.trim(), is_okta).map_err(
        |_| "\"org_url\" is not https://<organization>.okta.com or the like (a custom domain goes into OKTA_ORG_URL)",
    )?;
    if base.host().split('.').next().is_some_and(|organization| organization.ends_with("-admin")) {
        return Err("\"org_url\" is the Admin Console's address: leave \"-admin\" out".to_owned());
    }
    Ok(base)
}

fn access(fields: &mut Fields, clock: &Clock) -> std::result::Result<Access, String> {
    let mut text = |key| Ok::<_, String>(fields.optional(key)?.map(|text| text.trim().to_owned()));
    let (token, client_id, kid) = (text("token")?, text("client_id")?, text("kid")?);
    match (token, client_id, fields.value("private_key")) {
        (Some(token), None, None) if kid.is_none() => {
            let header = sensitive(format!("SSWS {token}"));
            header.map(Access::Token).map_err(|_| "\"token\" has characters that no token has".to_owned())
        }
        (None, Some(client_id), Some(private_key)) => {
            let (key, own_id) = private_key_of(&private_key).map_err(|why| format!("\"private_key\" is {why}"))?;
            let app = App::new(client_id, kid.or(own_id), key, clock.clone())?;
            Ok(Access::App(Box::new(app)))
        }
        (None, Some(_), None) => Err("\"private_key\" is missing".to_owned()),
        (None, None, Some(_)) => Err("\"client_id\" is missing".to_owned()),
        (None, None, None) => Err("\"token\" is missing, or \"client_id\" and \"private_key\"".to_owned()),
        (Some(_), ..) => Err("\"token\" stands beside a service app's keys: one of both".to_owned()),
    }
}

/// The key, and its id where it carries one.
fn private_key_of(value: &Value) -> std::result::Result<(Key, Option<String>), String> {
    let parsed;
    let jwk = match value {
        Value::Object(jwk) => jwk,
        Value::String(text) if text.trim_start().starts_with('{') => {
            parsed = serde_json::from_str::<Map<String, Value>>(text).map_err(|_| "no JWK: broken JSON")?;
            &parsed
        }
        Value::String(text) => return Ok((Key::from_pem(text)?, None)),
        _ => return Err("neither a JWK nor PEM text".to_owned()),
    };
    let key_id = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
    Ok((Key::from_jwk(jwk)?, key_id))
}

/// An organization's host: one name below a domain of Okta's.
fn is_okta(host: &str) -> bool {
    host.split_once('.').is_some_and(|(organization, domain)| !organization.is_empty() && DOMAINS.contains(&domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(secret: &str, base_override: Option<&str>) -> Result<Account> {
        let client = keyturn::http::client().unwrap();
        let base = base_override.map(|base| Base::parse(base).unwrap());
        Account::parse(&secret.into(), base.as_ref(), &client, &Clock::system())
    }

    fn ec_jwk() -> Value {
        // RFC 7515, A.3.
        json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
        })
    }

    #[test]
    fn takes_both_kinds_of_credentials() {
        let org = "https://acme.okta.com";
        for secret in [
            json!({"org_url": org, "token": "00abc"}),
            json!({"org_url": "https://acme.oktapreview.com/", "token": "00abc\n"}),
            json!({"org_url": "http://127.0.0.1:4000", "token": "00abc"}),
            json!({"org_url": org, "client_id": "0oa1", "private_key": ec_jwk()}),
            json!({"org_url": org, "client_id": "0oa1", "private_key": ec_jwk().to_string(), "kid": "k1"}),
        ] {
            assert!(parse(&secret.to_string(), None).is_ok(), "{secret}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_quotes_no_value() {
        let org = "https://acme.okta.com";
        for (secret, why) in [
            (json!(["s3cret"]), "no JSON object"),
            (json!({"org_url": org}), "\"token\" is missing"),
            (json!({"token": "s3cret"}), "\"org_url\" is missing"),
            (json!({"org_url": org, "token": "s3cret", "extra": 1}), "\"extra\" is not a key"),
            (json!({"org_url": org, "token": "s3cret", "00S3cret": 1}), "one of its keys is not known"),
            (json!({"org_url": org, "token": 7}), "\"token\" is no text"),
            (json!({"org_url": org, "token": "s3cret\u{7}x"}), "\"token\" has characters"),
            (json!({"org_url": org, "token": "s3cret", "client_id": "0oa1"}), "one of both"),
            (json!({"org_url": org, "token": "s3cret", "kid": "k"}), "one of both"),
            (json!({"org_url": org, "client_id": "0oa1"}), "\"private_key\" is missing"),
            (json!({"org_url": org, "private_key": "s3cret"}), "\"client_id\" is missing"),
            (json!({"org_url": org, "client_id": "0oa1", "private_key": "s3cret"}), "no PEM text"),
            (json!({"org_url": org, "client_id": "0oa1", "private_key": "{s3cret"}), "broken JSON"),
            (json!({"org_url": org, "client_id": "0oa1", "private_key": {"kty": "oct"}}), "neither RSA nor EC"),
            (json!({"org_url": "https://acme-admin.okta.com", "token": "s3cret"}), "leave \"-admin\" out"),
            (json!({"org_url": "http://acme.okta.com", "token": "s3cret"}), "custom domain"),
            (json!({"org_url": "https://okta.com", "token": "s3cret"}), "custom domain"),
            (json!({"org_url": "https://acme.okta.com.evil.net", "token": "s3cret"}), "custom domain"),
            (json!({"org_url": "https://evilokta.com", "token": "s3cret"}), "custom domain"),
            (json!({"org_url": "https://acme.okta.com:8443", "token": "s3cret"}), "custom domain"),
            (json!({"org_url": "https://u:s3cret@acme.okta.com", "token": "s3cret"}), "custom domain"),
            (json!({"org_url": "https://acme.okta.com/api/v1", "token": "s3cret"}), "custom domain"),
        ] {
            let error = parse(&secret.to_string(), None).err().unwrap_or_else(|| panic!("{secret}"));
            assert_eq!(error.code(), "OKTA_SECRET_INVALID");
            assert!(error.message().contains(why), "{error}");
            assert!(!error.to_string().to_lowercase().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_environments_address_wins() {
        let account = parse(r#"{"org_url":"https://acme.okta.com","token":"t"}"#, Some("https://id.acme.com")).unwrap();
        assert_eq!(account.base().host(), "id.acme.com");
        assert!(parse(r#"{"token":"t"}"#, Some("https://id.acme.com")).is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}", key in "org_url|token|client_id|private_key|kid", value in "\\PC{0,30}") {
            let read = |secret: &str| access(&mut Fields::read(&secret.into())?, &Clock::system());
            let _ = read(&text).is_ok();
            let _ = read(&json!({ key: value }).to_string()).is_ok();
            let _ = base(&value).is_ok();
            let _ = private_key_of(&json!(text)).is_ok();
        }
    }
}
