//! Plain text: the whole body is one lane.

use super::{Format, FormatError, Lanes};

/// Plain text, or anything that is looked at byte by byte.
#[derive(Debug, Default)]
pub struct TextFormat {
    _private: (),
}

const LANE: &str = "text";

impl Format for TextFormat {
    fn push(&mut self, lanes: &mut Lanes, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        lanes.text(LANE, bytes, out)
    }

    fn finish(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError> {
        lanes.end(LANE, out);
        Ok(())
    }
}
