//! What this crate is told about the upstreams.

use std::path::PathBuf;
use std::time::Duration;

/// Configuration of [`Upstreams`](crate::Upstreams).
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The upstreams.
    pub upstreams: Vec<UpstreamConfig>,
}

/// One upstream: a model server, and how to talk to it.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Its name, by which requests are sent to it.
    pub name: String,
    /// Its base URL, `http` or `https`; a path in it is put before every request's path.
    /// It holds no user, password, query or fragment.
    pub url: String,
    /// Longest wait for a connection, its TLS handshake included. 10 seconds.
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer, counted from the start and so with the time that connecting and
    /// uploading take. None: a model that thinks is not an error.
    pub head_timeout: Option<Duration>,
    /// Longest silence within an answer. None, for the same reason.
    pub idle_timeout: Option<Duration>,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Certificate and key shown to the upstream.
    pub client_certificate: Option<ClientCertificate>,
    /// Speaks HTTP/2, without asking first where there is no TLS. False: HTTP/1.1, with a connection for
    /// each request in flight. One HTTP/2 connection carries only as many requests as the upstream allows,
    /// often 100: long streams would make the next ones wait.
    pub http2: bool,
    /// How long an unused connection is kept. 4 seconds: common model servers hang up after 5.
    pub pool_idle: Duration,
    /// How many unused connections are kept, in each pool. 256.
    pub pool_size: usize,
}

/// PEM files of a certificate with its chain, and of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, then its intermediates.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl UpstreamConfig {
    /// An upstream with the defaults of each setting.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            connect_timeout: Duration::from_secs(10),
            head_timeout: None,
            idle_timeout: None,
            ca: None,
            client_certificate: None,
            http2: false,
            pool_idle: Duration::from_secs(4),
            pool_size: 256,
        }
    }
}
