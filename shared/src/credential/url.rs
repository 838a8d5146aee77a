//! Connection URLs: the user and password in them are replaced, and nothing else of their text.
//!
//! A URL parser would write the rest anew (case, ports, escapes, many hosts), so only the places are found here:
//! `user:password@` before the hosts, and the parameters `user`, `username`, `password` after the question mark.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use super::change::Change;
use super::document::{span, splice};

/// Everything but RFC 3986's unreserved characters: right in user-info and in a query, whoever decodes it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Schemes of the databases rotated here, wherever they stand in a nested or extended one (`jdbc:postgresql`, `mongodb+srv`).
const DATABASES: [&str; 3] = ["postgres", "postgis", "mongodb"];

/// One place in a URL, as it is written there; never empty, so that a URL without a password stays without.
enum Place<'u> {
    User(&'u str),
    Password(&'u str),
}

/// The URL with the new credential; nothing if the text is no connection URL, is for another system, or names no user or
/// another one.
pub(super) fn rewrite(text: &str, change: &Change<'_>) -> Option<Zeroizing<String>> {
    let url = text.trim();
    let (hosts, places) = places(url, change)?;
    let mut names = places.iter().filter_map(|place| match place {
        Place::User(user) => Some(is_named(user, change)),
        Place::Password(_) => None,
    });
    if names.next() != Some(true) || names.any(|ours| !ours) || !is_this_credential(url, hosts, &places, change) {
        return None;
    }
    let replacements: Vec<(Range<usize>, Zeroizing<String>)> = places
        .into_iter()
        .map(|place| match place {
            Place::User(user) => (span(text, user), escape(change.username)),
            Place::Password(password) => (span(text, password), escape(change.password)),
        })
        .collect();
    Some(splice(text, &replacements))
}

/// The hosts of a URL, and its users and passwords in the order of its text; nothing if this is no URL.
fn places<'u>(url: &'u str, change: &Change<'_>) -> Option<(&'u str, Vec<Place<'u>>)> {
    let (user_info, rest) = match after_scheme(url) {
        Some(rest) => match user_info(rest, change) {
            Some(info) => (info, &rest[info.len()..]),
            None => ("", rest),
        },
        // jdbc:postgresql:database?user=...
        None if url.get(..5)?.eq_ignore_ascii_case("jdbc:") => ("", url),
        None => return None,
    };

    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let mut places = vec![Place::User(user), Place::Password(password)];
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    for (name, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
        match name.to_ascii_lowercase().as_str() {
            "user" | "username" => places.push(Place::User(value)),
            "password" => places.push(Place::Password(value)),
            _ => {}
        }
    }
    places.retain(|place| {
        let (Place::User(written) | Place::Password(written)) = place;
        !written.is_empty()
    });
    Some((authority(rest.strip_prefix('@').unwrap_or(rest)), places))
}

/// What follows `scheme://`; schemes may be nested, as in `jdbc:postgresql://`.
fn after_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:".contains(c));
    is_scheme.then_some(rest)
}

/// The user-info in front of the hosts, without its `@`. People paste passwords in unescaped, so three readings are tried:
/// the password we know as it is, what the standard says, and a password with `/`, `?` or `#` in it.
fn user_info<'u>(rest: &'u str, change: &Change<'_>) -> Option<&'u str> {
    let authority = authority(rest);
    if let Some((user, after)) = rest.split_once(':')
        && user.len() < authority.len()
        && let Some(hosts) = after.strip_prefix(change.old_password).and_then(|hosts| hosts.strip_prefix('@'))
        && !self::authority(hosts).contains('@')
    {
        return rest.get(..user.len() + 1 + change.old_password.len());
    }

    let before_query = rest.split('?').next().unwrap_or(rest);
    if let Some((info, _)) = authority.rsplit_once('@') {
        // With an "@" in the path too, either may end the user-info: only a password we know settles it.
        let certain = match info.split_once(':') {
            Some((_, password)) => {
                decodes_to(password, change.old_password) || !before_query[info.len() + 1..].contains('@')
            }
            None => true,
        };
        return certain.then_some(info);
    }

    let (user, after) = authority.split_once(':')?;
    if is_port(after) || !is_named(user, change) {
        return None;
    }
    let end = before_query.rfind('@').or_else(|| rest.rfind('@'))?;
    rest.get(..end)
}

/// The text up to path, query or fragment.
fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// Whether a URL with our user's name is for our credential, and not for a user of the same name elsewhere (`amqp://app:...`,
/// another server): it has our password, or our host; or it leaves the password to be taken from this very secret.
fn is_this_credential(url: &str, hosts: &str, places: &[Place<'_>], change: &Change<'_>) -> bool {
    let scheme = url.split('/').next().unwrap_or(url).to_ascii_lowercase();
    let is_database = DATABASES.iter().any(|database| scheme.contains(database));
    if is_database && change.host.is_some_and(|host| names_host(hosts, host)) {
        return true;
    }
    let mut passwords = places.iter().filter_map(|place| match place {
        Place::Password(written) => Some(*written),
        Place::User(_) => None,
    });
    match passwords.next() {
        Some(written) => written == change.old_password || decodes_to(written, change.old_password),
        None => is_database,
    }
}

/// The name of the (first) host in an address as people write it: with a scheme, a user, a port, a path, or without.
pub(super) fn bare_host(address: &str) -> &str {
    let rest = after_scheme(address.trim()).unwrap_or(address.trim());
    let hosts = authority(rest);
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    host_name(hosts.split(',').next().unwrap_or(hosts))
}

fn host_name(place: &str) -> &str {
    match place.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        // An IPv6 address without brackets is all host.
        None if place.matches(':').count() > 1 => place,
        None => place.split(':').next().unwrap_or_default(),
    }
}

/// Whether `h1:1,h2,[::1]:3` names this host.
fn names_host(hosts: &str, host: &str) -> bool {
    hosts.split(',').any(|place| host_name(place).eq_ignore_ascii_case(host))
}

/// Whether what follows a colon is the port of a host, perhaps with more hosts after it, rather than a password.
fn is_port(text: &str) -> bool {
    text.split(',').next().is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a user, as written in a URL, is ours.
fn is_named(written: &str, change: &Change<'_>) -> bool {
    change.is_user(written) || percent_decode_str(written).decode_utf8().is_ok_and(|user| change.is_user(&user))
}

fn decodes_to(written: &str, value: &str) -> bool {
    percent_decode_str(written).eq(value.bytes())
}

fn escape(value: &str) -> Zeroizing<String> {
    let mut escaped = Zeroizing::new(String::with_capacity(3 * value.len()));
    for piece in utf8_percent_encode(value, ESCAPED) {
        escaped.push_str(piece);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: Change<'_> = Change {
        old_username: "app",
        old_password: "p@s/s:#?",
        username: "app b",
        password: "n/ew:é",
        host: Some("h"),
    };

    fn rewritten(text: &str) -> Option<String> {
        rewrite(text, &CHANGE).map(|new| new.to_string())
    }

    #[test]
    fn rewrites_the_user_info_and_nothing_else() {
        for (before, after) in [
            ("postgres://app:old@h:5432/x", "postgres://app%20b:n%2Few%3A%C3%A9@h:5432/x"),
            ("POSTGRES://app:old@H:05432/a/../b?x=%7e#f", "POSTGRES://app%20b:n%2Few%3A%C3%A9@H:05432/a/../b?x=%7e#f"),
            (
                "postgresql+asyncpg://%61pp:p%40s%2fs:%23%3F@[::1]:1/x",
                "postgresql+asyncpg://app%20b:n%2Few%3A%C3%A9@[::1]:1/x",
            ),
            (
                "mongodb://app:old@h1:1,h:2/db?authSource=admin",
                "mongodb://app%20b:n%2Few%3A%C3%A9@h1:1,h:2/db?authSource=admin",
            ),
            ("mongodb+srv://app@c.example.net", "mongodb+srv://app%20b@c.example.net"),
            ("jdbc:postgresql://app:old@h/d", "jdbc:postgresql://app%20b:n%2Few%3A%C3%A9@h/d"),
            ("postgres://app:p%40s%2Fs%3A%23%3F@%2Fvar%2Frun/d", "postgres://app%20b:n%2Few%3A%C3%A9@%2Fvar%2Frun/d"),
            (" postgres://app:old@h/d\n", " postgres://app%20b:n%2Few%3A%C3%A9@h/d\n"),
            // The user of the next turn: a URL that AWS's function left behind.
            ("postgres://app%20b:older@h/d", "postgres://app%20b:n%2Few%3A%C3%A9@h/d"),
            // A scheme nobody knows, with our password.
            ("ecto://app:p%40s%2fs:%23%3f@x/d", "ecto://app%20b:n%2Few%3A%C3%A9@x/d"),
            // Without a password it stays without.
            ("postgres://app@h/d", "postgres://app%20b@h/d"),
            ("postgres://app:@h/d", "postgres://app%20b:@h/d"),
            ("postgres://app@h/d@x", "postgres://app%20b@h/d@x"),
        ] {
            assert_eq!(rewritten(before).as_deref(), Some(after), "{before}");
        }
    }

    #[test]
    fn rewrites_parameters() {
        for (before, after) in [
            (
                "jdbc:postgresql://h:5432/d?user=app&password=x&ssl=true",
                "jdbc:postgresql://h:5432/d?user=app%20b&password=n%2Few%3A%C3%A9&ssl=true",
            ),
            (
                "jdbc:postgresql:d?password=p@s/s:%23%3f&user=app",
                "jdbc:postgresql:d?password=n%2Few%3A%C3%A9&user=app%20b",
            ),
            (
                "JDBC:aws-wrapper:postgresql://[::1]:1/d?Username=app",
                "JDBC:aws-wrapper:postgresql://[::1]:1/d?Username=app%20b",
            ),
            ("postgresql:///d?host=/tmp&user=app&password=", "postgresql:///d?host=/tmp&user=app%20b&password="),
            ("postgres://app@h/d?password=x", "postgres://app%20b@h/d?password=n%2Few%3A%C3%A9"),
            ("postgres://app:x@h/d?mail=a@b&user=app", "postgres://app%20b:n%2Few%3A%C3%A9@h/d?mail=a@b&user=app%20b"),
        ] {
            assert_eq!(rewritten(before).as_deref(), Some(after), "{before}");
        }
    }

    #[test]
    fn finds_the_end_of_passwords_that_nobody_escaped() {
        for before in [
            "postgres://app:p@s/s:#?@h/d",
            "postgres://app:p@s/s:#?@h/d?mail=a@b",
            "postgres://app:o@l@d@h/d",
            "postgres://app:o:l:d@h/d",
            "postgres://app:100%zz@h/d",
            "postgres://app:o/ld@h/d",
            "postgres://app:o#ld@h/d?mail=a@b",
            "postgres://app:o?ld@h/d",
            "postgres://app:p%40s%2Fs%3A%23%3F@h/d@x",
        ] {
            let after = rewritten(before).unwrap_or_default();
            assert!(after.starts_with("postgres://app%20b:n%2Few%3A%C3%A9@h/d"), "{before} became {after}");
        }
    }

    #[test]
    fn leaves_alone_what_it_does_not_understand_or_own() {
        for text in [
            "",
            "app",
            "app:old@h",
            "://app:old@h",
            "see postgres://app:old@h/d",
            "postgres://other:old@h/d",
            "postgres://APP:old@h/d",
            "postgres://:p%40ss@h/d",
            "postgres://h/d",
            "postgres://app:5432/d@x",
            "postgres://app:5432,h:1/d?mail=a@b",
            "postgres://app:o@l/d@h/d",
            "postgres://app:old@h/d?user=other",
            "postgres://h/d?password=x",
            "jdbc:postgresql:d?user=other&password=x",
            "https://example.org/?q=app:x@y",
            "amqps://app:rabbit@mq.in:5671/v",
            "postgres://app:other@reporting/d",
            "postgres://app:old@hh/d",
            "postgres://app:old@x/h",
            "redis://app@h",
            "ecto://app:old@h/d",
            "jdbcé",
        ] {
            assert_eq!(rewritten(text), None, "{text}");
        }
    }

    #[test]
    fn a_url_parser_reads_the_new_credential() {
        let new = rewritten("postgres://app:old@h:5432/x").unwrap_or_default();
        let url = ::url::Url::parse(&new).unwrap();
        assert!(decodes_to(url.username(), "app b") && decodes_to(url.password().unwrap_or_default(), "n/ew:é"));
        assert_eq!((url.host_str(), url.port(), url.path()), (Some("h"), Some(5432), "/x"));
    }
}
