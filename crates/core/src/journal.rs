//! What happens beside requests, for the log that keeps it.

use std::sync::Arc;

use crate::{BoxFuture, Identity, RequestId};

/// The kind of an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A request was put before people.
    ApprovalRequested,
    /// Somebody voted on an approval.
    ApprovalVote,
    /// An approval reached a state: approved, denied, expired, cancelled, consumed, indeterminate.
    ApprovalState,
    /// A credential has a new version.
    CredentialRotated,
    /// A policy came into force.
    PolicyChanged,
    /// A configuration came into force.
    ConfigurationChanged,
    /// A configuration was to come into force and could not; the one before stays.
    ConfigurationRefused,
    /// A gateway token was made.
    TokenCreated,
    /// A gateway token was revoked.
    TokenRevoked,
    /// Somebody read, listed or exported recordings over the admin listener or the command line.
    AdminRead,
    /// The head of a request was no HTTP, or too large, so that there was no request to record.
    HeadRefused,
    /// So many requests of callers that nobody knew, or heads that were none, came from one source that they have no
    /// entries of their own.
    StrangersCounted,
}

impl EventKind {
    /// The name used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApprovalRequested => "approval-requested",
            Self::ApprovalVote => "approval-vote",
            Self::ApprovalState => "approval-state",
            Self::CredentialRotated => "credential-rotated",
            Self::PolicyChanged => "policy-changed",
            Self::ConfigurationChanged => "configuration-changed",
            Self::ConfigurationRefused => "configuration-refused",
            Self::TokenCreated => "token-created",
            Self::TokenRevoked => "token-revoked",
            Self::AdminRead => "admin-read",
            Self::HeadRefused => "head-refused",
            Self::StrangersCounted => "strangers-counted",
        }
    }
}

/// Something that happened beside a request and belongs into the evidence.
#[derive(Debug, Clone)]
pub struct Event {
    /// What kind of thing.
    pub kind: EventKind,
    /// Who did it; `None` for the gateway itself.
    pub actor: Option<Identity>,
    /// What it was done to: an approval id, a credential name, a token id, a policy version.
    pub object: Arc<str>,
    /// What came of it: `approve`, `denied`, a version id. Never a secret. At most 64 bytes are kept.
    pub outcome: Arc<str>,
    /// The request it belongs to, if any.
    pub request: Option<RequestId>,
}

/// Why an event was not recorded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the event could not be recorded: {0}; nothing was done")]
pub struct JournalError(pub String);

/// Where events are kept. The recorder implements it.
pub trait Journal: Send + Sync + 'static {
    /// Returns once the event is durable. Whoever gets an error must not do what the event says.
    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), JournalError>>;

    /// Whether the claim was made: `Some(request)` that made it, `None` if it is still free.
    ///
    /// # Errors
    /// If the log cannot be read; the caller treats the claim as made.
    fn claimed(&self, claim: &crate::Claim) -> BoxFuture<'_, Result<Option<RequestId>, JournalError>>;
}

/// A journal that keeps nothing: for tests, and for hosts that use one control alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullJournal;

impl Journal for NullJournal {
    fn record(&self, _event: Event) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn claimed(&self, _claim: &crate::Claim) -> BoxFuture<'_, Result<Option<RequestId>, JournalError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
