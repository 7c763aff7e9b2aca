//! Documents made up for what is left of texts: in the likeness of the one that had them last.
//!
//! Clients add up what documents say: names, arguments, roles, usage. A document that is made up says nothing twice.
//! It holds the rest of its texts, the way to them with its numbers, and what tells a client whose they are.

use crate::format::json::shape;
use crate::format::json::tape::{self, Kind, Token};

/// The document to be like, and what is put in place of which of its tokens.
pub(super) struct Likeness<'a> {
    pub(super) document: &'a [u8],
    pub(super) tape: &'a [Token],
    pub(super) placed: &'a [(usize, Vec<u8>)],
}

/// Where in it the writing is.
#[derive(Clone, Copy)]
struct Spot {
    /// At the root, or in a list that is the root.
    is_root: bool,
    /// In a list of calls.
    is_call: bool,
}

impl Likeness<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.value(0, Spot { is_root: true, is_call: false }, out);
    }

    fn value(&self, index: usize, spot: Spot, out: &mut Vec<u8>) {
        let Some(token) = self.tape.get(index) else { return };
        let placed = self.placed.iter().find(|(at, _)| *at == index);
        let (open, close) = match token.kind {
            Kind::Object => (b'{', b'}'),
            Kind::Array => (b'[', b']'),
            Kind::String => (b'"', b'"'),
            Kind::Key | Kind::Scalar => return out.extend_from_slice(self.text(token)),
        };
        out.push(open);
        match (placed, token.kind) {
            (Some((_, rest)), _) => out.extend_from_slice(rest),
            (None, Kind::Object) => self.members(index, spot, out),
            (None, Kind::Array) => self.elements(index, token, spot, out),
            (None, _) => out.extend_from_slice(self.text(token)),
        }
        out.push(close);
    }

    fn members(&self, index: usize, spot: Spot, out: &mut Vec<u8>) {
        let mut is_first = true;
        for (name, at) in tape::members(self.document, self.tape, index) {
            if !self.leads(at) && !self.stays(name, at, spot) {
                continue;
            }
            out.extend_from_slice(if std::mem::take(&mut is_first) { b"\"" } else { b",\"" });
            out.extend_from_slice(name);
            out.extend_from_slice(b"\":");
            self.value(at, Spot { is_root: false, is_call: name == b"tool_calls" }, out);
        }
    }

    /// The elements that lead to a text. Those before one that is told by its place alone keep their places, empty.
    fn elements(&self, index: usize, array: &Token, spot: Spot, out: &mut Vec<u8>) {
        let mut starts = vec![];
        let mut next = index + 1;
        while next < array.next as usize {
            starts.push(next);
            next = self.tape.get(next).map_or(usize::MAX, |token| token.next as usize);
        }
        let has_index = |at| tape::members(self.document, self.tape, at).any(|(name, _)| name == b"index");
        let by_place = starts.iter().rposition(|at| index > 0 && self.leads(*at) && !has_index(*at));
        let mut is_first = true;
        for (place, at) in starts.into_iter().enumerate() {
            let leads = self.leads(at);
            if !leads && by_place.is_none_or(|last| place > last) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            if leads {
                self.value(at, spot, out);
                continue;
            }
            out.extend_from_slice(match self.tape.get(at).map(|token| token.kind) {
                Some(Kind::Object) => b"{}",
                Some(Kind::Array) => b"[]",
                Some(Kind::String) => b"\"\"",
                _ => b"null",
            });
        }
    }

    /// Whether a value is one of those to be put in place, or the way to one.
    fn leads(&self, at: usize) -> bool {
        let end = self.tape.get(at).map_or(0, |token| token.next as usize);
        self.placed.iter().any(|(place, _)| (at..end).contains(place))
    }

    /// Whether a value beside the way says what the texts are of, and may be said twice.
    fn stays(&self, name: &[u8], at: usize, spot: Spot) -> bool {
        let Some(token) = self.tape.get(at) else { return false };
        match (token.kind, self.text(token)) {
            (Kind::Scalar | Kind::String, _) if shape::index(name).is_some() => true,
            (Kind::Scalar, b"null" | b"false") => true,
            (Kind::Scalar, b"true") => !matches!(name, b"done" | b"stop"),
            (Kind::Scalar, _) => shape::is_number_of_an_event(name),
            (Kind::String, _) if name == b"type" => !spot.is_call,
            (Kind::String, _) => spot.is_root && shape::tells_whose(name),
            _ => false,
        }
    }

    fn text(&self, token: &Token) -> &[u8] {
        self.document.get(token.start as usize..token.end as usize).unwrap_or_default()
    }
}
