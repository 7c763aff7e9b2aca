//! What policy said, and what people agreed to.

use std::sync::Arc;

/// The effect of a policy decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The request may pass.
    Allow,
    /// The request is refused.
    Deny,
    /// The request may pass once enough people agree to exactly this request.
    Approve,
}

/// A policy decision: the effect and the rule that decided.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Decision {
    /// What was decided.
    pub effect: Effect,
    /// The rule that decided; `default-deny` where no rule matched.
    pub rule: Arc<str>,
    /// Digest of the whole policy in force (SHA-256, lower-case hex, first 16 characters).
    pub policy_version: Arc<str>,
    /// For [`Effect::Approve`]: name of the approval requirement (hold, quorum, expiry) to apply.
    pub approval: Option<Arc<str>>,
}

/// Something that may happen at most once, claimed in the transaction that commits the request's intent.
///
/// Approvals put a claim on the [`Trail`](crate::Trail); the recorder makes it together with the intent
/// leaf, or refuses the request with `409` if somebody made it before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The kind of thing, such as `approval`.
    pub kind: &'static str,
    /// Its identifier, unique within the kind.
    pub id: Arc<str>,
}
