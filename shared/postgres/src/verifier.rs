//! What is sent to the server instead of a password: it stores this, and cannot be logged in with it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keyturn::codes::Code;
use keyturn::{Error, Result};
use rand::TryRng as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use zeroize::Zeroizing;

/// As many bytes as PostgreSQL itself takes.
const SALT_LENGTH: usize = 16;

/// No fewer than PostgreSQL's default, whatever somebody has set for a database; and no more than clients take: libpq's limit is
/// higher, but tokio-postgres (and so these functions' own login) stops here.
const ITERATIONS: RangeInclusive<u32> = 4096..=100_000;

/// A SCRAM-SHA-256 verifier as PostgreSQL stores it: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`
/// (RFC 5803; PostgreSQL documentation, `pg_authid`). `iterations` is the server's `scram_iterations`, within bounds.
///
/// # Errors
/// `RANDOMNESS_UNAVAILABLE`
pub fn scram(password: &SecretString, iterations: u32) -> Result<SecretString> {
    let mut salt = [0; SALT_LENGTH];
    rand::rngs::SysRng.try_fill_bytes(&mut salt).map_err(|why| {
        Error::of(Code::RandomnessUnavailable, format!("The operating system gave no random bytes: {why}."))
    })?;
    Ok(scram_with(password, iterations.clamp(*ITERATIONS.start(), *ITERATIONS.end()), &salt))
}

fn scram_with(password: &SecretString, iterations: u32, salt: &[u8]) -> SecretString {
    // RFC 7677 over RFC 5802 section 3. As in PostgreSQL, a password that SASLprep refuses is taken as it is.
    let password = password.expose_secret();
    let prepared = Zeroizing::new(stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password)).into_owned());
    let salted = Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(prepared.as_bytes(), salt, iterations));
    let stored_key = Sha256::digest(mac(&salted, b"Client Key"));
    let server_key = mac(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        BASE64_STANDARD.encode(salt),
        BASE64_STANDARD.encode(stored_key),
        BASE64_STANDARD.encode(server_key)
    )
    .into()
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_example_of_rfc_7677() {
        // Section 3: user "user", password "pencil", salt W22ZaJ0SNY7soEsUEjb6gQ==, 4096 rounds. The server's signature there
        // is made with the ServerKey below.
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = scram_with(&"pencil".into(), 4096, &salt);
        let verifier = verifier.expose_secret();
        let server_key = BASE64_STANDARD.decode(verifier.rsplit_once(':').unwrap().1).unwrap();
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = mac(&server_key.try_into().unwrap(), auth_message.as_bytes());
        assert_eq!(BASE64_STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn every_verifier_has_a_salt_of_its_own() {
        let password = SecretString::from("x");
        let (a, b) = (scram(&password, 4096).unwrap(), scram(&password, 4096).unwrap());
        assert_ne!(a.expose_secret(), b.expose_secret());
    }
}
