//! What Secrets Manager remembers, and the rules by which labels move.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::aws_json::{ACCOUNT, Failure, REGION, epoch_seconds};

pub(super) const CURRENT: &str = "AWSCURRENT";
pub(super) const PENDING: &str = "AWSPENDING";
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret's value in one version.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum SecretValue {
    Text(String),
    /// As it is on the wire: base64.
    Binary(String),
}

#[derive(Clone)]
pub(super) struct Version {
    pub(super) id: String,
    /// None between the staging of a rotation and the function's `PutSecretValue`.
    pub(super) value: Option<SecretValue>,
    pub(super) stages: BTreeSet<String>,
    pub(super) created: f64,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RotationRules {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) automatically_after_days: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schedule_expression: Option<String>,
}

#[derive(Clone)]
pub(super) struct Rotation {
    pub(super) enabled: bool,
    pub(super) lambda_arn: String,
    pub(super) rules: Option<RotationRules>,
}

pub(super) struct Secret {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    pub(super) kms_key: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) versions: Vec<Version>,
    pub(super) rotation: Option<Rotation>,
    /// The function acts through a role of the secret's account and has to show the event's `RotationToken`.
    pub(super) rotation_token: Option<String>,
    /// A rotation is being driven right now.
    pub(super) rotating: bool,
    pub(super) created: f64,
    pub(super) changed: f64,
    pub(super) rotated: Option<f64>,
    pub(super) deleted: Option<f64>,
    pub(super) replicas: Vec<Replica>,
    /// Of a replica: where its primary is.
    pub(super) primary_region: Option<String>,
}

/// A copy in another region, as `DescribeSecret` lists it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Replica {
    pub(super) region: String,
    pub(super) status: &'static str,
    pub(super) status_message: Option<String>,
    /// How many more descriptions find a copy under way, after each change.
    #[serde(skip)]
    pub(super) lag: usize,
    #[serde(skip)]
    pub(super) behind: usize,
}

impl Replica {
    pub(super) const IN_SYNC: &'static str = "InSync";
    pub(super) const FAILED: &'static str = "Failed";
    const IN_PROGRESS: &'static str = "InProgress";

    /// The secret has changed.
    fn falls_behind(&mut self) {
        if self.status != Self::FAILED && self.lag > 0 {
            (self.status, self.behind) = (Self::IN_PROGRESS, self.lag);
        }
    }

    /// The replica as it is found now; a copy under way has come further afterwards.
    pub(super) fn described(&mut self) -> Self {
        let found = self.clone();
        self.behind = self.behind.saturating_sub(1);
        if self.status == Self::IN_PROGRESS && self.behind == 0 {
            self.status = Self::IN_SYNC;
        }
        found
    }
}

impl Secret {
    pub(super) fn new(name: &str, suffix: &str) -> Self {
        let now = epoch_seconds();
        Self {
            name: name.to_owned(),
            arn: format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{suffix}"),
            description: None,
            kms_key: None,
            tags: BTreeMap::new(),
            versions: Vec::new(),
            rotation: None,
            rotation_token: None,
            rotating: false,
            created: now,
            changed: now,
            rotated: None,
            deleted: None,
            replicas: Vec::new(),
            primary_region: None,
        }
    }

    fn answers_to(&self, id: &str) -> bool {
        let partial_arn = self.arn.rsplit_once('-').map(|(arn, _)| arn);
        id == self.name || id == self.arn || Some(id) == partial_arn
    }

    pub(super) fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    pub(super) fn labelled(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.stages.contains(stage))
    }

    /// The version of a rotation that began and did not finish.
    pub(super) fn unfinished(&self) -> Option<&Version> {
        self.labelled(PENDING).filter(|version| !version.stages.contains(CURRENT))
    }

    pub(super) fn add_version(&mut self, id: &str, value: Option<SecretValue>) {
        let version = Version { id: id.to_owned(), value, stages: BTreeSet::new(), created: epoch_seconds() };
        self.versions.push(version);
        self.touch();
    }

    fn touch(&mut self) {
        self.changed = epoch_seconds();
        self.replicas.iter_mut().for_each(Replica::falls_behind);
    }

    /// Takes a label off whatever version has it.
    pub(super) fn detach(&mut self, stage: &str) {
        for version in &mut self.versions {
            version.stages.remove(stage);
        }
    }

    /// Moves a label. AWSCURRENT leaves AWSPREVIOUS on the version it comes from.
    pub(super) fn attach(&mut self, stage: &str, id: &str) {
        let from = self.labelled(stage).map(|version| version.id.clone());
        if from.as_deref() == Some(id) {
            return;
        }
        self.detach(stage);
        if let Some(version) = self.versions.iter_mut().find(|version| version.id == id) {
            version.stages.insert(stage.to_owned());
        }
        if let Some(from) = from.filter(|_| stage == CURRENT) {
            self.attach(PREVIOUS, &from);
        }
        self.touch();
    }

    /// Stages a new version as a rotation begins: AWSPENDING, on a version that has no value unless one is given.
    pub(super) fn stage_pending(&mut self, token: &str, value: Option<SecretValue>) -> Result<(), Failure> {
        check_token(token)?;
        if self.version(token).is_some() {
            return Err(token_in_use(token, &self.arn));
        }
        self.add_version(token, value);
        self.attach(PENDING, token);
        Ok(())
    }
}

pub(super) fn check_token(token: &str) -> Result<(), Failure> {
    if (32..=64).contains(&token.len()) {
        return Ok(());
    }
    Err(Failure::new("InvalidParameterException", "ClientRequestToken must be 32-64 characters long."))
}

pub(super) fn token_in_use(token: &str, arn: &str) -> Failure {
    let message = format!(
        "You can't use ClientRequestToken {token} because that value is already in use for a version of secret {arn}."
    );
    Failure::new("ResourceExistsException", message)
}

pub(super) struct State {
    pub(super) secrets: Vec<Secret>,
    /// Where the functions are that may be invoked: the invoke URL by the function's ARN.
    pub(super) functions: HashMap<String, String>,
    /// How many more reads of AWSPENDING come too early.
    pub(super) lag_pending: usize,
    /// The ARN of a secret, and what the function's next read of it gives.
    pub(super) stale: Option<(String, String)>,
    /// How often a rotation is tried as a whole.
    pub(super) attempts: usize,
}

impl State {
    /// A secret by its name, its ARN, or its ARN without the random suffix, marked for deletion or not.
    pub(super) fn find(&mut self, id: &str) -> Result<&mut Secret, Failure> {
        self.secrets.iter_mut().find(|secret| secret.answers_to(id)).ok_or_else(|| {
            Failure::new("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        })
    }

    /// The same, but one that may be changed: not marked for deletion, and no replica.
    pub(super) fn primary(&mut self, id: &str) -> Result<&mut Secret, Failure> {
        let secret = self.live(id)?;
        if secret.primary_region.is_none() {
            return Ok(secret);
        }
        let message = "Operation not permitted on a replica secret. Call must be made in primary secret's region.";
        Err(Failure::new("InvalidParameterException", message))
    }

    /// The same, but not one that is marked for deletion.
    pub(super) fn live(&mut self, id: &str) -> Result<&mut Secret, Failure> {
        let secret = self.find(id)?;
        if secret.deleted.is_none() {
            return Ok(secret);
        }
        let message = "You can't perform this operation on the secret because it was marked for deletion.";
        Err(Failure::new("InvalidRequestException", message))
    }
}
