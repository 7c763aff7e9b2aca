//! From a checked rule to a Cedar policy.
//!
//! Policies are built as Cedar's JSON form, never as text: whatever a name holds, it stays a value.

use cedar_policy::{Policy, PolicyId};
use gatewayd_core::Action;
use serde_json::{Value, json};

use crate::error::Error;
use crate::rule::Rule;
use crate::spec::RuleEffect;

/// The Cedar policy of a rule, with the rule's name as its id.
pub(crate) fn compile(rule: &Rule) -> Result<Policy, Error> {
    let spec = &rule.spec;
    let effect = if spec.effect == RuleEffect::Deny { "forbid" } else { "permit" };
    let conditions: Vec<Value> =
        conditions(rule).into_iter().map(|body| json!({"kind": "when", "body": body})).collect();
    let mut annotations = json!({"id": spec.name});
    if let (Some(approval), Some(map)) = (&spec.approval, annotations.as_object_mut()) {
        map.insert("approval".to_owned(), json!(approval));
    }
    let policy = json!({
        "effect": effect,
        "principal": {"op": "All"},
        "action": action_scope(rule),
        "resource": {"op": "All"},
        "conditions": conditions,
        "annotations": annotations,
    });
    Policy::from_json(Some(PolicyId::new(&spec.name)), policy).map_err(|error| {
        let remedy = "this is an error of gatewayd: please report it with the rule";
        Error::rule(&spec.name, "name", format!("does not compile to Cedar: {error}"), remedy)
    })
}

fn action_scope(rule: &Rule) -> Value {
    let covered: Vec<Action> = match &rule.actions {
        Some(actions) => actions.clone(),
        None if rule.covers_unknown() => return json!({"op": "All"}),
        None => Action::ALL.into_iter().filter(|action| *action != Action::Unknown).collect(),
    };
    let entities: Vec<Value> = covered.into_iter().map(|action| entity("Action", action.as_str())).collect();
    json!({"op": "in", "entities": entities})
}

fn conditions(rule: &Rule) -> Vec<Value> {
    let spec = &rule.spec;
    let mut all = Vec::new();
    if let Some(groups) = &rule.groups {
        let groups = groups.iter().map(|group| value_of(entity("Group", group))).collect();
        all.push(binary("in", var("principal"), set(groups)));
    }
    if let Some(subjects) = &spec.subjects {
        all.push(one_of(attribute("principal", "subject"), subjects));
    }
    if let Some(issuers) = &spec.issuers {
        all.push(one_of(attribute("principal", "issuer"), issuers));
    }
    if let Some(models) = &rule.models {
        all.push(model_condition(models, rule.is_strict()));
    }
    if let Some(upstreams) = &spec.upstreams {
        let upstreams = upstreams.iter().map(|name| value_of(entity("Upstream", name))).collect();
        all.push(binary("in", var("resource"), set(upstreams)));
    }
    if let Some(dialects) = &spec.dialects {
        all.push(one_of(attribute("context", "dialect"), dialects));
    }
    if let Some(routes) = &rule.routes {
        all.push(any(routes.iter().map(|pieces| like(attribute("context", "route"), pieces)).collect()));
    }
    if let Some(sources) = &rule.sources {
        let in_range = |net: &ipnet::IpNet| {
            let range = json!({"ip": [value_of(json!(net.to_string()))]});
            json!({"isInRange": [attribute("context", "source"), range]})
        };
        let known = json!({"has": {"left": var("context"), "attr": "source"}});
        let inside = any(sources.iter().map(in_range).collect());
        let unknown = value_of(json!(rule.is_strict()));
        all.push(single("if-then-else", object([("if", known), ("then", inside), ("else", unknown)])));
    }
    if rule.window.is_some() {
        all.push(binary("contains", attribute("context", "windows"), value_of(json!(spec.name))));
    }
    all
}

/// For `allow` a model must be named. For the others a request without one matches too where the
/// server would pick a model by itself: it could be the one that is meant.
fn model_condition(models: &[Vec<String>], strict: bool) -> Value {
    let is_model = json!({"is": {"left": var("resource"), "entity_type": "Gatewayd::Model"}});
    let names = models.iter().map(|pieces| like(attribute("resource", "name"), pieces)).collect();
    let named = binary("&&", is_model.clone(), any(names));
    if !strict {
        return named;
    }
    let picks = [Action::Infer, Action::Embed, Action::Tokenize, Action::Unknown];
    let picks = picks.iter().map(|action| value_of(entity("Action", action.as_str()))).collect();
    let unnamed = binary("&&", json!({"!": {"arg": is_model}}), binary("in", var("action"), set(picks)));
    binary("||", named, unnamed)
}

fn entity(kind: &str, id: &str) -> Value {
    json!({"type": format!("Gatewayd::{kind}"), "id": id})
}

fn value_of(value: Value) -> Value {
    match value {
        Value::Object(_) => json!({"Value": {"__entity": value}}),
        value => json!({"Value": value}),
    }
}

fn var(name: &str) -> Value {
    json!({"Var": name})
}

fn attribute(of: &str, name: &str) -> Value {
    json!({".": {"left": var(of), "attr": name}})
}

fn binary(operator: &str, left: Value, right: Value) -> Value {
    single(operator, object([("left", left), ("right", right)]))
}

fn set(values: Vec<Value>) -> Value {
    single("Set", Value::Array(values))
}

fn single(name: &str, value: Value) -> Value {
    object([(name, value)])
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn one_of(left: Value, texts: &[String]) -> Value {
    binary("contains", set(texts.iter().map(|text| value_of(json!(text))).collect()), left)
}

fn like(left: Value, pieces: &[String]) -> Value {
    let mut pattern = Vec::with_capacity(pieces.len() * 2);
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            pattern.push(json!("Wildcard"));
        }
        if !piece.is_empty() {
            pattern.push(json!({"Literal": piece}));
        }
    }
    single("like", object([("left", left), ("pattern", Value::Array(pattern))]))
}

/// Any of the conditions, as a balanced tree, so that a long list makes no deep one.
fn any(mut conditions: Vec<Value>) -> Value {
    if conditions.len() < 2 {
        return conditions.pop().unwrap_or_else(|| value_of(json!(false)));
    }
    let right = conditions.split_off(conditions.len() / 2);
    binary("||", any(conditions), any(right))
}
