//! One TOML rule, checked.

use std::net::IpAddr;

use gatewayd_core::{Action, Dialect};
use ipnet::IpNet;

use crate::error::Error;
use crate::model::parse_pattern;
use crate::spec::{RuleEffect, RuleSpec};
use crate::window::Window;

/// More values than this in one key are surely a mistake, and would make slow policies.
const MAX_VALUES: usize = 1024;
const MAX_NAME: usize = 64;
/// Names that decisions use where no rule decided.
const RESERVED: [&str; 2] = [crate::DEFAULT_DENY, "none"];

const DIALECTS: [Dialect; 7] = [
    Dialect::OpenAi,
    Dialect::Anthropic,
    Dialect::Ollama,
    Dialect::Vllm,
    Dialect::LlamaCpp,
    Dialect::KServe,
    Dialect::Unknown,
];

/// A rule whose values are all understood.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) spec: RuleSpec,
    /// `None` where everyone is meant.
    pub(crate) groups: Option<Vec<String>>,
    /// `None` where the key is left out.
    pub(crate) actions: Option<Vec<Action>>,
    /// Literal pieces between the stars.
    pub(crate) models: Option<Vec<Vec<String>>>,
    pub(crate) routes: Option<Vec<Vec<String>>>,
    pub(crate) sources: Option<Vec<IpNet>>,
    pub(crate) window: Option<Window>,
}

impl Rule {
    /// Checks a rule. `place` counts from one and names rules without a usable name.
    pub(crate) fn check(spec: &RuleSpec, place: usize) -> Result<Self, Error> {
        check_name(&spec.name).map_err(|problem| {
            let remedy = "write a unique name of lower-case letters, digits and single hyphens";
            Error::rule(&format!("#{place}"), "name", problem, remedy)
        })?;
        check_lists(spec)?;
        check_approval(spec)?;
        let rule = Self {
            groups: everyone_or(spec)?,
            actions: parse_actions(spec)?,
            models: parse_models(spec)?,
            routes: parse_routes(spec)?,
            sources: parse_sources(spec)?,
            window: Window::of(spec)?,
            spec: spec.clone(),
        };
        check_dialects(spec)?;
        if spec.effect != RuleEffect::Deny && spec.groups.is_none() && spec.subjects.is_none() {
            let remedy = "add `groups` or `subjects`; `groups = [\"*\"]` means everyone who is signed in";
            return Err(Error::rule(&spec.name, "groups", "does not say for whom", remedy));
        }
        Ok(rule)
    }

    /// True if the rule, or its absence, can only be told with the model's name.
    pub(crate) fn is_strict(&self) -> bool {
        self.spec.effect != RuleEffect::Allow
    }

    /// True if it can match an operation that no table knows.
    pub(crate) fn covers_unknown(&self) -> bool {
        match &self.actions {
            Some(actions) => actions.contains(&Action::Unknown),
            None => self.spec.effect == RuleEffect::Deny,
        }
    }
}

/// Checks that a name can be shown anywhere.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let shown = || name.chars().take(MAX_NAME).collect::<String>().escape_debug().to_string();
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("`{}...` is longer than {MAX_NAME} characters", shown()));
    }
    let part_is_fine =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !name.split('-').all(part_is_fine) {
        return Err(format!("`{}` is not in kebab-case", shown()));
    }
    if RESERVED.contains(&name) {
        return Err(format!("`{name}` is what decisions say where no rule decided"));
    }
    Ok(())
}

fn check_lists(spec: &RuleSpec) -> Result<(), Error> {
    let lists: [(&'static str, &Option<Vec<String>>); 10] = [
        ("groups", &spec.groups),
        ("subjects", &spec.subjects),
        ("issuers", &spec.issuers),
        ("actions", &spec.actions),
        ("models", &spec.models),
        ("upstreams", &spec.upstreams),
        ("dialects", &spec.dialects),
        ("routes", &spec.routes),
        ("sources", &spec.sources),
        ("days", &spec.days),
    ];
    for (key, list) in lists.into_iter().chain([("hours", &spec.hours)]) {
        let Some(list) = list else { continue };
        if list.is_empty() {
            return Err(Error::rule(
                &spec.name,
                key,
                "is empty, so the rule would never match",
                "add a value, or leave the key out so that it does not narrow the rule",
            ));
        }
        if list.len() > MAX_VALUES {
            let problem = format!("has {} values, more than {MAX_VALUES}", list.len());
            return Err(Error::rule(&spec.name, key, problem, "split the rule in two"));
        }
        if list.iter().any(String::is_empty) {
            return Err(Error::rule(&spec.name, key, "holds an empty value", "remove it"));
        }
    }
    Ok(())
}

fn check_approval(spec: &RuleSpec) -> Result<(), Error> {
    match (spec.effect, &spec.approval) {
        (RuleEffect::Approve, None) => Err(Error::rule(
            &spec.name,
            "approval",
            "is missing, and `effect` is `approve`",
            "name the approval requirement to meet, such as `approval = \"two-people\"`",
        )),
        (RuleEffect::Allow | RuleEffect::Deny, Some(_)) => Err(Error::rule(
            &spec.name,
            "approval",
            format!("has no meaning with `effect = \"{}\"`", spec.effect.as_str()),
            "write `effect = \"approve\"`, or leave `approval` out",
        )),
        _ => Ok(()),
    }
}

fn everyone_or(spec: &RuleSpec) -> Result<Option<Vec<String>>, Error> {
    match &spec.groups {
        Some(groups) if groups.iter().any(|group| group == "*") => {
            if groups.len() > 1 {
                let remedy = "write `groups = [\"*\"]` alone, or name groups only";
                return Err(Error::rule(&spec.name, "groups", "mixes `*` with names", remedy));
            }
            Ok(None)
        }
        groups => Ok(groups.clone()),
    }
}

fn parse_actions(spec: &RuleSpec) -> Result<Option<Vec<Action>>, Error> {
    let Some(names) = &spec.actions else { return Ok(None) };
    let known = || Action::ALL.map(Action::as_str).join(", ");
    names
        .iter()
        .map(|name| {
            Action::from_name(name).ok_or_else(|| {
                let problem = format!("`{}` is no action", name.escape_debug());
                let remedy = match name.as_str() {
                    "*" => "leave `actions` out to cover every known action".to_owned(),
                    _ => format!("write one of: {}", known()),
                };
                Error::rule(&spec.name, "actions", problem, remedy)
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

fn check_dialects(spec: &RuleSpec) -> Result<(), Error> {
    for name in spec.dialects.iter().flatten() {
        if !DIALECTS.iter().any(|dialect| dialect.as_str() == name) {
            let problem = format!("`{}` is no dialect", name.escape_debug());
            let remedy = format!("write one of: {}", DIALECTS.map(Dialect::as_str).join(", "));
            return Err(Error::rule(&spec.name, "dialects", problem, remedy));
        }
    }
    Ok(())
}

fn parse_models(spec: &RuleSpec) -> Result<Option<Vec<Vec<String>>>, Error> {
    let Some(patterns) = &spec.models else { return Ok(None) };
    patterns
        .iter()
        .map(|pattern| {
            parse_pattern(pattern).map_err(|remedy| {
                let problem = format!("`{}` can never match", pattern.escape_debug());
                Error::rule(&spec.name, "models", problem, remedy)
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

fn parse_routes(spec: &RuleSpec) -> Result<Option<Vec<Vec<String>>>, Error> {
    let Some(patterns) = &spec.routes else { return Ok(None) };
    for pattern in patterns {
        if !pattern.starts_with(['/', '*']) {
            let problem = format!("`{}` does not begin with `/`", pattern.escape_debug());
            let remedy = "write a route template such as `/v1/files/{id}` or `/v1/files*`";
            return Err(Error::rule(&spec.name, "routes", problem, remedy));
        }
    }
    Ok(Some(patterns.iter().map(|p| p.split('*').map(str::to_owned).collect()).collect()))
}

fn parse_sources(spec: &RuleSpec) -> Result<Option<Vec<IpNet>>, Error> {
    let Some(sources) = &spec.sources else { return Ok(None) };
    sources
        .iter()
        .map(|text| {
            let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            net.map(canonical).ok_or_else(|| {
                let problem = format!("`{}` is no address and no network", text.escape_debug());
                let remedy = "write such as `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.7`";
                Error::rule(&spec.name, "sources", problem, remedy)
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

/// Callers are compared by their IPv4 address where they have one, so networks must be too.
fn canonical(net: IpNet) -> IpNet {
    let net = net.trunc();
    if let IpNet::V6(six) = net
        && six.prefix_len() >= 96
        && let Some(four) = six.addr().to_ipv4_mapped()
        && let Ok(four) = ipnet::Ipv4Net::new(four, six.prefix_len() - 96)
    {
        return IpNet::V4(four);
    }
    net
}
