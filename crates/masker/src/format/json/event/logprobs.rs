//! Log-probabilities in the form of parallel lists, as legacy completions have it.

use super::tokens::{TokenQueue, bytes_spelled, is_number_of_token};
use super::walk::{At, Texts, Walk};
use crate::format::FormatError;
use crate::format::json::escape::text_of;
use crate::format::json::shape;
use crate::format::json::tape::{Kind, Token};

impl Walk<'_> {
    /// Masks log-probabilities in the form of parallel lists, as legacy completions have it: `tokens`,
    /// `top_logprobs`. A token that is not decided when its document ends is masked.
    pub(super) fn parallel(&mut self, index: usize, at: At<'_>) -> Result<bool, FormatError> {
        let Some((tokens_at, tokens)) = self.list(index, b"tokens") else { return Ok(false) };
        if self.is_numbers(tokens_at) && tokens.next as usize > tokens_at + 1 {
            return Ok(false);
        }
        if self.is_refill() {
            for (_, value) in self.members(index) {
                if let Some(token) = self.token(value).filter(|token| token.kind == Kind::Array) {
                    self.edits.replace(token.start + 1, token.end - 1, b"");
                }
            }
            return Ok(true);
        }
        let key = self.lane_key(at).beside(self.lanes, b"tokens");
        let place = self.open_tokens(key)?;
        let texts: Vec<Token> = self.elements(tokens_at).filter_map(|at| self.token(at)).collect();
        let mut ranges = Vec::with_capacity(texts.len());
        // What a token stands for that is no text is not known, nor what its neighbours are parts of.
        let mut is_blind = false;
        for token in &texts {
            let text = text_of(self.text(*token)).into_owned();
            let text = bytes_spelled(&text).unwrap_or(text);
            let is_text = token.kind == Kind::String;
            let hides_a_letter = self.hides_a_letter(&text);
            if let Some((entry, _)) = self.lanes.entry(place) {
                let start = entry.lane.pushed();
                entry.lane.push(if is_text { &text } else { b"" });
                ranges.push((start, entry.lane.pushed()));
                is_blind |= !is_text || is_number_of_token(&text);
                if let Some(tokens) = entry.tokens.as_mut().filter(|_| hides_a_letter) {
                    tokens.be_blind();
                }
            }
        }
        self.advance_tokens(place, at.ends);
        let Some((entry, _)) = self.lanes.entry(place) else { return Ok(true) };
        is_blind |= entry.tokens.as_ref().is_some_and(TokenQueue::is_blind);
        let (decided, _) = entry.lane.progress();
        let drops = std::mem::take(entry.lane.drops());
        let hidden: Vec<bool> = ranges
            .iter()
            .map(|(start, end)| {
                is_blind || *end > decided || drops.iter().any(|(from, to)| from < end && to > start)
            })
            .collect();
        if !self.are(Texts::GoOn) {
            self.renew(place);
        }
        for (token, _) in texts.iter().zip(&hidden).filter(|(_, hidden)| **hidden) {
            let by: &[u8] = if token.kind == Kind::String { b"" } else { b"null" };
            self.edits.replace(token.start, token.end, by);
        }
        self.beside(index, tokens_at, &hidden);
        Ok(true)
    }

    /// Hides what stands beside parallel tokens and shows one that is hidden, or is not known to agree with them.
    fn beside(&mut self, index: usize, tokens_at: usize, hidden: &[bool]) {
        let top = self.list(index, b"top_logprobs");
        if let Some((top_at, _)) = top {
            for (number, next) in self.elements(top_at).enumerate() {
                let Some(element) = self.token(next) else { break };
                let is_hidden = hidden.get(number).is_none_or(|hidden| *hidden);
                if is_hidden || self.names_show_something(next) {
                    let quotes = u32::from(element.kind == Kind::String);
                    self.edits.replace(element.start - quotes, element.end + quotes, b"null");
                }
            }
        }
        for (name, value) in self.members(index) {
            let Some(token) = self.token(value) else { break };
            if value == tokens_at || top.is_some_and(|(top_at, _)| value == top_at) {
                continue;
            }
            match token.kind {
                Kind::Array if shape::is_measure(name) && self.is_numbers(value) => {}
                Kind::Array => self.edits.replace(token.start, token.end, b"[]"),
                Kind::Object => self.edits.replace(token.start, token.end, b"null"),
                Kind::String => self.edits.replace(token.start, token.end, b""),
                Kind::Key | Kind::Scalar => {}
            }
        }
    }

    /// The first list of a name in the object at `index`.
    fn list(&self, index: usize, name: &[u8]) -> Option<(usize, Token)> {
        let (_, value) = self.members(index).find(|(key, _)| *key == name)?;
        self.token(value).filter(|token| token.kind == Kind::Array).map(|token| (value, token))
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
