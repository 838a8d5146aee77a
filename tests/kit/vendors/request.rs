//! What Okta and Atlas check alike in a request's address.

use percent_encoding::percent_decode_str;

use super::Call;

/// The path's segments, decoded; the first one is empty. `Err`: what is malformed.
pub(super) fn decoded_path(call: &Call) -> Result<Vec<String>, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
    if !call.path.chars().all(allowed) {
        return Err("the path holds characters that must be percent-encoded");
    }
    let decode = |segment| percent_decode_str(segment).decode_utf8().map(Into::into);
    let segments: Result<_, _> = call.path.split('/').map(decode).collect();
    segments.map_err(|_| "the path is not UTF-8")
}

/// A query parameter that no correct client sends.
pub(super) enum WrongParameter<'c> {
    Twice(&'c str),
    Unknown(&'c str),
}

/// The first parameter that comes twice, or that is not one of the endpoint's.
pub(super) fn wrong_parameter<'c>(call: &'c Call, allowed: &[&str]) -> Option<WrongParameter<'c>> {
    let mut names: Vec<&str> = call.query.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| WrongParameter::Twice(pair[0]));
    let unknown = || names.iter().copied().find(|name| !allowed.contains(name)).map(WrongParameter::Unknown);
    twice.or_else(unknown)
}
