//! What one invocation is about.

use crate::codes::Code;
use crate::secrets::Stored;
use crate::settings::DeclaredSetting;
use crate::{Deadline, Error};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

/// What one invocation is about.
#[derive(Debug)]
pub struct Job {
    /// The full ARN of the secret being rotated.
    pub secret_arn: String,
    pub tags: HashMap<String, String>,
    /// When the invocation has to be over.
    pub deadline: Deadline,
    /// The value of [`Target::only_admin`](super::Target::only_admin), where it was there to be read in advance.
    pub admin: Option<Stored>,
    overrides: RefCell<BTreeSet<&'static str>>,
}

impl Job {
    pub fn of(
        secret_arn: impl Into<String>,
        tags: impl IntoIterator<Item = (String, String)>,
        deadline: Deadline,
    ) -> Self {
        let tags = tags.into_iter().collect();
        Self { secret_arn: secret_arn.into(), tags, deadline, admin: None, overrides: RefCell::default() }
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
