//! Who may sign the log: [`CheckpointLock`], and the locked directory that is one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::publish::CHECKPOINT;

/// Name of the file that a writer locks.
pub(crate) const LOCK: &str = "lock";

/// The right to put the newest checkpoint of a log before the world. Held as long as the value lives.
///
/// On one machine the operating system's lock on the directory keeps a second writer out, so that
/// [`advance`](Self::advance) only has to be atomic. Where writers can come back after they were given up for
/// dead, no lock is enough: there `advance` must compare and swap, and an error means that the right is lost.
pub(crate) trait CheckpointLock: Send + Sync {
    /// Replaces the published checkpoint; readers see the old one or the new one, whole.
    fn advance(&self, note: &str) -> Result<(), Error>;
}

/// The lock of a directory, and the file in it that holds the newest checkpoint.
pub(crate) struct DirectoryLock {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

/// True if a writer has the lock of the directory, or nobody may look.
pub(crate) fn is_taken(dir: &Path) -> bool {
    match File::open(dir.join(LOCK)) {
        Ok(file) => file.try_lock_shared().is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Readers that look whether the lock is taken have it for a moment.
const GLANCE: Duration = Duration::from_millis(100);

impl DirectoryLock {
    /// Fails if another process, or another recorder of this one, has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(LOCK);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::file("open the lock", &path))?;
        let began = Instant::now();
        let mut taken = file.try_lock();
        while matches!(taken, Err(TryLockError::WouldBlock)) && began.elapsed() < GLANCE {
            std::thread::sleep(GLANCE / 10);
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => Ok(Self { path: dir.join(CHECKPOINT), _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(Error::file("lock", &path)(error)),
        }
    }
}

impl CheckpointLock for DirectoryLock {
    fn advance(&self, note: &str) -> Result<(), Error> {
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, note).map_err(Error::file("write", &fresh))?;
        fs::rename(&fresh, &self.path).map_err(Error::file("replace", &self.path))
    }
}
