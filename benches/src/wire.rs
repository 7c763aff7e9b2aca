//! Just enough of HTTP/1.1 to read answers with next to no work of our own: the head, its framing, chunks.

use std::time::Duration;

/// The header in which the upstream says how many microseconds it spent on the request itself.
pub const UPSTREAM_TIME: &str = "x-bench-us";

/// The header in which the upstream says that it was shown the credential that it expects.
pub const KEY_SEEN: &str = "x-bench-key-seen";

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(usize),
    /// Chunks, the last one empty.
    Chunked,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// How the end of the body is known.
    pub framing: Framing,
    /// How long the upstream says it took.
    pub upstream: Option<Duration>,
    /// True if the upstream says that it was shown its credential.
    pub key_seen: bool,
    /// Bytes of the head itself, with the empty line.
    pub size: usize,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer is not HTTP/1.1 as expected: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads a head from the start of `bytes`; `None` while it is not complete.
///
/// # Errors
/// The head is not HTTP/1.1, or says nothing about the length of the body.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = bytes.get(..end).and_then(|head| std::str::from_utf8(head).ok());
    let mut lines = text.ok_or(Malformed("head is not text"))?.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3));
    let status = status.and_then(|s| s.parse().ok()).ok_or(Malformed("no status line"))?;
    let mut framing = None;
    let mut upstream = None;
    let mut key_seen = false;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Malformed("header without a colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = Some(Framing::Length(value.parse().map_err(|_| Malformed("content-length"))?));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Some(Framing::Chunked);
        } else if name.eq_ignore_ascii_case(UPSTREAM_TIME) {
            upstream = value.parse().ok().map(Duration::from_micros);
        } else if name.eq_ignore_ascii_case(KEY_SEEN) {
            key_seen = true;
        }
    }
    let framing = framing.ok_or(Malformed("neither content-length nor chunked"))?;
    Ok(Some(Head { status, framing, upstream, key_seen, size: end + 4 }))
}

/// Takes the bytes of a body as they arrive.
pub trait Sink {
    /// Some bytes of the body.
    fn data(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn data(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Forgets the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Discard;

impl Sink for Discard {
    fn data(&mut self, _bytes: &[u8]) {}
}

/// Reads a body to its end, whatever pieces it comes in.
#[derive(Debug)]
pub struct BodyReader(State);

#[derive(Debug, Clone, Copy)]
enum State {
    Counted(usize),
    Size { seen: usize, digits: bool },
    Data(usize),
    DataEnd,
    Trailer { line: usize },
    Done,
}

impl BodyReader {
    /// At the first byte of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Counted(length),
            Framing::Chunked => State::Size { seen: 0, digits: true },
        })
    }

    /// True once the body's last byte was read.
    #[must_use]
    pub fn done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// Reads what belongs to the body; gives back how many bytes that was.
    ///
    /// # Errors
    /// The chunks are malformed.
    pub fn read(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.done() {
            let take = match self.0 {
                State::Counted(left) | State::Data(left) => left.min(rest.len()),
                _ => 1,
            };
            let (piece, tail) = rest.split_at(take);
            self.0 = self.step(piece, sink)?;
            rest = tail;
        }
        Ok(bytes.len() - rest.len())
    }

    fn step(&self, piece: &[u8], sink: &mut impl Sink) -> Result<State, Malformed> {
        let byte = piece.first().copied().unwrap_or_default();
        Ok(match self.0 {
            State::Counted(left) => {
                sink.data(piece);
                if left == piece.len() { State::Done } else { State::Counted(left - piece.len()) }
            }
            State::Data(left) => {
                sink.data(piece);
                if left == piece.len() { State::DataEnd } else { State::Data(left - piece.len()) }
            }
            State::DataEnd if byte == b'\n' => State::Size { seen: 0, digits: true },
            State::DataEnd if byte == b'\r' => State::DataEnd,
            State::DataEnd => return Err(Malformed("chunk without its end")),
            State::Size { seen: 0, .. } if byte == b'\n' => State::Trailer { line: 0 },
            State::Size { seen, .. } if byte == b'\n' => State::Data(seen),
            State::Size { seen, digits } => match char::from(byte).to_digit(16) {
                Some(digit) if digits => {
                    let seen = seen.checked_mul(16).map(|s| s + digit as usize);
                    State::Size { seen: seen.ok_or(Malformed("chunk size"))?, digits }
                }
                _ => State::Size { seen, digits: false },
            },
            State::Trailer { line: 0 } if byte == b'\n' => State::Done,
            State::Trailer { .. } if byte == b'\n' => State::Trailer { line: 0 },
            State::Trailer { line } if byte == b'\r' => State::Trailer { line },
            State::Trailer { line } => State::Trailer { line: line + 1 },
            State::Done => State::Done,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Bench-Us: 20100\r\n\r\nhello";
        for cut in 0..bytes.len() - 6 {
            assert_eq!(head(&bytes[..cut]), Ok(None), "{cut}");
        }
        let read = head(bytes).expect("it is well-formed").expect("it is whole");
        assert_eq!((read.status, read.framing, read.size), (200, Framing::Length(5), bytes.len() - 5));
        assert_eq!(read.upstream, Some(Duration::from_micros(20_100)));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "a body without a length would never end");
    }

    #[test]
    fn chunks_are_read_whatever_the_cuts() {
        let wire = b"5\r\nhello\r\n1a;x=1\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nt: 1\r\n\r\nHTTP";
        for first in 0..wire.len() {
            for second in first..wire.len() {
                let mut reader = BodyReader::new(Framing::Chunked);
                let mut body = Vec::new();
                let mut used = 0;
                for piece in [&wire[..first], &wire[first..second], &wire[second..]] {
                    used += reader.read(piece, &mut body).expect("well-formed");
                }
                assert_eq!(body, b"helloabcdefghijklmnopqrstuvwxyz");
                assert!(reader.done());
                assert_eq!(used, wire.len() - 4, "what follows belongs to the next answer");
            }
        }
    }

    #[test]
    fn a_counted_body_ends_where_it_says() {
        let mut reader = BodyReader::new(Framing::Length(3));
        let mut body = Vec::new();
        assert_eq!(reader.read(b"abcdef", &mut body), Ok(3));
        assert!(reader.done());
        assert!(BodyReader::new(Framing::Length(0)).done());
    }
}
