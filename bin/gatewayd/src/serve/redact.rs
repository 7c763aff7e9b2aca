//! The masker, as the recorder and the approvals know it.

use arc_swap::ArcSwap;
use bytes::Bytes;
use gatewayd_core::{Redact, RedactStream};
use gatewayd_masker::Masker;
use gatewayd_masker::format::{BodyKind, BodyStream};

/// Redacts with the masker in force when a body starts.
pub(crate) struct SwappableRedact(ArcSwap<Masker>);

impl SwappableRedact {
    pub(crate) fn new(masker: Masker) -> Self {
        Self(ArcSwap::from_pointee(masker))
    }

    /// Another masker for bodies that start from now on.
    pub(crate) fn replace(&self, masker: Masker) {
        self.0.store(std::sync::Arc::new(masker));
    }
}

impl Redact for SwappableRedact {
    fn start(&self, content_type: Option<&str>) -> Box<dyn RedactStream> {
        // What callers say of their own bodies is believed only where it makes masking look closer: JSON that is
        // called an image is still read as JSON by whoever it is sent to.
        let kind = match BodyKind::of(content_type) {
            said @ (BodyKind::Json | BodyKind::Events | BodyKind::Lines) => said,
            _ => BodyKind::Unknown,
        };
        Box::new(Redacting(self.0.load().body(kind)))
    }
}

struct Redacting(BodyStream);

impl RedactStream for Redacting {
    fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> {
        self.0.push(chunk).map(Bytes::from).map_err(|error| error.to_string())
    }

    fn finish(&mut self) -> Result<Bytes, String> {
        self.0.finish().map(Bytes::from).map_err(|error| error.to_string())
    }
}
