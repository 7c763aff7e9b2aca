//! What one configuration makes. A reload makes another one, whole, or none at all.

use std::sync::Arc;

use gatewayd_authn::Authn;
use gatewayd_core::{CredentialVersion, Secret};
use gatewayd_credentials::Credentials;
use gatewayd_dialects::Dialects;
use gatewayd_proxy::{FetchConfig, HttpFetch};

use super::lasting::Lasting;
use crate::config::Config;

/// The controls of one configuration.
pub(crate) struct Controls {
    pub config: Config,
    /// For callers of the model.
    pub authn: Authn,
    /// For the admin listener; it also knows the local key.
    pub admin_authn: Authn,
    pub dialects: Dialects,
    pub credentials: Credentials,
}

impl Controls {
    /// Builds every control. Nothing is in force yet.
    pub(crate) fn build(config: Config, lasting: &Lasting, before: Option<&Self>) -> anyhow::Result<Self> {
        let authn = authn(&config, lasting, before)?;
        let admin_authn = authn.with_local_admin(lasting.local_admin.clone());
        let dialects = Dialects::new(&config.dialects)?;
        let credentials = credentials(&config, lasting, before)?;
        Ok(Self { config, authn, admin_authn, dialects, credentials })
    }

    /// Why no request could be served at all, if so. One provider or one credential of several that cannot be
    /// had is no reason: its requests get 503, the others are served.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        let issuers = self.authn.status();
        if !issuers.is_empty() && !issuers.iter().any(|issuer| issuer.ready) {
            return Some("no identity provider's keys can be had");
        }
        let credentials = self.credentials.status();
        if !credentials.is_empty() && credentials.iter().all(|credential| credential.version.is_none()) {
            return Some("no credential can be had");
        }
        None
    }
}

fn authn(config: &Config, lasting: &Lasting, before: Option<&Controls>) -> anyhow::Result<Authn> {
    // The same authorities: keys that were fetched already stay good.
    if let Some(before) = before.filter(|before| before.config.authn_ca == config.authn_ca) {
        return Ok(before.authn.reconfigured(config.authn.clone())?);
    }
    let fetch = HttpFetch::new(&FetchConfig { ca: config.authn_ca.clone(), ..FetchConfig::default() })?;
    let tokens = Some(lasting.tokens.clone());
    Ok(Authn::new(config.authn.clone(), Arc::new(fetch), tokens, Arc::clone(&lasting.clock))?)
}

fn credentials(config: &Config, lasting: &Lasting, before: Option<&Controls>) -> anyhow::Result<Credentials> {
    let mut settings = config.credentials.clone();
    settings.version_key = Some(lasting.version_key.clone());
    if let Some(before) = before {
        // Keeps the versions in force, so that a value changed meanwhile comes into force as a rotation.
        return Ok(before.credentials.reconfigured(settings)?);
    }
    let known = lasting.known_secrets.clone();
    let learn = move |version: &CredentialVersion, secret: &Secret| {
        if let Err(error) = known.insert(secret.expose()) {
            // Too short to be found reliably: say so once, at the version, never the value.
            tracing::warn!(
                credential = &*version.credential,
                version = &*version.version,
                %error,
                "this credential cannot be masked in answers"
            );
        }
    };
    Ok(Credentials::new(settings, Arc::clone(&lasting.clock), lasting.journal(), Arc::new(learn))?)
}
