//! Known secrets: a sorted table of all their spellings, walked like a trie.
//!
//! Ten thousand secrets have about two hundred thousand spellings. An automaton over them would take
//! hundreds of megabytes; the sorted table takes their own bytes, is built in one sort, and costs clean text one
//! hash and one bit test a byte.

use std::collections::HashMap;
use std::ops::Range;

use super::scout::heads::Heads;
use super::variants::{self, Spelling, Tail};
use crate::value::Value;

/// How many bytes of a spelling are looked up at once.
pub(crate) const HEAD: usize = variants::SHORTEST;

/// So many bytes of a value are never shown at the end of a text, nor is half of a value.
const TELLING: usize = 8;

/// How many bytes may follow a spelling that belong to it.
const LONGEST_TAIL: usize = 3;

const HEAD_MASK: u64 = (1 << (8 * HEAD)) - 1;

/// The spellings of all known secrets at one moment.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) generation: u64,
    /// Sorted, each once.
    spellings: Vec<Value>,
    /// What may follow each of them.
    tails: Vec<Tail>,
    /// Where in `spellings` those with a head begin and end.
    heads: HashMap<u64, (u32, u32)>,
    /// Which heads there are, hashed.
    filter: Bits,
    /// The same, for a scout.
    scouted: Heads,
    /// Which bytes they begin with.
    firsts: Vec<bool>,
    /// Which beginnings of two to five bytes there are, hashed together with their length.
    beginnings: Bits,
    longest: usize,
    /// A value holds more than ASCII.
    reaches_beyond_ascii: bool,
}

/// A place where known secrets may have begun: those in `low..high` agree with the `depth` bytes seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) start: u64,
    low: u32,
    high: u32,
    depth: u32,
}

impl Known {
    pub(crate) fn new<'a>(generation: u64, values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut reaches_beyond_ascii = false;
        let values = values.inspect(|value| reaches_beyond_ascii |= !value.is_ascii());
        let mut all: Vec<Spelling> = values.flat_map(variants::of).collect();
        all.sort_unstable();
        // Of two with the same bytes the one with a tail stays, which sorts last.
        all.dedup_by(|later, kept| {
            let same = later.bytes == kept.bytes;
            if same {
                kept.tail = later.tail;
            }
            same
        });
        let (spellings, tails): (Vec<Value>, Vec<Tail>) =
            all.into_iter().map(|spelling| (spelling.bytes, spelling.tail)).unzip();
        let mut heads: HashMap<u64, (u32, u32)> = HashMap::with_capacity(spellings.len());
        let mut filter = Bits::new(spellings.len() * 16);
        let mut firsts = vec![false; 256];
        let mut beginnings = Bits::new(spellings.len() * 64);
        for (index, spelling) in spellings.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let key = spelling.iter().take(HEAD).fold(0, |key, byte| (key << 8) | u64::from(*byte));
            heads.entry(key).and_modify(|range| range.1 = index + 1).or_insert((index, index + 1));
            filter.insert(key);
            if let Some(slot) = firsts.get_mut(usize::from(spelling.first().copied().unwrap_or_default())) {
                *slot = true;
            }
            for length in 2..HEAD {
                beginnings.insert(beginning(key >> (8 * (HEAD - length)), length));
            }
        }
        let scouted = Heads::new(heads.keys().copied(), heads.len());
        let longest =
            spellings.iter().map(|spelling| spelling.len() + LONGEST_TAIL).max().unwrap_or_default();
        Self {
            generation,
            spellings,
            tails,
            heads,
            filter,
            scouted,
            firsts,
            beginnings,
            longest,
            reaches_beyond_ascii,
        }
    }

    /// The generation, in the four bytes that each lane has for it: it would have to sleep through four thousand million
    /// changes to take another for it.
    pub(crate) fn version(&self) -> u32 {
        u32::try_from(self.generation & u64::from(u32::MAX)).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spellings.is_empty()
    }

    /// Whether a value holds letters that take more than one byte.
    pub(crate) fn reaches_beyond_ascii(&self) -> bool {
        self.reaches_beyond_ascii
    }

    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Whether a spelling may begin with the last bytes of `window`, a text read byte by byte into an integer.
    #[inline]
    pub(crate) fn may_begin(&self, window: u64) -> bool {
        self.filter.contains(window & HEAD_MASK)
    }

    /// Notes where a spelling begins: the last bytes of all heads that end within `block`, in order.
    pub(crate) fn note(&self, text: &[u8], block: Range<usize>, ends: &mut Vec<usize>) {
        let is_head = |head| self.filter.contains(head) && self.heads.contains_key(&head);
        self.scouted.note(text, block, is_head, ends);
    }

    /// The trace of a head just seen in full; `pos` is where it ends. Says too whether a spelling ends here.
    pub(crate) fn begin(&self, window: u64, pos: u64) -> Option<(Trace, bool)> {
        let start = pos.checked_sub(HEAD as u64)?;
        let &(low, high) = self.heads.get(&(window & HEAD_MASK))?;
        let trace = Trace { start, low, high, depth: u32::try_from(HEAD).unwrap_or_default() };
        Some((trace, self.ends(&trace)))
    }

    /// Follows a trace by one byte. `None` where no spelling goes on so; else whether one ends here.
    pub(crate) fn follow(&self, trace: &mut Trace, byte: u8) -> Option<bool> {
        let range = trace.low as usize..trace.high as usize;
        let rows = self.spellings.get(range)?;
        let depth = trace.depth as usize;
        let at = |row: &Value| row.get(depth).copied().map_or(-1, i16::from);
        let in_tail = self.past(trace).is_some_and(|(tail, past)| tail.accepts(past, byte));
        let from = rows.partition_point(|row| at(row) < i16::from(byte));
        let to = from + rows.get(from..)?.partition_point(|row| at(row) == i16::from(byte));
        if from == to {
            // Only the tail of the shortest goes on, or nothing.
            trace.high = trace.low + 1;
            trace.depth += 1;
            return in_tail.then_some(true);
        }
        trace.high = trace.low + u32::try_from(to).ok()?;
        trace.low += u32::try_from(from).ok()?;
        trace.depth += 1;
        Some(in_tail || self.ends(trace))
    }

    /// What may follow the shortest spelling of a trace that has seen all of it, and how far behind it the trace is.
    fn past(&self, trace: &Trace) -> Option<(Tail, usize)> {
        let past = (trace.depth as usize).checked_sub(self.spellings.get(trace.low as usize)?.len())?;
        Some((*self.tails.get(trace.low as usize)?, past))
    }

    fn ends(&self, trace: &Trace) -> bool {
        self.spellings.get(trace.low as usize).is_some_and(|row| row.len() == trace.depth as usize)
    }

    /// Whether the bytes seen give away so much of a value that they are not shown, though the text ends here.
    pub(crate) fn tells(&self, trace: &Trace) -> bool {
        let rows = self.spellings.get(trace.low as usize..trace.high as usize).unwrap_or_default();
        let depth = trace.depth as usize;
        depth >= TELLING || rows.iter().any(|row| depth * 2 >= row.len())
    }

    /// Whether nothing longer can follow.
    pub(crate) fn is_last(&self, trace: &Trace) -> bool {
        trace.high - trace.low == 1 && self.past(trace).is_some_and(|(tail, past)| !tail.goes_on(past))
    }

    /// How many bytes what has begun can go on for at most.
    pub(crate) fn rest(&self, trace: &Trace) -> u64 {
        let rows = self.spellings.get(trace.low as usize..trace.high as usize).unwrap_or_default();
        // To look at all that begin alike would cost more than it tells.
        let longest = if rows.len() > 16 {
            self.longest
        } else {
            rows.iter().map(|row| row.len() + LONGEST_TAIL).max().unwrap_or_default()
        };
        longest.saturating_sub(trace.depth as usize) as u64
    }

    /// How many of the last bytes of `text`, fewer than [`HEAD`], may be the beginning of a spelling. `window` holds
    /// the same bytes as an integer.
    pub(crate) fn held(&self, window: u64, text: &[u8]) -> usize {
        if self.spellings.is_empty() {
            return 0;
        }
        (1..HEAD.min(text.len() + 1))
            .rev()
            .find(|length| self.begin_with(window, text, *length))
            .unwrap_or_default()
    }

    /// Whether a spelling may begin with the last `length` bytes of `text`, fewer than [`HEAD`]. `window` holds the same
    /// bytes as an integer.
    pub(crate) fn begin_with(&self, window: u64, text: &[u8], length: usize) -> bool {
        match length {
            1 => self.firsts.get((window & 0xFF) as usize).copied().unwrap_or_default(),
            2..HEAD => {
                self.beginnings.contains(beginning(window, length))
                    && text
                        .len()
                        .checked_sub(length)
                        .and_then(|at| text.get(at..))
                        .is_some_and(|tail| self.begins_with(tail))
            }
            _ => false,
        }
    }

    fn begins_with(&self, tail: &[u8]) -> bool {
        let index = self.spellings.partition_point(|row| **row < *tail);
        self.spellings.get(index).is_some_and(|row| row.starts_with(tail))
    }

    pub(crate) fn memory(&self) -> usize {
        let rows: usize = self.spellings.iter().map(|row| row.len() + size_of::<Value>()).sum();
        rows + self.tails.len() * size_of::<Tail>()
            + self.heads.capacity() * 24
            + (self.filter.words.len() + self.beginnings.words.len()) * 8
            + self.scouted.memory()
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({} spellings)", self.spellings.len())
    }
}

/// The last `length` bytes of a window, told apart from those of another length.
fn beginning(window: u64, length: usize) -> u64 {
    (window & ((1 << (8 * length)) - 1)) | ((length as u64) << 56)
}

/// A set of hashes of integers: says no for certain, and yes perhaps.
#[derive(Debug)]
struct Bits {
    words: Box<[u64]>,
    shift: u32,
}

impl Default for Bits {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Bits {
    fn new(wanted: usize) -> Self {
        let log = wanted.next_power_of_two().trailing_zeros().clamp(16, 24);
        Self { words: vec![0; 1 << (log - 6)].into_boxed_slice(), shift: 64 - log }
    }

    #[inline]
    fn slot(&self, key: u64) -> (usize, u64) {
        #[expect(clippy::cast_possible_truncation, reason = "shifted to at most 24 bits")]
        let bit = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        (bit >> 6, 1 << (bit & 63))
    }

    fn insert(&mut self, key: u64) {
        let (word, bit) = self.slot(key);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline]
    fn contains(&self, key: u64) -> bool {
        let (word, bit) = self.slot(key);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}
