//! Lists of numbers: those that are tokens are emptied, those that spell a secret byte by byte are masked.

use super::walk::{At, Walk, spell};
use crate::format::json::bytes::Bytes;
use crate::format::json::shape;
use crate::format::json::tape::{Kind, Token};

impl Walk<'_> {
    /// Masks a list of numbers. Says whether it was one.
    pub(super) fn numbers(&mut self, index: usize, array: Token, at: At<'_>) -> bool {
        if array.next as usize == index + 1 || !self.is_numbers(index) {
            return false;
        }
        let named = shape::is_ids(at.key);
        if named || (at.logprobs && !shape::is_measure(at.key) && self.numbers_are_whole(index)) {
            if !(named && self.keeps_ids) {
                self.edits.replace(array.start + 1, array.end - 1, b"");
            }
        } else if !self.is_refill() {
            self.bytes(index, array);
        }
        true
    }

    /// Whether an array holds numbers and literals alone.
    pub(super) fn is_numbers(&self, index: usize) -> bool {
        let end = self.token(index).map_or(0, |array| array.next as usize);
        let inside = self.tape.get(index + 1..end).unwrap_or_default();
        inside.iter().all(|token| token.kind == Kind::Scalar)
    }

    fn numbers_are_whole(&self, index: usize) -> bool {
        let end = self.token(index).map_or(0, |array| array.next as usize);
        let fraction = |byte: &u8| matches!(byte, b'.' | b'-' | b'e' | b'E');
        (index + 1..end)
            .filter_map(|at| self.token(at))
            .map(|token| self.text(token))
            .all(|text| !text.iter().any(fraction) || text == b"false")
    }

    /// Masks the bytes that a list of numbers spells.
    fn bytes(&mut self, index: usize, array: Token) {
        let count = (array.next as usize).saturating_sub(index + 1);
        if count < self.lanes.session.shortest() {
            return;
        }
        let names = &self.names;
        let name = || spell(names);
        let masks = self.lanes.session.masks();
        let session = &mut self.lanes.session;
        let mut bytes = Bytes::default();
        let mut out = Vec::new();
        let mut from = array.start as usize + 1;
        for token in self.tape.get(index + 1..array.next as usize).unwrap_or_default() {
            let (start, end) = (token.start as usize, token.end as usize);
            let between = self.document.get(from..start).unwrap_or_default();
            if !bytes.holds(between) {
                out.extend_from_slice(between);
            }
            bytes.number(session, self.document.get(start..end).unwrap_or_default(), &name, &mut out);
            from = end;
        }
        bytes.finish(session, &name, &mut out);
        if self.lanes.session.masks() != masks {
            out.extend_from_slice(self.document.get(from..array.end as usize - 1).unwrap_or_default());
            self.edits.replace(array.start + 1, array.end - 1, &out);
        }
    }
}
