//! HTTP digest authentication (RFC 7616) as Atlas does it for API keys: MD5, `qop=auth`. The sums are those of a
//! crate, so that a mistake of the client's own code is not repeated here.

use std::collections::HashMap;

use digest_auth::{AlgorithmType, AuthContext, AuthorizationHeader, Qop};

use super::refusal::{Refused, random, unproved};
use super::state::{Credential, State};
use crate::vendors::Call;

const REALM: &str = "MMS Public API";

/// The nonces handed out so far.
#[derive(Default)]
pub(super) struct Nonces {
    issued: HashMap<String, Nonce>,
    /// How many requests a nonce is good for; without a number, for all.
    pub life: Option<u32>,
}

#[derive(Default)]
struct Nonce {
    /// The highest `nc` so far.
    count: u32,
    uses: u32,
    stale: bool,
}

impl Nonces {
    /// A `WWW-Authenticate` header with a new nonce.
    pub(super) fn challenge(&mut self, stale: bool) -> String {
        let nonce = random(32);
        self.issued.insert(nonce.clone(), Nonce::default());
        format!(r#"Digest realm="{REALM}", domain="", nonce="{nonce}", algorithm=MD5, qop="auth", stale={stale}"#)
    }

    /// Makes all of them stale.
    pub(super) fn expire(&mut self) {
        self.issued.values_mut().for_each(|nonce| nonce.stale = true);
    }
}

/// Checks the proof in a `Digest` header and gives the public key of who made it.
pub(super) fn authenticate(state: &mut State, call: &Call) -> Result<String, Refused> {
    let checked = check(state, call);
    checked.map_err(|no| {
        let reply = unproved(&state.nonces.challenge(matches!(no, No::Stale)));
        match no {
            No::Malformed(what) => Refused::violation(format!("digest: {what}"), reply),
            No::WrongKey | No::Stale => Refused::honest(reply),
        }
    })
}

enum No {
    /// No correct client sends this.
    Malformed(&'static str),
    WrongKey,
    /// The key is right and the nonce is not: the client may try again at once.
    Stale,
}

fn check(state: &mut State, call: &Call) -> Result<String, No> {
    let proof = parse(call)?;
    let life = state.nonces.life.unwrap_or(u32::MAX);
    let nonce = state.nonces.issued.get_mut(&proof.nonce).ok_or(No::Malformed("a nonce that was never given"))?;
    if proof.nc <= nonce.count {
        return Err(No::Malformed("nc does not grow"));
    }
    nonce.count = proof.nc;
    let principal = state.principals.get(&proof.username).ok_or(No::WrongKey)?;
    let Credential::ApiKey(private) = &principal.credential else { return Err(No::WrongKey) };
    if response(&proof, private, call) != proof.response {
        return Err(No::WrongKey);
    }
    if nonce.stale || nonce.uses >= life {
        return Err(No::Stale);
    }
    nonce.uses += 1;
    Ok(proof.username)
}

fn parse(call: &Call) -> Result<AuthorizationHeader, No> {
    let header = call.header("authorization");
    let proof = AuthorizationHeader::parse(header).map_err(|_| No::Malformed("the header does not parse"))?;
    if !is_quoted_as_it_should_be(header, proof.nc) {
        return Err(No::Malformed("a parameter is missing, or quoted where it must not be, or the other way round"));
    }
    if proof.realm != REALM {
        return Err(No::Malformed("another realm"));
    }
    if proof.algorithm.algo != AlgorithmType::MD5 || proof.algorithm.sess || proof.qop != Some(Qop::AUTH) {
        return Err(No::Malformed("another algorithm or qop than was offered"));
    }
    if proof.uri != call.target {
        return Err(No::Malformed("uri is not the request's target"));
    }
    Ok(proof)
}

/// RFC 7616, 3.4: which parameters are quoted strings and which are tokens.
fn is_quoted_as_it_should_be(header: &str, count: u32) -> bool {
    let quoted = ["username", "realm", "nonce", "uri", "response", "cnonce"];
    let all_quoted = quoted.iter().all(|name| header.contains(&format!("{name}=\"")));
    all_quoted
        && header.contains("qop=auth")
        && header.contains(&format!("nc={count:08x}"))
        && !header.contains("algorithm=\"")
}

/// What the response must be.
fn response(proof: &AuthorizationHeader, private: &str, call: &Call) -> String {
    let method = call.method.as_str().into();
    let context =
        AuthContext::new_with_method(proof.username.as_str(), private, call.target.as_str(), None::<&[u8]>, method);
    let mut expected = proof.clone();
    expected.digest(&context);
    expected.response
}
