//! A plain text that arrives in pieces.

use crate::lane::{Lane, Session};
use crate::report::MaskEvent;

/// Masks one plain text as it arrives; made by [`Masker::stream`](crate::Masker::stream).
///
/// What comes out, put together, is what [`Masker::mask`](crate::Masker::mask) makes of the whole text, however
/// it was cut. A byte comes out as soon as nothing that may follow could make it part of a secret.
///
/// ```
/// use gatewayd_masker::Masker;
///
/// let mut stream = Masker::builder().build()?.stream();
/// assert_eq!(stream.push(b"the key is AKIAZQ3D"), b"the key is ");
/// assert_eq!(stream.push(b"RSTUVWXY2345. bye"), b"[REDACTED:aws-access-key-id]. bye");
/// assert_eq!(stream.finish(), b"");
/// # Ok::<(), gatewayd_masker::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Stream {
    session: Session,
    lane: Lane,
}

impl Stream {
    pub(crate) fn new(session: Session) -> Self {
        let lane = Lane::new(&session);
        Self { session, lane }
    }

    /// Takes a piece; gives what may leave.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        self.push_into(bytes, &mut out);
        out
    }

    /// As [`push`](Self::push), appending to a buffer of the caller's.
    pub fn push_into(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.session.refresh();
        self.lane.push(bytes);
        self.lane.advance(&mut self.session, &|| "text".to_owned(), out);
    }

    /// The end of the text; gives the rest. What is pushed afterwards begins a new text.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.lane.finish(&mut self.session, &|| "text".to_owned(), &mut out);
        self.lane = Lane::new(&self.session);
        out
    }

    /// How many bytes have been pushed and not yet decided.
    #[must_use]
    pub fn held(&self) -> usize {
        let (out, pos) = self.lane.progress();
        usize::try_from(pos.saturating_sub(out)).unwrap_or(usize::MAX)
    }

    /// What has been masked since the last call.
    pub fn take_events(&mut self) -> Vec<MaskEvent> {
        self.session.take_events()
    }
}
