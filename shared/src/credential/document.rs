//! Where the values sit in a JSON text, so that some can be replaced while every other byte stays as it is.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Deeper nesting is refused: the walk is recursive, and `serde_json` itself stops its own recursion here.
const MAX_DEPTH: usize = 128;

/// The members of one JSON object in their order, each value as the piece of text it was written as.
pub(super) struct Members<'t>(pub Vec<(String, &'t str)>);

/// Why a document cannot be walked, and where: the byte offset of the value concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unwalkable {
    TooDeep(usize),
    BadKey(usize),
}

/// A string somewhere in the document, with its key when it is an object's member.
pub(super) struct Leaf<'t> {
    pub key: Option<String>,
    pub raw: &'t str,
    /// The other members of its object.
    pub siblings: Rc<Vec<(String, &'t str)>>,
}

impl<'t> Members<'t> {
    /// Reads an object; the text must be one JSON value without text around it.
    pub(super) fn of(object: &'t str) -> serde_json::Result<Self> {
        serde_json::from_str(object)
    }
}

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((key, value.get()));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Members)
    }
}

/// What a JSON value is, in words for a message.
pub(super) fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The string a JSON string stands for; nothing for another value or an escape that is no character (half a surrogate pair).
pub(super) fn decode(raw: &str) -> Option<Zeroizing<String>> {
    serde_json::from_str(raw).ok().map(Zeroizing::new)
}

/// The JSON string that stands for `text`.
pub(super) fn encode(text: &str) -> Zeroizing<String> {
    // Long enough for any escape (\u0000), so that the buffer does not grow and leave a copy of the password behind.
    let mut json = Vec::with_capacity(6 * text.len() + 2);
    // Writing a string to memory cannot fail, and text is UTF-8; were either wrong, the result would not parse.
    let _ = serde_json::to_writer(&mut json, text);
    Zeroizing::new(String::from_utf8(json).unwrap_or_default())
}

/// The elements of a JSON array as they were written; nothing for another value.
pub(super) fn elements(raw: &str) -> Option<Vec<&str>> {
    let values: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    Some(values.into_iter().map(RawValue::get).collect())
}

/// Every string in `value`, a piece of `text`, at any depth, in the order of the text.
pub(super) fn leaves<'t>(text: &str, value: &'t str) -> Result<Vec<Leaf<'t>>, Unwalkable> {
    let mut found = Vec::new();
    collect(text, None, value, &Rc::default(), 0, &mut found)?;
    Ok(found)
}

fn collect<'t>(
    text: &str,
    key: Option<&str>,
    value: &'t str,
    siblings: &Rc<Vec<(String, &'t str)>>,
    depth: usize,
    found: &mut Vec<Leaf<'t>>,
) -> Result<(), Unwalkable> {
    if depth > MAX_DEPTH {
        return Err(Unwalkable::TooDeep(span(text, value).start));
    }
    match value.as_bytes().first() {
        Some(b'"') => {
            found.push(Leaf { key: key.map(str::to_owned), raw: value, siblings: Rc::clone(siblings) });
        }
        Some(b'{') => {
            let Members(members) = Members::of(value).map_err(|_| Unwalkable::BadKey(span(text, value).start))?;
            let members = Rc::new(members);
            for (key, member) in members.iter() {
                collect(text, Some(key), member, &members, depth + 1, found)?;
            }
        }
        Some(b'[') => {
            for element in elements(value).unwrap_or_default() {
                collect(text, None, element, &Rc::default(), depth + 1, found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Where `part`, a subslice of `text`, lies in it.
pub(super) fn span(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// Line and column (in bytes), both counted from 1, of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, offset - line_start + 1)
}

/// `text` with pieces replaced. The replacements are in the order of the text and do not overlap.
pub(super) fn splice(text: &str, replacements: &[(Range<usize>, Zeroizing<String>)]) -> Zeroizing<String> {
    let removed: usize = replacements.iter().map(|(range, _)| range.len()).sum();
    let added: usize = replacements.iter().map(|(_, new)| new.len()).sum();
    // Exactly as long as needed: a buffer that grows or shrinks leaves a copy of the password behind.
    let mut spliced = Zeroizing::new(String::with_capacity(text.len() - removed + added));
    let mut copied = 0;
    for (range, new) in replacements {
        spliced.push_str(&text[copied..range.start]);
        spliced.push_str(new);
        copied = range.end;
    }
    spliced.push_str(&text[copied..]);
    spliced
}
