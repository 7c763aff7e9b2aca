//! Segments: runs of sealed blocks, and the one who writes them.

use crate::blobs::{Blob, BlobStore};
use crate::codec::{Decoder, put_varint};
use crate::error::Error;

/// First bytes of a segment; its number follows, 8 bytes.
pub(crate) const MAGIC: &[u8; 8] = b"GWDSEG1\n";
/// Length of a segment's head.
#[cfg(test)]
const HEAD: u64 = 16;
/// First byte of a block of this version.
const BLOCK: u8 = 0xB1;
/// No sealed block is longer. A block holds at most [`MAX_PLAIN`] bytes and their frame table.
const MAX_SEALED: u64 = 1 << 20;
/// No block is longer, whatever its numbers.
pub(crate) const MAX_BLOCK: usize = (1 << 20) + 64;
/// At most this much text goes into one block.
pub(crate) const MAX_PLAIN: usize = 64 * 1024;

/// Which way a body went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Request,
    Response,
}

/// What stands before the sealed bytes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) way: Way,
    /// The text is compressed with zstd.
    pub(crate) compressed: bool,
    /// The end of the block before is the dictionary.
    pub(crate) chained: bool,
    /// The text begins with the header fields of the message. Only in its first block.
    pub(crate) headed: bool,
    pub(crate) id: [u8; 16],
    /// Counts the blocks of this way of this session from 0.
    pub(crate) number: u64,
}

impl BlockHead {
    /// The bytes that are authenticated together with the sealed ones.
    pub(crate) fn encode(&self, sealed: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let way = u8::from(self.way == Way::Response);
        let flags = u8::from(self.compressed) << 1 | u8::from(self.chained) << 2 | u8::from(self.headed) << 3;
        out.extend_from_slice(&[BLOCK, way | flags]);
        out.extend_from_slice(&self.id);
        put_varint(&mut out, self.number);
        put_varint(&mut out, sealed as u64);
        out
    }

    /// The nonce of this block under the session's key. No two blocks of a session share way and number.
    pub(crate) fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        let (head, tail) = nonce.split_at_mut(4);
        head.copy_from_slice(&[u8::from(self.way == Way::Response), 0, 0, 0]);
        tail.copy_from_slice(&self.number.to_be_bytes());
        nonce
    }
}

/// Puts head, checksum and sealed bytes together.
pub(crate) fn assemble(head: &[u8], sealed: &[u8], out: &mut Vec<u8>) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(sealed);
    out.extend_from_slice(head);
    out.extend_from_slice(&crc.finalize().to_be_bytes());
    out.extend_from_slice(sealed);
}

/// One block in a segment's bytes.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    pub(crate) head: BlockHead,
    /// The head's bytes before the checksum.
    pub(crate) aad: &'a [u8],
    pub(crate) sealed: &'a [u8],
    /// All bytes of the block, as they count into the digest of a session.
    pub(crate) bytes: &'a [u8],
    crc: u32,
}

/// Takes the next block off the front, its checksum not looked at. `None`: what stands there is no whole block.
pub(crate) fn next_frame<'a>(rest: &mut &'a [u8]) -> Option<Block<'a>> {
    let all = *rest;
    let mut from = Decoder(all);
    let [marker, flags] = from.array().ok()?;
    if marker != BLOCK || flags & !15 != 0 {
        return None;
    }
    let id = from.array().ok()?;
    let number = from.varint().ok().filter(|number| *number == 0 || flags & 8 == 0)?;
    let len = from.varint().ok().filter(|len| *len <= MAX_SEALED)?;
    let aad = all.get(..all.len() - from.0.len())?;
    let crc = u32::from_be_bytes(from.array().ok()?);
    let sealed = from.take(usize::try_from(len).ok()?).ok()?;
    let bytes = all.get(..all.len() - from.0.len())?;
    *rest = from.0;
    let way = if flags & 1 == 1 { Way::Response } else { Way::Request };
    let (compressed, chained, headed) = (flags & 2 != 0, flags & 4 != 0, flags & 8 != 0);
    let head = BlockHead { way, compressed, chained, headed, id, number };
    Some(Block { head, aad, sealed, bytes, crc })
}

impl Block<'_> {
    /// True if the checksum holds.
    pub(crate) fn is_intact(&self) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.aad);
        hasher.update(self.sealed);
        hasher.finalize() == self.crc
    }
}

/// Writes blocks to the newest segment.
pub(crate) struct SegmentWriter {
    store: Box<dyn BlobStore>,
    blob: Option<Box<dyn Blob>>,
    number: u64,
    /// Bytes of the segment that are known to be whole blocks.
    good: u64,
    /// Bytes beyond `good` may be garbage of a failed write.
    dirty: bool,
    unsynced: bool,
    buffer: Vec<u8>,
}

impl SegmentWriter {
    /// A writer that begins a new segment with the first block.
    pub(crate) fn new(store: impl BlobStore + 'static, last: u64) -> Self {
        Self {
            store: Box::new(store),
            blob: None,
            number: last,
            good: 0,
            dirty: false,
            unsynced: false,
            buffer: Vec::new(),
        }
    }

    /// The segment that the next block goes to.
    pub(crate) fn number(&self) -> u64 {
        if self.blob.is_some() { self.number } else { self.number + 1 }
    }

    /// How large the segment will be.
    pub(crate) fn len(&self) -> u64 {
        self.good + self.buffer.len() as u64
    }

    /// The buffer that blocks are assembled in; [`flush`](Self::flush) writes it.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes what is in the buffer; on an error nothing of it counts.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.write_buffer();
        self.buffer.clear();
        if written.is_err() {
            self.dirty = true;
        }
        written
    }

    fn write_buffer(&mut self) -> Result<(), Error> {
        if self.blob.is_none() {
            self.begin()?;
        }
        let blob = self.blob.as_mut().expect("a segment was begun above");
        if self.dirty {
            blob.cut(self.good)?;
            self.dirty = false;
        }
        if self.good == 0 {
            let mut head = MAGIC.to_vec();
            head.extend_from_slice(&self.number.to_be_bytes());
            head.append(&mut self.buffer);
            self.buffer = head;
        }
        blob.append(&self.buffer)?;
        self.good += self.buffer.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Error> {
        let blob = self.store.begin(self.number + 1)?;
        self.number += 1;
        self.blob = Some(blob);
        self.good = 0;
        self.dirty = false;
        self.store.sync_names()
    }

    /// Waits until what was written is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        let Some(blob) = &mut self.blob else { return Ok(()) };
        blob.sync()?;
        self.unsynced = false;
        Ok(())
    }

    /// True if something was written since the last sync.
    pub(crate) fn owes_sync(&self) -> bool {
        self.unsynced
    }

    /// True unless the segment that is written went away: then whoever writes on writes into nothing.
    pub(crate) fn is_in_place(&self) -> bool {
        self.blob.as_ref().is_none_or(|blob| blob.is_in_place())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.blob.is_some()
    }

    /// Tries whether there is room again, without leaving anything behind.
    pub(crate) fn probe(&mut self) -> Result<(), Error> {
        let Some(blob) = &mut self.blob else { return Ok(()) };
        self.dirty = true;
        blob.cut(self.good)?;
        blob.append(&[0; 64 * 1024])?;
        blob.sync()?;
        blob.cut(self.good)?;
        self.dirty = false;
        Ok(())
    }

    /// Ends the segment; the next block begins another.
    pub(crate) fn close(&mut self) {
        self.blob = None;
        self.good = 0;
        self.unsynced = false;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::blobs::Segments;
    use proptest::prelude::*;

    fn block(number: u64, sealed: &[u8]) -> Vec<u8> {
        let head = BlockHead {
            way: Way::Response,
            compressed: true,
            chained: false,
            headed: number == 0,
            id: [7; 16],
            number,
        };
        let mut out = Vec::new();
        assemble(&head.encode(sealed.len()), sealed, &mut out);
        out
    }

    proptest! {
        #[test]
        fn whole_blocks_before_a_torn_end_are_read(
            blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..10),
            cut in 1_usize..150,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let segments = Segments::below(dir.path());
            segments.make_dir().unwrap();
            let mut writer = SegmentWriter::new(segments.clone(), 0);
            for (n, sealed) in blocks.iter().enumerate() {
                writer.buffer().extend(block(n as u64, sealed));
                writer.flush().unwrap();
            }
            let keep = segments.len(1).saturating_sub(cut as u64).max(HEAD);
            fs::OpenOptions::new().write(true).open(segments.path(1)).unwrap().set_len(keep).unwrap();
            let (mut stored, mut read, mut ends) = (segments.open(1).unwrap(), 0, HEAD);
            while let Some(next) = stored.next_block().unwrap() {
                prop_assert_eq!(next.sealed, &blocks[read][..]);
                (read, ends) = (read + 1, ends + next.bytes.len() as u64);
            }
            let lost = blocks[read..].iter().enumerate().map(|(n, sealed)| block((read + n) as u64, sealed).len() as u64);
            prop_assert!(lost.take(1).all(|len| ends + len > keep), "a whole block was not read");
        }

        #[test]
        fn only_a_first_block_has_a_head(number in 1_u64..1000) {
            let head = BlockHead {
                way: Way::Request, compressed: false, chained: false, headed: true, id: [7; 16], number,
            };
            let mut out = Vec::new();
            assemble(&head.encode(4), b"text", &mut out);
            prop_assert!(next_frame(&mut &out[..]).is_none());
        }

        #[test]
        fn a_changed_byte_is_no_block(sealed in proptest::collection::vec(any::<u8>(), 0..100), at: usize, bit in 0_u8..8) {
            let mut bytes = block(3, &sealed);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(next_frame(&mut &bytes[..]).is_none_or(|block| !block.is_intact()));
        }
    }
}
