//! What was seen of one body and is not sealed yet.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use crate::codec::{self, Digest, put_varint};
use crate::facts::{Salt, Words};

/// A stream's frames are handed to the sealer once they add up to this.
pub(crate) const BLOCK: usize = 12 * 1024;
/// Frames from this size on are not copied together with others.
const LARGE: usize = 4 * 1024;

/// Frames on their way to the sealer: a table of `varint(delta us) varint(length)`, and their bytes.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) frames: Vec<u8>,
    pub(crate) data: Bytes,
}

impl Piece {
    /// What it costs in memory.
    pub(crate) fn cost(&self) -> usize {
        self.frames.len() + self.data.len() + 64
    }
}

/// Collects the frames of one body.
#[derive(Default)]
pub(crate) struct Capture {
    /// Pieces that are ready but cannot be handed over yet.
    ready: Vec<Piece>,
    frames: Vec<u8>,
    data: Pending,
    /// Time of the newest frame, in microseconds since the request's start.
    last: u64,
    /// Time of the oldest frame that waits here.
    oldest: u64,
    /// Bytes seen.
    pub(crate) seen: u64,
    kept: u64,
    /// Some of the bytes seen are not kept: there were too many.
    pub(crate) cut: bool,
    /// The body's end was seen.
    pub(crate) complete: bool,
    hash: Option<Context>,
    /// How many pieces were handed over.
    pub(crate) handed: u64,
    /// The header fields that came before the body, until they are taken to be stored.
    pub(crate) head: Vec<u8>,
}

#[derive(Default)]
enum Pending {
    #[default]
    None,
    /// One frame, shared with whoever else holds it.
    One(Bytes),
    Many(Vec<u8>),
}

impl Pending {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }
}

impl Capture {
    /// A body after these header fields.
    pub(crate) fn after(head: Vec<u8>) -> Self {
        Self { head, ..Self::default() }
    }

    /// Keeps a frame seen `now` microseconds after the start, up to `max` bytes in all.
    pub(crate) fn push(&mut self, frame: &Bytes, now: u64, max: u64) {
        self.seen += frame.len() as u64;
        let room = usize::try_from(max - self.kept.min(max)).unwrap_or(usize::MAX);
        let frame = if frame.len() > room {
            self.cut = true;
            frame.slice(..room)
        } else {
            frame.clone()
        };
        if frame.is_empty() {
            return;
        }
        self.kept += frame.len() as u64;
        if self.data.len() >= BLOCK || (frame.len() >= LARGE && self.data.len() > 0) {
            self.gather();
        }
        if self.data.len() == 0 {
            self.oldest = now;
        }
        put_varint(&mut self.frames, now.saturating_sub(self.last));
        put_varint(&mut self.frames, frame.len() as u64);
        self.last = now.max(self.last);
        match &mut self.data {
            Pending::None if frame.len() >= LARGE => self.data = Pending::One(frame),
            // A small frame is a piece of a larger buffer, which it would keep.
            Pending::None => self.data = Pending::Many(frame.to_vec()),
            Pending::One(first) => {
                let mut both = Vec::with_capacity((first.len() + frame.len()).next_power_of_two());
                both.extend_from_slice(first);
                both.extend_from_slice(&frame);
                self.data = Pending::Many(both);
            }
            Pending::Many(all) => all.extend_from_slice(&frame),
        }
    }

    /// Adds the frame to the digest of what the caller sent.
    pub(crate) fn hash(&mut self, salt: &Salt, frame: &[u8]) {
        let context = self.hash.get_or_insert_with(|| {
            let mut context = Context::new(&SHA256);
            context.update(&[Words::Request as u8]);
            context.update(salt);
            context
        });
        context.update(frame);
    }

    /// The digest of what was seen so far.
    pub(crate) fn digest(&self, salt: &Salt) -> Digest {
        match &self.hash {
            Some(context) => codec::finish(context.clone()),
            None => crate::facts::digest(Words::Request, salt, b""),
        }
    }

    fn gather(&mut self) {
        let data = match std::mem::take(&mut self.data) {
            Pending::None => return,
            Pending::One(bytes) => bytes,
            Pending::Many(bytes) => Bytes::from(bytes),
        };
        self.ready.push(Piece { frames: std::mem::take(&mut self.frames), data });
    }

    /// True if there is enough to be worth a block.
    pub(crate) fn is_due(&self) -> bool {
        !self.ready.is_empty() || self.data.len() >= BLOCK
    }

    /// True if something has waited here since before `then`.
    pub(crate) fn waits_since(&self, then: u64) -> bool {
        !self.ready.is_empty() || (self.data.len() > 0 && self.oldest <= then)
    }

    /// True if nothing was kept and nothing waits.
    pub(crate) fn is_untouched(&self) -> bool {
        self.kept == 0
    }

    /// Hands everything over.
    pub(crate) fn take(&mut self) -> Vec<Piece> {
        self.gather();
        self.handed += self.ready.len() as u64;
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Decoder;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(
            frames in proptest::collection::vec((0_u64..5000, 0_usize..9000), 0..40),
            max in 0_u64..200_000,
            take_at in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let mut capture = Capture::default();
            let (mut now, mut sent, mut pieces) = (0, Vec::new(), Vec::new());
            for (n, (delta, len)) in frames.iter().enumerate() {
                now += delta;
                let frame = Bytes::from(vec![u8::try_from(n).unwrap(); *len]);
                sent.extend_from_slice(&frame);
                capture.push(&frame, now, max);
                if take_at[n] {
                    pieces.extend(capture.take());
                }
            }
            pieces.extend(capture.take());
            let max = usize::try_from(max).unwrap();
            prop_assert_eq!(capture.cut, sent.len() > max);
            prop_assert_eq!(capture.seen, sent.len() as u64);
            sent.truncate(max);
            let mut got = Vec::new();
            for piece in pieces {
                let mut table = Decoder(&piece.frames);
                let mut sum = 0;
                while table.end().is_err() {
                    table.varint().unwrap();
                    sum += table.varint().unwrap();
                }
                prop_assert_eq!(sum, piece.data.len() as u64);
                got.extend_from_slice(&piece.data);
            }
            prop_assert!(got == sent);
        }
    }
}
