//! Replicas of a secret in other regions: clients there read what Secrets Manager has copied.

use crate::codes::Code;
use crate::failure::{Attempt, Failure};
use crate::secrets::{Replica, Replication};

/// Whether all replicas have what the secret has. One that is being copied is a passing failure.
///
/// # Errors
/// `REPLICA_NOT_IN_SYNC`.
pub fn in_sync(secret: &str, replicas: &[Replica]) -> Attempt<()> {
    let failed: Vec<(&str, &str)> = replicas
        .iter()
        .filter_map(|replica| match &replica.status {
            Replication::Failed(says) => Some((replica.region.as_str(), says.as_str())),
            Replication::InSync | Replication::InProgress => None,
        })
        .collect();
    if !failed.is_empty() {
        let told: Vec<String> = failed.iter().map(|(region, says)| format!("{region} (Failed: {says})")).collect();
        let regions: Vec<String> = failed.iter().map(|(region, _)| format!("Region={region}")).collect();
        return Err(Failure::permanent(
            Code::ReplicaNotInSync,
            format!(
                "Secrets Manager does not copy {secret} to {}: clients there keep an older value.",
                told.join(", ")
            ),
            format!(
                "Mend what it says (the KMS key there, its permissions, a secret of the same name), then: aws secretsmanager replicate-secret-to-regions --secret-id {secret} --add-replica-regions {}",
                regions.join(" ")
            ),
        ));
    }
    let copied: Vec<&str> = replicas
        .iter()
        .filter(|replica| replica.status == Replication::InProgress)
        .map(|replica| replica.region.as_str())
        .collect();
    if copied.is_empty() {
        return Ok(());
    }
    Err(Failure::transient(
        Code::ReplicaNotInSync,
        format!(
            "Secrets Manager is still copying {secret} to {} (InProgress): until then clients there read an older value.",
            copied.join(", ")
        ),
        format!("Look again: aws secretsmanager describe-secret --secret-id {secret} --query ReplicationStatus"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(replicas: &[(&str, Replication)]) -> Attempt<()> {
        let replica =
            |(region, status): &(&str, Replication)| Replica { region: (*region).into(), status: status.clone() };
        in_sync("arn:app", &replicas.iter().map(replica).collect::<Vec<_>>())
    }

    #[test]
    fn a_secret_without_replicas_or_with_equal_ones_is_in_sync() {
        assert!(found(&[]).is_ok() && found(&[("us-east-1", Replication::InSync)]).is_ok());
    }

    #[test]
    fn a_replica_that_is_being_copied_is_waited_for_and_a_failed_one_is_not() {
        let copying = ("us-east-1", Replication::InProgress);
        let failed = ("us-west-2", Replication::Failed("The KMS key is disabled".into()));
        let passing = found(&[copying.clone(), ("eu-west-3", Replication::InSync)]).unwrap_err();
        assert!(passing.is_transient() && passing.error.message().contains("to us-east-1 (InProgress)"), "{passing:?}");
        let lasting = found(&[copying, failed]).unwrap_err();
        let message = lasting.error.message();
        assert!(
            !lasting.is_transient() && message.contains("to us-west-2 (Failed: The KMS key is disabled)"),
            "{message}"
        );
        assert!(lasting.error.remedy().ends_with("--add-replica-regions Region=us-west-2"), "{lasting:?}");
    }
}
