//! IAM policies, as far as a test has to read them.

use anyhow::{Result, bail};
use serde_json::Value;

/// What IAM is told of a request besides action and resource: condition keys and their values. A key with several values
/// stands there several times.
pub type Context<'c> = &'c [(&'c str, &'c str)];

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

/// Whether these policies together allow this: a statement that allows it, and none that denies it.
///
/// # Errors
/// When a condition has an operator that is not known here.
pub fn allows(documents: &[Value], action: &str, resource: &str, context: Context<'_>) -> Result<bool> {
    let mut allowed = false;
    for statement in documents.iter().flat_map(statements) {
        let names = |part: &str, text: &str| items(&statement[part]).iter().any(|pattern| takes(pattern, text));
        if names("Action", action) && names("Resource", resource) && holds(&statement["Condition"], context)? {
            if statement["Effect"] == "Deny" {
                return Ok(false);
            }
            allowed = true;
        }
    }
    Ok(allowed)
}

/// Whether every operator of a condition holds for every key that it names.
fn holds(condition: &Value, context: Context<'_>) -> Result<bool> {
    for (operator, keys) in condition.as_object().into_iter().flatten() {
        let (operator, if_exists) = match operator.strip_suffix("IfExists") {
            Some(operator) => (operator, true),
            None => (operator.as_str(), false),
        };
        let operator = operator.strip_prefix("ForAnyValue:").unwrap_or(operator);
        let (is_negated, plain) = match operator.split_once("Not") {
            Some((kind, rest)) => (true, format!("{kind}{rest}")),
            None => (false, operator.to_owned()),
        };
        let fits: fn(&str, &str) -> bool = match plain.as_str() {
            "StringEquals" | "Bool" => |pattern, value| pattern == value,
            "StringLike" | "ArnEquals" | "ArnLike" => takes,
            _ => bail!("the operator {operator} is not known here"),
        };
        for (key, patterns) in keys.as_object().into_iter().flatten() {
            let mut values = context.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key)).peekable();
            if if_exists && values.peek().is_none() {
                continue;
            }
            let is_met = values.any(|(_, value)| items(patterns).iter().any(|pattern| fits(pattern, value)));
            if is_met == is_negated {
                return Ok(false);
            }
        }
    }
    Ok(true)
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
    use crate::source;
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
    fn a_condition_holds_for_the_value_that_it_names_and_a_denial_goes_first() {
        let attached = "secretsmanager:resource/AllowRotationLambdaArn";
        let documents = [json!({"Statement": [
            {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "secret:*",
             "Condition": {"StringEquals": {attached: ["function:ours"]}}},
            {"Effect": "Deny", "Action": "secretsmanager:*", "Resource": "secret:locked-*",
             "Condition": {"ArnNotLike": {"aws:PrincipalArn": "role/platform-*"}}},
        ]})];
        let read = |secret: &str, context: Context<'_>| {
            allows(&documents, "secretsmanager:GetSecretValue", secret, context).unwrap()
        };
        let ours = (attached, "function:ours");
        assert!(read("secret:shop", &[ours]));
        assert!(read("secret:shop", &[("SecretsManager:Resource/AllowRotationLambdaArn", "function:ours")]));
        assert!(!read("secret:shop", &[(attached, "function:theirs")]));
        assert!(!read("secret:shop", &[]));
        assert!(!read("parameter:shop", &[ours]));
        assert!(!read("secret:locked-shop", &[ours]), "without a principal the negation holds");
        assert!(!read("secret:locked-shop", &[ours, ("aws:PrincipalArn", "role/app")]));
        assert!(read("secret:locked-shop", &[ours, ("aws:PrincipalArn", "role/platform-admin")]));
        assert!(!allows(&documents, "secretsmanager:PutSecretValue", "secret:shop", &[ours]).unwrap());
    }

    #[test]
    fn the_example_keeps_attaching_and_tagging_to_the_platform_and_leaves_all_else_to_applications() {
        let control: Value =
            serde_json::from_str(&source::read("infra/examples/policies/attach.json").unwrap()).unwrap();
        let all = json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let documents = [all, control];
        let [app, platform] =
            ["orders", "platform-engineer"].map(|role| format!("arn:aws:iam::123456789012:role/{role}"));
        let [ours, theirs] = ["keyturn-rotate-postgres", "another"]
            .map(|name| format!("arn:aws:lambda:eu-west-1:123456789012:function:{name}"));
        let (by, attached, tag) = ("aws:PrincipalArn", "secretsmanager:RotationLambdaARN", "aws:TagKeys");
        for (action, context, allowed) in [
            ("RotateSecret", vec![(by, app.as_str()), (attached, &ours)], false),
            ("RotateSecret", vec![(by, &platform), (attached, &ours)], true),
            ("RotateSecret", vec![(by, &app), (attached, &theirs)], true),
            // Of a secret that is attached already: now, by the function that it has.
            ("RotateSecret", vec![(by, &app)], true),
            ("TagResource", vec![(by, &app), (tag, "team"), (tag, "keyturn:owner")], false),
            ("CreateSecret", vec![(by, &app), (tag, "keyturn:adopt")], false),
            ("TagResource", vec![(by, &platform), (tag, "keyturn:owner")], true),
            ("TagResource", vec![(by, &app), (tag, "team")], true),
            ("GetSecretValue", vec![(by, &app)], true),
        ] {
            let action = format!("secretsmanager:{action}");
            assert_eq!(allows(&documents, &action, "secret:shop", &context).unwrap(), allowed, "{action} {context:?}");
        }
    }

    #[test]
    fn an_operator_that_is_not_known_is_never_taken_for_met() {
        let document = json!({"Statement": [
            {"Effect": "Allow", "Action": "a", "Resource": "r", "Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": "300"}}},
        ]});
        assert!(allows(&[document], "a", "r", &[("aws:MultiFactorAuthAge", "10")]).is_err());
    }
}
