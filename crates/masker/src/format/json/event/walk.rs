//! The walk over one document: every text to its lane.

use super::place;
use super::whole::Memo;
use super::{Documents, decoder_for, pause};
use crate::format::json::edit::Edits;
use crate::format::json::escape::text_of;
use crate::format::json::shape::{self, EventKind};
use crate::format::json::tape::{self, Kind, Token};
use crate::format::lanes::{Begins, Entry, LaneKey};
use crate::format::{FormatError, Lanes};
use crate::lane::Lane;

/// Tells the texts of a message from those of a delta.
const MESSAGE: u64 = 0x6D65_7373_6167_6521;

/// How the texts of a document relate to those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texts {
    /// They go on there.
    GoOn,
    /// They should be complete, and are watched for going on all the same.
    Watched,
    /// They are complete.
    End,
}

/// What a walk does with the texts it finds.
#[derive(Clone, Copy)]
pub(super) enum Mode<'a> {
    /// Gives them to their lanes.
    Live(Texts),
    /// Puts the rests of lanes, by their keys, in their places and empties the others, which were out before.
    Refill(&'a [(u64, Vec<u8>)]),
}

/// Where in a document a walk is.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) path: u64,
    pub(super) key: &'a [u8],
    /// Below a message, which may be the beginning of what goes on as deltas, or a copy of all of it.
    pub(super) message: bool,
    /// An element of a list: numbers tell it from the others.
    pub(super) listed: bool,
    /// Texts here are complete in themselves.
    pub(super) whole: bool,
    /// Texts here end with this document.
    pub(super) ends: bool,
    /// Inside of log-probabilities.
    pub(super) logprobs: bool,
}

pub(super) struct Walk<'a> {
    pub(super) document: &'a [u8],
    pub(super) tape: &'a [Token],
    pub(super) edits: &'a mut Edits,
    pub(super) memo: &'a mut Memo,
    pub(super) lanes: &'a mut Lanes,
    pub(super) number: u64,
    pub(super) is_strict: bool,
    pub(super) mode: Mode<'a>,
    event: &'a [u8],
    pub(super) ids: Vec<u64>,
    /// Groups of ids whose lanes end with this document.
    ends: Vec<Vec<u64>>,
    /// The document is a list of tokens without a text.
    pub(super) keeps_ids: bool,
    /// The lanes whose rest has found its place.
    refilled: Vec<u64>,
    /// What was put in place of which tokens.
    pub(super) placed: Vec<(usize, Vec<u8>)>,
    pub(super) names: Vec<Name<'a>>,
}

/// A step of a path, for people.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    Key(&'a [u8]),
    Index(usize),
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        documents: &'a mut Documents,
        lanes: &'a mut Lanes,
        document: &'a [u8],
        mode: Mode<'a>,
    ) -> Self {
        documents.edits.clear();
        documents.memo.begin(lanes.session.generation());
        Self {
            document,
            tape: &documents.tape,
            edits: &mut documents.edits,
            memo: &mut documents.memo,
            lanes,
            number: documents.number,
            is_strict: documents.is_strict,
            mode,
            event: b"",
            ids: Vec::new(),
            ends: Vec::new(),
            keeps_ids: false,
            refilled: Vec::new(),
            placed: Vec::new(),
            names: Vec::new(),
        }
    }

    /// The groups of ids whose lanes have ended.
    pub(super) fn take_ends(&mut self) -> Vec<Vec<u64>> {
        std::mem::take(&mut self.ends)
    }

    /// Lists of tokens stay if the document has nothing else to say.
    pub(super) fn keep_ids_alone(&mut self) {
        let is_scalar = |at| self.token(at).is_some_and(|token| token.kind == Kind::Scalar);
        self.keeps_ids = self.members(0).all(|(key, at)| key == b"tokens" || is_scalar(at));
    }

    pub(super) fn root(&mut self) -> Result<(), FormatError> {
        let mut kind = match self.member(0, b"type").filter(|token| token.kind == Kind::String) {
            Some(token) => {
                self.event = self.text(token);
                shape::kind_of(self.event)
            }
            None => EventKind::Delta,
        };
        if shape::begins(self.event) {
            let mut ids = Vec::new();
            self.push_ids(0, b"", &mut ids);
            ids.into_iter().for_each(|id| self.lanes.announce(id));
        }
        let ends = kind == EventKind::End || self.says_that_all_ends();
        // Whatever an event is called: a part of a text goes on.
        if self.event.starts_with(b"response.")
            && self.member(0, b"delta").is_some_and(|token| self.says_something(token))
        {
            kind = EventKind::Delta;
        }
        let (event, _) = shape::alias(self.event, b"");
        let path = self.lanes.mix(self.lanes.seed(), event);
        let at = At {
            path,
            key: b"",
            message: false,
            listed: false,
            whole: kind != EventKind::Delta || self.are(Texts::Watched),
            ends: ends || self.are(Texts::End),
            logprobs: false,
        };
        self.value(0, at)?;
        if ends {
            let mut ids = Vec::new();
            self.push_ids(0, b"", &mut ids);
            self.ends.push(ids);
        }
        Ok(())
    }

    /// Whether the members of the root say that the texts before them are complete.
    fn says_that_all_ends(&self) -> bool {
        self.members(0).any(|(name, value)| {
            let Some(token) = self.token(value) else { return false };
            match name {
                b"done" | b"stop" => self.text(token) == b"true",
                b"generated_text" | b"error" => self.says_something(token),
                _ => false,
            }
        })
    }

    pub(super) fn are(&self, texts: Texts) -> bool {
        matches!(self.mode, Mode::Live(these) if these == texts)
    }

    pub(super) fn is_refill(&self) -> bool {
        matches!(self.mode, Mode::Refill(_))
    }

    pub(super) fn token(&self, at: usize) -> Option<Token> {
        self.tape.get(at).copied()
    }

    pub(super) fn text(&self, token: Token) -> &'a [u8] {
        self.document.get(token.start as usize..token.end as usize).unwrap_or_default()
    }

    /// Whether a value is a text or a container that is not empty.
    fn says_something(&self, token: Token) -> bool {
        match token.kind {
            Kind::String => token.end > token.start,
            Kind::Object | Kind::Array => {
                let inside = self.document.get(token.start as usize + 1..token.end as usize - 1);
                inside.is_some_and(|inside| !inside.trim_ascii().is_empty())
            }
            Kind::Key | Kind::Scalar => false,
        }
    }

    /// The value of a member of the object at `at`.
    pub(super) fn member(&self, at: usize, key: &[u8]) -> Option<Token> {
        self.members(at).find(|(name, _)| *name == key).and_then(|(_, value)| self.token(value))
    }

    /// The members of the object at `at`: name, and where the value is.
    pub(super) fn members(&self, at: usize) -> impl Iterator<Item = (&'a [u8], usize)> + use<'a> {
        tape::members(self.document, self.tape, at)
    }

    pub(super) fn value(&mut self, index: usize, at: At<'a>) -> Result<(), FormatError> {
        let Some(token) = self.token(index) else { return Ok(()) };
        match token.kind {
            Kind::Object => self.object(index, at),
            Kind::Array => self.array(index, token, at),
            Kind::String => self.string(index, token, at),
            Kind::Key | Kind::Scalar => Ok(()),
        }
    }

    fn object(&mut self, index: usize, mut at: At<'a>) -> Result<(), FormatError> {
        let mark = self.ids.len();
        let sight = self.look_at(index, at.key, at.listed);
        if sight.ends {
            at.ends = true;
            if !at.whole {
                self.ends.push(self.ids.clone());
            }
        }
        if at.logprobs && self.parallel(index, at)? {
            self.ids.truncate(mark);
            return Ok(());
        }
        for (key, value) in self.members(index) {
            let masked = self.token(value - 1).is_some_and(|token| self.key(key, token));
            if let Some(number) = self.token(value)
                && number.kind == Kind::Scalar
                && shape::is_id_of_a_token(key, at.key)
            {
                self.edits.replace(number.start, number.end, b"0");
            }
            let (_, alias) = shape::alias(self.event, key);
            let mut inside = At {
                path: self.lanes.mix(at.path, alias),
                message: at.message || key == b"message",
                listed: false,
                // What was masked is no context.
                key: if masked { b"" } else { key },
                whole: at.whole || shape::is_structural(key) || shape::is_whole(key),
                ends: at.ends,
                logprobs: at.logprobs || shape::is_logprobs(key),
            };
            // Of members with one name clients take the last, and some the first: the others are no part of its text.
            if sight.overridden.contains(&value) {
                inside.path = self.lanes.mix(inside.path, b"overridden");
                inside.whole = true;
            }
            self.names.push(Name::Key(if masked { b"(masked)" } else { key }));
            self.value(value, inside)?;
            self.names.pop();
        }
        self.ids.truncate(mark);
        Ok(())
    }

    fn array(&mut self, index: usize, token: Token, at: At<'a>) -> Result<(), FormatError> {
        if self.numbers(index, token, at) || (at.logprobs && self.tokens(index, token, at)?) {
            return Ok(());
        }
        let mut next = index + 1;
        let mut number = 0;
        while next < token.next as usize {
            let Some(element) = self.token(next) else { break };
            let mark = self.ids.len();
            let told = self.member(next, b"index");
            // Documents in a list at the root follow each other as they would without it.
            if index > 0 && told.is_none() {
                let place = f64::from(u32::try_from(number).unwrap_or(u32::MAX));
                self.ids.push(self.place(at.key, b"index", place));
            }
            // In a stream most lists hold the one element that changes, which says its number.
            let told = told.and_then(|token| std::str::from_utf8(self.text(token)).ok()?.parse().ok());
            self.names.push(Name::Index(told.unwrap_or(number)));
            self.value(next, At { listed: index > 0, ..at })?;
            self.names.pop();
            self.ids.truncate(mark);
            number += 1;
            next = element.next as usize;
        }
        Ok(())
    }

    fn string(&mut self, index: usize, token: Token, at: At<'a>) -> Result<(), FormatError> {
        if at.whole {
            return self.whole(token, at);
        }
        let key = self.lane_key(at);
        if let Mode::Refill(rests) = self.mode {
            let key = key.key;
            let rest = rests.iter().find(|(target, _)| *target == key && !self.refilled.contains(target));
            self.refilled.extend(rest.map(|(target, _)| *target));
            self.placed.extend(rest.map(|(_, text)| (index, text.clone())));
            self.edits.replace(token.start, token.end, rest.map_or(b"", |(_, text)| text));
            return Ok(());
        }
        let place = self.open(key, at.key)?;
        let inside = self.text(token);
        let from = self.edits.fresh.len();
        let (is_end, number) = (self.are(Texts::End), self.number);
        let Some((entry, session)) = self.lanes.entry(place) else { return Ok(()) };
        entry.touched = number;
        entry.is_over = false;
        entry.decoder.push(inside, &mut entry.lane);
        entry.decoder.end_of_string(&mut entry.lane);
        let fresh = &mut self.edits.fresh;
        if is_end {
            self.lanes.finish(place, fresh);
        } else if at.ends {
            pause(self.lanes, place, fresh);
        } else {
            entry.lane.advance(session, &|| entry.name.clone(), fresh);
        }
        if self.edits.fresh.get(from..) == Some(inside) {
            self.edits.fresh.truncate(from);
        } else {
            self.edits.put_fresh(token.start, token.end, from);
        }
        Ok(())
    }

    pub(super) fn lane_key(&self, at: At<'_>) -> LaneKey {
        let own = if at.message { at.path ^ MESSAGE } else { at.path };
        let mut begins = if at.message { Begins::AfterItsLike } else { Begins::AfterAny };
        let (mut key, mut base, mut own) = (own, at.path, own);
        for id in self.ids.iter().filter(|id| **id & place::FIRST == 0) {
            let id_bytes = id.to_be_bytes();
            key = self.lanes.mix(key, &id_bytes);
            if id & place::LOOSE == 0 {
                (base, own) = (self.lanes.mix(base, &id_bytes), self.lanes.mix(own, &id_bytes));
            } else if self.lanes.is_announced(*id) {
                begins = Begins::Anew;
            }
        }
        LaneKey { key, base, own, begins, document: self.number }
    }

    pub(super) fn open(&mut self, key: LaneKey, member: &[u8]) -> Result<usize, FormatError> {
        let (names, ids) = (&self.names, &self.ids);
        self.lanes.open(key, ids, |session| {
            let context = text_of(member);
            let parts: &[&[u8]] = if member.is_empty() { &[] } else { &[&context, b"\": \""] };
            let lane = Lane::behind(session, parts);
            let mut entry = Entry::new(key, spell(names), ids.clone(), lane);
            entry.decoder = decoder_for(member);
            entry
        })
    }
}

/// A path, for people.
pub(super) fn spell(names: &[Name<'_>]) -> String {
    let mut path = String::new();
    for name in names {
        match name {
            Name::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                // A member may be named by a stranger: nothing that could break a line of a log.
                path.extend(
                    key.iter()
                        .take(64)
                        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }),
                );
            }
            Name::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}
