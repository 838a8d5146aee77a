//! The actions of Secrets Manager's API: what each one takes, refuses, does and answers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::state::{CURRENT, PENDING, Rotation, RotationRules, Secret, SecretValue, State, check_token, token_in_use};
use super::{SecretsManager, new_suffix};
use crate::aws_json::{Failure, REGION, Request, epoch_seconds};

/// Who asks: reads lag behind writes for the function alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Function,
    Client,
}

type Reply = Result<Value, Failure>;

impl SecretsManager {
    pub(crate) fn answer(&self, request: Request, asker: Asker) -> Reply {
        let state = &mut *self.state();
        match request.action.as_str() {
            "CreateSecret" => create(state, request.fields()?),
            "DescribeSecret" => Ok(describe(state.find(&request.fields::<DescribeSecret>()?.secret_id)?)),
            "GetSecretValue" => get_value(state, &request.fields()?, asker),
            "PutSecretValue" => put_value(state, request.fields()?),
            "UpdateSecretVersionStage" => update_stage(state, &request.fields()?),
            "RotateSecret" => self.rotate_in_background(state, request.fields()?),
            "CancelRotateSecret" => cancel(state, &request.fields()?),
            "TagResource" => tag(state, request.fields()?),
            "UntagResource" => untag(state, &request.fields()?),
            "DeleteSecret" => delete(state, &request.fields()?),
            _ => Err(request.unknown_action()),
        }
    }

    /// A request's name in the fault plan: action, secret, label.
    pub(crate) fn call_name(&self, request: &Request) -> String {
        let field = |name: &str| request.body[name].as_str();
        let id = field("SecretId").or(field("Name")).unwrap_or_default();
        let name = self.state().find(id).map_or_else(|_| id.to_owned(), |secret| secret.name.clone());
        let label = match (request.action.as_str(), field("VersionStage"), request.body["VersionStages"].as_array()) {
            (_, Some(stage), _) => stage.to_owned(),
            (_, None, Some(stages)) => stages.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("+"),
            ("GetSecretValue", None, None) if field("VersionId").is_some() => "by id".to_owned(),
            ("GetSecretValue" | "PutSecretValue", None, None) => CURRENT.to_owned(),
            _ => String::new(),
        };
        format!("{} {name} {label}", request.action).trim_end().to_owned()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

fn by_key(tags: Vec<Tag>) -> BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

/// `SecretString` or `SecretBinary`: one of them, when there has to be one.
fn one_value(text: Option<String>, binary: Option<String>) -> Result<Option<SecretValue>, Failure> {
    match (text, binary) {
        (Some(_), Some(_)) => {
            let message = "You can't specify both a binary secret value and a string secret value in the same secret.";
            Err(Failure::new("InvalidParameterException", message))
        }
        (Some(text), None) => Ok(Some(SecretValue::Text(text))),
        (None, Some(binary)) => Ok(Some(SecretValue::Binary(binary))),
        (None, None) => Ok(None),
    }
}

fn token_or_refuse(token: Option<String>) -> Result<String, Failure> {
    let token = token.ok_or_else(|| {
        let message = "You must provide a ClientRequestToken value. We recommend a UUID-type value.";
        Failure::new("InvalidRequestException", message)
    })?;
    check_token(&token)?;
    Ok(token)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CreateSecret {
    name: String,
    client_request_token: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

fn create(state: &mut State, request: CreateSecret) -> Reply {
    if state.secrets.iter().any(|secret| secret.name == request.name) {
        let message = format!("The operation failed because the secret {} already exists.", request.name);
        return Err(Failure::new("ResourceExistsException", message));
    }
    let mut secret = Secret::new(&request.name, &new_suffix());
    secret.description = request.description;
    secret.kms_key = request.kms_key_id;
    secret.tags = by_key(request.tags);
    let mut reply = json!({"ARN": secret.arn, "Name": secret.name});
    if let Some(value) = one_value(request.secret_string, request.secret_binary)? {
        let token = token_or_refuse(request.client_request_token)?;
        secret.add_version(&token, Some(value));
        secret.attach(CURRENT, &token);
        reply["VersionId"] = json!(token);
    }
    state.secrets.push(secret);
    Ok(reply)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DescribeSecret {
    secret_id: String,
}

/// Fields that were never set are absent, as in the real reply: `RotationEnabled` too.
fn describe(secret: &mut Secret) -> Value {
    let stages: Map<String, Value> = secret
        .versions
        .iter()
        .filter(|version| !version.stages.is_empty())
        .map(|version| (version.id.clone(), json!(version.stages)))
        .collect();
    let tags: Vec<Value> = secret.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    let replicas: Vec<Value> =
        secret.replicas.iter_mut().map(|replica| without_nulls(json!(replica.described()))).collect();
    let rotation = secret.rotation.as_ref();
    let days = rotation
        .filter(|rotation| rotation.enabled)
        .and_then(|rotation| rotation.rules.as_ref()?.automatically_after_days);
    let next_rotation = days.map(|days| secret.rotated.unwrap_or(secret.created) + 86_400.0 * f64::from(days));
    let reply = json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "Description": secret.description,
        "KmsKeyId": secret.kms_key,
        "RotationEnabled": rotation.map(|rotation| rotation.enabled),
        "RotationLambdaARN": rotation.map(|rotation| &rotation.lambda_arn),
        "RotationRules": rotation.and_then(|rotation| rotation.rules.as_ref()),
        "CreatedDate": secret.created,
        "LastChangedDate": secret.changed,
        "LastRotatedDate": secret.rotated,
        "NextRotationDate": next_rotation,
        "DeletedDate": secret.deleted,
        "Tags": tags,
        "VersionIdsToStages": stages,
        "PrimaryRegion": secret.primary_region.as_deref().or((!replicas.is_empty()).then_some(REGION)),
        "ReplicationStatus": (!replicas.is_empty()).then_some(replicas),
    });
    without_nulls(reply)
}

fn without_nulls(mut reply: Value) -> Value {
    if let Some(fields) = reply.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    reply
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetSecretValue {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

fn get_value(state: &mut State, request: &GetSecretValue, asker: Asker) -> Reply {
    let lagging = asker == Asker::Function && state.lag_pending > 0;
    let arn = state.live(&request.secret_id)?.arn.clone();
    let is_its = |(of, _): &mut (String, String)| asker == Asker::Function && *of == arn;
    let before = state.stale.take_if(is_its).map(|(_, text)| text);
    let secret = state.live(&request.secret_id)?;
    let (found, what) = match (&request.version_id, &request.version_stage) {
        (Some(id), label) => {
            let found = secret.version(id);
            if let (Some(version), Some(label)) = (found, label)
                && !version.stages.contains(label)
            {
                let message = "You provided a VersionStage that is not associated to the provided VersionId.";
                return Err(Failure::new("InvalidRequestException", message));
            }
            (found, format!("VersionId: {id}"))
        }
        (None, label) => {
            let label = label.as_deref().unwrap_or(CURRENT);
            (secret.labelled(label), format!("staging label: {label}"))
        }
    };
    let missing = || {
        let message = format!("Secrets Manager can't find the specified secret value for {what}");
        Failure::new("ResourceNotFoundException", message)
    };
    let (version, value) = found.and_then(|version| Some((version, version.value.as_ref()?))).ok_or_else(missing)?;
    if lagging && secret.unfinished().is_some_and(|pending| pending.id == version.id) {
        state.lag_pending -= 1;
        return Err(missing());
    }
    let (text, binary) = match value {
        SecretValue::Text(text) => (Some(before.as_ref().unwrap_or(text)), None),
        SecretValue::Binary(binary) => (None, Some(binary)),
    };
    Ok(without_nulls(json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": version.id,
        "VersionStages": version.stages,
        "CreatedDate": version.created,
        "SecretString": text,
        "SecretBinary": binary,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PutSecretValue {
    secret_id: String,
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    version_stages: Option<Vec<String>>,
    rotation_token: Option<String>,
}

fn put_value(state: &mut State, request: PutSecretValue) -> Reply {
    let secret = state.primary(&request.secret_id)?;
    let value = one_value(request.secret_string, request.secret_binary)?.ok_or_else(|| {
        Failure::new("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
    })?;
    let token = token_or_refuse(request.client_request_token)?;
    let stages = request.version_stages.unwrap_or_else(|| vec![CURRENT.to_owned()]);
    if stages.is_empty() || stages.len() > 20 {
        return Err(Failure::violation("ValidationException", "VersionStages takes 1 to 20 labels."));
    }
    check_rotation_token(secret, &token, request.rotation_token.as_deref())?;
    let existing = secret.versions.iter_mut().find(|version| version.id == token).map(|version| &mut version.value);
    let filled = match existing {
        Some(Some(old)) if *old != value => return Err(token_in_use(&token, &secret.arn)),
        Some(Some(_)) => false, // the same once more: nothing changes, labels included
        Some(empty) => {
            *empty = Some(value);
            true
        }
        None => {
            secret.add_version(&token, Some(value));
            true
        }
    };
    for stage in stages.iter().filter(|_| filled) {
        secret.attach(stage, &token);
    }
    let stages = secret.version(&token).map(|version| &version.stages);
    Ok(json!({"ARN": secret.arn, "Name": secret.name, "VersionId": token, "VersionStages": stages}))
}

/// The token shows that a put comes from the rotation; only a put to the pending version has to.
fn check_rotation_token(secret: &Secret, version: &str, given: Option<&str>) -> Result<(), Failure> {
    if given.is_some_and(|token| !(36..=256).contains(&token.len())) {
        return Err(Failure::violation("ValidationException", "RotationToken must be 36-256 characters long."));
    }
    let pending = secret.labelled(PENDING).is_some_and(|pending| pending.id == version);
    match &secret.rotation_token {
        Some(expected) if pending && given != Some(expected.as_str()) => {
            Err(Failure::new("InvalidRequestException", "The RotationToken is missing or is not this rotation's."))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct UpdateSecretVersionStage {
    secret_id: String,
    version_stage: String,
    move_to_version_id: Option<String>,
    remove_from_version_id: Option<String>,
}

fn update_stage(state: &mut State, request: &UpdateSecretVersionStage) -> Reply {
    let secret = state.primary(&request.secret_id)?;
    let label = &request.version_stage;
    let named = [&request.move_to_version_id, &request.remove_from_version_id];
    if let Some(unknown) = named.into_iter().flatten().find(|id| secret.version(id).is_none()) {
        let message = format!("Secrets Manager can't find the specified secret version: {unknown}");
        return Err(Failure::new("ResourceNotFoundException", message));
    }
    let holder = secret.labelled(label).map(|version| version.id.clone());
    check_removal(label, holder.as_deref(), request)?;
    match &request.move_to_version_id {
        Some(id) if label == CURRENT && secret.version(id).is_some_and(|version| version.value.is_none()) => {
            let message = format!("You can't move staging label {CURRENT} to version {id}: it has no secret value.");
            return Err(Failure::new("InvalidRequestException", message));
        }
        Some(id) => secret.attach(label, id),
        None if label == CURRENT => {
            let message = "You can only move staging label AWSCURRENT to a different secret version. It can’t be \
                           completely removed.";
            return Err(Failure::new("InvalidParameterException", message));
        }
        None => secret.detach(label),
    }
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

/// The compare of compare-and-swap: `RemoveFromVersionId` must name the version that has the label.
fn check_removal(stage: &str, holder: Option<&str>, request: &UpdateSecretVersionStage) -> Result<(), Failure> {
    let moves_away = holder.is_some() && holder != request.move_to_version_id.as_deref();
    match (&request.remove_from_version_id, holder) {
        (None, Some(holder)) if moves_away => {
            let message = format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to \
                 version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
            );
            Err(Failure::new("InvalidParameterException", message))
        }
        (Some(from), holder) if holder != Some(from.as_str()) => {
            let message =
                format!("Staging label {stage} is not attached to version {from}, named in RemoveFromVersionId.");
            Err(Failure::new("InvalidParameterException", message))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RotateSecret {
    pub(super) secret_id: String,
    pub(super) client_request_token: Option<String>,
    #[serde(rename = "RotationLambdaARN")]
    lambda_arn: Option<String>,
    rotation_rules: Option<RotationRules>,
    rotate_immediately: Option<bool>,
}

impl SecretsManager {
    /// Answers at once; the rotation goes on by itself. One that did not finish is taken up again, and a new one refused.
    fn rotate_in_background(&self, state: &mut State, request: RotateSecret) -> Reply {
        let token = token_or_refuse(request.client_request_token)?;
        configure(state, &request.secret_id, request.lambda_arn, request.rotation_rules)?;
        let plan = state.begin_rotation(&request.secret_id, &token, request.rotate_immediately.unwrap_or(true))?;
        let secret = state.live(&request.secret_id)?;
        let reply = json!({"ARN": secret.arn, "Name": secret.name, "VersionId": token});
        let reattempted = plan.reattempted;
        self.drive_in_background(plan);
        if reattempted {
            return Err(super::rotate::incomplete());
        }
        Ok(reply)
    }
}

fn configure(
    state: &mut State,
    secret: &str,
    lambda: Option<String>,
    rules: Option<RotationRules>,
) -> Result<(), Failure> {
    let known = lambda.as_ref().is_none_or(|arn| state.functions.contains_key(arn));
    let secret = state.primary(secret)?;
    if !known {
        let message = "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy \
                       grants access to the principal secretsmanager.amazonaws.com.";
        return Err(Failure::new("AccessDeniedException", message));
    }
    let old = secret.rotation.take();
    let (old_arn, old_rules) = old.map_or((None, None), |old| (Some(old.lambda_arn), old.rules));
    let Some(lambda_arn) = lambda.or(old_arn) else {
        let message = "No Lambda rotation function ARN is associated with this secret.";
        return Err(Failure::new("InvalidRequestException", message));
    };
    secret.rotation = Some(Rotation { enabled: true, lambda_arn, rules: rules.or(old_rules) });
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct TagResource {
    secret_id: String,
    tags: Vec<Tag>,
}

fn tag(state: &mut State, request: TagResource) -> Reply {
    state.primary(&request.secret_id)?.tags.extend(by_key(request.tags));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct UntagResource {
    secret_id: String,
    tag_keys: Vec<String>,
}

fn untag(state: &mut State, request: &UntagResource) -> Reply {
    state.primary(&request.secret_id)?.tags.retain(|key, _| !request.tag_keys.contains(key));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DeleteSecret {
    secret_id: String,
    recovery_window_in_days: Option<u32>,
    force_delete_without_recovery: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CancelRotateSecret {
    secret_id: String,
}

/// The function stays attached, and is called no more.
fn cancel(state: &mut State, request: &CancelRotateSecret) -> Reply {
    let secret = state.live(&request.secret_id)?;
    if let Some(rotation) = &mut secret.rotation {
        rotation.enabled = false;
    }
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

fn delete(state: &mut State, request: &DeleteSecret) -> Reply {
    let forced = request.force_delete_without_recovery.unwrap_or(false);
    let days = request.recovery_window_in_days;
    if (forced && days.is_some()) || days.is_some_and(|days| !(7..=30).contains(&days)) {
        let message = "RecoveryWindowInDays is 7 to 30, and not together with ForceDeleteWithoutRecovery.";
        return Err(Failure::new("InvalidParameterException", message));
    }
    let secret = state.primary(&request.secret_id)?;
    if !secret.replicas.is_empty() {
        let regions: Vec<&str> = secret.replicas.iter().map(|replica| replica.region.as_str()).collect();
        let message =
            format!("You can't delete secret {} that still has replica regions [{}].", secret.arn, regions.join(", "));
        return Err(Failure::new("InvalidParameterException", message));
    }
    let date = epoch_seconds() + if forced { 0.0 } else { 86_400.0 * f64::from(days.unwrap_or(30)) };
    secret.deleted = Some(date);
    let reply = json!({"ARN": secret.arn, "Name": secret.name, "DeletionDate": date});
    if forced {
        let arn = secret.arn.clone();
        state.secrets.retain(|secret| secret.arn != arn);
    }
    Ok(reply)
}
