//! A table of expectations: what a policy must decide, kept beside it and run before it goes live.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use gatewayd_core::{Decision, Effect, Identity, IdentityKind, Operation, Timestamp, UpstreamName};

use crate::engine::Policy;
use crate::error::Error;

/// Expectations in TOML:
///
/// ```toml
/// [[case]]
/// name = "engineers may chat"
/// groups = ["ml-eng"]
/// method = "POST"
/// path = "/v1/chat/completions"
/// model = "llama-3"
/// expect = "allow"
/// rule = "ml-eng-may-infer"
/// ```
///
/// What method and path mean, and which upstream they reach, is not known here: whoever runs the table
/// says so with a closure.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestTable {
    /// The cases in order.
    #[serde(rename = "case", default)]
    pub cases: Vec<Case>,
}

/// One expectation.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For people.
    #[serde(default)]
    pub name: Option<String>,
    /// The caller's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The caller's subject; `someone` if left out.
    #[serde(default)]
    pub subject: Option<String>,
    /// Who vouches for the caller.
    #[serde(default)]
    pub issuer: Option<String>,
    /// HTTP method; `POST` if left out.
    #[serde(default)]
    pub method: Option<String>,
    /// Path, with the query if it matters.
    pub path: String,
    /// The model that the request names.
    #[serde(default)]
    pub model: Option<String>,
    /// The upstream, where it does not follow from path and model.
    #[serde(default)]
    pub upstream: Option<String>,
    /// When (RFC 3339, such as `2026-01-05T10:00:00+01:00`); now if left out.
    #[serde(default)]
    pub time: Option<String>,
    /// Source address.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The effect to expect.
    pub expect: Effect,
    /// The rule that must decide; any if left out.
    #[serde(default)]
    pub rule: Option<String>,
}

/// What came of one case.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CaseResult {
    /// The case's name, or its place and request.
    pub case: String,
    /// What was expected, in words.
    pub expected: String,
    /// The decision; `None` where the case could not be asked.
    pub decision: Option<Decision>,
    /// Why it failed; `None` if it passed.
    pub failure: Option<String>,
}

impl TestTable {
    /// Reads a table.
    ///
    /// # Errors
    /// If it is no TOML, has an unknown key, or has no case.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let table: Self = toml::from_str(text).map_err(|error| Error::Table(error.to_string()))?;
        if table.cases.is_empty() {
            return Err(Error::Table("it has no `[[case]]`, so it would test nothing; add one".to_owned()));
        }
        Ok(table)
    }

    /// Asks the policy about every case. `understand` says what a case's method, path and model mean.
    pub fn run<F>(&self, policy: &Policy, now: Timestamp, understand: F) -> Vec<CaseResult>
    where
        F: Fn(&Case) -> Result<(Operation, UpstreamName), String>,
    {
        let run = |(index, case): (usize, &Case)| case.run(index, policy, now, &understand);
        self.cases.iter().enumerate().map(run).collect()
    }
}

impl Case {
    /// The caller that the case describes.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let mut groups: Vec<Arc<str>> = self.groups.iter().map(|group| group.as_str().into()).collect();
        groups.sort();
        groups.dedup();
        Identity {
            kind: IdentityKind::Oidc,
            issuer: self.issuer.as_deref().unwrap_or_default().into(),
            subject: self.subject.as_deref().unwrap_or("someone").into(),
            name: None,
            groups: groups.into(),
            expires: None,
        }
    }

    fn run<F>(&self, index: usize, policy: &Policy, now: Timestamp, understand: &F) -> CaseResult
    where
        F: Fn(&Self) -> Result<(Operation, UpstreamName), String>,
    {
        let decided = self.decide(policy, now, understand);
        let failure = match &decided {
            Err(problem) => Some(problem.clone()),
            Ok(decision) => self.compare(decision),
        };
        let method = self.method.as_deref().unwrap_or("POST");
        CaseResult {
            case: self.name.clone().unwrap_or_else(|| format!("#{} {method} {}", index + 1, self.path)),
            expected: Outcome { effect: self.expect, rule: self.rule.as_deref() }.to_string(),
            decision: decided.ok(),
            failure,
        }
    }

    fn decide<F>(&self, policy: &Policy, now: Timestamp, understand: &F) -> Result<Decision, String>
    where
        F: Fn(&Self) -> Result<(Operation, UpstreamName), String>,
    {
        let now = match &self.time {
            None => now,
            Some(text) => text
                .parse::<jiff::Timestamp>()
                .map(|time| Timestamp(time.as_microsecond()))
                .map_err(|_| format!("`time`: `{text}` is no RFC 3339 time; write 2026-01-05T10:00:00Z"))?,
        };
        let (operation, upstream) = understand(self)?;
        Ok(policy.decide(&self.identity(), &operation, &upstream, self.address, now))
    }

    fn compare(&self, decision: &Decision) -> Option<String> {
        let rule_fits = self.rule.as_deref().is_none_or(|rule| rule == &*decision.rule);
        if decision.effect == self.expect && rule_fits {
            return None;
        }
        let got = Outcome { effect: decision.effect, rule: Some(&decision.rule) };
        Some(format!("got {got}"))
    }
}

struct Outcome<'a> {
    effect: Effect,
    rule: Option<&'a str>,
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
            Effect::Approve => "approve",
        })?;
        match self.rule {
            Some(rule) => write!(f, " by `{}`", rule.escape_debug()),
            None => Ok(()),
        }
    }
}
