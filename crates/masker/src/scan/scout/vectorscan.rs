//! Vectorscan as a scout: it says where an anchor ends behind which something may go on, and nothing else.
//!
//! Block mode, without the starts of matches, one scanner for each piece of text: nothing is shared between threads.
//! Known secrets are no part of the database, which takes a good part of a second to build: they change while requests run,
//! and are looked for beside it.
//!
//! An expression is an anchor with the bytes that may stand behind it. Whole contexts and secrets as expressions would be
//! superset enough as well, and match less often, but a rule may be such that Vectorscan takes a hundred times as long.

use std::collections::BTreeMap;
use std::ops::Range;

use vectorscan_rs::{BlockDatabase, BlockScanner, Error, Flag, Pattern, Scan};

use super::End;
use crate::rule::RuleError;
use crate::scan::anchors::{Anchors, Hit};
use crate::scan::bytes::Bytes;
use crate::scan::candidate::Phase;
use crate::scan::crowd::YOUNG;
use crate::scan::{Machines, Window};

/// How much is scanned at once.
pub(super) const BLOCK: usize = 64 << 10;
/// For fewer bytes the memory that a scanner needs is not worth its price.
const LEAST: usize = 16 << 10;

/// The anchors of all rules, compiled.
#[derive(Debug)]
pub(in crate::scan) struct Database {
    inner: BlockDatabase,
    longest: usize,
    expressions: Vec<Expression>,
}

/// An anchor and some bytes behind it.
#[derive(Debug)]
struct Expression {
    spelled: Box<[u8]>,
    ignore_case: bool,
    /// One of them must stand behind the anchor.
    next: Bytes,
    /// The rules that begin there.
    hits: Vec<Hit>,
}

/// What scans one piece of text.
#[derive(Debug)]
pub(super) struct Scanner<'m> {
    inner: BlockScanner<'m>,
    database: &'m Database,
    /// Where anchors end, and which.
    seen: Vec<(usize, &'m Expression)>,
}

impl Database {
    pub(in crate::scan) fn new(anchors: &Anchors) -> Result<Self, RuleError> {
        let mut spelled: BTreeMap<(&[u8], bool), Vec<Hit>> = BTreeMap::new();
        for (literal, hit) in anchors.all() {
            let same = spelled.entry((hit.exact().unwrap_or(literal), hit.exact().is_none()));
            same.or_default().push(hit.clone());
        }
        let expression = |((spelled, ignore_case), hits): ((&[u8], _), Vec<Hit>)| {
            let next = (0..=255).filter(|byte| hits.iter().any(|hit| goes_on(hit, *byte))).collect();
            Expression { spelled: spelled.into(), ignore_case, next, hits }
        };
        let expressions: Vec<Expression> = spelled.into_iter().map(expression).collect();
        let patterns = (0..).zip(&expressions).filter(|(_, expression)| expression.next != Bytes::default());
        let patterns = patterns.map(|(number, expression)| expression.pattern(number));
        let inner = BlockDatabase::new(patterns.collect()).map_err(|error| RuleError {
            rule: "all".into(),
            field: "anchors",
            problem: format!("vectorscan: {error}; choose another engine"),
        })?;
        Ok(Self { inner, longest: anchors.longest(), expressions })
    }

    /// A scanner for a piece of `length` bytes; `None` where it is not worth it, or cannot be had.
    pub(super) fn scanner(&self, length: usize) -> Option<Scanner<'_>> {
        if length < LEAST {
            return None;
        }
        Some(Scanner { inner: self.inner.create_scanner().ok()?, database: self, seen: Vec::new() })
    }

    pub(in crate::scan) fn memory(&self) -> usize {
        self.inner.size().unwrap_or_default()
    }
}

impl Expression {
    fn pattern(&self, number: u32) -> Pattern {
        let listed = |bytes: &mut dyn Iterator<Item = u8>| -> String {
            bytes.map(|byte| format!("\\x{byte:02x}")).collect()
        };
        let mut text = listed(&mut self.spelled.iter().copied());
        if self.next != Bytes::ALL {
            let next = listed(&mut (0..=255).filter(|byte| self.next.contains(*byte)));
            text.push_str(&format!("[{next}]"));
        }
        let flags = if self.ignore_case { Flag::CASELESS } else { Flag::default() };
        Pattern::new(text.into_bytes(), flags | Flag::DOTALL, Some(number))
    }

    /// How many bytes stand behind the anchor.
    fn behind(&self) -> usize {
        usize::from(self.next != Bytes::ALL)
    }
}

impl<'m> Scanner<'m> {
    /// Notes the ends of anchors in a block with which something may begin.
    pub(super) fn note(
        &mut self,
        machines: &Machines,
        text: Window<'_>,
        block: Range<usize>,
        ends: &mut Vec<End>,
    ) -> Result<(), Error> {
        // An anchor that ends in the block may begin before it, and what stands behind it is looked at.
        let base = block.start.saturating_sub(self.database.longest);
        let bytes = text.bytes.get(base..text.bytes.len().min(block.end + 1)).unwrap_or_default();
        let expressions: &'m [Expression] = &self.database.expressions;
        let seen = &mut self.seen;
        seen.clear();
        self.inner.scan(bytes, |number, _, to, _| {
            let expression = usize::try_from(number).ok().and_then(|number| expressions.get(number));
            if let (Some(expression), Ok(to)) = (expression, usize::try_from(to)) {
                seen.push(((base + to).saturating_sub(1 + expression.behind()), expression));
            }
            Scan::Continue
        })?;
        let noted = seen.iter().filter(|(at, expression)| {
            block.contains(at) && !expression.hits.iter().all(|hit| machines.fails(hit, text, *at))
        });
        ends.extend(noted.map(|(at, _)| End { at: *at, state: None }));
        ends.sort_unstable_by_key(|end| end.at);
        ends.dedup_by_key(|end| end.at);
        Ok(())
    }
}

/// Whether what begins with an anchor may mean something where a byte stands behind it. A secret that is no longer young
/// may make a crowd of others.
fn goes_on(hit: &Hit, byte: u8) -> bool {
    !hit.dies_with(byte) || hit.ready.is_some_and(|ready| ready.phase != Phase::Context && hit.back.0 > YOUNG)
}
