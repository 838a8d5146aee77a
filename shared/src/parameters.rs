//! SSM Parameter Store: configuration documents and small state.

use crate::aws_call::{Call, Failed, within};
use crate::failure::retry;
use crate::{Deadline, Error, Result};
use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{ParameterTier, ParameterType};
use aws_smithy_types::retry::RetryConfig;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A parameter as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    /// The text; of an encrypted parameter, what it is encrypted to.
    pub value: String,
    /// Counts its writes, whoever made them.
    pub version: i64,
    /// When it was written last.
    pub modified: Option<DateTime<Utc>>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `String` or `StringList`.
    Text,
    /// `SecureString`. Nothing is decrypted here: one key that the role may not use would fail a whole page of parameters.
    Encrypted,
}

/// Parameters that are asked for at a time.
const AT_ONCE: usize = 10;
/// How long a write, or a page of a list, is repeated: longer than the 8 s after which the SDK gives up a try that hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// No parameter holds more bytes than this.
pub const LONGEST: usize = 8_192;
const NOT_FOUND: &str = "ParameterNotFound";

/// Why a parameter was not stored.
#[derive(Debug)]
pub struct NotStored {
    pub error: Error,
    /// A try was not answered: it may be stored nevertheless.
    pub is_unclear: bool,
}

impl From<NotStored> for Error {
    fn from(not_stored: NotStored) -> Self {
        not_stored.error
    }
}

/// Parameter Store, through the AWS SDK, whose standard retries run within each call's deadline.
#[derive(Clone, Debug)]
pub struct Parameters {
    client: Client,
}

impl Parameters {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The parameter of this name, if there is one.
    ///
    /// # Errors
    /// The `AWS_*` codes.
    pub async fn get(&self, name: &str, deadline: Deadline) -> Result<Option<Parameter>> {
        let call = self.client.get_parameter().name(name).with_decryption(false).send();
        match Box::pin(within(deadline, call)).await {
            Ok(answer) => Ok(answer.parameter.and_then(read)),
            Err(e) if e.code() == Some(NOT_FOUND) => Ok(None),
            Err(e) => Err(e.explain(&Call::parameter_store("GetParameter", name))),
        }
    }

    /// The parameters of these names: each with what [`Parameters::get`] says of it.
    pub async fn get_many(
        &self,
        names: BTreeSet<String>,
        deadline: Deadline,
    ) -> BTreeMap<String, Result<Option<Parameter>>> {
        let ask = async |name: String| {
            let found = self.get(&name, deadline).await;
            (name, found)
        };
        stream::iter(names).map(ask).buffer_unordered(AT_ONCE).collect().await
    }

    /// Every parameter directly below `path`, all pages of them.
    ///
    /// # Errors
    /// The `AWS_*` codes.
    pub async fn below(&self, path: &str, deadline: Deadline) -> Result<Vec<Parameter>> {
        self.list(path, false, deadline).await
    }

    /// Every parameter below `path`, at any depth.
    ///
    /// # Errors
    /// The `AWS_*` codes.
    pub async fn anywhere_below(&self, path: &str, deadline: Deadline) -> Result<Vec<Parameter>> {
        self.list(path, true, deadline).await
    }

    async fn list(&self, path: &str, recursive: bool, deadline: Deadline) -> Result<Vec<Parameter>> {
        let mut found = Vec::new();
        let mut page = None;
        loop {
            let call = self.client.get_parameters_by_path().path(path).recursive(recursive).with_decryption(false);
            let call = call.set_next_token(page);
            // Boxed: the SDK's futures are large, and everything that waits for one holds it.
            let attempt = async |deadline| Box::pin(within(deadline, call.clone().send())).await;
            let answer = retry(deadline, PATIENCE, Failed::passes, attempt)
                .await
                .map_err(|e| e.explain(&Call::parameter_store("GetParametersByPath", path)))?;
            let parameters = answer.parameters.unwrap_or_default();
            found.extend(parameters.into_iter().filter_map(read));
            page = answer.next_token.filter(|token| !token.is_empty());
            if page.is_none() {
                return Ok(found);
            }
        }
    }

    /// A parameter's versions that are kept, each with its value, the earliest first: Parameter Store keeps a hundred. None where
    /// there is no such parameter.
    ///
    /// # Errors
    /// The `AWS_*` codes.
    pub async fn history(&self, name: &str, deadline: Deadline) -> Result<Vec<(i64, String)>> {
        let mut versions = Vec::new();
        let mut page = None;
        loop {
            let call = self.client.get_parameter_history().name(name).set_next_token(page).send();
            let answer = match Box::pin(within(deadline, call)).await {
                Ok(answer) => answer,
                Err(e) if e.code() == Some(NOT_FOUND) => return Ok(Vec::new()),
                Err(e) => return Err(e.explain(&Call::parameter_store("GetParameterHistory", name))),
            };
            let parameters = answer.parameters.unwrap_or_default();
            versions.extend(parameters.into_iter().filter_map(|version| Some((version.version, version.value?))));
            page = answer.next_token.filter(|token| !token.is_empty());
            if page.is_none() {
                break;
            }
        }
        versions.sort_by_key(|(version, _)| *version);
        Ok(versions)
    }

    /// Stores a parameter, whether it exists or not, and gives back its version.
    ///
    /// Safe to repeat: the same value again changes nothing but the version number.
    ///
    /// # Errors
    /// The `AWS_*` codes, and whether the parameter may be stored nevertheless.
    pub async fn put(&self, name: &str, value: &str, deadline: Deadline) -> std::result::Result<i64, NotStored> {
        // Parameter Store takes three writes a second by default ("AWS Systems Manager endpoints and quotas"). The SDK's own
        // retries have one budget for all calls of a client, and a queue of writes would use it up.
        let once = aws_sdk_ssm::config::Builder::new().retry_config(RetryConfig::disabled());
        let is_unclear = Cell::new(false);
        let attempt = async |deadline| {
            let call = self
                .client
                .put_parameter()
                .name(name)
                .value(value)
                .r#type(ParameterType::String)
                // Up to 4 KB for nothing, 8 KB for something; a parameter that was large once cannot be put back by name.
                .tier(ParameterTier::IntelligentTiering)
                .overwrite(true)
                .customize()
                .config_override(once.clone())
                .send();
            let stored = Box::pin(within(deadline, call)).await;
            stored.inspect_err(|e| is_unclear.set(is_unclear.get() || e.is_unclear()))
        };
        match retry(deadline, PATIENCE, Failed::passes, attempt).await {
            Ok(stored) => Ok(stored.version),
            Err(e) => {
                let error = e.explain(&Call::parameter_store("PutParameter", name));
                Err(NotStored { error, is_unclear: is_unclear.get() })
            }
        }
    }

    /// Deletes a parameter, whether it exists or not.
    ///
    /// Safe to repeat.
    ///
    /// # Errors
    /// The `AWS_*` codes.
    pub async fn delete(&self, name: &str, deadline: Deadline) -> Result<()> {
        let call = self.client.delete_parameter().name(name).send();
        match Box::pin(within(deadline, call)).await {
            Ok(_) => Ok(()),
            Err(e) if e.code() == Some(NOT_FOUND) => Ok(()),
            Err(e) => Err(e.explain(&Call::parameter_store("DeleteParameter", name))),
        }
    }
}

fn read(parameter: aws_sdk_ssm::types::Parameter) -> Option<Parameter> {
    let encrypted = parameter.r#type == Some(ParameterType::SecureString);
    let kind = if encrypted { Kind::Encrypted } else { Kind::Text };
    let modified = parameter.last_modified_date.and_then(|at| DateTime::from_timestamp(at.secs(), 0));
    Some(Parameter { name: parameter.name?, value: parameter.value?, version: parameter.version, modified, kind })
}
