//! The blocks of a segment, one after the other, through a buffer: segments are as large as the one who wrote them
//! liked, and who reads them may have them from somebody else.

use std::io::{self, Read};

use crate::segment::{Block, MAGIC, MAX_BLOCK, next_frame};

/// More than any block needs, so that most reads are long and what is moved in between is short.
const BUFFER: usize = MAX_BLOCK + 256 * 1024;

/// Reads blocks from a segment.
pub(crate) struct Blocks {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    taken: u64,
    is_segment: bool,
}

impl Blocks {
    /// Begins to read; a source whose head is not that of the segment holds no blocks.
    pub(crate) fn new(source: Box<dyn Read + Send>, number: u64) -> io::Result<Self> {
        let mut blocks = Self {
            source,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            at_end: false,
            taken: 0,
            is_segment: false,
        };
        blocks.fill()?;
        let head = [MAGIC.as_slice(), &number.to_be_bytes()].concat();
        blocks.is_segment = blocks.rest().starts_with(&head);
        if blocks.is_segment {
            blocks.skip(head.len());
        }
        Ok(blocks)
    }

    /// True if the head is that of the segment.
    pub(crate) fn is_segment(&self) -> bool {
        self.is_segment
    }

    /// How many bytes of the segment were whole blocks so far, its head included.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The next block, its checksum not looked at: for whoever checks a digest anyway. `None`: what stands there is
    /// no whole block.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<Block<'_>>> {
        if !self.is_segment {
            return Ok(None);
        }
        let mut len = self.frame_len();
        if len.is_none() && !self.at_end {
            self.fill()?;
            len = self.frame_len();
        }
        let Some(len) = len else { return Ok(None) };
        let from = self.start;
        self.skip(len);
        Ok(next_frame(&mut self.buffer.get(from..self.start).unwrap_or_default()))
    }

    /// The next block, if it is intact.
    pub(crate) fn next_block(&mut self) -> io::Result<Option<Block<'_>>> {
        Ok(self.next_frame()?.filter(Block::is_intact))
    }

    fn frame_len(&self) -> Option<usize> {
        next_frame(&mut self.rest()).map(|block| block.bytes.len())
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn skip(&mut self, len: usize) {
        self.start += len;
        self.taken += len as u64;
    }

    /// Moves what is left to the front and reads as much as there is room for.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while let Some(room) = self.buffer.get_mut(self.end..).filter(|room| !room.is_empty()) {
            match self.source.read(room) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(len) => self.end += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
