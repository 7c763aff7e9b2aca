//! One JSON document that may be long: strings are masked as they pass.

use super::escape::{Decoder, text_of};
use super::event::Documents;
use super::{shape, tape};
use crate::format::{Format, FormatError, LONGEST_UNIT, Lanes, NdjsonFormat};
use crate::lane::Lane;

/// Deeper documents are refused.
const DEEPEST: usize = 512;
/// The longest literal that is waited for.
const LONGEST_SCALAR: usize = 64;
/// The longest number; a body with a longer one is refused.
const LONGEST_NUMBER: usize = 1 << 13;
/// The longest name of a member that is kept as context for its value.
const LONGEST_KEY: usize = 256;

/// A JSON document of any length.
///
/// Each string, and each name of a member, is a text of its own; everything else leaves as it came, byte for byte.
/// What is no JSON after all is masked as plain text from there on.
#[derive(Debug, Default)]
pub struct JsonFormat {
    state: State,
    /// The containers that are open.
    open: Vec<Open>,
    /// The name of the member whose value is next; its spelling.
    key: Vec<u8>,
    key_is_long: bool,
    /// A text or a container has been the value of a member.
    has_text: bool,
    /// A number or literal that is not yet complete.
    scalar: Vec<u8>,
    string: Option<Box<Text>>,
    /// Log-probabilities that are held until they are complete.
    captured: Option<Capture>,
    documents: Documents,
    lines: NdjsonFormat,
    /// How much of a byte order mark has been seen.
    bom: usize,
    recent: Vec<u8>,
}

#[derive(Debug)]
struct Text {
    lane: Lane,
    decoder: Decoder,
    is_key: bool,
    /// The last byte was a backslash.
    escaped: bool,
}

#[derive(Debug, Default)]
struct Capture {
    bytes: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// What stands before it in the document that is read.
    name: &'static str,
    /// It is all that follows in the document, with its end.
    is_rest: bool,
    /// Numbers at its beginning are dropped.
    drops: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Value,
    /// Behind `[`: a value or the end.
    FirstElement,
    /// Behind `{`: a name or the end.
    FirstKey,
    Key,
    Colon,
    /// Behind a value.
    After,
    /// A document was followed by another: one a line to the end.
    Lines,
    /// No JSON: plain text to the end.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";
/// What stands before each document of a sequence.
const RECORD: u8 = 0x1E;
/// How many of the last bytes are remembered, as context for what turns out to be no JSON.
const RECENT: usize = 192;
/// The lane of what turned out to be no JSON.
const BROKEN: &str = "text";

impl Format for JsonFormat {
    fn push(&mut self, lanes: &mut Lanes, input: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut bytes = input;
        while BOM.get(self.bom).is_some_and(|byte| bytes.first() == Some(byte)) {
            out.extend(BOM.get(self.bom));
            self.bom += 1;
            bytes = bytes.get(1..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.bom = BOM.len();
        }
        while !bytes.is_empty() || (self.state == State::Broken && !self.scalar.is_empty()) {
            let used = if self.state == State::Broken {
                let before = input.len() - bytes.len();
                self.plain_text(lanes, input.get(..before).unwrap_or_default(), out)?;
                lanes.text(BROKEN, bytes, out)?;
                bytes.len()
            } else if self.state == State::Lines {
                self.lines.push(lanes, bytes, out)?;
                bytes.len()
            } else if self.captured.is_some() {
                self.capture(lanes, bytes, out)?
            } else if self.string.is_some() {
                self.in_string(lanes, bytes, out)
            } else {
                self.structure(lanes, bytes, out)?
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
        if let Some(text) = &mut self.string {
            text.lane.advance(&mut lanes.session, &|| name_of(&self.key, text.is_key), out);
        }
        self.recent.extend_from_slice(input.get(input.len().saturating_sub(RECENT)..).unwrap_or_default());
        let spare = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..spare);
        Ok(())
    }

    fn finish(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if let Some(mut text) = self.string.take() {
            text.decoder.finish(&mut text.lane);
            text.lane.finish(&mut lanes.session, &|| name_of(&self.key, text.is_key), out);
        }
        // Tokens of which the end is missing are withheld.
        self.captured = None;
        self.end_scalar(out);
        self.plain_text(lanes, b"", out)?;
        lanes.end(BROKEN, out);
        self.lines.finish(lanes, out)
    }
}

impl JsonFormat {
    /// Takes bytes outside of strings, up to and with the quote that begins one. Says how many.
    fn structure(
        &mut self,
        lanes: &mut Lanes,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, FormatError> {
        for (index, byte) in bytes.iter().copied().enumerate() {
            if self.is_in_scalar(byte) {
                self.scalar.push(byte);
                if self.scalar.len() > LONGEST_NUMBER {
                    return Err(FormatError::TooLong);
                }
                let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let is_number = match self.scalar.len() {
                    ..=LONGEST_SCALAR => true,
                    length if length == LONGEST_SCALAR + 1 => self.scalar.iter().all(is_digit),
                    _ => is_digit(&byte),
                };
                if !is_number {
                    self.state = State::Broken;
                    return Ok(index + 1);
                }
                continue;
            }
            self.end_scalar(out);
            if self.state == State::Broken {
                return Ok(index);
            }
            if matches!(byte, b'{' | b'[')
                && let Some(capture) = self.begins_capture(byte)
            {
                self.captured = Some(capture);
                return Ok(index);
            }
            if !self.accepts(byte)? {
                self.state = State::Broken;
                self.scalar.push(byte);
                return Ok(index + 1);
            }
            if self.state == State::Lines {
                return Ok(index);
            }
            out.push(byte);
            self.has_text |= self.state != State::Colon
                && (matches!(byte, b'"' | b'[') || (byte == b'{' && self.open.len() > 1));
            if byte == b'"' {
                let rest = bytes.get(index + 1..).unwrap_or_default();
                let used = self.short_string(lanes, rest, out);
                if used == 0 {
                    self.begin_string(lanes);
                }
                return Ok(index + 1 + used);
            }
        }
        Ok(bytes.len())
    }

    fn is_in_scalar(&self, byte: u8) -> bool {
        matches!(self.state, State::Value | State::FirstElement)
            && matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'a'..=b'z' | b'E' | b'I' | b'N')
    }

    /// Takes one byte of structure. Says whether it may stand here.
    fn accepts(&mut self, byte: u8) -> Result<bool, FormatError> {
        use State::{After, Colon, FirstElement, FirstKey, Key, Value};
        self.state = match (self.state, byte) {
            (state, b' ' | b'\t' | b'\r' | b'\n') => state,
            (Value | FirstElement, b'{') => {
                self.open.push(Open::Object);
                FirstKey
            }
            (Value | FirstElement, b'[') => {
                self.open.push(Open::Array);
                FirstElement
            }
            (Value | FirstElement, b'"') => After,
            (FirstKey | Key, b'"') => Colon,
            (Colon, b':') => Value,
            (FirstKey, b'}') => self.close(),
            (FirstElement, b']') => self.close(),
            (After, b'}') if self.open.last() == Some(&Open::Object) => self.close(),
            (After, b']') if self.open.last() == Some(&Open::Array) => self.close(),
            (After, b',') => match self.open.last() {
                Some(Open::Object) => Key,
                Some(Open::Array) => Value,
                None => return Ok(false),
            },
            (After, b'{' | b'[' | RECORD) if self.open.is_empty() => State::Lines,
            (Value, RECORD) if self.open.is_empty() => State::Lines,
            _ => return Ok(false),
        };
        if self.open.len() > DEEPEST { Err(FormatError::TooDeep) } else { Ok(true) }
    }

    fn close(&mut self) -> State {
        self.open.pop();
        self.key.clear();
        State::After
    }

    fn end_scalar(&mut self, out: &mut Vec<u8>) {
        if self.scalar.is_empty() || self.state == State::Broken {
            return;
        }
        if tape::is_scalar(&self.scalar) {
            out.append(&mut self.scalar);
            self.state = State::After;
        } else {
            self.state = State::Broken;
        }
    }

    /// It is no JSON: what was held, and all that follows, is plain text, behind what was already out.
    fn plain_text(&mut self, lanes: &mut Lanes, before: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if self.scalar.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.scalar);
        let seen = [&self.recent, before].concat();
        let context = seen.get(..seen.len().saturating_sub(held.len())).unwrap_or_default();
        let context =
            context.get(context.len().saturating_sub(RECENT - LONGEST_SCALAR)..).unwrap_or_default();
        lanes.text_behind(BROKEN, context, &held, out)
    }

    /// Takes a string that is at hand as a whole and has no escapes, with its closing quote. Says how many bytes,
    /// or none.
    fn short_string(&mut self, lanes: &mut Lanes, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let Some(end) = memchr::memchr2(b'"', b'\\', rest).filter(|end| rest.get(*end) == Some(&b'"')) else {
            return 0;
        };
        let inside = rest.get(..end).unwrap_or_default();
        let is_key = self.state == State::Colon;
        if is_key {
            self.begin_key();
            self.keep_key(inside);
        }
        let masked = if inside.len() < lanes.session.shortest() || (is_key && lanes.key_is_plain(inside)) {
            None
        } else {
            let plain = is_key || self.key.is_empty() || lanes.key_is_plain(&self.key);
            let context = if plain { Vec::new() } else { [&text_of(&self.key), &b"\": \""[..]].concat() };
            let masked = lanes.session.mask(inside, &context, &|| name_of(&self.key, is_key));
            if is_key && masked.is_none() {
                self.remember_key(lanes);
            }
            masked
        };
        if is_key && masked.is_some() {
            self.key.clear();
        }
        out.extend_from_slice(masked.as_deref().unwrap_or(inside));
        out.push(b'"');
        end + 1
    }

    fn begin_key(&mut self) {
        self.key.clear();
        self.key_is_long = false;
    }

    fn keep_key(&mut self, part: &[u8]) {
        if !self.key_is_long {
            self.key.extend_from_slice(part);
            if self.key.len() > LONGEST_KEY {
                self.key.clear();
                self.key_is_long = true;
            }
        }
    }

    fn remember_key(&self, lanes: &mut Lanes) {
        if !self.key.is_empty()
            && !lanes.key_is_plain(&self.key)
            && !lanes.session.primes(&text_of(&self.key), b"\": \"")
        {
            lanes.remember_plain_key(&self.key);
        }
    }

    fn begin_string(&mut self, lanes: &mut Lanes) {
        let is_key = self.state == State::Colon;
        if is_key {
            self.begin_key();
        }
        let plain = is_key || self.key.is_empty() || lanes.key_is_plain(&self.key);
        let lane = if plain {
            Lane::new(&lanes.session)
        } else {
            Lane::behind(&mut lanes.session, &[&text_of(&self.key), b"\": \""])
        };
        let nested = !is_key && shape::is_nested(&text_of(&self.key));
        let decoder = if nested { Decoder::nested() } else { Decoder::new() };
        self.string = Some(Box::new(Text { lane, decoder, is_key, escaped: false }));
    }

    /// Takes bytes inside of a string, up to and with the quote that ends it. Says how many.
    fn in_string(&mut self, lanes: &mut Lanes, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let Some(mut text) = self.string.take() else { return 0 };
        let mut at = 0;
        let end = loop {
            if text.escaped {
                text.escaped = false;
                at += 1;
            }
            match memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                None => break None,
                Some(next) => {
                    at += next;
                    if bytes.get(at) == Some(&b'"') {
                        break Some(at);
                    }
                    text.escaped = true;
                    at += 1;
                    if at == bytes.len() {
                        break None;
                    }
                }
            }
        };
        let inside = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        text.decoder.push(inside, &mut text.lane);
        if text.is_key {
            self.keep_key(inside);
        }
        let Some(end) = end else {
            self.string = Some(text);
            return bytes.len();
        };
        let masks = lanes.session.masks();
        text.decoder.finish(&mut text.lane);
        text.lane.finish(&mut lanes.session, &|| name_of(&self.key, text.is_key), out);
        if text.is_key && lanes.session.masks() == masks {
            self.remember_key(lanes);
        } else if text.is_key {
            // What was masked is no context, and no name to report.
            self.key.clear();
        }
        out.push(b'"');
        end + 1
    }

    fn begins_capture(&self, byte: u8) -> Option<Capture> {
        if self.state != State::Value || self.key.is_empty() {
            return None;
        }
        let key = text_of(&self.key);
        let ids = shape::is_ids(&key) && byte == b'[';
        if !ids && !shape::is_logprobs(&key) {
            return None;
        }
        let name = if !ids {
            "logprobs"
        } else if shape::is_logprobs(&key) {
            "tokens"
        } else {
            "token_ids"
        };
        let mut capture = Capture { name, ..Capture::default() };
        // Tokens before any text may be all there is: an answer to who asked for the tokens of a text.
        if ids && *key == *b"tokens" && self.open.len() == 1 && !self.has_text {
            capture.is_rest = true;
            capture.depth = 1;
        }
        capture.drops = ids && !capture.is_rest;
        Some(capture)
    }

    /// Takes bytes of a value that is held until it is complete. Says how many.
    fn capture(&mut self, lanes: &mut Lanes, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, FormatError> {
        let Some(capture) = &mut self.captured else { return Ok(0) };
        let end = bytes.iter().position(|byte| capture.ends_with(*byte));
        let used = end.map_or(bytes.len(), |end| end + 1);
        let mut taken = bytes.get(..used).unwrap_or_default();
        if capture.drops {
            if let ([], [b'[', rest @ ..]) = (capture.bytes.as_slice(), taken) {
                capture.bytes.push(b'[');
                taken = rest;
            }
            let is_number = |byte: &u8| {
                matches!(
                    byte,
                    b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' | b',' | b' ' | b'\t' | b'\r' | b'\n'
                )
            };
            let numbers = taken.iter().position(|byte| !is_number(byte));
            taken = numbers.and_then(|at| taken.get(at..)).unwrap_or_default();
            capture.drops = numbers.is_none();
        }
        capture.bytes.extend_from_slice(taken);
        if capture.bytes.len() > LONGEST_UNIT {
            return Err(FormatError::TooLong);
        }
        if end.is_some() {
            let Some(capture) = self.captured.take() else { return Ok(0) };
            let before = format!("{{\"{}\":", capture.name);
            let behind: &[u8] = if capture.is_rest { b"" } else { b"}" };
            let wrapped = [before.as_bytes(), capture.bytes.as_slice(), behind].concat();
            let mut masked = Vec::new();
            if self.documents.take_whole(lanes, &wrapped, capture.is_rest, &mut masked)? {
                let end = masked.len().saturating_sub(behind.len());
                out.extend_from_slice(masked.get(before.len()..end).unwrap_or_default());
            } else {
                // Tokens that cannot be told apart are withheld.
                out.extend_from_slice(if capture.is_rest { b"[]}" } else { b"[]" });
            }
            if capture.is_rest {
                self.open.pop();
                self.key.clear();
            }
            self.state = State::After;
        }
        Ok(used)
    }
}

impl Capture {
    /// Takes a byte; says whether it is the last of the value.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

fn name_of(key: &[u8], is_key: bool) -> String {
    let name: String = key
        .iter()
        .take(64)
        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' })
        .collect();
    if is_key {
        "{key}".to_owned()
    } else if name.is_empty() {
        "value".to_owned()
    } else {
        name
    }
}
