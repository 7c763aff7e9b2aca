//! `[approval.NAME]`: who must agree.

use std::collections::BTreeMap;

use gatewayd_approvals::{Config, Requirement, Seats};
use toml::Spanned;

use super::build::Share;
use super::error::{ConfigError, Source};
use super::raw::{RawApproval, RawApprovers, RawConfig};

pub(super) fn build(
    raw: &RawConfig,
    source: &Source<'_>,
    public_url: String,
    disk: Share,
) -> Result<Config, ConfigError> {
    let mut requirements = BTreeMap::new();
    for (name, spanned) in &raw.approval {
        requirements.insert(name.clone(), requirement(name, spanned, source)?);
    }
    let config = Config {
        requirements,
        public_url,
        max_held: raw.limits.held_requests,
        body_limit: raw.limits.upload.as_u64(),
        disk_limit: disk.in_all,
        disk_limit_per_caller: disk.per_caller,
        body_timeout: raw.limits.body_timeout.0,
        ..Config::default()
    };
    config.check().map_err(|error| locate(raw, source, &error))?;
    Ok(config)
}

fn requirement(
    name: &str,
    spanned: &Spanned<RawApproval>,
    source: &Source<'_>,
) -> Result<Requirement, ConfigError> {
    let raw = spanned.get_ref();
    let mut alternatives: Vec<Vec<Seats>> = raw.any_of.iter().map(|group| seats(group)).collect();
    if !raw.approvers.is_empty() {
        if !alternatives.is_empty() {
            return Err(source.error(
                spanned.span(),
                format!("approval.{name}"),
                "both `approvers` and `any_of` are given, and it is not clear which counts",
                "use approvers = [..] where all must agree, or any_of = [[..], [..]] where one list is enough",
            ));
        }
        alternatives.push(seats(&raw.approvers));
    }
    let mut requirement = Requirement::any_of(alternatives);
    if let Some(hold) = raw.hold {
        requirement.hold = hold.0;
    }
    if let Some(expires) = raw.expires {
        requirement.expires = expires.0;
    }
    requirement.one_denial_denies = raw.one_denial_denies;
    requirement.grant = raw.grant.map(|span| span.0);
    requirement.programs_may_vote = raw.programs_may_vote;
    Ok(requirement)
}

fn seats(raw: &[RawApprovers]) -> Vec<Seats> {
    raw.iter().map(|approvers| Seats::new(approvers.group.clone(), approvers.count)).collect()
}

/// Where in the file the requirement stands that an error is about.
fn locate(raw: &RawConfig, source: &Source<'_>, error: &gatewayd_approvals::Error) -> ConfigError {
    match error {
        gatewayd_approvals::Error::Requirement { name, key, problem, remedy } => {
            let at = raw.approval.get(name).map_or(0..0, Spanned::span);
            source.error(at, format!("approval.{name}.{key}"), problem, remedy)
        }
        gatewayd_approvals::Error::Config { key, problem, remedy } => {
            source.error(0..0, format!("limits ({key})"), problem, remedy)
        }
        other => {
            source.error(0..0, "approval", other.to_string(), "see [approval.NAME] in docs/configuration.md")
        }
    }
}
