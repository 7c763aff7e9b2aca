//! The decision itself.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use cedar_policy::{Authorizer, PolicySet, Schema};
use gatewayd_core::{Decision, Identity, Operation, Timestamp, UpstreamName};

use crate::cache::{Cache, Uses};
use crate::cedar_file;
use crate::compile::compile;
use crate::error::Error;
use crate::facts::{EntityTypes, Facts};
use crate::named::Named;
use crate::rule::Rule;
use crate::spec::{Config, RuleEffect};

/// The rule's name in a decision where no rule matched.
pub const DEFAULT_DENY: &str = "default-deny";

const SCHEMA: &str = include_str!("gateway.cedarschema");
const MAX_RULES: usize = 10_000;

/// A compiled policy: rules in, decisions out. No I/O.
///
/// Deny by default; a deny wins over everything; an approve wins over an allow. The order of the rules
/// only decides which of several matching rules of the winning effect is named, and so, for `approve`,
/// which approval requirement applies: the first.
pub struct Policy {
    pub(crate) rules: Vec<Entry>,
    pub(crate) types: EntityTypes,
    pub(crate) authorizer: Authorizer,
    pub(crate) named: Named,
    /// The policies of the Cedar files: they are asked about every time.
    pub(crate) written: PolicySet,
    /// Those that may speak on an operation that no table knows: permits that name it, and every forbid.
    pub(crate) written_unknown: PolicySet,
    pub(crate) default_deny: Arc<str>,
    version: Arc<str>,
    cache: Cache,
}

/// One rule of the policy in force, from TOML or from a Cedar file.
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) effect: RuleEffect,
    pub(crate) approval: Option<Arc<str>>,
    pub(crate) description: Option<String>,
    pub(crate) policy: cedar_policy::Policy,
    /// The same, ready to be asked about.
    pub(crate) alone: PolicySet,
    /// The TOML rule; `None` for one from a Cedar file.
    pub(crate) rule: Option<Rule>,
    names_unknown: bool,
}

impl Entry {
    /// The rule as Cedar text.
    fn text(&self) -> String {
        self.policy.to_cedar().expect("a policy that is no instance of a template has a text")
    }

    /// True if the rule is asked about an operation that no table knows.
    pub(crate) fn speaks_on_unknown(&self) -> bool {
        self.names_unknown || self.effect == RuleEffect::Deny
    }
}

impl Policy {
    /// Checks and compiles a policy.
    ///
    /// # Errors
    /// The first thing that is wrong, with the rule's name, the key, and what to write instead.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let types = EntityTypes::new();
        let mut rules = toml_rules(config)?;
        rules.extend(cedar_rules(config, &types)?);
        if rules.len() > MAX_RULES {
            return Err(Error::TooLarge { what: "rules", found: rules.len(), limit: MAX_RULES });
        }
        let (mut written, mut written_unknown) = (PolicySet::new(), PolicySet::new());
        for entry in rules.iter().filter(|entry| entry.rule.is_none()) {
            add(&mut written, &entry.name, &entry.policy)?;
            if entry.speaks_on_unknown() {
                add(&mut written_unknown, &entry.name, &entry.policy)?;
            }
        }
        let uses = Uses::of(&rules);
        Ok(Self {
            version: version_of(&rules).into(),
            cache: Cache::new(uses),
            named: Named::of(&rules),
            authorizer: Authorizer::new(),
            default_deny: DEFAULT_DENY.into(),
            rules,
            types,
            written,
            written_unknown,
        })
    }

    /// The schema that Cedar files are checked against, in Cedar's schema language.
    #[must_use]
    pub fn schema_text() -> &'static str {
        SCHEMA
    }

    /// The TOML rules that let a subject pass whoever vouches for it: they name `subjects` and no `issuers`. Where
    /// several can vouch, the same name may be several people.
    pub fn subjects_of_any_issuer(&self) -> impl Iterator<Item = &str> {
        let passes = self.rules.iter().filter(|entry| entry.effect != RuleEffect::Deny);
        let any = |rule: &Rule| rule.spec.subjects.is_some() && rule.spec.issuers.is_none();
        passes.filter(move |entry| entry.rule.as_ref().is_some_and(any)).map(|entry| &*entry.name)
    }

    /// Digest of everything in this policy that can change a decision (SHA-256, lower-case hex, first 16).
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Every rule as a Cedar policy, for people.
    #[must_use]
    pub fn to_cedar(&self) -> String {
        self.rules.iter().map(Entry::text).collect::<Vec<_>>().join("\n\n")
    }

    /// May this caller do this, there, from there, now?
    ///
    /// Decisions are kept in a bounded cache, keyed by all inputs that the rules look at.
    #[must_use]
    pub fn decide(
        &self,
        identity: &Identity,
        operation: &Operation,
        upstream: &UpstreamName,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Decision {
        let windows = self.cache.open_windows(now);
        let key = self.cache.key(identity, operation, upstream, source, &windows);
        if let Some(key) = key
            && let Some(decision) = self.cache.get(key)
        {
            return decision;
        }
        let judgement = self.judge(&Facts::new(identity, operation, upstream, source, now));
        match (key, judgement.error) {
            (_, Some(error)) => {
                tracing::error!(
                    rule = &*judgement.decision.rule,
                    error,
                    "policy could not be evaluated: denied"
                );
            }
            (Some(key), None) => self.cache.put(key, judgement.decision.clone()),
            (None, None) => {}
        }
        judgement.decision
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policy({} rules, version {})", self.rules.len(), self.version)
    }
}

/// The published schema, parsed.
pub(crate) fn schema() -> Schema {
    let (schema, _warnings) =
        Schema::from_cedarschema_str(SCHEMA).expect("the schema is part of this crate and tests load it");
    schema
}

fn toml_rules(config: &Config) -> Result<Vec<Entry>, Error> {
    let mut entries: Vec<Entry> = Vec::with_capacity(config.rules.len());
    for (index, spec) in config.rules.iter().enumerate() {
        let rule = Rule::check(spec, index + 1)?;
        if entries.iter().any(|entry| *entry.name == *spec.name) {
            return Err(duplicate_name(&spec.name));
        }
        if let Some(approval) = &spec.approval
            && !config.approvals.contains(approval)
        {
            let problem = format!("no approval requirement is named `{}`", approval.escape_debug());
            let remedy = known_or("name one of", &config.approvals, "add the requirement");
            return Err(Error::rule(&spec.name, "approval", problem, remedy));
        }
        if let (Some(known), Some(named)) = (&config.upstreams, &spec.upstreams)
            && let Some(missing) = named.iter().find(|name| !known.contains(name))
        {
            let problem = format!("no upstream is named `{}`", missing.escape_debug());
            let remedy = known_or("name one of", known, "add the upstream");
            return Err(Error::rule(&spec.name, "upstreams", problem, remedy));
        }
        let policy = compile(&rule)?;
        entries.push(Entry {
            name: spec.name.as_str().into(),
            effect: spec.effect,
            approval: spec.approval.as_deref().map(Into::into),
            description: spec.description.clone(),
            alone: alone(&spec.name, &policy)?,
            policy,
            names_unknown: rule.covers_unknown(),
            rule: Some(rule),
        });
    }
    Ok(entries)
}

fn cedar_rules(config: &Config, types: &EntityTypes) -> Result<Vec<Entry>, Error> {
    if config.cedar.is_empty() {
        return Ok(Vec::new());
    }
    let schema = schema();
    let mut entries: Vec<Entry> = Vec::new();
    for file in &config.cedar {
        for written in cedar_file::read(file, &schema, types)? {
            let place = format!("policy `{}`", written.name);
            let taken = config.rules.iter().any(|rule| rule.name == written.name)
                || entries.iter().any(|entry| *entry.name == *written.name);
            if taken {
                let problem = "another rule has the same name";
                return Err(Error::cedar(&file.name, place, problem, "rename one of them"));
            }
            if let Some(approval) = &written.approval
                && !config.approvals.contains(approval)
            {
                let problem = format!("no approval requirement is named `{}`", approval.escape_debug());
                let remedy = known_or("name one of", &config.approvals, "add the requirement");
                return Err(Error::cedar(&file.name, place, problem, remedy));
            }
            entries.push(Entry {
                alone: alone(&written.name, &written.policy)?,
                name: written.name.into(),
                effect: written.effect,
                approval: written.approval.map(Into::into),
                description: written.description,
                policy: written.policy,
                names_unknown: written.names_unknown,
                rule: None,
            });
        }
    }
    Ok(entries)
}

fn alone(name: &str, policy: &cedar_policy::Policy) -> Result<PolicySet, Error> {
    let mut set = PolicySet::new();
    add(&mut set, name, policy)?;
    Ok(set)
}

/// Names are unique by now, so adding cannot fail; if it did, the rule must not get lost.
fn add(set: &mut PolicySet, name: &str, policy: &cedar_policy::Policy) -> Result<(), Error> {
    set.add(policy.clone()).map_err(|_| duplicate_name(name))
}

fn duplicate_name(name: &str) -> Error {
    Error::rule(name, "name", "another rule has the same name", "rename one of them")
}

fn known_or(lead: &str, known: &[String], otherwise: &str) -> String {
    if known.is_empty() {
        return otherwise.to_owned();
    }
    format!("{lead} {}, or {otherwise}", known.join(", "))
}

fn version_of(rules: &[Entry]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(b"gatewayd policy 1");
    part(SCHEMA.as_bytes());
    for entry in rules {
        part(entry.name.as_bytes());
        part(entry.text().as_bytes());
        let window = entry.rule.as_ref().and_then(|rule| rule.window.as_ref());
        part(window.map(crate::window::Window::describe).unwrap_or_default().as_bytes());
    }
    let mut version = hex::encode(hash.finish());
    version.truncate(16);
    version
}
