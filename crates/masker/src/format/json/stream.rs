//! One JSON document that may be long: strings are masked as they pass.

use super::bytes::Bytes;
use super::capture::{Capture, List, What};
use super::event::{Documents, Made};
use super::strings::{self, Name, Text};
use super::{shape, tape};
use crate::format::{Format, FormatError, LONGEST_UNIT, Lanes, NdjsonFormat};

/// The first element of a list is held up to this length, to see whether the list is a stream.
const LONGEST_FIRST: usize = 64 << 10;
/// Deeper documents are refused.
const DEEPEST: usize = 512;
/// The longest literal that is waited for.
const LONGEST_SCALAR: usize = 64;
/// The longest number; a body with a longer one is refused.
const LONGEST_NUMBER: usize = 1 << 13;

/// A JSON document of any length.
///
/// Each string, and each name of a member, is a text of its own; everything else leaves as it came, byte for byte.
/// In a list of the chunks of a stream, as Gemini sends it, texts go on from one to the next. What is no JSON after all
/// is masked as plain text from there on, as it is and with what its escapes mean.
#[derive(Debug, Default)]
pub struct JsonFormat {
    state: State,
    /// The containers that are open.
    open: Vec<Open>,
    name: Name,
    /// A text or a container has been the value of a member.
    has_text: bool,
    /// A number or literal that is not yet complete.
    scalar: Vec<u8>,
    string: Option<Box<Text>>,
    /// A value that is held until it is complete.
    captured: Option<Box<Capture>>,
    /// What the document is, if it is a list.
    list: List,
    /// The next element is not held.
    passes: bool,
    numbers: Bytes,
    documents: Documents,
    lines: NdjsonFormat,
    /// How much of a byte order mark has been seen.
    bom: usize,
    /// The last bytes, as context for what turns out to be no JSON; also as they were when a value began to be held.
    recent: Vec<u8>,
    before_held: Vec<u8>,
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
        if bytes.is_empty() {
            return Ok(());
        }
        self.bom = BOM.len();
        self.read(lanes, bytes, out)?;
        if let Some(text) = &mut self.string {
            text.advance(&self.name, lanes, out);
        }
        self.numbers.advance(&mut lanes.session, &|| self.name.of_value(), out);
        Ok(())
    }

    fn finish(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if let Some(mut text) = self.string.take() {
            text.finish(&self.name, lanes, out);
        }
        // Of a held value the end is missing. Tokens are withheld.
        if let Some(capture) = self.captured.take()
            && capture.what == What::Element
        {
            if self.list == List::Stream {
                self.take_element(lanes, &capture.bytes, out)?;
            } else {
                self.read_held(lanes, &capture.bytes, out)?;
            }
            return self.finish(lanes, out);
        }
        self.end_scalar(lanes, out);
        self.end_numbers(lanes, out);
        self.plain_text(lanes, b"", out)?;
        lanes.end_loose(BROKEN, out);
        if self.list == List::Stream && self.state != State::Lines {
            self.end_list(lanes, out)?;
        }
        self.lines.finish(lanes, out)
    }
}

impl JsonFormat {
    fn read(&mut self, lanes: &mut Lanes, input: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut at = 0;
        // Up to where the input is remembered.
        let mut known = 0;
        while at < input.len() || (self.state == State::Broken && !self.scalar.is_empty()) {
            let bytes = input.get(at..).unwrap_or_default();
            at += if self.state == State::Broken {
                self.plain_text(lanes, input.get(known..at).unwrap_or_default(), out)?;
                lanes.loose_text(BROKEN, bytes, out)?;
                bytes.len()
            } else if self.state == State::Lines {
                self.lines.push(lanes, bytes, out)?;
                bytes.len()
            } else if let Some(mut capture) = self.captured.take() {
                let (used, is_end) = capture.take(bytes);
                let goes = capture.what == What::Element
                    && self.list == List::Unknown
                    && capture.bytes.len() > LONGEST_FIRST;
                if capture.bytes.len() > LONGEST_UNIT {
                    return Err(FormatError::TooLong);
                }
                if goes || (is_end && !self.take_held(lanes, &capture, out)?) {
                    self.read_held(lanes, &capture.bytes, out)?;
                    known = at + used;
                } else if !is_end {
                    self.captured = Some(capture);
                }
                used
            } else if let Some(mut text) = self.string.take() {
                let (used, is_end) = text.take(&mut self.name, lanes, bytes, out);
                self.string = (!is_end).then_some(text);
                used
            } else {
                let used = self.structure(lanes, bytes, out)?;
                if self.captured.is_some() {
                    self.before_held.clone_from(&self.recent);
                    remember(&mut self.before_held, input.get(known..at + used).unwrap_or_default());
                }
                used
            };
        }
        remember(&mut self.recent, input.get(known..).unwrap_or_default());
        Ok(())
    }

    /// Reads an element that was held as if it had not been.
    fn read_held(&mut self, lanes: &mut Lanes, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.passes = true;
        std::mem::swap(&mut self.recent, &mut self.before_held);
        self.read(lanes, bytes, out)
    }

    /// Takes bytes outside of strings, up to and with the quote that begins one. Says how many.
    fn structure(
        &mut self,
        lanes: &mut Lanes,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, FormatError> {
        let mut index = 0;
        while let Some(byte) = bytes.get(index).copied() {
            if self.is_in_scalar(byte) {
                index += self.scalar_in(lanes, bytes.get(index..).unwrap_or_default(), out)?;
                if self.state == State::Broken {
                    return Ok(index);
                }
                continue;
            }
            if !self.scalar.is_empty() {
                self.end_scalar(lanes, out);
                if self.state == State::Broken {
                    return Ok(index);
                }
            }
            if matches!(byte, b'{' | b'[') && self.begins_capture(byte) {
                self.end_numbers(lanes, out);
                return Ok(index);
            }
            let closes_list = byte == b']' && self.list == List::Stream && self.open.len() == 1;
            if !self.accepts(byte)? {
                self.end_numbers(lanes, out);
                self.state = State::Broken;
                self.scalar.push(byte);
                return Ok(index + 1);
            }
            if self.state == State::Lines {
                return Ok(index);
            }
            if closes_list {
                self.end_list(lanes, out)?;
            }
            self.put(byte, lanes, out);
            if byte == b'"' {
                let rest = bytes.get(index + 1..).unwrap_or_default();
                let used = strings::short(&mut self.name, self.state == State::Colon, lanes, rest, out);
                if used == 0 {
                    let text = Text::new(&mut self.name, self.state == State::Colon, lanes);
                    self.string = Some(Box::new(text));
                    return Ok(index + 1);
                }
                index += used;
            }
            index += 1;
        }
        Ok(bytes.len())
    }

    /// Writes a byte of structure.
    fn put(&mut self, byte: u8, lanes: &mut Lanes, out: &mut Vec<u8>) {
        if matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n') {
            if !self.numbers.holds(&[byte]) {
                out.push(byte);
            }
            return;
        }
        self.end_numbers(lanes, out);
        out.push(byte);
        self.has_text |= self.state != State::Colon
            && (matches!(byte, b'"' | b'[') || (byte == b'{' && self.open.len() > 1));
    }

    fn is_in_scalar(&self, byte: u8) -> bool {
        is_of_a_scalar(byte) && matches!(self.state, State::Value | State::FirstElement)
    }

    /// Takes the bytes of a number or literal at the beginning of `bytes`. Says how many.
    fn scalar_in(
        &mut self,
        lanes: &mut Lanes,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, FormatError> {
        let length = bytes.iter().take_while(|byte| is_of_a_scalar(**byte)).count();
        let part = bytes.get(..length).unwrap_or_default();
        if self.scalar.is_empty() && length < bytes.len() && length <= LONGEST_SCALAR && tape::is_scalar(part)
        {
            self.whole_scalar(part, lanes, out);
            return Ok(length);
        }
        for (index, byte) in part.iter().enumerate() {
            if !self.take_scalar(*byte)? {
                self.end_numbers(lanes, out);
                return Ok(index + 1);
            }
        }
        Ok(length)
    }

    /// Takes a byte of a number or literal. Says whether it may still be one.
    fn take_scalar(&mut self, byte: u8) -> Result<bool, FormatError> {
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
        }
        Ok(is_number)
    }

    /// Takes one byte of structure. Says whether it may stand here.
    fn accepts(&mut self, byte: u8) -> Result<bool, FormatError> {
        use State::{After, Colon, FirstElement, FirstKey, Key, Value};
        self.state = match (self.state, byte) {
            (state, b' ' | b'\t' | b'\r' | b'\n') => state,
            (Value | FirstElement, b'{') => {
                self.name.forget_sibling();
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
        if self.open.pop() == Some(Open::Object) {
            self.name.forget_sibling();
        }
        self.name.clear();
        State::After
    }

    fn end_scalar(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) {
        if self.scalar.is_empty() || self.state == State::Broken {
            return;
        }
        if !tape::is_scalar(&self.scalar) {
            self.end_numbers(lanes, out);
            self.state = State::Broken;
            return;
        }
        let scalar = std::mem::take(&mut self.scalar);
        self.whole_scalar(&scalar, lanes, out);
        self.scalar = scalar;
        self.scalar.clear();
    }

    /// Writes a number or literal.
    fn whole_scalar(&mut self, scalar: &[u8], lanes: &mut Lanes, out: &mut Vec<u8>) {
        self.state = State::After;
        if self.open.last() == Some(&Open::Array) {
            let name = &self.name;
            self.numbers.number(&mut lanes.session, scalar, &|| name.of_value(), out);
        } else if shape::is_id_of_a_token(&self.name.spelled, b"") {
            out.push(b'0');
        } else {
            out.extend_from_slice(scalar);
        }
    }

    fn end_numbers(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) {
        if self.numbers.is_empty() {
            return;
        }
        let name = &self.name;
        self.numbers.finish(&mut lanes.session, &|| name.of_value(), out);
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
        lanes.begin_loose(BROKEN, context)?;
        lanes.loose_text(BROKEN, &held, out)
    }

    /// Says whether the value that begins here is held until it is complete.
    fn begins_capture(&mut self, byte: u8) -> bool {
        let is_element = byte == b'{'
            && matches!(self.state, State::Value | State::FirstElement)
            && self.open == [Open::Array];
        let capture = if is_element {
            let passes = std::mem::take(&mut self.passes) || self.list == List::Records;
            (!passes).then(|| Capture::new(What::Element))
        } else if self.state == State::Value {
            let alone = self.open.len() == 1 && !self.has_text;
            Capture::of_member(&self.name.spelled, byte, alone)
        } else {
            None
        };
        self.captured = capture.map(Box::new);
        self.captured.is_some()
    }

    /// Masks a held value that is complete. `false` where it has to be read as if it had not been held.
    fn take_held(
        &mut self,
        lanes: &mut Lanes,
        capture: &Capture,
        out: &mut Vec<u8>,
    ) -> Result<bool, FormatError> {
        match capture.what {
            What::Element => return self.take_element(lanes, &capture.bytes, out),
            What::Tokens(name) => {
                let before = format!("{{\"{name}\":");
                let wrapped = [before.as_bytes(), &capture.bytes, b"}"].concat();
                let mut masked = Vec::new();
                if self.documents.take_whole(lanes, &wrapped, false, &mut masked)? {
                    let end = masked.len().saturating_sub(1);
                    out.extend_from_slice(masked.get(before.len()..end).unwrap_or_default());
                } else {
                    // Tokens that cannot be told apart are withheld.
                    out.extend_from_slice(b"[]");
                }
            }
            What::Rest => {
                let before = b"{\"tokens\":";
                let wrapped = [before, capture.bytes.as_slice()].concat();
                let mut masked = Vec::new();
                if self.documents.take_whole(lanes, &wrapped, true, &mut masked)? {
                    out.extend_from_slice(masked.get(before.len()..).unwrap_or_default());
                } else {
                    out.extend_from_slice(b"[]}");
                }
                self.open.pop();
                self.name.clear();
            }
        }
        self.state = State::After;
        Ok(true)
    }

    fn take_element(
        &mut self,
        lanes: &mut Lanes,
        element: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, FormatError> {
        if self.list == List::Unknown {
            let is_stream = self.documents.is_part_of_a_stream(element);
            self.list = if is_stream { List::Stream } else { List::Records };
        }
        if self.list == List::Records {
            return Ok(false);
        }
        let mut written = Vec::with_capacity(element.len() + 32);
        self.documents.take(lanes, element, b"", &mut written, &mut |made| {
            let (Made::Document(made, _) | Made::Text(made)) = made;
            out.extend_from_slice(made);
            out.push(b',');
        })?;
        out.append(&mut written);
        self.name.clear();
        self.state = State::After;
        Ok(true)
    }

    /// The end of a list of the chunks of a stream: what is held is put out in further ones.
    fn end_list(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        // Where the list breaks off behind a comma there is one already.
        let mut comma = self.state != State::Value;
        self.documents.finish(lanes, &mut |made| {
            let (Made::Document(made, _) | Made::Text(made)) = made;
            if std::mem::replace(&mut comma, true) {
                out.push(b',');
            }
            out.extend_from_slice(made);
        })
    }
}

/// Whether a byte may be of a number or literal.
fn is_of_a_scalar(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'a'..=b'z' | b'E' | b'I' | b'N')
}

/// Appends to the last bytes that were seen.
fn remember(recent: &mut Vec<u8>, bytes: &[u8]) {
    recent.extend_from_slice(bytes.get(bytes.len().saturating_sub(RECENT)..).unwrap_or_default());
    let spare = recent.len().saturating_sub(RECENT);
    recent.drain(..spare);
}
