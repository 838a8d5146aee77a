//! TLS to databases: always, and always with the certificate and the host name verified.

use crate::rds;
use keyturn::Error;
use keyturn::codes::Code as Core;
use native_tls::{Certificate, TlsConnector};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The roots of the certificates that RDS servers show, three a region, and Amazon's public ones, which RDS Proxy's and others'
/// lead to. A line before each says its name.
const RDS_ROOTS: &str = include_str!("rds-roots.pem");

/// Connectors, made when they are first asked for and kept. Most of what making one takes is to read the roots: those of an RDS
/// endpoint's region are a few, all of them more than 200.
#[derive(Debug)]
pub(crate) struct Tls {
    own_roots: Option<Vec<u8>>,
    /// By region; under "" the one for everything else.
    connectors: RefCell<BTreeMap<String, TlsConnector>>,
}

impl Tls {
    /// Trusts the PEM certificates `own_roots`; without them the roots of RDS and Mozilla's public ones, compiled in.
    pub(crate) fn new(own_roots: Option<Vec<u8>>) -> Self {
        Self { own_roots, connectors: RefCell::default() }
    }

    /// For a server of this name.
    pub(crate) fn connector(&self, host: &str) -> keyturn::Result<TlsConnector> {
        let region = if self.own_roots.is_none() { rds_region(host) } else { None };
        let key = region.unwrap_or_default();
        if let Some(connector) = self.connectors.borrow().get(key) {
            return Ok(connector.clone());
        }
        let connector = self.roots(region).and_then(build).map_err(|e| {
            Error::new(
                Core::TlsSetupFailed,
                format!("The TLS library refused the root certificates: {e}."),
                "Check DATABASE_CA_FILE.",
            )
        })?;
        self.connectors.borrow_mut().insert(key.to_owned(), connector.clone());
        Ok(connector)
    }

    fn roots(&self, region: Option<&str>) -> native_tls::Result<Vec<Certificate>> {
        match (&self.own_roots, region) {
            (Some(own), _) => Certificate::stack_from_pem(own),
            (None, Some(region)) => Certificate::stack_from_pem(roots_of(region).as_bytes()),
            (None, None) => {
                let mut roots = Certificate::stack_from_pem(RDS_ROOTS.as_bytes())?;
                for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
                    roots.push(Certificate::from_der(root)?);
                }
                Ok(roots)
            }
        }
    }
}

/// Reads the PEM file that `DATABASE_CA_FILE` names.
///
/// # Errors
/// What is wrong with it, as a mistake in the settings is told.
pub fn read_certificates(path: &str) -> Result<Vec<u8>, String> {
    let pem = std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let certificates = Certificate::stack_from_pem(&pem).map_err(|_| format!("{path} is not PEM"))?;
    if certificates.is_empty() { Err(format!("{path} holds no certificate")) } else { Ok(pem) }
}

fn build(roots: Vec<Certificate>) -> native_tls::Result<TlsConnector> {
    let mut builder = TlsConnector::builder();
    builder.disable_built_in_roots(true).min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    for root in roots {
        builder.add_root_certificate(root);
    }
    builder.build()
}

/// The region of an endpoint of RDS, if its roots are known.
fn rds_region(host: &str) -> Option<&str> {
    let region = rds::region_of(host)?;
    RDS_ROOTS.contains(&format!("\n# Amazon RDS {region} ")).then_some(region)
}

/// The roots of a region of RDS, and Amazon's public ones.
fn roots_of(region: &str) -> String {
    let named = format!("Amazon RDS {region} ");
    let roots = RDS_ROOTS.split("\n# ").skip(1);
    roots.filter(|root| root.starts_with(&named) || !root.starts_with("Amazon RDS ")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how_many(host: &str) -> usize {
        Tls::new(None).connector(host).unwrap();
        Tls::new(None).roots(rds_region(host)).unwrap().len()
    }

    #[test]
    fn an_endpoint_of_rds_needs_the_roots_of_its_region_and_amazons_own() {
        for host in [
            "shop.c1a2b3.eu-west-1.rds.amazonaws.com",
            "shop.cluster-ro-c1a2b3.us-east-1.rds.amazonaws.com",
            "shop.proxy-c1a2b3.ap-southeast-4.rds.amazonaws.com",
        ] {
            assert_eq!(how_many(host), 3 + 5, "{host}");
        }
    }

    #[test]
    fn any_other_server_may_be_certified_by_any_known_root() {
        let all = 86 + webpki_root_certs::TLS_SERVER_ROOT_CERTS.len();
        for host in [
            "db.example.com",
            "rds.amazonaws.com",
            "shop.c1a2b3.xx-new-1.rds.amazonaws.com",
            "shop.rds.cn-north-1.amazonaws.com.cn",
            "eu-west-1.rds.amazonaws.com.example.com",
        ] {
            assert_eq!(how_many(host), all, "{host}");
        }
    }

    #[test]
    fn each_root_of_the_file_is_named_on_the_line_before_it() {
        let named = RDS_ROOTS.split("\n# ").skip(1);
        assert!(named.clone().all(|root| root.matches("-----BEGIN CERTIFICATE-----").count() == 1));
        assert_eq!(named.count(), Certificate::stack_from_pem(RDS_ROOTS.as_bytes()).unwrap().len());
    }

    #[test]
    fn roots_of_ones_own_take_the_place_of_all_others() {
        let own = Tls::new(Some(roots_of("eu-west-1").into_bytes()));
        assert_eq!(own.roots(None).unwrap().len(), 8);
        own.connector("shop.c1a2b3.us-east-1.rds.amazonaws.com").unwrap();
        assert_eq!(
            own.connectors.borrow().keys().collect::<Vec<_>>(),
            [""],
            "there is one set of roots for every host"
        );
    }
}
