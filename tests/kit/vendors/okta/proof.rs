//! Signed tokens that a client makes itself: the assertion that says who it is (RFC 7523) and the proof that it holds
//! the key its access token is bound to (`DPoP`, RFC 9449).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::state::State;
use crate::vendors::Call;

/// How far a client's clock may be off, in seconds.
pub(super) const TOLERANCE: i64 = 300;

/// What is wrong with a proof.
pub(super) struct Bad {
    pub what: &'static str,
    /// Whether a correct client may have sent it.
    pub honest: bool,
}

impl Bad {
    fn violation(what: &'static str) -> Self {
        Self { what, honest: false }
    }
}

pub(super) struct Proof {
    /// Of the key it is signed with (RFC 7638).
    pub thumbprint: String,
    pub nonce: Option<String>,
}

/// A token's header, without any check of its signature.
pub(super) fn header(token: &str) -> Option<Value> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    serde_json::from_slice(&header).ok()
}

/// A token's claims, where its signature is by this key and its algorithm one of the two in use.
pub(super) fn claims(token: &str, key: &Jwk) -> Option<Value> {
    let algorithm = jsonwebtoken::decode_header(token).ok()?.alg;
    let mut validation = Validation::new(algorithm);
    // Times go by the emulator's clock and the audience depends on its address: both are checked by the caller.
    (validation.validate_exp, validation.validate_aud) = (false, false);
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_jwk(key).ok()?;
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation).ok()?;
    [Algorithm::ES256, Algorithm::RS256].contains(&algorithm).then_some(decoded.claims)
}

/// Checks the call's one proof: that it is for this method and `url`, and for the access token if there is one.
pub(super) fn check(
    state: &mut State,
    call: &Call,
    url: &str,
    token: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Proof, Bad> {
    if call.headers.get_all("dpop").iter().count() != 1 {
        return Err(Bad::violation("The DPoP proof JWT header is missing."));
    }
    let proof = call.header("dpop");
    let header = header(proof).ok_or(Bad::violation("The DPoP proof is not a JWT."))?;
    if header["typ"] != "dpop+jwt" {
        return Err(Bad::violation("'typ' header in the DPoP proof JWT is invalid."));
    }
    let key = public_key(&header["jwk"]).ok_or(Bad::violation("'jwk' header in the DPoP proof JWT is invalid."))?;
    let claims = claims(proof, &key).ok_or(Bad::violation("The DPoP proof JWT signature is invalid."))?;
    if claims["htm"] != call.method.as_str() {
        return Err(Bad::violation("'htm' claim in the DPoP proof JWT is invalid."));
    }
    if claims["htu"] != url {
        return Err(Bad::violation("'htu' claim in the DPoP proof JWT is invalid."));
    }
    let expected = token.map(hash);
    if claims["ath"].as_str() != expected.as_deref() {
        return Err(Bad::violation("'ath' claim in the DPoP proof JWT is invalid."));
    }
    if !spend(state, &claims) {
        return Err(Bad::violation("'jti' claim in the DPoP proof JWT is missing or has been used before."));
    }
    let issued = claims["iat"].as_i64().ok_or(Bad::violation("'iat' claim in the DPoP proof JWT is missing."))?;
    if (now.timestamp() - issued).abs() > TOLERANCE {
        return Err(Bad { what: "'iat' claim in the DPoP proof JWT is too far from now.", honest: true });
    }
    let thumbprint = key.thumbprint(ThumbprintHash::SHA256);
    let thumbprint = thumbprint.map_err(|_| Bad::violation("'jwk' header in the DPoP proof JWT is invalid."))?;
    Ok(Proof { thumbprint, nonce: claims["nonce"].as_str().map(str::to_owned) })
}

/// Marks a token's `jti` as used; false where it is missing or has been used before.
pub(super) fn spend(state: &mut State, claims: &Value) -> bool {
    claims["jti"].as_str().is_some_and(|jti| !jti.is_empty() && state.spent.insert(jti.to_owned()))
}

/// The key in a proof's header, which must hold nothing private.
fn public_key(jwk: &Value) -> Option<Jwk> {
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let public = jwk.as_object()?.keys().all(|member| !private.contains(&member.as_str()));
    public.then(|| serde_json::from_value(jwk.clone()).ok()).flatten()
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}
