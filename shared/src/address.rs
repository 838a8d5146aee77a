//! Where a server listens: host and TCP port.

use std::fmt;
use std::net::Ipv6Addr;

/// A host and port, in the one spelling that two of them can be compared by: lower case, no trailing dot, no brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Folds the host's case, drops a trailing dot, and spells an IPv6 address the short way: none of it makes another server.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let host = host.parse::<Ipv6Addr>().map_or(host, |address| address.to_string());
        Self { host, port }
    }

    /// Reads `host`, `host:port`, `[IPv6 address]` or `[IPv6 address]:port`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a host is empty".to_owned());
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => {
                let address: Ipv6Addr = address.parse().map_err(|_| format!("{text:?} is no IPv6 address"))?;
                // Anything but a colon after the bracket leaves an empty port, which is refused below.
                (address.to_string(), (!rest.is_empty()).then(|| rest.strip_prefix(':').unwrap_or_default()))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (named(host, text)?, Some(port)),
                None => (named(text, text)?, None),
            },
        };
        let port = match port {
            Some(port) => {
                port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("{text:?} has no valid port"))?
            }
            None => default_port,
        };
        Ok(Self::new(&host, port))
    }
}

/// A name as DNS has them, and with underscores, which some have.
fn named(host: &str, text: &str) -> Result<String, String> {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() {
        return Err(format!("{text:?} names no host"));
    }
    let valid = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if valid { Ok(name.to_owned()) } else { Err(format!("{text:?} is no host")) }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_server_spelled_differently_is_equal() {
        assert_eq!(Address::new("DB.Example.COM.", 5432), Address::new("db.example.com", 5432));
        assert_eq!(Address::new("2001:DB8:0:0::1", 5432), Address::parse("[2001:db8::1]", 5432).unwrap());
        assert_ne!(Address::new("db.example.com", 5433), Address::new("db.example.com", 5432));
    }

    #[test]
    fn addresses_are_read_strictly() {
        for (text, expected) in [
            ("db", Some(("db", 7))),
            ("DB.:1", Some(("db", 1))),
            ("a_b.example.com", Some(("a_b.example.com", 7))),
            ("[::1]:6000", Some(("::1", 6000))),
            ("[2001:DB8:0::2]", Some(("2001:db8::2", 7))),
            (":5432", None),
            ("db:", None),
            ("db:0", None),
            ("db:65536", None),
            ("db:1:2", None),
            ("::1", None),
            ("[::1]7", None),
            ("[::1]:", None),
            ("[db]", None),
            ("d b", None),
            ("user@db", None),
            (".", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, port)| Address::new(host, port));
            assert_eq!(Address::parse(text, 7).ok(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_it_spells_it_reads_again(text in "[a-zA-Z0-9:,/.@?&=%\\[\\]-]{0,40}") {
            if let Ok(address) = Address::parse(&text, 7) {
                prop_assert_eq!(Address::parse(&address.to_string(), 8), Ok(address));
            }
        }
    }
}
