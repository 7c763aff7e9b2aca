//! Pieces of an answer that arrived together are passed on together.

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use crate::failure::Failure;

/// Pieces that arrived together.
///
/// The client hands over one piece of an answer at a time, and needs a turn of the runtime for the next even
/// where it has read both at once. So after each piece it is given one turn before the piece is passed on:
/// a burst of events then costs one write to the caller, and a lone one costs one turn, not one wait.
#[derive(Default)]
pub(crate) struct Held {
    bytes: Bytes,
    /// More than one piece, put together.
    joined: BytesMut,
    /// A turn was given since the last piece.
    has_waited: bool,
    /// What came behind the pieces: trailers, the end, a failure.
    pub(crate) next: Option<Option<Result<Frame<Bytes>, Failure>>>,
}

impl Held {
    /// Pieces this long are passed on at once.
    const ENOUGH: usize = 16 * 1024;

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.joined.is_empty()
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.is_empty() && self.next.is_none()
    }

    /// Takes a piece; gives back what is held once it is enough.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Option<Bytes> {
        self.has_waited = false;
        if self.is_empty() {
            self.bytes = bytes;
        } else {
            if self.joined.is_empty() {
                self.joined.extend_from_slice(&std::mem::take(&mut self.bytes));
            }
            self.joined.extend_from_slice(&bytes);
        }
        if self.bytes.len() + self.joined.len() >= Self::ENOUGH { self.take() } else { None }
    }

    /// Takes the first piece, and keeps it however long it is.
    pub(crate) fn put(&mut self, first: Bytes) {
        debug_assert!(self.is_spent(), "only the first piece is put here");
        self.has_waited = false;
        self.bytes = first;
    }

    /// True once after each piece.
    pub(crate) fn may_wait(&mut self) -> bool {
        !std::mem::replace(&mut self.has_waited, true)
    }

    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let bytes = if self.joined.is_empty() {
            std::mem::take(&mut self.bytes)
        } else {
            self.joined.split().freeze()
        };
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    pub(crate) fn add_to(&self, rest: &SizeHint) -> SizeHint {
        let held = (self.bytes.len() + self.joined.len()) as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + held);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the pieces and the turns, what comes out is what went in, and nothing is held beyond a turn.
        #[test]
        fn nothing_is_lost_or_reordered(
            lengths in prop::collection::vec((0..9000usize, any::<bool>()), 0..12),
        ) {
            let piece = |at: usize, length: usize| -> Vec<u8> { (at..at + length).map(|n| n.to_le_bytes()[0]).collect() };
            let mut held = Held::default();
            let mut wanted = Vec::new();
            let mut out = Vec::new();
            for (at, (length, pauses)) in lengths.into_iter().enumerate() {
                let piece = piece(at, length);
                wanted.extend_from_slice(&piece);
                out.extend(held.push(Bytes::from(piece)).into_iter().flatten());
                if pauses && !held.is_empty() {
                    prop_assert!(held.may_wait(), "one turn after each piece");
                    prop_assert!(!held.may_wait(), "and no second one");
                    out.extend(held.take().into_iter().flatten());
                    prop_assert!(held.is_spent());
                }
            }
            out.extend(held.take().into_iter().flatten());
            prop_assert_eq!(out, wanted);
        }
    }
}
