//! Whether a pending value is the current one with another credential in it, and nothing else.

use super::document::{Members, decode, elements};
use super::keys::KNOWN;

/// Whether `pending` says what `made` says, which was made from `old` by replacing the credential and its copies. Order and
/// spacing do not count: AWS's function writes JSON anew. Nor do copies that are still as they were in `old`: it leaves
/// connection URLs alone.
pub(super) fn says(pending: &str, made: &str, old: &str) -> bool {
    match made.as_bytes().first() {
        Some(b'{') => {
            let (Some(pending), Some(made), Some(old)) = (members(pending), members(made), members(old)) else {
                return false;
            };
            // `made` has the keys of `old`, in the same order.
            names(&pending) == names(&made)
                && made
                    .iter()
                    .zip(&old)
                    .all(|((key, made), (_, old))| value(&pending, key).is_some_and(|pending| says(pending, made, old)))
        }
        Some(b'[') => {
            let (Some(pending), Some(made), Some(old)) = (elements(pending), elements(made), elements(old)) else {
                return false;
            };
            pending.len() == made.len()
                && pending.iter().zip(made.iter().zip(&old)).all(|(pending, (made, old))| says(pending, made, old))
        }
        Some(b'"') => {
            decode(pending).is_some_and(|text| Some(&text) == decode(made).as_ref() || Some(text) == decode(old))
        }
        _ => pending == made || number(pending).is_some_and(|pending| number(made) == Some(pending)),
    }
}

/// The known key whose value in `pending` is not as it should be; empty for any other: somebody may have pasted a password
/// where a key belongs.
pub(super) fn difference(pending: &str, made: &str, old: &str) -> Option<&'static str> {
    let (pending, made, old) = (pending.trim(), made.trim(), old.trim());
    if says(pending, made, old) {
        return None;
    }
    let of = |text| members(text).unwrap_or_default();
    let (pending, made, old) = (of(pending), of(made), of(old));
    let differs = |key: &&&str| match (value(&pending, key), value(&made, key), value(&old, key)) {
        (Some(pending), Some(made), Some(old)) => !says(pending, made, old),
        (pending, made, _) => pending.is_some() != made.is_some(),
    };
    Some(KNOWN.iter().find(differs).copied().unwrap_or_default())
}

/// Of a key that is there twice, the last one counts, as for every parser that takes it.
fn value<'t>(members: &[(String, &'t str)], key: &str) -> Option<&'t str> {
    members.iter().rfind(|(name, _)| name == key).map(|(_, raw)| *raw)
}

fn members(raw: &str) -> Option<Vec<(String, &str)>> {
    Members::of(raw.trim()).ok().map(|Members(members)| members)
}

fn names(members: &[(String, &str)]) -> std::collections::BTreeSet<String> {
    members.iter().map(|(name, _)| name.clone()).collect()
}

/// A number, whose form does not count: Python writes 1E+2 as 100.0.
fn number(raw: &str) -> Option<f64> {
    raw.parse().ok()
}
