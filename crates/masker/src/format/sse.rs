//! Server-sent events: each event's data is a document, and texts go on from event to event.

use super::json::event::{Documents, Made};
use super::{Format, FormatError, LONGEST_UNIT, Lanes};

/// A stream of server-sent events, as `text/event-stream` carries it.
///
/// Events keep their number and order. Lines that do not change leave byte for byte as they came, whatever ends
/// them. Text that is held back leaves with the next event of its lane; at the end of a lane without
/// one, in an event made up after the last that had it.
#[derive(Debug, Default)]
pub struct SseFormat {
    /// The event so far, with the line that is not yet complete.
    event: Vec<u8>,
    lines: Vec<Line>,
    /// Where the incomplete line begins.
    line: usize,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    begun: bool,
    documents: Documents,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    start: usize,
    /// Where its text ends, and where its end of line does.
    text: usize,
    end: usize,
    /// Where the value begins, if it is data.
    data: Option<usize>,
}

/// The most lines of one event.
const MOST_LINES: usize = 1 << 16;
const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Format for SseFormat {
    fn push(&mut self, lanes: &mut Lanes, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.after_cr)
            && let Some(rest) = bytes.strip_prefix(b"\n")
        {
            bytes = rest;
            self.late_lf(out);
        }
        while let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) {
            let is_cr = bytes.get(at) == Some(&b'\r');
            let end = if is_cr && bytes.get(at + 1) == Some(&b'\n') { at + 2 } else { at + 1 };
            // Only a CR that is the last byte may still have its LF to come.
            self.after_cr = is_cr && at + 1 == bytes.len();
            let (line, rest) = bytes.split_at(end);
            bytes = rest;
            self.event.extend_from_slice(line);
            self.end_line(end - at, lanes, out)?;
        }
        self.event.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.after_cr = false;
        }
        if self.event.len() > LONGEST_UNIT { Err(FormatError::TooLong) } else { Ok(()) }
    }

    fn finish(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let complete = self.event.is_empty();
        if self.line < self.event.len() {
            self.end_line(0, lanes, out)?;
        }
        if !self.event.is_empty() {
            self.dispatch(lanes, out)?;
        }
        let mut rest = Vec::new();
        self.documents.finish(lanes, &mut |made| write_event(&made, &mut rest))?;
        if !rest.is_empty() {
            if !complete {
                // The last event was not ended by a blank line.
                out.extend_from_slice(if out.ends_with(b"\n") { b"\n" } else { b"\n\n" });
            }
            out.append(&mut rest);
        }
        Ok(())
    }
}

impl SseFormat {
    /// An LF that came after its CR was dealt with.
    fn late_lf(&mut self, out: &mut Vec<u8>) {
        match self.lines.last_mut() {
            Some(line) if self.line == self.event.len() => {
                self.event.push(b'\n');
                line.end += 1;
                self.line += 1;
            }
            _ => out.push(b'\n'),
        }
    }

    fn end_line(&mut self, ending: usize, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let end = self.event.len();
        let text = end - ending;
        let mut start = self.line;
        if !std::mem::replace(&mut self.begun, true)
            && self.event.get(start..text).is_some_and(|l| l.starts_with(BOM))
        {
            start += BOM.len();
        }
        let line = self.event.get(start..text).unwrap_or_default();
        let data = match line.strip_prefix(b"data") {
            Some([]) => Some(text),
            Some([b':', b' ', ..]) => Some(start + 6),
            Some([b':', ..]) => Some(start + 5),
            _ => None,
        };
        let blank = line.is_empty();
        self.lines.push(Line { start, text, end, data });
        self.line = end;
        if blank {
            self.dispatch(lanes, out)
        } else if self.lines.len() > MOST_LINES {
            Err(FormatError::TooLong)
        } else {
            Ok(())
        }
    }

    /// Masks the event that is complete, and writes it.
    fn dispatch(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        lanes.refresh();
        let event = std::mem::take(&mut self.event);
        let lines = std::mem::take(&mut self.lines);
        self.line = 0;
        let joined;
        let mut data = lines.iter().filter_map(|line| event.get(line.data?..line.text));
        let document = match (data.next(), data.next()) {
            (None, _) => None,
            (Some(one), None) => Some(one),
            (Some(first), Some(second)) => {
                joined = [first, second].into_iter().chain(data).collect::<Vec<_>>().join(&b'\n');
                Some(joined.as_slice())
            }
        };
        let mut written = Vec::with_capacity(document.map_or(0, <[u8]>::len) + 64);
        if let Some(document) = document {
            let mut before = Vec::new();
            let mut put_before = |made: Made<'_>| write_event(&made, &mut before);
            if document.trim_ascii() == b"[DONE]" {
                self.documents.pause(lanes, &mut put_before)?;
                written.extend_from_slice(document);
            } else {
                let tag = tag_of(&event, &lines);
                let tag = lanes.whole("event", tag).unwrap_or_else(|| tag.to_vec());
                self.documents.take(lanes, document, &tag, &mut written, &mut put_before)?;
            }
            out.append(&mut before);
        }
        write_lines(
            &event,
            &lines,
            document.filter(|document| *document != written).map(|_| &*written),
            lanes,
            &mut self.documents,
            out,
        )?;
        self.event = event;
        self.event.clear();
        self.lines = lines;
        self.lines.clear();
        Ok(())
    }
}

/// The line that names the event, for events made up after it.
fn tag_of<'a>(event: &'a [u8], lines: &[Line]) -> &'a [u8] {
    let texts = lines.iter().filter_map(|line| event.get(line.start..line.text));
    texts.rev().find(|text| text.starts_with(b"event:")).unwrap_or_default()
}

/// Writes the lines of an event; with other data, if there is some.
fn write_lines(
    event: &[u8],
    lines: &[Line],
    fresh: Option<&[u8]>,
    lanes: &mut Lanes,
    documents: &mut Documents,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let mut fresh = fresh;
    let has_fresh = fresh.is_some();
    let mut at = 0;
    for line in lines {
        // A byte order mark stands before its line.
        out.extend_from_slice(event.get(at..line.start).unwrap_or_default());
        at = line.end;
        let whole = event.get(line.start..line.end).unwrap_or_default();
        let text = event.get(line.start..line.text).unwrap_or_default();
        let ending = event.get(line.text..line.end).unwrap_or_default();
        // Behind a line that ends otherwise than the one before it did, an LF would be the rest of a CRLF.
        if text.is_empty() && ending == b"\n" && has_fresh && out.ends_with(b"\r") {
            out.push(b'\n');
        }
        match line.data {
            Some(_) if !has_fresh => out.extend_from_slice(whole),
            Some(value) => {
                let Some(fresh) = fresh.take() else { continue };
                let prefix = event.get(line.start..value).filter(|p| p.contains(&b':')).unwrap_or(b"data: ");
                for part in fresh.split(|byte| *byte == b'\n') {
                    out.extend_from_slice(prefix);
                    out.extend_from_slice(part);
                    out.extend_from_slice(if ending.is_empty() { b"" } else { ending });
                }
            }
            None => match documents.line(lanes, text)? {
                Some(masked) => {
                    out.extend_from_slice(&masked);
                    out.extend_from_slice(ending);
                }
                None => out.extend_from_slice(whole),
            },
        }
    }
    Ok(())
}

fn write_event(made: &Made<'_>, out: &mut Vec<u8>) {
    let (document, tag) = match made {
        Made::Document(document, tag) => (*document, *tag),
        Made::Text(text) => (*text, &b""[..]),
    };
    if !tag.is_empty() {
        out.extend_from_slice(tag);
        out.push(b'\n');
    }
    for line in document.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}
