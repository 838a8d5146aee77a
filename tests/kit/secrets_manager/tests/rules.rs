use aws_sdk_secretsmanager::primitives::Blob;

use super::{OTHER, TOKEN, current, labels, refusal, stack};

#[tokio::test]
async fn a_secret_answers_to_name_arn_and_arn_without_suffix() {
    let (aws, client) = stack().await;
    let arn = aws.secrets.create_as("fixed/name", "AbCdEf", "{}").unwrap();
    assert_eq!(arn, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:fixed/name-AbCdEf");
    for id in ["fixed/name", &arn, arn.trim_end_matches("-AbCdEf")] {
        assert_eq!(client.describe_secret().secret_id(id).send().await.unwrap().arn(), Some(arn.as_str()));
    }
    let unknown = refusal(client.describe_secret().secret_id("fixed").send().await);
    assert_eq!(unknown.0, "ResourceNotFoundException");
    assert_eq!(unknown.1, "Secrets Manager can't find the specified secret.");
}

#[tokio::test]
async fn a_deleted_secret_can_be_described_and_not_read() {
    let (_aws, client) = stack().await;
    client.delete_secret().secret_id("app").send().await.unwrap();
    assert!(client.describe_secret().secret_id("app").send().await.unwrap().deleted_date().is_some());
    let read = refusal(client.get_secret_value().secret_id("app").send().await);
    assert_eq!(read.0, "InvalidRequestException");
    assert!(read.1.contains("marked for deletion"), "{}", read.1);
}

#[tokio::test]
async fn a_version_must_have_the_label_it_is_asked_for_with() {
    let (aws, client) = stack().await;
    let get = client.get_secret_value().secret_id("app").version_id(current(&aws)).version_stage("AWSPENDING");
    assert_eq!(refusal(get.send().await).0, "InvalidRequestException");
}

#[tokio::test]
async fn a_put_with_labels_fills_the_staged_version_and_moves_nothing_else() {
    let (aws, client) = stack().await;
    let before = current(&aws);
    aws.secrets.stage_pending("app", TOKEN).unwrap();
    let put = client.put_secret_value().secret_id("app").client_request_token(TOKEN).secret_string("new");
    put.version_stages("AWSPENDING").send().await.unwrap();
    assert_eq!(aws.secrets.value("app", "AWSPENDING").unwrap().as_deref(), Some("new"));
    assert_eq!((current(&aws), labels(&aws, TOKEN).as_str()), (before, "AWSPENDING"));
}

#[tokio::test]
async fn the_same_put_twice_is_one_and_another_value_is_refused() {
    let (aws, client) = stack().await;
    let put = |text: &str| {
        let put = client.put_secret_value().secret_id("app").client_request_token(TOKEN);
        put.secret_string(text).version_stages("AWSPENDING")
    };
    put("one").send().await.unwrap();
    put("one").send().await.unwrap();
    assert_eq!(refusal(put("two").send().await).0, "ResourceExistsException");
    assert_eq!(aws.secrets.value("app", "AWSPENDING").unwrap().as_deref(), Some("one"));
}

#[tokio::test]
async fn a_token_has_32_to_64_characters() {
    let (_aws, client) = stack().await;
    for (length, code) in [(31, "InvalidParameterException"), (32, ""), (64, ""), (65, "InvalidParameterException")] {
        let put = client.put_secret_value().secret_id("app").client_request_token("t".repeat(length));
        assert_eq!(refusal(put.secret_string("x").send().await).0, code, "{length}");
    }
}

#[tokio::test]
async fn a_value_is_text_or_bytes_and_not_both() {
    let (_aws, client) = stack().await;
    let put = || client.put_secret_value().secret_id("app");
    let both = put().secret_string("x").secret_binary(Blob::new("y"));
    assert_eq!(refusal(both.send().await).0, "InvalidParameterException");
    assert_eq!(refusal(put().send().await).0, "InvalidRequestException");
    put().secret_binary(Blob::new([0, 255])).send().await.unwrap();
    let read = client.get_secret_value().secret_id("app").send().await.unwrap();
    assert_eq!((read.secret_string(), read.secret_binary().map(Blob::as_ref)), (None, Some(&[0, 255][..])));
}

#[tokio::test]
async fn labels_move_by_compare_and_swap() {
    let (aws, client) = stack().await;
    let before = current(&aws);
    let put = client.put_secret_value().secret_id("app").client_request_token(TOKEN).secret_string("new");
    put.version_stages("AWSPENDING").send().await.unwrap();
    let update = || client.update_secret_version_stage().secret_id("app").version_stage("AWSCURRENT");
    let (code, message) = refusal(update().move_to_version_id(TOKEN).send().await);
    assert_eq!(code, "InvalidParameterException");
    let expected = format!(
        "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version \
         {before}, so you must explicitly reference that version in RemoveFromVersionId."
    );
    assert_eq!(message, expected);
    let stale = update().move_to_version_id(TOKEN).remove_from_version_id(TOKEN).send().await;
    assert_eq!(refusal(stale).0, "InvalidParameterException");
    assert_eq!(current(&aws), before);

    update().move_to_version_id(TOKEN).remove_from_version_id(&before).send().await.unwrap();
    assert_eq!(
        (labels(&aws, TOKEN).as_str(), labels(&aws, &before).as_str()),
        ("AWSCURRENT+AWSPENDING", "AWSPREVIOUS")
    );
}

#[tokio::test]
async fn awscurrent_is_never_without_a_value_or_a_version() {
    let (aws, client) = stack().await;
    let before = current(&aws);
    aws.secrets.stage_pending("app", TOKEN).unwrap();
    let update = client.update_secret_version_stage().secret_id("app").version_stage("AWSCURRENT");
    let update = update.remove_from_version_id(&before);
    assert_eq!(refusal(update.clone().move_to_version_id(TOKEN).send().await).0, "InvalidRequestException");
    assert_eq!(refusal(update.clone().move_to_version_id(OTHER).send().await).0, "ResourceNotFoundException");
    assert_eq!(refusal(update.send().await).0, "InvalidParameterException");
    assert_eq!(current(&aws), before);
}

#[tokio::test]
async fn a_version_without_labels_is_hidden_and_still_readable_by_id() {
    let (aws, client) = stack().await;
    let first = current(&aws);
    for text in ["two", "three"] {
        client.put_secret_value().secret_id("app").secret_string(text).send().await.unwrap();
    }
    assert_eq!(labels(&aws, &first), "");
    let read = client.get_secret_value().secret_id("app").version_id(&first).send().await.unwrap();
    assert_eq!(read.secret_string(), Some(r#"{"username":"app"}"#));
}

#[tokio::test]
async fn reads_of_a_pending_value_can_come_too_early_for_the_function() {
    let (aws, client) = stack().await;
    let put = client.put_secret_value().secret_id("app").client_request_token(TOKEN).secret_string("new");
    put.version_stages("AWSPENDING").send().await.unwrap();
    aws.secrets.lag_pending(2);
    let get = || client.get_secret_value().secret_id("app").version_stage("AWSPENDING");
    client.get_secret_value().secret_id("app").send().await.unwrap();
    assert_eq!(refusal(get().send().await).0, "ResourceNotFoundException");
    assert_eq!(refusal(get().version_id(TOKEN).send().await).0, "ResourceNotFoundException");
    assert_eq!(get().send().await.unwrap().secret_string(), Some("new"));
}

#[tokio::test]
async fn a_replica_is_behind_after_each_change_until_it_was_seen_often_enough() {
    let (aws, client) = stack().await;
    let described = || async { client.describe_secret().secret_id("app").send().await.unwrap() };
    let plain = described().await;
    assert!(plain.primary_region().is_none() && plain.replication_status.is_none());
    aws.secrets.replicate("app", "us-east-1", 2).unwrap();
    let put = client.put_secret_value().secret_id("app").client_request_token(TOKEN).secret_string("new");
    put.send().await.unwrap();
    for expected in ["InProgress", "InProgress", "InSync", "InSync"] {
        let found = described().await;
        let replica = &found.replication_status()[0];
        assert_eq!((found.primary_region(), replica.region()), (Some("eu-west-1"), Some("us-east-1")));
        assert_eq!(replica.status().unwrap().as_str(), expected);
        assert!(replica.status_message().is_none());
    }
    aws.secrets.fail_replica("app", "us-east-1", Some("no key")).unwrap();
    let found = described().await;
    assert_eq!(found.replication_status()[0].status_message(), Some("no key"));
    let deleted = refusal(client.delete_secret().secret_id("app").send().await);
    assert!(deleted.1.contains("still has replica regions [us-east-1]"), "{}", deleted.1);
}

#[tokio::test]
async fn a_replica_can_be_read_and_not_changed() {
    let (aws, client) = stack().await;
    aws.secrets.make_replica_of("app", "us-east-1").unwrap();
    client.get_secret_value().secret_id("app").send().await.unwrap();
    let put = client.put_secret_value().secret_id("app").client_request_token(TOKEN).secret_string("new");
    let refused = refusal(put.send().await);
    assert_eq!(refused.0, "InvalidParameterException");
    assert!(refused.1.contains("replica secret"), "{}", refused.1);
    let rotated = refusal(client.rotate_secret().secret_id("app").send().await);
    assert_eq!(rotated.0, "InvalidParameterException");
}
