//! Documents that are written as they came but for some places.

use super::escape::text_of;
use super::tape::{Kind, Token};

/// A part of a document that is written differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edit {
    pub(super) start: u32,
    pub(super) end: u32,
    /// What stands there instead: a part of the fresh text.
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The edits of a document, and what they put in place.
#[derive(Debug, Default)]
pub(super) struct Edits {
    list: Vec<Edit>,
    pub(super) fresh: Vec<u8>,
}

impl Edits {
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.fresh.clear();
    }

    /// Writes something else between two places. Edits do not overlap.
    pub(super) fn replace(&mut self, start: u32, end: u32, by: &[u8]) {
        let from = self.fresh.len();
        self.fresh.extend_from_slice(by);
        self.put_fresh(start, end, from);
    }

    /// Writes between two places what has become fresh since `from`.
    pub(super) fn put_fresh(&mut self, start: u32, end: u32, from: usize) {
        let edit = Edit { start, end, from, to: self.fresh.len() };
        // Nearly always in order; lists beside each other are not.
        let at = self.list.iter().rposition(|other| *other <= edit).map_or(0, |at| at + 1);
        self.list.insert(at, edit);
    }

    /// Appends a document with its edits.
    pub(super) fn write(&self, document: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        for edit in &self.list {
            out.extend_from_slice(document.get(at..edit.start as usize).unwrap_or_default());
            out.extend_from_slice(self.fresh.get(edit.from..edit.to).unwrap_or_default());
            at = edit.end as usize;
        }
        out.extend_from_slice(document.get(at..).unwrap_or_default());
    }
}

/// The document with the names of members spelled without escapes, where one of them has escapes that it does not
/// need: under another spelling a name would not be recognised.
pub(super) fn plain_names(document: &[u8], tape: &[Token]) -> Option<Vec<u8>> {
    // Names are rarely spelled with escapes, and a document without any needs no look at each.
    memchr::memchr(b'\\', document)?;
    let mut edits = Edits::default();
    for token in tape.iter().filter(|token| token.kind == Kind::Key) {
        let spelled = document.get(token.start as usize..token.end as usize).unwrap_or_default();
        if memchr::memchr(b'\\', spelled).is_none() {
            continue;
        }
        let name = text_of(spelled);
        if name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            edits.replace(token.start, token.end, &name);
        }
    }
    let mut out = Vec::new();
    (!edits.list.is_empty()).then(|| {
        edits.write(document, &mut out);
        out
    })
}
