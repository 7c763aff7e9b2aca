//! Log-probabilities: each token is a piece of a text, and shows what the text hides.
//!
//! The tokens of a list are one text, which is scanned like the text itself. An element is written when its
//! token is decided, which may be in a later document; an element that touches a mask loses its token, its
//! bytes, its ids and its alternatives.

use std::collections::VecDeque;

use super::{At, Edit, Mode, Walk, write};
use crate::format::json::escape::text_of;
use crate::format::json::shape;
use crate::format::json::tape::{self, Kind, Token};
use crate::format::lanes::Entry;
use crate::format::{FormatError, Lanes};
use crate::lane::Lane;

/// Elements whose tokens are not yet decided.
#[derive(Debug, Default)]
pub(crate) struct TokenQueue {
    elements: VecDeque<Element>,
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
}

/// The end of a text of tokens: all of them are decided.
pub(super) fn end(lanes: &mut Lanes, at: usize) {
    if let Some((entry, session)) = lanes.entry(at) {
        entry.lane.finish(session, &|| entry.name.clone(), &mut Vec::new());
    }
}

impl<'a> Walk<'a> {
    /// Masks a list of numbers that are tokens: it is emptied. Says whether it was one.
    pub(super) fn ids(&mut self, index: usize, array: Token, at: At<'_>) -> bool {
        if array.next as usize == index + 1 || !self.is_numbers(index) {
            return false;
        }
        let named = shape::is_ids(at.key);
        if named || (at.logprobs && !shape::is_measure(at.key) && self.numbers_are_whole(index)) {
            if named && self.keeps_ids {
                return true;
            }
            self.replace(array.start + 1, array.end - 1, b"");
        }
        true
    }

    /// Whether an array holds numbers and literals alone.
    fn is_numbers(&self, index: usize) -> bool {
        let end = self.token(index).map_or(0, |array| array.next as usize);
        (index + 1..end).all(|at| self.token(at).is_some_and(|token| token.kind == Kind::Scalar))
    }

    fn numbers_are_whole(&self, index: usize) -> bool {
        let end = self.token(index).map_or(0, |array| array.next as usize);
        let fraction = |byte: &u8| matches!(byte, b'.' | b'-' | b'e' | b'E');
        (index + 1..end)
            .filter_map(|at| self.token(at))
            .map(|token| self.text(token))
            .all(|text| !text.iter().any(fraction) || text == b"false")
    }

    /// Masks a list of tokens: of objects that have one each, or of strings. Says whether it was one.
    pub(super) fn tokens(&mut self, index: usize, array: Token, at: At<'_>) -> Result<bool, FormatError> {
        if array.next as usize == index + 1 {
            return Ok(false);
        }
        let key = self.lanes.mix(self.lane_key(at), b"tokens");
        let place = match self.mode {
            Mode::Live => self.open_tokens(key)?,
            Mode::Refill { key: target, .. } => {
                let mut list = Vec::new();
                if target == key
                    && let Some(place) = self.place_of(key)
                {
                    self.give_out(place, &mut list);
                    self.renew(place);
                }
                self.replace(array.start + 1, array.end - 1, &list);
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
        if let Some((entry, session)) = self.lanes.entry(place) {
            entry.touched = self.number;
            let mut unread = Vec::new();
            if self.all_end {
                entry.lane.finish(session, &|| entry.name.clone(), &mut unread);
            } else if at.ends {
                entry.lane.pause(session, &|| entry.name.clone(), &mut unread);
            } else {
                entry.lane.advance(session, &|| entry.name.clone(), &mut unread);
            }
        }
        let mut list = Vec::new();
        let (given, changed) = self.give_out(place, &mut list);
        if self.all_end {
            self.renew(place);
        }
        if carried || changed || given != taken {
            self.replace(array.start + 1, array.end - 1, &list);
        }
        Ok(true)
    }

    fn open_tokens(&mut self, key: u64) -> Result<usize, FormatError> {
        let (names, ids) = (&self.names, &self.ids);
        self.lanes.open(key, |session| {
            let mut entry = Entry::new(key, super::spell(names), ids.clone(), Lane::listing_drops(session));
            entry.tokens = Some(TokenQueue::default());
            entry
        })
    }

    fn place_of(&mut self, key: u64) -> Option<usize> {
        (0..self.lanes.len()).find(|at| self.lanes.entry(*at).is_some_and(|(entry, _)| entry.key == key))
    }

    fn renew(&mut self, place: usize) {
        if let Some((entry, session)) = self.lanes.entry(place) {
            entry.lane = Lane::listing_drops(session);
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
                text
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
        if let Some((entry, _)) = self.lanes.entry(place) {
            let start = entry.lane.pushed();
            entry.lane.push(&text);
            let end = entry.lane.pushed();
            if let Some(tokens) = &mut entry.tokens {
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
                    let numbers = self.numbers(at);
                    certain &= bytes.is_none() && numbers.as_ref().is_some_and(|n| is_spelling(&token, n));
                    bytes = numbers.filter(|numbers| !numbers.is_empty());
                }
                _ => {}
            }
        }
        Some((bytes.filter(|_| certain).unwrap_or(token), certain))
    }

    fn numbers(&self, at: usize) -> Option<Vec<u8>> {
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
                Some(Kind::Array) => texts.extend(self.numbers(at)),
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

    /// Masks log-probabilities in the form of parallel lists, as legacy completions have it: `tokens`,
    /// `top_logprobs`. A token that is not decided when its document ends is masked.
    pub(super) fn parallel(&mut self, index: usize, at: At<'_>) -> Result<bool, FormatError> {
        let find = |walk: &Self, name: &[u8]| {
            let (_, value) = walk.members(index).find(|(key, _)| *key == name)?;
            walk.token(value).filter(|token| token.kind == Kind::Array).map(|token| (value, token))
        };
        let Some((tokens_at, tokens)) = find(self, b"tokens") else { return Ok(false) };
        if self.is_numbers(tokens_at) && tokens.next as usize > tokens_at + 1 {
            return Ok(false);
        }
        if !matches!(self.mode, Mode::Live) {
            for (_, value) in self.members(index) {
                if let Some(token) = self.token(value).filter(|token| token.kind == Kind::Array) {
                    self.replace(token.start + 1, token.end - 1, b"");
                }
            }
            return Ok(true);
        }
        let key = self.lanes.mix(self.lane_key(at), b"tokens");
        let place = self.open_tokens(key)?;
        let texts: Vec<Token> = self.elements(tokens_at).filter_map(|at| self.token(at)).collect();
        let mut ranges = Vec::with_capacity(texts.len());
        for token in &texts {
            let text = text_of(self.text(*token));
            let is_text = token.kind == Kind::String;
            if let Some((entry, _)) = self.lanes.entry(place) {
                let start = entry.lane.pushed();
                entry.lane.push(if is_text { &text } else { b"" });
                ranges.push((start, entry.lane.pushed(), !is_text || is_number_of_token(&text)));
            }
        }
        let Some((entry, session)) = self.lanes.entry(place) else { return Ok(true) };
        entry.touched = self.number;
        let mut unread = Vec::new();
        if self.all_end {
            entry.lane.finish(session, &|| entry.name.clone(), &mut unread);
        } else if at.ends {
            entry.lane.pause(session, &|| entry.name.clone(), &mut unread);
        } else {
            entry.lane.advance(session, &|| entry.name.clone(), &mut unread);
        }
        let (decided, _) = entry.lane.progress();
        let drops = std::mem::take(entry.lane.drops());
        let hidden: Vec<bool> = ranges
            .iter()
            .map(|(start, end, odd)| {
                *odd || *end > decided || drops.iter().any(|(from, to)| from < end && to > start)
            })
            .collect();
        if self.all_end {
            self.renew(place);
        }
        let top = find(self, b"top_logprobs");
        let mut edits: Vec<(u32, u32, &[u8])> = Vec::new();
        for (token, _) in texts.iter().zip(&hidden).filter(|(_, hidden)| **hidden) {
            edits.push((token.start, token.end, if token.kind == Kind::String { b"" } else { b"null" }));
        }
        if let Some((top_at, _)) = top {
            for (number, next) in self.elements(top_at).enumerate() {
                let Some(element) = self.token(next) else { break };
                let hidden = hidden.get(number).is_none_or(|hidden| *hidden);
                if hidden || self.names_show_something(next) {
                    let quotes = u32::from(element.kind == Kind::String);
                    edits.push((element.start - quotes, element.end + quotes, b"null"));
                }
            }
        }
        // What else stands beside the tokens is not known to agree with them.
        for (name, value) in self.members(index) {
            let Some(token) = self.token(value) else { break };
            if value == tokens_at || top.is_some_and(|(top_at, _)| value == top_at) {
                continue;
            }
            match token.kind {
                Kind::Array if shape::is_measure(name) && self.is_numbers(value) => {}
                Kind::Array => edits.push((token.start, token.end, b"[]")),
                Kind::Object => edits.push((token.start, token.end, b"null")),
                Kind::String => edits.push((token.start, token.end, b"")),
                Kind::Key | Kind::Scalar => {}
            }
        }
        edits.sort_unstable();
        for (start, end, by) in edits {
            self.replace(start, end, by);
        }
        Ok(true)
    }

    /// Where the elements of an array are.
    fn elements(&self, index: usize) -> impl Iterator<Item = usize> + use<'a> {
        let tape = self.tape;
        let end = tape.get(index).map_or(0, |array| array.next as usize);
        let mut next = index + 1;
        std::iter::from_fn(move || {
            let at = (next < end).then_some(next)?;
            next = tape.get(at)?.next as usize;
            Some(at)
        })
    }

    fn names_show_something(&mut self, index: usize) -> bool {
        let shortest = self.lanes.session.shortest();
        let Some(element) = self.token(index) else { return false };
        if element.kind == Kind::Scalar {
            return false;
        }
        let names: Vec<_> = self.members(index).map(|(name, _)| text_of(name)).collect();
        let plain = element.kind == Kind::Object && self.members(index).all(|(_, at)| self.is_scalar(at));
        !plain
            || names.iter().any(|name| {
                is_number_of_token(name)
                    || (name.len() >= shortest && !self.lanes.session.find(name).is_empty())
            })
    }

    fn is_scalar(&self, at: usize) -> bool {
        self.token(at).is_some_and(|token| token.kind == Kind::Scalar)
    }
}

/// Whether a token is spelled as its number, as some servers do on request.
fn is_number_of_token(text: &[u8]) -> bool {
    text.starts_with(b"token_id:")
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
    let mut edits = Vec::new();
    let mut fresh = Vec::new();
    match tape.first().map(|root| root.kind) {
        Some(Kind::Object) => {}
        Some(Kind::String) => return b"\"\"".to_vec(),
        _ => return b"null".to_vec(),
    }
    let mut at = 1;
    while let (Some(key), Some(value)) = (tape.get(at), tape.get(at + 1)) {
        let name = document.get(key.start as usize..key.end as usize).unwrap_or_default();
        let by: Option<&[u8]> = match value.kind {
            Kind::String if token && shape::TOKEN_NAMES.contains(&name) => Some(b"[REDACTED]"),
            Kind::String if token => Some(b""),
            Kind::Scalar if token && matches!(name, b"id" | b"token_id") => Some(b"0"),
            Kind::Array if token || name != b"bytes" => Some(b"[]"),
            Kind::Object => Some(b"null"),
            _ => None,
        };
        if let Some(by) = by {
            let from = fresh.len();
            fresh.extend_from_slice(by);
            edits.push(Edit { start: value.start, end: value.end, from, to: fresh.len() });
        }
        at = value.next as usize;
    }
    let mut out = Vec::new();
    write(document, &edits, &fresh, &mut out);
    out
}
