//! An RSA key for service apps, made of two known primes: to find two new ones takes a debug build up to a minute.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BigUint, RsaPrivateKey};
use serde_json::{Value, json};

/// The primes of the example key in RFC 7515, A.2.
const P: &str = "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc";
const Q: &str = "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc";

/// The key as a private JWK with this `kid`, and as PKCS#8 in PEM.
pub(super) fn key(kid: &str) -> anyhow::Result<(Value, String)> {
    let key = RsaPrivateKey::from_p_q(number(P)?, number(Q)?, BigUint::from(65_537_u32))?;
    let (dp, dq) = (key.dp().context("dp")?, key.dq().context("dq")?);
    let qi = key.qinv().context("qi")?.to_biguint().context("qi")?;
    let mut jwk = json!({"kty": "RSA", "kid": kid, "use": "sig"});
    let primes = key.primes();
    let parts = [
        ("n", key.n()),
        ("e", key.e()),
        ("d", key.d()),
        ("p", &primes[0]),
        ("q", &primes[1]),
        ("dp", dp),
        ("dq", dq),
        ("qi", &qi),
    ];
    for (name, part) in parts {
        jwk[name] = json!(URL_SAFE_NO_PAD.encode(part.to_bytes_be()));
    }
    Ok((jwk, key.to_pkcs8_pem(LineEnding::LF)?.to_string()))
}

fn number(text: &str) -> anyhow::Result<BigUint> {
    Ok(BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(text)?))
}
