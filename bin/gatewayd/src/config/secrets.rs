//! `[[credential]]`: where the upstreams' secrets are. Never what they are.

use std::collections::BTreeSet;

use gatewayd_credentials::{Config, CredentialConfig, Source as Place};
use http::HeaderName;
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::paths::Folder;
use super::raw::{RawConfig, RawCredential};

pub(super) fn build(raw: &RawConfig, source: &Source<'_>, folder: &Folder) -> Result<Config, ConfigError> {
    let mut names = BTreeSet::new();
    for spanned in &raw.credential {
        let name = spanned.get_ref().name.get_ref();
        if !names.insert(name.as_str()) {
            return Err(source.error(
                spanned.span(),
                "credential.name",
                format!("a second credential is named `{}`", name.escape_debug()),
                "give each credential a name of its own",
            ));
        }
    }
    // References first: a misspelled one would otherwise show as a credential that nobody uses.
    let without = without(raw, source, &names)?;
    let credentials = raw.credential.iter().map(|credential| build_one(credential, raw, source, folder));
    let credentials = credentials.collect::<Result<Vec<_>, _>>()?;
    let config = Config { credentials, without, version_key: None };
    config.validate().map_err(|error| {
        source.error(0..0, "credential", error.to_string(), "see [[credential]] in docs/configuration.md")
    })?;
    Ok(config)
}

/// The upstreams that want no credential.
fn without(raw: &RawConfig, source: &Source<'_>, names: &BTreeSet<&str>) -> Result<Vec<String>, ConfigError> {
    let mut without = Vec::new();
    for upstream in raw.upstream.iter().map(Spanned::get_ref) {
        match &upstream.credential {
            None => without.push(upstream.name.get_ref().clone()),
            Some(wanted) if names.contains(wanted.get_ref().as_str()) => {}
            Some(wanted) => {
                let known: Vec<&str> = names.iter().copied().collect();
                return Err(source.error(
                    wanted.span(),
                    "upstream.credential",
                    format!("no credential is named `{}`", wanted.get_ref().escape_debug()),
                    format!("name one of [{}], or add a [[credential]] of that name", known.join(", ")),
                ));
            }
        }
    }
    Ok(without)
}

fn build_one(
    spanned: &Spanned<RawCredential>,
    raw: &RawConfig,
    source: &Source<'_>,
    folder: &Folder,
) -> Result<CredentialConfig, ConfigError> {
    let written = spanned.get_ref();
    let name = written.name.get_ref();
    if let Some(value) = &written.value {
        return Err(source.error(
            value.span(),
            "credential.value",
            "a secret must not stand in the configuration: that file is copied, mailed and checked in",
            "write the value into a file of mode 0600 and name it with file = \"...\", or use env = \"...\"",
        ));
    }
    let place = match (&written.file, &written.env) {
        (Some(file), None) => Place::File(folder.resolve(file)),
        (None, Some(variable)) => Place::Env(variable.clone()),
        _ => {
            return Err(source.error(
                spanned.span(),
                format!("credential `{name}`"),
                "it must say where the secret is, in exactly one way",
                "give either file = \"...\" or env = \"...\"",
            ));
        }
    };
    let header: HeaderName = written.header.get_ref().parse().map_err(|_| {
        source.error(
            written.header.span(),
            "credential.header",
            "this is no header name",
            "write it like \"authorization\" or \"x-api-key\"",
        )
    })?;
    if !gatewayd_proxy::is_sent(&header) {
        return Err(source.error(
            written.header.span(),
            "credential.header",
            "a header of this name is not sent: it frames the message, speaks for a proxy, or has an underscore",
            "use `authorization`, `x-api-key` or a name of the upstream's own, with hyphens",
        ));
    }
    // What stands in `Authorization` is a scheme and a value (RFC 9110); elsewhere the value stands alone.
    let usual = if header == http::header::AUTHORIZATION { "Bearer " } else { "" };
    let upstreams: Vec<String> = raw
        .upstream
        .iter()
        .map(Spanned::get_ref)
        .filter(|upstream| upstream.credential.as_ref().is_some_and(|wanted| wanted.get_ref() == name))
        .map(|upstream| upstream.name.get_ref().clone())
        .collect();
    if upstreams.is_empty() {
        return Err(source.error(
            spanned.span(),
            format!("credential `{name}`"),
            "no upstream uses it",
            "name it in an upstream with credential = \"...\", or remove it",
        ));
    }
    let prefix = written.prefix.clone().unwrap_or_else(|| usual.to_owned());
    Ok(CredentialConfig { name: name.clone(), source: place, header, prefix, upstreams })
}
