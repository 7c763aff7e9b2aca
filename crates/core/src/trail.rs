//! What is known of a request so far.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::{Claim, Decision, Identity, Operation, RefusalCode, RequestId, Timestamp, UpstreamName};

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Address and port of the other end of the connection.
    pub address: SocketAddr,
    /// True if the connection is protected by TLS.
    pub tls: bool,
}

/// Which version of which upstream credential was injected. Never the value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct CredentialVersion {
    /// The credential's name in the configuration.
    pub credential: Arc<str>,
    /// Names this version among the credential's versions; says nothing about the value.
    pub version: Arc<str>,
}

/// How the answer to a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The whole answer was handed to the caller's connection.
    Complete,
    /// A control refused; nothing of the upstream was shown.
    Refused,
    /// The caller went away first.
    ClientGone,
    /// The upstream broke off.
    UpstreamCut,
    /// A limit of the configuration cut it.
    Limit,
    /// The masker or the recorder could not go on, so the rest was withheld.
    Withheld,
    /// The gateway stopped, or died, first.
    Interrupted,
}

impl Ending {
    /// The name used in records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::ClientGone => "client-gone",
            Self::UpstreamCut => "upstream-cut",
            Self::Limit => "limit",
            Self::Withheld => "withheld",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How often a masking rule struck in one answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MaskCount {
    /// The rule's id.
    pub rule: Arc<str>,
    /// How many spans it masked.
    pub count: u64,
}

/// Where a masking rule struck in an answer. Never what it hid.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MaskPlace {
    /// The rule's id.
    pub rule: Arc<str>,
    /// Which text of the answer, such as `choices[0].delta.content` or `header:location`. Masked itself.
    pub lane: String,
    /// Where the mask begins, in bytes of the text.
    pub offset: u64,
    /// How many bytes it hides.
    pub length: u64,
    /// HMAC-SHA-256 of what it hides, in hex, where the deployment has a key for it.
    pub fingerprint: Option<String>,
}

/// So many places of one answer are kept; the counts go on.
const MOST_PLACES: usize = 64;

/// What is known of one request so far: the notebook that every control writes to and the recorder reads.
///
/// It is in the request's extensions from the recorder on. A clone is the same notebook. Facts that are
/// established once are write-once: the first word stands, so that no inner layer can rewrite what an
/// outer one found.
#[derive(Debug, Clone)]
pub struct Trail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: RequestId,
    received: Timestamp,
    peer: Option<Peer>,
    identity: OnceLock<Identity>,
    operation: OnceLock<Operation>,
    content_type: OnceLock<Box<str>>,
    upstream: OnceLock<UpstreamName>,
    decision: OnceLock<Decision>,
    credential: OnceLock<CredentialVersion>,
    refusal: OnceLock<RefusalCode>,
    ending: OnceLock<Ending>,
    // Written at most a few times a request, never while another lock is held.
    claims: Mutex<Vec<Claim>>,
    masks: Mutex<Vec<MaskCount>>,
    places: Mutex<Vec<MaskPlace>>,
}

impl Trail {
    /// An empty notebook for a request received now.
    #[must_use]
    pub fn new(id: RequestId, received: Timestamp, peer: Option<Peer>) -> Self {
        Self(Arc::new(Inner {
            id,
            received,
            peer,
            identity: OnceLock::new(),
            operation: OnceLock::new(),
            content_type: OnceLock::new(),
            upstream: OnceLock::new(),
            decision: OnceLock::new(),
            credential: OnceLock::new(),
            refusal: OnceLock::new(),
            ending: OnceLock::new(),
            claims: Mutex::new(Vec::new()),
            masks: Mutex::new(Vec::new()),
            places: Mutex::new(Vec::new()),
        }))
    }

    /// The request's name.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.0.id
    }

    /// When its head had arrived.
    #[must_use]
    pub fn received(&self) -> Timestamp {
        self.0.received
    }

    /// Where it came from, if it came over a connection.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        self.0.peer
    }

    /// Notes who is calling.
    pub fn identify(&self, identity: Identity) {
        let _first_stands = self.0.identity.set(identity);
    }

    /// Who is calling, once known.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.identity.get()
    }

    /// Notes what is asked for.
    pub fn classify(&self, operation: Operation) {
        let _first_stands = self.0.operation.set(operation);
    }

    /// What is asked for, once known.
    #[must_use]
    pub fn operation(&self) -> Option<&Operation> {
        self.0.operation.get()
    }

    /// Notes that the request's body goes on with this content type instead of the caller's.
    pub fn retype(&self, content_type: &str) {
        let _first_stands = self.0.content_type.set(content_type.into());
    }

    /// The content type that the request's body goes on with, if it is not the caller's.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.0.content_type.get().map(|text| &**text)
    }

    /// Notes which upstream was chosen.
    pub fn route_to(&self, upstream: UpstreamName) {
        let _first_stands = self.0.upstream.set(upstream);
    }

    /// The chosen upstream, once known.
    #[must_use]
    pub fn upstream(&self) -> Option<&UpstreamName> {
        self.0.upstream.get()
    }

    /// Notes what policy decided.
    pub fn decide(&self, decision: Decision) {
        let _first_stands = self.0.decision.set(decision);
    }

    /// What policy decided, once known.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.0.decision.get()
    }

    /// Adds a claim, to be made in the transaction that commits the intent.
    pub fn claim(&self, claim: Claim) {
        self.0.claims.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
    }

    /// The claims so far.
    #[must_use]
    pub fn claims(&self) -> Vec<Claim> {
        self.0.claims.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes which credential version was injected.
    pub fn inject(&self, version: CredentialVersion) {
        let _first_stands = self.0.credential.set(version);
    }

    /// The injected credential version, once known.
    #[must_use]
    pub fn credential(&self) -> Option<&CredentialVersion> {
        self.0.credential.get()
    }

    /// Notes why a control refused. [`Refusal::on`](crate::Refusal::on) does it for you.
    pub fn refuse(&self, code: RefusalCode) {
        let _first_stands = self.0.refusal.set(code);
    }

    /// Why a control refused, if one did.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusalCode> {
        self.0.refusal.get().copied()
    }

    /// Notes how the answer ended, by the layer that knows the cause first.
    pub fn end(&self, ending: Ending) {
        let _first_stands = self.0.ending.set(ending);
    }

    /// How the answer ended, if a layer inside the recorder knew.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.0.ending.get().copied()
    }

    /// Counts spans that a masking rule replaced.
    pub fn mask(&self, rule: &Arc<str>, count: u64) {
        let mut masks = self.0.masks.lock().unwrap_or_else(PoisonError::into_inner);
        match masks.iter_mut().find(|m| m.rule == *rule) {
            Some(found) => found.count = found.count.saturating_add(count),
            None => masks.push(MaskCount { rule: Arc::clone(rule), count }),
        }
    }

    /// Counts a span that a masking rule replaced, and keeps where: of the first 64 in an answer.
    pub fn masked_at(&self, place: MaskPlace) {
        self.mask(&place.rule, 1);
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() < MOST_PLACES {
            places.push(place);
        }
    }

    /// Where masks are, in the order they were made: the first 64.
    #[must_use]
    pub fn mask_places(&self) -> Vec<MaskPlace> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Mask counts so far, by rule.
    #[must_use]
    pub fn masks(&self) -> Vec<MaskCount> {
        self.0.masks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_stands_and_counts_add_up() {
        let trail = Trail::new(RequestId::generate(), Timestamp(1), None);
        trail.end(Ending::UpstreamCut);
        trail.clone().end(Ending::Complete);
        assert_eq!(trail.ending(), Some(Ending::UpstreamCut));
        let rule: Arc<str> = "jwt".into();
        trail.mask(&rule, 1);
        trail.mask(&rule, 2);
        let place =
            MaskPlace { rule: rule.clone(), lane: "text".into(), offset: 4, length: 20, fingerprint: None };
        for _ in 0..MOST_PLACES + 1 {
            trail.masked_at(place.clone());
        }
        assert_eq!(trail.masks(), vec![MaskCount { rule, count: 68 }]);
        assert_eq!(trail.mask_places(), vec![place; MOST_PLACES]);
    }
}
