//! A private certificate authority for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// An authority, a server's certificate for `localhost` and a client's, as PEM files in a directory.
#[derive(Debug)]
pub struct Pki {
    directory: PathBuf,
}

impl Pki {
    /// Makes everything anew, in a directory that exists.
    #[must_use]
    pub fn create(directory: &Path) -> Self {
        let key = KeyPair::generate().expect("the provider makes keys");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are sound names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key).expect("a fresh key signs");
        let pki = Self { directory: directory.to_owned() };
        pki.write("ca.pem", &authority.pem());
        for (name, alternative) in [("server", "localhost"), ("client", "gateway.test")] {
            let key = KeyPair::generate().expect("the provider makes keys");
            let params = CertificateParams::new(vec![alternative.to_owned()]).expect("a plain DNS name");
            let certificate = params.signed_by(&key, &authority).expect("the authority signs");
            pki.write(&format!("{name}.pem"), &certificate.pem());
            pki.write(&format!("{name}.key"), &key.serialize_pem());
        }
        pki
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The server's certificate and key.
    #[must_use]
    pub fn server(&self) -> (PathBuf, PathBuf) {
        (self.directory.join("server.pem"), self.directory.join("server.key"))
    }

    /// The client's certificate and key.
    #[must_use]
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.directory.join("client.pem"), self.directory.join("client.key"))
    }

    pub(crate) fn server_config(&self, wants_client: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions");
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_file(self.ca()).expect("written by this type");
            roots.add(ca).expect("written by this type");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("one root is enough"))
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = self.server();
        let certificate = CertificateDer::from_pem_file(certificate).expect("written by this type");
        let key = PrivateKeyDer::from_pem_file(key).expect("written by this type");
        let mut config = builder.with_single_cert(vec![certificate], key).expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).expect("the test's directory is writable");
    }
}
