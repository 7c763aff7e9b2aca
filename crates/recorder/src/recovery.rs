//! What is done before anything new is written: requests that a crash cut off are closed.

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256};
use gatewayd_core::{Ending, Timestamp};
use rusqlite::Connection;

use crate::blobs::BlobStore;
use crate::codec;
use crate::error::Error;
use crate::leaf::{Bodies, Kind, Leaf, Outcome, Stored};
use crate::segment::Way;
use crate::store::{Store, index, row_id};

/// What is found of one direction of a request.
#[derive(Default)]
struct Found {
    blocks: u64,
    segments: (u64, u64),
    hash: Option<Context>,
}

impl Found {
    fn stored(self) -> Option<Stored> {
        let digest = codec::finish(self.hash?);
        let (first_segment, last_segment) = self.segments;
        // How much text is in them would take the keys to find out.
        Some(Stored { blocks: self.blocks, first_segment, last_segment, plain: 0, digest })
    }
}

/// The entries that close what a crash left open, and their sessions.
pub(crate) fn interruptions(
    store: &Store,
    segments: &dyn BlobStore,
    now: Timestamp,
) -> Result<Vec<(u64, Leaf)>, Error> {
    let orphans = store.open_sessions()?;
    if orphans.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = find(store, segments, &orphans)?;
    let mut closing = Vec::with_capacity(orphans.len());
    for (number, id) in orphans {
        let request = found.remove(&(id, Way::Request)).and_then(Found::stored);
        let response = found.remove(&(id, Way::Response)).and_then(Found::stored);
        // Blocks whose key was on its way when the process died will never be read: they are no evidence.
        let bodies = match has_key(store.conn(), number)? {
            true => Bodies { request, response, ..Bodies::default() },
            false => Bodies { lost: request.is_some() || response.is_some(), ..Bodies::default() },
        };
        let outcome = Outcome {
            id,
            intent: number,
            ending: Ending::Interrupted,
            status: 0,
            refusal: None,
            bodies,
            first_byte: 0,
            duration: 0,
            masks: 0,
            mask_digest: None,
        };
        closing.push((number, Leaf { time: now, kind: Kind::Interruption(Box::new(outcome)) }));
    }
    Ok(closing)
}

fn has_key(conn: &Connection, number: u64) -> Result<bool, Error> {
    let mut query = conn.prepare_cached("SELECT count(*) FROM session_keys WHERE number = ?1")?;
    Ok(query.query_row([row_id(number)], |row| row.get::<_, i64>(0))? > 0)
}

/// Looks for the blocks of these sessions, as far as they are whole and in order.
fn find(
    store: &Store,
    segments: &dyn BlobStore,
    orphans: &[(u64, [u8; 16])],
) -> Result<HashMap<([u8; 16], Way), Found>, Error> {
    let mut found: HashMap<([u8; 16], Way), Found> = HashMap::new();
    for (_, id) in orphans {
        found.insert((*id, Way::Request), Found::default());
        found.insert((*id, Way::Response), Found::default());
    }
    let first = orphans.first().map_or(Ok(u64::MAX), |(oldest, _)| first_segment(store.conn(), *oldest))?;
    for number in segments.numbers()?.into_iter().filter(|n| *n >= first) {
        let mut blocks = segments.open(number)?;
        while let Some(block) = blocks.next_block().map_err(Error::read("a segment"))? {
            let Some(found) = found.get_mut(&(block.head.id, block.head.way)) else { continue };
            if block.head.number != found.blocks {
                continue;
            }
            found.hash.get_or_insert_with(|| Context::new(&SHA256)).update(block.bytes);
            found.segments = (if found.blocks == 0 { number } else { found.segments.0 }, number);
            found.blocks += 1;
        }
    }
    Ok(found)
}

/// The first segment that can hold blocks of a session: all before were closed when it began. Told by the order
/// of the entries, as clocks are set.
pub(crate) fn first_segment(conn: &Connection, session: u64) -> Result<u64, Error> {
    let last_before: Option<i64> =
        conn.query_row("SELECT max(n) FROM segments WHERE entries <= ?1", [row_id(session)], |row| {
            row.get(0)
        })?;
    Ok(last_before.map_or(0, |n| index(n) + 1))
}

/// Notes the segments that a crash left open as closed, and removes those whose dropping was cut off.
pub(crate) fn settle_segments(
    store: &Store,
    segments: &dyn BlobStore,
    now: Timestamp,
    entries: u64,
) -> Result<(), Error> {
    let there = segments.numbers()?;
    let mut noted = store.conn().prepare("SELECT n FROM segments WHERE dropped IS NULL")?;
    for number in noted.query_map([], |row| row.get::<_, i64>(0))? {
        let number = index(number?);
        if there.binary_search(&number).is_err() {
            tracing::error!(
                segment = number,
                "a segment is missing and was not dropped by retention; run `verify`"
            );
        }
    }
    for number in there {
        let dropped: i64 = store.conn().query_row(
            "SELECT count(*) FROM segments WHERE n = ?1 AND dropped IS NOT NULL",
            [row_id(number)],
            |row| row.get(0),
        )?;
        if dropped > 0 {
            segments.remove(number)?;
        } else {
            store.insert_segment(number, now, segments.len(number), entries)?;
        }
    }
    Ok(())
}
