//! The name of exactly one request.

use aws_lc_rs::digest;
use gatewayd_core::{Decision, Identity, Operation, UpstreamName};
use http::{Method, Uri};

use crate::change::Proposal;
use crate::headers::Covered;

/// SHA-256 over everything that makes a request this request, each part with its length before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequestDigest(pub(crate) [u8; 32]);

/// What the digest covers.
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    /// Without the content type where `body` is [`BodyName::Pieces`].
    pub(crate) headers: &'a Covered<'a>,
    pub(crate) identity: &'a Identity,
    pub(crate) operation: &'a Operation,
    pub(crate) upstream: &'a UpstreamName,
    pub(crate) decision: &'a Decision,
    pub(crate) body: BodyName<'a>,
}

/// What names the body.
#[derive(Clone, Copy)]
pub(crate) enum BodyName<'a> {
    /// Every byte.
    Bytes { sha256: &'a [u8; 32], length: u64 },
    /// The pieces of a multipart body, whatever its boundary.
    Pieces(&'a [u8; 32]),
}

impl RequestDigest {
    /// Approvals are bound to this.
    pub(crate) fn of(parts: &Parts<'_>) -> Self {
        let mut hash = Hash::new("gatewayd approval 2");
        hash.part(parts.method.as_str().as_bytes());
        hash.part(parts.uri.path_and_query().map_or("", |path| path.as_str()).as_bytes());
        hash.count(parts.headers.names());
        for (name, values) in parts.headers.by_name() {
            hash.part(name.as_str().as_bytes());
            hash.list(&values);
        }
        hash.list(&parts.headers.dropped.iter().map(|name| name.as_str().as_bytes()).collect::<Vec<_>>());
        let operation = parts.operation;
        hash.part(operation.dialect.as_str().as_bytes());
        hash.part(operation.action.as_str().as_bytes());
        hash.part(operation.route.as_bytes());
        hash.part(&[u8::from(operation.streaming)]);
        hash.list(&operation.model.iter().map(|model| model.as_bytes()).collect::<Vec<_>>());
        hash.part(parts.upstream.0.as_bytes());
        hash.part(parts.identity.issuer.as_bytes());
        hash.part(parts.identity.subject.as_bytes());
        hash.part(parts.decision.policy_version.as_bytes());
        hash.part(parts.decision.rule.as_bytes());
        hash.part(parts.decision.approval.as_deref().unwrap_or_default().as_bytes());
        match parts.body {
            BodyName::Bytes { sha256, length } => {
                hash.part(b"bytes");
                hash.part(&length.to_be_bytes());
                hash.part(sha256);
            }
            BodyName::Pieces(pieces) => {
                hash.part(b"multipart/form-data");
                hash.part(pieces);
            }
        }
        Self(hash.finish())
    }
}

impl RequestDigest {
    /// Approvals of changes of the gateway itself are bound to this.
    pub(crate) fn of_change(requirement: &str, proposal: Proposal<'_>, by: &Identity) -> Self {
        let mut hash = Hash::new("gatewayd change 1");
        for part in [requirement, proposal.kind, proposal.target, proposal.details, &by.issuer, &by.subject] {
            hash.part(part.as_bytes());
        }
        Self(hash.finish())
    }
}

/// SHA-256 of a text at hand.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(bytes);
    finish(hash)
}

struct Hash(digest::Context);

impl Hash {
    fn new(purpose: &str) -> Self {
        let mut hash = Self(digest::Context::new(&digest::SHA256));
        hash.part(purpose.as_bytes());
        hash
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_be_bytes());
    }

    /// A list with its length, so that none and one empty differ.
    fn list(&mut self, parts: &[&[u8]]) {
        self.count(parts.len());
        for part in parts {
            self.part(part);
        }
    }

    fn finish(self) -> [u8; 32] {
        finish(self.0)
    }
}

/// The 32 bytes of a SHA-256.
pub(crate) fn finish(hash: digest::Context) -> [u8; 32] {
    hash.finish().as_ref().try_into().expect("SHA-256 is 32 bytes")
}
