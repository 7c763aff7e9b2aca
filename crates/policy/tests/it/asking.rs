//! Short ways to write policies, callers and operations.

use std::net::IpAddr;
use std::sync::Arc;

use gatewayd_core::{Action, Decision, Dialect, Identity, IdentityKind, Operation, Timestamp, UpstreamName};
use gatewayd_policy::{Config, Error, Policy, RuleSpec};

#[derive(serde::Deserialize)]
struct File {
    #[serde(default)]
    rule: Vec<RuleSpec>,
}

pub(crate) fn config(rules: &str) -> Config {
    let file: File = toml::from_str(rules).unwrap();
    Config { rules: file.rule, approvals: vec!["two-people".into(), "one-lead".into()], ..Config::default() }
}

pub(crate) fn policy(rules: &str) -> Policy {
    Policy::new(&config(rules)).unwrap()
}

pub(crate) fn error(rules: &str) -> Error {
    Policy::new(&config(rules)).unwrap_err()
}

pub(crate) fn caller(groups: &[&str]) -> Identity {
    Identity {
        kind: IdentityKind::Oidc,
        issuer: "https://id.example".into(),
        subject: "alice".into(),
        name: None,
        groups: groups.iter().map(|group| Arc::from(*group)).collect(),
        expires: None,
    }
}

pub(crate) fn operation(action: Action, model: Option<&str>) -> Operation {
    Operation {
        dialect: Dialect::OpenAi,
        action,
        model: model.map(Into::into),
        other_models: [].into(),
        streaming: false,
        route: "/v1/chat/completions".into(),
    }
}

/// A question with everything that a test does not care about filled in.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) identity: Identity,
    pub(crate) operation: Operation,
    pub(crate) upstream: UpstreamName,
    pub(crate) source: Option<IpAddr>,
    pub(crate) now: Timestamp,
}

impl Question {
    pub(crate) fn new(groups: &[&str], action: Action, model: Option<&str>) -> Self {
        Self {
            identity: caller(groups),
            operation: operation(action, model),
            upstream: UpstreamName("llama".into()),
            source: Some(IpAddr::from([10, 0, 0, 7])),
            now: Timestamp::from_seconds(1_767_600_000),
        }
    }

    pub(crate) fn put(&self, policy: &Policy) -> Decision {
        let decide = || policy.decide(&self.identity, &self.operation, &self.upstream, self.source, self.now);
        let first = decide();
        assert_eq!(decide(), first, "from the cache as without it");
        let explained =
            policy.explain(&self.identity, &self.operation, &self.upstream, self.source, self.now);
        assert_eq!(explained.decision, first, "an explanation explains the decision");
        first
    }

    /// `effect rule`.
    pub(crate) fn ask(&self, policy: &Policy) -> String {
        let decision = self.put(policy);
        format!("{:?} {}", decision.effect, decision.rule).to_lowercase()
    }
}

pub(crate) fn ask(policy: &Policy, groups: &[&str], action: Action, model: Option<&str>) -> String {
    Question::new(groups, action, model).ask(policy)
}
