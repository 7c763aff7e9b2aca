//! Cedar files that stand beside the TOML rules.

use cedar_policy::{
    ActionConstraint, Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator,
};
use miette::Diagnostic as _;

use crate::error::Error;
use crate::facts::EntityTypes;
use crate::rule::check_name;
use crate::spec::{CedarFile, RuleEffect};

/// Annotations with a meaning here. Another one is an error: a misspelled `@approval` must not become an allow.
const ANNOTATIONS: [&str; 3] = ["id", "approval", "description"];

/// A policy of a Cedar file.
pub(crate) struct Written {
    pub(crate) policy: Policy,
    pub(crate) name: String,
    pub(crate) effect: RuleEffect,
    pub(crate) approval: Option<String>,
    pub(crate) names_unknown: bool,
    pub(crate) description: Option<String>,
}

/// Reads a file: every policy is named, fits the schema, and carries no annotation without a meaning.
pub(crate) fn read(file: &CedarFile, schema: &Schema, types: &EntityTypes) -> Result<Vec<Written>, Error> {
    let parsed: PolicySet = file.text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let offset = errors.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
        let line = line_of(&file.text, offset);
        Error::cedar(&file.name, format!("line {line}"), errors.to_string(), "correct the syntax")
    })?;
    if let Some(template) = parsed.templates().next() {
        let place = format!("policy `{}`", template.id());
        let remedy = "write the principal and the resource out";
        return Err(Error::cedar(&file.name, place, "templates have no use here", remedy));
    }
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    policies.sort_by_key(|policy| place_number(policy.id()));
    let mut written = Vec::with_capacity(policies.len());
    for policy in policies {
        written.push(understand(file, policy, types)?);
    }
    validate(file, &written, schema)?;
    Ok(written)
}

fn understand(file: &CedarFile, policy: &Policy, types: &EntityTypes) -> Result<Written, Error> {
    let count = place_number(policy.id()) + 1;
    let name = policy.annotation("id").unwrap_or_default().to_owned();
    check_name(&name).map_err(|problem| {
        let remedy = "begin each policy with `@id(\"a-unique-kebab-case-name\")`";
        Error::cedar(&file.name, format!("policy number {count}"), format!("its `@id` {problem}"), remedy)
    })?;
    let place = || format!("policy `{name}`");
    for (annotation, _) in policy.annotations() {
        if !ANNOTATIONS.contains(&annotation) {
            let problem = format!("annotation `@{annotation}` has no meaning here");
            return Err(Error::cedar(&file.name, place(), problem, "use @id, @approval or @description"));
        }
    }
    let approval = policy.annotation("approval").map(str::to_owned);
    let effect = match (policy.effect(), &approval) {
        (Effect::Permit, None) => RuleEffect::Allow,
        (Effect::Permit, Some(_)) => RuleEffect::Approve,
        (Effect::Forbid, None) => RuleEffect::Deny,
        (Effect::Forbid, Some(_)) => {
            let remedy = "write `permit`, or remove `@approval`";
            return Err(Error::cedar(&file.name, place(), "a forbid cannot ask for approval", remedy));
        }
    };
    let unknown = types.action(gatewayd_core::Action::Unknown);
    let names_unknown = match policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::Eq(action) => action == unknown,
        ActionConstraint::In(actions) => actions.contains(&unknown),
    };
    let description = policy.annotation("description").map(str::to_owned);
    let policy = policy.new_id(PolicyId::new(&name));
    Ok(Written { policy, name, effect, approval, names_unknown, description })
}

fn validate(file: &CedarFile, written: &[Written], schema: &Schema) -> Result<(), Error> {
    let mut set = PolicySet::new();
    for one in written {
        set.add(one.policy.clone()).map_err(|_| {
            let place = format!("policy `{}`", one.name);
            Error::cedar(&file.name, place, "another policy has the same `@id`", "rename one of them")
        })?;
    }
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    // Warnings are refused too: a policy that can never match is a hole that looks like a wall.
    let first = result.validation_errors().map(|e| (e.policy_id().clone(), e.to_string())).next();
    let first =
        first.or_else(|| result.validation_warnings().map(|w| (w.policy_id().clone(), w.to_string())).next());
    match first {
        None => Ok(()),
        Some((id, problem)) => {
            let remedy = "compare it with the schema (`gatewayd policy schema`)";
            Err(Error::cedar(&file.name, format!("policy `{id}`"), problem, remedy))
        }
    }
}

/// Cedar names policies of a text `policy0`, `policy1` and so on.
fn place_number(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX - 1)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
