//! A policy as it is written down, before anything is checked.

/// Everything a [`Policy`](crate::Policy) is made from.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Rules in the order they are written; the order only decides which of several matching rules is named.
    pub rules: Vec<RuleSpec>,
    /// Cedar files that stand beside the rules.
    pub cedar: Vec<CedarFile>,
    /// Approval requirements that exist. A rule that names another one is an error.
    pub approvals: Vec<String>,
    /// Upstreams that exist, so that a misspelled one is an error; `None` skips the check.
    pub upstreams: Option<Vec<String>>,
}

/// A file of Cedar policies, already read.
#[derive(Debug, Clone)]
pub struct CedarFile {
    /// How errors name it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One rule as it stands in TOML (`[[policy.rule]]`).
///
/// Every key narrows the rule: all keys must match; within a key one of the values must.
/// A key that is left out does not narrow. `allow` and `approve` must say for whom (`groups` or
/// `subjects`; `groups = ["*"]` means everyone who is signed in).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique name in kebab-case; callers, records and logs see it.
    pub name: String,
    /// What the rule does.
    pub effect: RuleEffect,
    /// For [`RuleEffect::Approve`]: the approval requirement that must be met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// For people; never used to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Groups, exact; `"*"` alone means everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Subjects (the OIDC `sub`), exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Vec<String>>,
    /// Issuers that vouch for the caller, exact. Groups and subjects mean something only within an issuer:
    /// with several issuers, say whose you mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// Actions by name. Left out, an `allow` or `approve` rule covers all but `unknown`, a `deny` rule all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<String>>,
    /// Models; `*` stands for any characters, also none, also `/`. See [`normalise_model`](crate::normalise_model).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Upstreams, exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<String>>,
    /// Dialects by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialects: Option<Vec<String>>,
    /// Route templates such as `/v1/files/{id}`; `*` as in `models`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// Source addresses: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
    /// Days of the week, `mon` to `sun`, in `zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<String>>,
    /// Times of day such as `08:00-18:00`, in `zone`; the end is not included. `22:00-06:00` goes past
    /// midnight, and what is past midnight belongs to the day it began on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Vec<String>>,
    /// IANA time zone of `days` and `hours`, such as `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

impl RuleSpec {
    /// A rule without any narrowing key.
    #[must_use]
    pub fn new(name: impl Into<String>, effect: RuleEffect) -> Self {
        Self {
            name: name.into(),
            effect,
            approval: None,
            description: None,
            groups: None,
            subjects: None,
            issuers: None,
            actions: None,
            models: None,
            upstreams: None,
            dialects: None,
            routes: None,
            sources: None,
            days: None,
            hours: None,
            zone: None,
        }
    }
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleEffect {
    /// The request may pass.
    Allow,
    /// The request is refused, whatever other rules say.
    Deny,
    /// The request may pass once people agree, even if another rule allows it outright.
    Approve,
}

impl RuleEffect {
    /// The word used in TOML.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Approve => "approve",
        }
    }
}
