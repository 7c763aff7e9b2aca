//! Reaching the admin listener of a running gateway, and signing in to it.

use std::path::Path;

use anyhow::{Context as _, bail};
use gatewayd_core::Secret;
use gatewayd_proxy::{Agent, AgentConfig, Answer};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::AdminAccess;
use crate::config::AdminAddress;

/// A signed-in connection to the admin API.
pub(crate) struct Admin {
    agent: Agent,
    runtime: tokio::runtime::Runtime,
}

impl Admin {
    pub(crate) fn connect(access: &AdminAccess) -> anyhow::Result<Self> {
        let file = &access.file.config;
        // Elsewhere than on the gateway's machine there is no configuration file, and none is needed.
        let local = match (&access.admin, file.exists()) {
            (Some(_), false) => None,
            (None, false) => bail!(
                "{} does not exist, so the gateway's address is not known\n  remedy: name the configuration with \
                 --config FILE, or the admin listener with --admin URL",
                file.display()
            ),
            (_, true) => Some(AdminAddress::load(file)?),
        };
        let url = match (&access.admin, &local) {
            (Some(url), _) => url.clone(),
            (None, Some(local)) => local.url.clone(),
            (None, None) => bail!("name the admin listener with --admin URL"),
        };
        let mut config = AgentConfig::new(url);
        config.token = Some(token(access, local.as_ref())?);
        if access.admin.is_none() {
            config.ca = local.and_then(|local| local.certificate);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let agent = Agent::new(&config)?;
        Ok(Self { agent, runtime })
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        read(&self.runtime.block_on(self.agent.get(path))?)
    }

    /// The answer's text as it is.
    pub(crate) fn text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.runtime.block_on(self.agent.get(path))?;
        if answer.status.is_success() {
            return Ok(String::from_utf8_lossy(&answer.body).into_owned());
        }
        read(&answer).map(|_| String::new())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        read(&self.runtime.block_on(self.agent.post(path, body))?)
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        read(&self.runtime.block_on(self.agent.delete(path))?)
    }
}

/// An id as one segment of a path.
pub(crate) fn segment(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

fn token(access: &AdminAccess, local: Option<&AdminAddress>) -> anyhow::Result<Secret> {
    if let Some(file) = &access.token_file {
        return read_token(file);
    }
    if let Ok(token) = std::env::var("GATEWAYD_TOKEN")
        && !token.trim().is_empty()
    {
        return Ok(Secret::new(token.trim().as_bytes().to_vec()));
    }
    match local {
        // It opens everything, for as long as the file lives: it goes to the address in the configuration alone.
        Some(local) if access.admin.is_none() => {
            let key = read_token(&local.key_file).with_context(|| {
                "no token was given and the local administrator's key cannot be read\n  remedy: set GATEWAYD_TOKEN, \
                 use --token-file, or run this as the user that runs the gateway"
            })?;
            if let Some(address) = local.unproven {
                super::listener::must_belong_to_owner_of(&local.key_file, address)?;
            }
            Ok(key)
        }
        _ => bail!(
            "set GATEWAYD_TOKEN to a token of your identity provider, or use --token-file; the local administrator's key \
             goes to the address in the configuration only"
        ),
    }
}

fn read_token(file: &Path) -> anyhow::Result<Secret> {
    let text = Zeroizing::new(
        std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?,
    );
    Ok(Secret::new(text.trim().as_bytes().to_vec()))
}

/// The answer's JSON, or its problem's sentence.
fn read(answer: &Answer) -> anyhow::Result<Value> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if answer.status.is_success() {
        return Ok(body);
    }
    match body.get("detail").and_then(Value::as_str) {
        Some(detail) => bail!("{}", super::print::printable(detail)),
        None => bail!("the gateway answered {}", answer.status),
    }
}
