//! What was masked, without what it was.

use std::sync::Arc;

/// One mask: where it is and which rule asked for it. Never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskEvent {
    /// The id of the rule; `known-secret` for a registered value.
    pub rule: Arc<str>,
    /// Which text of the body: `text`, `choices[0].delta.content`, `header:location`.
    pub lane: String,
    /// Where the mask begins, in bytes of the decoded text of the lane.
    pub offset: u64,
    /// How many bytes it hides.
    pub length: u64,
    /// HMAC-SHA-256 of what it hides under the deployment's key, in hex, where a key is set.
    pub fingerprint: Option<String>,
}

/// A secret found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The id of the rule; `known-secret` for a registered value.
    pub rule: Arc<str>,
    /// Where it is.
    pub range: std::ops::Range<usize>,
}
