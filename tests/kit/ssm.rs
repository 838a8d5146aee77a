//! Systems Manager's Parameter Store: an emulator with state. It is served over HTTP by [`crate::aws::Aws`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::aws_json::{ACCOUNT, Failure, REGION, Request, epoch_seconds};

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
enum Kind {
    String,
    StringList,
    SecureString,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
enum Tier {
    Standard,
    Advanced,
    #[serde(rename = "Intelligent-Tiering")]
    Intelligent,
}

impl Tier {
    fn limit(self) -> usize {
        match self {
            Self::Standard => 4096,
            Self::Advanced | Self::Intelligent => 8192,
        }
    }
}

struct Parameter {
    value: String,
    kind: Kind,
    /// It is encrypted with a key that no caller may use.
    sealed: bool,
    version: u64,
    changed: f64,
    /// The values before, the oldest first; the vendor keeps a hundred versions.
    before: Vec<String>,
}

/// The token after an empty first page.
const BEGUN: &str = "begun";

type Parameters = BTreeMap<String, Parameter>;
type Reply = Result<Value, Failure>;

/// The calls of a kind in the last second, where they are limited.
#[derive(Default)]
struct Rate {
    most: Option<usize>,
    done: Vec<Instant>,
}

impl Rate {
    fn one_more(&mut self) -> Result<(), Failure> {
        let Some(most) = self.most else { return Ok(()) };
        self.done.retain(|done| done.elapsed() < Duration::from_secs(1));
        if self.done.len() >= most {
            return Err(Failure::new("ThrottlingException", "Rate exceeded"));
        }
        self.done.push(Instant::now());
        Ok(())
    }
}

fn rate(rate: &Mutex<Rate>) -> MutexGuard<'_, Rate> {
    rate.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle to the emulator. Clones are handles to the same one.
#[derive(Clone, Default)]
pub struct ParameterStore {
    parameters: Arc<Mutex<Parameters>>,
    writes: Arc<Mutex<Rate>>,
    reads: Arc<Mutex<Rate>>,
    /// Lists by path begin with an empty page.
    hesitates: Arc<AtomicBool>,
}

impl ParameterStore {
    fn parameters(&self) -> MutexGuard<'_, Parameters> {
        self.parameters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on takes so many writes a second. AWS takes three by default ("AWS Systems Manager endpoints and quotas").
    pub fn limit_writes(&self, most: usize) {
        rate(&self.writes).most = Some(most);
    }

    /// From now on gives so many pages of parameters a second. AWS gives forty by default (the same place).
    pub fn limit_reads(&self, most: usize) {
        rate(&self.reads).most = Some(most);
    }

    /// From now on the first page of every list by path is empty, and names a next one: AWS calls the number of parameters on a
    /// page a best effort ("`GetParametersByPath`").
    pub fn hesitate(&self) {
        self.hesitates.store(true, Ordering::Relaxed);
    }

    /// Sets a `String` parameter, whether it exists or not.
    pub fn put(&self, name: &str, value: &str) {
        store(&mut self.parameters(), name, value.to_owned(), Kind::String);
    }

    /// Sets a new `SecureString` parameter under a key that no caller may use.
    pub fn put_sealed(&self, name: &str, value: &str) {
        let mut parameters = self.parameters();
        parameters.remove(name);
        store(&mut parameters, name, value.to_owned(), Kind::SecureString);
        if let Some(parameter) = parameters.get_mut(name) {
            parameter.sealed = true;
        }
    }

    /// Sets when a parameter was written last.
    pub fn set_modified(&self, name: &str, at: DateTime<Utc>) {
        if let Some(parameter) = self.parameters().get_mut(name) {
            parameter.changed = (at - DateTime::UNIX_EPOCH).to_std().unwrap_or_default().as_secs_f64();
        }
    }

    /// A parameter's value, in clear.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        self.parameters().get(name).map(|parameter| parameter.value.clone())
    }

    /// How often a parameter was written.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<u64> {
        self.parameters().get(name).map(|parameter| parameter.version)
    }

    /// The names and values of all parameters below a path.
    #[must_use]
    pub fn below(&self, path: &str) -> Vec<(String, String)> {
        let path = format!("{path}/");
        let parameters = self.parameters();
        let below = parameters.iter().filter(|(name, _)| name.starts_with(&path));
        below.map(|(name, parameter)| (name.clone(), parameter.value.clone())).collect()
    }

    pub(crate) fn answer(&self, request: Request) -> Reply {
        let parameters = &mut *self.parameters();
        match request.action.as_str() {
            "GetParameter" => get(parameters, &request.fields()?),
            "GetParameters" => get_several(parameters, &request.fields()?),
            "GetParametersByPath" => {
                let mut by_path: GetParametersByPath = request.fields()?;
                rate(&self.reads).one_more()?;
                let is_begun = by_path.next_token.take_if(|token| token == BEGUN).is_some();
                if self.hesitates.load(Ordering::Relaxed) && !is_begun && by_path.next_token.is_none() {
                    return Ok(json!({"Parameters": [], "NextToken": BEGUN}));
                }
                get_by_path(parameters, &by_path)
            }
            "GetParameterHistory" => get_history(parameters, &request.fields()?),
            "PutParameter" => {
                let put_parameter = request.fields()?;
                rate(&self.writes).one_more()?;
                put(parameters, put_parameter)
            }
            "DeleteParameter" => delete(parameters, &request.fields()?),
            _ => Err(request.unknown_action()),
        }
    }

    /// A request's name in the fault plan: action and parameters.
    pub(crate) fn call_name(request: &Request) -> String {
        let names = request.body["Names"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect());
        let one = request.body["Name"].as_str().or(request.body["Path"].as_str()).unwrap_or_default();
        let names: Vec<&str> = names.unwrap_or_else(|| vec![one]);
        // The names of break-glass's logins are new each time.
        let names: Vec<&str> =
            names.into_iter().map(|name| name.split_once("/bg_").map_or(name, |(path, _)| path)).collect();
        format!("{} {}", request.action, names.join("+"))
    }
}

fn store(parameters: &mut Parameters, name: &str, value: String, kind: Kind) -> u64 {
    let old = parameters.remove(name);
    let (version, sealed) = old.as_ref().map_or((1, false), |old| (old.version + 1, old.sealed));
    let mut before = Vec::new();
    if let Some(old) = old {
        before = old.before;
        before.push(old.value);
        before.drain(..before.len().saturating_sub(99));
    }
    let changed = epoch_seconds();
    parameters.insert(name.to_owned(), Parameter { value, kind, sealed, version, changed, before });
    version
}

fn not_found() -> Failure {
    Failure::new("ParameterNotFound", "")
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new("ValidationException", message)
}

/// A parameter on the wire; a `SecureString` is shown in clear only to who asks for it and may use its key.
fn shown(name: &str, parameter: &Parameter, decrypted: Option<bool>) -> Reply {
    let hidden = parameter.kind == Kind::SecureString && decrypted != Some(true);
    if parameter.sealed && !hidden {
        let message = "The ciphertext refers to a customer master key that does not exist, does not exist in this \
                       region, or you are not allowed to access. (Service: AWSKMS)";
        return Err(Failure::new("AccessDeniedException", message));
    }
    Ok(json!({
        "ARN": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{}", name.trim_start_matches('/')),
        "Name": name,
        "Type": parameter.kind,
        "Value": if hidden { "AQICAHh-encrypted" } else { parameter.value.as_str() },
        "Version": parameter.version,
        "LastModifiedDate": parameter.changed,
        "DataType": "text",
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetParameter {
    name: String,
    with_decryption: Option<bool>,
}

fn get(parameters: &Parameters, request: &GetParameter) -> Reply {
    check_characters(&request.name)?;
    let parameter = parameters.get(&request.name).ok_or_else(not_found)?;
    Ok(json!({"Parameter": shown(&request.name, parameter, request.with_decryption)?}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetParameters {
    names: Vec<String>,
    with_decryption: Option<bool>,
}

fn get_several(parameters: &Parameters, request: &GetParameters) -> Reply {
    if !(1..=10).contains(&request.names.len()) {
        return Err(invalid("Names takes 1 to 10 names."));
    }
    let (known, unknown): (Vec<_>, Vec<_>) = request.names.iter().partition(|name| parameters.contains_key(*name));
    let known = known.into_iter().filter_map(|name| Some((name, parameters.get(name)?)));
    let found: Result<Vec<Value>, Failure> =
        known.map(|(name, parameter)| shown(name, parameter, request.with_decryption)).collect();
    let found = found?;
    Ok(json!({"Parameters": found, "InvalidParameters": unknown}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetParametersByPath {
    path: String,
    recursive: Option<bool>,
    with_decryption: Option<bool>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// The token of the next page is the last name of this one.
fn get_by_path(parameters: &Parameters, request: &GetParametersByPath) -> Reply {
    if !request.path.starts_with('/') {
        return Err(invalid("The parameter path must begin with a forward slash \"/\"."));
    }
    let size = request.max_results.unwrap_or(10);
    if !(1..=10).contains(&size) {
        return Err(invalid("MaxResults is 1 to 10."));
    }
    if request.next_token.as_ref().is_some_and(|token| !parameters.contains_key(token)) {
        return Err(Failure::new("InvalidNextToken", "The specified token isn't valid."));
    }
    let folder = format!("{}/", request.path.trim_end_matches('/'));
    let below = |name: &str| {
        let rest = name.strip_prefix(&folder);
        rest.is_some_and(|rest| request.recursive == Some(true) || !rest.contains('/'))
    };
    let after = |name: &String| request.next_token.as_ref().is_none_or(|token| name > token);
    let mut page: Vec<_> = parameters.iter().filter(|(name, _)| below(name) && after(name)).take(size + 1).collect();
    let more = page.len() > size;
    page.truncate(size);
    let found: Result<Vec<Value>, Failure> =
        page.iter().map(|(name, parameter)| shown(name, parameter, request.with_decryption)).collect();
    let mut reply = json!({"Parameters": found?});
    if let Some((name, _)) = page.last().filter(|_| more) {
        reply["NextToken"] = json!(name);
    }
    Ok(reply)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetParameterHistory {
    name: String,
    with_decryption: Option<bool>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// The oldest version first; the token of the next page is the number of versions before it.
fn get_history(parameters: &Parameters, request: &GetParameterHistory) -> Reply {
    let parameter = parameters.get(&request.name).ok_or_else(not_found)?;
    let size = request.max_results.unwrap_or(50);
    if !(1..=50).contains(&size) {
        return Err(invalid("MaxResults is 1 to 50."));
    }
    let bad_token = || Failure::new("InvalidNextToken", "The specified token isn't valid.");
    let from = request.next_token.as_ref().map_or(Ok(0), |token| token.parse::<usize>().map_err(|_| bad_token()))?;
    let values: Vec<&String> = parameter.before.iter().chain([&parameter.value]).collect();
    let first = parameter.version - (values.len() as u64 - 1);
    let hidden = parameter.kind == Kind::SecureString && request.with_decryption != Some(true);
    let version = |(number, value): (usize, &&String)| {
        json!({
            "Name": request.name, "Type": parameter.kind, "DataType": "text", "Version": first + number as u64,
            "Value": if hidden { "AQICAHh-encrypted" } else { value.as_str() }, "LastModifiedDate": parameter.changed,
        })
    };
    let found: Vec<Value> = values.iter().enumerate().skip(from).take(size).map(version).collect();
    let mut reply = json!({"Parameters": found});
    if from + size < values.len() {
        reply["NextToken"] = json!((from + size).to_string());
    }
    Ok(reply)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PutParameter {
    name: String,
    value: String,
    r#type: Option<Kind>,
    overwrite: Option<bool>,
    tier: Option<Tier>,
}

fn put(parameters: &mut Parameters, request: PutParameter) -> Reply {
    check_name(&request.name)?;
    let was_advanced = parameters.get(&request.name).is_some_and(|old| old.value.len() > Tier::Standard.limit());
    if was_advanced && request.tier == Some(Tier::Standard) {
        return Err(invalid(
            "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the \
             advanced-parameter tier to the standard-parameter tier.",
        ));
    }
    let tier = request.tier.unwrap_or(if was_advanced { Tier::Advanced } else { Tier::Standard });
    if request.value.is_empty() || request.value.len() > tier.limit() {
        return Err(invalid(format!(
            "{tier:?} tier parameters support a maximum parameter value of {} characters, and none is empty.",
            tier.limit()
        )));
    }
    let kind = match (parameters.get(&request.name), request.r#type) {
        (Some(_), _) if request.overwrite != Some(true) => {
            let message = "The parameter already exists. To overwrite this value, set the overwrite option in the \
                           request to true.";
            return Err(Failure::new("ParameterAlreadyExists", message));
        }
        (Some(old), Some(kind)) if old.kind != kind => {
            let message = "Parameter Store doesn't support changing a parameter type.";
            return Err(Failure::new("HierarchyTypeMismatchException", message));
        }
        (Some(old), _) => old.kind,
        (None, Some(kind)) => kind,
        (None, None) => return Err(invalid("The parameter type must be specified when you create a parameter.")),
    };
    let version = store(parameters, &request.name, request.value, kind);
    Ok(json!({"Version": version, "Tier": tier}))
}

/// What the name of a new parameter has to be: as [`check_characters`], at most 15 levels, none of them empty.
fn check_name(name: &str) -> Result<(), Failure> {
    check_characters(name)?;
    let levels: Vec<&str> = name.strip_prefix('/').unwrap_or(name).split('/').collect();
    let first = levels[0].to_ascii_lowercase();
    let reserved = first.starts_with("aws") || first.starts_with("ssm");
    let hierarchical = !name.contains('/') || name.starts_with('/');
    if !hierarchical || reserved || levels.contains(&"") {
        return Err(no_name(name));
    }
    if levels.len() > 15 {
        return Err(Failure::new(
            "HierarchyLevelLimitExceededException",
            "A hierarchy can have a maximum of 15 levels.",
        ));
    }
    Ok(())
}

/// A name with a version or a label behind a colon, which AWS takes where it reads, is refused: no function uses one.
fn check_characters(name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    if name.is_empty() || !name.chars().all(allowed) { Err(no_name(name)) } else { Ok(()) }
}

fn no_name(name: &str) -> Failure {
    invalid(format!("{name} is no parameter name: letters, digits, _.- and / in front of each level."))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DeleteParameter {
    name: String,
}

fn delete(parameters: &mut Parameters, request: &DeleteParameter) -> Reply {
    parameters.remove(&request.name).ok_or_else(not_found)?;
    Ok(json!({}))
}
