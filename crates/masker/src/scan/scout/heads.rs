//! The first bytes of known secrets, found by looking at every second byte of a text.

use std::ops::Range;

use crate::scan::HEAD;

/// How many bytes are looked at: all but one of the first bytes, so that one of two places in a row shows them.
const SEEN: usize = HEAD - 1;
const SEEN_MASK: u64 = (1 << (8 * SEEN)) - 1;

/// Says of the bytes at a place whether a known secret may begin there or one byte before. A `no` is certain.
#[derive(Debug)]
pub(in crate::scan) struct Heads {
    /// Each entry sets two bits of one word.
    words: Box<[u64]>,
    mask: usize,
}

impl Default for Heads {
    fn default() -> Self {
        Self::new(std::iter::empty(), 0)
    }
}

impl Heads {
    /// Of some heads, each as an integer whose highest byte is the first.
    pub(in crate::scan) fn new(heads: impl Iterator<Item = u64>, count: usize) -> Self {
        // Two entries a head, two bits an entry, one bit of eight set.
        let bits = (count * 32).next_power_of_two().clamp(1 << 15, 1 << 24);
        let words = bits / 64;
        let mut this = Self { words: vec![0; words].into_boxed_slice(), mask: words - 1 };
        for seen in heads.flat_map(|head| [head >> 8, head & SEEN_MASK]) {
            let (word, [first, second]) = this.slot(seen);
            if let Some(word) = this.words.get_mut(word) {
                *word |= 1 << first | 1 << second;
            }
        }
        this
    }

    /// In which word the bits of an entry are, and which they are.
    #[inline(always)]
    fn slot(&self, seen: u64) -> (usize, [u64; 2]) {
        let hash = seen.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let word = (hash >> 46) as usize & self.mask;
        (word, [hash >> 40 & 63, hash >> 34 & 63])
    }

    #[inline(always)]
    fn contains(&self, seen: u64) -> bool {
        let (word, [first, second]) = self.slot(seen);
        let word = self.words.get(word).copied().unwrap_or_default();
        (word >> first) & (word >> second) & 1 == 1
    }

    /// Notes the last byte of each head that ends within `block`; `is_head` decides.
    pub(in crate::scan) fn note(
        &self,
        text: &[u8],
        block: Range<usize>,
        is_head: impl Fn(u64) -> bool,
        ends: &mut Vec<usize>,
    ) {
        let mut check = |start: Option<usize>| {
            let Some(start) = start else { return };
            let Some(head) = text.get(start..start + HEAD) else { return };
            let last = start + HEAD - 1;
            if block.contains(&last)
                && is_head(head.iter().fold(0, |all, byte| (all << 8) | u64::from(*byte)))
            {
                ends.push(last);
            }
        };
        let mut at = block.start.saturating_sub(HEAD - 1);
        // Two overlapping words of eight bytes hold four places.
        while at + HEAD <= block.end
            && let Some(bytes) = text.get(at..at + 12)
            && let (Some(first), Some(second)) = (bytes.first_chunk(), bytes.last_chunk())
        {
            let (first, second) = (u64::from_be_bytes(*first), u64::from_be_bytes(*second));
            let any = self.contains(first >> 24)
                | self.contains(first >> 8 & SEEN_MASK)
                | self.contains(second >> 24)
                | self.contains(second >> 8 & SEEN_MASK);
            if any {
                for place in [at, at + 2, at + 4, at + 6] {
                    check(place.checked_sub(1));
                    check(Some(place));
                }
            }
            at += 8;
        }
        for start in at.saturating_sub(1)..block.end {
            check(Some(start));
        }
    }

    pub(in crate::scan) fn memory(&self) -> usize {
        self.words.len() * 8
    }
}
