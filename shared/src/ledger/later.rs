//! Keys that a later version of Keyturn wrote, and this one does not know: they are written back as they are. Those in lists
//! (alerts that are still to be sent) are not.

use serde_json::Value;

/// A key that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The JSON pointer to the object that it is in.
    object: String,
    key: String,
    value: Value,
}

/// The keys of `read`, in objects at every depth, that are not in `known`, which is what this version made of it.
pub(super) fn unknown(read: &Value, known: &Value) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    collect(read, known, "", &mut unknown);
    unknown
}

fn collect(read: &Value, known: &Value, object: &str, unknown: &mut Vec<Unknown>) {
    let (Value::Object(read), Value::Object(known)) = (read, known) else { return };
    for (key, value) in read {
        match known.get(key) {
            Some(known) => collect(value, known, &format!("{object}/{key}"), unknown),
            None => unknown.push(Unknown { object: object.to_owned(), key: key.clone(), value: value.clone() }),
        }
    }
}

/// Adds them where the object that they were in is still there.
pub(super) fn add(unknown: &[Unknown], ledger: &mut Value) {
    for Unknown { object, key, value } in unknown {
        if let Some(Value::Object(object)) = ledger.pointer_mut(object) {
            object.entry(key).or_insert_with(|| value.clone());
        }
    }
}
