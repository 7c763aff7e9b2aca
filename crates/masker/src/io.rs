//! Masking for `std::io`: readers that give masked text, writers that take raw text.

use std::io::{Error, Read, Result, Write};

use crate::format::BodyStream;
use crate::report::MaskEvent;

const PIECE: usize = 16 << 10;

/// Masks what is read from a reader.
///
/// ```
/// use std::io::Read as _;
/// use gatewayd_masker::{MaskReader, Masker, format::BodyKind};
///
/// let masker = Masker::builder().build()?;
/// let raw = &b"id AKIAZQ3DRSTUVWXY2345"[..];
/// let mut masked = String::new();
/// MaskReader::new(raw, masker.body(BodyKind::Text)).read_to_string(&mut masked)?;
/// assert_eq!(masked, "id [REDACTED:aws-access-key-id]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MaskReader<R> {
    inner: R,
    body: BodyStream,
    ready: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> MaskReader<R> {
    /// Masks what is read from `inner`.
    pub fn new(inner: R, body: BodyStream) -> Self {
        Self { inner, body, ready: Vec::new(), at: 0, ended: false }
    }

    /// The body being masked, for its events.
    pub fn body(&mut self) -> &mut BodyStream {
        &mut self.body
    }
}

impl<R: Read> Read for MaskReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.at == self.ready.len() && !self.ended {
            self.at = 0;
            self.ready.clear();
            let mut piece = [0; PIECE];
            match self.inner.read(&mut piece)? {
                0 => {
                    self.ended = true;
                    self.ready = self.body.finish().map_err(Error::other)?;
                }
                read => {
                    let piece = piece.get(..read).unwrap_or_default();
                    self.body.push_into(piece, &mut self.ready).map_err(|error| {
                        self.ended = true;
                        Error::other(error)
                    })?;
                }
            }
        }
        let mut rest = self.ready.get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// Masks what is written to a writer.
///
/// What may leave is written at once. Call [`finish`](Self::finish) at the end: without it the text that is still held
/// back is dropped, because nobody has said that it is complete.
///
/// ```
/// use std::io::Write as _;
/// use gatewayd_masker::{MaskWriter, Masker, format::BodyKind};
///
/// let masker = Masker::builder().build()?;
/// let mut writer = MaskWriter::new(Vec::new(), masker.body(BodyKind::Text));
/// write!(writer, "id AKIA")?;
/// write!(writer, "ZQ3DRSTUVWXY2345")?;
/// let (written, events) = writer.finish()?;
/// assert_eq!(written, b"id [REDACTED:aws-access-key-id]");
/// assert_eq!(&*events[0].rule, "aws-access-key-id");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MaskWriter<W> {
    inner: W,
    body: BodyStream,
}

impl<W: Write> MaskWriter<W> {
    /// Masks what goes to `inner`.
    pub fn new(inner: W, body: BodyStream) -> Self {
        Self { inner, body }
    }

    /// The body being masked, for its events.
    pub fn body(&mut self) -> &mut BodyStream {
        &mut self.body
    }

    /// The end of the text: writes the rest, and gives the writer back and the events that were not taken before.
    ///
    /// # Errors
    /// When the rest cannot be masked or written.
    pub fn finish(mut self) -> Result<(W, Vec<MaskEvent>)> {
        let rest = self.body.finish().map_err(Error::other)?;
        self.inner.write_all(&rest)?;
        self.inner.flush()?;
        Ok((self.inner, self.body.take_events()))
    }
}

impl<W: Write> Write for MaskWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let masked = self.body.push(bytes).map_err(Error::other)?;
        self.inner.write_all(&masked)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}
