//! The `Link` header (RFC 8288), as far as "where is the next page?" goes.

/// A `Link` header that cannot be read: whether there is a next page is unknown then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The address of the next page, out of all `Link` headers of an answer. `None`: this page is the last.
///
/// Two different addresses are as unreadable as none that can be found.
pub(super) fn next<'a>(headers: impl Iterator<Item = &'a str>) -> Result<Option<String>, Unreadable> {
    let mut next = None;
    for header in headers {
        let mut rest = header.trim();
        while !rest.is_empty() {
            let link = link(rest)?;
            if link.is_next && next.as_ref().is_some_and(|known| known != link.address) {
                return Err(Unreadable);
            }
            if link.is_next {
                next = Some(link.address.to_owned());
            }
            rest = link.rest;
        }
    }
    Ok(next)
}

struct Link<'a> {
    address: &'a str,
    is_next: bool,
    rest: &'a str,
}

/// The first link of a header: `<address>` and parameters, up to a comma or the end.
fn link(text: &str) -> Result<Link<'_>, Unreadable> {
    let text = text.trim_start_matches([',', ' ', '\t']);
    if text.is_empty() {
        return Ok(Link { address: "", is_next: false, rest: "" });
    }
    let (address, mut rest) = text.strip_prefix('<').and_then(|text| text.split_once('>')).ok_or(Unreadable)?;
    let mut relation = None;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with(',') {
            break;
        }
        rest = rest.strip_prefix(';').ok_or(Unreadable)?.trim_start();
        let (name, value, after) = parameter(rest)?;
        // Of several the first counts.
        if name.eq_ignore_ascii_case("rel") && relation.is_none() {
            relation = Some(value);
        }
        rest = after;
    }
    let is_next = relation.unwrap_or_default().split_whitespace().any(|word| word.eq_ignore_ascii_case("next"));
    Ok(Link { address: address.trim(), is_next, rest })
}

/// A parameter's name, its value (without quotes), and what comes after it.
fn parameter(text: &str) -> Result<(&str, &str, &str), Unreadable> {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let Some(after) = after.strip_prefix('=') else { return Ok((name.trim(), "", after)) };
    let after = after.trim_start();
    if let Some(quoted) = after.strip_prefix('"') {
        let end = end_of_quoted(quoted).ok_or(Unreadable)?;
        return Ok((name.trim(), &quoted[..end], &quoted[end + 1..]));
    }
    let (value, after) = after.split_at(after.find([';', ',']).unwrap_or(after.len()));
    Ok((name.trim(), value.trim(), after))
}

/// Where the closing quote is; a backslash takes the next character's meaning away.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = "https://acme.okta.com/api/v1/groups/00g1/users?after=00u1&limit=200";

    fn read(headers: &[&str]) -> Result<Option<String>, Unreadable> {
        next(headers.iter().copied())
    }

    #[test]
    fn finds_the_next_page_in_every_form() {
        let own = "<https://acme.okta.com/api/v1/groups/00g1/users?limit=200>; rel=\"self\"";
        let forms = [
            format!("<{PAGE}>; rel=\"next\""),
            format!("<{PAGE}>; rel=next"),
            format!("<{PAGE}>;rel=\"NEXT\""),
            format!("  < {PAGE} > ;  REL = \"next\"  "),
            format!("<{PAGE}>; title=\"a, b; rel=self \\\" c\"; rel=\"last next\""),
            format!("<{PAGE}>; crossorigin; rel=next; rel=self"),
            format!("{own}, <{PAGE}>; rel=\"next\""),
            format!("<{PAGE}>; rel=\"next\", {own},"),
            format!(", <{PAGE}>; rel=\"next\""),
        ];
        for form in &forms {
            assert_eq!(read(&[own, form]), Ok(Some(PAGE.to_owned())), "{form}");
        }
        let odd = "https://acme.okta.com/x?after=a,b;c&rel=next";
        assert_eq!(read(&[&format!("<{odd}>; rel=next")]), Ok(Some(odd.to_owned())));
    }

    #[test]
    fn without_a_next_link_the_page_is_the_last() {
        for header in ["", "<https://a/b>; rel=\"self\"", "<https://a/b>; rel=nextish", "<https://a/next>", ","] {
            assert_eq!(read(&[header]), Ok(None), "{header}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn says_so_when_a_header_cannot_be_read() {
        for header in ["https://a/b; rel=next", "<https://a/b; rel=next", "<https://a/b>; rel=\"next", "<a> rel=next"] {
            assert_eq!(read(&[header]), Err(Unreadable), "{header}");
        }
        assert_eq!(read(&["<https://a/1>; rel=next", "<https://a/2>; rel=next"]), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn never_panics(headers in prop::collection::vec("[<>;,=\"\\\\ a-zé]{0,40}|\\PC{0,40}", 0..4)) {
            let _ = next(headers.iter().map(String::as_str));
        }
    }
}
