//! Which configured upstream a request goes to.

use gatewayd_core::UpstreamName;

use crate::config::{ConfigError, UpstreamRule};
use crate::glob::Glob;

/// The upstreams, grouped by path prefix, the longest prefix first.
#[derive(Debug)]
pub(crate) struct Upstreams {
    groups: Vec<Group>,
    default: Option<UpstreamName>,
}

/// The upstreams below one path prefix; the prefix `""` is the root.
#[derive(Debug)]
pub(crate) struct Group {
    prefix: String,
    /// False if the prefix stays in the path that is sent.
    strip: bool,
    upstreams: Vec<(UpstreamName, Vec<Glob>)>,
}

impl Upstreams {
    pub(crate) fn new(rules: &[UpstreamRule], default: Option<&str>) -> Result<Self, ConfigError> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            if rules.iter().take(at).any(|other| other.name == rule.name) {
                return Err(ConfigError::DuplicateName(rule.name.clone()));
            }
            let prefix = rule.path_prefix.as_deref().unwrap_or("");
            check_prefix(&rule.name, prefix)?;
            let entry = (
                UpstreamName(rule.name.as_str().into()),
                rule.models.iter().map(|glob| Glob::new(glob)).collect(),
            );
            match groups.iter_mut().find(|group| group.prefix == prefix) {
                Some(group) if group.strip != rule.strip_prefix && !prefix.is_empty() => {
                    return Err(ConfigError::MixedStrip(rule.name.clone(), prefix.to_owned()));
                }
                Some(group) => group.upstreams.push(entry),
                None => groups.push(Group {
                    prefix: prefix.to_owned(),
                    strip: rule.strip_prefix,
                    upstreams: vec![entry],
                }),
            }
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.prefix.len()));
        if !groups.iter().any(|group| group.prefix.is_empty()) {
            groups.push(Group { prefix: String::new(), strip: false, upstreams: Vec::new() });
        }
        let known = |name: &&str| rules.iter().any(|rule| rule.name == **name);
        if let Some(name) = default.filter(|name| !known(name)) {
            return Err(ConfigError::UnknownDefault(name.to_owned()));
        }
        Ok(Self { groups, default: default.map(|name| UpstreamName(name.into())) })
    }

    /// The group of a path: that of the longest prefix.
    pub(crate) fn group(&self, path: &str) -> &Group {
        self.groups
            .iter()
            .find(|group| group.below(path).is_some())
            .expect("the group of the root takes every path and is always there")
    }

    /// The upstream for a model, or for a request that names none.
    pub(crate) fn choose(&self, group: &Group, model: Option<&str>) -> Option<UpstreamName> {
        let serves = |globs: &[Glob]| match model {
            _ if globs.is_empty() => true,
            Some(model) => globs.iter().any(|glob| glob.matches(model)),
            None => globs.iter().any(Glob::is_everything),
        };
        let found = group.upstreams.iter().find(|(_, globs)| serves(globs)).map(|(name, _)| name);
        // A request without a model, such as a list of models, goes to the only upstream if there is one.
        let only = match group.upstreams.as_slice() {
            [(only, _)] if model.is_none() => Some(only),
            _ => None,
        };
        // The default is the upstream of the root: a prefix is never left for it.
        let default = self.default.as_ref().filter(|_| group.prefix.is_empty());
        found.or(default).or(only).cloned()
    }
}

impl Group {
    /// The path below the prefix; it starts with `/`.
    pub(crate) fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        match path.strip_prefix(self.prefix.as_str())? {
            "" => Some("/"),
            below if below.starts_with('/') => Some(below),
            _ => None,
        }
    }

    /// True if the prefix is taken off the path that is sent.
    pub(crate) fn strips(&self) -> bool {
        self.strip && !self.prefix.is_empty()
    }
}

fn check_prefix(name: &str, prefix: &str) -> Result<(), ConfigError> {
    let sound = prefix.is_empty() || (!prefix.ends_with('/') && crate::path::check(prefix).is_ok());
    if sound { Ok(()) } else { Err(ConfigError::BadPrefix(name.to_owned(), prefix.to_owned())) }
}
