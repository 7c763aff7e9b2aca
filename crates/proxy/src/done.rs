//! The mark by which a stream of answers says that it is whole.

/// Whether a stream has said `[DONE]`; holds its last bytes, where a piece may end within the mark.
#[derive(Debug, Default)]
pub(crate) struct DoneMark {
    last: Vec<u8>,
}

impl DoneMark {
    const MARK: &'static [u8] = b"data: [DONE]";

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // The mark and two line ends.
        const ENOUGH: usize = 16;
        self.last.extend_from_slice(bytes.get(bytes.len().saturating_sub(ENOUGH)..).unwrap_or(bytes));
        self.last.drain(..self.last.len().saturating_sub(ENOUGH));
    }

    pub(crate) fn is_said(&self) -> bool {
        self.last.trim_ascii().ends_with(Self::MARK)
    }
}
