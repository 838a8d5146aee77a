//! Lists in pages: the way to the next one is a `Link` header (RFC 8288), which servers and proxies write in many ways.

use url::form_urlencoded::Serializer;

use super::refusal::{Refused, malformed, random};
use super::state::State;
use crate::vendors::{Call, Reply};

/// How the way to the next page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkStyle {
    /// Two `Link` headers, `self` and `next`.
    #[default]
    Usual,
    /// Both in one header, with a comma between them.
    OneHeader,
    /// By turns: other parameters before an unquoted `rel`, `rel="NEXT"` without a space, `REL` with many spaces;
    /// commas and semicolons inside the URL.
    Odd,
    /// The next page is on somebody else's host.
    ForeignOrigin,
    /// The next page is on this host, but with https.
    OtherScheme,
    /// The next page is on another port of this host.
    OtherPort,
    /// There is a next page for ever: after the last one the first one comes again, under a new address.
    Endless,
    /// The next page of every page is that page itself.
    Loop,
}

/// Where a list goes on.
#[derive(Clone)]
pub(super) struct Cursor {
    list: String,
    rest: Vec<String>,
}

/// One page: the ids on it and the reply's `Link` headers.
pub(super) struct Page {
    pub ids: Vec<String>,
    links: Vec<String>,
}

impl Page {
    /// Adds the `Link` headers.
    pub(super) fn link(self, reply: Reply) -> Reply {
        self.links.into_iter().fold(reply, |reply, link| reply.with("link", link))
    }
}

/// The page that `call` asks for, of the list that `all` gives (it is asked on the first page only). A call without
/// `limit` gets pages of `default`.
pub(super) fn page(
    state: &mut State,
    call: &Call,
    default: usize,
    all: impl Fn(&mut State) -> Vec<String>,
) -> Result<Page, Refused> {
    let limit = call.query("limit").map_or(Ok(default), str::parse);
    let limit = limit.ok().filter(|limit| (1..=200).contains(limit));
    let size = limit.ok_or_else(|| malformed("limit is 1 to 200"))?;
    let size = state.page_size.map_or(size, |most| size.min(most)).max(1);
    let list = address(call, None, true);
    let mut ids = match call.query("after") {
        None => all(state),
        Some(after) => going_on(state, after, &list)?,
    };
    let rest = ids.split_off(size.min(ids.len()));
    let next = next(state, call, &list, rest, &all);
    let own = format!("{}{}", state.url, address(call, call.query("after"), false));
    let links = links(state.link_style, state.cursors.len(), &own, next.as_deref());
    Ok(Page { ids, links })
}

fn going_on(state: &State, after: &str, list: &str) -> Result<Vec<String>, Refused> {
    let cursor = state.cursors.get(after).filter(|cursor| cursor.list == list);
    cursor.map(|cursor| cursor.rest.clone()).ok_or_else(|| malformed("a cursor from no Link header"))
}

/// The address of the next page.
fn next(
    state: &mut State,
    call: &Call,
    list: &str,
    rest: Vec<String>,
    all: impl Fn(&mut State) -> Vec<String>,
) -> Option<String> {
    let style = state.link_style;
    if style == LinkStyle::Loop {
        return Some(format!("{}{}", state.url, address(call, call.query("after"), false)));
    }
    let rest = match (rest.is_empty(), style) {
        (true, LinkStyle::Endless) => all(state),
        (true, _) => return None,
        (false, _) => rest,
    };
    let cursor = if style == LinkStyle::Odd { format!("a,b;{}", random(12)) } else { random(20) };
    state.cursors.insert(cursor.clone(), Cursor { list: list.to_owned(), rest });
    let origin = match style {
        LinkStyle::ForeignOrigin => "https://okta.example".to_owned(),
        LinkStyle::OtherScheme => state.url.replacen("http:", "https:", 1),
        LinkStyle::OtherPort => "http://127.0.0.1:1".to_owned(),
        _ => state.url.clone(),
    };
    Some(format!("{origin}{}", address(call, Some(&cursor), false)))
}

/// Path and query of a page of the list that `call` reads. `bare` leaves the limit out, which may change.
fn address(call: &Call, after: Option<&str>, bare: bool) -> String {
    let kept = call.query.iter().filter(|(name, _)| name != "after" && !(bare && name == "limit"));
    let rest = Serializer::new(String::new()).extend_pairs(kept).finish();
    // The cursor goes in as it is: commas and semicolons are allowed in a query.
    let after = after.map(|after| format!("after={after}"));
    let query: Vec<String> = after.into_iter().chain((!rest.is_empty()).then_some(rest)).collect();
    if query.is_empty() { call.path.clone() } else { format!("{}?{}", call.path, query.join("&")) }
}

fn links(style: LinkStyle, turn: usize, own: &str, next: Option<&str>) -> Vec<String> {
    let own = format!("<{own}>; rel=\"self\"");
    let Some(next) = next else { return vec![own] };
    match (style, turn % 3) {
        (LinkStyle::OneHeader, _) => vec![format!("{own}, <{next}>; rel=\"next\"")],
        (LinkStyle::Odd, 0) => vec![own, format!("<{next}>; title=\"page; 2, rel=self\"; rel=next")],
        (LinkStyle::Odd, 1) => vec![own, format!("<{next}>;rel=\"NEXT\"")],
        (LinkStyle::Odd, _) => vec![format!("  <{next}>  ;   hreflang=en ;  REL = \"next\"  "), own],
        _ => vec![own, format!("<{next}>; rel=\"next\"")],
    }
}
