//! Documents that follow each other, as the events of a stream do: texts go on from one to the next.

mod likeness;
mod logprobs;
mod numbers;
mod place;
mod tokens;
mod walk;
mod whole;

use std::sync::Arc;

use self::likeness::Likeness;
pub(crate) use self::tokens::TokenQueue;
use self::walk::{Mode, Texts, Walk};
use self::whole::Memo;
use super::edit::{self, Edits};
use super::tape::{self, Kind, Token};
use super::{escape::Decoder, loose, shape};
use crate::format::{FormatError, Lanes};

/// What is made up for texts that have ended.
pub(crate) enum Made<'a> {
    /// A document in the likeness of the one it is made after, and the tag of that.
    Document(&'a [u8], &'a [u8]),
    /// The rest of what was no document.
    Text(&'a [u8]),
}

/// Where it goes.
pub(crate) type Before<'a> = &'a mut dyn FnMut(Made<'_>);

/// The lane of what is not JSON.
const RAW: &str = "data";
/// If more groups of texts end in one document, all texts are said to end.
const MOST_ENDS: usize = 32;

/// Masks one document after the other.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    tape: Vec<Token>,
    edits: Edits,
    number: u64,
    memo: Memo,
    /// The document is JSON by the book, and not a heap of strings that were found in something like it.
    is_strict: bool,
}

/// A document as it was written, and the tag it came with: what is held of its texts is put out in its likeness.
#[derive(Debug)]
pub(crate) struct Template {
    document: Vec<u8>,
    tag: Vec<u8>,
}

/// What is left of some lanes that were last in one document.
struct Rest {
    template: Option<Arc<Template>>,
    texts: Vec<(u64, Vec<u8>)>,
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
        let Some(is_strict) = loose::read(document, &mut self.tape) else {
            return lanes.text(RAW, document, out);
        };
        self.is_strict = is_strict;
        let plain = edit::plain_names(document, &self.tape);
        let document = plain.as_deref().unwrap_or(document);
        if plain.is_some() {
            self.is_strict = loose::read(document, &mut self.tape) == Some(true);
        }
        let mut walk = Walk::new(self, lanes, document, Mode::Live(Texts::GoOn));
        walk.root()?;
        let ends = walk.take_ends();
        let mark = out.len();
        self.edits.write(document, out);
        if !self.is_strict {
            lanes.mask_loose(RAW, out, mark);
        }
        if !ends.is_empty() {
            self.end_lanes(lanes, &ends, false, before)?;
        }
        self.keep_template(lanes, out.get(mark..).unwrap_or_default(), tag);
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
        let plain = edit::plain_names(document, &self.tape);
        let document = plain.as_deref().unwrap_or(document);
        if plain.is_some() && tape::read(document, &mut self.tape).is_none() {
            return Ok(false);
        }
        self.is_strict = true;
        let mut walk = Walk::new(self, lanes, document, Mode::Live(Texts::End));
        if may_keep_ids {
            walk.keep_ids_alone();
        }
        walk.root()?;
        self.edits.write(document, out);
        Ok(true)
    }

    /// Whether a document is one of a stream: whether its texts are parts of longer ones.
    pub(crate) fn is_part_of_a_stream(&mut self, document: &[u8]) -> bool {
        if tape::read(document, &mut self.tape).is_none() {
            return false;
        }
        let members = || tape::members(document, &self.tape, 0);
        let has = |name: &[u8]| members().any(|(other, _)| other == name);
        let is_object = |at: usize| self.tape.get(at).is_some_and(|token| token.kind == Kind::Object);
        // Ollama, and TGI: other lists have members of these names too.
        let is_answer = has(b"done") && (has(b"response") || has(b"message"));
        let is_token = members().any(|(name, at)| name == b"token" && is_object(at));
        is_answer || is_token || members().any(|(name, _)| shape::is_of_a_stream(name))
    }

    /// Masks a line outside of any document, which may be one or a part of one. `None` where it is clean.
    pub(crate) fn line(&mut self, lanes: &mut Lanes, line: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
        if line.len() < lanes.session.shortest() {
            return Ok(None);
        }
        let is_text = memchr::memchr2(b'"', b'[', line).is_none();
        // The middle of a document looks like one behind its beginning.
        let added = usize::from(!matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')));
        let wrapped = [b"{".get(..added).unwrap_or_default(), line].concat();
        if is_text || loose::read(&wrapped, &mut self.tape).is_none() {
            return Ok(lanes.whole("event", line));
        }
        self.number += 1;
        self.is_strict = false;
        let mut walk = Walk::new(self, lanes, &wrapped, Mode::Live(Texts::Watched));
        walk.root()?;
        let mut out = Vec::new();
        self.edits.write(&wrapped, &mut out);
        out.drain(..added);
        lanes.mask_loose("event", &mut out, 0);
        Ok((out != line).then_some(out))
    }

    /// The end of all texts: what is still held is put out in documents made up for it.
    pub(crate) fn finish(&mut self, lanes: &mut Lanes, before: Before<'_>) -> Result<(), FormatError> {
        self.number += 1;
        self.end_lanes(lanes, &[Vec::new()], true, before)
    }

    /// All texts are said to end. Some upstreams go on all the same.
    pub(crate) fn pause(&mut self, lanes: &mut Lanes, before: Before<'_>) -> Result<(), FormatError> {
        self.number += 1;
        self.end_lanes(lanes, &[Vec::new()], false, before)
    }

    /// Keeps a document for the lanes that hold something of it.
    fn keep_template(&self, lanes: &mut Lanes, written: &[u8], tag: &[u8]) {
        let mut template = None;
        for at in 0..lanes.len() {
            let Some((entry, _)) = lanes.entry(at) else { break };
            if entry.touched == self.number && entry.is_holding() {
                let template = template.get_or_insert_with(|| {
                    Arc::new(Template { document: written.to_vec(), tag: tag.to_vec() })
                });
                entry.template = Some(Arc::clone(template));
            }
        }
    }

    /// Ends the lanes that belong to all ids of one of the groups and were not in the current document. Unless it
    /// is the last that is heard of them, they may go on.
    fn end_lanes(
        &mut self,
        lanes: &mut Lanes,
        groups: &[Vec<u64>],
        last: bool,
        before: Before<'_>,
    ) -> Result<(), FormatError> {
        let all = groups.len() > MOST_ENDS;
        let mut rests: Vec<Rest> = Vec::new();
        for at in 0..lanes.len() {
            let Some((entry, _)) = lanes.entry(at) else { break };
            let concerned = all || groups.iter().any(|ids| ids.iter().all(|id| entry.ids.contains(id)));
            entry.is_over |= concerned;
            if !concerned || entry.touched == self.number || !entry.is_holding() {
                continue;
            }
            let (key, template) = (entry.key, entry.template.take());
            let mut text = Vec::new();
            match (entry.tokens.is_some(), last) {
                (true, true) => tokens::end(lanes, at),
                (false, true) => lanes.finish(at, &mut text),
                (_, false) => pause(lanes, at, &mut text),
            }
            if let Some((entry, _)) = lanes.entry(at)
                && !last
                && entry.tokens.is_none()
                && entry.is_holding()
            {
                entry.template.clone_from(&template);
                if text.is_empty() {
                    continue;
                }
            }
            // What is out already needs no document.
            if text.is_empty() && lanes.entry(at).is_some_and(|(entry, _)| entry.tokens.is_none()) {
                continue;
            }
            let is_same = |rest: &&mut Rest| match (&rest.template, &template) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            };
            match rests.iter_mut().find(is_same) {
                Some(rest) => rest.texts.push((key, text)),
                None => rests.push(Rest { template, texts: vec![(key, text)] }),
            }
        }
        rests.into_iter().try_for_each(|rest| self.make_up(lanes, &rest, before))
    }

    /// Makes up a document for what is left of lanes.
    fn make_up(&self, lanes: &mut Lanes, rest: &Rest, before: Before<'_>) -> Result<(), FormatError> {
        let Some(template) = &rest.template else {
            let texts = rest.texts.iter().filter(|(_, text)| !text.is_empty());
            texts.for_each(|(_, text)| before(Made::Text(text)));
            return Ok(());
        };
        let mut other = Self { number: self.number, ..Self::default() };
        if let Some(is_strict) = loose::read(&template.document, &mut other.tape) {
            other.is_strict = is_strict;
            let mut walk = Walk::new(&mut other, lanes, &template.document, Mode::Refill(&rest.texts));
            walk.root()?;
            let placed = std::mem::take(&mut walk.placed);
            let mut made = Vec::new();
            if is_strict {
                let (document, tape) = (&*template.document, &*other.tape);
                Likeness { document, tape, placed: &placed }.write(&mut made);
            } else {
                other.edits.write(&template.document, &mut made);
            }
            before(Made::Document(&made, &template.tag));
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

/// The decoder for the text of a member of this name.
fn decoder_for(member: &[u8]) -> Decoder {
    if shape::is_nested(member) { Decoder::nested() } else { Decoder::new() }
}
