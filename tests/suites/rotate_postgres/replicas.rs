//! Secrets with replicas in other regions: clients there read what Secrets Manager has copied.

use crate::rotate_postgres::scene::Scene;
use keyturn_tests::faults::{Fault, Moment, Point};
use serde_json::{Value, json};
use std::time::Duration;

const REGION: &str = "us-east-1";

/// More descriptions than any test makes.
const FOR_EVER: usize = 1_000_000;

async fn scene_of(user: &str) -> (Scene, String) {
    let scene = Scene::start(16).await;
    scene.login(user, "").await;
    let secret = scene.secret_of(user);
    (scene, secret)
}

/// A new rotation that has come to its last step: its token.
async fn proven(scene: &Scene, secret: &str) -> String {
    let token = scene.stage(secret).unwrap();
    for step in ["createSecret", "setSecret", "testSecret"] {
        scene.step(secret, &token, step).await.unwrap();
    }
    scene.faults.reset();
    token
}

/// The last step, and how often it described the secret.
async fn finished(scene: &Scene, secret: &str) -> (Value, usize) {
    let token = proven(scene, secret).await;
    finishes(scene, secret, token).await
}

async fn finishes(scene: &Scene, secret: &str, token: String) -> (Value, usize) {
    let report = scene.step(secret, &token, "finishSecret").await.unwrap();
    assert_eq!(report["outcome"], json!("finished"), "{report}");
    assert_eq!(scene.aws.secrets.version(secret, "AWSCURRENT").unwrap(), Some(token));
    let calls = scene.faults.recorded();
    (report, calls.iter().filter(|call| call.starts_with("finishSecret DescribeSecret")).count())
}

async fn asked(scene: &Scene, event: Value) -> Value {
    scene.lambda.invoke(event).await.result.unwrap()
}

fn warning(answer: &Value) -> &str {
    answer["warnings"][0].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_rotation_ends_once_clients_in_other_regions_read_the_new_password() {
    let (scene, secret) = scene_of("travels").await;
    let (report, looks) = finished(&scene, &secret).await;
    assert_eq!((&report["warnings"], looks), (&Value::Null, 1), "a secret without replicas is described once");
    scene.aws.secrets.replicate(&secret, "eu-central-1", 0).unwrap();
    scene.aws.secrets.replicate(&secret, REGION, 3).unwrap();
    let (report, looks) = finished(&scene, &secret).await;
    assert_eq!((&report["warnings"], looks), (&Value::Null, 5), "one before the move, three under way, one in sync");
    assert_eq!(finished(&scene, &secret).await.0["warnings"], Value::Null);
    scene.ends();
}

#[tokio::test]
async fn a_replica_that_does_not_follow_in_time_is_told_and_the_rotation_is_finished_all_the_same() {
    let (scene, secret) = scene_of("slow").await;
    scene.aws.secrets.replicate(&secret, "eu-central-1", 0).unwrap();
    scene.aws.secrets.replicate(&secret, REGION, FOR_EVER).unwrap();
    let token = proven(&scene, &secret).await;
    scene.lambda.set_timeout(Duration::from_secs(3));
    let (report, looks) = finishes(&scene, &secret, token).await;
    assert!(looks > 3, "{looks}");
    let says = warning(&report);
    assert!(says.starts_with("REPLICA_NOT_IN_SYNC: ") && says.contains("to us-east-1 (InProgress)"), "{says}");
    assert!(scene.lambda.logs().unwrap().contains("--query ReplicationStatus"));
    scene.ends();
}

#[tokio::test]
async fn a_replica_that_failed_is_told_at_once_with_the_command_that_mends_it() {
    let (scene, secret) = scene_of("apart").await;
    scene.aws.secrets.replicate(&secret, REGION, 0).unwrap();
    scene.aws.secrets.fail_replica(&secret, REGION, Some("The KMS key is disabled.")).unwrap();
    let (report, looks) = finished(&scene, &secret).await;
    assert_eq!(looks, 2, "one before the move, one after it");
    let failed = format!("does not copy {secret} to us-east-1 (Failed: The KMS key is disabled)");
    assert!(warning(&report).contains(&failed), "{report}");
    // The next rotation changes the password that clients there still read.
    let token = scene.stage(&secret).unwrap();
    let created = scene.step(&secret, &token, "createSecret").await.unwrap();
    assert!(warning(&created).contains(&failed), "{created}");
    let mend = format!("replicate-secret-to-regions --secret-id {secret} --add-replica-regions Region={REGION}");
    for action in ["check", "explain"] {
        let answer = asked(&scene, json!({"action": action, "secret": secret})).await;
        assert_eq!(answer["warnings"][0]["code"], json!("REPLICA_NOT_IN_SYNC"), "{answer}");
        assert!(answer["warnings"][0]["remedy"].as_str().unwrap().ends_with(&mend), "{answer}");
        let says = answer["says"].to_string();
        assert!(says.contains("Warning REPLICA_NOT_IN_SYNC") && says.contains(&mend), "{says}");
    }
    assert_eq!(asked(&scene, json!({"action": "check", "secret": secret})).await["ready"], json!(true));
    scene.ends();
}

#[tokio::test]
async fn a_secret_that_cannot_be_described_after_the_move_is_rotated_all_the_same() {
    let (scene, secret) = scene_of("unseen").await;
    scene.aws.secrets.replicate(&secret, REGION, 0).unwrap();
    let token = proven(&scene, &secret).await;
    let call = "finishSecret DescribeSecret unseen #2".to_owned();
    scene.faults.inject(Point { call, moment: Moment::Before, fault: Fault::Status(400, "AccessDeniedException") });
    let (report, _) = finishes(&scene, &secret, token).await;
    let says = warning(&report);
    assert!(says.contains("AWSCURRENT has moved; whether the replicas"), "{report}");
    assert!(says.contains("secretsmanager:DescribeSecret"), "{report}");
    scene.ends();
}

#[tokio::test]
async fn a_replica_itself_is_not_ready_and_its_primary_is_named() {
    let (scene, secret) = scene_of("copied").await;
    scene.aws.secrets.make_replica_of(&secret, REGION).unwrap();
    let check = asked(&scene, json!({"action": "check", "secret": secret})).await;
    assert_eq!(
        (&check["ready"], &check["refusals"][0]["code"]),
        (&json!(false), &json!("SECRET_IS_REPLICA")),
        "{check}"
    );
    let refusal = check["refusals"][0].to_string();
    assert!(refusal.contains("only its primary in us-east-1 can be rotated"), "{refusal}");
    let explained = asked(&scene, json!({"action": "explain", "secret": secret})).await;
    let promote = format!("aws secretsmanager stop-replication-to-replica --secret-id {secret}");
    assert!(explained["next"].as_str().unwrap().ends_with(&promote), "{explained}");
    scene.ends();
}

#[tokio::test]
async fn a_leaked_password_that_clients_in_another_region_still_read_is_not_taken_away_without_force() {
    let (scene, secret) = scene_of("abroad").await;
    scene.aws.secrets.replicate(&secret, REGION, 0).unwrap();
    scene.aws.secrets.fail_replica(&secret, REGION, Some("The KMS key is disabled.")).unwrap();
    let leaked = scene.aws.secrets.version(&secret, "AWSCURRENT").unwrap().unwrap();
    finished(&scene, &secret).await;
    let event = json!({"action": "revoke", "secret": secret, "version": leaked});
    let waiting = asked(&scene, event.clone()).await;
    assert_eq!(waiting["state"], json!("waiting"), "{waiting}");
    assert!(waiting["says"][0].as_str().unwrap().contains("to us-east-1 (Failed"), "{waiting}");
    scene.postgres.client("abroad", &scene.password, "postgres").await.unwrap();
    scene.aws.secrets.fail_replica(&secret, REGION, None).unwrap();
    assert_eq!(asked(&scene, event).await["state"], json!("revoked"));
    scene.ends();
}
