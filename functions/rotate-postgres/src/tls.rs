//! TLS to databases: always, and always with the certificate and the host name verified.

use keyturn::codes::Code as Core;
use keyturn::{Error, Result};
use native_tls::{Certificate, TlsConnector};
use std::sync::OnceLock;

/// The roots of the certificates that RDS servers show.
const RDS_ROOTS: &[u8] = include_bytes!("rds-roots.pem");

/// A connector made at the first connection and kept: making one costs tens of milliseconds, which createSecret and
/// finishSecret of a warm function need not pay.
#[derive(Debug)]
pub(crate) struct Tls {
    own_roots: Option<Vec<u8>>,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    /// Trusts the PEM certificates `own_roots`; without them the RDS roots and Mozilla's public ones, compiled in.
    pub(crate) fn new(own_roots: Option<Vec<u8>>) -> Self {
        Self { own_roots, connector: OnceLock::new() }
    }

    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        if let Some(connector) = self.connector.get() {
            return Ok(connector.clone());
        }
        let connector = self.build().map_err(|e| {
            Error::new(
                Core::TlsSetupFailed,
                format!("The TLS library refused the root certificates: {e}."),
                "Check DATABASE_CA_FILE.",
            )
        })?;
        Ok(self.connector.get_or_init(|| connector).clone())
    }

    fn build(&self) -> native_tls::Result<TlsConnector> {
        let mut builder = TlsConnector::builder();
        builder.disable_built_in_roots(true).min_protocol_version(Some(native_tls::Protocol::Tlsv12));
        let mut roots = Certificate::stack_from_pem(self.own_roots.as_deref().unwrap_or(RDS_ROOTS))?;
        if self.own_roots.is_none() {
            for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
                roots.push(Certificate::from_der(root)?);
            }
        }
        for root in roots {
            builder.add_root_certificate(root);
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roots_load() {
        assert_eq!(Certificate::stack_from_pem(RDS_ROOTS).unwrap().len(), 86);
        Tls::new(None).connector().unwrap();
    }
}
