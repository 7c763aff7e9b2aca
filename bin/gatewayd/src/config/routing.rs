//! `[[upstream]]`: which requests go where.

use gatewayd_dialects::{Config, ConfigError as Problem, Dialects, Limits, UpstreamRule};
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::raw::{RawConfig, RawUpstream};

pub(super) fn build(raw: &RawConfig, source: &Source<'_>) -> Result<Config, ConfigError> {
    if raw.upstream.is_empty() {
        return Err(ConfigError::whole(
            source.file,
            "no [[upstream]] is configured, so no request could go anywhere",
            "add one: [[upstream]] with name = \"llama\" and url = \"http://127.0.0.1:8000\"",
        ));
    }
    let mut defaults = raw.upstream.iter().filter(|upstream| upstream.get_ref().default);
    let default = defaults.next().map(|upstream| upstream.get_ref().name.get_ref().clone());
    if let Some(second) = defaults.next() {
        return Err(source.error(
            second.span(),
            "upstream.default",
            "a second upstream is the default",
            "keep default = true on one of them",
        ));
    }
    let config = Config {
        upstreams: raw.upstream.iter().map(|upstream| rule(upstream.get_ref())).collect(),
        default,
        limits: Limits {
            json: usize::try_from(raw.limits.body.as_u64()).unwrap_or(usize::MAX),
            stream: raw.limits.upload.as_u64(),
            wait: raw.limits.body_timeout.0,
        },
    };
    Dialects::new(&config).map_err(|problem| locate(raw, source, &problem))?;
    Ok(config)
}

fn rule(raw: &RawUpstream) -> UpstreamRule {
    UpstreamRule {
        name: raw.name.get_ref().clone(),
        models: raw.models.clone(),
        path_prefix: raw.path_prefix.clone(),
        strip_prefix: !raw.keep_prefix,
    }
}

/// Where in the file the upstream stands that a problem is about.
fn locate(raw: &RawConfig, source: &Source<'_>, problem: &Problem) -> ConfigError {
    let name = match problem {
        Problem::DuplicateName(name)
        | Problem::UnknownDefault(name)
        | Problem::BadPrefix(name, _)
        | Problem::MixedStrip(name, _) => name.as_str(),
        _ => "",
    };
    // The last of that name: a name used twice is wrong at its second place.
    let found = raw.upstream.iter().rev().find(|upstream| upstream.get_ref().name.get_ref() == name);
    source.error(
        found.map_or(0..0, Spanned::span),
        "upstream",
        problem.to_string(),
        "see [[upstream]] in docs/configuration.md",
    )
}
