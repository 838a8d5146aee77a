//! The admin secret: reading it, and vetting which one a rotation may use. The writer of a secret's value
//! names its admin, so that the operator's list has the last word.

use crate::codes::Code;
use crate::rotation::Job;
use crate::secrets::{CURRENT, Secrets, Stored};
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

/// Reads the admin secret `named` for a rotation, if it may be used. `allowed` is `None` where the operator leaves the choice to
/// each secret.
///
/// # Errors
/// `ADMIN_SECRET_MISSING`, `ADMIN_IS_ROTATED_SECRET`, `ADMIN_NOT_ALLOWED`, and what reading a secret can say.
pub async fn read(secrets: &Secrets, named: &str, allowed: Option<&[String]>, job: &Job) -> Result<Stored> {
    let in_advance = job.admin.clone().filter(|stored| stored.arn == named);
    let stored = match in_advance {
        Some(stored) => Some(stored),
        None => secrets.read(named, CURRENT, None, job.deadline).await?,
    };
    let stored = stored.ok_or_else(|| {
        Error::new(
            Code::AdminSecretMissing,
            format!("The admin secret {named} does not exist or has no AWSCURRENT value."),
            "Correct masterarn, or store the admin's credential there. Where the secret has no masterarn, correct ADMIN_SECRET_ARNS.",
        )
    })?;
    // By the ARN it was found under: masterarn may be a name, or an ARN without its six random characters.
    vet(allowed, &job.secret_arn, &stored.arn)?;
    Ok(stored)
}

/// The admin secret `admin` must be another secret than the rotated one, and one that this function may use.
fn vet(allowed: Option<&[String]>, rotated: &str, admin: &str) -> Result<()> {
    if rotated == admin {
        return Err(Error::new(
            Code::AdminIsRotatedSecret,
            format!("masterarn of {rotated} names that secret itself."),
            "Let it name the secret of an admin user, which has a rotation of its own.",
        ));
    }
    match allowed {
        Some(allowed) if !allowed.iter().any(|arn| arn == admin) => Err(Error::new(
            Code::AdminNotAllowed,
            format!("masterarn of {rotated} names {admin}, which is not among ADMIN_SECRET_ARNS."),
            "Correct masterarn, or add the ARN (with its six random characters) to the function's ADMIN_SECRET_ARNS.",
        )),
        _ => Ok(()),
    }
}

/// The credential in the admin secret `arn` does not log in; `why` is the server's word.
#[must_use]
pub fn password_refused(arn: &str, why: &str) -> Error {
    Error::new(
        Code::AdminPasswordRefused,
        format!("The admin credential in {arn} does not log in: {}.", why.trim_end_matches('.')),
        format!("Put the admin's working credential into {arn}, and see to it that its own rotation works."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_admins_is_all_there_is() {
        let refusal = |allowed: Option<&[&str]>, admin: &str| {
            let allowed = allowed.map(|arns| arns.iter().map(|arn| (*arn).to_owned()).collect::<Vec<_>>());
            vet(allowed.as_deref(), "arn:app", admin).err().map(|error| error.code())
        };
        assert_eq!(refusal(None, "arn:admin"), None);
        assert_eq!(refusal(Some(&["arn:other", "arn:admin"]), "arn:admin"), None);
        assert_eq!(refusal(Some(&[]), "arn:admin"), Some("ADMIN_NOT_ALLOWED"));
        assert_eq!(refusal(Some(&["arn:admin-2"]), "arn:admin"), Some("ADMIN_NOT_ALLOWED"));
        assert_eq!(refusal(Some(&["arn:app"]), "arn:app"), Some("ADMIN_IS_ROTATED_SECRET"));
    }
}
