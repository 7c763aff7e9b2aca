//! One approval as it is kept.

use std::sync::Arc;

use gatewayd_core::{Dialect, RequestId, Timestamp};

use crate::digest::RequestDigest;
use crate::preview::Preview;
use crate::state::Progress;

/// An approval: what is asked, and how far it has come.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: Arc<str>,
    /// Counts the steps taken, so that nobody overwrites a step they have not seen.
    pub(crate) revision: i64,
    pub(crate) digest: RequestDigest,
    pub(crate) asked: Asked,
    pub(crate) progress: Progress,
}

/// What is asked. Written once, and again without its words when they are erased.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Asked {
    pub(crate) created: Timestamp,
    /// The request that asked first.
    pub(crate) request: Option<RequestId>,
    /// Masked.
    pub(crate) method: String,
    /// Masked.
    pub(crate) path: String,
    pub(crate) dialect: Dialect,
    /// An action of the policy, or the kind of a change of the gateway itself.
    pub(crate) action: String,
    /// Masked.
    pub(crate) model: Option<String>,
    pub(crate) streaming: bool,
    pub(crate) route: String,
    pub(crate) upstream: String,
    pub(crate) rule: String,
    pub(crate) policy_version: String,
    pub(crate) requirement: String,
    /// Masked.
    pub(crate) reason: Option<String>,
    /// Masked: the headers that are part of what is agreed to.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// Masked.
    pub(crate) content_type: Option<String>,
    pub(crate) body_length: u64,
    pub(crate) body_sha256: String,
    pub(crate) preview: Preview,
}

impl Asked {
    /// Leaves what the gateway says of the request: its ids, digests, times, route and rule.
    pub(crate) fn erase(&mut self) {
        self.method.clear();
        self.path.clear();
        self.model = None;
        self.reason = None;
        self.headers.clear();
        self.content_type = None;
        self.preview =
            Preview { text: String::new(), truncated: true, note: Some("it was erased".to_owned()) };
    }
}

impl std::fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
