//! Documents that are not quite JSON, or several in one: their strings are found all the same.
//!
//! Clients read more than the grammar allows: documents one behind the other, what is nested without end, what is
//! cut off. All strings become the members of one flat object, so that texts go on by the names they have.

use super::tape::{self, Kind, Token};

/// Cuts a document into tokens, strictly where that is possible. `None` where it does not look like JSON. Says
/// whether it is JSON by the book.
pub(crate) fn read(document: &[u8], tape: &mut Vec<Token>) -> Option<bool> {
    if tape::read(document, tape).is_some() {
        return Some(true);
    }
    tape.clear();
    let first = document
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x1E | 0xEF | 0xBB | 0xBF));
    if !matches!(first, Some(b'{' | b'[')) || u32::try_from(document.len()).is_err() {
        return None;
    }
    push(tape, Kind::Object, 0, document.len());
    let mut at = 0;
    let mut key = None;
    while let Some(quote) = memchr::memchr(b'"', document.get(at..).unwrap_or_default()) {
        let start = at + quote + 1;
        let end = end_of_string(document, start);
        let behind = end + 1 + blanks(document, end + 1);
        at = end + 1;
        if document.get(behind) == Some(&b':') {
            key = Some((start, end));
            if let Some(close) = numbers(document, behind + 1) {
                push_key(tape, key.take(), start);
                push_numbers(tape, close);
            }
        } else {
            push_key(tape, key.take(), start);
            push(tape, Kind::String, start, end);
        }
    }
    let next = u32::try_from(tape.len()).ok()?;
    tape.first_mut()?.next = next;
    Some(false)
}

fn blanks(document: &[u8], from: usize) -> usize {
    let rest = document.get(from..).unwrap_or_default();
    rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where the string ends that begins at `at`: its quote, or the end of the document.
fn end_of_string(document: &[u8], mut at: usize) -> usize {
    while let Some(next) = memchr::memchr2(b'"', b'\\', document.get(at..).unwrap_or_default()) {
        at += next;
        if document.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    document.len()
}

/// The place of a list of numbers, if one begins at `from`.
fn numbers(document: &[u8], from: usize) -> Option<(usize, usize)> {
    let start = from + blanks(document, from);
    let inside = document.get(start..)?.strip_prefix(b"[")?;
    let is_number = |byte: &u8| byte.is_ascii_digit() || b"-+.eE, \t\r\n[".contains(byte);
    let length = inside.iter().take_while(|byte| is_number(byte)).count();
    (length > 0).then_some((start, start + 1 + length))
}

/// A list of numbers, taken as one: whether it is closed or not.
fn push_numbers(tape: &mut Vec<Token>, (start, end): (usize, usize)) {
    let array = tape.len();
    push(tape, Kind::Array, start, end + 1);
    push(tape, Kind::Scalar, start + 1, end);
    let next = u32::try_from(tape.len()).unwrap_or(u32::MAX);
    if let Some(token) = tape.get_mut(array) {
        token.next = next;
    }
}

fn push_key(tape: &mut Vec<Token>, key: Option<(usize, usize)>, at: usize) {
    let (start, end) = key.unwrap_or((at, at));
    push(tape, Kind::Key, start, end);
}

fn push(tape: &mut Vec<Token>, kind: Kind, start: usize, end: usize) {
    let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let next = short(tape.len() + 1);
    tape.push(Token { kind, start: short(start), end: short(end), next });
}
