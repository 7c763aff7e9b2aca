//! Documents that follow each other, as the events of a stream do: texts go on from one to the next.

mod tokens;

pub(crate) use self::tokens::TokenQueue;
use super::escape::{Decoder, text_of};
use super::loose;
use super::shape::{self, EventKind};
use super::tape::{self, Kind, Token};
use crate::format::lanes::Entry;
use crate::format::{FormatError, Lanes};
use crate::lane::Lane;

/// Where synthesised documents go: the document, and the tag of the one it was made after.
pub(crate) type Before<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// So many texts of a document that should be complete are watched for going on in the next.
const MOST_WATCHED: usize = 32;
/// So many undecided bytes of such a text, once it has gone on, are not shown.
const DOUBTFUL: u64 = 6;
/// The lane of what is not JSON.
const RAW: &str = "data";

/// Masks one document after the other.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    tape: Vec<Token>,
    edits: Vec<Edit>,
    /// What the edits put in place.
    fresh: Vec<u8>,
    number: u64,
    /// Texts of the last document that were found clean.
    memo: Vec<Memo>,
    memo_generation: u64,
}

/// A text that was found clean, and the name of its member.
#[derive(Debug, Default, Clone)]
struct Memo {
    key: Vec<u8>,
    text: Vec<u8>,
}

/// A part of a document that is written differently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Documents {
    /// Masks a document and appends it to `out`; `tag` is kept for documents that have to be made up after it.
    /// Those that must stand before it go to `before`.
    pub(crate) fn take(
        &mut self,
        lanes: &mut Lanes,
        document: &[u8],
        tag: &[u8],
        out: &mut Vec<u8>,
        before: Before<'_>,
    ) -> Result<(), FormatError> {
        lanes.refresh();
        self.number += 1;
        let Some(mut is_strict) = loose::read(document, &mut self.tape) else {
            return lanes.text(RAW, document, out);
        };
        let plain = plain_names(document, &self.tape);
        let document = plain.as_deref().unwrap_or(document);
        if plain.is_some() {
            is_strict = loose::read(document, &mut self.tape) == Some(true);
        }
        if self.memo_generation != lanes.session.generation() {
            self.memo_generation = lanes.session.generation();
            self.memo.clear();
        }
        let mut walk = Walk::new(self, lanes, document, Mode::Live);
        walk.root()?;
        let ends = std::mem::take(&mut walk.ends);
        let mark = out.len();
        write(document, &self.edits, &self.fresh, out);
        if !is_strict && let Some(masked) = lanes.whole(RAW, out.get(mark..).unwrap_or_default()) {
            out.truncate(mark);
            out.extend_from_slice(&masked);
        }
        for ids in &ends {
            self.end_lanes(lanes, ids, false, before)?;
        }
        let written = out.get(mark..).unwrap_or_default();
        for at in 0..lanes.len() {
            let Some((entry, _)) = lanes.entry(at) else { break };
            if entry.touched == self.number && entry.is_holding() {
                entry.template = Some((written.to_vec(), tag.to_vec()));
            }
        }
        Ok(())
    }

    /// Masks a document in which every text ends. Says whether it was one. A list of tokens without a text is
    /// kept where `may_keep_ids` allows it.
    pub(crate) fn take_whole(
        &mut self,
        lanes: &mut Lanes,
        document: &[u8],
        may_keep_ids: bool,
        out: &mut Vec<u8>,
    ) -> Result<bool, FormatError> {
        lanes.refresh();
        self.number += 1;
        if tape::read(document, &mut self.tape).is_none() {
            return Ok(false);
        }
        let plain = plain_names(document, &self.tape);
        let document = plain.as_deref().unwrap_or(document);
        if plain.is_some() {
            tape::read(document, &mut self.tape);
        }
        self.memo.clear();
        let mut walk = Walk::new(self, lanes, document, Mode::Live);
        walk.all_end = true;
        walk.keeps_ids = may_keep_ids
            && walk.members(0).all(|(key, at)| {
                key == b"tokens" || walk.token(at).is_some_and(|token| token.kind == Kind::Scalar)
            });
        walk.root()?;
        write(document, &self.edits, &self.fresh, out);
        Ok(true)
    }

    /// Masks a line outside of any document, which may be one or a part of one. `None` where it is clean.
    pub(crate) fn line(&mut self, lanes: &mut Lanes, line: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
        let is_text = memchr::memchr2(b'"', b'[', line).is_none();
        // The middle of a document looks like one behind its beginning.
        let added = usize::from(!matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')));
        let wrapped = [b"{".get(..added).unwrap_or_default(), line].concat();
        if is_text || loose::read(&wrapped, &mut self.tape).is_none() {
            return Ok(lanes.whole("event", line));
        }
        self.number += 1;
        self.memo.clear();
        let mut walk = Walk::new(self, lanes, &wrapped, Mode::Live);
        walk.all_whole = true;
        walk.root()?;
        let mut out = Vec::new();
        write(&wrapped, &self.edits, &self.fresh, &mut out);
        out.drain(..added);
        if let Some(masked) = lanes.whole("event", &out) {
            out = masked;
        }
        Ok((out != line).then_some(out))
    }

    /// The end of all texts: what is still held is put out in documents made up for it.
    pub(crate) fn finish(&mut self, lanes: &mut Lanes, before: Before<'_>) -> Result<(), FormatError> {
        self.number += 1;
        self.end_lanes(lanes, &[], true, before)
    }

    /// Ends the lanes that belong to all of `ids` and were not in the current document. Unless it is the last that
    /// is heard of them, they may go on.
    fn end_lanes(
        &mut self,
        lanes: &mut Lanes,
        ids: &[u64],
        last: bool,
        before: Before<'_>,
    ) -> Result<(), FormatError> {
        for at in 0..lanes.len() {
            let Some((entry, _)) = lanes.entry(at) else { break };
            let concerned = ids.iter().all(|id| entry.ids.contains(id));
            if !concerned || entry.touched == self.number || !entry.is_holding() {
                continue;
            }
            let (key, template) = (entry.key, entry.template.take());
            let mut rest = Vec::new();
            match (entry.tokens.is_some(), last) {
                (true, true) => tokens::end(lanes, at),
                (false, true) => lanes.finish(at, &mut rest),
                (_, false) => pause(lanes, at, &mut rest),
            }
            if lanes.entry(at).is_some_and(|(entry, _)| !last && entry.tokens.is_none() && entry.is_holding())
            {
                if let Some((entry, _)) = lanes.entry(at) {
                    entry.template = template.clone();
                }
                if rest.is_empty() {
                    continue;
                }
            }
            match template {
                Some((document, tag)) => {
                    let mut other = Self { number: self.number, ..Self::default() };
                    if loose::read(&document, &mut other.tape).is_some() {
                        let mut walk =
                            Walk::new(&mut other, lanes, &document, Mode::Refill { key, rest: &rest });
                        walk.root()?;
                        let mut made = Vec::new();
                        write(&document, &other.edits, &other.fresh, &mut made);
                        before(&made, &tag);
                    }
                }
                None if !rest.is_empty() => before(&rest, b""),
                None => {}
            }
        }
        Ok(())
    }
}

/// A text is said to end.
fn pause(lanes: &mut Lanes, at: usize, out: &mut Vec<u8>) {
    if let Some((entry, session)) = lanes.entry(at) {
        if entry.tokens.is_none() {
            entry.decoder.finish(&mut entry.lane);
        }
        entry.lane.pause(session, &|| entry.name.clone(), out);
    }
}

/// The document with the names of members spelled without escapes, where one of them has escapes that it does not
/// need: under another spelling a name would not be recognised.
fn plain_names(document: &[u8], tape: &[Token]) -> Option<Vec<u8>> {
    let mut edits = Vec::new();
    let mut fresh = Vec::new();
    for token in tape.iter().filter(|token| token.kind == Kind::Key) {
        let spelled = document.get(token.start as usize..token.end as usize).unwrap_or_default();
        if memchr::memchr(b'\\', spelled).is_none() {
            continue;
        }
        let name = text_of(spelled);
        if name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            let from = fresh.len();
            fresh.extend_from_slice(&name);
            edits.push(Edit { start: token.start, end: token.end, from, to: fresh.len() });
        }
    }
    let mut out = Vec::new();
    (!edits.is_empty()).then(|| {
        write(document, &edits, &fresh, &mut out);
        out
    })
}

/// Writes a document with its edits, which are in order and do not overlap.
pub(super) fn write(document: &[u8], edits: &[Edit], fresh: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(document.get(at..edit.start as usize).unwrap_or_default());
        out.extend_from_slice(fresh.get(edit.from..edit.to).unwrap_or_default());
        at = edit.end as usize;
    }
    out.extend_from_slice(document.get(at..).unwrap_or_default());
}

/// What a walk does with the texts it finds.
#[derive(Clone, Copy)]
enum Mode<'a> {
    /// Gives them to their lanes.
    Live,
    /// Puts the rest of one lane in its place and empties the others, which were out before.
    Refill { key: u64, rest: &'a [u8] },
}

/// Where in a document a walk is.
#[derive(Clone, Copy)]
struct At<'a> {
    path: u64,
    key: &'a [u8],
    /// Texts here are complete in themselves.
    whole: bool,
    /// Texts here end with this document.
    ends: bool,
    /// Inside of log-probabilities.
    logprobs: bool,
}

struct Walk<'a> {
    document: &'a [u8],
    tape: &'a [Token],
    edits: &'a mut Vec<Edit>,
    fresh: &'a mut Vec<u8>,
    memo: &'a mut Vec<Memo>,
    lanes: &'a mut Lanes,
    number: u64,
    mode: Mode<'a>,
    event: &'a [u8],
    ids: Vec<u64>,
    /// Sets of ids whose lanes end with this document.
    ends: Vec<Vec<u64>>,
    all_end: bool,
    /// No text is held back for the next document.
    all_whole: bool,
    /// The document is a list of tokens without a text.
    keeps_ids: bool,
    /// The rest of a lane has found its place.
    refilled: bool,
    names: Vec<Name<'a>>,
    wholes: usize,
}

/// A step of a path, for people.
#[derive(Clone, Copy)]
enum Name<'a> {
    Key(&'a [u8]),
    Index(usize),
}

impl<'a> Walk<'a> {
    fn new(documents: &'a mut Documents, lanes: &'a mut Lanes, document: &'a [u8], mode: Mode<'a>) -> Self {
        documents.edits.clear();
        documents.fresh.clear();
        Self {
            document,
            tape: &documents.tape,
            edits: &mut documents.edits,
            fresh: &mut documents.fresh,
            memo: &mut documents.memo,
            lanes,
            number: documents.number,
            mode,
            event: b"",
            ids: Vec::new(),
            ends: Vec::new(),
            all_end: false,
            all_whole: false,
            keeps_ids: false,
            refilled: false,
            names: Vec::new(),
            wholes: 0,
        }
    }

    fn root(&mut self) -> Result<(), FormatError> {
        let mut kind = match self.member(0, b"type").filter(|token| token.kind == Kind::String) {
            Some(token) => {
                self.event = self.text(token);
                shape::kind_of(self.event)
            }
            None => EventKind::Delta,
        };
        let says =
            |walk: &Self, key: &[u8]| walk.member(0, key).is_some_and(|token| walk.says_something(token));
        let is_true =
            |walk: &Self, key: &[u8]| walk.member(0, key).is_some_and(|token| walk.text(token) == b"true");
        let ends = kind == EventKind::End
            || is_true(self, b"done")
            || is_true(self, b"stop")
            || says(self, b"generated_text")
            || says(self, b"error");
        // Whatever an event is called: a part of a text goes on.
        if self.event.starts_with(b"response.") && says(self, b"delta") {
            kind = EventKind::Delta;
        }
        let (event, _) = shape::alias(self.event, b"");
        let path = self.lanes.mix(self.lanes.seed(), event);
        let at = At {
            path,
            key: b"",
            whole: kind != EventKind::Delta || self.all_whole,
            ends: ends || self.all_end,
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

    fn token(&self, at: usize) -> Option<Token> {
        self.tape.get(at).copied()
    }

    fn text(&self, token: Token) -> &'a [u8] {
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
    fn member(&self, at: usize, key: &[u8]) -> Option<Token> {
        self.members(at).find(|(name, _)| *name == key).and_then(|(_, value)| self.token(value))
    }

    /// The members of the object at `at`: name, and where the value is.
    fn members(&self, at: usize) -> impl Iterator<Item = (&'a [u8], usize)> + use<'a> {
        let (tape, document) = (self.tape, self.document);
        let object = tape.get(at).filter(|token| token.kind == Kind::Object);
        let end = object.map_or(0, |token| token.next as usize);
        let mut next = at + 1;
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let key = tape.get(next)?;
            let value = next + 1;
            next = tape.get(value)?.next as usize;
            Some((document.get(key.start as usize..key.end as usize)?, value))
        })
    }

    /// The ids of an object that is a member, or an element of a member, called `key`.
    fn push_ids(&self, at: usize, key: &[u8], ids: &mut Vec<u64>) {
        // Of members with one name the last counts.
        let mut places = [None; shape::INDEXES.len()];
        for (name, value) in self.members(at) {
            let known = shape::INDEXES.iter().position(|index| *index == name);
            if let Some(place) = known.and_then(|known| places.get_mut(known)) {
                *place = Some(value);
            }
        }
        for (name, value) in shape::INDEXES.iter().zip(places) {
            let Some(token) = value.and_then(|value| self.token(value)) else { continue };
            if !matches!(token.kind, Kind::Scalar | Kind::String) {
                continue;
            }
            let text = text_of(self.text(token));
            let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<f64>().ok());
            ids.push(match number {
                Some(number) => self.place(key, name, number),
                None if *text == *b"null" => self.place(key, name, 0.0),
                None => self.lanes.mix(self.lanes.mix(self.lanes.mix(3, key), name), &text) & !1,
            });
        }
    }

    /// The id of a place in a list; however its number is spelled. That of the first is odd, and makes no
    /// difference to a lane: it may as well be left out.
    fn place(&self, key: &[u8], name: &[u8], number: f64) -> u64 {
        let id = self.lanes.mix(self.lanes.mix(1, key), name);
        let id = self.lanes.mix(id, &(number + 0.0).to_bits().to_be_bytes());
        if number == 0.0 { id | 1 } else { id & !1 }
    }

    fn value(&mut self, index: usize, at: At<'a>) -> Result<(), FormatError> {
        let Some(token) = self.token(index) else { return Ok(()) };
        match token.kind {
            Kind::Object => self.object(index, at),
            Kind::Array => self.array(index, token, at),
            Kind::String => self.string(token, at),
            Kind::Key | Kind::Scalar => Ok(()),
        }
    }

    fn object(&mut self, index: usize, mut at: At<'a>) -> Result<(), FormatError> {
        let mark = self.ids.len();
        let mut ids = std::mem::take(&mut self.ids);
        self.push_ids(index, at.key, &mut ids);
        self.ids = ids;
        let reason = self.member(index, b"finish_reason").or_else(|| self.member(index, b"stop_reason"));
        if reason.is_some_and(|token| token.kind == Kind::String && self.says_something(token)) {
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
                && (key == b"token_id" || (key == b"id" && at.key == b"token"))
            {
                self.replace(number.start, number.end, b"0");
            }
            let (_, alias) = shape::alias(self.event, key);
            let path = self.lanes.mix(at.path, alias);
            let inside = At {
                path,
                key,
                whole: at.whole || shape::is_structural(key) || shape::is_whole(key),
                ends: at.ends,
                logprobs: at.logprobs || shape::is_logprobs(key),
            };
            self.names.push(Name::Key(if masked { b"(masked)" } else { key }));
            self.value(value, inside)?;
            self.names.pop();
        }
        self.ids.truncate(mark);
        Ok(())
    }

    fn array(&mut self, index: usize, token: Token, at: At<'a>) -> Result<(), FormatError> {
        if self.ids(index, token, at) || (at.logprobs && self.tokens(index, token, at)?) {
            return Ok(());
        }
        let mut next = index + 1;
        let mut number = 0;
        while next < token.next as usize {
            let Some(element) = self.token(next) else { break };
            let mark = self.ids.len();
            // Documents in a list at the root follow each other as they would without it.
            if index > 0 && self.member(next, b"index").is_none() {
                let place = f64::from(u32::try_from(number).unwrap_or(u32::MAX));
                self.ids.push(self.place(at.key, b"index", place));
            }
            self.names.push(Name::Index(number));
            self.value(next, at)?;
            self.names.pop();
            self.ids.truncate(mark);
            number += 1;
            next = element.next as usize;
        }
        Ok(())
    }

    fn string(&mut self, token: Token, at: At<'a>) -> Result<(), FormatError> {
        if at.whole {
            return self.whole(token, at);
        }
        let key = self.lane_key(at);
        let place = match self.mode {
            Mode::Live => self.open(key, at.key)?,
            Mode::Refill { key: target, rest } => {
                let is_place = key == target && !self.refilled;
                self.refilled |= is_place;
                self.replace(token.start, token.end, if is_place { rest } else { b"" });
                return Ok(());
            }
        };
        let inside = self.text(token);
        let from = self.fresh.len();
        let Some((entry, session)) = self.lanes.entry(place) else { return Ok(()) };
        entry.touched = self.number;
        entry.decoder.push(inside, &mut entry.lane);
        entry.decoder.end_of_string(&mut entry.lane);
        if self.all_end {
            self.lanes.finish(place, self.fresh);
        } else if at.ends {
            pause(self.lanes, place, self.fresh);
        } else {
            entry.lane.advance(session, &|| entry.name.clone(), self.fresh);
        }
        let to = self.fresh.len();
        if self.fresh.get(from..to) == Some(inside) {
            self.fresh.truncate(from);
        } else {
            self.edits.push(Edit { start: token.start, end: token.end, from, to });
        }
        Ok(())
    }

    fn lane_key(&self, at: At<'_>) -> u64 {
        let told = self.ids.iter().filter(|id| **id & 1 == 0);
        told.fold(at.path, |key, id| self.lanes.mix(key, &id.to_be_bytes()))
    }

    fn open(&mut self, key: u64, member: &[u8]) -> Result<usize, FormatError> {
        let (names, ids) = (&self.names, &self.ids);
        self.lanes.open(key, |session| {
            let context = text_of(member);
            let parts: &[&[u8]] = if member.is_empty() { &[] } else { &[&context, b"\": \""] };
            let lane = Lane::behind(session, parts);
            let mut entry = Entry::new(key, spell(names), ids.clone(), lane);
            if shape::is_nested(member) {
                entry.decoder = Decoder::nested();
            }
            entry
        })
    }

    /// Masks a text that is complete in itself.
    fn whole(&mut self, token: Token, at: At<'a>) -> Result<(), FormatError> {
        let inside = self.text(token);
        if inside.is_empty() || matches!(self.mode, Mode::Refill { .. }) || self.is_remembered(at.key, inside)
        {
            return Ok(());
        }
        let is_short = inside.len() < self.lanes.session.shortest();
        let names = &self.names;
        let masked = match is_short {
            true => None,
            false => mask_string(self.lanes, inside, at.key, &|| spell(names)),
        };
        let masked = match masked {
            None if !self.all_end && self.wholes <= MOST_WATCHED && shape::may_go_on(at.key) => {
                self.behind_the_last(inside, at)?
            }
            masked => masked,
        };
        match masked {
            Some(masked) => self.replace(token.start, token.end, &masked),
            None => self.remember(at.key, inside),
        }
        Ok(())
    }

    /// Masks a text that should be complete in itself as if it went on from the one at the same place before.
    fn behind_the_last(&mut self, inside: &[u8], at: At<'a>) -> Result<Option<Vec<u8>>, FormatError> {
        let key = self.lanes.mix(self.lane_key(at), b"whole");
        let place = self.open(key, at.key)?;
        let masks = self.lanes.session.masks();
        let Some((entry, session)) = self.lanes.entry(place) else { return Ok(None) };
        let mut out = Vec::new();
        let goes_on = entry.lane.pushed() > 0;
        entry.decoder.push(inside, &mut entry.lane);
        entry.decoder.finish(&mut entry.lane);
        let doubtful = if goes_on { DOUBTFUL } else { u64::MAX };
        entry.lane.let_all_go(session, doubtful, &|| entry.name.clone(), &mut out);
        Ok((session.masks() != masks).then_some(out))
    }

    /// Masks the name of a member. Says whether there was something to mask.
    fn key(&mut self, spelled: &'a [u8], token: Token) -> bool {
        if spelled.len() < self.lanes.session.shortest()
            || self.lanes.key_is_plain(spelled)
            || matches!(self.mode, Mode::Refill { .. })
        {
            return false;
        }
        let names = &self.names;
        let name = || format!("{}{{key}}", spell(names));
        match mask_string(self.lanes, spelled, b"", &name) {
            Some(masked) => {
                self.replace(token.start, token.end, &masked);
                true
            }
            None => {
                if !self.lanes.session.primes(&text_of(spelled), b"\": \"") {
                    self.lanes.remember_plain_key(spelled);
                }
                false
            }
        }
    }

    /// Events repeat most of their texts: the last one's clean texts are compared before they are scanned.
    fn is_remembered(&mut self, key: &[u8], inside: &[u8]) -> bool {
        self.wholes += 1;
        self.memo.get(self.wholes - 1).is_some_and(|memo| memo.text == inside && memo.key == key)
    }

    fn remember(&mut self, key: &[u8], inside: &[u8]) {
        let at = self.wholes - 1;
        if key.len() + inside.len() <= 256 && at < 32 {
            if self.memo.len() <= at {
                self.memo.resize(at + 1, Memo::default());
            }
            if let Some(memo) = self.memo.get_mut(at) {
                memo.key.clear();
                memo.key.extend_from_slice(key);
                memo.text.clear();
                memo.text.extend_from_slice(inside);
            }
        }
    }

    fn replace(&mut self, start: u32, end: u32, by: &[u8]) {
        let from = self.fresh.len();
        self.fresh.extend_from_slice(by);
        self.edits.push(Edit { start, end, from, to: self.fresh.len() });
    }
}

/// Masks the inside of a JSON string that is at hand, behind the name of its member. `None` where it is clean.
pub(crate) fn mask_string(
    lanes: &mut Lanes,
    inside: &[u8],
    key: &[u8],
    name: &dyn Fn() -> String,
) -> Option<Vec<u8>> {
    let context = if key.is_empty() || lanes.key_is_plain(key) {
        Vec::new()
    } else {
        [&text_of(key), &b"\": \""[..]].concat()
    };
    if memchr::memchr(b'\\', inside).is_none() {
        return lanes.session.mask(inside, &context, name);
    }
    let session = &mut lanes.session;
    let mut lane = Lane::behind(session, &[&context]);
    let mut decoder = if shape::is_nested(key) { Decoder::nested() } else { Decoder::new() };
    decoder.push(inside, &mut lane);
    decoder.finish(&mut lane);
    let mut out = Vec::with_capacity(inside.len());
    let before = session.masks();
    lane.finish(session, name, &mut out);
    (session.masks() != before).then_some(out)
}

fn spell(names: &[Name<'_>]) -> String {
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
