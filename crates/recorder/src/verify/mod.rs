//! Verification without trust in whoever wrote the log: a copied directory and the public key are enough.
//!
//! ```no_run
//! use gatewayd_recorder::PublicKey;
//! use gatewayd_recorder::verify::{Options, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = PublicKey::parse("gatewayd/5f3a+c74f20a3+AROOl...")?;
//! let report = verify("copy-of-evidence", &Options { key: Some(key), ..Options::default() })?;
//! print!("{report}");
//! std::process::exit(i32::from(report.exit_code()));
//! # }
//! ```
//!
//! What the key alone proves: the entries are those that the key's holder signed, in that order, each body
//! and each word is the one an entry commits to, and the rules of sessions hold. What it cannot prove: that
//! no *older* valid state was put back, and that the key's holder did not write the whole log anew. A
//! checkpoint that you kept from earlier, given as [`Options::pinned`], closes both for what it covers.

mod bodies;
mod column;
mod log;
mod report;
mod words;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::blobs::Segments;
use crate::error::Error;
use crate::note::{self, LOG_KEY, PublicKey};
use crate::publish::CHECKPOINT;
use crate::{lock, schema, store};
pub use report::{Damage, Finding, Report};

/// What to verify, and against what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The log's public key. `None`: the one in the directory is taken, and the report says that it was not
    /// compared with anything.
    pub key: Option<PublicKey>,
    /// A checkpoint of this log that was kept elsewhere.
    pub pinned: Option<String>,
    /// Check the stored bodies, too.
    pub bodies: bool,
    /// Check the words in the database (who, what, events) against the entries, too.
    pub words: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { key: None, pinned: None, bodies: true, words: true }
    }
}

/// Verifies the log in a directory. It writes nothing there.
///
/// # Errors
/// If it cannot be checked at all: no database, a format of a later version, an unreadable key or pin.
/// Damage is not an error but a [`Finding`].
pub fn verify(dir: impl AsRef<Path>, options: &Options) -> Result<Report, Error> {
    let dir = dir.as_ref();
    // Read before the snapshot, so that the snapshot is never behind it.
    let published = note::read(&dir.join(CHECKPOINT)).ok();
    let mut report = Report::default();
    match check(dir, options, published, &mut report) {
        // What SQLite itself calls broken is damage, not a failure to look.
        Err(Error::Database(rusqlite::Error::SqliteFailure(e, _)))
            if matches!(e.code, rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) =>
        {
            report.find(Damage::DatabaseCorrupt, None, format!("the database file is broken: {e}"));
        }
        Err(Error::Database(rusqlite::Error::SqliteFailure(e, _)))
            if e.code == rusqlite::ErrorCode::TooBig =>
        {
            let detail =
                "the database holds a value that is longer than any of a log; nothing after it was checked";
            report.find(Damage::DatabaseCorrupt, None, detail);
        }
        // The statements are fixed, so it is the tables that are not those of the format.
        Err(Error::Database(rusqlite::Error::SqlInputError { msg, .. })) => {
            report.find(
                Damage::DatabaseCorrupt,
                None,
                format!("the database lacks a part of its format: {msg}"),
            );
        }
        other => other?,
    }
    report.settle();
    Ok(report)
}

fn check(dir: &Path, options: &Options, published: Option<String>, report: &mut Report) -> Result<(), Error> {
    // Nothing is made or changed beside what is examined: without a write-ahead log SQLite needs no shared memory. A log
    // that a writer left needs some, so it is read in a copy. Only a running writer shares its own.
    let still = !store::is_written(dir);
    let is_running = lock::is_taken(dir);
    let (conn, _removed_at_the_end) = match (still, is_running) {
        (true, _) => (store::open_still(dir)?, None),
        (false, true) => (store::open_read(dir)?, None),
        (false, false) => {
            let (conn, copy) = store::open_copy(dir)?;
            (conn, Some(copy))
        }
    };
    // The file comes from somebody else: nothing in its schema may call functions.
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; BEGIN")?;
    for difference in schema::differences(&conn)? {
        report.find(Damage::DatabaseCorrupt, None, format!("{difference}; nothing else was checked"));
    }
    if !report.is_intact() {
        return Ok(());
    }
    let key = match &options.key {
        Some(key) => key.clone(),
        None => {
            report.unproven("the public key was taken from the directory itself, not from you".into());
            let path = dir.join(LOG_KEY);
            PublicKey::parse(&note::read(&path).map_err(Error::file("read", &path))?)?
        }
    };
    let notes = log::Notes { published, pinned: options.pinned.as_deref() };
    let log = log::check(&conn, &key, &notes, report)?;
    if options.words {
        // Not the quick check: an index of other values would hide sessions from whoever looks for them.
        let state: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if state != "ok" {
            report.find(Damage::DatabaseCorrupt, None, format!("the database file is broken: {state}"));
        }
        words::check(&conn, &log, report)?;
    } else {
        report.unproven("the words in the database were not compared with the entries".into());
    }
    if options.bodies {
        bodies::check(&Segments::below(dir), log, report)?;
    } else {
        report.unproven("the stored bodies were not checked".into());
    }
    if still && store::is_written(dir) {
        return Err(Error::Unavailable("somebody began to write the log meanwhile; verify it again".into()));
    }
    Ok(())
}
