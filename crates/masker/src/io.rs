//! Masking for `std::io`: readers that give masked text, writers that take raw text.

use std::io::{Error, ErrorKind, Read, Result, Write};

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
                    self.ready = self.body.finish().map_err(Error::other)?;
                    self.ended = true;
                }
                // After an error nothing may be used, and every later read fails too: an end would look like success.
                read => {
                    self.ready =
                        self.body.push(piece.get(..read).unwrap_or_default()).map_err(Error::other)?;
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
/// What may leave is written at once. Text that was taken and could not be written is kept: the error comes with the
/// next call, and nothing is lost or written twice by calling again. Call [`finish`](Self::finish) at the end: without
/// it the text that is still held back is dropped, because nobody has said that it is complete.
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
    /// Masked, and from `at` on not yet written.
    ready: Vec<u8>,
    at: usize,
}

impl<W: Write> MaskWriter<W> {
    /// Masks what goes to `inner`.
    pub fn new(inner: W, body: BodyStream) -> Self {
        Self { inner, body, ready: Vec::new(), at: 0 }
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
        self.ready.extend(rest);
        self.drain()?;
        self.inner.flush()?;
        Ok((self.inner, self.body.take_events()))
    }

    fn drain(&mut self) -> Result<()> {
        while let Some(rest) = self.ready.get(self.at..).filter(|rest| !rest.is_empty()) {
            match self.inner.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.at += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.ready.clear();
        self.at = 0;
        Ok(())
    }
}

impl<W: Write> Write for MaskWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.drain()?;
        self.ready = self.body.push(bytes).map_err(Error::other)?;
        // The text is taken: an error now would have the caller bring it again.
        let _later = self.drain();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.drain()?;
        self.inner.flush()
    }
}
