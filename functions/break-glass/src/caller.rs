//! The caller: the IAM identity that Lambda puts into the event of a function URL ("Invoking Lambda function URLs", AWS Lambda
//! Developer Guide). Nothing that the caller can write is believed.

use crate::codes::Code;
use keyturn::{Error, Result};
use serde::Deserialize;

/// The prefix of the roles that IAM Identity Center makes ("AWS managed roles", IAM Identity Center User Guide).
const PREFIX: &str = "AWSReservedSSO_";
/// Digits of the random id that ends such a name.
const SUFFIX: usize = 16;
/// The prefix that IAM gives the id of a role ("IAM identifiers", IAM User Guide).
const ROLE_ID: &str = "AROA";

/// A permission set whose holders may ask, and the id of its role in this account: somebody who makes a role of the same name
/// gets another id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PermissionSet {
    pub(crate) name: String,
    role_id: String,
}

impl PermissionSet {
    /// Reads `PERMISSION_SETS`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn list(text: &str) -> std::result::Result<Vec<Self>, String> {
        text.split(',').map(|entry| Self::parse(entry.trim())).collect()
    }

    fn parse(entry: &str) -> std::result::Result<Self, String> {
        let (name, role_id) = entry.split_once(':').unwrap_or_default();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
        let is_id =
            role_id.starts_with(ROLE_ID) && role_id.len() > 16 && role_id.bytes().all(|b| b.is_ascii_alphanumeric());
        if is_name && is_id {
            Ok(Self { name: name.to_owned(), role_id: role_id.to_owned() })
        } else {
            Err(format!("{entry:?} is not a permission set and the id of its role"))
        }
    }

    fn has_role(&self, role: &str) -> bool {
        let random =
            role.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(&self.name)).and_then(|r| r.strip_prefix('_'));
        random.is_some_and(|id| {
            id.len() == SUFFIX && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    }
}

/// `requestContext.authorizer.iam` of the event.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Iam {
    account_id: String,
    /// Of an assumed role: the role's id, a colon, and the session's name.
    caller_id: String,
    user_arn: String,
}

/// A person who holds one of the permission sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The Identity Center user name, which is the Okta login where Okta provisions the users.
    pub(crate) person: String,
    pub(crate) permission_set: String,
}

impl Caller {
    /// The person behind an event, if it is the holder of one of `sets` in the function's own account. `function` is its ARN.
    ///
    /// # Errors
    /// `CALLER_REFUSED`.
    pub(crate) fn identify(iam: &Iam, function: &str, sets: &[PermissionSet]) -> Result<Self> {
        Self::of(iam, function, sets).ok_or_else(|| {
            let arn: String = iam.user_arn.chars().filter(|c| !c.is_control()).take(200).collect();
            Error::new(
                Code::CallerRefused,
                format!("{arn:?} is not the holder of a permission set that may ask for logins."),
                "Sign in through IAM Identity Center and use one of the permission sets in PERMISSION_SETS; its role's id there must be the one that aws iam get-role shows.",
            )
        })
    }

    fn of(iam: &Iam, function: &str, sets: &[PermissionSet]) -> Option<Self> {
        // arn:<partition>:lambda:<region>:<account>:function:<name>:<alias>
        let mut parts = function.split(':');
        let (partition, account) = (parts.nth(1)?, parts.nth(2)?);
        let role_and_session = iam.user_arn.strip_prefix(&format!("arn:{partition}:sts::{account}:assumed-role/"))?;
        let (role, session) = role_and_session.split_once('/')?;
        let set = sets.iter().find(|set| set.has_role(role))?;
        let is_its_session = iam.caller_id.split_once(':') == Some((set.role_id.as_str(), session));
        let is_name = (2..=64).contains(&session.len())
            && session.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
        (iam.account_id == account && is_its_session && is_name)
            .then(|| Self { person: session.to_owned(), permission_set: set.name.clone() })
    }

    /// Whether this is the person of an Okta login: neither Okta nor Identity Center tells letter cases apart.
    pub(crate) fn is(&self, login: &str) -> bool {
        self.person.eq_ignore_ascii_case(login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:break-glass:url";
    const ANN: &str = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_DBA_0123456789abcdef/ann@corp.example";

    fn identify(account: &str, caller_id: &str, arn: &str) -> Option<Caller> {
        let sets = PermissionSet::list("Other:AROAOTHER12345678901, DBA:AROAEXAMPLEID1234567").unwrap();
        let (account_id, caller_id, user_arn) = (account.to_owned(), caller_id.to_owned(), arn.to_owned());
        Caller::identify(&Iam { account_id, caller_id, user_arn }, FUNCTION, &sets).ok()
    }

    #[test]
    fn the_holder_of_a_listed_permission_set_is_known_by_name() {
        let ann = identify("123456789012", "AROAEXAMPLEID1234567:ann@corp.example", ANN).unwrap();
        assert_eq!((ann.person.as_str(), ann.permission_set.as_str()), ("ann@corp.example", "DBA"));
        assert!(ann.is("Ann@corp.example") && !ann.is("ann@corp.example.org"));
    }

    #[test]
    fn nobody_else_is() {
        let id = "AROAEXAMPLEID1234567:ann@corp.example";
        let role = |role: &str| format!("arn:aws:sts::123456789012:assumed-role/{role}/ann@corp.example");
        for (account, caller_id, arn) in [
            // Another account, another partition.
            ("210987654321", id, ANN.replace("123456789012", "210987654321")),
            ("210987654321", id, ANN.to_owned()),
            ("123456789012", id, ANN.replace("arn:aws:", "arn:aws-cn:")),
            // A role that only looks like the set's.
            ("123456789012", "AROASTRANGER12345678:ann@corp.example", ANN.to_owned()),
            ("123456789012", id, role("AWSReservedSSO_DBA_x_0123456789abcdef")),
            ("123456789012", id, role("AWSReservedSSO_DBAx_0123456789abcdef")),
            ("123456789012", id, role("AWSReservedSSO_DBA_0123456789ABCDEF")),
            ("123456789012", id, role("AWSReservedSSO_DBA_0123456789abcdef0")),
            ("123456789012", id, role("AWSReservedSSO_DBA")),
            ("123456789012", id, role("DBA")),
            // Another session of the set's role.
            ("123456789012", "AROAEXAMPLEID1234567:bob@corp.example", ANN.to_owned()),
            ("123456789012", "AROAEXAMPLEID1234567", ANN.to_owned()),
            ("123456789012", "AROAEXAMPLEID1234567:ann@corp.example/x", format!("{ANN}/x")),
            // No assumed role at all.
            ("123456789012", "AIDAEXAMPLEID1234567", "arn:aws:iam::123456789012:user/ann@corp.example".to_owned()),
            ("123456789012", id, "arn:aws:sts::123456789012:federated-user/ann@corp.example".to_owned()),
            ("123456789012", "123456789012", "arn:aws:iam::123456789012:root".to_owned()),
            ("", "", String::new()),
        ] {
            assert_eq!(identify(account, caller_id, &arn), None, "{account} {caller_id} {arn}");
        }
    }

    #[test]
    fn a_permission_set_comes_with_the_id_of_its_role() {
        for text in [
            "",
            "DBA",
            "DBA:",
            ":AROAEXAMPLEID1234567",
            "DBA:AIDAEXAMPLEID1234567",
            "DBA:AROA*",
            "D*A:AROAEXAMPLEID1234567",
        ] {
            assert!(PermissionSet::list(text).is_err(), "{text}");
        }
    }
}
