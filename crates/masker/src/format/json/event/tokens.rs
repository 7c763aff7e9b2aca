//! Log-probabilities: each token is a piece of a text, and shows what the text hides.
//!
//! The tokens of a list are one text, which is scanned like the text itself. An element is written when its
//! token is decided, which may be in a later document; an element that touches a mask loses its token, its
//! bytes, its ids and its alternatives.

use std::collections::VecDeque;

use super::{At, Edit, Mode, Walk, write};
use crate::format::json::escape::text_of;
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

impl Walk<'_> {
    /// Masks a list of objects, each with a token. Says whether it was one.
    pub(super) fn tokens(&mut self, index: usize, array: Token, at: At<'_>) -> Result<bool, FormatError> {
        let has_token =
            |walk: &Self, at: usize| walk.member(at, b"token").is_some_and(|t| t.kind == Kind::String);
        if array.next as usize == index + 1 || !has_token(self, index + 1) {
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
            if at.ends {
                entry.lane.finish(session, &|| entry.name.clone(), &mut unread);
            } else {
                entry.lane.advance(session, &|| entry.name.clone(), &mut unread);
            }
        }
        let mut list = Vec::new();
        let (given, changed) = self.give_out(place, &mut list);
        if at.ends {
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
        let mut document =
            self.document.get(token.start as usize..token.end as usize).unwrap_or_default().to_vec();
        let text = self.token_text(index);
        if self.alternatives_show_something(index) {
            document = redacted(&document, false);
        }
        if let Some((entry, _)) = self.lanes.entry(place) {
            let start = entry.lane.pushed();
            entry.lane.push(&text);
            let end = entry.lane.pushed();
            if let Some(tokens) = &mut entry.tokens {
                tokens.elements.push_back(Element { start, end, document });
            }
        }
    }

    /// The bytes of a token: as numbers where they are given, because a token may be half a character.
    fn token_text(&self, index: usize) -> Vec<u8> {
        let numbers =
            self.members(index).find(|(name, _)| *name == b"bytes").and_then(|(_, at)| self.numbers(at));
        numbers.unwrap_or_else(|| {
            self.member(index, b"token")
                .map(|token| text_of(self.text(token)).into_owned())
                .unwrap_or_default()
        })
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
                Some(Kind::Object) => texts.push(self.token_text(at)),
                Some(Kind::String) => {
                    texts.extend(self.token(at).map(|token| text_of(self.text(token)).into_owned()));
                }
                Some(Kind::Array) => texts.extend(self.numbers(at)),
                _ => {}
            }
        }
        texts.iter().any(|text| text.len() >= shortest && !self.lanes.session.find(text).is_empty())
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
        if !matches!(self.mode, Mode::Live) {
            for (name, value) in self.members(index) {
                if let Some(token) = self.token(value).filter(|token| token.kind == Kind::Array) {
                    let _ = name;
                    self.replace(token.start + 1, token.end - 1, b"");
                }
            }
            return Ok(true);
        }
        let key = self.lanes.mix(self.lane_key(at), b"tokens");
        let place = self.open_tokens(key)?;
        let texts: Vec<Token> =
            (tokens_at + 1..tokens.next as usize).filter_map(|at| self.token(at)).collect();
        let mut ranges = Vec::with_capacity(texts.len());
        for token in &texts {
            let text = text_of(self.text(*token));
            if let Some((entry, _)) = self.lanes.entry(place) {
                let start = entry.lane.pushed();
                entry.lane.push(&text);
                ranges.push((start, entry.lane.pushed()));
            }
        }
        let Some((entry, session)) = self.lanes.entry(place) else { return Ok(true) };
        entry.touched = self.number;
        let mut unread = Vec::new();
        if at.ends {
            entry.lane.finish(session, &|| entry.name.clone(), &mut unread);
        } else {
            entry.lane.advance(session, &|| entry.name.clone(), &mut unread);
        }
        let (decided, _) = entry.lane.progress();
        let drops = std::mem::take(entry.lane.drops());
        let hidden: Vec<bool> = ranges
            .iter()
            .map(|(start, end)| *end > decided || drops.iter().any(|(from, to)| from < end && to > start))
            .collect();
        if at.ends {
            self.renew(place);
        }
        let top = find(self, b"top_logprobs");
        let mut edits: Vec<(u32, u32, &[u8])> = Vec::new();
        for (token, _) in texts.iter().zip(&hidden).filter(|(_, hidden)| **hidden) {
            edits.push((token.start, token.end, b""));
        }
        if let Some((top_at, array)) = top {
            let mut next = top_at + 1;
            let mut number = 0;
            while next < array.next as usize {
                let Some(element) = self.token(next) else { break };
                let shown =
                    hidden.get(number).is_none_or(|hidden| *hidden) || self.names_show_something(next);
                if shown {
                    let quotes = u32::from(element.kind == Kind::String);
                    edits.push((element.start - quotes, element.end + quotes, b"null"));
                }
                number += 1;
                next = element.next as usize;
            }
        }
        edits.sort_unstable();
        for (start, end, by) in edits {
            self.replace(start, end, by);
        }
        Ok(true)
    }

    fn names_show_something(&mut self, index: usize) -> bool {
        let shortest = self.lanes.session.shortest();
        let names: Vec<_> = self.members(index).map(|(name, _)| text_of(name)).collect();
        names.iter().any(|name| name.len() >= shortest && !self.lanes.session.find(name).is_empty())
    }
}

/// An element without what it shows: of the alternatives only, or of the token too.
fn redacted(document: &[u8], token: bool) -> Vec<u8> {
    let mut tape = Vec::new();
    if tape::read(document, &mut tape).is_none() {
        return b"null".to_vec();
    }
    let mut edits = Vec::new();
    let mut fresh = Vec::new();
    let mut at = 1;
    while let (Some(key), Some(value)) = (tape.get(at), tape.get(at + 1)) {
        let name = document.get(key.start as usize..key.end as usize).unwrap_or_default();
        let by: Option<&[u8]> = match value.kind {
            Kind::String if token && name == b"token" => Some(b"[REDACTED]"),
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
