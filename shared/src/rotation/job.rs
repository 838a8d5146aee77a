//! What one invocation is about.

use crate::codes::Code;
use crate::secrets::{Description, Replica, Stored};
use crate::settings::DeclaredSetting;
use crate::{Deadline, Error};
use chrono::{DateTime, Utc};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// What one invocation is about.
#[derive(Clone, Debug)]
pub struct Job {
    /// The full ARN of the secret being rotated.
    pub secret_arn: String,
    pub tags: HashMap<String, String>,
    /// Every how many days it is rotated, where its schedule says so.
    pub period_days: Option<i64>,
    /// Its copies in other regions, as they were when it was described.
    pub replicas: Vec<Replica>,
    /// When the schedule has the next rotation.
    pub next_rotation: Option<DateTime<Utc>>,
    /// A pending value is stored, so what createSecret refuses was looked at, and its password may be in force.
    pub has_begun: bool,
    /// When the invocation has to be over.
    pub deadline: Deadline,
    /// The value of [`Target::only_admin`](super::Target::only_admin), where it was there to be read in advance.
    pub admin: Option<Stored>,
    overrides: Rc<RefCell<BTreeSet<&'static str>>>,
    warnings: Rc<RefCell<Vec<String>>>,
}

impl Job {
    pub fn of(
        secret_arn: impl Into<String>,
        tags: impl IntoIterator<Item = (String, String)>,
        deadline: Deadline,
    ) -> Self {
        let tags = tags.into_iter().collect();
        Self {
            secret_arn: secret_arn.into(),
            tags,
            period_days: None,
            replicas: Vec::new(),
            next_rotation: None,
            has_begun: false,
            deadline,
            admin: None,
            overrides: Rc::default(),
            warnings: Rc::default(),
        }
    }

    /// The job of a described secret.
    #[must_use]
    pub fn of_described(secret: Description, deadline: Deadline) -> Self {
        Self {
            period_days: secret.period_days,
            replicas: secret.replicas,
            next_rotation: secret.next_rotation,
            ..Self::of(secret.arn, secret.tags, deadline)
        }
    }

    /// The same, to be over by then; what is noted in it is noted in this one, too.
    #[must_use]
    pub fn until(&self, deadline: Deadline) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same of a rotation that has stored its pending value.
    #[must_use]
    pub fn begun(mut self) -> Self {
        self.has_begun = true;
        self
    }

    /// Logs something that does not stop the step, but that an operator should know, and keeps it for the report.
    pub fn warn(&self, warning: &Error) {
        let told = format!("{}: {}", warning.code(), warning.message());
        if !self.warnings.borrow().contains(&told) {
            tracing::warn!(code = warning.code(), remedy = warning.remedy(), "{}", warning.message());
            self.warnings.borrow_mut().push(told);
        }
    }

    /// What was warned of so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }

    /// The value of a declared tag; one that is empty counts as not there.
    pub fn tag(&self, tag: impl DeclaredSetting) -> Option<&str> {
        self.tags.get(tag.name()).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A declared tag has a value that cannot be used: `why` completes "The tag ... is".
    pub fn bad_tag(&self, tag: impl DeclaredSetting, why: &str) -> Error {
        let (arn, tag, example) = (&self.secret_arn, tag.name(), tag.example());
        Error::new(
            Code::TagInvalid,
            format!("The tag {tag} of {arn} is {why}."),
            format!("aws secretsmanager tag-resource --secret-id {arn} --tags \"Key={tag},Value={example}\""),
        )
    }

    /// A guard would have refused this, had the operator not set `setting`. The audit line names it.
    pub fn overridden(&self, setting: impl DeclaredSetting) {
        self.overrides.borrow_mut().insert(setting.name());
    }

    /// The settings that allowed something so far.
    #[must_use]
    pub fn overrides(&self) -> Vec<&'static str> {
        self.overrides.borrow().iter().copied().collect()
    }
}
