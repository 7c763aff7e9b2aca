//! A decision that was not made before.
//!
//! Cedar decides about every rule, but is only asked where the answer can matter: the matcher passes over the TOML
//! rules that do not match, and one rule of the strongest effect is enough.

use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, PolicySet, Request};
use gatewayd_core::{Action, Decision, Effect};

use crate::engine::{Entry, Policy};
use crate::facts::Facts;
use crate::spec::RuleEffect;

/// What Cedar said: the decision, and whether it came of an error.
pub(crate) struct Judgement {
    pub(crate) decision: Decision,
    pub(crate) error: Option<String>,
}

/// A question in Cedar's terms.
pub(crate) struct Question<'p> {
    authorizer: &'p Authorizer,
    request: Request,
    entities: Entities,
}

/// A rule that could not be evaluated.
struct Failure {
    rule: Arc<str>,
    error: String,
}

impl Policy {
    /// Decides without the cache.
    pub(crate) fn judge(&self, facts: &Facts<'_>) -> Judgement {
        match self.deciding_of_all(facts) {
            Ok(entry) => Judgement { decision: self.decision(entry), error: None },
            // Cedar skips a policy that fails; a skipped deny would be an allow.
            Err(Failure { rule, error }) => {
                let policy_version = Arc::clone(self.version());
                let decision = Decision { effect: Effect::Deny, rule, policy_version, approval: None };
                Judgement { decision, error: Some(error) }
            }
        }
    }

    /// The question that these facts are, for any number of rules.
    pub(crate) fn question(&self, facts: &Facts<'_>) -> Result<Question<'_>, String> {
        let open = self.rules.iter().filter_map(|entry| {
            let window = entry.rule.as_ref()?.window.as_ref()?;
            window.is_open(facts.now).then_some(&*entry.name)
        });
        let (request, entities) = facts.question(&self.types, &self.named, open)?;
        Ok(Question { authorizer: &self.authorizer, request, entities })
    }

    /// The rule that decides about all models that the request names, each of which is judged by itself: one that
    /// denies any, else one that asks for approval of any, else the one that allows the first.
    fn deciding_of_all(&self, facts: &Facts<'_>) -> Result<Option<&Entry>, Failure> {
        let mut deciding = self.deciding_rule(facts)?;
        for other in facts.operation.other_models.iter() {
            let Some(so_far) = deciding.filter(|entry| entry.effect != RuleEffect::Deny) else { break };
            let found = self.deciding_rule(&facts.about(other))?;
            deciding = match found {
                Some(found) if found.effect == RuleEffect::Allow => Some(so_far),
                Some(found) if found.effect == RuleEffect::Approve => Some(Self::stricter(so_far, found)?),
                denied => denied,
            };
        }
        Ok(deciding)
    }

    /// Of a rule that passes one model, and one that asks for approval of another, the one to go by.
    fn stricter<'p>(so_far: &'p Entry, asks: &'p Entry) -> Result<&'p Entry, Failure> {
        if so_far.effect != RuleEffect::Approve {
            return Ok(asks);
        }
        if so_far.approval != asks.approval {
            let error = "the models that the request names need different approvals; name them one by one";
            return Err(Failure { rule: Arc::clone(&asks.name), error: error.to_owned() });
        }
        Ok(so_far)
    }

    /// The first rule that holds, of the strongest effect of which one does.
    fn deciding_rule(&self, facts: &Facts<'_>) -> Result<Option<&Entry>, Failure> {
        let is_candidate =
            |entry: &&Entry| entry.rule.as_ref().is_none_or(|rule| rule.mismatch(facts).is_none());
        let candidates: Vec<&Entry> = self.rules.iter().filter(is_candidate).collect();
        if candidates.is_empty() {
            return Ok(None);
        }
        let unusable = |error| Failure { rule: Arc::clone(&self.default_deny), error };
        let question = self.question(facts).map_err(unusable)?;
        // All of them are asked, so that an error in one denies whatever the others say.
        let unknown = facts.operation.action == Action::Unknown;
        let written = question.holding(if unknown { &self.written_unknown } else { &self.written });
        let written = written.map_err(|(id, error)| Failure { rule: self.name_of(&id), error })?;
        for effect in [RuleEffect::Deny, RuleEffect::Approve, RuleEffect::Allow] {
            for entry in candidates.iter().filter(|entry| entry.effect == effect) {
                let holds = match &entry.rule {
                    None => Ok(written.iter().any(|name| **name == *entry.name)),
                    Some(_) => question.holds(entry),
                };
                if holds.map_err(|error| Failure { rule: Arc::clone(&entry.name), error })? {
                    return Ok(Some(entry));
                }
            }
        }
        Ok(None)
    }

    fn name_of(&self, id: &str) -> Arc<str> {
        let entry = self.rules.iter().find(|entry| *entry.name == *id);
        Arc::clone(entry.map_or(&self.default_deny, |entry| &entry.name))
    }

    fn decision(&self, entry: Option<&Entry>) -> Decision {
        let effect = match entry.map(|entry| entry.effect) {
            Some(RuleEffect::Allow) => Effect::Allow,
            Some(RuleEffect::Approve) => Effect::Approve,
            Some(RuleEffect::Deny) | None => Effect::Deny,
        };
        Decision {
            effect,
            rule: Arc::clone(entry.map_or(&self.default_deny, |entry| &entry.name)),
            policy_version: Arc::clone(self.version()),
            approval: entry.and_then(|entry| entry.approval.clone()),
        }
    }
}

impl Question<'_> {
    /// Whether a rule holds by itself.
    pub(crate) fn holds(&self, entry: &Entry) -> Result<bool, String> {
        self.holding(&entry.alone).map(|names| !names.is_empty()).map_err(|(_, error)| error)
    }

    /// The names of the policies that hold, of either effect where no deny does; or of the first that failed.
    fn holding(&self, policies: &PolicySet) -> Result<Vec<String>, (String, String)> {
        if policies.is_empty() {
            return Ok(Vec::new());
        }
        let response = self.authorizer.is_authorized(&self.request, policies, &self.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(inner) = error;
            return Err((inner.policy_id().to_string(), error.to_string()));
        }
        Ok(response.diagnostics().reason().map(ToString::to_string).collect())
    }
}
