//! Values of a long document that are held until they are complete.

use super::escape::text_of;
use super::shape;

/// A value that is held until it is complete.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) bytes: Vec<u8>,
    pub(super) what: What,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Numbers at its beginning are dropped.
    drops: bool,
}

/// What is held, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Tokens with what shows them, under a name that says what they are.
    Tokens(&'static str),
    /// Tokens that may be all the document says, with its end.
    Rest,
    /// An element of the list that the document is.
    Element,
}

/// What the list is that a document is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Its first element will say.
    #[default]
    Unknown,
    /// The chunks of a stream: their texts go on from one to the next.
    Stream,
    /// Records that have nothing to do with each other.
    Records,
}

impl Capture {
    /// What a member of this name holds, if that begins with `byte` and must be complete to be looked at. `alone`
    /// says that it is a member of the root and there was no text before it.
    pub(super) fn of_member(spelled: &[u8], byte: u8, alone: bool) -> Option<Self> {
        if spelled.is_empty() {
            return None;
        }
        let key = text_of(spelled);
        let ids = shape::is_ids(&key) && byte == b'[';
        let logprobs = shape::is_logprobs(&key);
        let token = *key == *b"token" && byte == b'{';
        if !ids && !logprobs && !token {
            return None;
        }
        // Tokens before any text may be all there is: an answer to who asked for the tokens of a text.
        if ids && *key == *b"tokens" && alone {
            return Some(Self { depth: 1, ..Self::new(What::Rest) });
        }
        let name = match (ids, logprobs) {
            (true, false) => "token_ids",
            (true, true) => "tokens",
            (false, true) => "logprobs",
            (false, false) => "token",
        };
        Some(Self { drops: ids, ..Self::new(What::Tokens(name)) })
    }

    pub(super) fn new(what: What) -> Self {
        Self { bytes: Vec::new(), what, depth: 0, in_string: false, escaped: false, drops: false }
    }

    /// Takes bytes up to the end of the value. Says how many, and whether that was the end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = self.end_in(bytes);
        let used = end.unwrap_or(bytes.len());
        let mut taken = bytes.get(..used).unwrap_or_default();
        if self.drops {
            if let ([], [b'[', rest @ ..]) = (self.bytes.as_slice(), taken) {
                self.bytes.push(b'[');
                taken = rest;
            }
            let is_number = |byte: &u8| byte.is_ascii_digit() || b"-+.eE, \t\r\n".contains(byte);
            let numbers = taken.iter().position(|byte| !is_number(byte));
            taken = numbers.and_then(|at| taken.get(at..)).unwrap_or_default();
            self.drops = numbers.is_none();
        }
        self.bytes.extend_from_slice(taken);
        (used, end.is_some())
    }

    /// Where the value ends, if it does in `bytes`.
    fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..)?;
            if self.in_string {
                if self.escaped {
                    rest.first()?;
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                at += memchr::memchr2(b'"', b'\\', rest)? + 1;
                self.escaped = bytes.get(at - 1) == Some(&b'\\');
                self.in_string = self.escaped;
                continue;
            }
            at += 1;
            match rest.first()? {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
    }
}
