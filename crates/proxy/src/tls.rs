//! TLS towards upstreams: the system's authorities or a private one, and our own certificate if asked for.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::ClientCertificate;
use crate::error::{ConfigError, in_one_line};

/// Whom to trust.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'c> {
    /// Nobody: for plain connections, which never shake hands.
    Nobody,
    /// The authorities of the system.
    System,
    /// Only those in this PEM file.
    Only(&'c Path),
}

pub(crate) fn client_config(
    trust: Trust<'_>,
    own: Option<&ClientCertificate>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(trust, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Client(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = certificates(&own.certificate)?;
            let key = PrivateKeyDer::from_pem_file(&own.key).map_err(|error| bad_pem(&own.key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| ConfigError::BadClientCertificate {
                path: own.certificate.clone(),
                why: error.to_string(),
            })?
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Despite the name of rustls's builder, both verifiers check everything: chain, validity and name.
fn verifier(
    trust: Trust<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
    let path = match trust {
        Trust::Nobody => return Ok(Arc::new(NobodyVerifier(Arc::clone(provider)))),
        Trust::System => {
            let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
            return Ok(Arc::new(verifier.map_err(|error| ConfigError::Client(error.to_string()))?));
        }
        Trust::Only(path) => path,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| bad_pem(path, &error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(verifier.build().map_err(|error| bad_pem(path, &error))?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let read = CertificateDer::pem_file_iter(path)
        .map_err(|error| bad_pem(path, &error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_pem(path, &error))?;
    if read.is_empty() {
        return Err(ConfigError::BadPem {
            path: path.to_owned(),
            why: "it holds no certificate in PEM form".to_owned(),
        });
    }
    Ok(read)
}

fn bad_pem(path: &Path, error: &dyn std::error::Error) -> ConfigError {
    ConfigError::BadPem { path: path.to_owned(), why: in_one_line(error) }
}

/// Refuses every certificate.
#[derive(Debug)]
struct NobodyVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NobodyVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Err(rustls::CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::CertificateError::UnknownIssuer.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::CertificateError::UnknownIssuer.into())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
