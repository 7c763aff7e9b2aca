//! Readers and writers around others that stumble.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::io::{ErrorKind, Read, Result, Write};

use gatewayd_masker::format::BodyKind;
use gatewayd_masker::{MaskReader, MaskWriter, Masker};

const TEXT: &str = "a the-one-credential b the-one-credentia c";
const MASKED: &str = "a [REDACTED:known-secret] b the-one-credentia c";

fn masker() -> Masker {
    Masker::builder().rules([]).known_secret("the-one-credential").build().unwrap()
}

/// Fails every third time, and does little the other times.
struct Stumbling<T> {
    inner: T,
    turn: usize,
    error: ErrorKind,
}

impl<T> Stumbling<T> {
    fn new(inner: T, error: ErrorKind) -> Self {
        Self { inner, turn: 0, error }
    }

    fn step(&mut self) -> Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) { Err(self.error.into()) } else { Ok(1 + self.turn % 5) }
    }
}

impl<T: Read> Read for Stumbling<T> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = self.step()?.min(buffer.len());
        self.inner.read(&mut buffer[..most])
    }
}

impl<T: Write> Write for Stumbling<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let most = self.step()?.min(bytes.len());
        self.inner.write(&bytes[..most])
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}

#[test]
fn a_reader_loses_nothing_when_the_one_inside_stumbles() {
    for error in [ErrorKind::Interrupted, ErrorKind::WouldBlock] {
        let inner = Stumbling::new(TEXT.as_bytes(), error);
        let mut reader = MaskReader::new(inner, masker().body(BodyKind::Text));
        let mut out = Vec::new();
        let mut buffer = [0; 7];
        for turn in 0.. {
            assert!(turn < 1000);
            let room = turn % 8;
            match reader.read(&mut buffer[..room]) {
                Ok(0) if room > 0 => break,
                Ok(read) => out.extend(&buffer[..read]),
                Err(seen) => assert_eq!(seen.kind(), error),
            }
        }
        assert_eq!(String::from_utf8(out).unwrap(), MASKED);
    }
}

#[test]
fn a_reader_that_failed_gives_nothing_more_and_no_end() {
    // Packed text is refused at once, a letter of two bytes too, and tensors without a head at the end.
    for (text, kind) in [
        (&b"\x1F\x8B\x08\0rest"[..], BodyKind::Text),
        (b"A\0 \0", BodyKind::Text),
        (b"{}", BodyKind::Tensors(9)),
    ] {
        let mut reader = MaskReader::new(text, masker().body(kind));
        let mut buffer = [0; 64];
        assert!((0..8).all(|_| reader.read(&mut buffer).is_err()), "{kind:?}");
    }
}

#[test]
fn a_writer_loses_and_repeats_nothing_when_the_one_inside_stumbles() {
    let inner = Stumbling::new(Vec::new(), ErrorKind::WouldBlock);
    let mut writer = MaskWriter::new(inner, masker().body(BodyKind::Text));
    let mut rest = TEXT.as_bytes();
    for turn in 0.. {
        assert!(turn < 1000);
        match writer.write(&rest[..rest.len().min(5)]) {
            Ok(0) => break,
            Ok(written) => rest = &rest[written..],
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    while writer.flush().is_err() {}
    // The end has nothing left to write but what is decided by it.
    let (inner, _) = writer.finish().unwrap();
    assert_eq!(String::from_utf8(inner.inner).unwrap(), MASKED);
}
