//! Where segments are kept: [`BlobStore`], and the directory that is one.
//!
//! The recorder begins, extends, reads and drops segments through the trait only. Offline readers (`verify`,
//! the copy for a verifier) work on a directory, so they use [`Segments`] as what it is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::blocks::Blocks;
use crate::error::Error;
use crate::keys::sync_dir;

/// Keeps segments by number. One writer; readers beside it.
pub(crate) trait BlobStore: Send + Sync {
    /// Numbers of the segments that are there, ascending.
    fn numbers(&self) -> Result<Vec<u64>, Error>;
    /// The blocks of a segment.
    fn open(&self, number: u64) -> Result<Blocks, Error>;
    /// How many bytes a segment has; 0 if it is not there.
    fn len(&self, number: u64) -> u64;
    /// Begins a segment that must not be there yet.
    fn begin(&self, number: u64) -> Result<Box<dyn Blob>, Error>;
    /// Waits until the segments that were begun and removed are so for good.
    fn sync_names(&self) -> Result<(), Error>;
    /// Removes a segment for good. It may be gone already.
    fn remove(&self, number: u64) -> Result<(), Error>;
}

/// The segment that is being written.
pub(crate) trait Blob: Send {
    /// Adds bytes at the end. After an error some of them may be there.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error>;
    /// Cuts everything off from there on.
    fn cut(&mut self, len: u64) -> Result<(), Error>;
    /// Waits until all of it is durable.
    fn sync(&mut self) -> Result<(), Error>;
    /// True if what is written is found where it is looked for.
    fn is_in_place(&self) -> bool;
}

/// Segments as files of a directory.
#[derive(Debug, Clone)]
pub(crate) struct Segments(PathBuf);

impl Segments {
    pub(crate) fn below(dir: &Path) -> Self {
        Self(dir.join("segments"))
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number:010}.seg"))
    }

    pub(crate) fn make_dir(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.0).map_err(Error::file("make", &self.0))
    }
}

impl BlobStore for Segments {
    fn numbers(&self) -> Result<Vec<u64>, Error> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::file("read", &self.0)(e)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::file("read", &self.0))?.file_name();
            let number = name.to_str().and_then(|n| n.strip_suffix(".seg")).and_then(|n| n.parse().ok());
            // In any other spelling, or as anything but a file, it is none of ours.
            numbers.extend(number.filter(|number| {
                let path = self.path(*number);
                path.file_name() == Some(&name) && fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
            }));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open(&self, number: u64) -> Result<Blocks, Error> {
        let path = self.path(number);
        let open = |path: &Path| Blocks::new(Box::new(File::open(path)?), number);
        open(&path).map_err(Error::file("read", &path))
    }

    fn len(&self, number: u64) -> u64 {
        fs::metadata(self.path(number)).map_or(0, |m| m.len())
    }

    fn begin(&self, number: u64) -> Result<Box<dyn Blob>, Error> {
        let path = self.path(number);
        let mut options = fs::OpenOptions::new();
        let options = options.append(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(Error::file("make", &path))?;
        Ok(Box::new(SegmentFile { file, path }))
    }

    fn sync_names(&self) -> Result<(), Error> {
        sync_dir(&self.0)
    }

    fn remove(&self, number: u64) -> Result<(), Error> {
        match fs::remove_file(self.path(number)) {
            Ok(()) => self.sync_names(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::file("remove", self.path(number))(e)),
        }
    }
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u64, u64);

impl Place {
    /// The file of that name, if there is one.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::at)
    }

    fn at(file: &fs::Metadata) -> Self {
        Self(file.dev(), file.ino())
    }
}

/// A segment as a file.
struct SegmentFile {
    file: File,
    path: PathBuf,
}

impl Blob for SegmentFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::file("write to", &self.path))
    }

    fn cut(&mut self, len: u64) -> Result<(), Error> {
        self.file.set_len(len).map_err(Error::file("mend", &self.path))
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::file("sync", &self.path))
    }

    fn is_in_place(&self) -> bool {
        self.file.metadata().is_ok_and(|file| Place::of(&self.path) == Some(Place::at(&file)))
    }
}
