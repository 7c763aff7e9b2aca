//! Why a decision is what it is.

use std::net::IpAddr;

use gatewayd_core::{Action, Decision, Identity, Operation, Timestamp, UpstreamName};

use crate::engine::{Entry, Policy};
use crate::facts::Facts;
use crate::spec::RuleEffect;

/// A decision with what every rule had to say.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Explanation {
    /// The decision, as [`Policy::decide`] gives it.
    pub decision: Decision,
    /// The error that made it a deny, if one did.
    pub error: Option<String>,
    /// The model's name as rules see it.
    pub model: Option<String>,
    /// Every rule in order.
    pub rules: Vec<RuleTrace>,
}

/// What one rule had to say.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RuleTrace {
    /// The rule's name.
    pub rule: String,
    /// What it does where it matches.
    pub effect: RuleEffect,
    /// The requirement it asks for, if it asks for approval.
    pub approval: Option<String>,
    /// The rule's description.
    pub description: Option<String>,
    /// Whether it matched.
    pub outcome: RuleOutcome,
}

/// Whether a rule matched.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleOutcome {
    /// It did.
    Matched,
    /// It did not, for the reason given.
    NotMatched(String),
    /// It could not be evaluated, so the request is denied.
    Failed(String),
}

impl Policy {
    /// As [`decide`](Self::decide), without the cache and with the reasons.
    #[must_use]
    pub fn explain(
        &self,
        identity: &Identity,
        operation: &Operation,
        upstream: &UpstreamName,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Explanation {
        let facts = Facts::new(identity, operation, upstream, source, now);
        let judgement = self.judge(&facts);
        let rules = (0..self.rules.len()).filter_map(|index| self.trace(index, &facts)).collect();
        Explanation {
            decision: judgement.decision,
            error: judgement.error,
            model: facts.model.map(std::borrow::Cow::into_owned),
            rules,
        }
    }

    fn trace(&self, index: usize, facts: &Facts<'_>) -> Option<RuleTrace> {
        let entry = self.rules.get(index)?;
        let outcome = match self.ask_one(entry, facts) {
            Ok(true) => RuleOutcome::Matched,
            Ok(false) => {
                let reason = match &entry.rule {
                    Some(rule) => rule.mismatch(facts).map(|key| rule.explain(key, facts)),
                    None if facts.operation.action == Action::Unknown => {
                        Some("an unknown route must be named as `Action::\"unknown\"`".to_owned())
                    }
                    None => None,
                };
                RuleOutcome::NotMatched(
                    reason.unwrap_or_else(|| "its scope or conditions do not hold".to_owned()),
                )
            }
            Err(error) => RuleOutcome::Failed(error),
        };
        Some(RuleTrace {
            rule: entry.name.to_string(),
            effect: entry.effect,
            approval: entry.approval.as_deref().map(str::to_owned),
            description: entry.description.clone(),
            outcome,
        })
    }

    /// Asks Cedar about one rule, whatever the matcher thinks of it.
    fn ask_one(&self, entry: &Entry, facts: &Facts<'_>) -> Result<bool, String> {
        if facts.operation.action == Action::Unknown && !entry.speaks_on_unknown() {
            return Ok(false);
        }
        self.question(facts)?.holds(entry)
    }
}
