//! Signed JSON (RFC 7515, compact): keys as Okta hands them out, and what `ring` signs with them.

use crate::codes::Code;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyturn::Error;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING as ES256, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256 as RS256, RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

/// A private key that signs.
pub(super) enum Key {
    /// RS256.
    Rsa(Box<RsaKeyPair>),
    /// ES256.
    Ec(Box<EcdsaKeyPair>),
}

impl Key {
    /// A new P-256 key, which lives as long as this process.
    pub(super) fn ephemeral() -> Result<Self, String> {
        let random = SystemRandom::new();
        let broken = "no random numbers for a key";
        let document = EcdsaKeyPair::generate_pkcs8(&ES256, &random).map_err(|_| broken)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ES256, document.as_ref(), &random).map_err(|_| broken)?;
        Ok(Self::Ec(Box::new(pair)))
    }

    /// Reads a PEM text with a PKCS#8 private key, RSA or EC P-256.
    ///
    /// The error says what is wrong, and nothing of the key.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
            "no PEM text with a PKCS#8 key (BEGIN PRIVATE KEY); openssl pkcs8 -topk8 -nocrypt makes one of other forms"
        })?;
        let bytes = der.secret_pkcs8_der();
        let rsa = match RsaKeyPair::from_pkcs8(bytes) {
            Ok(pair) => return Ok(Self::Rsa(Box::new(pair))),
            Err(refusal) => refusal,
        };
        EcdsaKeyPair::from_pkcs8(&ES256, bytes, &SystemRandom::new())
            .map(|pair| Self::Ec(Box::new(pair)))
            .map_err(|ec| format!("neither an RSA key ({rsa}) nor an EC P-256 key ({ec})"))
    }

    /// Reads a JWK (RFC 7517) with its private members, RSA or EC P-256.
    ///
    /// The error says what is wrong, and nothing of the key.
    pub(super) fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, String> {
        match jwk.get("kty").and_then(Value::as_str) {
            Some("RSA") => rsa_of_jwk(jwk).map(|pair| Self::Rsa(Box::new(pair))),
            Some("EC") => ec_of_jwk(jwk).map(|pair| Self::Ec(Box::new(pair))),
            _ => Err("a JWK whose kty is neither RSA nor EC".to_owned()),
        }
    }

    /// The name of its algorithm in a header.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    /// The public half as a JWK, where that is an EC key's.
    pub(super) fn public_ec_jwk(&self) -> Option<Value> {
        let Self::Ec(pair) = self else { return None };
        // An uncompressed point: 0x04, then both coordinates.
        let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
        Some(json!({"kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y)}))
    }

    /// The compact form: header, claims and signature.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> keyturn::Result<String> {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    fn sign_text(&self, header: &str, claims: &str) -> keyturn::Result<String> {
        let signed = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
        let (random, message) = (SystemRandom::new(), signed.as_bytes());
        let signature = match self {
            Self::Ec(pair) => pair.sign(&random, message).map(|signature| encoded(signature.as_ref())),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RS256, &random, message, &mut signature).map(|()| encoded(&signature))
            }
        };
        signature.map(|signature| format!("{signed}.{signature}")).map_err(|_| unsigned("signing failed"))
    }
}

/// 128 random bits: an id that is used once.
pub(super) fn unique_id() -> keyturn::Result<String> {
    let mut bits = [0; 16];
    SystemRandom::new().fill(&mut bits).map_err(|_| unsigned("no random numbers for an id"))?;
    Ok(encoded(&bits))
}

/// The SHA-256 hash of a token, as a proof names it (`ath`, RFC 9449).
pub(super) fn hash(token: &str) -> String {
    encoded(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref())
}

fn rsa_of_jwk(jwk: &Map<String, Value>) -> Result<RsaKeyPair, String> {
    let number = |name| bytes_of(jwk, name);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: number("n")?, e: number("e")? },
        d: number("d")?,
        p: number("p")?,
        q: number("q")?,
        dP: number("dp")?,
        dQ: number("dq")?,
        qInv: number("qi")?,
    };
    RsaKeyPair::from_components(&components).map_err(|refusal| format!("no usable RSA key ({refusal})"))
}

fn ec_of_jwk(jwk: &Map<String, Value>) -> Result<EcdsaKeyPair, String> {
    if jwk.get("crv").and_then(Value::as_str) != Some("P-256") {
        return Err("an EC key whose curve is not P-256".to_owned());
    }
    let public = [vec![4], bytes_of(jwk, "x")?, bytes_of(jwk, "y")?].concat();
    EcdsaKeyPair::from_private_key_and_public_key(&ES256, &bytes_of(jwk, "d")?, &public, &SystemRandom::new())
        .map_err(|refusal| format!("no usable EC key ({refusal})"))
}

/// A number of a JWK as big-endian bytes.
fn bytes_of(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or_else(|| format!("a JWK without {name}"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("a JWK whose {name} is no base64url"))
}

fn unsigned(why: &str) -> Error {
    Error::of(Code::OktaSigningFailed, format!("A call to Okta could not be signed: {why}."))
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
