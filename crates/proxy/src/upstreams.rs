//! The upstreams: one client with its own pool of connections for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::UpstreamName;
use reqwest::{Client, Url, redirect};

use crate::config::{Config, UpstreamConfig};
use crate::error::ConfigError;
use crate::tls::{self, Trust};

/// The upstreams and their pooled connections. Cheap to clone; clones share the connections.
///
/// A connection lives on the runtime that opened it. Where there is a runtime for each core, give each
/// its own with [`fresh`](Self::fresh), so that no request waits for another core.
#[derive(Debug, Clone)]
pub struct Upstreams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Arc<[Settings]>,
    by_name: HashMap<Arc<str>, Upstream>,
}

/// A checked configuration, with its files read.
#[derive(Debug)]
struct Settings {
    config: UpstreamConfig,
    base: Url,
    tls: rustls::ClientConfig,
}

/// One upstream, ready for requests.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) client: Client,
    pub(crate) base: Url,
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    /// True for HTTP/2, where a stream that was refused unread is sent again.
    pub(crate) is_http2: bool,
}

impl Upstreams {
    /// Checks the configuration and reads the files that it names. Connects to nothing yet.
    ///
    /// # Errors
    /// Names the upstream or file and says what is wrong.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut settings: Vec<Settings> = Vec::with_capacity(config.upstreams.len());
        for upstream in &config.upstreams {
            if settings.iter().any(|other| other.config.name == upstream.name) {
                return Err(ConfigError::DuplicateName(upstream.name.clone()));
            }
            settings.push(Settings::check(upstream)?);
        }
        Self::build(settings.into())
    }

    /// The same upstreams with connections of their own, for another runtime.
    ///
    /// # Errors
    /// If a client cannot be set up.
    pub fn fresh(&self) -> Result<Self, ConfigError> {
        Self::build(Arc::clone(&self.0.settings))
    }

    /// The names, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.settings.iter().map(|settings| settings.config.name.as_str())
    }

    pub(crate) fn get(&self, name: &UpstreamName) -> Option<&Upstream> {
        self.0.by_name.get(&name.0)
    }

    fn build(settings: Arc<[Settings]>) -> Result<Self, ConfigError> {
        let by_name = settings
            .iter()
            .map(|settings| Ok((settings.config.name.as_str().into(), settings.connect()?)))
            .collect::<Result<_, ConfigError>>()?;
        Ok(Self(Arc::new(Inner { settings, by_name })))
    }
}

impl Settings {
    fn check(config: &UpstreamConfig) -> Result<Self, ConfigError> {
        let base = base_url(&config.name, &config.url)?;
        let trust = match &config.ca {
            _ if base.scheme() == "http" => Trust::Nobody,
            Some(path) => Trust::Only(path),
            None => Trust::System,
        };
        let alpn: &[&[u8]] = if config.http2 { &[b"h2"] } else { &[b"http/1.1"] };
        let tls = tls::client_config(trust, config.client_certificate.as_ref(), alpn)?;
        Ok(Self { config: config.clone(), base, tls })
    }

    fn connect(&self) -> Result<Upstream, ConfigError> {
        let config = &self.config;
        let builder = plain_client(self.tls.clone())
            .redirect(redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(config.pool_idle)
            .pool_max_idle_per_host(config.pool_size)
            .http1_max_headers(100)
            .http2_max_header_list_size(64 * 1024);
        let builder = if config.http2 { builder.http2_prior_knowledge() } else { builder.http1_only() };
        let client = builder.build().map_err(|error| ConfigError::Client(error.to_string()))?;
        Ok(Upstream {
            client,
            base: self.base.clone(),
            head_timeout: config.head_timeout,
            idle_timeout: config.idle_timeout,
            is_http2: config.http2,
        })
    }
}

/// How we introduce ourselves where we speak for ourselves; requests of callers keep their own.
pub(crate) const USER_AGENT: &str = concat!("gatewayd/", env!("CARGO_PKG_VERSION"));

/// What all our clients have in common: no proxies from the environment, and small pieces are sent at once.
pub(crate) fn plain_client(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(60))
}

/// Checks a base URL; its path ends up without a slash at the end.
pub(crate) fn base_url(name: &str, text: &str) -> Result<Url, ConfigError> {
    let bad = |why| ConfigError::BadUrl { name: name.to_owned(), why };
    let url = Url::parse(text).map_err(|_| bad("write it as `http://host:port` or `https://host:port`"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only `http` and `https` are spoken"));
    }
    if !url.has_host() {
        return Err(bad("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("take user and password out of it and configure a credential instead"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("take the query and the fragment out of it"));
    }
    Ok(url)
}
