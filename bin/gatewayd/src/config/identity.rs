//! `[authn]` and `[[issuer]]`: whose tokens are believed.

use gatewayd_authn::{Algorithm, ClaimPath, Config, IssuerConfig};
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::raw::{ClaimKeys, RawConfig, RawIssuer};

pub(super) fn build(raw: &RawConfig, source: &Source<'_>) -> Result<Config, ConfigError> {
    let defaults = Config::default();
    let issuers =
        raw.issuer.iter().map(|issuer| build_issuer(issuer, source)).collect::<Result<Vec<_>, _>>()?;
    Ok(Config {
        issuers,
        leeway: raw.authn.leeway.map_or(defaults.leeway, |span| span.0),
        verdict_capacity: raw.authn.remembered_tokens.unwrap_or(defaults.verdict_capacity),
        dangerous_allow_http: raw.authn.dangerous_allow_http,
    })
}

fn build_issuer(spanned: &Spanned<RawIssuer>, source: &Source<'_>) -> Result<IssuerConfig, ConfigError> {
    let raw = spanned.get_ref();
    let mut issuer = IssuerConfig::new(raw.url.clone(), raw.audiences.iter().cloned());
    if let Some(claim) = &raw.groups_claim {
        issuer.groups_claim = match claim.get_ref() {
            ClaimKeys::Path(path) => path.parse(),
            ClaimKeys::Keys(keys) => ClaimPath::keys(keys.iter().cloned()),
        }
        .map_err(|error| {
            source.error(
                claim.span(),
                "issuer.groups_claim",
                error.to_string(),
                "write the claim's name, a dotted path, or a list of keys from the outside in",
            )
        })?;
    }
    if let Some(names) = &raw.algorithms {
        issuer.algorithms = names.iter().map(|name| algorithm(name, source)).collect::<Result<_, _>>()?;
    }
    issuer.group_prefix.clone_from(&raw.group_prefix);
    issuer.clients.clone_from(&raw.clients);
    issuer.jwks_url.clone_from(&raw.jwks_url);
    issuer.max_token_age = raw.max_token_age.map(|span| span.0);
    if let Some(span) = raw.refresh {
        issuer.refresh = span.0;
    }
    if let Some(span) = raw.max_staleness {
        issuer.max_staleness = span.0;
    }
    Ok(issuer)
}

fn algorithm(name: &Spanned<String>, source: &Source<'_>) -> Result<Algorithm, ConfigError> {
    Algorithm::from_name(name.get_ref()).ok_or_else(|| {
        let known: Vec<_> = Algorithm::ALL.into_iter().map(Algorithm::as_str).collect();
        source.error(
            name.span(),
            "issuer.algorithms",
            format!("`{}` is no signature algorithm that is accepted here", name.get_ref().escape_debug()),
            format!("use some of: {}", known.join(", ")),
        )
    })
}

/// Where in the file the issuer stands that an error of the authn crate is about.
pub(super) fn locate(raw: &RawConfig, source: &Source<'_>, error: &gatewayd_authn::Error) -> ConfigError {
    let (at, key) = match error {
        gatewayd_authn::Error::Issuer { issuer, .. } | gatewayd_authn::Error::DuplicateIssuer(issuer) => {
            let found = raw.issuer.iter().rev().find(|raw| raw.get_ref().url == *issuer);
            (found.map_or(0..0, Spanned::span), "issuer")
        }
        _ => (0..0, "authn"),
    };
    source.error(
        at,
        key,
        error.to_string(),
        "correct it; docs/configuration.md describes every key of [[issuer]]",
    )
}
