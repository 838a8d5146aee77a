//! Where a rotation stands, from the labels alone.

use crate::codes::Code;
use crate::secrets::{CURRENT, Description, PENDING};
use crate::{Error, Result};

/// What a version's labels allow a step to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The token's version is current: the rotation is over, nothing is left to do.
    Finished,
    /// The token's version is pending.
    Pending {
        /// The version that is current; absent where no version is.
        current: Option<String>,
    },
}

/// Judges a description for the rotation that makes version `token`.
///
/// Errors: `ROTATION_DISABLED`, `TOKEN_UNKNOWN`, `TOKEN_NOT_PENDING`.
pub(super) fn judge(description: &Description, token: &str) -> Result<Stage> {
    let arn = &description.arn;
    if description.rotation_enabled == Some(false) {
        return Err(Error::new(
            Code::RotationDisabled,
            format!("Rotation is switched off for {arn}."),
            format!(
                "Switch it on: aws secretsmanager rotate-secret --secret-id {arn} --rotation-lambda-arn <this function> --rotation-rules AutomaticallyAfterDays=30"
            ),
        ));
    }
    let Some(labels) = description.versions.get(token) else {
        return Err(Error::new(
            Code::TokenUnknown,
            format!("{arn} has no version {token}."),
            format!("Let Secrets Manager start the rotation: aws secretsmanager rotate-secret --secret-id {arn}"),
        ));
    };
    if has(labels, CURRENT) {
        return Ok(Stage::Finished);
    }
    if !has(labels, PENDING) {
        return Err(Error::new(
            Code::TokenNotPending,
            format!(
                "Version {token} of {arn} is not labelled AWSPENDING: this rotation was abandoned, or another value was put meanwhile."
            ),
            format!("Start a new one: aws secretsmanager rotate-secret --secret-id {arn}"),
        ));
    }
    let current = description.versions.iter().find(|(_, labels)| has(labels, CURRENT)).map(|(id, _)| id.clone());
    Ok(Stage::Pending { current })
}

fn has(labels: &[String], label: &str) -> bool {
    labels.iter().any(|l| l == label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(rotation_enabled: Option<bool>, versions: &[(&str, &[&str])]) -> Description {
        Description {
            arn: "arn:app".into(),
            rotation_enabled,
            versions: versions
                .iter()
                .map(|(id, labels)| ((*id).to_owned(), labels.iter().map(|l| (*l).to_owned()).collect()))
                .collect(),
            ..Description::default()
        }
    }

    #[test]
    fn a_pending_token_goes_on_and_knows_who_is_current() {
        let of = secret(Some(true), &[("new", &["AWSPENDING"]), ("old", &["AWSCURRENT"])]);
        assert_eq!(judge(&of, "new"), Ok(Stage::Pending { current: Some("old".into()) }));
    }

    #[test]
    fn a_secret_never_set_up_for_rotation_may_be_rotated_by_hand() {
        let of = secret(None, &[("new", &["AWSPENDING"])]);
        assert_eq!(judge(&of, "new"), Ok(Stage::Pending { current: None }));
    }

    #[test]
    fn a_token_that_is_current_is_finished_whatever_else_it_carries() {
        let of = secret(Some(true), &[("new", &["AWSCURRENT", "AWSPENDING"])]);
        assert_eq!(judge(&of, "new"), Ok(Stage::Finished));
    }

    #[test]
    fn each_impossible_state_has_its_code() {
        let versions: &[(&str, &[&str])] = &[("new", &["AWSPENDING"]), ("old", &["AWSPREVIOUS"]), ("bare", &[])];
        for (enabled, token, code) in [
            (Some(false), "new", "ROTATION_DISABLED"),
            (Some(true), "none", "TOKEN_UNKNOWN"),
            (Some(true), "old", "TOKEN_NOT_PENDING"),
            (Some(true), "bare", "TOKEN_NOT_PENDING"),
        ] {
            assert_eq!(judge(&secret(enabled, versions), token).unwrap_err().code(), code, "{token}");
        }
    }
}
