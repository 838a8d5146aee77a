//! IAM policies, as far as a test has to read them.

use serde_json::Value;

/// The statements of a policy document.
#[must_use]
pub fn statements(document: &Value) -> &[Value] {
    document["Statement"].as_array().map_or(&[], Vec::as_slice)
}

/// What is one text or a list of texts in a policy.
#[must_use]
pub fn items(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// Whether a statement without conditions allows this action on this resource.
pub(super) fn allows(document: &Value, action: &str, resource: &str) -> bool {
    statements(document).iter().any(|statement| {
        let names = |part: &str, text: &str| items(&statement[part]).iter().any(|pattern| takes(pattern, text));
        let unconditional = statement["Effect"] == "Allow" && statement["Condition"].is_null();
        unconditional && names("Action", action) && names("Resource", resource)
    })
}

/// Whether a pattern, in which `*` stands for anything, takes this text.
fn takes(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| takes(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_stands_for_anything_and_all_else_for_itself() {
        for (pattern, text, taken) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/*", "a/b/c", true),
            ("a/*", "a", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/d", false),
            ("*", "", true),
        ] {
            assert_eq!(takes(pattern, text), taken, "{pattern} {text}");
        }
    }

    #[test]
    fn a_condition_or_another_action_allows_nothing_here() {
        let document = json!({"Statement": [
            {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": ["p/a", "p/b/*"]},
            {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": "*", "Condition": {"Bool": {}}},
        ]});
        assert!(allows(&document, "ssm:GetParametersByPath", "p/b/c"));
        assert!(!allows(&document, "ssm:GetParametersByPath", "p/c"));
        assert!(!allows(&document, "ssm:PutParameter", "p/a"));
    }
}
