//! `[policy]`: rules in TOML, and files of Cedar beside them.

use gatewayd_policy::{CedarFile, Config, Policy};
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::paths::Folder;
use super::raw::RawConfig;

/// The policy, compiled, so that `check` finds what `serve` would.
pub(super) fn build(raw: &RawConfig, source: &Source<'_>, folder: &Folder) -> Result<Policy, ConfigError> {
    let cedar =
        raw.policy.cedar.iter().map(|path| read(path, source, folder)).collect::<Result<Vec<_>, _>>()?;
    let config = Config {
        rules: raw.policy.rule.iter().map(|rule| rule.get_ref().clone()).collect(),
        cedar,
        approvals: raw.approval.keys().cloned().collect(),
        upstreams: Some(raw.upstream.iter().map(|u| u.get_ref().name.get_ref().clone()).collect()),
    };
    Policy::new(&config).map_err(|error| locate(raw, source, &error))
}

fn read(
    path: &Spanned<std::path::PathBuf>,
    source: &Source<'_>,
    folder: &Folder,
) -> Result<CedarFile, ConfigError> {
    let file = folder.resolve(path.get_ref());
    let text = std::fs::read_to_string(&file).map_err(|error| {
        source.error(
            path.span(),
            "policy.cedar",
            format!("{} cannot be read: {error}", file.display()),
            "correct the path; it is relative to the configuration's own folder",
        )
    })?;
    Ok(CedarFile { name: path.get_ref().display().to_string(), text })
}

/// Where in the file the rule stands that an error is about.
fn locate(raw: &RawConfig, source: &Source<'_>, error: &gatewayd_policy::Error) -> ConfigError {
    match error {
        gatewayd_policy::Error::Rule { rule, key, problem, remedy } => {
            let place = rule.strip_prefix('#').and_then(|number| number.parse::<usize>().ok());
            let found = match place {
                Some(number) => raw.policy.rule.get(number.saturating_sub(1)),
                // The last of that name: a name used twice is wrong at its second place.
                None => raw.policy.rule.iter().rev().find(|spec| spec.get_ref().name == *rule),
            };
            let at = found.map_or(0..0, Spanned::span);
            source.error(at, format!("policy.rule `{}`, {key}", rule.escape_debug()), problem, remedy)
        }
        gatewayd_policy::Error::Cedar { file, place, problem, remedy } => {
            let found = raw.policy.cedar.iter().find(|path| path.get_ref().display().to_string() == *file);
            let key = format!("policy.cedar `{}`, {place}", file.escape_debug());
            source.error(found.map_or(0..0, Spanned::span), key, problem, remedy)
        }
        other => {
            source.error(0..0, "policy", other.to_string(), "see [[policy.rule]] in docs/configuration.md")
        }
    }
}
