//! The sealed bodies: is each the one that an entry commits to?

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest::{Context, SHA256};

use super::log::{Expected, Log};
use super::report::{Damage, Report};
use crate::blobs::{BlobStore as _, Segments};
use crate::codec;
use crate::error::Error;
use crate::segment::{Block, Way};

/// A body that was found in part.
struct Partial {
    next: u64,
    hash: Context,
    first: u64,
    in_order: bool,
}

pub(super) fn check(segments: &Segments, log: Log, report: &mut Report) -> Result<(), Error> {
    let Log { bodies: mut expected, bodiless, dropped, .. } = log;
    let mut partial: HashMap<([u8; 16], Way), Partial> = HashMap::new();
    let mut whole = HashSet::new();
    let mut unclaimed = 0_u64;
    let mut there = HashSet::new();
    let mut headless = Vec::new();
    for number in segments.numbers()? {
        there.insert(number);
        let bytes = segments.len(number);
        report.body_bytes += bytes;
        let mut blocks = segments.open(number)?;
        if !blocks.is_segment() {
            // Torn when it was begun, or damaged: that depends on whether an entry needs it.
            headless.push(number);
        }
        let mut whole_until = blocks.taken();
        while let Some(block) = blocks.next_frame().map_err(Error::read("a segment"))? {
            let key = (block.head.id, block.head.way);
            if expected.contains_key(&key) {
                if take_in(&mut expected, &mut partial, &block, number, report) {
                    whole.insert(key);
                }
            } else if block.is_intact() && (whole.contains(&key) || bodiless.contains(&key)) {
                report.find(
                    Damage::BodyAltered,
                    None,
                    format!("segment {number} has a block too many of a {}", name(key.1)),
                );
            } else if block.is_intact() {
                unclaimed += block.bytes.len() as u64;
            } else {
                break;
            }
            whole_until = blocks.taken();
        }
        unclaimed += bytes.saturating_sub(whole_until);
    }
    let mut gone = 0_u64;
    let mut missing: Vec<_> = expected.into_iter().collect();
    missing.sort_by_key(|(_, expected)| expected.entry);
    for ((_, way), Expected { entry, stored }) in missing {
        // Lazy, as an entry can speak of 2^64 segments: the first that nobody declared ends the search.
        let mut missing =
            (stored.first_segment..=stored.last_segment).filter(|n| !there.contains(n)).peekable();
        let any = missing.peek().is_some();
        let lost = missing.find(|n| !dropped.contains(n));
        if any && lost.is_none() {
            gone += 1;
            continue;
        }
        let range = stored.first_segment..=stored.last_segment;
        let lost = lost.or_else(|| headless.iter().copied().find(|n| range.contains(n)));
        let detail = match lost {
            Some(n) => format!(
                "segment {n}, which holds the {} of entry {entry}, is missing or unreadable",
                name(way)
            ),
            None => format!("the {} of entry {entry} is not whole", name(way)),
        };
        let damage = if lost.is_some() { Damage::SegmentMissing } else { Damage::BodyMissing };
        report.find(damage, entry, detail);
    }
    for number in dropped.iter().filter(|n| there.contains(n)) {
        report.unproven(format!("segment {number} is declared as dropped but still there"));
    }
    if gone > 0 {
        report.unproven(format!("{gone} bodies were dropped by retention, as the log declares"));
    }
    if unclaimed > 0 {
        report.unproven(format!(
            "{unclaimed} bytes in segments that no entry speaks of: open requests, or torn ends"
        ));
    }
    Ok(())
}

/// Adds a block to its body; a whole body is compared and done with, and that is the answer.
fn take_in(
    expected: &mut HashMap<([u8; 16], Way), Expected>,
    partial: &mut HashMap<([u8; 16], Way), Partial>,
    block: &Block<'_>,
    segment: u64,
    report: &mut Report,
) -> bool {
    let key = (block.head.id, block.head.way);
    let body = partial.entry(key).or_insert_with(|| Partial {
        next: 0,
        hash: Context::new(&SHA256),
        first: segment,
        in_order: true,
    });
    body.in_order &= block.head.number == body.next;
    body.next += 1;
    body.hash.update(block.bytes);
    let whole = expected.get(&key).is_some_and(|expected| expected.stored.blocks == body.next);
    if !whole {
        return false;
    }
    let (Some(Expected { entry, stored }), Some(body)) = (expected.remove(&key), partial.remove(&key)) else {
        return false;
    };
    report.bodies += 1;
    let in_place = (body.first, segment) == (stored.first_segment, stored.last_segment);
    if !body.in_order || !in_place || codec::finish(body.hash) != stored.digest {
        let detail = format!("the {} of entry {entry} is not the one that was recorded", name(key.1));
        report.find(Damage::BodyAltered, entry, detail);
    }
    true
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Request => "request body",
        Way::Response => "response body",
    }
}
