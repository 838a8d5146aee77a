//! Which admin secrets a rotation may use: whoever writes a secret names its admin, so the operator has the last word.

use crate::{Error, Result};

/// Reads `ADMIN_SECRET_ARNS`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn secret_arns(value: &str) -> std::result::Result<Vec<String>, String> {
    let arns: Vec<String> = value.split(',').map(str::trim).filter(|arn| !arn.is_empty()).map(str::to_owned).collect();
    match arns.iter().find(|arn| !arn.starts_with("arn:") || !arn.contains(":secretsmanager:")) {
        Some(stranger) => Err(format!("{stranger:?} is not the ARN of a secret")),
        None => Ok(arns),
    }
}

/// The admin secret `admin` must be another secret than the rotated one, and one that this function may use. Both are
/// full ARNs. `allowed` is `None` where the operator leaves the choice to each secret.
///
/// # Errors
/// `ADMIN_IS_ROTATED_SECRET`, `ADMIN_NOT_ALLOWED`.
pub fn may_be_used(allowed: Option<&[String]>, rotated: &str, admin: &str) -> Result<()> {
    if rotated == admin {
        return Err(Error::new(
            "ADMIN_IS_ROTATED_SECRET",
            format!("masterarn of {rotated} names that secret itself."),
            "Let it name the secret of an admin user, which has a rotation of its own.",
        ));
    }
    match allowed {
        Some(allowed) if !allowed.iter().any(|arn| arn == admin) => Err(Error::new(
            "ADMIN_NOT_ALLOWED",
            format!("masterarn of {rotated} names {admin}, which is not among ADMIN_SECRET_ARNS."),
            "Correct masterarn, or add the ARN (with its six random characters) to the function's ADMIN_SECRET_ARNS.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_admins_is_all_there_is() {
        let refusal = |allowed: Option<&[&str]>, admin: &str| {
            let allowed = allowed.map(|arns| arns.iter().map(|arn| (*arn).to_owned()).collect::<Vec<_>>());
            may_be_used(allowed.as_deref(), "arn:app", admin).err().map(|error| error.code())
        };
        assert_eq!(refusal(None, "arn:admin"), None);
        assert_eq!(refusal(Some(&["arn:other", "arn:admin"]), "arn:admin"), None);
        assert_eq!(refusal(Some(&[]), "arn:admin"), Some("ADMIN_NOT_ALLOWED"));
        assert_eq!(refusal(Some(&["arn:admin-2"]), "arn:admin"), Some("ADMIN_NOT_ALLOWED"));
        assert_eq!(refusal(Some(&["arn:app"]), "arn:app"), Some("ADMIN_IS_ROTATED_SECRET"));
    }
}
