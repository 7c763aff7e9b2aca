//! Strings of a long document, and the names of its members as context for them.

use super::escape::{Decoder, begins_like_json, text_of};
use super::shape;
use crate::format::Lanes;
use crate::lane::Lane;

/// The longest name of a member that is kept as context for its value.
const LONGEST_KEY: usize = 256;
/// The longest text that is kept as the name of another member's value.
const LONGEST_SIBLING: usize = 64;

/// The longest string with escapes of which the text is made before it is looked at.
const LONGEST_DECODED: usize = 1 << 20;

/// The name of the member whose value is next.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// As it is spelled. Empty where there is none, or it is too long.
    pub(super) spelled: Vec<u8>,
    is_long: bool,
    /// It was found to be no context for its value.
    is_plain: bool,
    /// What a member before this one in the same object called itself: in `{"name": "DB_PASSWORD", "value": "..."}` that is
    /// the name of the value.
    sibling: Vec<u8>,
    is_of_sibling: bool,
}

/// A string that is not complete, or has escapes.
#[derive(Debug)]
pub(super) struct Text {
    lane: Lane,
    decoder: Decoder,
    is_key: bool,
    /// The last byte was a backslash.
    escaped: bool,
    /// Something of it was masked.
    masked: bool,
}

impl Name {
    pub(super) fn clear(&mut self) {
        self.spelled.clear();
        self.is_long = false;
        self.is_plain = false;
        self.is_of_sibling = false;
    }

    /// An object begins or ends.
    pub(super) fn forget_sibling(&mut self) {
        self.sibling.clear();
    }

    /// The name of a member is complete.
    fn end_key(&mut self) {
        self.is_of_sibling = !self.sibling.is_empty() && self.spelled.eq_ignore_ascii_case(b"value");
        self.is_plain &= !self.is_of_sibling;
    }

    /// Whether the value says how the value of another member is called.
    fn calls_a_sibling(&self) -> bool {
        [&b"name"[..], b"key"].iter().any(|name| self.spelled.eq_ignore_ascii_case(name))
    }

    /// Takes a part of such a value.
    fn keep_sibling(&mut self, part: &[u8]) {
        let room = (LONGEST_SIBLING + 1).saturating_sub(self.sibling.len());
        self.sibling.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    /// The end of such a value.
    fn end_sibling(&mut self, masked: bool) {
        if masked || self.sibling.len() > LONGEST_SIBLING || self.sibling.contains(&b'\\') {
            self.sibling.clear();
        }
    }

    /// As what the value is called, as far as anything is told by it.
    fn context(&self) -> &[u8] {
        if self.is_of_sibling { &self.sibling } else { &self.spelled }
    }

    fn keep(&mut self, part: &[u8]) {
        if !self.is_long {
            self.spelled.extend_from_slice(part);
            if self.spelled.len() > LONGEST_KEY {
                self.spelled.clear();
                self.is_long = true;
            }
        }
    }

    fn remember(&self, lanes: &mut Lanes) {
        if !self.spelled.is_empty()
            && !lanes.key_is_plain(&self.spelled)
            && !lanes.session.primes(&text_of(&self.spelled), b"\": \"")
        {
            lanes.remember_plain_key(&self.spelled);
        }
    }

    /// Whether there is no name, or none that is context for its value.
    fn is_plain(&self, lanes: &Lanes) -> bool {
        self.is_plain || self.context().is_empty() || lanes.key_is_plain(self.context())
    }

    /// For reports.
    pub(super) fn of_value(&self) -> String {
        let name = self.spelled.iter().take(64);
        let name: String =
            name.map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect();
        if name.is_empty() { "value".to_owned() } else { name }
    }

    fn of(&self, is_key: bool) -> String {
        if is_key { "{key}".to_owned() } else { self.of_value() }
    }
}

/// Takes a string that is at hand as a whole, with its closing quote, if it has no escapes or nothing in it is masked. Says
/// how many bytes, or none.
pub(super) fn short(
    name: &mut Name,
    is_key: bool,
    lanes: &mut Lanes,
    rest: &[u8],
    out: &mut Vec<u8>,
) -> usize {
    let Some((end, has_escapes)) = end_of(rest) else { return 0 };
    let inside = rest.get(..end).unwrap_or_default();
    if is_key {
        name.clear();
        name.keep(inside);
    }
    let is_plain = if is_key { lanes.key_is_plain(inside) } else { name.is_plain(lanes) };
    name.is_plain = is_plain;
    let mut masked = None;
    if inside.len() >= lanes.session.shortest() && !(is_key && is_plain) {
        let plain = is_key || is_plain;
        let context = if plain { Vec::new() } else { [&text_of(name.context()), &b"\": \""[..]].concat() };
        if has_escapes {
            // What is masked is put out with its spelling, by a lane.
            if !is_clean(name, is_key, lanes, inside, &context) {
                return 0;
            }
        } else {
            masked = lanes.session.mask(inside, &context, &|| name.of(is_key));
        }
        if is_key && masked.is_none() {
            name.remember(lanes);
        }
    }
    if is_key {
        if masked.is_some() {
            // What was masked is no context, and no name to report.
            name.clear();
        }
        name.end_key();
    } else if name.calls_a_sibling() {
        name.sibling.clear();
        name.keep_sibling(inside);
        name.end_sibling(masked.is_some());
    }
    out.extend_from_slice(masked.as_deref().unwrap_or(inside));
    out.push(b'"');
    end + 1
}

/// Whether a string with escapes is certain to hold nothing that is masked.
fn is_clean(name: &Name, is_key: bool, lanes: &mut Lanes, inside: &[u8], context: &[u8]) -> bool {
    let text = text_of(inside);
    let is_nested = begins_like_json(&text) || (!is_key && shape::is_nested(&text_of(&name.spelled)));
    !is_nested && lanes.session.is_clean(&text, context)
}

/// Where the closing quote is, and whether there are escapes before it. `None` where a string is better taken in pieces.
fn end_of(rest: &[u8]) -> Option<(usize, bool)> {
    let mut at = 0;
    let mut has_escapes = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', rest.get(at..)?)?;
        if rest.get(at) == Some(&b'"') {
            return Some((at, has_escapes));
        }
        at += 2;
        has_escapes = true;
        if at > LONGEST_DECODED {
            return None;
        }
    }
}

impl Text {
    /// A string begins.
    pub(super) fn new(name: &mut Name, is_key: bool, lanes: &mut Lanes) -> Self {
        let (mut lane, mut decoder) = (Lane::new(&lanes.session), Decoder::new());
        if is_key {
            name.clear();
        } else if !name.spelled.is_empty() {
            if !name.is_plain(lanes) {
                lane = Lane::behind(&mut lanes.session, &[&text_of(name.context()), b"\": \""]);
            }
            if shape::is_nested(&text_of(&name.spelled)) {
                decoder = Decoder::nested();
            }
            if name.calls_a_sibling() {
                name.sibling.clear();
            }
        }
        Self { lane, decoder, is_key, escaped: false, masked: false }
    }

    /// Takes bytes up to and with the closing quote. Says how many, and whether that was the end.
    pub(super) fn take(
        &mut self,
        name: &mut Name,
        lanes: &mut Lanes,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, bool) {
        let end = self.end_in(bytes);
        let inside = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.decoder.push(inside, &mut self.lane);
        if self.is_key {
            name.keep(inside);
        } else if name.calls_a_sibling() {
            name.keep_sibling(inside);
        }
        let Some(end) = end else { return (bytes.len(), false) };
        self.finish(name, lanes, out);
        if self.is_key {
            if self.masked {
                name.clear();
            } else {
                name.remember(lanes);
            }
            name.end_key();
        } else if name.calls_a_sibling() {
            name.end_sibling(self.masked);
        }
        out.push(b'"');
        (end + 1, true)
    }

    /// Where the closing quote is.
    fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if std::mem::take(&mut self.escaped) {
            at += 1;
        }
        loop {
            at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
            if bytes.get(at) == Some(&b'"') {
                return Some(at);
            }
            at += 2;
            self.escaped = at > bytes.len();
        }
    }

    /// Puts out what may leave.
    pub(super) fn advance(&mut self, name: &Name, lanes: &mut Lanes, out: &mut Vec<u8>) {
        let masks = lanes.session.masks();
        self.lane.advance(&mut lanes.session, &|| name.of(self.is_key), out);
        self.masked |= lanes.session.masks() != masks;
    }

    /// The end of the string, or of all.
    pub(super) fn finish(&mut self, name: &Name, lanes: &mut Lanes, out: &mut Vec<u8>) {
        let masks = lanes.session.masks();
        self.decoder.finish(&mut self.lane);
        self.lane.finish(&mut lanes.session, &|| name.of(self.is_key), out);
        self.masked |= lanes.session.masks() != masks;
    }
}
