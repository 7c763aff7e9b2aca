//! One direction of one session on its way into a segment: masked, cut into blocks, compressed, sealed.

use aws_lc_rs::digest::{Context, SHA256};
use gatewayd_core::{RedactStream, RequestId};
use zstd::bulk::Compressor;

use crate::capture::Piece;
use crate::codec::{self, Decoder, put_varint};
use crate::error::Error;
use crate::keys::SealKey;
use crate::leaf::Stored;
use crate::segment::{BlockHead, MAX_PLAIN, SegmentWriter, Way, assemble};

/// This much of a block's end is the dictionary of the next one.
pub(crate) const TAIL: usize = 4 * 1024;

/// Shorter texts are not compressed, unless they go on from others: it takes longer than all else that is done with
/// them, and gains little.
const WORTH_IT: usize = 1024;

/// One direction of one session.
#[derive(Default)]
pub(crate) struct Track {
    /// Pieces taken in.
    pub(crate) taken: u64,
    blocks: u64,
    segments: Option<(u64, u64)>,
    hash: Option<Context>,
    plain: u64,
    tail: Vec<u8>,
    redact: Option<Box<dyn RedactStream>>,
    /// The header fields, masked, until the first block takes them along.
    pub(crate) head: Option<Vec<u8>>,
    /// Masked text that waits for its block, with its frames.
    text: Vec<u8>,
    frames: Vec<u8>,
    /// Time that passed with frames of which nothing is let go yet.
    delta: u64,
}

impl Track {
    /// A body after these header fields.
    pub(crate) fn begin(head: Option<Vec<u8>>) -> Self {
        Self { head, ..Self::default() }
    }

    /// Where the blocks are, if there are any.
    pub(crate) fn stored(self) -> Option<Stored> {
        let ((first_segment, last_segment), hash) = (self.segments?, self.hash?);
        let digest = codec::finish(hash);
        Some(Stored { blocks: self.blocks, first_segment, last_segment, plain: self.plain, digest })
    }

    /// True while nothing was stored.
    pub(crate) fn is_fresh(&self) -> bool {
        self.blocks == 0
    }

    pub(crate) fn first_segment(&self) -> Option<u64> {
        self.segments.map(|(first, _)| first)
    }

    /// Masks the frames of a piece. An error is final.
    pub(crate) fn redact(
        &mut self,
        piece: &Piece,
        start: impl FnOnce() -> Box<dyn RedactStream>,
    ) -> Result<(), String> {
        let redact = self.redact.get_or_insert_with(start);
        let mut table = Decoder(&piece.frames);
        let mut rest: &[u8] = &piece.data;
        while table.end().is_err() {
            let (delta, len) = frame(&mut table).ok_or("the frame table is broken")?;
            let (text, after) = rest.split_at_checked(len).ok_or("the frame table is broken")?;
            rest = after;
            self.delta = self.delta.saturating_add(delta);
            let shown = caught(|| redact.push(text))?;
            if !shown.is_empty() {
                put_varint(&mut self.frames, std::mem::take(&mut self.delta));
                put_varint(&mut self.frames, shown.len() as u64);
                self.text.extend_from_slice(&shown);
            }
        }
        Ok(())
    }

    /// The rest of what the masking held back.
    pub(crate) fn finish_redaction(&mut self) -> Result<(), String> {
        let Some(mut redact) = self.redact.take() else { return Ok(()) };
        let shown = caught(|| redact.finish())?;
        if !shown.is_empty() {
            put_varint(&mut self.frames, std::mem::take(&mut self.delta));
            put_varint(&mut self.frames, shown.len() as u64);
            self.text.extend_from_slice(&shown);
        }
        Ok(())
    }
}

/// A masker that panics has not masked: it must not take the recorder with it.
fn caught<T>(masking: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let panicked = |_| Err("the masker panicked".to_owned());
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(masking)).unwrap_or_else(panicked)
}

fn frame(table: &mut Decoder<'_>) -> Option<(u64, usize)> {
    Some((table.varint().ok()?, usize::try_from(table.varint().ok()?).ok()?))
}

/// Compresses and seals, with one context for all sessions.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    level: i32,
    plain: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(level: i32) -> Result<Self, Error> {
        let compressor = Compressor::new(level).map_err(|e| Error::Unavailable(format!("zstd: {e}")))?;
        Ok(Self { compressor, level, plain: Vec::new() })
    }

    /// Seals masked text once there is enough of it for a block.
    pub(crate) fn pack_full(
        &mut self,
        track: &mut Track,
        way: Way,
        id: RequestId,
        key: &SealKey,
        writer: &mut SegmentWriter,
    ) -> Result<(), Error> {
        if track.text.len() < MAX_PLAIN { Ok(()) } else { self.pack_rest(track, way, id, key, writer) }
    }

    /// Seals all masked text that waits, and header fields that no block took along yet.
    pub(crate) fn pack_rest(
        &mut self,
        track: &mut Track,
        way: Way,
        id: RequestId,
        key: &SealKey,
        writer: &mut SegmentWriter,
    ) -> Result<(), Error> {
        if track.text.is_empty() && track.head.is_none() {
            return Ok(());
        }
        let piece =
            Piece { frames: std::mem::take(&mut track.frames), data: std::mem::take(&mut track.text).into() };
        self.pack(track, way, id, key, &piece, writer)
    }

    /// Seals the frames of a piece, in as many blocks as it takes.
    pub(crate) fn pack(
        &mut self,
        track: &mut Track,
        way: Way,
        id: RequestId,
        key: &SealKey,
        piece: &Piece,
        writer: &mut SegmentWriter,
    ) -> Result<(), Error> {
        if piece.data.len() <= MAX_PLAIN {
            return self.block(track, way, id, key, (&piece.frames, &piece.data), writer);
        }
        let broken = || Error::Damaged("a frame table in memory is broken".into());
        let (mut table, mut rest) = (Decoder(&piece.frames), &piece.data[..]);
        let (mut frames, mut start, mut len) = (Vec::new(), rest, 0);
        while table.end().is_err() {
            let (mut delta, mut left) = frame(&mut table).ok_or_else(broken)?;
            // A frame that does not fit goes on in the next block, without delay.
            while left > 0 {
                let some = left.min(MAX_PLAIN - len);
                put_varint(&mut frames, std::mem::take(&mut delta));
                put_varint(&mut frames, some as u64);
                rest = rest.get(some..).ok_or_else(broken)?;
                (left, len) = (left - some, len + some);
                if len == MAX_PLAIN {
                    let data = start.get(..len).ok_or_else(broken)?;
                    self.block(track, way, id, key, (&frames, data), writer)?;
                    (start, len) = (rest, 0);
                    frames.clear();
                }
            }
        }
        if len == 0 {
            return Ok(());
        }
        self.block(track, way, id, key, (&frames, start.get(..len).ok_or_else(broken)?), writer)
    }

    fn block(
        &mut self,
        track: &mut Track,
        way: Way,
        id: RequestId,
        key: &SealKey,
        (frames, data): (&[u8], &[u8]),
        writer: &mut SegmentWriter,
    ) -> Result<(), Error> {
        self.plain.clear();
        let head = track.head.take();
        if let Some(head) = &head {
            put_varint(&mut self.plain, head.len() as u64);
            self.plain.extend_from_slice(head);
        }
        put_varint(&mut self.plain, frames.len() as u64);
        self.plain.extend_from_slice(frames);
        self.plain.extend_from_slice(data);
        let chained = !track.tail.is_empty();
        let squeezed = self.squeeze(&track.tail)?;
        let compressed = squeezed.len() < self.plain.len();
        let mut text = if compressed { squeezed } else { self.plain.clone() };
        let head = BlockHead {
            way,
            compressed,
            chained: compressed && chained,
            headed: head.is_some(),
            id: *id.as_bytes(),
            number: track.blocks,
        };
        let aad = head.encode(text.len() + 16);
        key.seal(head.nonce(), &aad, &mut text)?;

        let segment = writer.number();
        let buffer = writer.buffer();
        let start = buffer.len();
        assemble(&aad, &text, buffer);
        let hash = track.hash.get_or_insert_with(|| Context::new(&SHA256));
        hash.update(buffer.get(start..).unwrap_or_default());
        track.blocks += 1;
        track.plain += data.len() as u64;
        track.segments = Some((track.segments.map_or(segment, |(first, _)| first), segment));
        keep_tail(&mut track.tail, data);
        Ok(())
    }

    fn squeeze(&mut self, dictionary: &[u8]) -> Result<Vec<u8>, Error> {
        if self.plain.len() < WORTH_IT && dictionary.is_empty() {
            return Ok(self.plain.clone());
        }
        let failed = |e: std::io::Error| Error::Unavailable(format!("zstd: {e}"));
        if dictionary.is_empty() {
            return self.compressor.compress(&self.plain).map_err(failed);
        }
        self.compressor.set_dictionary(self.level, dictionary).map_err(failed)?;
        let squeezed = self.compressor.compress(&self.plain).map_err(failed)?;
        self.compressor.set_dictionary(self.level, &[]).map_err(failed)?;
        Ok(squeezed)
    }
}

/// Keeps the end of a block's text, which is what the next block's text most likely looks like.
pub(crate) fn keep_tail(tail: &mut Vec<u8>, data: &[u8]) {
    tail.clear();
    tail.extend_from_slice(data.get(data.len().saturating_sub(TAIL)..).unwrap_or(data));
}
