//! Room on the disk that is set aside, so that open requests can be closed when the rest is full.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// A file of zeros that is removed when its room is needed.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    /// Sets the room aside if it is not.
    pub(crate) fn restore(&self) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|m| m.len() == self.bytes) {
            return Ok(());
        }
        let fill = || -> io::Result<()> {
            let mut file = File::create(&self.path)?;
            // Written, not just sized: a sparse file reserves nothing.
            let zeros = vec![0; 64 * 1024];
            let mut left = self.bytes;
            while left > 0 {
                let some = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
                file.write_all(zeros.get(..some).unwrap_or(&zeros))?;
                left -= some as u64;
            }
            file.sync_all()
        };
        fill().inspect_err(|_| self.release())
    }

    /// True if there is room beside the reserve, too: with none, the next write would fail again.
    pub(crate) fn has_company(&self) -> bool {
        let path = self.path.with_extension("probe");
        let more = (self.bytes / 4).clamp(64 * 1024, 1 << 20);
        let written = fs::write(&path, vec![0; usize::try_from(more).unwrap_or(1 << 20)]);
        let _gone_or_never_made = fs::remove_file(&path);
        written.is_ok()
    }

    /// Gives the room back to whoever writes next.
    pub(crate) fn release(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(%error, "the reserve could not be released");
        }
    }
}
