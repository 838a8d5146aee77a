//! Lists in pages, numbered from one.

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::refusal::{Refused, error};
use crate::vendors::Call;
use crate::vendors::request::{WrongParameter, wrong_parameter};

/// What a list's query may hold.
pub(super) const PARAMETERS: [&str; 3] = ["includeCount", "itemsPerPage", "pageNum"];

/// The page that `call` asks for, of all these entries.
pub(super) fn page(url: &str, call: &Call, all: &[Value]) -> Result<Value, Refused> {
    let size = number(call, "itemsPerPage", 100, 500)?;
    let nth = number(call, "pageNum", 1, usize::MAX)?;
    let counted = match call.query("includeCount") {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(wrong("includeCount")),
    };
    let before = (nth - 1).saturating_mul(size);
    let results: Vec<&Value> = all.iter().skip(before).take(size).collect();
    let more = before.saturating_add(size) < all.len();
    let link = |rel: &str, nth: usize| json!({"href": address(url, call, nth), "rel": rel});
    let neighbours = [(nth > 1).then(|| link("previous", nth - 1)), more.then(|| link("next", nth + 1))];
    let links: Vec<Value> = std::iter::once(link("self", nth)).chain(neighbours.into_iter().flatten()).collect();
    let mut page = json!({"links": links, "results": results});
    if counted {
        page["totalCount"] = json!(all.len());
    }
    Ok(page)
}

fn number(call: &Call, name: &str, default: usize, most: usize) -> Result<usize, Refused> {
    let number = call.query(name).map_or(Ok(default), str::parse);
    number.ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| wrong(name))
}

fn wrong(name: &str) -> Refused {
    let detail = format!("Invalid query parameter {name} specified.");
    let reply = error(400, "INVALID_QUERY_PARAMETER", &detail, &[json!(name)]);
    Refused::violation(format!("invalid query parameter {name}"), reply)
}

fn address(url: &str, call: &Call, nth: usize) -> String {
    let kept = call.query.iter().filter(|(name, _)| name != "pageNum");
    let query = Serializer::new(String::new()).extend_pairs(kept).append_pair("pageNum", &nth.to_string()).finish();
    format!("{url}{}?{query}", call.path)
}

/// Each parameter is one of the endpoint's and comes once.
pub(super) fn check_query(call: &Call, allowed: &[&str]) -> Result<(), Refused> {
    match wrong_parameter(call, allowed) {
        Some(WrongParameter::Twice(name) | WrongParameter::Unknown(name)) => Err(wrong(name)),
        None => Ok(()),
    }
}
