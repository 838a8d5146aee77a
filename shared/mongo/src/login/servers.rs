//! Where a cluster is: its servers, as a list of hosts or a connection string names them.

use crate::codes::Code;
use keyturn::address::Address;
use keyturn::{Error, Result};
use percent_encoding::percent_decode_str;
use std::collections::BTreeSet;
use std::fmt;

/// The registered port, for hosts that are named without one.
pub(super) const DEFAULT_PORT: u16 = 27017;

/// The servers of one cluster. Two are equal when they name the same hosts, in whatever order.
#[derive(Clone, Debug)]
pub struct Servers {
    /// Never empty, each once.
    hosts: Vec<Address>,
    replica_set: Option<String>,
    /// It is one server, whatever it says about others.
    is_alone: bool,
    /// What messages call them: the cluster's name, else the hosts.
    name: String,
}

impl Servers {
    /// Reads `h1:1,h2`, `rs0/h1:1,h2:2` or `mongodb://h1:1,h2:2/?replicaSet=rs0`, of which every other parameter is ignored:
    /// TLS is always on. Messages call the servers `name`, or by their hosts without one.
    ///
    /// # Errors
    /// What is wrong with the text, for "... {it}". A text that may hold a credential is not quoted.
    pub fn parse(text: &str, name: Option<&str>) -> std::result::Result<Self, String> {
        Self::read(text, DEFAULT_PORT, name)
    }

    /// The servers of a self-managed target, from what a secret or a setting (`whence`, for messages) says about it: `text` as
    /// for [`Servers::parse`], and the port of hosts that are named without one.
    ///
    /// # Errors
    /// `HOSTS_INVALID`; `ATLAS_NEEDS_ITS_API` for servers of Atlas, which undoes what `updateUser` does there.
    pub fn own(text: &str, port: Option<u16>, whence: &str) -> Result<Self> {
        let servers = Self::read(text, port.unwrap_or(DEFAULT_PORT), None).map_err(|why| {
            Error::of(Code::HostsInvalid, format!("{whence} names no servers that can be used: {why}."))
        })?;
        if servers.hosts.iter().any(|Address { host, .. }| host == "mongodb.net" || host.ends_with(".mongodb.net")) {
            return Err(Error::of(
                Code::AtlasNeedsItsApi,
                format!("{servers} belongs to Atlas, where a password set over the wire is taken back."),
            ));
        }
        Ok(servers)
    }

    #[must_use]
    pub fn hosts(&self) -> &[Address] {
        &self.hosts
    }

    /// The replica set's name, if it was given.
    pub(crate) fn replica_set(&self) -> Option<&str> {
        self.replica_set.as_deref()
    }

    /// Whether these can be several places: routers of a sharded cluster, or members of two replica sets.
    pub(crate) fn may_be_several(&self) -> bool {
        self.hosts.len() > 1 && self.replica_set.is_none()
    }

    /// Whether these are Amazon DocumentDB's, by the names that AWS gives its clusters and instances: in China, the region stands
    /// behind `docdb`.
    #[must_use]
    pub fn are_document_db(&self) -> bool {
        let mut hosts = self.hosts.iter().map(|address| &address.host);
        hosts.any(|host| host.contains(".amazonaws.com") && (host.contains(".docdb.") || host.contains(".docdb-")))
    }

    /// One server, to be asked alone.
    #[must_use]
    pub fn alone(host: &Address) -> Self {
        Self { hosts: vec![host.clone()], replica_set: None, is_alone: true, name: host.to_string() }
    }

    /// Those of these that are among `hosts`.
    pub(super) fn of(&self, hosts: &BTreeSet<Address>) -> Self {
        if self.hosts.len() == hosts.len() {
            return self.clone();
        }
        let hosts: Vec<Address> = self.hosts.iter().filter(|host| hosts.contains(host)).cloned().collect();
        Self { name: listed(&hosts), hosts, replica_set: None, is_alone: false }
    }

    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    fn read(text: &str, port: u16, name: Option<&str>) -> std::result::Result<Self, String> {
        let text = text.trim();
        if text.contains('@') {
            return Err("it holds a credential, or a stray \"@\"".to_owned());
        }
        let (list, replica_set) = parts(text)?;
        let mut hosts = Vec::new();
        for part in list.split(',') {
            let host = Address::parse(part, port)?;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let replica_set = replica_set.filter(|set| !set.is_empty());
        let name = name.map_or_else(|| listed(&hosts), str::to_owned);
        Ok(Self { hosts, replica_set, is_alone: false, name })
    }
}

fn listed(hosts: &[Address]) -> String {
    hosts.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
}

/// The list of hosts, and the replica set's name.
fn parts(text: &str) -> std::result::Result<(&str, Option<String>), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(match text.split_once('/') {
            Some((set, hosts)) => (hosts, Some(set.to_owned())),
            None => (text, None),
        });
    };
    match scheme.to_ascii_lowercase().as_str() {
        "mongodb" => {}
        "mongodb+srv" => {
            return Err(
                "mongodb+srv:// needs a DNS lookup of the hosts, which is not done here: name the hosts".to_owned()
            );
        }
        _ => return Err("it is an address of another kind than mongodb://".to_owned()),
    }
    let (hosts, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let parameters = rest.split_once('?').map_or("", |(_, parameters)| parameters);
    let set = parameters.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| {
        // Options of connection strings are the same in any case.
        key.eq_ignore_ascii_case("replicaSet")
    });
    Ok((hosts, set.map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())))
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Servers {
    fn eq(&self, other: &Self) -> bool {
        let set = |servers: &Self| servers.hosts.iter().cloned().collect::<BTreeSet<_>>();
        set(self) == set(other)
    }
}

impl Eq for Servers {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hosts(text: &str) -> Vec<Address> {
        Servers::parse(text, None).unwrap().hosts
    }

    fn named(hosts: &[(&str, u16)]) -> Vec<Address> {
        hosts.iter().map(|(host, port)| Address::new(host, *port)).collect()
    }

    #[test]
    fn every_shape_is_read() {
        for (text, expected, set) in [
            ("h1", named(&[("h1", 27017)]), None),
            (" H1.Example.com.:1 , h2 ", named(&[("h1.example.com", 1), ("h2", 27017)]), None),
            ("rs0/h1:1,h2:2", named(&[("h1", 1), ("h2", 2)]), Some("rs0")),
            ("/h1", named(&[("h1", 27017)]), None),
            ("[::1]:7,[2001:DB8:0::2]", named(&[("::1", 7), ("2001:db8::2", 27017)]), None),
            ("mongodb://h1:1,h2/?tls=false&replicaset=rs%30&w=1", named(&[("h1", 1), ("h2", 27017)]), Some("rs0")),
            ("MongoDB://h1/shop", named(&[("h1", 27017)]), None),
            ("mongodb://h1?replicaSet=rs0", named(&[("h1", 27017)]), Some("rs0")),
            ("h1,h1:27017,H1.", named(&[("h1", 27017)]), None),
        ] {
            let servers = Servers::parse(text, None).unwrap();
            assert_eq!(servers.hosts(), expected, "{text}");
            assert_eq!(servers.replica_set(), set, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_of_hosts_is_refused() {
        for text in [
            "",
            ",",
            "h1,",
            ":1",
            "h1:",
            "h1:0",
            "h1:65536",
            "h1:1:2",
            "::1",
            "[::1]7",
            "[h1]",
            "rs0/",
            "mongodb://",
            "h 1",
            "https://h1",
            "mongodb:///?replicaSet=rs0",
            "mongodb://%2Ftmp%2Fm.sock",
            "rs0/h1/h2",
            "h1\n2",
        ] {
            assert!(Servers::parse(text, None).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_credential_is_refused_and_not_quoted() {
        for text in [
            "mongodb://u:hunter2@h1",
            "u:hunter2@h1:1",
            "mongodb+srv://u:hunter2@c.mongodb.net",
            "mongodb://u:hun/ter2@h",
        ] {
            let why = Servers::parse(text, None).unwrap_err();
            assert!(!why.contains("hun"), "{why}");
        }
        let why = Servers::parse("mongodb+srv://cluster.example.com", None).unwrap_err();
        assert!(why.contains("name the hosts"), "{why}");
    }

    #[test]
    fn the_same_hosts_in_another_order_are_equal() {
        let parse = |text| Servers::parse(text, None).unwrap();
        assert_eq!(parse("rs0/h1,h2:1"), parse("H2:1,h1:27017"));
        assert_ne!(parse("h1,h2"), parse("h1"));
        assert_ne!(parse("h1:1"), parse("h1"));
    }

    #[test]
    fn messages_name_the_cluster_or_the_hosts() {
        assert_eq!(Servers::parse("h1:1,h2", Some("Cluster0")).unwrap().to_string(), "Cluster0");
        let servers = Servers::parse("rs0/h1:1,[::1]", None).unwrap();
        assert_eq!(servers.to_string(), "h1:1,[::1]:27017");
        let each: Vec<_> = servers.hosts().iter().map(|host| Servers::alone(host).to_string()).collect();
        assert_eq!(each, ["h1:1", "[::1]:27017"]);
        let named = |hosts: &[(&str, u16)]| servers.of(&named(hosts).into_iter().collect()).to_string();
        assert_eq!(named(&[("::1", 27017)]), "[::1]:27017");
    }

    #[test]
    fn servers_of_atlas_are_not_ones_own() {
        for text in ["c0-shard-00-00.ab1cd.mongodb.net:27017", "h1,X.MongoDB.NET.", "mongodb.net"] {
            assert_eq!(Servers::own(text, None, "it").unwrap_err().code(), "ATLAS_NEEDS_ITS_API", "{text}");
        }
        assert!(Servers::own("notmongodb.net,mongodb.net.example.com", None, "it").is_ok());
        assert_eq!(Servers::own("h1:x", None, "it").unwrap_err().code(), "HOSTS_INVALID");
        assert_eq!(Servers::own("h1,h2:2", Some(1), "it").unwrap().hosts(), named(&[("h1", 1), ("h2", 2)]));
    }

    proptest! {
        #[test]
        fn what_it_spells_it_reads_again(text in "[a-zA-Z0-9:,/.@?&=%\\[\\]-]{0,40}") {
            if let Ok(servers) = Servers::parse(&text, None) {
                let list = servers.to_string();
                prop_assert_eq!(hosts(&list), servers.hosts);
            }
        }
    }
}
