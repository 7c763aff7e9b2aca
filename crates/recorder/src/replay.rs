//! From sealed blocks back to frames.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension as _};
use zstd::bulk::Decompressor;

use crate::blobs::BlobStore;
use crate::codec::{self, Decoder};
use crate::error::Error;
use crate::head::{Head, HeaderField};
use crate::keys::{RootKey, SealKey, session_purpose, subject_purpose};
use crate::leaf::Stored;
use crate::recovery::first_segment;
use crate::segment::{Block, Way};
use crate::store::row_id;
use crate::track::keep_tail;

/// The text of no block, with its frame table, is longer.
const MAX_TEXT: usize = 1 << 20;

/// Some bytes as they came, and how long after the frame before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Microseconds since the frame before; for the first one, since the request arrived.
    pub delta_us: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A recorded request and its answer, as the caller saw them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// The version of HTTP that the caller spoke, and was answered in.
    pub http_version: Option<String>,
    /// The request's header fields.
    pub request_head: Vec<HeaderField>,
    /// The answer's header fields.
    pub response_head: Vec<HeaderField>,
    /// The request's body, masked. A masked frame may hold bytes that came earlier.
    pub request: Vec<Frame>,
    /// The answer's body.
    pub response: Vec<Frame>,
    /// The request has not ended yet, so there may be more.
    pub open: bool,
    /// What is on record of the session is not what was signed. Run `verify`.
    pub altered: bool,
    /// What passed and is not in it, in words for people; empty if all of it is there.
    pub missing: Vec<String>,
}

/// The key of a session, if it was not erased.
pub(crate) fn session_key(
    conn: &Connection,
    root: &RootKey,
    number: u64,
    id: &[u8; 16],
) -> Result<Option<SealKey>, Error> {
    let found: Option<(Vec<u8>, String, Vec<u8>)> = conn
        .prepare_cached(
            "SELECT session_keys.wrapped, labels.text, subject_keys.wrapped FROM session_keys
             JOIN subject_keys ON subject_keys.subject = session_keys.subject
             JOIN labels ON labels.id = session_keys.subject WHERE session_keys.number = ?1",
        )?
        .query_row([row_id(number)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((wrapped, subject, above)) = found else { return Ok(None) };
    let above = root
        .key
        .unwrap_below(&subject_purpose(&subject), &above)
        .ok_or_else(|| Error::Damaged("the key of a subject does not open with this root key".into()))?;
    above
        .unwrap_below(&session_purpose(id), &wrapped)
        .map(Some)
        .ok_or_else(|| Error::Damaged("the key of the session does not open".into()))
}

/// Opens the blocks of one direction, in order.
struct Opener<'a> {
    key: &'a SealKey,
    decompressor: Decompressor<'static>,
    tail: Vec<u8>,
    next: u64,
    hash: Context,
    head: Head,
    frames: Vec<Frame>,
}

impl<'a> Opener<'a> {
    fn new(key: &'a SealKey) -> Result<Self, Error> {
        let decompressor = Decompressor::new().map_err(|e| Error::Unavailable(format!("zstd: {e}")))?;
        let hash = Context::new(&SHA256);
        Ok(Self {
            key,
            decompressor,
            tail: Vec::new(),
            next: 0,
            hash,
            head: Head::default(),
            frames: Vec::new(),
        })
    }

    fn open(&mut self, block: &Block<'_>) -> Result<(), Error> {
        let damaged = || Error::Damaged(format!("block {} of the session", block.head.number));
        if block.head.number != self.next {
            return Err(damaged());
        }
        self.hash.update(block.bytes);
        let mut sealed = block.sealed.to_vec();
        let text = self.key.open(block.head.nonce(), block.aad, &mut sealed).ok_or_else(damaged)?;
        let text = if block.head.compressed {
            let dictionary = if block.head.chained { self.tail.as_slice() } else { &[] };
            self.decompressor.set_dictionary(dictionary).map_err(|_| damaged())?;
            self.decompressor.decompress(text, MAX_TEXT).map_err(|_| damaged())?
        } else {
            text.to_vec()
        };
        self.split(&text, block.head.headed).ok_or_else(damaged)?;
        self.next += 1;
        Ok(())
    }

    /// Cuts a block's text into header fields and frames.
    fn split(&mut self, text: &[u8], headed: bool) -> Option<()> {
        let mut from = Decoder(text);
        if headed {
            let len = usize::try_from(from.varint().ok()?).ok()?;
            self.head = Head::parse(from.take(len).ok()?);
        }
        let len = usize::try_from(from.varint().ok()?).ok()?;
        let mut table = Decoder(from.take(len).ok()?);
        let data = from.0;
        while table.end().is_err() {
            let delta_us = table.varint().ok()?;
            let bytes = from.take(usize::try_from(table.varint().ok()?).ok()?).ok()?;
            self.frames.push(Frame { delta_us, bytes: bytes.to_vec() });
        }
        keep_tail(&mut self.tail, data);
        from.end().ok()
    }
}

/// What is to be opened: a closed session's blocks are known exactly, an open one's are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) number: u64,
    pub(crate) id: &'a [u8; 16],
    pub(crate) request: Option<&'a Stored>,
    pub(crate) response: Option<&'a Stored>,
    pub(crate) open: bool,
}

/// The heads of request and answer: what stands in the first block of each.
pub(crate) fn heads(segments: &dyn BlobStore, key: &SealKey, wanted: Wanted<'_>) -> Result<[Head; 2], Error> {
    let mut heads = [Head::default(), Head::default()];
    let ways = [(Way::Request, wanted.request), (Way::Response, wanted.response)];
    for ((way, stored), head) in ways.into_iter().zip(&mut heads) {
        let Some(number) = stored.map(|stored| stored.first_segment) else { continue };
        let mut blocks = segments.open(number)?;
        *head = loop {
            let Some(block) = blocks.next_frame().map_err(Error::read("a segment"))? else {
                return Err(Error::Damaged(format!("a block is missing in segment {number}")));
            };
            if (block.head.id, block.head.way, block.head.number) == (*wanted.id, way, 0) {
                let mut opener = Opener::new(key)?;
                opener.open(&block)?;
                break opener.head;
            }
        };
    }
    Ok(heads)
}

pub(crate) fn replay(
    conn: &Connection,
    segments: &dyn BlobStore,
    key: &SealKey,
    wanted: Wanted<'_>,
) -> Result<Replay, Error> {
    let mut ways = [(Way::Request, wanted.request), (Way::Response, wanted.response)]
        .map(|(way, stored)| Opener::new(key).map(|opener| (way, stored, opener)));
    let stored = [wanted.request, wanted.response].into_iter().flatten();
    let last = stored.clone().map(|s| s.last_segment).max();
    let first = if wanted.open {
        Some(first_segment(conn, wanted.number)?)
    } else {
        stored.map(|s| s.first_segment).min()
    };
    let Some(first) = first else { return Ok(Replay { open: wanted.open, ..Replay::default() }) };
    let last = if wanted.open { u64::MAX } else { last.unwrap_or(first) };
    for number in segments.numbers()?.into_iter().filter(|n| (first..=last).contains(n)) {
        let mut blocks = segments.open(number)?;
        while let Some(block) = blocks.next_block().map_err(Error::read("a segment"))? {
            if block.head.id != *wanted.id {
                continue;
            }
            for way in &mut ways {
                match way {
                    Ok((this, _, opener)) if *this == block.head.way => opener.open(&block)?,
                    _ => {}
                }
            }
        }
    }
    let mut replay = Replay { open: wanted.open, ..Replay::default() };
    for way in ways {
        let (way, stored, opener) = way?;
        if let Some(stored) = stored
            && (stored.blocks, stored.digest) != (opener.next, codec::finish(opener.hash))
        {
            return Err(Error::Damaged("the stored body is not the one that the log commits to".into()));
        }
        match way {
            Way::Request => {
                replay.http_version = opener.head.version;
                (replay.request_head, replay.request) = (opener.head.fields, opener.frames);
            }
            Way::Response => (replay.response_head, replay.response) = (opener.head.fields, opener.frames),
        }
    }
    Ok(replay)
}
