//! Whether a TOML rule matches, told without Cedar and without allocation.
//!
//! It picks the rules that Cedar is asked about, and says why the others do not match. Of a rule that matches
//! here, Cedar has the last word; that none is passed over which Cedar would find, the tests show.

use gatewayd_core::Action;

use crate::facts::Facts;
use crate::model;
use crate::rule::Rule;
use crate::spec::RuleEffect;

/// The key of a rule that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Groups,
    Subjects,
    Issuers,
    Sources,
    Actions,
    Models,
    Upstreams,
    Dialects,
    Routes,
    Times,
}

/// Says whether a key takes what is asked.
type Takes = fn(&Rule, &Facts<'_>) -> bool;

/// Every key, in the order in which they are explained.
const KEYS: [(Mismatch, Takes); 10] = [
    (Mismatch::Groups, Rule::takes_groups),
    (Mismatch::Subjects, |rule, facts| one_of(rule.spec.subjects.as_deref(), &facts.identity.subject)),
    (Mismatch::Issuers, |rule, facts| one_of(rule.spec.issuers.as_deref(), &facts.identity.issuer)),
    (Mismatch::Sources, Rule::takes_source),
    (Mismatch::Actions, Rule::takes_action),
    (Mismatch::Models, Rule::takes_model),
    (Mismatch::Upstreams, |rule, facts| one_of(rule.spec.upstreams.as_deref(), &facts.upstream.0)),
    (Mismatch::Dialects, |rule, facts| {
        one_of(rule.spec.dialects.as_deref(), facts.operation.dialect.as_str())
    }),
    (Mismatch::Routes, Rule::takes_route),
    (Mismatch::Times, |rule, facts| rule.window.as_ref().is_none_or(|window| window.is_open(facts.now))),
];

impl Rule {
    /// The first key that does not match; `None` if all do.
    pub(crate) fn mismatch(&self, facts: &Facts<'_>) -> Option<Mismatch> {
        KEYS.iter().find(|(_, takes)| !takes(self, facts)).map(|(key, _)| *key)
    }

    fn takes_groups(&self, facts: &Facts<'_>) -> bool {
        let caller = |group: &String| facts.groups.contains(group.as_str());
        self.groups.as_ref().is_none_or(|groups| groups.iter().any(caller))
    }

    fn takes_source(&self, facts: &Facts<'_>) -> bool {
        match (&self.sources, facts.source) {
            (None, _) => true,
            (Some(nets), Some(address)) => nets.iter().any(|net| net.contains(&address)),
            (Some(_), None) => self.is_strict(),
        }
    }

    fn takes_action(&self, facts: &Facts<'_>) -> bool {
        let action = facts.operation.action;
        match &self.actions {
            Some(actions) => actions.contains(&action),
            None => action != Action::Unknown || self.spec.effect == RuleEffect::Deny,
        }
    }

    fn takes_model(&self, facts: &Facts<'_>) -> bool {
        match (&self.models, &facts.model) {
            (None, _) => true,
            (Some(models), Some(name)) => models.iter().any(|pieces| model::matches(pieces, name)),
            (Some(_), None) => self.is_strict() && facts.server_picks_model(),
        }
    }

    fn takes_route(&self, facts: &Facts<'_>) -> bool {
        let route = &facts.operation.route;
        self.routes.as_ref().is_none_or(|all| all.iter().any(|pieces| model::matches(pieces, route)))
    }

    /// A mismatch in words.
    pub(crate) fn explain(&self, key: Mismatch, facts: &Facts<'_>) -> String {
        let operation = facts.operation;
        match (key, facts.source, &facts.model) {
            (Mismatch::Groups, ..) => {
                format!("`groups`: the caller is in none of {}", listed(self.groups.as_deref()))
            }
            (Mismatch::Subjects, ..) => "`subjects`: the caller is not among them".to_owned(),
            (Mismatch::Issuers, ..) => not_among("issuers", &facts.identity.issuer),
            (Mismatch::Sources, Some(address), _) => format!("`sources`: {address} is in none of them"),
            (Mismatch::Sources, None, _) => "`sources`: the source address is not known".to_owned(),
            (Mismatch::Actions, ..) if self.actions.is_none() => {
                "`actions`: an unknown route must be named as `unknown`".to_owned()
            }
            (Mismatch::Actions, ..) => format!("`actions`: does not name `{}`", operation.action.as_str()),
            (Mismatch::Models, _, Some(name)) => {
                format!("`models`: none of them is `{}`", name.escape_debug())
            }
            (Mismatch::Models, _, None) => "`models`: the request names no model".to_owned(),
            (Mismatch::Upstreams, ..) => not_among("upstreams", &facts.upstream.0),
            (Mismatch::Dialects, ..) => not_among("dialects", operation.dialect.as_str()),
            (Mismatch::Routes, ..) => {
                format!("`routes`: none of them is `{}`", operation.route.escape_debug())
            }
            (Mismatch::Times, ..) => "`days` and `hours`: not open at this time".to_owned(),
        }
    }
}

/// True if the key is left out or holds the value.
fn one_of(values: Option<&[String]>, value: &str) -> bool {
    values.is_none_or(|values| values.iter().any(|one| one == value))
}

fn not_among(key: &str, value: &str) -> String {
    format!("`{key}`: `{}` is not among them", value.escape_debug())
}

fn listed(names: Option<&[String]>) -> String {
    let names = names.unwrap_or_default();
    let shown: Vec<_> = names.iter().take(5).map(|name| format!("`{}`", name.escape_debug())).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
