//! What can go wrong.

use std::io;
use std::path::PathBuf;

use crate::note::NoteError;

/// Why the recorder cannot be opened, read, or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}; check that it exists, its owner and the free space", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database answered with an error.
    #[error("the evidence database cannot be used: {0}; check the free space and run `verify`")]
    Database(#[from] rusqlite::Error),
    /// Another process writes to the directory.
    #[error("{} is in use by another process; stop it, or give this one another directory", .0.display())]
    InUse(PathBuf),
    /// The SQLite that is linked in has a known defect in its log.
    #[error(
        "SQLite {found} is older than {needed}, which is the first without a known loss of data; build with the bundled one"
    )]
    OldSqlite {
        /// The version found.
        found: String,
        /// The version needed.
        needed: &'static str,
    },
    /// The directory was written by a later version.
    #[error("the evidence has format {0}, which this version does not know; use a later version")]
    OtherFormat(i64),
    /// A key file is not what it must be.
    #[error("the key file {} is not usable: {why}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The log is shorter than a checkpoint that it published.
    #[error(
        "the log has {size} entries but its published checkpoint covers {published}: it was restored from an older copy, \
         or changed. Find out why; to go on from here, remove the file `checkpoint` and keep a copy of it"
    )]
    RolledBack {
        /// Entries in the log.
        size: u64,
        /// Entries in the published checkpoint.
        published: u64,
    },
    /// The stored data contradicts itself.
    #[error("the evidence is damaged: {0}; run `verify` and keep a copy of the directory")]
    Damaged(String),
    /// A checkpoint or a public key is not acceptable.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed; nothing was written")]
    Crypto,
    /// There is no such session.
    #[error("there is no session {0}; `list` shows them")]
    NoSession(String),
    /// The words or bodies were erased.
    #[error("{0} was erased; the log still shows that it happened")]
    Erased(String),
    /// A legal hold forbids it.
    #[error("legal hold {0} covers it; release the hold first")]
    Held(i64),
    /// No checkpoint covers the entry yet.
    #[error("no checkpoint covers entry {0} yet; there is one a second, try again")]
    NotSigned(u64),
    /// The recorder cannot write, or is closed.
    #[error("the recorder cannot write: {0}")]
    Unavailable(String),
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}

impl Error {
    /// Names what was being read.
    pub(crate) fn read(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing: "read", path: what.into(), source }
    }

    /// Names the file and what was attempted.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
