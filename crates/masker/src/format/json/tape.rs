//! A JSON document, cut into tokens without being copied.

/// One token. `next` is the index behind its whole subtree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Where it is in the document; of a string, the inside without the quotes.
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    /// The name of a member; its value is the next token.
    Key,
    String,
    /// A number, `true`, `false` or `null`.
    Scalar,
}

/// Deeper documents are no documents.
const DEEPEST: usize = 256;

/// Cuts a document into tokens. `None` where it is not JSON.
pub(crate) fn read(document: &[u8], tape: &mut Vec<Token>) -> Option<()> {
    tape.clear();
    if document.len() > u32::MAX as usize {
        return None;
    }
    let mut reader = Reader { document, at: 0, tape };
    reader.blank();
    reader.value(0)?;
    reader.blank();
    (reader.at == document.len()).then_some(())
}

/// The members of the object at `at`: name, and where the value is.
pub(crate) fn members<'a>(
    document: &'a [u8],
    tape: &'a [Token],
    at: usize,
) -> impl Iterator<Item = (&'a [u8], usize)> + use<'a> {
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

struct Reader<'a> {
    document: &'a [u8],
    at: usize,
    tape: &'a mut Vec<Token>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.document.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' => self.container(Kind::Object, b'}', depth),
            b'[' => self.container(Kind::Array, b']', depth),
            b'"' => self.string(Kind::String),
            _ => self.scalar(),
        }
    }

    fn container(&mut self, kind: Kind, close: u8, depth: usize) -> Option<()> {
        if depth >= DEEPEST {
            return None;
        }
        let index = self.tape.len();
        self.push(kind, self.at, self.at);
        self.at += 1;
        self.blank();
        if self.peek()? == close {
            self.at += 1;
        } else {
            loop {
                self.blank();
                if kind == Kind::Object {
                    if self.peek()? != b'"' {
                        return None;
                    }
                    self.string(Kind::Key)?;
                    self.blank();
                    if self.peek()? != b':' {
                        return None;
                    }
                    self.at += 1;
                    self.blank();
                }
                self.value(depth + 1)?;
                self.blank();
                let byte = self.peek()?;
                self.at += 1;
                if byte == close {
                    break;
                }
                if byte != b',' {
                    return None;
                }
            }
        }
        let next = u32::try_from(self.tape.len()).ok()?;
        let token = self.tape.get_mut(index)?;
        token.end = u32::try_from(self.at).ok()?;
        token.next = next;
        Some(())
    }

    fn string(&mut self, kind: Kind) -> Option<()> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.document.get(at..)?)?;
            if *self.document.get(at)? == b'"' {
                break;
            }
            at += 2;
        }
        self.push(kind, start, at);
        self.at = at + 1;
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'a'..=b'z' | b'E' | b'I' | b'N'))
        {
            self.at += 1;
        }
        let text = self.document.get(start..self.at)?;
        if !is_scalar(text) {
            return None;
        }
        self.push(Kind::Scalar, start, self.at);
        Some(())
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let next = short(self.tape.len() + 1);
        self.tape.push(Token { kind, start: short(start), end: short(end), next });
    }
}

/// A literal, also of those that only some clients know, or a number.
pub(crate) fn is_scalar(text: &[u8]) -> bool {
    match text {
        b"true" | b"false" | b"null" | b"NaN" | b"Infinity" | b"-Infinity" => true,
        [b'-' | b'0'..=b'9', rest @ ..] => {
            rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        }
        _ => false,
    }
}
