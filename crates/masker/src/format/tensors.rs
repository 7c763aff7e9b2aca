//! Tensors as KServe's protocol sends them over HTTP: a head of JSON, and behind it raw bytes.

use super::{Format, FormatError, JsonFormat, Lanes, TextFormat};

/// The longest head.
const LONGEST_HEAD: usize = 1 << 20;

/// A head of JSON of a given length, and behind it bytes whose lengths are told in the head.
///
/// A head that tells of no tensors is refused. Nothing gets shorter or longer: masks are as long as what they hide, and where the head does get shorter,
/// because a secret was spelled with escapes, blanks are put behind it.
#[derive(Debug)]
pub struct TensorFormat {
    length: usize,
    head: Vec<u8>,
    is_out: bool,
    raw: TextFormat,
}

impl TensorFormat {
    /// A body whose head has this length, as `Inference-Header-Content-Length` tells it.
    #[must_use]
    pub fn new(length: usize) -> Self {
        Self { length, head: Vec::new(), is_out: false, raw: TextFormat::default() }
    }

    fn head_out(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.is_out = true;
        let head = std::mem::take(&mut self.head);
        // What has no tensors behind it is another kind of body, and has to be read as that.
        if memchr::memmem::find(&head, b"\"binary_data_size\"").is_none() {
            return Err(FormatError::Malformed);
        }
        let (mut json, mut masked) = (JsonFormat::default(), Vec::with_capacity(head.len()));
        json.push(lanes, &head, &mut masked)?;
        json.finish(lanes, &mut masked)?;
        if masked.len() > head.len() {
            return Err(FormatError::TooLong);
        }
        masked.resize(head.len(), b' ');
        out.append(&mut masked);
        Ok(())
    }
}

impl Format for TensorFormat {
    fn push(&mut self, lanes: &mut Lanes, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if self.length > LONGEST_HEAD {
            return Err(FormatError::TooLong);
        }
        let missing = self.length.saturating_sub(self.head.len());
        let (head, raw) =
            if self.is_out { (&[][..], bytes) } else { bytes.split_at(missing.min(bytes.len())) };
        self.head.extend_from_slice(head);
        if !self.is_out && self.head.len() == self.length {
            self.head_out(lanes, out)?;
        }
        if raw.is_empty() { Ok(()) } else { self.raw.push(lanes, raw, out) }
    }

    fn finish(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if !self.is_out {
            // It is cut off, and nothing of it can be read.
            return Err(FormatError::Malformed);
        }
        self.raw.finish(lanes, out)
    }
}
