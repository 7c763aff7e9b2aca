//! Vectorscan as a scout: it says where an anchor ends, and nothing else.
//!
//! Block mode, without the starts of matches, one scanner for each piece of text: nothing is shared between threads.
//! Known secrets are no part of the database, which takes tens of milliseconds to build: they change while requests run, and
//! are looked for beside it.

use std::ops::Range;

use vectorscan_rs::{BlockDatabase, BlockScanner, Error, Flag, Pattern, Scan};

use super::End;
use crate::rule::{Rule, RuleError};

/// How much is scanned at once.
pub(super) const BLOCK: usize = 64 << 10;
/// For fewer bytes the memory that a scanner needs is not worth its price.
const LEAST: usize = 16 << 10;

/// The anchors of all rules, compiled.
#[derive(Debug)]
pub(in crate::scan) struct Database {
    inner: BlockDatabase,
    longest: usize,
}

/// What scans one piece of text.
#[derive(Debug)]
pub(super) struct Scanner<'m> {
    inner: BlockScanner<'m>,
    longest: usize,
}

impl Database {
    pub(in crate::scan) fn new(rules: &[Rule]) -> Result<Self, RuleError> {
        let spelled =
            rules.iter().flat_map(|rule| rule.anchors.iter().map(|anchor| (anchor, rule.ignore_case)));
        let mut anchors: Vec<(&str, bool)> =
            spelled.map(|(anchor, ignore_case)| (anchor.as_str(), ignore_case)).collect();
        anchors.sort_unstable();
        anchors.dedup();
        let longest = anchors.iter().map(|(anchor, _)| anchor.len()).max().unwrap_or_default();
        let pattern = |(anchor, ignore_case): (&str, bool)| {
            let literal: String = anchor.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            let flags = if ignore_case { Flag::CASELESS } else { Flag::default() };
            Pattern::new(literal.into_bytes(), flags, None)
        };
        let inner =
            BlockDatabase::new(anchors.into_iter().map(pattern).collect()).map_err(|error| RuleError {
                rule: "all".into(),
                field: "anchors",
                problem: format!("vectorscan: {error}; choose another engine"),
            })?;
        Ok(Self { inner, longest })
    }

    /// A scanner for a piece of `length` bytes; `None` where it is not worth it, or cannot be had.
    pub(super) fn scanner(&self, length: usize) -> Option<Scanner<'_>> {
        if length < LEAST {
            return None;
        }
        Some(Scanner { inner: self.inner.create_scanner().ok()?, longest: self.longest })
    }

    pub(in crate::scan) fn memory(&self) -> usize {
        self.inner.size().unwrap_or_default()
    }
}

impl Scanner<'_> {
    /// Notes all ends of anchors in a block.
    pub(super) fn note(
        &mut self,
        text: &[u8],
        block: Range<usize>,
        ends: &mut Vec<End>,
    ) -> Result<(), Error> {
        // An anchor that ends in the block may begin before it.
        let base = block.start.saturating_sub(self.longest);
        let bytes = text.get(base..block.end).unwrap_or_default();
        self.inner.scan(bytes, |_, _, to, _| {
            let at = usize::try_from(to).unwrap_or_default().saturating_add(base).saturating_sub(1);
            if at >= block.start {
                ends.push(End { at, state: None });
            }
            Scan::Continue
        })?;
        ends.sort_unstable_by_key(|end| end.at);
        ends.dedup_by_key(|end| end.at);
        Ok(())
    }
}
