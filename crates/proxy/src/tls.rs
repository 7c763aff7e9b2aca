//! TLS towards upstreams: the system's authorities or a private one, and our own certificate if asked for.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

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
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::Client(error.to_string()))?;
    let builder = match trust {
        // Without a root no certificate holds.
        Trust::Nobody => builder.with_root_certificates(RootCertStore::empty()),
        Trust::System => {
            builder.with_platform_verifier().map_err(|error| ConfigError::Client(error.to_string()))?
        }
        Trust::Only(path) => builder.with_root_certificates(roots(path)?),
    };
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

fn roots(path: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| bad_pem(path, &error))?;
    }
    Ok(roots)
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
