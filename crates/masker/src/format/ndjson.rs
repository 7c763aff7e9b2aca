//! NDJSON: each line is a document, and texts go on from line to line.

use super::json::event::{Documents, Made};
use super::{Format, FormatError, LONGEST_UNIT, Lanes};

/// A stream of JSON documents, one a line, as Ollama sends it.
///
/// Each line is held until it is complete. Every string path is a lane of its own, so that a secret split over
/// lines is caught.
#[derive(Debug, Default)]
pub struct NdjsonFormat {
    line: Vec<u8>,
    documents: Documents,
    begun: bool,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Format for NdjsonFormat {
    fn push(&mut self, lanes: &mut Lanes, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.line.is_empty() {
                self.take(lanes, line, out)?;
            } else {
                self.line.extend_from_slice(line);
                let whole = std::mem::take(&mut self.line);
                self.take(lanes, &whole, out)?;
                self.line = whole;
                self.line.clear();
            }
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > LONGEST_UNIT { Err(FormatError::TooLong) } else { Ok(()) }
    }

    fn finish(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take(lanes, &line, out)?;
        }
        // What is no document has no end of its own.
        let is_open = !line.is_empty();
        let (mut text, mut rest) = (Vec::new(), Vec::new());
        self.documents.finish(lanes, &mut |made| match made {
            Made::Text(part) if is_open => text.extend_from_slice(part),
            made => write_line(&made, &mut rest),
        })?;
        out.append(&mut text);
        if is_open && !rest.is_empty() {
            out.push(b'\n');
        }
        out.append(&mut rest);
        Ok(())
    }
}

impl NdjsonFormat {
    fn take(&mut self, lanes: &mut Lanes, mut line: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = line.strip_prefix(BOM)
        {
            out.extend_from_slice(BOM);
            line = rest;
        }
        let body = line.trim_ascii_end();
        let end = line.get(body.len()..).unwrap_or_default();
        let mark = out.len();
        let mut before = Vec::new();
        self.documents.take(lanes, body, b"", out, &mut |made| write_line(&made, &mut before))?;
        if !before.is_empty() {
            out.splice(mark..mark, before);
        }
        out.extend_from_slice(end);
        Ok(())
    }
}

fn write_line(made: &Made<'_>, out: &mut Vec<u8>) {
    let (Made::Document(made, _) | Made::Text(made)) = made;
    out.extend_from_slice(made);
    out.push(b'\n');
}
