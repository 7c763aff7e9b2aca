//! TLS on a listener: rustls, with certificate and key read again when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Certificate and key in force; a new pair serves the next handshake.
#[derive(Debug)]
pub(crate) struct ReloadingCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl ReloadingCertificate {
    /// Reads the pair.
    pub(crate) fn load(certificate: &Path, key: &Path) -> anyhow::Result<Arc<Self>> {
        let pair = read_pair(certificate, key)?;
        Ok(Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(pair),
        }))
    }

    /// Accepts TLS 1.2 and 1.3, offering HTTP/2 and HTTP/1.1.
    pub(crate) fn acceptor(self: &Arc<Self>) -> anyhow::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("the TLS provider supports no safe protocol version")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the pair again when a file's content changed; a pair that does not fit leaves the old one in force.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut seen = self.stamp();
        loop {
            tokio::time::sleep(POLL).await;
            let now = self.stamp();
            if now == seen {
                continue;
            }
            seen = now;
            match read_pair(&self.certificate, &self.key) {
                Ok(pair) => {
                    self.current.store(Arc::new(pair));
                    tracing::info!(certificate = %self.certificate.display(), "serving the new certificate");
                }
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the new certificate is not usable; the old one stays in force"
                    );
                }
            }
        }
    }

    /// Changes whenever a file is written or a symlink swapped.
    fn stamp(&self) -> [Option<(std::time::SystemTime, u64)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    }
}

impl ResolvesServerCert for ReloadingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read_pair(certificate: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{}: no readable PEM certificate chain", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("{}: no readable PEM private key", key.display()))?;
    let signing = aws_lc_rs::sign::any_supported_type(&private)
        .with_context(|| format!("{}: a kind of key that TLS does not use", key.display()))?;
    let pair = CertifiedKey::new(chain, signing);
    pair.keys_match()
        .with_context(|| format!("{} and {} do not belong together", certificate.display(), key.display()))?;
    Ok(pair)
}
