//! Log-probabilities: each token is a piece of a text, and shows what the text hides.
//!
//! The tokens of a list are one text, which is scanned like the text itself. An element is written when its
//! token is decided, which may be in a later document; an element that touches a mask loses its token, its
//! bytes, its ids and its alternatives.

use std::collections::VecDeque;

use super::walk::{At, Mode, Texts, Walk, spell};
use crate::format::json::edit::Edits;
use crate::format::json::escape::text_of;
use crate::format::json::shape;
use crate::format::json::tape::{self, Kind, Token};
use crate::format::lanes::{Entry, LaneKey};
use crate::format::{FormatError, Lanes};
use crate::lane::Lane;

/// Elements whose tokens are not yet decided.
#[derive(Debug, Default)]
pub(crate) struct TokenQueue {
    elements: VecDeque<Element>,
    /// A token was a part of a letter and did not say which: what follows may be the rest of a secret that nobody sees.
    is_blind: bool,
}

#[derive(Debug)]
struct Element {
    start: u64,
    end: u64,
    document: Vec<u8>,
    /// It is not written as it came.
    altered: bool,
}

impl TokenQueue {
    pub(crate) fn is_holding(&self) -> bool {
        !self.elements.is_empty()
    }

    /// From here on no token is shown, nor one that is not decided yet.
    pub(super) fn be_blind(&mut self) {
        if std::mem::replace(&mut self.is_blind, true) {
            return;
        }
        for element in &mut self.elements {
            element.document = redacted(&element.document, true);
            element.altered = true;
        }
    }

    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }
}

/// The end of a text of tokens: all of them are decided.
pub(super) fn end(lanes: &mut Lanes, at: usize) {
    if let Some((entry, session)) = lanes.entry(at) {
        entry.lane.finish(session, &|| entry.name.clone(), &mut Vec::new());
    }
}

impl<'a> Walk<'a> {
    /// Masks a list of tokens: of objects that have one each, or of strings. Says whether it was one.
    pub(super) fn tokens(&mut self, index: usize, array: Token, at: At<'_>) -> Result<bool, FormatError> {
        if array.next as usize == index + 1 {
            return Ok(false);
        }
        let key = self.lane_key(at).beside(self.lanes, b"tokens");
        let place = match self.mode {
            Mode::Live(_) => self.open_tokens(key)?,
            Mode::Refill(rests) => {
                let (mut list, key) = (Vec::new(), key.key);
                if rests.iter().any(|(target, _)| *target == key)
                    && let Some(place) = self.lanes.place_of(key)
                {
                    self.give_out(place, &mut list);
                    self.renew(place);
                    self.placed.push((index, list.clone()));
                }
                self.edits.replace(array.start + 1, array.end - 1, &list);
                return Ok(true);
            }
        };
        let carried = self.lanes.entry(place).is_some_and(|(entry, _)| entry.is_holding());
        let mut next = index + 1;
        let mut taken = 0;
        while next < array.next as usize {
            let Some(element) = self.token(next) else { break };
            self.take_element(place, next, element);
            taken += 1;
            next = element.next as usize;
        }
        self.advance_tokens(place, at.ends);
        let mut list = Vec::new();
        let (given, changed) = self.give_out(place, &mut list);
        if !self.are(Texts::GoOn) {
            self.renew(place);
        }
        if carried || changed || given != taken {
            self.edits.replace(array.start + 1, array.end - 1, &list);
        }
        Ok(true)
    }

    pub(super) fn open_tokens(&mut self, key: LaneKey) -> Result<usize, FormatError> {
        let (names, ids) = (&self.names, &self.ids);
        self.lanes.open(key, ids, |session| {
            let mut entry = Entry::new(key, spell(names), ids.clone(), Lane::listing_drops(session));
            entry.tokens = Some(TokenQueue::default());
            entry
        })
    }

    /// Decides what can be decided of the tokens so far.
    pub(super) fn advance_tokens(&mut self, place: usize, ends: bool) {
        let (number, go_on) = (self.number, self.are(Texts::GoOn));
        let Some((entry, session)) = self.lanes.entry(place) else { return };
        entry.touched = number;
        entry.is_over = false;
        let mut unread = Vec::new();
        if !go_on {
            entry.lane.finish(session, &|| entry.name.clone(), &mut unread);
        } else if ends {
            entry.lane.pause(session, &|| entry.name.clone(), &mut unread);
        } else {
            entry.lane.advance(session, &|| entry.name.clone(), &mut unread);
        }
    }

    pub(super) fn renew(&mut self, place: usize) {
        if let Some((entry, session)) = self.lanes.entry(place) {
            entry.lane = Lane::listing_drops(session);
            if let Some(tokens) = &mut entry.tokens {
                tokens.is_blind = false;
            }
        }
    }

    fn take_element(&mut self, place: usize, index: usize, token: Token) {
        let quotes = u32::from(token.kind == Kind::String);
        let from = (token.start - quotes) as usize;
        let mut document =
            self.document.get(from..(token.end + quotes) as usize).unwrap_or_default().to_vec();
        let mut altered = true;
        let text = match (token.kind, self.token_text(index)) {
            (Kind::String, _) => {
                let text = text_of(self.text(token)).into_owned();
                if is_number_of_token(&text) {
                    document = redacted(&document, true);
                } else {
                    altered = false;
                }
                bytes_spelled(&text).unwrap_or(text)
            }
            (_, Some((text, certain))) => {
                if !certain {
                    document = redacted(&document, true);
                } else if self.alternatives_show_something(index) {
                    document = redacted(&document, false);
                } else {
                    altered = false;
                }
                text
            }
            // What it says is not known.
            _ => {
                document = b"null".to_vec();
                Vec::new()
            }
        };
        let hides_a_letter = self.hides_a_letter(&text);
        if let Some((entry, _)) = self.lanes.entry(place) {
            let start = entry.lane.pushed();
            entry.lane.push(&text);
            let end = entry.lane.pushed();
            if let Some(tokens) = &mut entry.tokens {
                if hides_a_letter {
                    tokens.be_blind();
                }
                if tokens.is_blind {
                    (document, altered) = (redacted(&document, true), true);
                }
                tokens.elements.push_back(Element { start, end, document, altered });
            }
        }
    }

    /// The bytes of a token: as numbers where they are given, because a token may be half a character. Says
    /// whether all that shows the token agrees with them.
    fn token_text(&self, index: usize) -> Option<(Vec<u8>, bool)> {
        let string = |name: &[u8]| self.member(index, name).filter(|token| token.kind == Kind::String);
        let token = text_of(self.text(shape::TOKEN_NAMES.iter().find_map(|name| string(name))?)).into_owned();
        let mut certain = !is_number_of_token(&token);
        let mut bytes = None;
        for (name, at) in self.members(index) {
            match self.token(at) {
                Some(value) if value.kind == Kind::String => {
                    certain &= *text_of(self.text(value)) == *token;
                }
                Some(value) if value.kind == Kind::Array && name == b"bytes" => {
                    let numbers = self.bytes_of(at);
                    certain &= bytes.is_none() && numbers.as_ref().is_some_and(|n| is_spelling(&token, n));
                    bytes = numbers.filter(|numbers| !numbers.is_empty());
                }
                _ => {}
            }
        }
        let spelled = || bytes_spelled(&token).unwrap_or_else(|| token.clone());
        Some((bytes.filter(|_| certain).unwrap_or_else(spelled), certain))
    }

    /// Whether a token stands for a part of a letter and does not say which, where that matters.
    pub(super) fn hides_a_letter(&self, text: &[u8]) -> bool {
        self.lanes.session.needs_whole_letters()
            && memchr::memmem::find(text, "\u{FFFD}".as_bytes()).is_some()
    }

    fn bytes_of(&self, at: usize) -> Option<Vec<u8>> {
        let array = self.token(at).filter(|token| token.kind == Kind::Array)?;
        (at + 1..array.next as usize)
            .map(|at| std::str::from_utf8(self.text(self.token(at)?)).ok()?.parse().ok())
            .collect()
    }

    /// Whether one of the alternatives to a token is a secret by itself.
    fn alternatives_show_something(&mut self, index: usize) -> bool {
        let shortest = self.lanes.session.shortest();
        let Some(element) = self.token(index) else { return false };
        let mut texts = Vec::new();
        for at in index + 1..element.next as usize {
            match self.token(at).map(|token| token.kind) {
                Some(Kind::String | Kind::Key) => {
                    texts.extend(self.token(at).map(|token| text_of(self.text(token)).into_owned()));
                }
                Some(Kind::Array) => texts.extend(self.bytes_of(at)),
                _ => {}
            }
        }
        texts.iter().any(|text| {
            is_number_of_token(text) || (text.len() >= shortest && !self.lanes.session.find(text).is_empty())
        })
    }

    /// Appends the decided elements to a list. Says how many, and whether one is not as it was.
    fn give_out(&mut self, place: usize, list: &mut Vec<u8>) -> (usize, bool) {
        let Some((entry, _)) = self.lanes.entry(place) else { return (0, false) };
        let (decided, _) = entry.lane.progress();
        let Entry { lane, tokens: Some(queue), .. } = entry else { return (0, false) };
        let drops = lane.drops();
        let mut given = 0;
        let mut changed = false;
        while let Some(element) = queue.elements.pop_front_if(|element| element.end <= decided) {
            if given > 0 {
                list.push(b',');
            }
            given += 1;
            changed |= element.altered;
            if drops.iter().any(|(from, to)| *from < element.end && *to > element.start) {
                changed = true;
                list.extend(redacted(&element.document, true));
            } else {
                list.extend_from_slice(&element.document);
            }
        }
        let used = queue.elements.front().map_or(decided, |element| element.start);
        drops.retain(|(_, to)| *to > used);
        (given, changed)
    }

    /// Where the elements of an array are.
    pub(super) fn elements(&self, index: usize) -> impl Iterator<Item = usize> + use<'a> {
        let tape = self.tape;
        let end = tape.get(index).map_or(0, |array| array.next as usize);
        let mut next = index + 1;
        std::iter::from_fn(move || {
            let at = (next < end).then_some(next)?;
            next = tape.get(at)?.next as usize;
            Some(at)
        })
    }
}

/// Whether a token is spelled as its number, as some servers do on request.
pub(super) fn is_number_of_token(text: &[u8]) -> bool {
    text.starts_with(b"token_id:")
}

/// The bytes of a token that is spelled as such: `bytes:\xf0\x9f`.
pub(super) fn bytes_spelled(text: &[u8]) -> Option<Vec<u8>> {
    let units = text.strip_prefix(b"bytes:").filter(|units| !units.is_empty())?.chunks(4);
    let byte = |unit: &[u8]| {
        let digits = unit.strip_prefix(b"\\x").filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    units.map(byte).collect()
}

/// Whether bytes are those of a token as it is written: a half character at its end is left out, or escaped.
fn is_spelling(token: &[u8], bytes: &[u8]) -> bool {
    let half = bytes.strip_prefix(token).is_some_and(|rest| rest.iter().all(|byte| *byte >= 0x80));
    let spelled = token.strip_prefix(b"bytes:").unwrap_or(token);
    let escaped = spelled.len() == bytes.len() * 4
        && spelled.chunks(4).zip(bytes).all(|(unit, byte)| unit == format!("\\x{byte:02x}").as_bytes());
    half || escaped || String::from_utf8_lossy(bytes).as_bytes() == token
}

/// An element without what it shows: of the alternatives only, or of the token too.
fn redacted(document: &[u8], token: bool) -> Vec<u8> {
    let mut tape = Vec::new();
    if tape::read(document, &mut tape).is_none() {
        return b"null".to_vec();
    }
    let mut edits = Edits::default();
    match tape.first().map(|root| root.kind) {
        Some(Kind::Object) => {}
        Some(Kind::String) => return b"\"\"".to_vec(),
        _ => return b"null".to_vec(),
    }
    for (name, at) in tape::members(document, &tape, 0) {
        let Some(value) = tape.get(at) else { break };
        let by: Option<&[u8]> = match value.kind {
            Kind::String if token && shape::TOKEN_NAMES.contains(&name) => Some(b"[REDACTED]"),
            Kind::String if token => Some(b""),
            Kind::Scalar if token && matches!(name, b"id" | b"token_id") => Some(b"0"),
            Kind::Array if token || name != b"bytes" => Some(b"[]"),
            Kind::Object => Some(b"null"),
            _ => None,
        };
        if let Some(by) = by {
            edits.replace(value.start, value.end, by);
        }
    }
    let mut out = Vec::new();
    edits.write(document, &mut out);
    out
}
