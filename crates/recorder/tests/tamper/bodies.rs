//! Changes to segments.

use std::fs;
use std::ops::Range;

use gatewayd_recorder::verify::Damage;

use crate::victim::{Victim, each};

const BODIES: (u8, &[Damage]) = (14, &[Damage::BodyAltered, Damage::BodyMissing, Damage::SegmentMissing]);

pub fn changed(rounds: usize) {
    let segments = Victim::copy().segments();
    assert!(segments.len() > 3);
    each(rounds, "bit flip in a segment", BODIES, |v, random| {
        let name = *random.pick(&segments);
        let mut bytes = v.original(name).to_vec();
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        fs::write(v.path(name), bytes).unwrap();
    });
    each(rounds, "cut segment", BODIES, |v, random| {
        let name = *random.pick(&segments);
        let bytes = v.original(name);
        fs::write(v.path(name), &bytes[..random.below(bytes.len())]).unwrap();
    });
    each(rounds, "missing segment, no gap declared", (14, &[Damage::SegmentMissing]), |v, random| {
        fs::remove_file(v.path(random.pick(&segments))).unwrap();
    });
    each(rounds, "exchanged segments", BODIES, |v, random| {
        let at = random.below(segments.len());
        let other = segments[(at + 1 + random.below(segments.len() - 1)) % segments.len()];
        fs::write(v.path(segments[at]), v.original(other)).unwrap();
    });
    each(rounds, "body swap", (14, &[Damage::BodyAltered]), |v, random| {
        // The last segment may hold one block only.
        let name = segments[random.below(segments.len() - 1)];
        let mut bytes = v.original(name).to_vec();
        let blocks = block_ranges(&bytes);
        let a = random.below(blocks.len());
        let b = (a + 1 + random.below(blocks.len() - 1)) % blocks.len();
        // The names stay where they are, everything else changes places; the checksums are made to fit.
        let (first, second) = (blocks[a.min(b)].clone(), blocks[a.max(b)].clone());
        let (one, two) = (bytes[first.clone()].to_vec(), bytes[second.clone()].to_vec());
        let exchanged = |name: &[u8], rest: &[u8]| {
            let mut block = rest.to_vec();
            block[1..18].copy_from_slice(&name[1..18]);
            fix_checksum(&mut block);
            block
        };
        let (new_one, new_two) = (exchanged(&one, &two), exchanged(&two, &one));
        bytes.splice(second, new_two);
        bytes.splice(first, new_one);
        fs::write(v.path(name), bytes).unwrap();
    });
    // Text and timing of the frames stand together in the sealed bytes; `timing` edits them with the key.
    each(rounds, "sealed bytes edited", (14, &[Damage::BodyAltered]), |v, random| {
        let name = *random.pick(&segments);
        let mut bytes = v.original(name).to_vec();
        let block = random.pick(&block_ranges(&bytes)).clone();
        // A sealed text is never shorter than its tag.
        let at = block.end - 1 - random.below((block.len() - 30).max(16));
        bytes[at] ^= 1 << random.below(8);
        fix_checksum(&mut bytes[block]);
        fs::write(v.path(name), bytes).unwrap();
    });
    each(rounds, "a block twice", (14, &[Damage::BodyAltered]), |v, random| {
        let name = *random.pick(&segments);
        let mut bytes = v.original(name).to_vec();
        let block = random.pick(&block_ranges(&bytes)).clone();
        bytes.extend_from_within(block);
        fs::write(v.path(name), bytes).unwrap();
    });
}

/// Where the blocks of a segment are, by the published format.
pub fn block_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut at, mut ranges) = (16, Vec::new());
    while at < bytes.len() {
        let start = at;
        at += 18;
        let mut number = || {
            let (mut value, mut shift) = (0_usize, 0);
            loop {
                let byte = bytes[at];
                at += 1;
                value |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        number();
        let len = number();
        at += 4 + len;
        ranges.push(start..at);
    }
    ranges
}

fn fix_checksum(block: &mut [u8]) {
    let mut at = 18;
    for _ in 0..2 {
        while block[at] >= 0x80 {
            at += 1;
        }
        at += 1;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block[..at]);
    crc.update(&block[at + 4..]);
    block[at..at + 4].copy_from_slice(&crc.finalize().to_be_bytes());
}

/// A block of this head and these sealed bytes.
pub fn with_checksum(head: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut block = [head, &[0; 4], sealed].concat();
    fix_checksum(&mut block);
    block
}
