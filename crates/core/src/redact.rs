//! Masking behind a trait, for controls that store or show text but are not the masker.

use bytes::Bytes;

/// Starts a redaction of one body.
pub trait Redact: Send + Sync + 'static {
    /// A fresh state for a body of this content type.
    fn start(&self, content_type: Option<&str>) -> Box<dyn RedactStream>;
}

/// The redaction of one body, chunk by chunk. An error is final: nothing of the rest may be stored.
pub trait RedactStream: Send {
    /// Takes a chunk, gives what can already be let go.
    ///
    /// # Errors
    /// Says why the body cannot be redacted, without its text.
    fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String>;

    /// The rest.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    fn finish(&mut self) -> Result<Bytes, String>;
}
