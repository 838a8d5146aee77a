//! What the driver's monitors met while it looked for a server: the only place where the real causes can be had, because the
//! driver's own error tells no more than that time was up.

use super::servers::{DEFAULT_PORT, Servers};
use crate::errors;
use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::failure::Failure;
use mongodb::bson::Document;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::ServerAddress;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// The last that was seen of each host.
type Seen = BTreeMap<Address, Sight>;

#[derive(Clone, Debug)]
enum Sight {
    /// It answered as a member of what was asked for.
    Fitting,
    Failed(Failure),
}

/// What is seen of a cluster's servers.
pub(super) struct Sightings {
    servers: Servers,
    seen: watch::Receiver<Seen>,
}

impl Sightings {
    /// Nothing seen yet; the handler, given to the driver, reports here.
    pub(super) fn of(servers: &Servers) -> (Self, EventHandler<SdamEvent>) {
        let (sender, seen) = watch::channel(Seen::new());
        let wanted = servers.replica_set().map(str::to_owned);
        let handler = EventHandler::callback(move |event| {
            if let Some((host, sight)) = sight(event, wanted.as_deref()) {
                sender.send_modify(|seen| _ = seen.insert(host, sight));
            }
        });
        (Self { servers: servers.clone(), seen }, handler)
    }

    /// Waits until there is nothing to wait for: every server that was named has failed in a way that time will not mend.
    pub(super) async fn hopeless(&mut self) -> Failure {
        loop {
            let failure = {
                let seen = self.seen.borrow_and_update();
                let hopeless = self.servers.hosts().iter().all(|host| lastingly_failed(seen.get(host)));
                if hopeless { worst(&seen).cloned() } else { None }
            };
            match failure {
                Some(failure) => return failure,
                None if self.seen.changed().await.is_ok() => {}
                // The driver is gone, and with it what could end this.
                None => std::future::pending().await,
            }
        }
    }

    /// Why no server could be had, as far as was seen.
    pub(super) fn verdict(&self) -> Option<Failure> {
        let seen = self.seen.borrow();
        let worst = worst(&seen);
        if seen.values().any(|sight| matches!(sight, Sight::Fitting)) {
            return Some(errors::no_primary(&self.servers, worst));
        }
        worst.cloned()
    }
}

fn sight(event: SdamEvent, wanted: Option<&str>) -> Option<(Address, Sight)> {
    match event {
        SdamEvent::ServerHeartbeatSucceeded(event) => {
            let host = host(&event.server_address)?;
            let other = wanted.and_then(|wanted| other_set(&event.reply, wanted, &host));
            Some((host, other.map_or(Sight::Fitting, Sight::Failed)))
        }
        SdamEvent::ServerHeartbeatFailed(event) => {
            let host = host(&event.server_address)?;
            let failure = errors::unreachable(&event.failure, &host);
            Some((host, Sight::Failed(failure)))
        }
        _ => None,
    }
}

fn host(address: &ServerAddress) -> Option<Address> {
    match address {
        ServerAddress::Tcp { host, port } => Some(Address::new(host, port.unwrap_or(DEFAULT_PORT))),
        _ => None,
    }
}

/// The driver drops members of another replica set without a word.
fn other_set(hello: &Document, wanted: &str, host: &Address) -> Option<Failure> {
    match hello.get_str("setName") {
        Ok(actual) if actual == wanted => None,
        Ok(actual) => Some(errors::other_replica_set(host, wanted, Some(actual))),
        // It has not read its configuration yet.
        Err(_) if hello.get_bool("isreplicaset").unwrap_or(false) => None,
        Err(_) => Some(errors::other_replica_set(host, wanted, None)),
    }
}

fn lastingly_failed(sight: Option<&Sight>) -> bool {
    // A name that DNS does not know now may be known in a moment: that is tried for as long as everything else.
    matches!(sight, Some(Sight::Failed(failure)) if !failure.is_transient() && !failure.error.is(Core::DatabaseHostUnknown))
}

/// The failure to tell of: one that lasts before one that may pass, else the first host's.
fn worst(seen: &Seen) -> Option<&Failure> {
    let failures = || {
        seen.values().filter_map(|sight| match sight {
            Sight::Failed(failure) => Some(failure),
            Sight::Fitting => None,
        })
    };
    failures().find(|failure| !failure.is_transient()).or_else(|| failures().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::failure::Kind;
    use mongodb::bson::doc;

    fn failed(kind: Kind, code: Core) -> Sight {
        Sight::Failed(Failure::new(kind, code, "It failed.", ""))
    }

    fn sightings(hosts: &str, sights: Vec<(&str, Sight)>) -> Sightings {
        let seen = sights.into_iter().map(|(host, sight)| (Address::parse(host, 1).unwrap(), sight)).collect();
        Sightings { servers: Servers::parse(hosts, None).unwrap(), seen: watch::channel(seen).1 }
    }

    fn gives_up(hosts: &str, sights: Vec<(&str, Sight)>) -> bool {
        use futures_util::FutureExt as _;
        sightings(hosts, sights).hopeless().now_or_never().is_some()
    }

    #[test]
    fn gives_up_only_when_every_named_server_has_failed_for_good() {
        let untrusted = || failed(Kind::Permanent, Core::TlsUntrusted);
        assert!(gives_up("h1:1", vec![("h1:1", untrusted())]));
        assert!(!gives_up("h1:1,h2:1", vec![("h1:1", untrusted())]));
        assert!(!gives_up("h1:1,h2:1", vec![("h1:1", untrusted()), ("h2:1", Sight::Fitting)]));
        assert!(!gives_up("h1:1", vec![("h1:1", failed(Kind::Transient, Core::DatabaseUnreachable))]));
        assert!(!gives_up("h1:1", vec![("h1:1", failed(Kind::Permanent, Core::DatabaseHostUnknown))]));
        assert!(!gives_up("h1:1", vec![("h9:1", untrusted())]));
    }

    #[test]
    fn the_verdict_is_what_lasts_and_members_without_a_primary_are_said_to_be_that() {
        let code = |sights| sightings("h1:1,h2:1", sights).verdict().map(|failure| failure.error.code());
        let refused = || failed(Kind::Transient, Core::DatabaseUnreachable);
        assert_eq!(code(vec![]), None);
        assert_eq!(
            code(vec![("h1:1", refused()), ("h2:1", failed(Kind::Permanent, Core::TlsUntrusted))]),
            Some("TLS_UNTRUSTED")
        );
        assert_eq!(code(vec![("h1:1", refused()), ("h2:1", Sight::Fitting)]), Some("DATABASE_UNAVAILABLE"));
    }

    #[test]
    fn members_of_other_replica_sets_are_told_apart() {
        let host = Address::new("h1", 1);
        assert!(other_set(&doc! { "setName": "rs0" }, "rs0", &host).is_none());
        assert!(other_set(&doc! { "isreplicaset": true }, "rs0", &host).is_none());
        for hello in [doc! { "setName": "rs1" }, doc! { "ok": 1 }, doc! { "msg": "isdbgrid" }] {
            assert_eq!(other_set(&hello, "rs0", &host).unwrap().error.code(), "REPLICA_SET_NAME_WRONG");
        }
    }
}
