//! `[[upstream]]`: how to talk to the model servers.

use gatewayd_proxy::{ClientCertificate, Config, ConfigError as Problem, UpstreamConfig, Upstreams};
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::paths::Folder;
use super::raw::{RawConfig, RawUpstream};

/// The upstreams' clients, to be multiplied by the workers.
pub(super) fn build(raw: &RawConfig, source: &Source<'_>, folder: &Folder) -> Result<Upstreams, ConfigError> {
    let upstreams = raw.upstream.iter().map(|upstream| server(upstream.get_ref(), folder)).collect();
    // One at a time, so that an error can be given its place.
    for upstream in &raw.upstream {
        let alone = Config { upstreams: vec![server(upstream.get_ref(), folder)] };
        Upstreams::new(&alone).map_err(|problem| locate(upstream, source, &problem))?;
    }
    Upstreams::new(&Config { upstreams }).map_err(|problem| {
        source.error(0..0, "upstream", problem.to_string(), "see [[upstream]] in docs/configuration.md")
    })
}

fn server(raw: &RawUpstream, folder: &Folder) -> UpstreamConfig {
    let mut config = UpstreamConfig::new(raw.name.get_ref().clone(), raw.url.get_ref().clone());
    if let Some(span) = raw.connect_timeout {
        config.connect_timeout = span.0;
    }
    config.head_timeout = raw.head_timeout.map(|span| span.0);
    config.idle_timeout = raw.idle_timeout.map(|span| span.0);
    config.ca = raw.ca.as_deref().map(|path| folder.resolve(path));
    config.client_certificate = raw.client_certificate.as_ref().map(|pair| ClientCertificate {
        certificate: folder.resolve(&pair.certificate),
        key: folder.resolve(&pair.key),
    });
    config.http2 = raw.http2;
    if let Some(span) = raw.pool_idle {
        config.pool_idle = span.0;
    }
    config
}

fn locate(upstream: &Spanned<RawUpstream>, source: &Source<'_>, problem: &Problem) -> ConfigError {
    let raw = upstream.get_ref();
    let (at, key) = match problem {
        Problem::BadUrl { .. } => (raw.url.span(), "upstream.url"),
        _ => (upstream.span(), "upstream"),
    };
    source.error(at, key, problem.to_string(), "see [[upstream]] in docs/configuration.md")
}
