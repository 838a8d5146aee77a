//! The certificates of one stack: an authority made for it alone, and a server certificate for this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{Datelike, NaiveDate, TimeDelta};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority and the certificate it gave the stack's servers, valid for `localhost` and `127.0.0.1`. Clones are
/// handles to the same ones.
#[derive(Clone)]
pub struct Certificates(Arc<Made>);

struct Made {
    ca_pem: String,
    ca_file: PathBuf,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
    connector: native_tls::TlsConnector,
    folder: TempDir,
}

impl Certificates {
    /// Makes an authority and a server certificate.
    pub fn new() -> Result<Self> {
        let ca = CertifiedIssuer::self_signed(authority()?, KeyPair::generate()?).context("no authority made")?;
        let key = KeyPair::generate()?;
        let certificate = server()?.signed_by(&key, &ca).context("no server certificate made")?;
        let folder = tempfile::Builder::new().prefix("keyturn-ca-").tempdir().context("no temporary folder")?;
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).with_context(|| format!("{} not written", ca_file.display()))?;
        let connector = connector(&ca.pem())?;
        Ok(Self(Arc::new(Made {
            ca_pem: ca.pem(),
            ca_file,
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key,
            connector,
            folder,
        })))
    }

    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.0.ca_pem
    }

    /// The same in a file, which goes with the last handle.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.0.ca_file
    }

    /// The folder of that file.
    pub(crate) fn folder(&self) -> &Path {
        self.0.folder.path()
    }

    #[must_use]
    pub fn server_certificate_pem(&self) -> &str {
        &self.0.certificate_pem
    }

    #[must_use]
    pub fn server_key_pem(&self) -> String {
        self.0.key.serialize_pem()
    }

    /// What a server of ours takes TLS connections with.
    pub fn acceptor(&self) -> Result<TlsAcceptor> {
        self.acceptor_for(WebPkiClientVerifier::no_client_auth())
    }

    /// The same, for clients with a certificate of this authority only.
    pub(crate) fn demanding_acceptor(&self) -> Result<TlsAcceptor> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.ca_pem.as_bytes())?)?;
        let provider = Arc::new(ring::default_provider());
        self.acceptor_for(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
    }

    fn acceptor_for(&self, clients: Arc<dyn ClientCertVerifier>) -> Result<TlsAcceptor> {
        let key = PrivatePkcs8KeyDer::from(self.0.key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![self.0.certificate.clone()], key.into())
            .context("the server certificate does not suit its key")?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// What a client of ours connects with: it trusts this authority and no other.
    #[must_use]
    pub fn connector(&self) -> native_tls::TlsConnector {
        self.0.connector.clone()
    }
}

/// Made once: each one parses the system's whole trust store on the way.
fn connector(ca_pem: &str) -> Result<native_tls::TlsConnector> {
    let ca = native_tls::Certificate::from_pem(ca_pem.as_bytes()).context("the authority cannot be read")?;
    let mut builder = native_tls::TlsConnector::builder();
    builder.disable_built_in_roots(true).add_root_certificate(ca).build().context("no TLS client made")
}

fn authority() -> Result<CertificateParams> {
    let mut ca = valid_now(CertificateParams::new(Vec::new())?);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.distinguished_name.push(DnType::CommonName, "Keyturn test authority");
    Ok(ca)
}

fn server() -> Result<CertificateParams> {
    let mut server = valid_now(CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?);
    server.distinguished_name.push(DnType::CommonName, "localhost");
    // Members of a replica set show it to each other, as clients too.
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    server.use_authority_key_identifier_extension = true;
    Ok(server)
}

/// A few weeks around today: macOS refuses server certificates that live for years.
fn valid_now(mut params: CertificateParams) -> CertificateParams {
    let part = |number: u32| u8::try_from(number).unwrap_or(1); // months and days fit
    let midnight = |day: NaiveDate| rcgen::date_time_ymd(day.year(), part(day.month()), part(day.day()));
    let today = keyturn::clock::now().date_naive();
    params.not_before = midnight(today - TimeDelta::days(2));
    params.not_after = midnight(today + TimeDelta::days(30));
    params
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Whether a client of `client` completes a handshake with a server of `server` under this name.
    async fn shake_hands(client: &Certificates, server: &Certificates, name: &str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = server.acceptor().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.write_all(b"hello").await; // a client that distrusts us has gone already
            }
        });
        let connector = client.connector();
        let name = name.to_owned();
        let stream = std::net::TcpStream::connect(address).unwrap();
        let shaken = tokio::task::spawn_blocking(move || connector.connect(&name, stream).is_ok()).await.unwrap();
        serving.await.unwrap();
        shaken
    }

    #[tokio::test]
    async fn a_client_trusts_its_own_authority_and_the_names_of_this_machine_alone() {
        let (ours, theirs) = (Certificates::new().unwrap(), Certificates::new().unwrap());
        assert!(shake_hands(&ours, &ours, "localhost").await);
        assert!(shake_hands(&ours, &ours, "127.0.0.1").await);
        assert!(!shake_hands(&ours, &ours, "elsewhere.test").await);
        assert!(!shake_hands(&theirs, &ours, "localhost").await);
    }

    #[tokio::test]
    async fn the_authority_is_in_a_file_until_its_last_handle_goes() {
        let certificates = Certificates::new().unwrap();
        let path = certificates.ca_file().to_owned();
        let second = certificates.clone();
        drop(certificates);
        let mut text = String::new();
        tokio::fs::File::open(&path).await.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, second.ca_pem());
        drop(second);
        assert!(!path.exists());
    }
}
